"""A checkpoint on demand: for `devtrace snapshot`, and before a restore.

Lives here: `checkpoint_now`. Not here: the thread beside a session (tracker.py).
"""

from __future__ import annotations

import time
from typing import NamedTuple

from devtrace.errors import DevTraceError
from devtrace.events import EditFiles, Event
from devtrace.services.edits import others, untold
from devtrace.services.edits.attribution import Verdict, attribute
from devtrace.services.edits.checkpoint import Checkpoints
from devtrace.services.edits.telling import Groups, moments_of, record
from devtrace.store.checkpoints.chains import Checkpoint
from devtrace.workspace import Workspace


class State(NamedTuple):
    """The working tree as it is kept now."""

    checkpoint: Checkpoint
    events: list[Event]  # what had changed since the checkpoint before, not emitted yet
    is_first: bool  # nothing was kept before

    @property
    def changed(self) -> int:
        """How many files had changed."""
        return sum(one.body.files for one in self.events if isinstance(one.body, EditFiles))


def checkpoint_now(place: Workspace, points: Checkpoints, session: str) -> State:
    """Keep the working tree as it is; what changed becomes events of `session`.

    Whose the changes were is judged by the times of the files alone. Raises DevTraceError where nothing can
    be written, OSError when git cannot tell what differs.
    """
    try:
        return _kept(place, points, session)
    except DevTraceError as error:
        if error.code != "ERR_STORE_DAMAGED":
            raise
    with points.chain.locked():
        points.lose()  # a folder below the top of its tree cannot be read
    return _kept(place, points, session)


def _kept(place: Workspace, points: Checkpoints, session: str) -> State:
    with points.chain.locked():
        now_us = time.time_ns() // 1000
        untold.step_back(place, points)
        tip = points.tip()
        if tip is None:
            base = points.base()
            first = points.begin(list(points.look(base, points.candidates(base))), base, now_us)
            return State(first, [], True)
        since_us = tip.seen_us
        evidence = [
            (one, moments_of(one, [], since_us)) for one in points.look(tip.tree, points.candidates(tip.tree))
        ]
        windows = others.look(place, "", points.root, since_us, now_us).windows if evidence else []
        groups: Groups = {}
        for one, moments in evidence:
            verdict = attribute(moments, windows)
            if verdict.attribution == "background" and not windows:
                verdict = Verdict("outside", "none")
            groups.setdefault(verdict, []).append((one, moments))
        tip, events = record(points, tip, groups, session, now_us)
        return State(tip, events, False)
