"""From the segments of recorded programs into the database: idempotent, resumable, a little at a time.

    a segment's file ── blocks, a batch a transaction ──► trace_chunks and the tables made from them
    all files of a session, their writers gone and all taken ──► one event, the session's end, a seal

A block is taken once: what a live writer may still fold over (its newest RING) waits. The first block of
the first stream says whose process it is, and makes the session and a row of `running`.

Lives here: `take`, and which files wait. Not here: the end of a trace (trace_end.py), rows (trace_tables.py),
what stands in a block (trace/), who calls this (drain.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from devtrace.events import is_moment
from devtrace.ids import is_session_id
from devtrace.store import chain, trace_end, trace_io, trace_tables
from devtrace.store.append import UNFIT
from devtrace.store.connection import transaction
from devtrace.store.hold import try_lock
from devtrace.store.trace.calls import Calls
from devtrace.store.trace.io_chunks import IoChunks
from devtrace.store.trace.scan import Scan
from devtrace.store.trace.segments import BLOCK_BYTES, MAGIC, SUFFIX, Block
from devtrace.workspace import Workspace

RING = 18  # newest blocks of a live writer: a loop may be written over them (recorder/writing.py)
BATCH_S = 0.015  # of reading, and blocks, that are written in one transaction: others wait for it
BATCH_BLOCKS = 24
UNFIT_FOLDER = "unfit"  # of the spool: files that belong to no session of theirs, or came after its end
_NAME = re.compile(r"([0-9a-f]{32})-(\d{1,10})-(\d{1,9})" + re.escape(SUFFIX))
_HEAD = struct.Struct("=5Q")
_MOST_NUMBER = 1 << 40
_MOST_EMPTY = 1 << 14  # blocks in a row, a GiB: no writer leaves so many, and a hole in a file has no end
_UNFIT = (*UNFIT, KeyError, IndexError, OverflowError, sqlite3.IntegrityError)
_GoesOn = Callable[[], bool]


class Segment(NamedTuple):
    """A file of the spool, by what its name says."""

    path: Path
    session: str
    pid: int
    stream: int


class Taken(NamedTuple):
    """What one `take` did, and whether there is more to be taken at once."""

    blocks: int = 0
    traces: int = 0
    has_more: bool = False


class _Slot(NamedTuple):
    """Where a block stands in its file."""

    number: int
    place: int
    clock_ns: int
    wall_ns: int


def take(db: sqlite3.Connection, workspace: Workspace, goes_on: _GoesOn = lambda: True) -> Taken:
    """Take in what segments hold as long as `goes_on`; end the traces whose files are all taken.

    To be called under the drain's lock. A file that cannot be read costs no other. Raises sqlite3.Error.
    """
    by_session: dict[str, list[Segment]] = {}
    try:
        segments = _segments(workspace)
    except OSError:
        return Taken()
    for segment in segments:
        by_session.setdefault(segment.session, []).append(segment)
    done = Taken()
    for session, segments in by_session.items():
        try:
            one = _take_session(db, workspace, session, segments, goes_on)
        except _UNFIT:  # a bug of ours, or a forger's: it must not keep others from being taken
            _set_aside(segments)
            continue
        done = Taken(done.blocks + one.blocks, done.traces + one.traces, done.has_more or one.has_more)
    for session in _without_files(db, by_session):
        done = done._replace(traces=done.traces + _end(db, session, "segments_removed"))
    return done


def may_have_work(db: sqlite3.Connection, workspace: Workspace) -> bool:
    """Whether there are segments, or a trace that has lost its own."""
    try:
        return bool(_paths(workspace) or _without_files(db, {}))
    except OSError:
        return False


def waiting(workspace: Workspace) -> list[tuple[Path, str]]:
    """The segments that are in the spool now, each with what keeps it from being read, or ""."""
    found = []
    try:
        paths = _paths(workspace)
    except OSError:
        return []
    for path in paths:
        obstacle = "" if _parsed(path) else "its name is none that a recorder gives"
        try:
            os.close(_open(path))
        except OSError as error:
            obstacle = error.strerror or str(error)
        found.append((path, obstacle))
    return found


def _paths(workspace: Workspace) -> list[Path]:
    """Raises OSError where the spool cannot be looked into."""
    try:
        with os.scandir(workspace.spool) as entries:
            return sorted(workspace.spool / one.name for one in entries if one.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []


def _parsed(path: Path) -> Segment | None:
    match = _NAME.fullmatch(path.name)
    if match is None or not is_session_id(match[1]):
        return None
    return Segment(path, match[1], int(match[2]), int(match[3]))


def _segments(workspace: Workspace) -> list[Segment]:
    """In the order of their streams."""
    found = [segment for path in _paths(workspace) if (segment := _parsed(path)) is not None]
    return sorted(found, key=lambda one: (one.session, one.stream, one.pid))


def _without_files(db: sqlite3.Connection, there: dict[str, list[Segment]]) -> list[str]:
    """Traces that go on, as the database says, and of which the spool has nothing any more."""
    going_on = "SELECT session FROM running WHERE kind = 'python_trace'"
    return [session for (session,) in db.execute(going_on).fetchall() if session not in there]


def _open(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "it is no regular file")


# --- one session --------------------------------------------------------------------------------------------


def _take_session(
    db: sqlite3.Connection, workspace: Workspace, session: str, segments: list[Segment], goes_on: _GoesOn
) -> Taken:
    if _belongs_to_another(db, session):
        _set_aside(segments)
        return Taken()
    is_over = _is_over(db, session)
    blocks, are_dead, has_more = 0, True, False
    garbage = []
    for segment in segments:
        try:
            stream = _Stream(db, segment)
        except OSError:  # `waiting` tells what it is
            are_dead = False
            continue
        with contextlib.closing(stream):
            if is_over:
                _clear(db, segment, stream)
                continue
            blocks += stream.take(goes_on)
            has_more = has_more or stream.has_more()
            are_dead = are_dead and stream.is_dead
            if stream.is_garbage():
                garbage.append(segment)
    if is_over or not are_dead or has_more:
        return Taken(blocks, 0, has_more)
    there: list[Segment] = []
    with contextlib.suppress(OSError):
        there = [one for one in _segments(workspace) if one.session == session]
    if there != segments:
        return Taken(blocks, 0, True)  # a thread has begun meanwhile
    ended = _end(db, session)
    _set_aside(garbage)
    for segment in segments:
        segment.path.unlink(missing_ok=True)
    return Taken(blocks, ended)


def _end(db: sqlite3.Connection, session: str, gap: str = "") -> int:
    if db.execute("SELECT 1 FROM sessions WHERE id = ?", (session,)).fetchone() is None:
        return 0  # nothing had been written
    trace_end.end(db, session, gap)
    return 1


def _belongs_to_another(db: sqlite3.Connection, session: str) -> bool:
    """Whether the name that a file gave itself is that of a session of another kind."""
    row = db.execute("SELECT kind FROM sessions WHERE id = ?", (session,)).fetchone()
    return row is not None and row[0] not in ("recorder", "import")


def _is_over(db: sqlite3.Connection, session: str) -> bool:
    known = "SELECT 1 FROM {} WHERE id = :id AND session = :session"
    names = {"id": trace_tables.trace_id(session), "session": session}
    return any(db.execute(known.format(table), names).fetchone() for table in ("events", "pruned"))


def _clear(db: sqlite3.Connection, segment: Segment, stream: _Stream) -> None:
    """The trace is over: a file that is taken goes, and one that came too late is kept aside."""
    if not stream.is_dead:
        return
    if stream.is_taken():
        segment.path.unlink(missing_ok=True)
    else:
        _set_aside([segment])
        with transaction(db):
            trace_end.tell_late(db, segment.session, segment.path.name)


def _set_aside(segments: list[Segment]) -> None:
    for segment in segments:
        with contextlib.suppress(OSError):
            folder = segment.path.parent / UNFIT_FOLDER
            folder.mkdir(mode=0o700, exist_ok=True)
            segment.path.rename(folder / segment.path.name)


# --- one file -----------------------------------------------------------------------------------------------


class _Stream:
    """One thread's file, from what was taken of it until now."""

    def __init__(self, db: sqlite3.Connection, segment: Segment):
        """Raises OSError."""
        self._db = db
        self._of = segment
        self._fd = _open(segment.path)
        self.is_dead = try_lock(self._fd)  # before reading: what its writer wrote is all there then
        key = (segment.session, segment.stream)
        row = db.execute(
            "SELECT state, pid FROM trace_streams WHERE session = ? AND stream = ?", key
        ).fetchone()
        self._state = trace_tables.loads(row[0]) if row is not None and row[0] else {}
        self._is_known = row is not None
        self._is_strange = row is not None and row[1] != segment.pid
        last = "SELECT max(n) FROM trace_chunks WHERE session = ? AND stream = ?"
        self._last = db.execute(last, key).fetchone()[0] or 0
        self._place = int(self._state.get("place", 0))
        self._n_broken = 0
        self._has_more = False
        self._numbers: dict[int, int] = {}  # of the blocks at the places that were looked at
        self._slots = [] if self._is_strange else self._found()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def has_more(self) -> bool:
        """Whether there are blocks that could be taken at once."""
        return self._has_more

    def is_garbage(self) -> bool:
        """Whether it holds something, and no block of this trace."""
        return self._is_strange or (self.is_dead and bool(self._n_broken) and not self._is_known)

    def is_taken(self) -> bool:
        """Whether all that the file holds is in the database."""
        return not self._slots and not self.is_garbage()

    def take(self, goes_on: _GoesOn) -> int:
        """Take what may be taken; returns how many blocks."""
        if not self._begin():
            return 0
        taken = 0
        while self._slots and goes_on():
            taken += self._take_batch(goes_on)
        self._has_more = bool(self._slots)
        if self.is_dead and not self._slots and self._n_broken and self._is_known:
            self._tell_broken()
        return taken

    def _found(self) -> list[_Slot]:
        """The blocks that may be taken, in the order of their numbers."""
        slots, numbers, valid_until, broken, used = [], set(), 0, [], self._place
        size = os.fstat(self._fd).st_size
        for place in range(self._place, size // BLOCK_BYTES):
            head = os.pread(self._fd, _HEAD.size, place * BLOCK_BYTES)
            used = place if any(head) else used
            if len(head) < _HEAD.size or place - used > _MOST_EMPTY:
                break
            magic, number, clock_ns, wall_ns, _ = _HEAD.unpack(head)
            if magic == MAGIC and 0 < number < _MOST_NUMBER and number not in numbers:
                slots.append(_Slot(number, place, clock_ns, wall_ns))
                numbers.add(number)
                valid_until = place
                self._numbers[place] = number
            elif any(head):
                broken.append(place)
        self._n_broken = sum(place < valid_until or self.is_dead for place in broken)
        slots.sort()
        newest = slots[-1].number if slots else 0
        limit = newest if self.is_dead else newest - RING
        return [slot for slot in slots if self._last < slot.number <= limit]

    def _begin(self) -> bool:
        """The session must be there before anything of it is taken."""
        session = self._of.session
        if self._db.execute("SELECT 1 FROM running WHERE session = ?", (session,)).fetchone() is not None:
            return True
        if self._of.stream == 1 and (head := self._read(0)) is not None and head.number == 1:
            if trace_end.begin(self._db, session, self._of.pid, head, is_whole=self.is_dead):
                return True
        elif self._slots and (head := self._read(self._slots[0].place)) is not None:
            return trace_end.begin(self._db, session, self._of.pid, head, is_whole=True)
        return False

    def _read(self, place: int) -> Block | None:
        try:
            return Block(os.pread(self._fd, BLOCK_BYTES, place * BLOCK_BYTES))
        except ValueError:
            return None

    def _take_batch(self, goes_on: _GoesOn) -> int:
        calls = Calls(self._state.get("calls"))
        batch = _Batch(self._db, self._of, calls, self._state, self._last)
        until = time.monotonic() + BATCH_S
        while self._slots:
            slot = self._slots.pop(0)
            block = self._read(slot.place)
            if block is None or block.number != slot.number:
                continue  # a page that the disk has lost since
            following = self._slots[0] if self._slots and self._slots[0].number == slot.number + 1 else None
            batch.add(block, following.wall_ns if following is not None else 0)
            if len(batch.blocks) >= BATCH_BLOCKS or time.monotonic() > until or not goes_on():
                break
        if not self._slots and self.is_dead:
            calls.close()
        while 0 < self._numbers.get(self._place, 0) <= batch.last:
            self._place += 1
        batch.write(self._place)
        self._state, self._last, self._is_known = batch.state, batch.last, True
        return len(batch.blocks)

    def _tell_broken(self) -> None:
        told = "UPDATE trace_streams SET state = json_set(state, '$.n_broken', ?)"
        told += " WHERE session = ? AND stream = ?"
        self._db.execute(told, (self._n_broken, self._of.session, self._of.stream))


class _Batch:
    """Some blocks of a stream, and what is made of them, as they go into one transaction."""

    def __init__(self, db: sqlite3.Connection, of: Segment, calls: Calls, state: dict[str, Any], last: int):
        self._db = db
        self._of = of
        self._calls = calls
        self.state = state
        self.last = last
        self._first = last
        self.blocks: list[tuple[Block, int, int, int, int]] = []
        self._functions: dict[int, dict[str, Any]] = {}
        self._io = IoChunks(state.get("io_chunks"))
        select = "SELECT number FROM trace_functions WHERE session = ?"
        self._known = {number for (number,) in db.execute(select, (of.session,))}
        self._origin: tuple[int, int] | None = None

    def add(self, block: Block, next_wall_ns: int) -> None:
        """Read a block. `next_wall_ns`: when the one behind it began; 0: not known."""
        if self._origin is None:
            self._origin = self._found_origin(block)
            self._calls.count_from(self._origin[0])
        scan = Scan(block, self._known)
        self._functions |= scan.functions
        self._known |= scan.functions.keys()
        first_event = self._calls.n_events
        self._calls.feed(scan, block.number, follows=block.number == self.last + 1)
        if scan.io or scan.io_told:
            self._io.feed(scan, block, self._calls.placed, self._origin[0])
        started_us = _moment(block.wall_ns)
        ended_us = _moment(next_wall_ns) or _moment(block.wall_ns + self._calls.clock_ns - block.clock_ns)
        self.blocks.append((block, first_event, scan.n_events, started_us, max(started_us, ended_us)))
        self.state = _noted(self.state, scan)
        self.last = block.number

    def _found_origin(self, block: Block) -> tuple[int, int]:
        """What times are told since: perf_counter's ns, and the same moment in the Unix clock's us."""
        select = "SELECT state, clock_us FROM trace_streams WHERE session = ? AND state IS NOT NULL LIMIT 1"
        row = self._db.execute(select, (self._of.session,)).fetchone()
        if row is None:
            return block.clock_ns, _moment(block.wall_ns)
        return int(trace_tables.loads(row[0]).get("origin_ns", 0)), row[1]

    def write(self, place: int) -> None:
        """One transaction; nothing when another process has been here meanwhile."""
        if not self.blocks or self._origin is None:
            return
        session, stream = self._of.session, self._of.stream
        totals, rows, exceptions, caught = self._calls.take()
        self.state = {
            **self.state,
            "calls": self._calls.state(),
            "io_chunks": self._io.state(),
            "place": place,
            "origin_ns": self._origin[0],
        }
        with transaction(self._db):
            last = "SELECT coalesce(max(n), 0) FROM trace_chunks WHERE session = ? AND stream = ?"
            if self._db.execute(last, (session, stream)).fetchone()[0] != self._first:
                return
            for block, *about in self.blocks:
                trace_tables.add_chunk(self._db, session, stream, block, *about)
            trace_tables.add_functions(self._db, session, self._functions)
            trace_tables.add_totals(self._db, session, totals)
            trace_tables.add_calls(self._db, session, stream, rows)
            trace_tables.add_exceptions(self._db, session, stream, exceptions, caught)
            thread = (self.state.get("thread") or {}).get("name", "")
            trace_io.add(self._db, session, stream, thread, self._origin[1], *self._io.take())
            self._write_stream()

    def _write_stream(self) -> None:
        thread = self.state.get("thread") or {}
        row = {
            "session": self._of.session,
            "stream": self._of.stream,
            "pid": self._of.pid,
            "ident": thread.get("ident"),
            "name": thread.get("name", ""),
            "n_events": self._calls.n_events,
            "n_blocks": len(self.blocks),
            "started_us": self.blocks[0][3],
            "ended_us": self.blocks[-1][4],
            "clock_us": self._origin[1] if self._origin is not None else 0,
            "state": chain.encode(self.state),
        }
        self._db.execute(
            f"INSERT INTO trace_streams ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})"
            " ON CONFLICT (session, stream) DO UPDATE SET ident = excluded.ident, name = excluded.name,"
            " n_events = excluded.n_events, n_blocks = n_blocks + excluded.n_blocks,"
            " ended_us = max(ended_us, excluded.ended_us), state = excluded.state",
            row,
        )


def _noted(state: dict[str, Any], scan: Scan) -> dict[str, Any]:
    """What the rare records of a block add to what is known of its stream."""
    gaps = dict(state.get("gaps", {}))
    if scan.is_damaged:
        gaps["damaged_block"] = gaps.get("damaged_block", 0) + 1
    told: dict[str, Any] = {}
    folded = None
    for note in scan.notes:
        told |= trace_end.shape_of(note)
        if isinstance(reason := trace_end.reason_of(note), str):
            gaps[reason] = gaps.get(reason, 0) + 1
        if isinstance(note.get("folded"), list):
            folded = trace_end.lines_of(note["folded"])
    # Each says how much was folded since the fold began: the last one of a fold counts.
    before, in_fold = state.get("n_folded", 0), state.get("n_in_fold", 0)
    if folded is None or folded < in_fold:
        before, in_fold = before + in_fold, 0
    return {**state, **told, "gaps": gaps, "n_folded": before, "n_in_fold": folded or in_fold}


def _moment(ns: int) -> int:
    us = ns // 1_000
    return us if is_moment(us) else 0
