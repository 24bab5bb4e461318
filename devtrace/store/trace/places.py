"""Which line it was: where the frame at the top stood, in front of a word of a block.

Lines cost nothing while a block is read: that one is looked for backwards from where something was written,
and calls that began and ended in between are skipped as brackets.

    CALL ─ LINE ─ CALL ─ LINE ─ RETURN ─ (here)     the first LINE, not the second
    CALL ─ LINE ─ YIELD ─ … ─ RESUME ─ (here)       a generator is where it was suspended

Where the block does not say it, the STACK words at its begin do, and of what was suspended in an earlier
block it is remembered. Of nothing else: a line that may be another one by now is none.

Lives here: `Places`, of one stream. Not here: which frames are at work (calls.py), finding the words
(scan.py). Standard library only, and no dataclass.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import le, lt
from typing import TYPE_CHECKING, Generic, TypeVar

from devtrace.store.trace import records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devtrace.store.trace.scan import Scan

_Frame = TypeVar("_Frame")
Near = tuple[
    int, int, int
]  # of IO: anchor, the LINE between it and the move before it or -1, events before it
_OPENING = (records.CALL, records.RESUME)
_IN_RUN = (records.STACK, records.FRAME)


class Places(Generic[_Frame]):
    """Lines of frames, block after block. `lines`: where each was that is not found in the block itself."""

    def __init__(self) -> None:
        self.lines: dict[_Frame | None, int] = {}
        self._scan: Scan | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._left: dict[_Frame, int] = {}  # suspended in this block -> where its yield is
        self._before: dict[int, int] = {}  # where a RESUME is -> where the yield is that it follows
        self._openings: dict[int, int] = {}  # index of a RETURN's move -> of its CALL's; -1: none is here
        self._looked: dict[
            _Frame | None, tuple[int, int]
        ] = {}  # up to where it was looked for, what was found

    def begin(self, scan: Scan) -> None:
        """The next block."""
        self._scan = scan

    def end(self, suspended: Iterable[_Frame]) -> None:
        """The block is read. `suspended`: all that are; of the others the next block must say it."""
        known = {}
        for frame in suspended:
            left = self._left.get(frame)
            line = self.lines.get(frame, 0) if left is None else self.line(frame, left)
            if line:
                known[frame] = line
        self.lines = known  # type: ignore[assignment]
        self._begin_anew()
        self._scan = None

    def suspended(self, frame: _Frame, at: int) -> None:
        """It yielded, at that word."""
        self._left[frame] = at

    def resumed(self, frame: _Frame, at: int) -> None:
        """It goes on, at that word."""
        left = self._left.pop(frame, None)
        if left is not None:
            self._before[at] = left

    def line(self, frame: _Frame | None, at: int) -> int:
        """Where the frame at the top was in front of that word, as a LINE word without tag; 0: not known."""
        found = self._found(frame, at)
        self._looked[frame] = at, found
        return found

    def _found(self, frame: _Frame | None, at: int) -> int:
        scan = self._scan
        assert scan is not None
        moves, words = scan.moves, scan.words
        looked_at, looked = self._looked.get(frame, (-1, 0))
        number = bisect_left(moves, at) - 1
        while True:
            word = scan.last(records.LINE, moves[number] + 1 if number >= 0 else 0, at)
            if word >= 0 and word >= looked_at:
                return words[word] & ~15
            at = moves[number] if number >= 0 else 0
            if at < looked_at:
                return looked
            tag = words[at] & 15 if number >= 0 else records.STACK
            if tag == records.RETURN:
                number = self._opening(number)
                if number < 0:
                    return self.lines.get(frame, 0)
                at = moves[number]
            elif tag == records.RESUME and at in self._before:
                at = self._before[at]
                number = bisect_left(moves, at)
            elif tag == records.CALL:
                return 0
            elif tag in (records.STACK, records.RESUME):
                return self.lines.get(frame, 0)
            number -= 1

    def _opening(self, number: int) -> int:
        """Of the RETURN that is this move, which move is its CALL; -1: it was at work before the block."""
        scan = self._scan
        assert scan is not None
        moves, words, openings = scan.moves, scan.words, self._openings
        waiting: list[int] = []
        while number >= 0:
            tag = words[moves[number]] & 15
            if tag == records.RETURN:
                waiting.append(number)
                if number in openings:
                    number = openings[number]
                    tag = records.CALL
            if number < 0 or tag == records.STACK:
                break
            if tag in _OPENING:
                openings[waiting[-1]] = number
                waiting.pop()
                if not waiting:
                    return number
            number -= 1
        openings.update(dict.fromkeys(waiting, -1))
        return -1


def placed(scan: Scan) -> tuple[list[int], list[Near]]:
    """The moves of a block, and IO in its place among them; of each IO what is near it.

    A run of STACK is one, and so are a call and the number of its frame: nothing comes between.
    """
    words, moves, last, count = scan.words, scan.moves, scan.last, scan.flags.count
    found: list[int] = []
    near: list[Near] = []
    done = n_events = since = 0
    n_moves = len(moves)
    for at, anchor in zip(*_in_order(scan), strict=True):
        upto = done
        if upto < n_moves and moves[upto] <= anchor:
            upto = bisect_left(moves, anchor, done)
            beyond = anchor
            while upto < n_moves and moves[upto] == beyond and _goes_on(words, moves, upto):
                beyond += 1
                upto += 1
            found += moves[done:upto]
            done = upto
        found.append(at)
        n_events += count(1, since, anchor)
        since = anchor
        near.append((anchor, last(records.LINE, moves[upto - 1] + 1 if upto else 0, anchor), n_events))
    return found + moves[done:], near


def _in_order(scan: Scan) -> tuple[list[int], list[int]]:
    """The IO words of a block and their anchors. What is in one place came in the order of its times."""
    words, io = scan.words, scan.io
    anchors = [words[at] >> 16 & 0xFFFF for at in io]
    if all(map(lt, anchors, anchors[1:])) and all(map(le, anchors, io)):
        return io, anchors
    found = sorted((min(anchor, at), words[at + 1], at) for at, anchor in zip(io, anchors, strict=True))
    return [at for _, _, at in found], [anchor for anchor, _, _ in found]


def _goes_on(words: memoryview, moves: list[int], number: int) -> bool:
    """Whether that move is a part of what began before it."""
    word = words[moves[number]]
    if word & 15 == records.FRAME:
        return True
    is_next = number > 0 and moves[number - 1] == moves[number] - 1
    is_run = is_next and words[moves[number - 1]] & 15 in _IN_RUN
    return is_run and word & 15 == records.STACK and bool(word >> 24)
