"""The exceptions of a trace: what, where, with which variables, and whether they were caught.

Lives here: `raised`. Not here: their places in the tree (trace_calls.py), drawing (views/trace_lines.py).
"""

from __future__ import annotations

from typing import Any

from devtrace.query.trace_calls import exceptions
from devtrace.query.trace_lines import stack_of
from devtrace.query.traces import Chunk, Trace
from devtrace.store.trace.replay import Event, Replay

Row = dict[str, Any]

LIMIT = 20  # each costs the reading of a chunk or more
_MOST_BEFORE = 8  # chunks in front of the exception's in which its variables are looked for
_MOST_READ = 10_000
_MOST_VARIABLES = 100


def raised(
    trace: Trace,
    *,
    function: str | None = None,
    file: str | None = None,
    thread: str | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The records `trace_exception`, in the order of their threads and of time."""
    streams = trace.streams_of(thread)
    numbers = trace.functions_of(function, file)
    rows = exceptions(trace, streams, _MOST_READ)
    rows = [row for row in rows if numbers is None or row["function"] in numbers]
    return [_told(trace, row) for row in rows[: LIMIT if limit is None else limit]]


def _told(trace: Trace, row: Row) -> Row:
    function = trace.function(row["function"])
    kind, _, message = str(row["text"]).partition(": ")
    told: Row = {
        "session": trace.session,
        "stream": row["stream"],
        "thread": trace.threads[row["stream"]].label if row["stream"] in trace.threads else "",
        "event": row["event"],
        "type": kind,
        "message": message,
        "name": function["name"],
        "path": function["path"],
        "line": row["line"],
        "at_ns": row["at_ns"],
        "value": None,
        "variables": None,
        "is_whole": False,
        "stack": None,
        "caught": None,
    }
    _read(trace, row, told)
    if row["handled"] is not None:
        told["caught"] = _caught(trace, row)
    return told


def _read(trace: Trace, row: Row, told: Row) -> None:
    chunk = trace.chunk_of(row["stream"], row["event"])
    if chunk is None:
        return
    first, is_whole = _first_chunk(trace, row, chunk)
    chunks = trace.chunks[row["stream"]]
    replay = Replay()
    for one in chunks[first : chunks.index(chunk) + 1]:
        block = trace.block(one)
        if block is None:
            is_whole = False
            continue
        replay.n_events = one.first_event
        for event in replay.feed(block):
            if event.number == row["event"]:
                _fill(trace, told, event, replay, is_whole=is_whole)
                return


def _fill(trace: Trace, told: Row, event: Event, replay: Replay, *, is_whole: bool) -> None:
    variables = event.frame.variables
    told["value"] = event.result
    told["line"] = told["line"] or event.line
    told["variables"] = [[name, form] for name, form in list(variables.items())[:_MOST_VARIABLES]]
    told["is_whole"] = is_whole and len(variables) <= _MOST_VARIABLES
    told["stack"] = stack_of(trace, replay.stack[:-1])


def _first_chunk(trace: Trace, row: Row, chunk: Chunk) -> tuple[int, bool]:
    """The index of the chunk in which the frame began, if that is near; whether it is."""
    chunks = trace.chunks[row["stream"]]
    at = chunks.index(chunk)
    found = trace.db.execute(
        "SELECT chunk, last_event FROM trace_calls WHERE session = ? AND stream = ? AND event <= ?"
        " AND function = ? ORDER BY event DESC LIMIT 1",
        (trace.session, row["stream"], row["event"], row["function"]),
    ).fetchone()
    if found is None or (found[1] is not None and found[1] < row["event"]):
        return at, False
    first = next((index for index, one in enumerate(chunks) if one.n == found[0]), at)
    return (first, True) if at - first <= _MOST_BEFORE else (at, False)


def _caught(trace: Trace, row: Row) -> Row | None:
    """Where it was caught: `name`, `path`, `line` (0: not known), `event`."""
    chunk = trace.chunk_of(row["stream"], row["handled"])
    block = trace.block(chunk) if chunk is not None else None
    if chunk is None or block is None:
        return {"name": "?", "path": "", "line": 0, "event": row["handled"]}
    replay = Replay()
    replay.n_events = chunk.first_event
    for event in replay.feed(block):
        if event.number == row["handled"]:
            (place,) = stack_of(trace, [event.frame])
            return {**place, "event": row["handled"]}
    return {"name": "?", "path": "", "line": 0, "event": row["handled"]}
