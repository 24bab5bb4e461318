"""What went through the standard streams of a recorded program: chunk by chunk, in the order of time.

A chunk is what one thread wrote in one step, of several lines each one. Its bytes stand in the records; each
stream of these is read once, in its own order, and the streams are merged by their clocks: an output of any
size is read without being held.

Lives here: `Wanted`, `chunks`, `lines`, `totals`, `places`, `writers`. Not here: a text in it
(trace_printed.py), the terminal's record beside it (trace_terminal.py), its bytes (store/trace_io.py),
drawing (views/trace_io.py).
"""

from __future__ import annotations

import heapq
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from devtrace.query.traces import Trace
from devtrace.store.trace import records
from devtrace.store.trace_io import Payloads, knows_io

Row = dict[str, Any]

CHANNELS = records.CHANNELS
_LONGEST = 1 << 16  # bytes of a line that are held; a longer one goes on in the next
_COLUMNS = "n, channel, chunk, word, start, size, flags, at_ns, event, function, line, frame, task"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for; every field narrows."""

    function: str | None = None  # a glob of the name of the function that wrote it
    file: str | None = None
    thread: str | None = None
    channels: tuple[str, ...] = CHANNELS
    newest: int | None = None  # of each stream at least so many of its last lines

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self == EVERYTHING


EVERYTHING = Wanted()


Writer = tuple[int, str | None]  # stream, and its asyncio task
Place = tuple[int | None, int | None, int]  # function, line, and MIRROR where it was below Python


class IoChunk(NamedTuple):
    """One chunk. `data`: its bytes, redacted as they were kept; None: they are no longer kept."""

    stream: int
    n: int
    channel: str
    size: int
    flags: int
    at_ns: int  # since the trace began
    event: int  # events of the stream in front of it: the one that wrote it is `event - 1`, or earlier
    function: int | None
    line: int | None
    frame: int | None  # the event that began the call
    task: str | None  # of asyncio
    n_unflushed: int  # of its bytes, those that never reached the descriptor
    data: bytes | None

    @property
    def place(self) -> Place:
        """Where it was written."""
        return self.function, self.line, self.flags & records.MIRROR

    @property
    def writer(self) -> Writer:
        """Who wrote it."""
        return self.stream, self.task

    @property
    def ends_line(self) -> bool:
        return bool(self.flags & records.NEWLINE)


@dataclass(slots=True, kw_only=True)
class IoLine:
    """Chunks of one line and one place, beside each other. `goes_on`: the line began at another place."""

    first: IoChunk
    data: bytes | None
    goes_on: bool
    ends: bool
    n_redrawn: int = 0  # how often it went back to its begin, in what is not held any more
    n_unflushed: int = 0


# --- chunks -------------------------------------------------------------------------------------------------


def chunks(trace: Trace, wanted: Wanted = EVERYTHING) -> Iterator[IoChunk]:
    """In the order of time; of one thread in its own. Raises UsageError ERR_FILTER for what nothing fits."""
    streams = trace.streams_of(wanted.thread)
    numbers = trace.functions_of(wanted.function, wanted.file)
    if not knows_io(trace.db):
        return iter(())
    payloads, unflushed = Payloads(trace.db, trace.session), _unflushed(trace)
    parts = [_of_stream(trace, stream, wanted, numbers, payloads, unflushed) for stream in streams]
    return heapq.merge(*parts, key=lambda one: one.at_ns)


def of_frame(trace: Trace, stream: int, frame: int, limit: int) -> list[IoChunk]:
    """What one call printed and read, not what it called; the first so many."""
    if not knows_io(trace.db):
        return []
    payloads = Payloads(trace.db, trace.session)
    return list(islice(_of_stream(trace, stream, EVERYTHING, None, payloads, {}, frame), limit))


def _of_stream(
    trace: Trace,
    stream: int,
    wanted: Wanted,
    numbers: set[int] | None,
    payloads: Payloads,
    unflushed: dict[tuple[int, int], int],
    frame: int | None = None,
) -> Iterator[IoChunk]:
    where, values = _where(trace, stream, wanted, numbers)
    if frame is not None:
        where, values = f"{where} AND frame = ?", [*values, frame]
    for row in trace.db.execute(f"SELECT {_COLUMNS} FROM io_chunks WHERE {where} ORDER BY n", values):
        n, channel, chunk, word, start, size, flags, at_ns, event, function, line, call, task = row
        yield IoChunk(
            stream, n, channel, size, flags, at_ns, event, function, line, call, task,
            unflushed.get((stream, n), 0), payloads.get(stream, chunk, word, start, size),
        )  # fmt: skip


def _where(trace: Trace, stream: int, wanted: Wanted, numbers: set[int] | None) -> tuple[str, list[object]]:
    where, values = "session = ? AND stream = ?", [trace.session, stream]
    if wanted.channels != CHANNELS:
        where += " AND channel IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(wanted.channels))
    if numbers is not None:
        where += " AND function IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(sorted(numbers)))
    if wanted.newest is not None:
        last = f"SELECT n FROM io_chunks WHERE {where} AND flags & {records.NEWLINE} ORDER BY n DESC"
        row = trace.db.execute(f"{last} LIMIT 1 OFFSET {wanted.newest}", values).fetchone()
        where, values = (where, values) if row is None else (f"{where} AND n > ?", [*values, row[0]])
    return where, values


def _unflushed(trace: Trace) -> dict[tuple[int, int], int]:
    """Chunk -> how many of its last bytes never reached the descriptor, as far as that is known."""
    found: dict[tuple[int, int], int] = {}
    for channel, n_bytes in unflushed_bytes(trace).items():
        left = n_bytes
        newest = trace.db.execute(
            "SELECT stream, n, size FROM io_chunks WHERE session = ? AND channel = ?"
            f" AND flags & {records.MIRROR} = 0 ORDER BY at_ns DESC, stream DESC, n DESC",
            (trace.session, channel),
        )
        for stream, n, size in newest:
            if left <= 0:
                break
            found[stream, n] = min(size, left)
            left -= size
    return found


def unflushed_bytes(trace: Trace) -> dict[str, int]:
    """Channel -> how many of the last bytes never reached its descriptor; what is not known is not in it."""
    told = ((trace.event or {}).get("data") or {}).get("unflushed")
    if not isinstance(told, dict):
        return {}
    return {name: n for name, n in told.items() if name in CHANNELS and isinstance(n, int) and n > 0}


# --- lines --------------------------------------------------------------------------------------------------


def lines(found: Iterable[IoChunk]) -> Iterator[IoLine]:
    """The same with those of one line and one place joined, where they stand beside each other."""
    open_channels: set[str] = set()  # whose last line has not ended
    now: IoLine | None = None
    for chunk in found:
        if now is not None and _belongs(now, chunk):
            _join(now, chunk)
        else:
            if now is not None:
                yield now
            now = IoLine(
                first=chunk,
                data=chunk.data,
                goes_on=chunk.channel in open_channels,
                ends=chunk.ends_line,
                n_unflushed=chunk.n_unflushed,
            )
        (open_channels.discard if chunk.ends_line else open_channels.add)(chunk.channel)
    if now is not None:
        yield now


def _belongs(now: IoLine, chunk: IoChunk) -> bool:
    first = now.first
    if now.ends or first.channel != chunk.channel:
        return False
    if (first.writer, first.place) != (chunk.writer, chunk.place):
        return False
    if (now.data is None) != (chunk.data is None):
        return False
    return now.data is None or len(now.data) < _LONGEST


def _join(now: IoLine, chunk: IoChunk) -> None:
    now.ends = chunk.ends_line
    now.n_unflushed += chunk.n_unflushed
    if now.data is None or chunk.data is None:
        return
    now.data += chunk.data
    if len(now.data) >= _LONGEST and (at := now.data.rfind(b"\r", 0, -1)) > 0:
        now.n_redrawn += now.data.count(b"\r", 0, at)  # a progress bar: what it drew before is gone
        now.data = now.data[at:]


def newest(found: Iterable[Any], limit: int | None) -> Iterator[Any]:
    """The last so many; None: all. Of chunks `Wanted.newest` leaves out most of the others unread."""
    return iter(found) if limit is None else iter(deque(found, maxlen=limit))


# --- as a whole ---------------------------------------------------------------------------------------------


def totals(trace: Trace) -> dict[str, Row]:
    """Of each channel that was used: `chunks`, `bytes`, `lines`, `mirror` and `unflushed` in bytes."""
    if not knows_io(trace.db):
        return {}
    found: dict[str, Row] = {}
    unflushed = unflushed_bytes(trace)
    for channel in CHANNELS:
        rows = trace.db.execute(
            f"SELECT count(*), sum(size), sum(flags & {records.NEWLINE}),"
            f" sum(iif(flags & {records.MIRROR}, size, 0)), max(n), flags"  # `flags` of the row with that n
            " FROM io_chunks WHERE session = ? AND channel = ? GROUP BY stream",
            (trace.session, channel),
        ).fetchall()
        if rows:
            found[channel] = {
                "chunks": sum(row[0] for row in rows),
                "bytes": sum(row[1] for row in rows),
                "lines": sum(row[2] + (not row[5] & records.NEWLINE) for row in rows),
                "mirror": sum(row[3] for row in rows),
                "unflushed": unflushed.get(channel, 0),
            }
    return found


def places(trace: Trace, wanted: Wanted = EVERYTHING) -> list[Place]:
    """Where something was written, each once."""
    what = f"DISTINCT function, line, flags & {records.MIRROR}"
    return list(dict.fromkeys(place for _, place in _each(trace, wanted, what)))


def writers(trace: Trace, wanted: Wanted = EVERYTHING) -> list[Writer]:
    """The threads, and the tasks in them; what came from below Python is of none."""
    found = _each(trace, wanted, "DISTINCT task", f" AND flags & {records.MIRROR} = 0")
    return [(stream, task) for stream, (task,) in found]


def _each(trace: Trace, wanted: Wanted, what: str, more: str = "") -> Iterator[tuple[int, Any]]:
    """The rows of all streams, each with its stream."""
    numbers = trace.functions_of(wanted.function, wanted.file)
    for stream in trace.streams_of(wanted.thread) if knows_io(trace.db) else ():
        where, values = _where(trace, stream, wanted, numbers)
        for row in trace.db.execute(f"SELECT {what} FROM io_chunks WHERE {where}{more}", values):
            yield stream, row


def record(trace: Trace, chunk: IoChunk) -> Row:
    """A chunk as the record `trace_io`; `text`, or `base64` where it is no UTF-8."""
    function = trace.function(chunk.function) if chunk.function is not None else None
    thread = trace.threads.get(chunk.stream)
    labels = [label for bit, label in records.LABELS.items() if chunk.flags & bit]
    text, base64 = _as_text(chunk.data)
    return {
        "session": trace.session,
        "n": chunk.n,
        "stream": chunk.stream,
        "thread": thread.label if thread is not None else "",
        "task": chunk.task,
        "channel": chunk.channel,
        "path": function["path"] if function is not None else None,
        "line": chunk.line,
        "function": function["name"] if function is not None else None,
        "frame": chunk.frame,
        "event": chunk.event,
        "at_us": (thread.clock_us if thread is not None else 0) + chunk.at_ns // 1_000,
        "flags": [*labels, *(["unflushed"] if chunk.n_unflushed else [])],
        "size": chunk.size,
        "text": text,
        "base64": base64,
    }


def _as_text(data: bytes | None) -> tuple[str | None, str | None]:
    if data is None:
        return None, None
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        from base64 import b64encode

        return None, b64encode(data).decode("ascii")
