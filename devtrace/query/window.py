"""A part of a long session: as much of what clients told as the calls of some time lead to.

Who reads a part must know the same of these calls as who reads it all; where that is in doubt, there is none.

Lives here: `Window`, `window_of`, `is_cut`. Not here: the rows in it (accounts.py), what became of them
(agents.py).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]

_FEW = 4_000  # calls of a session that is read whole
_AROUND = 60  # calls before and behind those that are asked for: what was said before, what began next
_SHARE = 3  # a window with more than this part of the calls is the whole
_CALLS = "FROM events WHERE session = ? AND +kind = 'tool_call'"
_NEAR = "SELECT started_us FROM events WHERE kind = 'tool_call' AND session = ? AND started_us"
_SPOKE = """
    SELECT 1 FROM events WHERE session = ? AND +kind IN ('tool_call', 'assistant_message') AND source = ?
    AND started_us < ? AND json_extract(data, '$.agent') IS ? AND json_extract(data, '$.native') IS ?
    AND json_extract(data, '$.subagent') IS ? LIMIT 1
"""


class Window(NamedTuple):
    """From when to when, and the events that had begun before and were still running."""

    since_us: int
    until_us: int
    running: tuple[str, ...]


def window_of(db: sqlite3.Connection, session: str, since_us: int, until_us: int) -> Window | None:
    """What must be read to know of the calls of that time; None: the whole session."""
    (number,) = db.execute(f"SELECT count(*) {_CALLS}", (session,)).fetchone()
    if number < _FEW or _is_unsettled(db, session):
        return None
    low = _nth(db, session, f"{_NEAR} < ? ORDER BY started_us DESC", since_us, 0)
    high = _nth(db, session, f"{_NEAR} > ? ORDER BY started_us", until_us, 1 << 62)
    over = f"{_CALLS} AND started_us < ? AND ended_us >= ?"
    shell = f"SELECT min(started_us) {over} AND json_extract(data, '$.command') IS NOT NULL"
    (first,) = db.execute(shell, (session, low, low)).fetchone()
    low = low if first is None else min(low, first)  # with what its shell ran
    (inside,) = db.execute(
        f"SELECT count(*) {_CALLS} AND started_us BETWEEN ? AND ?", (session, low, high)
    ).fetchone()
    if inside * _SHARE > number:
        return None
    running = db.execute(f"SELECT id {over}", (session, low, low)).fetchall()
    return Window(low, high, tuple(row[0] for row in running))


def _is_unsettled(db: sqlite3.Connection, session: str) -> bool:
    """Whether something has no end, or a late one: how long it ran depends on all that came behind it."""
    selects = (
        f"SELECT 1 {_CALLS} AND ended_us IS NULL LIMIT 1",
        "SELECT 1 FROM running WHERE session = ? LIMIT 1",
        "SELECT 1 FROM links WHERE session = ? AND relation = 'end' LIMIT 1",
    )
    return any(db.execute(select, (session,)).fetchone() is not None for select in selects)


def _nth(db: sqlite3.Connection, session: str, select: str, moment_us: int, otherwise: int) -> int:
    row = db.execute(f"{select} LIMIT 1 OFFSET {_AROUND}", (session, moment_us)).fetchone()
    return otherwise if row is None else int(row[0])


def is_cut(db: sqlite3.Connection, session: str, window: Window, rows: Sequence[Row], since_us: int) -> bool:
    """Whether something that was told before the window belongs to what is asked for in it."""
    calls = [row for row in rows if row["kind"] == "tool_call"]
    if len({row["source"] for row in calls}) > 1 and not all(row["data"].get("call") for row in calls):
        return True  # the n-th is joined with the n-th
    started = {row["data"].get("starts") for row in calls}
    alone = {row["data"].get("subagent") for row in calls} - started - {None}
    if alone and _are_started(db, session, alone):
        return True
    first: set[tuple[Any, ...]] = set()
    for row in rows:
        speaker = (
            row["source"],
            row["data"].get("agent"),
            row["data"].get("native"),
            row["data"].get("subagent"),
        )
        if row["kind"] != "prompt" and speaker not in first and window.since_us <= row["started_us"]:
            first.add(speaker)
            source, *who = speaker
            asked = (session, source, window.since_us, *who)
            if row["started_us"] >= since_us and db.execute(_SPOKE, asked).fetchone() is not None:
                return True
    return False


def _are_started(db: sqlite3.Connection, session: str, subagents: Iterable[str]) -> bool:
    select = (
        f"SELECT 1 {_CALLS} AND json_extract(data, '$.starts') IN (SELECT value FROM json_each(?)) LIMIT 1"
    )
    return db.execute(select, (session, json.dumps(sorted(subagents)))).fetchone() is not None
