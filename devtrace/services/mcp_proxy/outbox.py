"""Frames on their way into the spool, also when it cannot be written for a while.

What cannot be written waits in memory, in its order; what finds no room there is counted, and told by a gap
as soon as something can be written.

Lives here: `Outbox`. Not here: the file (store/spool.py), what a frame says (frames.py). Standard
library only: a guest.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from devtrace.store.spool import SESSION_FRAME, SpoolWriter

Frame = dict[str, Any]

_MOST_WAITING = 8 << 20  # bytes of frames, about
_EMPTY_FRAME = 1_000  # bytes of one without its texts
_AGAIN_S = 0.25  # between two attempts


class Loss(NamedTuple):
    """Events that were given up, and between which moments they happened."""

    events: int
    since_us: int
    until_us: int


class Outbox:
    """The one writer of a recording process. Never raises for the disk."""

    def __init__(self, spool: Path, gap_of: Callable[[Loss], Frame]):
        """`gap_of`: the frame that tells of a loss."""
        self._writer = SpoolWriter(spool)
        self._gap_of = gap_of
        self._waiting: deque[tuple[Frame, int]] = deque()
        self._size = 0
        self._lost: Loss | None = None
        self._failed_at = 0.0  # 0: the last attempt went well
        self.has_written = False  # since that was last set to False

    @property
    def patience_s(self) -> float | None:
        """When to try again; None: nothing waits."""
        if not self._waiting and self._lost is None:
            return None
        return max(0.0, self._failed_at + _AGAIN_S - time.monotonic())

    def put(self, frame: Frame) -> None:
        """Write a frame, redacted and cut, or let it wait."""
        if (not self._waiting and self._lost is None) or self._is_due():
            self.flush()
        if not self._waiting and self._lost is None and self._written(frame):
            return
        size = _size(frame)
        if self._size + size <= _MOST_WAITING:
            self._waiting.append((frame, size))
            self._size += size
        elif frame.get("status") != "running":  # a start that is lost is told by its end
            self._lose(frame)

    def flush(self) -> bool:
        """Write what waits; whether nothing does any more."""
        while self._waiting:
            frame, size = self._waiting[0]
            if not self._written(frame):
                return False
            self._waiting.popleft()
            self._size -= size
        if self._lost is not None:
            if not self._written(self._gap_of(self._lost)):
                return False
            self._lost = None
        return True

    def close(self) -> None:
        """Write what can be written, and let go of the file."""
        self.flush()
        self._writer.close()

    def _is_due(self) -> bool:
        return time.monotonic() >= self._failed_at + _AGAIN_S

    def _written(self, frame: Frame) -> bool:
        done = self._writer.write(frame)
        self._failed_at = 0.0 if done else time.monotonic()
        self.has_written = self.has_written or done
        return done

    def _lose(self, frame: Frame) -> None:
        if frame.get("kind") == SESSION_FRAME:
            return  # no event: the session is known by its events
        since_us, until_us = int(frame["started_us"]), int(frame["ended_us"] or frame["started_us"])
        lost = self._lost or Loss(0, since_us, until_us)
        self._lost = Loss(lost.events + 1, min(lost.since_us, since_us), max(lost.until_us, until_us))


def _size(frame: Frame) -> int:
    """How much memory it takes, about."""
    texts = (value for value in (frame.get("data") or {}).values() if isinstance(value, str))
    blobs = (frame.get("blobs") or {}).values()
    return _EMPTY_FRAME + sum(map(len, texts)) + sum(map(len, blobs))
