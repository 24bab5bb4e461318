"""`devtrace probe`: real programs of a store are asked by real commands, in the words of the user."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace import bootstrap
from tests.cli.conftest import Told
from tests.processes import DEADLINE, environment
from tests.recorded import Recorded

Run = Callable[..., Told]

HANDLERS = """\
class User:
    def __init__(self, id):
        self.id = id
        self.password = "correct horse"


def load(user, limit=2):
    # the amount
    total = user.id * limit
    return total
"""
# It works until its stdin is closed.
APP = """\
import select
import sys

print("ready", flush=True)
import handlers

n = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    n += 1
    handlers.load(handlers.User(n))
"""
IDLE = 'import select, sys\nprint("ready", flush=True)\nselect.select([sys.stdin], [], [])\n'


@pytest.fixture
def store(repo: Path, recorded: Recorded) -> Recorded:
    """A store with a session, in whose command the programs run."""
    (repo / "handlers.py").write_text(HANDLERS)
    (repo / "app.py").write_text(APP)
    (repo / "idle.py").write_text(IDLE)
    recorded.session()
    return recorded


@pytest.fixture
def start(repo: Path, store: Recorded) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start("app.py")`: a program of the traced shell, as soon as it runs."""
    programs: list[subprocess.Popen[str]] = []
    span = store.command("python app.py", took=None)

    def begin(*words: str, **changes: str) -> subprocess.Popen[str]:
        env = environment(**{
            "PYTHONPATH": bootstrap.FOLDER, "DEVTRACE_DIR": str(store.workspace.dir),
            "DEVTRACE_SESSION": store.session_id, "DEVTRACE_SPAN": span,
        } | changes)  # fmt: skip
        program = subprocess.Popen(
            [sys.executable, *words],
            cwd=repo,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        programs.append(program)
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        return program

    yield begin
    for program in programs:
        program.kill()
        program.wait(DEADLINE)
        for pipe in (program.stdin, program.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


def added(told: Told) -> dict[str, Any]:
    """The one record of `probe add --json`."""
    (record,) = told.records
    return record


# --- hits -------------------------------------------------------------------------------------------------


def test_a_logpoint_is_hit_while_the_program_runs_on(run: Run, start):
    program = start("app.py")

    told = run("probe", "add", "handlers.py:9", "--log", "user {user.id}", "--wait", "2", "--json")

    record = added(told)
    assert (told.status, record["status"], record["code"]) == (0, "installed", "")
    assert [one["name"] for one in record["hits"][:2]] == ["probe.hit.logpoint"] * 2
    assert record["hits"][0]["payload"]["message"].startswith("user ")
    assert [one["pid"] for one in record["processes"]] == [program.pid]
    assert program.poll() is None


def test_numbers_with_a_fraction_come_back_as_they_were(run: Run, start):
    start("app.py")

    hit = added(run("probe", "add", "handlers.py:9", "--watch", "1.5 * user.id", "--wait", "1", "--json"))

    watched = hit["hits"][0]["payload"]["watch"]["1.5 * user.id"]
    assert (type(watched), (watched / 1.5).is_integer()) == (float, True)
    assert "unfit_frame" not in run("log", "--kind", "gap", "--json").out


def test_a_hit_stands_under_the_command_that_started_the_program(run: Run, start, store: Recorded):
    start("app.py")
    hit = added(run("probe", "add", "handlers.py:9", "--wait", "1", "--json"))["hits"][0]

    (event,) = [
        one for one in run("log", "--kind", "probe_hit", "--json").records if one["data"]["uuid"] == hit["id"]
    ]
    (command,) = [one for one in run("show", "--json").records if one.get("kind") == "run_command"]
    assert (event["session"], event["parent"]) == (store.session_id, command["id"])
    assert "handlers.py:9 load: user=User limit=2" in run("show", "--nested").out


def test_a_busy_probe_does_not_flood_the_timeline(run: Run, start):
    start("app.py")
    run("probe", "add", "handlers.py:9", "--rate", "1000/s:100", "--wait", "9")
    run("probe", "rm", "--all")

    folded, whole = run("show", "--folded").out, run("show", "--nested").out

    assert re.search(r"and \d+ more hits of handlers.py:9, the last \d\d:\d\d:\d\d", folded)
    assert folded.count("handlers.py:9 load: ") < 9 <= whole.count("handlers.py:9 load: ")


def test_a_snapshot_in_full_names_the_variables_and_hides_the_secret(run: Run, start):
    start("app.py")
    run("probe", "add", "handlers.py:10", "--watch", "user.id * 2", "--wait", "1")

    event = run("log", "--kind", "probe_hit", "--json", "-n", "1").records[0]["id"]
    shown = run("show", event).out

    assert "locals      limit = 2" in shown
    assert "user = handlers.User(id=" in shown
    assert "password='***REDACTED***'" in shown
    assert "watch       user.id * 2 = " in shown
    assert "in load" in shown.partition("stack")[2]
    assert "correct horse" not in shown


def test_a_hit_is_told_as_it_comes(run: Run, start):
    start("app.py")

    told = run("probe", "add", "handlers.py:9", "--log", "user {user.id}", "--wait", "1")

    assert told.status == 0
    assert "at handlers.py:9: installed in 1 process." in told.out
    assert "handlers.py:9 load: user " in told.out


def test_what_a_snapshot_found_stands_below_it(run: Run, start):
    start("app.py")

    told = run("probe", "add", "handlers.py:10", "--if", "limit == 2", "--wait", "1")

    lines = [line.strip() for line in told.out.splitlines()]
    assert "limit = 2" in lines
    assert any(line.startswith("user = handlers.User(") for line in lines)
    assert "correct horse" not in told.out


def test_hits_are_left_out_where_the_condition_is_false(run: Run, start):
    start("app.py")

    words = ("--if", "user.id % 10 == 0", "--log", "{user.id}", "--wait", "2", "--json")
    record = added(run("probe", "add", "handlers.py:9", *words))

    assert {int(one["payload"]["message"]) % 10 for one in record["hits"]} == {0}


def test_what_fails_meanwhile_is_told_beside_the_hits(run: Run, start):
    program = start("app.py")

    words = ("--if", "nobody.id > 3", "--wait", "1", "--timeout", "1", "--json")
    record = added(run("probe", "add", "handlers.py:9", *words))

    assert record["hits"] == []
    assert record["errors"][0]["payload"]["error"] == "NameError: name 'nobody' is not defined"
    assert program.poll() is None


def test_tail_writes_the_documented_events(run: Run, start):
    start("app.py")
    identity = added(run("probe", "add", "handlers.py:9", "--wait", "1", "--json"))["id"]

    events = run("probe", "tail", identity[:6], "--no-follow", "--json").records

    assert [set(one) for one in events] == [{"name", "timestamp", "id", "client", "payload"}] * len(events)
    assert events[0]["name"] == "probe.status.set"
    assert {"probe.status.installed", "probe.hit.snapshot"} <= {one["name"] for one in events}
    assert {one["payload"]["probeId"] for one in events} == {identity}


# --- how far it came --------------------------------------------------------------------------------------


def test_a_probe_waits_for_a_file_that_is_not_imported(run: Run, start):
    start("idle.py")

    told = run("probe", "add", "handlers.py:9")

    assert told.status == 1
    assert "pending in 1 process." in told.out
    assert "idle.py  pending: the file is not imported yet" in told.out


def test_each_program_in_which_it_does_not_sit_has_a_line(run: Run, start):
    start("app.py")
    start("app.py")
    start("idle.py")

    told = run("probe", "add", "handlers.py:9")

    assert told.status == 0
    assert "installed in 2 of 3 processes." in told.out
    assert told.out.count("pending: the file is not imported yet") == 1


def test_without_a_program_it_is_set_for_those_that_start(run: Run, store: Recorded):
    told = run("probe", "add", "handlers.py:9", "--json")

    assert (told.status, added(told)["status"]) == (1, "pending")
    assert "no Python program of this store runs; it is set for those that start until " in (
        run("probe", "add", "handlers.py:9").out
    )


def test_a_program_that_starts_later_has_the_probe_from_its_first_line_on(run: Run, start):
    run("probe", "add", "handlers.py:9", "--log", "{user.id}", "--tag", "early")
    start("app.py")

    (probe,) = run("probe", "list", "--tag", "early", "--json").records

    assert (probe["status"], probe["installed"]) == ("installed", 1)


def test_a_probe_is_set_in_a_program_by_the_name_of_a_function(run: Run, start):
    start("app.py")

    told = run("probe", "add", "handlers:load@exit", "--wait", "1", "--json")

    payload = added(told)["hits"][0]["payload"]
    assert (payload["at"], payload["method"]) == ("return", "load")
    assert payload["snapshot"]["returnValue"] == payload["snapshot"]["locals"]["total"]


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["handlers.py:8"], "INVALID_LINE", "error: line 8 is a comment [INVALID_LINE]\n hint: try 7 or 9"),
        (["handlers.py:99"], "INVALID_LINE", "the file ends with line 10"),
        (["handlers.py:nobody"], "FUNCTION_NOT_FOUND", "handlers.py defines no nobody"),
        (["handlers.py"], "INVALID_LOCATION", "names no line and no function"),
        (["nowhere.py:1"], "FILE_NOT_FOUND", "nowhere.py is found nowhere"),
        (["handlers.py:9", "--if", "a b"], "INVALID_CONDITION", "Invalid condition: invalid syntax"),
        (["handlers.py:9", "--log", "{a"], "INVALID_TEMPLATE", "a { without a }"),
        (["handlers.py:9", "--hit", "x"], "INVALID_HIT_CONDITION", "a hit count is a number"),
        (["handlers.py:9", "--watch", "user.password"], "HIDDEN_NAME", "password is a secret's name"),
        (["handlers.py:9", "--max-hits", "0"], "INVALID_FIELD", "maxHits must be a whole number"),
    ],
)
def test_what_cannot_be_is_refused_and_not_set(run: Run, store: Recorded, words, code, told):
    for_people = run("probe", "add", *words)
    for_machines = run("probe", "add", *words, "--json")

    assert (for_people.status, for_machines.status) == (2, 2)
    assert told in for_people.err
    assert f"[{code}]" in for_people.err
    record = added(for_machines)
    assert (record["id"], record["status"], record["code"]) == (None, "refused", code)
    assert run("probe", "list", "--json").records == []


def test_a_line_that_only_a_program_can_judge_is_taken_back(run: Run, start, repo: Path):
    start("app.py")

    told = run("probe", "add", "--map", f"{repo}=/nowhere", "handlers.py:8", "--json")
    judged = run("probe", "add", "handlers:8", "--json", cwd=_elsewhere(repo))

    assert (told.status, added(told)["status"]) == (2, "refused")
    assert (judged.status, added(judged)["code"]) == (2, "INVALID_LINE")
    assert run("probe", "list", "--json").records == []


def _elsewhere(repo: Path) -> Path:
    (repo / "docs").mkdir()
    return repo / "docs"


def test_the_nearest_line_is_taken_where_that_is_asked_for(run: Run, start):
    start("app.py")

    told = run("probe", "add", "handlers.py:8", "--nearest", "--json")

    assert (told.status, added(told)["status"]) == (0, "installed")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--rate", "fast"], "write 10/s"),
        (["--ttl", "soon"], "write 90s"),
        (["--map", "here"], "write FROM=TO"),
        (["--log", "a", "--snapshot"], "leave one of them out"),
        (["--wait", "-1"], "write --wait 1, or leave it out"),
        (["--wait", "1", "--timeout", "nan"], "write seconds: --timeout 30"),
        (["--wait", "1", "--timeout", "inf"], "write seconds: --timeout 30"),
        (["--wait", "1", "--timeout", "-1"], "write seconds: --timeout 30"),
        (["--rate", "nan"], "write 10/s"),
        (["--ttl", "-1"], "write 90s"),
    ],
)
def test_an_option_that_cannot_be_read_says_how_it_is_written(run: Run, store: Recorded, words, hint):
    told = run("probe", "add", "handlers.py:9", *words)

    assert (told.status, "[ERR_USAGE]" in told.err) == (2, True)
    assert hint in told.err
    assert run("probe", "list", "--json").records == []


# --- changing ---------------------------------------------------------------------------------------------


def test_probes_are_removed_by_the_start_of_their_id_by_tag_and_all(run: Run, store: Recorded):
    first = added(run("probe", "add", "handlers.py:9", "--json"))["id"]
    run("probe", "add", "handlers.py:9", "--tag", "x")
    run("probe", "add", "handlers.py:10")

    assert run("probe", "rm", first[:8]).out.startswith("Removed 1 probe.\n")
    assert run("probe", "rm", "--tag", "x").out.startswith("Removed 1 probe.\n")
    assert run("probe", "rm", "--all").out.startswith("Removed 1 probe.\n")
    assert run("probe", "list", "--json").records == []


def test_a_probe_that_is_removed_is_taken_out_of_the_program(run: Run, start):
    start("app.py")
    run("probe", "add", "handlers.py:9")
    run("probe", "rm", "--all")

    (program,) = run("probe", "ps", "--json").records

    assert (program["reachable"], program["points"]) == (True, 0)


def test_a_probe_is_disabled_and_enabled(run: Run, start):
    start("app.py")
    run("probe", "add", "handlers.py:9", "--tag", "x")

    run("probe", "disable", "--tag", "x")
    assert [one["enabled"] for one in run("probe", "list", "--json").records] == [False]
    assert "disabled" in run("probe", "list").out
    run("probe", "enable", "--tag", "x")
    assert [one["enabled"] for one in run("probe", "list", "--json").records] == [True]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["rm"], "ERR_USAGE"),
        (["rm", "zz"], "POINT_NOT_FOUND"),
        (["disable", "--tag", "x"], "POINT_NOT_FOUND"),
    ],
)
def test_an_order_without_a_probe_says_so(run: Run, store: Recorded, words, code):
    told = run("probe", *words)

    assert (told.status, f"[{code}]" in told.err) == (2, True)


# --- programs ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="the environment of others is seen on Linux alone")
def test_ps_says_why_a_python_cannot_be_asked(run: Run, start):
    reached = start("idle.py")
    apart = start("-S", "idle.py")
    off = start("idle.py", DEVTRACE_PROBES="0")

    found = {one["pid"]: one for one in run("probe", "ps", "--json").records}

    assert found[reached.pid]["reason"] == ""
    assert found[apart.pid]["reason"].startswith("it was started with -S")
    assert found[off.pid]["reason"] == "it was started with DEVTRACE_PROBES=0"
    assert "it was started with -S" in run("probe", "ps").out


def test_no_answer_holds_a_secret_of_a_command_line(run: Run, start):
    token = "ghp_0123456789abcdefghij0123456789ABCDEF"
    start("app.py", "--token", token, "--password=hunter2")
    start("-S", "idle.py", "--password", "hunter2")
    words = ("probe", "add", "handlers:load", "--log", "x")

    told = [run(*one) for one in (("probe", "ps"), ("probe", "ps", "--json"), ("probe", "list", "--json"))]
    told += [run(*words), run(*words, "--json"), run("probe", "list", "--json")]

    for one in told:
        assert token not in one.out + one.err
        assert "hunter2" not in one.out + one.err
    assert "--token '[redacted:github-token:" in told[0].out


@pytest.mark.skipif(sys.platform != "linux", reason="which program a process runs is seen on Linux alone")
def test_a_program_that_another_one_started_by_exec_is_none_of_ours(run: Run, start):
    program = start("app.py")
    ended = start("-c", "import os; os.execv('/bin/sh', ['sh', '-c', 'echo ready; read line'])")

    found = run("probe", "ps", "--json").records
    record = added(run("probe", "add", "handlers.py:9", "--json"))

    assert [one["pid"] for one in found] == [program.pid]
    assert [one["pid"] for one in record["processes"]] == [program.pid]
    assert ended.poll() is None


def test_ps_without_a_program_says_how_to_start_one(run: Run, store: Recorded):
    told = run("probe", "ps")

    assert (told.status, told.out) == (0, "")
    assert "No Python program of this store runs." in told.err


def test_attach_tells_a_program_that_can_be_asked_already(run: Run, start):
    program = start("idle.py")

    assert "could be asked already" in run("probe", "attach", str(program.pid)).out


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python lets itself be entered")
def test_attach_says_why_a_program_cannot_be_entered(run: Run, start):
    apart = start("-I", "idle.py")

    told = run("probe", "attach", str(apart.pid))

    assert told.status == 1
    assert "it was started with -I" in told.err
    assert "only 3.14 and newer let themselves be entered" in told.err


def test_attach_knows_processes_that_are_none_or_no_python(run: Run, store: Recorded):
    ended = subprocess.Popen(["true"])
    ended.wait(DEADLINE)

    assert f"there is no process {ended.pid}" in run("probe", "attach", str(ended.pid)).err
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        assert "it is no Python" in run("probe", "attach", str(other.pid)).err
        other.terminate()


# --- the receiver -----------------------------------------------------------------------------------------


def test_the_receiver_shows_what_a_program_sends(repo: Path, store: Recorded, start, run: Run):
    words = [sys.executable, "-m", "devtrace", "probe", "sink", "--port", "0", "--json"]
    with subprocess.Popen(
        words, cwd=repo, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as sink:
        try:
            assert sink.stderr is not None
            assert sink.stdout is not None
            url = sink.stderr.readline().split()[2].rstrip(";")
            start("app.py", DEBUGIN_EVENT_SINK_URL=url)
            run("probe", "add", "handlers.py:9", "--log", "hello")
            event: dict[str, Any] = {}
            while event.get("name") != "probe.hit.logpoint":
                event = json.loads(sink.stdout.readline())
        finally:
            sink.kill()

    assert event["payload"]["message"] == "hello"


def test_a_port_that_is_taken_is_told(run: Run, store: Recorded):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = run("probe", "sink", "--port", str(taken.getsockname()[1]))

    assert (told.status, "[ERR_IO]" in told.err) == (1, True)


@pytest.mark.parametrize("port", ["-1", "70000"])
def test_a_port_that_is_none_is_told(run: Run, store: Recorded, port):
    told = run("probe", "sink", "--port", port)

    assert (told.status, "[ERR_USAGE]" in told.err) == (2, True)


def test_nothing_is_printed_into_the_program(run: Run, start):
    program = start("app.py")
    run("probe", "add", "handlers.py:9", "--log", "user {user.id}", "--wait", "1")
    run("probe", "rm", "--all")
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.close()

    assert program.stdout.read() == ""
    assert program.wait(DEADLINE) == os.EX_OK
