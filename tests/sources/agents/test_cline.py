"""Cline: what its hooks send by its own description. The fixtures are made after that, and from no run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from devtrace.sources.agents import base, cline
from tests.sources.agents.facts import HEARD_US, Memory, assert_fit, mutants, recorded, told

HOOKS = "cline-documented/hooks.jsonl"
TASK = "1795226338123"


def heard(*payloads: dict[str, Any]) -> list[base.Fact]:
    memory = Memory()
    return [fact for payload in payloads for fact in cline.parse("", payload, HEARD_US, memory)]


def hook(name: str, **told_of_it: Any) -> dict[str, Any]:
    common = {"clineVersion": "3.36.0", "hookName": name, "taskId": TASK, "workspaceRoots": ["/repo"]}
    return {**common, name[0].lower() + name[1:]: told_of_it}


def test_the_hooks_of_a_task_tell_it_in_order():
    facts = heard(*recorded(HOOKS))

    assert [(fact["kind"], *told(fact)[2:]) for fact in facts] == [
        ("agent_session", "ok", "started"),
        ("prompt", "ok", "Greet Ana"),
        ("tool_call", "running", "echo hello"),
        ("tool_call", "ok", "echo hello"),
        ("tool_call", "running", ["hello.py"]),
        ("tool_call", "ok", ["hello.py"]),
        ("tool_call", "running", ["hello.py"]),
        ("tool_call", "ok", ["hello.py"]),
        ("tool_call", "running", ["hello.py"]),
        ("tool_call", "failed", ["hello.py"]),
        ("tool_call", "running", "echo hello"),
        ("tool_call", "ok", "echo hello"),
        ("tool_call", "running", '{"path":"src","regex":"Hello"}'),
        ("tool_call", "ok", '{"path":"src","regex":"Hello"}'),
        (
            "tool_call",
            "running",
            '{"server_name":"demo","tool_name":"add","arguments":"{\\"a\\": 2, \\"b\\": 3}"}',
        ),
        (
            "tool_call",
            "ok",
            '{"server_name":"demo","tool_name":"add","arguments":"{\\"a\\": 2, \\"b\\": 3}"}',
        ),
        ("agent_session", "ok", "compacted"),
        ("agent_session", "ok", "stopped"),
        ("agent_session", "ok", "resumed"),
        ("prompt", "ok", "Go on"),
        ("agent_session", "ok", "ended"),
    ]
    assert [fact["data"]["does"] for fact in facts if fact["status"] == "running"] == [
        *("shell", "edit", "read", "edit", "shell", "search", "mcp")
    ]
    assert {fact["native"] for fact in facts} == {TASK}
    assert {fact["data"]["cwd"] for fact in facts} == {"/repo"}
    assert_fit(facts, cline.NAME)


def test_without_ids_the_end_of_a_call_has_the_key_of_its_beginning():
    calls = [fact for fact in heard(*recorded(HOOKS)) if fact["kind"] == "tool_call"]

    begun, ended = calls[::2], calls[1::2]

    assert [fact["key"] for fact in begun] == [fact["key"] for fact in ended]
    assert len({fact["key"] for fact in begun}) == len(begun)
    assert begun[4]["key"].partition("#")[0] == begun[0]["key"].partition("#")[0]  # the same command again
    assert [fact["started_us"] for fact in ended] == [None] * len(ended)
    assert ended[0]["data"]["duration_us"] == 40_000


def test_no_exit_code_is_made_of_a_failure():
    (fact,) = heard(
        hook("PostToolUse", toolName="execute_command", parameters={}, success=False, result="exit 3")
    )

    assert (fact["status"], fact["data"]["result"]) == ("failed", "exit 3")
    assert "exit_code" not in fact["data"]


@pytest.mark.parametrize(
    "payload",
    [
        hook("PreToolUse", parameters={}),
        hook("UserPromptSubmit", prompt=3),
        {**hook("TaskStart"), "taskId": None},
        {**hook("PreToolUse"), "preToolUse": []},
    ],
)
def test_an_unexpected_shape_is_kept_as_it_came(payload: dict[str, Any]):
    (fact,) = heard(payload)

    assert fact["data"]["why"] == "unknown_shape"
    assert json.loads(fact["data"]["payload"]) == payload


def test_an_event_of_a_newer_version_is_kept_as_it_came():
    (fact,) = heard(hook("SomethingNew"))

    assert (fact["data"]["event"], fact["data"]["why"]) == ("SomethingNew", "unknown_event")


def test_no_payload_is_fatal():
    memory = Memory()
    for payload in mutants(recorded(HOOKS)):
        assert_fit(cline.parse("PreToolUse", payload, HEARD_US, memory), cline.NAME)


def test_each_hook_hands_its_input_on_and_stops_nothing(tmp_path: Path):
    script = tmp_path / "it's here" / "agent_hook.py"
    script.parent.mkdir()
    script.touch()
    files = cline.hooks(lambda event: f"tee '{tmp_path}/{event}' -- \"{script}\"")

    assert [file.path for file in files] == [f".clinerules/hooks/{event}" for event in cline.EVENTS]
    for file, event in zip(files, cline.EVENTS, strict=True):
        assert file.is_executable
        assert file.without(file.merge(None)) is None
        assert run(tmp_path, file.merge(None)) == '{"cancel": false}\n'
        assert (tmp_path / event).read_text() == '{"a": 1}'


def test_a_hook_whose_script_is_gone_stops_nothing(tmp_path: Path):
    (file, *_) = cline.hooks(lambda event: f"tee {tmp_path}/{event} {tmp_path}/gone/agent_hook.py")

    assert run(tmp_path, file.merge(None)) == '{"cancel": false}\n'
    assert not (tmp_path / cline.EVENTS[0]).exists()


def run(tmp_path: Path, text: str) -> str:
    path = tmp_path / "hook"
    path.write_text(text)
    path.chmod(0o755)
    done = subprocess.run([path], input='{"a": 1}', capture_output=True, text=True, check=True)
    return done.stdout
