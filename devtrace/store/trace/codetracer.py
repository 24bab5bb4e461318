"""A trace as CodeTracer reads it: `trace.json`, `trace_metadata.json`, `trace_paths.json` in a directory.

    Path Function Call Type             the script, `<toplevel>`, its call 0, the type None
    Value… Step Call                    a call: its arguments, the line of its `def`
    Step Value…                         a line: what the variables of its function are when it begins
    Return                              a return, a yield; when an exception leaves a function an Error
    Event                               kind 11: an exception is raised; kind 12: what was left out, and why
    Event                               kind 0, 2, 3: written to stdout or stderr, read from stdin, behind the
                                        Step that did; `metadata` says where, by which thread, and why it ends
    ThreadStart ThreadSwitch ThreadExit only where there is more than one thread
    Return                              of `<toplevel>`: the exit code, or a text that says why there is none

The format is `trace_json_spec.md` of https://github.com/metacraft-labs/runtime_tracing, 0.15 and later.
What is used is defined before, and numbers are given in that order. A function is its path, line and name. A
generator that goes on is a Call again, and each Call has its Return: one whose end was not seen gets one
that says so. Readers show for a step the variables that stand behind it, so all of a function's stand there;
those that did not change are left out beyond some 2 KB, and functions, classes and modules stand there once.
What the last line of a function stores has no step behind it. The readers of that format keep one stack of
calls: where threads take turns, what they show as a call's caller may be another thread's.

Lives here: the events in their order, the files. Not here: values (codetracer_values.py), what happened in a
thread (threads.py), where blocks come from (recorder/formats/, views/export/). Standard library only, and no
dataclass: guests import this.
"""

from __future__ import annotations

import heapq
import json
import os
from typing import TYPE_CHECKING, Any

from devtrace import __version__
from devtrace.store.trace.codetracer_values import ERROR, Types, Values, quoted
from devtrace.store.trace.records import LABELS, MIRROR, UNSET_VALUE
from devtrace.store.trace.threads import (
    CLOSE,
    HANDLE,
    IO,
    LINE,
    NOTE,
    OPEN,
    RAISE,
    Moment,
    Thread,
    exception_text,
    is_end,
    pieces_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devtrace.store.trace.replay import Event, Frame, Written

EVENTS, METADATA, PATHS = "trace.json", "trace_metadata.json", "trace_paths.json"
UNKNOWN_EXIT = "<exit>"
NOT_RECORDED = "<not recorded>"

_ERROR, _TRACE_LOG = 11, 12  # EventLogKind
_STREAMS = {"stdout": 0, "stderr": 2, "stdin": 3}  # the same: Write, WriteOther, Read
_MOST_REPEATED = 2_048  # characters of variables that a step says again
_SAID_ONCE = frozenset(("function", "type", "module"))
_NAMES_CODE = "-c"


def program_of(process: dict[str, Any]) -> tuple[str, list[str]]:
    """What was run, and its arguments: a script, the module of `-m`, or `-c`."""
    argv = process.get("argv")
    words = [str(word) for word in argv] if isinstance(argv, list) else []
    if words[:1] == ["-m"] and len(words) > 1:
        return words[1], words[2:]
    if words[:1] == [_NAMES_CODE]:
        return _NAMES_CODE, words[2:]
    return (words[0], words[1:]) if words else ("", [])


class CodeTracer:
    """The events of one process. Afterwards `paths` and `metadata` have what the other files say."""

    def __init__(self, process: dict[str, Any], threads: list[Thread], code: int | None, label: str | None):
        """`process`: what the trace tells of it. `code`, `label`: its exit, before what the trace tells."""
        self.paths: list[str] = []
        self.n_events = 0
        self._process = process
        self._threads = threads
        self._exit: dict[str, Any] = {"code": code, "label": label}
        self._out: list[str] = []
        self._path_ids: dict[str, int] = {}
        self._variables: dict[str, int] = {}
        self._functions: dict[tuple[str, int, str], int] = {}
        self._variables_of: dict[Frame, _Variables] = {}
        self._started: set[int] = set()  # threads
        self._running = 0  # the thread whose events these are

    def events(self) -> Iterator[str]:
        """Each event's JSON, in its order."""
        self._prologue()
        parts = [self._moments(thread) for thread in self._threads]
        for moment, thread in heapq.merge(*parts, key=_clock):
            if moment.kind != NOTE and not _is_mirror(moment):
                self._switch(thread)
            self._tell(moment, thread)
            yield from self._told()
        self._epilogue()
        yield from self._told()

    def metadata(self) -> dict[str, Any]:
        """The content of `trace_metadata.json`."""
        program = self._script()
        return {
            "workdir": str(self._process.get("cwd") or ""),
            "program": program,
            "args": program_of(self._process)[1],
            "recorder": {"name": "devtrace", "target_script": program, "version": __version__},
            "trace_filter": self._trace_filter(),
            "process_exit_status": {"code": self._exit.get("code"), "label": self._label()},
        }

    # --- begin and end ---

    def _prologue(self) -> None:
        path = self._path(self._script())
        self._out.append(f'{{"Function":{{"path_id":{path},"line":1,"name":"<toplevel>"}}}}')
        self._functions[self._script(), 1, "<toplevel>"] = 0
        self._out.append('{"Call":{"function_id":0,"args":[]}}')
        self._values = Values(Types(self._out.append))

    def _epilogue(self) -> None:
        code = self._exit.get("code")
        values = self._values
        told = values.text(code) if isinstance(code, int) else values.string(str(self._label()))
        self._out.append(f'{{"Return":{{"return_value":{told}}}}}')

    def _label(self) -> str | None:
        is_known = isinstance(self._exit.get("code"), int)
        return self._exit.get("label") or (None if is_known else UNKNOWN_EXIT)

    def _script(self) -> str:
        program, _ = program_of(self._process)
        folder = str(self._process.get("cwd") or "")
        is_file = program.endswith(".py") or "/" in program
        return os.path.normpath(os.path.join(folder, program)) if is_file else program  # noqa: PTH118

    def _trace_filter(self) -> dict[str, Any]:
        told = self._process.get("trace_filter")
        stats = self._exit.get("trace_filter")
        filters = told if isinstance(told, dict) else {}
        return filters | ({"stats": stats} if isinstance(stats, dict) else {})

    def _told(self) -> Iterator[str]:
        self.n_events += len(self._out)
        yield from self._out
        self._out.clear()

    # --- threads ---

    def _moments(self, thread: Thread) -> Iterator[tuple[Moment, Thread]]:
        """What happened in it, and at last a NOTE without one: it is over."""
        at = 0
        for moment in thread.moments():
            at = moment.at_ns
            yield moment, thread
        yield Moment(at, NOTE, None, None), thread

    def _switch(self, thread: Thread) -> None:
        if self._running == thread.number or len(self._threads) < 2:
            return
        is_new = thread.number not in self._started
        self._started.add(thread.number)
        self._out.append(f'{{"Thread{"Start" if is_new else "Switch"}":{thread.number}}}')
        if is_new and self._running:
            self._out.append(f'{{"ThreadSwitch":{thread.number}}}')
        self._running = thread.number

    # --- what happened ---

    def _tell(self, moment: Moment, thread: Thread) -> None:
        if moment.kind == NOTE:
            self._note(moment.note, thread)
            return
        frame, event = moment.frame, moment.event
        assert frame is not None
        if moment.kind == LINE and event is not None:
            self._line(frame, event, thread)
        elif moment.kind == OPEN:
            self._call(frame, event, thread)
        elif moment.kind == CLOSE:
            self._return(frame, event)
        elif moment.kind == IO:
            self._io(event, thread)  # type: ignore[arg-type]
        elif event is not None and moment.kind in (RAISE, HANDLE):
            self._learn(frame, event)
            if moment.kind == RAISE and not is_end(event.result):
                self._event(_ERROR, {"function": self._name(frame, thread)}, exception_text(event.result))

    def _line(self, frame: Frame, event: Event, thread: Thread) -> None:
        variables = self._learn(frame, event)
        path, _, _ = self._place(frame, thread)
        self._out.append(f'{{"Step":{{"path_id":{self._path(path)},"line":{event.line}}}}}')
        self._out.extend(variables.of_step())

    def _call(self, frame: Frame, event: Event | None, thread: Thread) -> None:
        arguments: list[str] = []
        if event is not None:
            arguments = self._arguments(frame, event, thread)
        path, line, name = place = self._place(frame, thread)
        path_id = self._path(path)
        number = self._functions.get(place)
        if number is None:
            number = self._functions[place] = len(self._functions)
            self._out.append(f'{{"Function":{{"path_id":{path_id},"line":{line},"name":{quoted(name)}}}}}')
        self._out.extend(f'{{"Value":{told}}}' for told in arguments)
        self._out.append(f'{{"Step":{{"path_id":{path_id},"line":{line}}}}}')
        self._out.append(f'{{"Call":{{"function_id":{number},"args":[{",".join(arguments)}]}}}}')

    def _arguments(self, frame: Frame, event: Event, thread: Thread) -> list[str]:
        """As FullValueRecords: of a call its own, of a throw the exception."""
        if event.kind == "throw":
            message = exception_text(event.result) or NOT_RECORDED
            return [self._full("exception", self._values.error(message, "Exception", ERROR))]
        told = self._learn(frame, event).fresh
        function = thread.function(frame)
        if event.kind == "resume" or function is None:
            return []
        return [told[name] for name in function.arguments if name in told]

    def _return(self, frame: Frame, event: Event | None) -> None:
        if event is None:
            told = self._values.error(NOT_RECORDED, "NotRecorded")
        elif event.kind == "unwind":
            message = exception_text(event.result) or "an exception"
            told = self._values.error(message, "Exception", ERROR)
        else:
            told = self._values.text(event.result)
        self._out.append(f'{{"Return":{{"return_value":{told}}}}}')
        if event is None or event.kind != "yield":
            self._variables_of.pop(frame, None)

    def _learn(self, frame: Frame, event: Event) -> _Variables:
        """The variables of a frame, with those that an event told."""
        variables = self._variables_of.get(frame)
        if variables is None:
            variables = self._variables_of[frame] = _Variables()
        for name, value in event.values:
            if value is UNSET_VALUE:
                variables.unset(name)
            else:
                is_once = isinstance(value, list) and any(value[:1] == [form] for form in _SAID_ONCE)
                variables.put(name, self._full(name, self._values.text(value)), is_once=is_once)
        return variables

    def _full(self, name: str, value: str) -> str:
        number = self._variables.get(name)
        if number is None:
            number = self._variables[name] = len(self._variables)
            self._out.append(f'{{"VariableName":{quoted(name)}}}')
        return f'{{"variable_id":{number},"value":{value}}}'

    # --- what is rare ---

    def _note(self, note: Any, thread: Thread) -> None:
        if note is None:
            self._end(thread)
        elif isinstance(note.get("exit"), dict):
            known = {name: value for name, value in self._exit.items() if value is not None}
            self._exit = note["exit"] | known
        elif isinstance(note.get("gap"), dict):
            self._event(_TRACE_LOG, note, f"devtrace recorded no more: {note['gap'].get('reason')}")

    def _end(self, thread: Thread) -> None:
        for (number, line), n in thread.folded.items():
            place = self._place_of(thread.functions.get(number))
            self._event(_TRACE_LOG, {}, f"devtrace left out {n} runs of {place[0]}:{line}, in {place[2]}")
        if thread.number in self._started:
            self._out.append(f'{{"ThreadExit":{thread.number}}}')

    def _io(self, written: Written, thread: Thread) -> None:
        function = thread.function(written.frame)
        told = {
            "stream": written.channel,
            "thread": f"ThreadId({thread.number})",
            "path_id": None if function is None else self._path(function.path),
            "line": written.line or None,
            "frame_id": written.frame.call,
        }
        for piece, flags in pieces_of(written):
            labels = [label for bit, label in LABELS.items() if flags & bit]
            self._event(
                _STREAMS[written.channel], {**told, "flags": labels}, piece.decode("utf-8", "replace")
            )

    def _event(self, kind: int, metadata: dict[str, Any], content: str) -> None:
        about = quoted(json.dumps(metadata) if metadata else "")
        self._out.append(f'{{"Event":{{"kind":{kind},"metadata":{about},"content":{quoted(content)}}}}}')

    # --- places ---

    def _path(self, path: str) -> int:
        number = self._path_ids.get(path)
        if number is None:
            number = self._path_ids[path] = len(self.paths)
            self.paths.append(json.loads(quoted(path)))
            self._out.append(f'{{"Path":{quoted(path)}}}')
        return number

    def _place(self, frame: Frame, thread: Thread) -> tuple[str, int, str]:
        return self._place_of(thread.function(frame))

    def _place_of(self, function: Any) -> tuple[str, int, str]:
        """Path, line, name; of a module's own code the name is the module's."""
        if function is None:
            return "<unknown>", 1, "<unknown>"
        name = f"<{function.module}>" if function.name == "<module>" and function.module else function.name
        return function.path, max(function.line, 1), name

    def _name(self, frame: Frame, thread: Thread) -> str:
        return self._place(frame, thread)[2]


class _Variables:
    """Of one frame: as FullValueRecords, by their names. `fresh`: no step has shown them yet."""

    __slots__ = ("_known", "fresh")

    def __init__(self) -> None:
        self.fresh: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def put(self, name: str, told: str, *, is_once: bool) -> None:
        self.fresh[name] = told
        if is_once:
            self._known.pop(name, None)
        else:
            self._known[name] = told

    def unset(self, name: str) -> None:
        self.fresh.pop(name, None)
        self._known.pop(name, None)

    def of_step(self) -> list[str]:
        """The events behind a step: what is fresh, and as much of the rest as may be repeated."""
        shown, self.fresh = self.fresh, {}
        left = _MOST_REPEATED
        for name, told in self._known.items():
            if name not in shown and len(told) <= left:
                left -= len(told)
                shown[name] = told
        return [f'{{"Value":{told}}}' for told in shown.values()]


def _is_mirror(moment: Moment) -> bool:
    """Whether it is what was written below Python: no thread of the program did."""
    return moment.kind == IO and bool(moment.event.flags & MIRROR)  # type: ignore[union-attr]


def _clock(pair: tuple[Moment, Thread]) -> int:
    return pair[0].at_ns


# --- files ---


def write_folder(
    folder: Path, process: dict[str, Any], threads: list[Thread], code: int | None, label: str | None
) -> int:
    """Write the three files, each whole or not at all; returns how many events. Raises OSError."""
    trace = CodeTracer(process, threads, code, label)
    _write(folder / EVENTS, _array(trace.events()))
    _write(folder / PATHS, [json.dumps(trace.paths)])
    _write(folder / METADATA, [json.dumps(trace.metadata(), indent=2)])
    return trace.n_events


def _array(items: Iterator[str]) -> Iterator[str]:
    before = "[\n"
    for item in items:
        yield before + item
        before = ",\n"
    yield "\n]\n" if before != "[\n" else "[]\n"


def _write(path: Path, parts: Iterator[str] | list[str]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        made = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(made, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
            file.writelines(parts)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
