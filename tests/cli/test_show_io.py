"""`devtrace show --io`: what a recorded program printed and read, and which line did."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from devtrace.views.jsonl import FIELDS
from tests.processes import DEADLINE, environment
from tests.terminals import Terminal
from tests.traces import line_of, record, take_in

SOURCE = """\
import sys
import threading


def work(word):
    print("working on", word)
    print("no price", file=sys.stderr)


def main():
    sys.stdout.write("to")
    sys.stdout.write("tal\\n")
    for n in (0, 50, 100):
        print(f"\\r{n}%", end="", flush=True)
    print()
    thread = threading.Thread(target=work, args=("ham",), name="helper")
    thread.start()
    thread.join()
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\\x1b[31m\\xff\\n")


main()
"""
WRITTEN = b"total\n\r0%\r50%\r100%\nworking on ham\n\x1b[31m\xff\n"


@pytest.fixture
def session(recorded):
    """A session with a command that printed what that program does."""
    ids = {"session": recorded.session(took=None)}
    shown = b"before\r\n" + WRITTEN.replace(b"\n", b"\r\n") + b"no price\r\n"
    ids["command"] = recorded.command("python shop.py", 1, printed=shown)
    record(recorded.workspace, source=SOURCE, DEVTRACE_SESSION=ids["session"], DEVTRACE_SPAN=ids["command"])
    recorded.end(20)
    ids["trace"] = take_in(recorded.workspace)
    return ids


def at(text):
    return f"shop.py:{line_of(text, SOURCE)}"


def test_each_line_stands_beside_the_place_that_wrote_it(run, session):
    told = run("show", session["trace"], "--io")

    assert (told.status, told.err) == (0, "")
    lines = [line.split(maxsplit=2) for line in told.out.splitlines()]
    assert ["MainThread", at('"to"'), "to"] in lines
    assert ["MainThread", at('"tal'), "…tal"] in lines
    assert ["MainThread", at("{n}%"), "100%  drawn 3 times"] in lines
    assert ["helper", at("working on"), "working on ham"] in lines
    assert ["helper", at("no price"), "! no price"] in lines
    assert ["MainThread", at("xff"), r"\xff"] in lines
    assert "\x1b" not in told.out


def test_without_an_id_it_is_the_newest_trace(run, session):
    assert run("show", "--io").out == run("show", session["trace"], "--io").out


def test_the_last_lines_say_what_the_terminal_shows(run, session):
    lines = run("show", "--io").out.splitlines()

    assert lines[-2].startswith("terminal  5 lines stand in their order in what it shows of python shop.py")
    assert lines[-2].endswith(f"{session['command'][:4]}  approximate")
    assert lines[-1].strip() == "7 B of that came from elsewhere"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--stream", "stderr"), ["no price"]),
        (("--thread", "helper"), ["working on ham", "no price"]),
        (("--function", "work", "--stream", "stdout"), ["working on ham"]),
        (("--file", "shop.py", "--limit", "1"), [r"\xff"]),
        (("--stream", "stdin"), []),
    ],
)
def test_it_is_narrowed_by_stream_thread_function_and_file(run, session, words, expected):
    told = run("show", "--io", *words)

    assert told.status == 0
    shown = [line.split("  ")[-1].removeprefix("! ").strip() for line in told.out.splitlines()]
    assert shown == expected
    assert ("Nothing that fits" in told.err) == (not expected)


def test_raw_is_what_was_written_byte_by_byte(repo, recorded, session):
    words = [sys.executable, "-m", "devtrace", "show", "--io", "--raw"]

    def raw(*more):
        asked = subprocess.run(
            [*words, *more], cwd=repo, env=environment(), capture_output=True, timeout=DEADLINE, check=True
        )
        return asked.stdout

    assert raw("--stream", "stdout") == WRITTEN
    assert raw("--stream", "stderr") == b"no price\n"
    assert sorted(raw()) == sorted(WRITTEN + b"no price\n")


def test_the_json_of_each_record_has_the_documented_fields(run, session):
    records = run("show", "--io", "--json").records

    assert {one["record"] for one in records} == {"trace_io", "terminal"}
    for one in records:
        assert set(one) == set(FIELDS[one["record"]][1])
    told = records[-1]
    assert (told["record"], told["confidence"], told["n_found"]) == ("terminal", "approximate", 5)
    assert [one["record"] for one in run("show", "--io", "--json", "--limit", "2").records] == [
        "trace_io"
    ] * 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--stream", "stdout"), "ERR_USAGE"),
        (("--raw",), "ERR_USAGE"),
        (("--io", "--raw", "--json"), "ERR_USAGE"),
        (("--io", "--raw", "--limit", "1"), "ERR_USAGE"),
        (("--io", "--depth", "1"), "ERR_USAGE"),
        (("--io", "--min-ms", "1"), "ERR_USAGE"),
        (("--io", "--lines", "work"), "ERR_USAGE"),
        (("--io", "--exceptions"), "ERR_USAGE"),
        (("--io", "--stream", "stdlog"), "ERR_FILTER"),
        (("--io", "--thread", "ghost"), "ERR_FILTER"),
        (("--io", "--function", "nobody"), "ERR_FILTER"),
    ],
)
def test_what_cannot_be_answered_is_refused(run, session, words, code):
    told = run("show", session["trace"], *words, "--json-errors")

    assert (told.status, told.out) == (2, "")
    assert json.loads(told.err.splitlines()[-1])["error"]["code"] == code


def test_raw_of_what_was_pruned_says_so(run, recorded, session):
    recorded.db.execute("DELETE FROM trace_chunks")
    recorded.db.commit()
    told = run("show", "--io", "--raw", "--json-errors")

    assert json.loads(told.err.splitlines()[-1])["error"]["code"] == "ERR_NO_OUTPUT"
    assert "no longer kept" in run("show", "--io").out


def test_the_head_of_the_trace_says_how_much_was_printed(run, session):
    lines = run("show", session["trace"]).out.splitlines()

    (told,) = [line for line in lines if line.startswith("printed ")]
    short = lines[0].split()[1]
    assert told.split(maxsplit=1)[1] == f"4 lines to stdout, 1 line to stderr; see show {short} --io"
    assert run("show", session["trace"], "--json").records[0]["io"]["stdout"]["bytes"] == len(WRITTEN)


def test_beside_a_line_stands_what_it_printed(run, session):
    lines = run("show", "--lines", "work").out.splitlines()

    assert any(line.endswith(r"printed 'working on ham\n'") for line in lines)


def test_why_tells_who_printed_a_text(run, session):
    told = run("why", "--text", "working on h")

    lines = [line.split(maxsplit=1) for line in told.out.splitlines()]
    assert ["printed", "'working on ham'  to stdout"] in lines
    assert ["in", f"work  {at('working on')}"] in lines
    assert ["command", f"python shop.py  {session['command'][:4]}"] in lines
    (found,) = run("why", "--text", "working on h", "--json").records
    assert set(found) == set(FIELDS["trace_match"][1])


def test_the_export_for_codetracer_holds_what_was_printed(run, repo, session):
    run("export", session["trace"], "--format", "codetracer", "-o", str(repo / "out"))

    events = json.loads((repo / "out" / "trace.json").read_text())
    printed = [one["Event"] for one in events if "Event" in one]
    assert {one["kind"] for one in printed} == {0, 2}
    assert "".join(one["content"] for one in printed if one["kind"] == 2) == "no price\n"


# --- on a terminal ------------------------------------------------------------------------------------------


def test_on_a_terminal_stderr_has_a_colour_besides_its_mark(repo, recorded, session):
    words = [sys.executable, "-m", "devtrace", "show", "--io", "--thread", "helper"]
    with Terminal(words, env=environment(DEVTRACE_PAGER="cat"), cwd=repo) as terminal:
        assert terminal.wait_exit() == 0

    (told,) = [line for line in terminal.text.splitlines() if "no price" in line]
    assert "\x1b[31m! " in told
    assert "\x1b[31mno price" in told


def test_raw_bytes_are_kept_from_a_terminal(repo, recorded, session):
    words = [sys.executable, "-m", "devtrace", "show", "--io", "--raw"]
    with Terminal(words, env=environment(), cwd=repo) as terminal:
        assert terminal.wait_exit() == 2

    assert "for a pipe or a file" in terminal.text
    assert "working on" not in terminal.text


def test_a_program_in_a_traced_shell_is_held_against_what_its_terminal_showed(repo, recorded, run):
    (repo / "shop.py").write_text(SOURCE)
    words = ["-m", "devtrace", "run", "--", sys.executable, "-m", "devtrace.recorder", "shop.py"]
    with Terminal([sys.executable, *words], env=environment(), cwd=repo) as terminal:
        assert terminal.wait_exit() == 0
    take_in(recorded.workspace)

    told = run("show", "--io", "--json").records[-1]

    assert (told["record"], told["n_lines"], told["n_found"]) == ("terminal", 5, 5)
    assert (told["n_elsewhere"], told["is_whole"]) == (0, True)


def test_of_a_program_at_work_it_is_said_that_more_will_come(repo, recorded, run):
    (repo / "wait.py").write_text("print('on', flush=True)\ninput()\n")
    with subprocess.Popen(
        [sys.executable, "-m", "devtrace.recorder", "wait.py"],
        cwd=repo,
        env=environment(DEVTRACE_DIR=str(recorded.workspace.dir)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"on\n"
        told = run("show", "--io")
        assert program.stdin is not None
        program.stdin.close()
        program.wait(DEADLINE)

    assert (told.status, "still running" in told.err) == (0, True)
    assert "still running" not in run("show", "--io").err


def test_the_log_tells_of_the_program_and_of_what_it_printed_only_where_that_is_asked_for(run, session):
    def kinds(*words):
        told = run("log", "--json", *words).out
        return {json.loads(line)["kind"] for line in told.splitlines()}

    assert kinds() >= {"run_command", "python_trace"}
    assert "io" not in kinds()
    assert kinds("--kind", "io") == {"io"}
