"""How much the programs are given to do, and how many events that is: lines, calls and returns.

Lives here: titles, sizes, counts. Not here: the programs (programs/), who records them (tools.py), who
times them (worker.py). Standard library only, for any Python from 3.11 on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Workload(NamedTuple):
    """A program: `run(size)` of a module. All of its work is done in the function `entry`, in each thread."""

    title: str
    module: str
    run: str
    entry: str
    size: int
    small: int  # about a fortieth of the events
    events: Callable[[int], int]  # of that size; the few around it are not counted


def calls_of_fib(n: int) -> int:
    """How often `fib` is called for `fib(n)`."""
    before, now = 1, 1
    for _ in range(n - 1):
        before, now = now, before + now + 1
    return now


WORKLOADS = {
    "loop": Workload("tight loop, 300k lines", "loop", "loop", "loop", 100_000, 2_500, lambda n: 3 * n),
    "fib": Workload(
        "fib(24), 600k events", "fib", "recursion", "recursion", 24, 16, lambda n: 4 * calls_of_fib(n)
    ),
    "json": Workload(
        "JSON and regex, 60k lines", "documents", "documents", "documents", 6_000, 150, lambda n: 10 * n
    ),
    "print": Workload(
        "200k lines printed", "printing", "printing", "printing", 200_000, 5_000, lambda n: 2 * n
    ),
    "threads": Workload("4 threads, 250k events", "turns", "threads", "turns", 12_500, 312, lambda n: 20 * n),
}
