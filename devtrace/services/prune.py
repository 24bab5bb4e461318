"""prune: forget what is older than it needs to be, and say so in the record.

Lives here: `prune` for the contents of checkpoints, `prune_record` for events and outputs. Not here: how it
is done (store/checkpoints/forget.py, store/retention.py), doing it unasked (retention.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from devtrace.config import actor_of
from devtrace.errors import UsageError
from devtrace.events import Policy
from devtrace.services.own_session import belonging, emit
from devtrace.services.redaction import redaction
from devtrace.store import anchors, retention, space
from devtrace.store.checkpoints.forget import Forgotten, forget
from devtrace.store.connection import BUSY_MS, translated
from devtrace.store.hold import dead
from devtrace.store.retention import Author, Order, Share
from devtrace.workspace import Workspace

_LABELLED = """
    SELECT json_extract(data, '$.commit') FROM events
    WHERE kind = 'git_snapshot'
    AND json_extract(data, '$.label') <> '' AND json_extract(data, '$.commit') > ''
"""


def prune(
    db: sqlite3.Connection,
    workspace: Workspace,
    until_us: int,
    environ: Mapping[str, str],
    *,
    dry_run: bool = False,
    keep_labelled: bool = True,
) -> Forgotten:
    """Forget the checkpoints from before that moment; a `policy` event tells how many.

    With `keep_labelled` those stay whose snapshot was given a label.

    Raises EnvironmentError ERR_NO_CHECKPOINT, ERR_STORE_LOCKED, ERR_STORE_FULL.
    """
    chosen = [commit for (commit,) in db.execute(_LABELLED)] if keep_labelled else []
    done = forget(workspace, until_us, dry_run=dry_run, chosen=chosen)
    if done.checkpoints and not dry_run:
        with belonging(db, workspace, environ, "prune", Path(workspace.root), "devtrace prune") as own:
            body = Policy(
                action="pruned",
                rule="checkpoints",
                count=done.checkpoints,
                detail=f"contents from before {until_us} us since the epoch;"
                f" {done.before_bytes} bytes before, {done.after_bytes} after",
            )
            emit(db, workspace, redaction(workspace, environ), own.event(body))
    return done


class Pruned(NamedTuple):
    """What one `prune_record` took out of the database."""

    sessions: int
    events: int
    outputs: int
    before_bytes: int  # of the database
    after_bytes: int
    late_bytes: int  # that the disk still holds besides, until others who read now are done


def planned(db: sqlite3.Connection, workspace: Workspace, orders: Sequence[Order]) -> list[Share]:
    """What `prune_record` would take, by session. Raises UsageError ERR_USAGE for a session that goes on."""
    for session in {one for order in orders for one in order.sessions or ()}:
        _must_be_over(db, workspace, session)
    with translated(workspace):
        return _by_session(share for order in orders for share in retention.shares(db, workspace, order))


def prune_record(
    db: sqlite3.Connection,
    workspace: Workspace,
    orders: Sequence[tuple[Order, Callable[[], bool]]],
    author: Author,
    goes_on: Callable[[], bool] = lambda: True,
    patience_ms: int = BUSY_MS,
) -> Pruned:
    """Carry out the orders, each while its own condition holds, and give the disk its space back.

    Other processes write between two steps, and are waited for `patience_ms` at each. Killed in the middle it
    has done less, and the record is sound.
    Raises EnvironmentError ERR_STORE_LOCKED, ERR_STORE_FULL, ERR_STORE_READONLY.
    """
    done: list[Share] = []
    with translated(workspace):
        db.execute(f"PRAGMA busy_timeout = {patience_ms}")
        db.execute("PRAGMA secure_delete = ON")  # what is pruned is gone from its pages, be we killed or not
        before = space.taken(db)
        try:
            for order, holds in orders:
                both = _both(goes_on, holds)
                done += retention.prune(db, workspace, order, author, both)
            space.release(db, goes_on)
        finally:
            anchors.sync(db, workspace)
        went = _by_session(done)
        events, outputs = sum(one.events for one in went), sum(one.outputs for one in went)
        after = space.taken(db)
        late = max(space.on_disk(workspace) - after, 0)
        return Pruned(len(went), events, outputs, before, after, late)


def author_of(environ: Mapping[str, str]) -> Author:
    """Who gives an order at a prompt."""
    return Author(actor_of(environ.get("DEVTRACE_AGENT", "")), "cli", 0)


def _both(one: Callable[[], bool], other: Callable[[], bool]) -> Callable[[], bool]:
    return lambda: one() and other()


def _by_session(shares: Iterable[Share]) -> list[Share]:
    """One for each session, in the order in which they came."""
    total: dict[str, Share] = {}
    for share in shares:
        _, events, outputs, size = total.get(share.session, Share(share.session, 0, 0, 0))
        total[share.session] = Share(
            share.session, events + share.events, outputs + share.outputs, size + share.size
        )
    return list(total.values())


def _must_be_over(db: sqlite3.Connection, workspace: Workspace, session: str) -> None:
    row = db.execute("SELECT status FROM sessions WHERE id = ?", (session,)).fetchone()
    with dead(workspace, session) as is_dead:
        if is_dead and (row is None or row[0] != "active"):
            return
    raise UsageError(
        f"session {session[:13]} still goes on",
        code="ERR_USAGE",
        hint="end it first: `exit` in its shell",
        context={"session": session},
    )
