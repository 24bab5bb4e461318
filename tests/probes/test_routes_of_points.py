"""Switches, removal, other names of routes, and what every request is answered."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest

from devtrace.probes.fields import BY_NAME, TOLD
from devtrace.probes.routes import CODES, EVERYWHERE, OF_BODIES, ROUTES, find_route
from tests.probes.control import LOG, Api, is_error
from tests.probes.grammars import HERE


@pytest.fixture
def api() -> Api:
    return Api()


# --- switches and removal -----------------------------------------------------------------------------------


def test_a_point_is_disabled_and_enabled(api: Api) -> None:
    point_id = api.made()["id"]

    assert api(f"POST /points/{point_id}/disable") == (
        200,
        {"id": point_id, "enabled": False, "message": "Point disabled"},
    )
    assert not api.points.find(point_id).enabled
    assert api(f"POST /points/{point_id}/enable") == (
        200,
        {"id": point_id, "enabled": True, "message": "Point enabled"},
    )
    assert api.points.find(point_id).enabled


def test_a_switch_takes_any_body_and_reads_none(api: Api) -> None:
    assert api(f"POST /points/{api.made()['id']}/disable", b"{{{")[0] == 200


def test_a_point_is_removed_without_a_word(api: Api) -> None:
    point_id = api.made()["id"]

    assert api(f"DELETE /points/{point_id}") == (204, None)
    assert is_error(api(f"DELETE /points/{point_id}"), 404, "POINT_NOT_FOUND")


def test_points_are_switched_by_tag_and_counted(api: Api) -> None:
    api.made(tags=["feature-x"])
    api.made("POST /logpoints", tags=["feature-x", "other"])
    api.made(tags=["else"])

    tags = {"tags": ["feature-x"]}
    assert api("POST /tags/disable", tags) == (200, {"disabled": 2, "message": "2 points disabled"})
    assert api("GET /points?enabled=false")[1]["total"] == 2
    assert api("POST /tags/enable", tags) == (200, {"enabled": 2, "message": "2 points enabled"})
    assert api("POST /tags/enable", {"tags": ["none"]}) == (
        200,
        {"enabled": 0, "message": "0 points enabled"},
    )


@pytest.mark.parametrize("path", ["/tags/enable", "/tags/disable"])
@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", "INVALID_JSON"), ({}, "MISSING_FIELD"), ({"tags": "x"}, "INVALID_FIELD"),
     ({"tags": [1]}, "INVALID_FIELD"), ({"tags": None}, "INVALID_FIELD")],
)  # fmt: skip
def test_tags_that_are_none_are_refused(api: Api, path: str, body: Any, code: str) -> None:
    assert is_error(api(f"POST {path}", body), 400, code)


@pytest.mark.parametrize(
    "request_line",
    ["GET /points/x", "PUT /points/x", "POST /points/x/enable", "POST /points/x/disable", "DELETE /points/x",
     "DELETE /points/enable"],
)  # fmt: skip
def test_point_not_found(api: Api, request_line: str) -> None:
    assert is_error(api(request_line, {}), 404, "POINT_NOT_FOUND")


# --- other names of routes ----------------------------------------------------------------------------------


def test_a_point_is_switched_and_removed_by_its_id_in_the_body(api: Api) -> None:
    point_id = api.made()["id"]

    assert api("POST /points/disable", {"id": point_id}) == (200, {"ok": True})
    assert not api.points.find(point_id).enabled
    assert api("POST /points/enable", {"id": point_id}) == (200, {"ok": True})
    assert api.points.find(point_id).enabled
    assert api("POST /points/remove", {"id": point_id}) == (200, {"ok": True})
    assert len(api.points) == 0


@pytest.mark.parametrize("path", ["/points/enable", "/points/disable", "/points/remove"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "INVALID_JSON"),
        ({}, 400, "MISSING_FIELD"),
        ({"id": 7}, 400, "INVALID_FIELD"),
        ({"id": "nobody"}, 404, "POINT_NOT_FOUND"),
    ],
)
def test_an_id_in_the_body_that_is_none_is_refused(
    api: Api, path: str, body: Any, status: int, code: str
) -> None:
    assert is_error(api(f"POST {path}", body), status, code)


def test_points_to_come_are_configured(api: Api) -> None:
    body = {"rateLimit": {"burst": 4}, "ttlSeconds": 60, "colour": 1}

    assert api("POST /config", body) == (200, {"ok": True, "ignored": ["colour"]})
    assert api.made()["rateLimit"] == {"limitPerSecond": 10, "burst": 4}
    assert api("POST /config", {}) == (200, {"ok": True})


def test_a_configuration_that_is_none_is_refused(api: Api) -> None:
    assert is_error(api("POST /config", {"rateLimit": {"burst": 0}}), 400, "INVALID_FIELD")
    assert is_error(api("POST /config", []), 400, "INVALID_JSON")


# --- every request ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "", "/point", "/points/", "/points/a/b", "/points//enable", "/health/", "//health", "/é"]
)
def test_route_not_found(api: Api, path: str) -> None:
    assert is_error(api(f"GET {path}"), 404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize(
    ("request_line", "allowed"),
    [
        ("POST /health", ["GET"]),
        ("DELETE /points", ["GET"]),
        ("GET /tracepoints", ["POST"]),
        ("PATCH /points/a", ["DELETE", "GET", "PUT"]),
        ("POST /points/enablee", ["DELETE", "GET", "PUT"]),
        ("GET /tags/enable", ["POST"]),
        ("get /health", ["GET"]),
    ],
)
def test_method_not_allowed(api: Api, request_line: str, allowed: list[str]) -> None:
    answer = api(request_line)

    assert is_error(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer[1]["details"] == {"allowed": allowed}


def test_every_route_is_found_by_its_own_path() -> None:
    for route in ROUTES:
        assert find_route(route.method, route.path.replace("{id}", "a1"))[0] is route


def test_every_code_stands_in_the_table_and_belongs_to_a_route() -> None:
    of_routes = {code for route in ROUTES for code in (*route.errors, *OF_BODIES[route.body])}

    assert of_routes | set(EVERYWHERE) == set(CODES)
    documented = {400, 401, 403, 404, 405, 408, 409, 411, 413, 415, 422, 429, 500}
    assert {status for status, _ in CODES.values()} == documented


def test_every_documented_route_is_there() -> None:
    assert {f"{route.method} {route.path}" for route in ROUTES} >= {
        "GET /health",
        "GET /points",
        "POST /tracepoints",
        "POST /logpoints",
        "PUT /points/{id}",
        "POST /points/{id}/enable",
        "POST /points/{id}/disable",
        "DELETE /points/{id}",
        "POST /tags/enable",
        "POST /tags/disable",
        "POST /points/enable",
        "POST /points/disable",
        "POST /points/remove",
        "POST /config",
    }


VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    1.5,
    10**30,
    "",
    "x",
    "(",
    "{",
    "\x00",
    "\ud800",
    [],
    [[]],
    ["x"],
    {},
]
NESTED: list[Any] = [{"burst": 1}, {"maxDepth": "x"}, {"": None}, [None], {"limitPerSecond": 1e308}]


def test_no_body_is_a_bug_of_ours(api: Api) -> None:
    names = [*BY_NAME, *TOLD, "tags", "x"]
    requests = [f"{route.method} {route.path.replace('{id}', 'a')}" for route in ROUTES if route.body]
    dice = random.Random(8)
    answers = set()
    for _ in range(4000):
        body = {name: dice.choice(VALUES + NESTED) for name in dice.sample(names, dice.randrange(4))}
        whole = {**(LOG if dice.random() < 0.5 else HERE), "id": "a", **body}
        answers.add(api(dice.choice(requests), whole if dice.random() < 0.8 else body)[0])

    assert answers == {200, 201, 400, 404, 409, 422}
    assert api.routes.failures == 0


def test_no_module_is_imported_that_a_guest_must_not_bring_along() -> None:
    code = "import sys; old = {*sys.modules}; import devtrace.probes.routes; print(*{*sys.modules} - old)"
    brought = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())

    assert "devtrace.probes.points" in brought
    assert not brought & {"dataclasses", "inspect", "logging", "typing", "asyncio", "urllib.parse", "uuid",
                          "http", "http.server", "socket", "datetime", "tomllib"}  # fmt: skip
