"""codex_rollout: records that are older, newer, torn, forked or made by dice.

Not here: the recorded run (test_codex.py).
"""

from __future__ import annotations

import random

import pytest

from devtrace.sources.agents import codex
from tests.sources.agents.adapters import PAYLOADS, calls, fields, fit, lines, mutants, written

RUN = PAYLOADS / "codex-0.169.0"
MAIN = lines("codex-0.169.0", "rollout.jsonl")
SUBAGENTS = lines("codex-0.169.0", "rollout-subagent.jsonl")


def rolled(tmp_path, *payloads):
    """What is read of these lines, each (type, payload), behind a head."""
    head = ("session_meta", {"id": "thread", "cwd": "/repo"})
    told = [
        {"timestamp": f"2026-11-21T02:00:{second:02}.000Z", "type": kind, "payload": payload}
        for second, (kind, payload) in enumerate((head, *payloads))
    ]
    return fit(codex, codex.read(written(tmp_path / "rollout-x.jsonl", told), tmp_path))


def item(**fields):
    return ("event_msg", {"type": "item_completed", "turn_id": "t", "item": fields})


def response(kind, **fields):
    return ("response_item", {"type": kind, **fields})


def test_a_command_that_failed_has_its_exit_code(tmp_path):
    facts = rolled(
        tmp_path,
        response("function_call", name="exec_command", arguments='{"cmd": "exit 3"}', call_id="c"),
        item(
            type="CommandExecution",
            id="c",
            command=["/bin/bash", "-lc", "exit 3"],
            status="failed",
            exit_code=3,
            aggregated_output="",
        ),
        response("function_call_output", call_id="c", output="Process exited with code 3\nOutput:\n"),
    )

    assert fields(calls(facts), "command", "status", "exit_code", "result") == [("exit 3", "failed", 3, "")]


@pytest.mark.parametrize(
    ("output", "status", "exit_code", "result"),
    [
        ("Wall time: 0.1 seconds\nProcess exited with code 3\nOutput:\nno\n", "failed", 3, None),
        ("Exit code: 0\nWall time: 0 seconds\nOutput:\nyes\n", "ok", 0, None),
        ("Wall time: 0 seconds\nOutput:\nExit code: 9\n", "unknown", None, None),
        ('{"output":"no\\n","metadata":{"exit_code":2,"duration_seconds":0.1}}', "failed", 2, "no\n"),
        ("aborted by user after 2.5s", "interrupted", None, None),
        ("apply_patch verification failed: Failed to read file to update", "failed", None, None),
        ({"content": "denied", "success": False}, "failed", None, "denied"),
        ([{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}], "unknown", None, "a\nb"),
    ],
)
def test_an_output_tells_the_end_where_no_item_does(tmp_path, output, status, exit_code, result):
    facts = rolled(
        tmp_path,
        response(
            "function_call", name="shell", arguments='{"command": ["bash", "-lc", "make"]}', call_id="c"
        ),
        response("function_call_output", call_id="c", output=output),
    )

    told = (status, exit_code, output if result is None else result)
    assert fields(calls(facts), "status", "exit_code", "result") == [told]
    assert fields(calls(facts), "tool", "command") == [("Bash", "make")]


def test_a_command_that_goes_on_in_the_background_ends_when_its_item_says_so(tmp_path):
    began = (
        response("function_call", name="exec_command", arguments='{"cmd": "make watch"}', call_id="c"),
        response("function_call_output", call_id="c", output="Process running with session ID 7\nOutput:\n"),
    )
    ended = item(type="CommandExecution", id="c", status="failed", exit_code=143, aggregated_output="all")

    assert fields(calls(rolled(tmp_path, *began)), "status", "ended_us") == [("unknown", None)]
    assert fields(calls(rolled(tmp_path, *began, ended)), "status", "exit_code", "result") == [
        ("failed", 143, "all")
    ]


def test_a_call_without_a_result_has_no_end(tmp_path):
    facts = rolled(
        tmp_path, response("custom_tool_call", name="apply_patch", input="*** Add File: a", call_id="c")
    )

    assert fields(calls(facts), "does", "paths", "status", "ended_us") == [("edit", ["a"], "unknown", None)]


def test_a_call_that_only_an_item_tells_is_a_call(tmp_path):
    facts = rolled(
        tmp_path,
        item(type="CommandExecution", id="c", command=["bash", "-lc", "ls"], status="completed", exit_code=0),
        item(type="CommandExecution", id="d", command=["ls"], status="completed", source="user_shell"),
        item(type="McpToolCall", id="e", server="db", tool="ask", status="failed", error={"message": "no"}),
    )

    assert fields(calls(facts), "key", "tool", "does", "command", "status", "result") == [
        ("c", "Bash", "shell", "ls", "ok", None),
        ("e", "mcp__db__ask", "mcp", None, "failed", "no"),
    ]


def test_the_prompts_of_an_older_version_are_told_once(tmp_path):
    facts = rolled(
        tmp_path,
        ("event_msg", {"type": "user_message", "message": "First"}),
        item(type="UserMessage", content=[{"type": "text", "text": "First"}]),
        response("message", role="assistant", content=[{"type": "output_text", "text": "Yes."}]),
        ("event_msg", {"type": "user_message", "message": "Second"}),
        response("message", role="assistant", content=[{"type": "output_text", "text": "Yes."}]),
    )

    assert fields(facts[1:], "kind", "text", "turn") == [
        ("prompt", "First", "prompt#1"),
        ("assistant_message", "Yes.", "prompt#1"),
        ("prompt", "Second", "prompt#2"),
        ("assistant_message", "Yes.", "prompt#2"),
    ]
    assert len({fact["key"] for fact in facts}) == len(facts)


def test_what_a_subagent_was_given_of_its_parents_history_is_not_told_again(tmp_path):
    (head, *rest) = SUBAGENTS
    forked = written(tmp_path / "rollout-forked.jsonl", [head, *MAIN, *rest])

    facts = fit(codex, codex.read(forked, tmp_path))

    assert fields(facts, "kind", "key") == fields(
        codex.read(RUN / "rollout-subagent.jsonl", RUN), "kind", "key"
    )


def test_a_thread_of_an_older_version_names_its_parent_in_its_source(tmp_path):
    source = {"subagent": {"thread_spawn": {"parent_thread_id": "parent", "depth": 1}}}
    head = {"type": "session_meta", "payload": {"id": "child", "source": source}}

    (fact,) = codex.read(written(tmp_path / "rollout-x.jsonl", [head]), tmp_path)

    assert fields([fact], "native", "subagent", "phase") == [("parent", "child", "subagent_started")]


def test_lines_that_are_unknown_or_torn_are_kept_once_for_each_kind(tmp_path):
    path = tmp_path / "rollout-x.jsonl"
    odd = [
        ("event_msg", {"type": "dreamt"}),
        ("dream", {}),
        ("event_msg", {"type": "dreamt", "of": 2}),
        ("dream", {}),
    ]
    rolled(tmp_path, *odd)
    with path.open("a") as file:
        file.write('[1]\n{"type": "event\n{"type": "ev')

    facts = fit(codex, codex.read(path, tmp_path))

    assert fields(facts[1:], "event", "why") == [
        ("event_msg dreamt", "unknown_event"),
        ("dream", "unknown_event"),
        ("line", "unknown_shape"),
        ("line", "no_json"),
    ]


def test_rollouts_are_found_by_where_their_threads_began_oldest_first(tmp_path):
    root = tmp_path / "repo"
    days = tmp_path / "home/sessions/2026/11"
    for name, day, cwd in (
        ("rollout-2026-11-22T01-00-00-b.jsonl", "22", root / "below"),
        ("rollout-2026-11-21T01-00-00-a.jsonl", "21", root),
        ("rollout-2026-11-21T02-00-00-c.jsonl", "21", tmp_path / "repository"),
    ):
        (days / day).mkdir(parents=True, exist_ok=True)
        written(days / day / name, [{"type": "session_meta", "payload": {"id": "x", "cwd": str(cwd)}}])
    archived = tmp_path / "home/archived_sessions"
    archived.mkdir()
    written(archived / "rollout-2026-10-01T01-00-00-d.jsonl", [{"payload": {"cwd": str(root)}}])
    (archived / "rollout-2026-10-02T01-00-00-e.jsonl").write_text("torn {")

    found = codex.transcripts({"CODEX_HOME": str(tmp_path / "home")}, root)

    assert [path.name[-7:] for path in found] == ["d.jsonl", "a.jsonl", "b.jsonl"]
    assert codex.transcripts({"HOME": str(tmp_path / "nobody")}, root) == []


@pytest.mark.parametrize("recorded", [MAIN, SUBAGENTS], ids=["main", "subagent"])
@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_rollout_holds_becomes_facts_that_fit(tmp_path, recorded, seed):
    dice = random.Random(seed)
    for changed in mutants(seed, recorded, 4):
        torn_at = dice.choice((None, dice.random()))
        path = written(tmp_path / "rollout-x.jsonl", changed, torn_at)
        fit(codex, codex.read(path, tmp_path))
