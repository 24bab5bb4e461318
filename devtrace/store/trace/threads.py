"""A thread's stream with the begin and the end of each call in it, also of calls not seen to begin or end.

    OPEN   a frame comes to be at work: `event` is a call, a resume, a throw; None: it was at work before
    CLOSE  it is no longer: a return, a yield, an unwind; None: its end is not in the record
    LINE  RAISE  HANDLE  NOTE
    IO     something was printed or read, only where that is asked for; `frame` may be on no stack

Each OPEN has its CLOSE, and between them only frames that were opened later are opened and closed: what is
made of it may nest. A time is the clock of the event, or the last one that its thread told before it.

Lives here: `Thread`, `Moment`, `pieces_of`, texts of exceptions. Not here: what happened according to the
records (replay.py), forms for other programs (codetracer.py, views/export/). Standard library only, and no
dataclass: guests import this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devtrace.store.trace import records
from devtrace.store.trace.replay import Event, Frame, Function, Replay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from devtrace.store.trace.replay import Written
    from devtrace.store.trace.segments import Block

OPEN, CLOSE, LINE, RAISE, HANDLE, NOTE, IO = range(7)

_KINDS = {
    "call": OPEN, "resume": OPEN, "throw": OPEN, "return": CLOSE, "yield": CLOSE, "unwind": CLOSE,
    "line": LINE, "raise": RAISE, "handle": HANDLE, "io": IO,
}  # fmt: skip
_LONGEST_MESSAGE = 1_000
# How generators, coroutines and programs come to their ends: raised, and nothing has gone wrong.
_ENDS = frozenset(("StopIteration", "StopAsyncIteration", "GeneratorExit", "SystemExit"))


class Moment:
    """What happened in a thread. `frame` is None of a NOTE, whose JSON is `note`."""

    __slots__ = ("at_ns", "event", "frame", "kind", "note")

    def __init__(self, at_ns: int, kind: int, frame: Frame | None, event: Event | None, note: Any = None):
        self.at_ns = at_ns
        self.kind = kind
        self.frame = frame
        self.event = event
        self.note = note


class Thread:
    """One stream as it is read. `open` are the frames at work, the outermost first."""

    def __init__(self, number: int, blocks: Iterable[Block], *, with_io: bool = False):
        """`blocks`: in their order; they are taken one by one. `with_io`: there are moments IO."""
        self.number = number
        self.name = ""
        self.ident = 0  # as `threading` has it
        self.native = 0  # as the system has it; 0: not told
        self.open: list[Frame] = []
        self.folded: dict[tuple[int, int], int] = {}  # (function, line) -> how often it ran unrecorded
        self._fold: dict[tuple[int, int], int] = {}  # the same of the present fold, as it was told last
        self._blocks = blocks
        self._replay = Replay(with_io=with_io)
        self._at = 0
        self._raised: Any = None  # the exception that is on its way
        self._caught: dict[Frame, Any] = {}  # what a frame handled last: `finally` sends it on its way again

    @property
    def functions(self) -> dict[int, Function]:
        """What numbers stand for, as far as it was told."""
        return self._replay.functions

    def function(self, frame: Frame) -> Function | None:
        """What a frame runs; None where no record says it."""
        return self._replay.functions.get(frame.function)

    def folded_of(self, frame: Frame) -> dict[int, int]:
        """How often each line of what a frame runs was left out, in all its calls so far."""
        return {line: n for (number, line), n in self.folded.items() if number == frame.function}

    def moments(self) -> Iterator[Moment]:
        """All of it, once. What a throw throws is its event's `result`, where the record has it."""
        held: list[Moment] = []
        for block in self._blocks:
            self._at = max(self._at, block.clock_ns)
            for event in self._replay.feed(block):
                made = [*self._notes(), *self._made(event)]
                if held and held[-1].event is not None and event.kind == "raise":
                    held[-1].event.result = event.result
                yield from held
                held = made if event.kind == "throw" else []
                if not held:
                    yield from made
            yield from held
            held = []
            yield from self._notes()
        yield from self._reconciled([])

    def _notes(self) -> list[Moment]:
        notes = self._replay.notes
        if not notes:
            return []
        made = [Moment(self._at, NOTE, None, None, note) for note in notes if isinstance(note, dict)]
        notes.clear()
        for moment in made:
            self._learn(moment.note)
        return made

    def _learn(self, note: dict[str, Any]) -> None:
        told = note.get("thread")
        if isinstance(told, dict):
            self.name = str(told.get("name") or "")
            self.ident, self.native = _number(told.get("ident")), _number(told.get("native_id"))
        if isinstance(note.get("folded"), list):
            self._learn_fold(note["folded"])

    def _learn_fold(self, told: list[Any]) -> None:
        """The counts of one fold grow from note to note; a fold that begins anew begins at nothing."""
        fold = {(row[0], row[1]): row[2] for row in told if _is_count(row)}
        if any(fold.get(key, 0) < n for key, n in self._fold.items()):
            self._fold = {}
        for key, n in fold.items():
            self.folded[key] = self.folded.get(key, 0) + n - self._fold.get(key, 0)
        self._fold = fold

    def _made(self, event: Event) -> list[Moment]:
        if event.clock_ns is not None and event.clock_ns > self._at:
            self._at = event.clock_ns
        kind, frame, now = _KINDS[event.kind], event.frame, self.open
        stack, below = self._replay.stack, event.depth
        if kind == IO:
            made = [] if now[-1:] == stack[-1:] and len(now) == len(stack) else self._reconciled(stack)
        elif kind == OPEN:
            is_known = len(now) == below <= len(stack) and (not below or now[-1] is stack[below - 1])
            made = [] if is_known else self._reconciled(stack[:below])
            now.append(frame)
        else:
            is_known = len(now) == below + 1 and now[-1] is frame
            made = [] if is_known else self._reconciled([*stack[:below], frame])
            if kind == CLOSE:
                self._leave(event)
                now.pop()
            elif kind != LINE:
                self._follow(event)
        made.append(Moment(self._at, kind, frame, event))
        return made

    def _reconciled(self, wanted: list[Frame]) -> list[Moment]:
        """What must have begun and ended unseen, for these frames to be at work."""
        now, same = self.open, 0
        while same < min(len(now), len(wanted)) and now[same] is wanted[same]:
            same += 1
        made = []
        while len(now) > same:
            self._caught.pop(now[-1], None)
            made.append(Moment(self._at, CLOSE, now.pop(), None))
        for frame in wanted[same:]:
            now.append(frame)
            made.append(Moment(self._at, OPEN, frame, None))
        return made

    def _follow(self, event: Event) -> None:
        if event.kind == "raise":
            self._raised = event.result
        else:
            self._raised, self._caught[event.frame] = None, event.result

    def _leave(self, event: Event) -> None:
        caught = self._caught.pop(event.frame, None)
        if event.kind == "unwind":
            if self._raised is None:
                self._raised = caught
            event.result = self._raised


def pieces_of(written: Written) -> Iterator[tuple[bytes, int]]:
    """The chunks of what was printed or read, of each line one, with their flags."""
    about = written.flags & (records.INPUT | records.MIRROR)
    for piece in _lines(written.payload):
        yield piece, about | records.NEWLINE if piece.endswith(b"\n") else written.flags


def _lines(payload: bytes) -> Iterator[bytes]:
    """Behind each newline a new one; a carriage return ends none."""
    at = 0
    while at < len(payload):
        end = payload.find(b"\n", at) + 1 or len(payload)
        yield payload[at:end]
        at = end


def is_end(told: Any) -> bool:
    """Whether the typed form of an exception is of one that only ends something."""
    return isinstance(told, list) and len(told) > 1 and isinstance(told[1], str) and told[1] in _ENDS


def exception_text(told: Any) -> str:
    """`ValueError: no such thing`, of the typed form of an exception; "" of what is none."""
    if not isinstance(told, list) or len(told) < 2 or told[0] not in ("exception", "opaque"):
        return ""
    arguments = told[2] if told[0] == "exception" and len(told) > 2 and isinstance(told[2], list) else []
    write = _quoted if len(arguments) > 1 or told[1] == "KeyError" else _plain
    text = ", ".join(write(one) for one in arguments)
    text = f"({text})" if len(arguments) > 1 else text
    return f"{told[1]}: {text}"[:_LONGEST_MESSAGE] if text else str(told[1])


def _plain(told: Any) -> str:
    if isinstance(told, str):
        return told
    if isinstance(told, list):
        return f"{told[2]}…" if told[:1] == ["str"] and len(told) == 3 else f"<{told[0]}>" if told else ""
    return str(told)


def _quoted(told: Any) -> str:
    return repr(told) if isinstance(told, str) else _plain(told)


def _is_count(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 3 and all(isinstance(one, int) for one in row)


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
