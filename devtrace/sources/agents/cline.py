"""Cline: what it gives to its hooks, after its own description of them; nothing of it was seen in a run.

    hooks    executables .clinerules/hooks/<event>: on stdin a JSON object {clineVersion, hookName, timestamp,
             taskId, workspaceRoots, userId, <event with a small letter>: {...}}, on stdout another, in which
             `cancel` would stop what is about to be done

A session is a `taskId`. It has no ids of prompts and of calls: a call is the n-th of that tool with that
input, its beginnings and ends counted apart. Its own records are not described, and not read.

Lives here: that format, what is known of its tools. Not here: the form of a fact (base.py).
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from devtrace.sources.agents.base import (
    Fact,
    as_json,
    dict_of,
    list_of,
    number_of,
    prompt,
    session,
    text_of,
    tool_call,
    unknown,
)

if TYPE_CHECKING:
    from devtrace.sources.agents.base import Memory
    from devtrace.sources.agents.hookfiles import HookFile

NAME = "cline"
TITLE = "Cline"
COMMANDS = ("cline",)
FOLDER = ".clinerules/hooks"

_MARKER = "devtrace agent install cline"
_DOES = {
    "execute_command": "shell",
    **dict.fromkeys(("write_to_file", "replace_in_file", "apply_patch"), "edit"),
    "read_file": "read",
    **dict.fromkeys(("search_files", "list_files", "list_code_definition_names", "web_search"), "search"),
    **dict.fromkeys(("use_mcp_tool", "access_mcp_resource"), "mcp"),
    "use_subagents": "subagent",
}
_PLUGIN = """\
#!/bin/sh
# Tells DevTrace what Cline was told, said and did, and stops nothing.
# `{marker}` wrote this file, `devtrace agent uninstall cline` takes it away.
if [ -f {script} ]; then
    {command} >/dev/null 2>&1
fi
echo '{{"cancel": false}}'
exit 0
"""


# --- hooks ----------------------------------------------------------------------------------------------


def hooks(command: Callable[[str], str]) -> list[HookFile]:
    """One executable an event; where it is gone the command is not run."""
    from devtrace.sources.agents.hookfiles import whole_file

    def text(event: str) -> str:
        script = next((word for word in shlex.split(command(event)) if word.endswith(".py")), "/dev/null")
        return _PLUGIN.format(marker=_MARKER, script=shlex.quote(script), command=command(event))

    return [whole_file(f"{FOLDER}/{event}", text(event), _MARKER, is_executable=True) for event in EVENTS]


def parse(event: str, payload: dict[str, Any], at_us: int, memory: Memory) -> list[Fact]:
    """What one hook tells; `at_us` is when it was heard."""
    event = text_of(payload.get("hookName")) or event
    native = text_of(payload.get("taskId"))
    hear = _HEARD.get(event)
    if hear is None:
        return [unknown(native, event, payload, "unknown_event", at_us)]
    told = dict_of(payload.get(event[:1].lower() + event[1:]))
    cwd = next(filter(None, map(text_of, list_of(payload.get("workspaceRoots")))), None)
    common = {"cwd": cwd, "version": text_of(payload.get("clineVersion"))}
    heard = hear(_Hook(native, told, at_us, memory, common)) if native else None
    return [unknown(native, event, payload, "unknown_shape", at_us)] if heard is None else [heard]


_Told = dict[str, Any]


class _Hook(NamedTuple):
    native: str
    told: _Told
    at_us: int
    memory: Memory
    common: _Told


def _started(hook: _Hook) -> Fact:
    """The task itself is told once more as a prompt."""
    return session(hook.native, "began", hook.at_us, "started", **hook.common)


def _resumed(hook: _Hook) -> Fact:
    return session(
        hook.native, f"resumed#{hook.memory.count('resumed')}", hook.at_us, "resumed", **hook.common
    )


def _cancelled(hook: _Hook) -> Fact:
    detail = text_of(dict_of(hook.told.get("taskMetadata")).get("completionStatus")) or "cancelled"
    return session(
        hook.native,
        f"stopped#{hook.memory.count('stopped')}",
        hook.at_us,
        "stopped",
        detail=detail,
        **hook.common,
    )


def _completed(hook: _Hook) -> Fact:
    return session(hook.native, f"ended#{hook.memory.count('ended')}", hook.at_us, "ended", **hook.common)


def _compacted(hook: _Hook) -> Fact:
    detail = text_of(hook.told.get("compactionStrategy")) or ""
    key = f"compacted#{hook.memory.count('compacted')}"
    return session(hook.native, key, hook.at_us, "compacted", detail=detail, **hook.common)


def _prompted(hook: _Hook) -> Fact | None:
    text = text_of(hook.told.get("prompt"))
    if text is None:
        return None
    return prompt(
        hook.native, f"prompt#{hook.memory.count('prompt')}", hook.at_us, text, cwd=hook.common["cwd"]
    )


def _calling(hook: _Hook) -> Fact | None:
    return _call(hook, hook.at_us, "begun", status="running", cwd=hook.common["cwd"])


def _called(hook: _Hook) -> Fact | None:
    milliseconds = number_of(hook.told.get("executionTimeMs"))
    return _call(
        hook,
        None,
        "ended",
        status="failed" if hook.told.get("success") is False else "ok",
        ended_us=hook.at_us,
        result=text_of(hook.told.get("result")),
        duration_us=None if milliseconds is None else milliseconds * 1000,
        cwd=hook.common["cwd"],
    )


def _call(hook: _Hook, started_us: int | None, half: str, **more: Any) -> Fact | None:
    tool, given = text_of(hook.told.get("toolName")), hook.told.get("parameters")
    if not tool:
        return None
    digest = _digest([tool, given])
    key = f"{digest}#{hook.memory.count(f'{half} {digest}')}"
    does = _DOES.get(tool, "other")
    path = text_of(dict_of(given).get("path"))
    more["command"] = text_of(dict_of(given).get("command")) if does == "shell" else None
    more["paths"] = [path] if path and does in ("edit", "read") else None
    return tool_call(hook.native, key, started_us, tool, does, given, **more)


def _digest(called: list[Any]) -> str:
    try:
        text = json.dumps(called, sort_keys=True, default=repr)
    except RecursionError:  # so deep that it could just be read
        text = as_json(called[:1])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


_HEARD: dict[str, Callable[[_Hook], Fact | None]] = {
    "TaskStart": _started,
    "TaskResume": _resumed,
    "TaskCancel": _cancelled,
    "TaskComplete": _completed,
    "UserPromptSubmit": _prompted,
    "PreToolUse": _calling,
    "PostToolUse": _called,
    "PreCompact": _compacted,
}
EVENTS = tuple(_HEARD)
