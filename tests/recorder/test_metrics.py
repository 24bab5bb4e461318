"""The recorder's counters: documented reasons, no count lost among threads, a sink that cannot hurt."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from devtrace.recorder import metrics

EMPTY = {"dropped_events": {}, "detaches": {}, "panics": {}, "sink_errors": 0}


@pytest.fixture(autouse=True)
def _own_counters() -> Iterator[None]:
    metrics.reset()
    yield
    metrics.set_metrics_sink(None)
    metrics.reset()


@pytest.fixture
def told() -> list[tuple[str, dict[str, Any]]]:
    """What a sink was told."""
    heard: list[tuple[str, dict[str, Any]]] = []
    metrics.set_metrics_sink(lambda name, value: heard.append((name, value)))
    return heard


def test_the_documented_reasons_have_their_names() -> None:
    assert metrics.SYNTHETIC_FILENAME == "synthetic_filename"
    assert metrics.FILENAME_LOOKUP_FAILED == "filename_lookup_failed"
    assert metrics.FILTER_SCOPE_SKIP == "filter_scope_skip"
    assert metrics.FILTER_RESOLUTION_ERROR == "filter_resolution_error"
    assert metrics.POLICY_DISABLE == "policy_disable"
    for place in ("arg", "local", "global", "return", "attr"):
        assert metrics.FILTER_VALUE_REDACTED[place] == f"filter_value_redacted.{place}"
        assert metrics.FILTER_VALUE_DROPPED[place] == f"filter_value_dropped.{place}"
    assert len(metrics.FILTER_VALUE_REDACTED) == len(metrics.FILTER_VALUE_DROPPED) == 5


def test_nothing_is_counted_at_first() -> None:
    assert metrics.snapshot() == EMPTY


def test_each_kind_of_count_is_found_by_its_reason() -> None:
    metrics.record_dropped_event(metrics.SYNTHETIC_FILENAME)
    metrics.record_dropped_event(metrics.SYNTHETIC_FILENAME)
    metrics.record_dropped_event(metrics.FILTER_SCOPE_SKIP, count=40)
    metrics.record_detach(metrics.POLICY_DISABLE, "ERR_IO")
    metrics.record_detach(metrics.POLICY_DISABLE)
    metrics.record_panic("on_line")

    assert metrics.snapshot() == {
        "dropped_events": {"synthetic_filename": 2, "filter_scope_skip": 40},
        "detaches": {"policy_disable": {"ERR_IO": 1, "none": 1}},
        "panics": {"on_line": 1},
        "sink_errors": 0,
    }


def test_a_new_trace_begins_at_zero() -> None:
    metrics.record_panic("on_line")

    metrics.reset()

    assert metrics.snapshot() == EMPTY


def test_no_count_is_lost_among_threads() -> None:
    each, threads = 5_000, 8

    def count() -> None:
        for _ in range(each):
            metrics.record_dropped_event(metrics.FILTER_SCOPE_SKIP)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        counting = [threading.Thread(target=count) for _ in range(threads)]
        for thread in counting:
            thread.start()
        for thread in counting:
            thread.join()
    finally:
        sys.setswitchinterval(before)

    assert metrics.snapshot()["dropped_events"] == {"filter_scope_skip": each * threads}


def test_the_child_of_a_fork_counts_for_itself() -> None:
    metrics.record_panic("before")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        metrics.record_panic("in the child")
        os.write(writer, repr(metrics.snapshot()["panics"]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == "{'in the child': 1}"
    os.waitpid(child, 0)

    assert metrics.snapshot()["panics"] == {"before": 1}


def test_a_sink_is_told_of_each_count(told: list[tuple[str, dict[str, Any]]]) -> None:
    metrics.record_dropped_event(metrics.SYNTHETIC_FILENAME, count=2)
    metrics.record_detach(metrics.POLICY_DISABLE, "ERR_IO")
    metrics.record_detach(metrics.POLICY_DISABLE)
    metrics.record_panic("on_line")

    assert told == [
        ("dropped_event", {"reason": "synthetic_filename", "count": 2}),
        ("detach", {"reason": "policy_disable", "error_code": "ERR_IO"}),
        ("detach", {"reason": "policy_disable", "error_code": None}),
        ("panic", {"label": "on_line"}),
    ]


def test_a_sink_hears_of_the_next_trace_too(told: list[tuple[str, dict[str, Any]]]) -> None:
    metrics.reset()
    metrics.record_panic("on_line")

    assert told == [("panic", {"label": "on_line"})]


def test_a_sink_that_was_taken_away_hears_nothing(told: list[tuple[str, dict[str, Any]]]) -> None:
    metrics.set_metrics_sink(None)

    metrics.record_panic("on_line")

    assert told == []


@pytest.mark.parametrize(
    "failure", [ValueError, SystemExit, GeneratorExit, type("Theirs", (BaseException,), {})]
)
def test_what_a_sink_raises_is_counted_and_goes_no_further(failure: type[BaseException]) -> None:
    def fail(name: str, value: dict[str, Any]) -> None:
        raise failure

    metrics.set_metrics_sink(fail)

    metrics.record_panic("on_line")
    metrics.record_dropped_event(metrics.SYNTHETIC_FILENAME)

    counted = metrics.snapshot()
    assert counted["sink_errors"] == 2
    assert counted["panics"] == {"on_line": 1}
    assert counted["dropped_events"] == {"synthetic_filename": 1}


def test_an_interrupt_in_a_sink_is_for_the_program() -> None:
    def interrupted(name: str, value: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    metrics.set_metrics_sink(interrupted)

    with pytest.raises(KeyboardInterrupt):
        metrics.record_panic("on_line")
    assert metrics.snapshot()["sink_errors"] == 0


def test_a_sink_that_makes_counts_is_not_told_of_them() -> None:
    heard = []

    def counts_too(name: str, value: dict[str, Any]) -> None:
        heard.append(name)
        metrics.record_panic("in the sink")

    metrics.set_metrics_sink(counts_too)

    metrics.record_dropped_event(metrics.SYNTHETIC_FILENAME)
    metrics.record_dropped_event(metrics.SYNTHETIC_FILENAME)

    assert heard == ["dropped_event", "dropped_event"]
    assert metrics.snapshot()["panics"] == {"in the sink": 2}


def test_a_sink_must_be_callable() -> None:
    with pytest.raises(TypeError, match="callable"):
        metrics.set_metrics_sink("statsd")  # type: ignore[arg-type]
