"""Pages that nothing is kept in go back to the file system, whoever reads and writes meanwhile."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from devtrace.store import space
from devtrace.store.connection import open_reader, open_store
from devtrace.workspace import Workspace


@pytest.fixture
def full(db: sqlite3.Connection) -> sqlite3.Connection:
    """A database of which most is free."""
    db.execute("CREATE TABLE filler (data BLOB)")
    db.executemany("INSERT INTO filler VALUES (randomblob(?))", [(50_000,)] * 100)
    db.execute("DELETE FROM filler")
    return db


def free(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA freelist_count").fetchone()[0])


def test_every_free_page_goes_back_and_the_files_shrink(
    full: sqlite3.Connection, workspace: Workspace
) -> None:
    before, needed = space.taken(full), space.needed(full)
    assert free(full) > 1_000

    assert space.release(full)

    assert (free(full), space.taken(full) <= needed, before > 5_000_000) == (0, True, True)
    assert workspace.database.stat().st_size == space.taken(full)
    assert workspace.database.with_name("devtrace.db-wal").stat().st_size == 0
    assert full.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_it_goes_in_steps_and_stops_when_it_may_not_go_on(full: sqlite3.Connection) -> None:
    before, answers = free(full), iter([True, True, False])

    assert not space.release(full, lambda: next(answers))

    assert 0 < free(full) < before
    assert space.release(full)


def test_nobody_who_reads_is_waited_for(full: sqlite3.Connection, workspace: Workspace) -> None:
    with closing(open_reader(workspace)) as reader:
        reader.execute("BEGIN")
        (seen,) = reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()

        assert space.release(full)

        assert reader.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (seen,)
        reader.execute("COMMIT")
    assert space.release(full)
    assert workspace.database.stat().st_size == space.taken(full)


def test_how_long_it_waits_for_others_is_as_before(full: sqlite3.Connection) -> None:
    full.execute("PRAGMA busy_timeout = 1234")
    space.release(full)

    assert full.execute("PRAGMA busy_timeout").fetchone() == (1234,)


def test_a_store_that_cannot_shrink_is_left_as_it_is(workspace: Workspace) -> None:
    with closing(open_store(workspace, create=True)) as db:
        db.execute("PRAGMA auto_vacuum = NONE")
        db.execute("VACUUM")
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA auto_vacuum = NONE")
        db.execute("VACUUM")
        db.execute("CREATE TABLE filler (data BLOB)")
        db.execute("INSERT INTO filler VALUES (zeroblob(100000))")
        db.execute("DELETE FROM filler")

        assert not space.release(db)
        assert free(db) > 0
