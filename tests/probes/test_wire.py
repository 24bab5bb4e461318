"""Events in the documented form, key for key, and the schema that is written from the same table."""

from __future__ import annotations

import copy
import json
import os
import sys
from typing import Any

import pytest

from devtrace import __version__
from devtrace.probes import wire
from devtrace.probes.point import Placed, Point, point_from_json
from devtrace.probes.schema import ENVELOPE, EVENTS, Member
from tests.probes.grammars import GRAMMAR, NOON
from tests.probes.validator import SCHEMA, faults, undeclared

NOON_US = NOON // 1000
PLACE = {
    "file": "/srv/app/handlers.py",
    "line": 42,
    "method": "handle_request",
    "className": "RequestHandler",
}
STACK = [PLACE, {"file": "/srv/app/routes.py", "line": 15, "method": "route_request"}]
CAPTURED = {
    "locals": {"user_id": 123, "request": {"__tpd_type__": "Request", "path": "/api/users"}},
    "arguments": {"self": {"__tpd_type__": "RequestHandler"}},
    "returnValue": None,
    "exception": None,
}
RAISED = {"type": "ValueError", "message": "no", "stack": "app.py:1 in f"}


def point(kind: str = "tracepoint", **body: Any) -> Point:
    given = {"id": "p-1", "file": "app/handlers.py", "line": 42, **body}
    return point_from_json(kind, given, lambda: NOON, GRAMMAR)


def logpoint(**body: Any) -> Point:
    return point("logpoint", **{"message": "user {user.id}", **body})


def hit(of: Point, **settings: Any) -> wire.Hit:
    counts = {"hit_count": 1, "total_hits": 5, "allowed": 9, "dropped": 4, "thread": "MainThread"}
    return wire.Hit(of, PLACE, **{**counts, **settings})


def enveloped(name: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The event as a client reads it."""
    data = {
        "name": name,
        "uuid": "550e8400-e29b-41d4-a716-446655440000",
        "payload": payload,
        "client": wire.client("app.py", "worker-1"),
    }
    read: dict[str, Any] = json.loads(json.dumps(wire.envelope(data, NOON_US + 123_456), allow_nan=False))
    return read


def whole_events() -> dict[str, dict[str, Any]]:
    """An event of each name, with all that it may hold."""
    moved = point(condition="args[0] > 3").placed(Placed("installed", line=43))
    logged = logpoint(condition="x").placed(Placed("installed", line=43))
    exited = hit(moved, at="return", duration_ns=1_500)
    captured = {**CAPTURED, "exception": RAISED, "watch": {"user.id": 7}}
    failed = [{"expression": "user.id", "error": "AttributeError: id"}]
    payloads = {
        wire.SNAPSHOT: wire.snapshot_payload(exited, captured, STACK),
        wire.LOGPOINT: wire.logpoint_payload(hit(logged, duration_ns=7), "user 7", failed),
        wire.CONDITION_ERROR: wire.condition_error(
            moved, "NameError: x", "NameError", code="CPU_BUDGET", suppressed=99, thread="t"
        ),
        wire.SNAPSHOT_ERROR: wire.snapshot_error(
            moved,
            "it broke",
            "ValueError",
            failed_variable="f",
            attempted_value="File",
            suppressed=2,
            thread="t",
        ),
        wire.RATE_LIMIT_ERROR: wire.rate_limit_error(moved, 5),
        wire.STARTED: wire.agent_started("pytrace", "it was asked for"),
        wire.STOPPED: wire.agent_stopped(5000, 10, 150),
    }
    payloads |= {f"probe.status.{one}": wire.probe_status(moved, "why", 4711) for one in wire.STATUSES}
    return {name: enveloped(name, payload) for name, payload in payloads.items()}


# --- the documented keys ------------------------------------------------------------------------------------


def test_the_envelope_has_the_documented_keys() -> None:
    event = enveloped(wire.STOPPED, wire.agent_stopped(1, 2, 3))

    assert list(event) == ["name", "timestamp", "id", "client", "payload"]
    assert event["timestamp"] == "2026-01-01T12:00:00.123Z"
    assert event["client"] == {
        "hostname": os.uname().nodename,
        "applicationName": "app.py",
        "applicationInstanceId": "worker-1",
        "agentVersion": __version__,
        "runtime": "python",
        "runtimeVersion": ".".join(map(str, sys.version_info[:3])),
    }


def test_a_client_without_an_instance_names_none() -> None:
    assert "applicationInstanceId" not in wire.client("app.py")


def test_a_frame_of_anybody_is_enveloped_without_an_error() -> None:
    assert wire.envelope({}, 0)["payload"] is None


def test_a_snapshot_is_the_documented_payload() -> None:
    payload = wire.snapshot_payload(hit(point(condition="x > 1")), CAPTURED, STACK)

    assert payload == {
        "probeId": "p-1",
        "probeType": "tracepoint",
        "file": "app/handlers.py",
        "line": 42,
        "method": "handle_request",
        "className": "RequestHandler",
        "condition": "x > 1",
        "conditionEvaluated": True,
        "snapshot": CAPTURED,
        "stack": STACK,
        "hitCount": 1,
        "totalHits": 5,
        "rateLimit": {"allowedThisSecond": 9, "dropped": 4},
        # ours
        "at": "line",
        "pid": os.getpid(),
        "thread": "MainThread",
    }


def test_a_logpoint_is_the_documented_payload() -> None:
    payload = wire.logpoint_payload(hit(logpoint()), "user 7")

    assert payload == {
        "probeId": "p-1",
        "probeType": "logpoint",
        "file": "app/handlers.py",
        "line": 42,
        "method": "handle_request",
        "className": "RequestHandler",
        "condition": None,
        "conditionEvaluated": True,
        "conditionResult": True,
        "message": "user 7",
        "messageTemplate": "user {user.id}",
        "hitCount": 1,
        "totalHits": 5,
        "rateLimit": {"allowedThisSecond": 9, "dropped": 4},
        # ours
        "at": "line",
        "level": "INFO",
        "pid": os.getpid(),
        "thread": "MainThread",
    }


def test_a_function_of_no_class_names_none() -> None:
    plain = wire.Hit(point(), {"file": "a.py", "line": 1, "method": "f"}, hit_count=1, total_hits=1)

    assert "className" not in wire.snapshot_payload(plain, CAPTURED, [])


def test_the_counts_are_those_of_the_hit_and_not_of_now() -> None:
    probe = point()
    probe.standing.hit_count = 1_000

    assert wire.snapshot_payload(hit(probe), CAPTURED, [])["hitCount"] == 1


def test_what_an_expression_saw_stands_beside_the_documented_snapshot() -> None:
    payload = wire.snapshot_payload(hit(point()), {**CAPTURED, "watch": {"user.id": 7}}, [])

    assert payload["watch"] == {"user.id": 7}
    assert set(payload["snapshot"]) == {"locals", "arguments", "returnValue", "exception"}


def test_an_error_of_a_condition_is_the_documented_payload() -> None:
    told = wire.condition_error(point(condition="user.x > 5"), "NameError: no user", "NameError")

    assert told == {
        "probeId": "p-1",
        "probeType": "tracepoint",
        "file": "app/handlers.py",
        "line": 42,
        "condition": "user.x > 5",
        "error": "NameError: no user",
        "errorType": "NameError",
        "errorStack": "NameError: no user",
        "pid": os.getpid(),
    }


def test_an_error_of_a_probe_without_a_condition_still_has_the_documented_text() -> None:
    assert wire.condition_error(point(), "too much", "Error", code="CPU_BUDGET")["condition"] == ""


def test_an_error_of_a_snapshot_is_the_documented_payload() -> None:
    told = wire.snapshot_error(point(), "it broke", "ValueError", failed_variable="f", attempted_value="File")

    assert {"error", "errorType", "failedVariable", "attemptedValue"} <= set(told)
    assert (told["failedVariable"], told["attemptedValue"]) == ("f", "File")


def test_an_error_of_a_rate_limit_is_the_documented_payload() -> None:
    told = wire.rate_limit_error(point(rateLimit={"limitPerSecond": 5, "burst": 5}), 1994)

    assert told["limit"] == {"limitPerSecond": 5, "burst": 5}
    assert (told["droppedCount"], told["message"]) == (1994, "Rate limit exceeded: dropped 1994 events")
    assert told["scope"] == "probe"


def test_the_limit_that_all_probes_share_says_so() -> None:
    told = wire.rate_limit_error(point(), 1, {"limitPerSecond": 100, "burst": 100})

    assert (told["limit"]["burst"], told["scope"]) == (100, "process")
    assert told["message"] == "Rate limit exceeded: dropped 1 event"


def test_an_agent_that_started_tells_its_engine_and_what_it_can_do() -> None:
    told = wire.agent_started("monitoring", is_free_threaded=True)

    assert (told["message"], told["engine"]) == ("DevTrace agent started", "monitoring")
    assert told["features"] == {
        "tracepoints": True,
        "logpoints": True,
        "conditions": True,
        "rateLimit": True,
        "freeThreaded": True,
    }


def test_an_agent_that_stopped_tells_what_it_did() -> None:
    told = wire.agent_stopped(5000, 10, 150)

    assert {"uptime": 5000, "totalProbes": 10, "totalEvents": 150}.items() <= told.items()


def test_a_status_tells_who_did_it_and_where_it_sits_now() -> None:
    moved = point().placed(Placed("installed", "line 42 has no code", line=43))

    told = wire.probe_status(moved, by_pid=7)

    assert told == {
        "probeId": "p-1",
        "probeType": "tracepoint",
        "file": "app/handlers.py",
        "line": 43,
        "requestedLine": 42,
        "location": "app/handlers.py:42",
        "status": "installed",
        "message": "line 42 has no code",
        "by": {"pid": 7},
    }
    assert wire.probe_status(moved)["by"] is None


def test_a_probe_that_names_a_module_has_the_file_of_its_frame() -> None:
    given = {"location": "shop.cart:total@entry"}
    unplaced = point_from_json("tracepoint", given, lambda: NOON, GRAMMAR)

    payload = wire.snapshot_payload(hit(unplaced), CAPTURED, [])

    assert (payload["file"], payload["line"]) == (PLACE["file"], PLACE["line"])
    assert wire.rate_limit_error(unplaced, 1)["file"] == "shop.cart"


# --- the table, the schema and the events are one -----------------------------------------------------------


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_event_passes_its_schema_and_has_no_member_that_it_does_not_name(name: str) -> None:
    event = whole_events()[name]

    assert faults(event) == []
    assert undeclared(event) == []


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_member_of_the_table_is_in_the_event_that_has_all(name: str) -> None:
    event = whole_events()[name]

    assert [member.path for member in EVENTS[name][1] if not is_in(event["payload"], member.path)] == []
    assert [member.path for member in ENVELOPE if not is_in(event, member.path)] == []


def is_in(holder: Any, path: str) -> bool:
    """Whether some value stands at `stack[].file`."""
    step, _, rest = path.partition(".")
    name = step.removesuffix("[]")
    if type(holder) is not dict or name not in holder:
        return False
    if not rest:
        return True
    inner = holder[name]
    return any(is_in(one, rest) for one in inner) if step.endswith("[]") else is_in(inner, rest)


def test_a_lean_event_has_all_that_may_not_be_lacking() -> None:
    lean = wire.Hit(point(), {"file": "a.py", "line": 1, "method": "f"}, hit_count=1, total_hits=1)
    event = enveloped(wire.SNAPSHOT, wire.snapshot_payload(lean, CAPTURED, []))

    due = [member for member in EVENTS[wire.SNAPSHOT][1] if not member.may_lack and "[]" not in member.path]
    lacking = [member.path for member in due if not is_in(event["payload"], member.path)]
    assert [path for path in lacking if not path.startswith("snapshot.exception.")] == []
    assert faults(event) == []


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_what_a_sink_needs_is_missed_by_the_schema(name: str) -> None:
    needed: list[Member] = [member for member in EVENTS[name][1] if member.is_required]
    assert needed
    for member in needed:
        event = copy.deepcopy(whole_events()[name])
        del event["payload"][member.path]
        assert any(member.path in fault for fault in faults(event, SCHEMA["$defs"][name])), member.path
        assert faults(event) != []


def test_the_schema_has_an_entry_for_each_name() -> None:
    assert list(SCHEMA["$defs"]) == list(EVENTS)
    assert SCHEMA["properties"]["name"]["enum"] == list(EVENTS)


def test_what_is_ours_is_marked_so() -> None:
    inside = SCHEMA["$defs"][wire.SNAPSHOT]["properties"]["payload"]["properties"]

    assert inside["watch"]["$comment"] == "DevTrace's own"
    assert "$comment" not in inside["stack"]
