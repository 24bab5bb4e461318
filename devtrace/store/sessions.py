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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from devtrace.events import is_int, is_moment, is_shallow, unfit
from devtrace.ids import is_session_id, is_span_id
from devtrace.store import chain, storable
from devtrace.store.append import Row, append_within, row_of
from devtrace.store.connection import transaction, try_lock
from devtrace.workspace import Workspace

COLUMNS = frozenset(  # what may be given; the counters are append's
    {
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
    }
)


STATUSES = ("active", "ended", "interrupted")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _or_none(fits: Callable[[Any], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or fits(value)


_COLUMN_FITS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("kind", "agent", "actor", "title", "shell", "host"), _is_text),
    **dict.fromkeys(("repo_root", "cwd", "branch", "head_start", "head_end"), _or_none(_is_text)),
    "id": lambda value: isinstance(value, str) and is_session_id(value),
    "parent_session": _or_none(lambda value: isinstance(value, str) and is_session_id(value)),
    "parent_event": _or_none(lambda value: isinstance(value, str) and is_span_id(value)),
    "started_us": is_moment,
    "ended_us": _or_none(is_moment),
    "status": lambda value: value in STATUSES,
    "exit_code": _or_none(is_int),
    "meta": lambda value: isinstance(value, dict) and is_shallow(value),
}


class Hold:
    """The proof that a session's host lives; `close` gives it up."""

    __slots__ = ("_fd", "_path")

    def __init__(self, fd: int, path: Path):
        self._fd = fd
        self._path = path

    def is_lost(self) -> bool:
        """Whether the file was removed or moved away, so that the session looks like an orphan."""
        try:
            there = self._path.stat()
        except OSError:
            return True
        ours = os.fstat(self._fd) if self._fd >= 0 else None
        return ours is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def close(self) -> None:
        """The session has ended properly. May be called twice."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def hold(workspace: Workspace, session: str) -> Hold:
    """Take the session's lock; to be done before its row says `active`. Raises OSError."""
    path = _lock_path(workspace, session)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return Hold(fd, path)
        os.close(fd)  # between the two lines above it was taken for a dead host's, and removed


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


def check_columns(columns: object) -> dict[str, Any]:
    """Those of a session's columns that this version knows, where others wrote them.

    Raises UsageError ERR_FRAME with the first that is wrong or missing.
    """
    if not isinstance(columns, dict):
        raise unfit("columns")
    known = {"status": "active", **{name: value for name, value in columns.items() if name in COLUMNS}}
    for name in ("id", "kind", "started_us", *known):
        if not _COLUMN_FITS[name](known.get(name)):
            raise unfit(f"columns.{name}")
    return known


def update(db: sqlite3.Connection, session: str, **columns: Any) -> None:
    """Change columns of a session's row; `meta` is merged into what is there."""
    row = _storable(columns)
    sets = ", ".join("meta = json_patch(meta, ?)" if name == "meta" else f"{name} = ?" for name in row)
    if sets:
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
    and never touches a session whose host lives. To be done after a drain: a killed host may have left the
    end of what it ran in the spool.
    """
    open_ones = db.execute(
        "SELECT id FROM sessions WHERE status = 'active' UNION SELECT session FROM running ORDER BY 1"
    ).fetchall()
    return [session for (session,) in open_ones if _close_orphan(db, workspace, session, now_us)]


def _close_orphan(db: sqlite3.Connection, workspace: Workspace, session: str, now_us: int) -> bool:
    with _dead(workspace, session) as is_dead:
        if not is_dead:
            return False
        with transaction(db):
            row = db.execute("SELECT status, started_us FROM sessions WHERE id = ?", (session,)).fetchone()
            cut_short = _interrupted(db, session)
            is_active = row is not None and row[0] == "active"
            if not cut_short and not is_active:
                return False
            append_within(db, cut_short, recorded_us=now_us)
            if is_active:
                _end(db, session, _last_us(db, session, row[1]), "interrupted", None, None)
        _lock_path(workspace, session).unlink(missing_ok=True)
    return True


def _interrupted(db: sqlite3.Connection, session: str) -> list[Row]:
    cursor = db.execute("SELECT * FROM running WHERE session = ? ORDER BY n", (session,))
    names = [column[0] for column in cursor.description]
    rows = []
    for values in cursor.fetchall():
        frame = dict(zip(names, values, strict=True))
        frame.update(data=json.loads(frame["data"]), status="interrupted", exit_source="unknown")
        rows.append(row_of(frame))
    return rows


def _last_us(db: sqlite3.Connection, session: str, started_us: int) -> int:
    """The last moment that is known of a session: when its host was killed, nobody saw."""
    row = db.execute("SELECT max(coalesce(ended_us, started_us)) FROM events WHERE session = ?", (session,))
    last: int | None = row.fetchone()[0]
    return started_us if last is None else max(last, started_us)


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
    chain.seal(db, session, ended_us)


@contextlib.contextmanager
def _dead(workspace: Workspace, session: str) -> Iterator[bool]:
    """Whether the session's host is gone; while the block runs nobody else finds out the same."""
    try:
        fd = os.open(_lock_path(workspace, session), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield True
        return
    except OSError:  # what cannot be looked at is not known to be dead
        yield False
        return
    try:
        yield try_lock(fd)
    finally:
        os.close(fd)


def _lock_path(workspace: Workspace, session: str) -> Path:
    return workspace.run / f"{session}.lock"


def _storable(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns as SQLite takes them. Raises ValueError or TypeError for what it would not take."""
    unknown = columns.keys() - COLUMNS
    if unknown:
        raise ValueError(f"sessions has no column {', '.join(sorted(unknown))}")
    return {name: _value(name, value) for name, value in columns.items()}


def _value(name: str, value: Any) -> str | int | None:
    if name == "meta" and isinstance(value, dict):
        return chain.encode(storable.data(value))
    if isinstance(value, str):
        return storable.text(value)
    if value is None or (isinstance(value, int) and -(1 << 63) <= value < 1 << 63):
        return value
    raise TypeError(f"{name} of a session is no {type(value).__name__}")
