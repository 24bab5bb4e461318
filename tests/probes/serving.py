"""Servers of the control API for tests: one stepped by hand with a clock of its own, one with a thread."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devtrace.probes.guard import Guard, Peer
from devtrace.probes.routes import find_route
from devtrace.probes.server import Server
from tests.processes import DEADLINE

TOKEN = "0123456789abcdef" * 4
BEARER = f"Authorization: Bearer {TOKEN}"


class Said(list[tuple[str, str, str, bytes, Peer]]):
    """What the routes were asked, and an answer that repeats it."""

    def __call__(self, method: str, path: str, query: str, body: bytes, peer: Peer) -> tuple[int, Any]:
        self.append((method, path, query, body, peer))
        if method == "DELETE":
            return 204, None
        if path == "/fails":
            raise RuntimeError("/home/ana/secret")
        if path == "/long":
            return 200, {"long": "x" * 4_000_000}
        try:
            find_route(method, path)
        except Exception as refused:
            return refused.status, refused.as_json()  # type: ignore[attr-defined]
        return 200, {"method": method, "path": path, "query": query, "body": body.decode("latin-1")}


class Reply:
    """One answer as it came: status, headers in lower case, the document or None."""

    def __init__(self, raw: bytes, *, is_head: bool = False):
        head, _, rest = raw.partition(b"\r\n\r\n")
        line, *fields = head.decode("ascii").split("\r\n")
        self.status = int(line.split(" ")[1])
        self.headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
        size = 0 if is_head else int(self.headers.get("content-length", "0"))
        self.body, self.rest = rest[:size], rest[size:]
        assert len(self.body) == size
        self.document: Any = json.loads(self.body) if self.body else None

    @property
    def code(self) -> Any:
        """That of an error in the envelope, for its status."""
        assert set(self.document) <= {"error", "code", "details"}
        assert self.document["error"]
        return self.status, self.document["code"]


def replies(raw: bytes) -> list[Reply]:
    """All answers that stand there, in their order."""
    found = []
    while raw:
        found.append(Reply(raw))
        raw = found[-1].rest
    return found


class Stepped:
    """A server without a thread: `pump` lets it do all that it can, `wait` lets time pass."""

    def __init__(self, folder: Path, *, guard: Guard | None = None):
        self.now = 1_000.0
        self.said = Said()
        self.server = Server(self.said, guard or Guard(TOKEN), clock=lambda: self.now)
        self.path = str(folder / "s")
        self.port = 0
        self._clients: list[socket.socket] = []

    def unix(self) -> socket.socket:
        """A client over the unix socket."""
        if not os.path.exists(self.path):
            self.server.listen_unix(self.path)
        return self._connected(socket.socket(socket.AF_UNIX), self.path)

    def tcp(self) -> socket.socket:
        """A client over TCP."""
        if not self.port:
            self.port = self.server.listen_tcp("127.0.0.1", 0)
        return self._connected(socket.socket(socket.AF_INET), ("127.0.0.1", self.port))

    def _connected(self, client: socket.socket, address: Any) -> socket.socket:
        self._clients.append(client)
        client.settimeout(DEADLINE)
        client.connect(address)
        self.pump()
        return client

    def pump(self) -> None:
        """Do all that can be done now."""
        while ready := poll(self.server, 0):
            for fd, mask in ready:
                self.server.ready(fd, mask)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.server.tick()
        self.pump()

    def says(self, client: socket.socket, data: bytes) -> bytes:
        """What comes back at once; b"" where nothing does."""
        client.sendall(data)
        return self.hears(client)

    def hears(self, client: socket.socket) -> bytes:
        """All that a client can read by and by, without time passing."""
        found, part = b"", b"."
        while part:
            self.pump()
            part = heard(client)
            found += part
        return found

    def asks(self, client: socket.socket, request: str, *fields: str, body: str = "") -> Reply:
        """The answer to a request in plain words: "GET /points", "Name: value"."""
        return Reply(
            self.says(client, self.text(request, *fields, body=body)), is_head=request.startswith("HEAD")
        )

    def text(self, request: str, *fields: str, body: str = "") -> bytes:
        """A request as bytes, with a Host and what a body needs, where that is not among the fields."""
        names = {field.partition(":")[0].lower() for field in fields}
        lines = [f"{request} HTTP/1.1", *fields]
        if "host" not in names:
            lines.append(f"Host: 127.0.0.1:{self.port}")
        if body and "content-length" not in names:
            lines.append(f"Content-Length: {len(body)}")
        if body and "content-type" not in names:
            lines.append("Content-Type: application/json")
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")

    def close(self) -> None:
        """End all."""
        self.server.close()
        for client in self._clients:
            client.close()


def poll(server: Server, milliseconds: int, *others: int) -> list[tuple[int, int]]:
    """What is ready of what the server waits for, and of other descriptors."""
    polling = select.poll()
    for fd, mask in server.fds():
        polling.register(fd, mask)
    for fd in others:
        polling.register(fd, select.POLLIN)
    return polling.poll(milliseconds)


def heard(client: socket.socket) -> bytes:
    """What stands there to be read, without waiting."""
    found = b""
    client.setblocking(False)
    try:
        while data := client.recv(1 << 16):
            found += data
    except (BlockingIOError, ConnectionError):
        pass
    client.settimeout(DEADLINE)
    return found


def is_closed(client: socket.socket) -> bool:
    """Whether the server has ended it."""
    client.setblocking(False)
    try:
        while client.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


@contextmanager
def stepped(folder: Path, *, guard: Guard | None = None) -> Iterator[Stepped]:
    """One of the first kind, closed at the end."""
    made = Stepped(folder, guard=guard)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """The loop of a server in a thread, until the end; then the server is closed."""
    hearing, stopping = os.pipe()
    thread = threading.Thread(target=_loop, args=(server, hearing), name="test-server")
    thread.start()
    try:
        yield server
    finally:
        os.write(stopping, b".")
        thread.join(DEADLINE)
        server.close()
        os.close(hearing)
        os.close(stopping)
        assert not thread.is_alive()


def _loop(server: Server, hearing: int) -> None:
    while True:
        deadline = server.deadline()
        wait_ms = 1_000 if deadline is None else max(0, round((deadline - time.monotonic()) * 1_000)) + 1
        for fd, mask in poll(server, wait_ms, hearing):
            if fd == hearing:
                return
            server.ready(fd, mask)
        server.tick()


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/dev/fd"))
