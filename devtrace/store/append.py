"""The one way to write events: `append`.

Frames come in redacted (pipeline.py, or the spool); events, blobs, counters and the chain go out in one
transaction. Appending is idempotent by (session, id): what is there is left as it is. So is an event that was
closed as interrupted and whose end arrives after all: the end becomes an event of its own, linked to it.

Lives here: the transaction and the row of a frame. Not here: the hash (chain.py), redaction (policy/).
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from devtrace.errors import UsageError
from devtrace.events import Frame, check_frame
from devtrace.store import blobs, chain, changes, storable
from devtrace.store.blobs import Stored
from devtrace.store.connection import transaction

# What makes a frame unfit for the store, whoever made it. RecursionError: it nests too deeply.
UNFIT = (UsageError, ValueError, TypeError, RecursionError)

_EVENT = (*chain.COLUMNS, "hash")
_INSERT = f"INSERT INTO events ({', '.join(_EVENT)}) VALUES ({', '.join('?' * len(_EVENT))})"
# Asked beforehand: ON CONFLICT would use up a seq for each event that is known, and leave holes like losses.
_KNOWN = (
    "SELECT id FROM events WHERE session = :session AND id IN (SELECT value FROM json_each(:ids))"
    " UNION ALL SELECT id FROM pruned WHERE session = :session AND id IN (SELECT value FROM json_each(:ids))"
)
_RUNNING = (
    "session",
    "id",
    "parent",
    "kind",
    "actor",
    "started_us",
    "recorded_us",
    "title",
    "cwd",
    "source",
    "trusted",
    "data",
)
_INSERT_RUNNING = (
    f"INSERT INTO running ({', '.join(_RUNNING)}) VALUES ({', '.join('?' * len(_RUNNING))})"
    " ON CONFLICT (id, session) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _RUNNING[2:])
)
_COUNT = """
INSERT INTO sessions (id, kind, started_us, status, n_events, n_failed) VALUES (?, 'import', ?, 'ended', ?, ?)
ON CONFLICT (id) DO UPDATE
SET n_events = n_events + excluded.n_events, n_failed = n_failed + excluded.n_failed
"""
_TOLD_TWICE = ("tool_call",)  # by two processes that do not know each other
_TEXTS = ("kind", "actor", "title", "cwd", "source", "exit_source")


class Row:
    """A frame as it goes into the database: its columns, `data` not yet as JSON, and its blobs."""

    __slots__ = ("blobs", "columns", "data")

    def __init__(self, columns: dict[str, Any], data: dict[str, Any], payloads: dict[str, bytes | Stored]):
        self.columns = columns
        self.data = data
        self.blobs = payloads

    @property
    def session(self) -> str:
        return str(self.columns["session"])

    @property
    def is_running(self) -> bool:
        return bool(self.columns["status"] == "running")


def append(db: sqlite3.Connection, frames: Sequence[Frame], *, recorded_us: int | None = None) -> int:
    """Write frames in their order; returns how many events were new.

    A frame whose status is `running` stands in `running` until its event comes. `blobs` of a frame are
    stored by digest and named in `data["blobs"]`. A frame of an unknown session makes a session of kind
    `import`; one of a sealed session is sealed again, as late. Raises UsageError ERR_FRAME for a frame
    that does not fit, ValueError for a float in its data, sqlite3.Error when nothing could be written.
    """
    rows = [row_of(frame) for frame in frames]
    with transaction(db):
        return append_within(db, rows, recorded_us=recorded_us)


def append_within(db: sqlite3.Connection, rows: Sequence[Row], *, recorded_us: int | None = None) -> int:
    """`append` inside a transaction that the caller holds (the drain, which commits its offset with it)."""
    now_us = time.time_ns() // 1_000 if recorded_us is None else recorded_us
    by_session: dict[str, list[Row]] = {}
    for row in rows:
        row.columns["recorded_us"] = now_us
        by_session.setdefault(row.session, []).append(row)
    tallies = {session: _Tally(db, session, its) for session, its in by_session.items()}
    for row in rows:  # in the order in which they came, whosever they are
        tallies[row.session].add(row)
    for tally in tallies.values():
        tally.close(now_us)
    return sum(tally.events for tally in tallies.values())


def row_of(frame: Frame) -> Row:
    """What goes into the database. Raises one of UNFIT for a frame that cannot; needs no database."""
    check_frame(frame)
    columns = {column: frame.get(column) for column in chain.COLUMNS}
    for name in _TEXTS:
        value = columns[name]
        if value is not None and not value.isascii():
            columns[name] = storable.text(value)
    data = storable.data(frame["data"])
    payloads = frame.get("blobs") or {}
    if not all(isinstance(name, str) and isinstance(one, bytes | Stored) for name, one in payloads.items()):
        raise TypeError("blobs are bytes by their names")
    columns["data"] = chain.encode(data)
    return Row(columns, data, payloads)


class _Tally:
    """What one transaction adds to a session: its events in their chain, and their number."""

    __slots__ = ("_db", "_first_us", "_has_running", "_head", "_known", "_session", "events", "failed")

    def __init__(self, db: sqlite3.Connection, session: str, rows: Sequence[Row]):
        self._db = db
        self._session = session
        self._first_us = rows[0].columns["started_us"]
        self._head = chain.head(db, session)[1]
        ids = chain.encode([row.columns["id"] for row in rows])
        self._known = {event for (event,) in db.execute(_KNOWN, {"session": session, "ids": ids})}
        self._has_running = (
            db.execute("SELECT 1 FROM running WHERE session = ? LIMIT 1", (session,)).fetchone() is not None
        )
        self.events = 0
        self.failed = 0

    def add(self, row: Row) -> None:
        columns = row.columns
        if columns["id"] in self._known:
            if not row.is_running:
                self._add_late_end(row)
        elif row.is_running:
            self._db.execute(_INSERT_RUNNING, [columns[name] for name in _RUNNING])
            self._has_running = True
        else:
            if self._has_running and columns["kind"] in _TOLD_TWICE:
                self._keep_start(columns)
            self._insert(row, columns["id"])
            if self._has_running:
                key = (columns["id"], self._session)
                self._db.execute("DELETE FROM running WHERE id = ? AND session = ?", key)

    def _keep_start(self, columns: dict[str, Any]) -> None:
        """Who tells the end may not know when it began, and who told that did."""
        begun = self._row("SELECT started_us FROM running WHERE id = ? AND session = ?", columns["id"])
        if begun is not None:
            columns["started_us"] = min(begun[0], columns["started_us"])

    def close(self, now_us: int) -> None:
        if self.events:
            self._db.execute(_COUNT, (self._session, self._first_us, self.events, self.failed))
            seal_late(self._db, self._session, now_us)

    def _insert(self, row: Row, event: str) -> None:
        columns = {**row.columns, "id": event}
        if row.blobs:
            stored = {name: self._stored(payload) for name, payload in row.blobs.items()}
            named = {name: one._asdict() for name, one in stored.items()}
            columns["data"] = chain.encode({**row.data, "blobs": named})
        self._head = chain.link(self._head, columns)
        cursor = self._db.execute(_INSERT, [*(columns[name] for name in chain.COLUMNS), self._head])
        if row.blobs:
            size = sum(one.size for one in stored.values())
            self._db.execute("INSERT INTO outputs VALUES (?, ?)", (cursor.lastrowid, size))
        if columns["kind"] == "edit_files":
            changes.index(self._db, self._session, event, row.data)
        self._known.add(event)
        self.events += 1
        self.failed += columns["status"] == "failed"

    def _stored(self, payload: bytes | Stored) -> Stored:
        if isinstance(payload, Stored):
            return payload
        return Stored(blobs.put(self._db, payload), len(payload))

    def _add_late_end(self, row: Row) -> None:
        """The event is known. If all that was known of its end is that nobody saw it, this is its end."""
        event, status = row.columns["id"], row.columns["status"]
        select = "SELECT status, exit_source FROM events WHERE id = ? AND session = ?"
        known = self._row(select, event)
        if (
            row.columns["kind"] in _TOLD_TWICE
            and known is not None
            and known[0] not in ("interrupted", status)
        ):
            self._add_other_end(row)
            return
        if status == "interrupted" or known != ("interrupted", "unknown"):
            return
        end = late_end_id(self._session, event)
        if self._row("SELECT 1 FROM events WHERE id = ? AND session = ?", end) is None:
            self._insert(row, end)
            self._db.execute(
                "INSERT INTO links VALUES (?, ?, ?, ?, 'end', 'certain', ?) ON CONFLICT DO NOTHING",
                (self._session, event, self._session, end, row.columns["recorded_us"]),
            )

    def _add_other_end(self, row: Row) -> None:
        """Who tells an end first is not believed more than who tells another one: both are kept."""
        event, status = row.columns["id"], row.columns["status"]
        other = hashlib.sha256(f"{status} end of {event} in {self._session}".encode()).hexdigest()[:16]
        if self._row("SELECT 1 FROM events WHERE id = ? AND session = ?", other) is None:
            self._insert(row, other)
            self._db.execute(
                "INSERT INTO links VALUES (?, ?, ?, ?, 'contradicts', 'certain', ?) ON CONFLICT DO NOTHING",
                (self._session, event, self._session, other, row.columns["recorded_us"]),
            )

    def _row(self, select: str, event: str) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._db.execute(select, (event, self._session)).fetchone()
        return row


def late_end_id(session: str, event: str) -> str:
    """The id of the event that is the late end of this one."""
    return hashlib.sha256(f"end of {event} in {session}".encode()).hexdigest()[:16]


def seal_late(db: sqlite3.Connection, session: str, now_us: int) -> None:
    """Seal a session again that was sealed before, since something was added to it."""
    if db.execute("SELECT 1 FROM seals WHERE session = ? LIMIT 1", (session,)).fetchone():
        chain.seal(db, session, now_us)
