"""Attributes are read where they lie; what a class computes is refused, with the reason."""

from __future__ import annotations

import collections
import datetime
import enum
import gc
import types
import weakref

import pytest

from devtrace.probes.attributes import attribute, attribute_reader
from devtrace.probes.reading import Unsafe
from tests.probes import hostile
from tests.probes.scopes import outcome

Pair = collections.namedtuple("Pair", ("left", "right"))


class Colour(enum.Enum):
    RED = "red"


class Own:
    shared = 5

    def __init__(self):
        self.id = 7


class Slots:
    __slots__ = ("id", "unset")

    def __init__(self):
        self.id = 7


class Odd(dict):
    def __init__(self):
        super().__init__()
        self.id = 7


class Odder(str):
    __slots__ = ("__dict__",)


def called(one):
    """The name of a case: the same in each run."""
    return one if type(one) is str else type(one).__name__


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        (Own(), "id", 7),
        (Own(), "shared", 5),
        (Own, "shared", 5),
        (Slots(), "id", 7),
        (Odd(), "id", 7),
        (Pair(1, 2), "right", 2),
        (Colour.RED, "value", "red"),
        (Colour.RED, "name", "RED"),
        (Colour, "RED", Colour.RED),
        (ValueError(1, 2), "args", (1, 2)),
        (OSError(2, "no"), "errno", 2),
        (datetime.date(2026, 1, 2), "month", 1),
        (3, "real", 3),
        (1 + 2j, "imag", 2.0),
        (range(3), "stop", 3),
        (types, "FunctionType", types.FunctionType),
        (types.SimpleNamespace(a=1), "a", 1),
    ],
    ids=called,
)
def test_an_attribute_is_read_twice_alike(value, name, expected):
    assert attribute(value, name) == expected
    assert attribute(value, name) == expected


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Own(), "nope"),
        (Slots(), "unset"),
        (Own, "nope"),
        (gc, "nope"),
        (3, "nope"),
        (None, "nope"),
        ([], "nope"),
    ],
    ids=called,
)
def test_what_is_not_there_is_told_as_python_tells_it(value, name):
    with pytest.raises(AttributeError) as python:
        getattr(value, name)
    with pytest.raises(AttributeError) as ours:
        attribute(value, name)

    assert str(ours.value) == str(python.value)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("balance", "balance is a property of tests.probes.hostile.Account: reading it would run"),
        ("total", "total is a functools.cached_property"),
        ("guarded", "guarded is a tests.probes.hostile.DataDescriptor"),
        ("described", "described is a tests.probes.hostile.Descriptor"),
        ("method", "method is a method of tests.probes.hostile.Account"),
        ("nope", "reading nope of a tests.probes.hostile.Account would run the program's code"),
    ],
)
def test_what_a_class_computes_is_refused_with_the_reason(name, why):
    account = hostile.Account()
    hostile.values()

    with pytest.raises(Unsafe, match=f"^{why}"):
        attribute(account, name)
    assert hostile.calls == 0


def test_a_field_hides_a_method_and_a_cached_value_its_computation():
    account = hostile.Account()
    account.__dict__ |= {"total": 1, "described": 2, "guarded": 3}

    assert attribute(account, "total") == 1
    assert attribute(account, "described") == 2
    with pytest.raises(Unsafe):
        attribute(account, "guarded")


def test_no_hook_of_a_value_is_called_for_any_of_its_attributes():
    names = (
        "id",
        "kind",
        "name",
        "value",
        "length",
        "args",
        "balance",
        "guarded",
        "left",
        "shade",
        "nope",
        "real",
    )
    values, told, readers = hostile.values(), [], {name: attribute_reader(name) for name in names}

    for value in values:
        for name in (*names, *names):
            try:
                told.append(readers[name](value))
            except (Unsafe, AttributeError) as error:
                told.append(str(error))

    assert (hostile.calls, hostile.asked) == (0, [])
    assert told.count(7) >= 4  # the fields of those that have one, each twice


def test_a_lying_dict_property_is_not_asked_for_the_fields():
    lie = property(hostile.hook("__dict__"))
    derived = type("Derived", (Own,), {"__dict__": lie})()
    liar = type("Liar", (), {"__dict__": lie})()
    liar.id = 7
    hostile.values()

    assert attribute(derived, "id") == 7
    with pytest.raises(Unsafe, match="hides"):
        attribute(liar, "id")
    assert hostile.calls == 0


def test_a_reader_reads_each_class_as_it_is():
    read = attribute_reader("id")

    for value in (Own(), Slots(), Own(), Odd(), types.SimpleNamespace(id=7), types.SimpleNamespace(id=7)):
        assert read(value) == 7
    for value in (hostile.Account(), hostile.oddly_keyed(), Slots, 3):
        assert outcome(read, value) == outcome(attribute, value, "id") == outcome(read, value)


def test_a_class_that_changes_later_is_read_as_it_is_then():
    class Changing:
        def __init__(self):
            self.id = 7

    read, value = attribute_reader("id"), Changing()
    assert read(value) == 7
    del value.id
    Changing.id = 8
    assert read(value) == 8
    Changing.id = property(hostile.hook("id"))
    hostile.values()
    with pytest.raises(Unsafe):
        read(value)
    assert hostile.calls == 0


def test_a_reader_keeps_no_class_but_the_last():
    kind = type("Passing", (Own,), {})
    gone = weakref.ref(kind)
    read = attribute_reader("id")
    assert read(kind()) == 7

    del kind
    read(Own())
    gc.collect()

    assert gone() is None


def test_a_module_that_computes_is_not_asked():
    module = types.ModuleType("lazy")
    module.__getattr__ = hostile.hook("module.__getattr__")
    module.here = 1
    hostile.values()

    assert attribute(module, "here") == 1
    with pytest.raises(Unsafe):
        attribute(module, "nope")
    assert hostile.calls == 0


def test_an_array_tells_its_shape():
    numpy = pytest.importorskip("numpy")

    assert attribute(numpy.zeros((2, 3)), "shape") == (2, 3)
    with pytest.raises(Unsafe):
        attribute(numpy.zeros(3), "T")
