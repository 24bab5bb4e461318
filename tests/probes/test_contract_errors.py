"""Every error of the documented tables, provoked on a program that runs: a test of its name for each code."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.probes import http, routes
from tests.probes.contract import LOG, SET, Answer, Api, starting
from tests.processes import DEADLINE

SECRET = "ghp_Zk3vQ9mT1xW7bN5cR2dL8fH4jP6sA0gE1uYi"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """When it is over, the program still runs, and is the same."""
    with starting(tmp_path) as api:
        yield api
        assert api.program.do("app.add(1, 2)") == "3"
        assert api.program.end() == 0
        assert api.program.told_errors == ""


def refused(answer: Answer, code: str, status: int = 0, **details: Any) -> None:
    """The envelope of every error."""
    wanted = status or routes.CODES[code][0]
    assert (answer.status, answer.code) == (wanted, code), answer.document
    assert answer.headers["content-type"] == "application/json"
    assert type(answer.document["error"]) is str
    assert answer.document.keys() <= {"error", "code", "details"}
    assert details.items() <= answer.document.get("details", {}).items()


def test_each_code_has_a_test_of_its_name():
    assert {f"test_{code.lower()}" for code in (*routes.CODES, *http.CODES)} <= globals().keys()


# --- HTTP itself --------------------------------------------------------------------------------------------


def raw(api: Api, data: bytes) -> bytes:
    """All that is answered to these bytes."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=DEADLINE) as sock:
        sock.sendall(data.replace(b"{host}", b"localhost:%d" % api.port))
        return b"".join(iter(lambda: sock.recv(65_536), b""))


@pytest.mark.parametrize(
    "data",
    [
        b"what is this?\r\n\r\n",
        b"GET health HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/2.0\r\nHost: {host}\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n",
        b"POST /tracepoints HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1\r\n\r\n",
        b"POST /points HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: {host}\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    ],
)
def test_invalid_request(api, data):
    answer = raw(api, data)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code": "INVALID_REQUEST"' in answer


def test_request_timeout(api):
    api.program.do("import devtrace.probes.connection as connection; connection.READING_S = 0.05")

    answer = raw(api, b"POST /tracepoints HTTP/1.1\r\nHost: {host}\r\n")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code": "REQUEST_TIMEOUT"' in answer


def test_length_required(api):
    answer = raw(api, b"POST /points HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b'"code": "LENGTH_REQUIRED"' in answer


def test_too_many_connections(api):
    here = ("127.0.0.1", api.port)
    held = [socket.create_connection(here, timeout=DEADLINE) for _ in range(17)]

    answer = held[-1].recv(65_536)  # without a word of ours

    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b'"code": "TOO_MANY_CONNECTIONS"' in answer
    assert api.program.ask("GET", "/health")[0] == 200  # the unix socket has room of its own
    for sock in held:
        sock.close()


# --- who may ask --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [{}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer no"}],
)
def test_unauthorized(api, given):
    refused(api.call("GET", "/points", token=None, headers=given), "UNAUTHORIZED")


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}]
)
def test_forbidden(api, headers):
    refused(api.call("GET", "/points", headers=headers), "FORBIDDEN")


# --- routes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/nothing", "/points/a/b", "/tracepoints/", "/points/../health"])
def test_route_not_found(api, path):
    refused(api.call("GET", path), "ROUTE_NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/tracepoints", "POST"),
        ("DELETE", "/health", "GET"),
        ("PATCH", "/points/a", "DELETE, GET, PUT"),
    ],
)
def test_method_not_allowed(api, method, path, allowed):
    answer = api.call(method, path)

    refused(answer, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/points/none"),
        ("PUT", "/points/none"),
        ("DELETE", "/points/none"),
        ("POST", "/points/none/enable"),
        ("POST", "/points/none/disable"),
    ],
)
def test_point_not_found(api, method, path):
    refused(api.call(method, path, {} if method == "PUT" else None), "POINT_NOT_FOUND", id="none")


# --- bodies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"[]", b"null", b"\xff\xfe", b'{"line": NaN}', b"[" * 60_000, b'{"file": "a", "line": 1e}'],
)
def test_invalid_json(api, body):
    refused(api.call("POST", "/tracepoints", body), "INVALID_JSON")


@pytest.mark.parametrize(
    ("path", "body", "missing"),
    [
        ("/tracepoints", {}, "file"),
        ("/tracepoints", {"file": "app.py"}, "line"),
        ("/tracepoints", {"line": 1}, "file"),
        ("/logpoints", SET, "message"),
        ("/tags/enable", {}, "tags"),
        ("/points/remove", {}, "id"),
    ],
)
def test_missing_field(api, path, body, missing):
    refused(api.call("POST", path, body), "MISSING_FIELD", field=missing)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tracepoints", {**SET, "tags": "a"}),
        ("/tracepoints", {**SET, "enabled": 1}),
        ("/tracepoints", {**SET, "rateLimit": {"burst": 0}}),
        ("/tracepoints", {**SET, "snapshot": {"maxDepth": 1e9}}),
        ("/tracepoints", {**SET, "message": "m"}),
        ("/tracepoints", {**SET, "ttlSeconds": True}),
        ("/tracepoints", {**SET, "id": "a/b"}),
        ("/logpoints", {**LOG, "message": ""}),
        ("/logpoints", {**LOG, "level": "LOUD"}),
        ("/tags/disable", {"tags": [1]}),
        ("/config", {"rateLimit": "fast"}),
    ],
)
def test_invalid_field(api, path, body):
    refused(api.call("POST", path, body), "INVALID_FIELD")


def test_what_cannot_be_changed_is_an_invalid_field(api):
    point = api.call("POST", "/tracepoints", SET).document["id"]

    refused(api.call("PUT", f"/points/{point}", {"line": 2}), "INVALID_FIELD", field="line")


@pytest.mark.parametrize("line", [True, "42", 0, -1, 1.5, None, 10**30, [3]])
def test_invalid_line(api, line):
    refused(api.call("POST", "/tracepoints", {**SET, "line": line}), "INVALID_LINE")


def test_a_line_without_code_is_an_invalid_line_and_better_ones_are_told(api):
    refused(api.call("POST", "/tracepoints", {"file": "app.py", "line": 5}), "INVALID_LINE", nearest=[4, 6])


@pytest.mark.parametrize("location", ["app", "app.py:", "app.py:x y", "app:add@nowhere"])
def test_invalid_location(api, location):
    refused(api.call("POST", "/tracepoints", {"location": location}), "INVALID_LOCATION")


@pytest.mark.parametrize("query", ["type=none", "enabled=1", "kind=logpoint", "type="])
def test_invalid_query(api, query):
    refused(api.call("GET", f"/points?{query}"), "INVALID_QUERY")


def test_body_too_large(api):
    body = b'{"file": "' + b"a" * 70_000 + b'"}'

    refused(api.call("POST", "/tracepoints", body), "BODY_TOO_LARGE", most=65_536)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_unsupported_media_type(api, kind):
    refused(api.call("POST", "/tracepoints", SET, headers={"Content-Type": kind}), "UNSUPPORTED_MEDIA_TYPE")


# --- places -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["nowhere.py", "/nowhere/app.py", "../app.py/app.py"])
def test_file_not_found(api, file):
    refused(api.call("POST", "/tracepoints", {"file": file, "line": 1}), "FILE_NOT_FOUND")


def test_function_not_found(api):
    refused(api.call("POST", "/tracepoints", {"location": "app:nothing"}), "FUNCTION_NOT_FOUND")


def test_ambiguous_file(api):
    for name in ("one", "two"):
        (api.program.home / name).mkdir()
        (api.program.home / name / "models.py").write_text("def f():\n    return 1\n")
        api.program.do(f"import {name}.models")

    answer = api.call("POST", "/tracepoints", {"file": "models.py", "line": 2})

    refused(answer, "AMBIGUOUS_FILE")
    assert answer.document["details"]["candidates"] == [
        str(api.program.home / name / "models.py") for name in ("one", "two")
    ]


# --- expressions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"condition": "x >"},
        {"condition": "x.__class__"},
        {"condition": "open('f')"},
        {"condition": "[y for y in x]"},
        {"condition": "x := 1"},
        {"condition": "x matches '(a+)+$'"},
        {"watch": ["x +"]},
    ],
)
def test_invalid_condition(api, body):
    refused(api.call("POST", "/tracepoints", {**SET, **body}), "INVALID_CONDITION")


@pytest.mark.parametrize("message", ["{", "{}", "{x", "}", "{x y}", "{open('f')}"])
def test_invalid_template(api, message):
    refused(api.call("POST", "/logpoints", {**SET, "message": message}), "INVALID_TEMPLATE")


@pytest.mark.parametrize("hits", ["%0", "often", "=3", "> x"])
def test_invalid_hit_condition(api, hits):
    refused(api.call("POST", "/tracepoints", {**SET, "hitCondition": hits}), "INVALID_HIT_CONDITION")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tracepoints", {**SET, "condition": "password == 'a'"}),
        ("/tracepoints", {**SET, "watch": ["x.api_key"]}),
        ("/logpoints", {**SET, "message": "{x['token']}"}),
    ],
)
def test_hidden_name(api, path, body):
    refused(api.call("POST", path, body), "HIDDEN_NAME")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tracepoints", {**SET, "condition": f"x == '{SECRET}'"}),
        ("/tracepoints", {**SET, "tags": [SECRET]}),
        ("/logpoints", {**SET, "message": SECRET}),
    ],
)
def test_hidden_value(api, path, body):
    answer = api.call("POST", path, body)

    refused(answer, "HIDDEN_VALUE")
    assert SECRET.encode() not in answer.body
    assert not (api.program.store.dir / "probes.json").exists()


# --- how many -----------------------------------------------------------------------------------------------


def test_duplicate_id(api):
    assert api.call("POST", "/tracepoints", {**SET, "id": "mine"}).status == 201

    refused(api.call("POST", "/tracepoints", {**SET, "id": "mine"}), "DUPLICATE_ID", id="mine")


def test_too_many_points(api):
    assert {api.call("POST", "/tracepoints", SET).status for _ in range(100)} == {201}

    refused(api.call("POST", "/tracepoints", SET), "TOO_MANY_POINTS", most=100)


# --- ours ---------------------------------------------------------------------------------------------------


def test_internal_error(api):
    """A bug, as it would come: the program does not notice."""
    api.program.do("import devtrace.probes.agent as agent; agent.current().points.find = None")

    refused(api.call("GET", "/points/a"), "INTERNAL_ERROR")
    assert api.call("GET", "/health").document["failures"] == 1
