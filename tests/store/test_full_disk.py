"""A disk that fills up in the middle of a spool frame: later frames survive, and what was lost is said."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys

import pytest

from devtrace.events import Frame
from devtrace.store import chain
from devtrace.store.append import append
from devtrace.store.drain import drain
from devtrace.store.spool import MAGIC, SpoolWriter
from devtrace.workspace import Workspace
from tests.processes import DEADLINE, environment
from tests.store.frames import SESSION, begin, events, frame, is_whole

_TEAR = """
import json, os, resource, sys
from pathlib import Path
from devtrace.store.spool import SpoolWriter
from tests.store.frames import frame

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

if sys.argv[2] == "cannot take back":
    def refuse(*_):
        raise OSError("the disk is full")
    os.ftruncate = refuse

writer = SpoolWriter(Path(sys.argv[1]))
frames = [frame(f"echo {number} " + "x" * 500) for number in range(6)]
written = [writer.write(frames[0]), writer.write(frames[1])]
limit(writer.size + 300)
written += [writer.write(frames[2]), writer.write(frames[3])]
limit(resource.RLIM_INFINITY)
written += [writer.write(frames[4]), writer.write(frames[5])]
sys.stdout.write(json.dumps([written, [one["id"] for one in frames]]))
"""


@pytest.mark.unmeasured
@pytest.mark.parametrize("torn", ["is taken back", "cannot take back"])
def test_a_frame_that_a_full_disk_tore_costs_no_other(db, workspace, torn):
    begin(db)
    done = subprocess.run(
        [sys.executable, "-c", _TEAR, workspace.spool, torn],
        env=environment(), capture_output=True, check=True, timeout=DEADLINE,
    )  # fmt: skip
    written, ids = json.loads(done.stdout)

    drained = drain(db, workspace)

    assert written == [True, True, False, False, True, True]
    kept = [one for one, is_kept in zip(ids, written, strict=True) if is_kept]
    assert [event for event, kind in _events(db) if kind == "run_command"] == kept
    gaps = [event for event, kind in _events(db) if kind == "gap"]
    if torn == "is taken back":
        assert (drained.damaged, gaps) == (0, [])
    else:
        assert drained.damaged == 1  # two torn frames side by side are one stretch
        assert len(gaps) == 1
    assert list(workspace.spool.iterdir()) == []
    assert is_whole(db)


@pytest.mark.parametrize("missing", ["the header", "the payload", "one byte", "nothing but the magic"])
def test_a_frame_cut_anywhere_is_skipped_and_becomes_one_gap(db, workspace, missing):
    begin(db)
    frames = [frame(f"echo {number}") for number in range(3)]
    whole = _spooled(workspace, frames)
    second = whole.index(MAGIC, 1)
    third = whole.index(MAGIC, second + 1)
    cut = {
        "the header": second + 6,
        "the payload": second + 40,
        "one byte": third - 1,
        "nothing but the magic": second + 4,
    }
    (path,) = workspace.spool.iterdir()
    path.write_bytes(whole[: cut[missing]] + whole[third:])

    drained = drain(db, workspace)

    assert (drained.events, drained.damaged, drained.files) == (3, 1, 1)
    first, last, gap = _events(db)  # said after the frames it was read with
    assert (first[0], last[0], gap[1]) == (frames[0]["id"], frames[2]["id"], "gap")
    (told,) = db.execute("SELECT data FROM events WHERE kind = 'gap'").fetchone()
    assert json.loads(told)["reason"] == "damaged_frame"
    assert json.loads(told)["count"] == 1
    assert is_whole(db)


def test_a_file_may_be_cut_at_every_byte(db, workspace):
    frames = [frame("a"), frame("b")]
    whole = _spooled(workspace, frames)
    (path,) = workspace.spool.iterdir()
    second = whole.index(MAGIC, 1)

    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        drained = drain(db, workspace)
        found = set(events(db)) & {one["id"] for one in frames}
        assert found == ({frames[0]["id"]} if size >= second else set())
        assert drained.damaged == (size not in (0, second))
        assert not path.exists()
        db.execute("DELETE FROM events")
        db.execute("DELETE FROM sessions")
        db.execute("DELETE FROM spool_offsets")
        assert chain.check(db, SESSION) is None


def test_a_frame_that_is_still_being_written_is_waited_for(db, workspace):
    begin(db)
    frames = [frame("a"), frame("b")]
    whole = _spooled(workspace, frames)
    second = whole.index(MAGIC, 1)
    (path,) = workspace.spool.iterdir()
    path.unlink()
    writer = SpoolWriter(workspace.spool)
    assert writer.write(frame("c"))
    assert writer.path is not None

    for cut in (second + 3, second + 30, len(whole) - 1, len(whole)):
        with writer.path.open("r+b") as file:  # what other processes would find at that moment
            file.seek(writer.size)
            file.truncate()
            file.write(whole[:cut])
        drained = drain(db, workspace)
        assert drained.damaged == 0
        assert (frames[1]["id"] in events(db)) == (cut == len(whole))
    writer.close()

    assert drain(db, workspace).files == 1
    assert len(events(db)) == 3
    assert is_whole(db)


def test_a_late_frame_of_a_torn_file_finds_its_way_beside_what_was_appended(db, workspace):
    begin(db)
    direct = frame("direct")
    append(db, [direct])
    whole = _spooled(workspace, [direct, frame("spooled")])
    (path,) = workspace.spool.iterdir()
    path.write_bytes(b"\0" * 100 + whole + MAGIC)

    drained = drain(db, workspace)

    assert (drained.events, drained.damaged) == (2, 2)  # the new one, and one gap for both stretches
    assert is_whole(db)


def _spooled(workspace: Workspace, frames: list[Frame]) -> bytes:
    """The bytes of a spool file that holds these frames; its writer is gone."""
    writer = SpoolWriter(workspace.spool)
    assert [writer.write(one) for one in frames] == [True] * len(frames)
    writer.close()
    (path,) = workspace.spool.iterdir()
    return path.read_bytes()


def _events(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return db.execute("SELECT id, kind FROM events ORDER BY seq").fetchall()
