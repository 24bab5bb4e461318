"""The engine of CPython 3.11: `sys.settrace`, for each thread that is born after us and for this one.

Not as good as sys.monitoring: threads that were at work before are not seen, a program that sets a trace
function of its own takes ours away, and that an exception was handled is told by the next line only.

Lives here: `SetTrace`. Not here: what is written (tracking.py, writing.py). Standard library only: a guest
imports this.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from opcode import opmap
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from devtrace.recorder import tracking
from devtrace.recorder.io_hooks import without_hooks
from devtrace.recorder.lines import is_delegation
from devtrace.recorder.recording import new_state
from devtrace.recorder.tracking import COROUTINE, again_all, put_result, settle_all, special
from devtrace.store.trace import records

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from devtrace.recorder.recording import Recording

_RETURNS = {opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST", "RETURN_GENERATOR") if name in opmap}
# From 3.13 on a frame that has yielded is at the RESUME behind it.
_YIELDS = {opmap[name] for name in ("YIELD_VALUE", "SEND", "RESUME")}


class TracerTaken(Exception):
    """A debugger, or a tool for coverage, has set its own trace function."""


class SetTrace:
    """`start` and `stop`, each once."""

    name = "settrace"

    def __init__(self, recording: Recording, caught: Callable[[str, BaseException], bool]):
        """`caught`: told of an exception in a callback; whether it is the program's own and must go on."""
        self._recording = recording
        self._caught = caught
        self._bytes: dict[int, bytes] = {}
        self._trace = self._tracer()
        self._is_on = False
        self._thread = 0

    def start(self) -> None:
        """Raises TracerTaken."""
        import threading

        found = sys.gettrace()
        if found is not None and getattr(found, "__module__", "") != __name__:
            raise TracerTaken  # one of ours is left over where another thread has stopped it
        self._is_on = True
        self._thread = get_ident()
        threading.settrace(self._trace)
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if self._recording.admit(frame.f_code, frame) is not None:
                frame.f_trace = self._local
            frame = frame.f_back
        sys.settrace(self._trace)

    def stop(self) -> None:
        """May be called by any thread, and twice; other threads' functions fall silent by themselves."""
        if not self._is_on:
            return
        self._is_on = False
        threading = sys.modules.get("threading")
        if threading is not None and getattr(threading, "_trace_hook", None) is self._trace:
            threading.settrace(None)
        if sys.gettrace() is self._trace:
            sys.settrace(None)
        elif self._thread == get_ident():
            self._recording.tell_gap("tracer_lost")  # it was replaced, or there was no stack left to call it
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_trace is self._local:
                frame.f_trace = None
            frame = frame.f_back

    def rearm(self) -> None:
        """What was skipped so far is asked about again at its next call anyhow."""

    def _leaving(self, frame: FrameType, value: Any, is_failing: bool) -> int:
        """How a frame is left, by the instruction at which it is."""
        code = frame.f_code
        raw = self._bytes.get(id(code))
        if raw is None:
            raw = self._bytes[id(code)] = code.co_code
        operation = raw[frame.f_lasti] if frame.f_lasti >= 0 else 0
        if operation in _YIELDS:
            return records.UNWOUND if is_failing else records.YIELDED
        return records.UNWOUND if value is None and operation not in _RETURNS else records.RETURNED

    def _tracer(self) -> Callable[[FrameType, str, Any], Any]:
        recording, caught = self._recording, self._caught
        infos, local, suspended = recording.infos, recording.local, recording.suspended
        admit, resync, begin_thread = recording.admit, recording.resync, recording.begin_thread
        has_values, has_lines = recording.detail == "values", recording.detail != "calls"
        now = perf_counter_ns

        def called(frame: FrameType, _event: str, _arg: Any) -> Any:
            """Every call, and every generator that goes on."""
            if not self._is_on:
                return None
            try:
                code = frame.f_code
                info = infos.get(id(code))
                if info is None:
                    if id(code) in infos:
                        return None
                    info = admit(code, frame)
                    if info is None:
                        return None
                try:
                    stream = local.stream
                except AttributeError:
                    stream = begin_thread(frame.f_back)
                state = suspended.pop(id(frame), None) if info.is_generator else None
                goes_on = state is not None and state[0] is code
                if state is None or not goes_on:
                    state = new_state(info)
                move = info.number << 24 | records.RESUMED << 4 | records.RESUME if goes_on else info.call
                if stream.at + 3 > len(stream.words):  # first: the block then says what was at work before
                    stream.turn()
                stream.with_clock(move, now())
                stream.stack.append(stream.top)
                stream.top = state
                if goes_on:
                    stream.word(state[5] << 4 | records.FRAME)
                if info.number not in stream.defined:
                    stream.define(info)
                if goes_on:
                    if code.co_flags & COROUTINE:
                        recording.tell_task(stream)
                else:
                    if info.is_special:
                        special(stream, state, info, frame)
                    if info.plain_arguments is not None:
                        again_all(stream, state, info, frame)
                if not has_lines:
                    frame.f_trace_lines = False
            except RecursionError:  # the program is at its limit: no call of ours may follow
                try:  # noqa: SIM105 - suppress() is a call
                    local.stream.top = None  # what is at work is found anew
                except (AttributeError, RecursionError):
                    pass
            except BaseException as error:
                if caught("call", error):
                    raise
                return None
            return traced

        def traced(frame: FrameType, event: str, arg: Any) -> Any:
            """What happens in a frame that is recorded."""
            if not self._is_on:
                return None
            try:
                try:
                    stream = local.stream
                except AttributeError:
                    stream = begin_thread(frame)
                state = stream.top
                code = frame.f_code
                if state is None or state[0] is not code:
                    resync(stream, frame)
                    state = stream.top
                    if state is None or state[0] is not code:
                        return traced
                if event == "line":
                    if has_values and stream.error and stream.raised_in is state:
                        tracking.put_handled(stream)
                        tracking.forget_fleeting(stream, state, frame)
                    if state[2] is not None or state[3] is not None:
                        settle_all(stream, state, frame)
                    word, state[2], state[3] = state[1][frame.f_lineno]
                    stream.word(word)
                elif event == "exception":
                    if recording.left_through[0]:
                        recording.left_through[0] = False
                        without_hooks(arg[2])
                    is_fresh = arg[2] is not None and arg[2].tb_next is None  # ids are given to others later
                    if arg[0] is StopIteration and is_delegation(code, frame.f_lasti):
                        pass  # how an `await` and a `yield from` get their value
                    elif is_fresh or stream.error != id(arg[1]) or stream.raised_in is state:
                        tracking.put_raised(stream, state, arg[1])
                    else:
                        stream.raised_in = state
                elif event == "return":
                    is_failing = arg is None and stream.error and stream.raised_in is state
                    how = self._leaving(frame, arg, is_failing)
                    settle_all(stream, state, frame)
                    if has_values and how != records.UNWOUND:
                        if stream.error and stream.raised_in is state:
                            tracking.put_handled(stream)
                        put_result(stream, state, arg)
                    stream.with_clock(state[4].returns | how << 4, now())
                    stream.top = stream.stack.pop() if stream.stack else None
                    if how == records.YIELDED:
                        suspended[id(frame)] = state
                        if has_values:  # the line goes on when the generator does, and stores then
                            _, state[2], state[3] = state[1][frame.f_lineno]
            except RecursionError:  # the program is at its limit: no call of ours may follow
                try:  # noqa: SIM105 - suppress() is a call
                    local.stream.top = None  # what is at work is found anew
                except (AttributeError, RecursionError):
                    pass
            except BaseException as error:
                if caught(event, error):
                    raise
            return traced

        self._local = traced
        return called
