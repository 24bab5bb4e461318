"""The table of `make bench`: ratios with the budgets beside the figures, and an honest word about gaps."""

from __future__ import annotations

import pytest

from benchmarks import Row
from benchmarks.__main__ import main, rooms, table, verdict


def row(**told: object) -> Row:
    plain = {
        "what": "a hook",
        "ours": 0.1,
        "peer_name": "script",
        "peer": 0.2,
        "ratio": 0.5,
        "budget": "",
        "unit": "ms",
    }
    return {**plain, **told}  # type: ignore[typeddict-item,return-value]


@pytest.mark.parametrize(
    ("budget", "told", "expected"),
    [
        ("<= 0.15 ms", {"ours": 0.1}, "kept"),
        ("<= 0.15 ms", {"ours": 0.2}, "MISSED"),
        (">= 0.8x", {"ratio": 0.9}, "kept"),
        (">= 0.8x of script", {"ratio": 0.7}, "MISSED"),
        (">= 20k events/s", {"ours": 19_000.0}, "MISSED"),
        (">= 20,000 events/s", {"ours": 21_000.0}, "kept"),
        (">= 0.8x", {"ratio": None}, ""),
        ("", {}, ""),
    ],
)
def test_a_figure_is_held_against_its_budget(budget: str, told: dict[str, object], expected: str) -> None:
    assert verdict(row(budget=budget, **told)) == expected


def test_the_table_shows_the_ratio_and_the_budget_in_one_line() -> None:
    drawn = table([("hooks", [row(budget="<= 0.15 ms")])])

    (line,) = [line for line in drawn.splitlines() if line.startswith("a hook")]
    assert line.split() == [
        "a",
        "hook",
        "0.1",
        "ms",
        "0.2",
        "ms",
        "script",
        "x0.50",
        "<=",
        "0.15",
        "ms",
        "kept",
    ]


def test_a_missing_peer_is_named_with_the_reason() -> None:
    drawn = table([("terminal", [row(peer_name="asciinema", peer=None, ratio=None, reason="not installed")])])

    assert "  asciinema: not installed" in drawn.splitlines()


def test_a_benchmark_that_fails_does_not_cost_the_figures_of_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*, quick: bool) -> list[Row]:
        raise RuntimeError("39 lines of 40 came")

    monkeypatch.setattr("benchmarks.reading.measure", fail)
    monkeypatch.setattr("benchmarks.follow.measure", lambda *, quick: [row(what="a line")])

    assert main(["--only", "reading", "--only", "follow"]) == 1

    said = capsys.readouterr().out
    assert "reading: failed, RuntimeError: 39 lines of 40 came" in said
    assert "a line" in said


def test_an_unknown_benchmark_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(SystemExit, match="no benchmark called nonsense"):
        rooms(["nonsense"])
