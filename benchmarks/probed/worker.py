"""One tool in a process of its own: `-m benchmarks.probed.worker TOOL FOLDER ROUNDS CALLS VARIANT...`.

What was measured is left in FOLDER as `measured.json`: for each variant, and for `bare`, the nanoseconds of a
call in each round, by the thread's own clock. A round measures each of them in turn; a peer stays once it was
started, so its bare calls all come first.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from itertools import repeat
from pathlib import Path
from time import thread_time_ns
from typing import Any, NamedTuple

from benchmarks.probed import variants
from benchmarks.probed.variants import VARIANTS

BATCH = 400  # calls whose hits fit into any tool's queue


class User:
    """Somebody whose number is asked for."""

    def __init__(self, number: int):
        self.id = number
        self.name = "ana"


class Program(NamedTuple):
    """A copy of the hot function, and what it is called with."""

    place: variants.Place
    hot: Any
    user: User
    items: Any

    def call(self, calls: int) -> int:
        """Nanoseconds of the thread for so many."""
        hot, user, items, options = self.hot, self.user, self.items, {"retries": 3, "mode": "fast"}
        each = repeat(None, calls)
        began = thread_time_ns()
        for _ in each:
            hot(user, 7, items, options, "ana", 0.5)
        return thread_time_ns() - began


def program(folder: Path, name: str, *, is_big: bool = False) -> Program:
    """Imported as any module is."""
    place = variants.copied(folder, name)
    module = importlib.import_module(place.module)
    items = [list(range(5_000)) for _ in range(1_000)] if is_big else [1, 2, 3]
    return Program(place, module.hot, User(7), items)


def batches(one: Program, calls: int, settle: Any) -> float:
    """Nanoseconds a call; after each batch the tool has time for its queue."""
    spent, left = 0, calls
    while left > 0:
        now = min(BATCH, left)
        spent += one.call(now)
        left -= now
        settle()
    return spent / calls


def of_peer(tool: str, folder: Path, rounds: int, calls: int, names: list[str]) -> dict[str, list[float]]:
    """One variant of a tool that cannot be taken back."""
    (name,) = names
    variant = VARIANTS[name]
    bare = program(folder, "bare")
    measured = {"bare": [bare.call(calls) / calls for _ in range(rounds)]}
    begin, settle, check = importlib.import_module(f"benchmarks.probed.{tool}").begun(folder)
    begin()
    probed = program(folder, name, is_big=variant.is_big)
    settle()
    probed.call(20)
    measured[name] = [once(probed, name, calls, settle) for _ in range(rounds)]
    settle()
    check(bool(variant.at))
    return measured


def of_ours(folder: Path, rounds: int, calls: int, names: list[str]) -> dict[str, Any]:
    """All variants, by turns with the bare function, for which we are gone."""
    from benchmarks.probed import ours

    programs = {name: program(folder, name, is_big=VARIANTS[name].is_big) for name in names}
    bare = program(folder, "bare")
    measured: dict[str, Any] = {"bare": [], **{name: [] for name in names}}
    for _ in range(rounds):
        measured["bare"].append(bare.call(calls) / calls)
        for name in names:
            with ours.probed(VARIANTS[name], programs[name].place) as agent:
                programs[name].call(20)
                measured[name].append(once(programs[name], name, calls, lambda: ours.settle(agent)))
                if VARIANTS[name].is_told:
                    ours.check(agent)
    return measured


def once(one: Program, name: str, calls: int, settle: Any) -> float:
    """One round of a variant."""
    variant = VARIANTS[name]
    count = max(10, int(calls * variant.share))
    return batches(one, count, settle) if variant.is_told else one.call(count) / count


def main(tool: str, place: str, rounds: str, calls: str, *names: str) -> None:
    """Measure, and leave the figures."""
    folder = Path(place)
    sys.path.insert(1, place)
    if tool == "ours":
        found = of_ours(folder, int(rounds), int(calls), list(names))
    elif tool == "flood":
        from benchmarks.probed import flood

        found = flood.run(folder, float(rounds))
    elif tool == "memory":
        from benchmarks.probed import ours

        found = ours.memory(folder, int(rounds), is_traced=calls == "traced")
    else:
        found = of_peer(tool, folder, int(rounds), int(calls), list(names))
    (folder / "measured.json").write_text(json.dumps(found))
    sys.stdout.flush()
    os._exit(0) if tool == "ddtraced" else None  # its threads may hang


if __name__ == "__main__":
    main(*sys.argv[1:])
