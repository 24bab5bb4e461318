"""Claude Code's transcripts: a JSON object a line, read as facts, and where they are.

A line is one content block of a message, or one of many records of the client's own. A result names its call
by id, whatever stands between them. A subagent has a file of its own; in old versions its lines stand in its
parent's file as a side chain.

Lives here: finding them, a line's meaning. Not here: hooks, tools and keys (claude_code.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devtrace.sources.agents import claude_code
from devtrace.sources.agents.base import (
    Fact,
    dict_of,
    lines_of,
    list_of,
    moment,
    prompt,
    said,
    session,
    text_of,
    tool_call,
    unknown,
)

_HEAD = 64  # lines of a transcript in which its directory must be named
_SLUG_LIMIT = 200  # of a folder's name; behind it comes a hash
_QUIET = frozenset(
    (
        *("agent-color", "agent-name", "agent-setting", "ai-title", "attribution-snapshot", "bridge-session"),
        *("content-replacement", "custom-title", "file-history-snapshot", "fork-context-ref", "frame-link"),
        *("isolation-latch", "last-prompt", "marble-origami-commit", "marble-origami-reset", "mode"),
        *("marble-origami-snapshot", "permission-mode", "pr-link", "progress", "queue-operation"),
        *("relocated", "speculation-accept", "summary", "tag", "worktree-state"),
    )
)
_SILENT_BLOCKS = ("thinking", "redacted_thinking", "image", "document")
_STOPPED_BY_HAND = "[Request interrupted by user"
_NOT_TYPED = ("<local-command-", "<bash-stdout>", "<bash-stderr>", "<task-notification>", _STOPPED_BY_HAND)


def records_below(projects: Path, root: Path) -> list[Path]:
    """The transcripts of sessions that began in `root` or below, oldest first, subagents behind their own."""
    roots = {root, root.resolve()}
    found = []
    for folder in _folders(projects, roots):
        for path in folder.glob("*.jsonl"):
            cwd, began = _head(path)
            if cwd and any(Path(cwd).is_relative_to(one) for one in roots):
                found.append((began, path))
    return [path for _, main in sorted(found) for path in (main, *_subagents(main))]


def _folders(projects: Path, roots: set[Path]) -> list[Path]:
    """A directory's folder is named by its path without its punctuation, so that another's may be too."""
    beginnings = tuple({re.sub(r"[^a-zA-Z0-9]", "-", str(root))[:_SLUG_LIMIT] for root in roots})
    try:
        return [folder for folder in projects.iterdir() if folder.name.startswith(beginnings)]
    except OSError:
        return []


def _head(path: Path) -> tuple[str | None, int]:
    """The directory in which a session began, and when."""
    began = None
    try:
        for number, value in lines_of(path):
            line = dict_of(value)
            began = began or moment(line.get("timestamp"))
            if cwd := text_of(line.get("cwd")):
                return cwd, began or 0
            if number > _HEAD:
                break
    except OSError:
        pass
    return None, 0


def _subagents(main: Path) -> list[Path]:
    found = [(_head(path)[1], path) for path in (main.parent / main.stem).rglob("agent-*.jsonl")]
    return [path for _, path in sorted(found)]


class Transcript:
    """One file, read from its beginning; `native` stands for lines that name no session."""

    def __init__(self, native: str, path: Path):
        self._native = native
        self._path = path
        self._at_us: int | None = None  # of the last line that tells it
        self._turn: str | None = None
        self._facts: list[Fact] = []
        self._calls: dict[str, Fact] = {}  # without a result so far, by id
        self._counts: dict[str, int] = {}
        self._lines: set[str] = set()  # an old version copied what it resumed
        self._puzzling: set[tuple[str, str]] = set()
        self._chains: dict[str, str] = {}  # the first line of each line of a side chain
        self._beginning: Fact | None = None

    def facts(self) -> Iterator[Fact]:
        """All of it, each call where it began. Raises OSError where the file cannot be read."""
        for number, value in lines_of(self._path):
            if isinstance(value, dict):
                self._read(value)
            else:
                self._unknown("", {"line": number}, "no_json")
        yield from self._facts

    def _read(self, line: dict[str, Any]) -> None:
        uuid, kind = text_of(line.get("uuid")), text_of(line.get("type")) or ""
        if uuid and uuid in self._lines:
            return
        self._lines.add(uuid or "")
        self._native = text_of(line.get("sessionId")) or self._native
        self._at_us = moment(line.get("timestamp")) or self._at_us
        hear = {
            "user": self._user,
            "assistant": self._assistant,
            "attachment": self._attachment,
            "system": self._system,
        }.get(kind)
        if hear is not None:
            self._begin(line)
            hear(line)
        elif kind not in _QUIET:
            self._unknown(kind, line, "unknown_event")

    def _begin(self, line: dict[str, Any]) -> None:
        subagent = self._subagent(line)
        if self._beginning is None:
            told = {name: text_of(line.get(name)) for name in ("cwd", "version")}
            key, phase = (
                (f"subagent_started:{subagent}", "subagent_started") if subagent else ("began", "started")
            )
            told |= {"subagent": subagent, "transcript": str(self._path)}
            self._beginning = session(self._native, key, self._at_us, phase, **told)
            self._facts.append(self._beginning)
        for name, field in (("permissions", "permissionMode"), ("subagent_type", "attributionAgent")):
            if text := text_of(line.get(field)):
                self._beginning["data"].setdefault(name, text)

    # --- what stands in a line ---

    def _user(self, line: dict[str, Any]) -> None:
        content = dict_of(line.get("message")).get("content")
        results = [block for block in list_of(content) if dict_of(block).get("type") == "tool_result"]
        text = content if isinstance(content, str) else claude_code.blocks_text(content)
        self._turn = text_of(line.get("promptId")) or self._turn
        for block in results:
            self._result(line, block)
        if not results and text is not None and _is_typed(line, text):
            self._prompt(line, _as_typed(text))
        elif not results and not isinstance(content, str | list):
            self._unknown("user", line, "unknown_shape")

    def _prompt(self, line: dict[str, Any], text: str) -> None:
        subagent = self._subagent(line)
        turn = text_of(line.get("promptId")) or text_of(line.get("uuid")) or ""
        if not subagent:
            self._turn = turn
        key = self._counted(f"{self._turn or turn}/{subagent}" if subagent else turn)
        placed = {**self._placed(line), "cwd": text_of(line.get("cwd"))}
        self._facts.append(prompt(self._native, key, self._at_us, text, **placed))

    def _assistant(self, line: dict[str, Any]) -> None:
        message = dict_of(line.get("message"))
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list):
            self._unknown("assistant", line, "unknown_shape")
            return
        for block in map(dict_of, blocks):
            kind = text_of(block.get("type")) or ""
            if kind == "text" and isinstance(block.get("text"), str):
                self._said(line, message, block["text"])
            elif kind == "tool_use" and block.get("id") and block.get("name"):
                self._call(line, message, block)
            elif kind not in _SILENT_BLOCKS:
                self._unknown(f"assistant/{kind}", block, "unknown_shape")

    def _said(self, line: dict[str, Any], message: dict[str, Any], text: str) -> None:
        placed = self._placed(line)
        if line.get("isApiErrorMessage") is True:
            key = self._counted(f"stopped:{self._turn or ''}") + "#1"
            self._facts.append(session(self._native, key, self._at_us, "stopped", detail=text))
        elif text.strip() and message.get("model") != "<synthetic>":  # the client's own words
            key = self._counted(claude_code.message_key(text, **placed))
            told = {"message": text_of(message.get("id")), "model": text_of(message.get("model"))}
            self._facts.append(said(self._native, key, self._at_us, text, **placed, **told))

    def _call(self, line: dict[str, Any], message: dict[str, Any], block: dict[str, Any]) -> None:
        call, tool, given = text_of(block["id"]), text_of(block["name"]), block.get("input")
        if not call or not tool:
            self._unknown("assistant/tool_use", block, "unknown_shape")
            return
        told: dict[str, Any] = {**claude_code.claims(tool, given), **self._placed(line), "call": call}
        told |= {"model": text_of(message.get("model")), "cwd": text_of(line.get("cwd"))}
        does = claude_code.does(tool)
        fact = tool_call(self._native, call, self._at_us, tool, does, given, status="unknown", **told)
        fact["ended_us"] = None
        self._calls[call] = fact
        self._facts.append(fact)

    def _result(self, line: dict[str, Any], block: dict[str, Any]) -> None:
        fact = self._calls.pop(text_of(block.get("tool_use_id")) or "", None)
        if fact is None:
            self._unknown("user/tool_result", line, "unknown_shape")
            return
        told, status = _outcome(line.get("toolUseResult"), block)
        fact["status"] = status
        fact["ended_us"] = self._at_us
        fact["data"] |= {name: value for name, value in told.items() if value is not None}

    def _attachment(self, line: dict[str, Any]) -> None:
        """A prompt that was typed while the agent worked; all else is what the client adds by itself."""
        attachment = dict_of(line.get("attachment"))
        told = attachment.get("prompt")
        text = told if isinstance(told, str) else claude_code.blocks_text(told)
        is_prompt = (
            attachment.get("type") == "queued_command" and attachment.get("commandMode", "prompt") == "prompt"
        )
        if is_prompt and text is not None and _is_typed(attachment, text):
            key = text_of(attachment.get("source_uuid")) or text_of(line.get("uuid")) or ""
            placed = {**self._placed(line), "cwd": text_of(line.get("cwd"))}
            self._facts.append(prompt(self._native, self._counted(key), self._at_us, text, **placed))

    def _system(self, line: dict[str, Any]) -> None:
        if line.get("subtype") == "compact_boundary":
            self._counts["compacted"] = count = self._counts.get("compacted", 0) + 1
            detail = text_of(dict_of(line.get("compactMetadata")).get("trigger")) or ""
            told = {"detail": detail, "transcript": str(self._path)}
            self._facts.append(session(self._native, f"compacted#{count}", self._at_us, "compacted", **told))

    # --- where it belongs ---

    def _placed(self, line: dict[str, Any]) -> dict[str, Any]:
        return {"turn": self._turn, "subagent": self._subagent(line)}

    def _subagent(self, line: dict[str, Any]) -> str | None:
        """Its id; of an old version's side chain the id of its first line."""
        if found := text_of(line.get("agentId")):
            return found
        if line.get("isSidechain") is not True:
            return None
        uuid = text_of(line.get("uuid")) or ""
        return self._chains.setdefault(uuid, self._chains.get(text_of(line.get("parentUuid")) or "", uuid))

    def _counted(self, key: str) -> str:
        """The key, or `key#2` and so on where it has been told already."""
        self._counts[key] = count = self._counts.get(key, 0) + 1
        return key if count == 1 else f"{key}#{count}"

    def _unknown(self, kind: str, payload: object, why: str) -> None:
        if (kind, why) not in self._puzzling:
            self._puzzling.add((kind, why))
            self._facts.append(unknown(self._native, kind, payload, why, self._at_us))


def _outcome(answer: object, block: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What is told of a result, and its status; the model's own text says how it failed."""
    content = block.get("content")
    text = content if isinstance(content, str) else claude_code.blocks_text(content)
    if block.get("is_error") is True:
        stopped = (text or "").startswith(_STOPPED_BY_HAND)
        told = {"result": text, "exit_code": claude_code.exit_code(text), "interrupted": stopped or None}
        return told, "interrupted" if stopped else "failed"
    told = claude_code.outcome(answer if isinstance(answer, dict | list) else text)
    if dict_of(answer).get("interrupted") is True:
        return {**told, "interrupted": True}, "interrupted"
    return told, "ok"


def _is_typed(line: dict[str, Any], text: str) -> bool:
    """Whether a user's line holds what a person typed or an agent told another: no words of the client's."""
    marks = ("isMeta", "isCompactSummary", "isVisibleInTranscriptOnly")
    is_other = any(line.get(mark) is True for mark in marks)
    origin = dict_of(line.get("origin")).get("kind", "human")
    return not is_other and origin in ("human", "channel") and not text.startswith(_NOT_TYPED)


def _as_typed(text: str) -> str:
    """`/name args` and `! command`, which are kept as tags."""
    if name := re.search(r"<command-name>(.*?)</command-name>", text, re.DOTALL):
        args = re.search(r"<command-args>(.*?)</command-args>", text, re.DOTALL)
        return f"{name[1]} {args[1] if args else ''}".strip()
    command = re.fullmatch(r"<bash-input>(.*)</bash-input>", text, re.DOTALL)
    return f"! {command[1]}" if command else text
