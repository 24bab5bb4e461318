"""The sessions table: beginning and ending a session, and closing what a killed host left open.

Which host lives is known by its lock (hold.py).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devtrace.events import Event, Gap, is_int, is_moment, is_shallow, unfit
from devtrace.ids import is_session_id, is_span_id, new_span_id
from devtrace.store import chain, storable
from devtrace.store.append import Row, append_within, row_of
from devtrace.store.connection import transaction
from devtrace.store.hold import dead, lock_path
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
_SILENT_US = 6 * 3_600_000_000  # after which a client that told nothing is taken for gone
_TRACED = ("shell", "run")  # kinds of sessions with a host that watches


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
        end_within(db, session, ended_us, status, exit_code, head_end)


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
    with dead(workspace, session) as is_dead:
        if not is_dead:
            return False
        with transaction(db):
            select = "SELECT status, started_us, kind, meta FROM sessions WHERE id = ?"
            row = db.execute(select, (session,)).fetchone()
            if row is not None and row[2] == "agent" and now_us < _last_us(db, session, row[1]) + _SILENT_US:
                return False  # no host of ours lives in it: its client's hooks tell when it ends
            if row is not None and row[2] == "recorder" and _is_traced(db, session):
                return False  # its segments tell when it ends (traces.py)
            if row is not None and row[2] == "probe" and _is_running(json.loads(row[3])):
                return False  # a program that can be asked, outside of any shell of ours
            cut_short = _interrupted(db, session)
            is_active = row is not None and row[0] == "active"
            if not cut_short and not is_active:
                return False
            append_within(db, cut_short, recorded_us=now_us)
            if is_active:
                last_us = _last_us(db, session, row[1])
                if row[2] in _TRACED:
                    append_within(db, [_stopped(session, last_us)], recorded_us=now_us)
                end_within(db, session, last_us, "interrupted", None, None)
        lock_path(workspace, session).unlink(missing_ok=True)
    return True


def _is_running(meta: dict[str, Any]) -> bool:
    """Whether the process that a session names is alive, and no later one of its number."""
    pid, started = meta.get("pid"), meta.get("started")
    if not isinstance(pid, int) or not isinstance(started, int) or pid < 1:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return started == int(stat[stat.rindex(b")") + 2 :].split()[19])
    except FileNotFoundError:
        return not Path("/proc/self").exists() and _is_there(pid)
    except (OSError, ValueError, IndexError):
        return False


def _is_there(pid: int) -> bool:
    """Where there is no /proc to tell one process from a later one."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _is_traced(db: sqlite3.Connection, session: str) -> bool:
    traced = "SELECT 1 FROM running WHERE session = ? AND kind = 'python_trace'"
    return db.execute(traced, (session,)).fetchone() is not None


def _stopped(session: str, last_us: int) -> Row:
    """The gap behind a killed host: what was done between its last record and its end, nobody saw.

    When that end was is not known: later than the last record, and earlier than whatever is found of it.
    """
    gap = Event(
        session=session,
        id=new_span_id(),
        actor="human",
        started_us=last_us,
        status="unknown",
        source="host",
        trusted=2,
        body=Gap(
            reason="recorder_stopped",
            detail="after the last record the host was killed, the machine went down, or the store was moved",
        ),
    )
    return row_of(gap.to_frame())


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


def end_within(
    db: sqlite3.Connection,
    session: str,
    ended_us: int,
    status: str,
    exit_code: int | None,
    head_end: str | None = None,
) -> None:
    """`end` inside a transaction that the caller holds."""
    db.execute(
        "UPDATE sessions SET ended_us = ?, status = ?, exit_code = ?, head_end = coalesce(?, head_end)"
        " WHERE id = ?",
        (ended_us, status, exit_code, head_end, session),
    )
    chain.seal(db, session, ended_us)


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
