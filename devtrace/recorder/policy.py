"""The recorder's policy: what it records, what it does when it fails, where it writes its log.

The policy in force is one object that is never changed, only replaced: who reads it needs no lock, and sees
the keys of one call together.

Lives here: every key with its type, default, names in the environment and meaning (`KEYS`), and setting them.
Not here: the store's settings (devtrace/config.py), redaction (devtrace/policy/), which code is recorded
(filters.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from devtrace.recorder import log_filter
from devtrace.recorder.errors import UsageError

Value = bool | int | str | None

_TRUE = ("1", "true", "t", "yes", "y")
_FALSE = ("0", "false", "f", "no", "n")

# How `io_capture` and CODETRACER_CAPTURE_IO may say it; any other text lists what is on.
_IO_OFF = ("0", "off", "false", "disable", "disabled", "none")
_IO_ON = ("1", "on", "true", "enable", "enabled")
_IO_PROXIES = ("proxies", "proxy")
_IO_FD = ("fd", "mirror", "fallback")
_LONGEST_SHOWN = 80  # characters of a value that does not fit
_IO_WANTS = "off, proxies, or proxies+fd"


class Key:
    """One key: `read` makes its value of what was given, or raises ValueError; `wants` says what fits."""

    __slots__ = ("default", "environment", "meaning", "read", "wants")

    def __init__(
        self,
        default: Value,
        read: Callable[[object], Value],
        wants: str,
        environment: tuple[str, ...],
        meaning: str,
    ):
        self.default = default
        self.read = read
        self.wants = wants
        self.environment = environment  # the first that is set counts
        self.meaning = meaning


def _read_flag(given: object) -> bool:
    if type(given) is bool:
        return given
    word = _text(given).strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError
    return word in _TRUE


def _read_level(given: object) -> str | None:
    spec = _text(given).strip()
    log_filter.parse(spec)
    return spec or None


def _read_path(given: object) -> str | None:
    path = os.fsdecode(given) if isinstance(given, bytes | os.PathLike) else _text(given)
    if "\0" in path:
        raise ValueError
    return path if path.strip() else None


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError
    return given


def _flag(default: bool, name: str, meaning: str) -> Key:
    return Key(default, _read_flag, "true or false", _both(name), meaning)


def _choice(choices: tuple[str, ...], default: str, environment: tuple[str, ...], meaning: str) -> Key:
    def read(given: object) -> str:
        word = _text(given).strip().lower()
        if word not in choices:
            raise ValueError
        return word

    return Key(default, read, " or ".join(map(repr, choices)), environment, meaning)


def _number(default: int, least: int, most: int, name: str, meaning: str) -> Key:
    def read(given: object) -> int:
        number = given if type(given) is int else int(_digits(_text(given)))
        if not least <= number <= most:
            raise ValueError
        return number

    return Key(default, read, f"a whole number from {least} to {most}", (name,), meaning)


def _digits(text: str) -> str:
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        raise ValueError
    return digits


def _both(name: str) -> tuple[str, str]:
    """Our name in the environment, and CodeTracer's."""
    return f"DEVTRACE_{name}", f"CODETRACER_{name}"


IO_ENVIRONMENT = _both("CAPTURE_IO")

KEYS: dict[str, Key] = {
    "on_recorder_error": _choice(
        ("abort", "disable"),
        "abort",
        _both("ON_RECORDER_ERROR"),
        "When the recorder fails: end its run with an error, or let the program go on unrecorded.",
    ),
    "require_trace": _flag(False, "REQUIRE_TRACE", "Whether a run that left no trace is a failure."),
    "keep_partial_trace": _flag(
        False, "KEEP_PARTIAL_TRACE", "Whether files of a trace that failed stay where they were written."
    ),
    "log_level": Key(
        None,
        _read_level,
        "levels by target, such as `debug` or `devtrace.recorder=info`",
        _both("LOG_LEVEL"),
        f"Which log lines are written: LEVEL or TARGET=LEVEL, by commas; empty: {log_filter.DEFAULT}.",
    ),
    "log_file": Key(
        None, _read_path, "a path", _both("LOG_FILE"), "Where log lines are appended; empty: stderr."
    ),
    "json_errors": _flag(False, "JSON_ERRORS", "Whether an error is also told as a line of JSON on stderr."),
    "io_capture_line_proxies": Key(
        True,
        _read_flag,
        "true or false",
        IO_ENVIRONMENT,
        "Whether what the program reads and prints is recorded, by line.",
    ),
    "io_capture_fd_fallback": Key(
        False,
        _read_flag,
        "true or false",
        IO_ENVIRONMENT,
        "Whether what is printed past Python is recorded too; needs the one above.",
    ),
    "module_name_from_globals": _flag(
        True, "MODULE_NAME_FROM_GLOBALS", "Whether a module is called as its globals say, else by its path."
    ),
    "propagate_script_exit": _flag(
        True,
        "PROPAGATE_SCRIPT_EXIT",
        "Whether the exit status is the program's own; else 0 once recorded.",
    ),
    "detail": _choice(
        ("calls", "lines", "values"),
        "values",
        ("DEVTRACE_RECORD_DETAIL",),
        "How much is recorded: calls, lines too, or the values that changed as well.",
    ),
    "follow": _choice(
        ("none", "python", "all"),
        "python",
        ("DEVTRACE_RECORD_FOLLOW",),
        "Which processes that the program starts are recorded too.",
    ),
    "trace_mb": _number(
        512, 1, 1 << 20, "DEVTRACE_RECORD_TRACE_MB", "MiB that one trace writes; what comes later is a gap."
    ),
    "fold_mb": _number(
        64,
        0,
        1 << 20,
        "DEVTRACE_RECORD_FOLD_MB",
        "MiB of one thread; beyond it, of blocks that hold only lines seen before, the last stay. 0: never.",
    ),
    "value_depth": _number(
        3, 0, 64, "DEVTRACE_RECORD_VALUE_DEPTH", "Levels to which containers and objects are looked into."
    ),
    "value_items": _number(
        100, 0, 65_536, "DEVTRACE_RECORD_VALUE_ITEMS", "Items that are kept of one container."
    ),
    "value_bytes": _number(
        1024, 0, 65_536, "DEVTRACE_RECORD_VALUE_BYTES", "Characters of a text, or bytes, that are kept."
    ),
    "engine": _choice(
        ("auto", "monitoring", "settrace"),
        "auto",
        ("DEVTRACE_RECORD_ENGINE",),
        "How Python is listened to; auto: sys.monitoring where there is one.",
    ),
}

_IO = {"line_proxies": "io_capture_line_proxies", "fd_fallback": "io_capture_fd_fallback"}


class RecorderPolicy:
    """One attribute a key; and `log_path`, the log file as it was reached when it was set."""

    __slots__ = (*KEYS, "log_path")

    on_recorder_error: Literal["abort", "disable"]
    require_trace: bool
    keep_partial_trace: bool
    log_level: str | None
    log_file: str | None
    json_errors: bool
    io_capture_line_proxies: bool
    io_capture_fd_fallback: bool
    module_name_from_globals: bool
    propagate_script_exit: bool
    detail: Literal["calls", "lines", "values"]
    follow: Literal["none", "python", "all"]
    trace_mb: int
    fold_mb: int
    value_depth: int
    value_items: int
    value_bytes: int
    engine: Literal["auto", "monitoring", "settrace"]
    log_path: str | None

    def __init__(self, values: Mapping[str, Value]):
        for name in self.__slots__:
            setattr(self, name, values[name])

    def changed(self, changes: Mapping[str, Value]) -> RecorderPolicy:
        """This policy with some keys changed; without proxies there is no fallback."""
        values = {name: getattr(self, name) for name in self.__slots__} | dict(changes)
        if not values["io_capture_line_proxies"]:
            values["io_capture_fd_fallback"] = False
        if "log_file" in changes:
            values["log_path"] = _absolute(values["log_file"])
        return RecorderPolicy(values)


on_io: Callable[[], None] | None = None  # told when somebody has said how input and output are recorded
_current = RecorderPolicy({**{name: key.default for name, key in KEYS.items()}, "log_path": None})


def current() -> RecorderPolicy:
    """The policy in force; it does not change in the caller's hands."""
    return _current


def configure_policy(policy: Mapping[str, object] | None = None, /, **keys: object) -> None:
    """Change keys of the policy, all or none of them; None leaves a key as it is.

    `policy` is a mapping of the same keys. `io_capture` sets two at once: `{"line_proxies": ...,
    "fd_fallback": ...}`, or a text as CODETRACER_CAPTURE_IO takes it. An empty `log_level` or `log_file`
    clears it. Raises TypeError for an unknown key, UsageError ERR_INVALID_POLICY_VALUE for a bad value.
    """
    changes: dict[str, Value] = {}
    for name, given in {**(policy or {}), **keys}.items():
        if name == "io_capture":
            changes |= _io_capture(given)
        elif name not in KEYS:
            raise TypeError(f"configure_policy() got an unexpected keyword argument {name!r}")
        elif given is not None:
            changes[name] = _read(name, given)
    _apply(changes)
    if on_io is not None and not changes.keys().isdisjoint(_IO.values()):
        on_io()


def configure_policy_from_env(environment: Mapping[str, str] | None = None) -> None:
    """Take over what the environment says: `DEVTRACE_...` names, else `CODETRACER_...` ones.

    Raises UsageError ERR_INVALID_POLICY_VALUE, and then nothing is taken over.
    """
    variables = os.environ if environment is None else environment
    changes: dict[str, Value] = {}
    for name, key in KEYS.items():
        variable = next(filter(variables.__contains__, key.environment), None)
        if variable is None:
            continue
        if key.environment is IO_ENVIRONMENT:
            changes |= _io_from_text(variables[variable], variable)
        else:
            changes[name] = _read(name, variables[variable], variable)
    _apply(changes)


def policy_snapshot() -> dict[str, Any]:
    """The policy as plain values: its keys, with `io_capture: {line_proxies, fd_fallback}` for those two."""
    policy = _current
    flat = {name: getattr(policy, name) for name in KEYS if name not in _IO.values()}
    return {**flat, "io_capture": {short: getattr(policy, name) for short, name in _IO.items()}}


def _apply(changes: Mapping[str, Value]) -> None:
    global _current  # one policy for the process, as the documented surface has it
    if changes:
        _current = _current.changed(changes)


def _read(name: str, given: object, variable: str | None = None) -> Value:
    try:
        return KEYS[name].read(given)
    except ValueError as error:
        raise _unfit(name, given, KEYS[name].wants, variable) from (error if error.args else None)


def _io_capture(given: object) -> dict[str, Value]:
    if given is None:
        return {}
    if isinstance(given, str):
        return _io_from_text(given, None)
    if not isinstance(given, Mapping):
        raise _unfit("io_capture", given, _IO_WANTS, None)
    unknown = [short for short in given if short not in _IO]
    if unknown:
        raise TypeError(f"configure_policy() got an unexpected keyword argument 'io_capture.{unknown[0]}'")
    return {_IO[short]: _read(_IO[short], value) for short, value in given.items() if value is not None}


def _io_from_text(text: str, variable: str | None) -> dict[str, Value]:
    words = {word.strip() for word in text.strip().lower().replace("+", ",").split(",")} - {""}
    is_off = len(words) == 1 and words <= set(_IO_OFF)
    is_on = not text.strip() or (len(words) == 1 and words <= set(_IO_ON))
    if not (is_off or is_on) and not (words and words <= {*_IO_PROXIES, *_IO_FD}):
        raise _unfit("io_capture", text, _IO_WANTS, variable)
    return {"io_capture_line_proxies": not is_off, "io_capture_fd_fallback": not words.isdisjoint(_IO_FD)}


def _unfit(name: str, given: object, wants: str, variable: str | None) -> UsageError:
    return UsageError(
        f"invalid {name} value {_shown(given)} (expected {wants})",
        code="ERR_INVALID_POLICY_VALUE",
        hint=f"correct or unset {variable}" if variable else "",
        context={"environment": variable} if variable else {"key": name},
    )


def _shown(given: object) -> str:
    """A value as the error names it; not one of the user's classes, whose `repr` is code of his."""
    if type(given) is int and abs(given) >> 64:  # Python writes no int of thousands of digits
        return "of that size"
    is_plain = type(given) in (str, int, float, bool)
    return repr(given)[:_LONGEST_SHOWN] if is_plain else f"of type {type(given).__name__}"


def _absolute(path: Value) -> str | None:
    """A path as it is reached from here, so that it stays the same file when the program goes elsewhere."""
    if not isinstance(path, str):
        return None
    from pathlib import Path

    try:
        return str(Path(path).absolute())
    except OSError:  # the current directory was removed
        return path
