"""One call line by line: which lines ran, in their order, and what each of them changed.

Lives here: `functions_at`, `call_of`, `hits`. Not here: the source beside it (trace_source.py), drawing
(views/trace_lines.py), the order of events (store/trace/replay.py).
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from devtrace.errors import UsageError
from devtrace.query.trace_calls import CALL
from devtrace.query.trace_io import of_frame
from devtrace.query.trace_values import with_values
from devtrace.query.traces import Chunk, Trace, is_in
from devtrace.store.trace import records
from devtrace.store.trace.replay import Event, Frame, Replay

Row = dict[str, Any]

LIMIT = 500  # lines that ran, unless another number is asked for
_MOST_STACK = 1_000
_GIVES = {"return": "returned", "yield": "yielded", "raise": "raised", "handle": "caught"}
_MOST_PRINTED = 1_000  # chunks of a call
_MOST_TEXT = 200  # characters of what a line printed
_GOES_ON = {"resume": "resumed", "throw": "thrown into", "unwind": "left"}


def functions_at(trace: Trace, spec: str) -> list[Row]:
    """The functions of `FUNC`, `FILE:FUNC` or `FILE:LINE`. Raises UsageError ERR_FILTER."""
    file, _, rest = spec.rpartition(":")
    if file and rest.isascii() and rest.isdigit():
        return [_around(trace, file, int(rest))]
    numbers = trace.functions_of(rest, file or None) or set()
    return [trace.function(number) for number in sorted(numbers)]


def _around(trace: Trace, file: str, line: int) -> Row:
    """The function in which a line ran, else the one that begins just in front of it."""
    found = [one for one in trace.functions.values() if is_in(one["path"], file) and one["line"] <= line]
    found.sort(key=lambda one: -one["line"])
    for function in found:
        word = _line_word(function["number"], line)
        for chunk in _each_chunk(trace, None):
            block = trace.block(chunk)
            if block is not None and word.to_bytes(8, sys.byteorder) in block.raw:
                scan = trace.scan(chunk)
                if scan is not None and any(scan.words[at] == word for at in scan.places(records.LINE)):
                    return function
    if not found:
        raise UsageError(
            f"no recorded function holds {file}:{line}",
            code="ERR_FILTER",
            hint="`devtrace show TRACE` names the functions",
        )
    return found[0]


def _line_word(number: int, line: int) -> int:
    return number << 24 | min(line, records.MOST_LINE) << 4 | records.LINE


def _each_chunk(trace: Trace, thread: str | None) -> Iterator[Chunk]:
    for stream in trace.streams_of(thread):
        yield from trace.chunks.get(stream, ())


# --- one call ---


def call_of(
    trace: Trace,
    functions: Iterable[Row],
    number: int,
    *,
    thread: str | None = None,
    limit: int | None = None,
) -> Row:
    """The Nth call of these functions, as the record `trace_frame`, with `steps`: `limit` of them.

    A step: `event`, `line`, `values` ([[name, typed form], ...] that it changed; of a deleted one the name
    alone), `told` ([[what, typed form], ...]: returned, yielded, raised, caught, resumed, printed, read).
    """
    wanted = {one["number"] for one in functions}
    names = ", ".join(dict.fromkeys(one["name"] for one in functions))
    chunk, event, n_seen = _find_call(trace, wanted, number, thread)
    if chunk is None:
        raise UsageError(
            f"{names} was called {n_seen:,} times" if n_seen else f"no call of {names} is kept",
            code="ERR_FILTER",
            hint="--call counts from 1" if n_seen else "its records were folded away or pruned",
            context={"session": trace.session},
        )
    told = _Telling(trace, chunk, event, LIMIT if limit is None else limit)
    told.read()
    told.add_printed()
    n_calls = sum(trace.function(one)["n_calls"] for one in wanted)
    return {"session": trace.session, "stream": chunk.stream, "call": number, "calls": n_calls, **told.row()}


def _find_call(
    trace: Trace, wanted: set[int], number: int, thread: str | None
) -> tuple[Chunk | None, int, int]:
    """The chunk and the event of the Nth call; how many there are where there are fewer."""
    words = {one << 24 | records.CALL for one in wanted}
    patterns = [word.to_bytes(8, sys.byteorder) for word in words]
    seen = 0
    for chunk in _each_chunk(trace, thread):
        block = trace.block(chunk)
        if block is None or not any(pattern in block.raw for pattern in patterns):
            continue
        scan = trace.scan(chunk)
        for at in scan.moves if scan is not None else ():
            if scan is not None and scan.words[at] in words:
                seen += 1
                if seen == number:
                    return chunk, chunk.first_event + scan.events_before(at), seen
    return None, 0, seen


class _Telling:
    """The events of one frame, as they are read."""

    def __init__(self, trace: Trace, chunk: Chunk, event: int, limit: int):
        self._trace = trace
        self._first = chunk
        self._event = event
        self._limit = limit
        self._frame: Frame | None = None
        self._arguments: list[list[Any]] = []
        self._stack: list[Row] = []
        self._steps: list[Row] = []
        self._now: dict[str, Any] = {}
        self._number = 0
        self._started: int | None = None
        self._ended: int | None = None
        self._how = "open"
        self._result: list[Any] = []
        self._is_cut = False
        self._cut_at = sys.maxsize  # the event at which it is

    def row(self) -> Row:
        """All of it."""
        function = self._trace.function(self._number)
        took = None if self._ended is None or self._started is None else self._ended - self._started
        return {
            **{name: function[name] for name in ("name", "module", "path", "line")},
            "event": self._event,
            "arguments": self._arguments,
            "stack": self._stack,
            "how": self._how,
            "duration_ns": took,
            "result": self._result[0] if self._result else None,
            "is_cut": self._is_cut,
            "steps": self._steps,
        }

    def read(self) -> None:
        """Replay the stream from the call's chunk until it is over."""
        chunks = self._trace.chunks[self._first.stream]
        replay = Replay()
        for chunk in islice(chunks, chunks.index(self._first), None):
            block = self._trace.block(chunk)
            if block is None:
                continue
            if self._frame is not None and not self._is_in(chunk):
                continue  # nothing of this frame is in it, and the next block says who is at work
            replay.n_events = chunk.first_event
            for event in replay.feed(block):
                if self._take(event, replay):
                    self._finish()
                    return

    def add_printed(self) -> None:
        """Beside each line what it printed or read, cut."""
        begins = [step["event"] for step in self._steps]
        found: dict[tuple[int, str], bytes] = {}
        for chunk in of_frame(self._trace, self._first.stream, self._event, _MOST_PRINTED):
            at = bisect_left(begins, chunk.event) - 1
            if at >= 0 and chunk.event <= self._cut_at and chunk.data is not None:
                key = at, "read" if chunk.channel == "stdin" else "printed"
                found[key] = found.get(key, b"") + chunk.data
        for (at, what), data in reversed(found.items()):
            text = data.decode("utf-8", "backslashreplace")
            form = text if len(text) <= _MOST_TEXT else ["str", len(text), text[:_MOST_TEXT]]
            self._steps[at]["told"].insert(0, [what, form])  # in front of a return

    def _finish(self) -> None:
        """What the tables know of the end of a call that was not read to its end."""
        if not self._is_cut:
            return
        found = self._trace.db.execute(
            f"SELECT {', '.join(CALL)} FROM trace_calls WHERE session = ? AND stream = ? AND event = ?",
            (self._trace.session, self._first.stream, self._event),
        ).fetchone()
        if found is not None:
            row = dict(zip(CALL, found, strict=True))
            with_values(self._trace, [row])
            self._how = row["how"]
            self._result = [row["result"]] if "result" in row else []
            self._ended = None if row["duration_ns"] is None else (self._started or 0) + row["duration_ns"]

    def _is_in(self, chunk: Chunk) -> bool:
        scan = self._trace.scan(chunk)
        if scan is None:
            return False
        number = self._number
        return any(scan.words[at] >> 24 == number for tag in records.EVENTS for at in scan.places(tag))

    def _take(self, event: Event, replay: Replay) -> bool:
        """One event; whether it is the frame's last."""
        if self._frame is None:
            if event.kind == "call" and event.number == self._event:
                self._begin(event, replay)
            return False
        if event.frame is not self._frame:
            return False
        self._settle(event)
        if event.kind == "line":
            self._is_cut = len(self._steps) >= self._limit
            if self._is_cut:
                self._cut_at = event.number
            else:
                self._steps.append({"event": event.number, "line": event.line, "values": [], "told": []})
        elif self._steps and (event.kind in _GIVES or event.kind in _GOES_ON):
            self._steps[-1]["told"].append([_GIVES.get(event.kind) or _GOES_ON[event.kind], event.result])
        if event.kind in ("return", "unwind"):
            self._how, self._ended, self._result = event.kind, event.clock_ns, [event.result]
            return True
        return self._is_cut

    def _begin(self, event: Event, replay: Replay) -> None:
        self._frame, self._number, self._started = event.frame, event.frame.function, event.clock_ns
        self._arguments = self._changed(event)
        self._stack = stack_of(self._trace, replay.stack[:-1])

    def _settle(self, event: Event) -> None:
        """What became true before an event was done by the line before it."""
        changed = self._changed(event)
        if self._steps:
            self._steps[-1]["values"] += changed
        else:
            self._arguments += changed

    def _changed(self, event: Event) -> list[list[Any]]:
        """The variables that have another value than before; the name alone where one is no more."""
        found = []
        for name, form in event.values:
            if self._now.get(name, records.UNSET_VALUE) != form:  # what never was is not deleted
                found.append([name] if form is records.UNSET_VALUE else [name, form])
            self._now[name] = form
        return found


def stack_of(trace: Trace, frames: list[Frame]) -> list[Row]:
    """The frames at work, the outermost first: `name`, `path`, `line` (0: not known)."""
    found = []
    for frame in frames[-_MOST_STACK:]:
        function = trace.function(frame.function)
        found.append({"name": function["name"], "path": function["path"], "line": frame.line})
    return found


# --- all calls ---


def hits(trace: Trace, functions: Iterable[Row], thread: str | None = None) -> list[tuple[Row, Counter[int]]]:
    """How often each line of these functions ran, what loops folded away included."""
    by_number = {one["number"]: one for one in functions}
    found: dict[int, Counter[int]] = {number: Counter() for number in by_number}
    for stream in trace.streams_of(thread):
        folded = _Folded()
        for chunk in trace.chunks.get(stream, ()):
            scan = trace.scan(chunk)
            if scan is None:
                continue
            words = scan.words
            for word, count in Counter(words[at] for at in scan.places(records.LINE)).items():
                if word >> 24 in found:
                    found[word >> 24][word >> 4 & records.MOST_LINE] += count
            for note in scan.notes:
                folded.take(note.get("folded"))
        for (number, line), count in folded.total().items():
            if number in found:
                found[number][line] += count
    return [
        (
            {name: function[name] for name in ("name", "module", "path", "n_calls")}
            | {"first": function["line"]},
            found[number],
        )
        for number, function in by_number.items()
    ]


class _Folded:
    """What loops wrote over: each note of a fold counts from its begin, so that its last one says it all."""

    def __init__(self) -> None:
        self._before: Counter[tuple[int, int]] = Counter()
        self._now: Counter[tuple[int, int]] = Counter()

    def take(self, told: Any) -> None:
        if not isinstance(told, list):
            return
        new = Counter(
            {
                (one[0], one[1]): one[2]
                for one in told
                if isinstance(one, list) and len(one) == 3 and all(isinstance(n, int) for n in one)
            }
        )
        if any(new[key] < count for key, count in self._now.items()):
            self._before += self._now
        self._now = new

    def total(self) -> Counter[tuple[int, int]]:
        return self._before + self._now
