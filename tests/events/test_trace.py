"""python_trace: what fits the kind, where a guest or a forger wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from devtrace.errors import UsageError
from devtrace.events import PythonTrace, check_body, titled
from tests.store.frames import frame

FACTS = {
    "dropped_events": {"filter_scope_skip": 3},
    "filters": [{"path": "a.toml", "version": 1}],
    "none": None,
}


def trace(**data: Any) -> dict[str, Any]:
    return frame(kind="python_trace", title="", data={"argv": ["app.py", "-v"], **data})


def test_its_headline_is_how_it_was_called():
    assert titled(check_body(trace()))["title"] == "python app.py -v"
    assert PythonTrace(argv=[]).headline() == "python"


def test_what_the_recorder_counted_may_be_nested():
    assert check_body(trace(metrics=FACTS, trace_filter={}))["data"]["metrics"] == FACTS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("argv", "app.py"), ("argv", [1]), ("metrics", [1]), ("metrics", {"a": [{"b": 2.5}]}),
        ("trace_filter", {"a": 1 << 70}), ("n_events", True), ("chunks", 5), ("pid", "1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(field, value):
    with pytest.raises(UsageError) as refused:
        check_body(trace(**{field: value}))

    assert refused.value.context["field"] == f"data.{field}"


def test_nobody_else_names_what_the_store_keeps():
    with pytest.raises(UsageError):
        check_body(trace(blobs={"1/1": {"sha256": "0" * 64, "size": 1}}))
