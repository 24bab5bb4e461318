"""Orders about probes: what is wanted, in which file it stands, which event tells of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from devtrace.errors import DevTraceError
from devtrace.probes.desired import Desired
from devtrace.probes.fields import Refused
from devtrace.probes.point import EXPIRED, Point
from devtrace.probes.points import MOST_POINTS
from devtrace.query.events import list_events
from devtrace.query.filters import Filters
from devtrace.query.ids import resolve_session
from devtrace.services.probe import Orders, only, wanted
from devtrace.services.probe_asked import Asked, grammar, point_of
from tests.recorded import Recorded


@pytest.fixture
def store(tmp_path: Path):
    made = Recorded(tmp_path)
    yield made
    made.close()


@pytest.fixture
def orders(store: Recorded) -> Orders:
    return Orders(store.db, store.workspace, {})


def a_point(store: Recorded, location: str = "nobody.py:4", **more: Any) -> Point:
    root = store.workspace.root
    return point_of(Asked(location, **more), root, root, grammar()).point


def told(store: Recorded) -> list[dict[str, Any]]:
    return list_events(store.db, Filters(kinds=("probe_status",)))


def test_what_is_added_is_wanted_and_told(store, orders):
    point = a_point(store, log="{x}", tags=["a"])

    orders.add(point)

    (kept,) = wanted(store.workspace)
    assert (kept.id, kept.message, kept.tags) == (point.id, "{x}", ("a",))
    (event,) = told(store)
    assert (event["title"], event["data"]["name"]) == ("set at nobody.py:4", "probe.status.set")
    payload = event["data"]["payload"]
    assert (payload["probeId"], payload["probeType"], payload["by"]) == (
        point.id,
        "logpoint",
        {"pid": os.getpid()},
    )


def test_an_order_outside_a_traced_shell_has_a_session_of_its_own(store, orders):
    work = store.session()
    orders.add(a_point(store))

    (event,) = told(store)
    assert event["session"] != work
    assert resolve_session(store.db, None) == work  # it is not what `show` shows when nothing is named


def test_an_order_in_a_traced_shell_stands_under_its_command(store, tmp_path):
    session, span = store.session(), "1" * 16
    os.mkfifo(tmp_path / "fifo")
    environ = {"DEVTRACE_SESSION": session, "DEVTRACE_DIR": str(store.workspace.dir), "DEVTRACE_SPAN": span,
               "DEVTRACE_FIFO": str(tmp_path / "fifo"), "DEVTRACE_AGENT": "codex"}  # fmt: skip

    Orders(store.db, store.workspace, environ).add(a_point(store))

    (event,) = told(store)
    assert (event["session"], event["parent"], event["actor"]) == (session, span, "agent:codex")


def test_a_location_without_a_file_is_told_as_it_is(store, orders):
    orders.add(a_point(store, "app.jobs:load@exit"))

    assert told(store)[0]["title"] == "set at app.jobs:load@exit"


def test_switching_and_removing_are_told(store, orders):
    point = a_point(store)
    orders.add(point)

    orders.switch([point.id], False)
    assert [one.enabled for one in wanted(store.workspace)] == [False]
    orders.switch([point.id], True)
    assert [one.enabled for one in wanted(store.workspace)] == [True]
    orders.remove([point.id, "nobody"], "no such line")
    assert wanted(store.workspace) == []
    assert [event["title"] for event in told(store)] == [
        "set at nobody.py:4",
        "disabled at nobody.py:4",
        "enabled at nobody.py:4",
        "removed at nobody.py:4: no such line",
    ]


def test_who_is_enabled_again_has_its_time_again(store, orders):
    point = a_point(store)
    point.expires_ns = point.created_ns
    orders.add(point)
    assert [one.standing.status for one in wanted(store.workspace)] == [EXPIRED]

    orders.switch([point.id], True)

    assert [one.standing.status for one in wanted(store.workspace)] == ["pending"]


def test_what_a_program_noted_as_ended_has_expired(store, orders):
    orders.add(a_point(store))
    Desired(store.workspace).change(
        lambda points: [one.update(ended="3 hits were told") for one in points.values()]
    )

    (point,) = wanted(store.workspace)
    assert (point.standing.status, point.standing.status_message) == (EXPIRED, "3 hits were told")


def test_there_may_be_so_many_and_no_more(store, orders):
    stored = {str(number): a_point(store).as_stored() for number in range(MOST_POINTS)}
    Desired(store.workspace).change(lambda points: points.update(stored))

    with pytest.raises(Refused) as caught:
        orders.add(a_point(store))

    assert caught.value.code == "TOO_MANY_POINTS"


def test_probes_are_chosen_by_the_start_of_an_id_and_by_tag(store, orders):
    points = [a_point(store, tags=[tag]) for tag in "aab"]
    for point in points:
        orders.add(point)

    assert orders.chosen([points[0].id[:8]], []) == [points[0].id]
    assert orders.chosen([], ["a"]) == [points[0].id, points[1].id]
    assert orders.chosen([points[2].id], ["a"]) == [points[2].id, points[0].id, points[1].id]
    assert orders.chosen([], [], all_of_them=True) == [point.id for point in points]


@pytest.mark.parametrize(("names", "tags"), [(["zz"], []), ([""], []), ([], ["nobody"])])
def test_who_means_no_probe_is_told(store, orders, names, tags):
    orders.add(a_point(store))

    with pytest.raises(DevTraceError) as caught:
        orders.chosen(names, tags)

    assert caught.value.code == "POINT_NOT_FOUND"


def test_a_start_that_fits_several_is_refused(store):
    points = [a_point(store), a_point(store)]
    for point, name in zip(points, ("ab1", "ab2"), strict=True):
        point.id = name

    with pytest.raises(DevTraceError) as caught:
        only(points, "ab")

    assert caught.value.code == "ERR_ID_AMBIGUOUS"
    assert only(points, "ab1") is points[0]


def test_a_file_that_is_damaged_is_told(store, orders):
    Desired(store.workspace).path.write_text("{}")

    for order in (lambda: wanted(store.workspace), lambda: orders.add(a_point(store))):
        with pytest.raises(DevTraceError) as caught:
            order()
        assert caught.value.code == "ERR_STORE_READONLY"


def test_one_that_cannot_be_read_costs_no_other(store, orders):
    point = a_point(store)
    orders.add(point)
    Desired(store.workspace).change(lambda points: points.update(x={"id": "x", "type": "?"}, y={}))

    assert [one.id for one in wanted(store.workspace)] == [point.id]


def test_a_secret_in_a_text_is_known(store):
    orders = Orders(store.db, store.workspace, {"API_TOKEN": "f9c1e77d0b3a4c58a6"})

    assert orders.holds_secret("x == 'f9c1e77d0b3a4c58a6'")
    assert not orders.holds_secret("x == 'plain'")
