"""What `sys.monitoring` tells seldom: yields, generators that go on, exceptions, jumps back to their line.

Each callback is one function in one guard: what goes wrong in it must not reach the program, and what is the
program's own, a signal handler's exception, must. Calls, lines and returns come too often for a guard of
their own (monitoring.py).

Lives here: `Seldom`. Not here: which events are heard (monitoring.py), what is written (tracking.py).
Standard library only: a guest imports this.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from devtrace.recorder.io_hooks import without_hooks
from devtrace.recorder.lines import is_delegation, is_end_of_loop, is_handled, one_line_loops
from devtrace.recorder.recording import new_state
from devtrace.recorder.tracking import (
    COROUTINE,
    forget_fleeting,
    put_handled,
    put_raised,
    put_result,
    settle_all,
)
from devtrace.store.trace import records

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from devtrace.recorder.recording import Recording
    from devtrace.recorder.writing import Frame, Stream

_TRACEBACK = BaseException.__dict__["__traceback__"].__get__
_YIELDED, _UNWOUND = records.YIELDED << 4, records.UNWOUND << 4
_frame_at = sys._getframe
_monitoring: Any = getattr(sys, "monitoring", None)  # None: this interpreter has none, and nobody asks
_DISABLE: Any = getattr(_monitoring, "DISABLE", None)
_PROGRAM = 2  # frames up from a function that a guard calls: its guard, and the program


class Seldom:
    """The callbacks of one recording."""

    def __init__(
        self,
        recording: Recording,
        caught: Callable[[str, BaseException], bool],
        listen: Callable[[CodeType, int], None],
    ):
        """`listen`: hear of what happens in that code, and of these events besides."""
        self._recording = recording
        self._caught = caught
        self._listen = listen
        self._has_values = recording.detail == "values"
        self._loops: dict[int, dict[int, int]] = {}
        self._handled: dict[tuple[int, int], bool] = {}
        self._late: dict[int, BaseException] = {}  # by thread: what a handler raised in the midst of a jump

    def callbacks(self) -> dict[str, Callable[..., Any]]:
        """By the names of `sys.monitoring.events`."""
        told: dict[str, Callable[..., Any]] = {
            "PY_YIELD": self._yielded,
            "PY_UNWIND": self._unwound,
            "PY_RESUME": self._resumed,
            "PY_THROW": self._thrown,
            "RAISE": self._raised,
            "RERAISE": self._reraised,
            "JUMP": self._jumped,
        }
        return {name: self._guarded(name, act) for name, act in told.items()} | {
            "INSTRUCTION": self._instruction
        }

    def _guarded(self, label: str, act: Callable[..., Any]) -> Callable[..., Any]:
        local, caught = self._recording.local, self._caught
        is_jump = label == "JUMP"

        def callback(code: CodeType, offset: int, value: Any = None) -> Any:
            try:
                return act(code, offset, value)
            except RecursionError:  # the program is at its limit: no call of ours may follow
                try:  # noqa: SIM105 - suppress() is a call
                    local.stream.top = None  # what is at work is found anew
                except (AttributeError, RecursionError):
                    pass
            except BaseException as error:
                if caught(label.lower(), error):
                    if not is_jump:
                        raise
                    self._raise_later(code, error)
            return None

        return callback

    # --- generators ---

    def _yielded(self, code: CodeType, _: int, value: Any) -> None:
        frame = _frame_at(_PROGRAM)
        state = self._left(code, frame, _YIELDED, value)
        if state is not None:
            self._recording.suspended[id(frame)] = state
            if self._has_values:  # the line goes on when the generator does, and stores then
                _, state[2], state[3] = state[1][frame.f_lineno]

    def _unwound(self, code: CodeType, _: int, __: BaseException) -> None:
        self._left(code, _frame_at(_PROGRAM), _UNWOUND, None)

    def _left(self, code: CodeType, frame: FrameType, how: int, value: Any) -> Frame | None:
        """Write that a frame yields or is unwound; None: it is not recorded."""
        stream = self._stream_in(code, frame)
        if stream is None or stream.top is None:
            return None
        state = stream.top
        settle_all(stream, state, frame)
        if self._has_values and how == _YIELDED:
            put_result(stream, state, value)
        stream.with_clock(state[4].returns | how, perf_counter_ns())
        stream.top = stream.stack.pop() if stream.stack else None
        return state

    def _resumed(self, code: CodeType, _: int, __: None) -> None:
        self._goes_on(code, _frame_at(_PROGRAM), records.RESUMED)

    def _thrown(self, code: CodeType, _: int, __: BaseException) -> None:
        self._goes_on(code, _frame_at(_PROGRAM), records.THROWN)

    def _goes_on(self, code: CodeType, frame: FrameType, how: int) -> None:
        recording = self._recording
        info = recording.infos.get(id(code))
        if info is None:
            return
        stream = getattr(recording.local, "stream", None) or recording.begin_thread(frame.f_back)
        state = recording.suspended.pop(id(frame), None)
        if state is None or state[0] is not code:
            state = new_state(info)
            state[5] = next(recording.frame_numbers)
        if stream.at + 3 > len(stream.words):  # first of all: the block then says what was at work before
            stream.turn()
        stream.with_clock(info.number << 24 | how << 4 | records.RESUME, perf_counter_ns())
        stream.stack.append(stream.top)
        stream.top = state
        if state[5]:
            stream.word(state[5] << 4 | records.FRAME)
        if info.number not in stream.defined:
            stream.define(info)
        if code.co_flags & COROUTINE:
            recording.tell_task(stream)

    # --- exceptions ---

    def _raised(self, code: CodeType, offset: int, error: BaseException) -> None:
        left_through = self._recording.left_through
        if left_through[0]:
            left_through[0] = False
            without_hooks(error.__traceback__)
        stream = self._stream_at(code)
        if stream is None or stream.top is None:
            return
        behind = _TRACEBACK(error)
        is_fresh = behind is not None and behind.tb_next is None  # ids are given to others later
        is_stop = type(error) is StopIteration
        if is_fresh or stream.error != id(error):
            if is_stop and is_delegation(code, offset):
                return  # how an `await` and a `yield from` get their value
            put_raised(stream, stream.top, error)
        if not (is_stop and is_end_of_loop(code, offset)):
            self._goes_to(stream, offset, error, _frame_at(_PROGRAM))

    def _reraised(self, code: CodeType, offset: int, error: BaseException) -> None:
        """Behind a `finally`, and where no `except` was meant: an outer one of the same frame may be."""
        stream = self._stream_at(code)
        if stream is not None:
            self._goes_to(stream, offset, error, _frame_at(_PROGRAM))

    def _goes_to(self, stream: Stream, offset: int, error: BaseException, frame: FrameType) -> None:
        """Write that the frame handles what was raised there, if it does."""
        state = stream.top
        if state is None or not self._is_handled(state[0], offset):
            return
        if stream.error != id(error):
            stream.raised = state[4].encode(error)
        put_handled(stream)
        if self._has_values and state[4].fleeting:
            forget_fleeting(stream, state, frame)

    def _is_handled(self, code: CodeType, offset: int) -> bool:
        known = self._handled.get((id(code), offset))
        if known is None:
            known = self._handled[id(code), offset] = is_handled(code, offset)
        return known

    # --- loops in one line ---

    def _jumped(self, code: CodeType, offset: int, _: int) -> Any:
        loops = self._loops.get(id(code))
        if loops is None:
            loops = self._loops[id(code)] = one_line_loops(code)
        line = loops.get(offset)
        if line is None:
            return _DISABLE
        stream = self._stream_at(code)
        if stream is not None and stream.top is not None:
            state = stream.top
            settle_all(stream, state, _frame_at(_PROGRAM))
            word, state[2], state[3] = state[1][line]
            stream.word(word)
        return None

    def _raise_later(self, code: CodeType, error: BaseException) -> None:
        """What leaves the callback of a jump passes every `try` of its frame (CPython 3.12 and 3.13)."""
        self._late[get_ident()] = error
        self._listen(code, _monitoring.events.INSTRUCTION)

    def _instruction(self, code: CodeType, _: int) -> None:
        """The instruction behind such a jump: there it may be raised."""
        error = self._late.pop(get_ident(), None)
        if error is not None:
            self._listen(code, 0)
            raise error.with_traceback(None)

    # --- the stream ---

    def _stream_at(self, code: CodeType) -> Stream | None:
        """This thread's stream, if a frame of that code is at its top."""
        if self._recording.infos.get(id(code)) is None:
            return None
        stream: Stream | None = getattr(self._recording.local, "stream", None)
        return stream if stream is not None and stream.top is not None and stream.top[0] is code else None

    def _stream_in(self, code: CodeType, frame: FrameType) -> Stream | None:
        """The same; where another frame is at its top, the frames themselves are asked."""
        stream: Stream | None = getattr(self._recording.local, "stream", None)
        if stream is None or self._recording.infos.get(id(code)) is None:
            return None
        if stream.top is None or stream.top[0] is not code:
            self._recording.resync(stream, frame)
        return stream if stream.top is not None and stream.top[0] is code else None
