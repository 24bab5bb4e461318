"""From calls and returns to rows: which call lasted how long, under which, and which of them get a row.

A row is for the first MOST_ALIKE calls of a function under one row, up to MOST_SHORT of a function in a
stream, for each that was at work for LONG_NS, and for each call around one that has a row. All others are
counted: with their function, and in `folded` of the innermost row around them.

    at work ── RETURN, unwound ──► over
     ▲    ╲── YIELD ──► suspended, under its frame's number ── RESUME ──► at work
     STACK without it, where a part of the trace was not kept: lost

Lives here: `Calls`, of one stream; it goes on from what `state` told. Not here: finding the records
(scan.py), at which line a frame is (places.py), tables (store/trace_tables.py). Standard library only, and no
dataclass.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from devtrace.store.trace import records
from devtrace.store.trace.places import Places, placed

if TYPE_CHECKING:
    from devtrace.store.trace.scan import Scan

MOST_ALIKE = 64
MOST_SHORT = 1_000
LONG_NS = 1_000_000
MOST_OPEN = 10_000  # calls at work, or suspended, that are known when a state is told; more are counted
MOST_TEXT = 1_000  # characters of an exception
_MOST_UNCAUGHT = 16  # exceptions that were raised, and may be caught yet
_MOST_NS = 1 << 56  # more than two years: no clock of ours
_MIRRORED = records.MIRROR << 8
_NAMED = 512  # frames that a block names at most (recorder/writing.py)

# event, last_event, function, parent, depth, started_ns, duration_ns, how, chunk, folded
CallRow = tuple[int, int | None, int, int | None, int, int, int | None, str, int, int]
# the word of its record, events in front of it, function, line, event of the call, task
Place = tuple[int, int, int | None, int | None, int | None, str | None]
# event, function, line, text, handled, at_ns
ExceptionRow = tuple[int, int, int, str, int | None, int]


class Call:
    """One call. `event`: the number of the one that began it; negative: where it stands in the present block;
    None: it began unseen, and gets no row."""

    __slots__ = (
        "active_ns",
        "alike",
        "chunk",
        "depth",
        "event",
        "folded",
        "function",
        "has_row",
        "is_over",
        "number",
        "parent",
        "since_ns",
        "started_ns",
    )

    def __init__(self, function: int, event: int | None, parent: Call | None, clock_ns: int, chunk: int):
        self.function = function
        self.event = event
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1  # calls around it when it began
        self.started_ns = self.since_ns = clock_ns
        self.chunk = chunk
        self.active_ns = 0
        self.folded = 0
        self.number = 0  # of a generator's frame
        self.has_row = event is None  # or will have one
        self.is_over = False
        self.alike: dict[int, int] | None = None  # called directly under it: function -> how often

    def stand_under(self, parent: Call | None) -> None:
        """It was found at work under that one."""
        self.parent = parent
        self.depth = 0 if parent is None else parent.depth + 1


class Calls:
    """The calls of one stream, block after block. What is made of them is taken by `take`."""

    def __init__(self, state: dict[str, Any] | None = None):
        """`state`: what `state()` of an earlier one told. Raises KeyError, TypeError, ValueError for none."""
        told = state or {}
        self.n_events = int(told.get("n_events", 0))
        self.n_raised = int(told.get("n_raised", 0))
        self._origin_ns = 0
        self._clock_ns = int(told.get("clock_ns", 0))
        self._short = {int(function): int(number) for function, number in told.get("short", ())}
        self._uncaught: list[tuple[int, str]] = [
            (int(event), str(text)) for event, text in told.get("uncaught", ())
        ]
        known = _calls_of(told.get("calls", ()))
        self._stack = [known[number] for number in told.get("stack", ())]
        self._suspended = {
            call.number: call for number in told.get("suspended", ()) for call in (known[number],)
        }
        self._top_alike: dict[int, int] = dict(told.get("top", ()))
        self._scan: Scan | None = None
        self._chunk = int(told.get("chunk", 0))
        self._places: Places[Call] | None = None  # None: nothing of it has gone through a standard stream
        if told.get("lines") is not None:
            self._places = Places()
            self._places.lines = {known[number]: word for number, word in told["lines"]}
        self._task = str(told.get("task", ""))
        self.placed: list[Place] = []  # what the last block says of the standard streams
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.totals: dict[int, list[int]] = {}  # function -> [calls, ns, longest ns]
        self.rows: list[CallRow] = []
        self.exceptions: list[ExceptionRow] = []
        self.caught: list[tuple[int, int]] = []  # event of the exception, event that caught it

    @property
    def clock_ns(self) -> int:
        """The last time that a record told."""
        return self._clock_ns

    def take(self) -> tuple[dict[int, list[int]], list[CallRow], list[ExceptionRow], list[tuple[int, int]]]:
        """What was made since the last time: totals, rows, exceptions, and which of them were caught."""
        made = self.totals, self.rows, self.exceptions, self.caught
        self._begin_anew()
        return made

    # --- a block ---

    def feed(self, scan: Scan, chunk: int, *, follows: bool = True) -> None:
        """The next block. `follows`: nothing between it and the one before was lost."""
        self._scan = scan
        if not follows:
            self._lose_newest()
        self._chunk = chunk
        words, stack = scan.words, self._stack
        totals, short = self.totals, self._short
        named: list[Call] | None = None
        resumed = -1
        next_named = -1
        for at in self._begin_placing(scan):
            word = words[at]
            tag = word & 15
            if tag == records.STACK or (named is not None and tag == records.FRAME):
                if named is None or (tag == records.STACK and at != next_named) or not word >> 4:
                    if named is not None:
                        self._goes_on_with(named)
                    named = []
                next_named = at + 1
                self._name(named, word)
                continue
            if named is not None:
                self._goes_on_with(named)
                stack, named = self._stack, None
            if tag == records.CALL:
                function = word >> 24
                clock = words[at + 1]
                parent = stack[-1] if stack else None
                call = Call(function, -1 - at, parent, clock, chunk)
                total = totals.get(function)
                if total is None:
                    total = totals[function] = [0, 0, 0]
                total[0] += 1
                if (parent is None or parent.has_row) and short.get(function, 0) < MOST_SHORT:
                    self._admit(call, parent)
                stack.append(call)
                self._clock_ns = clock
                resumed = -1
            elif tag == records.RETURN:
                self._leave(word, words[at + 1], at)
                self._clock_ns = words[at + 1]
            elif tag == records.RESUME:
                stack.append(Call(word >> 24, None, stack[-1] if stack else None, words[at + 1], chunk))
                self._clock_ns = words[at + 1]
                resumed = at
            elif tag == records.FRAME:
                self._number(word >> 4, resumed)
                resumed = -1
            elif tag == records.IO:
                self._place(word, at)
            else:
                self._raise(word, at)
        if named is not None:
            self._goes_on_with(named)
        self._settle()
        self._end_placing(scan)
        self.n_events += scan.n_events

    def _admit(self, call: Call, parent: Call | None) -> None:
        """The first calls of their kind get a row, however short they are."""
        function = call.function
        if parent is None:
            alike = self._top_alike
        elif parent.alike is None:
            alike = parent.alike = {}
        else:
            alike = parent.alike
        number = alike.get(function, 0)
        if number < MOST_ALIKE:
            alike[function] = number + 1
            self._short[function] = self._short.get(function, 0) + 1
            call.has_row = True

    def _leave(self, word: int, clock: int, at: int) -> None:
        """RETURN: it gives back, yields or is unwound."""
        stack = self._stack
        if not stack or stack[-1].function != word >> 24:
            return  # of a call that began unseen
        call = stack.pop()
        how = word >> 4 & records.MOST_LINE
        active = call.active_ns + clock - call.since_ns
        if how == records.YIELDED:
            call.active_ns = active
            call.event = self._event(call)
            if call.number:
                self._suspended[call.number] = call
                if self._places is not None:
                    self._places.suspended(call, at)
            return
        if call.event is None:
            return
        call.is_over = True
        active = active if 0 <= active < _MOST_NS else 0
        total = self.totals.get(call.function)
        if total is None:
            total = self.totals[call.function] = [0, 0, 0]
        total[1] += active
        if active > total[2]:
            total[2] = active
        if call.has_row or active >= LONG_NS:
            last = self.n_events + self._scan.events_before(at)  # type: ignore[union-attr]
            self._write(call, last, active, "unwind" if how == records.UNWOUND else "return")
        else:
            _fold(call)

    def _write(self, call: Call, last: int | None, active: int | None, how: str) -> None:
        event = self._event(call)
        assert event is not None
        call.event = event
        call.has_row = True
        parent = _with_row(call.parent)
        above = None
        if parent is not None:
            parent.has_row = True
            above = parent.event = self._event(parent)
        started = call.started_ns - self._origin_ns
        started = started if -_MOST_NS < started < _MOST_NS else 0
        self.rows.append(
            (event, last, call.function, above, call.depth, started, active, how, call.chunk, call.folded)
        )

    def _event(self, call: Call) -> int | None:
        """The number of the event that began it."""
        if call.event is None or call.event >= 0:
            return call.event
        return self.n_events + self._scan.events_before(-1 - call.event)  # type: ignore[union-attr]

    def _number(self, number: int, resumed: int) -> None:
        """Which generator's frame it is that has just begun, or goes on, at the word `resumed`."""
        if not self._stack:
            return
        top = self._stack[-1]
        known = self._suspended.pop(number, None)
        if resumed >= 0 and known is not None and known.function == top.function:
            known.since_ns = top.since_ns
            if self._places is not None:
                self._places.resumed(known, resumed)
            self._stack[-1] = top = known
        top.number = number

    # --- what is at work ---

    def _name(self, named: list[Call], word: int) -> None:
        if word & 15 == records.FRAME:
            if named:
                named[-1].number = word >> 4
        elif word >> 24:
            above = named[-1] if named else None
            named.append(Call(word >> 24, None, above, self._clock_ns, self._chunk))
            if self._places is not None and word >> 4 & records.MOST_LINE:
                self._places.lines[named[-1]] = word & ~15

    def _goes_on_with(self, named: list[Call]) -> None:
        """Calls that are named again go on as they were known; what is not named any more is lost."""
        stack = self._stack
        functions = [call.function for call in named]
        if (
            len(stack) > len(named) >= _NAMED
            and [call.function for call in stack[-len(named) :]] == functions
        ):
            self._are_where(stack[-len(named) :], named)
            return  # only the innermost ones of a deep stack are named
        same = 0
        while same < min(len(stack), len(named)) and stack[same].function == functions[same]:
            same += 1
        self._are_where(stack[:same], named)
        self._lose(stack[same:])
        del stack[same:]
        for call in named[same:]:
            known = self._suspended.pop(call.number, None) if call.number else None
            if known is not None and known.function == call.function:
                known.since_ns = self._clock_ns
                self._are_where([known], [call])
            else:
                known = call
                call.stand_under(stack[-1] if stack else None)
            stack.append(known)

    def _are_where(self, known: list[Call], named: list[Call]) -> None:
        """Calls that go on are at the lines at which they were named."""
        if self._places is not None:
            lines = self._places.lines
            for call, same in zip(known, named, strict=False):
                lines[call] = lines.pop(same, 0)

    def _lose_newest(self) -> None:
        """A part was not kept: what had just begun before it has most likely ended in it."""
        for place, call in enumerate(self._stack):
            if call.chunk == self._chunk:
                self._lose(self._stack[place:])
                del self._stack[place:]
                return

    def _lose(self, calls: list[Call]) -> None:
        """Their ends were not kept."""
        for call in reversed(calls):
            if call.event is not None and not call.is_over:
                if call.has_row:
                    self._write(call, None, None, "lost")
                else:
                    _fold(call)
                call.is_over = True

    def _settle(self) -> None:
        """The block is read: what is at work must be known by its event from now on."""
        for call in reversed(self._stack):
            if call.event is not None and call.event < 0:
                call.event = self._event(call)
        while len(self._suspended) > MOST_OPEN:
            self._lose([self._suspended.pop(next(iter(self._suspended)))])

    # --- what went through the standard streams ---

    def _begin_placing(self, scan: Scan) -> list[int]:
        """The words that are of interest, in the order in which it happened."""
        self.placed = []
        if scan.io and self._places is None:
            self._places = Places()
        if self._places is None:
            return scan.moves
        self._places.begin(scan)
        if not scan.io:
            return scan.moves
        self._has_tasks = scan.last(records.TASK, 0, len(scan.words)) >= 0
        self._tasks: dict[int, str] = {}
        moves, near = placed(scan)
        self._near = iter(near)
        return moves

    def _end_placing(self, scan: Scan) -> None:
        if self._places is not None:
            self._places.end(self._suspended.values())
        last = scan.last(records.TASK, 0, len(scan.words))
        if last >= 0:
            self._task = _task_of(scan, last)

    def _place(self, word: int, at: int) -> None:
        """Where it was that wrote: what the record says, else what was at work in front of its anchor."""
        anchor, line, n_events = next(self._near)
        words = self._scan.words  # type: ignore[union-attr]
        place, top = words[at + 2], None
        if anchor and not word & _MIRRORED:
            top = self._stack[-1] if self._stack else None
            if not place:
                place = words[line] if line >= 0 else self._looked_for(top, anchor)
        function, frame = place >> 24, None
        if top is not None and top.function == function:
            frame = top.event
            if frame is not None and frame < 0:
                frame = top.event = self._begun(frame, anchor, n_events)
        task = self._task_at(anchor) if self._has_tasks else self._task
        if task and not any(call.number for call in self._stack):
            task = ""  # no coroutine is at work: the one that was told of waits, or is over
        where = function or None, place >> 4 & records.MOST_LINE or None, frame, task or None
        self.placed.append((at, self.n_events + n_events, *where))

    def _looked_for(self, top: Call | None, anchor: int) -> int:
        assert self._places is not None
        return self._places.line(top, anchor) or (top.function << 24 if top is not None else 0)

    def _begun(self, event: int, at: int, n_events: int) -> int:
        """`_event`, quickly where that is not far in front of the word, before which there are `n_events`."""
        return self.n_events + n_events - self._scan.events_before(at, -1 - event)  # type: ignore[union-attr]

    def _task_at(self, at: int) -> str:
        scan = self._scan
        assert scan is not None
        told = scan.last(records.TASK, 0, at)
        if told < 0:
            return self._task
        if told not in self._tasks:
            self._tasks[told] = _task_of(scan, told)
        return self._tasks[told]

    # --- exceptions ---

    def _raise(self, word: int, at: int) -> None:
        scan = self._scan
        assert scan is not None
        event = self.n_events + scan.events_before(at)
        text = exception_text(scan.entry(word >> 20))
        is_caught = word >> 4 & records.NAMES == records.HANDLED
        if is_caught and (found := next((one for one in reversed(self._uncaught) if one[1] == text), None)):
            self._uncaught.remove(found)
            self.caught.append((found[0], event))
            return
        self.n_raised += 1
        if not is_caught:
            self._uncaught = [*self._uncaught, (event, text)][-_MOST_UNCAUGHT:]
        function = self._stack[-1].function if self._stack else 0
        line = scan.line_before(at, function) if function else 0
        at_ns = self._clock_ns - self._origin_ns if self._clock_ns else 0
        at_ns = at_ns if -_MOST_NS < at_ns < _MOST_NS else 0
        self.exceptions.append((event, function, line, text, event if is_caught else None, at_ns))

    # --- from one time to the next ---

    def count_from(self, origin_ns: int) -> None:
        """Times of rows are told since that one."""
        self._origin_ns = origin_ns

    def close(self) -> None:
        """Nothing comes any more: what is at work has no end."""
        open_ones = [*self._suspended.values(), *self._stack]
        for number, call in enumerate(sorted(open_ones, key=lambda one: one.depth)):
            if number >= MOST_OPEN:
                call.has_row = False
            elif call.event is not None:
                self._write(call, None, None, "open")
            call.is_over = True

    def state(self) -> dict[str, Any]:
        """What `Calls` needs to go on, as plain JSON values. Call it between two blocks."""
        told: list[list[Any]] = []
        places: dict[int, int] = {}
        suspended = list(self._suspended.values())
        for call in [*self._stack, *suspended]:
            _tell(call, told, places)
        return {
            "n_events": self.n_events,
            "n_raised": self.n_raised,
            "clock_ns": self._clock_ns,
            "chunk": self._chunk,
            "top": list(self._top_alike.items()),
            "short": list(self._short.items()),
            "uncaught": self._uncaught,
            "calls": told,
            "stack": [places[id(call)] for call in self._stack],
            "suspended": [places[id(call)] for call in suspended],
            "task": self._task,
            **self._lines_told(places),
        }

    def _lines_told(self, places: dict[int, int]) -> dict[str, Any]:
        if self._places is None:
            return {}
        lines = self._places.lines
        return {"lines": [[places[id(call)], word] for call, word in lines.items() if call is not None]}


def _task_of(scan: Scan, at: int) -> str:
    """The name that a TASK word gives."""
    name = scan.entry(scan.words[at] >> 20)
    return name if isinstance(name, str) else ""


def _with_row(call: Call | None) -> Call | None:
    """The innermost call, from this one outwards, that has a row or may still get one."""
    while call is not None and (call.event is None or (call.is_over and not call.has_row)):
        call = call.parent
    return call


def _fold(call: Call) -> None:
    """It gets no row: the innermost call around it that may have one counts it, and what it counted."""
    above = call.parent
    if above is not None and (above.event is None or above.is_over):
        above = _with_row(above)
    if above is not None:
        above.folded += 1 + call.folded


def _tell(call: Call, told: list[list[Any]], places: dict[int, int]) -> None:
    """Add a call, and those around it, to what is told."""
    chain: list[Call] = []
    one: Call | None = call
    while one is not None and id(one) not in places:
        chain.append(one)
        one = one.parent
    for one in reversed(chain):
        above = places[id(one.parent)] if one.parent is not None else -1
        places[id(one)] = len(told)
        flags = one.has_row + 2 * one.is_over
        alike = list(one.alike.items()) if one.alike else []
        about = [one.function, one.event, above, one.started_ns, one.since_ns, one.active_ns]
        told.append([*about, one.chunk, one.folded, one.number, flags, alike])


def _calls_of(told: Any) -> list[Call]:
    calls: list[Call] = []
    for function, event, above, started, since, active, chunk, folded, number, flags, alike in told:
        call = Call(function, event, calls[above] if above >= 0 else None, started, chunk)
        call.since_ns, call.active_ns, call.folded, call.number = since, active, folded, number
        call.has_row, call.is_over = bool(flags & 1), bool(flags & 2)
        call.alike = dict(alike) or None
        calls.append(call)
    return calls


def exception_text(form: Any) -> str:
    """An exception's typed form as people write it: `ValueError: no such thing`."""
    if not isinstance(form, list) or len(form) < 2 or not isinstance(form[1], str):
        return ""
    arguments = form[2] if len(form) > 2 and isinstance(form[2], list) else []
    said = ", ".join(one if isinstance(one, str) else json.dumps(one) for one in arguments)
    return f"{form[1]}: {said}"[:MOST_TEXT] if said else form[1][:MOST_TEXT]
