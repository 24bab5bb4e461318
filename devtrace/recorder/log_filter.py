"""Which log lines are written: `devtrace.recorder=warn,devtrace.recorder.engine=debug`.

Lives here: the levels and the filter's language. Not here: writing a line (logs.py).
"""

from __future__ import annotations

TARGET = "devtrace.recorder"
OLD_TARGET = "codetracer_python_recorder"
DEFAULT = f"{TARGET}=warn"

LEVELS = {"off": 0, "error": 1, "warn": 2, "info": 3, "debug": 4, "trace": 5}


class LogFilter:
    """Levels by target; the longest one that a target is, or lies in, decides."""

    __slots__ = ("_levels",)

    def __init__(self, levels: dict[str, int]):
        self._levels = levels

    def allows(self, level: str, target: str) -> bool:
        """Whether a line of that level and target is written."""
        while target and target not in self._levels:
            target = target.rpartition(".")[0]
        return LEVELS[level] <= self._levels.get(target, LEVELS["warn"])


def parse(spec: str) -> LogFilter:
    """`LEVEL` and `TARGET=LEVEL`, separated by commas; what no part names is written from `warn` on.

    Raises ValueError for a level that is none.
    """
    levels: dict[str, int] = {}
    for part in filter(None, map(str.strip, spec.split(","))):
        target, equals, level = part.rpartition("=")
        levels[_named(target) if equals else ""] = _level(level)
    return LogFilter(levels)


def of_ours(spec: str) -> LogFilter:
    """What a `RUST_LOG` says of the recorder; a level for all, or one that is none, is somebody else's."""
    levels = {}
    for part in spec.split(","):
        target, _, level = part.partition("=")
        if _named(target).startswith(TARGET) and level.strip().lower() in LEVELS:
            levels[_named(target)] = _level(level)
    return LogFilter(levels)


def _level(text: str) -> int:
    try:
        return LEVELS[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{text.strip()!r} is no level") from None


def _named(target: str) -> str:
    """The target as ours are named; the name of CodeTracer's recorder means ours."""
    name = target.strip().replace("::", ".")
    is_old = name == OLD_TARGET or name.startswith(OLD_TARGET + ".")
    return TARGET + name[len(OLD_TARGET) :] if is_old else name
