r"""The first event of an HTTP+SSE server (2024-11-05): where the client is to post its messages.

    event: endpoint
    data: https://mcp.example.com/messages?session=1

A path works as it is. A URL of the server's origin would lead the client past us, so it is told with our
origin: the one change of a stream. Only its start is held, and no longer than it may be that event.

Not here: events as messages, for the record (sse.py). Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from devtrace.sources.mcp.oauth import Origins

Span = tuple[int, int]

_LONGEST_HELD = 8192  # bytes: an endpoint is a short URL
_LINE = re.compile(rb"([^\r\n]*)(?:\r\n|\n|\r)")  # of a CRLF that is cut in two the LF is an empty line
_BOM = b"\xef\xbb\xbf"
_NOWHERE: Span = (0, 0)


class FirstEvent:
    """The start of one event stream: what comes is fed in, what may go on comes out."""

    def __init__(self, origins: Origins):
        self.endpoint = ""  # as the client is told it, once it is known
        self.is_over = False  # the rest of the stream passes as it comes
        self._origins = origins
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """The bytes that may go on now."""
        if self.is_over:
            return piece
        self._held += piece
        said_nothing = _before_event(self._held)
        before, self._held = self._held[:said_nothing], self._held[said_nothing:]
        span = _url_in(self._held)
        if span is None and len(self._held) <= _LONGEST_HELD:
            return before
        return before + self._told(span or _NOWHERE)

    def rest(self) -> bytes:
        """What is still held when the stream ends."""
        return b"" if self.is_over else self._told(_NOWHERE)

    def _told(self, span: Span) -> bytes:
        held, self._held, self.is_over = self._held, b"", True
        if span == _NOWHERE:
            return held
        old = held[span[0] : span[1]].decode("latin-1")
        self.endpoint = self._origins.to_ours(old)
        return held[: span[0]] + self.endpoint.encode("latin-1") + held[span[1] :]


def _lines(start: bytes) -> Iterator[re.Match[bytes]]:
    """The whole lines; a search would try each byte of one that has no end yet."""
    at = 0
    while found := _LINE.match(start, at):
        at = found.end()
        yield found


def _before_event(start: bytes) -> int:
    """Where the first event begins: comments and empty lines before it keep a connection alive, and pass."""
    at = 0
    for found in _lines(start):
        line = found[1].removeprefix(_BOM)
        if line and not line.startswith(b":"):
            break
        at = found.end()
    return at


def _url_in(start: bytes) -> Span | None:
    """Where the endpoint stands; `_NOWHERE`: the first event is another one; None: it is not here yet."""
    is_endpoint, url, at = False, _NOWHERE, 0
    for found in _lines(start):
        name, _, value = found[1].removeprefix(_BOM).partition(b":")
        value, at = value.removeprefix(b" "), found.end()
        if not found[1]:
            return url
        if name == b"event":
            is_endpoint = value == b"endpoint"
        elif name == b"data" and is_endpoint and url == _NOWHERE:
            url = (found.end(1) - len(value), found.end(1))
        if name in (b"event", b"data") and not is_endpoint:
            return _NOWHERE
    return None if _may_become(start[at:], is_endpoint) else _NOWHERE


def _may_become(torn: bytes, is_endpoint: bool) -> bool:
    """Whether a line that is not whole yet can belong to an event that tells an endpoint."""
    names = (b"id", b"retry", b"event", _BOM, *((b"data", b":") if is_endpoint else (b":",)))
    torn = torn.removeprefix(_BOM)
    return not torn or any(torn.startswith(name) or name.startswith(torn) for name in names)
