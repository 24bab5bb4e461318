"""Arithmetic, functions and methods: what Python would say, within limits that are looked at before."""

from __future__ import annotations

import abc
import datetime
import decimal

import pytest

from devtrace.probes.reading import Unsafe
from tests.probes import hostile
from tests.probes.scopes import value


class Base:
    pass


class Derived(Base):
    pass


class Meta(type):
    __instancecheck__ = hostile.hook("Meta.__instancecheck__")


class Asking(metaclass=Meta):
    pass


class Shape(abc.ABC):  # noqa: B024 - only its metaclass matters
    pass


class Square(Shape):
    pass


@pytest.mark.parametrize(
    "text",
    [
        '"a" * 10 * 10 * 10 * 10 * 10 * 10',
        "[1] * 100000",
        "100000 * (1,)",
        "big * big",
        "-huge",
        "huge + 1",
        "str(huge)",
        "long + long",
        "long.upper()",
        '"a".count(long + "b")',
        "sum(many)",
        "max(many)",
        "many == many",
        "any(many)",
        "int(long)",
        '"%999999999d" % 1',
        "{1} - {2}",
        "[[]] * 2 == objects",
        "sum([[1], [2]])",
        "long_ones == long_ones",
    ],
)
def test_what_would_cost_too_much_is_refused_before_it_is_done(text):
    names = {
        "big": 1 << 15_000,
        "huge": 1 << 30_000,
        "long": "x" * 120_000,
        "many": list(range(20_000)),
        "objects": [Base()],
        "long_ones": ["x" * 60_000, "x" * 60_000],
    }

    with pytest.raises(Unsafe):
        value(text, **names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("isinstance(d, Base)", True),
        ("isinstance(b, Derived)", False),
        ("isinstance(d, (int, Base))", True),
        ("isinstance(3, bool)", False),
        ("isinstance(e, LookupError)", True),
        ("isinstance(asking, Asking)", True),
        ("isinstance(square, Shape)", True),
        ("type(d) is Derived", True),
    ],
)
def test_isinstance_looks_at_the_lineage(text, expected):
    names = {
        "d": Derived(),
        "b": Base(),
        "Base": Base,
        "Derived": Derived,
        "e": KeyError("a"),
        "Asking": Asking,
    }

    assert value(text, **names, asking=Asking(), Shape=Shape, square=Square()) is expected


@pytest.mark.parametrize(
    "text", ["isinstance(3, Asking)", "isinstance(3, Shape)", "isinstance(3, (str, (Asking,)))"]
)
def test_isinstance_asks_no_metaclass(text):
    hostile.values()

    with pytest.raises(Unsafe):
        value(text, Asking=Asking, Shape=Shape)
    assert hostile.calls == 0


def test_the_programs_own_functions_of_those_names_are_not_called():
    hostile.values()

    assert value("len(a)", len=hostile.hook("len"), a=[1, 2]) == 2
    assert hostile.calls == 0


def test_dates_reckon_and_decimals_do_not():
    day = datetime.date(2026, 1, 2)

    assert value("(b - a).days", a=day, b=datetime.date(2026, 1, 5)) == 3
    assert value("str(a)", a=day) == "2026-01-02"
    assert value("a > 1", a=decimal.Decimal("1.5")) is True
    with pytest.raises(Unsafe):
        value("a + 1", a=decimal.Decimal("1.5"))  # would leave its mark in the program's context


def test_views_of_a_dictionary_are_lists():
    assert value("d.keys()", d={"a": 1}) == ["a"]
    assert value("d.items()", d={"a": 1}) == [("a", 1)]
    assert value('d.get("b", 3)', d={"a": 1}) == 3
