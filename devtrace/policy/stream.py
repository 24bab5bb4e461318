"""Bytes that come in pieces, redacted as if they had come at once: a secret cut in two is found.

What was fed is judged block by block, each with what stands before and after it. Where one ends depends on
the bytes alone and not on how they were cut into pieces, and what could still become a secret is held back.

Lives here: `Stream`. Not here: judging (chain.py). Standard library only, no dataclass: guests import this.
"""

from __future__ import annotations

from collections.abc import Callable

from devtrace.policy.chain import CUT_END, Found, Policy
from devtrace.policy.escapes import Plain

BLOCK = 32_768  # bytes that are judged at once, up to the next line's end
_LONGEST_LINE = 32_768  # bytes after which a block ends within a line
_STEP = 4_096  # bytes that come in before it is looked again whether a block has ended
_BEFORE = 4_096  # bytes of context: the name that stands before a value
_AFTER = 8_192  # bytes that may complete what a block begins: more than any value is long
_AFTER_KEY = 65_536 + _AFTER  # when it begins a private key


class Stream:
    """`feed` returns what is decided by now, `close` the rest. For one thread, as its policy is."""

    __slots__ = ("_data", "_done", "_enough", "_offset", "_on_found", "_policy")

    def __init__(self, policy: Policy, on_found: Callable[[Found], object] | None = None):
        """`on_found` is called for each secret, in their order, with its place in all that was fed."""
        self._policy = policy
        self._on_found = on_found
        self._data = bytearray()  # context, and what is held back
        self._done = 0  # how much of it is context
        self._enough = BLOCK + _AFTER  # bytes of it with which looking for a block's end is worth it
        self._offset = 0  # where in all that was fed it begins

    @property
    def held(self) -> int:
        """How many bytes are held back."""
        return len(self._data) - self._done

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; returns the redacted form of what no later byte can change."""
        self._data += data
        return self._judge(is_over=False) if len(self._data) >= self._enough else b""

    def flush(self) -> bytes:
        """Return all that is held back, for who cannot wait: a secret that breaks off is masked so far."""
        return self._judge(is_over=True, edges=CUT_END)

    def close(self) -> bytes:
        """Nothing is to come: return the rest."""
        return self._judge(is_over=True)

    def _judge(self, *, is_over: bool, edges: int = 0) -> bytes:
        pieces = []
        while self.held:
            stop = self._block_end(is_over)
            limit = stop + self._wants_after(stop)
            if not is_over and len(self._data) < limit:
                self._enough = min(limit, len(self._data) + _STEP)
                break
            is_last = len(self._data) <= limit
            part = self._policy.redact_part(
                bytes(self._data[:limit]), self._done, stop, edges if is_last else 0
            )
            pieces.append(part.data)
            for found in part.found if self._on_found else ():
                self._tell(found)
            self._forget(part.upto)
        return b"".join(pieces)

    def _block_end(self, is_over: bool) -> int:
        """After the first line that ends behind a block's length."""
        least = self._done + BLOCK
        line = self._data.find(b"\n", least, least + _LONGEST_LINE)
        end = line + 1 if line >= 0 else least + _LONGEST_LINE
        return min(end, len(self._data)) if is_over else end

    def _wants_after(self, stop: int) -> int:
        begins_key = b"PRIVATE KEY" in Plain(bytes(self._data[max(0, self._done - 128) : stop])).text
        return _AFTER_KEY if begins_key else _AFTER

    def _tell(self, found: Found) -> None:
        if self._on_found is not None:
            self._on_found(found._replace(start=found.start + self._offset, end=found.end + self._offset))

    def _forget(self, upto: int) -> None:
        gone = max(0, upto - _BEFORE)
        del self._data[:gone]
        self._done = upto - gone
        self._offset += gone
