"""What one question found out, kept for the next: who wrote a line is asked of many lines, one after another.

What an agent told in a session is read as a whole, which takes a while in a long one. It stays true as long
as nothing else is recorded; the calls that come to us through a proxy of ours, and are recorded by it,
change nothing of it. So one connection stays open, and beside it what was made of the record through it.

Lives here: `Kept`. Not here: connections of one question each (store.py), what is kept (who asks puts it
there: answers_lines.py).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from devtrace.query.events import last_seq
from devtrace.store.chain import knows_stubs
from devtrace.workspace import Workspace

_MOST_USES = 200  # after which it is begun anew: contents of files gather
_OF_PROXIES = "('mcp_call', 'mcp_server', 'mcp_frames')"
_NEWS = f"SELECT 1 FROM events WHERE seq > ? AND kind NOT IN {_OF_PROXIES} LIMIT 1"
_RUNNING = f"SELECT count(*), max(n) FROM running WHERE kind NOT IN {_OF_PROXIES}"
_PRUNED = "SELECT max(rowid), min(rowid), (SELECT max(n) FROM seals) FROM pruned"
_File = tuple[int, int, int]
_State = tuple[Any, ...]


class Kept:
    """One connection to one store, for one question at a time."""

    def __init__(self, connect: Callable[[Workspace], sqlite3.Connection]):
        self._connect = connect
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._file: _File | None = None
        self._version: object = None
        self._last = 0
        self._state: _State = ()
        self._uses = 0
        self._found: dict[str, Any] = {}

    @contextmanager
    def opened(self, workspace: Workspace) -> Iterator[tuple[sqlite3.Connection, dict[str, Any]]]:
        """The connection, and what is still true of what was put beside it; nothing is while another asks.

        Raises what `connect` does.
        """
        if not self._lock.acquire(blocking=False):
            db = self._connect(workspace)
            try:
                yield db, {}
            finally:
                db.close()
            return
        try:
            db = self._current(workspace)
            try:
                yield db, self._found
            finally:
                db.set_progress_handler(None, 0)
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
        except sqlite3.Error:
            self._forget()
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let go of it, when nobody asks any more."""
        with self._lock:
            self._forget()

    def _current(self, workspace: Workspace) -> sqlite3.Connection:
        """As it is now: of the file that stands there, in the form that this version knows."""
        self._uses += 1
        if self._db is None or self._uses > _MOST_USES or _standing(workspace, self._db) != self._file:
            self._forget()
            self._db = self._connect(workspace)
            self._file = _standing(workspace, self._db)
        if self._has_changed(self._db):
            self._found = {}
        return self._db

    def _forget(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db, self._found, self._version, self._uses = None, {}, None, 0

    def _has_changed(self, db: sqlite3.Connection) -> bool:
        """Whether anything that counts was recorded, ended or pruned since the last question."""
        version = db.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return False
        last = last_seq(db)
        pruned = db.execute(_PRUNED).fetchone() if knows_stubs(db) else ()
        state = (*db.execute(_RUNNING).fetchone(), *pruned)
        has_news = last < self._last or db.execute(_NEWS, (self._last,)).fetchone() is not None
        is_same = self._version is not None and not has_news and state == self._state
        self._version, self._last, self._state = version, last, state
        return not is_same


def _standing(workspace: Workspace, db: sqlite3.Connection) -> _File | None:
    """Which file is there, and the form of what is in it."""
    try:
        state = workspace.database.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, int(db.execute("PRAGMA user_version").fetchone()[0])
