"""The engine of CPython 3.12 and newer: `sys.monitoring` (PEP 669).

PY_START is on everywhere and decided once for each code object: what is not recorded is answered with DISABLE
and costs nothing from then on, what is gets LINE, RETURN, YIELD and RESUME as local events. RAISE, RERAISE,
UNWIND and THROW cannot be local, and must never answer DISABLE.

An exception of ours that left a callback would be raised in the user's program: each callback catches all of
its own and lets through only what is not ours, a signal handler's.

Lives here: `Monitoring`, the callbacks of calls, lines and returns. Not here: the other callbacks
(seldom.py), what is written (tracking.py, writing.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import sys
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from devtrace.recorder.lines import one_line_loops
from devtrace.recorder.seldom import Seldom
from devtrace.recorder.tracking import again, put_changed, put_result, settle, settle_all, special
from devtrace.recorder.writing import RESULT_WORD

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from devtrace.recorder.recording import Recording

NAME = "devtrace"
_monitoring: Any = getattr(sys, "monitoring", None)  # None: nobody may ask for this engine
PREFERRED = (3, 4, 5, 2, 1, 0)  # 0 is a debugger's by custom, 1 coverage's, 2 a profiler's, 5 an optimizer's


def is_from_elsewhere(error: BaseException) -> bool:
    """Whether something that the callback called raised it: a handler of a signal, and not a full block."""
    traceback = error.__traceback__
    return traceback is not None and traceback.tb_next is not None


class NoToolId(Exception):
    """All tool ids of sys.monitoring are taken."""


class Monitoring:
    """`start` and `stop`, each once."""

    name = "monitoring"
    _was_used = False  # DISABLE outlives the one who said it: a second recording must undo it

    def __init__(self, recording: Recording, caught: Callable[[str, BaseException], bool]):
        """`caught`: told of an exception in a callback; whether it is the program's own and must go on."""
        self._recording = recording
        self._caught = caught
        self._tool = -1
        self._events = _monitoring.events

    def start(self) -> None:
        """Raises NoToolId."""
        monitoring, events = _monitoring, self._events
        self._tool = next((one for one in PREFERRED if monitoring.get_tool(one) is None), -1)
        if self._tool < 0:
            raise NoToolId
        monitoring.use_tool_id(self._tool, NAME)
        if Monitoring._was_used:
            monitoring.restart_events()
        Monitoring._was_used = True
        for event, callback in self._callbacks().items():
            monitoring.register_callback(self._tool, event, callback)
        self._admit_what_is_at_work()
        monitoring.set_events(
            self._tool,
            events.PY_START | events.PY_UNWIND | events.PY_THROW | events.RAISE | events.RERAISE,
        )

    def stop(self) -> None:
        """May be called by any thread, and twice."""
        if self._tool < 0:
            return
        monitoring, tool = _monitoring, self._tool
        self._tool = -1
        monitoring.set_events(tool, 0)
        for info in list(self._recording.infos.values()):
            if info is not None:
                monitoring.set_local_events(tool, info.code, 0)
        for event in self._all_events():
            monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)

    def rearm(self) -> None:
        """Ask again about what was skipped so far."""
        _monitoring.restart_events()

    def _all_events(self) -> list[int]:
        names = "PY_START PY_RESUME PY_RETURN PY_YIELD PY_UNWIND PY_THROW LINE JUMP INSTRUCTION"
        return [getattr(self._events, name) for name in f"{names} RAISE RERAISE".split()]

    def _admit_what_is_at_work(self) -> None:
        """Functions that were called before us go on being told of: their next line is the first we see."""
        for frame in list(sys._current_frames().values()):
            walk = frame
            while walk is not None:
                info = self._recording.admit(walk.f_code, walk)
                if info is not None:
                    self._watch(info.code)
                walk = walk.f_back  # type: ignore[assignment]

    def _watch(self, code: CodeType) -> None:
        self._listen(code, 0)

    def _listen(self, code: CodeType, more: int) -> None:
        """From now on hear of what happens in that code; `more`: besides what is always heard."""
        events = self._events
        local = more | events.PY_RETURN | events.PY_YIELD | events.PY_RESUME
        if self._recording.detail != "calls":
            local |= events.LINE
            if one_line_loops(code):
                local |= events.JUMP
        try:
            _monitoring.set_local_events(self._tool, code, local)
        except ValueError:  # another thread has stopped us
            if self._tool >= 0:
                raise

    def _callbacks(self) -> dict[int, Any]:
        """What comes all the time are closures: their names are found without a dictionary, and nothing is
        called for them that need not be.
        """
        recording, caught, watch = self._recording, self._caught, self._watch
        infos, local = recording.infos, recording.local
        admit, resync, begin_thread = recording.admit, recording.resync, recording.begin_thread
        frame_at, now, disable = sys._getframe, perf_counter_ns, _monitoring.DISABLE
        has_values = recording.detail == "values"
        events = self._events

        def on_start(code: CodeType, _offset: int) -> Any:
            try:
                info = infos.get(id(code))
                if info is None:
                    info = admit(code, frame_at(1))
                    if info is None:
                        return disable
                    watch(code)
                try:
                    stream = local.stream
                except AttributeError:
                    stream = begin_thread(frame_at(1).f_back)
                if info.number not in stream.defined:
                    stream.define(info)
                stream.stack.append(stream.top)
                stream.top = state = [code, info.lines, None, None, info, 0, None]
                at = stream.at
                words = stream.words
                is_told = False
                try:
                    words[at + 1] = now()
                    words[at] = info.call
                    at += 2
                    is_told = True
                    if info.plain_arguments is not None:
                        values = frame_at(1).f_locals
                        for name, word in info.plain_arguments:
                            value = values[name]
                            if type(value) is int:
                                words[at] = value << 20 | word
                                at += 1
                            else:
                                stream.at = at
                                put_changed(stream, state, name, word, value)
                                at = stream.at
                                words = stream.words
                    stream.at = at
                except (IndexError, ValueError, KeyError) as error:
                    if is_from_elsewhere(error):
                        raise
                    again(stream, state, info, at, frame_at(1), is_told)
                if info.is_special:
                    special(stream, state, info, frame_at(1))
            except RecursionError:  # the program is at its limit: no call of ours may follow
                try:  # noqa: SIM105 - suppress() is a call
                    local.stream.top = None  # what is at work is found anew
                except (AttributeError, RecursionError):
                    pass
            except BaseException as error:
                if caught("py_start", error):
                    raise
            return None

        def on_line(code: CodeType, line: int) -> Any:
            try:
                try:
                    stream = local.stream
                except AttributeError:
                    stream = begin_thread(frame_at(1))
                state = stream.top
                if state is None or state[0] is not code:
                    resync(stream, frame_at(1))
                    state = stream.top
                    if state is None or state[0] is not code:
                        return None
                simple = state[2]
                at = stream.at
                words = stream.words
                try:
                    if simple is not None:
                        values = frame_at(1).f_locals
                        for name, word in simple:
                            value = values[name]
                            if type(value) is int:
                                words[at] = value << 20 | word
                                at += 1
                            else:
                                stream.at = at
                                put_changed(stream, state, name, word, value)
                                at = stream.at
                                words = stream.words
                    if state[3] is not None:
                        stream.at = at
                        settle(stream, state, frame_at(1))
                        at = stream.at
                        words = stream.words
                    words[at], state[2], state[3] = state[1][line]
                    stream.at = at + 1
                except (IndexError, ValueError, KeyError) as error:
                    if is_from_elsewhere(error):
                        raise
                    stream.at = max(stream.at, at)
                    settle_all(stream, state, frame_at(1))
                    word, state[2], state[3] = state[1][line]
                    stream.word(word)
            except RecursionError:  # the program is at its limit: no call of ours may follow
                try:  # noqa: SIM105 - suppress() is a call
                    local.stream.top = None  # what is at work is found anew
                except (AttributeError, RecursionError):
                    pass
            except BaseException as error:
                if caught("line", error):
                    raise
            return None

        def on_return(code: CodeType, _offset: int, value: Any) -> Any:
            try:
                stream = local.stream
                state = stream.top
                if state is None or state[0] is not code:
                    resync(stream, frame_at(1))
                    state = stream.top
                    if state is None or state[0] is not code:
                        return None
                if state[2] is not None or state[3] is not None:
                    settle_all(stream, state, frame_at(1))
                at = stream.at
                words = stream.words
                try:
                    if has_values:
                        if type(value) is int and state[4].result:
                            words[at] = value << 20 | RESULT_WORD
                            at += 1
                        else:
                            put_result(stream, state, value)
                            at = stream.at
                            words = stream.words
                    words[at + 1] = now()
                    words[at] = state[4].returns
                    stream.at = at + 2
                except (IndexError, ValueError) as error:
                    if is_from_elsewhere(error):
                        raise
                    if has_values and type(value) is int:
                        put_result(stream, state, value)
                    stream.with_clock(state[4].returns, now())
                stream.top = stream.stack.pop()
            except RecursionError:  # the program is at its limit: no call of ours may follow
                try:  # noqa: SIM105 - suppress() is a call
                    local.stream.top = None  # what is at work is found anew
                except (AttributeError, RecursionError):
                    pass
            except BaseException as error:
                if caught("py_return", error):
                    raise
            return None

        told = {events.PY_START: on_start, events.PY_RETURN: on_return}
        seldom = Seldom(recording, caught, self._listen).callbacks()
        if recording.detail != "calls":
            told[events.LINE] = on_line
        else:
            del seldom["JUMP"], seldom["INSTRUCTION"]
        return told | {getattr(events, name): callback for name, callback in seldom.items()}
