"""The table `file_changes`: what `edit_files` events say, to be found by path and by content.

Nothing is in it that is not in the events too, whose hash covers it: it can be made anew from them.

Lives here: its rows. Not here: writing the events (append.py), questions to it (query/changes.py).
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import Mapping
from typing import Any

_COLUMNS = (
    "session", "event", "chain", "path", "path_bytes", "old_path", "old_path_bytes", "change", "old_oid",
    "new_oid", "added", "deleted", "attribution",
)  # fmt: skip
_INSERT = f"INSERT INTO file_changes ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


def index(db: sqlite3.Connection, session: str, event: str, data: Mapping[str, Any]) -> None:
    """Add the rows of an `edit_files` event; to be done in the transaction that writes it."""
    if isinstance(data.get("changes"), list) and isinstance(data.get("chain"), str):
        known = (session, event, data["chain"])
        attribution = str(data.get("attribution", ""))
        db.executemany(_INSERT, [(*known, *_values(change), attribution) for change in data["changes"]])


def is_indexed(db: sqlite3.Connection, session: str, event: str, data: Mapping[str, Any]) -> bool:
    """Whether the rows say what the event says."""
    select = f"SELECT {', '.join(_COLUMNS[2:])} FROM file_changes WHERE session = ? AND event = ? ORDER BY n"
    wanted = []
    if isinstance(data.get("changes"), list) and isinstance(data.get("chain"), str):
        attribution = str(data.get("attribution", ""))
        wanted = [(data["chain"], *_values(change), attribution) for change in data["changes"]]
    return db.execute(select, (session, event)).fetchall() == wanted


def true_name(row: Mapping[str, Any], name: str) -> bytes:
    """A path as the file system has it, of a change in an event's data."""
    raw = _raw(row, name)
    return str(row[name]).encode("utf-8", "replace") if raw is None else raw


def _values(change: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        str(change["path"]),
        _raw(change, "path"),
        change.get("old_path"),
        _raw(change, "old_path"),
        str(change["change"]),
        change.get("old_oid"),
        change.get("new_oid"),
        change.get("added"),
        change.get("deleted"),
    )


def _raw(row: Mapping[str, Any], name: str) -> bytes | None:
    text = row.get(f"{name}_b64")
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except binascii.Error:
        return None
