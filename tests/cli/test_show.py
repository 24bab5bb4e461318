"""`devtrace show`: the session, the event, the output."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.processes import CAN_OBEY, environment, obey_permissions


@pytest.fixture
def session(recorded):
    """One session with something of everything; its events by name."""
    ids = {"session": recorded.session(agent="codex", title="a title")}
    ids["make"] = recorded.command("make\nmore", 1, 5, printed=b"\x1b[32mgreen\x1b[0m\r\n10%\r100%\r\n")
    ids["nested"] = recorded.nested("cc x.c", ids["make"], 2, exit_code=1)
    ids["note"] = recorded.note("remember this", 7)
    ids["failed"] = recorded.command("false", 8, exit_code=1, printed=b"")
    ids["ls"] = recorded.command("ls", 9, printed=b"a b\r\n")
    recorded.end(20)
    return ids


def test_without_an_id_the_latest_session_is_shown(run, session):
    told = run("show")
    shown = ("make", "note", "failed", "ls")

    assert (told.status, told.err) == (0, "")
    lines = told.out.splitlines()
    assert lines[0] == f"session     {session['session'][:8]}  codex  a title"
    assert lines[4] == "record      complete; no gaps; every record proven"
    rows = [line for line in lines[6:] if line.startswith("  14:")]
    assert [session[name].startswith(row.split()[-1]) for name, row in zip(shown, rows, strict=True)] == [
        True
    ] * 4
    assert "make (+1 line)" in told.out
    assert "+ 1 nested, 1 failed" in told.out


def test_nested_commands_are_unfolded_when_asked(run, session):
    assert "cc x.c" not in run("show").out
    assert "cc x.c" in run("show", "--nested").out


def test_a_session_is_found_by_its_id_however_it_is_given(run, recorded, session):
    recorded.session(100, id="ff" * 16)

    for words in ([session["session"]], [session["session"][:12]], ["--session", session["session"][:12]]):
        assert "a title" in run("show", *words).out


def test_an_event_is_shown_in_full(run, session):
    told = run("show", session["make"])

    assert f"event       {session['make']}  run_command in session" in told.out
    assert "command     make\n            more\n" in told.out
    assert "inside      " in told.out
    assert "--output" in told.out.splitlines()[-1]


def test_an_event_is_found_within_its_session(run, session):
    assert run("show", session["ls"], "--session", session["session"]).out.startswith("event")
    assert run("show", f"{session['session']}/{session['ls'][:10]}").out.startswith("event")


@pytest.mark.parametrize("words", [("zz",), ("f" * 32,), ("--session", "zz"), ("f" * 16, "--session", "0")])
def test_an_unknown_id_is_status_2(run, session, words):
    told = run("show", *words)

    assert (told.status, told.out) == (2, "")
    assert "[ERR_ID_UNKNOWN]" in told.err


def test_an_ambiguous_id_names_the_candidates(run, recorded):
    recorded.session(id="ab" + "0" * 30)
    recorded.session(id="ab" + "1" * 30)

    told = run("show", "ab", "--json-errors")

    assert "[ERR_ID_AMBIGUOUS]" in told.err
    assert "ab" + "1" * 30 in told.err


def test_the_output_of_an_event_is_plain_in_a_pipe(run, session):
    assert run("show", session["make"], "--output").out == "green\n100%\n"
    assert run("show", session["make"], "--output", "--plain").out == "green\n100%\n"


def test_the_output_keeps_its_colours_when_asked(run, session):
    assert run("show", session["make"], "--output", "--colour").out == "\x1b[32mgreen\x1b[0m\n100%\n"


def test_the_output_of_a_session_is_its_transcript(run, session):
    assert run("show", "--output").out == "$ make\nmore\ngreen\n100%\n$ false\n$ ls\na b\n"


def test_filters_narrow_the_transcript(run, session):
    assert run("show", "--output", "--failed").out == "$ false\n"


def test_output_that_was_not_kept_is_an_error_with_its_reason(run, session):
    told = run("show", session["nested"], "--output")

    assert (told.status, "[ERR_NO_OUTPUT]" in told.err) == (2, True)
    assert " hint: " in told.err


def test_output_for_machines_is_a_record(run, session):
    (record,) = run("show", session["make"], "--output", "--json").records

    assert record["record"] == "output"
    assert record["event"] == session["make"]
    assert record["text"] == "green\n100%\n"
    assert record["truncated"] is False


def test_a_session_for_machines_is_its_row_and_its_events(run, session):
    first, *events = run("show", "--json").records

    assert (first["record"], first["id"], first["agent"]) == ("session", session["session"], "codex")
    assert [event["record"] for event in events] == ["event"] * 5
    assert {event["id"] for event in events} == set(session.values()) - {session["session"]}


def test_an_event_for_machines_is_one_object(run, session):
    (event,) = run("show", session["failed"], "--json").records

    assert (event["id"], event["exit_code"], event["data"]["command"]) == (session["failed"], 1, "false")


@pytest.mark.parametrize(
    ("words", "titles"),
    [
        (("--failed",), ["$ cc x.c", "$ false"]),
        (("--kind", "note"), ["remember this"]),
        (("--kind", "note,gap"), ["remember this"]),
        (("--limit", "1"), ["$ ls"]),
        (("-n", "2"), ["$ false", "$ ls"]),
        (("--actor", "human"), ["remember this"]),
        (("--since", "2026-11-21T14:03:20Z"), ["$ false", "$ ls"]),
        (("--until", "2026-11-21T14:03:13Z"), ["$ make\nmore"]),
        (("--path", "/nowhere"), []),
        (("--agent", "aider"), []),
    ],
)
def test_every_filter_narrows_the_list(run, session, words, titles):
    _, *events = run("show", "--json", *words).records

    assert [event["title"] for event in events] == titles


def test_a_failure_inside_a_command_is_not_hidden_by_a_filter(run, session):
    assert "cc x.c" in run("show", "--failed").out


def test_a_limit_says_what_it_left_out(run, session):
    assert "... 4 earlier events not shown" in run("show", "--limit", "1").out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--since", "soon"), "ERR_FILTER"),
        (("--until", "-"), "ERR_FILTER"),
        (("--since", "1h", "--until", "2h"), "ERR_FILTER"),
        (("--actor", "robot"), "ERR_FILTER"),
        (("--limit", "-1"), "ERR_FILTER"),
        (("--limit", "x"), "ERR_USAGE"),
        (("--agent", "clippy"), "ERR_AGENT_UNKNOWN"),
        (("--kind", "nonsense"), "ERR_EVENT_KIND"),
    ],
)
def test_a_filter_that_cannot_be_read_is_status_2(run, session, words, code):
    told = run("show", *words)

    assert (told.status, told.out) == (2, "")
    assert f"[{code}]" in told.err
    assert " hint: " in told.err


def test_a_running_command_is_shown_with_its_time_so_far(run, recorded):
    recorded.session()
    recorded.command("npm run dev", took=None)
    from devtrace.store.hold import hold

    held = hold(recorded.workspace, recorded.session_id)
    told = run("show")
    held.close()

    assert "still recording" in told.out
    assert "▶" in told.out


def test_a_killed_host_is_seen_by_the_next_reader(run, recorded):
    recorded.session()
    event = recorded.command("vim", took=None)

    told = run("show")

    assert "interrupted: the recording stopped without a word" in told.out
    assert "! lost" in told.out
    assert event[:4] in told.out


def test_an_empty_store_has_nothing_to_show(run, recorded):
    told = run("show")

    assert (told.status, "[ERR_NO_SESSION]" in told.err) == (2, True)
    assert "devtrace shell" in told.err


@pytest.fixture
def frozen(recorded, session):
    """The store as a read-only medium would have it: complete, and nobody may write."""
    recorded.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    recorded.close()
    paths = [recorded.workspace.dir, *recorded.workspace.dir.rglob("*")]
    before = {path: path.stat().st_mode for path in paths}
    for path, mode in before.items():
        path.chmod(mode & ~0o222)
    yield recorded.workspace
    for path, mode in before.items():
        if path.exists():
            path.chmod(mode)


@pytest.mark.skipif(not CAN_OBEY, reason="root cannot be held to permissions here")
def test_a_read_only_store_is_shown_as_it_was_left_and_says_so_once(run, frozen, session):
    for words in (["show"], ["log"], ["sessions"], ["stats"], ["show", session["make"], "--output"]):
        told = run(*words, preexec_fn=obey_permissions)

        assert told.status == 0
        assert told.out
        assert told.err.count("The store is shown as it was last left: ") == 1
        assert "[ERR_STORE_READONLY]" in told.err


@pytest.mark.skipif(not CAN_OBEY, reason="root cannot be held to permissions here")
@pytest.mark.parametrize(
    "words", [("note", "hello"), ("config", "set", "shell.output", "off"), ("init", "--register")]
)
def test_what_must_write_into_a_read_only_store_says_that_it_could_not(run, frozen, words):
    told = run(*words, preexec_fn=obey_permissions)

    assert (told.status, "[ERR_STORE_READONLY]" in told.err) == (1, True)


def on_a_terminal(repo, *words, columns=80, **env) -> str:
    """What a person sees in a terminal of that width."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "devtrace", *words], cwd=repo, env=environment(COLUMNS=str(columns), **env),
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # Linux says EIO where the other side is closed
        pass
    os.close(ours)
    process.wait(30)
    return seen.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colours_and_lines_that_fit(repo, recorded, session):
    recorded.command("echo " + "x" * 300)

    seen = on_a_terminal(repo, "show", session["session"], columns=60)

    assert "\x1b[1;31m✗ 1" in seen
    import re

    assert max(len(line) for line in re.sub(r"\x1b\[[0-9;]*m", "", seen).splitlines()[6:]) <= 60


def test_no_color_is_obeyed(repo, session):
    assert "\x1b[1;31m" not in on_a_terminal(repo, "show", NO_COLOR="1")


def test_output_on_a_terminal_keeps_its_colours_unless_told_otherwise(repo, session):
    assert "\x1b[32mgreen" in on_a_terminal(repo, "show", session["make"], "--output")
    assert "\x1b[32mgreen" not in on_a_terminal(repo, "show", session["make"], "--output", NO_COLOR="1")
    assert "\x1b[32mgreen" not in on_a_terminal(repo, "show", session["make"], "--output", "--plain")


def test_a_terminal_that_is_not_utf8_gets_escapes_instead_of_an_error(run, session):
    told = run("show", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})

    assert told.status == 0
    assert "\\u2717 1" in told.out


def test_hostile_text_in_the_store_cannot_act_on_the_terminal(repo, recorded):
    nasty = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m"
    recorded.session(title=nasty, branch=nasty, host=nasty, shell=nasty)
    event = recorded.command(f"echo {nasty}", body={"cwd": f"/tmp/{nasty}"}, printed=nasty.encode())
    recorded.note(nasty)
    recorded.gap(nasty)
    recorded.end(5)

    for words in (
        ["show"],
        ["show", event],
        ["show", event, "--output"],
        ["log"],
        ["sessions"],
        ["stats"],
        ["doctor"],
    ):
        seen = on_a_terminal(repo, *words)
        assert "\x1b]0;" not in seen
        assert "\x1b[2J" not in seen
        assert "\u202e" not in seen
        assert "\x9b" not in seen


def test_a_command_whose_end_came_late_is_one_line_with_its_end(run, recorded):
    session = recorded.session(took=9)
    lost = recorded.command("make", 1, None, status="interrupted", exit_code=None, exit_source="unknown")
    recorded.nested("cc", lost, 2)
    recorded.command("make", 1, 3, exit_code=2, printed=b"no rule\n", id=lost)

    told, stats = run("show", "--nested").out, run("stats").out

    assert told.count("make") == 1
    assert [line.split()[1:4] for line in told.splitlines() if "make" in line] == [["3.0s", "✗", "2"]]
    assert "    cc" in told
    assert "commands    1, 1 failed; 1 nested" in told
    assert "never seen" not in told
    assert stats.startswith("2 commands in 1 session, 1 failed, 1 nested,")
    assert run("log").out.count("make") == 1
    assert "failed, exit 2" in run("show", lost).out
    assert run("show", lost, "--output").out == "no rule\n"
    records = run("show", session, "--json").records
    assert [one["status"] for one in records[1:]] == ["interrupted", "failed", "ok"], "the record has both"


def test_the_first_commit_of_a_branch_is_shown(run, recorded):
    recorded.session(took=9, head_start=None, head_end="e933887a" + "0" * 32)

    assert " on main, then e933887a, bash on laptop" in run("show").out
