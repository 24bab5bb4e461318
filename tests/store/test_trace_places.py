"""Which line printed it: the rows made at a glance say what the program did, and what a replay says."""

from __future__ import annotations

import random

import pytest

from devtrace.store.trace import records
from devtrace.store.trace.calls import Calls
from devtrace.store.trace.io_chunks import ChunkRow, IoChunks
from devtrace.store.trace.replay import Event, Replay, Written
from devtrace.store.trace.scan import Scan
from devtrace.store.trace.segments import Block, read_blocks
from tests.store.pens import Pen, scribble


@pytest.fixture
def pen(tmp_path) -> Pen:
    return Pen(tmp_path)


def blocks_of(pen: Pen) -> list[Block]:
    return read_blocks(pen.path.read_bytes())


def rows_of(pen: Pen, *, with_state: bool = False) -> list[ChunkRow]:
    """`with_state`: everything begins anew at each block."""
    calls, chunks, rows = Calls(), IoChunks(), []
    for block in blocks_of(pen):
        if with_state:
            calls, chunks = Calls(calls.state()), IoChunks(chunks.state())
        scan = Scan(block)
        assert not scan.is_damaged
        calls.feed(scan, block.number)
        chunks.feed(scan, block, calls.placed, 0)
        rows += chunks.take()[0]
    return rows


def places(rows: list[ChunkRow]) -> list[tuple[int | None, int | None]]:
    return [(function, line) for *_, function, line, _, _ in rows]


def lines_of(payload: bytes) -> list[bytes]:
    return [part for part in payload.replace(b"\n", b"\n\1").split(b"\1") if part]


# --- against the truth, and against a replay ------------------------------------------------------------


@pytest.mark.parametrize("_", range(10))
@pytest.mark.parametrize("with_state", [False, True])
def test_rows_say_what_the_program_did(pen, with_state, _):
    chance = random.Random(seed := random.randrange(1 << 32))
    pen.write(b"begin\n")
    scribble(pen, chance, chance.choice([300, 4_000]), writes=True)
    for one in list(pen.waiting):
        pen.tell(one)

    rows = rows_of(pen, with_state=with_state)

    truth = [
        (records.CHANNELS[one.what], len(part), one.events, *one.where)
        for one in sorted(pen.written, key=lambda one: one.key)
        for part in lines_of(one.payload)
    ]
    assert [(row[1], row[5], *row[8:12]) for row in rows] == truth, seed
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize("_", range(10))
def test_rows_say_what_a_replay_says(pen, _):
    chance = random.Random(seed := random.randrange(1 << 32))
    pen.write(b"begin\n")
    scribble(pen, chance, chance.choice([300, 4_000]), writes=True)

    rows = rows_of(pen)

    replay, said = Replay(with_io=True), []
    for block in blocks_of(pen):
        for event in replay.feed(block):
            if not isinstance(event, Written):
                continue
            frame = event.frame
            where = (event.number, frame.function or None, event.line or None, frame.call, event.task or None)
            said += [(event.channel, len(part), *where) for part in lines_of(event.payload)]
    assert [(row[1], row[5], *row[8:]) for row in rows] == said, seed
    assert replay.n_events == pen.n_events


@pytest.mark.parametrize("_", range(3))
def test_who_does_not_ask_sees_nothing_of_it(pen, _):
    seed = random.randrange(1 << 32)
    scribble(pen, random.Random(seed), 3_000, writes=True)

    replays = Replay(), Replay(with_io=True)
    kept, asked = ([event for block in blocks_of(pen) for event in one.feed(block)] for one in replays)

    rest = [event for event in asked if not isinstance(event, Written)]
    assert [told(event) for event in kept] == [told(event) for event in rest], seed
    assert len(asked) > len(kept) == pen.n_events


def told(event: Event) -> tuple[object, ...]:
    return event.kind, event.number, event.line, event.depth, event.frame.call, event.result, event.clock_ns


# --- which line -------------------------------------------------------------------------------------------


def test_calls_in_between_are_skipped(pen):
    pen.call(1)
    pen.line(4)
    pen.call(2)
    pen.line(9)
    pen.call(1)  # the same function again: its lines are not those of the first call
    pen.line(7)
    pen.leave()
    pen.leave()
    pen.write(b"x\n")
    pen.call(2)
    pen.leave()
    pen.write(b"y\n")

    assert places(rows_of(pen)) == [(1, 4), (1, 4)]


def test_a_generator_goes_on_at_the_line_at_which_it_was(pen):
    pen.call(1)
    pen.line(2)
    pen.call(2, is_generator=True)
    pen.line(30)
    asleep = pen.leave(records.YIELDED)
    pen.call(2, is_generator=True)
    pen.line(31)
    pen.leave(records.YIELDED)
    pen.resume(asleep)
    pen.write(b"same block\n")
    pen.leave(records.YIELDED)
    pen.line(3)
    pen.turn()
    pen.line(4)
    pen.turn()
    pen.resume(asleep)
    pen.write(b"two blocks later\n")

    assert places(rows_of(pen)) == places(rows_of(pen, with_state=True)) == [(2, 30), (2, 30)]


def test_a_line_that_may_be_another_one_by_now_is_none(pen):
    pen.call(1)
    pen.line(4)
    pen.write(b"x\n")
    pen.stack[-1][2] = 0  # who wrote the next block did not know it
    pen.turn()
    pen.write(b"y\n")

    assert places(rows_of(pen)) == [(1, 4), (1, None)]


def test_before_its_first_line_a_call_has_none(pen):
    pen.call(1)
    pen.line(4)
    pen.call(2)
    pen.write(b"x\n")

    assert places(rows_of(pen)) == [(2, None)]


def test_frames_that_a_block_names_are_at_their_lines(pen):
    pen.call(1)
    pen.line(4)
    pen.call(2)
    pen.line(9)
    pen.turn()
    pen.write(b"x\n")
    pen.leave()
    pen.write(b"y\n")

    replay = Replay(with_io=True)
    told = [(one.kind, one.line) for one in replay.feed(blocks_of(pen)[1])]
    assert told == [("io", 9), ("return", 9), ("io", 4)]
    assert places(rows_of(pen)) == [(2, 9), (1, 4)]


def test_a_place_is_found_behind_very_many_calls_at_once(pen):
    pen.call(1)
    pen.line(4)
    for _ in range(700):
        pen.call(2)
        pen.leave()
        pen.write(b"x\n")

    assert set(places(rows_of(pen))) == {(1, 4)}


def test_nothing_at_work_is_no_place(pen):
    pen.write(b"x\n")
    pen.call(1)
    pen.line(3)
    pen.write(b"y\n", flags=records.MIRROR)

    assert [row[8:] for row in rows_of(pen)] == [(0, None, None, None, None), (2, None, None, None, None)]


def test_what_happened_in_front_of_a_block_is_where_it_says(pen):
    pen.call(1)
    pen.line(3)
    written = pen.write(b"x\n", waits=True)
    pen.line(4)
    pen.turn()
    pen.tell(written)

    (row,) = rows_of(pen)
    assert (row[2], row[8], row[9], row[10], row[11]) == (2, 3, 1, 3, None)


def test_a_place_of_its_own_need_not_be_that_of_a_call(pen):
    pen.call(1)
    pen.line(3)
    pen.write(b"x\n", place=7 << 24 | 70 << 4)
    pen.write(b"y\n", place=1 << 24 | 5 << 4)

    assert [row[9:12] for row in rows_of(pen)] == [(7, 70, None), (1, 5, 0)]


def test_the_task_is_the_one_that_goes_on(pen):
    pen.call(1, is_generator=True)
    pen.write(b"a\n")
    pen.word(pen.entry("Task-7") << 20 | records.TASK)
    pen.line(3)
    pen.write(b"b\n")
    pen.turn()
    pen.call(2)
    pen.write(b"c\n")
    pen.leave()
    pen.leave(records.YIELDED)
    pen.call(3)
    pen.write(b"no coroutine is at work\n")
    pen.call(1, is_generator=True)
    pen.word(pen.entry("") << 20 | records.TASK)
    pen.write(b"d\n")

    expected = [None, "Task-7", "Task-7", None, None]
    assert [row[12] for row in rows_of(pen)] == [row[12] for row in rows_of(pen, with_state=True)] == expected


def test_of_a_deep_stack_only_what_is_named_has_a_line(pen):
    for function in range(1, 702):
        pen.call(function % 7 + 1)
        pen.line(10 + function % 50)
    pen.turn()
    pen.write(b"x\n")
    for _ in range(600):
        pen.leave()
    pen.write(b"y\n")  # the frame below those that were named: its line may have changed since

    assert [row[9:12] for row in rows_of(pen)] == [(2, 11, 2 * 700), (4, None, 200)]


# --- chunks -----------------------------------------------------------------------------------------------


def test_a_record_is_cut_behind_each_newline_and_every_byte_survives(pen):
    payload = b"a\r\nb\0\n\nrest\xff"
    pen.write(payload, records.STDIN, records.FLUSH | records.INPUT)
    pen.write(b"no end", flags=records.TIME_SPLIT)
    pen.write(b"end\n", records.STDERR, flags=records.TIME_SPLIT)
    pen.write(b"")

    rows = rows_of(pen)

    newline, rest = records.NEWLINE | records.INPUT, records.FLUSH | records.INPUT
    assert [(row[1], row[4], row[5], row[6]) for row in rows] == [
        ("stdin", 0, 3, newline), ("stdin", 3, 3, newline), ("stdin", 6, 1, newline), ("stdin", 7, 5, rest),
        ("stdout", 0, 6, records.TIME_SPLIT), ("stderr", 0, 4, records.NEWLINE),
    ]  # fmt: skip


def test_what_was_held_and_told_later_stands_where_it_happened(pen):
    pen.call(1)
    pen.line(3)
    held = pen.write(b"first\n", waits=True)
    pen.line(4)
    pen.write(b"second\n", records.STDERR)
    pen.tell(held)

    assert [(row[1], row[10]) for row in rows_of(pen)] == [("stdout", 3), ("stderr", 4)]
    told = [(one.kind, one.line) for block in blocks_of(pen) for one in Replay(with_io=True).feed(block)]
    assert told == [("call", 0), ("line", 3), ("io", 3), ("line", 4), ("io", 4)]


def test_arguments_stay_with_their_call_wherever_an_anchor_points(pen):
    pen.call(1)
    written = pen.write(b"x\n", waits=True)
    pen.number(0, 5)
    pen.line(2)
    pen.tell(written)

    (block,) = blocks_of(pen)
    call, io, _ = Replay(with_io=True).feed(block)

    assert (call.kind, call.values, io.kind) == ("call", [("a", 5)], "io")
