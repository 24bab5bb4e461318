"""All points together: listing, switching, listeners, their end, what holds for those to come."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from devtrace.probes.fields import SNAPSHOT
from devtrace.probes.points import (
    ERROR,
    EXPIRED,
    INSTALLED,
    LOGPOINT,
    MOST_POINTS,
    PENDING,
    REMOVED,
    TRACEPOINT,
    Grammar,
    Placed,
    Point,
    Points,
    Refused,
)
from tests.probes.grammars import GRAMMAR, HERE, LOG, NOON, SECOND, Clock, hit_count, template


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def points(clock: Clock) -> Points:
    return Points(clock, GRAMMAR)


def added(points: Points, kind: str = TRACEPOINT, **body: Any) -> Point:
    return points.add(points.made(kind, {**(LOG if kind == LOGPOINT else HERE), **body}))


# --- all together -------------------------------------------------------------------------------------------


def test_points_are_listed_by_kind_by_switch_and_by_any_of_the_tags(points: Points) -> None:
    a = added(points, tags=["x", "y"])
    b = added(points, LOGPOINT, tags=["y"], enabled=False)
    c = added(points, LOGPOINT)

    assert points.listed() == [a, b, c]
    assert points.listed(kinds=[LOGPOINT]) == [b, c]
    assert points.listed(enabled=[False]) == [b]
    assert points.listed(enabled=[False, True]) == [a, b, c]
    assert points.listed(tags=["x", "z"]) == [a]
    assert points.listed(tags=["y"], kinds=[TRACEPOINT, LOGPOINT]) == [a, b]
    assert points.listed(tags=["z"]) == []


def test_an_id_is_taken_once(points: Points) -> None:
    added(points, id="a")

    with pytest.raises(Refused) as told:
        added(points, id="a")

    assert (told.value.status, told.value.code, len(points)) == (409, "DUPLICATE_ID", 1)


def test_there_are_so_many_points_and_no_more(points: Points) -> None:
    for _ in range(MOST_POINTS):
        added(points)

    with pytest.raises(Refused) as told:
        added(points)

    assert (told.value.status, told.value.code, len(points)) == (429, "TOO_MANY_POINTS", MOST_POINTS)


def test_expired_points_make_room(points: Points, clock: Clock) -> None:
    added(points, ttlSeconds=1)
    for _ in range(MOST_POINTS - 1):
        added(points)
    points.expire(clock.passes(1))

    newest = added(points)

    assert (len(points), points.find(newest.id)) == (MOST_POINTS, newest)


def test_points_are_switched_by_tag_and_counted(points: Points) -> None:
    a, b, c = added(points, tags=["x"]), added(points, tags=["x", "y"]), added(points, tags=["z"])

    assert points.switch_tagged(["x", "y"], False) == 2
    assert [points.find(one.id).enabled for one in (a, b, c)] == [False, False, True]
    assert points.switch_tagged(["y"], True) == 1
    assert points.switch_tagged(["none"], True) == points.switch_tagged([], True) == 0


@pytest.mark.parametrize("doing", ["find", "enable", "disable", "remove"])
def test_a_point_that_is_not_there_is_not_found(points: Points, doing: str) -> None:
    with pytest.raises(Refused) as told:
        getattr(points, doing)("nobody")

    assert (told.value.status, told.value.code) == (404, "POINT_NOT_FOUND")


def test_listeners_hear_of_every_change_once_it_is_made(points: Points) -> None:
    heard: list[tuple[Any, ...]] = []

    def hear(point: Point | None) -> None:
        now = point and points.get(point.id)  # would hang if the lock were held by a change of ours
        assert point is None or now is point or point.standing.status == REMOVED
        heard.append((point.enabled, point.standing.status) if point else ())

    points.listeners.append(hear)
    point = added(points, tags=["x"])
    points.change(point.id, {"condition": "x"})
    points.disable(point.id)
    points.switch_tagged(["x"], True)
    points.switch_tagged(["nobody's"], True)
    points.remove(point.id)

    assert heard == [(True, PENDING), (True, PENDING), (False, PENDING), (), (True, REMOVED)]


def test_a_listener_that_reports_from_its_call_does_not_hang(points: Points) -> None:
    points.listeners.append(lambda point: points.report(point.id, Placed(INSTALLED)) if point else None)

    point = added(points)

    assert points.find(point.id).standing.status == INSTALLED


def test_a_listener_that_fails_keeps_no_news_from_the_next_one(points: Points) -> None:
    heard: list[Point | None] = []
    points.listeners += [lambda point: 1 / 0, heard.append]  # type: ignore[list-item]  # it raises

    point = added(points)

    assert (heard, points.failures) == ([point], 1)


def test_where_a_point_was_found_is_told(points: Points) -> None:
    point = added(points, nearest=True)
    where = {"file": "/srv/app.py", "line": 44, "qualname": "total"}

    points.report(point.id, Placed(INSTALLED, "moved to 44", resolved=[where], line=44))

    told = points.find(point.id).as_json()
    assert (told["line"], told["requestedLine"], told["file"]) == (44, 42, "app.py")
    assert (told["status"], told["statusMessage"], told["resolved"]) == (INSTALLED, "moved to 44", [where])
    points.report("nobody", Placed(INSTALLED))  # it may have been removed meanwhile


def test_a_point_whose_file_is_edited_keeps_the_line_that_was_asked_for(points: Points) -> None:
    point = added(points)

    points.report(point.id, Placed(INSTALLED, line=44))
    points.report(point.id, Placed(INSTALLED, line=45))

    assert (points.find(point.id).line, points.find(point.id).requested_line) == (45, 42)
    assert points.find(point.id).where == "app.py:42"


# --- its end ------------------------------------------------------------------------------------------------


def test_a_point_expires_when_its_time_is_over_and_is_told_once(points: Points, clock: Clock) -> None:
    point = added(points, ttlSeconds=60)
    heard: list[Point | None] = []
    points.listeners.append(heard.append)

    assert points.next_expiry_ns() == NOON + 60 * SECOND
    assert points.expire(clock.passes(59)) == []
    assert points.expire(clock.passes(1)) == [point] == heard
    assert points.expire(clock.passes(1)) == []
    assert (point.standing.status, point.standing.status_message) == (EXPIRED, "its time is over")
    assert not point.is_live
    assert points.next_expiry_ns() is None


def test_a_point_expires_when_its_hits_were_told(points: Points, clock: Clock) -> None:
    point = added(points, maxHits=2)

    point.standing.hit_count = 1
    assert points.expire(clock()) == []
    point.standing.hit_count = 2
    assert points.expire(clock()) == [point]
    assert point.standing.status_message == "2 hits were told"


def test_enabling_an_expired_point_gives_it_its_time_and_its_hits_again(points: Points, clock: Clock) -> None:
    point = added(points, maxHits=2, ttlSeconds=60)
    point.standing.hit_count = 2
    points.expire(clock.passes(61))

    again = points.enable(point.id)

    assert (again.hits_until, again.expires_ns) == (4, NOON + 121 * SECOND)
    assert (again.standing.status, again.is_live) == (PENDING, True)
    assert points.expire(clock()) == []


def test_more_hits_bring_an_expired_point_back_and_other_changes_do_not(points: Points, clock: Clock) -> None:
    point = added(points, maxHits=2)
    point.standing.hit_count = 2
    points.expire(clock())

    assert points.change(point.id, {"tags": ["a"]}).standing.status == EXPIRED
    assert points.change(point.id, {"maxHits": 5}).standing.status == PENDING
    assert points.find(point.id).hits_until == 5


def test_a_point_that_was_switched_off_for_an_error_waits_again_when_enabled(points: Points) -> None:
    point = added(points)
    points.disable(point.id)
    points.report(point.id, Placed(ERROR, "CPU_BUDGET"))

    assert points.change(point.id, {"tags": ["a"]}).standing.status == ERROR
    assert points.enable(point.id).standing.status == PENDING
    assert points.find(point.id).standing.status_message == ""


def test_an_expired_point_is_not_reported_installed(points: Points, clock: Clock) -> None:
    point = added(points, ttlSeconds=1)
    points.expire(clock.passes(1))

    points.report(point.id, Placed(INSTALLED))

    assert points.find(point.id).standing.status == EXPIRED


# --- what holds for points to come --------------------------------------------------------------------------


def test_what_is_configured_holds_for_points_to_come(points: Points) -> None:
    before = added(points)

    assert points.configure({"rateLimit": {"burst": 4}, "snapshot": {"maxProps": 5}, "ttlSeconds": 60}) == []
    after = added(points, snapshot={"maxDepth": 1})

    assert before.settings["rateLimit"]["burst"] == 1
    assert after.settings["rateLimit"] == {"limitPerSecond": 10, "burst": 4}
    assert after.settings["snapshot"] == {**SNAPSHOT, "maxProperties": 5, "maxDepth": 1}
    assert after.expires_ns == NOON + 60 * SECOND


def test_what_cannot_be_configured_is_told(points: Points) -> None:
    assert points.configure({"file": "x", "snapshot": {"colour": 1}}) == ["file", "snapshot.colour"]


# --- threads ------------------------------------------------------------------------------------------------


def test_changes_of_many_threads_lose_none(points: Points) -> None:
    point = added(points)

    def work(name: str) -> None:
        for number in range(25):
            points.change(point.id, {"watch": [*points.find(point.id).settings["watch"][-1:], name]})
            points.remove(added(points, id=f"{name}{number}").id)
            points.listed(tags=["x"])

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (points.listed(), points.failures) == ([points.find(point.id)], 0)


def test_a_child_of_a_fork_does_not_wait_for_a_thread_that_it_has_not(clock: Clock) -> None:
    def read_in_a_child(text: str) -> str:  # a condition is read while a change holds the lock
        if text == "x":
            registry.forget_lock()
            added(registry, id="of-the-child")
        return text

    registry = Points(clock, Grammar(read_in_a_child, template, hit_count))
    point = added(registry)

    registry.change(point.id, {"condition": "x"})

    assert registry.find("of-the-child")
