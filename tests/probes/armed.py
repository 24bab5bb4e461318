"""An engine under test and all that it tells, and functions for it to be armed in."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from devtrace.probes.engine import choose
from devtrace.probes.statements import starts

HAS_MONITORING = sys.version_info >= (3, 12)
NAMES = ["monitoring", "pytrace"] if HAS_MONITORING else ["pytrace"]
DEADLINE = 20
monitoring: Any = getattr(sys, "monitoring", None)

ADD = """\
def add(x, y):
    z = x + y
    return z
"""

GENERATOR = """\
def steps(n):
    for one in range(n):
        got = yield one
        last = got
    return "done"
"""


class Told:
    """An engine, and all that it has told."""

    def __init__(self, name: str) -> None:
        self.engine: Any = choose(name)
        assert self.engine.name == name
        self.hits: list[tuple[object, str, FrameType, object]] = []
        self.codes: list[CodeType] = []
        self.engine.start(lambda *hit: self.hits.append(hit), self.codes.append)

    def arm(self, function: Any, line: int, key: object = "k", *, first: int = 0, last: int = 0) -> CodeType:
        code = function if isinstance(function, CodeType) else function.__code__
        self.engine.arm(code, line, starts(code, line, first, last) or None, key)
        return code

    @property
    def what(self) -> list[str]:
        return [what for _, what, _, _ in self.hits]

    def count(self, key: object = "k") -> int:
        return sum(hit[0] == key for hit in self.hits)


@contextlib.contextmanager
def nobody_traces() -> Iterator[None]:
    """Coverage has the place of the trace function while it measures these tests."""
    before = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        threading.settrace(before[1])
        sys.settrace(before[0])


def assert_idle() -> None:
    assert sys.gettrace() is None
    assert threading.gettrace() is None
    if HAS_MONITORING:
        assert [monitoring.get_tool(one) for one in (3, 4, 5)] == [None] * 3


def made(source: str, **names: object) -> dict[str, Any]:
    """The names of a module with that source, whose first line is line 1."""
    space: dict[str, Any] = {"__name__": "probed", **names}
    exec(compile(source, "/probed.py", "exec"), space)
    return space
