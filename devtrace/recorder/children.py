"""The processes that a recorded program starts: what they find in their environment, and how they begin.

A child that is started as usual inherits the environment of the C library, and `os.environ` is a copy of it
from when Python began. So what our children need is put into the former alone: the program sees its
`os.environ` as it would without us. A child that is given a copy of `os.environ` is not followed then; with
`follow` "all" the variables stand in `os.environ` too, and it is.

Not here: the child of a fork, which needs no environment (api.py), a traced shell's own variables
(sources/shell/hooks.py), what imports `begin` (devtrace/bootstrap/sitecustomize.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from devtrace import bootstrap
from devtrace.recorder.arguments import is_off, is_true

DETAILS = ("calls", "lines", "values")
INTERRUPTED = 130  # as a shell tells SIGINT
_ONLY = "DEVTRACE_RECORD_ONLY"  # what `--only` says, by `::`
_FILTER = "DEVTRACE_TRACE_FILTER"
_OURS = ("devtrace", "devtrace.recorder")  # programs of ours, which have no use for a record


def variables(
    follow: str,
    policy: Mapping[str, str | bool],
    environment: Mapping[str, str],
    *,
    filters: Sequence[str] = (),
    only: Sequence[str] = (),
) -> dict[str, str]:
    """What is to be set for the children, whose own recorder then does as this one was told to."""
    asked = environment.get("DEVTRACE_RECORD", "")
    if follow == "none":
        return {"DEVTRACE_RECORD": "0"} if is_true(asked) else {}
    from devtrace.recorder.policy import KEYS

    told = {
        KEYS[name].environment[0]: value if isinstance(value, str) else str(int(value))
        for name, value in policy.items()
        if name in KEYS
    }
    if "io_capture" in policy:
        told["DEVTRACE_CAPTURE_IO"] = str(policy["io_capture"])
    told["DEVTRACE_RECORD"] = str(policy.get("detail") or (asked if is_true(asked) else "1"))
    told["PYTHONPATH"] = bootstrap.python_path(environment.get("PYTHONPATH", ""))
    if filters:
        from devtrace.recorder.filter_files import for_children

        told[_FILTER] = for_children(filters, environment, os.getcwd())
    if only:
        told[_ONLY] = "::".join([*filter(None, [environment.get(_ONLY, "")]), *map(_placed, only)])
    return told


def _placed(only: str) -> str:
    """A file that is named as seen from here, as a child elsewhere finds it."""
    file, colon, function = only.partition(":")
    return os.path.abspath(file) + colon + function if file.endswith(".py") else only


def tell(told: Mapping[str, str], *, visibly: bool) -> None:
    """Put them into the environment that children inherit; `visibly` into `os.environ` as well."""
    for name, value in told.items():
        if visibly:
            os.environ[name] = value
        else:
            os.putenv(name, value)  # what os.environ does not show


def begin() -> None:
    """Record this Python from its start, because its environment says so; called before the program is.

    Silent when it cannot, unless the environment itself says that a failure is to end the program.
    """
    try:
        if is_off(os.environ) or _is_ours():
            return
        _start()
    except Exception as error:
        if os.environ.get("DEVTRACE_ON_RECORDER_ERROR", "") == "abort":
            _abort(error)


def begin_into(path: str) -> None:
    """Record from now on into that directory, as CODETRACER_TRACE asks who imports the recorder."""
    import atexit

    from devtrace.recorder import api, logs
    from devtrace.recorder.errors import caught

    try:
        if api.is_tracing() or _is_ours() or not path:
            return
        atexit.register(lambda: api.stop(exit_code=_status()))
        api.start(path, format=os.environ.get("CODETRACER_FORMAT") or api.DEFAULT_FORMAT, argv=_words())
    except Exception as error:
        logs.log_error(caught(error, "CODETRACER_TRACE"))


def _start() -> None:
    import atexit

    from devtrace.recorder import api
    from devtrace.recorder.policy import current

    word = os.environ.get("DEVTRACE_RECORD", "").strip().lower()
    only = tuple(filter(None, os.environ.get(_ONLY, "").split("::")))
    # The first that is registered is the last that is called.
    atexit.register(lambda: api.stop(exit_code=_status()))
    api.start(policy={"detail": word} if word in DETAILS else None, only=only, argv=_words())
    if current().follow != "python":
        told = variables(current().follow, {}, os.environ)
        tell(told, visibly=current().follow == "all")


def _status() -> int | None:
    """The exit status as far as it is known from inside: None unless an exception was told of."""
    last = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if last is None:
        return None
    return INTERRUPTED if type(last) is KeyboardInterrupt else 1


def _words() -> list[str]:
    """How the program was asked for, without the interpreter and its options."""
    words = [*sys.orig_argv]
    behind = len(sys.argv) - 1
    first = max(len(words) - behind - 1, 1)  # the script, or what stands behind -m or -c
    is_joined = words[first : first + 1] != [] and words[first][:2] in ("-m", "-c") and words[first][2:]
    if sys.argv[:1] in (["-m"], ["-c"]) and not is_joined:
        first -= 1
    return words[first:] if len(words) > 1 else []


def _is_ours() -> bool:
    words = _words()
    if not words:
        return False
    if words[0] == "-m":
        return words[1:2] != [] and words[1] in _OURS
    if words[0].startswith("-m"):
        return words[0][2:] in _OURS
    package = os.path.dirname(bootstrap.FOLDER)
    script = os.path.abspath(words[0])
    return os.path.basename(script) == "devtrace" or script.startswith(package + os.sep)


def _abort(error: Exception) -> None:
    from devtrace.recorder.launch import tell_error

    tell_error(error)
    os._exit(1)  # SystemExit would be told as a fatal error of `site`
