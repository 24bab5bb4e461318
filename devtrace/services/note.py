"""note: something to be remembered, written into a session by the way of all events.

Lives here: which session a note belongs to, and sending it. Not here: the note's shape (events/note.py).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from devtrace.config import actor_of
from devtrace.errors import EnvironmentError, UsageError
from devtrace.events import Event, Note
from devtrace.ids import is_session_id, is_span_id, new_span_id
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.query.ids import resolve_session
from devtrace.workspace import Workspace


def live_session(workspace: Workspace, environ: Mapping[str, str]) -> str | None:
    """The traced shell we are in, when it records into this store and its host lives.

    The host may not have opened the store yet: nobody waits for it at the prompt.
    """
    named, directory = environ.get("DEVTRACE_SESSION", ""), environ.get("DEVTRACE_DIR", "")
    is_ours = is_session_id(named) and directory == str(workspace.dir)
    return named if is_ours and Path(environ.get("DEVTRACE_FIFO", "")).is_fifo() else None


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
    active, else to the latest. Without a database (`db` None) it goes to the spool of the live session.
    Raises UsageError ERR_USAGE for an empty text, ERR_NO_SESSION, and what kept both the store and the spool
    from taking it.
    """
    if not text.strip():
        raise UsageError("the note is empty", code="ERR_USAGE", hint='write `devtrace note "TEXT"`')
    inside = live_session(workspace, environ) or _inside(db, environ)
    chosen = session or inside or _latest(db)
    now = time.time_ns() // 1000
    span = environ.get("DEVTRACE_SPAN", "")
    event = Event(
        session=chosen,
        id=new_span_id(),
        parent=span if chosen == inside and is_span_id(span) else None,
        actor=actor_of(environ.get("DEVTRACE_AGENT", "")) if chosen == inside else "human",
        started_us=now,
        ended_us=now,
        status="ok",
        source="cli",
        trusted=0,
        body=Note(text=text, cwd=cwd or _here()),
    )
    pipeline = Pipeline(db, workspace, Policy.for_session(dict(environ), workspace.salt.read_bytes()))
    pipeline.emit(event)
    pipeline.close()
    if pipeline.n_lost:
        raise pipeline.failures[-1] if pipeline.failures else _unwritable(workspace)
    return event


def _unwritable(workspace: Workspace) -> EnvironmentError:
    return EnvironmentError(
        f"the note cannot be written into {workspace.spool}",
        code="ERR_STORE_READONLY",
        hint="check the owner and the permissions of .devtrace/",
        context={"path": str(workspace.spool)},
    )


def _inside(db: sqlite3.Connection | None, environ: Mapping[str, str]) -> str | None:
    """The traced shell's session, if this store knows it."""
    named = environ.get("DEVTRACE_SESSION", "")
    if db is None or not is_session_id(named):
        return None
    row = db.execute("SELECT id FROM sessions WHERE id = ?", (named,)).fetchone()
    return named if row else None


def _latest(db: sqlite3.Connection | None) -> str:
    if db is None:
        hint = "start a traced shell with `devtrace shell`"
        raise UsageError("there is no session here", code="ERR_NO_SESSION", hint=hint)
    row = db.execute(
        "SELECT id FROM sessions WHERE status = 'active' ORDER BY started_us DESC, id DESC LIMIT 1"
    ).fetchone()
    return str(row[0]) if row else resolve_session(db, None)


def _here() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None
