"""The engine of CPython 3.11, and where it is asked for: `sys.settrace`.

While a probe is armed each call in the program costs about 0.3 us, and each line of an armed function more;
the rest of the program's lines cost nothing. Debuggers and coverage use the same single place: one that has
it is left alone, and arming says EngineBusy; one that takes it later keeps it, and we are silent in that
thread.

    this thread, and new ones       sys.settrace, threading.settrace
    threads that run already        3.12+: threading.settrace_all_threads; 3.11: by its C function, for which
                                    each thread installs us at its next event. Without ctypes, or beside a
                                    hook for audits, they are unseen, and `misses` says so
    functions that run already      f_trace of their frames
    the end                         this thread at once, others at their next call

Lives here: `PyTrace`. Not here: the table of what is armed (engine.py). Standard library only: a guest
imports this.
"""

from __future__ import annotations

import gc
import sys
import threading
from _thread import get_ident
from collections import deque
from functools import partial
from itertools import accumulate, chain, repeat, starmap, takewhile
from opcode import opmap
from time import sleep
from types import FunctionType, MethodType

from devtrace.probes.engine import Engine, EngineBusy, is_ours

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import CodeType, FrameType
    from typing import Any

    from devtrace.probes.engine import Key, OnHit, OnNewCode, Table

_RESUME = opmap["RESUME"]
_IS_RESUMED = 3  # the bits of its argument that say after what: nothing, yield, yield from, await
_RETURNS = {opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST", "RETURN_GENERATOR") if name in opmap}
_YIELDS = {opmap[name] for name in ("YIELD_VALUE", "SEND", "RESUME")}  # 3.13+ is at the RESUME behind it
_SWALLOWS = {opmap[name] for name in ("FOR_ITER", "SEND")}  # a StopIteration that nobody ever sees
_SHARES = 0x10 | 0x20 | 0x80 | 0x200  # co_flags: nested; a generator, coroutine or both, which goes on
_WRITES_BACK = sys.version_info < (3, 13)  # PEP 667
_MOST_SEEN = 50_000  # code objects of which discovery remembers that it has told
_MOST_FRAMES = 10_000  # of one thread's stack
_C_CALL, _C_EXCEPTION, _C_LINE, _C_RETURN = range(4)  # Include/cpython/pystate.h, PyTrace_*


class PyTrace(Engine):
    """See `engine.Engine`."""

    name = "pytrace"

    def __init__(self, because: str):
        super().__init__(because)
        self._lock = threading.RLock()
        self._is_on = False
        self._is_discovering = False
        self._seen: dict[int, CodeType] = {}
        self._raised: dict[int, tuple[int, object]] = {}  # id of a frame with an exit -> where, what
        self._on_hit: OnHit = _to_nobody
        self._on_new_code: OnNewCode = _to_nobody
        # Once: each look at a method makes a new object, and these are compared by identity.
        self._global: Any = self._called
        self._local: Any = self._happened

    def start(self, on_hit: OnHit, on_new_code: OnNewCode) -> None:
        self._on_hit = on_hit
        self._on_new_code = on_new_code

    def stop(self) -> None:
        with self._lock:
            self._table.clear()
            self.discover(False)
            self._settle()

    def arm(self, code: CodeType, line: int, starts: Iterable[int] | None, key: Key) -> None:
        self._add(code, lambda table: table.add_line(code, line, starts, key))

    def disarm(self, code: CodeType, line: int, key: Key) -> None:
        self._remove(lambda table: table.remove_line(code, line, key))

    def arm_entry(self, code: CodeType, key: Key) -> None:
        self._add(code, lambda table: table.add("entries", code, key))

    def disarm_entry(self, code: CodeType, key: Key) -> None:
        self._remove(lambda table: table.remove("entries", code, key))

    def arm_exit(self, code: CodeType, key: Key) -> None:
        self._add(code, lambda table: table.add("exits", code, key))

    def disarm_exit(self, code: CodeType, key: Key) -> None:
        self._remove(lambda table: table.remove("exits", code, key))

    def arm_raise(self, code: CodeType, key: Key) -> None:
        self._add(code, lambda table: table.add("raises", code, key))

    def disarm_raise(self, code: CodeType, key: Key) -> None:
        self._remove(lambda table: table.remove("raises", code, key))

    def drop(self, key: Key) -> None:
        with self._lock:
            for code in self._table.holding(key):
                self._table.drop(code, key)
            self._settle()

    def forget_lock(self) -> None:
        self._lock = threading.RLock()

    def discover(self, is_on: bool) -> bool:
        """False, too, where another tool has the place."""
        with self._lock:
            if is_on and not self._is_discovering:
                try:
                    self._install()
                except EngineBusy:
                    return False
                self._seen.clear()
            self._is_discovering = is_on
            self._settle()
            return is_on

    def _add(self, code: CodeType, change: Callable[[Table], None]) -> None:
        with self._lock:
            self._install()
            change(self._table)
            for frame in _frames():
                if frame.f_code is code:
                    frame.f_trace = self._local

    def _remove(self, change: Callable[[Table], None]) -> None:
        with self._lock:
            change(self._table)
            self._settle()

    def _install(self) -> None:
        """Raises EngineBusy."""
        if self._is_on:
            return
        taker = self._taker()
        if taker:
            raise EngineBusy(f"another tool has set a trace function ({taker})")
        self._is_on = True
        threading.settrace(self._global)
        for_running_threads = getattr(threading, "settrace_all_threads", None)
        if for_running_threads is not None:
            for_running_threads(self._global)
        else:
            self.misses = _on_next_event(self._arrive)
        sys.settrace(self._global)

    def _settle(self) -> None:
        """Nothing of ours stays when nothing is asked for."""
        if not self._is_on or self._table.codes or self._is_discovering:
            return
        self._is_on = False
        self._seen.clear()
        self._raised.clear()
        if threading.gettrace() is self._global:
            threading.settrace(None)
        for frame in _frames():
            if frame.f_trace is self._local:
                frame.f_trace = None
        self._leave_thread()

    def _leave_thread(self) -> None:
        if sys.gettrace() is self._global:
            sys.settrace(None)

    def _taker(self) -> str:
        """Whose trace function is there; "" for nobody's. Other threads' are seen by their frames only."""
        for one in (sys.gettrace(), threading.gettrace(), *(frame.f_trace for frame in _frames())):
            if one is not None and one is not self._global and one is not self._local:
                return _name_of(one)
        return ""

    def _arrive(self, frame: FrameType, what: int) -> None:
        """The first event of a thread that ran before us."""
        if not self._is_on:
            return
        sys.settrace(self._global)
        for one in _up(frame):
            if id(one.f_code) in self._table.codes:
                one.f_trace = self._local
        if what == _C_CALL:
            frame.f_trace = self._called(frame, "call", None)
        elif what == _C_LINE and frame.f_trace is self._local:
            self._happened(frame, "line", None)

    def _called(self, frame: FrameType, _event: str, _arg: object) -> Any:
        """Every call, and every generator that goes on."""
        try:
            if not self._is_on:
                self._leave_thread()
                return None
            code = frame.f_code
            number = id(code)
            if self._is_discovering and number not in self._seen:
                self._tell(code)
            table = self._table
            if number not in table.codes:
                if code.co_flags & _SHARES:
                    _refresh(frame)
                return None
            if number in table.entries and _is_start(frame):
                for key, what in table.entries[number]:
                    self._on_hit(key, what, frame, None)
        except Exception as error:
            if not self._swallows(error):
                raise
        _refresh(frame)
        return self._local

    def _happened(self, frame: FrameType, event: str, arg: Any) -> Any:
        """A line, a return or an exception of a function that is armed, or was when it was called."""
        try:
            if not self._is_on:
                frame.f_trace = None
                self._leave_thread()
                return None
            number = id(frame.f_code)
            table = self._table
            if event == "line":
                if number in table.lines:
                    self._line(frame, table.lines[number])
            elif event == "return":
                if number in table.exits:
                    self._left(frame, arg, table.exits[number])
            elif event == "exception" and (number in table.raises or number in table.exits):
                self._thrown(frame, arg, number)
        except Exception as error:
            if not self._swallows(error):
                raise
        _refresh(frame)
        return self._local

    def _line(self, frame: FrameType, lines: dict[int, dict[int | None, tuple[Key, ...]]]) -> None:
        keys_at = lines.get(frame.f_lineno)
        if keys_at is None:
            return
        where = frame.f_lasti
        for key in keys_at[where] if where in keys_at else keys_at.get(None, ()):
            self._on_hit(key, "line", frame, None)

    def _left(self, frame: FrameType, value: object, keys: tuple[Key, ...]) -> None:
        """A yield comes here as well; and an exception, of which this event does not say which."""
        where, raised = self._raised.pop(id(frame), (None, None))
        operation = frame.f_code.co_code[frame.f_lasti]
        is_unwound = value is None and operation not in _RETURNS
        if operation in _YIELDS and not (is_unwound and where == frame.f_lasti):
            return
        for key in keys:
            self._on_hit(key, "unwind" if is_unwound else "return", frame, raised if is_unwound else value)

    def _thrown(self, frame: FrameType, arg: tuple[type, object, object], number: int) -> None:
        kind, error, _ = arg
        if kind is StopIteration and frame.f_code.co_code[frame.f_lasti] in _SWALLOWS:
            return
        if number in self._table.exits:
            self._raised[id(frame)] = (frame.f_lasti, error)
        for key in self._table.raises.get(number, ()):
            self._on_hit(key, "raise", frame, error)

    def _tell(self, code: CodeType) -> None:
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[id(code)] = code
        self._on_new_code(code)

    def _swallows(self, error: Exception) -> bool:
        """An exception of ours must not reach the program; one of its own must."""
        is_swallowed = is_ours(error)
        self.failures += is_swallowed
        return is_swallowed


def _refresh(frame: FrameType) -> None:
    """Up to 3.12 the interpreter writes a frame's variables back after each call of a trace function, as they
    stood when `f_locals` was read last. What other threads have put into shared cells since would be undone.
    """
    code = frame.f_code
    if _WRITES_BACK and (code.co_cellvars or code.co_freevars):
        _ = frame.f_locals


def _is_start(frame: FrameType) -> bool:
    """Whether this call is no generator that goes on."""
    where = frame.f_lasti
    raw = frame.f_code.co_code
    return where < 0 or raw[where] != _RESUME or not raw[where + 1] & _IS_RESUMED


def _frames() -> Iterator[FrameType]:
    """Of all threads, but for our own frames: one that held itself would live until a collection."""
    tops = sys._current_frames()
    own: FrameType | None = tops.pop(get_ident(), None)
    while own is not None and own.f_globals is globals():
        own = own.f_back
    for top in tops.values():
        yield from _up(top)
    if own is not None:
        yield from _up(own)


def _up(top: FrameType) -> Iterator[FrameType]:
    frame: FrameType | None = top
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _name_of(tool: object) -> str:
    """Without asking an object of somebody's own for anything."""
    if type(tool) is MethodType:
        tool = tool.__func__
    return str(tool.__module__) if type(tool) is FunctionType else "one written in C"


def _to_nobody(*_told: object) -> None:
    """Before `start`."""


_kept: dict[Any, Any] = {}  # C functions that the interpreter may still call: they must never be collected
_UNSEEN = "threads that ran before the probe was set are not seen: "
_SETTLED_S = 0.001  # a thread that was begun before has all its state


def _on_next_event(arrive: Callable[[FrameType, int], None]) -> str:
    """CPython 3.11: let every other thread call `arrive` in itself, once. Else: why that cannot be done.

    `_PyEval_SetTrace` is what `PyEval_SetTraceAllThreads` of 3.12 calls for each thread. Pointers to threads
    are valid only while no other thread runs, and three things would let one: a hook for audits, which that
    function calls; a collection; and bytecode of ours. A thread that C begins just now may be half made: only
    those are touched that were there a little earlier.
    """
    try:
        from ctypes import PYFUNCTYPE, PyDLL, c_int, c_void_p, cast, py_object

        api = PyDLL(None)  # our own, for what is declared of its functions
        set_trace, following = api._PyEval_SetTrace, api.PyThreadState_Next
        first, interpreter = api.PyInterpreterState_ThreadHead, api.PyInterpreterState_Get
        own = api.PyThreadState_Get
    except (ImportError, OSError, AttributeError):
        return f"{_UNSEEN}this Python has no ctypes"

    if arrive not in _kept:
        _kept[arrive] = PYFUNCTYPE(c_int, c_void_p, py_object, c_int, c_void_p)(_arrival(arrive))
    for function in (first, own, interpreter, following):
        function.restype = c_void_p
    first.argtypes = [c_void_p]
    following.argtypes = [c_void_p]
    set_trace.argtypes = [c_void_p, c_void_p, c_void_p]
    callback, head, me = cast(_kept[arrive], c_void_p), partial(first, interpreter()), own()
    before = {*_thread_states(head, following)} - {me}
    if not before:
        return ""
    sleep(_SETTLED_S)
    is_collecting = gc.isenabled()
    gc.disable()  # what it collects may run Python code
    try:
        if _has_audit_hook():
            return f"{_UNSEEN}a hook for audits is installed"
        others = filter(before.__contains__, _thread_states(head, following))
        deque(map(set_trace, others, repeat(callback), repeat(None)), maxlen=0)
    finally:
        if is_collecting:
            gc.enable()
    return ""


def _arrival(arrive: Callable[[FrameType, int], None]) -> Callable[..., int]:
    """What C calls. An exception that a handler of a signal raised meanwhile is passed on by Python's own
    trace function at the next event, for from here it cannot leave.
    """

    def called(_self: Any, frame: Any, what: int, _arg: Any) -> int:
        try:
            sys.settrace(None)  # whatever happens: never again
            arrive(frame, what)
        except BaseException as error:
            passing_on = partial(_pass_on, error)
            for one in _up(frame):  # this one may be at its end
                one.f_trace = passing_on
            sys.settrace(passing_on)
        return 0

    return called


def _pass_on(error: BaseException, frame: FrameType, _event: str, _arg: object) -> None:
    """A trace function that raises is taken away by the interpreter."""
    for one in _up(frame):
        one.f_trace = None
    raise error


def _has_audit_hook() -> bool:
    """`sys.audit` looks at its arguments only where somebody listens."""
    nothing: Any = None
    try:
        sys.audit(nothing)
    except TypeError:
        return True
    return False


def _thread_states(first: Callable[[], Any], following: Callable[..., Any]) -> Iterator[Any]:
    """Pointers to each thread's state, by C alone: a thread only changes where Python code runs."""
    return takewhile(bool, accumulate(chain(starmap(first, ((),)), repeat(0)), following))
