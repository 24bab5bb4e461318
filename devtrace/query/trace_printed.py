"""A text in what a recorded program printed or read: which line did, and what was at work then.

Lines are looked through whole, be they written in pieces: what stands across two of them is found. Where the
records of a line without pieces do not hold the text, the line is not read.

Lives here: `Printed`. Not here: text in values, and which programs are searched (trace_search.py), all that
was printed (trace_io.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from devtrace.query.trace_lines import stack_of
from devtrace.query.traces import Trace
from devtrace.store.trace import records
from devtrace.store.trace.replay import Frame, Replay, Written
from devtrace.store.trace_io import Payloads, knows_io

Row = dict[str, Any]
Holds = Callable[[Any], bool]

_MOST_PARTS = 10_000  # of a line that are looked at together
_MOST_VALUE = 400  # characters of a line that are told
_BEFORE = 100  # of them, in front of the text
_MOST_SAME = 5
_COLUMNS = "channel, chunk, word, start, size, flags, event, function, line"


class _Part(NamedTuple):
    """A row of io_chunks."""

    channel: str
    chunk: int
    word: int
    start: int
    size: int
    flags: int
    event: int
    function: int | None
    line: int | None


class Printed:
    """One trace. `may_look`, `may_replay`: whether another block may be searched, or replayed."""

    def __init__(self, trace: Trace, text: str, may_look: Callable[[], bool], may_replay: Callable[[], bool]):
        self._trace = trace
        self._text = text.encode("utf-8", "surrogateescape")
        self._may_look = may_look
        self._may_replay = may_replay
        self._payloads = Payloads(trace.db, trace.session)
        self._hits: dict[tuple[int, int], bool] = {}  # by stream and block
        self._found: dict[tuple[object, ...], Row] = {}

    def matches(self, most: int, numbers: set[int] | None, holds: Holds) -> list[Row]:
        """The records `trace_match`: at most so many places, each once, with how often it held the text.

        `numbers`: only these functions. `holds`: whether a value, by its typed form, holds the text.
        """
        if not knows_io(self._trace.db):
            return []
        for stream in self._trace.threads:
            self._search(stream, most, numbers)
        found = list(self._found.values())
        return [one | self._at_work(one.pop("part"), one["stream"], holds) for one in found]

    def _search(self, stream: int, most: int, numbers: set[int] | None) -> None:
        sql = f"SELECT {_COLUMNS} FROM io_chunks WHERE session = ? AND stream = ? ORDER BY n"
        begun: dict[str, list[_Part]] = {}  # lines that have not ended
        for row in self._trace.db.execute(sql, (self._trace.session, stream)):
            part = _Part(*row)
            line = begun.pop(part.channel, None)
            ends = bool(part.flags & records.NEWLINE)
            if line is None and ends and not self._is_hit(stream, part.chunk):
                continue
            line = line if line is not None else []
            line.append(part)
            if ends or len(line) >= _MOST_PARTS:
                self._look(stream, line, most, numbers)
            else:
                begun[part.channel] = line
        for line in begun.values():
            self._look(stream, line, most, numbers)

    def _is_hit(self, stream: int, chunk: int) -> bool:
        """Whether the records of a block hold the text somewhere."""
        known = self._hits.get((stream, chunk))
        if known is None:
            raw = self._payloads.raw(stream, chunk) if self._may_look() else None
            known = self._hits[stream, chunk] = raw is not None and self._text in raw
        return known

    def _look(self, stream: int, line: list[_Part], most: int, numbers: set[int] | None) -> None:
        data = b"".join(self._payloads.get(stream, *one[1:5]) or b"" for one in line)
        at = data.find(self._text)
        if at < 0:
            return
        part = _at(line, at)
        if numbers is not None and part.function not in numbers:
            return
        key = (part.function, part.line, part.channel)
        if key in self._found:
            self._found[key]["count"] += 1
        elif len(self._found) < most:
            self._found[key] = self._told(stream, part, data, at)

    def _told(self, stream: int, part: _Part, data: bytes, at: int) -> Row:
        thread = self._trace.threads[stream]
        function = self._trace.function(part.function) if part.function is not None else {}
        return {
            "session": self._trace.session,
            "stream": stream,
            "thread": thread.label,
            "event": max(part.event - 1, 0),
            "what": "read" if part.channel == "stdin" else "printed",
            "channel": part.channel,
            "variable": None,
            **{name: function.get(name, "") for name in ("name", "path")},
            "line": part.line or 0,
            "value": _value(data, at),
            "count": 1,
            "part": part,
        }

    def _at_work(self, part: _Part, stream: int, holds: Holds) -> Row:
        """What the stack was, and which variables held the text."""
        nothing: Row = {"stack": [], "stores": [], "same": []}
        chunk = next((one for one in self._trace.chunks.get(stream, ()) if one.n == part.chunk), None)
        block = self._trace.block(chunk) if chunk is not None and self._may_replay() else None
        if block is None or chunk is None:
            return nothing
        replay = Replay(with_io=True)
        replay.n_events = chunk.first_event
        piece = self._payloads.get(stream, *part[1:5])
        for event in replay.feed(block):
            if isinstance(event, Written) and event.number == part.event:
                end = part.start + part.size
                if event.channel == part.channel and event.payload[part.start : end] == piece:
                    return nothing | self._around(replay.stack, event.frame, holds)
        return nothing

    def _around(self, stack: list[Frame], frame: Frame, holds: Holds) -> Row:
        callers = stack[: stack.index(frame)] if frame in stack else stack
        same = []
        for one in (frame, *callers[-1:]):
            for variable, form in one.variables.items():
                if form is not None and not isinstance(form, bool) and holds(form):
                    name = self._trace.function(one.function)["name"]
                    same.append({"name": name, "variable": variable, "value": form})
        return {"stack": stack_of(self._trace, callers), "same": same[:_MOST_SAME]}


def _at(line: list[_Part], at: int) -> _Part:
    """The part in which that byte is."""
    for part in line:
        at -= part.size
        if at < 0:
            return part
    return line[-1]


def _value(data: bytes, at: int) -> Any:
    """The line as a typed form; of a long one what stands around the text."""
    text = data.decode("utf-8", "backslashreplace").removesuffix("\n").removesuffix("\r")
    if len(text) <= _MOST_VALUE:
        return text
    start = max(len(data[:at].decode("utf-8", "backslashreplace")) - _BEFORE, 0)
    return ["str", len(text), text[start : start + _MOST_VALUE]]
