"""One page of a long list, by the key of its last row: sessions, or events, the newest first or the oldest.

The place between two pages is a key and not a number of rows, and what was recorded after the first page
was read stays out: while others write, no row comes twice and none is missed. Where few rows fit, a page
looks for them as long as it may, and ends with what it has found and the place that it came to.

Lives here: `sessions_page`, `events_page`. Not here: whole lists (sessions.py, events.py), the form in
which a place is handed out (services/mcp_server/cursor.py).
"""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from devtrace.query import events, sessions
from devtrace.query.filters import Filters, event_condition, session_condition

Row = dict[str, Any]
Place = tuple[Any, ...]

_LARGEST_LOOK = 4_096  # rows that are looked at between two looks at the clock
_GROWTH = 4
_FIRST, _LAST = -(1 << 62), 1 << 62


class Page(NamedTuple):
    """Rows in their order. `after`: where the next page begins; None: there is nothing behind them.

    `is_short`: time was over before as many were found as were asked for.
    """

    rows: list[Row]
    after: Place | None = None
    is_short: bool = False


class _Road(NamedTuple):
    """A way through an index: the rows that one condition chooses, in the order of `columns`."""

    name: str
    where: str
    values: tuple[object, ...]
    columns: tuple[str, ...]


def sessions_page(db: sqlite3.Connection, filters: Filters, *, limit: int, after: Place | None) -> Page:
    """The sessions that pass, the newest first; recorded programs as `list_sessions` has them."""
    where, values = session_condition(filters)
    if "recorder" not in filters.kinds:
        where = f"NOT (kind = 'recorder' AND parent_session IS NOT NULL) AND {where}"
    at = (_LAST, "") if after is None else after
    found = db.execute(
        f"SELECT id, started_us FROM sessions WHERE {where} AND (started_us, id) < (?, ?)"
        " ORDER BY started_us DESC, id DESC LIMIT ?",
        (*values, *at, limit + 1),
    ).fetchall()
    known = sessions.sessions_by_id(db, [row[0] for row in found[:limit]])
    rows = [known[row[0]] for row in found[:limit]]
    return Page(rows, place_of_session(rows[-1]) if len(found) > limit else None)


def place_of_session(row: Row) -> Place:
    """The key of a row of `sessions_page`."""
    return row["started_us"], row["id"]


def events_page(
    db: sqlite3.Connection,
    filters: Filters,
    *,
    limit: int,
    upto: int,
    after: Place | None = None,
    is_oldest_first: bool = False,
    is_over: Callable[[], bool] = lambda: False,
) -> Page:
    """The recorded events that pass, `seq` <= `upto`; of one session in the order of the record.

    `is_over`: whether no more time may be taken. What runs is in `list_running`, and in no page.
    """
    wanted = _Wanted(filters, _agents_sessions(db, filters), limit, after, is_oldest_first)
    walks = [_walk(db, road, wanted) for road in _roads(db, wanted, upto)]
    found: list[Place] = []
    for key, fits in heapq.merge(*walks, key=lambda step: step[0], reverse=not is_oldest_first):
        if fits and len(found) == limit:
            return Page(_read(db, found), found[-1])
        if fits:
            found.append(key)
        elif is_over():
            return Page(_read(db, found), key, True)
    return Page(_read(db, found))


def place_of_event(row: Row, filters: Filters) -> Place:
    """The key of a row of `events_page` with these filters."""
    return (row["seq"],) if filters.session is not None else (row["started_us"], row["seq"])


class _Wanted(NamedTuple):
    """What is looked for. `sessions`: with their times, the only ones that count; None: all do."""

    filters: Filters
    sessions: _Sessions | None
    limit: int
    after: Place | None
    is_oldest_first: bool


class _Sessions(NamedTuple):
    ids: frozenset[str]
    since_us: int
    until_us: int


def _agents_sessions(db: sqlite3.Connection, filters: Filters) -> _Sessions | None:
    """The sessions of an agent, found once: asked row by row, SQLite would find them all for each look."""
    if filters.agent is None:
        return None
    select = "SELECT id, started_us, ended_us FROM sessions WHERE agent = ?"
    rows = db.execute(select, (filters.agent,)).fetchall()
    ends = [_LAST if ended is None else ended for _, _, ended in rows]
    since = min((started for _, started, _ in rows), default=_LAST)
    return _Sessions(frozenset(name for name, _, _ in rows), since, max(ends, default=_FIRST))


def _roads(db: sqlite3.Connection, wanted: _Wanted, upto: int) -> Iterator[_Road]:
    filters, known = wanted.filters, wanted.sessions
    if filters.session is not None:
        if known is None or filters.session in known.ids:
            yield _Road("events_session", "session = ? AND seq <= ?", (filters.session, upto), ("seq",))
        return
    since = _FIRST if filters.since_us is None else filters.since_us
    until = _LAST if filters.until_us is None else filters.until_us
    if known is not None:
        since, until = max(since, known.since_us), min(until, known.until_us)
    for kind in filters.kinds or [kind for kind in kinds_of(db) if kind not in events.PARTS]:
        where = "kind = ? AND started_us BETWEEN ? AND ? AND seq <= ?"
        yield _Road("events_kind", where, (kind, since, until, upto), ("started_us", "seq"))


def kinds_of(db: sqlite3.Connection) -> list[str]:
    """The kinds of which there are events, each by one seek."""
    found: list[str] = []
    following = "SELECT min(kind) FROM events WHERE kind > ?"
    while (kind := db.execute(following, (found[-1] if found else "",)).fetchone()[0]) is not None:
        found.append(str(kind))
    return found


def _walk(db: sqlite3.Connection, road: _Road, wanted: _Wanted) -> Iterator[tuple[Place, bool]]:
    """The keys that pass, in order; where a look ends one that does not, so that a reader can stop there."""
    fits, values = event_condition(_left_to_ask(wanted.filters))
    columns, known = ", ".join(road.columns), wanted.sessions
    session = "NULL" if known is None else "session"
    order, beyond = ("ASC", ">") if wanted.is_oldest_first else ("DESC", "<")
    select = (
        f"SELECT {fits}, {session}, {columns} FROM events INDEXED BY {road.name} WHERE {road.where}"
        f" AND ({columns}) {beyond} ({', '.join('?' * len(road.columns))})"
        f" ORDER BY {', '.join(f'{column} {order}' for column in road.columns)} LIMIT ?"
    )
    edge = _FIRST if wanted.is_oldest_first else _LAST
    at = (edge,) * len(road.columns) if wanted.after is None else wanted.after
    look = wanted.limit + 1
    while True:
        rows = db.execute(select, (*values, *road.values, *at, look)).fetchall()
        for passes, whose, *key in rows:
            if passes and (known is None or whose in known.ids):
                yield tuple(key), True
        if len(rows) < look:
            return
        at = tuple(rows[-1][2:])
        yield at, False
        look = min(look * _GROWTH, _LARGEST_LOOK)


def _left_to_ask(filters: Filters) -> Filters:
    """What no road has chosen by yet."""
    if filters.session is not None:
        return replace(filters, session=None, agent=None)
    return replace(filters, kinds=(), since_us=None, until_us=None, agent=None)


def _read(db: sqlite3.Connection, found: Sequence[Place]) -> list[Row]:
    """The whole rows, in the order of the keys, which end in `seq`."""
    wanted = [key[-1] for key in found]
    rows = db.execute(
        f"SELECT {', '.join(events.COLUMNS)} FROM events WHERE seq IN (SELECT value FROM json_each(?))",
        (json.dumps(wanted),),
    )
    known: dict[int, Row] = {}
    for values in rows:
        row = dict(zip(events.COLUMNS, values, strict=True))
        row["data"] = json.loads(row["data"]) if row["data"] else {}
        known[row["seq"]] = row
    return [known[seq] for seq in wanted]
