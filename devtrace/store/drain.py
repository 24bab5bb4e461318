"""From the spool into the database: idempotent, resumable, one drainer at a time.

Lives here: `drain`. Not here: the files' format (spool.py), the rows (append.py).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from devtrace.errors import DevTraceError
from devtrace.events import Event, Frame, Gap, check_frame
from devtrace.ids import is_session_id, new_span_id
from devtrace.store import sessions
from devtrace.store.append import append_within
from devtrace.store.connection import transaction
from devtrace.store.spool import SUFFIX, read_frames
from devtrace.workspace import Workspace

SESSION_FRAME = "@session"  # not an event: the row of a session whose host could not reach the database
_BATCH_BYTES = 8 << 20


class Drained(NamedTuple):
    """What one drain did."""

    events: int
    damaged: int
    files: int  # that were read to their end and removed


def drain(db: sqlite3.Connection, workspace: Workspace) -> Drained:
    """Take in every frame of the spool; nothing when another process is at it.

    Events and the file's offset are committed together; a file is removed once its writer is gone and all
    of it is stored. Damage becomes a `gap` of the session it stood in. Raises sqlite3.Error, OSError.
    """
    files = sorted(path for path in _spooled(workspace))
    if not files:
        return Drained(0, 0, 0)
    lock = os.open(workspace.run / "drain.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return Drained(0, 0, 0)
    try:
        results = [_drain_file(db, path) for path in files]
    finally:
        os.close(lock)
    return Drained(*map(sum, zip(*results, strict=True)))


def _spooled(workspace: Workspace) -> list[Path]:
    try:
        return [path for path in workspace.spool.iterdir() if path.name.endswith(SUFFIX)]
    except FileNotFoundError:
        return []


def _drain_file(db: sqlite3.Connection, path: Path) -> Drained:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return Drained(0, 0, 0)
    events = damaged = 0
    try:
        is_finished = _writer_is_gone(fd)  # before reading: what it wrote is all there then
        offset = _offset(db, path)
        while data := os.pread(fd, _BATCH_BYTES, offset):
            is_last = len(data) < _BATCH_BYTES
            read = read_frames(data, offset, is_finished=is_finished and is_last)
            if read.offset == offset and not is_last:  # one frame is longer than a batch
                data = os.pread(fd, os.fstat(fd).st_size - offset, offset)
                read = read_frames(data, offset, is_finished=is_finished)
            if read.offset == offset:
                break
            with transaction(db):
                events += _store(db, read.frames, read.damaged)
                db.execute("INSERT OR REPLACE INTO spool_offsets VALUES (?, ?)", (path.name, read.offset))
            damaged += read.damaged
            offset = read.offset
        if is_finished and offset >= os.fstat(fd).st_size:
            path.unlink(missing_ok=True)
            db.execute("DELETE FROM spool_offsets WHERE file = ?", (path.name,))
            return Drained(events, damaged, 1)
    finally:
        os.close(fd)
    return Drained(events, damaged, 0)


def _store(db: sqlite3.Connection, frames: list[Frame], damaged: int) -> int:
    """Append what has the shape of an event; the rest is damage too, and damage is said."""
    good: list[Frame] = []
    for frame in frames:
        if frame.get("kind") == SESSION_FRAME:
            _store_session(db, frame)
            continue
        try:
            good.append(check_frame(frame))
        except DevTraceError:
            damaged += 1
    if damaged:
        good += _gaps(good, damaged)
    return append_within(db, good)


def _store_session(db: sqlite3.Connection, frame: Frame) -> None:
    columns = frame.get("columns")
    if isinstance(columns, dict) and is_session_id(str(columns.get("id"))):
        sessions.write_row(db, columns)


def _gaps(frames: list[Frame], damaged: int) -> list[Frame]:
    sessions_here = Counter(frame["session"] for frame in frames)
    if not sessions_here:
        return []
    now_us = time.time_ns() // 1_000
    gap = Event(
        session=sessions_here.most_common(1)[0][0],
        id=new_span_id(),
        actor="human",
        started_us=now_us,
        ended_us=now_us,
        status="unknown",
        source="host",
        trusted=2,
        body=Gap(reason="damaged_frame", count=damaged),
    )
    return [gap.to_frame()]


def _offset(db: sqlite3.Connection, path: Path) -> int:
    row = db.execute("SELECT offset FROM spool_offsets WHERE file = ?", (path.name,)).fetchone()
    return int(row[0]) if row else 0


def _writer_is_gone(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
