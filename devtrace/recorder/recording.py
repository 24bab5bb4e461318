"""One recording of this process: its functions, its threads' streams, and what may be kept.

Lives here: `Recording`. Not here: when something is written (monitoring.py, settrace.py), start and stop as
the user knows them (api.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import os
import sys
from _thread import _local, get_ident, get_native_id
from _weakref import ref
from functools import partial
from itertools import count
from json import dumps  # as it is now: a test of the program's may replace it, and count its calls
from os.path import abspath
from typing import TYPE_CHECKING, Any

from devtrace.recorder import metrics
from devtrace.recorder.io_queue import Judge, drain
from devtrace.recorder.lines import SHARED, STORED, fleeting, line_table, names_of, replacing
from devtrace.recorder.values import DROPPED, REDACTED, Encoder
from devtrace.recorder.writing import NOTHING, Info, Stream, tell_task
from devtrace.store.trace import records
from devtrace.store.trace.segments import Full, Room, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import CodeType, FrameType

    from devtrace.policy.chain import Policy
    from devtrace.recorder.filters import Filters, Verdict
    from devtrace.recorder.lines import Name

_GENERATOR = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR (`inspect`'s documentation)
_VARARGS, _VARKEYWORDS = 0x04, 0x08
REDACT, DROP = 1, 2
_MOST_NAMES = 1_000  # of one code object that values may be told of
_LEAST_SECRET = 6  # bytes; what is shorter is hidden by its name only
_MOST_TAUGHT = 16  # texts inside one value under a secret name


class Limits:
    """How much of values, blocks and traces is kept."""

    __slots__ = ("depth", "fold_bytes", "items", "size", "trace_bytes")

    def __init__(self, *, depth: int, items: int, size: int, trace_bytes: int, fold_bytes: int):
        self.depth = depth
        self.items = items
        self.size = size
        self.trace_bytes = trace_bytes
        self.fold_bytes = fold_bytes


class _Ending:
    """Lets go of a thread's file when the thread ends, and its locals with it."""

    __slots__ = ("_stream", "_streams")

    def __init__(self, stream: Stream, streams: list[Stream]):
        self._stream = stream
        self._streams = streams

    def __del__(self) -> None:
        if self._stream in self._streams:
            self._streams.remove(self._stream)
        if self._stream.queue or self._stream.tails:
            drain(self._stream, is_over=True)
        self._stream.close()


class Recording:
    """What all threads share. Its dictionaries are only ever added to, one item at a time."""

    def __init__(
        self,
        *,
        session: str,
        folder: Path,
        filters: Filters,
        policy: Policy,
        redact: Callable[[str], str],
        limits: Limits,
        detail: str,
        on_exhausted: Callable[[str], None],
        module_from_globals: bool = True,
    ):
        """`folder`: where the segments go. `on_exhausted`: told the reason, once, when no more is kept."""
        self.session = session
        self.detail = detail
        self.fold_bytes = limits.fold_bytes
        self.line_words: set[int] = set()
        self.infos: dict[int, Info | None] = {}
        self.numbers: dict[int, Info] = {}
        self.suspended: dict[int, Any] = {}  # id of a generator's frame object -> its state
        self.frame_numbers = count(1)
        self.local = _local()
        self.streams: list[Stream] = []
        self.is_exhausted = ""
        self.keeps_ended = False  # the segments of ended threads stay open: they are read at the end
        self.leaves_with: int | None = None  # the status of a SystemExit that is on its way
        self.capture: Any = None  # of the standard streams (io_capture.py)
        self.left_through = [False]  # an exception has passed a hook of ours: its frame is in the traceback
        self.outside: dict[int, Info] = {}  # by number: not recorded, but something was printed from there
        self._outside: dict[int, Info] = {}  # the same by the id of the code
        self._strangers: dict[int, CodeType] = {}
        self.places: dict[tuple[int, int], int] = {}  # (id of a code object, offset) -> place
        self.waits_for = ""  # the file whose first call begins the recording
        self.on_activated: Callable[[], None] = lambda: None
        self._folder = folder
        self._filters = filters
        self._policy = policy
        self._redact = redact
        self._limits = limits
        self._room = Room(limits.trace_bytes)
        self._on_exhausted = on_exhausted
        self._module_from_globals = module_from_globals
        self.texts: dict[str, str] = {}  # short ones as JSON
        self.judge = Judge(policy)
        self.encoder = self._encoder(None)
        self._next_function = count(1)
        self._next_stream = count(1)
        self._kept: list[Any] = []  # code objects that are not recorded: their ids stay theirs

    # --- functions ---

    def admit(self, code: CodeType, frame: FrameType) -> Info | None:
        """Decide once about a code object; None: it is not recorded."""
        known = self.infos.get(id(code), self)
        if known is not self:
            return known  # type: ignore[return-value]
        if self.waits_for:
            if os.path.realpath(code.co_filename) != self.waits_for:
                return None
            self.waits_for = ""
            self.on_activated()
        verdict = self._filters.verdict(code.co_filename, self._module(frame), code.co_qualname)
        if not verdict.records:
            metrics.record_dropped_event(verdict.reason)
            self._filters.stats.skipped()
            self._kept.append(code)
            self.infos[id(code)] = None
            return None
        info = self.infos.setdefault(id(code), self._described(code, frame, verdict))
        if info is not None:
            self.numbers[info.number] = info
        return info

    def _module(self, frame: FrameType) -> str:
        name = frame.f_globals.get("__name__") if self._module_from_globals else None
        return name if type(name) is str else ""

    def _described(self, code: CodeType, frame: FrameType, verdict: Verdict) -> Info:
        info = Info(code, next(self._next_function))
        names = names_of(code)
        words = {name: number << 4 | records.INT for number, name in enumerate(names)}
        info.is_generator = bool(code.co_flags & _GENERATOR)
        n_arguments = code.co_argcount + code.co_kwonlyargcount
        n_arguments += bool(code.co_flags & _VARARGS) + bool(code.co_flags & _VARKEYWORDS)
        arguments = code.co_varnames[:n_arguments]
        info.encode = self._encoder(verdict).encode
        info.actions = {
            name: action_of(verdict, "arg" if name in arguments else "local", name) for name in names
        }
        info.variables = tuple((name, words[name], info.actions[name]) for name in names)
        if self.detail == "values":
            given = info.variables[:n_arguments]
            plain = tuple((name, word) for name, word, act in given if not act) or None
            info.withheld_arguments = tuple(one for one in given if one[2])
            if info.withheld_arguments:  # first of all, so that the others do not tell what they have in them
                info.late_arguments = plain
            else:
                info.plain_arguments = plain
            info.shared = tuple(one for one in info.variables if one[0] in code.co_freevars)
            info.fleeting = tuple((name, words[name]) for name in fleeting(code))
        info.is_special = bool(info.is_generator or info.withheld_arguments or info.shared)
        info.result_action = action_of(verdict, "ret", code.co_qualname)
        if info.result_action:
            info.result = 0
        info.json = self._json(code, frame, names, n_arguments)

        def action(name: str, is_global: bool) -> int:
            return action_of(verdict, "global", name) if is_global else info.actions[name]

        stores = line_table(code, action) if self.detail == "values" else {}
        for line in {line for _, _, line in code.co_lines() if line}:
            word = info.lines.word(line)
            self.line_words.add(word)
            info.lines[line] = (word, *_sorted(*stores.get(line, ((), ()))))
        for line in replacing(code):
            word, simple, rest = info.lines[line]
            info.lines[line] = (word, simple, rest or NOTHING)  # behind it it is looked what stands there now
        return info

    def _json(self, code: CodeType, frame: FrameType, names: Sequence[str], n_arguments: int) -> bytes:
        told = {
            "path": self._redact(_absolute(code.co_filename)),
            "line": code.co_firstlineno,
            "name": self._redact(code.co_qualname),
            "module": self._redact(self._module(frame)),
            "names": [self._redact(name) for name in names[:_MOST_NAMES]],
            "n_arguments": n_arguments,
        }
        return dumps(told, separators=(",", ":")).encode()

    def withheld(self, action: int, value: Any) -> str:
        """What stands for a value that the filters redact or drop; a redacted one is a secret from now on."""
        kind = KINDS[action >> 2]
        place = "return" if kind == "ret" else kind
        if action & 3 == DROP:
            self._filters.stats.dropped(kind)
            metrics.record_dropped_event(metrics.FILTER_VALUE_DROPPED[place])
            return DROPPED
        self._filters.stats.redacted(kind)
        metrics.record_dropped_event(metrics.FILTER_VALUE_REDACTED[place])
        self.learn(value)
        return REDACTED

    def _encoder(self, verdict: Verdict | None) -> Encoder:
        """For the values of one function: a filter may say what it hides of their fields and keys."""
        limits = self._limits
        return Encoder(
            depth=limits.depth,
            items=limits.items,
            size=limits.size,
            redact=self._redact,
            withheld=self.withheld,
            texts=self.texts,
            action=(lambda _: 0) if verdict is None else partial(action_of, verdict, "attr"),
        )

    # --- threads ---

    @property
    def limits(self) -> Limits:
        """How much is kept."""
        return self._limits

    def next_stream(self) -> int:
        """The number of a stream that somebody else writes."""
        return next(self._next_stream)

    def begin_thread(self, frame: FrameType | None) -> Stream:
        """The stream of the calling thread, with what is at work in it."""
        number = next(self._next_stream)
        writer = SegmentWriter(self._folder, self.session, number, self._room)
        stream = Stream(self, writer, number, get_ident())
        self.streams.append(stream)
        self.local.stream = stream
        if number > 1 and not self.keeps_ended:  # the first is where the end is told
            self.local.ending = _Ending(stream, self.streams)
        stream.note({"thread": self._thread()})
        self.resync(stream, frame)
        return stream

    def _thread(self) -> dict[str, Any]:
        threading = sys.modules.get("threading")
        known = getattr(threading, "_active", {}).get(get_ident())
        name = known.name if known is not None else "MainThread" if get_ident() == self.main else ""
        return {"ident": get_ident(), "native_id": get_native_id(), "name": self._redact(name)}

    main = get_ident()  # that imported us first: the best guess until `threading` is there

    def resync(self, stream: Stream, frame: FrameType | None) -> None:
        """Take what is at work from the frames themselves: we came late, or greenlets were switched."""
        states = []
        while frame is not None:
            info = self.infos.get(id(frame.f_code))
            if info is not None:
                state = self.suspended.pop(id(frame), None) or new_state(info)
                states.append(state)
            frame = frame.f_back
        states.reverse()
        stream.stack = [None, *states[:-1]]
        stream.top = states[-1] if states else None
        stream.tell_stack()

    def tell_task(self, stream: Stream) -> None:
        """Say which asyncio task goes on, when it is another one than before."""
        asyncio: Any = sys.modules.get("_asyncio")
        try:
            task = _current_task(asyncio) if asyncio is not None else None
        except (RuntimeError, AttributeError):  # no loop runs in this thread
            return
        if asyncio is None or task is (None if stream.task is None else stream.task()):
            return
        name = task.get_name() if task is not None and type(task) is asyncio.Task else ""
        tell_task(stream, name if type(name) is str else "")
        stream.task = None if task is None else _reference(task)

    # --- where something is printed ---

    def place_of(self, frame: FrameType | None) -> int:
        """The innermost line that is recorded, else of the user's own code, else 0 (records.IO, place)."""
        walk = frame
        while walk is not None:
            info = self.infos.get(id(walk.f_code))
            if info is not None:
                return info.number << 24 | min(walk.f_lineno or 0, records.MOST_LINE) << 4
            walk = walk.f_back
        while frame is not None:
            info = self._outside.get(id(frame.f_code)) or self._of_users(frame)
            if info is not None:
                return info.number << 24 | min(frame.f_lineno or 0, records.MOST_LINE) << 4
            frame = frame.f_back
        return 0

    def _of_users(self, frame: FrameType) -> Info | None:
        """A function of the user's own that is not recorded; None for any other."""
        code = frame.f_code
        is_strange = id(code) in self._strangers
        if is_strange or self._filters.origin(code.co_filename, self._module(frame), code.co_qualname):
            self._strangers[id(code)] = code
            return None
        info = self._outside[id(code)] = Info(code, next(self._next_function))
        info.json = self._json(code, frame, (), 0)
        self.outside[info.number] = info
        return info

    # --- values ---

    def learn(self, value: Any) -> None:
        """A value that stood under a secret name: its texts are secrets from now on, wherever they stand."""
        found: list[bytes] = []
        _texts_in(value, found, 3)
        before = len(self._policy.learned)
        self._policy.learn(found)
        if found and self.capture is not None and self.capture.mirror is not None:
            self.capture.mirror.learn(found)
        if found or before != len(self._policy.learned):
            self.texts.clear()
            for stream in list(self.streams):
                stream.texts.clear()

    def redacted(self, told: dict[str, Any]) -> Any:
        """What is told by a note, as it may be kept."""
        return self._policy.redact_values(told)

    # --- forks ---

    def pause(self) -> None:
        """The calling thread writes into nothing until `go_on` or `renew`."""
        stream = getattr(self.local, "stream", None)
        if stream is not None:
            stream.pause()

    def go_on(self) -> None:
        """The calling thread writes where it wrote before."""
        stream = getattr(self.local, "stream", None)
        if stream is not None:
            stream.go_on()

    def renew(self, session: str) -> Stream:
        """In the child of a fork: files of its own, for the one thread there is. Raises OSError, Full."""
        before = getattr(self.local, "stream", None)
        self.abandon()
        self.session = session
        self._room = Room(self._limits.trace_bytes)
        self._next_stream = count(1)
        self.local.__dict__.clear()
        stream = self.begin_thread(None)
        if before is not None:
            stream.stack, stream.top = before.stack, before.top
        stream.tell_stack()
        return stream  # what was queued is the parent's

    def abandon(self) -> None:
        """In the child of a fork: what the parent has open is not ours."""
        for stream in self.streams:
            stream.close()
        self.streams.clear()

    # --- when it goes wrong ---

    def exhausted(self, error: Exception) -> None:
        """A stream could get no block."""
        if not self.is_exhausted:
            self.is_exhausted = "trace_full" if isinstance(error, Full) else "disk_full"
            self._on_exhausted(self.is_exhausted)

    def tell_gap(self, reason: str) -> None:
        """Write that something was not recorded, and why."""
        if self.streams:
            self.streams[0].note({"gap": {"reason": reason}})

    def close(self) -> None:
        """Let go of every file."""
        for stream in self.streams:
            stream.close()
        self.streams.clear()


def _sorted(stored: tuple[Name, ...], touched: tuple[Name, ...]) -> tuple[Any, Any]:
    """What a line simply stores, as (name, word); and the rest of it. None where there is nothing."""
    deleted = {name for name, _, _, how in stored if how not in (STORED, SHARED)}
    is_simple = [one[3] == STORED and one[0] not in deleted and not one[2] for one in stored]
    simple = tuple((one[0], one[1]) for one, is_one in zip(stored, is_simple, strict=True) if is_one)
    if any(one[2] for one in stored):  # what is withheld is to be known before the others are written
        simple, is_simple = (), [False] * len(stored)
    rest = tuple(one for one, is_one in zip(stored, is_simple, strict=True) if not is_one)
    return simple or None, (rest, touched) if rest or touched else None


def _absolute(path: str) -> str:
    """Where the file was when its code was first met; `<string>` and its like stay."""
    try:
        return path if path.startswith("<") else abspath(path)  # noqa: PTH100 - links stay as they were named
    except (OSError, TypeError, ValueError):  # the working directory is gone
        return path


KINDS = ("local", "global", "arg", "ret", "attr")
_CODES = {"allow": 0, "redact": REDACT, "drop": DROP}


def action_of(verdict: Verdict, kind: str, name: str) -> int:
    """0: the value may be kept; else which kind of value it is, << 2, and REDACT or DROP."""
    code = _CODES[verdict.action(kind, name)]
    return code and KINDS.index(kind) << 2 | code


def _current_task(asyncio: Any) -> Any:
    """Raises RuntimeError where no loop runs. `asyncio`: its C part, which is asked itself from 3.12 on."""
    if hasattr(asyncio, "current_task"):
        return asyncio.current_task()
    return asyncio._current_tasks.get(asyncio.get_running_loop())


def _reference(task: Any) -> Callable[[], Any]:
    """Weak, so that a task ends when the program lets go of it."""
    try:
        return ref(task)
    except TypeError:  # a class of the program's may have no room for it
        return lambda: task


def new_state(info: Info) -> list[Any]:
    """A frame's state as it begins (writing.Frame)."""
    return [info.code, info.lines, None, None, info, 0, None]


def _texts_in(value: Any, found: list[bytes], depth: int) -> None:
    """The texts of a value, a few levels deep."""
    if len(found) >= _MOST_TAUGHT:
        return
    kind = type(value)
    if kind is str:
        value = value.encode("utf-8", "surrogateescape" if value.isascii() else "replace")
        kind = bytes
    if kind is bytes:
        if _LEAST_SECRET <= len(value) <= 4_096:
            found.append(value)
    elif (kind is list or kind is tuple) and depth:
        for inner in value[:_MOST_TAUGHT]:
            _texts_in(inner, found, depth - 1)
    elif kind is dict and depth:
        for inner in list(dict.values(value))[:_MOST_TAUGHT]:
            _texts_in(inner, found, depth - 1)
