"""opencode's database: its sessions, messages and parts, read as facts.

SQLite, opened to be read only: tables session, message and part, what matters as JSON in `data`. A subagent's
session names the one that started it.

Lives here: the tables. Not here: a part's meaning, where the file is (opencode.py).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from devtrace.sources.agents import base, opencode
from devtrace.sources.agents.base import Fact, dict_of, prompt, text_of, unknown

Told = dict[str, Any]

_QUIET_PARTS = frozenset(
    (
        *("agent", "compaction", "file", "patch", "reasoning", "retry", "snapshot"),
        *("step-finish", "step-start", "subtask"),
    )
)


def facts(path: Path, root: Path) -> Iterator[Fact]:
    """All facts of the sessions of that directory and below, one session after the other."""
    base.opened(path).close()
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        yield _unreadable(path, error)
        return
    db.row_factory = sqlite3.Row
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        yield from _sessions(db, root)
    except sqlite3.Error as error:
        yield _unreadable(path, error)
    finally:
        db.close()


def _unreadable(path: Path, error: Exception) -> Fact:
    return unknown(None, "database", {"path": str(path), "error": str(error)}, "unknown_shape")


def _sessions(db: sqlite3.Connection, root: Path) -> Iterator[Fact]:
    roots = {root, root.resolve()}
    rows = map(dict, db.execute("SELECT * FROM session ORDER BY time_created, id"))
    sessions = {own: row for row in rows if (own := text_of(row.get("id")))}
    puzzling: set[tuple[str, str]] = set()
    for own, row in sessions.items():
        directory = text_of(row.get("directory"))
        if directory and any(Path(directory).is_relative_to(one) for one in roots):
            native = _first_of(own, sessions)
            subagent = own if native != own else None
            yield opencode.beginning(
                native, own, opencode.microseconds(row.get("time_created")), row, subagent
            )
            for fact in _messages(db, own, native, subagent, directory):
                puzzle = (fact["data"].get("event", ""), fact["data"].get("why", ""))
                if fact["kind"] != "agent_payload" or puzzle not in puzzling:
                    puzzling.add(puzzle)
                    yield fact


def _first_of(own: str, sessions: Mapping[str, dict[str, Any]]) -> str:
    """The session that a person began."""
    for _ in sessions:
        parent = text_of(dict_of(sessions.get(own)).get("parent_id"))
        if not parent:
            break
        own = parent
    return own


def _messages(
    db: sqlite3.Connection, own: str, native: str, subagent: str | None, directory: str
) -> Iterator[Fact]:
    rows = db.execute("SELECT * FROM message WHERE session_id = ? ORDER BY time_created, id", (own,))
    for row in map(dict, rows.fetchall()):
        message, at_us = text_of(row.get("id")) or "", opencode.microseconds(row.get("time_created"))
        info = _json(row.get("data"))
        parts = _parts(db, message)
        cwd = text_of(dict_of(info.get("path")).get("cwd")) or directory
        placed = {"subagent": subagent, "model": _model(info), "cwd": cwd}
        if info.get("role") == "assistant":
            yield from _answer(native, parts, {**placed, "turn": text_of(info.get("parentID"))}, at_us)
        elif info.get("role") != "user":
            yield unknown(native, "message", row, "unknown_shape", at_us)
        elif text := opencode.typed(parts):
            yield prompt(native, message, at_us, text, turn=message, **placed)


def _parts(db: sqlite3.Connection, message: str) -> list[Told]:
    rows = db.execute("SELECT id, data FROM part WHERE message_id = ? ORDER BY id", (message,))
    return [{**_json(data), "id": part, "messageID": message} for part, data in rows.fetchall()]


def _answer(native: str, parts: list[Told], placed: Told, at_us: int | None) -> Iterator[Fact]:
    for part in parts:
        found = _part(native, part, placed)
        if found is None:
            kind = text_of(part.get("type")) or ""
            found = [unknown(native, f"part/{kind}", part, "unknown_shape", at_us)]
        for fact in found:
            if fact["started_us"] is None:  # a call that never began
                fact["started_us"] = at_us
            yield fact


def _part(native: str, part: Told, placed: Told) -> list[Fact] | None:
    """None: it makes no sense."""
    kind = text_of(part.get("type"))
    if kind == "tool":
        return opencode.tool_part(native, part, placed)
    if kind == "text":
        fact = opencode.text_part(native, text_of(part["id"]), part, placed)
        return None if fact is None else [fact] if fact["data"]["text"].strip() else []
    return [] if kind in _QUIET_PARTS else None


def _model(info: Told) -> str | None:
    """An assistant's message names it flat, a user's in `model`."""
    told = {**info, **dict_of(info.get("model"))}
    provider, model = text_of(told.get("providerID")), text_of(told.get("modelID"))
    return f"{provider}/{model}" if provider and model else None


def _json(text: object) -> dict[str, Any]:
    try:
        return dict_of(json.loads(text)) if isinstance(text, str | bytes) else {}
    except (ValueError, RecursionError):
        return {}
