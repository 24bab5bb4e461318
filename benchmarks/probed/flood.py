"""A loop that is hit at each turn, for as long as is asked: how it goes on, and what becomes of the hits.

Lives here: the loop, the count of hits by what happened to each. Not here: setting a probe (ours.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from benchmarks.probed import ours, worker
from benchmarks.probed.variants import VARIANTS
from devtrace.store.spool import read_frames

_RINGS = 0.2  # of the time is for the loop without a probe


def run(folder: Path, seconds: float) -> dict[str, float]:
    """Turns a second and the longest pause between two, without a probe and with it; what the hits became."""
    program = worker.program(folder, "log")
    bare_turns, bare_pause = spin(program, seconds * _RINGS)
    with ours.probed(VARIANTS["log"], program.place) as agent:
        turns, pause = spin(program, seconds)
        ours.settle(agent)
        (point,) = agent.points.listed()
        standing, lost = point.standing, agent.hits.lost + agent.outbox.unwritten
        hits, told, dropped = standing.total_hits, standing.hit_count - lost, standing.dropped_count + lost
        status = standing.status
    return {
        "bare_per_s": bare_turns / (seconds * _RINGS),
        "bare_pause_ms": bare_pause / 1e6,
        "per_s": turns / seconds,
        "pause_ms": pause / 1e6,
        "hits": hits,
        "unseen": turns - hits,
        "told": told,
        "told_per_s": told / seconds,
        "dropped": dropped,
        "unaccounted": told - written(),
        "is_live": status == "installed",
    }


def spin(program: worker.Program, seconds: float) -> tuple[int, int]:
    """How many turns, and the longest time between two in nanoseconds."""
    hot, user = program.hot, program.user
    items: Any = program.items
    options = {"retries": 3, "mode": "fast"}
    turns = longest = 0
    last = perf_counter_ns()
    until = last + int(seconds * 1e9)
    while last < until:
        hot(user, 7, items, options, "ana", 0.5)
        now = perf_counter_ns()
        if now - last > longest:
            longest = now - last
        last = now
        turns += 1
    return turns, longest


def written() -> int:
    """Hits in the spool."""
    spool = Path(os.environ["DEVTRACE_DIR"]) / "spool"
    frames = [
        frame
        for file in spool.glob("*.spool")
        for frame in read_frames(file.read_bytes(), is_finished=False).frames
    ]
    return sum(frame["kind"] == "probe_hit" for frame in frames)
