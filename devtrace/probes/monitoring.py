"""The engine of CPython 3.12 and newer: `sys.monitoring` (PEP 669), with local events on the armed code only.

A LINE event where nothing is armed is answered with DISABLE and costs nothing from then on. What the
interpreter does, and what we do about it:

    an id of ours                   4, 3 or 5: never 0 (debuggers), 1 (coverage) or 2 (profilers)
    DISABLE outlives a new probe    the events of the code object are taken away and put back
    `restart_events` of other tools each place is asked about once more, and disabled again
    `free_tool_id` clears nothing   (before 3.14) events and callbacks are taken back one by one before it
    DISABLE of a global PY_START    silences the tool's local ones too: to discover has a tool id of its own
    PY_UNWIND and RAISE             cannot be local, nor be disabled: on only while one is armed

Lives here: `Monitoring`. Not here: the table of what is armed (engine.py). Standard library only: a guest
imports this.
"""

from __future__ import annotations

import sys
from threading import RLock

from devtrace.probes.engine import Engine, EngineBusy, is_ours

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType
    from typing import Any

    from devtrace.probes.engine import Key, OnHit, OnNewCode, Table

NAME = "devtrace-probes"
TOOL_IDS = (4, 3, 5)
_monitoring: Any = getattr(sys, "monitoring", None)  # None: nobody may ask for this engine
_NONE = -1
_GOES_ON = 0x20 | 0x80 | 0x200  # co_flags of generators and coroutines, sync or not
_MOST_SEEN = 10_000  # of these that discovery remembers


class Monitoring(Engine):
    """See `engine.Engine`."""

    name = "monitoring"

    def __init__(self, because: str):
        super().__init__(because)
        self._lock = RLock()  # a callback of ours may arm
        self._tool = _NONE
        self._discovery = _NONE
        self._has_discovered = False
        self._seen: dict[int, CodeType] = {}  # generators of which discovery has told
        self._on_hit: OnHit = _to_nobody
        self._on_new_code: OnNewCode = _to_nobody
        self._events: Any = None if _monitoring is None else _monitoring.events

    def start(self, on_hit: OnHit, on_new_code: OnNewCode) -> None:
        self._on_hit = on_hit
        self._on_new_code = on_new_code

    def stop(self) -> None:
        with self._lock:
            self.discover(False)
            codes = list(self._table.codes.values())
            self._table.clear()
            for code in codes:
                self._listen(code)
            self._let_go()

    def arm(self, code: CodeType, line: int, starts: Iterable[int] | None, key: Key) -> None:
        self._change(code, lambda table: table.add_line(code, line, starts, key))

    def disarm(self, code: CodeType, line: int, key: Key) -> None:
        self._change(code, lambda table: table.remove_line(code, line, key), is_more=False)

    def arm_entry(self, code: CodeType, key: Key) -> None:
        self._change(code, lambda table: table.add("entries", code, key))

    def disarm_entry(self, code: CodeType, key: Key) -> None:
        self._change(code, lambda table: table.remove("entries", code, key), is_more=False)

    def arm_exit(self, code: CodeType, key: Key) -> None:
        self._change(code, lambda table: table.add("exits", code, key))

    def disarm_exit(self, code: CodeType, key: Key) -> None:
        self._change(code, lambda table: table.remove("exits", code, key), is_more=False)

    def arm_raise(self, code: CodeType, key: Key) -> None:
        self._change(code, lambda table: table.add("raises", code, key))

    def disarm_raise(self, code: CodeType, key: Key) -> None:
        self._change(code, lambda table: table.remove("raises", code, key), is_more=False)

    def drop(self, key: Key) -> None:
        with self._lock:
            for code in self._table.holding(key):
                self._table.drop(code, key)
                self._listen(code)
            self._listen_everywhere()

    def forget_lock(self) -> None:
        self._lock = RLock()

    def discover(self, is_on: bool) -> bool:
        """False, too, where no second tool id is free."""
        with self._lock:
            if is_on and self._discovery == _NONE:
                self._begin_discovery()
            elif not is_on and self._discovery != _NONE:
                self._free(self._discovery, self._discovery_callbacks())
                self._discovery = _NONE
                self._seen.clear()
            return self._discovery != _NONE

    def _change(self, code: CodeType, change: Callable[[Table], None], *, is_more: bool = True) -> None:
        """The table first: a callback that looks before the events are on must not answer DISABLE."""
        with self._lock:
            if is_more and not self._is_held():
                self._take_hold()
            change(self._table)
            self._listen(code, is_anew=is_more)
            self._listen_everywhere()

    def _listen(self, code: CodeType, *, is_anew: bool = False) -> None:
        """Local events as the table wants them. `is_anew`: also where DISABLE was answered before.

        One call in C makes both changes, so that no thread runs in between and misses another probe's hit.
        """
        if not self._is_held():
            return
        table, events, number = self._table, self._events, id(code)
        wanted = events.LINE if number in table.lines else 0
        wanted |= events.PY_START if number in table.entries else 0
        wanted |= events.PY_RETURN if number in table.exits else 0
        steps = (0, wanted) if is_anew else (wanted,)
        several = len(steps)
        set_local = _monitoring.set_local_events
        tuple(map(set_local, (self._tool,) * several, (code,) * several, steps))

    def _listen_everywhere(self) -> None:
        """What cannot be local; and nothing at all is held once nothing is armed."""
        if not self._is_held():
            return
        table, events = self._table, self._events
        if not table.codes:
            self._let_go()
            return
        wanted = events.PY_UNWIND if table.exits else 0
        wanted |= events.RAISE if table.raises else 0
        _monitoring.set_events(self._tool, wanted)

    def _is_held(self) -> bool:
        """Another tool may have freed our id, and taken it."""
        return self._tool != _NONE and _monitoring.get_tool(self._tool) == NAME

    def _take_hold(self) -> None:
        self._tool = _free_id()
        if self._tool == _NONE:
            raise EngineBusy("the tool ids 3, 4 and 5 of sys.monitoring are taken by other tools")
        _monitoring.use_tool_id(self._tool, NAME)
        for event, callback in self._callbacks().items():
            _monitoring.register_callback(self._tool, event, callback)
        for code in list(self._table.codes.values()):  # where an id of ours was lost
            self._listen(code)

    def _let_go(self) -> None:
        if self._tool != _NONE:
            self._free(self._tool, self._callbacks())
        self._tool = _NONE

    def _free(self, tool: int, callbacks: Iterable[int]) -> None:
        if _monitoring.get_tool(tool) != NAME:
            return
        _monitoring.set_events(tool, 0)
        for event in callbacks:
            _monitoring.register_callback(tool, event, None)
        _monitoring.free_tool_id(tool)

    def _begin_discovery(self) -> None:
        self._discovery = _free_id()
        if self._discovery == _NONE:
            return
        _monitoring.use_tool_id(self._discovery, NAME)
        if self._has_discovered:  # DISABLE outlives the one who said it
            _monitoring.restart_events()
        self._has_discovered = True
        callbacks = self._discovery_callbacks()
        for event, callback in callbacks.items():
            _monitoring.register_callback(self._discovery, event, callback)
        _monitoring.set_events(self._discovery, sum(callbacks))

    def _discovery_callbacks(self) -> dict[int, Any]:
        """A generator that was suspended before has no start left to be seen by."""
        return {
            self._events.PY_START: self._discovering(is_start=True),
            self._events.PY_RESUME: self._discovering(is_start=False),
        }

    def _discovering(self, *, is_start: bool) -> Callable[[CodeType, int], Any]:
        frame_at, disable, entries = sys._getframe, _monitoring.DISABLE, self._table.entries
        seen = self._seen

        def on_code(code: CodeType, _offset: int) -> Any:
            try:
                number = id(code)
                if code.co_flags & _GOES_ON:  # each place where it goes on is looked at
                    if number in seen:
                        return disable
                    if len(seen) >= _MOST_SEEN:
                        seen.clear()
                    seen[number] = code
                was_armed = number in entries
                self._on_new_code(code)
                # This call is under way: of it our other tool hears no more.
                if is_start and not was_armed and number in entries:
                    for key, what in entries[number]:
                        self._on_hit(key, what, frame_at(1), None)
            except Exception as error:
                if not self._swallows(error):
                    raise
            return disable

        return on_code

    def _swallows(self, error: Exception) -> bool:
        """An exception of ours must not reach the program; one of its own must."""
        is_swallowed = is_ours(error)
        self.failures += is_swallowed
        return is_swallowed

    def _callbacks(self) -> dict[int, Any]:
        """Closures: their names are found without a dictionary."""
        return {
            self._events.LINE: self._line_callback(),
            self._events.PY_START: self._start_callback(),
            self._events.PY_RETURN: self._value_callback(self._table.exits, "return"),
            self._events.PY_UNWIND: self._value_callback(self._table.exits, "unwind"),
            self._events.RAISE: self._value_callback(self._table.raises, "raise"),
        }

    def _line_callback(self) -> Callable[[CodeType, int], Any]:
        on_hit, swallows, lines_of = self._on_hit, self._swallows, self._table.lines
        frame_at, disable = sys._getframe, _monitoring.DISABLE

        def on_line(code: CodeType, line: int) -> Any:
            try:
                number = id(code)
                frame = frame_at(1)
                # From here to DISABLE nothing is called and nothing loops, so the GIL stays with us: what
                # another thread arms is seen here, or else armed after DISABLE, and never lost between.
                if number not in lines_of:
                    return disable
                lines = lines_of[number]
                if line not in lines:
                    return disable
                keys_at = lines[line]
                where: int | None = frame.f_lasti
                if where not in keys_at:
                    if None not in keys_at:
                        return disable
                    where = None
                for key in keys_at[where]:
                    on_hit(key, "line", frame, None)
            except Exception as error:
                if not swallows(error):
                    raise
            return None

        return on_line

    def _start_callback(self) -> Callable[[CodeType, int], Any]:
        on_hit, swallows, entries, frame_at = self._on_hit, self._swallows, self._table.entries, sys._getframe

        def on_start(code: CodeType, _offset: int) -> Any:
            try:
                number = id(code)
                if number in entries:
                    for key, what in entries[number]:
                        on_hit(key, what, frame_at(1), None)
            except Exception as error:
                if not swallows(error):
                    raise

        return on_start

    def _value_callback(
        self, armed: dict[int, tuple[Key, ...]], what: str
    ) -> Callable[[CodeType, int, object], Any]:
        on_hit, swallows, frame_at = self._on_hit, self._swallows, sys._getframe

        def on_value(code: CodeType, _offset: int, value: object) -> Any:
            try:
                number = id(code)
                if number in armed:
                    for key in armed[number]:
                        on_hit(key, what, frame_at(1), value)
            except Exception as error:
                if not swallows(error):
                    raise

        return on_value


def _free_id() -> int:
    return next((one for one in TOOL_IDS if _monitoring.get_tool(one) is None), _NONE)


def _to_nobody(*_told: object) -> None:
    """Before `start`."""
