"""Whose session an order belongs to: the traced shell it is typed in, else one of its own.

Lives here: `live_session`, `belonging`. Not here: what the orders do (note.py, snapshot.py, restore.py).
"""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from devtrace import __version__
from devtrace.config import actor_of
from devtrace.errors import EnvironmentError
from devtrace.events import Body, Event
from devtrace.ids import is_session_id, is_span_id, new_session_id, new_span_id
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.sources.git import head_of
from devtrace.store import anchors, sessions
from devtrace.store.hold import hold
from devtrace.workspace import Workspace


class Belonging(NamedTuple):
    """Where the events of an order go."""

    session: str
    parent: str | None  # the command that gave the order; None: nobody recorded it
    actor: str

    def event(self, body: Body) -> Event:
        """What an order did, now; it says so itself."""
        now_us = time.time_ns() // 1000
        return Event(
            session=self.session,
            id=new_span_id(),
            parent=self.parent,
            actor=self.actor,
            started_us=now_us,
            ended_us=now_us,
            status="ok",
            source="cli",
            trusted=0,
            body=body,
        )


def live_session(workspace: Workspace, environ: Mapping[str, str]) -> str | None:
    """The traced shell we are in, when it records into this store and its host lives.

    The host may not have opened the store yet: nobody waits for it at the prompt.
    """
    named, directory = environ.get("DEVTRACE_SESSION", ""), environ.get("DEVTRACE_DIR", "")
    is_ours = is_session_id(named) and directory == str(workspace.dir)
    return named if is_ours and Path(environ.get("DEVTRACE_FIFO", "")).is_fifo() else None


@contextlib.contextmanager
def belonging(
    db: sqlite3.Connection,
    workspace: Workspace,
    environ: Mapping[str, str],
    kind: str,
    root: Path,
    title: str,
) -> Iterator[Belonging]:
    """The session of an order while it is carried out: one of its own, `kind`, outside a traced shell."""
    inside = live_session(workspace, environ)
    if inside is not None:
        span = environ.get("DEVTRACE_SPAN", "")
        actor = actor_of(environ.get("DEVTRACE_AGENT", ""))
        yield Belonging(inside, span if is_span_id(span) else None, actor)
        return
    session = new_session_id()
    head = head_of(root)
    held = hold(workspace, session)
    try:
        sessions.begin(
            db,
            id=session,
            kind=kind,
            title=title,
            repo_root=str(root) if (root / ".git").exists() else None,
            cwd=str(root),
            host=platform.node(),
            branch=head.branch if head else None,
            head_start=head.commit if head else None,
            started_us=time.time_ns() // 1000,
            meta={"version": __version__, "pid": os.getpid()},
        )
        try:
            yield Belonging(session, None, "human")
        finally:
            sessions.end(db, session, ended_us=time.time_ns() // 1000, status="ended", exit_code=None)
            anchors.sync(db, workspace)
    finally:
        held.close()


def emit(db: sqlite3.Connection | None, workspace: Workspace, policy: Policy, *events: Event) -> None:
    """Write events by the way of all events. Raises what kept store and spool from taking them."""
    pipeline = Pipeline(db, workspace, policy)
    for event in events:
        pipeline.emit(event)
    pipeline.close()
    if db is not None:
        anchors.sync(db, workspace)  # what was told to a session that is over was sealed as late
    if pipeline.n_lost:
        raise pipeline.failures[-1] if pipeline.failures else _unwritable(workspace)


def _unwritable(workspace: Workspace) -> EnvironmentError:
    return EnvironmentError(
        f"the event cannot be written into {workspace.spool}",
        code="ERR_STORE_READONLY",
        hint="check the owner and the permissions of .devtrace/",
        context={"path": str(workspace.spool)},
    )
