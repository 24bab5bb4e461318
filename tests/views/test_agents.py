"""What agents were told, said and did, in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devtrace.query.accounts import CALL
from devtrace.views.blame import blame_lines, story_lines
from devtrace.views.event import event_lines
from devtrace.views.timeline import timeline
from tests.views.conftest import SESSION
from tests.views.test_blame import SHORT, line

Row = dict[str, Any]


@pytest.fixture
def call() -> Row:
    """A tool call as the query tells it."""
    empty: Row = dict.fromkeys(CALL)
    return empty | {
        "session": SESSION, "event": f"{SESSION}/aa11", "events": [f"{SESSION}/aa11"],
        "told_by": ["hook", "transcript"], "status": "ok", "agent": "claude-code", "native": "n",
        "tool": "Edit", "does": "edit", "paths": ["api.py"], "interrupted": False, "edits": [], "differs": [],
        "prompts": [{"session": SESSION, "event": "bb22", "text": "Mend it.\nAll of it.", "subagent": None}],
        "reason": {"session": SESSION, "event": "cc33", "text": "The discount is\na percentage.\n"},
    }  # fmt: skip


@pytest.fixture
def story(command_row, other_row, call) -> Row:
    return line(2, "x = 1") | {
        "edit": other_row("edit_files", "+1 -1 api.py", id="3f2a000000000000"),
        "calls": [call],
        "commands": [command_row("claude", id="dd44")],
        "of_session": None,
        "suspects": [],
        "commit": None,
        "replaced": None,
    }


def test_a_story_names_the_tool_the_prompt_and_the_quoted_reason(look, painted, story):
    assert painted(story_lines(story, SHORT, look())).splitlines()[4:9] == [
        "tool        Edit: api.py  ok, told by hook and transcript  aa11",
        "prompt      Mend it. (+1 line)  bb22",
        'reason      "The discount is',
        '            a percentage."',
        "command     claude  dd44",
    ]


def test_no_stated_reason_is_an_answer(look, painted, story, call):
    call |= {"reason": None, "prompts": []}

    shown = painted(story_lines(story, SHORT, look())).splitlines()

    assert shown[5:7] == ["prompt      not recorded", "reason      no stated reason"]


def test_a_reason_in_one_line_is_quoted_once(look, painted, story, call):
    call["reason"] = {"text": "So it is."}

    assert 'reason      "So it is."\n' in painted(story_lines(story, SHORT, look()))


def test_several_calls_may_have_been_it(look, painted, story, call, command_row):
    ran = [{"event": f"{SESSION}/ee55", "command": "make", "exit_code": 0}]
    story["calls"] = [call, call | {"tool": "Write", "subagent": "s-1", "ran": ran}]
    story["suspects"] = [command_row("make", id="ee55")]

    shown = painted(story_lines(story, SHORT, look()))

    assert "maybe       Edit: api.py" in shown
    assert "maybe       make" not in shown
    assert "or          Write: api.py  ok, by subagent s-1, told by" in shown


def test_what_ran_instead_of_the_claimed_command_is_told(look, painted, story, call):
    call |= {
        "tool": "Bash", "command": "make", "paths": None, "differs": ["command", "exit_code"],
        "ran": [{"event": f"{SESSION}/ee55", "command": "rm -rf x", "exit_code": 3}],
    }  # fmt: skip

    shown = painted(story_lines(story, SHORT, look())).splitlines()

    assert shown[4:7] == [
        "tool        Bash: make  ok, told by hook and transcript  aa11",
        "ran         rm -rf x  exit 3  ee55",
        "            (another command than it says; another exit status than it says)",
    ]


def test_blame_quotes_the_reason_of_a_tool(look, painted):
    rows = [
        line(1, "x", command="Edit: api.py", tool="Edit", reason="It is a\npercentage"),
        line(2, "y", command="Edit: api.py", tool="Edit"),
        line(3, "z", command="make fmt", tool="Bash", reason="I format it."),
    ]

    shown = painted(blame_lines(rows, SHORT, look(None)), None).splitlines()

    assert 'Edit "It is a (+1 line)' in shown[0]
    assert "Edit: api.py" in shown[1]
    assert "make fmt" in shown[2]


# --- the timeline ---------------------------------------------------------------------------------------


@pytest.fixture
def told(other_row):
    def make(kind: str, title: str, at: float, **changes: Any) -> Row:
        data = changes.pop("data", {}) | {"agent": "claude-code", "native": "n"}
        row: Row = other_row(kind, title, at, source="hook", data=data)
        return row | changes

    return make


def test_a_timeline_reads_as_a_conversation(told, session_row, look, painted):
    rows = [
        told("prompt", "Mend it.\nAll of it.", 1),
        told("assistant_message", "I look.", 2),
        told("tool_call", "Bash: make", 3, ended_us=None, status="running"),
        told("tool_call", "Read: api.py", 4, data={"subagent": "ab0fbb1c6fc5f320c"}),
        told("tool_call", "Bash: false", 5, status="failed", exit_code=3),
        told("agent_session", "claude-code ended", 6),
        told("agent_payload", "claude-code sent X: unknown_event", 7),
    ]

    shown = painted(timeline(session_row(), rows, {}, look())).splitlines()

    assert [" ".join(row.split()[:-1]) for row in shown[:7]] == [
        "14:03:13 prompt Mend it. (+1 line)",
        "14:03:14 said I look.",
        "14:03:15 33m17s ▶ Bash: make",
        "14:03:16 <1ms tool (ab0fbb1c6f) Read: api.py",
        "14:03:17 <1ms ✗ 3 Bash: false",
        "14:03:18 agent claude-code ended",
        "14:03:19 raw claude-code sent X: unknown_event",
    ]
    assert "  (ab0fbb1c6f) Read" in shown[3]


# --- an event in full -----------------------------------------------------------------------------------


@pytest.fixture
def shown(session_row, look, painted):
    def show(event: Row, *calls: Row) -> str:
        text: str = painted(event_lines(event, session_row(), [], {}, look(), calls))
        return text

    return show


def test_a_call_in_full_has_its_input_its_prompt_and_what_it_changed(shown, told, call):
    given = {"file_path": "api.py", "new_string": "a\nb", "n": 2}
    event = told(
        "tool_call", "Edit: api.py", 1, id="aa11",
        data={"call": "toolu_1", "input": json.dumps(given), "result": "ok\x1b[2J", "paths": ["api.py"]},
    )  # fmt: skip
    call["edits"] = [{"event": f"{SESSION}/ff66", "paths": ["api.py"], "confidence": "claim"}]

    text = shown(event, call)

    assert "agent       claude-code, its session n, call toolu_1\n" in text
    assert (
        "input       file_path: api.py\n            new_string: a\n            b\n            n: 2\n" in text
    )
    assert "result      ok\\e[2J\n" in text
    assert "prompt      Mend it. (+1 line)  bb22\n" in text
    assert "changed     api.py: it changed while the call ran" in text
    assert "tool        " not in text


def test_the_command_of_a_call_names_the_call(shown, command_row, call):
    text = shown(command_row("make", id="ee55"), call | {"tool": "Bash", "command": "make", "paths": None})

    assert "tool        Bash: make  ok" in text
    assert 'reason      "The discount is\n' in text


def test_a_long_prompt_is_shown_whole_and_a_long_result_in_part(shown, told):
    prompt = told("prompt", "x", 1, data={"text": "\n".join(f"line {at}" for at in range(100))})
    result = told("tool_call", "x", 1, data={"result": "\n".join(f"line {at}" for at in range(100))})

    assert "line 99" in shown(prompt)
    assert "... and 60 more lines" in shown(result)


@pytest.mark.parametrize("told_input", ["{", "[1, 2]", "", None, "[" * 5_000])
def test_any_input_can_be_shown(shown, told, told_input):
    assert "agent       claude-code" in shown(told("tool_call", "x", 1, data={"input": told_input}))
