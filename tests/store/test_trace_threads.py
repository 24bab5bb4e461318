"""Whatever stands in a stream, what begins ends, and the calls of a thread nest."""

from __future__ import annotations

import random

import pytest

from devtrace.store.trace import records
from devtrace.store.trace.segments import read_blocks
from devtrace.store.trace.threads import (
    CLOSE,
    IO,
    LINE,
    NOTE,
    OPEN,
    Thread,
    exception_text,
    is_end,
    pieces_of,
)
from tests.store.pens import Pen, scribble

ERROR = ["exception", "ValueError", ["no"]]


@pytest.fixture
def pen(tmp_path):
    return Pen(tmp_path / "spool")


def blocks_of(pen):
    return read_blocks(pen.path.read_bytes())


def moments_of(pen):
    thread = Thread(1, blocks_of(pen))
    return thread, list(thread.moments())


def closes(moments):
    return [moment.event.kind if moment.event else None for moment in moments if moment.kind == CLOSE]


def unwound(moments):
    return [one.event.result for one in moments if one.event is not None and one.event.kind == "unwind"]


def nest(moments):
    """The frames that are open at the end; each CLOSE must be of the last that was opened."""
    stack, before = [], 0
    for moment in moments:
        assert moment.at_ns >= before
        before = moment.at_ns
        if moment.kind == OPEN:
            stack.append(moment.frame)
        elif moment.kind == CLOSE:
            assert stack.pop() is moment.frame
        elif moment.frame is not None:
            assert stack[-1] is moment.frame
    return stack


@pytest.mark.parametrize("lost", ["nothing", "the first blocks", "one in the middle", "the last words"])
def test_calls_nest_whatever_a_program_does_and_whatever_is_lost_of_it(tmp_path, lost):
    seed = random.randrange(1 << 32)
    print("seed", seed)  # noqa: T201 - a failure is found again by it
    chance = random.Random(seed)
    pen = Pen(tmp_path / "spool")
    scribble(pen, chance, 20_000)
    blocks = blocks_of(pen)
    assert len(blocks) > 3
    cut = {
        "the first blocks": slice(0, 2),
        "one in the middle": slice(1, 2),
        "the last words": slice(-1, None),
    }
    del blocks[cut.get(lost, slice(0, 0))]

    assert nest(Thread(1, blocks).moments()) == []


def test_a_call_that_never_returned_is_closed_without_an_event(pen):
    pen.call(1)
    pen.call(2)

    _, moments = moments_of(pen)

    assert [moment.kind for moment in moments] == [OPEN, OPEN, CLOSE, CLOSE]
    assert closes(moments) == [None, None]


def test_what_was_at_work_before_the_record_began_is_opened_without_an_event(pen):
    pen.stack = [[1, 0, 0, None], [2, 0, 0, None]]
    pen.tell_stack()
    pen.line(5)

    thread, moments = moments_of(pen)

    opened = [moment for moment in moments if moment.kind == OPEN]
    assert [moment.event for moment in opened] == [None, None]
    assert [thread.function(moment.frame).name for moment in opened] == ["f1", "f2"]


def test_an_unwinding_names_the_exception_that_is_on_its_way(pen):
    for function in (1, 2):
        pen.call(function)
    pen.raised(ERROR)
    pen.leave(records.UNWOUND)
    pen.leave(records.UNWOUND)

    assert unwound(moments_of(pen)[1]) == [ERROR, ERROR]


def test_an_exception_that_passes_a_finally_goes_on_as_the_same(pen):
    pen.call(1)
    pen.raised(ERROR)
    pen.raised(ERROR, records.HANDLED)  # so is a `finally` told
    pen.line(7)
    pen.leave(records.UNWOUND)

    assert unwound(moments_of(pen)[1]) == [ERROR]


def test_an_exception_that_was_handled_is_no_other_calls(pen):
    pen.call(1)
    pen.raised(ERROR)
    pen.raised(ERROR, records.HANDLED)
    pen.call(2)
    pen.leave(records.UNWOUND)

    assert unwound(moments_of(pen)[1]) == [None]


def test_what_is_thrown_into_a_generator_is_known_by_its_raising(pen):
    pen.call(1, is_generator=True)
    asleep = pen.leave(records.YIELDED)
    pen.resume(asleep, records.THROWN)
    pen.raised(ERROR)
    pen.leave(records.UNWOUND)

    _, moments = moments_of(pen)

    (thrown,) = (moment.event for moment in moments if moment.event and moment.event.kind == "throw")
    assert thrown.result == ERROR
    assert len({moment.frame for moment in moments}) == 1


def test_the_folded_lines_of_all_folds_are_counted_once(pen):
    pen.call(1)
    for told in ([[1, 5, 10]], [[1, 5, 30], [1, 6, 1]], [[1, 5, 4]]):
        pen.note({"folded": told})

    thread, _ = moments_of(pen)

    assert thread.folded == {(1, 5): 34, (1, 6): 1}


def test_a_thread_is_known_by_its_note_and_a_task_by_the_call_it_begins_with(pen):
    pen.note({"thread": {"ident": 1 << 46, "native_id": 4243, "name": "helper"}})
    pen.call(1, is_generator=True)
    pen.word(pen.entry("Task-1") << 20 | records.TASK)
    pen.number(0, 5)

    thread, moments = moments_of(pen)

    assert (thread.name, thread.native, thread.ident) == ("helper", 4243, 1 << 46)
    assert [moment.event.task for moment in moments if moment.kind == OPEN] == ["Task-1"]


def test_frames_that_are_gone_while_a_call_still_tells_its_arguments_are_lost(pen):
    for function in (1, 2, 3):
        pen.call(function)
    pen.stack.clear()
    pen.tell_stack()
    pen.number(0, 5)

    assert len(closes(moments_of(pen)[1])) == 3


@pytest.mark.parametrize("note", [5, [1], {"thread": 5}, {"folded": [[1]]}, {"folded": [5, [1, "2", 3]]}])
def test_a_note_that_no_recorder_wrote_is_passed_over(pen, note):
    pen.note(note)
    pen.call(1)
    pen.leave()

    assert closes(moments_of(pen)[1]) == ["return"]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (["exception", "ValueError", ["no such thing"]], "ValueError: no such thing"),
        (["exception", "ValueError", []], "ValueError"),
        (["exception", "ValueError", ["bad", 3, None, True]], "ValueError: ('bad', 3, None, True)"),
        (["exception", "KeyError", ["name"]], "KeyError: 'name'"),
        (["exception", "app.Mine", [["str", 5000, "long"]]], "app.Mine: long…"),
        (["exception", "app.Mine", [["redacted", "name"]]], "app.Mine: <redacted>"),
        (["opaque", "app.Mine", 5], "app.Mine"),
        (None, ""), (["list", 0, []], ""), (["exception"], ""),
    ],
)  # fmt: skip
def test_an_exception_is_said_as_python_says_it(form, text):
    assert exception_text(form) == text


def test_what_ends_a_generator_or_a_program_is_known_from_what_went_wrong():
    assert is_end(["exception", "StopIteration", [5]])
    assert is_end(["exception", "SystemExit", [0]])
    assert not is_end(ERROR)
    assert not is_end(["exception", ["StopIteration"], [5]])
    assert not is_end(None)


def test_what_was_printed_is_left_out_unless_it_is_asked_for(pen):
    pen.call(1)
    pen.write(b"hi\n")
    pen.leave()
    blocks = blocks_of(pen)

    assert IO not in [moment.kind for moment in Thread(1, blocks).moments()]
    assert [moment.kind for moment in Thread(1, blocks, with_io=True).moments()][-3:] == [OPEN, IO, CLOSE]


def test_what_frames_print_that_began_unseen_comes_behind_their_begin(pen):
    pen.stack = [[1, 0, 0, None], [2, 0, 9, None]]
    pen.tell_stack()
    pen.write(b"hi\n")
    pen.line(10)

    moments = list(Thread(1, blocks_of(pen), with_io=True).moments())

    assert [moment.kind for moment in moments if moment.kind != NOTE] == [OPEN, OPEN, IO, LINE, CLOSE, CLOSE]
    (printed,) = [moment.event for moment in moments if moment.kind == IO]
    assert (printed.frame.function, printed.line) == (2, 9)


def test_a_piece_ends_behind_each_newline_and_nowhere_else(pen):
    pen.call(1)
    pen.write(b"a\r\n\rb\x0b\x85\n\nc", flags=records.TIME_SPLIT | records.INPUT)

    moments = Thread(1, blocks_of(pen), with_io=True).moments()
    (printed,) = [moment.event for moment in moments if moment.kind == IO]

    told = records.NEWLINE | records.INPUT
    assert list(pieces_of(printed)) == [
        (b"a\r\n", told), (b"\rb\x0b\x85\n", told), (b"\n", told),
        (b"c", records.TIME_SPLIT | records.INPUT),
    ]  # fmt: skip
