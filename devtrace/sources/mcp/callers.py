"""What clients send along with a call that says whose it is: the one table of their names for it.

    client               the call               its session                    the prompt
    Claude Code 2.1.197  claudecode/toolUseId   CLAUDE_CODE_SESSION_ID (env)   -
    Codex 0.169.0        callId                 x-codex-turn-metadata          x-codex-turn-metadata
    opencode 2           -                      ai.opencode/sessionID          -
    VS Code              -                      vscode.conversationId          vscode.requestId
    Antigravity          -                      antigravity.google/conversation_id

The first two were seen on the wire, the others are as their sources and those who serve them tell. The ids
are those that the client's hooks tell too (sources/agents/). All of it is the client's word.

Lives here: `ids_of`, `agent_of`, `session_of`, `trace_of`. Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_LONGEST = 200  # characters of an id; a longer one is none
_LONGEST_TEXT = 1 << 16  # of an object that was sent as a text
_CODEX = "x-codex-turn-metadata"  # a word of its own, beside which Codex uses words that may be anybody's
# Where a field stands: what must stand in `_meta` too, or "", then the way to it.
_FIELDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "call": (("", "claudecode/toolUseId"), (_CODEX, "callId")),
    "native": (
        ("", _CODEX, "session_id"),
        (_CODEX, "sessionId"),
        ("", "ai.opencode/sessionID"),
        ("", "vscode.conversationId"),
        ("", "antigravity.google/conversation_id"),
    ),
    "turn": (("", _CODEX, "turn_id"), ("", "vscode.requestId")),
}
# What a client calls itself in `initialize`, and how it is called here (config.AGENTS).
_AGENTS = (
    ("claude-code", "claude-code"),
    ("codex", "codex"),
    ("gemini-cli", "gemini"),
    ("opencode", "opencode"),
    ("cursor", "cursor"),
    ("cline", "cline"),
    ("continue", "continue"),
)
# The variable of a stdio server's environment that names the session: all below inherit it, other agents too.
_SESSIONS = {"claude-code": "CLAUDE_CODE_SESSION_ID"}
# https://www.w3.org/TR/trace-context/#traceparent-header: version 00, and what later ones keep of it
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


def ids_of(meta: Mapping[str, Any]) -> dict[str, str]:
    """`call`, `native` and `turn`, as far as `_meta` of a call tells them."""
    if not meta:
        return {}
    found = ((field, next(_texts(meta, places), None)) for field, places in _FIELDS.items())
    return {field: text for field, text in found if text is not None}


def agent_of(client: str) -> str:
    """The agent's name by what its client calls itself; "" where that is nobody we know."""
    name = client.lower()
    return next((agent for start, agent in _AGENTS if name.startswith(start)), "")


def session_of(agent: str, environ: Mapping[str, str]) -> str | None:
    """The client's id of its session, where it tells its servers by their environment."""
    told = environ.get(_SESSIONS.get(agent, ""), "")
    return told if 0 < len(told) <= _LONGEST else None


def trace_of(meta: Mapping[str, Any]) -> tuple[str, str] | None:
    """The trace and the span in which the call was made, where `_meta` tells it as W3C Trace Context does."""
    told = meta.get("traceparent")
    found = _TRACEPARENT.fullmatch(told) if isinstance(told, str) and len(told) <= _LONGEST else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[4] is not None):
        return None
    return (found[2], found[3]) if found[2].strip("0") and found[3].strip("0") else None


def _texts(meta: Mapping[str, Any], places: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    for beside, *way in places:
        if beside and beside not in meta:
            continue
        value: Any = meta
        for name in way:
            value = _object(value).get(name)
        if isinstance(value, str) and 0 < len(value) <= _LONGEST:
            yield value


def _object(value: Any) -> Mapping[str, Any]:
    """An object, or one that was sent as a text."""
    if isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}
