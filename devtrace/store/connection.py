"""Opening `.devtrace/devtrace.db`: for writing, with its schema brought up to date, or for reading only.

Lives here: connections, their pragmas, the flock around creating and migrating, SQLite's errors in our words.
Not here: the schema (migrations/), writing (append.py), reading (query/).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from devtrace import workspace as workspaces
from devtrace.errors import DevTraceError, EnvironmentError
from devtrace.store import VERSION
from devtrace.workspace import Workspace, from_os_error

BUSY_MS = 30_000


def open_store(workspace: Workspace, *, create: bool = False) -> sqlite3.Connection:
    """A connection that can write; the schema is current when this returns.

    With `create` the store is made where it is missing. Every statement commits by itself unless a BEGIN
    IMMEDIATE is open. May be used by one thread at a time. Raises EnvironmentError ERR_STORE_MISSING,
    ERR_STORE_DAMAGED, ERR_STORE_NEWER, ERR_STORE_READONLY, ERR_STORE_FULL or ERR_STORE_LOCKED.
    """
    if create:
        workspaces.create(workspace)
    elif not workspace.database.exists():
        raise _missing(workspace)
    _must_be_writable(workspace)
    with translated(workspace):
        db = _connect(workspace, "rwc" if create else "rw")
        try:
            if _version(db, workspace) < VERSION:
                _migrate(workspace, db)
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
    if not workspace.database.exists():
        raise _missing(workspace)
    with translated(workspace):
        try:
            return _reader(workspace, "ro")
        except sqlite3.OperationalError:  # no -shm can be made beside it: nobody else writes it either
            return _reader(workspace, "ro&immutable=1")


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
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return EnvironmentError(
            f"{path} is damaged: {error}",
            code="ERR_STORE_DAMAGED",
            hint="move it away; `devtrace init` makes a new one, and the spool is taken in by it",
            context=context,
        )
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return EnvironmentError(
            f"{path} cannot be written: {error}",
            code="ERR_STORE_FULL",
            hint="free some disk space",
            context=context,
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return EnvironmentError(
            f"{path} is locked by another process",
            code="ERR_STORE_LOCKED",
            hint="try again; `devtrace doctor` names live sessions",
            context=context,
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return EnvironmentError(
            f"{path} cannot be written: {error}",
            code="ERR_STORE_READONLY",
            hint="check the owner and the permissions of .devtrace/",
            context=context,
        )
    return EnvironmentError(
        f"{path} cannot be read: {error}",
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
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive flock on a file of the store."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _connect(workspace: Workspace, mode: str) -> sqlite3.Connection:
    before = os.umask(0o177) if mode == "rwc" else -1
    try:
        uri = f"{workspace.database.absolute().as_uri()}?mode={mode}"
        db = sqlite3.connect(
            uri, uri=True, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
    finally:
        if before >= 0:
            os.umask(before)
    return db


def _reader(workspace: Workspace, mode: str) -> sqlite3.Connection:
    db = _connect(workspace, mode)
    try:
        if _version(db, workspace) == 0:
            raise _missing(workspace)
        db.execute("PRAGMA query_only = ON")
    except BaseException:
        db.close()
        raise
    return db


def _version(db: sqlite3.Connection, workspace: Workspace) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise EnvironmentError(
            f"{workspace.database} was written by a newer devtrace",
            code="ERR_STORE_NEWER",
            hint="update devtrace",
            context={"path": str(workspace.database), "version": version, "known": VERSION},
        )
    return int(version)


def _migrate(workspace: Workspace, db: sqlite3.Connection) -> None:
    """Under the flock: switching to WAL and first use of the migrations both fail when raced."""
    from sqlite_utils import Database

    from devtrace.store.migrations import migrations

    with locked(workspace.lock):
        if _version(db, workspace) >= VERSION:
            return
        if db.execute("PRAGMA page_count").fetchone() == (0,):
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first table
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


def _missing(workspace: Workspace) -> EnvironmentError:
    return EnvironmentError(
        f"no database in {workspace.dir}",
        code="ERR_STORE_MISSING",
        hint="run `devtrace init` in the repository root",
        context={"path": str(workspace.database)},
    )
