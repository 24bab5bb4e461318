"""Claude Code: what its hooks send, what its transcripts hold, and that both tell the same."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from devtrace.sources.agents import base, claude_code
from tests.sources.agents.facts import (
    HEARD_US,
    PAYLOADS,
    Memory,
    assert_fit,
    keys,
    mutants,
    recorded,
    told,
)

VERSION = "claude-code-2.1.197"
SESSION = "e35eb547-d670-46b0-8b78-17e533428062"
TURN = "91fa3690-a334-468c-8904-1346738fa143"
SUB = "ab0fbb1c6fc5f320c"
FAILED = "3eb1fcc7-b4a1-48c5-851c-ee96e15feed4"
FAILING = "echo 'no such greeting' >&2; exit 3"
MAIN = PAYLOADS / VERSION / f"{SESSION}.jsonl"
SUBAGENT = PAYLOADS / VERSION / SESSION / "subagents" / f"agent-{SUB}.jsonl"
ROOT = Path("/repo")
ECHO_ONE = "echo one; sleep 0.3; echo one-done"
NESTED = (
    "bash -c 'sh -c \"echo nested > nested.txt\"'; printf 'a\\nb\\n' | grep b > piped.txt; "
    "(sleep 0.2; echo late > late.txt) & wait; git add -A && git commit -qm 'agent commit' "
    "&& git log --oneline | head -1"
)
SECRET = "export API_TOKEN=ghp_0123456789abcdefghijABCDEFGHIJ0123456789; echo $API_TOKEN | wc -c"
ADD = '{"a":2,"b":3}'
DELEGATED = (
    '{"description":"write tests","prompt":"Write the test file [script:sub]",'
    '"subagent_type":"general-purpose"}'
)


def heard(*payloads: dict[str, Any]) -> list[base.Fact]:
    memory = Memory()
    return [fact for payload in payloads for fact in claude_code.parse("", payload, HEARD_US, memory)]


def hook(event: str, **fields: Any) -> dict[str, Any]:
    common = {"session_id": SESSION, "prompt_id": TURN, "cwd": "/repo", "hook_event_name": event}
    return {**common, **fields}


# --- the recorded run -----------------------------------------------------------------------------------


def test_the_hooks_of_a_run_tell_it_in_order():
    facts = heard(*recorded(f"{VERSION}/hooks.jsonl"))

    assert [told(fact) for fact in facts] == [
        ("agent_session", "began", "ok", "started"),
        ("prompt", TURN, "ok", "Add a greeting [script:main]"),
        ("assistant_message", f"{TURN}/3446bfec267c5b80", "ok", "Two independent checks at once."),
        ("tool_call", "toolu_96ffedbd4b8e48afa76a3400", "running", "echo two"),
        ("tool_call", "toolu_fc5c45f0ad31458284f90322", "running", ECHO_ONE),
        ("tool_call", "toolu_96ffedbd4b8e48afa76a3400", "ok", "echo two"),
        ("tool_call", "toolu_fc5c45f0ad31458284f90322", "ok", ECHO_ONE),
        ("assistant_message", f"{TURN}/d7b6c795a4b2060f", "ok", "I delegate the tests."),
        ("tool_call", "toolu_f8b3896b349942b28d5f4cd5", "running", DELEGATED),
        ("agent_session", f"subagent_started:{SUB}", "ok", "subagent_started"),
        ("tool_call", "toolu_84ef1fae41394d7daba8babd", "running", ["/repo/test_app.py"]),
        ("tool_call", "toolu_84ef1fae41394d7daba8babd", "ok", ["/repo/test_app.py"]),
        ("tool_call", "toolu_9269517ebfd04809b56a3718", "running", "python3 -c 'print(40+2)'"),
        ("tool_call", "toolu_9269517ebfd04809b56a3718", "ok", "python3 -c 'print(40+2)'"),
        ("assistant_message", f"{TURN}/{SUB}/eec7ff96e75802fa", "ok", "Subagent: test_app.py written."),
        ("agent_session", f"subagent_ended:{SUB}", "ok", "subagent_ended"),
        ("tool_call", "toolu_f8b3896b349942b28d5f4cd5", "ok", DELEGATED),
        ("assistant_message", f"{TURN}/7785906583a4c328", "ok", "Ask the MCP server."),
        ("tool_call", "toolu_5d8a118cc6e944a5bdeed8dc", "failed", ADD),
        (
            "assistant_message",
            f"{TURN}/245f40ffff273dd7",
            "ok",
            "A shell in a shell, a pipeline, a background job and a commit.",
        ),
        ("tool_call", "toolu_987c7c44d51f4850aa3e1fa8", "running", NESTED),
        ("tool_call", "toolu_987c7c44d51f4850aa3e1fa8", "ok", NESTED),
        (
            "assistant_message",
            f"{TURN}/196cbb988ebf03d6",
            "ok",
            "A secret on the command line, to test redaction.",
        ),
        ("tool_call", "toolu_36a01bdc969647518182a9aa", "running", SECRET),
        ("tool_call", "toolu_36a01bdc969647518182a9aa", "ok", SECRET),
        ("assistant_message", f"{TURN}/e3120d618df2f1ba", "ok", "All done."),
        ("assistant_message", f"{TURN}/e3120d618df2f1ba", "ok", "All done."),
        ("agent_session", f"stopped:{TURN}#1", "ok", "stopped"),
        ("agent_session", "ended#1", "ok", "ended"),
    ]
    assert {fact["native"] for fact in facts} == {SESSION}
    assert {fact["data"].get("turn") for fact in facts if fact["kind"] != "agent_session"} == {TURN}
    assert_fit(facts, claude_code.NAME)


def test_a_transcript_tells_the_run_in_order_with_whole_calls():
    facts = list(claude_code.read(MAIN, ROOT))

    assert [told(fact) for fact in facts] == [
        ("agent_session", "began", "ok", "started"),
        ("prompt", TURN, "ok", "Add a greeting [script:main]"),
        ("assistant_message", f"{TURN}/3446bfec267c5b80", "ok", "Two independent checks at once."),
        ("tool_call", "toolu_fc5c45f0ad31458284f90322", "ok", ECHO_ONE),
        ("tool_call", "toolu_96ffedbd4b8e48afa76a3400", "ok", "echo two"),
        ("assistant_message", f"{TURN}/d7b6c795a4b2060f", "ok", "I delegate the tests."),
        (
            "tool_call",
            "toolu_f8b3896b349942b28d5f4cd5",
            "ok",
            '{"prompt":"Write the test file [script:sub]","description":"write tests",'
            '"subagent_type":"general-purpose"}',
        ),
        ("assistant_message", f"{TURN}/7785906583a4c328", "ok", "Ask the MCP server."),
        ("tool_call", "toolu_5d8a118cc6e944a5bdeed8dc", "failed", ADD),
        (
            "assistant_message",
            f"{TURN}/245f40ffff273dd7",
            "ok",
            "A shell in a shell, a pipeline, a background job and a commit.",
        ),
        ("tool_call", "toolu_987c7c44d51f4850aa3e1fa8", "ok", NESTED),
        (
            "assistant_message",
            f"{TURN}/196cbb988ebf03d6",
            "ok",
            "A secret on the command line, to test redaction.",
        ),
        ("tool_call", "toolu_36a01bdc969647518182a9aa", "ok", SECRET),
        ("assistant_message", f"{TURN}/e3120d618df2f1ba", "ok", "All done."),
    ]
    one = facts[3]
    assert (one["started_us"], one["ended_us"]) == (1795226338952000, 1795226339500000)
    assert one["data"] == {
        "tool": "Bash",
        "does": "shell",
        "native": SESSION,
        "input": '{"command":"echo one; sleep 0.3; echo one-done","description":"run a scripted command"}',
        "call": "toolu_fc5c45f0ad31458284f90322",
        "model": "claude-sonnet-4-5",
        "cwd": "/repo",
        "command": ECHO_ONE,
        "turn": TURN,
        "result": "one\none-done",
    }
    assert facts[0]["data"]["version"] == "2.1.197"
    assert facts[6]["data"]["starts"] == SUB
    assert_fit(facts, claude_code.NAME)


def test_a_subagents_record_carries_its_id_and_the_turn_of_its_parent():
    facts = list(claude_code.read(SUBAGENT, ROOT))

    assert [told(fact) for fact in facts] == [
        ("agent_session", f"subagent_started:{SUB}", "ok", "subagent_started"),
        ("prompt", f"{TURN}/{SUB}", "ok", "Write the test file [script:sub]"),
        ("assistant_message", f"{TURN}/{SUB}/0558103f38e5ca40", "ok", "The subagent writes the test."),
        ("tool_call", "toolu_84ef1fae41394d7daba8babd", "ok", ["/repo/test_app.py"]),
        ("tool_call", "toolu_9269517ebfd04809b56a3718", "ok", "python3 -c 'print(40+2)'"),
        ("assistant_message", f"{TURN}/{SUB}/eec7ff96e75802fa", "ok", "Subagent: test_app.py written."),
    ]
    assert {fact["data"]["subagent"] for fact in facts} == {SUB}
    assert {fact["data"].get("turn") for fact in facts[1:]} == {TURN}
    assert {fact["native"] for fact in facts} == {SESSION}
    assert facts[0]["data"]["subagent_type"] == "general-purpose"
    assert_fit(facts, claude_code.NAME)


def test_hooks_and_transcripts_of_a_run_agree_on_keys_and_results():
    by_hook = heard(*recorded(f"{VERSION}/hooks.jsonl"))
    by_transcript = [*claude_code.read(MAIN, ROOT), *claude_code.read(SUBAGENT, ROOT)]

    assert keys(by_hook, "tool_call") == keys(by_transcript, "tool_call")
    assert keys(by_hook, "assistant_message", "prompt") < keys(by_transcript, "assistant_message", "prompt")
    assert keys(by_transcript, "assistant_message", "prompt") - keys(
        by_hook, "assistant_message", "prompt"
    ) == {
        ("prompt", f"{TURN}/{SUB}"),
        ("assistant_message", f"{TURN}/{SUB}/0558103f38e5ca40"),  # a subagent's text is not displayed
    }
    ends = {
        fact["key"]: fact for fact in by_hook if fact["kind"] == "tool_call" and fact["status"] != "running"
    }
    for fact in by_transcript:
        if (
            fact["kind"] == "tool_call" and fact["data"]["does"] != "edit"
        ):  # which a subagent's tells in words
            end = ends[fact["key"]]
            shared = ("tool", "does", "command", "paths", "result", "exit_code", "starts", "turn", "subagent")
            assert [fact["data"].get(name) for name in shared] == [end["data"].get(name) for name in shared]
            assert fact["status"] == end["status"]


def test_what_failed_in_a_run_failed_in_both_with_the_exit_code_of_the_command():
    by_hook = heard(*recorded(f"{VERSION}/hooks-failing.jsonl"))
    by_transcript = list(claude_code.read(MAIN.with_name(f"{FAILED}.jsonl"), ROOT))

    calls = [fact for fact in by_hook if fact["kind"] == "tool_call"]
    assert [told(fact)[2:] for fact in calls] == [
        ("running", ["/repo/a.txt"]),
        ("ok", ["/repo/a.txt"]),
        ("failed", ["/repo/a.txt"]),  # turned away before it began: no other hook tells of it
        ("running", FAILING),
        ("failed", FAILING),
        ("failed", ["/repo/b.txt"]),
    ]
    shared = ("tool", "command", "paths", "result", "exit_code", "turn")
    ends = [fact for fact in calls if fact["status"] != "running"]
    whole = [fact for fact in by_transcript if fact["kind"] == "tool_call"]
    assert [[fact["key"], fact["status"], *map(fact["data"].get, shared)] for fact in ends] == [
        [fact["key"], fact["status"], *map(fact["data"].get, shared)] for fact in whole
    ]
    assert [fact["data"].get("exit_code") for fact in whole] == [None, None, 3, None]
    assert_fit(by_hook, claude_code.NAME)
    assert_fit(by_transcript, claude_code.NAME)


# --- hooks ------------------------------------------------------------------------------------------------


def test_a_call_that_ends_keeps_its_start_to_whoever_heard_it():
    given = {"tool_name": "Bash", "tool_input": {"command": "true"}, "tool_use_id": "t1"}
    begun, ended = heard(
        hook("PreToolUse", **given),
        hook("PostToolUse", **given, tool_response={"stdout": "a", "stderr": "b"}, duration_ms=12),
    )

    assert (begun["started_us"], begun["ended_us"], begun["status"]) == (HEARD_US, None, "running")
    assert (ended["started_us"], ended["ended_us"], ended["status"]) == (None, HEARD_US, "ok")
    assert (ended["data"]["result"], ended["data"]["duration_us"]) == ("a\nb", 12_000)
    assert "exit_code" not in ended["data"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("Exit code 3\nno such greeting", 3),
        ("Exit code 137", 137),
        ("Error: Exit code 1", 1),
        ("the text says Exit code 3", None),
        ("Exit code three", None),
        ("Exit code 99999999999999999999", None),
        (None, None),
    ],
)
def test_a_failed_command_has_the_exit_code_that_its_error_begins_with(error: Any, code: int | None):
    (fact,) = heard(hook("PostToolUseFailure", tool_name="Bash", tool_use_id="t1", error=error))

    assert (fact["status"], fact["data"].get("exit_code")) == ("failed", code)


def test_a_call_that_was_stopped_is_interrupted_whichever_hook_says_so():
    call = {"tool_name": "Bash", "tool_use_id": "t1"}
    facts = heard(
        hook("PostToolUse", **call, tool_response={"stdout": "", "interrupted": True}),
        hook("PostToolUseFailure", **call, error="stopped", is_interrupt=True),
    )

    assert [(fact["status"], fact["data"]["interrupted"]) for fact in facts] == [("interrupted", True)] * 2


def test_a_denied_call_failed_with_its_reason():
    (fact,) = heard(hook("PermissionDenied", tool_name="Bash", tool_use_id="t1", reason="too risky"))

    assert (fact["status"], fact["data"]["result"]) == ("failed", "too risky")


def test_an_edits_result_leaves_out_the_whole_files():
    answer = {
        "filePath": "/repo/a.py",
        "oldString": "x",
        "newString": "y",
        "originalFile": "x" * 9999,
        "structuredPatch": [{"oldStart": 1, "lines": ["-x", "+y"]}],
        "userModified": True,
    }
    (fact,) = heard(
        hook(
            "PostToolUse",
            tool_name="Edit",
            tool_use_id="t1",
            tool_input={"file_path": "/repo/a.py"},
            tool_response=answer,
        )
    )

    assert json.loads(fact["data"]["result"]) == {
        "filePath": "/repo/a.py",
        "structuredPatch": [{"oldStart": 1, "lines": ["-x", "+y"]}],
        "userModified": True,
    }
    assert (fact["data"]["does"], fact["data"]["paths"]) == ("edit", ["/repo/a.py"])


@pytest.mark.parametrize(
    ("tool", "does"),
    [
        ("Bash", "shell"),
        ("Edit", "edit"),
        ("MultiEdit", "edit"),
        ("Write", "edit"),
        ("NotebookEdit", "edit"),
        ("Read", "read"),
        ("Grep", "search"),
        ("Agent", "subagent"),
        ("Task", "subagent"),
        ("mcp__demo__add", "mcp"),
        ("TodoWrite", "other"),
    ],
)
def test_what_a_tool_does_is_told_in_one_of_our_words(tool: str, does: str):
    (fact,) = heard(hook("PreToolUse", tool_name=tool, tool_use_id="t1", tool_input={}))

    assert fact["data"]["does"] == does


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"type": "text", "file": {"filePath": "/repo/a", "content": "whole"}}, "whole"),
        ([{"type": "text", "text": "sum=5"}, {"type": "text", "text": "more"}], "sum=5\nmore"),
        ("plain", "plain"),
        ({"stdout": "", "stderr": "", "interrupted": False}, ""),
        ({"filenames": ["a", "b"]}, '{"filenames":["a","b"]}'),
        ([1], "[1]"),
        (7, "7"),
        (None, None),
    ],
)
def test_a_result_of_any_shape_is_a_text(answer: Any, text: str | None):
    (fact,) = heard(hook("PostToolUse", tool_name="Any", tool_use_id="t1", tool_response=answer))

    assert fact["data"].get("result") == text


def test_the_same_words_twice_in_a_turn_are_two_messages():
    shown = hook("MessageDisplay", delta="Again.", index=0, final=True)

    one, two = heard(shown, shown)

    assert two["key"] == f"{one['key']}#2"


def test_a_message_that_streams_is_left_to_its_transcript():
    pieces = [("One\n", 0, False), ("two\n", 1, False), ("three", 2, True)]

    assert heard(*(hook("MessageDisplay", delta=text, index=n, final=last) for text, n, last in pieces)) == []


def test_a_session_that_goes_on_says_so_each_time():
    payloads = [hook("SessionStart", source=source) for source in ("startup", "resume", "compact", "resume")]

    facts = heard(*payloads, hook("SessionStart", source="clear"))

    assert [(fact["key"], fact["data"]["phase"]) for fact in facts] == [
        ("began", "started"),
        ("resumed#1", "resumed"),
        ("compacted#1", "compacted"),
        ("resumed#2", "resumed"),
        ("began", "cleared"),
    ]


def test_a_turn_that_failed_says_how():
    (fact,) = heard(hook("StopFailure", error="rate_limit"))

    assert (fact["data"]["phase"], fact["data"]["detail"]) == ("stopped", "rate_limit")


@pytest.mark.parametrize(
    "payload",
    [
        hook("PreToolUse", tool_name=3, tool_use_id="t1"),
        hook("PreToolUse", tool_name="Bash"),
        hook("UserPromptSubmit", prompt=["x"]),
        hook("MessageDisplay"),
        hook("SubagentStart"),
        hook("SubagentStop", last_assistant_message="x"),
        hook("PostToolBatch", tool_calls={}),
        {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_use_id": "t1"},
    ],
)
def test_an_unexpected_shape_is_kept_as_it_came(payload: dict[str, Any]):
    (fact,) = heard(payload)

    assert fact["data"]["why"] == "unknown_shape"
    assert json.loads(fact["data"]["payload"]) == payload


def test_an_event_of_a_newer_version_is_kept_as_it_came():
    (fact,) = heard(hook("SomethingNew", detail=1))

    assert (fact["data"]["event"], fact["data"]["why"]) == ("SomethingNew", "unknown_event")


def test_an_event_is_known_by_its_registration_where_the_payload_does_not_name_it():
    (fact,) = claude_code.parse("SessionEnd", {"session_id": SESSION, "reason": "exit"}, HEARD_US, Memory())

    assert fact["data"]["phase"] == "ended"


def test_no_payload_is_fatal():
    memory = Memory()
    for payload in mutants(recorded(f"{VERSION}/hooks.jsonl") + recorded(f"{VERSION}/hooks-failing.jsonl")):
        assert_fit(claude_code.parse("PreToolUse", payload, HEARD_US, memory), claude_code.NAME)


def test_the_hooks_go_into_the_settings_of_one_person():
    (file,) = claude_code.hooks(lambda event: f"/usr/bin/python3 -I -S /x/agent_hook.py claude-code {event}")

    settings = json.loads(file.merge(None))
    assert file.path == ".claude/settings.local.json"
    assert list(settings["hooks"]) == list(claude_code.EVENTS)
    assert settings["hooks"]["PreToolUse"][0]["matcher"] == "*"
    assert file.without(file.merge(None)) is None


# --- its shell --------------------------------------------------------------------------------------------

SNAPSHOT = "source /home/ana/.claude/shell-snapshots/snapshot-bash-1-x.sh 2>/dev/null || true && "
BEHIND = " < /dev/null && pwd -P >| /tmp/claude-1a2b-cwd"


@pytest.mark.parametrize(
    "command",
    [
        "echo hello",
        "echo 'it is' \"so\" $HOME \\\\ `date`",
        "cat <<'END'\nline\nEND",
        "a && eval 'b' && pwd -P >| c",
        "true",
    ],
)
def test_a_command_is_taken_out_of_what_the_client_puts_around_it(command: str):
    assert claude_code.unwrapped(f"{SNAPSHOT}eval {shlex.quote(command)}{BEHIND}") == command


def test_what_the_client_did_not_wrap_is_not_unwrapped():
    for command in ("echo hello", "eval 'echo hello'", "true && eval 'x' && pwd", "", "eval '"):
        assert claude_code.unwrapped(command) is None


def test_unwrapping_reads_words_as_the_shell_does():
    for quoted in ("'a'\\''b'", '"a \\"b\\" \\$c"', "a\\ b'c'", "'a'\"'\"'b'"):
        meant = subprocess.run(
            ["sh", "-c", f"printf %s {quoted}"], capture_output=True, text=True, check=True
        ).stdout
        assert claude_code.unwrapped(f"{SNAPSHOT}eval {quoted} \\< /dev/null && pwd -P >| /tmp/x") == meant


@pytest.mark.parametrize(
    "command",
    [
        "touch evil; true && eval 'echo hi' < /dev/null && pwd -P >| f",
        "source x.sh && eval 'echo hi' < /dev/null && pwd -P >| f; touch evil",
        "source x.sh; touch evil && eval 'echo hi' < /dev/null && pwd -P >| f",
        "eval 'echo hi' < /dev/null && pwd -P >| $(touch evil)",
        "source $(touch evil) && eval 'echo hi' < /dev/null && pwd -P >| f",
    ],
)
def test_what_is_not_the_client_s_own_stays_in_the_record(command):
    assert claude_code.unwrapped(command) is None
