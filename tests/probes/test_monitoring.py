"""What sys.monitoring asks of its guests, version by version."""

from __future__ import annotations

import dis
import inspect
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import pytest

from devtrace.probes.engine import EngineBusy
from tests.probes.armed import (
    ADD,
    DEADLINE,
    GENERATOR,
    HAS_MONITORING,
    Told,
    assert_idle,
    made,
    monitoring,
    nobody_traces,
)

pytestmark = pytest.mark.skipif(not HAS_MONITORING, reason="sys.monitoring arrived in Python 3.12")


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with nobody_traces():
        yield
        assert_idle()


def test_the_tool_ids_of_others_are_never_taken() -> None:
    taken = [one for one in (3, 4, 5) if monitoring.get_tool(one) is None]
    for one in taken:
        monitoring.use_tool_id(one, "somebody")
    told = Told("monitoring")
    try:
        with pytest.raises(EngineBusy, match="taken"):
            told.arm(made(ADD)["add"], 2)
        assert not told.engine.discover(True)
        assert [monitoring.get_tool(one) for one in (0, 1, 2)].count("devtrace-probes") == 0
        monitoring.free_tool_id(taken.pop())
        add = made(ADD)["add"]
        told.arm(add, 2)  # with the only id that is left
        assert not told.engine.discover(True)
        add(1, 1)
        assert told.count() == 1
    finally:
        told.engine.stop()
        for one in taken:
            monitoring.free_tool_id(one)
    assert_idle()


def test_a_second_tool_id_is_held_only_while_discovering() -> None:
    told = Told("monitoring")

    def held() -> list[int]:
        return [one for one in range(6) if monitoring.get_tool(one) == "devtrace-probes"]

    told.arm(made(ADD)["add"], 2)
    assert held() == [4]
    told.engine.discover(True)
    assert held() == [3, 4]
    told.engine.discover(False)
    assert held() == [4]
    told.engine.stop()
    assert held() == []


def test_the_next_owner_of_our_tool_id_finds_no_events_and_no_callbacks() -> None:
    events = monitoring.events
    told = Told("monitoring")
    add = made(ADD)["add"]
    code = told.arm(add, 2)
    told.engine.arm_entry(code, "k")
    told.engine.arm_exit(code, "k")
    told.engine.arm_raise(code, "k")
    told.engine.discover(True)
    told.engine.stop()
    for tool in (3, 4):
        monitoring.use_tool_id(tool, "the next")
        assert monitoring.get_events(tool) == monitoring.get_local_events(tool, code) == 0
        for event in (events.LINE, events.PY_START, events.PY_RESUME, events.PY_RETURN, events.PY_UNWIND):
            assert monitoring.register_callback(tool, event, None) is None
        monitoring.free_tool_id(tool)
    add(1, 1)

    assert told.hits == []


def test_an_id_that_somebody_else_took_from_us_is_replaced_and_nothing_is_lost() -> None:
    told = Told("monitoring")
    add, other = made(ADD)["add"], made(ADD)["add"]
    told.arm(add, 2, "first")
    monitoring.free_tool_id(4)
    monitoring.use_tool_id(4, "somebody")
    told.arm(other, 2, "second")
    told.hits.clear()
    add(1, 1)
    other(1, 1)
    told.engine.stop()

    assert {"first", "second"} == {hit[0] for hit in told.hits}
    assert monitoring.get_tool(4) == "somebody"
    monitoring.set_local_events(4, add.__code__, 0)
    monitoring.register_callback(4, monitoring.events.LINE, None)
    monitoring.free_tool_id(4)


def test_events_restarted_by_another_tool_cost_one_look_and_change_nothing() -> None:
    told = Told("monitoring")
    add = made(ADD)["add"]
    told.arm(add, 2)
    for _ in range(3):
        add(1, 1)
        monitoring.restart_events()
    told.engine.stop()

    assert told.count() == 3


def test_a_line_where_nothing_is_armed_is_looked_at_once() -> None:
    told = Told("monitoring")
    add = made(ADD)["add"]
    looked: list[int] = []
    told.engine.arm(add.__code__, 2, None, "k")
    line = monitoring.events.LINE
    ours = monitoring.register_callback(4, line, None)

    def look(code: CodeType, at: int) -> Any:
        looked.append(at)
        return ours(code, at)

    monitoring.register_callback(4, line, look)
    for _ in range(3):
        add(1, 1)
    told.engine.stop()

    assert (looked.count(3), looked.count(2)) == (1, 3)


def test_nothing_is_on_for_the_whole_program_but_while_an_exit_or_a_raise_is_armed() -> None:
    events = monitoring.events
    told = Told("monitoring")
    code = told.arm(made(ADD)["add"], 2)
    assert monitoring.get_events(4) == 0
    told.engine.arm_exit(code, "k")
    assert monitoring.get_events(4) == events.PY_UNWIND
    told.engine.arm_raise(code, "k")
    assert monitoring.get_events(4) == events.PY_UNWIND | events.RAISE
    told.engine.disarm_exit(code, "k")
    told.engine.disarm_raise(code, "k")
    assert monitoring.get_events(4) == 0
    told.engine.stop()


def test_between_its_last_look_at_the_table_and_disable_no_other_thread_can_run() -> None:
    """The GIL changes hands where bytecode calls, jumps back or begins: none of that lies between."""
    told = Told("monitoring")
    told.arm(made(ADD)["add"], 2)
    callback = monitoring.register_callback(4, monitoring.events.LINE, None)
    told.engine.stop()
    assert isinstance(callback, FunctionType)
    steps = list(dis.get_instructions(callback))
    free = [at for at, step in enumerate(steps) if step.opname.startswith(("CALL", "JUMP_BACKWARD"))]
    first_look = next(at for at, step in enumerate(steps) if step.opname == "CONTAINS_OP")
    last_disable = max(
        at
        for at, step in enumerate(steps)
        if step.argval == "disable" and steps[at + 1].opname == "RETURN_VALUE"
    )

    assert any(at < first_look for at in free)
    assert not [at for at in free if first_look < at < last_disable]


def test_at_the_recursion_limit_the_program_has_its_own_error_and_is_hit_again_after_it() -> None:
    told = Told("monitoring")
    deep = made("def deep(n):\n    x = n\n    return n and deep(n - 1)\n")["deep"]
    told.arm(deep, 2)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    try:
        with pytest.raises(RecursionError):
            deep(1000)
    finally:
        sys.setrecursionlimit(before)
    told.hits.clear()
    deep(3)
    told.engine.stop()

    assert told.count() == 4


def test_discovery_that_stays_on_looks_at_each_code_once() -> None:
    """In threads, and in generators that go on; and all again after another tool has asked for that."""
    told = Told("monitoring")
    space = made(ADD + GENERATOR)
    add, steps = space["add"], space["steps"]
    assert told.engine.discover(True)
    for _ in range(100):
        add(1, 1)
        list(steps(3))
    threads = [threading.Thread(target=add, args=(1, 1)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    own = [code for code in told.codes if code.co_filename == "/probed.py"]
    monitoring.restart_events()
    add(1, 1)
    told.engine.discover(False)

    assert own == [add.__code__, steps.__code__]
    assert told.codes.count(add.__code__) == 2


def test_discovery_that_stays_on_costs_no_callback_once_all_was_seen() -> None:
    told = Told("monitoring")
    space = made(ADD + GENERATOR)
    told.engine.discover(True)
    looked: list[CodeType] = []
    events = monitoring.events
    for event in (events.PY_START, events.PY_RESUME):
        ours = monitoring.register_callback(4, event, None)

        def look(code: CodeType, offset: int, ours: Any = ours) -> Any:
            looked.append(code)
            return ours(code, offset)

        monitoring.register_callback(4, event, look)
    for _ in range(50):
        space["add"](1, 1)
        list(space["steps"](3))
    told.engine.discover(False)
    of_ours = [code for code in looked if code.co_filename == "/probed.py"]

    # A place that resumes is disabled for itself: the start of each, and the two yields' one place.
    assert len(of_ours) == 3
