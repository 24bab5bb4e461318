"""The store that a server answers from: found anew for each question, as fresh as it can be without waiting.

It may be made, replaced or upgraded while the server runs, so each question has a connection of its own,
which can only read. What waits in the spool is taken in by a thread beside, when somebody asks and at most
once in a while; a question waits for it for a moment, and is told where that was not enough.

Lives here: `Store`, `Freshener`, `Masks`. Not here: the questions (answers.py), drains (store/drain.py).
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from devtrace.errors import DevTraceError, EnvironmentError
from devtrace.policy.chain import Policy
from devtrace.query.events import last_seq
from devtrace.services.mcp_server.kept import Kept
from devtrace.services.redaction import Credentials, own_rules
from devtrace.services.refresh import index, open_fresh
from devtrace.store import VERSION
from devtrace.store.connection import from_sqlite_error, open_reader, open_store
from devtrace.store.search_index import state_of
from devtrace.workspace import Workspace, find

_EVERY_S = 1.0  # between two drains
_INDEXING_S = 60.0  # of one go at the index of texts,
_STEP_S, _REST_S = 1.0, 0.05  # in steps
_PATIENCE_S = 0.02  # for which a question waits for one
_UPGRADE_S = 20.0  # of a question, for an older store that is being brought to today's form
_LOOK_EVERY_S = 1.0  # between two looks at the credential files
_LONGEST_FIELD = 20  # characters of a name that is a field's, and no text
_STEPS = 20_000  # of SQLite's machine between two looks at the clock


class Opened(NamedTuple):
    """A store that is open for one question. `note`: what is to be said of it, or nothing."""

    db: sqlite3.Connection
    workspace: Workspace
    mask: Masks
    note: str
    found: dict[str, Any]  # what earlier questions found out, where it is kept and still true


class Store:
    """Opens the store that stands above the working directory, whichever that is by now."""

    def __init__(self, environ: Mapping[str, str]):
        self._environ = environ
        self._freshener = Freshener()
        self._indexer = Indexer()
        self._kept = Kept(self._reader)
        self._masks: dict[Path, Masks] = {}
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Do already what the first question would have to wait for, be there a store or not."""
        with suppress(DevTraceError):
            workspace = find()
            self._freshener.ask(workspace, 0.0)
            self._masks_of(workspace)("begin")

    @contextmanager
    def opened(
        self, until: float, stop: threading.Event | None = None, *, keeps: bool = False
    ) -> Iterator[Opened]:
        """For one question, which may take until then (monotonic) or until `stop`.

        `keeps`: it can use what others like it found out. Raises DevTraceError: what `find` and `open_reader`
        say, and ERR_TOO_SLOW.
        """
        workspace = find()
        note = self._freshener.ask(workspace, _PATIENCE_S)
        try:
            with self._kept.opened(workspace) if keeps else self._once(workspace) as (db, found):

                def is_over() -> bool:
                    return time.monotonic() > until or (stop is not None and stop.is_set())

                db.set_progress_handler(is_over, _STEPS)
                db.execute("BEGIN")  # all that one question reads is of one moment
                yield Opened(db, workspace, self._masks_of(workspace), note, found)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
                raise too_slow() from error
            raise from_sqlite_error(error, workspace) from error

    @contextmanager
    def _once(self, workspace: Workspace) -> Iterator[tuple[sqlite3.Connection, dict[str, Any]]]:
        with closing(self._reader(workspace)) as db:
            yield db, {}

    def _reader(self, workspace: Workspace) -> sqlite3.Connection:
        db = open_reader(workspace)
        if _version(db) >= VERSION:
            return db
        db.close()
        self._freshener.ask(workspace, _UPGRADE_S, is_urgent=True)
        return open_reader(workspace)

    def _masks_of(self, workspace: Workspace) -> Masks:
        with self._lock:
            if workspace.dir not in self._masks:
                self._masks = {workspace.dir: Masks(workspace, self._environ)}
            return self._masks[workspace.dir]

    def index(self, *, anew: bool = False) -> None:
        """Have what was recorded made ready to be searched, beside; `anew` where the index is damaged."""
        with suppress(DevTraceError):
            self._indexer.ask(find(), anew=anew)

    def close(self) -> None:
        """Wait for what is being written."""
        self._kept.close()
        self._indexer.close()
        self._freshener.close()


def too_slow() -> EnvironmentError:
    """No answer came in time."""
    return EnvironmentError(
        "the answer would have taken too long",
        code="ERR_TOO_SLOW",
        hint="ask for less: a shorter time, one session, a smaller range",
    )


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


# --- fresh ----------------------------------------------------------------------------------------------


class Freshener:
    """Brings a store up to date, in a thread of its own, one time after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._done: dict[Path, float] = {}
        self._note = ""

    def ask(self, workspace: Workspace, patience_s: float, *, is_urgent: bool = False) -> str:
        """Have it made fresh, if that was not done just now; what is to be said where it could not be."""
        with self._lock:
            is_due = time.monotonic() - self._done.get(workspace.dir, float("-inf")) >= _EVERY_S
            if (self._thread is None or not self._thread.is_alive()) and (is_due or is_urgent):
                self._done = {workspace.dir: time.monotonic()}
                self._thread = threading.Thread(
                    target=self._freshen, args=(workspace,), name="devtrace-mcp-fresh", daemon=True
                )
                self._thread.start()
            thread = self._thread
        if thread is not None:
            thread.join(patience_s)
        return self._note

    def _freshen(self, workspace: Workspace) -> None:
        try:
            fresh = open_fresh(workspace)
            fresh.db.close()
            self._note = "" if fresh.stale is None else _told(fresh.stale)
        except (DevTraceError, sqlite3.Error, OSError):
            return  # whoever opens it to read meets the same trouble, and tells it

    def close(self) -> None:
        """Wait until nothing is being written any more."""
        thread = self._thread
        if thread is not None:
            thread.join(_UPGRADE_S)


class Indexer:
    """Fills the index of texts, in a thread of its own, for a while at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._done = float("-inf")
        self._is_over = threading.Event()

    def ask(self, workspace: Workspace, *, anew: bool) -> None:
        """Have it filled, if nobody is at it and that was not done just now."""
        with self._lock:
            is_at_work = self._thread is not None and self._thread.is_alive()
            is_due = anew or time.monotonic() - self._done >= _EVERY_S
            if is_at_work or self._is_over.is_set() or not is_due:
                return
            self._thread = threading.Thread(
                target=self._fill, args=(workspace, anew), name="devtrace-mcp-index", daemon=True
            )
            self._thread.start()

    def _fill(self, workspace: Workspace, anew: bool) -> None:
        until, is_first = time.monotonic() + _INDEXING_S, True
        # Who cannot write searches what is indexed; where another process writes, there is a later time.
        with suppress(DevTraceError, sqlite3.Error, OSError), closing(open_store(workspace)) as db:
            while is_first or (self._is_behind(db) and time.monotonic() < until):
                index(db, workspace, _STEP_S, anew=anew and is_first)
                is_first = False
        self._done = time.monotonic()

    def _is_behind(self, db: sqlite3.Connection) -> bool:
        state = state_of(db)
        is_whole = state is not None and state.low == 0 and state.high >= last_seq(db)
        return not is_whole and not self._is_over.wait(_REST_S)

    def close(self) -> None:
        """Stop after the step that is being made."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join(_UPGRADE_S)


def _told(stale: DevTraceError) -> str:
    return f"The store is shown as it was last left, for it cannot be written [{stale.code}]."


# --- secrets --------------------------------------------------------------------------------------------


class Masks:
    """Masks in an answer what is known now to be a secret: the record was masked by what was known then."""

    def __init__(self, workspace: Workspace, environ: Mapping[str, str]):
        self._lock = threading.Lock()
        self._workspace, self._environ = workspace, environ
        self._policy: Policy | None = None
        self._settings: tuple[int, int] | None = None
        self._credentials = Credentials(environ, workspace.root, Path(environ.get("PWD") or workspace.root))
        self._looked = float("-inf")

    def __call__(self, value: Any) -> Any:
        """A JSON-like value with every text in it masked. May be called by any thread."""
        with self._lock:
            policy = self._known_now()
            return _masked(policy, value)

    def _known_now(self) -> Policy:
        now = time.monotonic()
        if self._policy is not None and now - self._looked < _LOOK_EVERY_S:
            return self._policy
        self._looked = now
        settings = _stamp(self._workspace.config)
        if self._policy is None or settings != self._settings:
            self._policy, self._settings = own_rules(self._workspace, self._environ), settings
            self._credentials = Credentials(
                self._environ, self._workspace.root, Path(self._environ.get("PWD") or self._workspace.root)
            )
        self._policy.learn(self._credentials.news())
        return self._policy


def _masked(policy: Policy, value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("{", "["):
        value = policy.redact_json(value)
    if isinstance(value, dict):
        return {_name(policy, name): _masked(policy, inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(policy, inner) for inner in value]
    return policy.redact_values(value)


def _name(policy: Policy, name: Any) -> Any:
    return policy.redact_text(name) if isinstance(name, str) and len(name) > _LONGEST_FIELD else name


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size
