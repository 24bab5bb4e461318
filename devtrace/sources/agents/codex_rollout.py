"""A rollout of Codex: its own record of one thread, a JSON object a line.

    session_meta    the thread, whose it is, where it began; the first line
    turn_context    what the turn that follows works with
    response_item   what goes to the model and comes from it: messages, calls, their outputs
    event_msg       what happened: turns, and items that tell how a call ended
    compacted       the history was summarised

A subagent's thread has a record of its own: `session_id` names the session that the whole belongs to,
`parent_thread_id` who started it. A thread that was made from another one begins with a copy of its turns,
which are told in that one's record. An id of Codex begins with its time (RFC 9562, version 7), so that the
copied turns are those older than the thread.

Lives here: finding the rollouts, reading one. Not here: the hooks and the tools (codex.py).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from devtrace.sources.agents import base
from devtrace.sources.agents.base import Fact, dict_of, list_of, moment, number_of, text_of
from devtrace.sources.agents.codex import (
    answer_text,
    claims,
    compacted_key,
    message_key,
    nth,
    started_agent,
    stopped_key,
    tool_name,
)

_FIRST_LINE = 4 << 20  # bytes; it holds the instructions that the model got
_THREAD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_TIMED_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-")
_EXITED = re.compile(r"^(?:Process exited with code|Exit code:) (-?\d{1,10})$", re.MULTILINE)
_RUNNING = re.compile(r"^Process running with session ID \d+$", re.MULTILINE)
_FAILED = re.compile(r"(?:apply_patch verification|exec_command|write_stdin) failed\b")
_ABORTED = re.compile(r"(?:Wall time: [^\n]*\n)?aborted\b")
_STATUS = {"completed": "ok", "failed": "failed", "declined": "failed"}


def rollouts_below(home: Path, root: Path) -> list[Path]:
    """The rollouts of threads that began in `root` or below it, by the time in their names."""
    found = [*home.glob("sessions/*/*/*/rollout-*.jsonl"), *home.glob("archived_sessions/rollout-*.jsonl")]
    return sorted((path for path in found if _began_below(path, root)), key=lambda path: path.name)


def _began_below(path: Path, root: Path) -> bool:
    try:
        with base.opened(path) as file:
            meta = dict_of(json.loads(file.readline(_FIRST_LINE)))
    except (OSError, ValueError, RecursionError):
        return False
    cwd = text_of(dict_of(meta.get("payload")).get("cwd"))
    return cwd is not None and any(Path(cwd).is_relative_to(one) for one in (root, root.resolve()))


class Rollout:
    """One record while it is read: what is known of the thread and its turn, and the facts so far."""

    def __init__(self, path: Path):
        self._path = path
        found = _THREAD.search(path.stem)
        self._thread = self._native = found[0] if found else path.stem
        self._subagent: str | None = None
        self._has_begun = False
        self._turn: str | None = None
        self._model: str | None = None
        self._cwd: str | None = None
        self._at_us: int | None = None
        self._facts: list[Fact] = []
        self._calls: dict[str, Fact] = {}
        self._counts: Counter[str] = Counter()
        self._prompts_by: str | None = None  # the kind of line that tells the prompts
        self._odd: set[tuple[str, str]] = set()

    def facts(self) -> Iterator[Fact]:
        """All facts, in the order in which they began. Raises OSError where it cannot be read."""
        for _, line in base.lines_of(self._path):
            self._take(line)
        return iter(self._facts)

    def _take(self, line: object) -> None:
        told = dict_of(line)
        kind = text_of(told.get("type"))
        if kind is None:
            self._keep("line", line, "no_json" if line is None else "unknown_shape")
            return
        self._at_us = moment(told.get("timestamp")) or self._at_us
        payload = dict_of(told.get("payload"))
        if kind in _LINES:
            _LINES[kind](self, payload)
        elif kind not in _SILENT:
            self._keep(kind, line, "unknown_event")

    def _keep(self, kind: str, line: object, why: str) -> None:
        if (kind, why) not in self._odd:
            self._odd.add((kind, why))
            self._facts.append(base.unknown(self._native, kind, line, why, self._at_us))

    # --- the thread and its turns

    def _thread_begins(self, meta: dict[str, Any]) -> None:
        if self._has_begun:  # that of a thread which this one was made from
            return
        self._has_begun = True
        self._thread = text_of(meta.get("id")) or self._thread
        parent = _parent(meta)
        self._native = text_of(meta.get("session_id")) or parent or self._thread
        self._subagent = self._thread if parent else None
        self._cwd = text_of(meta.get("cwd"))
        phase = "subagent_started" if parent else "started"
        key = f"{phase}:{self._thread}" if parent else phase
        told = {
            "subagent_type": text_of(meta.get("agent_role")),
            "version": text_of(meta.get("cli_version")),
            "cwd": self._cwd,
        }
        self._session(key, phase, moment(meta.get("timestamp")), **told)

    def _session(self, key: str, phase: str, at_us: int | None = None, **told: Any) -> None:
        told = {"subagent": self._subagent, "transcript": str(self._path), **told}
        self._facts.append(base.session(self._native, key, at_us or self._at_us, phase, **told))

    def _turn_context(self, told: dict[str, Any]) -> None:
        self._turn = text_of(told.get("turn_id")) or self._turn
        self._model = text_of(told.get("model")) or self._model
        self._cwd = text_of(told.get("cwd")) or self._cwd

    def _turn_begins(self, told: dict[str, Any]) -> None:
        self._turn = text_of(told.get("turn_id")) or self._turn

    def _turn_ends(self, told: dict[str, Any]) -> None:
        turn = text_of(told.get("turn_id")) or self._turn
        if not self._is_copied(turn):
            phase = "subagent_ended" if self._subagent else "stopped"
            detail = text_of(told.get("reason"))
            self._session(stopped_key(turn, self._subagent), phase, detail=detail, model=self._model)

    def _compacted(self) -> None:
        if not self._is_copied(self._turn):
            self._session(self._numbered(compacted_key(self._turn)), "compacted")

    def _is_copied(self, turn: str | None) -> bool:
        times = (turn or "", self._thread)
        return all(map(_TIMED_ID.match, times)) and times[0] < times[1]

    def _count(self, name: str) -> int:
        self._counts[name] += 1
        return self._counts[name]

    def _numbered(self, key: str) -> str:
        return nth(key, self._count(key))

    def _placed(self, turn: str | None) -> dict[str, Any]:
        return {"turn": turn, "subagent": self._subagent, "model": self._model}

    # --- what was said

    def _prompt(self, text: str | None, turn: str | None, told_by: str) -> None:
        """A prompt is told by one kind of line in older versions, by another in newer; by both in between."""
        self._prompts_by = self._prompts_by or told_by
        if text is None or told_by != self._prompts_by or self._is_copied(turn):
            return
        if turn is None or turn.startswith("prompt#"):  # older versions count no turns
            key = turn = self._turn = f"prompt#{self._count('prompt')}"
        else:
            key = nth(turn, self._count(f"prompt {turn}"))
        placed = {**self._placed(turn), "cwd": self._cwd}
        self._facts.append(base.prompt(self._native, key, self._at_us, text, **placed))

    def _old_prompt(self, told: dict[str, Any]) -> None:
        self._prompt(text_of(told.get("message")), self._turn, "user_message")

    def _message(self, item: dict[str, Any]) -> None:
        turn = self._turn_of(item)
        text = "".join(text_of(dict_of(part).get("text")) or "" for part in list_of(item.get("content")))
        if item.get("role") != "assistant" or not text.strip() or self._is_copied(turn):
            return  # the user's role tells the client's own words too: the prompts are told elsewhere
        key = self._numbered(message_key(text, turn))
        told = {**self._placed(turn), "message": text_of(item.get("id"))}
        self._facts.append(base.said(self._native, key, self._at_us, text, **told))

    def _turn_of(self, item: dict[str, Any]) -> str | None:
        passed = dict_of(item.get("internal_chat_message_metadata_passthrough"))
        return text_of(passed.get("turn_id")) or self._turn

    # --- calls, told where they began

    def _open(self, call: str, tool: str, given: object, turn: str | None, at_us: int | None) -> Fact:
        told = {**self._placed(turn), "cwd": self._cwd, **claims(tool, given), "call": call}
        fact = base.tool_call(self._native, call, at_us, tool, given=given, status="unknown", **told)
        fact["ended_us"] = None
        self._calls[call] = fact
        self._facts.append(fact)
        return fact

    def _function_call(self, item: dict[str, Any]) -> None:
        name, given = text_of(item.get("name")), _given(item.get("arguments"))
        if name is not None:
            tool = tool_name(name, text_of(item.get("namespace")))
            self._called(item, tool, given, "call_id")
            self._place(item, text_of(dict_of(given).get("workdir")))

    def _custom_call(self, item: dict[str, Any]) -> None:
        name = text_of(item.get("name"))
        if name is not None:
            self._called(item, tool_name(name), item.get("input"), "call_id")

    def _shell_call(self, item: dict[str, Any]) -> None:
        action = dict_of(item.get("action"))
        self._called(item, tool_name("local_shell"), action, "call_id")
        self._place(item, text_of(action.get("working_directory")))

    def _web_search(self, item: dict[str, Any]) -> None:
        self._called(item, "web_search", item.get("action"), "id")
        fact = self._calls.get(text_of(item.get("id")) or "")
        if fact is not None and item.get("status") == "completed":
            _end(fact, self._at_us, "ok")

    def _called(self, item: dict[str, Any], tool: str, given: object, id_field: str) -> None:
        call, turn = text_of(item.get(id_field)), self._turn_of(item)
        if call is not None and call not in self._calls and not self._is_copied(turn):
            self._open(call, tool, given, turn, self._at_us)

    def _place(self, item: dict[str, Any], cwd: str | None) -> None:
        fact = self._calls.get(text_of(item.get("call_id")) or "")
        if fact is not None and cwd:
            fact["data"]["cwd"] = cwd

    def _output(self, item: dict[str, Any]) -> None:
        fact = self._calls.get(text_of(item.get("call_id")) or "")
        if fact is None:
            if not self._is_copied(self._turn_of(item)):
                self._keep(text_of(item.get("type")) or "output", item, "unknown_call")
            return
        text, exit_code, is_failed = _told_output(item.get("output"))
        head = (text or "").partition("\nOutput:")[0]
        if _RUNNING.search(head):  # it goes on in the background; an item tells its end
            return
        data = fact["data"]
        data.setdefault("result", text or "")
        if fact["ended_us"] is None:
            is_aborted = _ABORTED.match(text or "") is not None
            _end(fact, self._at_us, _status(exit_code, is_failed, is_aborted), exit_code=exit_code)
        if "starts" not in data and (agent := started_agent(data["tool"], text)):
            data["starts"] = agent

    # --- items, which tell how something ended

    def _item(self, told: dict[str, Any]) -> None:
        item = dict_of(told.get("item"))
        kind, turn = text_of(item.get("type")), text_of(told.get("turn_id")) or self._turn
        if kind == "UserMessage":
            self._prompt(_text(item.get("content")), turn, kind)
        elif kind in _ITEMS:
            self._item_of_a_call(*_ITEMS[kind](item), item, told, turn)
        elif kind not in _SILENT_ITEMS:
            self._keep(f"item {kind}", told, "unknown_event")

    def _item_of_a_call(
        self,
        tool: str,
        given: object,
        data: dict[str, Any],
        item: dict[str, Any],
        told: dict[str, Any],
        turn: str | None,
    ) -> None:
        call = text_of(item.get("id"))
        is_typed_by_the_user = item.get("source") == "user_shell"
        if call is None or is_typed_by_the_user or self._is_copied(turn):
            return
        started_us, ended_us = _micros(told.get("started_at_ms")), _micros(told.get("completed_at_ms"))
        fact = self._calls.get(call) or self._open(call, tool, given, turn, started_us or self._at_us)
        status = _STATUS.get(text_of(item.get("status")) or "", "unknown")
        if data.get("exit_code"):
            status = "failed"
        _end(fact, ended_us or self._at_us, status, duration_us=_duration(item.get("duration")), **data)


_LINES: dict[str, Callable[[Rollout, dict[str, Any]], None]] = {
    "session_meta": Rollout._thread_begins,
    "turn_context": Rollout._turn_context,
    "response_item": lambda rollout, told: _of_kind(rollout, told, _RESPONSES, "response_item"),
    "event_msg": lambda rollout, told: _of_kind(rollout, told, _EVENTS, "event_msg"),
    "compacted": lambda rollout, _told: rollout._compacted(),
}
_SILENT = ("world_state", "token_usage_record", "ghost_snapshot", "session_state")
_RESPONSES: dict[str, Callable[[Rollout, dict[str, Any]], None] | None] = {
    "message": Rollout._message,
    "function_call": Rollout._function_call,
    "function_call_output": Rollout._output,
    "custom_tool_call": Rollout._custom_call,
    "custom_tool_call_output": Rollout._output,
    "local_shell_call": Rollout._shell_call,
    "web_search_call": Rollout._web_search,
    **dict.fromkeys(
        (
            "reasoning",
            "ghost_snapshot",
            "compaction",
            "compaction_summary",
            "compaction_trigger",
            "context_compaction",
            "tool_search_call",
            "tool_search_output",
            "image_generation_call",
            "other",
        )
    ),
}
_EVENTS: dict[str, Callable[[Rollout, dict[str, Any]], None] | None] = {
    "task_started": Rollout._turn_begins,
    "turn_started": Rollout._turn_begins,
    "user_message": Rollout._old_prompt,
    "item_completed": Rollout._item,
    "task_complete": Rollout._turn_ends,
    "turn_complete": Rollout._turn_ends,
    "turn_aborted": Rollout._turn_ends,
    **dict.fromkeys(
        (
            "agent_message",
            "agent_reasoning",
            "agent_reasoning_raw_content",
            "token_count",
            "thread_settings_applied",
            "thread_name_updated",
            "thread_rolled_back",
            "thread_goal_updated",
            "context_compacted",
            "entered_review_mode",
            "exited_review_mode",
            "item_started",
            "error",
            "warning",
            "undo_completed",
            "patch_apply_end",
            "mcp_tool_call_end",
            "exec_command_end",
            "view_image_tool_call",
            "web_search_end",
            "image_generation_end",
            "dynamic_tool_call_request",
            "dynamic_tool_call_response",
            "collab_agent_spawn_end",
            "collab_agent_interaction_end",
            "collab_waiting_end",
            "collab_close_end",
            "collab_resume_end",
            "sub_agent_activity",
        )
    ),
}


def _of_kind(
    rollout: Rollout,
    told: dict[str, Any],
    known: dict[str, Callable[[Rollout, dict[str, Any]], None] | None],
    line: str,
) -> None:
    kind = text_of(told.get("type")) or ""
    take = known.get(kind)
    if take is not None:
        take(rollout, told)
    elif kind not in known:
        rollout._keep(f"{line} {kind}", told, "unknown_event")


def _parent(meta: dict[str, Any]) -> str | None:
    source = dict_of(dict_of(meta.get("source")).get("subagent"))
    spawned = dict_of(source.get("thread_spawn"))
    return text_of(meta.get("parent_thread_id")) or text_of(spawned.get("parent_thread_id"))


# --- what an item tells: (tool, what it was given, fields) --------------------------------------------------

_Told = tuple[str, object, dict[str, Any]]


def _command_item(item: dict[str, Any]) -> _Told:
    data = {
        "result": text_of(item.get("aggregated_output")),
        "exit_code": number_of(item.get("exit_code")),
        "cwd": _local_path(item.get("cwd")),
    }
    return "Bash", {"command": item.get("command")}, data


def _patch_item(item: dict[str, Any]) -> _Told:
    changes = dict_of(item.get("changes"))
    moved = (text_of(dict_of(change).get("move_path")) for change in changes.values())
    streams = (text_of(item.get("stdout")), text_of(item.get("stderr")))
    data = {
        "does": "edit",
        "paths": list(dict.fromkeys([*changes, *(path for path in moved if path)])) or None,
        "result": "\n".join(text for text in streams if text) or None,
    }
    return "apply_patch", changes, data


def _mcp_item(item: dict[str, Any]) -> _Told:
    tool = f"mcp__{text_of(item.get('server')) or ''}__{text_of(item.get('tool')) or ''}"
    error = dict_of(item.get("error"))
    result = answer_text(item.get("result")) or text_of(error.get("message"))
    return tool, item.get("arguments"), {"result": result}


def _agent_item(item: dict[str, Any]) -> _Told:
    tool = text_of(item.get("tool")) or "spawn_agent"
    agents = [agent for agent in list_of(item.get("receiver_thread_ids")) if isinstance(agent, str)]
    starts = agents[0] if agents and tool == "spawn_agent" else None
    return tool, {"message": item.get("prompt")}, {"starts": starts}


_ITEMS: dict[str, Callable[[dict[str, Any]], _Told]] = {
    "CommandExecution": _command_item,
    "FileChange": _patch_item,
    "McpToolCall": _mcp_item,
    "CollabAgentToolCall": _agent_item,
}
_SILENT_ITEMS = (
    "AgentMessage",
    "Reasoning",
    "Plan",
    "HookPrompt",
    "DynamicToolCall",
    "WebSearch",
    "ImageView",
    "ImageGeneration",
    "EnteredReviewMode",
    "ExitedReviewMode",
    "ContextCompaction",
    "SubAgentActivity",
    "Sleep",
)


# --- small things -------------------------------------------------------------------------------------------


def _end(fact: Fact, ended_us: int | None, status: str, **told: Any) -> None:
    started_us = fact["started_us"]
    fact["ended_us"] = ended_us if started_us is None else max(started_us, ended_us or started_us)
    fact["status"] = status
    fact["data"].update({name: value for name, value in told.items() if value is not None})
    if status == "interrupted":
        fact["data"]["interrupted"] = True


def _status(exit_code: int | None, is_failed: bool, is_aborted: bool) -> str:
    if is_aborted:
        return "interrupted"
    if is_failed or exit_code:
        return "failed"
    return "ok" if exit_code == 0 else "unknown"


def _told_output(output: object) -> tuple[str | None, int | None, bool]:
    """(text, exit code, whether it is said to have failed) of a call's output, in any of its forms."""
    told = dict_of(output)
    if told:
        return answer_text(told.get("content", output)), None, told.get("success") is False
    text = answer_text(output) or ""
    if text.startswith('{"output":'):  # so the shell tool of older versions
        old = dict_of(_given(text))
        if isinstance(old.get("output"), str):
            return old["output"], number_of(dict_of(old.get("metadata")).get("exit_code")), False
    found = _EXITED.search(text.partition("\nOutput:")[0])
    return text, int(found[1]) if found else None, _FAILED.match(text) is not None


def _given(arguments: object) -> object:
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return arguments


def _text(content: object) -> str | None:
    parts = [text_of(dict_of(part).get("text")) for part in list_of(content)]
    found = [part for part in parts if part is not None]
    return "\n".join(found) if found else None


def _local_path(place: object) -> str | None:
    text = text_of(place)
    if text is None or not text.startswith("file://"):
        return text
    try:
        return unquote(urlsplit(text).path) or None
    except ValueError:
        return text


def _micros(millis: object) -> int | None:
    found = number_of(millis)
    return found * 1_000 if found is not None and 0 <= found < 10**15 else None


def _duration(told: object) -> int | None:
    whole, part = number_of(dict_of(told).get("secs")), number_of(dict_of(told).get("nanos"))
    if whole is None or part is None or not 0 <= whole < 10**12 or not 0 <= part < 10**9:
        return None
    return whole * 1_000_000 + part // 1_000
