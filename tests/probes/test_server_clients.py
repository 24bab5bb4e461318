"""Clients that people have, against the server in a thread: http.client, urllib, curl."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.probes.guard import Guard, read_or_make_token
from devtrace.probes.routes import MOST_BYTES
from devtrace.probes.server import Server
from tests.probes.control import Api
from tests.probes.serving import TOKEN, running
from tests.processes import DEADLINE

JSON = {"Content-Type": "application/json"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Live:
    """The real routes behind a real server: a port, a path, and the points."""

    def __init__(self, folder: Path):
        self.api = Api()
        self.path = str(folder / "s")
        self.server = Server(
            lambda method, path, query, body, _: self.api.routes.answer(method, path, query, body),
            Guard(TOKEN),
        )
        self.server.listen_unix(self.path)
        self.port = self.server.listen_tcp("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.port}"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = Live(tmp_path)
    with running(made.server):
        yield made


# --- http.client --------------------------------------------------------------------------------------------


def test_http_client_keeps_its_connection(live: Live) -> None:
    client = http.client.HTTPConnection("127.0.0.1", live.port, timeout=DEADLINE)
    body = json.dumps({"file": "app.py", "line": 42})
    client.request("POST", "/tracepoints", body, JSON | BEARER)
    answer = client.getresponse()
    point = json.loads(answer.read())
    connection = client.sock
    client.request("GET", "/points", headers=BEARER)
    listed = json.loads(client.getresponse().read())
    client.request("DELETE", f"/points/{point['id']}", headers=BEARER)
    removed = client.getresponse()

    assert (answer.status, listed["total"]) == (201, 1)
    assert (removed.status, removed.read(), removed.getheader("Content-Type")) == (204, b"", None)
    assert client.sock is connection
    client.close()


def test_http_client_over_the_unix_socket(live: Live) -> None:
    client = http.client.HTTPConnection("localhost", timeout=DEADLINE)
    client.sock = socket.socket(socket.AF_UNIX)
    client.sock.settimeout(DEADLINE)
    client.sock.connect(live.path)
    client.request("POST", "/logpoints", json.dumps({"file": "a.py", "line": 1, "message": "m"}), JSON)

    assert client.getresponse().status == 201
    client.close()


def test_http_client_hears_why_a_long_body_is_refused(live: Live) -> None:
    client = http.client.HTTPConnection("127.0.0.1", live.port, timeout=DEADLINE)
    client.request("POST", "/tracepoints", b"a" * (MOST_BYTES * 20), JSON | BEARER)
    answer = client.getresponse()

    assert (answer.status, json.loads(answer.read())["code"]) == (413, "BODY_TOO_LARGE")
    client.close()


def test_http_client_is_told_to_send_no_chunks(live: Live) -> None:
    client = http.client.HTTPConnection("127.0.0.1", live.port, timeout=DEADLINE)
    client.request("POST", "/tracepoints", iter([b"{", b"}"]), JSON | BEARER, encode_chunked=True)
    answer = client.getresponse()

    assert (answer.status, json.loads(answer.read())["code"]) == (411, "LENGTH_REQUIRED")
    client.close()


def test_many_clients_at_once_are_answered(live: Live) -> None:
    failed: list[object] = []

    def ask() -> None:
        client = http.client.HTTPConnection("127.0.0.1", live.port, timeout=DEADLINE)
        try:
            for _ in range(20):
                client.request("GET", "/health")
                assert json.loads(client.getresponse().read())["status"] == "healthy"
        except Exception as error:
            failed.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert failed == []


# --- urllib -------------------------------------------------------------------------------------------------


def opened(live: Live, path: str, **words: Any) -> tuple[int, Any]:
    asked = urllib.request.Request(live.url + path, **words)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=DEADLINE) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_urllib_sets_a_point(live: Live) -> None:
    body = json.dumps({"file": "app.py", "line": 42}).encode()
    status, point = opened(live, "/tracepoints", data=body, headers=JSON | BEARER)

    assert (status, point["line"]) == (201, 42)
    status, told = opened(live, f"/points/{point['id']}/disable", method="POST", headers=BEARER)
    assert (status, told["enabled"]) == (200, False)


def test_urllib_hears_every_error_in_the_envelope(live: Live) -> None:
    for path, words, status, code in [
        ("/points", {}, 401, "UNAUTHORIZED"),
        ("/points", {"headers": BEARER | {"Origin": "http://evil.example"}}, 403, "FORBIDDEN"),
        ("/points/none", {"headers": BEARER}, 404, "POINT_NOT_FOUND"),
        ("/none", {"headers": BEARER}, 404, "ROUTE_NOT_FOUND"),
        ("/tracepoints", {"headers": BEARER, "data": b"{}"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("/tracepoints", {"headers": BEARER | JSON, "data": b"{"}, 400, "INVALID_JSON"),
    ]:
        given, told = opened(live, path, **words)  # type: ignore[arg-type]  # a table
        assert (given, told["code"]) == (status, code)
        assert set(told) <= {"error", "code", "details"}


# --- curl ---------------------------------------------------------------------------------------------------


@pytest.fixture
def curl(live: Live, needs: Callable[..., None]) -> Callable[..., tuple[int, str]]:
    """curl with some words -> the status and what was answered."""
    needs("curl")

    def run(*words: str) -> tuple[int, str]:
        asked = ["curl", "-sS", "--noproxy", "*", "--max-time", "20", "-w", "\n%{http_code}", *words]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert done.returncode == 0, done.stderr
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    return run


def test_curl_over_tcp_with_the_token_from_its_file(
    live: Live, curl: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    live.server.guard = Guard(read_or_make_token(str(tmp_path / "control.token")))
    held = f"Authorization: Bearer {(tmp_path / 'control.token').read_text().strip()}"
    body = '{"file": "app.py", "line": 42}'
    words = ["-H", held, "-H", "Content-Type: application/json", "-d", body]

    assert curl(f"{live.url}/health")[0] == 200
    assert curl(f"{live.url}/points")[0] == 401
    status, point = curl(*words, f"{live.url}/tracepoints")
    assert status == 201
    point_id = json.loads(point)["id"]
    assert curl("-X", "POST", "-H", held, f"{live.url}/points/{point_id}/disable")[0] == 200
    assert curl("-X", "DELETE", "-H", held, f"{live.url}/points/{point_id}") == (204, "")


def test_curl_over_the_unix_socket(live: Live, curl: Callable[..., tuple[int, str]]) -> None:
    over = ["--unix-socket", live.path]

    assert curl(*over, "http://localhost/points")[0] == 200
    assert curl(*over, "-I", "http://localhost/points")[0] == 200
    assert curl(*over, "-0", "http://localhost/points")[0] == 200
    assert curl(*over, "-d", "{}", "http://localhost/tracepoints")[0] == 415
    assert curl(*over, "--json", "{}", "http://localhost/tracepoints")[0] == 400


def test_curl_by_the_name_of_this_machine(live: Live, curl: Callable[..., tuple[int, str]]) -> None:
    evil = f"evil.example:{live.port}"

    assert curl(f"http://localhost:{live.port}/health")[0] == 200
    assert curl("--http2", f"{live.url}/health")[0] == 200
    assert curl("--connect-to", f"{evil}:127.0.0.1:{live.port}", f"http://{evil}/health")[0] == 403


def test_curl_waits_to_be_told_to_continue(live: Live, curl: Callable[..., tuple[int, str]]) -> None:
    over = ["--unix-socket", live.path, "--expect100-timeout", "15", "-H", "Expect: 100-continue"]
    kind = ["-H", "Content-Type: application/json"]

    assert curl(*over, *kind, "-d", '{"file": "a.py", "line": 1}', "http://localhost/tracepoints")[0] == 201
    assert curl(*over, *kind, "-d", "a" * (MOST_BYTES + 1), "http://localhost/tracepoints")[0] == 413


# --- another user -------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_who_reaches_the_socket_is_closed_without_a_word(live: Live) -> None:
    # Through the descriptor of a folder, for those above it are closed to others.
    folder = os.open(os.path.dirname(live.path), os.O_RDONLY)
    os.chmod(os.path.dirname(live.path), 0o755)
    os.chmod(live.path, 0o666)
    os.set_inheritable(folder, True)
    program = (
        "import os, socket, sys; os.fchdir(int(sys.argv[1])); os.setuid(65534);"
        "c = socket.socket(socket.AF_UNIX); c.settimeout(30); c.connect('s');"
        "c.send(b'GET /points HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n');"
        "sys.exit(len(c.recv(1)))"
    )
    words = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(words, pass_fds=[folder], capture_output=True, timeout=DEADLINE, check=False)
    os.close(folder)

    is_reset = b"ConnectionResetError" in done.stderr or b"BrokenPipeError" in done.stderr
    assert done.returncode == 0 or is_reset, done.stderr
