"""Bring a store up to date before it is read: close what a killed host left open, drain the spool.

Best effort: what cannot be written is read as it is, and the reason is handed back to be said once.

Lives here: `open_fresh`, `tend` for those who read for hours, `index` for those who search. Not here: reading
(query/).
"""

from __future__ import annotations

import sqlite3
import time
from typing import NamedTuple

from devtrace.errors import DevTraceError
from devtrace.store import anchors, drain, search_index, sessions
from devtrace.store.connection import open_reader, open_store, translated
from devtrace.workspace import Workspace

# Another process that writes right now is also the one that drains: a reader does not wait for it.
_PATIENCE_MS = 250
_READABLE = {"ERR_STORE_READONLY", "ERR_STORE_FULL", "ERR_STORE_LOCKED"}


class Fresh(NamedTuple):
    """A store ready to be read. `stale`: why it could not be brought up to date, or None.

    `anchored`: what stood in no line of seals.log until now, and had been sealed before.
    """

    db: sqlite3.Connection
    stale: DevTraceError | None
    anchored: anchors.Synced = anchors.Synced(())


def open_fresh(workspace: Workspace) -> Fresh:
    """Open, close orphaned sessions, drain; or open for reading only.

    Raises DevTraceError where the store cannot even be read.
    """
    try:
        db = open_store(workspace)
    except DevTraceError as error:
        if error.code not in _READABLE:
            raise
        return Fresh(open_reader(workspace), error)
    anchored = anchors.sync(db, workspace)  # apart from what is sealed below
    stale = tend(db, workspace)
    return Fresh(db, stale, anchored)


def tend(db: sqlite3.Connection, workspace: Workspace) -> DevTraceError | None:
    """Close orphaned sessions, drain the spool, write down new seals outside the database.

    Returns the reason where that was not possible just now.
    """
    try:
        with translated(workspace):
            db.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
            drain.drain(db, workspace)  # first: a killed host may have left the end of what it ran there
            sessions.close_orphans(db, workspace, time.time_ns() // 1000)
            anchors.sync(db, workspace)
    except DevTraceError as error:
        if error.code not in _READABLE:
            raise
        return None if error.code == "ERR_STORE_LOCKED" else error
    return None


def index(db: sqlite3.Connection, workspace: Workspace, seconds: float, *, anew: bool = False) -> None:
    """Bring the search index up to date, for about so long, as far as the store can be written just now.

    `anew`, or where it is damaged, it is thrown away before. Who searches says what is left out
    (`query.search.Found.n_left_out`).
    """
    until = time.monotonic() + seconds
    try:
        with translated(workspace):
            _index(db, until, anew=anew)
    except DevTraceError as error:
        if error.code not in _READABLE:
            raise


def _index(db: sqlite3.Connection, until: float, *, anew: bool) -> None:
    try:
        if anew:
            search_index.begin_anew(db)
        search_index.catch_up(db, lambda: time.monotonic() < until)
    except sqlite3.DatabaseError as error:
        if anew or not search_index.is_damage(error):
            raise
        _index(db, until, anew=True)
