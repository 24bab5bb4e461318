"""What is new since the last look, from all sessions of a store at once.

A look is one `PRAGMA data_version` (platforms without inotify too; 20 ms apart it costs 0.6 % of a core),
and the two queries only when somebody has written. The file under the name may change meanwhile: made late,
replaced by a copy, or begun anew.

Lives here: `Follow`. Not here: waiting between two looks, finding the store (cli/log.py).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from devtrace.errors import DevTraceError
from devtrace.query.events import each_event, last_seq, list_events, list_running, when
from devtrace.query.filters import Filters
from devtrace.store import chain
from devtrace.store.connection import open_reader, translated
from devtrace.workspace import Workspace

Row = dict[str, Any]
_Key = tuple[str, str]

_REMEMBERED = 65_536  # events known by id, so that another file under the name repeats none of them
_PATIENCE = 5.0  # seconds for a half-made database to become a whole one before its error is ours


class Follow:
    """Starts and ends as they are written: `poll()` again and again, `close()` at the end."""

    def __init__(
        self,
        workspace: Workspace,
        filters: Filters,
        *,
        is_new: bool = False,
        connect: Callable[[Workspace], sqlite3.Connection] = open_reader,
        clock: Callable[[], float] = time.monotonic,
    ):
        """`is_new`: there was no store until now, so that everything in it is news."""
        self._workspace = workspace
        self._filters = replace(filters, limit=None)
        self._history = filters.limit or 0
        self._connect = connect
        self._clock = clock
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._version = -1
        self._cursor = 0 if is_new else -1  # -1: nothing was read yet
        self._last: _Key | None = None  # the event at the cursor
        self._running: set[_Key] = set()
        self._seen: dict[_Key, None] = {}
        self._first_us = 0  # recorded_us of the newest event at the first look
        self._floor = 0  # another file was found: what was recorded until then is no news in it
        self._trouble: float | None = None

    @property
    def db(self) -> sqlite3.Connection:
        """The store of the last look that found something, to ask it more."""
        assert self._db is not None, "poll() has given nothing yet"
        return self._db

    def poll(self) -> list[Row]:
        """The commands that started and the events that were recorded since the last look, in order.

        The first look gives the newest `filters.limit` and whatever runs. A command that starts and ends
        between two looks is given once, ended. Raises DevTraceError where the store stays unreadable.
        """
        try:
            rows = self._look()
        except DevTraceError as error:
            self.close()
            if error.code == "ERR_STORE_MISSING":  # it is being made: everything in it will be news
                self._cursor = max(self._cursor, 0)
            now = self._clock()
            self._trouble = now if self._trouble is None else self._trouble
            if now - self._trouble > _PATIENCE:
                raise
            return []
        self._trouble = None
        return rows

    def close(self) -> None:
        """Let go of the file; the next `poll` opens it again and goes on where this one was."""
        if self._db is not None:
            self._db.close()
        self._db, self._file, self._version = None, None, -1

    def _look(self) -> list[Row]:
        with translated(self._workspace):
            db = self._opened()
            if db is None:
                return []
            version = db.execute("PRAGMA data_version").fetchone()[0]
            if version == self._version:
                return []
            rows = self._read(db)
            self._version = version
            return rows

    def _opened(self) -> sqlite3.Connection | None:
        try:
            state = self._workspace.database.stat()
        except OSError:  # rotated away, or not made yet: then everything in it will be news
            self.close()
            self._cursor = max(self._cursor, 0)
            return None
        if self._db is None or self._file != (state.st_dev, state.st_ino):
            self.close()
            self._db = self._connect(self._workspace)
            self._file = (state.st_dev, state.st_ino)
            self._find_place(self._db)
        return self._db

    def _find_place(self, db: sqlite3.Connection) -> None:
        """In another file, stay at the cursor only when the same event stands there."""
        if self._cursor > 0 and _at(db, self._cursor) != self._last:
            self._cursor, self._floor = 0, self._first_us

    def _read(self, db: sqlite3.Connection) -> list[Row]:
        db.execute("BEGIN")  # one state of the store: no event falls between the queries
        try:
            rows = self._first(db) if self._cursor < 0 else self._new(db)
            self._running = {_key(row) for row in list_running(db, Filters())}
            self._cursor = last_seq(db)
            self._last = _at(db, self._cursor)
        finally:
            db.execute("COMMIT")
        self._remember(rows)
        return sorted(rows, key=when)

    def _first(self, db: sqlite3.Connection) -> list[Row]:
        newest = db.execute("SELECT recorded_us FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        self._first_us = newest[0] if newest else 0
        ended = list_events(db, replace(self._filters, limit=self._history)) if self._history else []
        shown = {_key(row) for row in ended}
        return ended + [row for row in list_running(db, self._filters) if _key(row) not in shown]

    def _new(self, db: sqlite3.Connection) -> list[Row]:
        ended = [row for row in each_event(db, self._filters, self._cursor) if self._is_news(row)]
        return ended + [row for row in list_running(db, self._filters) if _key(row) not in self._running]

    def _is_news(self, row: Row) -> bool:
        return row["recorded_us"] > self._floor and _key(row) not in self._seen

    def _remember(self, rows: list[Row]) -> None:
        self._seen.update(dict.fromkeys(_key(row) for row in rows if row["status"] != "running"))
        while len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]


def _at(db: sqlite3.Connection, seq: int) -> _Key | None:
    tables = ("events", "pruned") if chain.knows_stubs(db) else ("events",)
    for table in tables:
        row = db.execute(f"SELECT session, id FROM {table} WHERE seq = ?", (seq,)).fetchone()
        if row is not None:
            return row[0], row[1]
    return None


def _key(row: Row) -> _Key:
    return row["session"], row["id"]
