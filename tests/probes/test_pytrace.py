"""The one place for a trace function, and others who have it."""

from __future__ import annotations

import contextlib
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devtrace.probes import pytrace
from devtrace.probes.engine import EngineBusy
from tests.probes.armed import (
    ADD,
    DEADLINE,
    HAS_MONITORING,
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


# -- threads that run already, on 3.11 by a function of C --------------------------------------------------

is_by_c = pytest.mark.skipif(HAS_MONITORING, reason="from 3.12 on by threading.settrace_all_threads")
WORK = """\
def work(ready, go):
    ready.set()
    go.wait(20)
    x = 1
    return x
"""


@contextlib.contextmanager
def running(work: Any) -> Iterator[Any]:
    """A thread that is in the function, and goes on at the end."""
    ready, go = threading.Event(), threading.Event()
    thread = threading.Thread(target=work, args=(ready, go))
    thread.start()
    try:
        assert ready.wait(DEADLINE)
        yield thread
    finally:
        go.set()
        thread.join(DEADLINE)


@is_by_c
def test_without_ctypes_they_are_unseen_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    told = Told("pytrace")
    space = made(WORK + ADD)
    with running(space["work"]):
        told.arm(space["work"], 4)
        told.arm(space["add"], 7)
        space["add"](1, 1)
    told.engine.stop()

    assert "not seen" in told.engine.misses
    assert "ctypes" in told.engine.misses
    assert told.count() == 1


@is_by_c
def test_beside_a_hook_for_audits_they_are_unseen_and_it_is_said() -> None:
    """Such a hook stays for good."""
    program = f"""
import sys, threading
sys.path.insert(0, {sys.path[0]!r})
from devtrace.probes.engine import choose
{WORK}
events = []
sys.addaudithook(lambda event, _: events.append(event) if event == "sys.settrace" else None)
engine, hits = choose("pytrace"), []
engine.start(lambda *hit: hits.append(hit), len)
ready, go = threading.Event(), threading.Event()
thread = threading.Thread(target=work, args=(ready, go))
thread.start()
ready.wait()
engine.arm(work.__code__, work.__code__.co_firstlineno + 3, None, "k")
go.set()
thread.join()
go.set()
work(ready, go)
print(len(hits), "audits" in engine.misses)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=DEADLINE
    )

    assert (done.stdout, done.stderr) == ("1 True\n", "")


@is_by_c
def test_what_a_signal_handler_raises_while_a_thread_arrives_reaches_its_program() -> None:
    caught: list[BaseException] = []
    lock = threading.Lock()
    lock.acquire()

    def work(ready: Any, _: Any) -> None:
        ready.set()
        try:
            lock.acquire()
            ready.set()
        except TimeoutError as error:
            caught.append(error)

    def arrive(*_: object) -> None:
        raise TimeoutError("the program set an alarm")

    with running(work):
        assert pytrace._on_next_event(arrive) == ""
        lock.release()
    (error,) = caught

    assert str(error) == "the program set an alarm"


@is_by_c
def test_threads_that_come_and_go_while_probes_do_are_no_danger() -> None:
    """Threads end and begin all the time, as in a pool, while the pointers to them are walked."""
    told = Told("pytrace")
    add = made(ADD)["add"]
    is_over = threading.Event()

    def churn() -> None:
        while not is_over.is_set():
            threading.Thread(target=add, args=(1, 1)).start()

    churning = [threading.Thread(target=churn) for _ in range(2)]
    for thread in churning:
        thread.start()
    try:
        for _ in range(50):
            code = told.arm(add, 2)
            told.engine.disarm(code, 2, "k")
    finally:
        is_over.set()
        for thread in churning:
            thread.join(DEADLINE)
    told.arm(add, 2)
    told.hits.clear()
    add(1, 1)
    told.engine.stop()

    assert told.count() == 1
    assert told.engine.failures == 0


# -- what a program does to the trace function -------------------------------------------------------------


def test_a_program_that_takes_the_trace_function_away_is_not_hurt_and_no_longer_hit() -> None:
    told = Told("pytrace")
    add = made(ADD)["add"]
    told.arm(add, 2)
    add(1, 1)
    sys.settrace(None)
    assert add(1, 2) == 3
    told.engine.stop()

    assert told.count() == 1


def test_at_the_recursion_limit_the_program_has_its_own_error_and_goes_on() -> None:
    source = "def deep(n):\n    x = n\n    return deep(n + 1)\n"
    told = Told("pytrace")
    deep = made(source)["deep"]
    told.arm(deep, 2)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    try:
        with pytest.raises(RecursionError):
            deep(0)
    finally:
        sys.setrecursionlimit(before)
    told.engine.stop()

    assert told.count() > 5
