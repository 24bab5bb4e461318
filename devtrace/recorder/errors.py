"""What the recorder raises: four kinds, each also the class of that name in devtrace/errors.py.

    RecorderError
    ├── UsageError         called wrongly: a bad policy value, a second start       kind "Usage"
    ├── EnvironmentError   the machine says no: no directory, a tracer in the way   kind "Environment"
    ├── TargetError        the program could not be run or looked into              kind "Target"
    └── InternalError      our bug                                                  kind "Internal"

Lives here: the classes, the codes that are documented for the recorder, what becomes of a foreign exception,
and the form for machines. Not here: what a code means (devtrace/errors.py), who writes an error where
(logs.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

from devtrace import errors

CODES = (
    "ERR_UNKNOWN",
    "ERR_ALREADY_TRACING",
    "ERR_TRACE_DIR_CONFLICT",
    "ERR_TRACE_DIR_CREATE_FAILED",
    "ERR_UNSUPPORTED_FORMAT",
    "ERR_MISSING_POSITIONAL_ARG",
    "ERR_MISSING_KEYWORD_ARG",
    "ERR_FRAME_INTROSPECTION_FAILED",
    "ERR_GLOBALS_INTROSPECTION_FAILED",
    "ERR_TRACER_INSTALL_CONFLICT",
    "ERR_IO",
    "ERR_INVALID_POLICY_VALUE",
    "ERR_TRACE_MISSING",
    "ERR_TRACE_INCOMPLETE",
)


class RecorderError(errors.DevTraceError):
    """What happened in the recorder; `context` holds texts by their names.

    Its text is `[CODE] message (k=v, ...): caused by SRC`, of which the last two only where there are any.
    """

    kind: ClassVar[str] = "Recorder"

    def __init__(self, message: str, *, code: str, hint: str = "", context: dict[str, Any] | None = None):
        texts = {name: str(value) for name, value in (context or {}).items()}
        super().__init__(message, code=code, hint=hint, context=texts)

    def __str__(self) -> str:
        cause = _words(self.__cause__) if self.__cause__ is not None else ""
        if not cause or self.message.endswith(cause):  # `caught` has said it already
            return f"[{self.code}] {self.detail}"
        return f"[{self.code}] {self.detail}: caused by {cause}"

    def __reduce__(self) -> tuple[Any, ...]:
        # multiprocessing sends exceptions to other processes, and an exception is remade from its `args`.
        return _remade, (type(self), self.message, self.code, self.hint, self.context)

    @property
    def detail(self) -> str:
        """The message with its context, without code and cause."""
        context = ", ".join(f"{name}={value}" for name, value in sorted(self.context.items()))
        return f"{self.message} ({context})" if context else self.message


class UsageError(RecorderError, errors.UsageError):
    """The recorder was called wrongly."""

    kind = "Usage"


class EnvironmentError(RecorderError, errors.EnvironmentError):
    """The machine, the disk or another tool does not allow it. (Shadows the builtin alias of OSError.)"""

    kind = "Environment"


class TargetError(RecorderError, errors.TargetError):
    """The program to be recorded could not be started or looked into."""

    kind = "Target"


class InternalError(RecorderError, errors.InternalError):
    """A bug of ours: never the user's fault."""

    kind = "Internal"


def caught(error: BaseException, label: str) -> RecorderError:
    """What an exception becomes at the border to the user's program; `label` says what was being done.

    An error of ours keeps its code; any other becomes InternalError ERR_UNKNOWN, `panic in LABEL: ...`. To be
    raised `from` the one given.
    """
    if _is(error, RecorderError):
        return cast(RecorderError, error)
    if _is(error, errors.DevTraceError):
        foreign = cast(errors.DevTraceError, error)
        ours = next((ours for base, ours in _TWINS if _is(error, base)), InternalError)
        return ours(foreign.message, code=foreign.code, hint=foreign.hint, context=foreign.context)
    name, words = _name(error), _words(error)
    what = f"{name}: {words}" if words != name else name
    return InternalError(f"panic in {label}: {what}", code="ERR_UNKNOWN")


def trailer(
    error: errors.DevTraceError,
    *,
    run_id: str,
    trace_id: str | None,
    redact: Callable[[str], str] = str,
) -> str:
    """One line of JSON: `{run_id, trace_id|null, error_code, error_kind, message, context}`, in ASCII.

    `redact`: what each free text passes first.
    """
    import json

    shape = {
        "run_id": run_id,
        "trace_id": trace_id,
        "error_code": error.code,
        "error_kind": error.kind.removesuffix("Error"),
        "message": redact(error.message),
        "context": {name: redact(str(value)) for name, value in error.context.items()},
    }
    return json.dumps(shape)


def _words(error: BaseException) -> str:
    """What an exception says; only its name where asking would run code of the user's.

    A builtin exception makes its text of its arguments, an error of ours of its own texts.
    """
    is_builtin = not type.__dict__["__flags__"].__get__(type(error)) & _HEAP_TYPE
    told = (*error.args, getattr(error, "filename", None)) if is_builtin else ()
    is_plain = is_builtin and all(any(type(one) is plain for plain in _PLAIN) for one in told)
    if is_plain or _is(error, errors.DevTraceError):
        return str(error) or _name(error)
    return _name(error)


def _name(error: BaseException) -> str:
    name: str = type.__dict__["__name__"].__get__(type(error))  # a metaclass may have a `__name__` of its own
    return name


def _is(error: BaseException, kind: type) -> bool:
    return issubclass(type(error), kind)  # isinstance asks the object too, what it calls its class


def _remade(
    ours: type[RecorderError], message: str, code: str, hint: str, context: dict[str, str]
) -> RecorderError:
    return ours(message, code=code, hint=hint, context=context)


_TWINS: tuple[tuple[type, type[RecorderError]], ...] = (
    (errors.UsageError, UsageError),
    (errors.EnvironmentError, EnvironmentError),
    (errors.TargetError, TargetError),
)
_PLAIN = (str, int, float, bytes, type(None))
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: the class was made by a class statement, and not in C
