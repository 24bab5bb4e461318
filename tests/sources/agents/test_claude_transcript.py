"""Claude Code's transcripts: what a line means, which are read, and where they are found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from devtrace.sources.agents import base, claude_code
from tests.sources.agents.facts import PAYLOADS, assert_fit, mutants, recorded, told

RECORDED = "claude-code-2.1.197"
SESSION = "e35eb547-d670-46b0-8b78-17e533428062"
SUB = "ab0fbb1c6fc5f320c"
ROOT = Path("/repo")


def transcript(tmp_path: Path, *lines: dict[str, Any] | str) -> list[base.Fact]:
    path = tmp_path / f"{SESSION}.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return list(claude_code.read(path, ROOT))


def line(kind: str, content: Any, **fields: Any) -> dict[str, Any]:
    common = {"type": kind, "sessionId": SESSION, "timestamp": "2026-11-21T01:58:58.000Z", "cwd": "/repo"}
    return {**common, "message": {"id": "msg_1", "model": "claude-sonnet-4-5", "content": content}, **fields}


def use(call: str, tool: str, **given: Any) -> dict[str, Any]:
    return line("assistant", [{"type": "tool_use", "id": call, "name": tool, "input": given}])


def result(call: str, content: Any, **fields: Any) -> dict[str, Any]:
    is_error = fields.pop("is_error", False)
    block = {"type": "tool_result", "tool_use_id": call, "content": content, "is_error": is_error}
    return line("user", [block], **fields)


def test_a_call_without_a_result_is_of_unknown_outcome_and_has_no_end(tmp_path):
    *_, fact = transcript(tmp_path, use("t1", "Bash", command="sleep 99"))

    assert (fact["status"], fact["ended_us"]) == ("unknown", None)
    assert fact["started_us"] is not None


def test_a_failing_command_in_a_transcript_has_its_exit_code(tmp_path):
    *_, fact = transcript(
        tmp_path,
        use("t1", "Bash", command="exit 3"),
        result("t1", "Exit code 3\nno such greeting", is_error=True, toolUseResult="Error: Exit code 3\n..."),
    )

    assert (fact["status"], fact["data"]["exit_code"]) == ("failed", 3)


def test_what_a_person_stopped_is_interrupted_and_their_stop_is_no_prompt(tmp_path):
    facts = transcript(
        tmp_path,
        use("t1", "Bash", command="sleep 99"),
        result("t1", "[Request interrupted by user for tool use]", is_error=True),
        line("user", [{"type": "text", "text": "[Request interrupted by user for tool use]"}]),
    )

    assert [(fact["kind"], fact["status"]) for fact in facts[1:]] == [("tool_call", "interrupted")]


def test_what_the_client_says_by_itself_is_no_prompt(tmp_path):
    facts = transcript(
        tmp_path,
        line("user", "<local-command-stdout>done</local-command-stdout>"),
        line("user", "Caveat: the messages below ...", isMeta=True),
        line("user", "This session is being continued ...", isCompactSummary=True),
        line("user", "<task-notification>x</task-notification>"),
        line("user", "a job has ended", origin={"kind": "task-notification"}),
        {**line("assistant", None), "message": {"model": "<synthetic>", "content": "No response requested."}},
        line("assistant", [{"type": "thinking", "thinking": "hm"}]),
    )

    assert [fact["kind"] for fact in facts] == ["agent_session"]


def test_commands_of_the_prompt_are_told_as_they_were_typed(tmp_path):
    command = "<command-message>review</command-message>\n<command-name>/review</command-name>\n"
    facts = transcript(
        tmp_path,
        line("user", f"{command}<command-args>all of it</command-args>", promptId="p1"),
        line("user", "<command-name>/clear</command-name>", promptId="p2"),
        line("user", "<bash-input>git status</bash-input>", promptId="p3"),
    )

    assert [fact["data"]["text"] for fact in facts[1:]] == ["/review all of it", "/clear", "! git status"]


def test_a_prompt_typed_while_the_agent_works_is_one_of_its_own(tmp_path):
    queued = {"type": "queued_command", "prompt": "and the docs", "commandMode": "prompt"}
    by_itself = {"type": "queued_command", "prompt": "job 3 ended", "commandMode": "task-notification"}
    facts = transcript(
        tmp_path,
        line("user", "go", promptId="p1"),
        line("attachment", None, attachment=queued, uuid="u2"),
        line("attachment", None, attachment=by_itself, uuid="u3"),
    )

    assert [told(fact)[1:] for fact in facts[1:]] == [("p1", "ok", "go"), ("u2", "ok", "and the docs")]


def test_an_old_versions_side_chain_belongs_to_its_subagent_and_not_to_the_person(tmp_path):
    facts = transcript(
        tmp_path,
        line("user", "go", uuid="u1"),
        line("user", "write tests", uuid="s1", isSidechain=True, parentUuid=None),
        line("assistant", [{"type": "text", "text": "I do."}], uuid="s2", isSidechain=True, parentUuid="s1"),
        line("assistant", [{"type": "text", "text": "Done."}], uuid="u2", parentUuid="u1"),
    )

    assert [(fact["kind"], fact["data"].get("subagent"), fact["data"].get("turn")) for fact in facts[1:]] == [
        ("prompt", None, "u1"),
        ("prompt", "s1", "u1"),
        ("assistant_message", "s1", "u1"),
        ("assistant_message", None, "u1"),
    ]


def test_a_line_that_was_copied_is_told_once(tmp_path):
    said = line("assistant", [{"type": "text", "text": "I do."}], uuid="u1")

    assert len(transcript(tmp_path, said, said)) == 2  # with the session's beginning


def test_a_compaction_and_an_error_of_the_service_are_told(tmp_path):
    compacted = {"subtype": "compact_boundary", "compactMetadata": {"trigger": "auto"}}
    facts = transcript(
        tmp_path,
        line("system", None, **compacted),
        line("assistant", [{"type": "text", "text": "API Error: 529"}], isApiErrorMessage=True),
    )

    assert [(fact["data"]["phase"], fact["data"].get("detail")) for fact in facts] == [
        ("started", None),
        ("compacted", "auto"),
        ("stopped", "API Error: 529"),
    ]


def test_lines_that_make_no_sense_are_told_once_each(tmp_path):
    odd = line("something-new", None)
    facts = transcript(
        tmp_path,
        odd,
        odd,
        '{"type": "user", "mess',
        "null",
        line("user", {"a": 1}),
        line("assistant", 3),
        line("assistant", [{"type": "hologram"}, {"type": "hologram"}]),
        result("t9", "of no call"),
    )

    assert [told(fact)[-1] for fact in facts if fact["kind"] == "agent_payload"] == [
        ("something-new", "unknown_event"),
        ("", "no_json"),
        ("user", "unknown_shape"),
        ("assistant", "unknown_shape"),
        ("assistant/hologram", "unknown_shape"),
        ("user/tool_result", "unknown_shape"),
    ]
    assert_fit(facts, claude_code.NAME)


def test_no_line_is_fatal(tmp_path):
    lines = recorded(f"{RECORDED}/{SESSION}.jsonl") + recorded(
        f"{RECORDED}/{SESSION}/subagents/agent-{SUB}.jsonl"
    )
    for number, mutant in enumerate(mutants(lines)):
        before = lines[number % len(lines)]
        assert_fit(transcript(tmp_path, before, mutant, *lines[-3:]), claude_code.NAME)


def test_transcripts_of_a_directory_and_below_are_found_oldest_first(tmp_path):
    projects = tmp_path / ".claude" / "projects"
    root = tmp_path / "re.po"
    places = {"b": root, "a": root / "sub", "c": tmp_path / "re.po-other", "d": tmp_path}
    for number, (name, cwd) in enumerate(places.items()):
        slug = "".join(letter if letter.isalnum() else "-" for letter in str(cwd))
        path = projects / slug / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        first = {"type": "user", "timestamp": f"2026-11-2{9 - number}T00:00:00Z", "cwd": str(cwd)}
        path.write_text(json.dumps({"type": "summary"}) + "\n" + json.dumps(first) + "\n")
    shutil.copytree(
        PAYLOADS / RECORDED / SESSION / "subagents",
        projects / next(projects.glob("*sub")).name / "a" / "subagents",
    )

    found = claude_code.transcripts({"HOME": str(tmp_path)}, root)

    assert [path.name for path in found] == ["a.jsonl", f"agent-{SUB}.jsonl", "b.jsonl"]
    assert claude_code.transcripts({"CLAUDE_CONFIG_DIR": str(tmp_path / ".claude")}, root) == found
    assert claude_code.transcripts({"HOME": str(tmp_path / "nobody")}, root) == []
