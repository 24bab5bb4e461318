"""The documented requests over HTTP to a program that has called `start`, and the events that come of them.

Each error code is provoked in test_contract_errors.py.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtrace.probes import wire
from tests.probes.contract import LOG, SET, Api, events, starting
from tests.probes.running import until
from tests.probes.validator import faults, undeclared
from tests.processes import DEADLINE


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with starting(tmp_path) as api:
        yield api


# --- requests -----------------------------------------------------------------------------------------------


def test_health_tells_how_the_agent_is(api):
    answer = api.call("GET", "/health", token=None)

    told = answer.document
    assert answer.status == 200
    assert told["status"] == "healthy"
    assert told["agent"]["name"] == "tracepointdebug"
    assert (told["agent"]["runtime"], told["agent"]["runtimeVersion"]) == ("python", sys.version.split()[0])
    assert told["features"] == {
        "tracepoints": True,
        "logpoints": True,
        "conditions": True,
        "rateLimit": True,
        "freeThreaded": False,
    }
    assert told["broker"] == {"connected": False, "url": None}
    assert told["eventSink"]["connected"] is False
    assert type(told["uptime"]) is int


def test_a_tracepoint_is_created(api):
    answer = api.call("POST", "/tracepoints", {**SET, "condition": "x > 1", "tags": ["a"]})

    point = answer.document
    assert (answer.status, answer.headers["content-type"]) == (201, "application/json")
    assert (point["type"], point["line"], point["condition"], point["tags"]) == (
        "tracepoint",
        SET["line"],
        "x > 1",
        ["a"],
    )
    assert point["file"].endswith("app.py")
    assert point["enabled"] is True
    assert point["rateLimit"] == {"limitPerSecond": 10, "burst": 1}
    assert point["snapshot"] == {
        "maxDepth": 3,
        "maxProperties": 100,
        "maxStringLength": 1024,
        "maxFrames": 20,
    }
    assert point["created"].endswith("Z")
    assert point["status"] == "installed"


def test_a_logpoint_is_created(api):
    answer = api.call("POST", "/logpoints", LOG)

    assert answer.status == 201
    assert answer.document["type"] == "logpoint"
    assert answer.document["message"] == LOG["message"]


def test_points_are_listed_and_chosen(api):
    trace = api.call("POST", "/tracepoints", {**SET, "tags": ["a", "b"]}).document
    log = api.call("POST", "/logpoints", {**LOG, "tags": ["c"], "enabled": False}).document

    def listed(query: str) -> list[str]:
        answer = api.call("GET", f"/points{query}")
        assert answer.status == 200
        assert answer.document["total"] == len(answer.document["points"])
        return [point["id"] for point in answer.document["points"]]

    assert listed("") == [trace["id"], log["id"]]
    assert listed("?type=tracepoint") == [trace["id"]]
    assert listed("?enabled=false") == [log["id"]]
    assert listed("?tag=b&tag=c") == [trace["id"], log["id"]]
    assert listed("?tag=none") == []
    (first, _) = api.call("GET", "/points").document["points"]
    assert {"id", "type", "file", "line", "enabled", "hitCount", "tags"} <= first.keys()


def test_a_point_is_changed_in_part(api):
    point = api.call("POST", "/logpoints", {**LOG, "tags": ["a"]}).document

    answer = api.call("PUT", f"/points/{point['id']}", {"condition": "x > 2", "rateLimit": {"burst": 4}})

    changed = answer.document
    assert answer.status == 200
    assert (changed["condition"], changed["tags"], changed["message"]) == ("x > 2", ["a"], LOG["message"])
    assert changed["rateLimit"] == {"limitPerSecond": 10, "burst": 4}
    assert api.call("PUT", f"/points/{point['id']}", {"condition": None}).document["condition"] is None


def test_a_point_is_disabled_and_enabled(api):
    point = api.call("POST", "/tracepoints", SET).document["id"]

    assert api.call("POST", f"/points/{point}/disable").all == (
        200,
        {"id": point, "enabled": False, "message": "Point disabled"},
    )
    assert api.call("POST", f"/points/{point}/enable").all == (
        200,
        {"id": point, "enabled": True, "message": "Point enabled"},
    )


def test_a_point_is_removed_and_nothing_is_answered(api):
    point = api.call("POST", "/tracepoints", SET).document["id"]

    answer = api.call("DELETE", f"/points/{point}")

    assert (answer.status, answer.body) == (204, b"")
    assert "content-type" not in answer.headers
    assert api.call("GET", f"/points/{point}").status == 404


def test_points_are_switched_by_their_tags(api):
    for tags in (["a"], ["a", "b"], ["c"]):
        api.call("POST", "/tracepoints", {**SET, "tags": tags})

    assert api.call("POST", "/tags/disable", {"tags": ["a"]}).all == (
        200,
        {"disabled": 2, "message": "2 points disabled"},
    )
    assert api.call("POST", "/tags/enable", {"tags": ["b", "c"]}).all == (
        200,
        {"enabled": 2, "message": "2 points enabled"},
    )


def test_other_names_of_routes_are_known(api):
    point = api.call("POST", "/tracepoints", SET).document["id"]

    for verb in ("disable", "enable", "remove"):
        assert api.call("POST", f"/points/{verb}", {"id": point}).all == (200, {"ok": True})
    assert api.call("POST", "/points/remove", {"id": point}).status == 404
    assert api.call("POST", "/config", {"rateLimit": {"burst": 3}}).all == (200, {"ok": True})
    assert api.call("POST", "/tracepoints", SET).document["rateLimit"]["burst"] == 3


def test_other_names_of_fields_are_known(api):
    trace = api.call(
        "POST",
        "/tracepoints",
        {**SET, "sample": {"limitPerSecond": 5, "burst": 2}, "snapshot": {"maxProps": 7}},
    ).document
    log = api.call(
        "POST",
        "/logpoints",
        {**SET, "log_expression": "x={{x}}, y={{y}}", "level": "INFO", "stdout_enabled": False,
         "expire_hit_count": 1, "expire_duration_ms": 60_000, "file_hash": None},
    ).document  # fmt: skip
    api.program.do("app.add(1, 2)")

    assert trace["rateLimit"] == {"limitPerSecond": 5, "burst": 2}
    assert trace["snapshot"]["maxProperties"] == 7
    assert log["maxHits"] == 1
    assert api.program.waits_for("probe.hit.logpoint")[0]["message"] == "x=1, y=2"


def test_a_file_that_is_not_imported_is_pending(api):
    (api.program.home / "later.py").write_text("x = 1\n")

    answer = api.call("POST", "/tracepoints", {"file": "later.py", "line": 1})

    assert (answer.status, answer.document["status"]) == (201, "pending")


def test_the_answer_to_raw_bytes_is_plain_http(api):
    with socket.create_connection(("127.0.0.1", api.port), timeout=DEADLINE) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n" % api.port)
        answer = b"".join(iter(lambda: raw.recv(65_536), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert json.loads(body)["status"] == "healthy"
    assert b"Access-Control" not in head


# --- events -------------------------------------------------------------------------------------------------


def test_every_event_is_a_documented_one(api):
    program = api.program
    (program.home / "later.py").write_text("x = 1\n")
    api.call("POST", "/tracepoints", {**SET, "condition": "x < 9", "watch": ["x + y"], "tags": ["t"]})
    api.call("POST", "/logpoints", {**LOG, "message": "{x} {x.none}"})
    api.call("POST", "/tracepoints", {**SET, "condition": "nowhere > 1"})
    api.call("POST", "/tracepoints", {"location": "app:fails@exit"})
    api.call("POST", "/tracepoints", {**SET, "maxHits": 1})
    api.call("POST", "/tracepoints", {"file": "later.py", "line": 1})
    program.do("[app.add(1, 2) for _ in range(3)]")
    program.do("app.guarded()")
    program.waits_for("probe.status.expired")
    switched = api.call("GET", "/points?tag=t").document["points"][0]["id"]
    api.call("POST", f"/points/{switched}/disable")
    api.call("POST", f"/points/{switched}/enable")
    api.call("PUT", f"/points/{switched}", {"condition": None})
    api.call("DELETE", f"/points/{switched}")
    program.end()

    told = events(program)
    assert {one["name"] for one in told} == {
        "agent.status.started",
        "agent.status.stopped",
        "probe.error.condition",
        "probe.error.rateLimit",
        "probe.hit.logpoint",
        "probe.hit.snapshot",
        *(f"probe.status.{status}" for status in wire.STATUSES if status != "error"),
    }
    assert [found for one in told for found in faults(one)] == []
    assert [found for one in told for found in undeclared(one)] == []
    assert len({one["id"] for one in told}) == len(told)


def test_a_failed_probe_is_a_documented_event(api):
    api.call(
        "POST",
        "/logpoints",
        {**LOG, "cpuPercent": 0.01, "rateLimit": {"limitPerSecond": 100_000, "burst": 1000}},
    )
    api.program.do("[app.add(1, 2) for _ in range(1000)]")

    until(lambda: api.program.told("probe.status.error"))

    api.program.end()
    told = events(api.program)
    assert "CPU_BUDGET" in {one["payload"].get("code") for one in told}
    assert [found for one in told for found in [*faults(one), *undeclared(one)]] == []


def test_the_real_engine_is_told_as_it_starts(api):
    api.program.end()

    (started,) = api.program.told("agent.status.started")
    (stopped,) = api.program.told("agent.status.stopped")
    assert started["engine"] == ("monitoring" if sys.version_info >= (3, 12) else "pytrace")
    assert started["features"]["tracepoints"] is True
    assert stopped["uptime"] >= 0


# --- who may ask --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "", "wrong" * 10])
def test_without_the_token_only_health_answers(api, token):
    assert api.call("GET", "/health", token=token).status == 200
    for method, path in (("GET", "/points"), ("POST", "/tracepoints"), ("DELETE", "/points/x")):
        answer = api.call(method, path, token=token)
        assert (answer.status, answer.document["code"]) == (401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_token_is_the_owner_s(api):
    path = api.program.store.run / "control.token"

    assert oct(path.stat().st_mode)[-3:] == "600"
    assert len(path.read_text().strip()) >= 32


def test_on_request_no_token_is_needed(tmp_path):
    with starting(tmp_path, DEVTRACE_PROBE_INSECURE="1") as api:
        assert api.call("POST", "/tracepoints", SET, token=None).status == 201


def test_a_form_of_a_page_is_refused(api):
    """CSRF: what a browser sends without asking first."""
    plain = {"Content-Type": "text/plain"}
    for headers in ({**plain, "Origin": "http://evil.example"}, {**plain, "Sec-Fetch-Site": "cross-site"}):
        answer = api.call("POST", "/tracepoints", SET, token=api.token, headers=headers)
        assert (answer.status, answer.document["code"]) == (403, "FORBIDDEN")
    assert api.call("POST", "/tracepoints", SET, headers=plain).status == 415
    assert api.call("OPTIONS", "/tracepoints", headers={"Origin": "http://evil.example"}).status == 403
    assert api.call("GET", "/points").document["total"] == 0


def test_neither_is_a_form_heard_where_no_token_is_needed(tmp_path):
    with starting(tmp_path, DEVTRACE_PROBE_INSECURE="1") as api:
        headers = {"Content-Type": "text/plain", "Origin": "http://evil.example"}

        assert api.call("POST", "/tracepoints", SET, token=None, headers=headers).status == 403
        assert api.call("GET", "/points", token=None, headers={"Host": "evil.example"}).status == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "localhost:1", "127.0.0.1.evil.example"]
)
def test_a_foreign_name_of_ours_is_refused(api, host):
    """DNS rebinding: the page's own name leads to this machine."""
    headers = {"Host": host.format(port=api.port)}

    for path in ("/health", "/points"):
        assert api.call("GET", path, headers=headers).status == 403


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
def test_curl_lines_work_as_they_are_typed(tmp_path):
    with starting(tmp_path) as api:
        here = f"localhost:{api.port}"
        lines = {
            f"curl -s {here}/health": '"status": "healthy"',
            'curl -s -H "Authorization: Bearer $(cat .devtrace/run/control.token)"'
            " -H 'Content-Type: application/json'"
            f""" -d '{{"file":"app.py","line":3}}' {here}/tracepoints""": '"status": "installed"',
        }

        told = {
            line: subprocess.run(
                line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE
            )
            for line in lines
        }

    for line, expected in lines.items():
        assert expected in told[line].stdout, told[line]
