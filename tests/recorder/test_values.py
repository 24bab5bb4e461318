"""Values as JSON: their structure, their limits, and no code of anybody's run for it."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import json
import random
import sys
import threading
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from devtrace.recorder.tracking import outlined
from devtrace.recorder.values import Encoder


def encoder(**more):
    order = {
        "depth": 3,
        "items": 100,
        "size": 1024,
        "redact": str,
        "action": lambda _: 0,
        "withheld": lambda *_: "0",
    }
    return Encoder(**{**order, **more})


def form(value, **more):
    """The typed form of a value, with addresses taken out."""
    return _plain(json.loads(encoder(**more).encode(value)))


def _plain(told):
    if not isinstance(told, list):
        return told
    if told[:1] in (["object"], ["opaque"]):
        told = [*told[:2], *told[3:]]
    return [_plain(inner) for inner in told]


class Colour(enum.Enum):
    RED = "r"


class Flags(enum.IntFlag):
    ONE = 1
    TWO = 2


@dataclass
class Point:
    left: int
    name: str = "p"


@dataclass(slots=True)
class Narrow:
    left: int


class Pair(NamedTuple):
    one: int
    two: str


class Text(str):
    __slots__ = ()


HERE = __name__


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (-5, -5),
        (True, True),
        (None, None),
        (1.5, 1.5),
        (-0.0, -0.0),
        (float("nan"), ["float", "nan"]),
        (float("inf"), ["float", "inf"]),
        (float("-inf"), ["float", "-inf"]),
        (2**53, 2**53),
        (2**60, ["int", str(2**60)]),
        (-(2**60), ["int", str(-(2**60))]),
        (1 << 4000, ["int", "0x8000000000000000", 4001]),
        (1 + 2j, ["complex", 1.0, 2.0]),
        ("text", "text"),
        ("é\u202e\0\U0001f600", "é\u202e\0\U0001f600"),
        ("\udcff", "\udcff"),
        (b"hi", ["bytes", 2, "aGk="]),
        (bytearray(b"hi"), ["bytearray", 2, "aGk="]),
        ([1, "a"], ["list", 2, [1, "a"]]),
        ((1,), ["tuple", 1, [1]]),
        ({1}, ["set", 1, [1]]),
        (frozenset({1}), ["frozenset", 1, [1]]),
        ({"a": 1}, ["dict", 1, [["a", 1]]]),
        ({(1, 2): []}, ["dict", 1, [[["tuple", 2, [1, 2]], ["list", 0, []]]]]),
        (collections.deque([1]), ["deque", 1, [1]]),
        (range(1, 9, 2), ["range", 1, 9, 2]),
        (Colour.RED, ["enum", f"{HERE}.Colour", "RED", "r"]),
        (Point(1), ["object", f"{HERE}.Point", [["left", 1], ["name", "p"]]]),
        (Narrow(2), ["object", f"{HERE}.Narrow", [["left", 2]]]),
        (Pair(1, "b"), ["sub", f"{HERE}.Pair", ["tuple", 2, [1, "b"]]]),
        (Text("t"), ["sub", f"{HERE}.Text", "t"]),
        (collections.Counter("aa"), ["sub", "collections.Counter", ["dict", 1, [["a", 2]]]]),
        (collections.OrderedDict(a=1), ["sub", "collections.OrderedDict", ["dict", 1, [["a", 1]]]]),
        (decimal.Decimal("1.10"), ["text", "decimal.Decimal", "1.10"]),
        (datetime.date(2026, 1, 2), ["text", "datetime.date", "2026-01-02"]),
        (datetime.datetime(2026, 1, 2, 3, 4), ["text", "datetime.datetime", "2026-01-02 03:04:00"]),
        (ValueError("a", 1), ["exception", "ValueError", ["a", 1]]),
        (KeyError, ["type", "KeyError"]),
        (Point, ["type", f"{HERE}.Point"]),
        (len, ["function", "len"]),
        (json, ["module", "json"]),
        (threading.Lock(), ["opaque", "_thread.lock"]),
    ],
    ids=lambda told: type(told).__name__,
)
def test_a_value_is_told_by_its_structure(value, expected):
    told = form(value)

    assert told == expected
    assert str(told) == str(expected)  # True is not 1, and -0.0 not 0.0


def test_a_flag_tells_its_names_and_its_number():
    assert form(Flags.ONE) == ["enum", f"{HERE}.Flags", "ONE", 1]
    assert form(Flags.ONE | Flags.TWO)[2:] == ["ONE|TWO", 3]


def test_what_nests_too_deeply_is_cut():
    assert form([[[[1]]]]) == ["list", 1, [["list", 1, [["list", 1, [["deep"]]]]]]]
    assert form([[1]], depth=1) == ["list", 1, [["deep"]]]
    assert form([1], depth=0) == ["deep"]


def test_more_items_than_are_kept_are_counted():
    assert form(list(range(500)), items=2) == ["list", 500, [0, 1]]
    assert form(dict.fromkeys(range(9)), items=1) == ["dict", 9, [[0, None]]]


def test_a_long_text_keeps_its_beginning_and_its_length():
    assert form("x" * 5000, size=4) == ["str", 5000, "xxxx"]
    assert form(b"x" * 5000, size=3) == ["bytes", 5000, "eHh4"]


def test_one_value_never_takes_more_than_its_share():
    wide = {str(number): ["x" * 1000] * 100 for number in range(100)}

    assert len(encoder().encode(wide)) <= 24 << 10
    assert form(wide)[:2] == ["dict", 100]


def test_a_cycle_is_a_reference_to_what_is_above():
    cycle: list[object] = []
    cycle.append({"again": cycle})
    thing = Point(0)
    thing.left = thing  # type: ignore[assignment]

    assert form(cycle) == ["list", 1, [["dict", 1, [["again", ["ref", 2]]]]]]
    assert form(thing)[2][0] == ["left", ["ref", 1]]


def test_each_text_passes_the_policy():
    def masked(text):
        return text.replace("secret", "***")

    value = {"a secret": ["secret", b"the secret", Text("secret"), Point(1, "secret")]}

    assert "secret" not in encoder(redact=masked).encode(value)
    assert form("secret" * 300, redact=masked, size=8) == ["str", 1800, "********"]


def test_a_field_and_a_key_may_be_withheld():
    told = []
    tell = {
        "action": lambda name: 5 if name == "name" else 0,
        "withheld": lambda *one: told.append(one) or '["x"]',
    }

    assert form(Point(1, "ana"), **tell) == ["object", f"{HERE}.Point", [["left", 1], ["name", ["x"]]]]
    assert form({"name": "bo", "b": 1}, **tell) == ["dict", 2, [["name", ["x"]], ["b", 1]]]
    assert told == [(5, "ana"), (5, "bo")]


def test_arrays_are_told_by_shape_and_type(needs_numpy):
    found = needs_numpy.zeros((2, 3), dtype="float32")

    assert form(found) == ["array", "numpy.ndarray", [2, 3], "<f4"]


@pytest.fixture
def needs_numpy():
    return pytest.importorskip("numpy")


class Hostile:
    """Whatever is asked of it, it tells."""

    asked: list[str] = []  # noqa: RUF012 - shared on purpose

    def _tell(self, *_):
        Hostile.asked.append("asked")
        raise SystemExit

    __getattribute__ = __getattr__ = __repr__ = __str__ = __len__ = __iter__ = __eq__ = __hash__ = _tell  # type: ignore[assignment]
    __bool__ = __index__ = __int__ = __float__ = __bytes__ = __contains__ = __getitem__ = __format__ = _tell
    __class__ = property(_tell)  # type: ignore[assignment]
    __dict__ = property(_tell)  # type: ignore[assignment]


def hostile(base):
    return type(f"Hostile{base.__name__}", (Hostile, base), {})


@pytest.mark.parametrize("base", [object, int, str, list, dict, tuple, set, bytes, float, Exception])
def test_nothing_of_a_class_is_ever_called(base):
    Hostile.asked.clear()
    value = base.__new__(hostile(base))

    told = encoder().encode(value), encoder().encode([value, (value,)])

    assert Hostile.asked == []
    assert all("Hostile" in one for one in told)


def test_a_metaclass_is_not_asked_either():
    class Meta(type):
        def __getattribute__(cls, name):
            raise SystemExit

        def __instancecheck__(cls, _):
            raise SystemExit

    kind = Meta("Odd", (), {"__module__": "app"})

    assert form(kind) == ["type", "app.Odd"]
    assert form(object.__new__(kind)) == ["opaque", "app.Odd"]


@pytest.mark.parametrize("base", [object, int, str, list, dict, tuple, set, bytes, float, Exception])
def test_nor_how_its_types_compare_or_what_their_hash_is(base):
    class Meta(type):
        def __eq__(cls, _):
            raise SystemExit

        def __hash__(cls):
            raise SystemExit

    value = base.__new__(Meta("Odd", (base,), {"__module__": "app"}))

    told = encoder().encode(value), encoder().encode({"of": [value, type(value)]})

    assert all("app.Odd" in one for one in told)
    assert outlined(value) in (None, [], 0)


def test_nor_is_a_name_that_is_a_text_of_its_own_kind():
    class Name(str):
        def __str__(self):
            raise SystemExit

        __format__ = __repr__ = __str__

    def function():
        pass

    kind = type("Odd", (), {"__module__": "app"})
    kind.__qualname__ = function.__qualname__ = Name("odd")

    assert form(object.__new__(kind)) == ["opaque", "app.odd"]
    assert form(function)[1].endswith(".odd")


def test_another_thread_that_changes_a_container_costs_nothing_but_the_value():
    table = {number: number for number in range(50)}
    over = threading.Event()

    def change():
        while not over.is_set():
            table[random.random()] = 1
            table.popitem()

    thread = threading.Thread(target=change)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        told = [json.loads(encoder().encode(table)) for _ in range(2000)]
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(before)

    assert {one[0] for one in told} <= {"dict", "opaque"}
