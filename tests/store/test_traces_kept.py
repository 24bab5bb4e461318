"""A trace that is kept can be checked, and forgotten: as a whole, or its records alone."""

from __future__ import annotations

import random
import sqlite3

import pytest

from devtrace.query.verify import verify
from devtrace.services.doctor import doctor
from devtrace.store import retention, traces
from devtrace.store.drain import drain
from devtrace.store.retention import EVENTS, OUTPUTS, WHENEVER, Author, Order
from devtrace.store.spool import SpoolWriter
from tests.store.frames import OTHER, count, frame, is_whole
from tests.store.pens import Pen, scribble
from tests.store.traced import TABLES, blocks_written, event, tables

AUTHOR = Author("human", "cli", 0)


@pytest.fixture
def pen(workspace, db) -> Pen:
    """The first thread of a program that has just begun."""
    return Pen(workspace.spool).begin()


@pytest.fixture
def kept(db, workspace, pen) -> sqlite3.Connection:
    scribble(pen, random.Random(9), 3_000)
    pen.end()
    drain(db, workspace)
    assert verify(db).findings == []
    return db


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE trace_chunks SET first_event = first_event + 1 WHERE n = 1", "index"),
        ("UPDATE trace_chunks SET started_us = 1 WHERE n = 1", "index"),
        ("UPDATE trace_chunks SET sha256 = 'x' WHERE n = 1", "index"),
        ("DELETE FROM trace_chunks WHERE n = 1", "index"),
        ("DELETE FROM trace_chunks", "index"),
        (
            "UPDATE trace_calls SET duration_ns = 5 WHERE event = (SELECT min(event) FROM trace_calls)",
            "index",
        ),
        ("UPDATE trace_functions SET name = 'innocent' WHERE number = 1", "index"),
        ("DELETE FROM trace_exceptions", "index"),
        ("UPDATE trace_streams SET name = 'x'", "index"),
        ("UPDATE blobs SET data = x'00', codec = 'raw'", "blob_changed"),
        ("DELETE FROM blobs", "blob_missing"),
    ],
)
def test_a_change_of_what_is_kept_is_found(kept, change, found):
    kept.execute(change)

    assert {one.what for one in verify(kept).findings} == {found}


def test_rows_that_no_trace_stands_behind_are_found(kept):
    kept.execute(f"INSERT INTO trace_exceptions VALUES ('{OTHER}', 1, 1, 1, 1, 'forged', NULL, 1)")

    assert [(one.session, one.what) for one in verify(kept).findings] == [(OTHER, "index")]


def test_a_pruned_event_takes_all_of_the_trace_with_it(kept, workspace):
    (share,) = retention.prune(kept, workspace, Order(EVENTS, WHENEVER), AUTHOR)

    assert share.events == 1
    assert {name: len(rows) for name, rows in tables(kept).items()} == dict.fromkeys(TABLES, 0)
    assert count(kept, "blobs") == 0
    assert verify(kept).findings == []
    assert is_whole(kept)


def test_pruned_outputs_take_the_records_and_leave_what_was_made_of_them(kept, workspace):
    before = tables(kept)
    (planned,) = retention.shares(kept, workspace, Order(OUTPUTS, WHENEVER))
    (share,) = retention.prune(kept, workspace, Order(OUTPUTS, WHENEVER), AUTHOR)

    assert share.outputs == 1
    assert share.size == planned.size > 0
    assert tables(kept) == before | {"trace_chunks": []}
    assert count(kept, "blobs") == 0
    assert verify(kept).findings == []
    kept.execute("UPDATE trace_functions SET n_calls = 0")
    assert {one.what for one in verify(kept).findings} == {"index"}


def test_a_trace_that_goes_on_is_not_pruned(db, workspace, pen):
    pen.call(1)
    blocks_written(pen, traces.RING + 2)
    drain(db, workspace)

    assert retention.shares(db, workspace, Order(EVENTS, WHENEVER)) == []


def test_a_frame_of_the_spool_cannot_name_what_is_kept(kept, workspace):
    forged = frame(
        kind="python_trace", session=OTHER, data={"argv": [], "blobs": event(kept)["data"]["blobs"]}
    )
    writer = SpoolWriter(workspace.spool)
    writer.write(forged)
    writer.close()

    assert drain(kept, workspace).damaged == 1
    assert is_whole(kept)


def test_doctor_names_what_waits(workspace, pen, monkeypatch):
    monkeypatch.setenv("DEVTRACE_DIR", str(workspace.dir))
    monkeypatch.chdir(workspace.root)
    (workspace.spool / "strange.seg").write_bytes(b"")

    told = {(one.what, one.chosen): one.because for one in doctor({}, workspace.root)}

    assert ("spool", "1 segment of traces waits") in told
    assert told["spool", "strange.seg cannot be read"] == "its name is none that a recorder gives"
