"""Both engines in one process with the tools that watch programs too: each sees what it sees alone.

Each runs in a process of its own: these tools are there once in an interpreter.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.probes.armed import DEADLINE, HAS_MONITORING, NAMES
from tests.recorder.recordings import record

CHECKOUT = Path(__file__).parents[2]
HAS_COVERAGE = importlib.util.find_spec("coverage") is not None
CORES = ["ctrace", "pytrace", "sysmon"] if HAS_MONITORING else ["ctrace", "pytrace"]
needs_coverage = pytest.mark.skipif(not HAS_COVERAGE, reason="coverage is not installed")
needs_monitoring = pytest.mark.skipif(not HAS_MONITORING, reason="a trace function has room for one tool")

TARGET = """\
def work(n):
    total = 0
    for one in range(n):
        total += one
    return total

def other(n):
    if n:
        return [one for one in range(n)]
    return None

def later():
    return 1
"""

PROBING = """\
import json, sys, target
from devtrace.probes.engine import EngineBusy, choose

hits, found, busy = [], [], False
engine = choose(sys.argv[1])
engine.start(lambda *hit: hits.append(hit), found.append)

def probe():
    global busy
    try:
        engine.arm(target.work.__code__, 4, None, "k")
        engine.arm_exit(target.other.__code__, "k")
        engine.discover(True)
    except EngineBusy:
        busy = True

def told(seen):
    print(json.dumps([seen, len(hits), busy]))
"""


def run(folder: Path, program: str, engine: str, **environment: str) -> Any:
    """What it told: `[what the tool saw, hits of ours, whether the place was taken]`."""
    (folder / "target.py").write_text(TARGET)
    (folder / "program.py").write_text(PROBING + program)
    path = os.pathsep.join([str(folder), str(CHECKOUT), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py", engine],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=DEADLINE * 3,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


COVERED = """
import coverage
del sys.modules["target"]
measured = coverage.Coverage(data_file=None, include=["*/target.py"], branch=BRANCH, config_file=False)
measured.start()
import target
target.work(1)
if sys.argv[2:] != ["bare"]:
    probe()
target.work(2)
target.other(2)
engine.stop()
target.later()
measured.stop()
data = measured.get_data()
(file,) = data.measured_files()
told([sorted(data.lines(file)), sorted(data.arcs(file) or [])])
"""


@needs_coverage
@pytest.mark.parametrize("branch", [False, True])
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("engine", NAMES)
def test_coverage_measures_the_same_with_a_probe_that_comes_and_goes(
    tmp_path: Path, engine: str, core: str, branch: bool
) -> None:
    if branch and core == "sysmon" and sys.version_info < (3, 14):
        pytest.skip("coverage measures branches by sys.monitoring from Python 3.14 on")
    program = COVERED.replace("BRANCH", str(branch))
    bare = program.replace("    probe()\n", "    pass\n")
    expected, _, _ = run(tmp_path, bare, engine, COVERAGE_CORE=core)
    seen, hits, is_busy = run(tmp_path, program, engine, COVERAGE_CORE=core)

    assert seen == expected
    assert expected[0]
    assert is_busy is (engine == "pytrace" and core != "sysmon")
    assert hits == (0 if is_busy else 3)


@pytest.mark.parametrize("engine", NAMES)
def test_a_profiler_counts_the_same_calls(tmp_path: Path, engine: str) -> None:
    program = """
import cProfile
probe()
profile = cProfile.Profile()
profile.enable()
for _ in range(3):
    target.work(2)
target.other(1)
profile.disable()
engine.stop()
profile.create_stats()
told({name: calls[0] for (file, _, name), calls in profile.stats.items() if file == target.__file__})
"""
    seen, hits, _ = run(tmp_path, program, engine)

    assert {name: seen[name] for name in ("work", "other")} == {"work": 3, "other": 1}
    assert hits == 7


DEBUGGED = """
import bdb

class Debugger(bdb.Bdb):
    stops = 0
    def user_line(self, frame):
        self.stops += frame.f_lineno == 4
        self.set_continue()

debugger = Debugger()
debugger.set_break(target.__file__, 4)
"""


@needs_monitoring
@pytest.mark.parametrize("is_first", [True, False])
def test_a_debugger_stops_at_the_line_at_which_a_probe_sits(tmp_path: Path, is_first: bool) -> None:
    program = "debugger.runcall(target.work, 3)\nengine.stop()\ntold(debugger.stops)\n"
    program = f"probe()\n{program}" if is_first else f"debugger.runcall(target.later)\nprobe()\n{program}"
    seen, hits, _ = run(tmp_path, DEBUGGED + program, "monitoring")

    assert (seen, hits) == (3, 3)


def test_the_trace_function_leaves_the_place_to_a_debugger_that_comes_later(tmp_path: Path) -> None:
    program = "probe()\ndebugger.runcall(target.work, 3)\nengine.stop()\ntold(debugger.stops)\n"
    seen, _, _ = run(tmp_path, DEBUGGED + program, "pytrace")

    assert seen == 3


@needs_monitoring
def test_a_recorded_program_that_has_a_probe_is_seen_by_both(tmp_path: Path) -> None:
    path = str(CHECKOUT)
    source = f"import sys\nsys.path.insert(0, {path!r})\nsys.argv[1:] = ['monitoring']\n" + PROBING
    source += "probe()\ntarget.work(3)\ntarget.other(1)\nengine.stop()\ntarget.work(1)\ntold(0)\n"
    (tmp_path / "target.py").write_text(TARGET)
    done = record(source, tmp_path)

    assert (done.status, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [0, 4, False]
    assert done.main.kinds("work").count("call") == 2
    assert done.main.values("total")[-2:]
