"""Claude Code: what its hooks send, where its transcripts are, and what it puts around a shell command.

    hooks         one JSON object each (its reference: hooks), registered in .claude/settings.local.json,
                  which is one person's; .claude/settings.json is everybody's
    transcripts   <config>/projects/<directory>/<session>.jsonl, a subagent's in <session>/subagents/
    its shell     bash -c "source <snapshot> ... && eval '<command>' < /dev/null && pwd -P >| <file>"

A turn is its `prompt_id`, a call its `tool_use_id`, a subagent its `agent_id`; a subagent's facts carry the
turn of the prompt that the whole work belongs to. Hooks and transcript share no id of a message, so its text
is its key.

Lives here: the hooks, what is known of its tools. Not here: reading a transcript
(claude_transcript.py), the form of a fact (base.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from devtrace.sources.agents.base import (
    Fact,
    as_json,
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

NAME = "claude-code"
TITLE = "Claude Code"
COMMANDS = ("claude",)
SETTINGS = ".claude/settings.local.json"

_DOES = {
    "Bash": "shell",
    "Edit": "edit",
    "MultiEdit": "edit",
    "Write": "edit",
    "NotebookEdit": "edit",
    "Read": "read",
    "NotebookRead": "read",
    "Glob": "search",
    "Grep": "search",
    "LS": "search",
    "WebSearch": "search",
    "Agent": "subagent",
    "Task": "subagent",  # its name before Agent
}
_EXIT_CODE = re.compile(r"(?:Error: )?Exit code (-?\d{1,10})\b")
_REFUSED = "<tool_use_error>"  # a call that was turned away before it began
_ASIDE = ("originalFile", "content", "oldString", "newString")  # whole files, and what the input says already


# --- hooks ----------------------------------------------------------------------------------------------


def hooks(command: Callable[[str], str]) -> list[HookFile]:
    """The settings that belong to one person in one project."""
    from devtrace.sources.agents.hookfiles import json_hooks

    return [json_hooks(SETTINGS, EVENTS, command)]


def parse(event: str, payload: dict[str, Any], at_us: int, memory: Memory) -> list[Fact]:
    """What one hook tells; `at_us` is when it was heard."""
    event = text_of(payload.get("hook_event_name")) or event
    native = text_of(payload.get("session_id"))
    hear = _HEARD.get(event)
    if hear is None:
        return [unknown(native, event, payload, "unknown_event", at_us)]
    heard = hear(_Hook(native, payload, at_us, memory)) if native else None
    return [unknown(native, event, payload, "unknown_shape", at_us)] if heard is None else heard


class _Hook(NamedTuple):
    native: str
    payload: dict[str, Any]
    at_us: int
    memory: Memory


def _started(hook: _Hook) -> list[Fact]:
    source = text_of(hook.payload.get("source")) or ""
    phase = {"resume": "resumed", "clear": "cleared", "compact": "compacted"}.get(source, "started")
    key = "began" if phase in ("started", "cleared") else f"{phase}#{hook.memory.count(phase)}"
    told = {"detail": source, "model": text_of(hook.payload.get("model")), **_session_of(hook.payload)}
    return [session(hook.native, key, hook.at_us, phase, **told)]


def _prompted(hook: _Hook) -> list[Fact] | None:
    text, turn = text_of(hook.payload.get("prompt")), text_of(hook.payload.get("prompt_id"))
    if text is None:
        return None
    key = turn or f"prompt#{hook.memory.count('prompt')}"  # older versions count no turns
    return [prompt(hook.native, key, hook.at_us, text, **_placed(hook.payload))]


def _displayed(hook: _Hook) -> list[Fact] | None:
    """A whole message; of one that streams come pieces, out of order: its transcript has it whole."""
    text = text_of(hook.payload.get("delta"))
    if text is None:
        return None
    if hook.payload.get("index") or hook.payload.get("final") is False:
        return []
    placed = _spoken(hook.payload)
    key = message_key(text, **placed)
    count = hook.memory.count(f"said {key}")
    return _said(hook, key if count == 1 else f"{key}#{count}", text)


def _said(hook: _Hook, key: str, text: str) -> list[Fact]:
    if not text.strip():
        return []
    message = text_of(hook.payload.get("message_id"))
    return [said(hook.native, key, hook.at_us, text, message=message, **_spoken(hook.payload))]


def _calling(hook: _Hook) -> list[Fact] | None:
    return _call(hook, hook.payload, hook.at_us, status="running")


def _called(hook: _Hook) -> list[Fact] | None:
    answer = hook.payload.get("tool_response")
    status = "interrupted" if dict_of(answer).get("interrupted") is True else "ok"
    return _call(hook, hook.payload, None, status=status, ended_us=hook.at_us, **outcome(answer))


def _failed(hook: _Hook) -> list[Fact] | None:
    status = "interrupted" if hook.payload.get("is_interrupt") is True else "failed"
    error = text_of(hook.payload.get("error")) or text_of(hook.payload.get("reason"))
    told = {"result": error, "exit_code": exit_code(error)}
    return _call(hook, hook.payload, None, status=status, ended_us=hook.at_us, **told)


def _batch(hook: _Hook) -> list[Fact] | None:
    """The calls that no other hook tells of: those that were turned away before they began."""
    if not isinstance(hook.payload.get("tool_calls"), list):
        return None
    facts = []
    for call in hook.payload["tool_calls"]:
        answer = outcome(dict_of(call).get("tool_response")).get("result")
        if answer and answer.startswith(_REFUSED):
            whole = {**hook.payload, **call}
            facts += _call(hook, whole, None, status="failed", ended_us=hook.at_us, result=answer) or []
    return facts


def _call(hook: _Hook, payload: dict[str, Any], started_us: int | None, **told: Any) -> list[Fact] | None:
    tool, call = text_of(payload.get("tool_name")), text_of(payload.get("tool_use_id"))
    if not tool or not call:
        return None
    given = payload.get("tool_input")
    if told["status"] == "interrupted":
        told["interrupted"] = True
    milliseconds = number_of(payload.get("duration_ms"))
    told["duration_us"] = None if milliseconds is None else milliseconds * 1000
    told |= {"call": call, **claims(tool, given), **_placed(payload)}
    return [tool_call(hook.native, call, started_us, tool, does(tool), given, **told)]


def _subagent_started(hook: _Hook) -> list[Fact] | None:
    return _subagent(hook, "subagent_started")


def _subagent_ended(hook: _Hook) -> list[Fact] | None:
    """Its end, and its last word, which no other hook tells."""
    ended = _subagent(hook, "subagent_ended")
    if ended is None:
        return None
    transcript = text_of(hook.payload.get("agent_transcript_path"))
    if transcript:
        ended[0]["data"]["transcript"] = transcript
    return [*_last_word(hook), *ended]


def _subagent(hook: _Hook, phase: str) -> list[Fact] | None:
    subagent = text_of(hook.payload.get("agent_id"))
    if not subagent:
        return None
    told = {"subagent": subagent, "subagent_type": text_of(hook.payload.get("agent_type"))}
    told |= {**_session_of(hook.payload), "transcript": None}  # the one that is named is its parent's
    return [session(hook.native, f"{phase}:{subagent}", hook.at_us, phase, **told)]


def _stopped(hook: _Hook) -> list[Fact]:
    turn = text_of(hook.payload.get("prompt_id"))
    key = f"stopped:{turn or ''}#{hook.memory.count(f'stopped {turn}')}"
    detail = text_of(hook.payload.get("error")) or ""
    stopped = session(hook.native, key, hook.at_us, "stopped", detail=detail, **_session_of(hook.payload))
    return [*_last_word(hook), stopped]


def _last_word(hook: _Hook) -> list[Fact]:
    """Told once more where MessageDisplay told it: its key is the same."""
    text = text_of(hook.payload.get("last_assistant_message")) or ""
    return _said(hook, message_key(text, **_spoken(hook.payload)), text)


def _ended(hook: _Hook) -> list[Fact]:
    detail = text_of(hook.payload.get("reason")) or ""
    key = f"ended#{hook.memory.count('ended')}"
    return [session(hook.native, key, hook.at_us, "ended", detail=detail, **_session_of(hook.payload))]


_HEARD: dict[str, Callable[[_Hook], list[Fact] | None]] = {
    "SessionStart": _started,
    "UserPromptSubmit": _prompted,
    "MessageDisplay": _displayed,
    "PreToolUse": _calling,
    "PostToolUse": _called,
    "PostToolUseFailure": _failed,
    "PermissionDenied": _failed,
    "PostToolBatch": _batch,
    "SubagentStart": _subagent_started,
    "SubagentStop": _subagent_ended,
    "Stop": _stopped,
    "StopFailure": _stopped,
    "SessionEnd": _ended,
}
# Its full-screen mode tells a message in pieces, a process for each, several a second: that is not worth it,
# since the transcript holds the whole. Whoever registers it himself is heard.
EVENTS = tuple(name for name in _HEARD if name != "MessageDisplay")


def _placed(payload: dict[str, Any]) -> dict[str, Any]:
    return {**_spoken(payload), "cwd": text_of(payload.get("cwd"))}


def _spoken(payload: dict[str, Any]) -> dict[str, Any]:
    return {"turn": text_of(payload.get("prompt_id")), "subagent": text_of(payload.get("agent_id"))}


def _session_of(payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "transcript": text_of(payload.get("transcript_path")),
        "permissions": text_of(payload.get("permission_mode")),
        "cwd": text_of(payload.get("cwd")),
    }


# --- its tools, and its messages --------------------------------------------------------------------------


def does(tool: str) -> str:
    """What a tool does, in one of our words."""
    return "mcp" if tool.startswith("mcp__") else _DOES.get(tool, "other")


def claims(tool: str, given: object) -> dict[str, Any]:
    """The command that a call is said to run, and the files that it is said to write or to read."""
    told = dict_of(given)
    path = text_of(told.get("file_path")) or text_of(told.get("notebook_path"))
    return {
        "command": text_of(told.get("command")) if does(tool) == "shell" else None,
        "paths": [path] if path and does(tool) in ("edit", "read") else None,
    }


def outcome(answer: object) -> dict[str, Any]:
    """The result of a call that went well, as text, and the subagent that it started."""
    told = dict_of(answer)
    return {"result": _result(answer), "starts": text_of(told.get("agentId"))}


def _result(answer: object) -> str | None:
    if answer is None or isinstance(answer, str):
        return answer
    told = dict_of(answer)
    if isinstance(told.get("stdout"), str):
        streams = (text_of(told.get(name)) for name in ("stdout", "stderr"))
        return "\n".join(stream for stream in streams if stream)
    if isinstance(told.get("file"), dict):
        return text_of(told["file"].get("content")) or as_json(answer)
    blocks = blocks_text(answer if isinstance(answer, list) else told.get("content"))
    if blocks is not None:
        return blocks
    return as_json({name: value for name, value in told.items() if name not in _ASIDE} if told else answer)


def blocks_text(content: object) -> str | None:
    """The texts of content blocks, a line each; None where there is none."""
    texts = [text_of(dict_of(block).get("text")) for block in list_of(content)]
    found = [text for text in texts if text is not None]
    return "\n".join(found) if found else None


def exit_code(error: object) -> int | None:
    """Of a shell command that failed: the text says it at its beginning, no field does."""
    found = _EXIT_CODE.match(error) if isinstance(error, str) else None
    return int(found[1]) if found else None


def message_key(text: str, turn: str | None, subagent: str | None) -> str:
    """The key of something said, the same in hooks and transcript."""
    digest = hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).hexdigest()
    return "/".join(part for part in (turn, subagent, digest[:16]) if part)


# --- its transcripts ----------------------------------------------------------------------------------------


def transcripts(environ: Mapping[str, str], root: Path) -> list[Path]:
    """Its records of sessions that began in that directory or below, each followed by its subagents'."""
    from devtrace.sources.agents.claude_transcript import records_below

    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("CLAUDE_CONFIG_DIR") or home / ".claude")
    return records_below(config / "projects", root)


def read(path: Path, root: Path) -> Iterator[Fact]:  # noqa: ARG001 - a record is of one directory
    """All facts of one record. Raises OSError where it cannot be read."""
    from devtrace.sources.agents.claude_transcript import Transcript

    return Transcript(path.stem, path).facts()


# --- its shell ----------------------------------------------------------------------------------------------

# Patterns and not compiled ones: no hook needs them.
_PREFIXED = r"\S*/claude-shell\.sh '"
# All of what may stand before and behind it: what is not known to be the client's own stays in the record.
_EVAL = (
    r"(?:source [^\s;&|<>()`$]+ (?:2>/dev/null )?(?:\|\| true )?&& )?"
    r"(?:(?:\{ )?(?:shopt -u extglob|setopt NO_EXTENDED_GLOB(?: NO_BARE_GLOB_QUAL)?)"
    r"(?: \|\| setopt NO_EXTENDED_GLOB NO_BARE_GLOB_QUAL; \})?"
    r"(?: >/dev/null)? 2>(?:/dev/null|&1) \|\| true && )*eval "
)
_WORD = r"""(?s:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\<&;|])+"""
_PIECE = r"""(?s)'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^'"\\]+)"""
_BEHIND = r"\s*(?:\\?<\s*/dev/null\s*)?&& pwd -P >\| ?[^\s;&|<>()`$]+\s*"


def unwrapped(command: str) -> str | None:
    """The command in `... && eval '<command>' < /dev/null && pwd -P >| FILE`; None: it is no such line."""
    if re.match(_PREFIXED, command):  # by CLAUDE_CODE_SHELL_PREFIX: all of it is one word behind our own file
        import shlex

        command = shlex.split(command)[1]
    start = re.match(_EVAL, command)
    word = re.match(_WORD, command[start.end() :]) if start else None
    if start and word and re.fullmatch(_BEHIND, command[start.end() + word.end() :]):
        return re.sub(_PIECE, _plain, word[0])
    return None


def _plain(piece: re.Match[str]) -> str:
    single, double, escaped, bare = piece.groups()
    if double is not None:
        return re.sub(r'\\([$`"\\\n])', lambda found: found[1].replace("\n", ""), double)
    return next(part for part in (single, escaped, bare) if part is not None)
