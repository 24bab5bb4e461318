"""Opening `.devtrace/devtrace.db`: for writing, with its schema brought up to date, or for reading only.

Lives here: connections, their pragmas, the flock around creating and migrating, SQLite's errors in our words.
Not here: the schema (migrations/), writing (append.py), reading (query/).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from devtrace import workspace as workspaces
from devtrace.errors import DevTraceError, EnvironmentError
from devtrace.store import VERSION, anchors
from devtrace.store.hold import try_lock
from devtrace.workspace import Workspace, from_os_error

BUSY_MS = 30_000
_LOOK_AGAIN_S = 0.01  # between two tries for a flock
# Where no -shm can be made beside the database, nobody writes it either. Then SQLite reads it without locks
# and without a -shm, a -wal included that a killed writer left behind; failing that, the database alone.
_ALONE = (("ro&vfs=unix-none", True), ("ro&immutable=1", False))
_CANNOT_READ = ("SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS")


def open_store(
    workspace: Workspace, *, create: bool = False, patience_ms: int = BUSY_MS
) -> sqlite3.Connection:
    """A connection that can write; the schema is current when this returns.

    With `create` the store is made where it is missing. Every statement commits by itself unless a BEGIN
    IMMEDIATE is open, and waits `patience_ms` for other writers. May be used by one thread at a time. Raises
    EnvironmentError ERR_STORE_MISSING, ERR_STORE_UNSAFE, ERR_STORE_DAMAGED, ERR_STORE_NEWER,
    ERR_STORE_READONLY, ERR_STORE_FULL or ERR_STORE_LOCKED.
    """
    if create:
        workspaces.create(workspace)
    elif not workspaces.checked(workspace).database.exists():
        raise _missing(workspace)
    _must_be_writable(workspace)
    with translated(workspace):
        _make_private(workspace.database)
        db = _connect(workspace, "rw", patience_ms)
        try:
            if must_be_known(db, workspace) < VERSION:
                _migrate(workspace, db, patience_ms)
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        except BaseException:
            db.close()
            raise
    return db


def open_reader(workspace: Workspace) -> sqlite3.Connection:
    """A connection that cannot write. On a read-only medium the file is read as it stands.

    Raises as `open_store` does.
    """
    if not workspaces.checked(workspace).database.exists():
        raise _missing(workspace)
    with translated(workspace):
        try:
            return _reader(workspace, "ro")
        except sqlite3.OperationalError as error:
            if not _cannot_share(error):
                raise
        for mode, is_exclusive in _ALONE:
            with contextlib.suppress(sqlite3.OperationalError):
                return _reader(workspace, mode, is_exclusive=is_exclusive)
        return _reader(workspace, "ro")


@contextlib.contextmanager
def translated(workspace: Workspace) -> Iterator[None]:
    """Turn what SQLite and the disk say into errors of ours."""
    try:
        yield
    except DevTraceError:
        raise
    except sqlite3.Error as error:
        raise from_sqlite_error(error, workspace) from error
    except OSError as error:
        raise from_os_error(error, workspace.dir) from error


def from_sqlite_error(error: sqlite3.Error, workspace: Workspace) -> DevTraceError:
    """What an SQLite error means for the user."""
    name = getattr(error, "sqlite_errorname", "") or ""
    path = workspace.database
    context = {"path": str(path), "sqlite": name or str(error)}
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")) and name not in _CANNOT_READ:
        return EnvironmentError(
            f"{path} cannot be written: {error}",
            code="ERR_STORE_FULL",
            hint="free some disk space",
            context=context,
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return _is_locked(path, context)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        verb = "opened" if name.startswith("SQLITE_CANTOPEN") else "written"
        return EnvironmentError(
            f"{path} cannot be {verb}: {error}",
            code="ERR_STORE_READONLY",
            hint="check the owner and the permissions of .devtrace/",
            context=context,
        )
    return EnvironmentError(
        f"{path} is damaged: {error}",
        code="ERR_STORE_DAMAGED",
        hint="move it away; `devtrace init` makes a new one, and the spool is taken in by it",
        context=context,
    )


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE ... COMMIT: whoever reads in order to write holds the lock from the start."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def locked(path: Path, *, patience_ms: int = BUSY_MS) -> Iterator[None]:
    """Hold an exclusive flock on a file of the store. Raises EnvironmentError ERR_STORE_LOCKED, OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        until = time.monotonic() + patience_ms / 1000
        while not try_lock(handle):
            if time.monotonic() > until:
                raise _is_locked(path, {"path": str(path)})
            time.sleep(_LOOK_AGAIN_S)  # a flock with a limit of time: the kernel has none
        yield
    finally:
        os.close(handle)


def _connect(workspace: Workspace, mode: str, patience_ms: int = BUSY_MS) -> sqlite3.Connection:
    uri = f"{workspace.database.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(
        uri, uri=True, timeout=patience_ms / 1000, isolation_level=None, check_same_thread=False
    )


def _reader(workspace: Workspace, mode: str, *, is_exclusive: bool = False) -> sqlite3.Connection:
    db = _connect(workspace, mode)
    try:
        if is_exclusive:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        if must_be_known(db, workspace) == 0:
            raise _missing(workspace)
        db.execute("PRAGMA query_only = ON")
    except BaseException:
        db.close()
        raise
    return db


def _cannot_share(error: sqlite3.OperationalError) -> bool:
    """Whether SQLite could not make or lock the -shm through which readers and writers share the -wal."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_IOERR_SHM", "SQLITE_IOERR_LOCK"))


def _make_private(database: Path) -> None:
    """The database is 0600 from its first moment, and so are -wal and -shm: SQLite gives them its mode."""
    try:
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        mode = database.stat().st_mode
        if stat.S_ISREG(mode) and mode & 0o077:
            database.chmod(0o600)


def must_be_known(db: sqlite3.Connection, workspace: Workspace) -> int:
    """The schema's version. Raises EnvironmentError ERR_STORE_NEWER when a newer devtrace has migrated it."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise EnvironmentError(
            f"{workspace.database} was written by a newer devtrace",
            code="ERR_STORE_NEWER",
            hint="update devtrace",
            context={"path": str(workspace.database), "version": version, "known": VERSION},
        )
    return int(version)


def _migrate(workspace: Workspace, db: sqlite3.Connection, patience_ms: int) -> None:
    """Under the flock: switching to WAL and first use of the migrations both fail when raced.

    Each step is one transaction with the note that it was done: a killed process leaves whole steps behind.
    """
    from sqlite_utils import Database

    from devtrace.store.migrations import migrations

    with locked(workspace.lock, patience_ms=patience_ms):
        if must_be_known(db, workspace) >= VERSION:
            return
        if db.execute("PRAGMA page_count").fetchone() == (0,):
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first table
            anchors.retire(workspace)
        db.execute("PRAGMA journal_mode = WAL")
        migrations.apply(Database(db))
        db.execute(f"PRAGMA user_version = {VERSION}")


def _must_be_writable(workspace: Workspace) -> None:
    for path in (workspace.dir, workspace.database):
        if path.exists() and not os.access(path, os.W_OK):
            raise EnvironmentError(
                f"{path} cannot be written",
                code="ERR_STORE_READONLY",
                hint="check the owner and the permissions of .devtrace/",
                context={"path": str(path)},
            )


def _is_locked(path: Path, context: dict[str, str]) -> EnvironmentError:
    return EnvironmentError(
        f"{path} is locked by another process",
        code="ERR_STORE_LOCKED",
        hint="try again; `devtrace doctor` names live sessions",
        context=context,
    )


def _missing(workspace: Workspace) -> EnvironmentError:
    return EnvironmentError(
        f"no database in {workspace.dir}",
        code="ERR_STORE_MISSING",
        hint="run `devtrace init` in the repository root",
        context={"path": str(workspace.database)},
    )
