"""Draining: what was spooled is stored once, in order, and what cannot be stored is said."""

from __future__ import annotations

import fcntl
import json
import os
import random
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.ids import new_session_id
from devtrace.store import drain as draining
from devtrace.store import sessions
from devtrace.store.connection import open_store
from devtrace.store.drain import Drained, drain
from devtrace.store.spool import HEADER_SIZE, MAGIC, SESSION_FRAME, SpoolWriter
from devtrace.workspace import Workspace
from tests.processes import DEADLINE
from tests.store.crowd import Crowd, tell
from tests.store.frames import OTHER, SESSION, START, begin, count, events, frame, is_whole, start_of

DB = sqlite3.Connection
ROW = {"id": OTHER, "kind": "shell", "started_us": 1}


@pytest.fixture
def writer(workspace: Workspace) -> Iterator[SpoolWriter]:
    made = SpoolWriter(workspace.spool)
    yield made
    made.close()


def file_of(writer: SpoolWriter) -> Path:
    assert writer.path is not None
    return writer.path


def frame_starts(data: bytes) -> list[int]:
    starts, at = [], 0
    while at < len(data):
        starts.append(at)
        at += HEADER_SIZE + struct.unpack_from(">4sII", data, at)[1]
    return starts


def gaps(db: DB) -> list[tuple[str, int | None]]:
    rows = db.execute("SELECT session, data FROM events WHERE kind = 'gap' ORDER BY seq")
    return [(session, json.loads(data)["count"]) for session, data in rows]


def spooled(workspace: Workspace) -> list[str]:
    return [path.name for path in workspace.spool.iterdir()]


# --- taking in ---


def test_frames_become_events_in_their_order(db: DB, workspace: Workspace, writer: SpoolWriter) -> None:
    begin(db)
    frames = [frame(f"echo {n}", blobs={"output": b"%d" % n}) for n in range(50)]
    for one in frames:
        writer.write(start_of(one))
        writer.write(one)
    writer.write(start_of(frame("sleep 9")))

    assert drain(db, workspace) == Drained(50, 0, 0)

    assert events(db) == [one["id"] for one in frames]
    assert (count(db, "running"), count(db, "blobs")) == (1, 50)
    assert is_whole(db)


def test_draining_again_brings_nothing_twice(db: DB, workspace: Workspace, writer: SpoolWriter) -> None:
    frames = [frame() for _ in range(3)]
    writer.write(frames[0])
    assert drain(db, workspace).events == 1
    assert drain(db, workspace) == Drained(0, 0, 0)
    writer.write(frames[1])
    writer.write(frames[0])
    writer.write(frames[2])

    assert drain(db, workspace).events == 2
    db.execute("DELETE FROM spool_offsets")
    assert drain(db, workspace).events == 0

    assert events(db) == [one["id"] for one in frames]
    assert is_whole(db)


def test_a_file_is_removed_only_when_its_writer_is_gone(
    db: DB, workspace: Workspace, writer: SpoolWriter
) -> None:
    writer.write(frame())
    assert drain(db, workspace) == Drained(1, 0, 0)
    assert spooled(workspace) == [file_of(writer).name]

    writer.close()

    assert drain(db, workspace) == Drained(0, 0, 1)
    assert spooled(workspace) == []
    assert count(db, "spool_offsets") == 0


def test_an_empty_spool_is_nothing_to_do(db: DB, workspace: Workspace) -> None:
    assert drain(db, workspace) == Drained(0, 0, 0)
    workspace.spool.rmdir()
    assert drain(db, workspace) == Drained(0, 0, 0)


def test_files_are_drained_in_the_order_in_which_they_were_made(db: DB, workspace: Workspace) -> None:
    ids = []
    for _ in range(5):
        writer = SpoolWriter(workspace.spool)
        for _ in range(3):
            one = frame()
            ids.append(one["id"])
            writer.write(one)
        writer.close()

    drain(db, workspace)

    assert events(db) == ids


def test_whoever_comes_second_leaves_it_to_the_first(
    db: DB, workspace: Workspace, writer: SpoolWriter
) -> None:
    writer.write(frame())
    with (workspace.run / "drain.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert drain(db, workspace) == Drained(0, 0, 0)

    assert drain(db, workspace).events == 1


def test_other_things_in_the_spool_are_let_be(db: DB, workspace: Workspace) -> None:
    (workspace.spool / "notes.txt").write_bytes(b"mine")
    (workspace.spool / "folder.spool").mkdir()
    os.mkfifo(workspace.spool / "pipe.spool")
    (workspace.spool / "link.spool").symlink_to("/etc/hostname")

    assert drain(db, workspace) == Drained(0, 0, 0)

    assert len(spooled(workspace)) == 4


@pytest.mark.parametrize("call", ["pread", "unlink", "fstat"])
def test_a_file_that_the_disk_does_not_give_back_costs_no_other_and_is_tried_again(
    db: DB, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    frames = [frame(), frame()]
    for one in frames:
        with closing(SpoolWriter(workspace.spool)) as writer:
            writer.write(one)
    first = min(workspace.spool.iterdir())
    bad, real = first.stat().st_ino, {name: getattr(os, name) for name in ("pread", "unlink", "fstat")}

    def refuse(target: Any, *words: Any, **more: Any) -> Any:
        found = real["fstat"](target) if isinstance(target, int) else os.stat(target)
        if found.st_ino == bad:
            raise OSError(5, "Input/output error")
        return real[call](target, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        drain(db, workspace)
        assert frames[1]["id"] in events(db)
        assert spooled(workspace) == [first.name]

    drain(db, workspace)

    assert sorted(events(db)) == sorted(one["id"] for one in frames)
    assert spooled(workspace) == []
    assert is_whole(db)


@pytest.mark.parametrize("size", [1, 100, 1000, 5000])
def test_a_frame_bigger_than_a_batch_is_taken_in_too(
    db: DB, workspace: Workspace, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(draining, "BATCH_BYTES", size)
    frames = [frame("x" * length) for length in (10, 3000, 10, 10, 8000, 10)]
    for one in frames:
        writer.write(one)
    writer.close()

    assert drain(db, workspace) == Drained(6, 0, 1)

    assert events(db) == [one["id"] for one in frames]


@pytest.mark.parametrize("size", [200, 1000, 5000])
def test_damage_at_the_edge_of_a_batch_costs_no_other_frame(
    db: DB, workspace: Workspace, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(draining, "BATCH_BYTES", size)
    monkeypatch.setattr(draining, "LONGEST_BYTES", 1 << 20)
    frames = [frame(f"echo {n}") for n in range(30)]
    for one in frames:
        writer.write(one)
    writer.close()
    data = file_of(writer).read_bytes()
    starts = frame_starts(data)
    torn = [3, 9, 10, 20]
    for number in torn:
        data = (
            data[: starts[number] + 40]
            + b"\0" * (starts[number + 1] - starts[number] - 40)
            + data[starts[number + 1] :]
        )
    file_of(writer).write_bytes(data)

    found = drain(db, workspace)

    kept = [one["id"] for n, one in enumerate(frames) if n not in torn]
    assert [event for event in events(db) if event in kept] == kept
    assert (found.files, spooled(workspace)) == (1, [])
    assert sum(lost or 0 for _, lost in gaps(db)) == found.damaged
    assert 3 <= found.damaged <= 4
    assert is_whole(db)


def test_a_drain_that_was_killed_goes_on_where_it_was(
    db: DB, workspace: Workspace, writer: SpoolWriter
) -> None:
    frames = [frame(f"echo {n}") for n in range(10)]
    for one in frames:
        writer.write(one)
    writer.close()
    db.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON events WHEN new.title = '$ echo 7'"
        " BEGIN SELECT raise(ABORT, 'x'); END"
    )
    with pytest.raises(sqlite3.Error):
        drain(db, workspace)
    assert (count(db), count(db, "spool_offsets")) == (0, 0), "events and offset go together"

    db.execute("DROP TRIGGER broken")

    assert drain(db, workspace) == Drained(10, 0, 1)
    assert events(db) == [one["id"] for one in frames]


@pytest.mark.parametrize("round_", range(4))
def test_a_drainer_killed_between_its_batches_loses_and_doubles_nothing(
    workspace: Workspace, round_: int
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    tell(f"seed {seed}")
    chance = random.Random(seed)
    open_store(workspace, create=True).close()
    writers = [SpoolWriter(workspace.spool) for _ in range(3)]
    ids = []
    for number in range(600):
        one = frame(f"echo {number} " + "x" * 5000)
        ids.append(one["id"])
        assert writers[number % 3].write(one)
    for writer in writers:
        writer.close()

    for _ in range(4):
        with Crowd(1, "drain_in_small_batches", workspace.dir) as crowd:
            crowd.release()
            (process,) = crowd.processes
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 8)):
                process.stdout.readline()
            process.kill()
            process.wait(DEADLINE)
        with closing(open_store(workspace)) as db:
            assert is_whole(db)

    with closing(open_store(workspace)) as db:
        drain(db, workspace)
        assert sorted(events(db)) == sorted(ids)
        assert (spooled(workspace), count(db, "spool_offsets"), gaps(db)) == ([], 0, [])
        assert is_whole(db)


def test_the_offset_of_a_file_that_is_gone_is_forgotten(
    db: DB, workspace: Workspace, writer: SpoolWriter
) -> None:
    db.execute("INSERT INTO spool_offsets VALUES ('gone.spool', 77)")
    writer.write(frame())

    drain(db, workspace)

    assert db.execute("SELECT file FROM spool_offsets").fetchall() == [(file_of(writer).name,)]


# --- damage ---


def test_damage_becomes_a_gap_of_the_session_that_the_bytes_name(
    db: DB, workspace: Workspace, writer: SpoolWriter
) -> None:
    begin(db)
    begin(db, OTHER)
    for session in (SESSION, OTHER, SESSION, SESSION):
        writer.write(frame(session=session))
    writer.close()
    data = bytearray(file_of(writer).read_bytes())
    second, third = frame_starts(bytes(data))[1:3]
    data[third - 3] ^= 0xFF
    assert OTHER.encode() in data[second:third]
    file_of(writer).write_bytes(data)

    assert drain(db, workspace) == Drained(4, 1, 1)

    assert gaps(db) == [(OTHER, 1)]
    assert is_whole(db)


def test_a_torn_last_frame_of_a_dead_writer_becomes_a_gap(
    db: DB, workspace: Workspace, writer: SpoolWriter
) -> None:
    begin(db)
    for number in range(3):
        writer.write(frame(started_us=START + number, ended_us=START + number))
    assert drain(db, workspace).events == 3
    with file_of(writer).open("ab") as file:
        file.write(MAGIC + struct.pack(">II", 500, 1) + b'{"v":1')
    assert drain(db, workspace) == Drained(0, 0, 0)
    writer.close()

    assert drain(db, workspace) == Drained(1, 1, 1)

    assert gaps(db) == [(SESSION, 1)]
    assert db.execute("SELECT status, source, title FROM events WHERE kind = 'gap'").fetchone() == (
        "unknown", "host", "gap: 1 damaged_frame",
    )  # fmt: skip


def test_a_gap_lies_between_the_frames_around_it(db: DB, workspace: Workspace, writer: SpoolWriter) -> None:
    begin(db)
    for number in range(4):
        writer.write(frame("x" * 100, started_us=START + number * 1000, ended_us=START + number * 1000 + 500))
    writer.close()
    data = bytearray(file_of(writer).read_bytes())
    data[frame_starts(bytes(data))[2] - 5] ^= 1
    file_of(writer).write_bytes(data)

    drain(db, workspace)

    since, until = db.execute("SELECT started_us, ended_us FROM events WHERE kind = 'gap'").fetchone()
    assert (since, until) == (START + 500, START + 2500)


def test_bytes_that_name_no_session_are_counted(db: DB, workspace: Workspace) -> None:
    (workspace.spool / "x.spool").write_bytes(b"rubbish" * 100)

    assert drain(db, workspace) == Drained(0, 1, 1)

    assert (count(db), spooled(workspace)) == (0, [])


@pytest.mark.parametrize(
    "odd",
    [
        {}, {"kind": "note"}, frame(data={"x": 1.5}), frame(status="odd"), frame(trusted=7),
        frame(id="0" * 16),
        frame(session="x"), frame() | {"data": None}, frame() | {"title": 7}, frame(started_us=1 << 70),
        {"kind": SESSION_FRAME}, {"kind": SESSION_FRAME, "columns": 7},
        {"kind": SESSION_FRAME, "columns": {"id": "x"}}, {"kind": SESSION_FRAME, "columns": {"id": OTHER}},
        {"kind": SESSION_FRAME, "columns": ROW | {"started_us": "soon"}},
        {"kind": SESSION_FRAME, "columns": ROW | {"started_us": 1.5}},
        {"kind": SESSION_FRAME, "columns": ROW | {"started_us": 1 << 70}},
        {"kind": SESSION_FRAME, "columns": ROW | {"kind": ["x"]}},
        {"kind": SESSION_FRAME, "columns": ROW | {"status": "odd"}},
        {"kind": SESSION_FRAME, "columns": ROW | {"meta": [1]}},
        {"kind": SESSION_FRAME, "columns": ROW | {"meta": {"x": 1.5}}},
    ],
)  # fmt: skip
def test_a_frame_that_fits_nowhere_costs_no_other(
    db: DB, workspace: Workspace, writer: SpoolWriter, odd: dict[str, Any]
) -> None:
    begin(db)
    good = [frame(), frame()]
    for one in (good[0], odd, good[1]):
        assert writer.write(one)
    writer.close()

    found = drain(db, workspace)

    assert (found.damaged, found.files) == (1, 1)
    assert [event for event in events(db) if event in (good[0]["id"], good[1]["id"])] == [
        one["id"] for one in good
    ]
    assert sum(lost or 0 for _, lost in gaps(db)) == 1
    assert is_whole(db)


# --- sessions ---


def session_frame(**columns: Any) -> dict[str, Any]:
    known = {
        "id": SESSION,
        "kind": "shell",
        "agent": "manual",
        "started_us": START,
        "status": "active",
        "meta": {"cols": 80},
    }
    return {"kind": SESSION_FRAME, "columns": known | columns}


def test_a_session_that_never_reached_the_store_comes_from_the_spool(
    db: DB, workspace: Workspace, writer: SpoolWriter
) -> None:
    ended = frame()
    writer.write(session_frame(title="mine"))
    writer.write(start_of(ended))
    writer.write(ended)
    drain(db, workspace)
    assert db.execute("SELECT status, title, n_events FROM sessions").fetchall() == [("active", "mine", 1)]
    assert count(db, "seals") == 0

    writer.write(frame(status="failed"))
    writer.write(session_frame(status="ended", ended_us=START + 9, exit_code=3))
    writer.close()
    drain(db, workspace)

    assert db.execute("SELECT status, ended_us, exit_code, n_events, n_failed FROM sessions").fetchall() == [
        ("ended", START + 9, 3, 2, 1)
    ]
    assert db.execute("SELECT seq, late FROM seals").fetchall() == [(2, 0)], (
        "the head is sealed behind the last event"
    )
    assert is_whole(db)


def test_a_session_whose_host_ended_is_not_begun_again(
    db: DB, workspace: Workspace, writer: SpoolWriter
) -> None:
    begin(db, title="first")
    sessions.end(db, SESSION, ended_us=START + 9, status="ended", exit_code=0)
    writer.write(session_frame(title="second"))

    drain(db, workspace)

    assert db.execute("SELECT status, title FROM sessions").fetchall() == [("ended", "first")]


def test_a_session_that_was_taken_for_interrupted_has_ended_after_all(
    db: DB, workspace: Workspace, writer: SpoolWriter
) -> None:
    begin(db)
    sessions.close_orphans(db, workspace, START)
    writer.write(session_frame(status="ended", ended_us=START + 9, exit_code=0))

    drain(db, workspace)

    assert db.execute("SELECT status, ended_us, exit_code FROM sessions").fetchall() == [
        ("ended", START + 9, 0)
    ]
    assert count(db, "seals") == 1, "nothing was added, so the seal is still true"


def test_what_a_newer_devtrace_knows_of_a_session_is_left_out(
    db: DB, workspace: Workspace, writer: SpoolWriter
) -> None:
    writer.write(session_frame(title="mine", colour="blue"))

    assert drain(db, workspace).damaged == 0
    assert db.execute("SELECT title FROM sessions").fetchall() == [("mine",)]


# --- the race between making a file and removing it ---


def test_a_writer_never_writes_into_a_file_that_a_drain_removed(db: DB, workspace: Workspace) -> None:
    """A drain that comes between open and flock takes the file for a dead writer's."""
    begin(db)
    sessions_of = [new_session_id() for _ in range(4)]

    with (
        Crowd(4, "spool_into_new_files", workspace.dir, 100) as writers,
        Crowd(2, "drain_often", workspace.dir, 300) as drainers,
    ):
        writers.release()
        drainers.release()
        written = writers.results()
        drainers.results()
    drain(db, workspace)

    assert len(sessions_of) == len(written)
    assert sorted(events(db)) == sorted(event for ids in written for event in ids)
    assert spooled(workspace) == []
    assert is_whole(db)
