"""Ours, in the process that is measured: the agent of a traced shell's Python, asked as its routes are.

Lives here: a probe that is set and taken back, the memory of many. Not here: the clock (worker.py).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any

from benchmarks.probed import variants
from benchmarks.probed.variants import Place, Variant
from devtrace.probes import agent as agents
from devtrace.probes.agent import Agent
from devtrace.probes.guard import Peer
from devtrace.probes.hits import Callbacks
from devtrace.probes.limits import ProcessLimits
from devtrace.workspace import Workspace

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PATIENCE_S = 5.0


@contextlib.contextmanager
def probed(variant: Variant, place: Place) -> Iterator[Agent]:
    """An agent with that probe, and then none. The limits of the process are as good as none."""
    agent = reached()
    try:
        if place.line:
            set_probe(agent, body(variant, place))
            settle(agent)
        yield agent
    finally:
        for point in agent.points.listed():  # else the next agent finds it wanted
            agent.answer("DELETE", f"/points/{point.id}", "", b"", Peer(os.getpid()))
        agents.ended()


def reached() -> Agent:
    """As after a signal to a Python of a traced shell, again and again."""
    agent = agents.begun(Workspace(Path(os.environ["DEVTRACE_DIR"])), Callbacks())
    agent.hits.limits = ProcessLimits(monotonic_ns, 1e9, 1e12)
    return agent


def body(variant: Variant, place: Place) -> dict[str, Any]:
    """The request that sets it."""
    asked: dict[str, Any] = {
        "file": str(place.file),
        "line": place.line,
        "rateLimit": {"limitPerSecond": variant.rate, "burst": 100_000 if variant.is_told else 1},
        "cpuPercent": 100,
        "snapshot": {"maxFrames": 3},
    }
    if variant.condition:
        asked["condition"] = variants.condition_text(variant)
    if variant.fields:
        asked["message"] = variants.message_text(variant)
    return asked


def set_probe(agent: Agent, asked: dict[str, Any]) -> None:
    """Set, and seen to be installed."""
    route = "/logpoints" if "message" in asked else "/tracepoints"
    status, told = agent.answer("POST", route, "", json.dumps(asked).encode(), Peer(os.getpid()))
    if status != 201 or told is None or told["status"] != "installed":
        raise SystemExit(f"it was not set: {status} {told}")


def settle(agent: Agent) -> None:
    """Wait until the queue is empty."""
    until = time.monotonic() + _PATIENCE_S
    while not agent.outbox.is_empty and time.monotonic() < until:
        time.sleep(0.001)  # a hit waits for nobody, so nobody is told either


def check(agent: Agent) -> None:
    """Each hit was told: else something else was measured."""
    (point,) = agent.points.listed()
    standing = point.standing
    if not standing.total_hits or standing.hit_count != standing.total_hits or agent.hits.lost:
        told = f"{standing.hit_count} of {standing.total_hits} hits, {agent.hits.lost} lost"
        raise SystemExit(f"not all were told: {told}: {standing.status} {standing.status_message}")


def memory(folder: Path, count: int, *, is_traced: bool) -> dict[str, float]:
    """KB for each of so many probes in as many files; as the kernel has it, or as Python has."""
    places = [variants.copied(folder, f"m{number}") for number in range(count)]
    for place in places:
        __import__(place.module)
    agent = reached()
    asked = [body(variants.VARIANTS["snapshot"], place) for place in places]
    set_probe(agent, asked[0])  # what is imported for the first is not the price of each
    settle(agent)
    if is_traced:
        tracemalloc.start()
    before = _held(is_traced)
    for one in asked[1:]:
        set_probe(agent, one)
    settle(agent)
    grown = (_held(is_traced) - before) / 1024 / (count - 1)
    agents.ended()
    return {"kb": grown}


def _held(is_traced: bool) -> int:
    gc.collect()
    if is_traced:
        return tracemalloc.get_traced_memory()[0]
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE
