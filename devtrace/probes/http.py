"""HTTP/1.1 without sockets: bytes in, requests out; an answer in, bytes out.

Strict where two readers could see two different requests (RFC 9112, sections 2.2, 5.2, 6.3 and 11.2): what is
not plain is refused, and nothing behind it is read. Bodies have a length that is said before.

Lives here: `Incoming`, `Head`, `response`, the limits of a head, the codes of HTTP itself. Not here: sockets
and times (server.py), who may ask (guard.py), what is answered (routes.py). Standard library only: a guest
imports this.
"""

from __future__ import annotations

import json
import re

from devtrace.probes.fields import Refused

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MOST_HEAD = 16_384  # bytes, with the request line
MOST_LINE = 8_192  # bytes of the request line
MOST_FIELDS = 100

CODES: dict[str, tuple[int, str]] = {
    "INVALID_REQUEST": (400, "The request is no plain HTTP/1.1."),
    "REQUEST_TIMEOUT": (408, "The request was not whole in time."),
    "LENGTH_REQUIRED": (411, "The body comes without a Content-Length."),
    "TOO_MANY_CONNECTIONS": (429, "There are as many connections as there may be."),
}
REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_LINE = re.compile(rf"({_WORD}{{1,32}}) (/[!-~]*) HTTP/1\.([01])")
_NAME = re.compile(rf"{_WORD}+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(r"[0-9]{1,18}")
_BROKEN = re.compile(rb"\0|(?<!\r)\n|\r(?!\n|\Z)")  # a line ends with both, and a NUL is in none
_END = b"\r\n\r\n"
# Each is believed, so a second one is a contradiction, even if it says the same.
_ONCE = {
    "authorization",
    "content-length",
    "content-type",
    "host",
    "origin",
    "sec-fetch-site",
    "transfer-encoding",
}


class Head:
    """A request before its body. `headers`: name in lower case -> value; `query` is what follows the "?"."""

    __slots__ = ("headers", "is_kept", "length", "method", "path", "query", "wants_continue")

    def __init__(self, method: str, target: str, headers: dict[str, str], length: int, *, is_old: bool):
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.length = length  # bytes of the body
        options = {word.strip().lower() for word in headers.get("connection", "").split(",")}
        self.is_kept = "keep-alive" in options if is_old else "close" not in options
        self.wants_continue = not is_old and headers.get("expect", "").lower() == "100-continue"


class Incoming:
    """What a connection has brought and nobody has taken: a head, then its body, then the next head."""

    __slots__ = ("_data", "_seen")

    def __init__(self) -> None:
        self._data = bytearray()
        self._seen = 0  # bytes of a head that were looked through

    def __len__(self) -> int:
        return len(self._data)

    def take(self, data: bytes) -> None:
        """Add what came."""
        self._data += data

    def head(self) -> Head | None:
        """The next head; None: not all of it is here.

        Raises Refused, 400 INVALID_REQUEST or 411 LENGTH_REQUIRED: then nothing behind it can be read.
        """
        data = self._data
        begin = 2 if data.startswith(b"\r\n") else 0  # one empty line before it means nothing
        end = data.find(_END, max(begin, self._seen - 3))
        stop = len(data) if end < 0 else end + 2
        if _BROKEN.search(data, max(0, self._seen - 1), stop):
            raise bad_request("a line must end with CR LF, and hold no NUL")
        if stop - begin > MOST_HEAD:
            raise bad_request(f"its head is longer than {MOST_HEAD} bytes")
        self._seen = stop
        if end < 0:
            return None
        head = read_head(bytes(data[begin:end]))
        del data[: end + 4]
        self._seen = 0
        return head

    def body(self, length: int) -> bytes | None:
        """The body of that many bytes; None: not all of it is here."""
        if len(self._data) < length:
            return None
        body = bytes(self._data[:length])
        del self._data[:length]
        return body


def bad_request(why: str) -> Refused:
    """400 INVALID_REQUEST."""
    return Refused(400, "INVALID_REQUEST", f"Invalid request: {why}")


def read_head(raw: bytes) -> Head:
    """A request line and its fields, without the empty line. Raises Refused as `Incoming.head`."""
    line, *fields = raw.decode("latin-1").split("\r\n")
    found = _LINE.fullmatch(line) if len(line) <= MOST_LINE else None
    if not found:
        raise bad_request("its first line must be a method, a path and HTTP/1.1")
    method, target, minor = found.groups()
    headers = _headers(fields)
    if minor == "1" and "host" not in headers:
        raise bad_request("HTTP/1.1 needs a Host")
    return Head(method, target, headers, _length(headers), is_old=minor == "0")


def _headers(fields: list[str]) -> dict[str, str]:
    if len(fields) > MOST_FIELDS:
        raise bad_request(f"more than {MOST_FIELDS} header fields")
    headers: dict[str, str] = {}
    for field in fields:
        name, colon, value = field.partition(":")
        # A name with a space behind or before it is what other readers take for another name, or for a
        # continued line.
        if not colon or not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise bad_request("a header field must be a name, a colon and a printable value")
        name, value = name.lower(), value.strip(" \t")
        if name in headers and name in _ONCE:
            raise bad_request(f"{name} is there twice")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _length(headers: dict[str, str]) -> int:
    length = headers.get("content-length")
    if "transfer-encoding" in headers:
        if length is not None:
            raise bad_request("it has both Content-Length and Transfer-Encoding")
        raise Refused(411, "LENGTH_REQUIRED", "A body needs a Content-Length, and is sent in one piece")
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise bad_request("Content-Length is no number of bytes")
    return int(length)


def response(
    status: int, document: dict[str, Any] | None, *, is_kept: bool = True, has_body: bool = True
) -> bytes:
    """An answer as it goes over the wire. `document` None: there is none; `has_body` False: to a HEAD."""
    body = b""
    if document is not None:
        try:
            body = json.dumps(document, allow_nan=False).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            failed = {"error": f"Internal error: {type(error).__name__}", "code": "INTERNAL_ERROR"}
            return response(500, failed, is_kept=is_kept, has_body=has_body)
    head = "\r\n".join(_lines(status, document, len(body), is_kept))
    return head.encode("ascii", "replace") + _END + (body if has_body else b"")


def _lines(status: int, document: dict[str, Any] | None, size: int, is_kept: bool) -> Iterable[str]:
    yield f"HTTP/1.1 {status} {REASONS.get(status, '')}"
    if document is not None:
        yield "Content-Type: application/json"
        yield "X-Content-Type-Options: nosniff"
    if status != 204:  # which has none (RFC 9110, section 8.6)
        yield f"Content-Length: {size}"
    if status == 401:
        yield "WWW-Authenticate: Bearer"
    if status == 405 and document is not None:
        yield "Allow: " + ", ".join(document.get("details", {}).get("allowed", ()))
    yield "Cache-Control: no-store"
    yield f"Connection: {'keep-alive' if is_kept else 'close'}"
