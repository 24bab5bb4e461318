"""Start and stop: one trace at a time in a process.

    idle ── start ──► recording ── stop, the disk is full, a failure of ours ──► idle

A trace goes into the store above the working directory (or DEVTRACE_DIR's), under the command that launched
the program; with a path its files are written there too, and without a store there alone.

Lives here: `start`, `stop`, `is_tracing`, `flush`, `trace`, `TraceSession`, what happens at a fork.
Not here: the streams (recording.py), the engines (engine.py), the command line (arguments.py, launch.py).
Standard library only: a guest imports this.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from devtrace.ids import is_session_id, is_span_id, new_session_id
from devtrace.recorder import logs, metrics
from devtrace.recorder import policy as _policy
from devtrace.recorder.errors import EnvironmentError, caught

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import TypeGuard

    from devtrace.choices import Choice
    from devtrace.recorder.engine import Engine
    from devtrace.recorder.filters import Filters
    from devtrace.recorder.io_session import Io
    from devtrace.recorder.recording import Recording
    from devtrace.workspace import Workspace

TRACE_BINARY = "binary"
TRACE_JSON = "json"
DEFAULT_FORMAT = TRACE_BINARY
_FORMATS = {"binary": "binary", "binaryv0": "binary", "binary_v0": "binary", "b0": "binary", "json": "json"}
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
_LIBRARY = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120
_DB_TRACE_PATH = "CODETRACER_DB_TRACE_PATH"
_MOST_ARGUMENTS = 4_096  # characters of a command line
_MOST_PANICS = 1  # after so many failures of ours we let go of the program


class TraceSession:
    """A trace that was started; also a context manager that stops it."""

    __slots__ = ("format", "id", "path")

    def __init__(self, path: Path | None, format: str, id: str):
        self.path = path
        self.format = format
        self.id = id  # of its session in the store

    def stop(self, *, exit_code: int | None = None) -> None:
        """Stop it, unless it has ended already. Raises as `stop`."""
        if _active is not None and _active.trace is self:
            stop(exit_code=exit_code)

    def flush(self) -> None:
        """See `flush`."""
        flush()

    def __enter__(self) -> TraceSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Active:
    """What `stop` needs to know."""

    def __init__(self, trace: TraceSession, folder: Path, workspace: Workspace | None, filters: Filters):
        self.trace = trace
        self.folder = folder
        self.workspace = workspace
        self.filters = filters
        self.recording: Recording
        self.engine: Engine
        self.io: Io
        self.choice: Choice
        self.process: dict[str, Any] = {}
        self.n_panics = 0
        self.failure: BaseException | None = None
        self.label = ""
        self.gap = ""
        self.is_gap_told = True  # by the stream that met it


_active: _Active | None = None
_forks_are_watched = False


def start(
    path: str | os.PathLike[str] | None = None,
    *,
    format: str = DEFAULT_FORMAT,
    start_on_enter: str | os.PathLike[str] | None = None,
    trace_filter: object = None,
    policy: Mapping[str, object] | None = None,
    apply_env_policy: bool = True,
    only: Iterable[str] = (),
    argv: list[str] | None = None,
) -> TraceSession:
    """Record what this program does from now on.

    `path`: a directory for files of the trace; None: the store alone, or with the format json the directory
    of CODETRACER_DB_TRACE_PATH. `start_on_enter`: a file with whose first call it begins. `trace_filter`: a
    path, paths with `::` between them, or a sequence of both. `policy`: keys as for `configure_policy`.
    `only`: `pkg.mod`, `pkg.mod:function` or `file.py:function`, and nothing else. `argv`: the program's, if
    it is not `sys.argv`.

    Raises RuntimeError when a trace is active, ValueError for a bad format, path or filter,
    FileNotFoundError for a filter that is missing, EnvironmentError ERR_STORE_MISSING where there is neither
    a store nor a path, ERR_TRACE_DIR_CREATE_FAILED, ERR_IO, ERR_TRACER_INSTALL_CONFLICT, and UsageError
    ERR_INVALID_POLICY_VALUE.
    """
    global _active
    if _active is not None:
        raise RuntimeError("tracing already active")
    if format not in _FORMATS:
        raise ValueError(f"unsupported trace format {format!r} (expected 'binary' or 'json')")
    where = _directory(_told_path() if path is None and _FORMATS[format] == TRACE_JSON else path)
    if apply_env_policy:
        _policy.configure_policy_from_env()
    if policy:
        _policy.configure_policy(policy)
    arguments = list(sys.argv if argv is None else argv)
    from devtrace.recorder.filters import load

    filters = load(trace_filter, _script(arguments), only=only)
    workspace, folder = _place(where)
    active = _Active(TraceSession(where, _FORMATS[format], new_session_id()), folder, workspace, filters)
    metrics.reset()
    _begin(active, arguments, start_on_enter)
    _active = active
    _policy.on_io = _io_policy_changed
    logs.set_trace_id(active.trace.id)
    _watch_forks()
    return active.trace


def stop(*, exit_code: int | None = None) -> None:
    """End the trace; nothing when none is active. `exit_code`: the program's, as far as it is known.

    Raises InternalError when a failure of ours cost the trace and the policy says abort, EnvironmentError
    ERR_TRACE_MISSING when the policy requires a trace and nothing was recorded, ERR_TRACE_INCOMPLETE when it
    requires one and the disk or the cap ended it, ERR_IO when a file of `path` could not be written.
    """
    global _active
    active, _active = _active, None
    if active is None:
        return
    _policy.on_io = None
    active.engine.stop()
    of_io = active.io.end()
    exit_code = active.recording.leaves_with if exit_code is None else exit_code
    is_empty = not active.recording.numbers
    _tell_exit(active, exit_code, of_io)
    try:
        _write_files(active, exit_code)  # while we hold the segments, and nobody takes them away
    finally:
        active.recording.close()
        logs.set_trace_id(None)
    _complain(active, is_empty)


def is_tracing() -> bool:
    """Whether a trace is active in this process."""
    return _active is not None


def flush() -> None:
    """Nothing has to be done: each record is safe from our death as soon as it is made."""


def trace(
    path: str | os.PathLike[str] | None = None,
    *,
    format: str = DEFAULT_FORMAT,
    trace_filter: object = None,
    policy: Mapping[str, object] | None = None,
    apply_env_policy: bool = True,
    only: Iterable[str] = (),
) -> _Block:
    """Record a block: `with trace("out"): ...`. Takes and raises what `start` does."""
    return _Block(
        {
            "path": path,
            "format": format,
            "trace_filter": trace_filter,
            "policy": policy,
            "apply_env_policy": apply_env_policy,
            "only": only,
        }
    )


class _Block:
    def __init__(self, order: dict[str, Any]):
        self._order = order
        self._session: TraceSession | None = None

    def __enter__(self) -> TraceSession:
        self._session = start(**self._order)
        return self._session

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.stop()


# --- where ---


def _told_path() -> str | None:
    """The directory of the file, or the directory itself, that CODETRACER_DB_TRACE_PATH names."""
    told = os.environ.get(_DB_TRACE_PATH, "")
    folder, _, name = told.rpartition("/")
    return (folder or "." if name.endswith(".json") else told) or None


def _directory(path: str | os.PathLike[str] | None) -> Path | None:
    if path is None:
        return None
    from pathlib import Path

    where = Path(path).absolute()
    if where.exists() and not where.is_dir():
        raise ValueError("trace path exists and is not a directory")
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentError(
            "the directory of the trace could not be made",
            code="ERR_TRACE_DIR_CREATE_FAILED",
            hint="name a directory that can be written",
            context={"path": str(where)},
        ) from error
    return where


def _place(where: Path | None) -> tuple[Workspace | None, Path]:
    """The store and the folder of the segments. Raises EnvironmentError where there is neither."""
    from devtrace.errors import DevTraceError
    from devtrace.workspace import find

    try:
        workspace = find()
    except DevTraceError as error:
        if where is None:
            raise caught(error, "start") from error
        return None, where
    return workspace, workspace.spool


def _script(arguments: list[str]) -> str | None:
    return arguments[0] if arguments and arguments[0] not in ("", "-c", "-m", "-") else None


# --- begin ---


def _begin(active: _Active, arguments: list[str], start_on_enter: str | os.PathLike[str] | None) -> None:
    from devtrace.policy.quick import redact_quickly
    from devtrace.recorder import engine
    from devtrace.recorder.io_session import Io
    from devtrace.recorder.recording import Limits, Recording

    if active.trace.format == TRACE_JSON:  # before a module of the program can stand in its way
        import devtrace.recorder.formats.codetracer  # noqa: F401 - loaded while only ours can be found
    now = _policy.current()
    active.choice = engine.chosen(now.engine)
    redaction = _redaction(active.workspace)
    redaction.is_passed_on = lambda error: not _is_ours(error)
    recording = active.recording = Recording(
        session=active.trace.id,
        folder=active.folder,
        filters=active.filters,
        policy=redaction,
        redact=redact_quickly(redaction),
        limits=Limits(
            depth=now.value_depth,
            items=now.value_items,
            size=now.value_bytes,
            trace_bytes=now.trace_mb << 20,
            fold_bytes=now.fold_mb << 20,
        ),
        detail=now.detail,
        on_exhausted=lambda reason: _exhausted(active, reason),
        module_from_globals=now.module_name_from_globals,
    )
    recording.keeps_ended = active.trace.path is not None and active.workspace is not None
    active.process = _process(active, arguments)
    try:
        stream = recording.begin_thread(None)
    except OSError as error:
        raise EnvironmentError(
            "the trace could not be begun",
            code="ERR_IO",
            hint="free some disk space, or name another directory",
            context={"path": str(active.folder), "reason": error.strerror or str(error)},
        ) from error
    stream.note({"process": redaction.redact_values(active.process)})
    if start_on_enter is not None:
        recording.waits_for = os.path.realpath(start_on_enter)
    try:
        active.engine = engine.begin(
            active.choice, recording, lambda label, error: _caught(active, label, error)
        )
    except BaseException:
        recording.close()
        stream_path = active.folder / f"{active.trace.id}-{os.getpid()}-1.seg"
        stream_path.unlink(missing_ok=True)
        raise
    active.io = Io(
        recording,
        active.folder,
        active.workspace.dir if active.workspace is not None else None,
        active.filters.io,
        lambda label, error: _caught(active, label, error),
    )
    recording.on_activated = lambda: _activated(active)
    if not recording.waits_for:
        active.io.begin()
    recording.resync(stream, sys._getframe(2))


def _activated(active: _Active) -> None:
    """The program that is meant has begun."""
    active.io.begin()
    active.engine.rearm()


def _io_policy_changed() -> None:
    """`configure_policy` was asked to record what is printed, or not to."""
    if _active is not None and not _active.recording.waits_for:
        _active.io.look_again()


def _redaction(workspace: Workspace | None) -> Any:
    from devtrace.config import Config
    from devtrace.policy.chain import Policy

    if workspace is None:
        return Policy.for_session(os.environ, None)
    settings = Config.from_snapshot(workspace)
    rules, allow = settings.family("policy.rules"), settings.family("policy.allow")
    return Policy.for_session(os.environ, _salt(workspace), rules, allow)


def _salt(workspace: Workspace) -> bytes | None:
    try:
        return workspace.salt.read_bytes() or None
    except OSError:
        return None


def _process(active: _Active, arguments: list[str], forked_from: str | None = None) -> dict[str, Any]:
    """What is said of this process, as the session's columns and the trace's facts."""
    parent, span = os.environ.get("DEVTRACE_SESSION", ""), os.environ.get("DEVTRACE_SPAN", "")
    agent = os.environ.get("DEVTRACE_AGENT", "")
    is_agents = bool(agent) and agent != "manual"
    cwd = _cwd()
    return {
        "id": active.trace.id,
        "parent_session": parent if is_session_id(parent) else None,
        "parent_event": span if is_session_id(parent) and is_span_id(span) else None,
        "agent": agent,
        "actor": f"agent:{agent}" if is_agents else "human",
        "cwd": cwd,
        "started_us": time.time_ns() // 1_000,
        "argv": _shortened(arguments),
        "executable": sys.executable or "",
        "python": sys.version.split()[0],
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "engine": active.choice.chosen,
        "engine_because": active.choice.because,
        "detail": _policy.current().detail,
        "policy": _policy.policy_snapshot(),
        "trace_filter": active.filters.metadata(),
        "forked_from": forked_from,
    }


def _shortened(arguments: list[str]) -> list[str]:
    """What fits into a record: a note is no longer than a part of a block."""
    kept: list[str] = []
    room = _MOST_ARGUMENTS
    for argument in arguments:
        room -= len(argument)
        if room < 0:
            return [*kept, f"[... {len(arguments) - len(kept)} more]"]
        kept.append(argument)
    return kept


def _cwd() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a str, without pathlib
    except OSError:
        return "/"


# --- in the midst of it ---


def _caught(active: _Active, label: str, error: BaseException) -> bool:
    """An exception inside a callback. True: it is the program's own, a signal handler's, and must go on."""
    if isinstance(error, KeyboardInterrupt | SystemExit) or not _is_ours(error):
        return True
    if _is_no_room(error):  # for the first block of a thread
        active.is_gap_told = False
        active.recording.exhausted(error)
        return False
    active.n_panics += 1
    metrics.record_panic(label)
    if active.n_panics == _MOST_PANICS:
        active.failure, active.label = error, label
        active.gap, active.is_gap_told = "recorder_failed", False
        active.engine.stop()
        active.io.let_go()
        logs.log_error(caught(error, label))
        metrics.record_detach(metrics.POLICY_DISABLE, "ERR_UNKNOWN")
    return False


def _is_no_room(error: BaseException) -> TypeGuard[Exception]:
    from devtrace.store.trace.segments import Full

    return isinstance(error, Full) or (isinstance(error, OSError) and error.errno == errno.ENOSPC)


def _is_ours(error: BaseException) -> bool:
    """Whether every frame of its traceback is ours: none of a signal handler that ran in the midst of us."""
    traceback = error.__traceback__
    while traceback is not None:
        if not _is_of_ours(traceback.tb_frame.f_code.co_filename):
            return False
        traceback = traceback.tb_next
    return True


def _is_of_ours(file: str) -> bool:
    """Our own files, and the standard library, which we call: a handler of a signal is the program's."""
    if file.startswith((_PACKAGE + os.sep, "<frozen ")):
        return True
    return file.startswith(_LIBRARY) and "-packages" not in file


def _exhausted(active: _Active, reason: str) -> None:
    active.gap = reason
    active.engine.stop()
    metrics.record_detach(reason, "ERR_TRACE_INCOMPLETE")
    logs.log("warn", f"no more is recorded: {reason}")


# --- the end ---


def _tell_exit(active: _Active, exit_code: int | None, of_io: dict[str, Any]) -> None:
    stream = getattr(active.recording.local, "stream", None) or next(iter(active.recording.streams), None)
    if stream is None:
        return
    if not active.is_gap_told:
        stream.note({"gap": {"reason": active.gap}})
    if of_io:
        stream.last_note({"io": of_io})
    told = {
        "code": exit_code,
        "label": _label(active, exit_code),
        "ended_us": time.time_ns() // 1_000,
        "metrics": metrics.snapshot(),
        "trace_filter": active.filters.metadata()["stats"],
    }
    stream.last_note({"exit": told})


def _label(active: _Active, exit_code: int | None) -> str | None:
    if active.failure is not None:
        return "<disabled>" if _policy.current().on_recorder_error == "disable" else "<failure>"
    return "<exit>" if exit_code is None else None


def _write_files(active: _Active, exit_code: int | None) -> None:
    if active.trace.path is None:
        return
    from devtrace.recorder.formats import write

    try:
        write(
            active.trace.path,
            active.trace.format,
            active.folder,
            active.process,
            exit_code,
            _label(active, exit_code),
        )
    except OSError as error:
        raise EnvironmentError(
            "the files of the trace could not be written",
            code="ERR_IO",
            hint="the store has the trace nevertheless" if active.workspace is not None else "",
            context={"path": str(active.trace.path)},
        ) from error


def _complain(active: _Active, is_empty: bool) -> None:
    now = _policy.current()
    if active.failure is not None and now.on_recorder_error == "abort":
        raise caught(active.failure, active.label) from active.failure
    if now.require_trace and is_empty:
        raise EnvironmentError(
            "nothing was recorded",
            code="ERR_TRACE_MISSING",
            hint="see the trace filters: is the program's code skipped?",
        )
    if now.require_trace and active.gap:
        raise EnvironmentError(
            "the trace is not whole", code="ERR_TRACE_INCOMPLETE", context={"reason": active.gap}
        )


# --- forks ---


def _watch_forks() -> None:
    global _forks_are_watched  # what is registered stays for the life of the process
    if not _forks_are_watched:
        _forks_are_watched = True
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child
        )


def _before_fork() -> None:
    """From here on, what this thread does goes nowhere: the child must not write into its parent's map."""
    if _active is not None:
        _active.recording.pause()


def _after_in_parent() -> None:
    if _active is not None:
        _active.recording.go_on()


def _after_in_child() -> None:
    """The child records into files and a session of its own, or nothing at all."""
    global _active
    active = _active
    if active is None:
        return
    try:
        parent = active.trace.id
        if _policy.current().follow == "none":
            _active = None
            active.engine.stop()
            active.io.let_go()
            active.recording.abandon()
            return
        active.trace = TraceSession(None, active.trace.format, new_session_id())
        metrics.reset()
        active.process = _process(active, active.process["argv"], parent)
        stream = active.recording.renew(active.trace.id)
        stream.note({"process": active.recording.redacted(active.process)})
        logs.set_trace_id(active.trace.id)
    except BaseException as error:
        _active = None
        active.engine.stop()
        active.io.let_go()
        logs.log_error(caught(error, "fork"))
