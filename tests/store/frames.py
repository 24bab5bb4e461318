"""Frames as the pipeline hands them to the store, and what a whole store looks like afterwards.

Lives here: making frames, and `is_whole`, which every fault test ends with. Not here: any test.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from devtrace.events import Frame
from devtrace.ids import new_span_id
from devtrace.store import chain, sessions

START = 1_795_269_792_000_000  # Sat 21 Nov 2026 14:03:12 UTC
SESSION = "019aa6e0c1de7abc8000000000000001"
OTHER = "019aa6e0c1de7abc8000000000000002"


def frame(command: str = "true", session: str = SESSION, **changes: Any) -> Frame:
    """A command that ended well; `changes` are of the envelope, `data` is merged."""
    data = {"command": command, "cwd": "/home/ana", "exit_code": 0, **changes.pop("data", {})}
    whole = {
        "v": 1, "kind": "run_command", "session": session, "id": new_span_id(), "parent": None,
        "actor": "human", "started_us": START, "ended_us": START + 1000, "status": "ok",
        "title": f"$ {command}", "cwd": "/home/ana", "exit_code": 0, "source": "interactive",
        "exit_source": "shell", "trusted": 2, "data": data, "blobs": {},
    }  # fmt: skip
    return whole | changes


def start_of(ended: Frame) -> Frame:
    """The same command while it runs."""
    return ended | {
        "status": "running",
        "ended_us": None,
        "exit_code": None,
        "exit_source": None,
        "blobs": {},
    }


def begin(db: sqlite3.Connection, session: str = SESSION, **columns: Any) -> str:
    """A session that is going on."""
    known = {"kind": "shell", "agent": "manual", "actor": "human", "started_us": START}
    sessions.begin(db, id=session, **(known | columns))
    return session


def events(db: sqlite3.Connection, column: str = "id", session: str = SESSION) -> list[Any]:
    """One column of a session's events, in the order of the chain."""
    rows = db.execute(f"SELECT {column} FROM events WHERE session = ? ORDER BY seq", (session,))
    return [value for (value,) in rows]


def count(db: sqlite3.Connection, table: str = "events") -> int:
    """How many rows a table has."""
    (number,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(number)


def is_whole(db: sqlite3.Connection) -> bool:
    """Assert that the file is sound, every chain holds and every counter says what is or was there."""
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    counted = db.execute(
        "SELECT session, count(*), sum(failed) FROM (SELECT session, status = 'failed' AS failed FROM events"
        " UNION ALL SELECT session, NULL FROM pruned) GROUP BY 1 ORDER BY 1"
    )
    told = db.execute("SELECT id, n_events, n_failed FROM sessions WHERE n_events > 0 ORDER BY 1")
    for (_, *there), (_, n_events, n_failed) in zip(counted, told, strict=True):
        assert there[0] == n_events
        assert there[1] == n_failed or count(db, "pruned")  # which of them had failed nobody knows any more
    assert_blobs_are_named(db)
    for (session,) in db.execute("SELECT id FROM sessions").fetchall():
        assert chain.check(db, session) is None
    return True


def assert_blobs_are_named(db: sqlite3.Connection) -> None:
    """Every blob is kept by as many names as it says, and is there for every event that keeps its outputs."""
    named = db.execute(
        "SELECT json_extract(named.value, '$.sha256'), count(*) FROM outputs JOIN events USING (seq),"
        " json_each(events.data, '$.blobs') named GROUP BY 1 ORDER BY 1"
    )
    assert db.execute("SELECT sha256, refs FROM blobs ORDER BY 1").fetchall() == named.fetchall()
