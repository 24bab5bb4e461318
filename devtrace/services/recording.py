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
from typing import TYPE_CHECKING, Any

from devtrace import __version__
from devtrace import config as configuration
from devtrace import workspace as workspaces
from devtrace.errors import DevTraceError
from devtrace.events import Event, Gap, RunCommand, gap_event
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.services.edits.tools import Tools
from devtrace.services.redaction import Credentials, own_rules
from devtrace.services.transcripts import Filling
from devtrace.store import anchors, search_index, sessions
from devtrace.store.connection import must_be_known, open_store, translated
from devtrace.store.drain import drain
from devtrace.store.hold import NEVER_US, Hold, hold, holders
from devtrace.store.retry import Retry
from devtrace.workspace import Workspace, repository_root

if TYPE_CHECKING:
    from devtrace.services.edits.tracker import Tracker

_GIT_TIMEOUT_S = 5
_JUST_NOW_NS = 1_000_000_000  # a second change of a directory may leave the same time in it
_RETRY_S = 2.0  # between two tries to open a store that could not be opened
_PATIENCE_MS = 2_000  # for others who write; then the spool takes it, and nobody waits for us at the end
_IMPATIENCE_MS = 100  # while that goes on
_TRACE_S = 0.03  # of taking in traces at once: the terminal shares the interpreter with it
_INDEX_S = 0.02  # of filling the search index at once, for the same reason
_LAST_TRACE_S = 0.5  # of it at the end; whoever reads next takes the rest


class Recording:
    """One session's way into the store; the methods are those of `sources.shell.listener.Sink`."""

    def __init__(
        self,
        place: Workspace,
        environment: Mapping[str, str],
        columns: dict[str, Any],
        meta: dict[str, Any],
        nonces: Iterable[str] = (),
        edits: Callable[[Policy], Tracker] | None = None,
        held: Hold | None = None,
        n_told: Callable[[], int | None] = lambda: 0,
    ):
        """`columns`: of the sessions table, without what is found out here; `meta`: what is shown with it.

        `nonces` are never written: `set` in the shell prints them, and who reads them could forge records.
        `edits` starts what records the changes of the working tree, with a policy of its own. `held`: the
        session's lock, where it was taken already. `n_told()`: how many lines the listener was given,
        and None while something that a shell wrote is on its way to it.
        `branch` and `head_start` are asked of git here, where nobody told them before the start.
        """
        self._place = place
        self._id = str(columns["id"])
        self._environment = environment
        self._trouble: DevTraceError | None = None
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # the database that is open, by device and inode
        self._retry_at = 0.0
        self._retry = Retry()  # of writing to the store that is open
        self._retry_index = Retry()
        self._hold = held
        self._n_events: int | None = None
        with contextlib.suppress(DevTraceError):  # told when the store is opened
            workspaces.create(place)  # with the salt that makes a session's markers comparable to others'
        self._credentials = Credentials(environment, place.root, Path(columns["cwd"]))
        self._policy = own_rules(place, environment)
        secrets = [*(nonce.encode() for nonce in nonces), *self._credentials.news()]
        self._policy.learn(secrets)
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
        self._edits: Tracker | None = None
        self._tools: Tools | None = None
        if edits is not None:
            redaction = own_rules(place, environment)
            redaction.learn(secrets)
            self._edits = edits(redaction)
            self._tools = Tools(self._id, self._edits.root)
        self._n_learned = 0
        self._flushed_us = self._told_us = 0
        self._n_told = n_told
        self._has_company = False
        self._company_ns = 0  # when `run/` changed, as it was when we looked for company
        self._is_over = False
        self._has_more = False  # traces wait to be taken in, or events to be indexed
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
        if isinstance(event.body, RunCommand) and event.status != "running":
            self._look_at_credentials(event.body.cwd)
        self._pipeline.emit(event)
        if self._edits is not None:
            self._edits.heard(event)

    def flush(self) -> None:
        """Make what was taken visible."""
        self._take_edits()
        self._look_after_store()
        if not self._pipeline.flush() and self._pipeline.failures:
            self._failed(self._pipeline.failures[-1])
        self._tell_company()

    def placed(self, line: int, at_us: int, *, begins: bool) -> None:
        """A line of the FIFO said that a command began, or had ended."""
        if self._edits is not None:
            self._edits.places.told(line, at_us, begins=begins)

    def waits(self) -> bool:
        """Whether something waits to be taken in or indexed, or a look at the tree for more to be typed."""
        return self._has_more or (self._edits is not None and self._edits.waits())

    def idle(self) -> None:
        """Take in what other processes, and we in worse times, left in the spool."""
        self._look_after_store()
        self._has_more = False
        if self._db is None or not self._retry.is_due():
            return
        if self._try(self._drain):
            self._pipeline.settle()
            self._be_patient(_PATIENCE_MS)
            if not self._has_more:
                self._index()
        else:
            self._retry.failed()

    def close(self, ended_us: int, exit_code: int | None, warnings: list[str]) -> None:
        """End the session and seal it."""
        self.flush()
        if self._edits is not None:
            self._is_over = True
            self._edits.close(self._tell_over)
            self.flush()
            choices = [*self._row["meta"].get("choices", []), *(one.as_dict() for one in self._edits.choices)]
            self._row["meta"] = {**self._row["meta"], "choices": choices}
        if self._db is None:
            self._open()
        self._fill(ended_us)
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

    # --- the working tree -----------------------------------------------------------------------------------

    def _take_edits(self) -> None:
        if self._edits is None:
            return
        learned = self._policy.learned
        if len(learned) > self._n_learned:  # before it hears that the commands have been told
            self._edits.learn(learned[self._n_learned :])
            self._n_learned = len(learned)
        self._hear_tools()
        # What had been written before the last flush has been paired and emitted since.
        self._told_us = self._flushed_us
        self._edits.progress(self._told_us)
        now_us = time.time_ns() // 1_000
        if self._n_told() is not None:
            self._flushed_us = now_us
        for event in self._edits.take():
            self._pipeline.emit(event)

    def _hear_tools(self) -> None:
        """What an agent's hooks left in the spool: a hook has written before its tool begins to work."""
        if self._db is None or self._edits is None or self._tools is None or not self._retry.is_due():
            return
        with contextlib.suppress(sqlite3.Error, OSError, ValueError):
            drain(self._db, self._place, trace_s=0)
            for window in self._tools.news(self._db):
                self._edits.worked(window)

    def _fill(self, ended_us: int) -> None:
        """What the session's agents kept of it themselves, and their hooks did not tell."""
        if self._db is None or not self._try(self._drain):
            return
        started_us = int(self._row["started_us"])
        filling = Filling(
            self._place, self._environment, self._policy, self._id, str(self._row.get("agent") or "")
        )
        try:
            found = filling.events(self._db, started_us, ended_us)
        except Exception as error:  # strangers' files: they cost the session nothing but what is in them
            gap = Gap(reason="transcript_failure", detail=f"{type(error).__name__}: {error}")
            found = [gap_event(self._id, gap, started_us, ended_us)]
        for event in found:
            self._pipeline.emit(event)
        self.flush()

    def _look_at_credentials(self, cwd: str) -> None:
        """A command may have written a secret into one of the files: from its own event on it is known."""
        self._credentials.work_in(cwd)
        if news := self._credentials.news():
            self._policy.learn(news)
            if self._edits is not None:
                self._edits.learn(news)

    def _tell_company(self) -> None:
        """Other sessions of the tree judge changes too, and must know how far our commands are stored."""
        if self._edits is None or self._hold is None or self._db is None or self._is_over:
            return
        with contextlib.suppress(OSError):
            changed_ns = self._place.run.stat().st_mtime_ns
            if changed_ns != self._company_ns or time.time_ns() < changed_ns + _JUST_NOW_NS:
                self._company_ns = changed_ns
                self._has_company = len(holders(self._place)) > 1
        if self._has_company and self._edits.has_learned:
            self._hold.tell_heard(self._told_us)

    def _tell_over(self) -> None:
        """No command is to come: another session that ends too need not wait for us, as we may for it."""
        if self._hold is not None and self._db is not None:
            self._hold.tell_heard(NEVER_US)

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
            drain(db, self._place, trace_s=0)
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
            self._hold = hold(self._place, self._id)

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
        self._drain(_LAST_TRACE_S)
        sessions.update(self._db, self._id, meta=self._row["meta"])
        sessions.end(self._db, self._id, **end)
        row = self._db.execute("SELECT n_events FROM sessions WHERE id = ?", (self._id,)).fetchone()
        self._n_events = row[0] if row else None

    def _drain(self, trace_s: float = _TRACE_S) -> None:
        assert self._db is not None
        drained = drain(self._db, self._place, trace_s)
        self._has_more = drained.has_more
        if any(drained):
            self._retry.begin_anew()
        anchors.sync(self._db, self._place)

    def _index(self) -> None:
        """Let what was written be found: little by little, and another time where others write now."""
        if self._db is None or not self._retry_index.is_due():
            return
        until = time.monotonic() + _INDEX_S
        try:
            self._has_more = not search_index.catch_up(self._db, lambda: time.monotonic() < until)
            self._retry_index.begin_anew()
        except sqlite3.Error:  # nothing of the record is lost by it, and who searches says what is left out
            self._retry_index.failed()

    def _emit_replaced(self) -> None:
        gap = Gap(reason="store_replaced", detail="what was recorded before is not in this store")
        self._pipeline.emit(gap_event(self._id, gap, self._row["started_us"], time.time_ns() // 1_000))

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
