"""Both engines among threads: those that run already, those that come, those that arm."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from tests.probes.armed import (
    ADD,
    DEADLINE,
    Told,
    assert_idle,
    made,
)


def test_threads_that_begin_later_are_hit_each_as_often(told: Told) -> None:
    add = made(ADD)["add"]
    told.arm(add, 2)
    threads = [threading.Thread(target=lambda: [add(1, 1) for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert told.count() == 400


@pytest.mark.parametrize("times", [1, 3])
def test_threads_that_ran_before_are_hit_in_the_function_that_they_are_in(told: Told, times: int) -> None:
    source = """\
def work(ready, go, add):
    ready.set()
    go.wait(20)
    x = 1
    for _ in range(5):
        add(1, 1)
    return x
"""
    space = made(ADD) | made(source)
    work, add = space["work"], space["add"]
    ready, go = [threading.Event() for _ in range(times)], threading.Event()
    threads = [threading.Thread(target=work, args=(one, go, add)) for one in ready]
    for thread in threads:
        thread.start()
    assert all(one.wait(DEADLINE) for one in ready)
    told.arm(work, 4, "running")
    told.arm(add, 2, "called")
    go.set()
    for thread in threads:
        thread.join(DEADLINE)

    assert (told.count("running"), told.count("called")) == (times, 5 * times)


def test_a_thread_can_arm_what_the_main_thread_runs(told: Told) -> None:
    add = made(ADD)["add"]
    thread = threading.Thread(target=told.arm, args=(add, 2))
    thread.start()
    thread.join(DEADLINE)
    add(1, 1)

    assert told.count() == 1


def test_a_thread_that_disarms_leaves_nothing_in_the_main_thread(told: Told) -> None:
    add = made(ADD)["add"]
    code = told.arm(add, 2)
    thread = threading.Thread(target=told.engine.disarm, args=(code, 2, "k"))
    thread.start()
    thread.join(DEADLINE)
    add(1, 1)

    assert told.hits == []
    assert_idle()


def test_what_is_armed_while_others_run_is_missed_by_none(told: Told) -> None:
    """Each thread passes the line until it has seen a hit of its own: what is lost would hang it."""
    space = made("def work(seen):\n    x = 1\n    y = 2\n    return x\n")
    work = space["work"]
    hits: set[int] = set()
    told.engine.start(lambda *_: hits.add(threading.get_ident()), told.codes.append)
    running = threading.Barrier(5)
    passes: dict[int, int] = {}

    def until_hit() -> None:
        me = threading.get_ident()
        running.wait(DEADLINE)
        for number in range(5_000_000):
            work(hits)
            if me in hits:
                passes[me] = number
                return

    threads = [threading.Thread(target=until_hit) for _ in range(4)]
    for thread in threads:
        thread.start()
    running.wait(DEADLINE)
    told.arm(work, 3)
    for thread in threads:
        thread.join(DEADLINE)

    assert len(passes) == 4


CLOSURE = """\
def owner(threading, n):
    count = 0
    def add():
        nonlocal count
        for _ in range(n):
            count += 1
    thread = threading.Thread(target=add)
    thread.start()
    while thread.is_alive():
        seen = 1
    thread.join()
    return count
"""


def test_what_another_thread_writes_into_a_closure_stays_written(told: Told) -> None:
    owner = made(CLOSURE)["owner"]
    told.engine.start(lambda *hit: (hit[2].f_locals, time.sleep(0)), told.codes.append)
    told.arm(owner, 10)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        assert [owner(threading, 300_000) for _ in range(3)] == [300_000] * 3
    finally:
        sys.setswitchinterval(before)
