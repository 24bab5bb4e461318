"""Whether a frame handles an exception is read from its code; the interpreter's own events say the same."""

from __future__ import annotations

import asyncio
import contextlib
import dis
import sys

import pytest

from devtrace.recorder.lines import is_end_of_loop, is_handled
from tests.recorder import programs

if sys.version_info < (3, 12):
    pytest.skip("sys.monitoring arrived in 3.12", allow_module_level=True)

monitoring, events = sys.monitoring, sys.monitoring.events


@contextlib.contextmanager
def listening(callbacks):
    tool = next(number for number in range(6) if monitoring.get_tool(number) is None)
    monitoring.use_tool_id(tool, "the test")
    for event, callback in callbacks.items():
        monitoring.register_callback(tool, event, callback)
    monitoring.set_events(tool, sum(callbacks))
    try:
        yield
    finally:
        monitoring.set_events(tool, 0)
        for event in callbacks:
            monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)


def nested():
    with contextlib.suppress(KeyError):
        try:
            try:
                raise KeyError("inner")
            except ValueError:
                len("not this")
            finally:
                len("tidied")
        except TypeError:
            len("nor this")


def thrown():
    def inner():
        try:
            yield 1
        except ValueError:
            yield 2

    def outer():
        try:
            yield from inner()
        finally:
            len("tidied")

    generator = outer()
    found = [next(generator), generator.throw(ValueError("x"))]
    generator.close()
    return found


def groups():
    try:
        raise ExceptionGroup("both", [ValueError(1), TypeError(2)])
    except* ValueError:
        len("one")
    except* TypeError:
        len("other")


def contexts():
    async def within():
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(1)
        async for _ in counted():
            pass

    async def counted():
        for number in range(2):
            yield number

    asyncio.run(within())


def iterated():
    class Few:
        left = 3

        def __iter__(self):
            return self

        def __next__(self):
            self.left -= 1
            if not self.left:
                raise StopIteration
            return self.left

    found = [number for number in Few() if number]
    for number in Few():
        found.append(number)
    try:
        [1 // (number - 1) for number in Few()]
    except ZeroDivisionError:
        found.append(0)
    return found


RAISING = [programs.exceptions, nested, thrown, groups, contexts, iterated]


@pytest.mark.parametrize("program", [*programs.PROGRAMS, nested, thrown, groups, contexts, iterated])
def test_what_the_code_says_is_what_happens(program):
    foretold, happened, kept = [], [], []

    def raised(code, offset, error):
        kept.append(error)  # so that no two have one id
        is_stop = type(error) is StopIteration and is_end_of_loop(code, offset)
        if is_handled(code, offset) and not is_stop:
            foretold.append((code.co_qualname, id(error)))

    def handled(code, offset, error):
        if dis.opname[code.co_code[offset]] == "PUSH_EXC_INFO":  # else it only tidies up
            happened.append((code.co_qualname, id(error)))

    with listening({events.RAISE: raised, events.RERAISE: raised, events.EXCEPTION_HANDLED: handled}):
        program()

    assert foretold == happened
    assert happened or program not in RAISING
