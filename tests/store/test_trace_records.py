"""Records go through a segment and come back; whatever ends a writer leaves what it had written."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devtrace.store.trace import records, segments
from devtrace.store.trace.records import UNSET_VALUE, read_records
from devtrace.store.trace.replay import Replay
from devtrace.store.trace.scan import Scan
from devtrace.store.trace.segments import BLOCK_BYTES, Block, Full, Room, SegmentWriter, read_blocks
from tests.processes import DEADLINE, environment
from tests.store.frames import SESSION
from tests.store.pens import Pen, scribble


@pytest.fixture
def pen(tmp_path: Path) -> Pen:
    return Pen(tmp_path / "spool")


def blocks_of(pen: Pen) -> list[Block]:
    return read_blocks(pen.path.read_bytes())


def replayed(blocks: list[Block]) -> tuple[Replay, list]:
    replay = Replay()
    return replay, [event for block in blocks for event in replay.feed(block)]


# --- every record ---------------------------------------------------------------------------------------


def test_each_record_comes_back_as_it_was_written(pen):
    frame = [7, 9]
    pen.call(3)
    pen.number(0, (1 << 43) - 1)
    pen.line(records.MOST_LINE)
    pen.word(pen.entry(["list", 2, [1, "two"]]) << 20 | records.REF)
    pen.word(1 << 20 | 1 << 4 | records.REF)
    pen.word(records.UNSET << 20 | records.REF)
    pen.word(1 << 4 | records.FLOAT, 0)
    pen.word(pen.entry("Task-1") << 20 | records.TASK)
    pen.raised(["exception", "ValueError", ["no"]])
    pen.raised(["exception", "ValueError", ["no"]], records.HANDLED)
    pen.resume(frame, records.THROWN)
    pen.leave(records.YIELDED)
    pen.note({"gap": {"reason": "trace_full"}})
    pen.leave(records.UNWOUND)

    (block,) = blocks_of(pen)
    told = [
        (one.tag, one.function, one.line, one.how, one.name, one.value)
        for one in read_records(block.words)
        if one.tag != records.FUNCTION
    ]

    error = ["exception", "ValueError", ["no"]]
    assert told == [
        (records.STACK, 0, 0, 0, 0, None),
        (records.CALL, 3, 0, 0, 0, None),
        (records.INT, 0, 0, 0, 0, (1 << 43) - 1),
        (records.LINE, 3, records.MOST_LINE, 0, 0, None),
        (records.REF, 0, 0, 0, 0, ["list", 2, [1, "two"]]),
        (records.REF, 0, 0, 0, 1, True),
        (records.REF, 0, 0, 0, 0, UNSET_VALUE),
        (records.FLOAT, 0, 0, 0, 1, 0.0),
        (records.TASK, 0, 0, 0, 0, "Task-1"),
        (records.RAISE, 0, 0, records.RAISED, 0, error),
        (records.RAISE, 0, 0, records.HANDLED, 0, error),
        (records.RESUME, 7, 0, records.THROWN, 0, None),
        (records.FRAME, 0, 0, 0, 0, 9),
        (records.RETURN, 7, 0, records.YIELDED, 0, None),
        (records.NOTE, 0, 0, 0, 0, {"gap": {"reason": "trace_full"}}),
        (records.RETURN, 3, 0, records.UNWOUND, 0, None),
    ]
    functions = [one for one in read_records(block.words) if one.tag == records.FUNCTION]
    assert [(one.function, one.value["name"]) for one in functions] == [(3, "f3"), (7, "f7")]
    clocks = [one.clock_ns for one in read_records(block.words) if one.clock_ns]
    assert clocks == sorted(clocks)
    assert len(clocks) == 4


def test_a_generator_goes_on_as_the_call_that_it_was(pen):
    pen.call(1)
    pen.call(2, is_generator=True)
    asleep = pen.leave(records.YIELDED)
    pen.line(4)
    pen.resume(asleep)
    pen.leave()

    _, events = replayed(blocks_of(pen))

    assert [event.kind for event in events] == ["call", "call", "yield", "line", "resume", "return"]
    assert events[5].frame is events[1].frame
    assert events[5].frame.call == 1


def test_a_run_that_begins_anew_is_not_put_behind_the_one_before_it(pen):
    pen.call(1)
    pen.call(2)
    pen.tell_stack()
    pen.tell_stack()

    replay, _ = replayed(blocks_of(pen))

    assert [frame.function for frame in replay.stack] == [1, 2]


def test_zeros_at_the_end_of_a_block_are_no_loss(pen):
    pen.call(1)
    pen.word(1 << 4 | records.FLOAT, 0)  # its last word is a zero
    (block,) = blocks_of(pen)

    again = Block.unpacked(block.used)

    assert again.raw == block.raw
    assert len(block.used) < 1_000


@pytest.mark.parametrize("_", range(5))
def test_a_quick_look_counts_what_a_replay_tells(tmp_path, _):
    chance = random.Random(seed := random.randrange(1 << 32))
    pen = Pen(tmp_path)
    scribble(pen, chance, 6_000)
    blocks = blocks_of(pen)
    assert len(blocks) > 1

    replay, events = replayed(blocks)
    scans = [Scan(block) for block in blocks]

    assert not any(scan.is_damaged for scan in scans)
    assert sum(scan.n_events for scan in scans) == replay.n_events == len(events) == pen.n_events, seed
    clocked = (records.CALL, records.RETURN, records.RESUME)
    for block, scan in zip(blocks, scans, strict=True):
        moves = [word for at in scan.moves if (word := scan.words[at]) & 15 in clocked]
        told = [one for one in read_records(block.words) if one.tag in clocked]
        assert [(word & 15, word >> 24) for word in moves] == [(one.tag, one.function) for one in told]


# --- what ends a writer ---------------------------------------------------------------------------------


def test_a_block_torn_at_every_byte_tells_what_stands_before_it(pen):
    for number in range(3):
        pen.call(number + 1)
        pen.line(number)
        pen.raised(["exception", "ValueError", [number]])
        pen.word(1 << 4 | records.FLOAT, 1 << 62)
    (block,) = blocks_of(pen)
    whole = [(one.tag, one.function, one.value) for one in read_records(block.words)]

    for size in range(segments.HEADER_WORDS * 8, len(block.used) + 1):
        torn = Block.unpacked(block.used[:size])
        told = [(one.tag, one.function, one.value) for one in read_records(torn.words)]
        assert len(told) <= len(whole)
        assert told[:-1] == whole[: max(len(told) - 1, 0)]  # of the last one a word may be missing
        scan = Scan(torn)
        # A text that is torn ends what can be read: by the entry that nobody names, or by its own record.
        assert abs(scan.n_events - sum(tag in records.EVENTS for tag, *_ in told)) <= 1


def test_a_writer_that_was_killed_leaves_every_record_that_it_had_begun(tmp_path):
    program = """
import os, sys
from pathlib import Path
from tests.store.pens import Pen
pen = Pen(Path(sys.argv[1]))
for number in range(20_000):
    pen.call(1)
    pen.line(number)
    pen.leave()
sys.stdout.write("there")
sys.stdout.flush()
os.read(0, 1)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert child.stdout.read(5) == b"there"
        child.kill()
        assert child.wait(DEADLINE) == -signal.SIGKILL

    (path,) = tmp_path.glob("*.seg")
    replay, events = replayed(read_blocks(path.read_bytes()))
    assert replay.n_events == 60_000
    assert [event.line for event in events if event.kind == "line"] == list(range(20_000))


# --- room -----------------------------------------------------------------------------------------------


def test_a_fold_keeps_the_newest_blocks_and_their_numbers_say_what_is_missing(pen):
    for _ in range(3):
        pen.turn()
    for _ in range(10):
        pen.turn(over=4)

    blocks = blocks_of(pen)

    assert [block.number for block in blocks] == [1, 2, 3, *range(10, 15)]
    assert [block.folded for block in blocks] == [0, 0, 0, 1, 1, 1, 1, 1]
    assert pen.path.stat().st_size == pen.writer.size


def test_after_a_fold_the_kept_blocks_stay(pen):
    for _ in range(6):
        pen.turn(over=2)
    pen.writer.unfold()
    for _ in range(6):
        pen.turn(over=2)

    assert [block.number for block in blocks_of(pen)] == [5, 6, 11, 12, 13]


def test_a_block_that_is_just_folded_over_is_none(pen):
    pen.turn()
    data = bytearray(pen.path.read_bytes())
    data[: segments.HEADER_WORDS * 8] = bytes(segments.HEADER_WORDS * 8)

    assert [block.number for block in read_blocks(bytes(data))] == [2]


def test_a_trace_has_no_more_bytes_than_it_may_have(tmp_path):
    writer = SegmentWriter(tmp_path, SESSION, 1, Room(3 * BLOCK_BYTES))
    writer.turn()
    present = writer.turn()

    with contextlib.suppress(Full):
        while True:
            present = writer.turn()

    assert writer.block is present
    assert present[1] >= 2
    assert writer.path.stat().st_size <= 3 * BLOCK_BYTES


def test_a_disk_without_room_is_an_error_before_anything_is_mapped(tmp_path, monkeypatch):
    writer = SegmentWriter(tmp_path, SESSION, 1, Room(1 << 30))
    present = writer.turn()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OSError, match="no room"):
        writer.turn()

    assert writer.block is present
    present[segments.HEADER_WORDS] = records.STACK  # and it can be written on


def test_a_file_that_may_not_grow_costs_the_writer_nothing_but_the_blocks_behind_it(tmp_path):
    program = """
import json, resource, signal, sys
from pathlib import Path
from tests.store.pens import Pen
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
pen = Pen(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 65536, resource.RLIM_INFINITY))
n = 0
try:
    while True:
        pen.turn()
        n += 1
except OSError as error:
    sys.stdout.write(json.dumps([n, error.errno]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        env=environment(), capture_output=True, check=True, timeout=DEADLINE,
    )  # fmt: skip
    turned, number = json.loads(done.stdout)

    assert number in (errno.EFBIG, errno.ENOSPC)
    (path,) = tmp_path.glob("*.seg")
    assert [block.number for block in read_blocks(path.read_bytes())] == list(range(1, turned + 2))


def test_a_file_that_was_taken_for_a_dead_ones_is_made_again(tmp_path, monkeypatch):
    real = os.open
    opened = itertools.count()

    def opened_and_removed(path, flags, mode=0o777):
        fd = real(path, flags, mode)
        if next(opened) == 0:  # who takes segments in finds it unlocked
            os.unlink(path)  # as the other process would
        return fd

    monkeypatch.setattr(os, "open", opened_and_removed)
    writer = SegmentWriter(tmp_path, SESSION, 1, Room(1 << 30))
    writer.turn()

    assert [block.number for block in read_blocks(writer.path.read_bytes())] == [1]


def test_a_segment_that_cannot_be_made_is_an_error_and_nothing_else(tmp_path):
    with pytest.raises(OSError, match="missing"):
        SegmentWriter(tmp_path / "missing", SESSION, 1, Room(1 << 20))  # and no destructor complains
