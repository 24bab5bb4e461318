"""The sessions table: beginning and ending a session, and closing what a killed host left open.

A host holds a flock on `run/<session>.lock` for its life, which says "alive" across PID namespaces and reused
process ids; whoever gets that lock knows that the host is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devtrace.events import Frame
from devtrace.store import chain
from devtrace.store.append import append_within
from devtrace.store.connection import transaction
from devtrace.workspace import Workspace

_COLUMNS = frozenset(
    (
        *(
            "id",
            "kind",
            "parent_session",
            "parent_event",
            "agent",
            "actor",
            "title",
            "repo_root",
            "cwd",
            "shell",
        ),
        *(
            "host",
            "branch",
            "head_start",
            "head_end",
            "started_us",
            "ended_us",
            "status",
            "exit_code",
            "meta",
        ),
    )
)


class Hold:
    """The proof that a session's host lives; `close` gives it up."""

    __slots__ = ("_fd", "_path")

    def __init__(self, fd: int, path: Path):
        self._fd = fd
        self._path = path

    def close(self) -> None:
        """The session has ended properly. May be called twice."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def hold(workspace: Workspace, session: str) -> Hold:
    """Take the session's lock; to be done before its row says `active`. Raises OSError."""
    path = _lock_path(workspace, session)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return Hold(fd, path)


def begin(db: sqlite3.Connection, **columns: Any) -> None:
    """Write the row of a new session; `meta` is a dict. What its early events made of it is completed."""
    with transaction(db):
        write_row(db, columns)


def write_row(db: sqlite3.Connection, columns: dict[str, Any]) -> None:
    """`begin` inside a transaction that the caller holds. Raises ValueError for an unknown column."""
    row = _storable({"status": "active", **columns})
    names = ", ".join(row)
    updates = ", ".join(f"{name} = excluded.{name}" for name in row if name != "id")
    db.execute(
        f"INSERT INTO sessions ({names}) VALUES ({', '.join('?' * len(row))})"
        f" ON CONFLICT (id) DO UPDATE SET {updates}",
        list(row.values()),
    )


def update(db: sqlite3.Connection, session: str, **columns: Any) -> None:
    """Change columns of a session's row; `meta` is merged into what is there."""
    row = _storable(columns)
    sets = ", ".join("meta = json_patch(meta, ?)" if name == "meta" else f"{name} = ?" for name in row)
    with transaction(db):
        db.execute(f"UPDATE sessions SET {sets} WHERE id = ?", [*row.values(), session])


def end(
    db: sqlite3.Connection,
    session: str,
    *,
    ended_us: int,
    status: str,
    exit_code: int | None,
    head_end: str | None = None,
) -> None:
    """End a session and seal the head of its chain, in one transaction."""
    with transaction(db):
        _end(db, session, ended_us, status, exit_code, head_end)


def close_orphans(db: sqlite3.Connection, workspace: Workspace, now_us: int) -> list[str]:
    """Close the sessions whose host is gone; returns their ids.

    What ran in them becomes an event with the status `interrupted`. Safe when many processes do it at once,
    and never touches a session whose host lives.
    """
    active = [session for (session,) in db.execute("SELECT id FROM sessions WHERE status = 'active'")]
    return [session for session in active if _close_orphan(db, workspace, session, now_us)]


def _close_orphan(db: sqlite3.Connection, workspace: Workspace, session: str, now_us: int) -> bool:
    with _dead(workspace, session) as is_dead:
        if not is_dead:
            return False
        with transaction(db):
            row = db.execute("SELECT status FROM sessions WHERE id = ?", (session,)).fetchone()
            if row != ("active",):
                return False
            append_within(db, _interrupted(db, session), recorded_us=now_us)
            last = db.execute(
                "SELECT max(coalesce(ended_us, started_us)) FROM events WHERE session = ?", (session,)
            )
            _end(db, session, last.fetchone()[0] or now_us, "interrupted", None, None)
        _lock_path(workspace, session).unlink(missing_ok=True)
    return True


def _interrupted(db: sqlite3.Connection, session: str) -> list[Frame]:
    cursor = db.execute("SELECT * FROM running WHERE session = ? ORDER BY n", (session,))
    names = [column[0] for column in cursor.description]
    frames = []
    for values in cursor.fetchall():
        row = dict(zip(names, values, strict=True))
        row.update(data=json.loads(row["data"]), status="interrupted", exit_source="unknown", ended_us=None)
        frames.append({**row, "exit_code": None, "blobs": {}})
    return frames


def _end(
    db: sqlite3.Connection,
    session: str,
    ended_us: int,
    status: str,
    exit_code: int | None,
    head_end: str | None,
) -> None:
    db.execute(
        "UPDATE sessions SET ended_us = ?, status = ?, exit_code = ?, head_end = coalesce(?, head_end)"
        " WHERE id = ?",
        (ended_us, status, exit_code, head_end, session),
    )
    seq, head = chain.head(db, session)
    late = db.execute("SELECT count(*) > 0 FROM seals WHERE session = ?", (session,)).fetchone()[0]
    db.execute(
        "INSERT INTO seals (session, seq, hash, sealed_us, late) VALUES (?, ?, ?, ?, ?)",
        (session, seq, head, ended_us, late),
    )


@contextlib.contextmanager
def _dead(workspace: Workspace, session: str) -> Iterator[bool]:
    """Whether the session's host is gone; while the block runs nobody else finds out the same."""
    try:
        fd = os.open(_lock_path(workspace, session), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def _lock_path(workspace: Workspace, session: str) -> Path:
    return workspace.run / f"{session}.lock"


def _storable(columns: dict[str, Any]) -> dict[str, Any]:
    unknown = columns.keys() - _COLUMNS
    if unknown:
        raise ValueError(f"sessions has no column {', '.join(sorted(unknown))}")
    return {
        name: chain.dumps(value)
        if name == "meta"
        else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if isinstance(value, str)
        else value
        for name, value in columns.items()
    }
