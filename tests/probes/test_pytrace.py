"""The one place for a trace function, and others who have it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devtrace.probes.engine import EngineBusy
from tests.probes.armed import (
    ADD,
    DEADLINE,
    Told,
    assert_idle,
    made,
    nobody_traces,
)


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with nobody_traces():
        yield
        assert_idle()


def test_a_debuggers_trace_function_is_left_alone_and_named() -> None:
    told = Told("pytrace")

    def debugger(*_: object) -> None: ...

    sys.settrace(debugger)
    try:
        with pytest.raises(EngineBusy, match=__name__):
            told.arm(made(ADD)["add"], 2)
        assert not told.engine.discover(True)
        assert sys.gettrace() is debugger
    finally:
        sys.settrace(None)
    told.engine.stop()
    assert_idle()


def test_a_debugger_for_new_threads_and_one_in_another_thread_are_left_alone_too() -> None:
    told = Told("pytrace")
    add = made(ADD)["add"]

    def debugger(*_: object) -> Callable[..., Any]:
        return debugger

    threading.settrace(debugger)
    with pytest.raises(EngineBusy, match=__name__):
        told.arm(add, 2)
    threading.settrace(None)
    ready, go = threading.Event(), threading.Event()

    def debugged() -> None:
        sys.settrace(debugger)
        within()

    def within() -> None:
        ready.set()
        go.wait(DEADLINE)

    thread = threading.Thread(target=debugged)
    thread.start()
    assert ready.wait(DEADLINE)
    with pytest.raises(EngineBusy, match=__name__):
        told.arm(add, 2)
    go.set()
    thread.join(DEADLINE)
    told.arm(add, 2)
    add(1, 1)
    told.engine.stop()

    assert told.count() == 1


def test_a_debugger_that_comes_later_keeps_the_place() -> None:
    told = Told("pytrace")
    told.arm(made(ADD)["add"], 2)

    def debugger(*_: object) -> None: ...

    sys.settrace(debugger)
    told.engine.stop()
    assert sys.gettrace() is debugger
    sys.settrace(None)
    assert_idle()


def test_a_function_that_is_not_armed_has_no_trace_function_of_its_own() -> None:
    told = Told("pytrace")
    space = made(ADD + "import sys\ndef other():\n    return sys._getframe().f_trace\n")
    told.arm(space["add"], 2)
    assert space["other"]() is None
    told.engine.stop()
