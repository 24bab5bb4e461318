"""The hash chain: each event's hash covers the one before it in its session.

Lives here: the canonical form, linking, sealing a head, checking one session.
Not here: when a head is sealed (sessions.py, append.py).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii
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
    if _holds_float(value):
        raise ValueError("a float has no canonical form: use integers")
    return encode(value)


def encode(value: object) -> str:
    """`dumps` of what is known to hold no float (storable.py)."""
    return _ENCODER.encode(value)


def canonical(row: Mapping[str, Any]) -> bytes:
    """The bytes of an event that are hashed: its columns as canonical JSON.

    Written out by hand, which takes a third of the time: every column is a text, an integer or null.
    """
    return b"{" + ",".join([_LABELS[name] + _scalar(row[name]) for name in _SORTED]).encode("ascii") + b"}"


def link(previous: str, row: Mapping[str, Any]) -> str:
    """SHA-256 over the previous hash, as text, and the event's canonical form; 64 hex digits."""
    return hashlib.sha256(previous.encode("ascii") + canonical(row)).hexdigest()


def head(db: sqlite3.Connection, session: str) -> tuple[int | None, str]:
    """The seq and hash of a session's last event; (None, FIRST) when it has none."""
    row = db.execute(
        "SELECT seq, hash FROM events WHERE session = ? ORDER BY seq DESC LIMIT 1", (session,)
    ).fetchone()
    return (None, FIRST) if row is None else (row[0], row[1])


def seal(db: sqlite3.Connection, session: str, sealed_us: int) -> None:
    """Write down the head as it is now, unless the last seal says the same; a second seal is a late one."""
    seq, digest = head(db, session)
    last = db.execute(
        "SELECT hash FROM seals WHERE session = ? ORDER BY n DESC LIMIT 1", (session,)
    ).fetchone()
    if last != (digest,):
        db.execute(
            "INSERT INTO seals (session, seq, hash, sealed_us, late) VALUES (?, ?, ?, ?, ?)",
            (session, seq, digest, sealed_us, int(last is not None)),
        )


def check(db: sqlite3.Connection, session: str) -> int | None:
    """The seq of the first event whose hash does not follow, or None when the chain holds.

    A chain holds when every event follows the one before it, and every seal is still the hash of the event
    that it was put on: so the last events cannot be taken away unseen either.
    """
    previous = FIRST
    select = f"SELECT seq, hash, {', '.join(COLUMNS)} FROM events WHERE session = ? ORDER BY seq"
    for seq, stored, *values in db.execute(select, (session,)):
        previous = link(previous, dict(zip(COLUMNS, values, strict=True)))
        if previous != stored:
            return int(seq)
    broken = db.execute(
        "SELECT min(seals.seq) FROM seals LEFT JOIN events"
        " ON events.seq = seals.seq AND events.session = seals.session AND events.hash = seals.hash"
        " WHERE seals.session = ? AND seals.seq IS NOT NULL AND events.seq IS NULL",
        (session,),
    ).fetchone()
    return None if broken[0] is None else int(broken[0])


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
_SORTED = tuple(sorted(COLUMNS))
_LABELS = {name: f'"{name}":' for name in COLUMNS}


def _scalar(value: str | int | None) -> str:
    if type(value) is str:
        return encode_basestring_ascii(value)
    if value is None:
        return "null"
    if type(value) is not int:
        raise TypeError(f"a column holds no {type(value).__name__}")
    return str(value)


def _holds_float(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_float, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_float, value))
    return isinstance(value, float)
