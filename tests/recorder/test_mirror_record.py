"""What is kept of bytes that were written below Python: every one, in its order, with its time, redacted.

Not here: how they come (test_fd_mirror.py).
"""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest

from devtrace.policy.chain import Policy
from devtrace.policy.stream import Stream
from devtrace.recorder.mirror_record import Held, Pen, Recorder
from devtrace.store.trace import records
from devtrace.store.trace.segments import BLOCK_BYTES, read_blocks
from tests.recorder import mirrors

_LINES = [
    b"ham\n",
    b"\x1b[31mred\x1b[0m\r\n",
    b"x" * 3_000 + b"\n",
    b"\0\xff\n",
    b"password=hunter2canary\n",
    b"password=\x1b[1mhunter2\x1b[0mcanary\n",
]


def told(folder: Path) -> list[Any]:
    """The records of the one segment there."""
    (path,) = folder.glob("*.seg")
    return [one for block in read_blocks(path.read_bytes()) for one in records.read_records(block.words)]


def a_pen(folder: Path, most_bytes: int = 1 << 30) -> Pen:
    return Pen(str(folder), mirrors.SESSION, 7, most_bytes)


@pytest.mark.parametrize("seed", range(6))
def test_pieces_are_redacted_as_a_whole_and_keep_their_times(seed):
    chance = random.Random(seed)
    whole = Stream(Policy.for_session({}, b"salt" * 8))
    held, taken, redacted = Held(records.STDOUT, Policy.for_session({}, b"salt" * 8)), [], b""
    for number in range(chance.choice([5, 200])):
        line = b"<%d> " % number + chance.choice(_LINES)
        redacted += whole.feed(line)
        cut = chance.randrange(line.index(b" ") + 1, len(line))
        held.feed(2 * number, line[:cut])
        held.feed(2 * number + 1, line[cut:])
        taken += held.taken()
    held.close()
    taken += held.taken()

    assert b"".join(data for *_, data in taken) == redacted + whole.close(), f"seed {seed}"
    assert not any(b"canary" in data for *_, data in taken)
    assert held.size == 0
    clocks = [clock for _, clock, _ in taken]
    assert clocks == sorted(clocks)
    begun = [(clock, data) for _, clock, data in taken if data.startswith(b"<")]
    assert [clock for clock, _ in begun] == [2 * n for n in range(number + 1)]
    assert all(data.startswith(b"<%d> " % (clock // 2)) for clock, data in begun), f"seed {seed}"


def test_what_a_failing_rule_could_not_judge_is_withheld_at_once():
    def fail(text: bytes, edges: int) -> Any:
        raise ValueError

    held = Held(records.STDOUT, Policy([fail]))
    held.feed(1, b"one")
    held.feed(2, b"two\n")
    held.close()

    assert held.taken() == [(records.STDOUT, 1, b"[withheld: policy failure]")]


def test_a_line_that_is_whole_does_not_wait_and_one_that_is_not_does():
    held = Held(records.STDERR, Policy.for_session({}, None))
    held.feed(1, b"whole\n")
    held.rest()
    held.feed(2, b"half")
    held.rest()

    assert held.taken() == [(records.STDERR, 1, b"whole\n")]
    assert held.size == 4


def test_a_pen_writes_what_a_reader_reads(tmp_path):
    pen = a_pen(tmp_path)
    data = bytes(range(256)) * 400
    pen.io(records.STDERR, 5, b"short")
    pen.io(records.STDOUT, 6, data)
    pen.close()

    note, short, *parts = told(tmp_path)
    assert note.value == {"thread": {"ident": 0, "name": "file descriptors"}}
    assert (short.tag, short.how, short.flags, short.clock_ns) == (
        records.IO,
        records.STDERR,
        records.MIRROR,
        5,
    )
    assert (short.function, short.line, short.value) == (0, 0, b"short")
    assert b"".join(one.value for one in parts) == data
    assert {(one.how, one.clock_ns) for one in parts} == {(records.STDOUT, 6)}
    assert max(len(one.value) for one in parts) == 32_768
    assert all(one.anchor == one.at for one in (short, *parts))


def test_how_much_is_held_back_is_told_by_one_word(tmp_path):
    pen = a_pen(tmp_path)
    for held in (5, 9, 7):
        pen.held(held)
    pen.io(records.STDOUT, 1, b"seven")
    pen.held(0)
    pen.close()

    assert [(one.how, one.value) for one in told(tmp_path)[1:]] == [
        (records.HELD, 7),
        (records.STDOUT, b"seven"),
        (records.HELD, 0),
    ]


def test_the_last_block_says_that_no_other_could_be_had(tmp_path):
    pen = a_pen(tmp_path, 2 * BLOCK_BYTES)
    for clock in range(100):
        pen.io(records.STDOUT, clock, b"x" * 4_000)
    pen.held(8)
    pen.close()

    *kept, gap = told(tmp_path)
    assert gap.value == {"gap": {"reason": "trace_full"}}
    assert (
        pen.n_bytes == sum(len(one.value) for one in kept if one.tag == records.IO) == 4_000 * len(kept[1:])
    )


class Stopped:
    """A program of which it is known whether it has ended."""

    def __init__(self, has_ended: bool):
        self.has_ended = has_ended
        self.n_bytes = 0
        self.done = threading.Event()

    def recorder(self, pen: Pen, n_pumps: int) -> Recorder:
        return Recorder(
            pen,
            n_pumps,
            "",
            has_ended=lambda: self.has_ended,
            on_written=lambda n_bytes: setattr(self, "n_bytes", n_bytes),
            on_done=self.done.set,
        )


def test_a_recorder_ends_when_its_pumps_have(tmp_path):
    program = Stopped(has_ended=False)
    recorder = program.recorder(a_pen(tmp_path), 2)
    recorder.put(records.STDOUT, 3, b"three")
    recorder.put(records.STDERR, 1, b"one")
    recorder.put(records.STDOUT, 0, b"")
    recorder.put(records.STDERR, 0, b"")
    recorder.run()

    written = [one for one in told(tmp_path) if one.tag == records.IO and one.how != records.HELD]
    assert [one.value for one in written] == [b"one", b"three"]  # in the order of their times
    assert (program.n_bytes, program.done.is_set()) == (8, True)


def test_what_a_program_left_behind_is_recorded_no_longer_than_it_writes(tmp_path):
    program = Stopped(has_ended=True)
    recorder = program.recorder(a_pen(tmp_path), 1)
    recorder.put(records.STDOUT, 1, b"one\n")
    thread = threading.Thread(target=recorder.run)
    thread.start()
    program.done.wait(mirrors.DEADLINE_S)
    for _ in range(200):  # it is not waited for what nobody keeps
        recorder.put(records.STDOUT, 2, b"x" * 65_536)
    recorder.put(records.STDOUT, 0, b"")
    thread.join(mirrors.DEADLINE_S)

    assert not thread.is_alive()
    assert [one.value for one in told(tmp_path) if one.tag == records.NOTE][1:] == [
        {"gap": {"reason": "io_after_end"}}
    ]
    assert [one.value for one in told(tmp_path) if one.tag == records.IO and one.flags] == [b"one\n"]


def test_what_is_not_kept_any_more_is_not_looked_at(tmp_path, monkeypatch):
    program = Stopped(has_ended=False)
    recorder = program.recorder(a_pen(tmp_path, BLOCK_BYTES), 1)
    fed: list[int] = []
    plain = Held.feed

    def feed(held: Held, clock_ns: int, data: bytes) -> None:
        fed.append(len(data))
        plain(held, clock_ns, data)

    monkeypatch.setattr(Held, "feed", feed)
    thread = threading.Thread(target=recorder.run)
    thread.start()
    for _ in range(100):
        recorder.put(records.STDOUT, 2, b"ham and eggs\n" * 5_000)
    recorder.put(records.STDOUT, 0, b"")
    thread.join(mirrors.DEADLINE_S)

    assert not thread.is_alive()
    assert told(tmp_path)[-1].value == {"gap": {"reason": "trace_full"}}
    assert 1 <= len(fed) <= 4


def test_a_bug_of_ours_costs_the_record_and_not_the_console(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise ValueError

    program = Stopped(has_ended=False)
    recorder = program.recorder(a_pen(tmp_path), 1)
    monkeypatch.setattr(Held, "feed", fail)
    thread = threading.Thread(target=recorder.run)
    thread.start()
    for _ in range(200):
        recorder.put(records.STDOUT, 2, b"x" * 65_536)
    recorder.put(records.STDOUT, 0, b"")
    thread.join(mirrors.DEADLINE_S)

    assert not thread.is_alive()
    assert told(tmp_path)[-1].value == {"gap": {"reason": "recorder_failed"}}
