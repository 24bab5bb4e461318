"""Which checkpoint is the state of the working tree that an event means.

Lives here: `state_at`. Not here: what changed between two of them (diff.py).
"""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from devtrace.errors import UsageError
from devtrace.query.diff import select
from devtrace.query.events import get_event
from devtrace.query.ids import Found
from devtrace.query.sessions import get_session

# The newest before a moment: what happens later is in no state of that moment.
_LATEST = """
    SELECT data FROM events WHERE kind IN ('edit_files', 'git_snapshot') AND started_us <= ?
    AND (? IS NULL OR json_extract(data, '$.root') = ?) ORDER BY started_us DESC, seq DESC
"""
_FOR_EVER = 1 << 62


class State(NamedTuple):
    """A checkpoint of a working tree."""

    chain: str
    root: str
    commit: str


def state_at(db: sqlite3.Connection, found: Found, *, before: bool = False) -> State:
    """The state after an event, or a session; `before`: in which it began.

    That of the last of its own edits; where it made none, that of the newest checkpoint at its end (or its
    start). Raises UsageError ERR_NO_CHECKPOINT where nothing was kept by then.
    """
    rows = [row["data"] for row in select(db, found).edits]
    if not rows and found.event is not None:
        event = get_event(db, found.session, found.event)
        rows = [event["data"]] if event["kind"] == "git_snapshot" else []
    if rows:
        chosen = rows[0] if before else rows[-1]
        commit = chosen.get("before") if before and chosen.get("before") else chosen["commit"]
        return State(chosen["chain"], chosen["root"], str(commit))
    root = get_session(db, found.session)["repo_root"]
    row = db.execute(_LATEST, (_moment(db, found, before=before), root, root)).fetchone()
    if row is None:
        raise UsageError(
            "no state of the working tree was kept by then",
            code="ERR_NO_CHECKPOINT",
            hint="name an event with an edit below it, or a snapshot: `devtrace show`",
            context={"session": found.session, "event": found.event},
        )
    data = json.loads(row[0])
    return State(data["chain"], data["root"], data["commit"])


def _moment(db: sqlite3.Connection, found: Found, *, before: bool) -> int:
    """When an event or session began, or ended; what still runs ends some time after now."""
    row = get_session(db, found.session) if found.event is None else get_event(db, found.session, found.event)
    ended_us = _FOR_EVER if row["ended_us"] is None else row["ended_us"]
    return int(row["started_us"] if before else ended_us)
