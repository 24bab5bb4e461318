"""When the commands of other sessions ran, as the store knows it: they may have changed the same tree.

Lives here: `look`. Not here: judging (attribution.py).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from devtrace.errors import DevTraceError
from devtrace.services.edits.attribution import Window
from devtrace.store.connection import open_reader
from devtrace.store.hold import heard_us, holders
from devtrace.workspace import Workspace

_ID_MILLISECONDS = 12  # digits of a UUIDv7 that are a time
_SESSIONS = """
SELECT id, parent_event, status FROM sessions
WHERE id != ? AND coalesce(repo_root, ?) = ? AND started_us <= ? AND (ended_us IS NULL OR ended_us >= ?)
"""
_ENDED = """
SELECT session, id, parent, started_us, coalesce(ended_us, started_us), actor FROM events
WHERE session = ? AND kind = 'run_command' AND started_us <= ? AND coalesce(ended_us, started_us) >= ?
"""
_RUNNING = """
SELECT session, id, parent, started_us, NULL, actor FROM running
WHERE session = ? AND kind = 'run_command' AND started_us <= ?
"""


class Others(NamedTuple):
    """The other sessions of a working tree in some stretch of time."""

    windows: list[Window]  # when their commands ran
    heard_us: dict[str, int]  # of each that lives: until when all its commands are in the store; 0: not known


def beginnings(place: Workspace, session: str) -> list[int]:
    """When the other sessions that live began, of whatever tree: their ids tell it (RFC 9562, 5.7)."""
    return [
        int(other[:_ID_MILLISECONDS], 16) * 1000
        for other in holders(place)
        if other != session and heard_us(place, other) is not None
    ]


def heard(place: Workspace, session: str, root: Path) -> dict[str, int]:
    """Of every other session that lives and may be of this working tree: `heard_us`, as in `Others`."""
    living = [other for other in holders(place) if other != session]
    if not living:
        return {}
    try:
        with closing(open_reader(place)) as db:
            rows = dict(
                db.execute(
                    "SELECT id, coalesce(repo_root, ?) FROM sessions WHERE status = 'active'", (str(root),)
                )
            )
    except (DevTraceError, sqlite3.Error):
        rows = {}
    told = {other: heard_us(place, other) for other in living if rows.get(other, str(root)) == str(root)}
    return {other: us for other, us in told.items() if us is not None}


def look(place: Workspace, session: str, root: Path, since_us: int, until_us: int) -> Others:
    """The commands of every other session of this working tree that ran between the two moments.

    Those of a session that was opened inside a command have that one around them. Nothing where the store
    cannot be read now.
    """
    try:
        with closing(open_reader(place)) as db:
            return _look(place, db, session, str(root), since_us, until_us)
    except (DevTraceError, sqlite3.Error):
        return Others([], {})


def _look(
    place: Workspace, db: sqlite3.Connection, session: str, root: str, since_us: int, until_us: int
) -> Others:
    found: list[Window] = []
    rows = db.execute(_SESSIONS, (session, root, root, until_us, since_us)).fetchall()
    # Before their commands are read: what they say is in the store then is there.
    living = {other for other, _, status in rows if status == "active"}
    living |= {other for other in holders(place) if other != session and not _is_known(db, other)}
    heard = {other: heard_us(place, other) for other in living}
    for other, around, _ in rows:
        ran = db.execute(_ENDED, (other, until_us, since_us)).fetchall()
        ran += db.execute(_RUNNING, (other, until_us)).fetchall()
        found += [Window(row[0], row[1], row[2] or around, *row[3:]) for row in ran]
    return Others(found, {other: us for other, us in heard.items() if us is not None})


def _is_known(db: sqlite3.Connection, session: str) -> bool:
    """One that is just beginning has no row yet, and may be of this tree."""
    return db.execute("SELECT 1 FROM sessions WHERE id = ?", (session,)).fetchone() is not None
