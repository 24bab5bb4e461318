"""What a session knows of commands, its own and those of others, and what follows from it for a look.

Lives here: `Judge`: whether it can be said yet whose a change was, and then whose. Not here: the comparison
of times (attribution.py), what changed (checkpoint.py), when to look again (tracker.py).
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from devtrace.events import Event, RunCommand
from devtrace.services.edits import others
from devtrace.services.edits.attribution import (
    Interval,
    Verdict,
    Window,
    attribute,
    fitting,
    is_heard,
    may_be_over,
)
from devtrace.services.edits.checkpoint import Found
from devtrace.services.edits.others import Others
from devtrace.services.edits.telling import Groups, moments_of
from devtrace.workspace import Workspace

ENDED_US = 700_000  # after which the end of every command has been heard of: a process's may take 500 ms
_PLACE_US = 500_000  # that a change waits for its place among the commands to be sure
FOREIGN_S = 5.0  # that a change of another live session's command waits to be told by that session
LAST_S = 1.2  # the same when our own session ends: whoever ended it kills what is still there in five seconds
_MOST_WINDOWS = 2_000
_RECORD_US = 30_000  # that a record may take from a shell to the time it is given


class Hints(NamedTuple):
    """When a path was hinted at. `are_placed`: as `Places` says; `may_be_placed`: it may say so soon."""

    moments: Sequence[Interval] = ()
    are_placed: bool = False
    may_be_placed: bool = False

    def may_wait(self, now_us: int) -> bool:
        """Whether it is too early to judge by times alone."""
        return self.may_be_placed and any(until_us > now_us - _PLACE_US for _, until_us in self.moments)


def window_of(event: Event) -> Window | None:
    """When a command runs, or ran; None: it is no command, or one that stands for many."""
    if not isinstance(event.body, RunCommand) or event.body.folded:
        return None
    ended_us = None if event.status == "running" else event.ended_us or time.time_ns() // 1000
    # fish tells no times: it began when its record was written, a little before that was read.
    slack_us = _RECORD_US if event.body.shell == "fish" else 0
    return Window(event.session, event.id, event.parent, event.started_us, ended_us, event.actor, slack_us)


class Judge:
    """For one session and one working tree; on its thread but for `heard_us`, which anybody may set."""

    def __init__(self, place: Workspace, root: Path, session: str, started_us: int):
        self._place = place
        self._root = root
        self._session = session
        self._started_us = started_us
        self._windows: dict[str, Window] = {}
        self._foreign: dict[bytes, float] = {}  # since when another session may tell of the path
        self._last_heard: dict[str, tuple[int, float]] = {}  # from another session, and when it was new
        self.heard_us = 0  # every command that began before that moment has been told
        self.waits_for_ends = False  # what the last look left may have to do with an end that is not told yet

    def windows(self, since_us: int = 0, *, placed: bool) -> list[Window]:
        """The session's own commands that ran at some time since then.

        `placed`: to be compared with moments that `Places` gave.
        """
        windows = [one for one in self._windows.values() if one.ended_us is None or one.ended_us >= since_us]
        if placed:
            return windows
        return [
            one._replace(started_us=one.started_us - one.slack_us) if one.slack_us else one for one in windows
        ]

    @property
    def waits_for_others(self) -> bool:
        """Whether the last look left something that another session may tell us of."""
        return bool(self._foreign)

    def known_us(self, *, is_last: bool) -> int | None:
        """Until when every secret is known that a command may have put into a file of the tree; None: now.

        `is_last`: nothing more of this session is to be heard. Another one that lives and has said nothing
        new for a while is not waited for.
        """
        now = time.monotonic()
        known, last = ([] if is_last else [self.heard_us]), self._last_heard
        self._last_heard = {}
        for other, us in others.heard(self._place, self._session, self._root).items():
            said = last.get(other)
            self._last_heard[other] = said if said is not None and said[0] == us else (us, now)
            if now - self._last_heard[other][1] < (LAST_S if is_last else FOREIGN_S):
                known.append(us)
        return min(known, default=None)

    def heard(self, window: Window) -> None:
        """A command of the session has begun, or ended."""
        self._windows[window.event] = window
        if window.ended_us is None:
            return
        while len(self._windows) > _MOST_WINDOWS:
            over = next((name for name, one in self._windows.items() if one.ended_us is not None), None)
            if over is None:
                break
            del self._windows[over]

    def is_settled(self, hints: Hints, now_us: int) -> bool:
        """Whether of these moments all is known that a command of the session may have to do with them."""
        windows = self.windows(placed=hints.are_placed)
        may_be = may_be_over(hints.moments, windows, now_us - ENDED_US)
        self.waits_for_ends = self.waits_for_ends or may_be
        return not may_be and not hints.may_wait(now_us) and is_heard(hints.moments, self.heard_us)

    def judge(
        self,
        found: Sequence[Found],
        hints: Callable[[bytes], Hints],
        since_us: int,
        now_us: int,
        *,
        is_last: bool,
    ) -> tuple[Groups, set[bytes]]:
        """The changes by whose they were, and the paths of which that cannot be said yet.

        `since_us`, `now_us`: when the looks before this one and this one began; what has changed later may
        be seen in part, and waits. `is_last`: nothing more of this session is to be heard.
        """
        groups: Groups = {}
        self.waits_for_ends = False
        hinted = {one.path: hints(one.path) for one in found}
        evidence = {one.path: moments_of(one, hinted[one.path].moments, since_us) for one in found}
        if not found:
            self._foreign.clear()
            return groups, set()
        first_us = min(moment[0] for moments in evidence.values() for moment in moments)
        foreign = others.look(self._place, self._session, self._root, first_us, now_us)
        own = {placed: self.windows(first_us, placed=placed) for placed in (False, True)}
        verdicts: dict[bytes, Verdict | None] = {}
        for one in found:
            windows = [*own[hinted[one.path].are_placed], *foreign.windows]
            moments = evidence[one.path]
            if not is_last and hinted[one.path].may_wait(now_us):
                verdicts[one.path] = None
                continue
            verdicts[one.path] = self._verdict(one, moments, windows, foreign, now_us, is_last=is_last)
        waiting = {path for path, verdict in verdicts.items() if verdict is None}
        waiting |= _other_halves(found, evidence, waiting)
        for one in found:
            verdict = verdicts[one.path]
            if verdict is not None and one.path not in waiting:
                groups.setdefault(verdict, []).append((one, evidence[one.path]))
        self._foreign = {path: since for path, since in self._foreign.items() if path in waiting}
        return groups, waiting

    def _verdict(
        self,
        one: Found,
        moments: Sequence[Interval],
        windows: Sequence[Window],
        foreign: Others,
        now_us: int,
        *,
        is_last: bool,
    ) -> Verdict | None:
        """Whose a change was; None where that cannot be said yet."""
        if one.is_unheard:
            return None
        unheard = [
            name
            for name, heard_us in foreign.heard_us.items()
            if any(moment[1] > heard_us for moment in moments)
        ]
        if unheard and self._may_wait(one.path, LAST_S if is_last else FOREIGN_S):
            return None
        windows = fitting(windows, one.path)
        if not is_last and not is_heard(moments, min(self.heard_us, now_us)):
            return None
        if not is_last and may_be_over(moments, windows, now_us - ENDED_US):
            self.waits_for_ends = True
            return None
        verdict = attribute(moments, windows)
        if unheard:  # it did not answer: nobody knows what ran in it then
            verdict = Verdict("ambiguous", "none", None, (*verdict.candidates, *unheard))
        if not is_last and self._may_be_told_by_another(one.path, verdict):
            return None
        if verdict.attribution == "background" and all(until < self._started_us for _, until in moments):
            return Verdict("outside", "none")
        return verdict

    def _may_be_told_by_another(self, path: bytes, verdict: Verdict) -> bool:
        """A command of another live session: its own recording tells of it, and we only if it does not."""
        if verdict.window is None or verdict.window.session == self._session:
            return False
        return self._may_wait(path, FOREIGN_S)

    def _may_wait(self, path: bytes, patience_s: float) -> bool:
        """Whether another session may still tell us more about this change."""
        since = self._foreign.setdefault(path, time.monotonic())
        return time.monotonic() < since + patience_s


def _other_halves(
    found: Iterable[Found], evidence: dict[bytes, list[Interval]], waiting: set[bytes]
) -> set[bytes]:
    """What may be half of a rename whose other half waits: told apart, they would be no rename."""
    gone, came = [], []
    for one in found:
        if one.before is None:
            came.append(one.path)
        elif one.after is None and not one.is_unheard:
            gone.append(one.path)
    with_gone = _merged(moment for path in gone if path in waiting for moment in evidence[path])
    with_came = _merged(moment for path in came if path in waiting for moment in evidence[path])
    halves = {path for path in gone if _meets(evidence[path], with_came)}
    return halves | {path for path in came if _meets(evidence[path], with_gone)}


def _merged(moments: Iterable[Interval]) -> list[Interval]:
    """The same stretches of time, in their order, none of which meets another."""
    merged: list[Interval] = []
    for since_us, until_us in sorted(moments):
        if merged and since_us <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], until_us))
        else:
            merged.append((since_us, until_us))
    return merged


def _meets(moments: Sequence[Interval], merged: Sequence[Interval]) -> bool:
    for since_us, until_us in moments:
        at = bisect.bisect_right(merged, until_us, key=lambda other: other[0])
        if at and merged[at - 1][1] >= since_us:
            return True
    return False
