"""Times as people write them, and filters that narrow exactly what they say."""

from __future__ import annotations

import os
import time
from datetime import datetime

import pytest

from devtrace.errors import UsageError
from devtrace.query.events import list_events
from devtrace.query.filters import Filters, parse_actor, parse_time
from devtrace.query.sessions import list_sessions
from tests.recorded import SECOND, START

NOW = START  # Sat 21 Nov 2026 14:03:12 UTC


@pytest.fixture(autouse=True)
def _berlin(monkeypatch):
    """One hour east of Greenwich in November, two in summer."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def local(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("90s", 90), ("10m", 600), ("2h", 7200), ("3d", 259_200), ("1w", 604_800), ("1h30m", 5400),
        ("1.5h", 5400), ("0s", 0), ("2h ago", 7200), ("2 hours ago", 7200), ("1 day 12 hours", 129_600),
        ("10 min", 600), ("3 DAYS", 259_200), (" 5m ", 300), ("now", 0),
    ],
)  # fmt: skip
def test_spans_count_back_from_now(text, before):
    assert parse_time(text, NOW) == NOW - before * SECOND


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("today", "2026-11-21 00:00"),
        ("yesterday", "2026-11-20 00:00"),
        ("15:03", "2026-11-21 15:03"),
        ("15:03:12", "2026-11-21 15:03:12"),
        ("15:04", "2026-11-20 15:04"),
        ("9:05", "2026-11-21 09:05"),
        ("2026-11-20", "2026-11-20 00:00"),
        ("2026-11-20T08:00", "2026-11-20 08:00"),
        ("2026-11-20 08:00:30", "2026-11-20 08:00:30"),
        ("20261120T080000", "2026-11-20 08:00"),
        ("2026-11-20T08:00:00+00:00", "2026-11-20 09:00"),
        ("2026-11-20t08:00:00z", "2026-11-20 09:00"),
        ("2026-07-01T12:00:00Z", "2026-07-01 14:00"),
        ("2026-W47-5", "2026-11-20 00:00"),
    ],
)
def test_moments_are_local_unless_they_say_otherwise(text, moment):
    assert parse_time(text, NOW) == local(moment)


def test_a_fraction_of_a_second_survives():
    assert parse_time("2026-11-20T08:00:00.123456", NOW) == local("2026-11-20 08:00") + 123_456


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "ago",
        "2",
        "2x",
        "h",
        "25:00",
        "12:60",
        "2026-13-01",
        "-2h",
        "2h-",
        "9" * 400 + "h",
        "\x1b[2J",
        "٣h",
    ],
)
def test_what_is_no_time_is_refused_with_examples(text):
    with pytest.raises(UsageError) as error:
        parse_time(text, NOW)

    assert error.value.code == "ERR_FILTER"
    assert "yesterday" in error.value.hint


@pytest.mark.parametrize("text", ["human", "agent", "agent:codex", " agent:custom:x "])
def test_actors(text):
    assert parse_actor(text) == text.strip()


@pytest.mark.parametrize("text", ["", "robot", "agent:", "codex"])
def test_an_unknown_actor_is_refused(text):
    with pytest.raises(UsageError, match="unknown actor"):
        parse_actor(text)


@pytest.mark.parametrize("wrong", [{"limit": -1}, {"since_us": 2, "until_us": 1}])
def test_filters_that_contradict_themselves_are_refused(wrong):
    with pytest.raises(UsageError) as error:
        Filters(**wrong)

    assert error.value.code == "ERR_FILTER"


@pytest.fixture
def two_sessions(recorded):
    """A person in api/, then Codex in web/, one command each minute."""
    root = recorded.workspace.root
    recorded.session(0, cwd=f"{root}/api")
    recorded.command("a0", 0, 5, body={"cwd": f"{root}/api"})
    recorded.command("a1", 60, 5, exit_code=1, body={"cwd": f"{root}/api/src"})
    recorded.note("remember", 90)
    recorded.end(100)
    recorded.session(120, agent="codex", cwd=f"{root}/web")
    recorded.command("b0", 120, 5, body={"cwd": f"{root}/web"})
    recorded.command("b1", 180, 5, exit_code=2, body={"cwd": f"{root}/apiary"})
    recorded.command("b2", 240, None, body={"cwd": f"{root}/web"})
    return recorded


@pytest.mark.parametrize(
    ("wanted", "titles"),
    [
        ({}, ["$ a0", "$ a1", "remember", "$ b0", "$ b1", "$ b2"]),
        ({"kinds": ("note",)}, ["remember"]),
        ({"kinds": ("note", "run_command"), "agent": "manual"}, ["$ a0", "$ a1", "remember"]),
        ({"agent": "codex"}, ["$ b0", "$ b1", "$ b2"]),
        ({"actor": "human"}, ["$ a0", "$ a1", "remember"]),
        ({"actor": "agent"}, ["$ b0", "$ b1", "$ b2"]),
        ({"actor": "agent:codex"}, ["$ b0", "$ b1", "$ b2"]),
        ({"actor": "agent:aider"}, []),
        ({"since_us": START + 60 * SECOND}, ["$ a1", "remember", "$ b0", "$ b1", "$ b2"]),
        ({"until_us": START + 60 * SECOND}, ["$ a0", "$ a1"]),
        ({"since_us": START + 61 * SECOND, "until_us": START + 121 * SECOND}, ["remember", "$ b0"]),
        ({"failed": True}, ["$ a1", "$ b1"]),
        ({"failed": True, "agent": "codex"}, ["$ b1"]),
        ({"limit": 2}, ["$ b1", "$ b2"]),
        ({"limit": 1}, ["$ b2"]),
        ({"limit": 0}, []),
        ({"limit": 3, "kinds": ("run_command",), "actor": "human"}, ["$ a0", "$ a1"]),
        ({"limit": 1, "failed": True}, ["$ b1"]),
        ({"limit": 100}, ["$ a0", "$ a1", "remember", "$ b0", "$ b1", "$ b2"]),
    ],
)
def test_events_are_narrowed_by_each_filter(two_sessions, wanted, titles):
    assert [event["title"] for event in list_events(two_sessions.db, Filters(**wanted))] == titles


@pytest.mark.parametrize(
    ("folder", "titles"),
    [("api", ["$ a0", "$ a1"]), ("api/", ["$ a0", "$ a1"]), ("api/src", ["$ a1"]), ("ap", []), ("gone", [])],
)
def test_a_path_means_that_directory_and_below(two_sessions, folder, titles):
    wanted = Filters(path=str(two_sessions.workspace.root / folder))

    assert [event["title"] for event in list_events(two_sessions.db, wanted)] == titles


def test_a_relative_path_is_seen_from_here(two_sessions, monkeypatch):
    monkeypatch.chdir(two_sessions.workspace.root)

    assert len(list_events(two_sessions.db, Filters(path="api"))) == 2


def test_a_path_is_found_under_its_other_name_too(two_sessions, tmp_path):
    (two_sessions.workspace.root / "api").mkdir()
    os.symlink(two_sessions.workspace.root / "api", tmp_path / "link")

    assert len(list_events(two_sessions.db, Filters(path=str(tmp_path / "link")))) == 2


def test_wildcards_in_a_path_are_letters(two_sessions):
    assert list_events(two_sessions.db, Filters(path=str(two_sessions.workspace.root / "a%"))) == []


@pytest.mark.parametrize(
    ("wanted", "agents"),
    [
        ({}, ["codex", "manual"]),
        ({"agent": "manual"}, ["manual"]),
        ({"actor": "agent"}, ["codex"]),
        ({"failed": True}, ["codex", "manual"]),
        ({"limit": 1}, ["codex"]),
        ({"kinds": ("run",)}, []),
        ({"since_us": START + 101 * SECOND}, ["codex"]),
        ({"since_us": START + 99 * SECOND}, ["codex", "manual"]),
        ({"until_us": START + 119 * SECOND}, ["manual"]),
    ],
)
def test_sessions_are_narrowed_by_each_filter(two_sessions, wanted, agents):
    assert [session["agent"] for session in list_sessions(two_sessions.db, Filters(**wanted))] == agents


def test_a_value_cannot_become_sql(two_sessions):
    evil = "x' OR 1=1 --"

    for wanted in (Filters(agent=evil), Filters(actor=evil), Filters(kinds=(evil,)), Filters(path=evil)):
        assert list_events(two_sessions.db, wanted) == []
