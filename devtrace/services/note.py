"""note: something to be remembered, written into a session by the way of all events.

Lives here: which session a note belongs to, and sending it. Not here: the note's shape (events/note.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from devtrace.config import actor_of
from devtrace.errors import UsageError
from devtrace.events import Event, Note
from devtrace.ids import is_session_id, is_span_id
from devtrace.query.ids import ORDERS
from devtrace.services.own_session import Belonging, emit, live_session
from devtrace.services.redaction import redaction
from devtrace.workspace import Workspace

# A recorded program's is over and sealed with it, and one that runs is nobody's place to write into.
_LATEST = f"""
    SELECT id FROM sessions WHERE kind != 'recorder'
    ORDER BY status = 'active' DESC, kind IN {ORDERS}, parent_session IS NOT NULL, started_us DESC, id DESC
    LIMIT 1
"""


def note(
    db: sqlite3.Connection | None,
    workspace: Workspace,
    text: str,
    environ: Mapping[str, str],
    *,
    session: str | None = None,
    cwd: str | None = None,
) -> Event:
    """Write a note; returns the event as it was sent.

    It belongs to `session`, else to the traced shell that `environ` names, else to the session that is
    active, else to the latest; to that of a recorded program only where `session` names it. Without a
    database (`db` None) it goes to the spool of the live session. Raises UsageError ERR_USAGE for an empty
    text, ERR_NO_SESSION, and what kept both the store and the spool from taking it.
    """
    if not text.strip():
        raise UsageError("the note is empty", code="ERR_USAGE", hint='write `devtrace note "TEXT"`')
    inside = live_session(workspace, environ) or _inside(db, environ)
    chosen = session or inside or _latest(db)
    span = environ.get("DEVTRACE_SPAN", "")
    own = Belonging(
        chosen,
        span if chosen == inside and is_span_id(span) else None,
        actor_of(environ.get("DEVTRACE_AGENT", "")) if chosen == inside else "human",
    )
    event = own.event(Note(text=text, cwd=cwd or _here()))
    emit(db, workspace, redaction(workspace, environ), event)
    return event


def _inside(db: sqlite3.Connection | None, environ: Mapping[str, str]) -> str | None:
    """The traced shell's session, if this store knows it."""
    named = environ.get("DEVTRACE_SESSION", "")
    if db is None or not is_session_id(named):
        return None
    row = db.execute("SELECT id FROM sessions WHERE id = ?", (named,)).fetchone()
    return named if row else None


def _latest(db: sqlite3.Connection | None) -> str:
    """The session that somebody works in. Raises UsageError ERR_NO_SESSION."""
    row = db.execute(_LATEST).fetchone() if db is not None else None
    if row is None:
        raise UsageError(
            "there is no session here that a note could go to",
            code="ERR_NO_SESSION",
            hint="start a traced shell with `devtrace shell`, or name a session with --session",
        )
    return str(row[0])


def _here() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None
