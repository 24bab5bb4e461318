"""cursor: a run as the reference of its hooks tells it, an older version's, and whatever else may come."""

from __future__ import annotations

import json

import pytest

from devtrace.sources.agents import cursor
from tests.sources.agents.adapters import AT_US, Counted, calls, fields, fit, heard, lines, survives

HOOKS = lines("cursor-v1", "hooks.jsonl")
SESSION = "c0ffee00-0000-4000-8000-000000000001"
TURN = "9e0e0000-0000-4000-8000-000000000001"


def parsed(*payloads):
    told = {"conversation_id": "c", "generation_id": "g", "workspace_roots": ["/repo"]}
    return fit(cursor, heard(cursor, [{**told, **payload} for payload in payloads]))


# --- a run ------------------------------------------------------------------------------------------------


def test_the_hooks_of_a_run_tell_its_prompts_calls_and_subagent():
    facts = fit(cursor, heard(cursor, HOOKS))

    assert fields(facts, "kind", "native", "status", "turn", "subagent", "call", "text") == [
        ("agent_session", SESSION, "ok", None, None, None, None),
        ("prompt", SESSION, "ok", TURN, None, None, "Add a greeting"),
        ("assistant_message", SESSION, "ok", TURN, None, None, "I look around first."),
        ("tool_call", SESSION, "running", TURN, None, "tool_1", None),
        ("tool_call", SESSION, "ok", TURN, None, "tool_1", None),
        ("tool_call", SESSION, "running", TURN, None, "tool_2", None),
        ("tool_call", SESSION, "ok", TURN, None, "tool_2", None),
        ("tool_call", SESSION, "running", TURN, None, "tool_3", None),
        ("agent_session", SESSION, "ok", None, "sub_1", None, None),
        ("prompt", SESSION, "ok", "sub_1/prompt", "sub_1", None, "Write the test file"),
        ("agent_session", SESSION, "ok", None, "sub_1", None, None),
        ("tool_call", SESSION, "ok", TURN, None, "tool_3", None),
        ("tool_call", SESSION, "running", TURN, None, "tool_4", None),
        ("tool_call", SESSION, "ok", TURN, None, "tool_4", None),
        ("tool_call", SESSION, "running", TURN, None, "tool_5", None),
        ("tool_call", SESSION, "failed", TURN, None, "tool_5", None),
        ("tool_call", SESSION, "running", TURN, None, "tool_6", None),
        ("tool_call", SESSION, "failed", TURN, None, "tool_6", None),
        ("tool_call", SESSION, "running", TURN, None, "tool_7", None),
        ("tool_call", SESSION, "interrupted", TURN, None, "tool_7", None),
        ("agent_session", SESSION, "ok", None, None, None, None),
        ("assistant_message", SESSION, "ok", TURN, None, None, "All done."),
        ("agent_session", SESSION, "ok", None, None, None, None),
        ("agent_session", SESSION, "ok", None, None, None, None),
        ("tool_call", "tab", "ok", None, None, None, None),
    ]


def test_the_ends_of_calls_tell_what_they_did_and_how_it_went():
    ended = [fact for fact in calls(heard(cursor, HOOKS)) if fact["status"] != "running"]

    names = ("tool", "does", "command", "paths", "exit_code", "result", "duration_us", "cwd")
    assert fields(ended, *names) == [
        ("Shell", "shell", "echo one", None, 0, "one\n", 15_000, "/repo"),
        ("Write", "edit", None, ["/repo/greet.py"], None, '{"success":true}', 7_000, "/repo"),
        ("Task", "subagent", None, None, None, "Done", 1_000_000, "/repo"),
        ("MCP:add", "mcp", None, None, None, "sum=5", 4_000, "/repo"),
        ("Shell", "shell", "exit 3", None, 3, "", 9_000, "/repo"),
        ("Shell", "shell", "sleep 99", None, None, "Command timed out after 30s", 30_000_000, "/repo"),
        ("Read", "read", None, ["/repo/app.py"], None, "permission_denied", 1_000, "/repo"),
        ("Tab", "edit", None, ["/repo/app.py"], None, None, None, "/repo"),
    ]


def test_a_version_that_tells_calls_only_when_they_are_over_is_understood():
    older = [payload for payload in HOOKS if "ToolUse" not in payload["hook_event_name"]]

    told = calls(fit(cursor, heard(cursor, older)))

    assert fields(told, "tool", "status", "call", "command", "paths", "result", "started_us") == [
        ("Shell", "unknown", None, "echo one", None, "one\n", None),
        ("Edit", "ok", None, None, ["/repo/greet.py"], None, None),
        ("MCP:add", "unknown", None, None, None, "sum=5", None),
        ("Tab", "ok", None, None, ["/repo/app.py"], None, None),
    ]


# --- hooks ------------------------------------------------------------------------------------------------


def test_only_a_call_that_was_told_already_is_not_told_again():
    begins = {"hook_event_name": "preToolUse", "tool_name": "Shell", "tool_input": {"command": "make"}}
    over = {"hook_event_name": "afterShellExecution", "command": "make", "output": "made"}

    facts = parsed({**begins, "tool_use_id": "t"}, over, over, {**over, "command": "make test"})

    assert fields(facts, "call", "command", "status") == [
        ("t", "make", "running"),
        (None, "make", "unknown"),
        (None, "make test", "unknown"),
    ]
    assert len({fact["key"] for fact in facts}) == 3


def test_equal_calls_without_ids_are_told_apart_by_their_number():
    begins = {"hook_event_name": "preToolUse", "tool_name": "Read", "tool_input": {"path": "a"}}
    ends = {**begins, "hook_event_name": "postToolUse"}

    facts = parsed(begins, begins, ends, ends)

    one, two, *ended = (fact["key"] for fact in facts)
    assert one != two
    assert ended == [one, two]


def test_what_is_typed_while_cursor_works_is_a_prompt_of_its_own():
    facts = parsed(
        {"hook_event_name": "beforeSubmitPrompt", "prompt": "Go"},
        {"hook_event_name": "beforeSubmitPrompt", "prompt": "Stop that"},
        {"hook_event_name": "beforeSubmitPrompt", "prompt": "Go", "generation_id": None},
    )

    assert fields(facts, "key", "turn", "text") == [
        ("g", "g", "Go"),
        ("g#2", "g", "Stop that"),
        ("prompt#1", None, "Go"),
    ]


def test_what_is_new_or_without_its_fields_is_kept_as_it_came():
    facts = parsed(
        {"hook_event_name": "afterDream", "of": "sheep"},
        {"hook_event_name": "preToolUse", "tool_input": {}},
        {"hook_event_name": "afterFileEdit", "file_path": 3},
        {"hook_event_name": "stop", "conversation_id": 7},
    )

    assert fields(facts, "event", "why") == [
        ("afterDream", "unknown_event"),
        ("preToolUse", "unknown_shape"),
        ("afterFileEdit", "unknown_shape"),
        ("stop", "unknown_shape"),
    ]


def test_the_hook_file_has_a_version_and_keeps_the_hooks_that_are_there():
    (file,) = cursor.hooks(lambda event: f"/usr/bin/python3 -I -S /opt/agent_hook.py cursor {event}")
    theirs = '{"version": 1, "hooks": {"stop": [{"command": "say done"}]}}'

    merged = file.merge(theirs)

    assert file.path == ".cursor/hooks.json"
    assert json.loads(merged)["hooks"]["stop"][0] == {"command": "say done"}
    assert tuple(file.found(merged)) == ("stop", *(event for event in cursor.EVENTS if event != "stop"))
    assert file.without(merged) == theirs
    assert json.loads(file.merge(None))["version"] == 1
    assert file.without(file.merge(None)) is None


# --- whatever may come ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_hook_sends_becomes_facts_that_fit(seed):
    survives(cursor, seed, HOOKS)


def test_a_payload_that_is_all_wrong_is_one_unknown_fact():
    for event in cursor.EVENTS:
        told = fit(cursor, cursor.parse(event, {"workspace_roots": 3, "cwd": []}, AT_US, Counted()))

        assert fields(told, "kind", "event", "why") == [("agent_payload", event, "unknown_shape")]
