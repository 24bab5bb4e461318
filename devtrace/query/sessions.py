"""Which sessions there are.

Lives here: listing sessions and reading one, as plain dicts of the stored columns with `meta` decoded.
Not here: their events (events.py), finding one by a prefix (ids.py).
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from typing import Any

from devtrace.errors import UsageError
from devtrace.query.events import is_unproven
from devtrace.query.filters import ENDED_LATE, Filters, session_condition
from devtrace.store import chain

Row = dict[str, Any]

COLUMNS = (
    "id", "kind", "parent_session", "parent_event", "agent", "actor", "title", "repo_root", "cwd", "shell",
    "host", "branch", "head_start", "head_end", "started_us", "ended_us", "status", "exit_code", "n_events",
    "n_failed", "meta",
)  # fmt: skip
TALLY = (
    "commands", "failed", "stopped", "nested", "nested_failed", "lost", "unproven", "notes", "gaps",
    "running", "pruned", "prompts", "calls",
)  # fmt: skip


_BY_AGENTS = {"prompt": "prompts", "tool_call": "calls"}


def list_sessions(db: sqlite3.Connection, filters: Filters) -> list[Row]:
    """The sessions that pass the filters, the newest first.

    Recorded programs that were started inside a session are left out, unless their kind is asked for: see
    `count_traces`.
    """
    where, values = session_condition(filters)
    if "recorder" not in filters.kinds:
        where = f"NOT (kind = 'recorder' AND parent_session IS NOT NULL) AND {where}"
    rows = db.execute(
        f"SELECT {', '.join(COLUMNS)} FROM sessions WHERE {where} ORDER BY started_us DESC, id DESC LIMIT ?",
        (*values, -1 if filters.limit is None else filters.limit),
    )
    return [_row(row) for row in rows]


def count_traces(db: sqlite3.Connection, ids: Iterable[str]) -> dict[str, int]:
    """How many recorded programs were started in each of these sessions; those with none are left out."""
    rows = db.execute(
        "SELECT parent_session, count(*) FROM sessions WHERE kind = 'recorder'"
        " AND parent_session IN (SELECT value FROM json_each(?)) GROUP BY 1",
        (json.dumps(list(ids)),),
    )
    return dict(rows.fetchall())


def get_session(db: sqlite3.Connection, session: str) -> Row:
    """One session by its whole id. Raises UsageError ERR_ID_UNKNOWN."""
    row = db.execute(f"SELECT {', '.join(COLUMNS)} FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        raise UsageError(f"no session {session}", code="ERR_ID_UNKNOWN", hint="see `devtrace sessions`")
    return _row(row)


def sessions_by_id(db: sqlite3.Connection, ids: Iterable[str]) -> dict[str, Row]:
    """The sessions of these whole ids; one whose row has not come yet is left out."""
    rows = db.execute(
        f"SELECT {', '.join(COLUMNS)} FROM sessions WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(set(ids))),),
    )
    return {row[0]: _row(row) for row in rows}


def tally(db: sqlite3.Connection, session: str) -> dict[str, int]:
    """What a session holds, by the names of `TALLY`.

    `commands`, `failed` and `stopped` are those at the prompt; `lost` are commands whose end was never seen;
    what was pruned is in none but `pruned`. What two channels tell of an agent is not counted twice.
    """
    total = dict.fromkeys(TALLY, 0)
    told: Counter[tuple[str, str]] = Counter()
    rows = db.execute(
        "SELECT kind, parent IS NOT NULL, status, source, trusted, count(*) FROM events"
        f" WHERE session = ? AND NOT ({ENDED_LATE}) GROUP BY 1, 2, 3, 4, 5",
        (session,),
    )
    for kind, is_nested, status, source, trusted, number in rows:
        if kind in _BY_AGENTS:
            told[kind, source] += number
        event = {"kind": kind, "source": source, "trusted": trusted}
        for name in _names(kind, bool(is_nested), status, is_unproven(event)):
            total[name] += number
    for (kind, _), number in told.items():
        total[_BY_AGENTS[kind]] = max(total[_BY_AGENTS[kind]], number)
    row = db.execute("SELECT count(*) FROM running WHERE session = ?", (session,)).fetchone()
    pruned = "SELECT count(*) FROM pruned WHERE session = ?"
    n_pruned = db.execute(pruned, (session,)).fetchone()[0] if chain.knows_stubs(db) else 0
    return {**total, "running": int(row[0]), "pruned": n_pruned}


def _names(kind: str, is_nested: bool, status: str, unproven: bool) -> list[str]:
    if kind != "run_command":
        return {"note": ["notes"], "gap": ["gaps"]}.get(kind, [])
    names = ["nested" if is_nested else "commands"]
    if status == "failed":
        names.append("nested_failed" if is_nested else "failed")
    if status == "stopped":
        names.append("stopped")
    if status == "interrupted":
        names.append("lost")
    return [*names, "unproven"] if unproven else names


def _row(values: tuple[Any, ...]) -> Row:
    row = dict(zip(COLUMNS, values, strict=True))
    row["meta"] = json.loads(row["meta"]) if row["meta"] else {}
    return row
