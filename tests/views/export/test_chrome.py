"""Chrome's trace events: valid, nested as the calls were, at the times that they had."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devtrace.store.trace import records
from devtrace.store.trace.segments import read_blocks
from devtrace.store.trace.threads import Thread
from devtrace.views.export.chrome import trace_lines
from tests.store.pens import Pen

ERROR = ["exception", "ValueError", ["no"]]


class Program:
    """What the view needs of query/programs.py's."""

    def __init__(self, *pens: Pen, pid: int = 4242, title: str = "python app.py"):
        self.process = {"pid": pid}
        self.title = title
        self._pens = pens

    def threads(self) -> list[Thread]:
        return [Thread(number, self._blocks(pen), with_io=True) for number, pen in enumerate(self._pens, 1)]

    def clocks(self) -> tuple[int, int]:
        block = self._blocks(self._pens[0])[0]
        return block.clock_ns, block.wall_ns

    def _blocks(self, pen: Pen) -> Any:
        return read_blocks(pen.path.read_bytes())


@pytest.fixture
def pen(tmp_path):
    return Pen(tmp_path / "spool").begin()


def events_of(*programs):
    return read_strictly("\n".join(trace_lines(programs)))


def read_strictly(text):
    """The events; any step aside from the format is an assertion."""
    told = json.loads(text)
    assert text.isascii()
    assert set(told) == {"displayTimeUnit", "traceEvents"}
    stacks, tracks, before = {}, {}, {}
    for event in told["traceEvents"]:
        assert type(event["pid"]) is type(event["tid"]) is int
        assert event["ph"] in ("B", "E", "i", "b", "e", "M")
        key = (event["pid"], event["tid"])
        if event["ph"] == "M":
            continue
        assert event["ts"] >= 0
        if event["ph"] in "BE":
            assert event["ts"] >= before.get(key, 0)
            before[key] = event["ts"]
            stack = stacks.setdefault(key, [])
            stack.append(event["name"]) if event["ph"] == "B" else _must_be(stack.pop(), event["name"])
        elif event["ph"] in "be":
            track = tracks.setdefault((event["pid"], event["id"]), [])
            track.append(event["name"]) if event["ph"] == "b" else _must_be(track.pop(), event["name"])
        else:
            assert event["s"] == "t"
    assert not any(stacks.values())
    assert not any(tracks.values())
    return told["traceEvents"]


def _must_be(one, other):
    assert one == other


def of(phase, events):
    return [event for event in events if event["ph"] == phase]


def test_a_call_has_its_place_its_arguments_and_its_result(pen):
    pen.call(7)
    pen.number(0, 41)
    pen.number(1, 5)  # no argument
    pen.line(8)
    pen.number(records.RESULT, 42)
    pen.leave(ns=2_500)

    begin, end = (event for event in events_of(Program(pen)) if event["ph"] in "BE")

    assert (begin["name"], begin["args"]) == ("f7", {"at": "/home/ana/app.py:7", "arguments": {"a": "41"}})
    assert end["args"] == {"result": "42"}
    assert round(end["ts"] - begin["ts"], 3) == 2.5


def test_processes_and_threads_are_named_and_have_their_numbers(tmp_path):
    one, other = (Pen(tmp_path / "spool", number) for number in (1, 2))
    one.note({"thread": {"ident": 1, "native_id": 4242, "name": "MainThread"}})
    other.note({"thread": {"ident": 2, "native_id": 4243, "name": "help\x1b[31mer"}})
    for pen in (one, other):
        pen.call(1)
        pen.leave()

    events = events_of(Program(one, other))

    names = [(event["tid"], event["name"], event["args"]) for event in of("M", events)]
    assert (0, "process_name", {"name": "python app.py"}) in names
    assert (4242, "thread_name", {"name": "MainThread"}) in names
    assert (4243, "thread_name", {"name": r"help\e[31mer"}) in names
    assert {event["tid"] for event in of("B", events)} == {4242, 4243}


def test_a_process_that_it_started_stands_beside_it_at_its_own_time(tmp_path):
    parent, child = (Pen(tmp_path / name) for name in ("one", "two"))
    for pen, clock, wall in ((parent, 5_000_000, 1_000_000_000), (child, 1_000, 1_003_000_000)):
        pen.writer.block[2], pen.writer.block[3] = clock, wall
        pen.clock = clock
        pen.call(1)
        pen.leave()

    events = events_of(Program(parent), Program(child, pid=4300, title="python child.py"))

    begun = {event["pid"]: event["ts"] for event in of("B", events)}
    assert begun == {4242: 1.0, 4300: 3_001.0}


def test_an_exception_is_where_it_was_raised_and_how_calls_ended(pen):
    pen.call(1)
    pen.line(9)
    pen.raised(ERROR)
    pen.leave(records.UNWOUND)

    events = events_of(Program(pen))

    (instant,) = of("i", events)
    assert (instant["name"], instant["args"]["at"]) == ("ValueError: no", "/home/ana/app.py:9")
    assert of("E", events)[0]["args"] == {"exception": "ValueError: no"}


def test_the_end_of_a_generator_is_no_exception(pen):
    pen.call(1)
    pen.raised(["exception", "StopIteration", []])
    pen.leave()

    assert of("i", events_of(Program(pen))) == []


def test_a_generator_is_in_parts(pen):
    pen.call(1, is_generator=True)
    pen.number(records.RESULT, 1)
    asleep = pen.leave(records.YIELDED)
    pen.tick(9_000)
    pen.resume(asleep)
    pen.leave()

    events = events_of(Program(pen))

    assert [event["args"].get("begin") for event in of("B", events)] == [None, "goes on"]
    assert [event["args"] for event in of("E", events)] == [{"yielded": "1"}, {"result": "None"}]


def test_tasks_have_lines_of_their_own(pen):
    frames = []
    for name in ("Task-1", "Task-2"):
        pen.call(1, is_generator=True)
        pen.word(pen.entry(name) << 20 | records.TASK)
        pen.call(2)
        pen.leave()
        frames.append(pen.leave(records.YIELDED))
    pen.resume(frames[0])
    pen.word(pen.entry("Task-1") << 20 | records.TASK)
    pen.leave()

    events = events_of(Program(pen))

    tracks = {event["id"] for event in of("b", events)}
    assert tracks == {"4242/1/Task-1", "4242/1/Task-2"}
    parts = [(event["id"].split("/")[2], event["name"]) for event in of("b", events)]
    assert parts == [
        ("Task-1", "Task-1"),
        ("Task-1", "f1"),
        ("Task-2", "Task-2"),
        ("Task-2", "f1"),
        ("Task-1", "f1"),
    ]
    assert {event["args"]["task"] for event in of("B", events)} == {"Task-1", "Task-2"}


def test_what_was_left_out_is_said_where_it_was(pen):
    pen.call(1)
    pen.note({"folded": [[1, 5, 1000]]})
    pen.note({"gap": {"reason": "trace_full"}})

    events = events_of(Program(pen))

    assert of("E", events)[0]["args"] == {"folded": {"line 5": 1000}, "end": "not recorded"}
    assert [event["name"] for event in of("i", events)] == ["not recorded: trace_full"]


def test_arguments_are_bounded(pen):
    told = {"path": "/a.py", "line": 1, "name": "wide", "module": "m", "n_arguments": 30}
    payload = json.dumps({**told, "names": [f"a{number}" for number in range(30)]}).encode()
    pen.text(len(payload) << 32 | 9 << 4 | records.FUNCTION, payload)
    pen.defined.add(9)
    pen.call(9)
    for name in range(30):
        pen.number(name, name)
    pen.word(pen.entry("x" * 5_000) << 20 | records.RESULT << 4 | records.REF)
    pen.leave()

    events = events_of(Program(pen))

    arguments = of("B", events)[0]["args"]["arguments"]
    assert (len(arguments), arguments["…"]) == (21, "10 more")
    assert len(of("E", events)[0]["args"]["result"]) == 200


def test_a_program_that_did_nothing_is_a_file_all_the_same(pen):
    assert of("B", events_of(Program(pen))) == []


def test_each_chunk_that_was_printed_is_an_instant_with_its_place(pen):
    pen.call(1)
    pen.line(5)
    pen.write(b"to\x1btal\n22", flags=records.FLUSH)
    pen.write(b"\xff", records.STDERR, records.MIRROR)
    pen.leave()

    found = [event for event in of("i", events_of(Program(pen))) if event["cat"] == "io"]

    assert [event["name"] for event in found] == ["stdout: to\\etal", "stdout: 22", "stderr: \\xff"]
    place = {"at": "/home/ana/app.py:5", "function": "f1"}
    assert found[0]["args"] == place | {"flags": ["newline"]}
    assert found[1]["args"] == place | {"flags": ["flush"]}
    assert found[2]["args"] == {"flags": ["mirror"]}
