"""`devtrace show` of a recorded program, and where else such a program is told of."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from devtrace.views.jsonl import FIELDS
from tests.processes import DEADLINE, environment
from tests.traces import PROGRAM, line_of, record, take_in


@pytest.fixture
def session(recorded):
    """A session with a command that started the program of tests/traces.py."""
    ids = {"session": recorded.session(took=None), "command": recorded.command("python shop.py", 1)}
    record(recorded.workspace, DEVTRACE_SESSION=ids["session"], DEVTRACE_SPAN=ids["command"])
    recorded.end(20)
    ids["trace"] = take_in(recorded.workspace)
    event = "SELECT id FROM events WHERE session = ? AND kind = 'python_trace'"
    (ids["event"],) = recorded.db.execute(event, (ids["trace"],)).fetchone()
    return ids


# --- the tree -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["trace", "event"])
def test_a_trace_is_shown_by_its_session_or_its_event(run, session, name):
    told = run("show", session[name])

    assert (told.status, told.err) == (0, "")
    lines = told.out.splitlines()
    assert lines[0].startswith("trace ")
    assert lines[0].endswith("  python shop.py")
    assert "ended       exit 0" in lines
    assert f"command     python shop.py  {session['command'][:4]}" in lines
    assert any("careful(text='twelve') -> -1" in line for line in lines)
    assert any("✗ raised ValueError: invalid literal" in line for line in lines)
    assert any(line.strip() == "thread helper" for line in lines)
    assert "\x1b" not in told.out


def test_the_tree_is_narrowed_and_without_an_id_it_is_the_newest_trace(run, session):
    told = run("show", "--function", "parse", "--file", "shop.py", "--depth", "9", "--min-ms", "0")

    assert told.status == 0
    assert "parse(text='12') -> 12" in told.out
    assert "total(" not in told.out
    assert "total(" in run("show", session["trace"], "--thread", "MainThread").out


def test_a_limit_is_a_number_of_calls(run, session):
    records = run("show", session["trace"], "--limit", "2", "--json").records

    assert [one["record"] for one in records] == ["trace", "trace_call", "trace_call"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--function", "nobody"), "ERR_FILTER"),
        (("--thread", "ghost"), "ERR_FILTER"),
        (("--lines", "nobody"), "ERR_FILTER"),
        (("--lines", "fib", "--call", "0"), "ERR_FILTER"),
        (("--depth", "0"), "ERR_FILTER"),
        (("--call", "2"), "ERR_USAGE"),
        (("--all",), "ERR_USAGE"),
        (("--lines", "fib", "--exceptions"), "ERR_USAGE"),
    ],
)
def test_what_cannot_be_answered_is_refused(run, session, words, code):
    told = run("show", session["trace"], *words, "--json-errors")

    assert told.status == 2
    assert json.loads(told.err.splitlines()[-1])["error"]["code"] == code


def test_what_is_asked_of_a_trace_is_refused_for_what_is_none(run, recorded, session):
    told = run("show", session["command"], "--exceptions", "--json-errors")

    assert (told.status, json.loads(told.err.splitlines()[-1])["error"]["code"]) == (2, "ERR_USAGE")
    assert run("show", recorded.session(), "--lines", "fib").status == 2


def test_without_any_trace_the_hint_says_how_to_make_one(run, recorded):
    recorded.session()
    told = run("show", "--exceptions")

    assert told.status == 2
    assert "devtrace record" in told.err


# --- lines and exceptions -----------------------------------------------------------------------------------


def test_lines_stand_beside_their_source(run, session):
    out = run("show", session["trace"], "--lines", "shop.py:total").out

    assert f"{line_of('result += item.price')}          result += item.price" in out
    assert "result = 195" in out
    assert "label = 'dear wine\\x1b[31m'" in out
    assert "pass 3" in out
    assert "returned 185" in out


def test_a_file_that_changed_since_is_warned_of(run, repo, session):
    (repo / "shop.py").write_text("# nothing\n")

    assert "newer than the trace" in run("show", session["trace"], "--lines", "total").out


def test_all_counts_how_often_lines_ran(run, session):
    out = run("show", session["trace"], "--lines", "total", "--all").out

    (counted,) = [line.split() for line in out.splitlines() if "result += item.price" in line]
    assert counted[:2] == ["3", str(line_of("result += item.price"))]


def test_exceptions_are_shown_with_their_variables(run, session):
    out = run("show", session["trace"], "--exceptions").out

    assert "✗ ValueError: invalid literal for int() with base 10: 'twelve'" in out
    assert "  caught in careful" in out
    assert "    text = 'twelve'" in out


@pytest.mark.parametrize(
    "words", [(), ("--lines", "total"), ("--lines", "total", "--all"), ("--exceptions",)]
)
def test_the_json_of_each_has_the_documented_fields(run, session, words):
    records = run("show", session["trace"], *words, "--json").records

    assert records
    for one in records:
        assert set(one) == set(FIELDS[one["record"]][1])


# --- where else it is told of -------------------------------------------------------------------------------


def test_the_command_and_the_session_name_the_trace(run, session):
    start = session["trace"][:8]
    event = run("show", session["command"]).out
    timeline = run("show", session["session"]).out

    assert any(line.startswith("trace ") and start in line for line in event.splitlines())
    (row,) = [line for line in timeline.splitlines() if line.split()[-1:] and start in line.split()[-1]]
    assert "trace" in row.split()
    assert "python shop.py" in row


def test_a_session_counts_its_traces_and_they_are_listed_when_asked_for(run, session):
    listed = run("sessions").out.splitlines()[1:]
    asked = run("sessions", "--kind", "recorder").out.splitlines()[1:]

    assert len(listed) == 1
    assert "+1 trace" in listed[0]
    assert ["python shop.py" in line for line in asked] == [True]


def test_following_shows_a_program_when_it_begins_and_when_it_ends(repo, recorded, follow):
    following = follow("--json", "--kind", "python_trace")
    (repo / "wait.py").write_text("def work():\n    return input()\nwork()\n")
    with subprocess.Popen(
        [sys.executable, "-m", "devtrace.recorder", "wait.py"],
        cwd=repo,
        env=environment(DEVTRACE_DIR=str(recorded.workspace.dir)),
        stdin=subprocess.PIPE,
    ) as program:
        begun = following.record()
        assert program.stdin is not None
        program.stdin.write(b"on\n")
        program.stdin.close()
        assert program.wait(DEADLINE) == 0
    ended = following.record()

    assert (begun["status"], begun["title"]) == ("running", "python wait.py")
    assert (ended["id"], ended["status"], ended["exit_code"]) == (begun["id"], "ok", 0)
    assert following.stop(signal.SIGINT)[0] == 130


def test_a_program_at_work_is_shown_as_far_as_it_is(repo, recorded, run):
    source = "def work():\n    print('on', flush=True)\n    input()\nwork()\n"
    (repo / "wait.py").write_text(source)
    with subprocess.Popen(
        [sys.executable, "-m", "devtrace.recorder", "wait.py"],
        cwd=repo,
        env=environment(DEVTRACE_DIR=str(recorded.workspace.dir)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"on\n"
        told = run("show", "--depth", "3")
        assert program.stdin is not None
        program.stdin.close()
        program.wait(DEADLINE)

    assert told.status == 0
    assert "ended       not yet: it is still running" in told.out


# --- why ----------------------------------------------------------------------------------------------------


def test_why_tells_where_a_value_came_from_and_what_started_the_program(run, session):
    told = run("why", "--text", "dear wine")

    assert (told.status, told.err) == (0, "")
    lines = [line.split(maxsplit=1) for line in told.out.splitlines()]
    assert ["variable", "label = 'dear wine\\x1b[31m'"] in lines
    assert ["in", f"total  shop.py:{line_of('label = ')}"] in lines
    assert ["command", f"python shop.py  {session['command'][:4]}"] in lines


def test_the_json_of_why_has_the_documented_fields(run, session):
    records = run("why", "--text", "dear wine", "--json").records

    assert [one["record"] for one in records] == ["trace_match"]
    assert set(records[0]) == set(FIELDS["trace_match"][1])
    assert (records[0]["session"], records[0]["command"]["event"]) == (session["trace"], session["command"])


def test_a_text_that_nothing_holds_says_so(run, session):
    told = run("why", "--text", "never said")

    assert (told.status, told.out) == (0, "")
    assert "No recorded line and no value" in told.err
    assert PROGRAM.count("never said") == 0
