"""The one thread in a program: it turns when it is woken, and is gone when there is nothing to do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from devtrace.probes.worker import Worker
from tests.processes import DEADLINE

LONG, NEVER = 3_600.0, None


class Work:
    """Tells of each turn, and then wants to sleep for so long."""

    def __init__(self, pause: float | None = LONG):
        self.pause = pause
        self.turns = 0
        self.turned = threading.Semaphore(0)

    def turn(self) -> float | None:
        self.turns += 1
        self.turned.release()
        return self.pause

    def fds(self) -> list[tuple[int, int]]:
        return []

    def ready(self, fd: int, mask: int) -> None:
        raise AssertionError(fd)


@contextlib.contextmanager
def working(work: Work) -> Iterator[Worker]:
    worker = Worker(work)
    try:
        yield worker
    finally:
        assert worker.end(DEADLINE)


@pytest.mark.parametrize("pause", [LONG, 0.01, NEVER])
def test_each_wake_is_followed_by_a_turn(pause):
    work = Work(pause)
    with working(work) as worker:
        for _ in range(50):
            worker.wake()
            assert work.turned.acquire(timeout=DEADLINE)
            while work.turned.acquire(blocking=False):  # turns that nobody asked for
                pass


def test_of_many_wakes_none_is_lost_and_few_are_turns():
    work = Work()
    with working(work) as worker:
        worker.wake()
        assert work.turned.acquire(timeout=DEADLINE)

        for _ in range(1_000):
            worker.wake()
        assert work.turned.acquire(timeout=DEADLINE)

    assert work.turns < 500


def test_threads_that_wake_it_at_once_start_it_once():
    work = Work()
    with working(work) as worker:
        before = threading.active_count()
        threads = [threading.Thread(target=worker.wake) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert work.turned.acquire(timeout=DEADLINE)

        assert worker.is_running
        assert threading.active_count() == before  # ours is none that `threading` knows


def test_without_anything_to_do_it_ends_and_can_be_started_again():
    work = Work(NEVER)
    with working(work) as worker:
        for expected in (1, 2):
            worker.wake()
            assert work.turned.acquire(timeout=DEADLINE)
            assert worker.end(DEADLINE)
            assert not worker.is_running
            assert work.turns == expected
