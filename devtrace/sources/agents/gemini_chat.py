"""A chat of Gemini CLI: its own record of one session, or of one subagent of it.

    {sessionId, projectHash, startTime, kind}           the first line; a subagent's `sessionId` is its own id
    {id, timestamp, type, content, toolCalls, model}    a message; written again under its id it is an update
    {"$set": {...}}                                     a change of the head; `messages` in it is the history
                                                        as the model gets it from then on, masked or summed
                                                        up: what was said stands in the messages' own lines
    {"$rewindTo": id}                                   the person went back; what was said has been said

Older versions wrote one JSON object, the head with its `messages`.

The hooks count the calls of a session together with those of its subagents, and so is done here, by the
times at which they ended.

Lives here: finding the chats, reading one. Not here: the hooks and the tools (gemini_cli.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devtrace.sources.agents import base
from devtrace.sources.agents.base import Fact, dict_of, list_of, moment, text_of
from devtrace.sources.agents.gemini_cli import (
    answer_text,
    call_digest,
    claims,
    message_key,
    nth,
    outcome,
    prompt_key,
)

_FIRST_LINE = 1 << 20  # bytes
_STATUS = {"success": "ok", "error": "failed", "cancelled": "interrupted"}
_FOLDER = re.compile(r"[\w-]+", re.ASCII)
_OWN_WORDS = ("<session_context>", "<state_snapshot>")  # the client's, in a user's message
_SILENT = ("info", "error", "warning")


# --- finding them -----------------------------------------------------------------------------------------


def chats_below(gemini: Path, root: Path) -> list[Path]:
    """The chats of projects at `root` or below it; each is followed by its subagents'."""
    named = _projects(gemini / "projects.json")
    found = []
    for folder in gemini.glob("tmp/*/chats"):
        project = folder.parent
        if _is_below(_text(project / ".project_root") or named.get(project.name), project.name, root):
            found += [*folder.glob("session-*.jsonl"), *folder.glob("session-*.json")]
    return [path for chat in sorted(found, key=lambda path: path.name) for path in (chat, *_subagents(chat))]


def _projects(registry: Path) -> dict[str, str]:
    try:
        with base.opened(registry) as file:
            known = dict_of(dict_of(json.loads(file.read())).get("projects"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: place for place, name in known.items() if isinstance(name, str)}


def _is_below(place: str | None, name: str, root: Path) -> bool:
    """Whether a project is the root or lies below; of an older one its folder's name is all that is known."""
    roots = (root, root.resolve())
    if place is not None:
        return any(Path(place).is_relative_to(one) for one in roots)
    return any(hashlib.sha256(str(one).encode("utf-8", "replace")).hexdigest() == name for one in roots)


def _text(path: Path) -> str | None:
    try:
        with base.opened(path) as file:
            return file.read().decode("utf-8").strip() or None
    except (OSError, ValueError):
        return None


def _subagents(chat: Path) -> list[Path]:
    session = text_of(_head(chat).get("sessionId"))
    if session is None or not _FOLDER.fullmatch(session):
        return []
    found = (chat.parent / session).glob("*.jsonl")
    return sorted(found, key=lambda path: (text_of(_head(path).get("startTime")) or "", path.name))


def _head(chat: Path) -> dict[str, Any]:
    try:
        with base.opened(chat) as file:
            told = file.read() if chat.suffix == ".json" else file.readline(_FIRST_LINE)
        return dict_of(json.loads(told))
    except (OSError, ValueError, RecursionError):
        return {}


# --- reading one ------------------------------------------------------------------------------------------


class _Chat:
    """What one file says: its head, the last version of each message in the order of the first, the rest."""

    __slots__ = ("head", "messages", "odd")

    def __init__(self, path: Path):
        self.head: dict[str, Any] = {}
        self.messages: dict[str, dict[str, Any]] = {}
        self.odd: list[tuple[str, object, str]] = []  # (kind of line, line, why), once for each
        if path.suffix == ".json":
            self._take_whole(path)
        else:
            for _, line in base.lines_of(path):
                self._take(line)

    def _take_whole(self, path: Path) -> None:
        try:
            with base.opened(path) as file:
                told = json.loads(file.read())
        except (ValueError, RecursionError):
            told = None
        self.head = dict_of(told)
        for message in list_of(self.head.get("messages")):
            self._take(message)
        if not self.head:
            self._keep("chat", told, "no_json" if told is None else "unknown_shape")

    def _take(self, line: object) -> None:
        told = dict_of(line)
        if isinstance(told.get("id"), str):
            self._message(told["id"], told)
        elif isinstance(told.get("sessionId"), str):
            self.head = {**self.head, **told}
        elif not isinstance(told.get("$set"), dict) and "$rewindTo" not in told:
            self._keep("line", line, "no_json" if line is None else "unknown_shape")

    def _message(self, name: str, told: dict[str, Any]) -> None:
        kind = text_of(told.get("type"))
        if kind not in ("user", "gemini", *_SILENT):
            self._keep(f"message {kind}", told, "unknown_event")
        before = self.messages.get(name, told)
        self.messages[name] = {**told, "timestamp": before.get("timestamp")}

    def _keep(self, kind: str, line: object, why: str) -> None:
        if all((kind, why) != (one, reason) for one, _, reason in self.odd):
            self.odd.append((kind, line, why))

    def calls(self) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
        """(message, its id, call) in order."""
        for name, message in self.messages.items():
            if message.get("type") == "gemini":
                yield from ((message, name, dict_of(call)) for call in list_of(message.get("toolCalls")))


def facts_of(path: Path) -> Iterator[Fact]:
    """All facts of a chat in the order of its messages. Raises OSError where it cannot be read."""
    chat = _Chat(path)
    own = text_of(chat.head.get("sessionId"))
    is_subagent = chat.head.get("kind") == "subagent"
    native = path.parent.name if is_subagent else own or path.stem
    subagent = own or path.stem if is_subagent else None
    at_us = moment(chat.head.get("startTime"))
    if chat.head:
        yield _began(native, subagent, at_us, path)
    yield from _told(chat, native, subagent, at_us, _numbers(path, chat, native, is_subagent))
    for kind, line, why in chat.odd:
        yield base.unknown(native, kind, line, why, at_us)


def _began(native: str, subagent: str | None, at_us: int | None, path: Path) -> Fact:
    phase = "subagent_started" if subagent else "started"
    key = f"{phase}:{subagent}" if subagent else phase
    return base.session(native, key, at_us, phase, subagent=subagent, transcript=str(path))


def _told(
    chat: _Chat, native: str, subagent: str | None, at_us: int | None, numbers: dict[tuple[str, int], int]
) -> Iterator[Fact]:
    placed: dict[str, Any] = {"turn": None, "subagent": subagent}
    prompts, seen = 0, Counter[str]()
    for name, message in chat.messages.items():
        at_us = moment(message.get("timestamp")) or at_us
        if message.get("type") == "user" and (text := _typed(message)) is not None:
            prompts += 1
            key = placed["turn"] = prompt_key(prompts, subagent)
            yield base.prompt(native, key, at_us, text, **placed)
        elif message.get("type") == "gemini":
            placed["model"] = text_of(message.get("model")) or placed.get("model")
            text = _words(message.get("content"))
            if text and text.strip():
                key = message_key(text, subagent)
                seen[key] += 1
                yield base.said(native, nth(key, seen[key]), at_us, text, message=name, **placed)
            for place, call in enumerate(list_of(message.get("toolCalls"))):
                yield from _call(native, dict_of(call), at_us, numbers.get((name, place), 1), placed)


def _typed(message: dict[str, Any]) -> str | None:
    """What the person typed; None where the message holds results, or the client's own words."""
    text = _words(message.get("displayContent")) or _words(message.get("content"))
    return text if text and not text.startswith(_OWN_WORDS) else None


def _words(content: object) -> str | None:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part if isinstance(part, str) else text_of(dict_of(part).get("text")) for part in parts]
    found = [text for text in texts if text is not None]
    return "".join(found) if found else None


# --- calls ------------------------------------------------------------------------------------------------


def _call(
    native: str, call: dict[str, Any], at_us: int | None, number: int, placed: dict[str, Any]
) -> Iterator[Fact]:
    tool, given = text_of(call.get("name")), call.get("args")
    if tool is None:
        yield base.unknown(native, "toolCall", call, "unknown_shape", at_us)
        return
    told = {**placed, **claims(tool, given), **_end(tool, call)}
    told["call"] = text_of(call.get("id"))
    told["starts"] = text_of(call.get("agentId")) if told["does"] == "subagent" else None
    key = f"{call_digest(tool, given)}#{number}"
    fact = base.tool_call(native, key, at_us, tool, given=given, **told)
    if told["status"] == "unknown":
        fact["ended_us"] = None
    elif at_us is not None and fact["ended_us"] is not None:
        fact["ended_us"] = max(at_us, fact["ended_us"])
    yield fact


def _end(tool: str, call: dict[str, Any]) -> dict[str, Any]:
    status = _STATUS.get(text_of(call.get("status")) or "", "unknown")
    if status == "unknown":
        return {"status": status}
    result = _result(call)
    told = outcome(tool, result, is_failed=status == "failed")
    if status == "interrupted":
        told |= {"status": status, "interrupted": True}
    return {**told, "result": result, "ended_us": moment(call.get("timestamp"))}


def _result(call: dict[str, Any]) -> str | None:
    """What went back to the model, as text."""
    texts = []
    for part in list_of(call.get("result")):
        response = dict_of(dict_of(dict_of(part).get("functionResponse")).get("response"))
        told = next((response[name] for name in ("output", "error") if name in response), None)
        texts.append(answer_text(told) if response else text_of(dict_of(part).get("text")))
    found = [text for text in texts if text is not None]
    return "\n".join(found) if found else answer_text(call.get("resultDisplay"))


def _numbers(path: Path, chat: _Chat, native: str, is_subagent: bool) -> dict[tuple[str, int], int]:
    """Of each call, by its message and place: the how manieth it is with that tool and those arguments."""
    calls: list[tuple[int, str, str, int, str]] = []
    for other in sorted({path, *_relatives(path, native, is_subagent)}):
        try:
            told = chat if other == path else _Chat(other)
        except OSError:
            continue
        calls += _times(told, str(other))
    numbers: dict[tuple[str, int], int] = {}
    seen = Counter[str]()
    for _, file, name, place, same in sorted(calls, key=lambda call: call[0]):
        seen[same] += 1
        if file == str(path):
            numbers[name, place] = seen[same]
    return numbers


def _relatives(path: Path, native: str, is_subagent: bool) -> list[Path]:
    """The other chats of the same session."""
    if is_subagent:
        mains = path.parent.parent.glob("session-*.jsonl")
        found = [main for main in mains if _head(main).get("sessionId") == native]
        return [*found, *path.parent.glob("*.jsonl")]
    return _subagents(path) if path.suffix == ".jsonl" else []


def _times(chat: _Chat, file: str) -> Iterator[tuple[int, str, str, int, str]]:
    at_us = 0
    places = Counter[str]()
    for message, name, call in chat.calls():
        at_us = moment(call.get("timestamp")) or moment(message.get("timestamp")) or at_us
        tool = text_of(call.get("name"))
        if tool is not None:
            yield at_us, file, name, places[name], call_digest(tool, call.get("args"))
        places[name] += 1
