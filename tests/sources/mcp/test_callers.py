"""Whose call it is, by what real clients send along: as it was seen on the wire, and mangled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devtrace.config import AGENTS
from devtrace.sources.mcp.callers import agent_of, ids_of, session_of, trace_of

TURN = {"session_id": "01a20313-2f0d", "thread_id": "01a20313-2f0d", "turn_id": "01a20313-2f2c", "model": "m"}
CODEX = {
    "callId": "call_4f22",
    "x-codex-turn-metadata": TURN,
    "sessionId": "01a20313-2f0d",
    "progressToken": 1,
}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("meta", "ids"),
    [
        ({"claudecode/toolUseId": "toolu_c3", "progressToken": 2}, {"call": "toolu_c3"}),
        (CODEX, {"call": "call_4f22", "native": "01a20313-2f0d", "turn": "01a20313-2f2c"}),
        (
            CODEX | {"x-codex-turn-metadata": json.dumps(TURN)},
            {"call": "call_4f22", "native": "01a20313-2f0d", "turn": "01a20313-2f2c"},
        ),
        (CODEX | {"x-codex-turn-metadata": "{"}, {"call": "call_4f22", "native": "01a20313-2f0d"}),
        ({"ai.opencode/sessionID": "ses_1"}, {"native": "ses_1"}),
        ({"vscode.conversationId": "c", "vscode.requestId": "r"}, {"native": "c", "turn": "r"}),
        ({"callId": "c", "sessionId": "s"}, {}),
        ({"claudecode/toolUseId": 5}, {}),
        ({"claudecode/toolUseId": ""}, {}),
        ({"claudecode/toolUseId": "x" * 1_000}, {}),
        ({"x-codex-turn-metadata": ["turn_id"]}, {}),
        ({}, {}),
    ],
    ids=[
        *("claude-code", "codex", "codex-as-text", "codex-broken", "opencode", "vscode", "anybody's words"),
        *("a number", "empty", "too long", "a list", "nothing"),
    ],
)
def test_the_ids_of_a_call_are_those_that_its_client_tells(meta: dict[str, Any], ids: dict[str, str]) -> None:
    assert ids_of(meta) == ids


@pytest.mark.parametrize(
    ("client", "agent"),
    [
        ("claude-code 2.1.197", "claude-code"),
        ("codex-mcp-client 0.169.0", "codex"),
        ("gemini-cli-mcp-client 0.61.0", "gemini"),
        ("opencode 1.18.33", "opencode"),
        ("cursor-vscode 1.0.0", "cursor"),
        ("Cline 3.1", "cline"),
        ("inspector-cli 2.12.0", ""),
        ("", ""),
    ],
)
def test_an_agent_is_known_by_what_its_client_calls_itself(client: str, agent: str) -> None:
    assert agent_of(client) == agent
    assert agent in ("", *AGENTS)


def test_a_session_of_the_environment_is_believed_of_its_own_client_alone() -> None:
    environ = {"CLAUDE_CODE_SESSION_ID": "e35eb547"}

    assert session_of("claude-code", environ) == "e35eb547"
    assert session_of("codex", environ) is None
    assert session_of("", environ) is None
    assert session_of("claude-code", {}) is None


@pytest.mark.parametrize(
    ("told", "is_valid"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"01-{TRACE}-{SPAN}-01-more", True),
        (f"01-{TRACE}-{SPAN}-01more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}", False),
        (f"00-{TRACE}-{SPAN}-01\n", False),
        ("", False),
        (7, False),
        (None, False),
    ],
)
def test_only_a_valid_trace_context_names_a_parent(told: object, is_valid: bool) -> None:
    assert trace_of({"traceparent": told}) == ((TRACE, SPAN) if is_valid else None)
