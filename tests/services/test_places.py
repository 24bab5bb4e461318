"""A change stands between the records of commands in the order of the kernel, where that is proven."""

from __future__ import annotations

import pytest

from devtrace.services.edits import places as module
from devtrace.services.edits.places import Places

HOUR = 3_600_000_000


@pytest.fixture
def places():
    """The lines 3 to 6: two commands. Of the first line the kernel has not told, it came too early."""
    places = Places()
    for number, at_us, begins in ((3, 1000, True), (4, 2000, False), (5, 2100, True), (6, 5000, False)):
        places.told(number, at_us, begins=begins)
    assert places.counted(1, 2, 1)
    return places


@pytest.mark.parametrize(
    ("place", "moment"),
    [
        (1, (0, 999)),  # before the first
        (2, (1000, 2000)),
        (3, (2001, 2099)),
        (4, (2100, 5000)),
        (5, (5001, HOUR)),
    ],
)
def test_what_stands_between_two_records_happened_between_them(places, place, moment):
    assert places.counted(5, 6, 5)

    assert places.narrowed((0, HOUR), place) == moment


def test_a_hint_narrows_further_and_a_clock_that_disagrees_does_not_count(places):
    places.counted(5, 6, 5)

    assert places.narrowed((1500, 1600), 2) == (1500, 1600)
    assert places.narrowed((1500, 9000), 2) == (1500, 2000)
    assert places.narrowed((7000, 9000), 2) == (1000, 2000)
    assert places.narrowed((0, 10), 2) == (1000, 2000)
    assert places.narrowed((HOUR, HOUR), 2) is None  # one of the two is wrong


def test_where_the_counts_went_apart_no_place_is_believed(places):
    """Two shells at once: the kernel made one of two writes, and nobody knows which."""
    places.counted(3, 4, 3)
    places.counted(6, 8, 6)  # one is missing
    places.counted(9, 11, 9)

    assert [places.narrowed((0, HOUR), place) is not None for place in range(1, 10)] == [
        True, True, True, False, False, True, True, True, True
    ]  # fmt: skip
    assert [place for place in range(12) if places.may_be_told(place)] == [10, 11]


@pytest.mark.parametrize(("before", "n_lines", "after"), [(3, None, 3), (3, 4, 4), (3, 5, 4)])
def test_what_was_on_its_way_proves_nothing(places, before, n_lines, after):
    assert not places.counted(before, n_lines, after)

    assert places.narrowed((0, HOUR), 3) is None
    assert places.may_be_told(3)


def test_nothing_is_known_of_what_has_no_place(places):
    places.counted(5, 6, 5)

    assert places.narrowed((0, HOUR), None) is None
    assert not places.may_be_told(None)


def test_a_line_that_was_read_before_the_kernel_told_of_it_is_taken_back(places):
    places.counted(2, 4, 2)
    places.counted(5, 6, 5)

    assert places.narrowed((0, HOUR), 2) == (1000, 2000)


class Still:
    """A watcher that answers, or has no time to."""

    def __init__(self, *settles):
        self.n_writes = 0
        self._settles = list(settles)

    def settle(self):
        return self._settles.pop(0)


@pytest.mark.parametrize("settles", [(False,), (True, False)])
def test_a_watcher_that_did_not_settle_proves_nothing(settles):
    places = Places(lambda: 7)
    places.compare(Still(*settles))

    assert places.may_be_told(0)


def test_records_of_one_moment_leave_no_time_between_them():
    places = Places()
    places.told(1, 1000, begins=False)
    places.told(2, 1000, begins=True)
    places.counted(0, 0, 0)
    places.counted(2, 2, 2)

    assert places.narrowed((0, HOUR), 1) is None


def test_what_is_kept_is_bounded_and_what_was_forgotten_is_not_believed(monkeypatch):
    monkeypatch.setattr(module, "_MOST_LINES", 10)
    places = Places()
    places.counted(0, 0, 0)
    for number in range(1, 101):
        places.told(number, number * 1000, begins=bool(number % 2))
    places.counted(100, 100, 100)

    assert places.narrowed((0, HOUR), 50) is None
    assert places.narrowed((0, HOUR), 95) == (95_000, 96_000)
