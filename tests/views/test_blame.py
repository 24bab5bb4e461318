"""The columns of `blame` and the story of `why`."""

from __future__ import annotations

from typing import Any

import pytest

from devtrace.views.blame import blame_lines, story_lines
from tests.views.conftest import SESSION, START

Row = dict[str, Any]

EVENT = "3f2a000000000000"
SHORT = {EVENT: "3f2a", SESSION: "019aa6e0"}


def line(number: int, text: str, **changes: Any) -> Row:
    """A recorded line of an agent's."""
    row: Row = {
        "path": "api.py", "line": number, "text": text, "event": EVENT, "session": SESSION,
        "actor": "agent:claude-code", "agent": "claude-code", "when_us": START, "command": "make fmt",
        "attribution": "command", "confidence": "window", "candidates": None, "status": "recorded",
        "by_time": False, "call": None, "tool": None, "prompt": None, "reason": None,
    }  # fmt: skip
    return row | changes


def nobodys(number: int, text: str, status: str = "before") -> Row:
    names = ("event", "session", "actor", "agent", "when_us", "command", "attribution", "confidence")
    return line(number, text, **dict.fromkeys(names), status=status)


def test_a_line_says_who_when_what_and_the_text(look, painted):
    rows = [nobodys(1, "import os"), line(2, "x = 1"), line(10, "y = 2", command="vim api.py", actor="human")]

    assert painted(blame_lines(rows, SHORT, look(None)), None).splitlines() == [
        f"-{'before recording':>52}   1  import os",
        "3f2a  claude-code  2026-11-21 14:03  make fmt           2  x = 1",
        "3f2a  human        2026-11-21 14:03  vim api.py        10  y = 2",
    ]


@pytest.mark.parametrize("width", [30, 60, 80, 100, 200])
def test_lines_fit_the_terminal(look, painted, width):
    rows = [line(number, "\tif a:" + "x" * 300, command="make " * 30) for number in range(1, 30)]

    shown = painted(blame_lines(rows, SHORT, look(width)), width)

    assert max(len(one) for one in shown.splitlines()) <= width
    assert "3f2a" in shown
    assert "        if a:x" in shown


def test_in_a_pipe_nothing_is_cut_and_tabs_stay(look, painted):
    (shown,) = painted(blame_lines([line(1, "\t" + "x" * 500)], SHORT, look(None)), None).splitlines()

    assert shown.endswith("\t" + "x" * 500)


def test_an_endless_line_is_cut_in_a_pipe_too(look, painted, story):
    endless = "L" * 200_000
    (shown,) = painted(blame_lines([line(1, endless)], SHORT, look(None)), None).splitlines()
    story |= {"text": endless, "replaced": line(7, endless, command=endless)}
    story["commands"][0]["title"] = f"$ {endless}"

    told = painted(story_lines(story, SHORT, look()), None)

    assert shown.endswith("L… (+198,000 characters)")
    assert max(map(len, [shown, *told.splitlines()])) < 2_100


def test_a_call_does_not_hide_that_a_line_is_ambiguous(look, painted):
    row = line(1, "x", status="ambiguous", call="s/c", tool="Edit", command="Edit: api.py", reason="So.")

    assert 'ambiguous: Edit "So.' in painted(blame_lines([row], SHORT, look(None)), None)


def test_what_is_known_by_its_time_alone_is_said_to_be(look, painted, story):
    by_command = painted(story_lines(story | {"by_time": True}, SHORT, look()))
    by_client = painted(story_lines(story | {"by_time": True, "actor": "unknown"}, SHORT, look()))

    assert "by claude-code, by time alone: a command of it ran then, and no call names the path" in by_command
    assert "14:03:12, by time alone: an agent itself ran then, and no call names the path" in by_client


def test_a_long_command_is_cut(look, painted):
    shown = painted(blame_lines([line(1, "x", command="a" * 99)], SHORT, look(None)), None)

    assert f"{'a' * 29}…  1  x" in shown


def test_the_rows_of_one_event_are_dimmed_after_the_first(look):
    first, second = blame_lines([line(1, "x"), line(2, "y")], SHORT, look())

    assert ("3f2a", "id") in first
    assert ("3f2a", "dim") in second
    assert ("make fmt", "dim") in second


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("before", "before recording"), ("outside", "outside any session"), ("background", "background"),
        ("unrecorded", "not recorded yet"), ("gap", "not known"), ("withheld", "withheld"),
    ],
)  # fmt: skip
def test_what_is_no_commands_is_never_shown_as_one(look, painted, status, words):
    shown = painted(blame_lines([nobodys(1, "x", status)], SHORT, look(None)), None)

    assert words in shown


def test_an_ambiguous_line_names_its_candidates(look, painted):
    row = nobodys(1, "x", "ambiguous") | {"candidates": [f"{SESSION}/77b0123456789abc", "background"]}

    shown = painted(blame_lines([row], SHORT, look(None)), None)

    assert "ambiguous: 77b0123456 or background" in shown


def test_texts_cannot_act_on_the_terminal(look, painted):
    evil = "\x1b[31m\u202e\r\n"
    rows = [line(1, evil, command=f"x{evil}", actor=f"agent:{evil}", path=evil)]

    for shown in (
        painted(blame_lines(rows, SHORT, look(None), paths=True), None),
        painted(blame_lines(rows, SHORT, look(200), paths=True), 200),
    ):
        assert not {"\x1b", "\u202e", "\r"} & set(shown)
        assert shown.count("\n") == 1


def test_a_carriage_return_at_the_end_of_a_line_is_not_shown(look, painted):
    assert painted(blame_lines([line(1, "x\r")], SHORT, look(None)), None).endswith("  x\n")


@pytest.fixture
def story(command_row, other_row, session_row) -> Row:
    sed, make = command_row("sed -i s/a/b/ api.py", at=1, took=0.2), command_row("make\nmore", took=9)
    return line(2, "x = 1") | {
        "edit": other_row("edit_files", "+1 -1 api.py", id=EVENT),
        "commands": [sed | {"status": "failed", "exit_code": 2}, make],
        "calls": [],
        "of_session": session_row(title="a label"),
        "suspects": [],
        "commit": other_row("git_commit", "commit 1a2b3c4d Add", at=20),
        "replaced": line(7, "x = 0", actor="human", command="vim"),
    }


def test_a_story_is_told_from_the_line_outwards(look, painted, story):
    ids = {row["id"]: "77b0" for row in (*story["commands"], story["commit"])}

    assert painted(story_lines(story, SHORT | ids, look())) == (
        "line        api.py:2\n"
        "            x = 1\n"
        "written     2026-11-21 14:03:12 by claude-code\n"
        "edit        +1 -1 api.py, by command: while it ran, and nothing else that is recorded  3f2a\n"
        "command     sed -i s/a/b/ api.py  77b0\n"
        "            2026-11-21 14:03:13, exit 2, took 200ms\n"
        "inside      make  77b0\n"
        "            more\n"
        "            2026-11-21 14:03:12, exit 0, took 9.0s\n"
        "session     claude-code  a label  since 2026-11-21 14:03:12  019aa6e0\n"
        "commit      commit 1a2b3c4d Add, 2026-11-21 14:03:32  77b0\n"
        "replaced    x = 0\n"
        "            2026-11-21 14:03:12 by human: vim  3f2a\n"
    )


def test_a_story_without_an_edit_says_why(look, painted):
    story = nobodys(1, "x") | {"edit": None, "commands": [], "of_session": None, "suspects": []}
    story |= {"commit": None, "replaced": None, "calls": []}

    assert painted(story_lines(story, SHORT, look())) == (
        "line        api.py:1\n"
        "            x\n"
        "written     before recording: it was there before recording began\n"
    )


def test_an_ambiguous_story_lists_the_suspects(look, painted, story):
    story |= {"status": "ambiguous", "commands": [], "suspects": story["commands"], "actor": "unknown"}

    shown = painted(story_lines(story, SHORT, look())).splitlines()

    assert shown[2] == "written     2026-11-21 14:03:12, ambiguous: more than one may have done it"
    assert [one.split()[:2] for one in shown if one.startswith(("maybe", "or "))] == [
        ["maybe", "sed"],
        ["or", "make"],
    ]
