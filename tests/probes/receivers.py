"""Receivers of events on loopback for the tests of the sink: HTTP as a test wants it, and raw bytes.

Not here: the receiver that DevTrace has (services/probe_sink.py).
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from devtrace.probes.sink import Sink

DEADLINE_S = 30.0
EVENT = {"name": "agent.status.started", "id": "1"}

Answer = tuple[int, str, bytes]  # status, Content-Type, body
ACCEPTED: Answer = (200, "application/json", b'{"status": "accepted"}')


class Receiver:
    """An HTTP server whose answers a test says; the last one is repeated."""

    def __init__(self, *answers: Answer, protocol: str = "HTTP/1.1"):
        self.answers = list(answers) or [ACCEPTED]
        self.events: list[Any] = []
        self.heads: list[tuple[str, Any]] = []  # of each request: its path, its header fields
        self.clients: set[tuple[str, int]] = set()
        self.gate = threading.Event()  # nothing is answered before
        self.gate.set()
        self.arrived = threading.Semaphore(0)  # one more with each request
        handler = type("Handler", (_Handler,), {"receiver": self, "protocol_version": protocol})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        receiver = self.receiver
        receiver.clients.add(self.client_address)
        receiver.heads.append((self.path, self.headers))
        receiver.events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        receiver.arrived.release()
        receiver.gate.wait(DEADLINE_S)
        status, kind, body = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body)))):
            if value:
                self.send_header(name, value)
        if 300 <= status < 400:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def speaking(*pieces: bytes, then: str = "close") -> Iterator[str]:
    """A server of raw bytes: each connection is sent the pieces, then closed, or held open."""
    listening = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            try:
                connection.recv(65_536)
                for piece in pieces:
                    connection.sendall(piece)
            except OSError:
                pass  # the client has gone
            if then == "close":
                connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            else:
                held.append(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in (listening, *held):
            one.close()


def counts(of: Sink) -> tuple[int, int, int]:
    """sent, dropped, failed."""
    told = of.status()
    return told["sent"], told["dropped"], told["failed"]


def dead_url() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"
