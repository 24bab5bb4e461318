"""Pieces of bytes become whole messages, one a line, in bounded memory.

A message that is too long is gone over to its end: its first and last bytes and its size are kept. After a
loss the bytes up to the next line end may be the rest of a message whose beginning nobody has: they are
marked as torn, and who reads them decides.

Lives here: `Pieces`, which gathers one message, and `Lines` of one direction. Not here: what a message says
(messages.py), the event streams of HTTP (sse.py). Standard library only.
"""

from __future__ import annotations

from typing import NamedTuple

LONGEST = 16 << 20  # bytes of a message that is read as a whole
HEAD, TAIL = 64 << 10, 4 << 10  # bytes kept of a longer one
_BLANKS = b" \t\r"


class Piece(NamedTuple):
    """A message as it passed, without its line end."""

    data: bytes  # all of it, or its first bytes
    size: int  # bytes that it really has
    tail: bytes = b""  # the last bytes of one that is too long
    is_torn: bool = False  # its beginning may be missing

    @property
    def is_cut(self) -> bool:
        """Whether it was too long to be kept."""
        return self.size > len(self.data)


class Pieces:
    """What belongs to one message, until it is whole."""

    __slots__ = ("_data", "_longest", "_tail", "size")

    def __init__(self, longest: int = LONGEST):
        self._longest = longest
        self._data = bytearray()  # all of it, or the first bytes of one that is too long
        self._tail = b""
        self.size = 0

    def add(self, data: bytes) -> None:
        """More of it. It costs its own length, however much there is already."""
        self.join(Piece(data, len(data)))

    def join(self, piece: Piece) -> None:
        """The same for what is too long by itself."""
        was_whole = self.size <= self._longest
        self.size += piece.size
        if self.size <= self._longest:
            self._data += piece.data
            return
        tail = bytes(self._data[-TAIL:]) if was_whole else self._tail
        self._tail = (tail + (piece.tail or piece.data[-TAIL:]))[-TAIL:]
        if was_whole:
            self._data += piece.data[:HEAD]
            del self._data[HEAD:]

    def take(self, *, is_torn: bool = False) -> Piece:
        """All of it; the next message begins."""
        piece = Piece(bytes(self._data), self.size, self._tail, is_torn)
        self.clear()
        return piece

    def clear(self) -> None:
        """Forget what was gathered."""
        self._data = bytearray()
        self._tail = b""
        self.size = 0


class Lines:
    """The messages of one direction of a stdio server."""

    __slots__ = ("_is_torn", "_pieces")

    def __init__(self, longest: int = LONGEST, *, is_torn: bool = False):
        """`is_torn`: the first bytes may be in the middle of a message."""
        self._pieces = Pieces(longest)
        self._is_torn = is_torn

    def feed(self, data: bytes) -> list[Piece]:
        """The messages that these bytes complete; empty lines are none."""
        found: list[Piece] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._pieces.add(data[start:end])
            self._finish(found)
            start = end + 1
        if start < len(data):
            self._pieces.add(data[start:])
        return found

    def lost(self) -> None:
        """Bytes are missing between what came and what comes: no message goes on over that."""
        self._pieces.clear()
        self._is_torn = True

    def end(self) -> list[Piece]:
        """What stands behind the last line end, when nothing more comes."""
        found: list[Piece] = []
        self._finish(found)
        return found

    def _finish(self, found: list[Piece]) -> None:
        piece = self._pieces.take(is_torn=self._is_torn)
        self._is_torn = False
        if piece.is_cut:
            found.append(piece)
        elif data := piece.data.strip(_BLANKS):
            found.append(Piece(data, len(data), b"", piece.is_torn))
