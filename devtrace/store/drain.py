"""From the spool into the database: idempotent, resumable, one drainer at a time.

Lives here: `drain`. Not here: the files' format (spool.py), the rows (append.py), traces (traces.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from devtrace.errors import DevTraceError
from devtrace.events import Frame, Gap, check_body, check_frame, gap_event, is_moment, titled
from devtrace.ids import is_session_id
from devtrace.store import chain, sessions, traces
from devtrace.store.append import UNFIT, Row, append_within, row_of
from devtrace.store.connection import transaction
from devtrace.store.hold import try_lock
from devtrace.store.spool import (
    FRAME_LIMIT,
    HEADER_SIZE,
    MAGIC,
    SESSION_FRAME,
    SUFFIX,
    Damage,
    Read,
    SpoolWriter,
    decode,
    read_frames,
)
from devtrace.workspace import Workspace

BATCH_BYTES = 8 << 20  # one transaction: others wait for it
LONGEST_BYTES = FRAME_LIMIT + HEADER_SIZE
UNFIT_FOLDER = "unfit"  # of the spool: whole frames of which no event could be made, as they came
_MOST_UNFIT = 16 << 20  # bytes of them that are kept; more are only counted
_HEAD_BYTES = 64 << 10  # of a file, in which its first frame tells whose it is
_SESSION = re.compile(rb'"session":"([0-9a-f]{32})"')


class Drained(NamedTuple):
    """What one drain did."""

    events: int  # that were new
    damaged: int  # stretches of a file, and frames, of which no event could be made
    files: int  # that were read to their end and removed
    blocks: int = 0  # of traces, that were taken in
    traces: int = 0  # that ended
    has_more: bool = False  # blocks wait that there was no time for


def drain(db: sqlite3.Connection, workspace: Workspace, trace_s: float | None = None) -> Drained:
    """Take in every frame of the spool, and what traces wait there; nothing when another process is at it.

    `trace_s`: for how long traces may be taken in, which may be many; None: all of them.

    Events and the file's offset are committed together; a file is removed once its writer is gone and all
    of it is stored. Damage becomes a `gap` of the session it stood in; a whole frame that does not fit is
    kept in `unfit` besides. A file that cannot be read costs no other, and is tried again by the next drain.
    Raises sqlite3.Error, OSError.
    """
    files = _spooled(workspace)
    if not files and not (trace_s != 0 and traces.may_have_work(db, workspace)):
        return Drained(0, 0, 0)
    lock = os.open(workspace.run / "drain.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not try_lock(lock):
            return Drained(0, 0, 0)
        results = [_drained(db, path) for path in files]
        _forget_removed(db, workspace)
        taken = traces.take(db, workspace, _for(trace_s)) if trace_s != 0 else traces.Taken()
    finally:
        os.close(lock)
    events, damaged, removed = (sum(one[at] for one in results) for at in range(3))
    return Drained(events, damaged, removed, *taken)


def _for(seconds: float | None) -> Callable[[], bool]:
    if seconds is None:
        return lambda: True
    until = time.monotonic() + seconds
    return lambda: time.monotonic() < until


def offset_of(db: sqlite3.Connection, path: Path) -> int:
    """Up to which byte a file of the spool has been taken in."""
    row = db.execute("SELECT offset FROM spool_offsets WHERE file = ?", (path.name,)).fetchone()
    return int(row[0]) if row else 0


def waiting(workspace: Workspace) -> list[tuple[Path, str]]:
    """The files that are in the spool now, each with what keeps a drain from reading it, or ""."""
    return [(path, obstacle(path)) for path in _spooled(workspace)]


def obstacle(path: Path) -> str:
    """What keeps a drain from reading a file of the spool, or "" where nothing does."""
    try:
        os.close(_open(path))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _spooled(workspace: Workspace) -> list[Path]:
    """The files of the spool, the oldest first; none where it cannot be looked into."""
    try:
        return sorted(path for path in workspace.spool.iterdir() if path.name.endswith(SUFFIX))
    except OSError:
        return []


def _open(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "it is no regular file")


def _forget_removed(db: sqlite3.Connection, workspace: Workspace) -> None:
    """A process that was killed between removing a file and forgetting its offset leaves the offset."""
    known = {name for (name,) in db.execute("SELECT file FROM spool_offsets")}
    for name in known - {path.name for path in _spooled(workspace)}:
        db.execute("DELETE FROM spool_offsets WHERE file = ?", (name,))


def _drained(db: sqlite3.Connection, path: Path) -> Drained:
    try:
        return _drain_file(db, path)
    except OSError:  # the file's own, since SQLite has errors of its own: `waiting` tells what it is
        return Drained(0, 0, 0)


def _drain_file(db: sqlite3.Connection, path: Path) -> Drained:
    fd = _open(path)
    try:
        is_finished = try_lock(fd)  # before reading: what its writer wrote is all there then
        offset = offset_of(db, path)
        events = damaged = 0
        while (read := _read(fd, offset, is_finished)) is not None:
            with transaction(db):
                stored = _store(db, read, fd, path.parent / UNFIT_FOLDER)
                db.execute("INSERT OR REPLACE INTO spool_offsets VALUES (?, ?)", (path.name, read.offset))
            events += stored.events
            damaged += stored.damaged
            offset = read.offset
        if not is_finished or offset < os.fstat(fd).st_size:
            return Drained(events, damaged, 0)
        path.unlink(missing_ok=True)
        return Drained(events, damaged, 1)
    finally:
        os.close(fd)


def _read(fd: int, offset: int, is_finished: bool) -> Read | None:
    """The next frames of a file from that byte on, a batch of them; None when there is nothing to do."""
    for size in (BATCH_BYTES, LONGEST_BYTES):  # the second when one frame is longer than a batch
        data = os.pread(fd, size, offset)
        is_all = len(data) < size
        read = read_frames(data, offset, is_finished=is_finished and is_all)
        if read.offset > offset:
            return read
        if is_all:
            break
    return None


def _store(db: sqlite3.Connection, read: Read, fd: int, aside: Path) -> Drained:
    """Append what has the shape of an event; the rest is damage too, and damage is said."""
    rows: list[Row] = []
    damages = list(read.damages)
    ended: dict[str, int] = {}
    unfit: list[Frame] = []
    for number, frame in enumerate(read.frames):
        try:
            if frame.get("kind") == SESSION_FRAME:
                ended |= _store_session(db, frame)
            else:
                rows.append(row_of(titled(check_body(check_frame(frame)))))
        except (*UNFIT, sqlite3.IntegrityError) as error:
            unfit.append(frame)
            damages.append(_misfit(number, frame, error))
    _keep(aside, unfit)
    rows += [row_of(gap) for gap in _gaps(read.frames, damages, fd)]
    events = append_within(db, rows)
    for session, ended_us in ended.items():
        chain.seal(db, session, ended_us)
    return Drained(events, len(damages), 0)


def _store_session(db: sqlite3.Connection, frame: Frame) -> dict[str, int]:
    """Write a session's row; returns when it ended, if it did. Raises UNFIT or sqlite3.IntegrityError."""
    known = sessions.check_columns(frame.get("columns"))
    row = db.execute("SELECT kind FROM sessions WHERE id = ?", (known["id"],)).fetchone()
    has_ended = known["status"] != "active"
    if row in (None, ("import",)) or has_ended:  # its begin may come after its end
        sessions.write_row(db, known)
    return {known["id"]: known.get("ended_us") or known["started_us"]} if has_ended else {}


def _misfit(number: int, frame: Frame, error: Exception) -> Damage:
    field = error.context.get("field") if isinstance(error, DevTraceError) else None
    excerpt = b'"session":"%s"' % str(frame.get("session"))[:64].encode("utf-8", "replace")
    return Damage(number, excerpt, "unfit_frame", f"{field} does not fit; see spool/unfit" if field else "")


def _keep(folder: Path, frames: Sequence[Frame]) -> None:
    """Put frames aside as they came; what cannot be kept is counted all the same, and nobody waits for it."""
    with contextlib.suppress(OSError):
        if not frames or sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}")) > _MOST_UNFIT:
            return
        writer = SpoolWriter(folder)
        for frame in frames:
            writer.write(frame)
        writer.close()


# --- what is lost ---


def _gaps(frames: Sequence[Frame], damages: Sequence[Damage], fd: int) -> list[Frame]:
    """One gap a session for the damage in it, from the frame before it to the one after."""
    now_us = time.time_ns() // 1_000
    lost: dict[tuple[str, str], tuple[int, int, int]] = {}
    details: dict[tuple[str, str], str] = {}
    for damage in damages:
        session = _session_of(damage, frames, fd)
        if session is not None:
            key = session, damage.reason
            since_us, until_us = _around(damage, frames, session, now_us)
            count, first_us, last_us = lost.get(key, (0, since_us, until_us))
            lost[key] = (count + 1, min(first_us, since_us), max(last_us, until_us))
            details.setdefault(key, damage.detail)
    return [
        gap_event(
            session,
            Gap(reason=reason, count=count, detail=details[session, reason]),
            since_us,
            until_us,
        ).to_frame()
        for (session, reason), (count, since_us, until_us) in lost.items()
    ]


def _session_of(damage: Damage, frames: Sequence[Frame], fd: int) -> str | None:
    """Whose the damaged bytes were: their own word, else their neighbour's, else the file's first frame's."""
    if match := _SESSION.search(damage.excerpt):
        return match[1].decode()
    first = _first_frame(fd)
    neighbours = frames[max(0, damage.before - 1) : damage.before + 1]
    for frame in (*neighbours, *([first] if first else [])):
        columns = frame.get("columns")
        named = columns.get("id") if isinstance(columns, dict) else frame.get("session")
        if isinstance(named, str) and is_session_id(named):
            return named
    return None


def _first_frame(fd: int) -> Frame | None:
    data = os.pread(fd, _HEAD_BYTES, 0)
    second = data.find(MAGIC, 1)
    try:
        return decode(data[HEADER_SIZE : second if second > 0 else len(data)])
    except (ValueError, RecursionError):
        return None


def _around(damage: Damage, frames: Sequence[Frame], session: str, now_us: int) -> tuple[int, int]:
    """When the frames of that session before and after the damage happened, as far as there are any."""
    before = _nearest(frames, range(damage.before - 1, -1, -1), session)
    after = _nearest(frames, range(damage.before, len(frames)), session)
    since_us = before if before is not None else after if after is not None else now_us
    until_us = after if after is not None else now_us
    return min(since_us, until_us), max(since_us, until_us)


def _nearest(frames: Sequence[Frame], numbers: range, session: str) -> int | None:
    moments = (_moment(frames[number]) for number in numbers if frames[number].get("session") == session)
    return next((moment for moment in moments if moment is not None), None)


def _moment(frame: Frame) -> int | None:
    moment = frame.get("ended_us") or frame.get("started_us")
    return moment if is_moment(moment) else None
