"""What recording a Python program costs, beside other recorders, on every CPython 3.11+ of the machine.

Five programs of known size (recorded/) run plain and under each tool, one program and one tool a process, all
by turns. What counts is the processor's time (user and system) of the work alone, the least of several runs,
over the plain run's; starting and stopping stand beside it. Ours records into a store, with its
defaults: the values of the user's code, redaction on, secrets in the environment. "In plains" is such a ratio
itself, so that tools can be told apart: ours, and the peer's.

Not here: the peers' environments (recorder_peers.py), the programs, tools and processes (recorded/).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import Row, recorder_peers
from benchmarks.prompt import row
from benchmarks.recorded.workloads import WORKLOADS, Workload
from benchmarks.recorder_peers import Peers
from devtrace import bootstrap
from devtrace.store.connection import open_store
from devtrace.store.drain import drain
from devtrace.store.trace.scan import Scan
from devtrace.store.trace.segments import BLOCK_BYTES, SUFFIX, read_blocks
from devtrace.workspace import Workspace
from tests.interpreters import recordable

BUDGETS = {"loop": "<= 30x", "fib": "<= 110x", "json": "<= 3x", "print": "<= 5x", "threads": "<= 50x"}
BUDGETS_SINCE = (3, 12)
OFF_BUDGET = "<= 1.02x"  # 1.00, and what two minima of the same program differ by
_EXACT_ROUNDS = 5  # with fewer they differ by more
STORED_BUDGET, MEMORY_BUDGET, IMPORT_BUDGET = "<= 8 B", "<= 40 MB", "<= 25 ms"
_MEMORY_OF = "fib"  # the workload of 600,000 events

OURS = {"values": "", "lines": ", detail lines", "calls": ", detail calls"}
MUTE = {"mute": ", IO off", "mute-calls": ", detail calls, IO off"}  # of the workload that prints
PRINTS = "print"
CALLS_BUDGET, PRINT_BUDGET = "<= 2x", "<= 2 us"
OFF = {
    "imported": ", off, imported",
    "shell": ", off, in a traced shell",
    "again": ", plain once more",  # says how exact all the others are
}
BARE = ("plain", *OFF)  # over in no time
PEERS = {  # tool -> the environment's name of it, and ours
    "codetracer": ("codetracer", "codetracer-python-recorder 0.3.0"),
    "viztracer": ("viztracer", "viztracer 1.1.1"),
    "sysmon": ("coverage", "coverage 7.17.3 sysmon"),
    "ctrace": ("coverage", "coverage 7.17.3 ctrace"),
    "pysnooper": ("pysnooper", "PySnooper 1.2.3"),
}
IMPORTED = {
    "codetracer": "codetracer_python_recorder",
    "viztracer": "viztracer",
    "ctrace": "coverage",
    "pysnooper": "pysnooper",
}
SLOW = ("codetracer", "pysnooper")
_NOT_BEFORE = {"sysmon": (3, 12)}
_CHECKOUT = Path(__file__).parents[1]
_WORKER = Path(__file__).parent / "recorded" / "worker.py"
_SECRETS = {"API_TOKEN": "q7Zk0vW3nB8xTfLr2MdS", "DB_PASSWORD": "plum-Canyon-4471-rivet"}


class Amount(NamedTuple):
    """How often, how much, and how long is waited for one process."""

    bare_rounds: int  # of what records nothing
    rounds: int
    slow_rounds: int  # of tools that take a hundred times as long
    is_small: bool  # whether most tools get the small size, beside plain runs of it
    patience_s: float
    workloads: Mapping[str, Workload] = WORKLOADS


FULL = Amount(bare_rounds=15, rounds=7, slow_rounds=1, is_small=False, patience_s=45)
QUICK = Amount(bare_rounds=1, rounds=1, slow_rounds=1, is_small=True, patience_s=3)


class Python(NamedTuple):
    """One interpreter, with the environment of its peers."""

    version: str  # 3.12
    path: str
    peers: Peers

    @property
    def number(self) -> tuple[int, ...]:
        """The version, to be compared."""
        return tuple(map(int, self.version.split(".")))

    @property
    def has_budgets(self) -> bool:
        """Whether the budgets are meant for it: before, there is no sys.monitoring."""
        return self.number >= BUDGETS_SINCE

    def lacks(self, tool: str) -> str:
        """Why a tool cannot be run with it, or ""."""
        if self.number < _NOT_BEFORE.get(tool, (3, 0)):
            return "sys.monitoring arrived in Python 3.12"
        name = PEERS[tool][0] if tool in PEERS else ""
        return self.peers.missing.get(name, "") if name else ""


class Kept(NamedTuple):
    """What one recording of ours left: bytes of segments, of the database, and seconds to take it in."""

    events: int
    raw_bytes: int
    stored_bytes: int
    ingest_s: float
    reason: str = ""  # why the recording itself is not to be believed
    lacks: str = ""  # why there is nothing in the database


def measure(
    *, quick: bool = False, amount: Amount | None = None, pythons: list[Python] | None = None
) -> list[Row]:
    """The rows of each interpreter; `amount` overrides how much is run, `pythons` with which."""
    size = amount or (QUICK if quick else FULL)
    return [line for python in pythons or found_pythons() for line in measured(python, size)]


def found_pythons() -> list[Python]:
    """Those of the machine, the oldest first, their peers installed."""
    paths = recordable()
    peers = recorder_peers.prepared(paths)
    found = [Python(version, path, peers[version]) for version, path in paths.items()]
    return sorted(found, key=lambda python: python.number)


def measured(python: Python, amount: Amount) -> list[Row]:
    """All rows of one interpreter."""
    rows, all_runs = [*missing(python)], {}
    for name, workload in amount.workloads.items():
        runs = Runs(python, name, workload, amount)
        runs.take()
        all_runs[name] = runs
        rows += [*ours(runs), *kept(runs), *peers(runs)]
    return [*rows, *memory(python, all_runs), *starting(python, all_runs, 2 * amount.rounds)]


# --- rows -------------------------------------------------------------------------------------------


def missing(python: Python) -> Iterator[Row]:
    """Each peer that this interpreter cannot have, once, with the reason."""
    for tool, (_, label) in PEERS.items():
        why = python.lacks(tool)
        if why:
            name = f"{label} on {python.version}"
            yield row(f"{python.version} peers", None, name, None, reason=why)


def ours(runs: Runs) -> Iterator[Row]:
    """Ours over plain, at each level of detail; switched off; what stopping takes."""
    budget = BUDGETS.get(runs.name, "") if runs.python.has_budgets else ""
    budgets = {"values": budget, "calls": CALLS_BUDGET if budget and runs.name == PRINTS else ""}
    for tool, what in {**OURS, **runs.mute}.items():
        yield row(
            runs.title(what, tool), runs.ms(tool), "plain", runs.plain_ms(tool),
            budget=budgets.get(tool, ""), reason=runs.reason(tool),
        )  # fmt: skip
    if runs.mute:
        yield from prints(runs)
    for tool, what in OFF.items():
        yield row(
            runs.title(what, tool), runs.ms(tool), "plain", runs.plain_ms(tool),
            budget=OFF_BUDGET if tool != "again" and runs.is_exact else "", reason=runs.reason(tool),
        )  # fmt: skip
    yield row(runs.title(", stop"), runs.ms("values", "stop_s"), reason=runs.reason("values"))


def prints(runs: Runs) -> Iterator[Row]:
    """What it takes to record one `print` with its line, beside the same without."""
    for tool, mute, what in (("calls", "mute-calls", ", detail calls"), ("values", "mute", "")):
        took, without = runs.ms(tool), runs.ms(mute)
        cost = (took - without) * 1e3 / runs.size(tool) if took is not None and without is not None else None
        budget = PRINT_BUDGET if runs.python.has_budgets else ""
        yield row(
            runs.title(f"{what}, recording one print", tool), cost, budget=budget, unit="us",
            reason=runs.reason(tool) or runs.reason(mute),
        )  # fmt: skip


def kept(runs: Runs) -> Iterator[Row]:
    """Bytes an event, as it is written and as it is stored; what it takes to store it."""
    found = runs.kept
    if found is None or found.reason or not found.events:
        return
    yield row(runs.title(", an event in segments"), found.raw_bytes / found.events, unit="B")
    what = runs.title(", an event in the database")
    if found.lacks:
        yield row(what, None, budget=STORED_BUDGET, unit="B", reason=found.lacks)
        return
    yield row(what, found.stored_bytes / found.events, budget=STORED_BUDGET, unit="B")
    yield row(runs.title(", to store an event"), found.ingest_s * 1e6 / found.events, unit="us")


def peers(runs: Runs) -> Iterator[Row]:
    """Beside each peer: the work, then the stop, both in plain runs of the same size."""
    for tool, (_, label) in PEERS.items():
        if runs.python.lacks(tool):
            continue
        for what, figure in ((", in plains", "work_s"), (", stop in plains", "stop_s")):
            reason = runs.reason(tool)
            if reason and figure == "stop_s":
                continue
            yield row(
                runs.title(what, tool), runs.plains("values", figure), label, runs.plains(tool, figure),
                unit="x", reason=reason and f"{runs.title('')}: {reason}",
            )  # fmt: skip


def memory(python: Python, all_runs: Mapping[str, Runs]) -> Iterator[Row]:
    """By how much the most memory grew from before the tool's import until after its stop."""
    runs = all_runs.get(_MEMORY_OF)
    if runs is None:
        return
    what, grown = f"{python.version} memory at 600k events", runs.grown_mb("values")
    yield row(what, grown, budget=MEMORY_BUDGET, unit="MB", reason=runs.reason("values"))
    for tool, (_, label) in PEERS.items():
        found = runs.grown_mb(tool)
        if found is not None and not runs.is_small(tool):
            yield row(what, grown, label, found, unit="MB")


def starting(python: Python, all_runs: Mapping[str, Runs], rounds: int) -> Iterator[Row]:
    """The import alone, then `start()`, each beside the peers'."""
    what = f"{python.version} import, as -X importtime has it"
    environment = {**plain_environment(), "PYTHONPATH": str(_CHECKOUT)}
    mine = import_ms(python.path, environment, "devtrace.recorder", rounds)
    yield row(what, mine, budget=IMPORT_BUDGET, reason="" if mine is not None else "the import failed")
    for tool, module in IMPORTED.items():
        if not python.lacks(tool):
            theirs = import_ms(python.peers.python, plain_environment(), module, rounds)
            yield row(what, mine, PEERS[tool][1].removesuffix(" ctrace"), theirs)
    begun = {tool: least([runs.ms(tool, "start_s") for runs in all_runs.values()]) for tool in PEERS}
    begun["values"] = least([runs.ms("values", "start_s") for runs in all_runs.values()])
    yield row(f"{python.version} start()", begun["values"])
    for tool, (_, label) in PEERS.items():
        if begun[tool] is not None:
            yield row(f"{python.version} start()", begun["values"], label, begun[tool])


def least(figures: list[float | None]) -> float | None:
    """The smallest of those that are there."""
    return min((one for one in figures if one is not None), default=None)


# --- processes --------------------------------------------------------------------------------------


class Runs:
    """One workload on one interpreter: what was measured of each tool, run by run."""

    def __init__(self, python: Python, name: str, workload: Workload, amount: Amount):
        self.python = python
        self.name = name
        self.kept: Kept | None = None
        self._workload = workload
        self._amount = amount
        self._found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self._reasons: dict[str, str] = {}

    def take(self) -> None:
        """Run them all by turns. A tool that failed once, or hung, is not run again."""
        for number in range(self._amount.bare_rounds):
            for tool in ["plain", *OURS, *self.mute, *OFF, *PEERS]:
                if number < self._rounds(tool) and tool not in self._reasons and not self.python.lacks(tool):
                    self._run(tool, self.size(tool))
            if self._amount.is_small:
                self._run("plain", self._workload.small)

    def _rounds(self, tool: str) -> int:
        if tool in BARE:
            return self._amount.bare_rounds
        return self._amount.slow_rounds if tool in SLOW else self._amount.rounds

    def _run(self, tool: str, size: int) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found = run(self.python, self.name, tool, size, folder, self._amount.patience_s)
            if isinstance(found, str):
                self._reasons[tool] = found
                return
            if tool == "values" and self.kept is None:
                self.kept = stored(folder, self._workload.events(size))
                if self.kept.reason:
                    self._reasons[tool] = self.kept.reason
                    return
            self._found.setdefault((tool, size), []).append(found)

    def title(self, what: str, tool: str = "") -> str:
        """What a row of it is called."""
        size = ", small" if self.is_small(tool or "values") else ""
        return f"{self.python.version} {self._workload.title}{what}{size}"

    @property
    def mute(self) -> Mapping[str, str]:
        """Ours without what is printed, where something is: tool -> what its row says."""
        return MUTE if self.name == PRINTS else {}

    @property
    def is_exact(self) -> bool:
        """Whether a budget of a few hundredths can be held against the figures."""
        return self._amount.bare_rounds >= _EXACT_ROUNDS

    def is_small(self, tool: str) -> bool:
        """Whether it got the small size."""
        is_whole = tool in (*BARE, "values") or (tool not in PEERS and self.name == PRINTS)
        return self._amount.is_small and not is_whole

    def reason(self, tool: str) -> str:
        """Why there is no figure, or ""."""
        return self._reasons.get(tool, "")

    def ms(self, tool: str, figure: str = "work_s") -> float | None:
        """The least of a tool's runs, in milliseconds of the processor."""
        if tool in self._reasons:
            return None
        return self._least(tool, self.size(tool), figure)

    def plain_ms(self, tool: str) -> float | None:
        """The least of the plain runs of the same size as that tool's."""
        return self._least("plain", self.size(tool), "work_s")

    def plains(self, tool: str, figure: str) -> float | None:
        """The same, in plain runs of the work of the same size."""
        took, plain = self.ms(tool, figure), self.plain_ms(tool)
        return took / plain if took is not None and plain else None

    def grown_mb(self, tool: str) -> float | None:
        """By how many MB the most memory of its process grew, in the least of its runs."""
        runs = self._found.get((tool, self.size(tool)), [])
        return least([(one["after_kb"] - one["before_kb"]) / 1024 for one in runs])

    def size(self, tool: str) -> int:
        """How much work that tool gets."""
        return self._workload.small if self.is_small(tool) else self._workload.size

    def _least(self, tool: str, size: int, figure: str) -> float | None:
        found = least([one[figure] for one in self._found.get((tool, size), [])])
        return None if found is None else found * 1000


def run(
    python: Python, workload: str, tool: str, size: int, folder: Path, patience_s: float
) -> dict[str, Any] | str:
    """What the worker measured in a process of its own, or why there is nothing."""
    environment = {**plain_environment(), "HOME": str(folder), "TMPDIR": str(folder)}
    if tool in (*OURS, *MUTE, *OFF) and tool != "again":
        environment["PYTHONPATH"] = bootstrap.FOLDER if tool == "shell" else str(_CHECKOUT)
    if tool in (*OURS, *MUTE):
        workspace = Workspace(folder / ".devtrace")
        open_store(workspace, create=True).close()
        environment["DEVTRACE_DIR"] = str(workspace.dir)
    executable = python.peers.python if tool in PEERS else python.path
    argv = [executable, str(_WORKER), workload, tool, str(size), str(folder)]
    why = completed(argv, environment, folder, patience_s)
    if why:
        return why
    measured: dict[str, Any] = json.loads((folder / "measured.json").read_text())
    return measured


def completed(argv: list[str], environment: Mapping[str, str], folder: Path, patience_s: float) -> str:
    """Run it with its output going nowhere; why it failed, or ""."""
    with (folder / "stderr").open("w+b") as said:
        before = children_s()
        try:
            done = subprocess.run(
                argv, env=dict(environment), cwd=folder, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=said, check=False, timeout=patience_s,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return stuck(patience_s, children_s() - before)
        if done.returncode == 0:
            return ""
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").split("\n")
    told = [line for line in lines if line.strip()] or [""]
    return f"ended with status {done.returncode}: {told[-1][:160]}"


def stuck(patience_s: float, busy_s: float) -> str:
    """What to call it: who hangs does not work."""
    what = "hung" if busy_s < patience_s / 2 else "took too long"
    return f"{what}: killed after {patience_s:.3g} s, {busy_s:.1f} s of them at work"


def children_s() -> float:
    """The processor's time of all processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def plain_environment() -> dict[str, str]:
    """What every process finds, whoever runs this: little, two secrets to look for, and no chance."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", **_SECRETS}


def stored(folder: Path, expected: int) -> Kept:
    """Take a recording into its store. One that lacks events says nothing of what recording costs."""
    workspace = Workspace(folder / ".devtrace")
    blocks = [
        block
        for path in workspace.spool.iterdir()
        if path.suffix == SUFFIX
        for block in read_blocks(path.read_bytes())
    ]
    events = sum(Scan(block).n_events for block in blocks)
    if events < expected:
        return Kept(events, 0, 0, 0, f"only {events:,} of {expected:,} events were recorded")
    db = open_store(workspace)
    try:
        before = _bytes(db)
        begun = time.process_time()
        done = drain(db, workspace)
        took = time.process_time() - begun
        lacks = "" if done.traces == 1 else "the trace was not taken in"
        return Kept(events, len(blocks) * BLOCK_BYTES, _bytes(db) - before, took, lacks=lacks)
    finally:
        db.close()


def _bytes(db: Any) -> int:
    pages, free, size = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def import_ms(python: str, environment: Mapping[str, str], module: str, rounds: int) -> float | None:
    """What an import adds to the interpreter's own, in the quickest of several, after one for the cache."""
    argv = [python, "-X", "importtime", "-c", f"import {module}"]
    took = []
    for _ in range(rounds + 1):
        done = subprocess.run(argv, env=dict(environment), capture_output=True, text=True, check=False)
        if done.returncode:
            return None
        took.append(imported_us(done.stderr) / 1000)
    return min(took[1:])


def imported_us(told: str) -> int:
    """Of what -X importtime tells: all that was imported after `site`, each with what it imports itself."""
    total, is_own = 0, True
    for line in told.splitlines():
        _, _, figures = line.partition("import time:")
        cells = figures.split("|")
        if len(cells) != 3 or not cells[1].strip().isdecimal():
            continue
        name = cells[2].removeprefix(" ")
        if not name.startswith(" ") and not is_own:
            total += int(cells[1])
        is_own = is_own and name != "site"
    return total


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["--only", "recorder", *sys.argv[1:]]))
