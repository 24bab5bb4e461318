"""Both engines against one account of what is hit in one thread: real functions, and counts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import CodeType
from typing import Any

import pytest

from tests.probes.armed import (
    ADD,
    DEADLINE,
    GENERATOR,
    HAS_MONITORING,
    Told,
    assert_idle,
    made,
)


def test_a_line_is_hit_before_it_runs_and_once_for_each_call(told: Told) -> None:
    add = made(ADD)["add"]
    seen: list[dict[str, object]] = []
    told.engine.start(lambda *hit: seen.append(dict(hit[2].f_locals)), told.codes.append)
    told.arm(add, 2)

    assert [add(2, 3), add(4, 5)] == [5, 9]

    assert seen == [{"x": 2, "y": 3}, {"x": 4, "y": 5}]


def test_another_line_of_the_function_tells_nothing_and_a_probe_taken_away_neither(told: Told) -> None:
    add = made(ADD)["add"]
    code = told.arm(add, 3)
    add(1, 1)
    told.engine.disarm(code, 3, "k")
    add(1, 1)

    assert [(key, what, frame.f_lineno) for key, what, frame, _ in told.hits] == [("k", "line", 3)]


def test_a_line_that_was_passed_before_can_be_armed_later(told: Told) -> None:
    add = made(ADD)["add"]
    told.arm(add, 3, "first")
    add(1, 1)  # line 2 was looked at, and is disabled from now on
    told.arm(add, 2, "second")
    add(1, 1)

    assert (told.count("first"), told.count("second")) == (2, 1)


def test_several_probes_sit_on_one_line_and_one_of_them_leaves(told: Told) -> None:
    add = made(ADD)["add"]
    for key in ("a", "b", "c"):
        code = told.arm(add, 2, key)
    add(1, 1)
    told.engine.disarm(code, 2, "b")
    told.engine.disarm(code, 2, "b")  # what is not armed may be disarmed
    add(1, 1)

    assert [hit[0] for hit in told.hits] == ["a", "b", "c", "a", "c"]


def test_a_probe_with_starts_and_one_without_share_a_line(told: Told) -> None:
    call = made("def f(g):\n    return g(\n        1,\n        2)\n")["f"]
    told.arm(call, 2, "once")
    told.engine.arm(call.__code__, 2, None, "each time")
    call(max)

    assert (told.count("once"), told.count("each time")) == (1, 2)


def test_nothing_is_in_the_interpreter_until_something_is_armed_nor_after(told: Told) -> None:
    add = made(ADD)["add"]
    assert_idle()
    code = told.arm(add, 2)
    told.engine.arm_exit(code, "k")
    told.engine.disarm_exit(code, "k")
    told.engine.disarm(code, 2, "k")
    assert_idle()
    assert told.engine.discover(True)
    assert not told.engine.discover(False)
    assert_idle()


def test_stop_may_be_called_twice_and_takes_all_away(told: Told) -> None:
    add = made(ADD)["add"]
    told.arm(add, 2)
    told.engine.arm_entry(add.__code__, "k")
    told.engine.stop()
    told.engine.stop()
    add(1, 1)

    assert told.hits == []
    told.arm(add, 2)
    add(1, 1)
    assert told.count() == 1


def test_all_of_a_key_is_dropped_at_once(told: Told) -> None:
    add, other = made(ADD)["add"], made(ADD)["add"]
    told.arm(add, 2)
    told.arm(other, 3)
    told.arm(add, 3, "stays")
    told.engine.arm_entry(other.__code__, "k")
    told.engine.arm_exit(other.__code__, "k")
    told.engine.arm_raise(add.__code__, "k")
    told.engine.drop("k")
    add(1, 1)
    other(1, 1)

    assert [hit[0] for hit in told.hits] == ["stays"]


def test_a_call_over_several_lines_is_one_hit(told: Told) -> None:
    call = made("def f(g):\n    g(\n        1,\n        2)\n    g(1)\n")["f"]
    told.arm(call, 2)
    told.arm(call, 4, "inner")
    call(max := lambda *_: None)
    call(max)

    assert (told.count(), told.count("inner")) == (2, 2)


def test_the_head_of_a_with_is_hit_when_it_is_entered_and_not_when_it_is_left(told: Told) -> None:
    source = """\
def f(context, fails):
    with context:
        if fails:
            raise KeyError
    return 1
"""

    class Context:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> bool:
            return True

    function = made(source)["f"]
    told.arm(function, 2)
    function(Context(), False)
    function(Context(), True)

    assert told.count() == 2


def test_the_head_of_a_loop_is_hit_for_each_round_and_for_the_end(told: Told) -> None:
    source = """\
def loop(items):
    for one in items:
        one
        one
    count = 3
    while count:
        count -= 1
"""
    loop = made(source)["loop"]
    told.arm(loop, 2, "for", last=2)
    told.arm(loop, 6, "while", last=6)
    loop(range(9))

    assert (told.count("for"), told.count("while")) == (10, 4)


def test_the_head_of_a_loop_over_several_lines_is_hit_as_often(told: Told) -> None:
    loop = made("def loop(g):\n    for one in g(\n        1,\n        4):\n        one\n")["loop"]
    told.arm(loop, 2, last=4)
    loop(range)

    assert told.count() == 4


def test_a_loop_with_a_branch_at_its_end_is_hit_for_each_round(told: Told) -> None:
    loop = made("def loop(n):\n    for one in range(n):\n        if one:\n            one\n")["loop"]
    told.arm(loop, 2)
    loop(5)

    assert told.count() == 6


@pytest.mark.parametrize("fails", [False, True])
def test_a_line_of_finally_is_hit_once_on_either_path(told: Told, fails: bool) -> None:
    source = """\
def f(fails):
    try:
        if fails:
            raise KeyError
        return 1
    finally:
        x = 1
"""
    function = made(source)["f"]
    told.arm(function, 7)
    told.arm(function, 5, "return")
    if fails:
        with pytest.raises(KeyError):
            function(True)
    else:
        function(False)

    assert told.count() == 1
    assert told.count("return") == (not fails)


def test_an_except_that_does_not_match_is_one_hit(told: Told) -> None:
    source = """\
def f(error):
    try:
        raise error
    except ValueError:
        return 1
    except KeyError as caught:
        return 2
"""
    function = made(source)["f"]
    told.arm(function, 4, "value")
    told.arm(function, 6, "key")
    assert [function(ValueError()), function(KeyError())] == [1, 2]
    with pytest.raises(AttributeError):
        function(AttributeError())

    assert (told.count("value"), told.count("key")) == (3, 2)


@pytest.mark.parametrize("source", ["def f(x): return x\n", "f = lambda x: x + 1\n"])
def test_a_function_of_one_line_is_hit_for_each_call(told: Told, source: str) -> None:
    function = made(source)["f"]
    for times in (1, 2):
        code = told.arm(function, 1)
        function(1)
        function(1)
        assert told.count() == 2 * times
        assert set(told.what) == {"line"}
        told.engine.disarm(code, 1, "k")
        function(1)


def test_a_comprehension_is_one_hit_of_its_line_and_its_element_one_each(told: Told) -> None:
    function = made(
        "def f(xs):\n    y = [x for x in xs]\n    return [\n        x + 1\n        for x in xs]\n"
    )["f"]
    told.arm(function, 2)
    code = function.__code__
    if not HAS_MONITORING:
        code = next(one for one in reversed(code.co_consts) if isinstance(one, CodeType))
    told.arm(code, 4, "element", first=3, last=5)
    function([1, 2, 3])

    assert (told.count(), told.count("element")) == (1, 3)


def test_entry_and_exit_come_with_the_value(told: Told) -> None:
    add = made(ADD)["add"]
    told.engine.arm_entry(add.__code__, "in")
    told.engine.arm_exit(add.__code__, "out")
    add(2, 3)

    assert [(key, what, value) for key, what, _, value in told.hits] == [
        ("in", "entry", None),
        ("out", "return", 5),
    ]
    assert {frame.f_code for _, _, frame, _ in told.hits} == {add.__code__}


def test_a_value_of_none_is_a_return_and_an_exception_is_not(told: Told) -> None:
    source = """\
def f(how):
    try:
        if how:
            raise KeyError(how)
    except KeyError:
        if how == 2:
            raise
    return None
"""
    function = made(source)["f"]
    told.engine.arm_exit(function.__code__, "k")
    told.engine.arm_raise(function.__code__, "r")
    function(0)
    function(1)
    with pytest.raises(KeyError) as raised:
        function(2)

    assert [(key, what) for key, what, _, _ in told.hits] == [
        ("k", "return"),
        ("r", "raise"),
        ("k", "return"),
        ("r", "raise"),
        ("k", "unwind"),
    ]
    assert told.hits[-1][3] is told.hits[-2][3] is raised.value
    assert {hit[2].f_code for hit in told.hits} == {function.__code__}


def test_an_exception_of_a_call_is_raised_here_as_well_and_elsewhere_tells_nothing(told: Told) -> None:
    space = made("def inner():\n    raise AttributeError\ndef f():\n    inner()\ndef g():\n    inner()\n")
    told.engine.arm_raise(space["f"].__code__, "k")
    with pytest.raises(AttributeError):
        space["f"]()
    with pytest.raises(AttributeError):
        space["g"]()

    assert told.what == ["raise"]


def test_a_generator_is_entered_once_and_a_yield_is_no_exit(told: Told) -> None:
    steps = made(GENERATOR)["steps"]
    told.engine.arm_entry(steps.__code__, "in")
    told.engine.arm_exit(steps.__code__, "out")
    told.arm(steps, 3, "yield")
    told.arm(steps, 4, "after")

    assert list(steps(3)) == [0, 1, 2]

    assert told.what[0] == "entry"
    assert (told.hits[-1][1], told.hits[-1][3]) == ("return", "done")
    assert [told.count(key) for key in ("in", "yield", "after", "out")] == [1, 3, 3, 1]


def test_a_generator_that_was_suspended_before_is_hit(told: Told) -> None:
    steps = made(GENERATOR)["steps"]
    going = steps(3)
    next(going)
    told.arm(steps, 4)
    told.engine.arm_exit(steps.__code__, "out")
    assert list(going) == [1, 2]

    assert [hit[1] for hit in told.hits] == ["line"] * 3 + ["return"]


def test_a_generator_that_is_closed_within_try_unwinds(told: Told) -> None:
    """Outside of `try` Python 3.13 throws a generator away without going back into it."""
    steps = made("def steps(n):\n    try:\n        yield 0\n    finally:\n        n = 0\n")["steps"]
    told.engine.arm_exit(steps.__code__, "out")
    going = steps(3)
    assert next(going) == 0
    assert told.hits == []
    going.close()

    ((_, what, _, error),) = told.hits
    assert (what, type(error)) == ("unwind", GeneratorExit)


def test_a_coroutine_that_was_suspended_and_one_that_awaits_on_its_line_are_hit_once(told: Told) -> None:
    source = """\
async def wait(turn):
    x = await turn()
    x = await turn()
    return x
"""
    wait = made(source)["wait"]

    async def turn() -> int:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return 1

    async def main() -> None:
        begun = asyncio.ensure_future(wait(turn))
        await asyncio.sleep(0)
        told.arm(wait, 2, "two")
        told.arm(wait, 3, "three")
        told.engine.arm_exit(wait.__code__, "out")
        await asyncio.gather(begun, wait(turn))

    asyncio.run(main())

    assert (told.count("two"), told.count("three"), told.count("out")) == (1, 2, 2)


def test_a_loop_that_runs_already_is_hit_from_within(told: Told) -> None:
    source = """\
def loop(at):
    for one in range(10):
        at(one)
        one
"""
    loop = made(source)["loop"]

    def at(one: int) -> None:
        if one == 4:
            told.arm(loop, 4)
        if one == 7:
            told.engine.disarm(loop.__code__, 4, "k")

    loop(at)

    assert told.count() == 3


def test_two_closures_of_one_code_are_both_hit(told: Told) -> None:
    outer = made("def outer(n):\n    def inner():\n        return n\n    return inner\n")["outer"]
    one, two = outer(1), outer(2)
    assert one.__code__ is two.__code__
    told.arm(one, 3)
    assert [one(), two()] == [1, 2]

    assert [hit[2].f_locals["n"] for hit in told.hits] == [1, 2]


def test_code_is_kept_alive_while_it_is_armed_and_let_go_after(told: Told) -> None:
    add = made(ADD)["add"]
    code = add.__code__
    before = sys.getrefcount(code)
    told.arm(add, 2)
    told.engine.arm_entry(code, "k")
    assert sys.getrefcount(code) > before
    told.engine.drop("k")
    told.engine.stop()

    assert sys.getrefcount(code) == before


def test_an_error_of_ours_is_counted_and_the_program_goes_on(told: Told) -> None:
    add = made(ADD)["add"]
    told.engine.start(len, told.codes.append)  # which takes one argument
    told.arm(add, 2)
    told.engine.arm_entry(add.__code__, "k")
    told.engine.arm_exit(add.__code__, "k")

    assert add(1, 1) == 2

    assert told.engine.failures == 3


def test_an_error_of_the_programs_own_signal_handler_reaches_the_program(told: Told) -> None:
    """Such a handler may run while we do: the call in the midst of a hit stands for it."""
    add = made(ADD)["add"]
    handler = made("def handler(*_):\n    raise TimeoutError('the program set an alarm')\n")["handler"]
    told.engine.start(handler, told.codes.append)
    told.arm(add, 2)

    with pytest.raises(TimeoutError, match="the program set an alarm"):
        add(1, 1)
    assert told.engine.failures == 0


def test_code_is_discovered_once_and_can_be_armed_in_time_for_its_first_call(told: Told) -> None:
    space = made(ADD + GENERATOR)
    add = space["add"]
    found: list[CodeType] = []

    def on_new_code(code: CodeType) -> None:
        if code.co_filename == "/probed.py":
            found.append(code)
            if code is add.__code__:
                told.arm(code, 2, "line")
                told.engine.arm_entry(code, "entry")
                told.engine.arm_exit(code, "exit")

    told.engine.start(lambda *hit: told.hits.append(hit), on_new_code)
    assert told.engine.discover(True)
    add(1, 1)
    add(1, 1)
    told.engine.discover(False)
    add(1, 1)
    list(space["steps"](2))

    assert found == [add.__code__]
    assert [hit[0] for hit in told.hits] == ["entry", "line", "exit"] * 3


def test_code_is_discovered_again_when_one_asks_again(told: Told) -> None:
    add = made(ADD)["add"]
    for _ in range(2):
        told.codes.clear()
        told.engine.discover(True)
        add(1, 1)
        told.engine.discover(False)
        assert told.codes.count(add.__code__) == 1


def test_a_generator_that_was_suspended_before_is_discovered(told: Told) -> None:
    going = made(GENERATOR)["steps"](3)
    next(going)
    told.engine.discover(True)
    next(going)
    told.engine.discover(False)

    assert told.codes.count(going.gi_code) == 1


def test_discovery_and_probes_do_not_disturb_each_other(told: Told) -> None:
    add, other = made(ADD)["add"], made(ADD)["add"]
    told.engine.arm_entry(add.__code__, "k")
    told.engine.discover(True)
    add(1, 1)
    other(1, 1)
    told.engine.arm_entry(other.__code__, "k")
    add(1, 1)
    other(1, 1)
    told.engine.discover(False)
    add(1, 1)
    other(1, 1)

    assert told.count() == 5


def test_a_function_that_probes_itself_from_within_a_hit_is_not_hit_again(told: Told) -> None:
    add = made(ADD)["add"]

    def on_hit(*hit: Any) -> None:
        told.hits.append(hit)
        add(1, 1)

    told.engine.start(on_hit, told.codes.append)
    told.arm(add, 2)
    add(1, 1)

    assert told.count() == 1


def test_a_forked_child_goes_on_being_hit(told: Told) -> None:
    program = f"""
import os, sys
sys.path.insert(0, {sys.path[0]!r})
from devtrace.probes.engine import choose
hits = []
engine = choose({told.engine.name!r})
engine.start(lambda *hit: hits.append(hit), len)
def f():
    return 1
engine.arm(f.__code__, f.__code__.co_firstlineno + 1, None, "k")
f()
child = os.fork()
f()
if not child:
    os._exit(len(hits))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(hits))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=DEADLINE
    )

    assert (done.stdout, done.stderr) == ("2 2\n", "")
