"""`devtrace show EVENT`: everything that is known, and how it is known."""

from __future__ import annotations

import pytest

from devtrace.views.event import event_lines


@pytest.fixture
def shown(session_row, look, painted):
    def show(event, *children, width=100):
        short = {row["id"]: row["id"][:4] for row in (event, *children)} | {session_row()["id"]: "019aa6e0"}
        return painted(event_lines(event, session_row(), children, short, look(width)), width)

    return show


def test_an_event_tells_all_that_is_known(shown, command_row):
    data = {
        "pipestatus": [1, 0],
        "shell": "bash",
        "text_form": "normalised",
        "cwd_end": "/home/ana/api/src",
        "output": {"seen": 5_000_000, "head": 65536, "tail": 65536, "truncated": True, "stderr": 12},
    }
    event = command_row("make | tee log\ncd src", 3, 1.5, status="failed", exit_code=130, data=data)

    assert shown(event) == (
        "event       1111111111111111  run_command in session 019aa6e0\n"
        "command     make | tee log\n"
        "            cd src\n"
        "            (the shell joined the lines; it was typed differently)\n"
        "status      failed, exit 130 (SIGINT), of the pipeline 1 0; said by the shell\n"
        "time        2026-11-21 14:03:15.000000 +0000, took 1.5s\n"
        "where       /home/ana/api, then src\n"
        "source      agent:claude-code, typed at the prompt, bash, proven by the session's nonce\n"
        "output      4.8 MB, 12 B of it on stderr, kept: the first 64 KB and the last 64 KB\n"
    )


def test_nothing_of_a_long_command_is_cut(shown, command_row):
    assert "x" * 500 in shown(command_row("x" * 500), width=40)


def test_a_private_command_says_why_there_is_no_text(shown, command_row):
    event = command_row(
        None, title="$ (private: leading space)", data={"text_form": "private", "reason": "space"}
    )

    assert "(not recorded on purpose: space)" in shown(event)


def test_a_redacted_command_names_the_rules(shown, command_row):
    event = command_row("export X=[redacted:env:1234abcd]", data={"redacted": ["assignment"]})

    assert "(redacted by assignment)" in shown(event)


def test_an_unproven_record_says_so(shown, command_row):
    assert "without the nonce, and not from the session's process tree" in shown(command_row("ls", trusted=0))


def test_a_running_event_says_for_how_long(shown, command_row):
    event = command_row("npm run dev", 0, None, status="running", exit_code=None, exit_source=None)

    text = shown(event)

    assert "status      running\n" in text
    assert ", for 33m20s" in text


def test_an_end_that_was_seen_by_nobody(shown, command_row):
    event = command_row("vim", 0, None, status="interrupted", exit_code=None, exit_source="unknown")

    assert "status      interrupted; the end was never seen\n" in shown(event)


def test_children_and_parent_are_named(shown, command_row):
    outer = command_row("make", 0, 9)
    child = command_row("cc -c x.c", 1, 2, parent=outer["id"], status="failed")

    assert "inside      14:03:13     2.0s  ✗ 1  cc -c x.c  2222\n" in shown(outer, child)
    assert ", under 1111" in shown(child, outer)


def test_a_note_is_shown_whole(shown, other_row):
    event = other_row("note", "one\ntwo", data={"text": "one\ntwo"})

    assert "text        one\n            two\n" in shown(event)


def test_fields_of_a_kind_this_version_does_not_know_are_shown_too(shown, other_row):
    event = other_row(
        "browser_visit", "edit", data={"tool": "Edit\x1b[2J", "empty": None, "tool_b64": "eA=="}
    )

    assert "tool        Edit\\e[2J\n" in shown(event)
    assert "empty" not in shown(event)
    assert "b64" not in shown(event)


def test_signals_that_do_not_exist_are_not_named(shown, command_row):
    assert "exit 255;" in shown(command_row("false", status="failed", exit_code=255))


def test_no_escape_sequence_passes(shown, command_row):
    nasty = "\x1b]0;x\x07\u202e"
    event = command_row(nasty, cwd=nasty, actor=nasty, source=nasty, kind=nasty, exit_source=nasty)

    assert "\x1b" not in shown(event)
    assert "\u202e" not in shown(event)


def test_the_children_of_an_agent_do_not_flood_the_screen(shown, command_row):
    outer = command_row("claude", 0, 900)
    children = [command_row(f"step {number}", number, parent=outer["id"]) for number in range(300)]

    text = shown(outer, *children)

    assert "step 19" in text
    assert "step 20" not in text
    assert "... and 280 more" in text
