"""Where a probe can sit: each function once a call, each line once an execution, with both engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.probes.armed import NAMES
from tests.probes.programs import log
from tests.probes.running import Program, running


@pytest.fixture(params=NAMES)
def program(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Program]:
    with running(tmp_path, TRACEPOINTDEBUG_ENGINE=request.param) as program:
        yield program


# --- functions ----------------------------------------------------------------------------------------------

FUNCTIONS = {
    "wrapped by functools.wraps": (
        """\
import functools
def twice(f):
    @functools.wraps(f)
    def inner(*args):
        return f(*args) * 2
    return inner
@twice
@twice
def f(x):
    return x  # here
""",
        "app.f(1)",
    ),
    "wrapped by a class": (
        """\
class Wraps:
    def __init__(self, f): self.f = f
    def __call__(self, *args): return self.f(*args)
@Wraps
def f(x):
    return x  # here
""",
        "app.f(1)",
    ),
    "wrapped by a class with slots": (
        """\
class Wraps:
    __slots__ = ("f",)
    def __init__(self, f): self.f = f
    def __call__(self, *args): return self.f(*args)
@Wraps
def f(x):
    return x  # here
""",
        "app.f(1)",
    ),
    "hidden in a dictionary in a closure": (
        """\
def hide(f):
    kept = {"f": [f]}
    return lambda *args: kept["f"][0](*args)
@hide
def f(x):
    return x  # here
""",
        "app.f(1)",
    ),
    "lru_cache": (
        """\
import functools
@functools.lru_cache
def f(x):
    return x  # here
""",
        "app.f(1), app.f(1)",
    ),
    "contextmanager": (
        """\
import contextlib
@contextlib.contextmanager
def f(x):
    yield x  # here
def use(x):
    with f(x) as y:
        return y
""",
        "app.use(1)",
    ),
    "property": (
        """\
class C:
    @property
    def p(self):
        x = 1
        return x  # here
""",
        "app.C().p",
    ),
    "cached_property": (
        """\
import functools
class C:
    @functools.cached_property
    def p(self):
        x = 1
        return x  # here
""",
        "app.C().p",
    ),
    "staticmethod": (
        """\
class C:
    @staticmethod
    def f(x):
        return x  # here
""",
        "app.C.f(1)",
    ),
    "classmethod": (
        """\
class C:
    @classmethod
    def f(cls, x):
        return x  # here
""",
        "app.C.f(1)",
    ),
    "a dataclass's method": (
        """\
import dataclasses
@dataclasses.dataclass
class C:
    x: int
    def f(self):
        x = self.x
        return x  # here
""",
        "app.C(1).f()",
    ),
    "a slotted dataclass's method": (
        """\
import dataclasses
@dataclasses.dataclass(slots=True, frozen=True)
class C:
    x: int
    def f(self):
        x = self.x
        return x  # here
""",
        "app.C(1).f()",
    ),
    "a class made by type": (
        """\
def f(self, x):
    return x  # here
C = type("C", (), {"f": f})
del f
""",
        "app.C().f(1)",
    ),
    "a nested class": (
        """\
class A:
    class B:
        def f(self, x):
            return x  # here
""",
        "app.A.B().f(1)",
    ),
    "a one-line function": ("def f(x): return x  # here\n", "app.f(1)"),
    "a lambda": ("f = lambda x: x  # here\n", "app.f(1)"),
    "a lambda in a list": ("fs = [\n    str,\n    lambda x: x,  # here\n]\n", "app.fs[1](1)"),
    "a lambda as a default": (
        "def f(\n    x,\n    g=lambda x: x,  # here\n):\n    return g(x)\n",
        "app.f(1)",
    ),
    "singledispatch": (
        """\
import functools
@functools.singledispatch
def f(x):
    return None
@f.register
def _(x: int):
    return x  # here
""",
        "app.f(1)",
    ),
    "partial": (
        """\
import functools
def f(x, y):
    return x  # here
g = functools.partial(f, 1)
del f
""",
        "app.g(2)",
    ),
    "a global that was deleted": (
        """\
def f(x):
    return x  # here
fs = {"f": f}
del f
""",
        "app.fs['f'](1)",
    ),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("case", FUNCTIONS)
def test_a_function_is_hit_once(program, case, when):
    source, call = FUNCTIONS[case]
    (program.home / "app.py").write_text(source)
    if when == "after":
        program.do("import app")
    log(program, source)
    program.do("import app")
    before = len(program.messages())  # a line may be that of the module, too

    program.do(call)

    program.end()
    assert [one for one in program.messages() if not one.startswith("{")][before and 0 :] == ["1"]


# Source, call, message, what is told.
LINES = {
    "a comprehension": (
        "def f(xs):\n    return [x for x in xs]  # here\n",
        "app.f([1, 2])",
        "{xs}",
        ["[1, 2]"],
    ),
    "a comprehension over lines": (
        "def f(xs):\n    return [\n        x + 1  # here\n        for x in xs\n    ]\n",
        "app.f([1, 2])",
        "{x}",
        ["1", "2"],
    ),
    "a generator expression": (
        "def f(xs):\n    return sum(\n        x  # here\n        for x in xs)\n",
        "app.f([1, 2])",
        "{x}",
        ["1", "2"],
    ),
    "a call over lines": (
        "def f(a):\n    x = max(  # here\n        a,\n        2,\n    )\n    return x\n",
        "app.f(1)",
        "{a}",
        ["1"],
    ),
    "a call over lines, within": (
        "def g(*a): return a\ndef f(a):\n    return g(\n        a,\n        g(a),  # here\n    )\n",
        "app.f(1)",
        "{a}",
        ["1"],
    ),
    "the head of a for": (
        "def f(xs):\n    for x in xs:  # here\n        pass\n",
        "app.f([1, 2])",
        "h",
        ["h"] * 3,
    ),
    "the body of a for": (
        "def f(xs):\n    for x in xs:\n        y = x  # here\n",
        "app.f([1, 2])",
        "{x}",
        ["1", "2"],
    ),
    "the head of a while": (
        "def f(n):\n    while n:  # here\n        n -= 1\n",
        "app.f(2)",
        "{n}",
        ["2", "1", "0"],
    ),
    "the head of a with": (
        "def f(l):\n    with l:  # here\n        x = 1\n    return x\n",
        "app.f(__import__('threading').Lock())",
        "h",
        ["h"],
    ),
    "a finally": (
        """\
def f(n):
    try:
        1 / n
    except ZeroDivisionError:
        pass
    finally:
        m = n  # here
""",
        "app.f(0), app.f(1)",
        "{n}",
        ["0", "1"],
    ),
    "a finally of what is raised": (
        """\
def g(n):
    try:
        return 1 / n
    finally:
        m = n  # here
def f(n):
    try:
        g(n)
    except ZeroDivisionError:
        pass
""",
        "app.f(0), app.f(1)",
        "{n}",
        ["0", "1"],
    ),
    "an except": (
        "def f(n):\n    try:\n        1 / n\n    except ZeroDivisionError:  # here\n        m = n\n",
        "app.f(0), app.f(1)",
        "{n}",
        ["0"],
    ),
    "below an except": (
        "def f(n):\n    try:\n        1 / n\n    except ZeroDivisionError:\n        m = n  # here\n",
        "app.f(0), app.f(1)",
        "{n}",
        ["0"],
    ),
    "below an else": (
        """\
def f(n):
    try:
        1 / n
    except ZeroDivisionError:
        pass
    else:
        m = n  # here
""",
        "app.f(0), app.f(1)",
        "{n}",
        ["1"],
    ),
    "a case": (
        """\
def f(n):
    match n:
        case 1:
            m = n  # here
        case _:
            m = 0
""",
        "app.f(1), app.f(2)",
        "{n}",
        ["1"],
    ),
    "the head of a match": (
        """\
def f(n):
    match n:  # here
        case 1:
            m = n
        case _:
            m = 0
""",
        "app.f(1), app.f(2)",
        "{n}",
        ["1", "2"],
    ),
    "a recursion": (
        "def f(n):\n    m = n  # here\n    return f(n - 1) if n else 0\n",
        "app.f(2)",
        "{n}",
        ["2", "1", "0"],
    ),
    "two statements in a line": ("def f(n):\n    m = n; n = 2; m = n  # here\n", "app.f(1)", "{n}", ["1"]),
    "a chained call": (
        "def f(s):\n    return (\n        s.upper()\n        .lower()  # here\n        .title()\n    )\n",
        "app.f('a')",
        "{s}",
        ["a"],
    ),
    "an assert": ("def f(n):\n    assert n, (  # here\n        'none'\n    )\n", "app.f(1)", "{n}", ["1"]),
    "a return in a loop": (
        "def f(xs):\n    for x in xs:\n        if x == 2:\n            return x  # here\n",
        "app.f([1, 2, 3])",
        "{x}",
        ["2"],
    ),
    "a continued condition": (
        "def f(a, b):\n    if (a  # here\n            and b):\n        return 1\n",
        "app.f(1, 1)",
        "{a}",
        ["1"],
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_a_line_is_hit_each_time_it_is_run(program, case):
    source, call, message, told = LINES[case]
    (program.home / "app.py").write_text(source)
    program.do("import app")
    log(program, source, message=message)

    program.do(call)

    program.end()
    assert program.messages() == told
