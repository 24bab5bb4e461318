"""The recorder's own log: a line of JSON for each thing that went wrong, or is worth knowing.

    {ts_micros, level, target, run_id, message} and, where there is one, {trace_id, error_code, module_path,
    file, line, fields}

Lines go to the policy's `log_file`, which is opened for each of them: a file that stayed open could be closed
by the program, and its number be given to a file of its own. Without one they go to file descriptor 2, past
`sys.stderr`, which is the program's. No lock: a line is one write at the end of the file.

Lives here: writing a line, what it may hold, the trailer of an error, the ids of the run and the trace.
Not here: which lines are written (log_filter.py), the `logging` module, which is the program's own.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import _local
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from devtrace.ids import new_session_id
from devtrace.recorder import log_filter, metrics
from devtrace.recorder.errors import RecorderError, UsageError, trailer
from devtrace.recorder.log_filter import TARGET, LogFilter
from devtrace.recorder.policy import current

if TYPE_CHECKING:
    from types import FrameType

    from devtrace.errors import DevTraceError
    from devtrace.policy.chain import Policy

_LONGEST = 8192  # characters of a message
_STDERR = 2
_descriptor: Callable[[], int | None] | None = None  # where that leads, while it is mirrored
_OPEN = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WITHHELD = "[withheld: policy failure]"

_run = (0, "")  # the process and its id
_trace_id: str | None = None
_filter: tuple[str | None, LogFilter] = (None, log_filter.of_ours(os.environ.get("RUST_LOG", "")))
_without_spec = _filter[1]
_unopened: str | None = None  # the log file of which it was said that it cannot be opened
_of_thread = _local()


def run_id() -> str:
    """The id of this process in its log; a forked child has another."""
    global _run  # one for the process
    if _run[0] != os.getpid():
        _run = (os.getpid(), new_session_id())
    return _run[1]


def trace_id() -> str | None:
    """The trace that is being recorded."""
    return _trace_id


def set_trace_id(trace: str | None) -> None:
    """From now on lines belong to this trace; None: to none."""
    global _trace_id  # a process records one trace at a time
    _trace_id = trace


def is_enabled(level: str, target: str = TARGET) -> bool:
    """Whether a line of that level and target would be written."""
    global _filter  # what the policy's text means, kept until it changes
    spec = current().log_level
    if spec != _filter[0]:
        _filter = (spec, log_filter.parse(spec) if spec else _without_spec)
    return _filter[1].allows(level, target)


def log(
    level: str,
    message: str,
    *,
    target: str = TARGET,
    code: str | None = None,
    fields: Mapping[str, object] | None = None,
) -> None:
    """Write one line: `level` is error, warn, info, debug or trace; `fields` holds plain values.

    Raises nothing: a line that cannot be written is counted.
    """
    _log(level, message, target, code, fields or {}, sys._getframe(1))


def log_error(error: RecorderError, label: str = "") -> None:
    """Write what went wrong, and while doing what. Raises nothing.

    A UsageError is the caller's, who gets it as an exception: it is only of interest to who looks for it.
    """
    level = "debug" if isinstance(error, UsageError) else "error"
    message = f"{label}: {error.detail}" if label else error.detail
    _log(level, message, f"{TARGET}.errors", error.code, {}, sys._getframe(1))


def tell_trailer(error: DevTraceError) -> None:
    """Write the error as a line of JSON on stderr, if the policy says `json_errors`. Raises nothing."""
    if not current().json_errors:
        return
    try:
        _put(_STDERR, trailer(error, run_id=run_id(), trace_id=_trace_id, redact=_redacted).encode() + b"\n")
    except Exception:  # as in `_log`
        metrics.record_dropped_event(metrics.LOG_LINE_LOST)


def tell_by(descriptor: Callable[[], int | None] | None) -> None:
    """Where lines go instead of descriptor 2, which is mirrored; None: there."""
    global _descriptor  # one process has one stderr
    _descriptor = descriptor


def _log(
    level: str, message: str, target: str, code: str | None, fields: Mapping[str, object], frame: FrameType
) -> None:
    try:
        if is_enabled(level, target):
            _write(level, _line(level, message, target, code, fields, frame))
    except Exception:  # a guest: the program goes on
        metrics.record_dropped_event(metrics.LOG_LINE_LOST)


def _line(
    level: str, message: str, target: str, code: str | None, fields: Mapping[str, object], frame: FrameType
) -> bytes:
    import json

    entry: dict[str, object] = {
        "ts_micros": time.time_ns() // 1000,
        "level": level.upper(),
        "target": target,
        "run_id": run_id(),
        "message": _redacted(message)[:_LONGEST],
        "trace_id": _trace_id,
        "error_code": code,
        "module_path": frame.f_globals.get("__name__"),
        "file": _in_package(frame.f_code.co_filename),
        "line": frame.f_lineno,
        "fields": _redacted(dict(fields)) | ({"error_code": code} if code else {}),
    }
    told = {name: value for name, value in entry.items() if value not in (None, {})}
    return json.dumps(told, separators=(",", ":"), default=_type_name).encode() + b"\n"


def _in_package(path: str) -> str:
    _, found, rest = path.rpartition("/devtrace/")
    return f"devtrace/{rest}" if found else _redacted(path)


def _type_name(value: object) -> str:
    return type(value).__name__  # whose text would be code of somebody else's


def _redacted(value: Any) -> Any:
    """Texts without secrets; each thread has a policy of its own, as it is made for one."""
    policy: Policy | None = getattr(_of_thread, "policy", None)
    if policy is None:
        try:
            from devtrace.policy.chain import Policy

            policy = _of_thread.policy = Policy.for_session(os.environ, None)
        except Exception:  # the interpreter ends, and nothing can be imported any more
            return _WITHHELD if isinstance(value, str) else {}
    return policy.redact_values(value)


def _write(level: str, line: bytes) -> None:
    path = current().log_path
    if path is None:
        _put(_STDERR, line)
        return
    try:
        fd = os.open(path, _OPEN, 0o600)
    except OSError as error:
        _tell_unopened(path, error)
        if level in ("error", "warn"):
            _put(_STDERR, line)
        else:
            metrics.record_dropped_event(metrics.LOG_LINE_LOST)
        return
    try:
        _put(fd, line)
    finally:
        os.close(fd)


def _put(fd: int, line: bytes) -> None:
    """One write, so that lines of several threads and processes do not mix. Raises OSError."""
    if fd == _STDERR and _descriptor is not None:
        fd = _descriptor() or fd
    if os.write(fd, line) < len(line):
        metrics.record_dropped_event(metrics.LOG_LINE_LOST)


def _tell_unopened(path: str, error: OSError) -> None:
    global _unopened  # said once for each path
    if _unopened == path:
        return
    _unopened = path
    message = f"the log file {path} cannot be opened: {error.strerror}"
    _put(_STDERR, _line("warn", message, f"{TARGET}.logs", "ERR_IO", {}, sys._getframe()))
