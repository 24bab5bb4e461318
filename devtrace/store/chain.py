"""The hash chain: each event's hash covers the one before it in its session.

Lives here: the canonical form, linking, checking one session.
Not here: when a head is sealed (sessions.py).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

FIRST = "0" * 64  # what the first event of a session follows

# Every column of an event but `seq`, which SQLite gives, and `hash` itself. `data` goes in as it is stored.
COLUMNS: Sequence[str] = (
    "session",
    "id",
    "parent",
    "kind",
    "actor",
    "started_us",
    "ended_us",
    "recorded_us",
    "status",
    "title",
    "cwd",
    "exit_code",
    "source",
    "exit_source",
    "trusted",
    "data",
)


def dumps(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces, ASCII escapes. Raises ValueError for a float."""
    text = _ENCODER.encode(value)
    if _holds_float(value):
        raise ValueError("a float has no canonical form: use integers")
    return text


def canonical(row: Mapping[str, Any]) -> bytes:
    """The bytes of an event that are hashed: its columns as canonical JSON."""
    return _ENCODER.encode({column: row[column] for column in COLUMNS}).encode("ascii")


def link(previous: str, row: Mapping[str, Any]) -> str:
    """SHA-256 over the previous hash, as text, and the event's canonical form; 64 hex digits."""
    return hashlib.sha256(previous.encode("ascii") + canonical(row)).hexdigest()


def head(db: sqlite3.Connection, session: str) -> tuple[int | None, str]:
    """The seq and hash of a session's last event; (None, FIRST) when it has none."""
    row = db.execute(
        "SELECT seq, hash FROM events WHERE session = ? ORDER BY seq DESC LIMIT 1", (session,)
    ).fetchone()
    return (None, FIRST) if row is None else (row[0], row[1])


def check(db: sqlite3.Connection, session: str) -> int | None:
    """The seq of the first event whose hash does not follow, or None when the chain holds."""
    previous = FIRST
    select = f"SELECT seq, hash, {', '.join(COLUMNS)} FROM events WHERE session = ? ORDER BY seq"
    for seq, stored, *values in db.execute(select, (session,)):
        previous = link(previous, dict(zip(COLUMNS, values, strict=True)))
        if previous != stored:
            return int(seq)
    return None


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _holds_float(value: object) -> bool:
    if isinstance(value, float):
        return True
    if isinstance(value, dict):
        return any(map(_holds_float, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_float, value))
