"""Which values are written when: arguments at a call, what a line stored behind it, what it changed.

Lives here: what both engines do at an event, given the frame. Not here: when an event comes (monitoring.py,
settrace.py), how a value is written (writing.py, values.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from devtrace.recorder.exits import exit_status
from devtrace.recorder.io_queue import drain, notice
from devtrace.recorder.lines import DELETED, DELETED_GLOBAL, SHARED, STORED
from devtrace.recorder.values import UNCHANGING, own_fields
from devtrace.recorder.writing import RESULT_WORD, put, put_entry, put_text, put_unset
from devtrace.store.trace import records

if TYPE_CHECKING:
    from types import FrameType

    from devtrace.recorder.writing import Frame, Info, Stream

CODE, LINES, STORES, REST, INFO, NUMBER, WATCHED = range(7)  # of a Frame
COROUTINE = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR
_CODE = SystemExit.__dict__["code"].__get__
_MOST_OUTLINED = 32  # items whose identities are compared
_LONGEST_PAUSE = 256
_SIZED = frozenset({set, bytearray})
_MOST_WATCHED = 32  # containers of one frame that are looked at again


def special(stream: Stream, state: Frame, info: Info, frame: FrameType) -> None:
    """What few calls need: a generator's number, a coroutine's task, arguments that are withheld."""
    if info.is_generator:
        state[NUMBER] = next(stream.recording.frame_numbers)
        stream.word(state[NUMBER] << 4 | records.FRAME)
        if info.code.co_flags & COROUTINE:
            stream.recording.tell_task(stream)
    for name, word, action in info.withheld_arguments:
        if name in frame.f_locals:
            put_text(stream, word, stream.recording.withheld(action, frame.f_locals[name]))
    for name, word in info.late_arguments or ():
        if name in frame.f_locals:
            put_changed(stream, state, name, word, frame.f_locals[name])
    for name, word, action in info.shared:
        _put_shared(stream, state, name, word, action, frame.f_locals)


def again(stream: Stream, state: Frame, info: Info, at: int, frame: FrameType, is_told: bool) -> None:
    """A call whose records did not fit, or one of whose arguments is no small number, or not bound.

    `is_told`: whether the call itself stands there, and only arguments are missing.
    """
    if not is_told:
        top, stream.top = stream.top, stream.stack.pop()
        stream.turn()
        stream.define(info)
        stream.stack.append(stream.top)
        stream.top = top
        stream.with_clock(info.call, perf_counter_ns())
    else:
        stream.at = at
    again_all(stream, state, info, frame)


def again_all(stream: Stream, state: Frame, info: Info, frame: FrameType) -> None:
    """Write what a function was called with."""
    local = frame.f_locals
    for name, word in info.plain_arguments or ():
        if name in local:
            put_changed(stream, state, name, word, local[name])


def settle_all(stream: Stream, state: Frame, frame: FrameType) -> None:
    """Write what the line that ended has stored, deleted and changed."""
    simple = state[STORES]
    if simple is not None:
        state[STORES] = None
        local = frame.f_locals
        for name, word in simple:
            if name in local:
                put_changed(stream, state, name, word, local[name])
    if state[REST] is not None:
        settle(stream, state, frame)


def settle(stream: Stream, state: Frame, frame: FrameType) -> None:
    """The same without what is simply stored: globals, what is deleted or withheld, containers.

    What the line printed stands in front of it all.
    """
    if stream.queue:
        drain(stream, records.STEP_BOUNDARY)
    else:
        notice(stream)  # the line may have replaced a stream
    stores, touches = state[REST]
    state[REST] = None
    for one in stores:  # first what is withheld: the others may have it in them
        if one[2]:
            _settle_one(stream, state, frame, *one)
    if touches and state[WATCHED]:
        for name, word, _, _ in touches:
            if name in state[WATCHED]:
                _look_again(stream, state, name, word, frame.f_locals)
    for one in stores:
        if not one[2]:
            _settle_one(stream, state, frame, *one)


def _settle_one(
    stream: Stream, state: Frame, frame: FrameType, name: str, word: int, action: int, how: int
) -> None:
    if how == SHARED:
        _put_shared(stream, state, name, word, action, frame.f_locals)
        return
    space = frame.f_locals if how in (STORED, DELETED) else frame.f_globals
    if how in (DELETED, DELETED_GLOBAL):
        _put_deleted(stream, state, name, word, space)
    elif name in space:
        _put(stream, state, name, word, action, space[name])


def everything(stream: Stream, state: Frame, frame: FrameType) -> None:
    """Write all variables of a function that was at work before we were; of a module nothing."""
    code = frame.f_code
    if frame.f_locals is frame.f_globals:
        return
    words = {name: word for name, word, _ in state[INFO].variables}
    for name, value in list(frame.f_locals.items()):
        if name in words and (name in code.co_varnames or name in code.co_cellvars):
            _put(stream, state, name, words[name], state[INFO].actions[name], value)


def forget_fleeting(stream: Stream, state: Frame, frame: FrameType) -> None:
    """An exception left an `except ... as NAME`, which took the name away without a line of its own."""
    for name, word in state[INFO].fleeting:
        if name not in frame.f_locals:
            _put_deleted(stream, state, name, word, ())


def _put_shared(stream: Stream, state: Frame, name: str, word: int, action: int, space: Any) -> None:
    """A variable that closures share: written where it is another than before."""
    if name not in space:
        return
    recording = stream.recording
    text = recording.withheld(action, space[name]) if action else state[INFO].encode(space[name])
    watched = state[WATCHED]
    if watched is None:
        watched = state[WATCHED] = {}
    known = watched.get(name)
    if known is None or known.text != text:
        watched[name] = Watched(text, None)
        put_text(stream, word, text)


def _put(stream: Stream, state: Frame, name: str, word: int, action: int, value: Any) -> None:
    if action:
        put_text(stream, word, stream.recording.withheld(action, value))
    else:
        put_changed(stream, state, name, word, value)


def put_changed(stream: Stream, state: Frame, name: str, word: int, value: Any) -> None:
    """Write that a variable has this value; a container is looked at again where it may be changed."""
    kind = type(value)
    if type(kind) is type and kind in UNCHANGING:  # else a metaclass may have its hash
        put(stream, word, value, state[INFO].encode)
        return
    text = state[INFO].encode(value)
    put_text(stream, word, text)
    watched = state[WATCHED]
    if watched is None:
        watched = state[WATCHED] = {}
    if len(watched) < _MOST_WATCHED or name in watched:
        watched[name] = Watched(text, outlined(value))


def _look_again(stream: Stream, state: Frame, name: str, word: int, local: Any) -> None:
    """Write a container that has changed: at once where its items did, soon where something in them did."""
    watched: Watched = state[WATCHED][name]
    try:
        value = local[name]
    except KeyError:
        del state[WATCHED][name]
        return
    outline = outlined(value)
    if outline == watched.outline:
        watched.waits -= 1
        if watched.waits > 0:
            return
        watched.pause = min(watched.pause * 2, _LONGEST_PAUSE)
        watched.waits = watched.pause
    text = state[INFO].encode(value)
    watched.outline = outline
    if text != watched.text:
        watched.text = text
        watched.pause = watched.waits = 1
        put_text(stream, word, text)


class Watched:
    """A container that is looked at again: as it was written, and how long nobody looked into its items.

    To look into all of a large one after each line that might change it would cost more than the program.
    What is looked at in vain is looked at half as often, up to each 256th time.
    """

    __slots__ = ("outline", "pause", "text", "waits")

    def __init__(self, text: str, outline: Any):
        self.text = text
        self.outline = outline
        self.pause = 1
        self.waits = 1


def outlined(value: Any) -> Any:
    """What differs when items are put in, taken out or replaced, as far as it is cheap to see."""
    kind = type(value)
    if kind is list:
        size = len(value)
        return [*map(id, value)] if size <= _MOST_OUTLINED else (size, id(value[0]), id(value[-1]))
    if kind is dict:
        inner = value
    elif type(kind) is type and kind in _SIZED:
        return len(value)
    else:
        inner = own_fields(value)
        if inner is None:
            return None
    size = len(inner)
    return [*map(id, dict.values(inner))] if size <= _MOST_OUTLINED else size


def _put_deleted(stream: Stream, state: Frame, name: str, word: int, space: Any) -> None:
    if name in space:
        return
    put_unset(stream, word)
    if state[WATCHED]:
        state[WATCHED].pop(name, None)


def put_result(stream: Stream, state: Frame, value: Any) -> None:
    """Write what a function returns or yields, or that it is withheld."""
    info = state[INFO]
    if info.result_action:
        put_text(stream, RESULT_WORD, stream.recording.withheld(info.result_action, value))
    else:
        put(stream, RESULT_WORD, value, info.encode)


def put_raised(stream: Stream, state: Frame, error: BaseException) -> None:
    """Write that an exception was raised in the present frame."""
    stream.error = id(error)
    if type(error) is SystemExit:
        stream.recording.leaves_with = exit_status(_CODE(error))
    stream.raised = state[INFO].encode(error)
    stream.raised_in = state
    put_entry(stream, stream.raised, records.RAISED << 4 | records.RAISE)


def put_handled(stream: Stream) -> None:
    """Write that the exception that is on its way is being handled in the present frame."""
    stream.error = 0
    stream.recording.leaves_with = None
    put_entry(stream, stream.raised, records.HANDLED << 4 | records.RAISE)
