"""What probes told, as it is read from the store."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from devtrace.query.events import last_seq, list_events
from devtrace.query.filters import Filters
from devtrace.services.probe_hits import Hits, envelope, hit_counts, with_floats
from devtrace.store.spool import SpoolWriter
from tests.recorded import START, Recorded

HALF = {"__tpd_type__": "float", "__repr__": "0.5"}


@pytest.fixture
def store(tmp_path: Path):
    made = Recorded(tmp_path)
    made.session()
    yield made
    made.close()


def told(
    store: Recorded, probe: str = "p1", kind: str = "probe_hit", name: str = "probe.hit.logpoint"
) -> None:
    """What a program leaves in the spool."""
    data = {
        "name": name,
        "uuid": "u",
        "payload": {"probeId": probe, "message": "hi"},
        "client": {"hostname": "vm"},
    }
    writer = SpoolWriter(store.workspace.spool)
    store_id = f"{time.time_ns():016x}"[-16:]
    frame = {
        "v": 1, "kind": kind, "session": store.session_id, "id": store_id, "parent": None, "actor": "human",
        "started_us": START, "ended_us": START, "status": "ok", "title": "", "cwd": None, "exit_code": None,
        "source": "probe", "exit_source": None, "trusted": 0, "data": data, "blobs": {},
    }  # fmt: skip
    assert writer.write(frame)
    writer.close()


def test_what_is_new_is_given_once_and_of_that_probe_alone(store):
    told(store)
    hits = Hits(store.db, store.workspace, "p1", last_seq(store.db))
    told(store, "p2")
    told(store)

    assert [row["title"] for row in hits.poll()] == ["? ?: hi", "? ?: hi"]
    assert hits.poll() == []
    told(store)
    assert len(hits.poll()) == 1


def test_what_is_old_is_no_news(store):
    told(store)
    Hits(store.db, store.workspace, "p1", 0).poll()

    assert Hits(store.db, store.workspace, "p1", last_seq(store.db)).poll() == []


def test_it_waits_for_so_many_hits(store):
    for _ in range(3):
        told(store)
    hits = Hits(store.db, store.workspace, "p1", 0)

    rows = list(hits.wait(2, time.monotonic() + 60, lambda: False))

    assert len(rows) == 3  # what came with the second is told too


def test_it_waits_until_the_time_is_over(store):
    told(store, kind="probe_error", name="probe.error.rateLimit")
    hits = Hits(store.db, store.workspace, "p1", 0)

    assert [row["kind"] for row in hits.wait(1, time.monotonic(), lambda: False)] == ["probe_error"]


def test_it_does_not_wait_for_what_never_comes(store):
    told(store, kind="probe_status", name="probe.status.error")
    hits = Hits(store.db, store.workspace, "p1", 0)

    assert len(list(hits.wait(1, time.monotonic() + 60, lambda: True))) == 1


def test_hits_are_counted_by_their_probes(store):
    for probe in ("p1", "p1", "p2"):
        told(store, probe)
    told(store, kind="probe_error", name="probe.error.rateLimit")
    Hits(store.db, store.workspace, "p1", 0).poll()

    assert hit_counts(store.db, 0) == {"p1": 2, "p2": 1}
    assert hit_counts(store.db, START + 1) == {}


def test_an_event_is_told_in_its_documented_form(store):
    told(store)
    Hits(store.db, store.workspace, "p1", 0).poll()
    (row,) = list_events(store.db, Filters(kinds=("probe_hit",)))

    assert envelope(row) == {
        "name": "probe.hit.logpoint",
        "timestamp": "2026-11-21T14:03:12.000Z",
        "id": "u",
        "client": {"hostname": "vm"},
        "payload": {"probeId": "p1", "message": "hi"},
    }


def test_an_event_of_which_something_is_missing_is_told_all_the_same():
    row = {"kind": "probe_hit", "data": {}, "started_us": START, "ended_us": None}

    assert set(envelope(row)) == {"name", "timestamp", "id", "client", "payload"}


@pytest.mark.parametrize(
    ("kept", "whole"),
    [
        (HALF, 0.5),
        ({"a": [HALF, {"b": HALF}]}, {"a": [0.5, {"b": 0.5}]}),
        ({"__tpd_type__": "float", "__repr__": "1e+300"}, 1e300),
    ],
)
def test_numbers_are_floats_again(kept: Any, whole: Any):
    assert with_floats(kept) == whole


@pytest.mark.parametrize(
    "kept",
    [
        {"__tpd_type__": "float", "__repr__": "nan"},
        {"__tpd_type__": "float", "__repr__": "-inf"},
        {"__tpd_type__": "float", "__repr__": "NaN"},
        {"__tpd_type__": "float", "__repr__": "x"},
        {"__tpd_type__": "float", "__repr__": 5},
        {"__tpd_type__": "float", "__repr__": "0.5", "more": 1},
        {"__tpd_type__": "Money", "__repr__": "0.5"},
        [1, "0.5", None, True],
    ],
)
def test_what_is_no_number_of_json_stays_as_it_is(kept: Any):
    assert with_floats(kept) == kept
    json.dumps(with_floats(kept), allow_nan=False)
