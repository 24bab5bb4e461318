"""The kinds of probes: their headlines, and that none fails for what somebody else wrote."""

from __future__ import annotations

from typing import Any

import pytest

from devtrace.errors import UsageError
from devtrace.events import KINDS, ProbeError, ProbeHit, ProbeStatus, body_from_data, check_body, titled
from tests.store.frames import frame

AT = {"probeId": "p1", "file": "/srv/shop/handlers.py", "line": 42, "method": "load"}
LOCALS = {"user": {"id": 7}, "a": 1, "b": "x", "c": None}
NOT_WHAT_IT_IS = [None, True, -1, 1 << 62, "", "\x1b[2J", [], [[]], {}, {"a": {}}]


def headline(kind: str, name: str, **payload: Any) -> str:
    data = {"name": name, "payload": AT | payload}
    title: str = titled(check_body(frame(kind=kind, title="", data=data)))["title"]
    return title


def test_a_logpoints_headline_is_its_message():
    told = headline("probe_hit", "probe.hit.logpoint", message="user 7")

    assert told == "handlers.py:42 load: user 7"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"a": 1, "b": None, "c": True}, "a=1 b=None c=True"),
        ({"text": "x" * 40}, f"text='{'x' * 23}…"),
        ({"items": [1, 2], "table": {"a": 1}, "__tpd_remaining__": 3}, "items=[2] table={1}"),
        ({"user": {"__tpd_type__": "app.models.User", "id": 7}}, "user=User"),
        ({"ratio": {"__tpd_type__": "float", "__repr__": "2.5"}}, "ratio=2.5"),
        (
            {f"name_{i}": "y" * 20 for i in range(9)},
            " ".join(f"name_{i}='{'y' * 20}'" for i in range(2)) + " and 7 more",
        ),
        ({"x" * 90: 1}, "1 local"),
        ({}, "no locals"),
    ],
)
def test_a_snapshots_headline_names_variables_as_far_as_there_is_room(names, told):
    assert (
        headline("probe_hit", "probe.hit.snapshot", snapshot={"locals": names})
        == f"handlers.py:42 load: {told}"
    )


@pytest.mark.parametrize(
    ("at", "told"),
    [("line", "no locals"), ("entry", "entered, no locals"), ("return", "returned None"),
     ("unwind", "left by an exception, no locals")],
)  # fmt: skip
def test_a_snapshot_says_whether_the_function_began_or_ended(at, told):
    assert headline("probe_hit", "probe.hit.snapshot", at=at) == f"handlers.py:42 load: {told}"


def test_a_snapshot_of_an_exception_says_which():
    raised = {"type": "KeyError", "message": "'id'", "stack": ""}

    told = headline("probe_hit", "probe.hit.snapshot", snapshot={"locals": LOCALS, "exception": raised})

    assert told == "handlers.py:42 load: raised KeyError: 'id'"


@pytest.mark.parametrize(
    ("name", "payload", "told"),
    [
        (
            "condition",
            {"errorType": "NameError", "error": "NameError: name 'x' is not defined"},
            "NameError in the condition: name 'x' is not defined",
        ),
        ("condition", {"error": "it broke"}, "an error in the condition: it broke"),
        (
            "snapshot",
            {"errorType": "ValueError", "error": "ValueError: no", "failedVariable": "user"},
            "ValueError in the snapshot of user: no",
        ),
        ("rateLimit", {"droppedCount": 1994}, "rate limit: 1,994 hits left out"),
        ("rateLimit", {"droppedCount": 1}, "rate limit: 1 hit left out"),
        ("rateLimit", {}, "rate limit: hits left out"),
    ],
)
def test_an_errors_headline_says_what_failed(name, payload, told):
    assert headline("probe_error", f"probe.error.{name}", **payload) == f"handlers.py:42 {told}"


def test_a_status_says_what_became_of_the_probe():
    assert headline("probe_status", "probe.status.installed") == "installed at handlers.py:42"
    told = headline("probe_status", "probe.status.expired", message="its time is over")
    assert told == "expired at handlers.py:42: its time is over"


def test_a_probe_without_a_file_is_told_by_its_location():
    payload = {"file": None, "line": None, "location": "app.handlers:load@exit"}

    assert headline("probe_status", "probe.status.set", **payload) == "set at app.handlers:load@exit"


def test_an_agents_status_names_its_python_and_its_engine():
    started = ProbeStatus(
        name="agent.status.started", payload={"engine": "monitoring"}, client={"runtimeVersion": "3.12.1"}
    )

    assert started.headline() == "agent started in python 3.12.1, monitoring"
    assert ProbeStatus(name="agent.status.stopped", payload={}).headline() == "agent stopped"


@pytest.mark.parametrize("kind", ["probe_hit", "probe_error", "probe_status"])
@pytest.mark.parametrize("value", NOT_WHAT_IT_IS, ids=repr)
def test_no_headline_fails_for_what_somebody_else_wrote(kind, value):
    fields = ("file", "line", "method", "message", "snapshot", "error", "errorType", "failedVariable",
              "droppedCount", "location", "engine", "at")  # fmt: skip
    payloads = [{}, dict.fromkeys(fields, value), *({**AT, name: value} for name in fields)]
    payloads += [{**AT, "snapshot": {"locals": value, "exception": value}},
                 {**AT, "snapshot": {"exception": {"type": value, "message": value}}}]  # fmt: skip
    names = ("", "agent.status.started", "probe.hit.logpoint", "probe.hit.snapshot", "probe.error.rateLimit")

    for payload in payloads:
        for name in names:
            data = {"name": name, "payload": payload, "client": {"runtimeVersion": value}}
            assert body_from_data(kind, check_body(frame(kind=kind, data=data))["data"]).headline()


@pytest.mark.parametrize("kind", ["probe_hit", "probe_error", "probe_status"])
@pytest.mark.parametrize(
    ("field", "value"),
    [("payload", "x"), ("payload", None), ("payload", {"a": 0.5}), ("client", []), ("name", 1), ("pid", "1"),
     ("thread", None), ("uuid", 5), ("cwd", 1)],
)  # fmt: skip
def test_what_does_not_fit_is_refused(kind, field, value):
    data = {"name": "probe.hit.logpoint", "payload": {}, field: value}

    with pytest.raises(UsageError, match=field):
        check_body(frame(kind=kind, data=data))


def test_the_kinds_are_known_by_their_names():
    known = (KINDS["probe_hit"], KINDS["probe_error"], KINDS["probe_status"])

    assert known == (ProbeHit, ProbeError, ProbeStatus)
