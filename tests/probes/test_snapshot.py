"""Snapshots: what is kept of a program's values, what is not, and that none of its code is run for it."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import gc
import io
import itertools
import json
import pathlib
import re
import signal
import sys
import threading
import types
import uuid

import pytest

from tests.probes import hostile
from tests.probes.snapshots import (
    CUT,
    HERE,
    LEFT,
    Colour,
    Flags,
    Names,
    Narrow,
    Own,
    Pair,
    Point,
    Slotted,
    Text,
    User,
    encoder,
    form,
    typed,
)

# --- values and their forms ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (-5000, -5000),
        (True, True),
        (None, None),
        (1.5, 1.5),
        (-0.0, -0.0),
        ("é\u202e\0\U0001f600", "é\u202e\0\U0001f600"),
        (float("nan"), typed("float", __repr__="nan")),
        (float("-inf"), typed("float", __repr__="-inf")),
        (2**53, 2**53),
        (-(2**60), typed("int", __repr__=str(-(2**60)))),
        (1 + 2j, typed("complex", __repr__="(1+2j)")),
        (b"hi\xff", typed("bytes", __repr__="b'hi\\xff'")),
        (bytearray(b"hi"), typed("bytearray", __repr__="b'hi'")),
        ([1, ["a"]], [1, ["a"]]),
        ((1,), typed("tuple", __tpd_items__=[1])),
        ({1}, typed("set", __tpd_items__=[1])),
        (frozenset({1}), typed("frozenset", __tpd_items__=[1])),
        (collections.deque([1]), typed("collections.deque", __tpd_items__=[1])),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        ([{}, [], ()], [{}, [], typed("tuple", __tpd_items__=[])]),
        (range(1, 9, 2), typed("range", __repr__="range(1, 9, 2)")),
        (..., typed("ellipsis", __repr__="Ellipsis")),
        (Colour.RED, typed(f"{HERE}.Colour", __repr__="Colour.RED", value="r")),
        (Flags.ONE | Flags.TWO, typed(f"{HERE}.Flags", __repr__="Flags.ONE|TWO", value=3)),
        (Point(1), typed(f"{HERE}.Point", left=1, name="p")),
        (Narrow(2), typed(f"{HERE}.Narrow", left=2)),
        (Pair(1, "b"), typed(f"{HERE}.Pair", one=1, two="b")),
        (Slotted(), typed(f"{HERE}.Slotted", _Slotted__private=2, set=1)),
        (Text("t"), typed(f"{HERE}.Text", __tpd_value__="t")),
        (Names([1]), typed(f"{HERE}.Names", __tpd_value__=[1])),
        (collections.Counter("aa"), typed("collections.Counter", __tpd_value__={"a": 2})),
        (collections.OrderedDict(a=1), typed("collections.OrderedDict", __tpd_value__={"a": 1})),
        (decimal.Decimal("1.10"), typed("decimal.Decimal", __repr__="1.10")),
        (fractions.Fraction(1, 3), typed("fractions.Fraction", __repr__="1/3")),
        (uuid.UUID(int=7), typed("uuid.UUID", __repr__="00000000-0000-0000-0000-000000000007")),
        (datetime.date(2026, 1, 2), typed("datetime.date", __repr__="2026-01-02")),
        (datetime.timedelta(days=1), typed("datetime.timedelta", __repr__="1 day, 0:00:00")),
        (datetime.datetime(2026, 1, 2, 3), typed("datetime.datetime", __repr__="2026-01-02 03:00:00")),
        (
            datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC),
            typed("datetime.datetime", __repr__="2026-01-02 03:00:00+00:00"),
        ),
        (ValueError("a"), typed("ValueError", __message__="a")),
        (ValueError("a", 1), typed("ValueError", __message__="('a', 1)")),
        (KeyError("a"), typed("KeyError", __message__="'a'")),
        (
            FileNotFoundError(2, "No such file", "x"),
            typed("FileNotFoundError", __message__="[Errno 2] No such file: 'x'"),
        ),
        (KeyError, typed("type", __repr__="<class 'KeyError'>")),
        (Point, typed("type", __repr__=f"<class '{HERE}.Point'>")),
        (form, typed("function", __repr__=f"<function {HERE}.form>")),
        (len, typed("builtin_function_or_method", __repr__="<built-in function len>")),
        (json, typed("module", __repr__="<module 'json'>")),
    ],
    ids=lambda told: type(told).__name__,
)
def test_a_value_is_told_by_its_structure(value, expected):
    told = form(value)

    assert told == expected
    assert str(told) == str(expected)  # True is not 1, and -0.0 not 0.0


@pytest.mark.parametrize("path", ["a/b", "/a/b", ".", "/", "a/../b"])
def test_a_path_is_told_before_and_after_it_was_printed(path):
    value = pathlib.PurePosixPath(path)

    told = form(value)["__repr__"]

    assert told == str(value)
    assert form(value)["__repr__"] == str(value)
    assert form(pathlib.PureWindowsPath("c:\\a", "b"))["__repr__"] == "c:\\a\\b"


@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(),
        io.BytesIO(),
        iter([1]),
        (one for one in [1]),
        itertools.count(),
        memoryview(b"a"),
        {}.items(),
        types.MappingProxyType({}),
        re.compile("a"),
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_of_what_has_nothing_to_tell_the_type_is_told(value):
    told = form(value)

    assert set(told) == {"__tpd_type__", "__repr__"}
    assert re.fullmatch(r"<[\w.]+ object at 0x[0-9a-f]+>", told["__repr__"])


def test_an_iterator_and_a_generator_are_not_moved_on():
    generator, iterator = (one for one in [1]), iter([1])

    form([generator, iterator])

    assert (next(generator), next(iterator)) == (1, 1)


def test_an_array_is_told_by_shape_and_type():
    numpy = pytest.importorskip("numpy")

    assert form(numpy.zeros((2, 3))) == typed("numpy.ndarray", shape=[2, 3], dtype="<f8")
    assert form(numpy.int64(5)) == typed("numpy.int64", __tpd_value__=5)
    assert form(numpy.float64(1.5)) == typed("numpy.float64", __tpd_value__=1.5)


def test_an_exception_of_the_programs_has_its_fields_too():
    error = Own("no")
    error.code = 7

    assert form(error) == typed(f"{HERE}.Own", __message__="no", code=7)


def test_a_subclass_has_the_fields_that_its_builtin_has_not():
    names = Names([1])
    names.owner = "ana"

    assert form(names) == typed(f"{HERE}.Names", __tpd_value__=[1], owner="ana")


# --- dicts ---


def test_keys_that_are_no_texts_are_told_as_entries():
    assert form({1: "a", "b": 2}) == typed("dict", __tpd_entries__=[[1, "a"], ["b", 2]])
    assert form({(1, b"k"): 0})["__tpd_entries__"][0][0]["__tpd_items__"][1] == typed(
        "bytes", __repr__="b'k'"
    )


@pytest.mark.parametrize("key", ["__tpd_type__", "__tpd_new__", "__repr__", "__summary__", "__message__"])
def test_a_dict_with_our_own_keys_is_told_apart_from_ours(key):
    assert form({key: "dict"}) == typed("dict", __tpd_entries__=[[key, "dict"]])
    assert form(User(**{key: 1})) == typed(f"{HERE}.User", __tpd_entries__=[[key, 1]])


def test_keys_that_redaction_made_alike_both_stay():
    told = form({"a1": 1, "a2": 2}, redact=lambda text: text[:1])

    assert told == typed("dict", __tpd_entries__=[["a", 1], ["a", 2]])


# --- limits ---


def test_what_nests_too_deeply_is_cut_and_says_how_much_there_was():
    assert form([[[[1, 2]]]]) == [
        [[typed("list", __tpd_truncated__=True, __summary__="2 items, deeper than 3 levels")]]
    ]
    cut = form([{"a": 1}], max_depth=1)[0]
    assert (cut["__tpd_type__"], cut[CUT], cut["__tpd_keys__"]) == ("dict", True, ["a"])
    assert form([Point(1)], max_depth=1) == [typed(f"{HERE}.Point", __tpd_truncated__=True)]
    assert form([5, "a", [], {}], max_depth=1) == [5, "a", [], {}]


def test_more_items_than_are_kept_are_counted():
    assert form(list(range(500)), max_properties=2) == [0, 1, {CUT: True, LEFT: 498}]
    assert form((1, 2, 3), max_properties=1)["__tpd_items__"] == [1, {CUT: True, LEFT: 2}]
    told = form(dict.fromkeys(map(str, range(1000)), 0))
    assert len([key for key in told if key.isdigit()]) == 100
    assert (told["__tpd_type__"], told[CUT], told[LEFT]) == ("dict", True, 900)
    assert told["__tpd_keys__"] == [*map(str, range(10)), "..."]
    assert told["__summary__"] == "1000 keys, 100 told"


def test_more_fields_than_are_kept_are_counted():
    told = form(User(a=1, b=2, c=3), max_properties=2)

    assert told == typed(f"{HERE}.User", a=1, b=2) | {CUT: True, LEFT: 1}


def test_a_long_text_keeps_its_beginning_and_tells_how_much_more_there_was():
    cut = {CUT: True, LEFT: 3976}

    assert form("x" * 1024) == "x" * 1024
    assert form("x" * 5000) == typed("str", __repr__="x" * 1024) | cut
    assert form(b"x" * 5000) == typed("bytes", __repr__=repr(b"x" * 1024)) | cut
    assert form(Text("x" * 5000))["__tpd_value__"] == typed("str", __repr__="x" * 1024) | cut


def test_of_a_huge_value_no_more_is_read_than_what_is_kept():
    seen = []
    values = ["x" * 10_000_000, Text("x" * 10_000_000), b"x" * 10_000_000]

    for value in values:
        form(value, redact=lambda text: seen.append(len(text)) or text)

    assert max(seen) == 1024 + 4096
    assert form(1 << 10_000_000) == typed(
        "int", __repr__="<an integer of 10000001 bits>", __tpd_truncated__=True
    )


def test_a_snapshot_holds_so_many_values_at_most():
    told = form([[0] * 50 for _ in range(100)], max_nodes=200)

    assert sum(len(row) for row in told) < 210
    assert told[-1] == {CUT: True, LEFT: 96}
    assert told[-2][-1][CUT]


@pytest.mark.parametrize("text", ["x" * 1000, '"\\\n' * 300, "\0" * 1000, "é" * 1000, "\U0001f600" * 1000])
def test_a_snapshot_takes_so_many_bytes_at_most(text):
    values = {f"name{number}": [text, {text: text}, (text,), text.encode()] for number in range(100)}

    told = encoder().encode_names(values)

    assert 40_000 < len(json.dumps(told)) <= 65_536
    assert told[CUT]


def test_a_text_longer_than_all_that_is_left_is_cut_to_it():
    told = form("\0" * 100_000, max_string=100_000)

    assert len(json.dumps(told)) <= 65_536
    assert told["__tpd_type__"] == "str"


def test_the_clock_is_looked_at_every_64_values_and_ends_the_snapshot():
    looks = []

    def clock():
        looks.append(None)
        return 0 if len(looks) < 4 else 6_000_000

    told = form(list(range(1000)), clock=clock, max_properties=1000)

    assert len(looks) == 4
    assert told[-1] == {CUT: True, LEFT: 1000 - len(told) + 1}
    assert 64 * 2 < len(told) <= 64 * 3 + 1


def test_long_texts_count_as_many_values_for_the_clock():
    looks = []

    form(["x" * 1024] * 64, clock=lambda: looks.append(None) or 0)

    assert len(looks) > 10


def test_what_holds_itself_is_told_as_such():
    loop = [1]
    loop.append({"again": loop})
    user = User()
    user.me = user

    inner = form(loop)[1]["again"]

    assert inner == typed("list", __tpd_circular__=True, __message__="the same object, 2 levels above")
    assert form(user)["me"]["__tpd_circular__"]


def test_what_stands_there_twice_is_no_circle():
    same = [1]

    assert form([same, same]) == [[1], [1]]


def test_where_the_programs_stack_is_full_the_value_is_cut():
    def told_with(room):
        frame, depth = sys._getframe(), 0
        while frame is not None:
            frame, depth = frame.f_back, depth + 1
        limit = sys.getrecursionlimit()
        try:
            sys.setrecursionlimit(depth + room)
            return encoder().encode([[[1]]])
        except RecursionError:
            return None
        finally:
            sys.setrecursionlimit(limit)

    tried = [told_with(room) for room in range(5, 60)]

    made = [told for told in tried if told is not None]
    assert made[-1] == [[[1]]]
    assert made[0]["__tpd_type__"] == "list"
    assert "no room" in made[0]["__summary__"]


# --- other threads, signals ---


@pytest.mark.parametrize("make", [dict, collections.OrderedDict, lambda given: User(**given)])
def test_what_is_changed_while_it_is_told_is_told_as_it_was(make):
    value = make({"a": "1", "b": "2"})
    fields = value if isinstance(value, dict) else vars(value)

    def redact(text):
        fields[f"new{len(fields)}"] = text
        return text

    told = form([value], redact=redact)[0]

    assert told.get("__tpd_value__", told).items() >= {"a": "1", "b": "2"}.items()


def test_a_deque_that_is_changed_while_it_is_told_is_told_as_it_was():
    value = collections.deque(["1", "2"])

    def redact(text):
        value.append(text)
        return text

    assert form(value, redact=redact)["__tpd_items__"] == ["1", "2"]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="only up to 3.11 a collection can run within a copy")
@pytest.mark.parametrize(
    "make", [lambda: dict.fromkeys(range(5000)), lambda: User(**{f"a{n}": n for n in range(5000)})]
)
def test_what_is_changed_while_it_is_copied_says_so(make):
    value = make()
    fields = value if type(value) is dict else vars(value)
    told = encoder(max_properties=5000)
    told.encode(value)
    threshold = gc.get_threshold()

    def change(*_):
        fields[f"new{len(fields)}"] = 0

    gc.callbacks.append(change)
    gc.set_threshold(1)
    try:
        made = told.encode(value)
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(change)

    assert made[CUT]
    assert made["__message__"] == "concurrentModification"


def test_what_a_handler_of_a_signal_raises_reaches_the_program():
    def handler(*_):
        raise TimeoutError("the program's own")

    def redact(text):
        signal.raise_signal(signal.SIGUSR1)
        return text

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TimeoutError):
            encoder(redact=redact).encode({"a": "b"})
    finally:
        signal.signal(signal.SIGUSR1, before)


# --- no code of the program's ---


def crowded():
    """An object whose dictionary has keys that claim to be what is looked for in it."""
    made = User()
    for name in ("__slots__", "__dict__", "__module__", "_name_", "password"):
        vars(made)[hostile.Key(name)] = name
    return made


def hostile_values():
    found = [*hostile.values(), hostile.of(datetime.tzinfo), crowded(), hostile.Account().method]
    found += [datetime.datetime(2026, 1, 2, tzinfo=hostile.of(datetime.tzinfo))]
    found += [
        hostile.of(decimal.Decimal),
        list.append.__get__(hostile.of(list)),
    ]
    found += [
        types.MappingProxyType(hostile.of(dict)),
        ValueError(hostile.of(str)),
        OSError(2, hostile.of(str)),
    ]
    found += [threading.local(), hostile.of(threading.Thread)]
    hostile.calls = 0
    hostile.asked.clear()
    return found


def test_no_code_of_the_programs_is_run_for_a_snapshot():
    values = hostile_values()
    names = {f"n{number}": value for number, value in enumerate(values)}
    made = encoder(max_nodes=5000, max_bytes=1 << 20)
    error = next(value for value in values if issubclass(type(value), Exception))

    hostile.calls = 0
    told = made.capture(names, names, returned=values, raised=error, watch={"password": values})
    lines = [made.show(value) for value in values]

    assert hostile.calls == 0, hostile.asked
    assert CUT not in told["locals"]
    assert json.loads(json.dumps(told)) == told
    assert lines[0] == "<app.Hostileobject>"
    assert told["locals"]["n0"]["__tpd_type__"] == "app.Hostileobject"


def test_what_is_local_to_a_thread_is_not_made_for_another_thread():
    made = []

    class Local(threading.local):
        def __init__(self):
            made.append(threading.get_ident())

    local, told = Local(), []
    thread = threading.Thread(target=lambda: told.append(form(local)))
    thread.start()
    thread.join()

    assert len(made) == 1
    assert told[0]["__tpd_type__"].endswith("Local")


def test_no_code_of_the_programs_is_run_for_a_scope_of_its_own_class():
    scope, other = hostile.of(dict), hostile.of(object)
    dict.__setitem__(scope, "a", 1)
    hostile.calls = 0

    assert encoder().encode_names(scope) == {"a": 1}
    assert encoder().encode_names(other) == {}
    assert hostile.calls == 0, hostile.asked


def test_a_class_whose_names_are_texts_of_the_programs_is_told():
    class Sly(str):
        __slots__ = ()
        __str__ = __format__ = __repr__ = hostile.hook("text")

    kind = type("Kind", (), {})
    kind.__qualname__ = Sly("Other")
    kind.__module__ = Sly("mod")
    hostile.calls = 0

    assert form(kind())["__tpd_type__"] == "Other"
    assert hostile.calls == 0
