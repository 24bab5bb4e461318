"""A busy probe in a list: the first few hits, and how many more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from devtrace.views.probe_runs import folded
from devtrace.views.timeline import timeline

Row = dict[str, Any]


@pytest.fixture
def hits(other_row) -> Callable[..., list[Row]]:
    """`hits(5, at=3)`: one a second, of probe `a` in till.py:14 unless another is named."""

    def make(
        count: int, at: float = 0, probe: str = "a", line: int = 14, kind: str = "probe_hit", **more: Any
    ):
        data = {"name": "", "payload": {"probeId": probe, "file": "/srv/till.py", "line": line}}
        rows = [
            other_row(kind, f"till.py:{line} pay: n={number}", at + number, **more) for number in range(count)
        ]
        return [row | {"data": data} for row in rows]

    return make


@pytest.fixture
def shown(session_row, look, painted) -> Callable[..., str]:
    def show(*events: Row, **reader: Any) -> str:
        short = {event["id"]: event["id"][:4] for event in events}
        return painted(timeline(session_row(), events, short, look(100, **reader)), 100)

    return show


def notes(events: list[Row]) -> list[str]:
    return ["".join(text for text, _ in line) for lines in folded(events)[1].values() for line in lines]


def test_beyond_the_first_three_hits_are_one_line(shown, command_row, hits):
    command = command_row("python till.py", 0, 90)

    assert shown(command, *hits(60, 1, parent=command["id"]), command_row("ls", 95, id="abcd" * 4)) == (
        "  14:03:12  1m30s       python till.py                                       1111\n"
        "  14:03:13         hit    till.py:14 pay: n=0                                2222\n"
        "  14:03:14         hit    till.py:14 pay: n=1                                3333\n"
        "  14:03:15         hit    till.py:14 pay: n=2                                4444\n"
        "                          and 57 more hits of till.py:14, the last 14:04:12\n"
        "  14:04:47  100ms       ls                                                   abcd\n"
        "\n"
        "  hits of busy probes are folded: --nested shows them\n"
    )


def test_all_hits_are_shown_where_that_is_asked_for(shown, command_row, hits):
    command = command_row("python till.py", 0, 90)
    text = shown(command, *hits(60, 1, parent=command["id"]), nested=True)

    assert text.count("till.py:14 pay: n=") == 60
    assert "more hits" not in text
    assert "--nested" not in text


def test_a_session_of_one_command_folds_its_hits_and_no_commands(shown, command_row, hits):
    command = command_row("python till.py", 0, 90)
    inner = command_row("git status", 1, parent=command["id"])
    text = shown(command, inner, *hits(9, 2, parent=command["id"]))

    assert "git status" in text
    assert "and 6 more hits of till.py:14, the last 14:03:22" in text


def test_few_hits_are_all_shown(hits):
    events = hits(3)

    assert folded(events) == (events, {})


def test_hits_of_two_probes_in_turns_are_counted_apart(hits):
    events = sorted([*hits(9), *hits(5, 0.5, "b", 15)], key=lambda event: event["started_us"])

    kept, below = folded(events)

    assert kept == events[:6]
    assert list(below) == [kept[-1]["id"]]
    assert notes(events) == [
        "and 6 more hits of till.py:14, the last 14:03:20",
        "and 2 more hits of till.py:15, the last 14:03:16",
    ]


def test_what_happened_between_hits_is_shown_where_it_did(hits, other_row):
    status = other_row("probe_status", "changed at till.py:14", 10)
    events = [*hits(5), status, *hits(5, 11)]

    kept, _ = folded(events)

    assert [event["kind"] for event in kept] == ["probe_hit"] * 3 + ["probe_status"] + ["probe_hit"] * 3
    assert len(notes(events)) == 2


def test_hits_of_two_commands_are_counted_apart(hits):
    events = sorted([*hits(5, parent="1"), *hits(5, 0.5, parent="2")], key=lambda event: event["started_us"])

    assert notes(events) == [
        "and 2 more hits of till.py:14, the last 14:03:16",
        "and 2 more hits of till.py:14, the last 14:03:16",
    ]


def test_what_a_limit_keeps_from_being_told_does_not_unfold_the_hits(hits):
    """A probe that is held back says so once a second, between its hits."""
    events = sorted([*hits(9), *hits(4, 0.5, kind="probe_error")], key=lambda event: event["started_us"])

    assert notes(events) == [
        "and 6 more hits of till.py:14, the last 14:03:20",
        "and 1 more error of till.py:14, the last 14:03:15",
    ]


def test_a_hit_with_something_below_it_is_kept(hits, other_row):
    events = hits(9)
    below = other_row("note", "look at this", 20, parent=events[7]["id"])

    assert events[7] in folded([*events, below])[0]


@pytest.mark.parametrize(
    "payload", [None, [], {}, {"probeId": 1, "file": 2, "line": "x"}, {"file": "\x1b[2J"}]
)
def test_what_strangers_wrote_into_a_hit_is_harmless(hits, payload):
    events = [event | {"data": {"payload": payload}} for event in hits(5)]

    (note,) = notes(events)
    assert note.startswith("and 2 more hits of ")
    assert note.isprintable()
