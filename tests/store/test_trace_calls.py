"""Which calls get a row, how long they were at work, and that none is lost: against a plain replay."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from devtrace.store.trace import records
from devtrace.store.trace.calls import LONG_NS, MOST_ALIKE, MOST_SHORT, Calls, exception_text
from devtrace.store.trace.replay import Replay
from devtrace.store.trace.scan import Scan
from devtrace.store.trace.segments import read_blocks
from tests.store.pens import Pen, scribble

COLUMNS = (
    "event", "last_event", "function", "parent", "depth", "started_ns", "duration_ns", "how", "chunk",
    "folded",
)  # fmt: skip


@pytest.fixture
def pen(tmp_path) -> Pen:
    return Pen(tmp_path)


def counted(
    pen: Pen, *, with_state: bool = False
) -> tuple[dict[int, list[int]], list[dict[str, Any]], Calls]:
    """Totals by function and rows of all that was written; `with_state`: a new `Calls` for each block."""
    calls = Calls()
    totals: dict[int, list[int]] = {}
    rows: list[dict[str, Any]] = []
    blocks = read_blocks(pen.path.read_bytes())
    for block in blocks:
        calls = Calls(calls.state()) if with_state else calls
        calls.feed(Scan(block), block.number)
        if block is blocks[-1]:
            calls.close()
        new, made, _, _ = calls.take()
        for function, (number, total, longest) in new.items():
            one = totals.setdefault(function, [0, 0, 0])
            one[:] = one[0] + number, one[1] + total, max(one[2], longest)
        rows += [dict(zip(COLUMNS, row, strict=True)) for row in made]
    return totals, sorted(rows, key=lambda row: row["event"]), calls


def told(pen: Pen) -> tuple[Counter[int], dict[int, int]]:
    """By replaying all: calls by function, and ns at work of each call that ended, by its event."""
    replay = Replay()
    numbers: Counter[int] = Counter()
    active: Counter[int] = Counter()
    since: dict[int, int] = {}
    ended: dict[int, int] = {}
    for block in read_blocks(pen.path.read_bytes()):
        for event in replay.feed(block):
            call, clock = event.frame.call, event.clock_ns or 0
            if event.kind == "call":
                numbers[event.frame.function] += 1
            if event.kind in ("call", "resume", "throw"):
                since[id(event.frame)] = clock
            if event.kind in ("return", "yield", "unwind") and call is not None:
                active[call] += clock - since[id(event.frame)]
                if event.kind != "yield":
                    ended[call] = active[call]
    return numbers, ended


@pytest.mark.parametrize("_", range(6))
@pytest.mark.parametrize("with_state", [False, True])
def test_totals_and_times_are_those_of_a_replay(pen, with_state, _):
    chance = random.Random(seed := random.randrange(1 << 32))
    scribble(pen, chance, chance.choice([300, 9_000]))

    totals, rows, calls = counted(pen, with_state=with_state)
    numbers, ended = told(pen)

    assert {function: one[0] for function, one in totals.items() if one[0]} == dict(numbers), seed
    assert sum(one[1] for one in totals.values()) == sum(ended.values()), seed
    assert calls.n_events == pen.n_events
    by_event = {row["event"]: row for row in rows}
    assert len(by_event) == len(rows)
    for row in rows:
        assert row["duration_ns"] == ended.get(row["event"]), seed
        assert row["parent"] is None or row["parent"] in by_event, seed
        assert row["parent"] is None or by_event[row["parent"]]["depth"] < row["depth"], seed
    assert {event for event, active in ended.items() if active >= LONG_NS} <= by_event.keys(), seed


def test_a_loop_of_calls_has_the_first_ones_and_a_count(pen):
    pen.call(1)
    for _ in range(MOST_ALIKE + 30):
        pen.call(2)
        pen.call(3)
        pen.leave()
        pen.leave()
    pen.leave()

    totals, rows, _ = counted(pen)

    assert totals[2][0] == totals[3][0] == MOST_ALIKE + 30
    assert Counter(row["function"] for row in rows) == {1: 1, 2: MOST_ALIKE, 3: MOST_ALIKE}
    assert rows[0]["folded"] == 2 * 30
    assert sum(row["folded"] for row in rows) + len(rows) == 1 + 2 * (MOST_ALIKE + 30)


def test_a_slow_call_has_a_row_however_late_it_comes_and_so_have_those_around_it(pen):
    pen.call(1)
    for _ in range(MOST_ALIKE + 5):
        pen.call(2)
        pen.leave()
    pen.call(2)
    pen.call(3)
    pen.leave(ns=LONG_NS)
    pen.leave()
    pen.leave()

    _, rows, _ = counted(pen)

    inner, outer = rows[-1], rows[-2]
    assert (inner["function"], outer["function"]) == (3, 2)
    assert (inner["parent"], outer["parent"]) == (outer["event"], 0)
    assert inner["duration_ns"] == LONG_NS


def test_recursion_makes_no_more_rows_than_are_worth_it(pen):
    def fib(n: int) -> None:
        pen.call(1)
        if n > 1:
            fib(n - 1)
            fib(n - 2)
        pen.leave(ns=1)

    fib(16)
    pen.tick()

    totals, rows, _ = counted(pen)

    short = [row for row in rows if row["duration_ns"] < LONG_NS]
    assert len(short) <= MOST_SHORT + len(rows) - len(short) + 20
    assert sum(row["folded"] for row in rows) + len(rows) == totals[1][0] == 3_193


def test_a_generator_is_at_work_only_while_it_is(pen):
    pen.call(1)
    pen.call(2, is_generator=True)
    asleep = pen.leave(records.YIELDED, ns=10)
    pen.tick(5_000_000)
    pen.resume(asleep)
    pen.leave(ns=20)
    pen.leave()

    _, rows, _ = counted(pen)

    assert rows[1]["duration_ns"] == 30
    assert (rows[1]["event"], rows[1]["last_event"], rows[1]["parent"]) == (1, 4, 0)


def test_a_generator_that_outlives_its_caller_hangs_under_what_has_a_row(pen):
    pen.call(1)
    for _ in range(MOST_ALIKE + 1):  # the last of them gets no row
        pen.call(2)
        pen.call(3, is_generator=True)
        asleep = pen.leave(records.YIELDED)
        pen.leave()
    pen.resume(asleep)
    pen.leave(ns=LONG_NS)
    pen.leave()

    _, rows, _ = counted(pen)

    slow = next(row for row in rows if row["function"] == 3 and row["how"] == "return")
    assert slow["parent"] == 0


def test_what_is_not_named_any_more_is_lost(pen):
    pen.call(1)
    pen.call(2)
    pen.call(3)
    del pen.stack[1:]
    pen.tell_stack()
    pen.leave()

    _, rows, _ = counted(pen)

    assert [(row["function"], row["how"]) for row in rows] == [(1, "return"), (2, "lost"), (3, "lost")]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (["exception", "ValueError", ["no", 3]], "ValueError: no, 3"),
        (["exception", "app.Error", []], "app.Error"),
        (["exception", "KeyError", [["str", 9, "abc"]]], 'KeyError: ["str", 9, "abc"]'),
        (None, ""),
        (["opaque"], ""),
    ],
)
def test_an_exception_is_told_as_people_write_it(form, text):
    assert exception_text(form) == text
