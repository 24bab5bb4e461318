"""What a probe costs the program that it sits in, beside ddtrace and debugpy, on every CPython 3.11+ found.

A function of six statements is called over and over, with a probe on one of its lines; each variant has a
copy of its own, in a file of its own. Ours are all in one process and take turns with the bare function, for
which the agent is gone; the peers cannot be taken back, and have a process for each variant. What counts is
the thread's own time, the least of the rounds, over the bare call's: not what a worker does afterwards.

The limits of the process (100 snapshots and 256 KiB of messages a second) are lifted for ours and for
ddtrace: they would keep us from measuring a hit that is told.

Not here: the processes of the peers (probe_peers.py), what runs in all of them (probed/).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import Row, probe_peers
from benchmarks.probe_peers import LABELS, WORKER, Peers
from benchmarks.probed.variants import VARIANTS
from benchmarks.prompt import row
from devtrace import bootstrap
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace
from tests.interpreters import recordable

BUDGETS = {
    "idle": "<= 10 ns",
    "never": "<= 10 ns",
    "false": "<= 350 ns",
    "log": "<= 2,500 ns",
    "snapshot": "<= 12,000 ns",
    "big": "<= 1,000,000 ns",
}
BUDGETS_OF = {
    "3.11": {"false": "", "never": "", "log": "", "snapshot": ""},  # there is no sys.monitoring
    "3.12": {"false": "<= 1,000 ns"},  # whose frames make a dictionary of their locals each time
}
MEMORY_BUDGET, START_BUDGET, PAUSE_BUDGET = "<= 100 KB", "< 3 ms", "<= 100 ms"
_NOISE_NS = 50.0  # what is less is no figure to be divided by


class Amount(NamedTuple):
    """How often, how much, and how long is waited for one process."""

    rounds: int
    calls: int  # of a round; a part of them where each is told
    peer_rounds: int
    peer_calls: int
    pairs: int  # of starts
    flood_s: float
    probes: int  # of which the memory is taken
    patience_s: float


FULL = Amount(21, 20_000, 21, 1_000, 60, 60, 100, 120)
QUICK = Amount(5, 4_000, 3, 500, 15, 5, 30, 60)


class Python(NamedTuple):
    """One interpreter, with the environment of its peers."""

    version: str  # 3.12
    path: str
    peers: Peers

    def budget(self, name: str) -> str:
        """Of a variant; "" where none was set."""
        return BUDGETS_OF.get(self.version, {}).get(name, BUDGETS.get(name, ""))


def measure(
    *, quick: bool = False, amount: Amount | None = None, pythons: list[Python] | None = None
) -> list[Row]:
    """The rows of each interpreter; `amount` overrides how much is run, `pythons` with which."""
    size = amount or (QUICK if quick else FULL)
    return [line for python in pythons or found_pythons() for line in measured(python, size)]


def found_pythons() -> list[Python]:
    """Those of the machine, the oldest first, their peers installed."""
    paths = sorted(recordable().items(), key=lambda one: tuple(map(int, one[0].split("."))))
    return [Python(version, path, probe_peers.prepared(path, version)) for version, path in paths]


def measured(python: Python, amount: Amount) -> Iterator[Row]:
    """All rows of one interpreter."""
    yield from missing(python)
    yield from hits(python, amount)
    yield from memory(python, amount)
    yield from start(python, amount)
    yield from flood(python, amount)


# --- rows ---------------------------------------------------------------------------------------------------


def missing(python: Python) -> Iterator[Row]:
    """Each peer that this interpreter cannot have, with the reason."""
    for tool, why in python.peers.missing.items():
        yield row(f"{python.version} peers", None, f"{LABELS[tool]} on {python.version}", None, reason=why)


def hits(python: Python, amount: Amount) -> Iterator[Row]:
    """Nanoseconds of a call over the bare one, in each variant."""
    found, why = ours(python, ["ours", amount.rounds, amount.calls, *VARIANTS], amount)
    bare = min(found["bare"]) if found else None
    yield row(f"{python.version} bare call", bare, unit="ns", reason=why)
    for name, variant in VARIANTS.items():
        over = min(found[name]) - bare if bare is not None else None
        what, budget = f"{python.version} {variant.title}", python.budget(name)
        peers = list(beside(python, name, amount))
        for number, (label, theirs, reason) in enumerate(peers or [("", None, "")]):
            yield compared(what, over, label, theirs, "" if number else budget, reason)


def beside(python: Python, name: str, amount: Amount) -> Iterator[tuple[str, float | None, str]]:
    """Each peer that has the variant: its name, its figure, why it has none."""
    for tool, variants in probe_peers.VARIANTS.items():
        if name not in variants or tool in python.peers.missing:
            continue
        figure, why = probe_peers.measured(
            python.peers.python, tool, name, amount.peer_rounds, amount.peer_calls, amount.patience_s
        )
        yield LABELS[tool], figure, why and f"{python.version} {VARIANTS[name].title}: {why}"


def compared(
    what: str, over: float | None, label: str, theirs: float | None, budget: str, reason: str
) -> Row:
    """A row in nanoseconds, with a ratio where there is something to be divided by."""
    made = row(what, over, label, theirs, budget=budget, unit="ns", reason=reason)
    is_clear = over is not None and over > 0 and theirs is not None and theirs > _NOISE_NS
    return made if is_clear else {**made, "ratio": None}


def memory(python: Python, amount: Amount) -> Iterator[Row]:
    """What each of many probes takes, set in as many files."""
    for kind, what in (("traced", "as tracemalloc has it"), ("resident", "of the process")):
        found, why = ours(python, ["memory", amount.probes, kind], amount)
        title = f"{python.version} memory of a probe, {what}"
        yield row(title, found.get("kb"), budget=MEMORY_BUDGET, unit="KB", reason=why)


def start(python: Python, amount: Amount) -> Iterator[Row]:
    """By how much a program starts later in a traced shell: the least of many starts, by turns."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        plain = probe_peers.environment(folder)
        del plain["PYTHONPATH"]
        traced = {**plain, "PYTHONPATH": bootstrap.FOLDER, "DEVTRACE_DIR": str(store(folder))}
        took: dict[str, list[float]] = {"plain": [], "traced": []}
        for _ in range(amount.pairs):
            for name, environment in (("plain", plain), ("traced", traced)):
                began = time.perf_counter()
                subprocess.run([python.path, "-c", "pass"], env=environment, cwd=folder, check=True)
                took[name].append((time.perf_counter() - began) * 1000)
    adds = min(took["traced"]) - min(took["plain"])
    yield row(f"{python.version} start in a traced shell, over plain", adds, budget=START_BUDGET)


def flood(python: Python, amount: Amount) -> Iterator[Row]:
    """A loop whose every turn is a hit, beside the same loop without a probe."""
    what = f"{python.version} {amount.flood_s:g} s of a logpoint at each turn"
    found, why = ours(python, ["flood", amount.flood_s, 0], amount)
    if not found:
        yield row(what, None, reason=why)
        return
    told = f"{found['hits']:,.0f} hits, {found['told']:,.0f} told, {found['dropped']:,.0f} dropped"
    wrong = found["unseen"] or found["unaccounted"] or not found["is_live"]
    reason = f"{told}; {found['unseen']:.0f} unseen, {found['unaccounted']:.0f} unaccounted for"
    yield row(
        f"{what}: longest pause", found["pause_ms"], "no probe", found["bare_pause_ms"],
        budget=PAUSE_BUDGET, reason=reason if wrong else f"{told}",
    )  # fmt: skip
    yield row(f"{what}: turns", found["per_s"], "no probe", found["bare_per_s"], unit="/s")
    yield row(f"{what}: hits told", found["told_per_s"], unit="/s")


# --- processes ----------------------------------------------------------------------------------------------


def ours(python: Python, words: list[object], amount: Amount) -> tuple[Mapping[str, Any], str]:
    """What the worker measured with a store of its own; or nothing, and why."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        tool, *rest = map(str, words)
        argv = [python.path, "-m", WORKER, tool, text, *rest]
        more = {"DEVTRACE_DIR": str(store(folder))}
        why = probe_peers.completed(argv, folder, more, amount.patience_s + 2 * amount.flood_s)
        if why:
            return {}, why
        return json.loads((folder / "measured.json").read_text()), ""


def store(folder: Path) -> Path:
    """A store in that folder."""
    workspace = Workspace(folder / ".devtrace")
    open_store(workspace, create=True).close()
    return workspace.dir


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["--only", "probes", *sys.argv[1:]]))
