"""Which engine watches the places where probes sit, what all engines promise, and the table they share.

    on_hit(key, what, frame, value)   what is "line", "entry", "return", "raise" or "unwind"; value is what is
                                      returned, or the exception, and None for a line and an entry
    on_new_code(code)                 a function runs that was not seen since `discover(True)`

Lives here: `choose`, `Engine`, `Table`. Not here: the engines (monitoring.py, pytrace.py), what a hit does
(hits.py), where a probe sits (places.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from opcode import opmap

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from types import CodeType, FrameType
    from typing import Any

    Key = Hashable
    OnHit = Callable[[Key, str, FrameType, object], object]
    OnNewCode = Callable[[CodeType], object]

_SINCE = (3, 12)
_RESUME = opmap["RESUME"]
_AUTO = ("", "auto", "monitoring", "native")


class EngineBusy(Exception):
    """Another tool has the place. The message says which, in words for the probe's status."""


class Engine(ABC):
    """Watches lines, entries and exits of code objects; each of its functions may be called by any thread.

    Until something is armed or discovered, and again after the last was disarmed, nothing of it is in the
    interpreter. Keys are opaque, and several may sit at one place. `starts` are the offsets of bytecode at
    which the line's statements begin; None takes each time that the line is reached. A generator is entered
    once, and a `yield` is no exit.
    """

    name = ""

    def __init__(self, because: str):
        self.because = because
        self.failures = 0  # exceptions of ours that were kept from the program
        self.misses = ""  # what of the program it cannot see, in words for a probe's status
        self._table = Table()

    @abstractmethod
    def start(self, on_hit: OnHit, on_new_code: OnNewCode) -> None:
        """Say who is told. Both run in the program's threads."""

    @abstractmethod
    def stop(self) -> None:
        """Disarm all; may be called twice."""

    @abstractmethod
    def arm(self, code: CodeType, line: int, starts: Iterable[int] | None, key: Key) -> None:
        """Raises EngineBusy, as all that arm do."""

    @abstractmethod
    def disarm(self, code: CodeType, line: int, key: Key) -> None:
        """What is not armed may be disarmed."""

    @abstractmethod
    def arm_entry(self, code: CodeType, key: Key) -> None:
        """Each call."""

    @abstractmethod
    def disarm_entry(self, code: CodeType, key: Key) -> None:
        """The other way round."""

    @abstractmethod
    def arm_exit(self, code: CodeType, key: Key) -> None:
        """Each "return" with its value, each "unwind" with the exception that leaves the function."""

    @abstractmethod
    def disarm_exit(self, code: CodeType, key: Key) -> None:
        """The other way round."""

    @abstractmethod
    def arm_raise(self, code: CodeType, key: Key) -> None:
        """Each exception that is raised in the function or comes out of a call it made, handled or not."""

    @abstractmethod
    def disarm_raise(self, code: CodeType, key: Key) -> None:
        """The other way round."""

    @abstractmethod
    def drop(self, key: Key) -> None:
        """Disarm all that has this key."""

    @abstractmethod
    def forget_lock(self) -> None:
        """In a forked child: a thread that is not here may have held it."""

    @abstractmethod
    def discover(self, is_on: bool) -> bool:
        """Tell of code that runs, each once, and again where another tool restarts the events of all. Whether
        that is done from now on.
        """


def choose(wanted: str, *, has_monitoring: bool | None = None, has_gil: bool | None = None) -> Engine:
    """The engine for `auto`, `native`, `monitoring` or `pytrace`; anything else is `auto`. Never fails.

    `has_monitoring`, `has_gil`: None asks this interpreter.
    """
    name, because = _choice(
        wanted,
        sys.version_info >= _SINCE if has_monitoring is None else has_monitoring,
        getattr(sys, "_is_gil_enabled", lambda: True)() if has_gil is None else has_gil,
    )
    if name == "monitoring":
        from devtrace.probes.monitoring import Monitoring

        return Monitoring(because)
    from devtrace.probes.pytrace import PyTrace

    return PyTrace(because)


def _choice(wanted: str, has_monitoring: bool, has_gil: bool) -> tuple[str, str]:
    if wanted == "pytrace":
        return "pytrace", "it was asked for"
    if not has_monitoring:
        return "pytrace", "sys.monitoring arrived in Python 3.12"
    if not has_gil and wanted != "monitoring":
        return "pytrace", "sys.monitoring is not safe yet in an interpreter without a GIL"
    if wanted == "native":
        return "monitoring", "there is no native engine, and sys.monitoring is the quickest here"
    if wanted not in _AUTO:
        return "monitoring", f"there is no engine {wanted[:40]!r}, and sys.monitoring is the quickest here"
    return "monitoring", "sys.monitoring is there, and costs nothing where no probe sits"


def is_ours(error: Exception) -> bool:
    """Whether our own code raised it, and not a handler of a signal, which may run while we do.

    The frames below ours tell: what we call belongs to the standard library, a program's handler does not.
    """
    traceback = error.__traceback__
    while traceback is not None:
        room = dict.get(traceback.tb_frame.f_globals, "__name__", "")
        if type(room) is not str:
            return False
        if not room.startswith("devtrace.") and room.partition(".")[0] not in sys.stdlib_module_names:
            return False
        traceback = traceback.tb_next
    return True


def resume_line(code: CodeType) -> int:
    """The line that a function is entered at: of it no LINE event comes from CPython 3.13 on."""
    at = code.co_code[::2].find(_RESUME) * 2
    for start, end, line in code.co_lines():
        if start <= at < end and line is not None:
            return line
    return 0


class Table:
    """What is armed, as the callbacks read it: by the id of the code object, which is kept alive meanwhile.

    The callbacks read without a lock, so each change is one store into a dictionary. Writers hold the
    engine's lock.
    """

    __slots__ = ("_starts", "codes", "entries", "exits", "lines", "raises")

    def __init__(self) -> None:
        self.codes: dict[int, CodeType] = {}
        # line -> offset -> keys; the offset None stands for all that are not named
        self.lines: dict[int, dict[int, dict[int | None, tuple[Key, ...]]]] = {}
        self.entries: dict[int, tuple[tuple[Key, str], ...]] = {}
        self.exits: dict[int, tuple[Key, ...]] = {}
        self.raises: dict[int, tuple[Key, ...]] = {}
        self._starts: dict[tuple[int, int], dict[Key, frozenset[int] | None]] = {}

    def add_line(self, code: CodeType, line: int, starts: Iterable[int] | None, key: Key) -> None:
        """A line that the function is entered at is an entry that calls itself a line."""
        if line == resume_line(code):
            self._put(self.entries, code, (key, "line"))
            return
        wanted = self._starts.setdefault((id(code), line), {})
        wanted[key] = None if starts is None else frozenset(starts)
        self.codes[id(code)] = code
        self.lines.setdefault(id(code), {})[line] = _by_offset(wanted)

    def remove_line(self, code: CodeType, line: int, key: Key) -> None:
        self._take(self.entries, code, (key, "line"), if_only=line == resume_line(code))
        wanted = self._starts.get((id(code), line), {})
        if wanted.pop(key, self) is self:
            return
        if wanted:
            self.lines[id(code)][line] = _by_offset(wanted)
            return
        del self._starts[id(code), line]
        lines = self.lines[id(code)]
        del lines[line]
        if not lines:
            del self.lines[id(code)]
        self._release(code)

    def add(self, what: str, code: CodeType, key: Key) -> None:
        """`what`: entries, exits or raises."""
        self._put(getattr(self, what), code, (key, "entry") if what == "entries" else key)

    def remove(self, what: str, code: CodeType, key: Key) -> None:
        self._take(getattr(self, what), code, (key, "entry") if what == "entries" else key)

    def holding(self, key: Key) -> list[CodeType]:
        """The code objects at which that key sits."""
        return [code for number, code in self.codes.items() if self._holds(number, key)]

    def drop(self, code: CodeType, key: Key) -> None:
        for line in list(self.lines.get(id(code), ())):
            self.remove_line(code, line, key)
        for what in ("line", "entry"):
            self._take(self.entries, code, (key, what))
        self._take(self.exits, code, key)
        self._take(self.raises, code, key)

    def clear(self) -> None:
        parts: tuple[dict[Any, Any], ...] = (self.lines, self.entries, self.exits, self.raises, self._starts)
        for part in (*parts, self.codes):
            part.clear()

    def _holds(self, number: int, key: Key) -> bool:
        return (
            any(key in self._starts[number, line] for line in self.lines.get(number, ()))
            or any(key == armed for armed, _ in self.entries.get(number, ()))
            or key in self.exits.get(number, ())
            or key in self.raises.get(number, ())
        )

    def _put(self, part: dict[int, tuple[Any, ...]], code: CodeType, armed: Key) -> None:
        there = part.get(id(code), ())
        self.codes[id(code)] = code
        if armed not in there:
            part[id(code)] = (*there, armed)

    def _take(
        self, part: dict[int, tuple[Any, ...]], code: CodeType, armed: Key, *, if_only: bool = True
    ) -> None:
        left = tuple(one for one in part.get(id(code), ()) if one != armed)
        if not if_only or id(code) not in part:
            return
        if left:
            part[id(code)] = left
            return
        del part[id(code)]
        self._release(code)

    def _release(self, code: CodeType) -> None:
        if not any(id(code) in part for part in (self.lines, self.entries, self.exits, self.raises)):
            self.codes.pop(id(code), None)


def _by_offset(wanted: dict[Key, frozenset[int] | None]) -> dict[int | None, tuple[Key, ...]]:
    """Offset -> keys. A key without starts is wanted at each offset that another one names, too."""
    offsets = {offset for starts in wanted.values() if starts is not None for offset in starts}
    made: dict[int | None, tuple[Key, ...]] = {
        offset: tuple(key for key, starts in wanted.items() if starts is None or offset in starts)
        for offset in offsets
    }
    anywhere = tuple(key for key, starts in wanted.items() if starts is None)
    return {**made, None: anywhere} if anywhere else made
