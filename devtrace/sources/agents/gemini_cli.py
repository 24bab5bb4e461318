"""Gemini CLI: what its hooks send, its tools, what it puts around a shell command. Seen with 0.61.

    hooks       one JSON object each, registered in .gemini/settings.json; only in a trusted folder
    chats       <home>/.gemini/tmp/<project>/chats/session-<time>-<id>.jsonl, a subagent's in <session>/
    its shell   bash -c "shopt ...; _bgpids_file=...; ( trap ... EXIT <command> ) __code=$?; exit $__code"

It counts no turns and its hooks give calls no ids: a prompt is the n-th of its session, a call the n-th of
that tool with those arguments. Subagents' calls carry the session of whoever started them, and no id of the
subagent. Neither hooks nor chats tell where a call ran, and an exit code only as text, if it is not 0.

AfterModel, which tells what the model says piece by piece, is not registered: a process for each piece would
be felt. What it said before a call is in the chat; AfterAgent tells all of a turn in one text.

Lives here: the hooks, what is known of its tools. Not here: reading a chat (gemini_chat.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devtrace.sources.agents import base
from devtrace.sources.agents.base import Fact, dict_of, list_of, text_of

if TYPE_CHECKING:
    from devtrace.sources.agents.base import Memory
    from devtrace.sources.agents.hookfiles import HookFile

NAME = "gemini"
TITLE = "Gemini CLI"
COMMANDS = ("gemini",)

_HOOK_FILE = ".gemini/settings.json"
_MILLISECONDS = 10_000
_DOES = {
    "run_shell_command": "shell",
    "write_file": "edit",
    "replace": "edit",
    "edit": "edit",
    "read_file": "read",
    "read_many_files": "read",
    "list_directory": "search",
    "glob": "search",
    "grep_search": "search",
    "search_file_content": "search",
    "google_web_search": "search",
    "web_fetch": "search",
    "invoke_agent": "subagent",
    "delegate_to_agent": "subagent",
}
_PHASES = {"resume": "resumed", "clear": "cleared"}
_SILENT = ("BeforeModel", "AfterModel", "BeforeToolSelection", "PreCompress", "Notification")
_UNTRUSTED = re.compile(r"\A<untrusted_context>\n(.*)\n</untrusted_context>\s*\Z", re.DOTALL)
_SHELL_END = re.compile(
    r"(?:^Exit Code: (?P<code>-?\d{1,10})\n)?(?:^Signal: (?P<signal>[^\n]*)\n)?"
    r"(?:^Background PIDs: [^\n]*\n)?^Process Group PGID: [^\n]*\Z",
    re.MULTILINE,
)
_CANCELLED = re.compile(r"Command was (?:automatically )?cancelled|\[Operation Cancelled\]")


# --- hooks ------------------------------------------------------------------------------------------------


def hooks(command: Callable[[str], str]) -> list[HookFile]:
    """The repository's own settings; `command` gives the command line of an event."""
    from devtrace.sources.agents.hookfiles import json_hooks

    return [json_hooks(_HOOK_FILE, EVENTS, command, timeout=_MILLISECONDS, name="devtrace")]


class _Heard:
    """One payload, and when it came."""

    __slots__ = ("at_us", "memory", "native", "told")

    def __init__(self, native: str, told: dict[str, Any], at_us: int, memory: Memory):
        self.native = native
        self.told = told
        self.at_us = at_us
        self.memory = memory

    def text(self, name: str) -> str | None:
        """A field that is a text."""
        return text_of(self.told.get(name))

    def session(self, phase: str, detail: str | None) -> Fact:
        """The client began or ended."""
        key = phase if phase == "started" else nth(phase, self.memory.count(phase))
        told = {"transcript": self.text("transcript_path"), "cwd": self.text("cwd"), "detail": detail}
        return base.session(self.native, key, self.at_us, phase, **told)


def parse(event: str, payload: dict[str, Any], at_us: int, memory: Memory) -> list[Fact]:
    """What one hook tells; `at_us` is when it was heard."""
    event = text_of(payload.get("hook_event_name")) or event
    native = text_of(payload.get("session_id"))
    if event in _SILENT:
        return []
    if event not in _HEARD:
        return [base.unknown(native, event, payload, "unknown_event", at_us)]
    facts = _HEARD[event](_Heard(native, payload, at_us, memory)) if native else None
    return [base.unknown(native, event, payload, "unknown_shape", at_us)] if facts is None else facts


def _started(heard: _Heard) -> list[Fact]:
    source = heard.text("source")
    return [heard.session(_PHASES.get(source or "", "started"), source)]


def _ended(heard: _Heard) -> list[Fact]:
    return [heard.session("ended", heard.text("reason"))]


def _prompted(heard: _Heard) -> list[Fact] | None:
    text = heard.text("prompt")
    if text is None:
        return None
    key = prompt_key(heard.memory.count("prompt"))
    return [base.prompt(heard.native, key, heard.at_us, text, turn=key, cwd=heard.text("cwd"))]


def _answered(heard: _Heard) -> list[Fact]:
    text = heard.text("prompt_response") or ""
    stopped = heard.session("stopped", None)
    if not text.strip():
        return [stopped]
    key = message_key(text)
    key = nth(key, heard.memory.count(f"said {key}"))
    return [base.said(heard.native, key, heard.at_us, text), stopped]


def _calling(heard: _Heard) -> list[Fact] | None:
    return _call(heard, "begun", heard.at_us)


def _called(heard: _Heard) -> list[Fact] | None:
    response = dict_of(heard.told.get("tool_response"))
    error = dict_of(response.get("error"))
    result = answer_text(response.get("llmContent")) or text_of(error.get("message"))
    told = outcome(heard.text("tool_name") or "", result, is_failed=bool(error))
    return _call(heard, "ended", None, ended_us=heard.at_us, result=result, **told)


def _call(heard: _Heard, phase: str, started_us: int | None, **told: Any) -> list[Fact] | None:
    tool, given = heard.text("tool_name"), heard.told.get("tool_input")
    if tool is None:
        return None
    same = call_digest(tool, given)
    key = f"{same}#{heard.memory.count(f'{phase} {same}')}"
    told = {**claims(tool, given), "cwd": heard.text("cwd"), **told}
    if heard.told.get("mcp_context"):
        told["does"] = "mcp"
    return [base.tool_call(heard.native, key, started_us, tool, given=given, **told)]


_HEARD: dict[str, Callable[[_Heard], list[Fact] | None]] = {
    "SessionStart": _started,
    "BeforeAgent": _prompted,
    "BeforeTool": _calling,
    "AfterTool": _called,
    "AfterAgent": _answered,
    "SessionEnd": _ended,
}
EVENTS = tuple(_HEARD)


# --- keys -------------------------------------------------------------------------------------------------


def nth(key: str, number: int) -> str:
    """The key as it is, for the second of the same with a number."""
    return key if number == 1 else f"{key}#{number}"


def prompt_key(number: int, subagent: str | None = None) -> str:
    """The key of the n-th prompt of a session, or of a subagent in it."""
    return f"{subagent}/prompt#{number}" if subagent else f"prompt#{number}"


def message_key(text: str, subagent: str | None = None) -> str:
    """The key of something said, the same in hooks and chats, which share no id of it."""
    digest = _digest(text.strip())
    return f"{subagent}/{digest}" if subagent else digest


def call_digest(tool: str, given: object) -> str:
    """What all calls of a tool with the same arguments have in common."""
    return _digest(f"{tool} {_canonical(given)}")


def _canonical(given: object) -> str:
    try:
        return json.dumps(given, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=repr)
    except RecursionError:
        return base.as_json(given)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


# --- its tools --------------------------------------------------------------------------------------------


def claims(tool: str, given: object) -> dict[str, Any]:
    """What a call does, the command that it runs, the files that it writes or reads, as it is said."""
    told = dict_of(given)
    does = "mcp" if tool.startswith("mcp_") else _DOES.get(tool, "other")
    return {
        "does": does,
        "command": text_of(told.get("command")) if does == "shell" else None,
        "paths": _paths(told) or None if does in ("edit", "read") else None,
    }


def _paths(told: dict[str, Any]) -> list[str]:
    one = (told.get(name) for name in ("file_path", "absolute_path", "path"))
    many = (path for name in ("paths", "include") for path in list_of(told.get(name)))
    return [path for path in (*one, *many) if isinstance(path, str) and path]


def answer_text(content: object) -> str | None:
    """What goes to the model as text: of parts their texts, a line each; without the marks around it."""
    parts = content if isinstance(content, list) else [content]
    texts = [part if isinstance(part, str) else text_of(dict_of(part).get("text")) for part in parts]
    found = [text for text in texts if text is not None]
    if not found:
        return None if content is None else base.as_json(content)
    text = "\n".join(found)
    marked = _UNTRUSTED.match(text)
    return marked[1] if marked else text


def outcome(tool: str, result: str | None, *, is_failed: bool = False) -> dict[str, Any]:
    """How a call ended: what is said of it, and what the text of a shell command says at its end."""
    text = result or ""
    found = _SHELL_END.search(text) if _DOES.get(tool) == "shell" else None
    exit_code = int(found["code"]) if found and found["code"] else None
    signal = found["signal"] if found else None
    if _DOES.get(tool) == "shell" and _CANCELLED.match(text):
        return {"status": "interrupted", "interrupted": True}
    is_failed = is_failed or bool(exit_code) or signal not in (None, "(none)", "0")
    return {"status": "failed" if is_failed else "ok", "exit_code": exit_code}


# --- its chats --------------------------------------------------------------------------------------------


def transcripts(environ: Mapping[str, str], root: Path) -> list[Path]:
    """Its records of sessions in that directory or below, oldest first, each followed by its subagents'."""
    from devtrace.sources.agents.gemini_chat import chats_below

    home = Path(environ.get("GEMINI_CLI_HOME") or environ.get("HOME") or Path.home())
    return chats_below(home / ".gemini", root)


def read(path: Path, root: Path) -> Iterator[Fact]:  # noqa: ARG001 - every adapter's is called like this
    """All facts of one record. Raises OSError where it cannot be read."""
    from devtrace.sources.agents.gemini_chat import facts_of

    return facts_of(path)


# --- its shell --------------------------------------------------------------------------------------------

_SHOPT = r"\s*(?:shopt [^;\n]*;\s*)?"
_HEAD = re.compile(_SHOPT + r"(?:_bgpids_file=[^\n;]*[\n;]\s*)?\(\s*trap '[^\n']*' EXIT\s*[;\n]")
_CODE = "__code=$?"
_TAIL = re.compile(r"__code=\$\?[;\s]\s*exit \$__code;?\s*")
_BEFORE = re.compile(  # so older versions
    _SHOPT + r"\{ (.*?);? \}; __code=\$\?; pgrep -g 0 >\S+ 2>&1; exit \$__code;?\s*", re.DOTALL
)


def unwrapped(command: str) -> str | None:
    """The command inside the lines that watch its background jobs; None: it is no such line."""
    head, behind = _HEAD.match(command), command.rfind(_CODE)
    if head is None or not _TAIL.fullmatch(command, behind) or behind < head.end():
        found = _BEFORE.fullmatch(command)
        return found[1].strip() if found else None
    inside = command[head.end() : behind].rstrip("; \t\n")
    if not inside.endswith(")"):
        return None
    inside = inside[:-1].strip(" \t")
    return inside.strip() if inside.endswith("\n") else inside.strip().removesuffix(";")
