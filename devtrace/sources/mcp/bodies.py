"""What stands in a body of HTTP, whatever it was encoded in on its way.

gzip and deflate are what the standard library reads. Of br, zstd and others the proxy passes the bytes on,
and the record says that it could not read them.

Lives here: `reader`. Not here: what the body says (exchanges.py). Standard library only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

# So many times more than came may stand in a body; beyond that it is made to fill somebody's memory.
_MOST_RATIO = 200
_ALWAYS = 32 << 20  # bytes that may come of anything
_STEP = 1 << 18
_EITHER = 32 + zlib.MAX_WBITS  # gzip or zlib, as its first bytes say

Reader = Callable[[bytes], Iterator[bytes]]


class Unreadable(ValueError):
    """A body that cannot be read; its text says why."""


def reader(encoding: str) -> Reader:
    """A function from pieces as they came to pieces as they were meant, by the header Content-Encoding.

    Raises Unreadable at once for an encoding that nobody here knows; the function does for a broken body.
    """
    names = [name.strip().lower() for name in encoding.split(",")]
    known = [name for name in names if name not in ("", "identity")]
    if not known:
        return _as_it_is
    if known in (["gzip"], ["x-gzip"], ["deflate"]):
        return _Inflating(is_deflate=known == ["deflate"])
    raise Unreadable(f"content-encoding {', '.join(known)}"[:100])


def _as_it_is(data: bytes) -> Iterator[bytes]:
    yield data


class _Inflating:
    """One body that was compressed. What stands behind its end is passed over."""

    def __init__(self, *, is_deflate: bool):
        self._zlib = zlib.decompressobj(_EITHER)
        self._begun = b"" if is_deflate else None  # some send deflate without the frame of zlib
        self._came = 0
        self._told = 0

    def __call__(self, data: bytes) -> Iterator[bytes]:
        self._came += len(data)
        while not self._zlib.eof:
            piece = self._inflated(data)
            self._told += len(piece)
            if self._told > max(_ALWAYS, self._came * _MOST_RATIO):
                raise Unreadable("a body that grows without bounds")
            if piece:
                yield piece
            data = self._zlib.unconsumed_tail
            if not data and len(piece) < _STEP:
                break

    def _inflated(self, data: bytes) -> bytes:
        if self._begun is not None and not self._told:
            self._begun += data
        try:
            return self._zlib.decompress(data, _STEP)
        except zlib.error as error:
            if self._begun is None or self._told:
                raise Unreadable("a compressed body that is broken") from error
            data, self._begun = self._begun, None
            self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._inflated(data)
