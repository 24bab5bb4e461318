"""The one way to write events: `append`.

Frames come in redacted (pipeline.py, or the spool); events, blobs, counters and the chain go out in one
transaction. Appending is idempotent by (session, id): what is there is left as it is.

Lives here: the transaction and the row of a frame. Not here: the hash (chain.py), redaction (policy/).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from devtrace.events import Frame, check_frame, text_and_bytes
from devtrace.store import blobs, chain
from devtrace.store.connection import transaction

_EVENT = (*chain.COLUMNS, "hash")
_INSERT = f"INSERT INTO events ({', '.join(_EVENT)}) VALUES ({', '.join('?' * len(_EVENT))})"
_RUNNING = (
    "session",
    "id",
    "parent",
    "kind",
    "actor",
    "started_us",
    "recorded_us",
    "title",
    "cwd",
    "source",
    "trusted",
    "data",
)
_INSERT_RUNNING = (
    f"INSERT OR IGNORE INTO running ({', '.join(_RUNNING)}) VALUES ({', '.join('?' * len(_RUNNING))})"
)
_COUNT = """
INSERT INTO sessions (id, kind, started_us, status, n_events, n_failed) VALUES (?, 'import', ?, 'ended', ?, ?)
ON CONFLICT (id) DO UPDATE
SET n_events = n_events + excluded.n_events, n_failed = n_failed + excluded.n_failed
"""


class _Tally:
    """What one transaction adds to a session."""

    __slots__ = ("events", "failed", "first_us", "head")

    def __init__(self, head: str, first_us: int):
        self.head = head
        self.first_us = first_us
        self.events = 0
        self.failed = 0


def append(db: sqlite3.Connection, frames: Sequence[Frame], *, recorded_us: int | None = None) -> int:
    """Write frames in their order; returns how many events were new.

    A frame whose status is `running` stands in `running` until its event comes. `blobs` of a frame are
    stored by digest and named in `data["blobs"]`. A frame of an unknown session makes a session of kind
    `import`; one of a sealed session is sealed again, as late. Raises UsageError ERR_FRAME for a frame
    that does not fit, ValueError for a float in its data, sqlite3.Error when nothing could be written.
    """
    for frame in frames:
        check_frame(frame)
    with transaction(db):
        return append_within(db, frames, recorded_us=recorded_us)


def append_within(db: sqlite3.Connection, frames: Sequence[Frame], *, recorded_us: int | None = None) -> int:
    """`append` inside a transaction that the caller holds (the drain, which commits its offset with it)."""
    now_us = time.time_ns() // 1_000 if recorded_us is None else recorded_us
    tallies: dict[str, _Tally] = {}
    for frame in frames:
        row = _row(frame, now_us)
        if db.execute(
            "SELECT 1 FROM events WHERE id = ? AND session = ?", (row["id"], row["session"])
        ).fetchone():
            continue
        if frame["status"] == "running":
            row["data"] = chain.dumps(row["data"])
            db.execute(_INSERT_RUNNING, [row[column] for column in _RUNNING])
            continue
        tally = tallies.get(row["session"])
        if tally is None:
            tally = tallies[row["session"]] = _Tally(chain.head(db, row["session"])[1], row["started_us"])
        _write(db, row, frame.get("blobs") or {}, tally)
    for session, tally in tallies.items():
        db.execute(_COUNT, (session, tally.first_us, tally.events, tally.failed))
        _seal_again(db, session, now_us)
    return sum(tally.events for tally in tallies.values())


def _write(db: sqlite3.Connection, row: dict[str, Any], payloads: Mapping[str, bytes], tally: _Tally) -> None:
    if payloads:
        row["data"]["blobs"] = {
            name: {"sha256": blobs.put(db, payload), "size": len(payload)}
            for name, payload in payloads.items()
        }
    row["data"] = chain.dumps(row["data"])
    tally.head = chain.link(tally.head, row)
    db.execute(_INSERT, [*(row[column] for column in chain.COLUMNS), tally.head])
    db.execute("DELETE FROM running WHERE id = ? AND session = ?", (row["id"], row["session"]))
    tally.events += 1
    tally.failed += row["status"] == "failed"


def _row(frame: Frame, now_us: int) -> dict[str, Any]:
    """The columns of a frame; text that is not UTF-8 gets U+FFFD there, and its bytes into `data`."""
    row: dict[str, Any] = {column: frame.get(column) for column in chain.COLUMNS}
    row["recorded_us"] = now_us
    row["data"] = _storable(frame["data"])
    for column in ("title", "cwd"):
        if row[column] is not None:
            row[column] = text_and_bytes(column, row[column])[column]
    return row


def _storable(value: Any) -> Any:
    """A copy of JSON-like data in which every text can be stored."""
    if isinstance(value, dict):
        storable: dict[str, Any] = {}
        for name, inner in value.items():
            if isinstance(inner, str):
                storable.update(text_and_bytes(name, inner))
            else:
                storable[name] = _storable(inner)
        return storable
    if isinstance(value, list | tuple):
        return [_storable(inner) for inner in value]
    return text_and_bytes("", value)[""] if isinstance(value, str) else value


def _seal_again(db: sqlite3.Connection, session: str, now_us: int) -> None:
    if db.execute("SELECT 1 FROM seals WHERE session = ? LIMIT 1", (session,)).fetchone():
        seq, head = chain.head(db, session)
        db.execute(
            "INSERT INTO seals (session, seq, hash, sealed_us, late) VALUES (?, ?, ?, ?, 1)",
            (session, seq, head, now_us),
        )
