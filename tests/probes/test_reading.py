"""Values answer without being asked: lookups, truth, comparison, containment, and what is refused."""

from __future__ import annotations

import collections
import contextlib
import datetime
import decimal
import enum

import pytest

from devtrace.probes import kinds, reading
from devtrace.probes.reading import Unsafe
from tests.probes import hostile


class Plain:
    pass


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Text(str):
    __slots__ = ()


def cycle():
    inside: list[object] = []
    inside.append(inside)
    return inside


def nested(depth):
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


def wide(depth):
    value: list[object] = []
    for _ in range(depth):
        value = [value, value]
    return value


READERS = {
    "truth": lambda value, other: reading.truth(value),
    "length": lambda value, other: reading.length(value),
    "elements": lambda value, other: reading.elements(value),
    "plain": lambda value, other: reading.plain(value),
    "item": lambda value, other: reading.item(value, "id"),
    "item of a number": lambda value, other: reading.item(value, 0),
    "as a key": lambda value, other: reading.item({"id": 1, 2: 3}, value),
    "as an index": lambda value, other: reading.item([1], value),
    "part": lambda value, other: reading.part(value, None, 1, None),
    "as a bound": lambda value, other: reading.part([1], value, None, None),
    "equal": lambda value, other: reading.equal(value, other),
    "equal to a number": lambda value, other: reading.equal(1, value),
    "less": lambda value, other: reading.less(value, other),
    "greater": lambda value, other: reading.greater(3, value),
    "contains": lambda value, other: reading.contains(value, "id"),
    "is in": lambda value, other: reading.contains([other, 1], value),
    "is in a set": lambda value, other: reading.contains({1, "id"}, value),
    "is in a text": lambda value, other: reading.contains("id", value),
    "is a key": lambda value, other: reading.contains({"id": 1}, value),
    "name": lambda value, other: kinds.class_name(type(value)),
    "lineage": lambda value, other: kinds.is_kind(type(value), int),
    "entry": lambda value, other: kinds.class_entry(type(value), "id"),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_hook_of_a_value_is_ever_called(reader):
    values = hostile.values()
    answers = []

    for number, value in enumerate(values):
        try:
            answers.append(READERS[reader](value, values[number - 1]))
        except (Unsafe, TypeError, LookupError) as error:
            answers.append(str(error))

    assert (hostile.calls, hostile.asked) == (0, [])
    assert len(answers) == len(values) > 30


def test_the_hostile_values_tell_when_they_are_asked():
    values = hostile.values()

    for value in values:
        for ask in (repr, bool, hash, len, lambda one: one == 1, lambda one: one.id, lambda one: {1: 2}[one]):
            with contextlib.suppress(Exception):
                ask(value)

    assert hostile.calls > 100


@pytest.mark.parametrize("key", ["id", "other", 3, 2.5, None, True, b"b", (1, "a"), frozenset({1})])
def test_a_key_is_found_as_python_finds_it(key):
    table = {"id": 1, 3: "three", 2.5: 0, None: 4, 1: "one", b"b": 5, (1, "a"): 6, frozenset({1}): 7}

    assert reading.find(table, key) == table.get(key, reading.MISSING)
    assert reading.find(dict.fromkeys(["id"], 1), key) == (1 if key == "id" else reading.MISSING)


def test_a_key_beside_a_programs_object_is_found_and_its_absence_is_not_claimed():
    table = {hostile.Key("id"): 1, "other": 2}
    hostile.values()

    assert reading.find(table, "other") == 2
    with pytest.raises(Unsafe, match="key"):
        reading.find(table, "id")
    assert hostile.calls == 0


def test_an_object_is_found_as_a_key_by_its_identity():
    one = Plain()

    assert reading.item({"a": 1, one: 2}, one) == 2


def test_a_default_dictionary_makes_no_default():
    table = collections.defaultdict(list, {"a": 1})

    assert reading.item(table, "a") == 1
    with pytest.raises(KeyError, match="b"):
        reading.item(table, "b")
    assert list(table) == ["a"]


@pytest.mark.parametrize("count", [0, 1, 5, 6, 11, 100, 5_000])
def test_the_size_of_a_dictionary_tells_whether_all_its_keys_are_texts(count):
    texts = {f"{number}": number for number in range(count)}
    others = [{**texts, 1: 2}, {1: 2, **texts}, {Text("a"): 1, **texts}]

    assert kinds.has_text_keys(texts)
    assert not any(map(kinds.has_text_keys, others))
    assert all(kinds.size_of(other) in kinds.MIXED_TABLES for other in others)
    assert kinds.size_of(texts) not in kinds.MIXED_TABLES


def test_a_large_dictionary_is_searched_for_a_text_and_not_for_a_number():
    texts = {f"{number}": number for number in range(20_000)}

    assert reading.item(texts, "19999") == 19_999
    assert reading.item({number: number for number in range(9_000)}, 8_999) == 8_999
    with pytest.raises(Unsafe, match="10000 elements"):
        reading.item(dict.fromkeys(range(20_000)), 1)


@pytest.mark.parametrize(
    "value",
    [Plain(), Colour.RED, Plain, len, decimal.Decimal(1), datetime.date(2026, 1, 2), collections.deque([1])],
)
def test_the_truth_of_what_has_no_say_of_its_own_is_known(value):
    assert reading.truth(value) is True


def test_an_object_whose_class_defines_no_equality_equals_itself_only():
    one, other = Plain(), Plain()

    assert reading.equal(one, one)
    assert not reading.equal(one, other)
    assert reading.equal(Colour.RED, Colour.RED)
    assert reading.unequal(Colour.RED, Colour.BLUE)
    assert not reading.equal(one, None)
    assert reading.contains((Colour.RED, Colour.BLUE), Colour.BLUE)
    assert not reading.contains([one, 3], other)


def test_a_subclass_of_a_builtin_is_a_programs_class():
    for ask in (lambda: reading.equal(Text("a"), "a"), lambda: reading.truth(Text("a"))):
        with pytest.raises(Unsafe, match=r"test_reading\.Text would run the program's code"):
            ask()


@pytest.mark.parametrize(
    "value", [cycle(), nested(200), wide(30), [Plain()], {"a": [Text("a")]}, ["x" * 200_000]]
)
def test_what_cannot_be_compared_within_limits_is_refused(value):
    with pytest.raises(Unsafe):
        reading.equal(value, list(value))
    with pytest.raises(Unsafe):
        reading.less([value], [value])


def test_containers_are_compared_in_depth():
    assert reading.equal({"a": [1, (2, {3})]}, {"a": [1, (2, {3})]})
    assert reading.less([1, "a"], [1, "b"])
    assert reading.greater_equal({1, 2}, {1})
    assert reading.equal(float("nan"), float("nan")) is False


def test_dates_and_decimals_are_compared_by_their_own_code():
    assert reading.less(decimal.Decimal("1.5"), 2)
    assert reading.equal(datetime.date(2026, 1, 2), datetime.date(2026, 1, 2))
    assert reading.less(datetime.datetime(2026, 1, 2), datetime.datetime(2026, 1, 3))


def test_a_moment_in_a_zone_of_the_programs_is_not_compared():
    class Zone(datetime.tzinfo):
        utcoffset = hostile.hook("utcoffset")

    moment = datetime.datetime(2026, 1, 2, tzinfo=Zone())
    hostile.values()

    with pytest.raises(Unsafe):
        reading.less(moment, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    assert hostile.calls == 0


def test_a_type_of_the_librarys_name_is_not_taken_for_it():
    fake = type(
        "date",
        (datetime.date,),
        {"__module__": "datetime", "__eq__": hostile.hook("__eq__"), "__hash__": None},
    )
    hostile.values()

    with pytest.raises(Unsafe):
        reading.equal(fake(2026, 1, 2), datetime.date(2026, 1, 2))
    assert hostile.calls == 0


@pytest.mark.parametrize("value", [range(10**12), list(range(20_000)), dict.fromkeys(range(20_000))])
def test_no_more_than_so_many_elements_are_searched(value):
    with pytest.raises(Unsafe, match="10000"):
        reading.contains(value, "x")


def test_long_texts_are_neither_searched_nor_compared():
    for ask in (
        lambda: reading.contains("a" * 200_000, "b"),
        lambda: reading.equal("a" * 2_000_000, "a" * 1_999_999 + "b"),
        lambda: reading.part("a" * 200_000, None, None, None),
    ):
        with pytest.raises(Unsafe, match="long"):
            ask()
    assert reading.part("a" * 200_000, 0, 5, None) == "aaaaa"


def test_the_length_of_a_range_of_any_length_is_refused_or_told():
    assert reading.length(range(5)) == 5
    with pytest.raises(Unsafe, match="too long"):
        reading.length(range(10**30))


def test_a_container_that_another_thread_changes_is_refused():
    table = dict.fromkeys(range(5))

    def changing():
        for key in table:
            yield key
            table[f"{key}"] = 1

    with pytest.raises(Unsafe, match="another thread"):
        kinds.taken(changing(), 5)
