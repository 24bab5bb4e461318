"""The benchmark of the recorder measures what it says it measures: tiny runs, no seconds asserted."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import recorder, recorder_peers
from benchmarks.__main__ import rooms
from benchmarks.recorded.workloads import WORKLOADS
from benchmarks.recorder_peers import Peers

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
SIZES = {"loop": 50, "fib": 7, "json": 5, "print": 20, "threads": 10}
FEW = {name: WORKLOADS[name]._replace(size=SIZES[name]) for name in ("fib", "threads")}
TINY = recorder.Amount(bare_rounds=1, rounds=1, slow_rounds=1, is_small=False, patience_s=60, workloads=FEW)
ALONE = recorder.Python(
    VERSION, sys.executable, Peers("", frozenset(), dict.fromkeys(recorder_peers.REQUIREMENTS, "no network"))
)


def test_it_is_found_by_its_name():
    assert rooms(["recorder"]) == ["recorder"]


def test_every_row_has_a_figure_and_a_ratio_where_there_is_a_plain_run():
    rows = [row for row in recorder.measure(amount=TINY, pythons=[ALONE]) if "peers" not in row["what"]]

    per_workload = ["", ", detail lines", ", detail calls", ", off, imported", ", off, in a traced shell"]
    per_workload += [", plain once more", ", stop", ", an event in segments", ", an event in the database"]
    per_workload += [", to store an event"]
    titles = [f"{VERSION} {one.title}{what}" for one in FEW.values() for what in per_workload]
    about_all = ["memory at 600k events", "import, as -X importtime has it", "start()"]
    assert [row["what"] for row in rows] == titles + [f"{VERSION} {what}" for what in about_all]
    for row in rows:
        assert row["ours"] is not None, row
        assert (row["peer"] is None) == (row["peer_name"] == "") == (row["ratio"] is None)


def test_a_peer_that_is_not_there_is_named_once_with_the_reason():
    rows = list(recorder.missing(ALONE))

    assert [row["peer_name"] for row in rows] == [
        f"{label} on {VERSION}" for _, label in recorder.PEERS.values()
    ]
    assert {row["reason"] for row in rows} <= {"no network", "sys.monitoring arrived in Python 3.12"}


def test_budgets_are_for_interpreters_with_monitoring_only():
    assert [ALONE._replace(version=version).has_budgets for version in ("3.11", "3.12", "3.13", "3.20")] == [
        False, True, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_program_has_as_many_events_as_it_is_said_to_have(name, capsys):
    number = _events_of(WORKLOADS[name].module, WORKLOADS[name].run, SIZES[name])

    told = WORKLOADS[name].events(SIZES[name])
    assert told <= number <= told + 80  # around the work: its function, and those of starting threads


def test_the_sizes_are_those_that_the_titles_say():
    assert {name: round(one.events(one.size), -3) for name, one in WORKLOADS.items()} == {
        "loop": 300_000, "fib": 600_000, "json": 60_000, "print": 400_000, "threads": 250_000,
    }  # fmt: skip


@pytest.mark.parametrize("tool", [*recorder.BARE, *recorder.OURS])
def test_nobody_listens_where_recording_is_off(tool, tmp_path):
    found = recorder.run(ALONE, "loop", tool, 10, tmp_path, 60)

    assert isinstance(found, dict), found
    assert bool(found["listening"]) == (tool in recorder.OURS)
    assert (tmp_path / ".devtrace").exists() == (tool in recorder.OURS)


def test_a_recording_that_lacks_events_is_no_figure(tmp_path):
    recorder.run(ALONE, "loop", "values", 10, tmp_path, 60)

    assert recorder.stored(tmp_path, 10_000).reason.endswith(" of 10,000 events were recorded")
    assert recorder.stored(tmp_path, 30).reason == ""


def test_a_process_that_does_not_end_is_killed_and_told_of(tmp_path):
    waits = [sys.executable, "-c", "import threading; threading.Event().wait()"]

    assert "killed after 0.2 s" in recorder.completed(waits, recorder.plain_environment(), tmp_path, 0.2)


def test_who_hangs_does_not_work():
    assert recorder.stuck(10, 1.04) == "hung: killed after 10 s, 1.0 s of them at work"
    assert recorder.stuck(10, 9.5).startswith("took too long: ")


def test_a_process_that_fails_says_why(tmp_path):
    fails = [sys.executable, "-c", "raise SystemExit('no such tool')"]

    told = recorder.completed(fails, recorder.plain_environment(), tmp_path, 60)
    assert told == "ended with status 1: no such tool"


def test_what_is_imported_is_what_comes_after_the_interpreters_own():
    told = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 |   encodings.aliases
import time:       200 |        300 | site
import time:        11 |         11 |   inner
import time:        10 |         21 | outer
import time:         5 |          5 | second
"""
    assert recorder.imported_us(told) == 26


def test_an_environment_is_made_once_and_keeps_its_reasons(tmp_path):
    asked = []

    def fake_run(argv: list[str]) -> str:
        asked.append(argv[-1])
        return "no wheel" if argv[-1] == recorder_peers.REQUIREMENTS["codetracer"] else ""

    place = tmp_path / f"python{VERSION}"
    place.mkdir()
    stamp = {"wanted": _wanted(), "installed": ["viztracer"]}
    (place / "installed.json").write_text(json.dumps(stamp))

    made = [recorder_peers.prepared({VERSION: sys.executable}, tmp_path, fake_run)[VERSION] for _ in range(2)]

    assert made[0] == made[1]
    assert made[0].missing == {"codetracer": "no wheel"}
    assert made[0].installed == {"viztracer", "coverage", "pysnooper"}
    codetracer, coverage, snooper = (
        recorder_peers.REQUIREMENTS[name] for name in ("codetracer", "coverage", "pysnooper")
    )
    assert asked == [codetracer, coverage, snooper, codetracer]


def _wanted() -> dict[str, object]:
    ask = [sys.executable, "-c", "import sys; print(sys.version + sys.base_prefix, end='')"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    return {"python": version, "requirements": sorted(recorder_peers.REQUIREMENTS.values())}


def _events_of(module: str, run: str, size: int) -> int:
    """By sys.settrace, of the program's file alone, all threads."""
    import threading

    file = Path(recorder.__file__).parent / "recorded" / "programs" / f"{module}.py"
    work = runpy.run_path(str(file))[run]
    events = 0

    def tell(frame, event, _):
        nonlocal events
        if frame.f_code.co_filename != str(file):
            return None
        events += 1
        return tell

    before = sys.gettrace()
    threading.settrace(tell)
    sys.settrace(tell)
    try:
        work(size)
    finally:
        sys.settrace(before)
        threading.settrace(None)
    return events
