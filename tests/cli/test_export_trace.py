"""`devtrace export` of recorded programs: what CodeTracer and Perfetto open."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from devtrace.store.trace_tables import trace_id
from tests.codetracer import Trace, plain
from tests.processes import environment
from tests.views.export.test_chrome import of, read_strictly

PROGRAM = """
import os, subprocess, sys
def add(a, b):
    return a + b
def main(again):
    add(1, 2)
    if again:
        subprocess.run([sys.executable, __file__], check=True)
        if not os.fork():
            add(3, 4)
            os._exit(0)
        os.wait()
main(len(sys.argv) > 1)
sys.exit(5 if len(sys.argv) > 1 else 0)
"""


@pytest.fixture
def traced(run, repo):
    """The session of a program that was recorded, and of those that it started."""
    run("init")
    (repo / "app.py").write_text(PROGRAM)
    subprocess.run(
        [sys.executable, "-m", "devtrace.recorder", "app.py", "again"],
        cwd=repo,
        env=environment(),
        check=False,
    )
    sessions = [one for one in run("sessions", "--json").records if one["kind"] == "recorder"]
    return [one["id"] for one in sorted(sessions, key=lambda one: one["started_us"])]


def test_codetracer_gets_its_directory(run, repo, traced):
    told = run("export", traced[0], "--format", "codetracer", "-o", "out/trace")

    trace = Trace(repo / "out/trace")
    assert told.out == f"Wrote {len(trace.events)} events to out/trace.\n"
    assert plain(trace.top.result[0]) == 5
    (add,) = trace.called("add")
    assert {name: plain(value) for name, value in add.arguments.items()} == {"a": 1, "b": 2}
    assert plain(add.result[0]) == 3
    assert trace.metadata["args"] == ["again"]
    assert trace.metadata["trace_filter"]["filters"]
    assert stat.S_IMODE((repo / "out/trace").stat().st_mode) == 0o700


def test_it_is_the_same_as_what_the_recorder_writes_itself(run, repo):
    run("init")
    (repo / "app.py").write_text("def f(x): return [x]\nf(1)\n")
    subprocess.run(
        [sys.executable, "-m", "devtrace.recorder", "-o", "own", "--format", "json", "app.py"],
        cwd=repo, env=environment(), check=True,
    )  # fmt: skip
    (session,) = (one["id"] for one in run("sessions", "--json").records if one["kind"] == "recorder")

    run("export", session, "--format", "codetracer", "-o", "exported")

    own, exported = Trace(repo / "own"), Trace(repo / "exported")
    assert own.events == exported.events
    assert own.metadata == exported.metadata


def test_chrome_gets_the_program_and_those_it_started(run, repo, traced):
    told = run("export", traced[0], "--format", "chrome", "-o", "trace.json")

    events = read_strictly((repo / "trace.json").read_text())
    adds = [event for event in of("B", events) if event["name"] == "add"]
    assert [event["args"]["arguments"] for event in adds] == [
        {"a": "1", "b": "2"}, {"a": "1", "b": "2"}, {"a": "3", "b": "4"},
    ]  # fmt: skip
    assert len({event["pid"] for event in adds}) == 3
    main = next(event for event in of("M", events) if event["name"] == "thread_name")
    assert main["tid"] == main["pid"]
    assert told.out.endswith("Open it at: https://ui.perfetto.dev\n")


def test_chrome_goes_to_stdout_where_no_file_is_named(run, traced):
    told = run("export", traced[0], "--format", "chrome")

    assert of("B", read_strictly(told.out))


def test_the_event_of_a_trace_is_the_trace(run, repo, traced):
    run("export", trace_id(traced[1]), "--format", "codetracer", "-o", "out")

    assert plain(Trace(repo / "out").top.result[0]) == 0


def test_a_program_that_was_killed_is_told_up_to_its_end(run, repo):
    run("init")
    (repo / "app.py").write_text("import os\ndef f(x):\n    os.kill(os.getpid(), 9)\nf(1)\n")
    subprocess.run(
        [sys.executable, "-m", "devtrace.recorder", "app.py"], cwd=repo, env=environment(), check=False
    )
    (session,) = (one["id"] for one in run("sessions", "--json").records if one["kind"] == "recorder")

    run("export", session, "--format", "codetracer", "-o", "out")
    read_strictly(run("export", session, "--format", "chrome").out)

    trace = Trace(repo / "out")
    assert plain(trace.top.result[0]) == "<exit>"
    assert plain(trace.called("f")[0].result[0]) == "<not recorded>"
    assert trace.called("f")[0].steps[-1][0] == 3


@pytest.mark.parametrize("form", ["codetracer", "chrome"])
def test_what_is_no_recorded_program_says_how_to_record_one(run, repo, recorded, form):
    session = recorded.session(took=None)
    recorded.command("make", 1, 2)
    recorded.end(3)

    told = run("export", session, "--format", form, "-o", "out")

    assert (told.status, "[ERR_USAGE]" in told.err) == (2, True)
    assert f"{form} is written of a recorded Python program" in told.err
    assert "devtrace record SCRIPT" in told.err
    assert not (repo / "out").exists()


def test_a_command_that_ran_programs_names_them(run, repo, recorded):
    session = recorded.session(took=None)
    command = recorded.command("python app.py", 1, 2)
    (repo / "app.py").write_text("x = 1\n")
    subprocess.run(
        [sys.executable, "-m", "devtrace.recorder", "app.py"], cwd=repo, check=True,
        env=environment(DEVTRACE_SESSION=session, DEVTRACE_SPAN=command),
    )  # fmt: skip

    told = run("export", command, "--format", "chrome")

    select = "SELECT id FROM sessions WHERE kind = 'recorder'"
    ((trace,),) = recorded.db.execute(select).fetchall()
    assert told.status == 2
    assert f"the programs that it started: {trace}" in told.err


@pytest.mark.parametrize("words", [(), ("-o", "-")])
def test_a_directory_must_be_named(run, traced, words):
    told = run("export", traced[0], "--format", "codetracer", *words)

    assert (told.status, told.out) == (2, "")
    assert "codetracer is a directory: name it [ERR_USAGE]" in told.err


@pytest.mark.parametrize("form", ["codetracer", "chrome"])
def test_which_program_must_be_said(run, traced, form):
    told = run("export", "--format", form, "-o", "out")

    assert (told.status, "[ERR_USAGE]" in told.err) == (2, True)


def test_a_file_in_the_place_of_the_directory_stays(run, repo, traced):
    (repo / "out").write_text("mine")

    told = run("export", traced[0], "--format", "codetracer", "-o", "out")

    assert (told.status, "[ERR_EXPORT_WRITE]" in told.err) == (1, True)
    assert (repo / "out").read_text() == "mine"


def test_other_files_of_the_directory_stay(run, repo, traced):
    (repo / "out").mkdir()
    (repo / "out" / "mine").write_text("mine")

    run("export", traced[0], "--format", "codetracer", "-o", "out")

    assert sorted(os.listdir(repo / "out")) == [
        "mine", "trace.json", "trace_metadata.json", "trace_paths.json",
    ]  # fmt: skip


def test_the_help_names_the_formats(run):
    told = run("export", "--help").out

    assert "chrome" in told
    assert "codetracer" in told
