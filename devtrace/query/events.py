"""What happened: the events of a session or of the whole store, commands in flight included.

Lives here: listing events and reading one, as plain dicts of the stored columns with `data` decoded.
Not here: following new ones (follow.py), their terminal output (output.py).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from devtrace.errors import UsageError
from devtrace.query.filters import Filters, event_condition

Row = dict[str, Any]

COLUMNS = (
    "seq", "session", "id", "parent", "kind", "actor", "started_us", "ended_us", "recorded_us", "status",
    "title", "cwd", "exit_code", "source", "exit_source", "trusted", "data", "hash",
)  # fmt: skip
# What a command in flight does not have yet is null; its status is `running`.
_NOT_YET = {"seq", "ended_us", "exit_code", "exit_source", "hash"}
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM events"
_SELECT_RUNNING = (
    "SELECT "
    + ", ".join("NULL" if name in _NOT_YET else "'running'" if name == "status" else name for name in COLUMNS)
    + " FROM running"
)
PARTS = frozenset(("io",))  # each is a part of another event: of the newest, only where it is asked for
# Every kind of the index (kind, started_us), by one seek each instead of a walk over all its entries.
_EACH_KIND = """
    WITH RECURSIVE each(kind) AS (
        SELECT min(kind) FROM events
        UNION ALL SELECT (SELECT min(kind) FROM events WHERE kind > each.kind)
            FROM each WHERE each.kind IS NOT NULL
    ) SELECT kind FROM each WHERE kind IS NOT NULL
"""


def list_events(db: sqlite3.Connection, filters: Filters) -> list[Row]:
    """The events that pass the filters, running ones included, in the order in which they started.

    `filters.limit` keeps the newest; what still runs counts as newest.
    """
    running = list_running(db, filters)
    if filters.limit is None:
        ended = _all(db, filters)
    else:
        room = max(filters.limit - len(running), 0)
        ended = _newest(db, replace(filters, limit=room)) if room else []
        running = running[len(running) - filters.limit :] if filters.limit < len(running) else running
    # An event that ended between the two queries is in both: the ended one is the truth.
    known = {(row["session"], row["id"]) for row in ended}
    rows = ended + [row for row in running if (row["session"], row["id"]) not in known]
    return sorted(rows, key=lambda row: (row["started_us"], row["seq"] or 1 << 62))


def with_late_ends(db: sqlite3.Connection, rows: list[Row]) -> list[Row]:
    """The rows as people read them: an event that was cut short gives way to its late end, under its id.

    The record keeps both, and `list_events` tells them as they are.
    """
    ends = {(row["session"], row["id"]) for row in rows}
    first_of = {end: first for first, end in _late_ends(db, {row["session"] for row in rows}) if end in ends}
    over = set(first_of.values())
    return [
        row | {"id": first_of.get((row["session"], row["id"]), (row["session"], row["id"]))[1]}
        for row in rows
        if (row["session"], row["id"]) not in over
    ]


def with_late_end(db: sqlite3.Connection, row: Row) -> Row:
    """The same for one row, whose end need not be at hand."""
    for first, end in _late_ends(db, {row["session"]}):
        if first == (row["session"], row["id"]):
            return get_event(db, *end) | {"id": row["id"]}
    return row


def _late_ends(db: sqlite3.Connection, sessions: set[str]) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    rows = db.execute(
        "SELECT session, event, other_session, other_event FROM links"
        " WHERE session IN (SELECT value FROM json_each(?)) AND relation = 'end'",
        (json.dumps(sorted(sessions)),),
    )
    return [((row[0], row[1]), (row[2], row[3])) for row in rows]


def list_running(db: sqlite3.Connection, filters: Filters) -> list[Row]:
    """The commands in flight that pass the filters, in the order in which they started."""
    where, values = event_condition(filters)
    if filters.failed:
        return []
    return [_row(row) for row in db.execute(f"{_SELECT_RUNNING} WHERE {where} ORDER BY started_us", values)]


def each_event(db: sqlite3.Connection, filters: Filters, after: int = 0) -> Iterator[Row]:
    """The recorded events with `seq` > `after`, one at a time, in the order of the record (the chain's)."""
    where, values = event_condition(filters)
    for row in db.execute(f"{_SELECT} WHERE {where} AND seq > ? ORDER BY seq", (*values, after)):
        yield _row(row)


def count_events(db: sqlite3.Connection, filters: Filters) -> int:
    """How many events pass the filters, whatever their limit, running ones included."""
    where, values = event_condition(filters)
    row = db.execute(f"SELECT count(*) FROM events WHERE {where}", values).fetchone()
    return int(row[0]) + len(list_running(db, filters))


def get_event(db: sqlite3.Connection, session: str, event: str) -> Row:
    """One event by its whole ids, recorded or in flight. Raises UsageError ERR_ID_UNKNOWN."""
    for select in (_SELECT, _SELECT_RUNNING):
        row = db.execute(f"{select} WHERE session = ? AND id = ?", (session, event)).fetchone()
        if row is not None:
            return _row(row)
    raise UsageError(
        f"no event {event} in session {session}", code="ERR_ID_UNKNOWN", hint="see `devtrace show`"
    )


def children(db: sqlite3.Connection, session: str, event: str) -> list[Row]:
    """What happened directly under an event, in the order in which it started."""
    rows: list[Row] = []
    for select in (_SELECT, _SELECT_RUNNING):
        rows += [
            _row(row) for row in db.execute(f"{select} WHERE session = ? AND parent = ?", (session, event))
        ]
    return sorted(rows, key=lambda row: int(row["started_us"]))


def is_unproven(event: Row) -> bool:
    """Whether a command's record could be somebody else's: no nonce at the prompt, no known parent inside."""
    if event["kind"] != "run_command":
        return False
    return bool(event["trusted"] < 2 if event["source"] == "interactive" else event["trusted"] == 0)


def command_data(event: Row) -> Row:
    """The fields of a command; none for any other kind, whose fields of the same names mean other things."""
    data: Row = event["data"] if event["kind"] == "run_command" else {}
    return data


def when(event: Row) -> tuple[int, int]:
    """The moment a line of the log is about: the end, or the start of what runs or whose end is unknown."""
    is_over = event["status"] != "running" and event["ended_us"] is not None
    return (event["ended_us"] if is_over else event["started_us"]), event["seq"] or 1 << 62


def last_seq(db: sqlite3.Connection) -> int:
    """The newest event's `seq`; 0 where there is none."""
    row = db.execute("SELECT max(seq) FROM events").fetchone()
    return int(row[0] or 0)


def _all(db: sqlite3.Connection, filters: Filters) -> list[Row]:
    where, values = event_condition(filters)
    return [_row(row) for row in db.execute(f"{_SELECT} WHERE {where}", values)]


def _newest(db: sqlite3.Connection, filters: Filters) -> list[Row]:
    if filters.session is not None:
        where, values = event_condition(filters)
        rows = db.execute(f"{_SELECT} WHERE {where} ORDER BY seq DESC LIMIT ?", (*values, filters.limit))
        return [_row(row) for row in rows]
    # Kind by kind each query walks its index backwards and stops early, whatever the other filters are.
    kinds = filters.kinds or [kind for (kind,) in db.execute(_EACH_KIND) if kind not in PARTS]
    found: list[Row] = []
    for kind in kinds:
        where, values = event_condition(replace(filters, kinds=(kind,)))
        rows = db.execute(
            f"{_SELECT} WHERE {where} ORDER BY started_us DESC LIMIT ?", (*values, filters.limit)
        )
        found += [_row(row) for row in rows]
    found.sort(key=lambda row: (row["started_us"], row["seq"]), reverse=True)
    return found[: filters.limit]


def _row(values: tuple[Any, ...]) -> Row:
    row = dict(zip(COLUMNS, values, strict=True))
    row["data"] = json.loads(row["data"]) if row["data"] else {}
    return row
