"""Where among the records of the shells something happened, by the order in which the kernel told of both.

A hook opens the FIFO, writes one line and closes it, before a command begins and after it has ended. inotify
tells of such writes in one queue with the changes of files, so a change that stands behind the begin of a
command and before its end was made in between, however late anybody reads of it and whatever clocks say.

The kernel joins equal events that follow each other, which two shells at once can bring about: so the writes
that it told of are counted against the lines that were read, whenever nothing is on its way. Only between two
moments at which both counts went the same way a place is believed; else the times have to do.

Lives here: `Places`. Not here: the counting (sources/watch.py, sources/shell/reader.py), judging.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from devtrace.services.edits.attribution import Interval
    from devtrace.sources.watch import Watcher

_MOST_LINES = 20_000
_LATE_US = 100_000  # that a record without a time of its own may be read late
_MOST_STRETCHES = 100
_COMPARISONS = 3  # tries to meet the FIFO at rest


class _Line(NamedTuple):
    """A record that says that a command begins or has ended."""

    number: int
    at_us: int
    begins: bool


class _Stretch(NamedTuple):
    """From one write to another (by the kernel's count) each is the line of its number and `offset`."""

    first: int
    last: int
    offset: int


class Places:
    """Of one session. `told` is for its recorder's thread, all else for one other."""

    def __init__(self, n_told: Callable[[], int | None] = lambda: None) -> None:
        """`n_told()`: how many lines of the FIFO were read, and None while there are others."""
        self._n_told = n_told
        self._lines: deque[_Line] = deque(maxlen=_MOST_LINES)
        self._seen: list[_Line] = []
        self._stretches: deque[_Stretch] = deque(maxlen=_MOST_STRETCHES)

    def told(self, number: int, at_us: int, *, begins: bool) -> None:
        """That line said, with this time, that a command begins or has ended."""
        self._lines.append(_Line(number, at_us, begins))

    def compare(self, watcher: Watcher) -> None:
        """Settle, and hold what the kernel told of the FIFO against what was read from it."""
        if not watcher.settle():
            return
        for _ in range(_COMPARISONS):
            n_writes, n_told = watcher.n_writes, self._n_told()
            if not watcher.settle() or self.counted(n_writes, n_told, watcher.n_writes):
                break

    def counted(self, before: int, n_lines: int | None, after: int) -> bool:
        """How many writes the kernel had told of before and after so many lines were read; None: not all.

        False: that tells nothing, for something was on its way.
        """
        if n_lines is None or before != after:
            return False
        offset = n_lines - before
        while self._stretches and self._stretches[-1].offset > offset:
            self._stretches.pop()  # events are joined, never split: a line was read before it was told of
        if self._stretches and self._stretches[-1].offset == offset:
            self._stretches[-1] = self._stretches[-1]._replace(last=before)
        else:
            self._stretches.append(_Stretch(before, before, offset))
        return True

    def may_be_told(self, place: int | None) -> bool:
        """Whether it may still turn out that this place is to be believed."""
        return place is not None and (not self._stretches or place > self._stretches[-1].last)

    def narrowed(self, moment: Interval, place: int | None) -> Interval | None:
        """When something happened in a moment behind so many writes: at a time of the shell's own.

        The result lies inside every command in which it happened, and outside all others. None: that is not
        known from its place.
        """
        offset = next((one.offset for one in self._stretches if _is_in(place, one)), None)
        if place is None or offset is None:
            return None
        lines = self._snapshot()
        at = bisect_right(lines, place + offset, key=lambda line: line.number)
        since_us, until_us = moment
        if at:
            since_us = lines[at - 1].at_us + (0 if lines[at - 1].begins else 1)
        elif len(lines) == _MOST_LINES:
            return None
        if at < len(lines):
            until_us = lines[at].at_us - (1 if lines[at].begins else 0)
        inside = max(since_us, moment[0]), min(until_us, moment[1])
        if inside[0] <= inside[1]:
            return inside
        is_near = inside[0] - inside[1] <= _LATE_US  # further apart, and one of the two is wrong
        return (since_us, until_us) if since_us <= until_us and is_near else None

    def _snapshot(self) -> list[_Line]:
        if self._lines and (not self._seen or self._seen[-1] is not self._lines[-1]):
            self._seen = list(self._lines)
        return self._seen


def _is_in(place: int | None, stretch: _Stretch) -> bool:
    return place is not None and stretch.first <= place <= stretch.last
