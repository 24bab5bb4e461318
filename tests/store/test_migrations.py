"""A store that an older version made is brought up to date with all that it holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from devtrace.query.verify import verify
from devtrace.store import VERSION, retention, sessions
from devtrace.store.append import append
from devtrace.store.connection import open_reader, open_store
from devtrace.store.drain import drain
from devtrace.store.migrations import migrations
from devtrace.store.retention import EVENTS, OUTPUTS, WHENEVER, Author, Order
from devtrace.store.traces import RING
from devtrace.workspace import Workspace, create
from tests.store.frames import OTHER, SESSION, START, begin, frame, is_whole
from tests.store.pens import Pen
from tests.store.traced import blocks_written

TABLES_OF_2 = ("sessions", "events", "seals", "links", "file_changes")


@pytest.fixture
def old(tmp_path: Path, db: sqlite3.Connection) -> Workspace:
    """A store of version 2: its schema by the old steps, its rows as they were written then."""
    begin(db)
    append(db, [frame("a", blobs={"output": b"same", "timing": b"[[0,4]]"}), frame("b"), frame("c")])
    append(db, [frame("d", blobs={"output": b"same", "other": b"same"}), frame("e", data={"blobs": "none"})])
    sessions.end(db, SESSION, ended_us=START, status="ended", exit_code=0)
    made = Workspace(tmp_path / "old" / ".devtrace")
    made.root.mkdir()
    create(made)
    with closing(sqlite3.connect(made.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        migrations.apply(Database(connection), stop_before="m0003_pruned")
        connection.execute("PRAGMA user_version = 2")
        connection.execute("ATTACH ? AS new", (str(Workspace(tmp_path / ".devtrace").database),))
        for table in TABLES_OF_2:
            connection.execute(f"INSERT INTO {table} SELECT * FROM new.{table}")
        connection.execute("INSERT INTO blobs SELECT id, sha256, size, codec, data FROM new.blobs")
        unnamed = "INSERT INTO blobs (sha256, size, codec, data) VALUES ('nobody names it', 1, 'raw', x'00')"
        connection.execute(unnamed)
    return made


def test_names_of_blobs_are_counted_and_the_record_is_what_it_was(old: Workspace, db: sqlite3.Connection):
    with closing(open_store(old)) as after:
        assert after.execute("PRAGMA user_version").fetchone() == (VERSION,)
        counted = "SELECT sha256, refs FROM blobs WHERE sha256 <> 'nobody names it' ORDER BY sha256"
        assert after.execute(counted).fetchall() == db.execute(counted).fetchall()
        assert after.execute("SELECT refs FROM blobs WHERE size = 1").fetchone() == (0,)
        assert (
            after.execute("SELECT * FROM outputs").fetchall()
            == db.execute("SELECT * FROM outputs").fetchall()
        )
        assert verify(after).findings == []


def test_what_was_recorded_before_can_be_pruned(old: Workspace):
    with closing(open_store(old)) as after:
        after.execute("DELETE FROM blobs WHERE refs = 0")
        order = Order(OUTPUTS, WHENEVER)
        (share,) = retention.prune(after, old, order, Author("human", "cli", 0))

        assert share.outputs == 2
        assert after.execute("SELECT count(*) FROM blobs").fetchone() == (0,)
        assert is_whole(after)


def test_what_cannot_be_migrated_can_be_verified_as_it_is(old: Workspace):
    with closing(open_reader(old)) as reader:
        verified = verify(reader)

        assert reader.execute("PRAGMA user_version").fetchone() == (2,)
        assert (verified.findings, verified.events, verified.blobs) == ([], 5, 2)


TABLES_OF_4 = (
    "sessions", "events", "running", "seals", "links", "outputs", "blobs", "trace_streams", "trace_chunks",
    "trace_functions", "trace_calls", "trace_exceptions",
)  # fmt: skip


@pytest.fixture
def before_io(tmp_path: Path, db: sqlite3.Connection, workspace: Workspace) -> Workspace:
    """A store of version 4, in which a trace is over and another one goes on."""
    Pen(workspace.spool).begin().end()
    drain(db, workspace)
    pen = Pen(workspace.spool, session=OTHER).begin(id=OTHER)
    pen.call(1)
    blocks_written(pen, RING + 2)
    drain(db, workspace)
    made = Workspace(tmp_path / "old" / ".devtrace")
    made.root.mkdir()
    create(made)
    with closing(sqlite3.connect(made.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        migrations.apply(Database(connection), stop_before="m0005_io_chunks")
        connection.execute("PRAGMA user_version = 4")
        connection.execute("ATTACH ? AS new", (str(workspace.database),))
        for table in TABLES_OF_4:
            connection.execute(f"INSERT INTO {table} SELECT * FROM new.{table}")
        # what `Calls` told of itself then
        connection.execute(
            "UPDATE trace_streams SET state = json_remove(state, '$.calls.task', '$.io_chunks')"
        )
    pen.write(b"after the update\n")
    pen.end()
    pen.path.rename(made.spool / pen.path.name)
    return made


def test_a_store_without_the_table_can_be_verified_as_it_is(before_io: Workspace):
    with closing(open_reader(before_io)) as reader:
        assert verify(reader).findings == []
        assert reader.execute("PRAGMA user_version").fetchone() == (4,)


def test_a_trace_goes_on_over_the_update(before_io: Workspace):
    with closing(open_store(before_io)) as after:
        drained = drain(after, before_io)

        assert drained.traces == 1
        rows = after.execute("SELECT session, size, function, line FROM io_chunks").fetchall()
        assert rows == [(OTHER, 17, 1, 1)]
        assert verify(after).findings == []
        order = Order(EVENTS, WHENEVER)
        assert len(list(retention.prune(after, before_io, order, Author("human", "cli", 0)))) == 2
        assert after.execute("SELECT count(*) FROM io_chunks").fetchone() == (0,)
