"""What the database takes of the disk, and giving back what it does not need.

Lives here: its size, and `release`. Not here: what is taken out of it (retention.py).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator

from devtrace.workspace import Workspace

_PAGES = 256  # given back by one step: others wait for it


def taken(db: sqlite3.Connection) -> int:
    """Bytes of the database, those of free pages included, as they are once the WAL is in it."""
    return _pragma(db, "page_count") * _pragma(db, "page_size")


def needed(db: sqlite3.Connection) -> int:
    """The same without the free pages."""
    return (_pragma(db, "page_count") - _pragma(db, "freelist_count")) * _pragma(db, "page_size")


def on_disk(workspace: Workspace) -> int:
    """Bytes of the database's file and of its WAL (https://sqlite.org/fileformat2.html#walformat)."""
    files = (workspace.database, workspace.database.with_name(f"{workspace.database.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def release(db: sqlite3.Connection, goes_on: Callable[[], bool] = lambda: True) -> bool:
    """Give free pages back to the file system, in small steps; False: some are left for another time.

    Readers are not waited for: while one looks at an older state the files shrink with a later checkpoint.
    Raises sqlite3.Error.
    """
    free = _pragma(db, "freelist_count")
    while free and goes_on():
        # CPython 3.11 executes only the first step of this statement, and each step frees one page: fetchall.
        db.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
        before, free = free, _pragma(db, "freelist_count")
        if free >= before:  # somebody else frees pages at the same time, or the file cannot shrink
            break
    with _impatient(db), contextlib.suppress(sqlite3.OperationalError):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return not free


@contextlib.contextmanager
def _impatient(db: sqlite3.Connection) -> Iterator[None]:
    patience_ms = _pragma(db, "busy_timeout")
    db.execute("PRAGMA busy_timeout = 0")
    try:
        yield
    finally:
        db.execute(f"PRAGMA busy_timeout = {patience_ms}")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
