"""The benchmark of probes measures what it says it measures: tiny runs, no seconds asserted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import probe_peers, probes
from benchmarks.__main__ import rooms
from benchmarks.probe_peers import LABELS, REQUIREMENTS, Peers
from benchmarks.probed import ddtraced, debugpied
from benchmarks.probed.variants import VARIANTS, Place, copied

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
TINY = probes.Amount(1, 400, 1, 100, 1, 0.2, 3, 60)
ALONE = probes.Python(VERSION, sys.executable, Peers("", dict.fromkeys(REQUIREMENTS, "no network")))


def test_it_is_found_by_its_name():
    assert rooms(["probes"]) == ["probes"]


def test_without_peers_every_row_of_ours_has_a_figure():
    rows = probes.measure(amount=TINY, pythons=[ALONE])

    figures = [row for row in rows if "peers" not in row["what"]]
    assert [row["what"] for row in figures[: len(VARIANTS) + 1]] == [
        f"{VERSION} bare call", *(f"{VERSION} {variant.title}" for variant in VARIANTS.values())
    ]  # fmt: skip
    assert [row for row in figures if row["ours"] is None] == []


def test_hits_of_a_flood_are_all_accounted_for():
    longest, turns, told = probes.flood(ALONE, TINY)

    assert "unseen" not in longest["reason"]
    assert longest["reason"].endswith(" dropped")
    assert turns["ours"]
    assert told["ours"]


def test_a_peer_that_is_not_there_is_named_once_with_the_reason():
    rows = list(probes.missing(ALONE))

    assert [row["peer_name"] for row in rows] == [f"{label} on {VERSION}" for label in LABELS.values()]
    assert {row["reason"] for row in rows} == {"no network"}


def test_a_figure_within_the_noise_is_not_divided_by():
    near, far = (probes.compared("", 400.0, "ddtrace", theirs, "", "") for theirs in (-3.0, 800.0))

    assert (near["ratio"], far["ratio"]) == (None, 0.5)


@pytest.mark.parametrize(
    ("version", "expected"), [("3.11", ""), ("3.12", "<= 1,000 ns"), ("3.13", "<= 350 ns")]
)
def test_the_budget_of_a_false_condition_is_of_the_version(version, expected):
    assert ALONE._replace(version=version).budget("false") == expected


@pytest.mark.parametrize("name", VARIANTS)
def test_the_probe_of_a_variant_sits_where_it_says(name, tmp_path):
    place = copied(tmp_path, name)

    lines = ["", *place.file.read_text().splitlines()]
    assert lines[place.line].endswith(VARIANTS[name].at and f"  # {VARIANTS[name].at}")


def test_both_peers_are_asked_the_same():
    variant, place = VARIANTS["attribute"], Place("hot", Path("hot.py"), 12)

    (probe,) = ddtraced.wanted(variant, [place])
    assert probe["when"]["json"] == {"gt": [{"getmember": [{"ref": "user"}, "id"]}, 100]}
    assert debugpied.breakpoint_of(variant, place) == {"line": 12, "condition": "user.id > 100"}
    (message,) = ddtraced.wanted(VARIANTS["log"], [place])
    assert [part["dsl"] for part in message["segments"]] == ["x", "name"]
    assert debugpied.breakpoint_of(VARIANTS["log"], place)["logMessage"] == "x={x} name={name}"


def test_a_process_that_does_not_end_is_killed_and_told_of(tmp_path):
    waits = [sys.executable, "-c", "import threading; threading.Event().wait()"]

    assert probe_peers.completed(waits, tmp_path, {}, 0.2) == "it hung: killed after 0.2 s"


def test_a_process_that_fails_says_why(tmp_path):
    fails = [sys.executable, "-c", "raise SystemExit('no such tool')"]

    assert probe_peers.completed(fails, tmp_path, {}, 60) == "it ended with status 1: no such tool"


def test_an_environment_is_made_once_and_anew_where_something_is_missing(tmp_path):
    asked = []

    def fake_run(argv: list[str]) -> str:
        asked.append(argv[-1])
        if argv[1:3] == ["-m", "venv"]:
            Path(argv[-1]).mkdir()
        return "no wheel" if "debugpy" in argv[-1] and len(asked) < 4 else ""

    made = [probe_peers.prepared(sys.executable, VERSION, tmp_path, fake_run) for _ in range(3)]

    assert [one.missing for one in made] == [{"debugpied": "no wheel"}, {}, {}]
    place = tmp_path / f"probes-python{VERSION}"
    assert asked == 2 * [str(place), *REQUIREMENTS.values()]
    assert json.loads((place / "installed.json").read_text())[1:] == list(REQUIREMENTS.values())
