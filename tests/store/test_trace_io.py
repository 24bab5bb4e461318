"""What went through the standard streams of a program: its rows and events, checked, forgotten, lost."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from devtrace.query.verify import verify
from devtrace.store import retention, trace_tables, traces
from devtrace.store.connection import open_store
from devtrace.store.drain import drain
from devtrace.store.retention import EVENTS, OUTPUTS, WHENEVER, Author, Order
from devtrace.store.spool import SpoolWriter
from devtrace.store.trace import records
from devtrace.store.trace_io import COLUMNS, Payloads, io_id
from devtrace.workspace import Workspace
from tests.store.frames import OTHER, SESSION, frame, is_whole
from tests.store.pens import Pen, scribble
from tests.store.traced import blocks_written, event, gaps, tables

AUTHOR = Author("human", "cli", 0)


@pytest.fixture
def pen(workspace, db) -> Pen:
    """The first thread of a program that has just begun."""
    return Pen(workspace.spool).begin()


@pytest.fixture
def kept(db, workspace, pen) -> sqlite3.Connection:
    """A program that printed, in two blocks, and is over."""
    pen.call(1)
    pen.line(3)
    pen.write(b"one\ntwo\nthree\n")
    pen.write(b"oops\n", records.STDERR)
    pen.turn()
    pen.line(4)
    pen.write(b"and more", flags=records.FLUSH)
    pen.end()
    drain(db, workspace)
    assert verify(db).findings == []
    return db


def io_events(db: sqlite3.Connection) -> list[dict[str, Any]]:
    select = (
        "SELECT id, parent, actor, source, trusted, status, title, started_us, ended_us, data FROM events"
    )
    cursor = db.execute(f"{select} WHERE kind = 'io' ORDER BY seq")
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, values, strict=True)) for values in cursor]
    return [row | {"data": json.loads(row["data"])} for row in rows]


def chunks(db: sqlite3.Connection, columns: str = COLUMNS, session: str = SESSION) -> list[Any]:
    select = f"SELECT {columns} FROM io_chunks WHERE session = ? ORDER BY stream, n"
    return db.execute(select, (session,)).fetchall()


def texts(db: sqlite3.Connection) -> list[bytes | None]:
    payloads = Payloads(db, SESSION)
    return [payloads.get(*where) for where in chunks(db, "stream, chunk, word, start, size")]


def found(db: sqlite3.Connection) -> set[tuple[str | None, str]]:
    """What verify finds: of which kind of event, and what."""
    kinds = dict(db.execute("SELECT id, kind FROM events").fetchall())
    return {(kinds.get(one.event or ""), one.what) for one in verify(db).findings}


# --- a whole program ------------------------------------------------------------------------------------


def test_what_a_program_printed_is_there_with_its_lines(kept):
    rows = chunks(kept, "n, channel, chunk, size, flags, event, function, line, frame, task")

    assert rows == [
        (1, "stdout", 1, 4, 1, 2, 1, 3, 0, None), (2, "stdout", 1, 4, 1, 2, 1, 3, 0, None),
        (3, "stdout", 1, 6, 1, 2, 1, 3, 0, None), (4, "stderr", 1, 5, 1, 2, 1, 3, 0, None),
        (5, "stdout", 2, 8, 2, 3, 1, 4, 0, None),
    ]  # fmt: skip
    assert texts(kept) == [b"one\n", b"two\n", b"three\n", b"oops\n", b"and more"]
    assert is_whole(kept)


def test_one_event_covers_what_was_taken_at_once(kept):
    (one,) = io_events(kept)

    assert one["title"] == "printed 3 lines to stdout, 1 to stderr"
    assert (one["parent"], one["id"]) == (trace_tables.trace_id(SESSION), io_id(SESSION, 1, 1))
    envelope = ("actor", "source", "trusted", "status")
    assert [one[name] for name in envelope] == ["human", "recorder", 0, "ok"]
    data = one["data"]
    assert len({data.pop("rows"), data.pop("digest")}) == 2
    assert data == {
        "stream": 1, "thread": "MainThread", "first": 1, "last": 5, "n_chunks": 5,
        "bytes": {"stdout": 22, "stderr": 5}, "lines": {"stdout": 3, "stderr": 1},
        "flags": {"newline": 4, "flush": 1},
    }  # fmt: skip
    clock_us, ended_us = kept.execute("SELECT clock_us, ended_us FROM trace_streams").fetchone()
    assert clock_us <= one["started_us"] <= one["ended_us"] <= ended_us + 1
    assert {row[0] for row in chunks(kept, "io_event")} == {one["id"]}


def test_the_trace_counts_what_went_through(kept):
    data = event(kept)["data"]

    names = ("n_io_chunks", "io_bytes", "unflushed", "io")
    assert [data[name] for name in names] == [5, {"stdout": 22, "stderr": 5}, None, None]


def test_a_program_that_printed_nothing_has_no_such_event(db, workspace, pen):
    pen.call(1)
    pen.held(5)
    pen.held(0)
    pen.end()
    drain(db, workspace)

    assert (io_events(db), chunks(db)) == ([], [])
    assert (event(db)["data"]["n_io_chunks"], event(db)["data"]["io_bytes"]) == (0, None)


def test_statistics_are_kept_as_far_as_they_are_plain(db, workspace, pen):
    pen.note({"io": {"bytes": 12, "by": {"stdout": 3}}})
    pen.note({"io": [1]})
    pen.note({"io": {"share": 1.5}})
    pen.end()
    drain(db, workspace)

    assert event(db)["data"]["io"] == {"bytes": 12, "by": {"stdout": 3}}


def test_bytes_below_python_have_no_place_and_are_no_thread(db, workspace, pen):
    pen.call(1)
    mirror = Pen(workspace.spool, stream=2)
    mirror.note({"thread": {"ident": 0, "name": "file descriptors"}})
    mirror.write(b"from C\n", flags=records.MIRROR)
    mirror.close()
    pen.end()
    drain(db, workspace)

    assert chunks(db, "stream, flags, function, line, frame") == [(2, 33, None, None, None)]
    assert event(db)["data"]["n_threads"] == 1
    (one,) = io_events(db)
    assert (one["data"]["thread"], one["data"]["flags"]) == ("file descriptors", {"newline": 1, "mirror": 1})


def test_what_is_printed_is_there_while_the_program_runs(db, workspace, pen):
    pen.write(b"first\n")
    fill_blocks(pen)
    drain(db, workspace)

    assert texts(db) == [b"first\n"]
    assert verify(db).findings == []
    pen.write(b"second\n")
    pen.end()
    drain(db, workspace)
    assert texts(db) == [b"first\n", b"second\n"]
    assert [(one["data"]["first"], one["data"]["last"]) for one in io_events(db)] == [(1, 1), (2, 2)]
    assert verify(db).findings == []


# --- what was lost ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ends", "lost"), [(False, {"io_held_back": 12}), (True, {})])
def test_what_was_held_back_when_a_program_died_is_a_gap(db, workspace, pen, ends, lost):
    pen.held(900)
    pen.held(7)
    other = Pen(workspace.spool, stream=2)
    other.held(5)
    other.close()
    if ends:
        pen.end()
    else:
        pen.close()
    drain(db, workspace)

    assert gaps(db) == lost


def test_what_had_not_reached_its_descriptor_is_counted(db, workspace, pen):
    pen.write(b"reached\n")
    pen.reached(records.STDOUT, 900)
    other = Pen(workspace.spool, stream=2)
    other.clock = pen.clock
    other.write(b"12345")
    other.reached(records.STDOUT, 2)  # the later word, by whomever
    other.write(b"6789")
    other.write(b"from C", flags=records.MIRROR)
    other.write(b"nobody said how far that came", records.STDERR)
    other.close()
    pen.end()
    drain(db, workspace)

    assert event(db)["data"]["unflushed"] == {"stdout": 6}


def test_what_reached_its_descriptor_whole_is_not_unflushed(db, workspace, pen):
    pen.write(b"reached\n")
    pen.reached(records.STDOUT)
    pen.end()
    drain(db, workspace)

    assert event(db)["data"]["unflushed"] is None


def test_no_more_is_unflushed_than_was_written(db, workspace, pen):
    pen.write(b"abc")
    pen.reached(records.STDOUT, 1 << 40)
    pen.end()
    drain(db, workspace)

    assert event(db)["data"]["unflushed"] == {"stdout": 3}


# --- checking ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE io_chunks SET line = 99 WHERE n = 2",
        "UPDATE io_chunks SET function = NULL WHERE n = 5",
        "UPDATE io_chunks SET channel = 'stderr' WHERE n = 2",
        "UPDATE io_chunks SET word = word + 1 WHERE n = 2",
        "UPDATE io_chunks SET start = 1 << 40 WHERE n = 2",
        "UPDATE io_chunks SET n = 9 WHERE n = 5",
        "UPDATE io_chunks SET io_event = 'ffffffffffffffff' WHERE n = 2",
        "DELETE FROM io_chunks WHERE n = 3",
        "DELETE FROM io_chunks",
        "INSERT INTO io_chunks SELECT session, stream, 6, channel, chunk, word, start, size, flags, at_ns,"
        " event, function, line, frame, task, io_event FROM io_chunks WHERE n = 5",
    ],
)
def test_a_changed_row_is_found(kept, change):
    kept.execute(change)

    assert {what for _, what in found(kept)} == {"io"}


def test_changed_bytes_are_found(kept):
    digest, packed = kept.execute("SELECT sha256, data FROM blobs ORDER BY id LIMIT 1").fetchone()
    forged = zlib.decompress(packed).replace(b"two", b"TWO")
    kept.execute("UPDATE blobs SET data = ?, codec = 'raw' WHERE sha256 = ?", (forged, digest))

    assert found(kept) == {("io", "io"), ("python_trace", "blob_changed")}


def test_bytes_that_were_changed_while_a_program_runs_are_found(db, workspace, pen):
    pen.write(b"first\n")
    fill_blocks(pen)
    drain(db, workspace)
    db.execute("UPDATE blobs SET data = x'00', codec = 'raw'")

    assert found(db) == {("io", "io")}


def test_rows_that_no_event_covers_are_found(kept):
    kept.execute(f"INSERT INTO io_chunks SELECT '{OTHER}', {_REST} FROM io_chunks WHERE n = 1")

    assert {(one.session, one.what) for one in verify(kept).findings} == {(OTHER, "io"), (OTHER, "index")}
    assert {one.what for one in verify(kept, OTHER).findings} == {"io", "index"}
    assert verify(kept, SESSION).findings == []


_REST = (
    "stream, n, channel, chunk, word, start, size, flags, at_ns, event, function, line, frame, task, io_event"
)


def test_an_event_that_says_something_else_now_covers_nothing(kept):
    kept.execute("UPDATE events SET data = '[]' WHERE kind = 'io'")

    assert {what for _, what in found(kept)} == {"changed", "io"}


def test_a_frame_of_the_spool_covers_no_rows(kept, workspace):
    told = io_events(kept)[0]["data"]
    writer = SpoolWriter(workspace.spool)
    writer.write(frame(kind="io", title="", data={**told, "command": "x"}))
    writer.write(frame(kind="io", title="", data={"stream": "all"}))
    writer.close()

    assert drain(kept, workspace).damaged == 1
    assert verify(kept).findings == []


# --- forgetting -------------------------------------------------------------------------------------------


def test_pruned_outputs_take_the_bytes_and_leave_the_rows(kept, workspace):
    before = tables(kept)
    retention_of(kept, workspace, Order(OUTPUTS, WHENEVER))

    assert tables(kept) == before | {"trace_chunks": []}
    assert texts(kept) == [None] * 5
    assert verify(kept).findings == []
    kept.execute("UPDATE io_chunks SET line = 99 WHERE n = 2")
    assert found(kept) == {("io", "io")}


def test_a_pruned_session_takes_its_rows(kept, workspace):
    retention_of(kept, workspace, Order(EVENTS, WHENEVER))

    assert chunks(kept) == []
    assert verify(kept).findings == []
    assert is_whole(kept)


@pytest.mark.parametrize("kind", ["io", "python_trace"])
def test_each_of_the_two_events_can_go_alone(kept, workspace, kind):
    retention_of(kept, workspace, Order(EVENTS, None, {kind: WHENEVER}))

    left = [one for (one,) in kept.execute("SELECT kind FROM events WHERE kind <> 'policy'")]
    assert left == [one for one in ("io", "python_trace") if one != kind]
    assert chunks(kept) == []
    assert verify(kept).findings == []


def test_of_several_events_only_the_rows_of_the_pruned_one_go(db, workspace, pen):
    pen.write(b"first\n")
    fill_blocks(pen)
    drain(db, workspace)
    pen.write(b"second\n")
    pen.end()
    drain(db, workspace)
    until_us = db.execute("SELECT max(ended_us) FROM events WHERE kind = 'io'").fetchone()[0]
    retention_of(db, workspace, Order(EVENTS, None, {"io": until_us}))

    assert [one["data"]["first"] for one in io_events(db)] == [2]
    assert chunks(db, "n") == [(2,)]
    assert verify(db).findings == []


def fill_blocks(pen: Pen) -> None:
    """Until the first blocks may be taken, while it runs."""
    pen.call(1)
    blocks_written(pen, traces.RING + 2)
    pen.tick(10_000)


def retention_of(db: sqlite3.Connection, workspace: Workspace, order: Order) -> None:
    shares = list(retention.prune(db, workspace, order, AUTHOR))
    assert shares


# --- a little at a time, again, and whatever stands in a file ---------------------------------------------


@pytest.mark.parametrize("_", range(3))
def test_a_block_at_a_time_makes_the_rows_that_all_at_once_make(db, workspace, tmp_path, _):
    chance = random.Random(seed := random.randrange(1 << 32))
    pen = Pen(workspace.spool).begin()
    pen.write(b"begin\n")
    scribble(pen, chance, 6_000, writes=True)
    pen.end()
    whole = pen.path.read_bytes()
    drain(db, workspace)
    other = Workspace(tmp_path / "other" / ".devtrace")
    other.root.mkdir()
    again = open_store(other, create=True)
    (other.spool / pen.path.name).write_bytes(whole)
    while traces.take(again, other, _once()).has_more:
        pass

    assert chunks(again) == chunks(db), seed
    assert len(io_events(again)) >= len(io_events(db)) > 0
    assert event(again)["data"] == event(db)["data"]
    assert verify(again).findings == verify(db).findings == []
    assert sum(one["data"]["n_chunks"] for one in io_events(again)) == len(chunks(db))
    again.close()


def _once() -> Callable[[], bool]:
    """Whether it goes on: until it has taken one block."""
    answers = itertools.chain([True], itertools.repeat(False))
    return lambda: next(answers)


@pytest.mark.parametrize(
    "statement", ["INSERT INTO io_chunks", "INSERT INTO events", "INSERT INTO trace_streams"]
)
def test_a_taker_that_is_killed_leaves_no_half_of_a_batch(db, workspace, pen, statement):
    pen.write(b"x\n")
    pen.end()
    whole = pen.path.read_bytes()

    class Killed(BaseException):
        pass

    def kill(sql: str) -> None:
        if sql.startswith(statement):
            raise Killed

    with pytest.raises(Killed):
        traces.take(_Guarded(db, kill), workspace)
    assert (chunks(db), io_events(db)) == ([], [])
    drain(db, workspace)
    before = tables(db), io_events(db)
    pen.path.write_bytes(whole)  # it was killed before it had removed the file
    drain(db, workspace)

    assert texts(db) == [b"x\n"]
    assert (tables(db), io_events(db)) == before
    assert verify(db).findings == []
    assert is_whole(db)


class _Guarded:
    """A connection that asks before each statement."""

    def __init__(self, db: sqlite3.Connection, ask: Callable[[str], None]):
        self._db = db
        self._ask = ask

    def execute(self, sql: str, *values: Any) -> Any:
        self._ask(sql.strip())
        return self._db.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@pytest.mark.parametrize("_", range(12))
def test_no_bytes_at_all_are_more_than_a_finding(db, workspace, pen, _):
    chance = random.Random(seed := random.randrange(1 << 32))
    scribble(pen, chance, 3_000, writes=True)
    pen.reached(records.STDOUT, 4)
    pen.end()
    data = bytearray(pen.path.read_bytes())
    for _ in range(chance.choice([1, 20, 400])):
        at = chance.randrange(0, len(data), 8)
        forged = chance.getrandbits(32) << 32 | chance.getrandbits(28) << 4 | records.IO
        word = chance.choice([0, 1, (1 << 64) - 1, chance.getrandbits(64), forged, forged & 0xFFFFFFFFFF])
        data[at : at + 8] = word.to_bytes(8, "little")
    pen.path.write_bytes(data)

    drain(db, workspace)

    assert [path for path in workspace.spool.iterdir() if path.suffix == ".seg"] == [], seed
    assert verify(db).findings == [], seed
    assert None not in texts(db), seed
    assert is_whole(db)


@pytest.mark.parametrize("clock", [1 << 62, 1 << 63, (1 << 64) - 1])
def test_a_clock_that_cannot_be_is_no_time(db, workspace, pen, clock):
    pen.word(1 << 32 | 1 << 16 | records.IO, clock, 0, ord("x"))
    pen.reached(records.STDOUT, 1, clock)
    pen.end()
    drain(db, workspace)

    assert chunks(db, "at_ns") == [(0,)]
    assert len(io_events(db)) == 1
    assert verify(db).findings == []
