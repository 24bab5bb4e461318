"""opencode: what our plugin sends, and its database.

    hooks         .opencode/plugins/devtrace.js: opencode_plugin.js with our command lines in it. It sends
                  {hook, input, output, session_id, subagent, turn, model, cwd, at_ms}: hook, input and output
                  as opencode gives them to a plugin, the rest what only one that has listened since the
                  beginning knows. `subagent` is left out in a session that a person began.
    transcripts   <data>/opencode/opencode.db: SQLite, tables session, message and part, JSON in `data`

A turn is the id of a user's message, a call its `callID`, something said the id of its part. A subagent has a
session of its own with a prompt of its own; its facts stand under the session that a person began.

Lives here: the hooks, the parts of a message, what is known of its tools. Not here: the database's tables
(opencode_database.py), the plugin itself, the form of a fact (base.py).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from devtrace.sources.agents.base import (
    Fact,
    dict_of,
    list_of,
    number_of,
    prompt,
    said,
    session,
    text_of,
    tool_call,
    unknown,
)

if TYPE_CHECKING:
    from devtrace.sources.agents.base import Memory
    from devtrace.sources.agents.hookfiles import HookFile

NAME = "opencode"
TITLE = "opencode"
COMMANDS = ("opencode",)
PLUGIN = ".opencode/plugins/devtrace.js"

_MARKER = "devtrace agent install opencode"
_DOES = {
    "bash": "shell",
    **dict.fromkeys(("edit", "write", "multiedit", "patch", "apply_patch"), "edit"),
    "read": "read",
    **dict.fromkeys(("glob", "grep", "list", "websearch", "codesearch", "lsp"), "search"),
    "task": "subagent",
    **dict.fromkeys(("plan_enter", "plan_exit"), "other"),  # the only ones with a low line but MCP's
}
_PATCHED = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$|^\*\*\* Move to: (.+)$", re.MULTILINE)
_STOPPED = "Tool execution aborted"
_STOPPED_COMMAND = "User aborted the command"


# --- hooks ----------------------------------------------------------------------------------------------


def hooks(command: Callable[[str], str]) -> list[HookFile]:
    """The plugin."""
    from devtrace.sources.agents.hookfiles import whole_file

    commands = {event: command(event) for event in EVENTS}
    script = next((word for word in shlex.split(command("")) if word.endswith(".py")), "")
    plugin = Path(__file__).with_name("opencode_plugin.js").read_text()
    plugin = plugin.replace("const COMMANDS = {}", f"const COMMANDS = {json.dumps(commands, indent=2)}")
    plugin = plugin.replace('const SCRIPT = ""', f"const SCRIPT = {json.dumps(script)}")
    return [whole_file(PLUGIN, plugin, _MARKER)]


def parse(event: str, payload: dict[str, Any], at_us: int, memory: Memory) -> list[Fact]:
    """What the plugin sends for one hook, or one event of the bus."""
    hook, given = text_of(payload.get("hook")), dict_of(payload.get("input"))
    event = (text_of(given.get("type")) if hook == "event" else hook) or event
    about = dict_of(given.get("properties")) if hook == "event" else given
    native, placed = _whose(payload, about)
    hear = _HEARD.get(event)
    if hear is None:
        return [unknown(native, event, payload, "unknown_event", at_us)]
    milliseconds = number_of(payload.get("at_ms"))
    heard_us = milliseconds * 1000 if milliseconds and 0 < milliseconds < 10**14 else at_us
    output = dict_of(payload.get("output"))
    heard = hear(_Hook(native, about, output, heard_us, placed, memory)) if native else None
    return [unknown(native, event, payload, "unknown_shape", at_us)] if heard is None else heard


def _whose(payload: dict[str, Any], about: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The session that a person began, and what places a fact in it."""
    own = text_of(about.get("sessionID")) or text_of(dict_of(about.get("info")).get("id"))
    placed = {name: text_of(payload.get(name)) for name in ("turn", "subagent", "model", "cwd")}
    return text_of(payload.get("session_id")) or own, placed


_Told = dict[str, Any]


class _Hook(NamedTuple):
    native: str
    about: _Told
    output: _Told
    at_us: int
    placed: _Told
    memory: Memory


def _prompted(hook: _Hook) -> list[Fact] | None:
    turn, parts = hook.placed["turn"] or text_of(hook.about.get("messageID")), hook.output.get("parts")
    if not turn or not isinstance(parts, list):
        return None
    text = typed(parts)
    return [prompt(hook.native, turn, hook.at_us, text, **{**hook.placed, "turn": turn})] if text else []


def _calling(hook: _Hook) -> list[Fact] | None:
    tool, call = text_of(hook.about.get("tool")), text_of(hook.about.get("callID"))
    if not tool or not call:
        return None
    return [
        _call(
            hook.native, call, hook.at_us, tool, hook.output.get("args"), {"status": "running", **hook.placed}
        )
    ]


def _called(hook: _Hook) -> list[Fact] | None:
    tool, call = text_of(hook.about.get("tool")), text_of(hook.about.get("callID"))
    if not tool or not call:
        return None
    told = {"ended_us": hook.at_us, **_outcome(tool, hook.output), **hook.placed}
    return [_call(hook.native, call, None, tool, hook.about.get("args"), told)]


def _created(hook: _Hook) -> list[Fact] | None:
    info = dict_of(hook.about.get("info"))
    own = text_of(info.get("id"))
    return [beginning(hook.native, own, hook.at_us, info, hook.placed["subagent"])] if own else None


def _idle(hook: _Hook) -> list[Fact]:
    """The end of a turn; of a subagent it is its own."""
    subagent, turn = hook.placed["subagent"], hook.placed.pop("turn")
    key = f"subagent_ended:{subagent}:{turn}" if subagent else f"stopped:{turn}"
    return [session(hook.native, key, hook.at_us, "subagent_ended" if subagent else "stopped", **hook.placed)]


def _deleted(hook: _Hook) -> list[Fact]:
    where = {name: value for name, value in hook.placed.items() if name != "turn"}
    key = f"ended:{where['subagent'] or ''}"
    return [session(hook.native, key, hook.at_us, "ended", detail="deleted", **where)]


def _closed(hook: _Hook) -> list[Fact]:
    """The client itself came to its end."""
    key = f"ended#{hook.memory.count('ended')}"
    return [session(hook.native, key, hook.at_us, "ended", detail="closed", cwd=hook.placed["cwd"])]


def _part(hook: _Hook) -> list[Fact] | None:
    """Something said, or a tool that threw."""
    part = dict_of(hook.about.get("part"))
    if part.get("type") == "tool":
        return tool_part(hook.native, part, hook.placed)
    times = dict_of(part.get("time"))
    found = text_part(hook.native, text_of(part.get("id")), part, hook.placed) if times.get("end") else None
    return None if found is None else [found]


_HEARD: dict[str, Callable[[_Hook], list[Fact] | None]] = {
    "chat.message": _prompted,
    "tool.execute.before": _calling,
    "tool.execute.after": _called,
    "session.created": _created,
    "session.idle": _idle,
    "session.deleted": _deleted,
    "dispose": _closed,
    "message.part.updated": _part,
}
EVENTS = tuple(_HEARD)


# --- what stands in both --------------------------------------------------------------------------------


def beginning(native: str, own: str, at_us: int | None, info: _Told, subagent: str | None) -> Fact:
    """That a session began, a person's or a subagent's."""
    told = {"version": text_of(info.get("version")), "cwd": text_of(info.get("directory"))}
    if not subagent:
        return session(native, "began", at_us, "started", **told)
    told |= {"subagent": subagent, "subagent_type": text_of(info.get("agent"))}
    return session(native, f"subagent_started:{own}", at_us, "subagent_started", **told)


def typed(parts: list[Any]) -> str:
    """What a person typed of a message's parts: files that it names are put in as synthetic texts."""
    texts = [dict_of(part) for part in parts]
    return "\n".join(
        part["text"]
        for part in texts
        if part.get("type") == "text" and isinstance(part.get("text"), str) and not part.get("synthetic")
    )


def text_part(native: str, key: str | None, part: _Told, placed: _Told) -> Fact | None:
    """Something said; None where it is no such part."""
    text = text_of(part.get("text"))
    if not key or text is None:
        return None
    told = {name: placed[name] for name in ("turn", "subagent", "model")}
    began, ended = _times(part)
    fact = said(native, key, began, text, message=text_of(part.get("messageID")), **told)
    return {**fact, "ended_us": began if ended is None else ended}


def _call(native: str, call: str, started_us: int | None, tool: str, given: object, told: _Told) -> Fact:
    told = {"call": call, **_claims(tool, given), **told}
    return tool_call(native, call, started_us, tool, _does(tool), given, **told)


def tool_part(native: str, part: _Told, placed: _Told) -> list[Fact] | None:
    """A whole call; one that was cut off stays `pending` or `running`. None where it is no such part."""
    tool, call, state = text_of(part.get("tool")), text_of(part.get("callID")), dict_of(part.get("state"))
    if not tool or not call:
        return None
    began, ended = _times(state)
    outcomes = {"completed": _outcome(tool, state), "error": _thrown(state)}
    told = outcomes.get(text_of(state.get("status")) or "", {"status": "unknown"})
    fact = _call(native, call, began, tool, state.get("input"), {**told, "ended_us": ended, **placed})
    return [{**fact, "ended_us": None} if fact["status"] == "unknown" else fact]


def _outcome(tool: str, output: _Told) -> dict[str, Any]:
    """Of a tool that came back: its result, and its exit status where it is a command."""
    metadata = dict_of(output.get("metadata"))
    text = text_of(output.get("output"))
    if text is None:
        blocks = [text_of(dict_of(block).get("text")) for block in list_of(output.get("content"))]
        text = "\n".join(block for block in blocks if block is not None) or None
    code = number_of(metadata.get("exit"))
    is_stopped = code is None and _STOPPED_COMMAND in (text or "")[-400:]
    status = "failed" if code or output.get("isError") is True else "ok"
    starts = text_of(metadata.get("sessionId")) if _does(tool) == "subagent" else None
    told: dict[str, Any] = {"status": status, "result": text, "exit_code": code, "starts": starts}
    return {**told, "status": "interrupted", "interrupted": True} if is_stopped else told


def _thrown(state: _Told) -> dict[str, Any]:
    error = text_of(state.get("error"))
    is_stopped = error == _STOPPED or dict_of(state.get("metadata")).get("interrupted") is True
    status = "interrupted" if is_stopped else "failed"
    return {"status": status, "result": error, "interrupted": is_stopped or None}


def _times(told: _Told) -> tuple[int | None, int | None]:
    """When it began and ended, microseconds since the Unix epoch."""
    times = dict_of(told.get("time"))
    return microseconds(times.get("start")), microseconds(times.get("end"))


def microseconds(milliseconds: object) -> int | None:
    """Since the Unix epoch, of what JavaScript takes for a time."""
    found = number_of(milliseconds)
    return found * 1000 if found is not None and 0 <= found < 10**14 else None


def _does(tool: str) -> str:
    """An MCP server's tool is named `server_tool`."""
    return _DOES.get(tool) or ("mcp" if "_" in tool else "other")


def _claims(tool: str, given: object) -> dict[str, Any]:
    told, does = dict_of(given), _does(tool)
    path = text_of(told.get("filePath"))
    found = _PATCHED.findall(text_of(told.get("patchText")) or "")
    paths = [path] if path else [one or other for one, other in found]
    return {
        "command": text_of(told.get("command")) if does == "shell" else None,
        "paths": paths or None if does in ("edit", "read") else None,
    }


# --- its database -----------------------------------------------------------------------------------------


def transcripts(environ: Mapping[str, str], root: Path) -> list[Path]:
    """Its one database, where it holds a session of that directory or below."""
    home = Path(environ.get("HOME") or Path.home())
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    path = data / "opencode" / (environ.get("OPENCODE_DB") or "opencode.db")
    return [path] if path.is_file() and next(read(path, root), None) is not None else []


def read(path: Path, root: Path) -> Iterator[Fact]:
    """All facts of the sessions of that directory and below, one session after the other."""
    from devtrace.sources.agents.opencode_database import facts

    return facts(path, root)
