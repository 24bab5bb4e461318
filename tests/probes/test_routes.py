"""The control API without its sockets: every documented route, status and code, and their other names."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from devtrace.probes.points import (
    INSTALLED,
    LOGPOINT,
    MOST_POINTS,
    PENDING,
    TRACEPOINT,
    Grammar,
    Placed,
    Refused,
)
from devtrace.probes.routes import MOST_BYTES, ROUTES
from tests.probes.control import LOG, UUID, Api, is_error
from tests.probes.grammars import HERE, SECOND


@pytest.fixture
def api() -> Api:
    return Api()


# --- GET /health --------------------------------------------------------------------------------------------


def test_health_has_every_documented_key(api: Api) -> None:
    api.now += 3600 * SECOND
    api.made()

    status, told = api("GET /health")

    assert (status, told["status"], told["uptime"]) == (200, "healthy", 3600)
    assert told["agent"] == {
        "name": "tracepointdebug",
        "version": "0.4.0",
        "runtime": "python",
        "runtimeVersion": ".".join(map(str, sys.version_info[:3])),
    }
    assert told["features"] == {
        "tracepoints": True,
        "logpoints": True,
        "conditions": True,
        "rateLimit": True,
        "freeThreaded": False,
    }
    assert told["broker"] == {"connected": False, "url": None}
    assert told["eventSink"] == {"connected": True, "url": "http://127.0.0.1:4317"}


def test_health_tells_the_engine_and_why(api: Api) -> None:
    told = api("GET /health")[1]

    assert told["engine"] == {"name": "monitoring", "because": "Python has sys.monitoring"}
    assert (told["siblings"], told["points"]) == ([7], {"total": 0, "live": 0})


def test_health_alone_needs_no_token() -> None:
    assert [route.path for route in ROUTES if route.is_open] == ["/health"]


def test_a_bug_of_ours_is_a_500_in_the_envelope(api: Api) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("/home/ana/secret")

    api.process.sink_status = broken  # type: ignore[method-assign]  # a state that fails

    assert is_error(api("GET /health"), 500, "INTERNAL_ERROR")
    assert "ana" not in api("GET /health")[1]["error"]
    assert api.routes.failures == 2


# --- POST /tracepoints, POST /logpoints ---------------------------------------------------------------------


def test_a_tracepoint_is_created(api: Api) -> None:
    status, told = api(
        "POST /tracepoints",
        {**HERE, "condition": None, "tags": ["feature-x"], "snapshot": {"maxDepth": 3, "maxProperties": 100}},
    )

    assert status == 201
    assert UUID.fullmatch(told["id"])
    assert (told["type"], told["file"], told["line"]) == (TRACEPOINT, "app.py", 42)
    assert (told["condition"], told["enabled"], told["tags"]) == (None, True, ["feature-x"])
    assert told["created"] == "2026-01-01T12:00:00.000Z"
    assert {"maxDepth": 3, "maxProperties": 100}.items() <= told["snapshot"].items()
    assert (told["hitCount"], told["status"]) == (0, PENDING)


def test_a_logpoint_is_created(api: Api) -> None:
    rate = {"limitPerSecond": 10, "burst": 1}
    status, told = api("POST /logpoints", {**LOG, "condition": "value > 100", "rateLimit": rate})

    assert (status, told["type"], told["message"]) == (201, LOGPOINT, "User {user.id}")
    assert (told["condition"], told["rateLimit"]) == ("value > 100", rate)


def test_a_logpoint_takes_a_log_expression_and_its_other_fields(api: Api) -> None:
    body = {**HERE, "log_expression": "x={{x}}, y={{y}}", "level": "info", "stdout_enabled": True}
    status, told = api("POST /logpoints", {**body, "expire_hit_count": 3, "expire_duration_ms": 60_000})

    assert (status, told["log_expression"], told["level"]) == (201, "x={{x}}, y={{y}}", "INFO")
    assert (told["maxHits"], told["expiresAt"]) == (3, "2026-01-01T12:01:00.000Z")


def test_both_kinds_take_the_names_that_test_helpers_use(api: Api) -> None:
    for path, body in (("/tracepoints", HERE), ("/logpoints", LOG)):
        sample = {"limitPerSecond": 5, "burst": 5}
        snapshot = {"maxDepth": 5, "maxProps": 50, "params": True, "fields": [], "locals": True}
        status, told = api(f"POST {path}", {**body, "id": f"probe{path[1:4]}", "sample": sample,
                                            "snapshot": snapshot, "file_hash": "ab12"})  # fmt: skip

        assert (status, told["rateLimit"]) == (201, sample)
        assert (told["snapshot"]["maxDepth"], told["snapshot"]["maxProperties"]) == (5, 50)


def test_a_point_is_placed_before_it_is_answered_for(api: Api) -> None:
    where = {"file": "/srv/app.py", "line": 43, "qualname": "total"}
    api.process.places["app.py"] = Placed(INSTALLED, resolved=[where], line=43)

    told = api.made(nearest=True)

    assert (told["status"], told["resolved"]) == (INSTALLED, [where])
    assert (told["line"], told["requestedLine"], api.process.asked) == (43, 42, ["app.py:42"])


def test_a_point_that_a_listener_installs_is_answered_as_installed(api: Api) -> None:
    found = Placed(INSTALLED, line=43)
    api.points.listeners.append(lambda point: api.points.report(point.id, found) if point else None)

    told = api.made()

    assert (told["status"], told["line"], told["requestedLine"]) == (INSTALLED, 43, 42)


@pytest.mark.parametrize("path", ["/tracepoints", "/logpoints"])
class TestOfBothKinds:
    @pytest.mark.parametrize(
        "raw",
        [b"", b"{", b"not json", b"[1]", b"null", b'"x"', b"\xff\xfe\xfd", b'{"line": NaN}',
         b'{"line": ' + b"[" * 30_000, b'{"line": ' + b"9" * 5000 + b"}"],
    )  # fmt: skip
    def test_invalid_json(self, api: Api, path: str, raw: bytes) -> None:
        assert is_error(api(f"POST {path}", raw), 400, "INVALID_JSON")

    @pytest.mark.parametrize("missing", ["file", "line"])
    def test_missing_field(self, api: Api, path: str, missing: str) -> None:
        body = {name: value for name, value in LOG.items() if name != missing}
        body.pop("message" if path == "/tracepoints" else "", None)

        answer = api(f"POST {path}", body)

        assert is_error(answer, 400, "MISSING_FIELD")
        assert answer[1]["details"] == {"field": missing}

    @pytest.mark.parametrize("line", [True, "42", 0, -1, None, 1.5])
    def test_invalid_line(self, api: Api, path: str, line: object) -> None:
        assert is_error(api(f"POST {path}", {**HERE, "line": line}), 400, "INVALID_LINE")

    def test_invalid_line_without_code(self, api: Api, path: str) -> None:
        api.process.places["app.py"] = Refused(400, "INVALID_LINE", "No code on line 42; try 41 or 43")

        assert is_error(api(f"POST {path}", self.body(path)), 400, "INVALID_LINE")
        assert len(api.points) == 0

    def test_invalid_location(self, api: Api, path: str) -> None:
        api.process.places["app.py"] = Refused(400, "INVALID_LOCATION", "No function so is called")

        assert is_error(api(f"POST {path}", self.body(path)), 400, "INVALID_LOCATION")

    def test_ambiguous_file(self, api: Api, path: str) -> None:
        api.process.places["app.py"] = Refused(409, "AMBIGUOUS_FILE", "Two", {"candidates": ["a", "b"]})

        answer = api(f"POST {path}", self.body(path))

        assert is_error(answer, 409, "AMBIGUOUS_FILE")
        assert answer[1]["details"] == {"candidates": ["a", "b"]}

    def test_file_not_found(self, api: Api, path: str) -> None:
        api.process.places["app.py"] = Refused(404, "FILE_NOT_FOUND", "File not found: app.py")

        assert is_error(api(f"POST {path}", self.body(path)), 404, "FILE_NOT_FOUND")
        assert len(api.points) == 0

    def test_invalid_field(self, api: Api, path: str) -> None:
        assert is_error(api(f"POST {path}", self.body(path, tags="x")), 400, "INVALID_FIELD")

    def test_invalid_condition(self, api: Api, path: str) -> None:
        answer = api(f"POST {path}", self.body(path, condition="x ("))

        assert is_error(answer, 422, "INVALID_CONDITION")
        assert answer[1]["details"] == {"field": "condition", "column": 3}
        assert api.process.asked == []

    def test_invalid_hit_condition(self, api: Api, path: str) -> None:
        assert is_error(api(f"POST {path}", self.body(path, hitCondition="x")), 422, "INVALID_HIT_CONDITION")

    def test_duplicate_id(self, api: Api, path: str) -> None:
        api.made(id="probe-1")

        assert is_error(api(f"POST {path}", self.body(path, id="probe-1")), 409, "DUPLICATE_ID")

    def test_too_many_points(self, api: Api, path: str) -> None:
        for _ in range(MOST_POINTS):
            api.made()

        assert is_error(api(f"POST {path}", self.body(path)), 429, "TOO_MANY_POINTS")

    def test_body_too_large(self, api: Api, path: str) -> None:
        assert is_error(api(f"POST {path}", b" " * (MOST_BYTES + 1)), 413, "BODY_TOO_LARGE")

    def body(self, path: str, **more: Any) -> dict[str, Any]:
        return {**(LOG if path == "/logpoints" else HERE), **more}


@pytest.mark.parametrize("request_line", ["POST /tracepoints", "POST /logpoints", "PUT /points/a"])
def test_hidden_name(api: Api, request_line: str) -> None:
    class Reading:
        names = frozenset({"password"})

    api.made(id="a")
    api.points.grammar = Grammar(lambda text: Reading(), lambda text, _: text, str, lambda name: True)
    body = {"condition": "password"} if "PUT" in request_line else {**HERE, "condition": "password"}

    message = {"message": "m"} if "log" in request_line else {}
    assert is_error(api(request_line, {**body, **message}), 422, "HIDDEN_NAME")


def test_missing_field_of_a_logpoint(api: Api) -> None:
    answer = api("POST /logpoints", HERE)

    assert is_error(answer, 400, "MISSING_FIELD")
    assert answer[1]["details"] == {"field": "message"}


@pytest.mark.parametrize("name", ["message", "log_expression"])
def test_invalid_template(api: Api, name: str) -> None:
    answer = api("POST /logpoints", {**HERE, name: "user {{id}"})

    assert is_error(answer, 422, "INVALID_TEMPLATE")
    assert answer[1]["details"] == {"field": name, "column": 6}


# --- GET /points --------------------------------------------------------------------------------------------


def test_points_are_listed(api: Api) -> None:
    api.made(tags=["debug"])
    made = api.made("POST /logpoints")

    status, told = api("GET /points")

    assert (status, told["total"], told["points"][1]["id"]) == (200, 2, made["id"])
    first = told["points"][0]
    assert {"id", "type", "file", "line", "enabled", "hitCount", "tags"} <= set(first)
    assert (first["type"], first["tags"], first["hitCount"]) == (TRACEPOINT, ["debug"], 0)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "abc"), ("?", "abc"), ("?type=tracepoint", "ab"), ("?type=logpoint", "c"),
        ("?enabled=true", "ac"), ("?enabled=false", "b"), ("?tag=x", "ab"),
        ("?type=tracepoint&enabled=true", "a"),
        ("?tag=y&tag=z", "bc"), ("?tag=n%20o", ""), ("?tag=", ""), ("?type=tracepoint&type=logpoint", "abc"),
    ],
)  # fmt: skip
def test_points_are_listed_by_filters(api: Api, query: str, found: str) -> None:
    api.made(id="a", tags=["x"])
    api.made(id="b", tags=["x", "y"], enabled=False)
    api.made("POST /logpoints", id="c", tags=["z"])

    told = api(f"GET /points{query}")[1]

    assert "".join(point["id"] for point in told["points"]) == found
    assert told["total"] == len(found)


@pytest.mark.parametrize(
    "query", ["type=snapshot", "type=", "enabled=1", "enabled=", "typ=x", "a&" * 200 + "b=1"]
)
def test_invalid_query(api: Api, query: str) -> None:
    assert is_error(api(f"GET /points?{query}"), 400, "INVALID_QUERY")


# --- PUT /points/{id} ---------------------------------------------------------------------------------------


def test_a_point_is_read_and_changed(api: Api) -> None:
    point = api.made(condition="x")

    change = {"condition": "y > 1", "enabled": False, "tags": ["new-tag"], "snapshot": {"maxDepth": 1}}
    status, told = api(f"PUT /points/{point['id']}", change)

    assert status == 200
    assert {name: told[name] for name in ("condition", "enabled", "tags")} == {
        "condition": "y > 1",
        "enabled": False,
        "tags": ["new-tag"],
    }
    assert (told["snapshot"]["maxDepth"], told["file"], told["created"]) == (1, "app.py", point["created"])
    assert api(f"GET /points/{point['id']}") == (200, told)


def test_a_changed_condition_needs_no_new_place_and_loses_no_hit(api: Api) -> None:
    point_id = api.made(condition="x")["id"]
    before = api.points.find(point_id)
    before.standing.hit_count = 3
    asked = list(api.process.asked)

    told = api(f"PUT /points/{point_id}", {"condition": "y"})[1]

    assert (told["hitCount"], api.points.find(point_id).condition) == (3, ("read", "y"))
    assert api.points.find(point_id).standing is before.standing
    assert api.process.asked == asked


def test_a_logpoints_message_is_changed(api: Api) -> None:
    point = api.made("POST /logpoints")

    told = api(f"PUT /points/{point['id']}", {"message": "{x}", "rateLimit": {"burst": 3}})[1]

    assert (told["message"], told["rateLimit"]) == ("{x}", {"limitPerSecond": 10, "burst": 3})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "INVALID_JSON"),
        ([], 400, "INVALID_JSON"),
        ({"enabled": "no"}, 400, "INVALID_FIELD"),
        ({"line": 43}, 400, "INVALID_FIELD"),
        ({"condition": "("}, 422, "INVALID_CONDITION"),
        ({"hitCondition": "x"}, 422, "INVALID_HIT_CONDITION"),
        ({"message": "{"}, 422, "INVALID_TEMPLATE"),
    ],
)
def test_a_refused_change_is_told_and_changes_nothing(api: Api, body: Any, status: int, code: str) -> None:
    before = api.made("POST /logpoints", condition="x")

    assert is_error(api(f"PUT /points/{before['id']}", body), status, code)
    assert api(f"GET /points/{before['id']}")[1] == before
