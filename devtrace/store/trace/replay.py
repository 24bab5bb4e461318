"""From records to events: what a thread did, one event after the other, with the frames that were at work.

    call return yield unwind resume throw    with a clock
    line raise handle
    io                                       with a clock; only where it is asked for

Lives here: `Replay`, over the blocks of one stream in their order; it may begin at any block. Not here: the
words (records.py), tables (store/traces.py), text (views/). Standard library only, and no dataclass: guests
import this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devtrace.store.trace import records
from devtrace.store.trace.records import UNSET_VALUE, Record, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devtrace.store.trace.segments import Block

_LEAVING = {records.RETURNED: "return", records.YIELDED: "yield", records.UNWOUND: "unwind"}


class Function:
    """What a number stands for: where the code is, and the names that its values may have."""

    __slots__ = ("line", "module", "n_arguments", "name", "names", "number", "path")

    def __init__(self, number: int, told: dict[str, Any]):
        """`told`: the JSON of a FUNCTION record. Raises KeyError or TypeError for what is none."""
        self.number = number
        self.path = str(told["path"])
        self.line = int(told["line"])
        self.name = str(told["name"])
        self.module = str(told["module"])
        self.names = [str(name) for name in told["names"]]
        self.n_arguments = int(told["n_arguments"])

    @property
    def arguments(self) -> list[str]:
        """The names of its parameters, `*args` and `**kw` at the end."""
        return self.names[: self.n_arguments]


class Frame:
    """One call at work. `call`: the number of the event that began it; None where that was not seen."""

    __slots__ = ("call", "function", "line", "number", "started_ns", "variables")

    def __init__(self, function: int, call: int | None, started_ns: int | None):
        self.function = function
        self.call = call
        self.started_ns = started_ns
        self.line = 0  # that it is at; 0: none began yet
        self.number = 0  # of a generator's frame, by which it is known when it goes on
        self.variables: dict[str, Any] = {}  # name -> typed form, as far as it was told


class Event:
    """What happened. `values`: (name, typed form or UNSET_VALUE) that became true just before it.

    Of a call `values` are its arguments, and what it shares with the functions around it; of a return and a
    yield `result` is what it gives; of a raise and a handle `result` is the exception. `frame` is the one in
    which it happened, of a call the new one.
    """

    __slots__ = ("clock_ns", "depth", "frame", "kind", "line", "number", "result", "task", "values")

    def __init__(self, kind: str, number: int, frame: Frame, depth: int):
        self.kind = kind
        self.number = number
        self.frame = frame
        self.depth = depth  # 0: nothing that is recorded was at work beneath it
        self.line = frame.line
        self.clock_ns: int | None = None
        self.values: list[tuple[str, Any]] = []
        self.result: Any = None
        self.task = ""


class Written(Event):
    """What went through a standard stream: an event of kind "io", which has no number of its own.

    It comes in front of what followed it, and `number` is that one's. `frame` is the one at work, and `line`
    where it was (0: not known). Where the record itself names a function that is not the one at the top, it
    is a frame of its own, which is on no stack; `frame.function` is 0 where nothing was at work.
    """

    __slots__ = ("channel", "flags", "payload")

    def __init__(self, record: Record, number: int, frame: Frame, depth: int):
        super().__init__("io", number, frame, depth)
        self.clock_ns = record.clock_ns
        self.channel = records.CHANNELS[record.how]
        self.flags = record.flags
        self.payload: bytes = record.value  # of one record: one or more lines, or a part of one


class Replay:
    """The state of one stream. `functions` grows as blocks are fed; `notes` hold what is rare, as it came.

    `with_io`: what was written and read comes too, as `Written`, in its place; else no event is of kind "io".
    """

    def __init__(self, *, with_io: bool = False) -> None:
        self._read = _in_order if with_io else read_records
        self.functions: dict[int, Function] = {}
        self.notes: list[dict[str, Any]] = []
        self.n_events = 0
        self.n_values = 0
        self.stack: list[Frame] = []
        self._suspended: dict[int, Frame] = {}
        self._pending: list[tuple[str, Any]] = []
        self._result: Any = None
        self._call: Event | None = None  # whose arguments are still coming
        self._named: list[Frame] | None = None  # a run of STACK records
        self._task = ""

    def feed(self, block: Block) -> Iterator[Event]:
        """The events of the next block. A call comes when its arguments are all there."""
        for record in self._read(block.words):
            yield from self._take(record)
        yield from self._finish_call()
        self._finish_stack()

    def _take(self, record: Record) -> Iterator[Event]:
        tag = record.tag
        if tag == records.STACK:
            self._named = [] if self._named is None or not record.function else self._named
            if record.function:
                self._named.append(Frame(record.function, None, None))
                self._named[-1].line = record.line
            return
        if tag == records.FUNCTION:
            self._define(record)
            return
        if tag == records.FRAME:
            self._number(record.value)
            return
        self._finish_stack()
        if tag in (records.INT, records.REF, records.FLOAT):
            self._value(record)
            return
        if tag == records.NOTE:
            self.notes.append(record.value)
            return
        if tag == records.TASK:
            self._task = record.value if isinstance(record.value, str) else ""
            if self._call is not None:
                self._call.task = self._task
            return
        if tag == records.IO and self._read is not _in_order:
            return
        yield from self._finish_call()
        yield from self._event(record)

    def _define(self, record: Record) -> None:
        try:
            self.functions[record.function] = Function(record.function, record.value)
        except (KeyError, TypeError, ValueError):
            return

    def _number(self, number: int) -> None:
        if self._named is not None:
            if self._named:
                self._named[-1] = self._resumed(self._named[-1], number)
            return
        if not self.stack:
            return
        known = self._suspended.pop(number, None)
        if known is not None and known is not self.stack[-1]:
            self.stack[-1] = known
            if self._call is not None:
                self._call.frame = known
        self.stack[-1].number = number

    def _resumed(self, named: Frame, number: int) -> Frame:
        """A generator's frame that a run names: the one that was suspended, if its going on fell between."""
        known = self._suspended.get(number)
        if known is not None and known.function == named.function:
            known.line = named.line or known.line
            return self._suspended.pop(number)
        named.number = number
        return named

    def _finish_stack(self) -> None:
        """Frames that are named again go on as they were known."""
        if self._named is None:
            return
        named, self._named = self._named, None
        if len(self.stack) > len(named) and self._are_same(self.stack[-len(named) :] if named else [], named):
            for frame, told in zip(self.stack[-len(named) :], named, strict=True):
                frame.line = told.line or frame.line
            return  # only the innermost ones of a deep stack are named
        for at, frame in enumerate(self.stack[: len(named)]):
            if frame.function != named[at].function or not _may_be_same(frame, named[at]):
                break
            if named[at].started_ns is None:  # else it is one that was suspended, and has gone on
                frame.number = frame.number or named[at].number
                frame.line = named[at].line or frame.line
                named[at] = frame
        self.stack = named

    def _are_same(self, known: list[Frame], named: list[Frame]) -> bool:
        functions = [frame.function for frame in named]
        return bool(named) and len(named) >= _NAMED and [frame.function for frame in known] == functions

    def _value(self, record: Record) -> None:
        self.n_values += 1
        if record.name == records.RESULT:
            self._result = record.value
            return
        frame = self._call.frame if self._call is not None else self.stack[-1] if self.stack else None
        function = self.functions.get(frame.function) if frame is not None else None
        if frame is None or function is None or record.name >= len(function.names):
            return
        name = function.names[record.name]
        if record.value is UNSET_VALUE:
            frame.variables.pop(name, None)
        else:
            frame.variables[name] = record.value
        (self._call.values if self._call is not None else self._pending).append((name, record.value))

    def _finish_call(self) -> Iterator[Event]:
        if self._call is not None:
            call, self._call = self._call, None
            yield call

    def _event(self, record: Record) -> Iterator[Event]:
        if record.tag == records.CALL:
            frame = Frame(record.function, self.n_events, record.clock_ns)
            self.stack.append(frame)
            self._call = self._made("call", frame, record)
        elif record.tag == records.RESUME:
            frame = Frame(record.function, None, record.clock_ns)
            self.stack.append(frame)
            self._call = self._made("throw" if record.how == records.THROWN else "resume", frame, record)
        elif record.tag == records.LINE:
            frame = self._at(record.function)
            frame.line = record.line
            yield self._made("line", frame, record)
        elif record.tag == records.RETURN:
            frame = self._at(record.function)
            event = self._made(_LEAVING.get(record.how, "return"), frame, record)
            event.result, self._result = self._result, None
            self.stack.pop()
            if event.kind == "yield" and frame.number:
                self._suspended[frame.number] = frame
            yield event
        elif record.tag == records.IO:
            yield from self._written(record)
        elif not self.stack:
            self.n_events += 1
        else:
            event = self._made("handle" if record.how == records.HANDLED else "raise", self.stack[-1], record)
            event.result = record.value
            yield event

    def _written(self, record: Record) -> Iterator[Event]:
        if record.how > records.STDIN:
            return
        depth = len(self.stack)
        is_known = depth and record.anchor and not record.flags & records.MIRROR
        frame = self.stack[-1] if is_known else Frame(0, None, None)
        if record.function and record.function != frame.function:
            frame = Frame(record.function, None, None)
        event = Written(record, self.n_events, frame, depth - 1 if frame in self.stack[-1:] else depth)
        event.line = record.line if record.function else frame.line
        # no coroutine at work: the task that was told of waits, or is over
        event.task = self._task if any(one.number for one in self.stack) else ""
        yield event

    def _at(self, function: int) -> Frame:
        """The frame at the top; where we do not know of it, one that began unseen."""
        if not self.stack or self.stack[-1].function != function:
            self.stack.append(Frame(function, None, None))
        return self.stack[-1]

    def _made(self, kind: str, frame: Frame, record: Record) -> Event:
        event = Event(kind, self.n_events, frame, len(self.stack) - 1)
        self.n_events += 1
        event.clock_ns = record.clock_ns or None
        event.values, self._pending = self._pending, []
        event.task = self._task
        return event


def _may_be_same(known: Frame, named: Frame) -> bool:
    """Whether two frames of a function may be one: generators have numbers."""
    return not (known.number and named.number) or known.number == named.number


_NAMED = 512  # frames that a block names at most (recorder/writing.py)
_OF_CALL = frozenset((records.FRAME, records.FUNCTION, records.INT, records.REF, records.FLOAT))
_OF_RUN = frozenset((records.FRAME, records.FUNCTION))


def _in_order(words: memoryview) -> list[Record]:
    """The records of a block, those of IO in front of what they happened in front of.

    A call and its arguments are one, and so is a run of STACK: none comes between.
    """
    found = list(read_records(words))
    written = [one for one in found if one.tag == records.IO and one.how <= records.STDIN]
    if not written:
        return found
    written.sort(key=lambda one: (min(one.anchor, one.at), one.clock_ns, one.at))
    placed: list[Record] = []
    begun, next_one = 0, 0
    for record in found:
        tag = record.tag
        if tag == records.IO:
            continue
        goes_on = tag in _OF_CALL if begun == records.CALL else begun == records.STACK and _is_of_run(record)
        if not goes_on:
            begun = records.CALL if tag in (records.CALL, records.RESUME) else tag
            while (
                next_one < len(written) and min(written[next_one].anchor, written[next_one].at) <= record.at
            ):
                placed.append(written[next_one])
                next_one += 1
        placed.append(record)
    return placed + written[next_one:]


def _is_of_run(record: Record) -> bool:
    return record.tag in _OF_RUN or (record.tag == records.STACK and bool(record.function))
