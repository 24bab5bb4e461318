"""Chrome's trace events: the calls of a recorded program, and of those it started, on a line of time.

The format is https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU, as a JSON
object; https://ui.perfetto.dev opens it.

    B E a call, from its begin to its end; of a generator each part between two yields
    i   an exception was raised; a chunk that was printed or read; what the recorder left out
    b e an asyncio task, and the parts of it that ran
    M   the names of processes and threads

Times are microseconds since the first program began. Lines are not in it: they have no time of their own.

Lives here: the lines. Not here: what happened in a thread (store/trace/threads.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from devtrace.query.programs import Program
from devtrace.store.trace.records import LABELS
from devtrace.store.trace.replay import Event, Frame, Written
from devtrace.store.trace.threads import (
    CLOSE,
    IO,
    NOTE,
    OPEN,
    RAISE,
    Moment,
    Thread,
    exception_text,
    is_end,
    pieces_of,
)
from devtrace.views.safe import safe
from devtrace.views.values import value_text

Row = dict[str, Any]

SUFFIX = ".json"

_MOST_ARGUMENTS = 20
_TEXT = 200  # characters of a value
_GOES_ON = {"resume": "goes on", "throw": "thrown into"}
_ENDED = {"yield": "yielded", "unwind": "exception"}


def trace_lines(programs: Sequence[Program]) -> Iterator[str]:
    """The program and those that it started, one event a line."""
    clocks = [program.clocks() for program in programs]
    origin = min(wall for _, wall in clocks)
    yield '{"displayTimeUnit":"ns","traceEvents":['
    before = ""
    for number, (program, (clock, wall)) in enumerate(zip(programs, clocks, strict=True)):
        for event in _Process(program, clock - wall + origin, number).events():
            if before:
                yield before + ","
            before = json.dumps(event, separators=(",", ":"))
    yield before
    yield "]}"


class _Process:
    def __init__(self, program: Program, zero_ns: int, number: int):
        """`zero_ns`: the clock's time when the first program began."""
        self._program = program
        self._zero = zero_ns
        self._number = number
        self.pid = int(program.process.get("pid") or number)

    def events(self) -> Iterator[Row]:
        name = self._program.title or "python"
        yield self._meta("process_name", 0, {"name": safe(name)})
        yield self._meta("process_sort_index", 0, {"sort_index": self._number})
        for thread in self._program.threads():
            track = _Track(self, thread)
            yield from track.events()
            label = thread.name or f"thread {thread.number}"
            yield self._meta("thread_name", track.tid, {"name": safe(label)})

    def _meta(self, name: str, tid: int, told: Row) -> Row:
        return {"ph": "M", "pid": self.pid, "tid": tid, "name": name, "args": told}

    def us(self, at_ns: int) -> float:
        """The time of an event."""
        return round((at_ns - self._zero) / 1_000, 3)


class _Track:
    """One thread."""

    def __init__(self, process: _Process, thread: Thread):
        self._process = process
        self._thread = thread
        self._folded: dict[Frame, Row] = {}  # lines of calls at work that ran unrecorded
        self._tasks: dict[str, int] = {}  # when each ran last
        self._task: tuple[str, Frame] | None = None  # that runs, and its outermost frame

    @property
    def tid(self) -> int:
        """As the system has it; where that was not told, the stream's number."""
        return self._thread.native or self._thread.number

    def events(self) -> Iterator[Row]:
        for moment in self._thread.moments():
            if moment.kind == OPEN:
                yield self._open(moment)
                yield from self._begin_task(moment)
            elif moment.kind == CLOSE:
                yield from self._end_task(moment)
                yield self._close(moment)
            elif moment.kind == RAISE and moment.event is not None:
                if not is_end(moment.event.result):
                    yield self._raised(moment, moment.event)
            elif moment.kind == IO:
                yield from self._io(moment, moment.event)  # type: ignore[arg-type]
            elif moment.kind == NOTE:
                yield from self._noted(moment)
        for name, at in self._tasks.items():
            yield self._async("e", name, name, at)

    # --- calls ---

    def _open(self, moment: Moment) -> Row:
        frame, event = moment.frame, moment.event
        assert frame is not None
        function = self._thread.function(frame)
        told: Row = {"at": safe(f"{function.path}:{function.line}")} if function is not None else {}
        if event is None:
            told["begin"] = "not recorded"
        elif event.kind == "call":
            told |= self._arguments(event, frame)
        else:
            told["begin"] = _GOES_ON[event.kind]
        if event is not None and event.task:
            told["task"] = safe(event.task)
        return {**self._at("B", self._name(frame), moment.at_ns), "cat": "call", "args": told}

    def _arguments(self, event: Event, frame: Frame) -> Row:
        function = self._thread.function(frame)
        names = function.arguments if function is not None else []
        given = {name: value for name, value in event.values if name in names}
        shown = {
            safe(name): value_text(value, _TEXT) for name, value in list(given.items())[:_MOST_ARGUMENTS]
        }
        if len(given) > _MOST_ARGUMENTS:
            shown["…"] = f"{len(given) - _MOST_ARGUMENTS} more"
        return {"arguments": shown} if shown else {}

    def _close(self, moment: Moment) -> Row:
        frame, event = moment.frame, moment.event
        assert frame is not None
        folded = self._folded.pop(frame, None)
        told: Row = {"folded": folded} if folded else {}
        if event is None:
            told["end"] = "not recorded"
        elif event.kind == "unwind":
            told["exception"] = safe(exception_text(event.result))[:_TEXT]
        else:
            told[_ENDED.get(event.kind, "result")] = value_text(event.result, _TEXT)
        return {**self._at("E", self._name(frame), moment.at_ns), "args": told}

    def _name(self, frame: Frame) -> str:
        function = self._thread.function(frame)
        if function is None:
            return "?"
        return safe(
            f"<{function.module}>" if function.name == "<module>" and function.module else function.name
        )

    def _at(self, phase: str, name: str, at_ns: int) -> Row:
        place = {"pid": self._process.pid, "tid": self.tid, "ts": self._process.us(at_ns)}
        return {"ph": phase, "name": name, **place}

    # --- what is rare ---

    def _raised(self, moment: Moment, event: Event) -> Row:
        frame = event.frame
        function = self._thread.function(frame)
        place = safe(f"{function.path}:{frame.line or function.line}") if function is not None else "?"
        text = safe(exception_text(event.result))[:_TEXT] or "exception"
        told = {"at": place, "function": self._name(frame)}
        return {**self._at("i", text, moment.at_ns), "s": "t", "cat": "exception", "args": told}

    def _io(self, moment: Moment, written: Written) -> Iterator[Row]:
        """An instant for each chunk."""
        function = self._thread.function(written.frame)
        told: Row = {}
        if function is not None:
            place = f"{function.path}:{written.line}" if written.line else function.path
            told = {"at": safe(place), "function": self._name(written.frame)}
        for piece, flags in pieces_of(written):
            text = safe(piece.decode("utf-8", "backslashreplace").removesuffix("\n"))[:_TEXT]
            labels = [label for bit, label in LABELS.items() if flags & bit]
            row = self._at("i", f"{written.channel}: {text}", moment.at_ns)
            yield {**row, "s": "t", "cat": "io", "args": {**told, "flags": labels}}

    def _noted(self, moment: Moment) -> Iterator[Row]:
        note: Row = moment.note
        if isinstance(note.get("folded"), list):
            for frame in self._thread.open:
                lines = self._thread.folded_of(frame)
                if lines:
                    self._folded[frame] = {f"line {line}": n for line, n in lines.items()}
        elif isinstance(note.get("gap"), dict):
            reason = safe(str(note["gap"].get("reason")))
            yield {
                **self._at("i", f"not recorded: {reason}", moment.at_ns),
                "s": "t",
                "cat": "gap",
                "args": {},
            }

    # --- tasks ---

    def _begin_task(self, moment: Moment) -> Iterator[Row]:
        frame, event = moment.frame, moment.event
        if self._task is not None or event is None or frame is None or not event.task or not frame.number:
            return
        name = safe(event.task)
        if name not in self._tasks:
            yield self._async("b", name, name, moment.at_ns)
        yield self._async("b", name, self._name(frame), moment.at_ns)
        self._tasks[name] = moment.at_ns
        self._task = (name, frame)

    def _end_task(self, moment: Moment) -> Iterator[Row]:
        if self._task is None or self._task[1] is not moment.frame:
            return
        (name, frame), self._task = self._task, None
        self._tasks[name] = moment.at_ns
        yield self._async("e", name, self._name(frame), moment.at_ns)

    def _async(self, phase: str, task: str, name: str, at_ns: int) -> Row:
        known_as = f"{self._process.pid}/{self._thread.number}/{task}"  # each loop may have a Task-1
        return {**self._at(phase, name, at_ns), "cat": "asyncio", "id": known_as}
