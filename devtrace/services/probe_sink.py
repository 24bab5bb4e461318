"""probe sink: a receiver of probes' events over HTTP, on this machine alone.

    POST /api/events          one event: 200 {status: "accepted", id, timestamp}, 400, 413, 415
    GET  /api/events          ?runtime, event_type, limit (100), offset: {total, offset, limit, count, events}
    POST /api/events/clear    200 {status: "cleared", cleared}
    GET  /health              {status, service, events_received, timestamp}

Nothing of it is kept but in memory, and of that the oldest goes first. A web page cannot speak to it: what
comes from one has an Origin, or a Host that is not ours.

Lives here: the routes, what is kept, the guards. Not here: what an event may hold (probes/schema.py), who
sends (probes/sink.py), what is shown of it (cli/probe.py).
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from devtrace.errors import UsageError
from devtrace.probes.point import iso
from devtrace.probes.schema import ENVELOPE, EVENTS, Member

SERVICE = "debugin-event-sink"  # the name that clients of this API look for
MOST_BODY = 1 << 20  # bytes of one event
MOST_BYTES = 64 << 20  # of all that are kept
MOST_CONNECTIONS = 64
_MOST_DISCARDED = 16 << 20  # of a body that is too long: its sender reads no answer before it has sent it
TIMEOUT_S = 5.0  # between two pieces of a request
POLL_S = 0.1  # between two looks whether it was closed
PAGE = 100

_OURS = {"127.0.0.1": socket.AF_INET, "localhost": socket.AF_INET, "::1": socket.AF_INET6}
_HOST = re.compile(r"(?i:127\.0\.0\.1|localhost|\[::1\])(?::([0-9]{1,5}))?")
_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "boolean": lambda value: type(value) is bool,
    "object": lambda value: type(value) is dict,
    "array": lambda value: type(value) is list,
    "null": lambda value: value is None,
}


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status = status
        self.code = code


def fault_of(event: object) -> str:
    """Why it is no event that a receiver takes; "" where it is one."""
    if type(event) is not dict:
        return "an event is an object"
    if fault := _missing(event, ENVELOPE, ""):
        return fault
    name = event["name"]
    if name not in EVENTS:
        return f"there is no event {name[:64]}"
    return _missing(event["payload"], EVENTS[name][1], "payload.")


def _missing(holder: dict[str, Any], members: tuple[Member, ...], before: str) -> str:
    for member in members:
        if not member.is_required:
            continue
        if member.path not in holder:
            return f"{before}{member.path} is missing"
        types = member.type.split("|")
        if not any(_TYPES[one](holder[member.path]) for one in types):
            return f"{before}{member.path} must be of type {' or '.join(types)}"
    return ""


class Received:
    """The latest events, the oldest first. Any thread may add."""

    def __init__(self, most: int):
        self._most = most
        self._lock = threading.Lock()
        self._events: deque[tuple[dict[str, Any], int]] = deque()
        self._bytes = 0
        self.total = 0  # those too that had to go

    def add(self, event: dict[str, Any], size: int) -> None:
        """`size`: bytes that it came in."""
        with self._lock:
            self._events.append((event, size))
            self._bytes += size
            self.total += 1
            while len(self._events) > self._most or self._bytes > MOST_BYTES:
                self._bytes -= self._events.popleft()[1]

    def chosen(self, runtime: str | None, name: str | None) -> list[dict[str, Any]]:
        """Those of a runtime and of a name; None: of any."""
        with self._lock:
            events = [event for event, _ in self._events]
        return [
            event
            for event in events
            if (runtime is None or event["client"].get("runtime") == runtime)
            and name in (None, event["name"])
        ]

    def clear(self) -> int:
        """How many there were."""
        with self._lock:
            number = len(self._events)
            self._events.clear()
            self._bytes = 0
        return number


class ProbeSink:
    """A receiver that listens. `serve_forever` blocks; any other thread may `close`."""

    def __init__(self, server: _Server):
        self._server = server
        self.port: int = server.server_address[1]
        self.received = server.received

    def serve_forever(self) -> None:
        """Until closed. Raises what `on_event` raised."""
        self._server.is_serving = True
        self._server.serve_forever(POLL_S)

    def close(self) -> None:
        """Stop listening; may be called twice, and though nobody serves."""
        if self._server.is_serving:
            self._server.shutdown()
        self._server.server_close()


def serve(
    port: int,
    *,
    host: str = "127.0.0.1",
    on_event: Callable[[dict[str, Any]], object] | None = None,
    most: int = 10_000,
) -> ProbeSink:
    """Listen; port 0 is any that is free. `on_event` is told of one event at a time. `most`: events kept.

    Raises UsageError ERR_USAGE for a host that others can reach, OSError for a port that is taken.
    """
    if host not in _OURS:
        raise UsageError(
            f"the receiver listens on this machine alone, not on {host}",
            code="ERR_USAGE",
            hint="use 127.0.0.1 or ::1",
        )
    return ProbeSink(_Server((host, port), Received(most), on_event))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        received: Received,
        on_event: Callable[[dict[str, Any]], object] | None,
    ):
        self.address_family = _OURS[address[0]]
        self.received = received
        self.is_serving = False
        self._on_event = on_event
        self._telling = threading.Lock()
        self._raised: BaseException | None = None
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without the question that HTTPServer asks then: what the machine is called in the DNS."""
        TCPServer.server_bind(self)

    def tell(self, event: dict[str, Any]) -> None:
        """Tell of an event. What that raises ends the receiver: a pipe that nobody reads any more."""
        if self._on_event is None:
            return
        with self._telling:
            try:
                self._on_event(event)
            except Exception as error:
                self._raised = error

    def service_actions(self) -> None:
        if self._raised is not None:
            raise self._raised

    def process_request(self, request: Any, client_address: Any) -> None:
        """One connection more than there may be is closed at once."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S
    disable_nagle_algorithm = True  # else a second write waits 40 ms for the client's acknowledgement
    server: _Server

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, format: str, *args: Any) -> None:
        """The receiver has no output of its own."""

    def send_error(  # http.server calls it so
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,  # noqa: ARG002
    ) -> None:
        """What http.server itself refuses: no HTTP, or a method that no route has."""
        self.close_connection = True
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._send(405, {"error": f"Not allowed here: {self.command[:20]}", "code": "METHOD_NOT_ALLOWED"})
        else:
            self._send(code, {"error": message or "Bad request", "code": "INVALID_REQUEST"})

    def version_string(self) -> str:
        return SERVICE

    def _answer(self, method: str) -> None:
        target = urlsplit(self.path)
        try:
            body = self._body()  # first of all: an answer is lost where a body was not read
            self._check_sender()
            status, document = self._routed(method, target.path, target.query, body)
        except _Refused as refused:
            status, document = refused.status, {"error": str(refused), "code": refused.code}
            self.close_connection = True
        self._send(status, document)

    def _routed(self, method: str, path: str, query: str, body: bytes) -> tuple[int, dict[str, Any]]:
        match method, path:
            case "GET", "/health":
                return 200, self._health()
            case "GET", "/api/events":
                return 200, self._events(query)
            case "POST", "/api/events":
                return 200, self._accept(body)
            case "POST", "/api/events/clear":
                return 200, {"status": "cleared", "cleared": self.server.received.clear()}
            case _, "/health" | "/api/events" | "/api/events/clear":
                raise _Refused(405, "METHOD_NOT_ALLOWED", f"Not allowed here: {method}")
        raise _Refused(404, "ROUTE_NOT_FOUND", f"Not found: {path[:200]}")

    def _health(self) -> dict[str, Any]:
        told = {"status": "healthy", "service": SERVICE, "events_received": self.server.received.total}
        return {**told, "timestamp": iso(time.time_ns())}

    def _accept(self, body: bytes) -> dict[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise _Refused(415, "UNSUPPORTED_MEDIA_TYPE", "The body must be application/json")
        try:
            event = json.loads(body)
        except (ValueError, RecursionError):
            raise _Refused(400, "INVALID_JSON", "Invalid JSON") from None
        if fault := fault_of(event):
            raise _Refused(400, "INVALID_EVENT", f"Invalid event: {fault}")
        self.server.received.add(event, len(body))
        self.server.tell(event)
        return {"status": "accepted", "id": event["id"], "timestamp": iso(time.time_ns())}

    def _events(self, query: str) -> dict[str, Any]:
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        limit, offset = _whole(asked, "limit", PAGE), _whole(asked, "offset", 0)
        found = self.server.received.chosen(asked.get("runtime"), asked.get("event_type"))
        page = found[offset : offset + limit]
        return {"total": len(found), "offset": offset, "limit": limit, "count": len(page), "events": page}

    def _check_sender(self) -> None:
        """Refuse what a web page sends. Raises _Refused 403."""
        host = _HOST.fullmatch(self.headers.get("Host", ""))
        port = self.server.server_address[1]
        if host is None or int(host[1] or 80) != port:
            raise _Refused(403, "FORBIDDEN", "The Host of the request is not this machine's own")
        origin = self.headers.get("Origin")
        site = self.headers.get("Sec-Fetch-Site", "none")
        if origin not in (None, f"http://{host[0]}") or site not in ("none", "same-origin"):
            raise _Refused(403, "FORBIDDEN", "The Origin of the request is not this machine's own")

    def _body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length", ["0"])
        if len(lengths) != 1 or not lengths[0].isdecimal() or "Transfer-Encoding" in self.headers:
            raise _Refused(400, "INVALID_LENGTH", "The body's Content-Length must be given, once")
        if len(lengths[0]) > 12 or int(lengths[0]) > MOST_BODY:
            self._discard(min(int(lengths[0][:12]), _MOST_DISCARDED))
            raise _Refused(413, "BODY_TOO_LARGE", f"The body is longer than {MOST_BODY} bytes")
        return self.rfile.read(int(lengths[0]))

    def _discard(self, left: int) -> None:
        while left > 0 and (read := self.rfile.read(min(left, MOST_BODY))):
            left -= len(read)

    def _send(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode("ascii")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _whole(asked: dict[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise _Refused(400, "INVALID_QUERY", f"Invalid query: {name} must be a whole number")
    return int(text)
