"""Counts over many commands: by program, by agent, over several stores."""

from __future__ import annotations

import pytest

from devtrace.query.filters import Filters
from devtrace.query.sessions import tally
from devtrace.query.stats import merged, program, stats
from tests.recorded import SECOND


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("ls -la", "ls"),
        ("  git   push origin", "git push"),
        ("git -C x push", "git"),
        ("git", "git"),
        ("/usr/bin/git log", "git log"),
        ("FOO=1 BAR='a b' make test", "make test"),
        ("sudo env A=1 apt-get install x", "apt-get install"),
        ("time nice ls", "ls"),
        ("./run.sh a", "run.sh"),
        ("(exit 7)", "exit"),
        ("{ echo a; }", "echo"),
        ("! grep x", "grep"),
        ("for i in 1 2\ndo\nls\ndone", "for"),
        ("cat <<'EOF'\nit's\nEOF", "cat"),
        ("echo 'unfinished", "echo"),
        ("python3 -m pytest", "python3"),
        ("uv run x", "uv run"),
        ("A=1", "A=1"),
        ("sudo", "sudo"),
        ("", ""),
        ("日本語 x", "日本語"),
        ("# comment", "#"),
        ("ls;", "ls"),
    ],
)
def test_a_command_line_counts_for_the_program_it_starts(command, name):
    assert program(command) == name


@pytest.fixture
def worked(recorded):
    recorded.session(0)
    recorded.command("git push", 0, 2)
    recorded.command("git push", 3, 4, exit_code=1)
    recorded.command(None, 8, 1, body={"text_form": "private"})
    recorded.note("not a command", 9)
    recorded.session(100, agent="codex")
    outer = recorded.command("make", 100, 10)
    recorded.nested("gcc", outer, 101, 3)
    recorded.command("vim", 120, None, status="interrupted", exit_code=None)
    recorded.command("runs", 130, None)
    return recorded


def test_totals_top_and_agents(worked):
    found = stats(worked.db, Filters())

    assert {
        name: found[name] for name in ("commands", "nested", "failed", "interrupted", "time_us", "sessions")
    } == {
        "commands": 6,
        "nested": 1,
        "failed": 1,
        "interrupted": 1,
        "time_us": 17 * SECOND,
        "sessions": 2,
    }
    assert found["top"][0] == {"command": "git push", "commands": 2, "failed": 1, "time_us": 6 * SECOND}
    assert [row["command"] for row in found["top"]] == ["git push", "(private)", "gcc", "make", "vim"]
    assert [(row["agent"], row["commands"], row["time_us"]) for row in found["agents"]] == [
        ("codex", 3, 10 * SECOND),
        ("manual", 3, 7 * SECOND),
    ]


def test_stats_obey_the_filters(worked):
    assert stats(worked.db, Filters(agent="codex"))["commands"] == 3
    assert stats(worked.db, Filters(failed=True))["commands"] == 1
    assert stats(worked.db, Filters(kinds=("note",)))["commands"] == 6


def test_stats_of_an_empty_store_are_zeros(recorded):
    found = stats(recorded.db, Filters())

    assert (found["commands"], found["time_us"], found["top"], found["agents"]) == (0, 0, [], [])


def test_several_stores_count_as_one(worked):
    one = stats(worked.db, Filters())

    both = merged([one, one])

    assert both["commands"] == 12
    assert both["top"][0] == {"command": "git push", "commands": 4, "failed": 2, "time_us": 12 * SECOND}
    assert both["agents"][0]["sessions"] == 2
    assert merged([])["commands"] == 0
    assert merged([one]) == one


def test_a_clock_that_went_backwards_takes_no_time_away(recorded):
    recorded.session()
    recorded.command("a", 10, -5)
    recorded.command("b", 10, 5)

    assert stats(recorded.db, Filters())["time_us"] == 5 * SECOND


def test_a_stopped_command_is_counted_and_is_no_failure(recorded):
    recorded.session()
    recorded.command("vim", 0, 1, exit_code=148, status="stopped")
    recorded.command("false", 2, 1, exit_code=1)

    found = stats(recorded.db, Filters())

    assert (found["commands"], found["failed"], found["stopped"]) == (2, 1, 1)
    assert [(row["command"], row["failed"]) for row in found["top"]] == [("false", 1), ("vim", 0)]
    assert recorded.db.execute("SELECT n_failed FROM sessions").fetchone() == (1,)
    assert tally(recorded.db, recorded.session_id)["stopped"] == 1
