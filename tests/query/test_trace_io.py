"""What is asked of what a recorded program printed and read: its chunks, its lines, a text in them."""

from __future__ import annotations

import base64
import json
import random

import pytest

from devtrace.errors import UsageError
from devtrace.query.trace_io import (
    Wanted,
    chunks,
    lines,
    newest,
    of_frame,
    places,
    record,
    totals,
    writers,
)
from devtrace.query.trace_lines import call_of, functions_at
from devtrace.query.trace_printed import Printed
from devtrace.query.trace_search import search
from devtrace.query.trace_terminal import compare
from devtrace.query.traces import Trace
from devtrace.store.trace import records
from devtrace.store.traces import take
from devtrace.views.jsonl import FIELDS
from tests.store.frames import SESSION
from tests.store.pens import Pen
from tests.traces import line_of, take_in
from tests.traces import record as run_recorded

SOURCE = """\
import sys
import threading


def total(prices):
    print(f"adding {len(prices)}")
    return sum(prices)


def loud(word):
    sys.stdout.write("the ")
    sys.stdout.write(word)
    sys.stdout.write(" is loud\\n")


def main():
    print(total([20, 7]))
    print("no price", file=sys.stderr)
    answer = sys.stdin.readline()
    loud("needle")
    thread = threading.Thread(target=total, args=([1],), name="helper")
    thread.start()
    thread.join()
    sys.stdout.buffer.write(b"\\xff\\n")


main()
"""


@pytest.fixture
def trace(recorded):
    """That program, run once."""
    run_recorded(recorded.workspace, source=SOURCE)
    return Trace(recorded.db, take_in(recorded.workspace))


@pytest.fixture
def pen(recorded):
    """A stream that is written by hand; `written` takes it in."""
    return Pen(recorded.workspace.spool).begin()


def written(recorded, *pens):
    """The trace of streams that were written by hand, which end here."""
    for one in pens:
        one.close()
    take(recorded.db, recorded.workspace)
    return Trace(recorded.db, SESSION)


def places_of(trace):
    """(text, function, line) of what stands beside each other; a slow write is in two chunks."""
    return [
        (one.data.decode("latin-1"), trace.function(one.first.function)["name"], one.first.line)
        for one in lines(chunks(trace))
    ]


# --- chunks -------------------------------------------------------------------------------------------------


def test_each_chunk_has_the_function_and_the_line_that_wrote_it(trace):
    assert places_of(trace) == [
        ("adding 2\n", "total", line_of('"adding', SOURCE)),
        ("27\n", "main", line_of("print(total", SOURCE)),
        ("no price\n", "main", line_of("no price", SOURCE)),
        ("the ", "loud", line_of('"the "', SOURCE)),
        ("needle", "loud", line_of("write(word)", SOURCE)),
        (" is loud\n", "loud", line_of("is loud", SOURCE)),
        ("adding 1\n", "total", line_of('"adding', SOURCE)),
        ("\xff\n", "main", line_of("xff", SOURCE)),
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"channels": ("stderr",)}, [b"no price\n"]),
        ({"thread": "helper"}, [b"adding 1\n"]),
        ({"function": "total"}, [b"adding 2\n", b"adding 1\n"]),
        ({"function": "total", "thread": "MainThread"}, [b"adding 2\n"]),
        ({"file": "shop.py", "function": "loud"}, [b"the ", b"needle", b" is loud\n"]),
        ({"channels": ("stdin",)}, []),
    ],
)
def test_they_are_narrowed_by_stream_thread_function_and_file(trace, wanted, expected):
    assert [one.data for one in lines(chunks(trace, Wanted(**wanted)))] == expected


@pytest.mark.parametrize("wanted", [{"thread": "ghost"}, {"function": "nobody"}, {"file": "no.py"}])
def test_what_nothing_fits_is_refused_at_once(trace, wanted):
    with pytest.raises(UsageError) as caught:
        chunks(trace, Wanted(**wanted))
    assert caught.value.code == "ERR_FILTER"


def test_the_newest_are_the_last_of_all(trace):
    whole = list(lines(chunks(trace)))

    for limit in range(1, len(whole) + 2):
        some = list(newest(lines(chunks(trace, Wanted(newest=limit))), limit))
        assert [one.data for one in some] == [one.data for one in whole][-limit:]
    assert [one.data for one in chunks(trace, Wanted(newest=1, thread="MainThread"))] == [b"\xff\n"]


def test_threads_that_take_turns_stand_in_the_order_of_time(recorded, pen):
    other = Pen(recorded.workspace.spool, stream=2)
    other.note({"thread": {"ident": 78, "name": "other"}})
    other.clock = pen.clock
    for one in (pen, other):
        one.call(1)
    for number in range(200):
        for one in (pen, other):
            one.line(number + 1)
            one.write(b"%d\n" % number)
            one.clock = pen.clock = other.clock = max(pen.clock, other.clock)
    trace = written(recorded, pen, other)

    found = list(chunks(trace))

    assert [one.data for one in found] == [b"%d\n" % number for number in range(200) for _ in "ab"]
    assert [one.stream for one in found] == [1, 2] * 200
    assert [one.line for one in found] == [number + 1 for number in range(200) for _ in "ab"]
    assert writers(trace) == [(1, None), (2, None)]


def test_tasks_that_print_are_told_apart(recorded):
    source = (
        "import asyncio\nasync def speak(word):\n    print(word, end='')\n    await asyncio.sleep(0)\n"
        "    print(word)\nasync def main():\n    await asyncio.gather(speak('a'), speak('b'))\n"
        "asyncio.run(main())\n"
    )
    run_recorded(recorded.workspace, source=source)
    trace = Trace(recorded.db, take_in(recorded.workspace))

    found = list(lines(chunks(trace)))
    first, second = found[0].first.task, found[1].first.task
    assert first is not None
    assert first != second
    assert [(one.data, one.first.task) for one in found] == [
        (b"a", first), (b"b", second), (b"a\n", first), (b"b\n", second)
    ]  # fmt: skip
    assert set(writers(trace)) == {(1, first), (1, second)}


def test_what_was_pruned_is_known_and_has_no_bytes(trace):
    before = list(chunks(trace))
    trace.db.execute("DELETE FROM trace_chunks")

    after = list(chunks(Trace(trace.db, trace.session)))

    assert [one.data for one in after] == [None] * len(before)
    assert [one.size for one in after] == [len(one.data) for one in before]


def test_a_row_that_names_what_is_no_record_has_no_bytes(trace):
    total = len(list(chunks(trace)))
    for change in ("word = 1 << 40", "start = 1 << 40", "size = size + 9999", "chunk = chunk + 7"):
        trace.db.execute("SAVEPOINT before")
        trace.db.execute(f"UPDATE io_chunks SET {change}")
        assert [one.data for one in chunks(Trace(trace.db, trace.session))] == [None] * total
        trace.db.execute("ROLLBACK TO before")


def test_an_older_store_that_is_only_read_has_none(trace):
    trace.db.execute("PRAGMA user_version = 4")
    trace.db.execute("DROP TABLE io_chunks")

    assert (list(chunks(trace)), totals(trace), places(trace), writers(trace)) == ([], {}, [], [])
    assert of_frame(trace, 1, 0, 9) == []
    assert search(trace.db, "never there") == []


# --- lines, totals, records ---------------------------------------------------------------------------------


def test_a_line_is_joined_where_its_parts_are_of_one_place(trace):
    found = lines(chunks(trace, Wanted(function="loud")))

    assert [(one.data, one.goes_on) for one in found] == [
        (b"the ", False), (b"needle", True), (b" is loud\n", True)
    ]  # fmt: skip


def test_the_totals_count_lines_and_one_that_has_not_ended(recorded, pen):
    pen.call(1)
    pen.write(b"a\nb\nc", records.STDOUT)
    pen.write(b"yes\n", records.STDIN, records.INPUT)
    mirror = Pen(recorded.workspace.spool, stream=2)
    mirror.write(b"12345\n", records.STDOUT, records.MIRROR)
    trace = written(recorded, pen, mirror)

    assert totals(trace) == {
        "stdout": {"chunks": 4, "bytes": 11, "lines": 4, "mirror": 6, "unflushed": 0},
        "stdin": {"chunks": 1, "bytes": 4, "lines": 1, "mirror": 0, "unflushed": 0},
    }
    assert writers(trace) == [(1, None)]
    assert (None, None, records.MIRROR) in places(trace)


def test_what_never_reached_its_descriptor_is_the_end_of_what_was_written(recorded, pen):
    pen.call(1)
    pen.write(b"kept\n")
    pen.write(b"half\n")
    pen.reached(records.STDOUT, 2)
    pen.write(b"lost\n")
    pen.write(b"seen\n", records.STDERR)
    mirror = Pen(recorded.workspace.spool, stream=2)
    mirror.clock = pen.tick()
    mirror.write(b"native\n", records.STDOUT, records.MIRROR)
    trace = written(recorded, pen, mirror)

    found = {one.data: one.n_unflushed for one in chunks(trace)}

    assert found == {b"kept\n": 0, b"half\n": 2, b"lost\n": 5, b"seen\n": 0, b"native\n": 0}
    assert totals(trace)["stdout"]["unflushed"] == 7


def test_a_chunk_is_told_as_text_or_where_it_is_none_as_base64(trace):
    told = [record(trace, one) for one in chunks(trace)]

    assert all(set(one) | {"record"} == set(FIELDS["trace_io"][1]) for one in told)
    first, last = told[0], told[-1]
    assert (first["text"][:8], first["base64"], first["size"]) == ("adding 2", None, len(first["text"]))
    assert (first["function"], first["thread"], first["channel"]) == ("total", "MainThread", "stdout")
    assert last["flags"] == ["newline"]
    assert (last["text"], base64.b64decode(last["base64"])) == (None, b"\xff\n")
    assert [one["at_us"] for one in told] == sorted(one["at_us"] for one in told)
    assert json.loads(json.dumps(told)) == told


def test_the_call_and_the_step_of_a_chunk_are_those_of_its_function(trace):
    first = next(chunks(trace))
    call = call_of(trace, functions_at(trace, "total"), 1)

    assert first.frame == call["event"]
    assert [step["event"] for step in call["steps"] if step["line"] == first.line] == [first.event - 1]


def test_beside_a_line_of_a_call_stands_what_it_printed(trace):
    steps = call_of(trace, functions_at(trace, "main"), 1)["steps"]

    printed = {step["line"]: step["told"][0] for step in steps if step["told"]}
    assert printed[line_of("print(total", SOURCE)] == ["printed", "27\n"]
    assert printed[line_of("xff", SOURCE)][0] == "printed"


def test_behind_a_limit_no_line_has_what_later_ones_printed(trace):
    steps = call_of(trace, functions_at(trace, "loud"), 1, limit=1)["steps"]

    assert [step["told"] for step in steps] == [[["printed", "the "]]]


# --- why ----------------------------------------------------------------------------------------------------


def printed_in(recorded, text, **more):
    return [one for one in search(recorded.db, text, **more) if one["what"] in ("printed", "read")]


def test_a_printed_text_names_the_line_that_did_and_its_callers(recorded, trace):
    (first,) = printed_in(recorded, "adding 2")

    assert (first["name"], first["line"]) == ("total", line_of('"adding', SOURCE))
    assert (first["what"], first["channel"], first["value"]) == ("printed", "stdout", "adding 2")
    assert [(one["name"], one["line"]) for one in first["stack"]] == [
        ("<module>", len(SOURCE.splitlines())),
        ("main", line_of("print(total", SOURCE)),
    ]
    assert set(first) | {"record"} == set(FIELDS["trace_match"][1])


def test_a_text_across_the_parts_of_a_line_is_found_where_it_begins(recorded, trace):
    (found,) = printed_in(recorded, "needle is")

    assert (found["name"], found["line"]) == ("loud", line_of("write(word)", SOURCE))
    assert found["value"] == "the needle is loud"
    assert found["same"] == []
    (found,) = printed_in(recorded, "e need")
    assert found["line"] == line_of('"the "', SOURCE)


def test_a_printed_value_names_the_variables_that_held_it(recorded, trace):
    (found,) = printed_in(recorded, "needle")

    assert found["same"] == [{"name": "loud", "variable": "word", "value": "needle"}]


def test_a_place_that_printed_it_often_is_told_once(recorded, trace):
    (found,) = printed_in(recorded, "adding")

    assert found["count"] == 2


def test_only_the_lines_of_a_file_are_searched_when_it_is_named(recorded, trace):
    assert len(printed_in(recorded, "adding", file="shop.py")) == 1
    assert printed_in(recorded, "adding", file="other.py") == []


def test_lines_are_not_joined_across_their_ends_or_their_streams(recorded, pen):
    pen.call(1)
    pen.write(b"nee\n")
    pen.write(b"dle\n")
    pen.write(b"nee", records.STDOUT)
    pen.write(b"dle", records.STDERR)
    trace = written(recorded, pen)

    assert len(list(chunks(trace))) == 4
    assert printed_in(recorded, "needle") == []


def test_a_line_that_has_not_ended_is_searched_too_and_across_blocks(recorded, pen):
    pen.call(1)
    pen.write(b"nee")
    pen.turn()
    pen.write(b"dle")
    written(recorded, pen)

    (found,) = printed_in(recorded, "needle")
    assert (found["value"], found["name"]) == ("needle", "f1")


def test_what_was_read_is_found_and_what_came_from_below_python_has_no_place(recorded, pen):
    pen.call(1)
    pen.write(b"my needle\n", records.STDIN, records.INPUT)
    mirror = Pen(recorded.workspace.spool, stream=2)
    mirror.write(b"native needle\n", records.STDERR, records.MIRROR)
    written(recorded, pen, mirror)

    read, native = printed_in(recorded, "needle")
    assert (read["what"], read["channel"], read["name"]) == ("read", "stdin", "f1")
    assert (native["what"], native["name"], native["path"], native["stack"]) == ("printed", "", "", [])


def test_whatever_was_written_in_whatever_pieces_is_found_as_in_the_whole(recorded):
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    pens = [Pen(recorded.workspace.spool, stream=1).begin(), Pen(recorded.workspace.spool, stream=2)]
    whole: dict[tuple[int, int], bytes] = {}
    for pen in pens:
        pen.call(1)
    for _ in range(600):
        stream = chance.randrange(2)
        what = chance.choice([records.STDOUT, records.STDOUT, records.STDERR])
        piece = bytes(chance.choices(b"ab\n\r", (6, 6, 3, 1), k=chance.randrange(1, 9)))
        pens[stream].line(chance.randrange(1, 40))
        pens[stream].write(piece, what, chance.choice([0, records.FLUSH, records.STEP_BOUNDARY]))
        whole[stream, what] = whole.get((stream, what), b"") + piece
        if chance.random() < 0.02:
            pens[stream].turn()
    trace = written(recorded, *pens)

    for (stream, what), text in whole.items():
        wanted = Wanted(channels=(records.CHANNELS[what],), thread=str(stream + 1))
        assert b"".join(one.data for one in chunks(trace, wanted)) == text, seed
    for text in ("ab", "ba", "aaa", "abba", "b\ra", "aabba"):
        found = Printed(trace, text, lambda: True, lambda: False).matches(10_000, None, lambda form: False)
        lines_with = sum(text.encode() in line for one in whole.values() for line in one.split(b"\n"))
        assert sum(one["count"] for one in found) == lines_with, (seed, text)


def test_of_a_long_line_what_stands_around_the_text_is_told(recorded, pen):
    pen.call(1)
    pen.write(b"x" * 5_000 + b"needle" + b"y" * 5_000 + b"\n")
    written(recorded, pen)

    (found,) = printed_in(recorded, "needle")
    form, length, start = found["value"]
    assert (form, length) == ("str", 10_006)
    assert "needle" in start
    assert len(start) <= 400


def test_the_command_and_its_agent_are_named(recorded):
    session = recorded.session(agent="claude-code")
    command = recorded.command("python shop.py")
    run_recorded(recorded.workspace, source=SOURCE, DEVTRACE_SESSION=session, DEVTRACE_SPAN=command)
    take_in(recorded.workspace)

    (found,) = printed_in(recorded, "is loud")
    assert found["command"] == {
        "session": session, "event": command, "title": "$ python shop.py", "actor": "agent:claude-code",
    }  # fmt: skip


# --- beside the terminal ------------------------------------------------------------------------------------


PRINTED = b"adding 2\r\n27\r\nno price\r\nthe needle is loud\r\nadding 1\r\n\xff\r\n"


def compared(recorded, printed, **more):
    session = recorded.session()
    command = recorded.command("python shop.py", printed=printed, **more)
    run_recorded(recorded.workspace, source=SOURCE, DEVTRACE_SESSION=session, DEVTRACE_SPAN=command)
    return compare(Trace(recorded.db, take_in(recorded.workspace))), f"{session}/{command}"


def test_what_the_terminal_shows_is_what_was_printed(recorded):
    told, event = compared(recorded, PRINTED)

    assert (told["n_lines"], told["n_found"], told["n_elsewhere"]) == (6, 6, 0)
    assert (told["event"], told["confidence"], told["is_whole"]) == (event, "approximate", True)
    assert set(told) | {"record"} == set(FIELDS["terminal"][1])


def test_what_others_wrote_between_is_counted_and_a_line_that_is_not_there_too(recorded):
    told, _ = compared(recorded, b"before\r\n" + PRINTED.replace(b"27\r\n", b"") + b"$ ")

    assert (told["n_lines"], told["n_found"]) == (6, 5)
    assert told["n_elsewhere"] == len("before\n$ ")


def test_lines_in_another_order_are_not_found_in_theirs(recorded):
    told, _ = compared(recorded, PRINTED.replace(b"adding 2\r\n27", b"27\r\nadding 2"))

    assert told["n_found"] < told["n_lines"]


def test_the_streams_are_each_in_their_own_order(recorded):
    told, _ = compared(recorded, b"no price\r\n" + PRINTED.replace(b"no price\r\n", b""))

    assert told["n_found"] == told["n_lines"]


def test_where_the_terminals_record_was_cut_that_is_said(recorded):
    told, _ = compared(recorded, PRINTED, output={"truncated": True, "seen": 10_000, "tail": 4})

    assert told["is_whole"] is False


def test_without_a_command_or_its_output_there_is_nothing_to_compare(recorded, trace):
    assert compare(trace) is None
    assert compared(recorded, None)[0] is None


def test_of_a_program_whose_output_went_elsewhere_nothing_is_found(recorded):
    told, _ = compared(recorded, b"done\r\n")

    assert (told["n_lines"], told["n_found"], told["n_elsewhere"]) == (6, 0, 5)
