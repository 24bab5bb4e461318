"""Whose change was it? A comparison of times, which admits what it does not know.

Of each change of a path it is known between which two moments it happened; of each command, from when to when
it ran. One command that ran in all of them did it, or something that ran beside it unseen: that is called
confidence `window`. Of commands inside each other the innermost is meant, `inside`. Where several fit that
are not inside each other the change is `ambiguous`, and all of them are named. An agent's edit tool that ran
and says that it wrote this very path did it: confidence `claim`.

Lives here: `attribute`. Not here: where the moments come from (sources/watch.py, tracker.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Interval = tuple[int, int]  # microseconds since the Unix epoch: not before, not after

BACKGROUND = "background"


class Window(NamedTuple):
    """When a command or a tool ran."""

    session: str
    event: str
    parent: str | None  # the event around it, in whatever session
    started_us: int
    ended_us: int | None  # None: it runs
    actor: str
    slack_us: int = 0  # that it may have begun earlier, where the shell told no time
    is_tool: bool = False
    claims: tuple[bytes, ...] = ()  # the paths that a tool is said to write, and no other; none: not told

    @property
    def name(self) -> str:
        return f"{self.session}/{self.event}"

    def meets(self, moment: Interval) -> bool:
        """Whether something may have happened in that interval while the command ran."""
        return self.started_us <= moment[1] and (self.ended_us is None or moment[0] <= self.ended_us)


class Verdict(NamedTuple):
    """Whose it was. `window` is the command where it is known, `candidates` who it may have been."""

    attribution: str  # command, tool, background, ambiguous
    confidence: str  # window, inside, claim, none
    window: Window | None = None
    candidates: tuple[str, ...] = ()


def attribute(moments: Sequence[Interval], windows: Sequence[Window]) -> Verdict:
    """Judge the changes of one path since the last checkpoint, each an interval; `fitting` windows only."""
    claiming = [
        one
        for one in windows
        # One whose end nobody told may have been over long ago.
        if one.claims and one.ended_us is not None and all(one.meets(moment) for moment in moments)
    ]
    if len(claiming) == 1:
        return Verdict("tool", "claim", claiming[0], (claiming[0].name,))
    found: dict[str, Window] = {}
    is_background = False
    was_inside = False
    for moment in moments:
        meeting = [window for window in windows if window.meets(moment)]
        innermost = _innermost(meeting)
        was_inside = was_inside or len(innermost) < len(meeting)
        is_background = is_background or not innermost
        found.update((window.name, window) for window in innermost)
    names = tuple(sorted(found))
    if not found:
        return Verdict("background", "none")
    if len(found) == 1 and not is_background:
        window = found[names[0]]
        attribution = "tool" if window.is_tool else "command"
        return Verdict(attribution, "inside" if was_inside else "window", window, names)
    if is_background:
        names = (*names, BACKGROUND)
    return Verdict("ambiguous", "none", None, names)


def is_heard(moments: Sequence[Interval], heard_us: int) -> bool:
    """Whether all is known that ran then: every command that began before `heard_us` has been heard of."""
    return all(moment[1] <= heard_us for moment in moments)


def may_be_over(moments: Sequence[Interval], windows: Sequence[Window], ended_us: int) -> bool:
    """Whether something that ran then may have ended before, and that is not known yet.

    What ended before `ended_us` is known to have ended; of a later moment it cannot be said yet.
    """
    return any(_may_be_over(moment, windows, ended_us) for moment in moments)


def fitting(windows: Sequence[Window], path: bytes) -> list[Window]:
    """Without the tools that say which paths they wrote, and do not name this one."""
    return [window for window in windows if not window.claims or path in window.claims]


def _may_be_over(moment: Interval, windows: Sequence[Window], ended_us: int) -> bool:
    meeting = _innermost([window for window in windows if window.meets(moment)])
    return moment[1] > ended_us and any(window.ended_us is None for window in meeting)


def _innermost(windows: Sequence[Window]) -> list[Window]:
    """Those that hold none of the others: a command around another one explains nothing more."""
    parents = {window.event: window.parent for window in windows}
    around: set[str] = set()
    for window in windows:
        above = window.parent
        while above is not None and above not in around:
            around.add(above)
            above = parents.get(above)
    return [window for window in windows if window.event not in around]
