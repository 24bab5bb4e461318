"""A text in what programs were doing: who printed it, where it first stood in each variable, and where it
came from.

The chunks are searched as they are, with the text as JSON escapes it; only those of which a value holds it
are replayed.

Lives here: `search`. Not here: what was printed (trace_printed.py), text in files (why.py), drawing
(views/trace_search.py).
"""

from __future__ import annotations

import json
import sqlite3
import struct
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

from devtrace.query.trace_lines import stack_of
from devtrace.query.trace_printed import Printed
from devtrace.query.traces import Chunk, Trace, is_in
from devtrace.store.trace import records
from devtrace.store.trace.replay import Event, Frame, Replay

Row = dict[str, Any]

_MOST_TRACES = 50  # the newest
_MOST_CHUNKS = 2_000  # that are searched: half a millisecond each
_MOST_REPLAYED = 40  # of them: 30 ms each
_MOST_STORES = 3  # values that a name had before
_MOST_SAME = 5  # other names for the value
_MOST_PRINTED = 5  # places of a trace that printed it: the variables shall be told too
_WHAT = {"return": "result", "yield": "result", "raise": "exception", "handle": "exception"}
_DEEPEST = 50


def search(
    db: sqlite3.Connection,
    text: str,
    *,
    file: str | None = None,
    most: int = 10,
    cut: Callable[[], object] = bool,
) -> list[Row]:
    """The records `trace_match`: the newest trace first, in it what was printed, then each variable once.

    What several traces tell in the same way is told once. `file`: only functions of that file. At most 50
    traces and 2,000 of their chunks are searched, and 40 replayed; `cut` is called where there was more.
    """
    sessions = db.execute(
        "SELECT id FROM sessions WHERE kind = 'recorder' ORDER BY started_us DESC, id DESC LIMIT ?",
        (_MOST_TRACES + 1,),
    ).fetchall()
    found: dict[str, Row] = {}
    budget, of_printed = _Budget(), _Budget()
    budget.is_spent = len(sessions) > _MOST_TRACES
    for (session,) in sessions[:_MOST_TRACES]:
        if len(found) >= most:
            break
        for one in _Search(Trace(db, session), text, file, budget, of_printed).matches(most):
            printed_at = one["line"] if one["channel"] else None
            same = json.dumps(
                [printed_at, *(one[name] for name in ("path", "name", "what", "variable", "value"))]
            )
            known = found.setdefault(same, one | {"traces": 0})
            known["traces"] += 1
    if budget.is_spent or of_printed.is_spent or len(found) >= most:
        cut()
    return list(found.values())[:most]


class _Budget:
    """How much may still be looked at."""

    def __init__(self) -> None:
        self._chunks = _MOST_CHUNKS
        self._replayed = _MOST_REPLAYED
        self.is_spent = False  # there was more

    def may_look(self) -> bool:
        """Whether another chunk may be searched."""
        self._chunks -= 1
        self.is_spent = self.is_spent or self._chunks < 0
        return self._chunks >= 0

    def may_replay(self) -> bool:
        """Whether another one may be replayed."""
        self._replayed -= 1
        self.is_spent = self.is_spent or self._replayed < 0
        return self._replayed >= 0


class _Search:
    """One trace."""

    def __init__(self, trace: Trace, text: str, file: str | None, budget: _Budget, of_printed: _Budget):
        self._trace = trace
        self._of_printed = of_printed
        self._text = text
        self._budget = budget
        self._escaped = json.dumps(text)[1:-1].encode()
        self._number = int(text) if text.isascii() and text.isdigit() and len(text) < 14 else None
        self._float = _bits_of(text)
        self._numbers = _functions_in(trace, file) if file is not None else None
        self._found: dict[tuple[int, str, str], Row] = {}

    def matches(self, most: int) -> list[Row]:
        """At most so many."""
        if self._numbers is not None and not self._numbers:
            return []
        may_look, may_replay = self._of_printed.may_look, self._of_printed.may_replay
        printed = Printed(self._trace, self._text, may_look, may_replay)
        found = printed.matches(min(most, _MOST_PRINTED), self._numbers, self._holds)
        left = most - len(found)
        for chunk in self._chunks() if left else ():
            self._replay(chunk, left)
            if len(self._found) >= left:
                break
        found += list(self._found.values())[:left]
        command = self._command() if found else None
        return [one | {"command": command} for one in found]

    def _command(self) -> Row | None:
        """What started the program: `session`, `event`, `title`, `actor`."""
        row = self._trace.db.execute(
            "SELECT e.session, e.id, e.title, e.actor FROM sessions s JOIN events e"
            " ON e.session = s.parent_session AND e.id = s.parent_event WHERE s.id = ?",
            (self._trace.session,),
        ).fetchone()
        return None if row is None else dict(zip(("session", "event", "title", "actor"), row, strict=True))

    def _chunks(self) -> Iterator[Chunk]:
        """Those that hold the text."""
        raised = self._raised()
        for chunks in self._trace.chunks.values():
            for chunk in chunks:
                if not self._budget.may_look():
                    return
                block = self._trace.block(chunk)
                if block is None:
                    continue
                if chunk in raised or self._has_number(block.words) or self._has_text(chunk, block.raw):
                    if not self._budget.may_replay():
                        return
                    yield chunk

    def _raised(self) -> set[Chunk]:
        """The chunks with exceptions whose text, as it is shown, holds it."""
        rows = self._trace.db.execute(
            "SELECT stream, event FROM trace_exceptions WHERE session = ? AND instr(text, ?) LIMIT ?",
            (self._trace.session, self._text, _MOST_REPLAYED),
        )
        found = {self._trace.chunk_of(stream, event) for stream, event in rows.fetchall()}
        return {chunk for chunk in found if chunk is not None}

    def _has_text(self, chunk: Chunk, raw: bytes) -> bool:
        """Whether one of its values holds it: the names of functions and variables stand in it too."""
        if self._escaped not in raw:
            return False
        scan = self._trace.scan(chunk)
        return scan is not None and any(self._holds(form) for form in scan.entries_with(self._escaped))

    def _has_number(self, words: memoryview) -> bool:
        if self._float is not None and self._float in words.cast("B").tobytes():
            return True
        if self._number is None:
            return False
        low = (self._number << 20).to_bytes(8, sys.byteorder)
        part = low[3:] if sys.byteorder == "little" else low[:5]  # the name is in the bytes beside it
        if part not in words.cast("B").tobytes():
            return False
        wanted = self._number << 20 | records.INT
        return any(word & ~0xFFFF0 == wanted for word in words.tolist())

    # --- one chunk ---

    def _replay(self, chunk: Chunk, most: int) -> None:
        block = self._trace.block(chunk)
        if block is None:
            return
        replay = Replay()
        replay.n_events = chunk.first_event
        lines: dict[Frame, int] = {}
        stores: dict[tuple[Frame, str], deque[Row]] = defaultdict(lambda: deque(maxlen=_MOST_STORES))
        for event in replay.feed(block):
            frame = event.frame
            line = lines.get(frame, 0) if event.kind == "line" else event.line
            for name, form in event.values:
                if form is not records.UNSET_VALUE:
                    if self._holds(form):
                        what = "argument" if event.kind == "call" else "value"
                        self._add(chunk, replay, event, what, name, line, form, list(stores[frame, name]))
                    stores[frame, name].append({"line": line, "value": form})
            if event.kind in _WHAT and event.kind != "handle" and self._holds(event.result):
                self._add(chunk, replay, event, _WHAT[event.kind], None, event.line, event.result, [])
            if event.kind == "line":
                lines[frame] = event.line
            if len(self._found) >= most:
                return

    def _holds(self, form: Any) -> bool:
        return any(
            self._text == text if isinstance(text, Number) else self._text in text for text in texts_in(form)
        )

    def _add(
        self,
        chunk: Chunk,
        replay: Replay,
        event: Event,
        what: str,
        name: str | None,
        line: int,
        form: Any,
        stores: list[Row],
    ) -> None:
        number = event.frame.function
        if self._numbers is not None and number not in self._numbers:
            return
        key = (number, what, name or "")
        if key in self._found:
            self._found[key]["count"] += 1
            return
        function = self._trace.function(number)
        thread = self._trace.threads.get(chunk.stream)
        self._found[key] = {
            "session": self._trace.session,
            "stream": chunk.stream,
            "thread": thread.label if thread is not None else "",
            "event": event.number,
            "what": what,
            "channel": None,
            "variable": name,
            **{one: function[one] for one in ("name", "path")},
            "line": line or function["line"],
            "value": form,
            "count": 1,
            "stack": stack_of(self._trace, _around(replay, event)),
            "stores": stores,
            "same": self._same(_around(replay, event), event, name, form),
        }

    def _same(self, around: list[Frame], event: Event, name: str | None, form: Any) -> list[Row]:
        """Other names that held that value at that moment, here and in the caller: it came by them."""
        found = []
        for frame in (event.frame, *around[-1:]):
            for other, value in frame.variables.items():
                if (frame is not event.frame or other != name) and self._is_part(form, value):
                    function = self._trace.function(frame.function)["name"]
                    found.append({"name": function, "variable": other, "value": value})
        return found[:_MOST_SAME]

    def _is_part(self, form: Any, value: Any) -> bool:
        return value is not None and type(value) is not bool and (value == form or self._holds(value))


def _around(replay: Replay, event: Event) -> list[Frame]:
    """The frames around that of an event, which may have been left already."""
    stack = replay.stack
    return stack[: stack.index(event.frame)] if event.frame in stack else stack[: event.depth]


def _functions_in(trace: Trace, file: str) -> set[int]:
    return {number for number, one in trace.functions.items() if is_in(one["path"], file)}


def _bits_of(text: str) -> bytes | None:
    """The word that a float is, of which this is the text; None where it is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return struct.pack("=d", number) if str(number) == text else None


class Number(str):
    """A number, which is found as a whole: no 5 is in 1500."""

    __slots__ = ()


def texts_in(form: Any, depth: int = 0) -> Iterator[str]:
    """What a reader of a typed form would read in it: texts and numbers, no names of forms."""
    if isinstance(form, str):  # a Number stays one
        yield form
    elif isinstance(form, int | float) and not isinstance(form, bool):
        yield Number(form)
    elif isinstance(form, list) and form and isinstance(form[0], str) and depth < _DEEPEST:
        read = _READ.get(form[0])
        try:
            inside = list(read(form)) if read is not None else []
        except (IndexError, TypeError):  # nothing that we wrote
            return
        for inner in inside:
            yield from texts_in(inner, depth + 1)


def _in_exception(form: list[Any]) -> list[Any]:
    arguments = form[2] if len(form) > 2 and isinstance(form[2], list) else []
    told = ", ".join(str(one) for one in arguments if isinstance(one, str | int | float))
    return [f"{form[1]}: {told}" if told else str(form[1]), *arguments]


def _pairs(at: int) -> Any:
    return lambda form: [inner for pair in form[at] if isinstance(pair, list) for inner in pair]


_READ: dict[str, Any] = {
    "str": lambda form: form[2:3],
    "int": lambda form: [Number(digits) for digits in form[1:2]],
    **dict.fromkeys(("list", "tuple", "set", "frozenset", "deque"), lambda form: form[2]),
    "dict": _pairs(2),
    "object": _pairs(3),
    "exception": _in_exception,
    "enum": lambda form: form[2:4],
    "text": lambda form: form[2:3],
    "sub": lambda form: form[2:3],
}
