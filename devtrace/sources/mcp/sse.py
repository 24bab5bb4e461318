"""Pieces of a `text/event-stream` become events, in bounded memory.

The rules are those of WHATWG HTML, 9.2: lines end by LF, CR or both, `data` of several lines is one text, an
event ends with an empty line.

Lives here: `Events`. Not here: what an event's data says (messages.py), whose stream it is (exchanges.py).
Standard library only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from devtrace.sources.mcp.lines import LONGEST, Piece, Pieces

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event."""

    name: str  # "message" where the stream gave none
    data: Piece


class Events:
    """The events of one stream, whose pieces may end anywhere, between CR and LF too."""

    __slots__ = ("_data", "_has_data", "_is_first", "_is_torn", "_line", "_name", "_was_cr", "has_ids")

    def __init__(self, longest: int = LONGEST, *, is_torn: bool = False):
        """`is_torn`: the first bytes may be in the middle of an event."""
        self._line = Pieces(longest)
        self._data = Pieces(longest)
        self._has_data = False
        self._name = b""
        self._was_cr = False
        self._is_first = True
        self._is_torn = is_torn
        self.has_ids = False  # whether a client could take the stream up again where it broke

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete."""
        found: list[Event] = []
        start = 1 if self._was_cr and data[:1] == b"\n" else 0
        self._was_cr = data[-1:] == b"\r" if data else self._was_cr
        while end := _LINE_END.search(data, start):
            self._line.add(data[start : end.start()])
            self._finish_line(found)
            start = end.end()
        if start < len(data):
            self._line.add(data[start:])
        return found

    def lost(self) -> None:
        """Bytes are missing: the event in which they were is given up."""
        self._line.clear()
        self._forget()
        self._was_cr = False
        self._is_torn = True

    def _finish_line(self, found: list[Event]) -> None:
        line = self._line.take()
        if self._is_first:
            self._is_first = False
            if line.data.startswith(_BOM):
                line = line._replace(data=line.data[len(_BOM) :], size=line.size - len(_BOM))
        if not line.size:
            self._finish_event(found)
            return
        name, _, value = line.data.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            if self._has_data:
                self._data.add(b"\n")
            self._data.join(Piece(value, line.size - len(line.data) + len(value), line.tail))
            self._has_data = True
        elif name == b"event":
            self._name = value
        elif name == b"id":
            self.has_ids = True

    def _finish_event(self, found: list[Event]) -> None:
        """An event without data is none; of one that was torn, who reads it decides."""
        if self._has_data:
            data = self._data.take(is_torn=self._is_torn)
            found.append(Event(self._name[:100].decode("utf-8", "replace") or "message", data))
        self._is_torn = False
        self._forget()

    def _forget(self) -> None:
        self._data.clear()
        self._has_data = False
        self._name = b""
