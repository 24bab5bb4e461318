"""Cursor: what its hooks send. By its reference of version 1 of hooks.json; seen in no run of ours.

    hooks   one JSON object each, registered in .cursor/hooks.json

A session is its `conversation_id`, a turn its `generation_id`, a call its `tool_use_id`. Newer versions tell
every call by `preToolUse` and `postToolUse`; older ones, and the command line client, only commands, edits
and MCP calls when they are over, without an id. Both are registered, and of a call that began by the first
the second is not told again. Completions that a person took with Tab come as `afterTabFileEdit`.

Its own records are documented nowhere, and so they are not read.

Lives here: the hooks, what is known of its tools. Not here: the form of a fact (base.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from devtrace.sources.agents import base
from devtrace.sources.agents.base import Fact, dict_of, list_of, number_of, text_of

if TYPE_CHECKING:
    from devtrace.sources.agents.base import Memory
    from devtrace.sources.agents.hookfiles import HookFile

NAME = "cursor"
TITLE = "Cursor"
COMMANDS = ("cursor-agent", "cursor")

_HOOK_FILE = ".cursor/hooks.json"
_DOES = {
    "Shell": "shell",
    "Write": "edit",
    "Edit": "edit",
    "StrReplace": "edit",
    "EditNotebook": "edit",
    "Delete": "edit",
    "Tab": "edit",
    "Read": "read",
    "Grep": "search",
    "Glob": "search",
    "LS": "search",
    "SemanticSearch": "search",
    "WebSearch": "search",
    "WebFetch": "search",
    "Task": "subagent",
}
_MCP = "MCP:"
_SILENT = (
    "beforeShellExecution",
    "beforeMCPExecution",
    "beforeReadFile",
    "beforeTabFileRead",
    "afterAgentThought",
    "workspaceOpen",
)


# --- hooks ------------------------------------------------------------------------------------------------


def hooks(command: Callable[[str], str]) -> list[HookFile]:
    """The repository's own hook file; `command` gives the command line of an event."""
    from devtrace.sources.agents.hookfiles import flat_hooks

    return [flat_hooks(_HOOK_FILE, EVENTS, command, version=1)]


class _Heard:
    """One payload, and when it came."""

    __slots__ = ("at_us", "event", "memory", "native", "told")

    def __init__(self, native: str, event: str, told: dict[str, Any], at_us: int, memory: Memory):
        self.native = native
        self.event = event
        self.told = told
        self.at_us = at_us
        self.memory = memory

    def text(self, name: str) -> str | None:
        """A field that is a text with something in it."""
        return text_of(self.told.get(name)) or None

    def where(self) -> str | None:
        """The directory that it tells of, which may be empty, else the first that is open."""
        given = dict_of(self.told.get("tool_input"))
        opened = [root for root in list_of(self.told.get("workspace_roots")) if isinstance(root, str)]
        return self.text("cwd") or text_of(given.get("working_directory")) or next(iter(opened), None)

    def spoken(self) -> dict[str, Any]:
        """Under which prompt, and by which model."""
        return {"turn": self.text("generation_id"), "model": self.text("model")}

    def nth(self, key: str) -> str:
        """The key as it is, for the second of the same with a number."""
        count = self.memory.count(key)
        return key if count == 1 else f"{key}#{count}"

    def session(self, key: str, phase: str, detail: str | None = None, **told: Any) -> Fact:
        """The client, or a subagent of it, began or ended."""
        common = {
            "transcript": self.text("transcript_path"),
            "version": self.text("cursor_version"),
            "model": self.text("model"),
            "cwd": self.where(),
        }
        return base.session(self.native, key, self.at_us, phase, **{**common, "detail": detail, **told})


def parse(event: str, payload: dict[str, Any], at_us: int, memory: Memory) -> list[Fact]:
    """What one hook tells; `at_us` is when it was heard."""
    event = text_of(payload.get("hook_event_name")) or event
    native = text_of(payload.get("conversation_id")) or text_of(payload.get("session_id"))
    if event == "afterTabFileEdit":
        native = native or "tab"  # no conversation led to it
    if event in _SILENT:
        return []
    if event not in _HEARD:
        return [base.unknown(native, event, payload, "unknown_event", at_us)]
    facts = _HEARD[event](_Heard(native, event, payload, at_us, memory)) if native else None
    return [base.unknown(native, event, payload, "unknown_shape", at_us)] if facts is None else facts


def _started(heard: _Heard) -> list[Fact]:
    return [heard.session("started", "started", heard.text("composer_mode"))]


def _ended(heard: _Heard) -> list[Fact]:
    return [heard.session(heard.nth("ended"), "ended", heard.text("reason"))]


def _stopped(heard: _Heard) -> list[Fact]:
    told = [text for name in ("status", "error_message") if (text := heard.text(name))]
    key = heard.nth(f"stopped:{heard.text('generation_id') or ''}")
    return [heard.session(key, "stopped", ": ".join(told) or None)]


def _compacted(heard: _Heard) -> list[Fact]:
    return [heard.session(heard.nth("compacted"), "compacted", heard.text("trigger"))]


def _prompted(heard: _Heard) -> list[Fact] | None:
    text, turn = text_of(heard.told.get("prompt")), heard.text("generation_id")
    if text is None:
        return None
    key = heard.nth(turn) if turn else f"prompt#{heard.memory.count('prompt')}"
    told = {**heard.spoken(), "cwd": heard.where()}
    return [base.prompt(heard.native, key, heard.at_us, text, **told)]


def _answered(heard: _Heard) -> list[Fact] | None:
    text = text_of(heard.told.get("text"))
    return None if text is None else _said(heard, text)


def _said(heard: _Heard, text: str | None) -> list[Fact]:
    if not text or not text.strip():
        return []
    key = heard.nth(f"{heard.text('generation_id') or ''}/{_digest(text.strip())}")
    return [base.said(heard.native, key, heard.at_us, text, **heard.spoken())]


# --- calls ------------------------------------------------------------------------------------------------


def _calling(heard: _Heard) -> list[Fact] | None:
    """What it says before a call is the reason that it states."""
    facts = _call(heard, heard.at_us)
    if facts is None:
        return None
    about = _about(heard.text("tool_name") or "", heard.told.get("tool_input"))
    number = heard.memory.count(f"begun {about}")
    heard.memory.count(f"told {about}#{number}")
    return [*_said(heard, heard.text("agent_message")), *facts]


def _called(heard: _Heard) -> list[Fact] | None:
    output = _unpacked(heard.told.get("tool_output"))
    told = dict_of(output)
    exit_code = number_of(told.get("exitCode", told.get("exit_code")))
    is_shell = _DOES.get(heard.text("tool_name") or "") == "shell"
    if exit_code is None or not is_shell:
        status, exit_code = ("unknown" if is_shell else "ok"), None
    else:
        status = "failed" if exit_code else "ok"
    return _call(heard, None, status=status, exit_code=exit_code, result=_text(output))


def _failed(heard: _Heard) -> list[Fact] | None:
    is_interrupt = heard.told.get("is_interrupt") is True
    status = "interrupted" if is_interrupt else "failed"
    result = heard.text("error_message") or heard.text("failure_type")
    return _call(heard, None, status=status, interrupted=is_interrupt or None, result=result)


def _call(heard: _Heard, started_us: int | None, **told: Any) -> list[Fact] | None:
    tool, given, call = heard.text("tool_name"), heard.told.get("tool_input"), heard.text("tool_use_id")
    if tool is None:
        return None
    key = call
    if call is None:
        phase = "begun" if started_us is not None else "ended"
        about = f"{tool} {_digest(base.as_json(given))}"
        key = f"{_digest(about)}#{heard.memory.count(f'{phase} {about}')}"
    told = {**_claims(tool, given), "call": call, **told}
    return [_fact(heard, key or "", started_us, tool, given, told)]


def _fact(
    heard: _Heard, key: str, started_us: int | None, tool: str, given: object, told: dict[str, Any]
) -> Fact:
    told = {**heard.spoken(), "cwd": heard.where(), **told}
    if started_us is None:
        told |= {"ended_us": heard.at_us, "duration_us": _micros(heard.told.get("duration"))}
    return base.tool_call(heard.native, key, started_us, tool, given=given, **told)


def _command_is_over(heard: _Heard) -> list[Fact] | None:
    command = text_of(heard.told.get("command"))
    if command is None:
        return None
    given = {"command": command}
    return _over(heard, "Shell", given, "unknown", result=text_of(heard.told.get("output")))


def _edit_is_over(heard: _Heard) -> list[Fact] | None:
    path = heard.text("file_path")
    if path is None:
        return None
    tool = "Tab" if heard.event == "afterTabFileEdit" else "Edit"
    return _over(heard, tool, {"file_path": path, "edits": heard.told.get("edits")}, "ok")


def _mcp_is_over(heard: _Heard) -> list[Fact] | None:
    tool = heard.text("tool_name")
    if tool is None:
        return None
    given = _unpacked(heard.told.get("tool_input"))
    tool = tool if tool.startswith(_MCP) else _MCP + tool
    return _over(heard, tool, given, "unknown", result=_text(_unpacked(heard.told.get("result_json"))))


def _over(heard: _Heard, tool: str, given: object, status: str, **told: Any) -> list[Fact]:
    """A call that is told only now; nothing where `preToolUse` told it already."""
    about = _about(tool, given)
    number = heard.memory.count(f"over {about}")
    if heard.memory.count(f"told {about}#{number}") > 1:
        return []
    told = {**_claims(tool, given), "status": status, **told}
    return [_fact(heard, f"{_digest(about)}#{number}", None, tool, given, told)]


def _about(tool: str, given: object) -> str:
    """What tells a call in both of the ways in which it may be told."""
    claimed = _claims(tool, given)
    what = claimed["command"] or next(iter(claimed["paths"] or ()), None) or tool
    return f"{claimed['does']} {what}"


# --- subagents --------------------------------------------------------------------------------------------


def _subagent_started(heard: _Heard) -> list[Fact] | None:
    agent, task = heard.text("subagent_id"), heard.text("task")
    if agent is None:
        return None
    told = {"subagent": agent, "subagent_type": heard.text("subagent_type")}
    began = heard.session(f"subagent_started:{agent}", "subagent_started", **told)
    if task is None:
        return [began]
    key = f"{agent}/prompt"
    placed = {"turn": key, "subagent": agent, "model": heard.text("subagent_model"), "cwd": heard.where()}
    return [began, base.prompt(heard.native, key, heard.at_us, task, **placed)]


def _subagent_ended(heard: _Heard) -> list[Fact]:
    agent = heard.text("subagent_id")  # older versions name none
    key = heard.nth(f"subagent_ended:{agent or ''}")
    told = {"subagent": agent, "subagent_type": heard.text("subagent_type")}
    return [heard.session(key, "subagent_ended", heard.text("status"), **told)]


_HEARD: dict[str, Callable[[_Heard], list[Fact] | None]] = {
    "sessionStart": _started,
    "beforeSubmitPrompt": _prompted,
    "preToolUse": _calling,
    "postToolUse": _called,
    "postToolUseFailure": _failed,
    "afterShellExecution": _command_is_over,
    "afterMCPExecution": _mcp_is_over,
    "afterFileEdit": _edit_is_over,
    "afterTabFileEdit": _edit_is_over,
    "afterAgentResponse": _answered,
    "subagentStart": _subagent_started,
    "subagentStop": _subagent_ended,
    "preCompact": _compacted,
    "stop": _stopped,
    "sessionEnd": _ended,
}
EVENTS = tuple(_HEARD)


# --- its tools --------------------------------------------------------------------------------------------


def _claims(tool: str, given: object) -> dict[str, Any]:
    told = dict_of(given)
    does = "mcp" if tool.startswith(_MCP) else _DOES.get(tool, "other")
    return {
        "does": does,
        "command": text_of(told.get("command")) if does == "shell" else None,
        "paths": _paths(told) or None if does in ("edit", "read") else None,
    }


def _paths(told: dict[str, Any]) -> list[str]:
    found = (told.get(name) for name in ("file_path", "path", "target_file", "target_notebook"))
    return [path for path in found if isinstance(path, str) and path][:1]


def _unpacked(value: object) -> object:
    """JSON that comes as a text, as what it holds."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def _text(output: object) -> str | None:
    told = dict_of(output)
    streams = [text_of(told.get(name)) for name in ("output", "stdout", "stderr")]
    if any(text is not None for text in streams):
        return "\n".join(text for text in streams if text)
    blocks = [text for block in list_of(told.get("content")) if (text := text_of(dict_of(block).get("text")))]
    if blocks:
        return "\n".join(blocks)
    return output if output is None or isinstance(output, str) else base.as_json(output)


def _micros(millis: object) -> int | None:
    found = number_of(millis)
    return found * 1_000 if found is not None and 0 <= found < 10**12 else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
