"""The store's side of a traced session: its row, its events, its end.

Runs on the thread of the listener, where opening and importing may take their time. A store that fails is no
reason to stop: what happens waits in the spool, the store is tried again, and what trouble is left is told
when the session has ended. A store that is moved away or deleted under us is made anew, for a `git clean` in
a traced shell must not end its record without a word.

Lives here: `Recording`, the sink of a session. Not here: what an event is (sources/), the rows (store/).
"""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from devtrace import __version__
from devtrace import config as configuration
from devtrace import workspace as workspaces
from devtrace.errors import DevTraceError
from devtrace.events import Event, Gap
from devtrace.ids import new_span_id
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.store import sessions
from devtrace.store.connection import must_be_known, open_store, translated
from devtrace.store.drain import drain
from devtrace.store.retry import Retry
from devtrace.workspace import Workspace, repository_root

_GIT_TIMEOUT_S = 5
_RETRY_S = 2.0  # between two tries to open a store that could not be opened
_PATIENCE_MS = 2_000  # for others who write; then the spool takes it, and nobody waits for us at the end
_IMPATIENCE_MS = 100  # while that goes on


class Recording:
    """One session's way into the store; the methods are those of `sources.shell.listener.Sink`."""

    def __init__(
        self,
        place: Workspace,
        environment: Mapping[str, str],
        columns: dict[str, Any],
        meta: dict[str, Any],
        nonces: Iterable[str] = (),
    ):
        """`columns`: of the sessions table, without what is found out here; `meta`: what is shown with it.

        `nonces` are never written: `set` in the shell prints them, and who reads them could forge records.
        `branch` and `head_start` are asked of git here, where nobody told them before the start.
        """
        self._place = place
        self._id = str(columns["id"])
        self._trouble: DevTraceError | None = None
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # the database that is open, by device and inode
        self._retry_at = 0.0
        self._retry = Retry()  # of writing to the store that is open
        self._hold: sessions.Hold | None = None
        self._n_events: int | None = None
        with contextlib.suppress(DevTraceError):  # told when the store is opened
            workspaces.create(place)  # with the salt that makes a session's markers comparable to others'
        self._policy = Policy.for_session(environment, _salt(place))
        self._policy.learn(nonce.encode() for nonce in nonces)
        self._root = repository_root(Path(columns["cwd"]))
        self._row = {
            **columns,
            "title": columns.get("title") or "",
            "repo_root": None if self._root is None else str(self._root),
            "host": platform.node(),
            "meta": {"version": __version__, "pid": os.getpid(), **meta},
        }
        if "head_start" not in columns:
            self._row["branch"] = _git(self._root, "symbolic-ref", "--short", "-q", "HEAD")
            self._row["head_start"] = _git(self._root, "rev-parse", "-q", "--verify", "HEAD")
        self._row = self._policy.redact_values(self._row)
        self._pipeline = Pipeline(None, place, self._policy, self._retry)
        self._open()
        if self._db is None:
            self._pipeline.session({**self._row, "status": "active"})

    @property
    def n_events(self) -> int:
        """How many events the session has: its own, and once it has ended those of notes and guests too."""
        return self._pipeline.n_events if self._n_events is None else self._n_events

    @property
    def trouble(self) -> DevTraceError | None:
        """Why something is not in the store, or None."""
        return self._trouble

    def emit(self, event: Event) -> None:
        """Take one event."""
        self._pipeline.emit(event)

    def flush(self) -> None:
        """Make what was taken visible."""
        self._look_after_store()
        if not self._pipeline.flush() and self._pipeline.failures:
            self._failed(self._pipeline.failures[-1])

    def idle(self) -> None:
        """Take in what other processes, and we in worse times, left in the spool."""
        self._look_after_store()
        if self._db is None or not self._retry.is_due():
            return
        if self._try(self._drain):
            self._pipeline.settle()
            self._be_patient(_PATIENCE_MS)
        else:
            self._retry.failed()

    def close(self, ended_us: int, exit_code: int | None, warnings: list[str]) -> None:
        """End the session and seal it."""
        self.flush()
        if self._db is None:
            self._open()
        self._pipeline.close()  # of the spool file too, so that a drain can remove it
        if warnings:
            self._row["meta"] = {**self._row["meta"], "warnings": warnings}
        head_end = _git(self._root, "rev-parse", "-q", "--verify", "HEAD")
        end = {"ended_us": ended_us, "status": "ended", "exit_code": exit_code, "head_end": head_end}
        if self._db is None or not self._try(lambda: self._end(end)):
            self._pipeline.session({**self._row, **end})
            self._pipeline.close()
        elif self._try(self._drain) and not self._pipeline.n_lost:
            self._trouble = None  # whatever it was, everything is there now
        self._close()
        self._let_hold_go()

    # --- the store ------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._retry_at = time.monotonic() + _RETRY_S
        if self._try(self._open_store):
            self._trouble = None
            self._try(lambda: configuration.snapshot(self._place))

    def _open_store(self) -> None:
        workspaces.create(self._place)
        self._take_hold()  # before anything of the session is in the store: it would be an orphan
        was_locked = self._trouble is not None and self._trouble.code == "ERR_STORE_LOCKED"
        patience_ms = _IMPATIENCE_MS if was_locked else _PATIENCE_MS
        db = open_store(self._place, create=True, patience_ms=patience_ms)
        try:
            drain(db, self._place)
            sessions.close_orphans(db, self._place, time.time_ns() // 1_000)
            sessions.begin(db, **self._row)
            file = _identity(self._place.database)
        except BaseException:
            db.close()
            raise
        self._db = db
        self._pipeline.use(db)
        if self._file not in (None, file):
            self._emit_replaced()
        self._file = file

    def _look_after_store(self) -> None:
        """Is it still the one that we opened? Else open what is there now, if it can be opened."""
        if self._db is not None and not self._is_ours(self._db):
            self._close()
            self._open()
        elif self._db is None and time.monotonic() >= self._retry_at:
            self._open()
        elif self._hold is not None and self._hold.is_lost():
            self._try(self._take_hold)

    def _is_ours(self, db: sqlite3.Connection) -> bool:
        """False for a store that was moved away, deleted, or migrated by a newer devtrace."""
        try:
            if _identity(self._place.database) != self._file:
                return False
            must_be_known(db, self._place)
        except (OSError, DevTraceError):
            return False
        except sqlite3.Error:  # writing will say what it is
            return True
        return True

    def _take_hold(self) -> None:
        if self._hold is None or self._hold.is_lost():
            self._let_hold_go()
            self._hold = sessions.hold(self._place, self._id)

    def _let_hold_go(self) -> None:
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
            self._pipeline.use(None)

    def _end(self, end: dict[str, Any]) -> None:
        assert self._db is not None
        self._drain()
        sessions.update(self._db, self._id, meta=self._row["meta"])
        sessions.end(self._db, self._id, **end)
        row = self._db.execute("SELECT n_events FROM sessions WHERE id = ?", (self._id,)).fetchone()
        self._n_events = row[0] if row else None

    def _drain(self) -> None:
        assert self._db is not None
        if any(drain(self._db, self._place)):
            self._retry.begin_anew()

    def _emit_replaced(self) -> None:
        now_us = time.time_ns() // 1_000
        self._pipeline.emit(
            Event(
                session=self._id,
                id=new_span_id(),
                actor="human",
                started_us=self._row["started_us"],
                ended_us=now_us,
                status="unknown",
                source="host",
                trusted=2,
                body=Gap(reason="store_replaced", detail="what was recorded before is not in this store"),
            )
        )

    # --- trouble --------------------------------------------------------------------------------------------

    def _try(self, work: Callable[[], object]) -> bool:
        try:
            with translated(self._place):
                work()
        except DevTraceError as error:
            self._failed(error)
            return False
        return True

    def _failed(self, error: DevTraceError) -> None:
        self._trouble = error
        if error.code == "ERR_STORE_LOCKED":
            self._be_patient(_IMPATIENCE_MS)

    def _be_patient(self, milliseconds: int) -> None:
        if self._db is not None:
            self._db.execute(f"PRAGMA busy_timeout = {milliseconds}")


def _identity(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_dev, state.st_ino


def _salt(place: Workspace) -> bytes | None:
    try:
        return place.salt.read_bytes() or None
    except OSError:
        return None


def _git(root: Path | None, *arguments: str) -> str | None:
    """One line that git says of the repository, or None; takes no lock and runs no hook."""
    if root is None:
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            check=False,
            timeout=_GIT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    text = done.stdout.decode("utf-8", "replace").strip()
    return text if done.returncode == 0 and text else None
