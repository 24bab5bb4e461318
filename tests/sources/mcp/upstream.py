"""Both ends of the HTTP proxy, as sockets that a test moves byte by byte: it sees exactly what passed.

    with upstream() as server, proxied(server.url("/mcp")) as proxy:
        client = proxy.dials()
        client.sends(b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        peer = server.accepts()
        assert peer.head() == ...

Everything has a deadline, and nothing waits for a time. The proxy is a process of its own (proxying.py).
"""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.processes import DEADLINE, environment

PROGRAM = Path(__file__).with_name("proxying.py")
OPEN, DATA, CLOSE = 1, 2, 3
TO_SERVER, TO_CLIENT = 0, 1


class Wire:
    """One end of a connection."""

    def __init__(self, connection: socket.socket):
        self._socket = connection
        self._held = b""
        connection.settimeout(DEADLINE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def sends(self, data: bytes) -> None:
        self._socket.sendall(data)

    @contextmanager
    def sending(self, data: bytes) -> Iterator[None]:
        """All of it goes meanwhile, as fast as it is taken."""
        thread = threading.Thread(target=self.sends, args=(data,), name="devtrace-test-sending")
        thread.start()
        yield
        thread.join(DEADLINE)

    def until(self, end: bytes) -> bytes:
        """What came up to and with `end`."""
        while end not in self._held:
            self._more()
        before, _, self._held = self._held.partition(end)
        return before + end

    def exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            self._more()
        data, self._held = self._held[:size], self._held[size:]
        return data

    def head(self) -> Head:
        """The head of a request or an answer, as it stood."""
        lines = self.until(b"\r\n\r\n").removesuffix(b"\r\n\r\n").split(b"\r\n")
        pairs = (line.partition(b": ") for line in lines[1:])
        return Head(lines[0], [(name, value) for name, _, value in pairs])

    def chunk(self) -> bytes:
        """The next chunk of a body; b"" is its last."""
        size = int(self.until(b"\r\n"), 16)
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return data

    def rest(self) -> bytes:
        """All that comes until the other end is closed."""
        try:
            while True:
                self._more()
        except (EOFError, ConnectionError):
            return self._held

    def closes(self) -> None:
        self._socket.close()

    def resets(self) -> None:
        """Close as a killed process does whose input was not read."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()

    def is_silent(self) -> bool:
        """Whether nothing has come yet. For what cannot come any more, or is asked again."""
        return not self._held and not select.select([self._socket], [], [], 0)[0]

    def takes(self, data: bytes) -> int:
        """How many of these bytes find room right now."""
        self._socket.setblocking(False)
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        finally:
            self._socket.settimeout(DEADLINE)

    def _more(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise EOFError(self._held)
        self._held += data


class Head(NamedTuple):
    """A start line and the fields behind it, in their order and spelling."""

    start: bytes
    fields: list[tuple[bytes, bytes]]

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]


class Upstream:
    """A server that does nothing by itself."""

    def __init__(self, listening: socket.socket, stack: ExitStack):
        self._listening = listening
        self._stack = stack
        listening.settimeout(DEADLINE)
        self.port: int = listening.getsockname()[1]
        self.origin = f"http://127.0.0.1:{self.port}"

    def accepts(self) -> Wire:
        return self._stack.enter_context(Wire(self._listening.accept()[0]))

    def accepts_tls(self, certificate: Path) -> Wire:
        """Raises ssl.SSLError where the other side does not trust it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        plain = self._stack.enter_context(self._listening.accept()[0])
        plain.settimeout(DEADLINE)
        return self._stack.enter_context(Wire(context.wrap_socket(plain, server_side=True)))

    def is_alone(self) -> bool:
        """Whether nobody has dialled."""
        return not select.select([self._listening], [], [], 0)[0]


class Proxy:
    """A proxy that runs, and what it told."""

    def __init__(self, process: subprocess.Popen[str], records: int, stack: ExitStack):
        assert process.stdout is not None
        self.process = process
        self.url = process.stdout.readline().strip()
        self.origin, _, path = self.url.removeprefix("http://").partition("/")
        self.origin = f"http://{self.origin}"
        self.path = f"/{path}"
        self.port = int(self.origin.rpartition(":")[2])
        self._stack = stack
        self._told: list[tuple[int, int, int, Any]] = []
        self._coming: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._listen, args=(records,), name="devtrace-test-records")
        self._thread.start()

    def dials(self) -> Wire:
        return self._stack.enter_context(Wire(socket.create_connection(("127.0.0.1", self.port), DEADLINE)))

    def asks(self, head: str, body: bytes = b"") -> Wire:
        """A new connection with one request on it; `Host` and the end of the head are put in."""
        client = self.dials()
        start, _, fields = head.partition("\n")
        lines = [f"{start} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *filter(None, fields.split("\n"))]
        client.sends("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        return client

    def told(self, closed: int = 1) -> list[tuple[int, int, int, Any]]:
        """The records, once that many exchanges are closed; heads and ends are parsed."""
        while sum(record[0] == CLOSE for record in self._told) < closed:
            self._told.append(_parsed(*json.loads(self._coming.get(timeout=DEADLINE))))
        return self._told

    def stops(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def join(self) -> None:
        """When the process is over: its records are, too."""
        self._thread.join(DEADLINE)

    def _listen(self, fd: int) -> None:
        with open(fd, "rb") as records:
            for line in records:
                self._coming.put(line)


@contextmanager
def upstream() -> Iterator[Upstream]:
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        yield Upstream(listening, stack)


@contextmanager
def proxied(url: str, *fields: str, env: Mapping[str, str] | None = None) -> Iterator[Proxy]:
    """The proxy in front of `url`. When the block ends well it was silent, but for what it announced."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), url, str(writing), *fields],
        env=environment(**(env or {})),
        pass_fds=[writing],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    with ExitStack() as stack, process:
        proxy = Proxy(process, reading, stack)
        try:
            yield proxy
            process.terminate()
            said = process.communicate(timeout=DEADLINE)
            assert said == ("", ""), said
        finally:
            process.kill()
            proxy.join()


def _parsed(kind: int, direction: int, channel: int, payload: str) -> tuple[int, int, int, Any]:
    return kind, direction, channel, payload if kind == DATA else json.loads(payload)
