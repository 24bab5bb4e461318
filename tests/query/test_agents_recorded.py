"""Real runs of real clients: what hooks told and what the clients' own records hold is one list of calls."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.events import Event, body_from_data
from devtrace.query.agents import Work, headline
from devtrace.query.events import get_event
from devtrace.sources.agents import base
from devtrace.store.append import append
from tests.recorded import Recorded

PAYLOADS = Path(__file__).parents[1] / "sources" / "agents" / "payloads"
PROMPT, INNER = "Add a greeting [script:main]", "Write the test file [script:sub]"
STEP_US = 50_000  # between one hook and the next; the payloads tell no times
BOTH = "Two independent checks at once."
SHELL_IN_SHELL = "A shell in a shell, a pipeline, a background job and a commit."
SECRET = "A secret on the command line, to test redaction."


class Memory:
    """How often each name was counted."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def count(self, name: str) -> int:
        self.counted[name] += 1
        return self.counted[name]


# Of each run: the client, its hooks' payloads, its own records.
CLAUDE = "claude-code-2.1.197/e35eb547-d670-46b0-8b78-17e533428062"
RUNS = {
    "claude-code": (
        "claude-code-2.1.197/hooks.jsonl",
        (f"{CLAUDE}.jsonl", f"{CLAUDE}/subagents/agent-ab0fbb1c6fc5f320c.jsonl"),
    ),
    "claude-code failing": (
        "claude-code-2.1.197/hooks-failing.jsonl",
        ("claude-code-2.1.197/3eb1fcc7-b4a1-48c5-851c-ee96e15feed4.jsonl",),
    ),
    "codex": (
        "codex-0.169.0/hooks.jsonl",
        ("codex-0.169.0/rollout.jsonl", "codex-0.169.0/rollout-subagent.jsonl"),
    ),
    "codex failing": ("codex-0.169.0/failing-hooks.jsonl", ("codex-0.169.0/failing-rollout.jsonl",)),
    "gemini": ("gemini-0.61.0/hooks.jsonl", ("gemini-0.61.0/chat.jsonl",)),
}


def played(recorded: Recorded, run: str) -> list[dict[str, Any]]:
    """The calls of a run, told by both channels."""
    agent = run.partition(" ")[0]
    recorded.session(agent=agent)
    adapter: Any = base.adapter(agent)
    told = [fact for path in RUNS[run][1] for fact in adapter.read(PAYLOADS / path, Path("/repo"))]
    hooks = PAYLOADS / RUNS[run][0]
    first_us = min(fact["started_us"] for fact in told if fact["started_us"] is not None)
    for event in (*hooked(recorded, agent, adapter, hooks, first_us), *imported(recorded, agent, told)):
        append(recorded.db, [event.to_frame()])
    return Work(recorded.db, recorded.session_id).calls


def hooked(recorded: Recorded, agent: str, adapter: Any, path: Path, at_us: int) -> Iterator[Event]:
    memory = Memory()
    for line in path.read_text().splitlines():
        payload = json.loads(line)
        at_us += STEP_US
        if isinstance(payload, dict):
            for fact in adapter.parse(str(payload.get("hook_event_name")), payload, at_us, memory):
                yield event_of(recorded, "hook", agent, fact, at_us)


def imported(recorded: Recorded, agent: str, facts: list[base.Fact]) -> Iterator[Event]:
    at_us = 0
    for fact in facts:
        at_us = fact["started_us"] if fact["started_us"] is not None else at_us
        yield event_of(recorded, "transcript", agent, fact, at_us)


def event_of(recorded: Recorded, channel: str, agent: str, fact: base.Fact, at_us: int) -> Event:
    identity = base.event_id(channel, agent, fact)
    started_us = fact["started_us"]
    if started_us is None:
        begun = recorded.db.execute("SELECT started_us FROM running WHERE id = ?", (identity,)).fetchone()
        started_us = begun[0] if begun else at_us
    runs = fact["status"] == "running"
    return Event(
        session=recorded.session_id,
        id=identity,
        actor=f"agent:{agent}",
        started_us=started_us,
        ended_us=None if runs else fact["ended_us"] or (at_us if channel == "hook" else None),
        status=fact["status"],
        source=channel,
        trusted=0,
        body=body_from_data(fact["kind"], {"agent": agent, **fact["data"]}),
    )


def shown(calls: list[dict[str, Any]]) -> list[tuple[str, str, list[str], str | None]]:
    """What is about, by whom told, under which prompts, for what reason."""
    return [
        (
            headline(call).partition("\n")[0][:30],
            "+".join(call["told_by"]),
            [prompt["text"] for prompt in call["prompts"]],
            call["reason"] and call["reason"]["text"],
        )
        for call in sorted(calls, key=headline)
    ]


TWO = "hook+transcript"
MAIN = [PROMPT]
INSIDE = [INNER, PROMPT]


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (
            "claude-code",
            [
                ("Agent", TWO, MAIN, "I delegate the tests."),
                ("Bash: bash -c 'sh -c \"echo nes", TWO, MAIN, SHELL_IN_SHELL),
                ("Bash: echo one; sleep 0.3; ech", TWO, MAIN, BOTH),
                ("Bash: echo two", TWO, MAIN, BOTH),
                ("Bash: export API_TOKEN=ghp_012", TWO, MAIN, SECRET),
                ("Bash: python3 -c 'print(40+2)'", TWO, INSIDE, None),
                ("Write: /repo/test_app.py", TWO, INSIDE, "The subagent writes the test."),
                ("mcp__demo__add", TWO, MAIN, "Ask the MCP server."),
            ],
        ),
        (
            "codex",
            [
                ("Bash: apply_patch <<'EOP'", TWO, INSIDE, "The subagent writes the test."),
                ("Bash: bash -c 'sh -c \"echo nes", TWO, MAIN, SHELL_IN_SHELL),
                ("Bash: echo one; sleep 0.3; ech", TWO, MAIN, BOTH),
                ("Bash: echo two", TWO, MAIN, BOTH),
                ("Bash: export API_TOKEN=ghp_012", TWO, MAIN, SECRET),
                ("Bash: python3 -c 'print(40+2)'", TWO, INSIDE, None),
                ("mcp__demo__add", TWO, MAIN, "Ask the MCP server."),
                ("spawn_agent", TWO, MAIN, "I delegate the tests."),
            ],
        ),
        (
            "gemini",  # what its subagents call stands in no chat of its own, and has no name of theirs
            [
                ("invoke_agent", TWO, MAIN, "I delegate the tests."),
                ("mcp_demo_add", TWO, MAIN, "Ask the MCP server."),
                ("run_shell_command: bash -c 'sh", TWO, MAIN, SHELL_IN_SHELL),
                ("run_shell_command: echo one; s", TWO, MAIN, BOTH),
                ("run_shell_command: echo two", TWO, MAIN, BOTH),
                ("run_shell_command: export API_", TWO, MAIN, SECRET),
                ("run_shell_command: python3 -c ", "hook", MAIN, None),
                ("write_file: /repo/test_app.py", "hook", MAIN, None),
            ],
        ),
    ],
)
def test_hooks_and_transcripts_of_a_real_run_become_one_list(recorded, run, expected):
    calls = played(recorded, run)

    assert shown(calls) == expected
    assert [call["differs"] for call in calls] == [[]] * len(calls)


def test_the_heredoc_patch_whose_end_no_hook_told_ends_as_the_rollout_says(recorded):
    calls = played(recorded, "codex")

    (patch,) = [call for call in calls if "apply_patch" in headline(call)]
    hook = get_event(recorded.db, *patch["event"].split("/"))
    assert (hook["status"], patch["status"]) == ("running", "ok")
    assert patch["ended_us"] is not None


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("claude-code failing", [("failed", None), ("ok", None), ("failed", None), ("failed", 3)]),
        ("codex failing", [("failed", 3), ("failed", 127), ("ok", None), ("failed", None)]),
    ],
)
def test_what_failed_has_the_exit_code_that_either_channel_tells(recorded, run, expected):
    calls = played(recorded, run)

    assert [(call["status"], call["exit_code"]) for call in calls] == expected
    assert all("+".join(call["told_by"]) == TWO and not call["differs"] for call in calls)
