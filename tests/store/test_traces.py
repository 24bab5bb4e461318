"""Taking traces in: each block once, whoever is killed when; one event at the end, nothing left behind."""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devtrace.query.events import list_running
from devtrace.query.filters import Filters
from devtrace.query.verify import verify
from devtrace.services.refresh import tend
from devtrace.store import trace_tables, traces
from devtrace.store.connection import open_store
from devtrace.store.drain import drain
from devtrace.store.trace import records
from devtrace.store.trace.replay import Replay
from devtrace.store.trace.segments import BLOCK_BYTES
from devtrace.workspace import Workspace
from tests.store.frames import OTHER, SESSION, START, begin, count, is_whole
from tests.store.pens import PROCESS, Pen, scribble
from tests.store.traced import blocks_written, event, gaps, tables


@pytest.fixture
def pen(workspace, db) -> Pen:
    """The first thread of a program that has just begun."""
    return Pen(workspace.spool).begin()


# --- a whole trace --------------------------------------------------------------------------------------


def test_a_program_that_ended_becomes_one_event_of_its_own_session(db, workspace, pen):
    pen.call(1)
    pen.call(2)
    pen.line(5)
    pen.raised(["exception", "ValueError", ["no", 3]])
    pen.raised(["exception", "ValueError", ["no", 3]], records.HANDLED)
    pen.leave(ns=2_000_000)
    pen.leave()
    pen.end(3)

    drained = drain(db, workspace)

    assert (drained.blocks, drained.traces, drained.has_more) == (1, 1, False)
    row = event(db)
    assert row["id"] == trace_tables.trace_id(SESSION)
    assert (row["status"], row["exit_code"], row["exit_source"]) == ("failed", 3, "recorder")
    assert row["title"] == "python app.py --fast"
    assert (row["started_us"], row["ended_us"]) == (START, START + 5_000_000)
    data = row["data"]
    assert {name: data[name] for name in ("n_events", "n_calls", "n_exceptions", "n_threads")} == {
        "n_events": 7, "n_calls": 2, "n_exceptions": 1, "n_threads": 1,
    }  # fmt: skip
    assert data["trace_filter"] == {"filters": [], "stats": {"skipped": 1}}
    assert data["metrics"] == {"sink_errors": 0}
    assert data["duration_us"] == 5_000_000
    assert list(data["blobs"]) == ["1/1"]
    columns = "kind, status, exit_code, parent_session, parent_event, title, cwd, n_events, n_failed"
    (session,) = db.execute(f"SELECT {columns} FROM sessions").fetchall()
    parent = (PROCESS["parent_session"], PROCESS["parent_event"])
    assert session == ("recorder", "ended", 3, *parent, "python app.py --fast", "/home/ana/shop", 1, 1)
    (stream,) = db.execute("SELECT ident, name, n_events, n_blocks, state FROM trace_streams").fetchall()
    assert stream == (77, "MainThread", 7, 1, None)
    calls = db.execute("SELECT event, last_event, function, parent, depth, how FROM trace_calls").fetchall()
    assert calls == [(0, 6, 1, None, 0, "return"), (1, 5, 2, 0, 1, "return")]
    caught = db.execute("SELECT event, function, line, text, handled FROM trace_exceptions").fetchall()
    assert caught == [(3, 2, 5, "ValueError: no, 3", 4)]
    functions = db.execute("SELECT number, path, name, n_calls, max_ns FROM trace_functions").fetchall()
    assert functions[1] == (2, "/home/ana/app.py", "f2", 1, 2_000_000)
    assert list(workspace.spool.iterdir()) == []
    assert count(db, "running") == 0
    assert verify(db).findings == []
    assert is_whole(db)


def test_what_is_kept_can_be_replayed(db, workspace, pen):
    scribble(pen, random.Random(4), 5_000)
    pen.end()
    drain(db, workspace)

    replay = Replay()
    chunks = db.execute("SELECT sha256, first_event, n_events FROM trace_chunks ORDER BY n").fetchall()
    for digest, first_event, n_events in chunks:
        assert replay.n_events == first_event
        assert len(list(replay.feed(trace_tables.read_chunk(db, digest)))) == n_events
    assert replay.n_events == pen.n_events == event(db)["data"]["n_events"]


@pytest.mark.parametrize(
    ("code", "label", "status"),
    [(0, None, "ok"), (None, "<exit>", "ok"), (1, None, "failed"), (-9, None, "failed")],
)
def test_the_exit_says_how_it_ended(db, workspace, pen, code, label, status):
    pen.end(code, label=label)
    drain(db, workspace)

    row = event(db)

    assert (row["status"], row["exit_code"], row["data"]["label"]) == (status, code, label)


def test_a_program_that_was_killed_has_an_unknown_end_and_its_calls_are_open(db, workspace, pen):
    pen.call(1)
    pen.call(2)
    pen.close()
    drain(db, workspace)

    row = event(db)

    assert (row["status"], row["exit_code"], row["exit_source"]) == ("unknown", None, "unknown")
    assert row["data"]["duration_us"] is None
    assert db.execute("SELECT status FROM sessions").fetchone() == ("interrupted",)
    calls = db.execute("SELECT event, last_event, duration_ns, how FROM trace_calls").fetchall()
    assert calls == [(0, None, None, "open"), (1, None, None, "open")]


@pytest.mark.parametrize("reason", ["trace_full", "disk_full"])
def test_what_was_not_recorded_is_a_gap(db, workspace, pen, reason):
    pen.note({"gap": {"reason": reason}})
    pen.end()
    drain(db, workspace)

    assert gaps(db) == {reason: 1}
    assert is_whole(db)


def test_every_thread_is_a_stream_and_the_trace_waits_for_all(db, workspace, pen):
    other = Pen(workspace.spool, stream=2)
    other.note({"thread": {"ident": 78, "name": "worker \ud800"}})
    other.call(1)
    other.leave()
    pen.end()

    assert drain(db, workspace).traces == 0
    assert count(db, "events") == 0

    other.close()
    assert drain(db, workspace).traces == 1
    assert db.execute("SELECT stream, name FROM trace_streams").fetchall() == [
        (1, "MainThread"),
        (2, "worker ?"),
    ]
    assert event(db)["data"]["n_threads"] == 2
    assert list(event(db)["data"]["blobs"]) == ["1/1", "2/1"]


def test_lines_that_a_loop_repeated_are_counted(db, workspace, pen):
    pen.call(1)
    for folded in (10, 30, 60):
        pen.turn()
        pen.note({"folded": [[1, 4, folded], [1, 5, folded]]})
    pen.turn()
    pen.line(9)
    pen.turn()
    pen.note({"folded": [[1, 9, 7]]})
    pen.end()
    drain(db, workspace)

    assert event(db)["data"]["n_folded"] == 120 + 7


# --- while it runs --------------------------------------------------------------------------------------


def test_a_program_at_work_is_seen_at_work(db, workspace, pen):
    pen.call(1)
    drain(db, workspace)

    (running,) = list_running(db, Filters())
    assert (running["kind"], running["title"]) == ("python_trace", "python app.py --fast")
    assert db.execute("SELECT kind, status FROM sessions").fetchall() == [("recorder", "active")]
    assert tend(db, workspace) is None  # no orphan: its segments live
    assert count(db, "running") == 1
    assert verify(db).findings == []


def test_what_a_loop_may_still_be_written_over_is_left(db, workspace, pen):
    pen.call(1)
    blocks_written(pen, traces.RING + 3)

    assert drain(db, workspace).blocks == 3
    assert drain(db, workspace).blocks == 0
    blocks_written(pen, traces.RING + 4)
    assert drain(db, workspace).blocks == 1
    assert verify(db).findings == []  # the chunks are named by no event yet

    pen.end()
    assert drain(db, workspace).blocks == traces.RING
    numbers = [n for (n,) in db.execute("SELECT n FROM trace_chunks ORDER BY n")]
    assert numbers == list(range(1, traces.RING + 5))
    assert event(db)["data"]["n_events"] == pen.n_events


def test_a_fold_leaves_a_hole_in_the_numbers_and_no_call_spans_it(db, workspace, pen):
    pen.call(1)
    pen.turn()
    pen.call(2)
    for _ in range(40):
        pen.turn(over=traces.RING - 2)
    drain(db, workspace)
    pen.leave()
    pen.leave()
    pen.end()
    drain(db, workspace)

    numbers = [n for (n,) in db.execute("SELECT n FROM trace_chunks ORDER BY n")]
    assert numbers == [1, *range(26, 43)]
    assert db.execute("SELECT how FROM trace_calls ORDER BY event").fetchone() == ("lost",)
    assert gaps(db) == {}
    assert is_whole(db)


def test_a_thread_that_begins_while_the_trace_ends_is_waited_for(db, workspace, pen, monkeypatch):
    pen.end()
    real = traces._segments
    late: list[Pen] = []

    def segments(place):
        found = real(place)
        if not late:
            late.append(Pen(workspace.spool, stream=2))
        return found

    monkeypatch.setattr(traces, "_segments", segments)

    assert drain(db, workspace).traces == 0
    late[0].close()
    assert drain(db, workspace).traces == 1
    assert event(db)["data"]["n_threads"] == 2


# --- a little at a time, and again ----------------------------------------------------------------------


@pytest.mark.parametrize("_", range(3))
def test_a_block_at_a_time_makes_what_all_at_once_make(db, workspace, tmp_path, _):
    chance = random.Random(seed := random.randrange(1 << 32))
    pen = Pen(workspace.spool).begin()
    scribble(pen, chance, 12_000)
    pen.end()
    whole = pen.path.read_bytes()
    drain(db, workspace)
    other = Workspace(tmp_path / "other" / ".devtrace")
    other.root.mkdir()
    again = open_store(other, create=True)
    (other.spool / pen.path.name).write_bytes(whole)
    while traces.take(again, other, _once()).has_more:
        pass

    assert len(whole) > 2 * BLOCK_BYTES
    assert tables(again) == tables(db), seed
    assert event(again)["hash"] != ""
    assert event(again)["data"] == event(db)["data"]
    folded = db.execute("SELECT sum(n_folded) + count(*) FROM trace_calls").fetchone()[0]
    assert folded <= event(db)["data"]["n_calls"]
    dangling = "SELECT count(*) FROM trace_calls WHERE parent IS NOT NULL AND parent NOT IN"
    assert db.execute(f"{dangling} (SELECT event FROM trace_calls)").fetchone() == (0,)
    again.close()


def _once() -> Callable[[], bool]:
    """Whether it goes on: until it has taken one block."""
    answers = itertools.chain([True], itertools.repeat(False))
    return lambda: next(answers)


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("INSERT INTO sessions", 1), ("INSERT INTO running", 1), ("COMMIT", 1), ("INSERT INTO blobs", 1),
        ("INSERT INTO trace_chunks", 1), ("INSERT INTO trace_functions", 2), ("UPDATE trace_functions", 1),
        ("INSERT OR REPLACE INTO trace_calls", 1), ("INSERT INTO trace_streams", 1), ("COMMIT", 2),
        ("INSERT INTO events", 1), ("UPDATE trace_streams", 1), ("UPDATE sessions", 1),
        ("INSERT INTO seals", 1), ("COMMIT", 3),
    ],
)  # fmt: skip
def test_a_taker_that_is_killed_anywhere_costs_nothing(db, workspace, pen, statement, number):
    scribble(pen, random.Random(1), 2_000)
    pen.end()
    whole = pen.path.read_bytes()

    class Killed(BaseException):
        pass

    writes = itertools.count(1)

    def kill(sql: str) -> None:
        if sql.startswith(statement) and next(writes) == number:
            raise Killed

    with pytest.raises(Killed):
        traces.take(_Guarded(db, kill), workspace)
    assert pen.path.exists()
    drain(db, workspace)

    assert event(db)["data"]["n_events"] == pen.n_events
    assert list(workspace.spool.iterdir()) == []
    assert verify(db).findings == []
    assert is_whole(db)
    before = tables(db)
    pen.path.write_bytes(whole)  # it was killed before it had removed the file
    drain(db, workspace)
    assert (tables(db), pen.path.exists()) == (before, False)


class _Guarded:
    """A connection that asks before each statement."""

    def __init__(self, db: sqlite3.Connection, ask: Any):
        self._db = db
        self._ask = ask

    def execute(self, sql: str, *values: Any) -> Any:
        self._ask(sql.strip())
        return self._db.execute(sql, *values)

    def executemany(self, sql: str, *values: Any) -> Any:
        self._ask(sql.strip())
        return self._db.executemany(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


def test_there_is_no_more_work_than_there_is_time(db, workspace, pen):
    pen.call(1)
    blocks_written(pen, 5)
    pen.end()

    assert drain(db, workspace, trace_s=0) == (0, 0, 0, 0, 0, False)
    drained = drain(db, workspace, trace_s=1e-9)

    assert (drained.blocks, drained.traces, drained.has_more) == (0, 0, True)
    assert drain(db, workspace).traces == 1


# --- what is not as it should be ------------------------------------------------------------------------


def test_a_damaged_block_costs_no_other_and_is_said(db, workspace, pen):
    pen.call(1)
    for _ in range(4):
        pen.turn()
        pen.line(3)
    pen.end()
    data = bytearray(pen.path.read_bytes())
    data[BLOCK_BYTES] ^= 1  # the second block's magic
    data[2 * BLOCK_BYTES + 64 : 2 * BLOCK_BYTES + 72] = b"\x0e" * 8  # no record begins so
    pen.path.write_bytes(data)

    drain(db, workspace)

    assert gaps(db) == {"damaged_block": 2}
    assert [n for (n,) in db.execute("SELECT n FROM trace_chunks ORDER BY n")] == [1, 3, 4, 5]
    assert list(workspace.spool.iterdir()) == []
    assert is_whole(db)


def test_a_file_of_garbage_is_put_aside(db, workspace):
    path = workspace.spool / f"{SESSION}-12-1.seg"
    path.write_bytes(b"garbage " * (BLOCK_BYTES // 8))

    drain(db, workspace)

    assert [one.name for one in (workspace.spool / "unfit").iterdir()] == [path.name]
    assert count(db, "sessions") == 0


def test_an_empty_file_of_a_dead_writer_goes(db, workspace):
    (workspace.spool / f"{SESSION}-12-1.seg").write_bytes(bytes(BLOCK_BYTES))

    drain(db, workspace)

    assert list(workspace.spool.iterdir()) == []
    assert count(db, "sessions") == 0


def test_a_file_that_is_one_endless_hole_keeps_nobody_waiting(db, workspace):
    path = workspace.spool / f"{SESSION}-12-1.seg"
    path.touch()
    os.truncate(path, 1 << 42)  # 67 million blocks

    drain(db, workspace)

    assert list(workspace.spool.iterdir()) == []


def test_a_name_that_belongs_to_a_shell_changes_nothing_of_it(db, workspace, pen):
    begin(db)
    before = db.execute("SELECT * FROM sessions").fetchall()
    pen.end()

    drain(db, workspace)

    assert db.execute("SELECT * FROM sessions").fetchall() == before
    assert count(db, "events") == 0
    assert [one.name for one in (workspace.spool / "unfit").iterdir()] == [pen.path.name]


def test_what_a_process_says_of_itself_is_taken_for_no_more_than_its_shape(db, workspace):
    wrong = {
        "id": OTHER, "parent_session": "nobody", "parent_event": 3, "agent": ["x"], "actor": {}, "cwd": 5,
        "started_us": "now", "argv": ["a", 7], "python": 3.12, "trace_filter": {"a": 1.5}, "policy": [[1.5]],
    }  # fmt: skip
    pen = Pen(workspace.spool).begin(**wrong)
    pen.end("zero", metrics=[1], trace_filter=3, ended_us=-1)

    drain(db, workspace)

    row = event(db)
    assert (row["session"], row["title"], row["status"]) == (SESSION, "python a", "ok")
    columns = "id, parent_session, parent_event, agent, actor, cwd, status"
    assert db.execute(f"SELECT {columns} FROM sessions").fetchall() == [
        (SESSION, None, None, "", "human", None, "ended")
    ]
    assert is_whole(db)


def test_a_trace_that_told_nothing_of_its_process_is_kept(db, workspace):
    pen = Pen(workspace.spool)
    pen.call(1)
    drain(db, workspace)
    assert count(db, "sessions") == 0
    pen.close()

    drain(db, workspace)

    assert (event(db)["title"], event(db)["status"]) == ("python", "unknown")


def test_a_file_that_comes_after_the_end_is_put_aside_and_said(db, workspace, pen):
    pen.end()
    drain(db, workspace)
    late = Pen(workspace.spool, stream=2)
    late.close()

    drain(db, workspace)
    drain(db, workspace)

    assert gaps(db) == {"late_segment": 1}
    assert [one.name for one in (workspace.spool / "unfit").iterdir()] == [late.path.name]
    assert db.execute("SELECT count(*) FROM seals").fetchone() == (2,)
    assert is_whole(db)


def test_files_that_somebody_removed_end_the_trace(db, workspace, pen):
    pen.call(1)
    blocks_written(pen, traces.RING + 2)
    drain(db, workspace)
    pen.close()
    pen.path.unlink()

    drain(db, workspace)

    assert gaps(db) == {"segments_removed": 1}
    assert event(db)["status"] == "unknown"
    assert list(event(db)["data"]["blobs"]) == ["1/1", "1/2"]
    assert count(db, "running") == 0
    assert verify(db).findings == []


def test_a_spool_that_cannot_be_looked_into_ends_no_trace(db, workspace, pen, monkeypatch):
    drain(db, workspace)

    def refuse(_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr("os.scandir", refuse)
    traces.take(db, workspace)

    assert count(db, "running") == 1


def test_exceptions_beyond_a_thousand_are_counted(db, workspace, pen):
    pen.call(1)
    for number in range(trace_tables.MOST_EXCEPTIONS + 20):
        pen.raised(["exception", "ValueError", [number]])
    pen.end()
    drain(db, workspace)

    assert count(db, "trace_exceptions") == trace_tables.MOST_EXCEPTIONS
    assert event(db)["data"]["n_exceptions"] == trace_tables.MOST_EXCEPTIONS + 20


# --- whatever stands in a file ----------------------------------------------------------------------------


@pytest.mark.parametrize("_", range(8))
def test_no_bytes_at_all_keep_others_from_being_taken(db, workspace, pen, _):
    chance = random.Random(seed := random.randrange(1 << 32))
    scribble(pen, chance, 6_000)
    pen.end()
    data = bytearray(pen.path.read_bytes())
    for _ in range(chance.choice([1, 20, 400])):
        at = chance.randrange(0, len(data), 8)
        word = chance.choice([0, 1, (1 << 64) - 1, chance.getrandbits(64), chance.getrandbits(30) << 24 | 3])
        data[at : at + 8] = word.to_bytes(8, "little")
    pen.path.write_bytes(data)
    fine = Pen(workspace.spool, session=OTHER).begin()
    fine.call(1)
    fine.end()

    assert drain(db, workspace).traces, seed

    assert [path for path in workspace.spool.iterdir() if path.suffix == ".seg"] == []
    assert db.execute("SELECT 1 FROM events WHERE kind = 'python_trace' AND session = ?", (OTHER,)).fetchone()
    assert verify(db).findings == []
    assert is_whole(db)


def test_a_database_without_room_leaves_the_files(db, workspace, pen):
    scribble(pen, random.Random(2), 6_000)
    pen.end()
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 4}")

    with pytest.raises(sqlite3.OperationalError):
        drain(db, workspace)

    assert pen.path.exists()
    db.execute("PRAGMA max_page_count = 1000000")
    assert drain(db, workspace).traces == 1
    assert event(db)["data"]["n_events"] == pen.n_events
    assert is_whole(db)
