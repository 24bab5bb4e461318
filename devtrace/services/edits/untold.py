"""Checkpoints whose event nobody wrote: their session was killed after the line had advanced.

Lives here: `step_back`. Not here: telling what differs then (tracker.py, once.py).
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

from devtrace.errors import DevTraceError
from devtrace.services.edits.checkpoint import Checkpoints
from devtrace.store.connection import open_store
from devtrace.store.drain import drain
from devtrace.store.hold import dead
from devtrace.store.spool import SUFFIX
from devtrace.workspace import Workspace

_PATIENCE_S = 1.0
_LOOK_AGAIN_S = 0.02
_EVENT = (
    "SELECT 1 FROM events WHERE session = :session AND id = :id"
    " UNION ALL SELECT 1 FROM pruned WHERE session = :session AND id = :id"  # told, and pruned since
)


def step_back(place: Workspace, points: Checkpoints) -> None:
    """Take them off the line, so that what they hold is found and told again. To be done under the lock.

    Nothing is done where it cannot be known. Raises DevTraceError where the line cannot be read or written.
    """
    newest = tip = points.tip()
    if tip is None or _event_of(tip.message) is None:
        return
    try:
        with closing(open_store(place)) as db:
            if not _has_all(db, place):
                return  # it may be among what is still to be taken in
            while tip.parent is not None and _is_untold(db, place, tip.message):
                tip = points.chain.read(tip.parent)
    except (DevTraceError, sqlite3.Error, OSError):
        return
    if tip != newest:
        points.chain.advance(tip.commit)


def _has_all(db: sqlite3.Connection, place: Workspace) -> bool:
    """Take in what waits in the spool, or wait for another process that does just now."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        drain(db, place, trace_s=0)
        if not any(path.suffix == SUFFIX for path in place.spool.iterdir()):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_AGAIN_S)  # nothing tells when another process has drained


def _is_untold(db: sqlite3.Connection, place: Workspace, message: str) -> bool:
    named = _event_of(message)
    if named is None or db.execute(_EVENT, {"session": named[0], "id": named[1]}).fetchone() is not None:
        return False
    with dead(place, named[0]) as is_dead:
        return is_dead


def _event_of(message: str) -> tuple[str, str] | None:
    words = message.split()
    return (words[1], words[2]) if len(words) == 3 and words[0] == "edit_files" else None
