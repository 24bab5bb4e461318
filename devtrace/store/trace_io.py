"""The table `io_chunks`: what went through the standard streams of Python programs, and which line did it.

Each batch that is taken in has an `io` event, which covers its rows and their bytes by digests. The bytes
stand in the records of the trace: they go with these.

Lives here: the rows, the event, whether both say the same, the bytes. Not here: how chunks are made
(trace/io_chunks.py), who takes them in (traces.py), questions (query/).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from devtrace.errors import DevTraceError
from devtrace.events import Event, is_int
from devtrace.events.envelope import MOMENT_END
from devtrace.events.io import Io
from devtrace.store import chain, storable, trace_tables
from devtrace.store.append import append_within, row_of
from devtrace.store.trace import records
from devtrace.store.trace.io_chunks import BYTES_BEGIN, ChunkRow

FIRST_VERSION = 5  # of the schema that has it
# A row without what its event says of all: as the event's digests cover it.
COLUMNS = "n, channel, chunk, word, start, size, flags, at_ns, event, function, line, frame, task"
_WIDTH = COLUMNS.count(",") + 1
_MOST_NS = 1 << 60
_MOST_BLOCKS = 256  # that are held: threads take turns
_CHANNEL_AND_FLAGS = itemgetter(1, 6)
_TASK = itemgetter(-1)
_AT_ONCE = 60  # rows of a statement: to run one for each takes longer than to write it
_VALUES = f"(?, ?, ?, {', '.join('?' * _WIDTH)})"
_INSERT = f"INSERT INTO io_chunks (session, stream, io_event, {COLUMNS}) VALUES "


def io_id(session: str, stream: int, first: int) -> str:
    """The id of the `io` event that begins with that chunk, known before it is written."""
    return hashlib.sha256(f"io {first} of stream {stream} in {session}".encode()).hexdigest()[:16]


def knows_io(db: sqlite3.Connection) -> bool:
    """False for a database of an older version that can only be read."""
    return bool(db.execute("PRAGMA user_version").fetchone()[0] >= FIRST_VERSION)


# --- writing: in the transaction of the caller --------------------------------------------------------------


def add(
    db: sqlite3.Connection,
    session: str,
    stream: int,
    thread: str,
    clock_us: int,
    rows: Sequence[ChunkRow],
    payload: bytes,
) -> None:
    """Write the chunks of a batch and their event. `clock_us`: what their times are counted from."""
    if not rows:
        return
    event = io_id(session, stream, rows[0][0])
    if any(map(_TASK, rows)):
        rows = [row if row[-1] is None else (*row[:-1], storable.text(row[-1])) for row in rows]
    _insert(db, session, stream, event, rows)
    times = [row[7] for row in rows]
    body = _body(stream, thread, rows, payload)
    actor = "SELECT actor FROM running WHERE session = ? AND id = ?"
    trace = trace_tables.trace_id(session)
    (told,) = db.execute(actor, (session, trace)).fetchone() or ("human",)
    whole = Event(
        session=session,
        id=event,
        parent=trace,
        actor=told,
        started_us=_moment(clock_us + min(times) // 1_000),
        ended_us=_moment(clock_us + max(times) // 1_000),
        status="ok",
        source="recorder",
        trusted=0,
        body=body,
    )
    append_within(db, [row_of(whole.to_frame())])


def _insert(db: sqlite3.Connection, session: str, stream: int, event: str, rows: Sequence[ChunkRow]) -> None:
    for at in range(0, len(rows), _AT_ONCE):
        part = rows[at : at + _AT_ONCE]
        values = [*itertools.chain.from_iterable((session, stream, event, *row) for row in part)]
        db.execute(_INSERT + ", ".join([_VALUES] * len(part)), values)


def _body(stream: int, thread: str, rows: Sequence[ChunkRow], payload: bytes) -> Io:
    alike = Counter(map(_CHANNEL_AND_FLAGS, rows))
    lines: Counter[str] = Counter()
    for (channel, flags), n in alike.items():
        lines[channel] += n * (flags & records.NEWLINE)
    labels = {
        name: sum(n for (_, flags), n in alike.items() if flags & one) for one, name in records.LABELS.items()
    }
    of_rows, of_all = _digests(rows, payload)
    return Io(
        stream=stream,
        thread=thread,
        first=rows[0][0],
        last=rows[-1][0],
        n_chunks=len(rows),
        bytes={one: sum(row[5] for row in rows if row[1] == one) for one in lines},
        lines=dict(+lines),
        flags={name: n for name, n in labels.items() if n},
        rows=of_rows,
        digest=of_all,
    )


def _digests(rows: Sequence[Sequence[Any]], payload: bytes) -> tuple[str, str]:
    total = hashlib.sha256(chain.encode(rows).encode("ascii"))
    of_rows = total.hexdigest()
    total.update(payload)
    return of_rows, total.hexdigest()


def _moment(us: int) -> int:
    return min(max(us, 0), MOMENT_END - 1)


def forget(db: sqlite3.Connection, session: str, events: Sequence[str] | None = None) -> None:
    """Take out the rows of a trace, or those that these events cover."""
    if events is None:
        db.execute("DELETE FROM io_chunks WHERE session = ?", (session,))
        return
    listed = "SELECT value FROM json_each(?)"
    gone = f"DELETE FROM io_chunks WHERE session = ? AND io_event IN ({listed})"
    db.execute(gone, (session, json.dumps(list(events))))


# --- what a whole trace says --------------------------------------------------------------------------------


def totals(db: sqlite3.Connection, session: str) -> tuple[int, dict[str, int]]:
    """How many chunks a trace has, and the bytes of each channel."""
    select = "SELECT channel, count(*), sum(size) FROM io_chunks WHERE session = ? GROUP BY channel"
    told = db.execute(select, (session,)).fetchall()
    return sum(n for _, n, _ in told), {channel: size for channel, _, size in told}


def unflushed(
    db: sqlite3.Connection, session: str, reached: Sequence[Mapping[str, Sequence[int]]], origin_ns: int
) -> dict[str, int]:
    """Bytes of each channel that were written and are not known to have reached its descriptor.

    `reached`: of each stream; the latest word counts, whoever said it. Where there is none nothing is known.
    """
    latest: dict[str, tuple[int, int]] = {}
    for told in reached:
        for channel, (clock_ns, size) in told.items():
            latest[channel] = max(latest.get(channel, (-1, 0)), (clock_ns, size))
    select = (
        f"SELECT coalesce(sum(size), 0), coalesce(sum(size) FILTER (WHERE at_ns > ?), 0) FROM io_chunks"
        f" WHERE session = ? AND channel = ? AND flags & {records.MIRROR} = 0"
    )
    found = {}
    for channel, (clock_ns, size) in latest.items():
        since_ns = max(clock_ns - origin_ns, -_MOST_NS)
        in_all, later = db.execute(select, (since_ns, session, channel)).fetchone()
        found[channel] = min(in_all, later + size)
    return {channel: size for channel, size in sorted(found.items()) if size}


# --- reading ------------------------------------------------------------------------------------------------


class Payloads:
    """The bytes of chunks of one trace; blocks are held as long as they are likely to be asked again."""

    def __init__(self, db: sqlite3.Connection, session: str):
        self._db = db
        self._session = session
        self._block = lru_cache(_MOST_BLOCKS)(self._read)

    def get(self, stream: int, chunk: int, word: int, start: int, size: int) -> bytes | None:
        """The bytes that a row names; None: its records are not kept, or are not what the row says."""
        block = self._block(stream, chunk)
        if block is None or word < 0 or start < 0 or size < 0:
            return None
        raw, words = block
        if word >= len(words) or words[word] & 15 != records.IO or start + size > words[word] >> 32:
            return None
        begin = BYTES_BEGIN + word * 8 + start
        return raw[begin : begin + size]

    def raw(self, stream: int, chunk: int) -> bytes | None:
        """All bytes of a block."""
        block = self._block(stream, chunk)
        return None if block is None else block[0]

    def _read(self, stream: int, chunk: int) -> tuple[bytes, memoryview] | None:
        select = "SELECT sha256 FROM trace_chunks WHERE session = ? AND stream = ? AND n = ?"
        row = self._db.execute(select, (self._session, stream, chunk)).fetchone()
        try:
            block = None if row is None else trace_tables.read_chunk(self._db, row[0])
        except (DevTraceError, ValueError):
            return None  # damaged
        return None if block is None else (block.raw, block.words)


# --- checking -----------------------------------------------------------------------------------------------


def is_true(db: sqlite3.Connection, session: str, event: str, data: Mapping[str, Any]) -> bool:
    """Whether the rows and their bytes are what the `io` event covers, as far as they have to be kept."""
    stream, first, last = (data.get(name) for name in ("stream", "first", "last"))
    if not (is_int(stream) and is_int(first) and is_int(last)) or event != io_id(session, stream, first):  # type: ignore[arg-type]
        return True  # it is not the one that rows belong to
    select = f"SELECT io_event, {COLUMNS} FROM io_chunks WHERE session = ? AND stream = ?"
    found = db.execute(
        f"{select} AND n BETWEEN ? AND ? ORDER BY n", (session, stream, first, last)
    ).fetchall()
    keeps = _keeps(db, session)
    if keeps is None:
        return not found
    rows = [row[1:] for row in found]
    if len(rows) != data.get("n_chunks") or any(row[0] != event for row in found):
        return False
    payload = _payload(db, session, stream, rows) if keeps else b""  # type: ignore[arg-type]
    if payload is None:
        return False
    of_rows, of_all = _digests(rows, payload)
    return of_rows == data.get("rows") and (not keeps or of_all == data.get("digest"))


def _payload(db: sqlite3.Connection, session: str, stream: int, rows: Sequence[Any]) -> bytes | None:
    """The bytes of these rows; None: they are not to be had, or the rows are no rows of ours."""
    payloads = Payloads(db, session)
    parts = []
    for _, _, chunk, word, start, size, *_ in rows:
        part = payloads.get(stream, chunk, word, start, size)
        if part is None:
            return None
        parts.append(part)
    return b"".join(parts)


def _keeps(db: sqlite3.Connection, session: str) -> bool | None:
    """Whether the trace has its records; None: it is there no more, and took its rows with it."""
    trace = (session, trace_tables.trace_id(session))
    if db.execute("SELECT 1 FROM running WHERE session = ? AND id = ?", trace).fetchone() is not None:
        return True
    select = "SELECT outputs.seq FROM events LEFT JOIN outputs ON outputs.seq = events.seq"
    row = db.execute(f"{select} WHERE session = ? AND id = ?", trace).fetchone()
    return None if row is None else row[0] is not None


def stray(db: sqlite3.Connection, session: str | None) -> list[tuple[str, str]]:
    """(session, event) of rows that no `io` event covers: readers would believe them."""
    return [
        (one, event)
        for one, stream, event, first, last, data in db.execute(_GROUPS, (session,))
        if data is None or not _covers(trace_tables.loads(data), one, event, stream, first, last)
    ]


def _covers(data: dict[str, Any], session: str, event: str, stream: int, first: int, last: int) -> bool:
    told = data.get("first"), data.get("last")
    if data.get("stream") != stream or not is_int(told[0]) or not is_int(told[1]):
        return False
    return told[0] <= first and last <= told[1] and event == io_id(session, stream, told[0])  # type: ignore[operator, arg-type]


_GROUPS = """
    SELECT found.session, stream, io_event, first, last, events.data
    FROM (
        SELECT session, stream, io_event, min(n) AS first, max(n) AS last FROM io_chunks
        WHERE coalesce(?, session) = session GROUP BY session, stream, io_event
    ) AS found
    LEFT JOIN events ON events.session = found.session AND events.id = io_event AND events.kind = 'io'
"""
STRAY = """
    SELECT DISTINCT session FROM io_chunks WHERE coalesce(?, session) = session
    EXCEPT SELECT session FROM running WHERE kind = 'python_trace'
    EXCEPT SELECT session FROM events WHERE kind = 'python_trace'
"""
