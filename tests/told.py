"""What agents tell, as events: prompts, messages, tool calls, by a hook or from a transcript.

Lives here: `prompt`, `said`, `tool`, `client`. Not here: any test, the stores they are put into (recorded.py,
edits.py).
"""

from __future__ import annotations

import json
from typing import Any

from devtrace.events import AgentSession, AssistantMessage, Body, Event, Prompt, ToolCall
from devtrace.ids import new_span_id

AGENT, NATIVE = "claude-code", "n1"


def prompt(session: str, text: str, at_us: int, **more: Any) -> Event:
    """What the agent was told."""
    return _event(session, Prompt, {"text": text}, at_us, at_us, more)


def said(session: str, text: str, at_us: int, **more: Any) -> Event:
    """What it said."""
    return _event(session, AssistantMessage, {"text": text}, at_us, at_us, more)


def tool(session: str, name: str, at_us: int, ended_us: int | None, given: Any = None, **more: Any) -> Event:
    """What it did: `Bash` with `command`, `Edit` with `paths`, or anything."""
    given = {} if given is None else given
    fields: dict[str, Any] = {"tool": name, "does": "other", "input": json.dumps(given)}
    if name == "Bash":
        fields |= {"does": "shell", "command": given if isinstance(given, str) else None}
        fields["input"] = json.dumps({"command": given})
    elif name in ("Edit", "Write", "Read"):
        fields |= {"does": "read" if name == "Read" else "edit", "paths": [given.get("file_path", "")]}
    more.setdefault("status", "running" if ended_us is None else "ok")
    return _event(session, ToolCall, fields, at_us, ended_us, more)


def client(session: str, phase: str, at_us: int, **more: Any) -> Event:
    """It began, or ended."""
    return _event(session, AgentSession, {"phase": phase}, at_us, at_us, more)


def _event(
    session: str,
    body: type[Body],
    fields: dict[str, Any],
    at_us: int,
    ended_us: int | None,
    more: dict[str, Any],
) -> Event:
    envelope = {
        "id": new_span_id(), "parent": None, "source": "hook", "status": "ok", "trusted": 0,
        "actor": f"agent:{more.get('agent', AGENT)}",
    }  # fmt: skip
    envelope |= {name: more.pop(name) for name in list(more) if name in envelope}
    told = {"agent": AGENT, "native": NATIVE} | fields | more
    return Event(session=session, started_us=at_us, ended_us=ended_us, body=body(**told), **envelope)
