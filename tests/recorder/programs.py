"""Small programs whose every line and variable is known: what the recorder says of them is held against the
interpreter's own account. They do the same at each run, and take no input.

Not here: programs whose output is compared (scripts/).
"""
# ruff: noqa: E701, F841, RET504, RUF046 - written as programs are, with loops in one line

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
from collections import deque, namedtuple
from dataclasses import dataclass


def loops() -> int:
    total = 0
    for number in range(4):
        if number % 2:
            continue
        total += number
    else:
        total += 100
    while total > 99:
        total -= 1
    return total


def one_line_loops() -> list[int]:
    found = []
    for number in range(3): found.append(number)  # fmt: skip
    squares = [number * number for number in found]
    while len(found) < 5: found.append(0)  # fmt: skip
    return squares


def recursion(depth: int = 6) -> int:
    if depth == 0:
        return 0
    below = recursion(depth - 1)
    return below + depth


def containers() -> dict[str, object]:
    numbers = [3, 1, 2]
    numbers.sort()
    numbers[0] = 10
    table: dict[str, object] = {}
    table["numbers"] = numbers[:]
    numbers.append(4)
    table.update(more={1, 2})
    del numbers[0]
    row = (1, "two", None, 2.5, True, b"six")
    queue = deque([1])
    queue.append(2)
    return table


def exceptions() -> str:
    told = ""
    try:
        _fails(2)
    except ValueError as error:
        told = str(error.args[0])
    finally:
        told += "!"
    try:
        try:
            raise KeyError("a")
        except KeyError as inner:
            raise RuntimeError("b") from inner
    except RuntimeError:
        told += "?"
    with contextlib.suppress(ZeroDivisionError):
        _ = 1 // 0
    return told


def _fails(left: int) -> None:
    if left:
        _fails(left - 1)
    raise ValueError("deep")


def generators() -> list[int]:
    def count(end: int):  # type: ignore[no-untyped-def]
        at = 0
        while at < end:
            got = yield at
            at += got or 1
        return "done"

    def both(end: int):  # type: ignore[no-untyped-def]
        last = yield from count(end)
        yield last

    found = list(both(3))
    steps = count(9)
    next(steps)
    steps.send(5)
    try:
        steps.throw(LookupError("out"))
    except LookupError:
        found.append(-1)
    unfinished = count(5)
    next(unfinished)
    unfinished.close()
    return found


def coroutines() -> int:
    async def add(one: int, two: int) -> int:
        await asyncio.sleep(0)
        return one + two

    async def main() -> int:
        first = await add(1, 2)
        second = await add(first, 4)
        return second

    return asyncio.run(main())


def closures() -> int:
    count = 0

    def more(by: int) -> int:
        nonlocal count
        count += by
        return count

    more(2)
    last = more(3)
    return last


def decorated() -> int:
    def twice(function):  # type: ignore[no-untyped-def]
        @functools.wraps(function)
        def wrapper(*args: object, **named: object) -> int:
            return function(*args, **named) * 2

        return wrapper

    @twice
    def value(start: int, *rest: int, scale: int = 1, **more: int) -> int:
        return (start + sum(rest)) * scale + len(more)

    return value(1, 2, 3, scale=2, extra=5)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    left: int
    top: int = 0

    def moved(self, by: int) -> Point:
        self.left += by
        return Point(self.left, self.top + by)


class Slotted:
    __slots__ = ("name", "unset")

    def __init__(self, name: str) -> None:
        self.name = name


Pair = namedtuple("Pair", "one two")


def objects() -> int:
    point = Point(1)
    other = point.moved(4)
    point.top = 7
    colour = Colour.BLUE
    slotted = Slotted("n")
    pair = Pair(1, Slotted)
    return other.left + colour.value


def bindings() -> int:
    left, (right, *rest) = 1, (2, 3, 4)
    del left
    if (size := len(rest)) > 1:
        right += size
    import math as mathematics

    class Inner:
        member = 5

        def method(self) -> int:
            return self.member

    value = Inner().method()
    return right + value + int(mathematics.floor(1.5))


def matching() -> str:
    told = ""
    for subject in (1, [1, 2], {"kind": "x"}, None):
        match subject:
            case int(number):
                told += str(number)
            case [first, *_]:
                told += f"l{first}"
            case {"kind": kind}:
                told += kind
            case _:
                told += "-"
    return told


def multi_line() -> int:
    value = sum(
        number
        for number in (
            1,
            2,
        )
    )
    return value + len("abc")


def strings() -> str:
    text = "é\u202e\0\U0001f600"
    long = "x" * 5000
    surrogate = "\udcff"
    big = 1 << 100
    negative = -5
    huge = 1 << 60
    odd = float("nan")
    deep = [[[[[1]]]]]
    cycle: list[object] = []
    cycle.append(cycle)
    return text + long[:2]


PROGRAMS = [
    loops,
    one_line_loops,
    recursion,
    containers,
    exceptions,
    generators,
    coroutines,
    closures,
    decorated,
    objects,
    bindings,
    matching,
    multi_line,
    strings,
]
