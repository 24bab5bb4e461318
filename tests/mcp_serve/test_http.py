"""The server over HTTP: for who has the token, on this machine, and for no web page."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from devtrace.errors import DevTraceError
from devtrace.services.mcp_server.http import TOKEN_VARIABLE, token_of
from tests.mcp_serve.asking import Alive
from tests.mcp_serve.serving import CLIENT, COMMAND, LEGACY, MODERN, meta
from tests.processes import DEADLINE, environment

TOKEN = "a-token-of-some-more-than-32-characters"
JSON_TYPES = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]


class Site(NamedTuple):
    """A server that listens."""

    port: int
    token: str
    said: str  # on stderr, up to where it listens and how to reach it
    process: subprocess.Popen[str]

    @property
    def host(self) -> tuple[str, str]:
        return "Host", f"127.0.0.1:{self.port}"

    @property
    def bearer(self) -> tuple[str, str]:
        return "Authorization", f"Bearer {self.token}"

    def ask(self, headers, body=b"{}", path="/mcp", method="POST"):
        """Status, headers and body of one request with these headers and no others."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in [*headers, ("Content-Length", str(len(body)))]:
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def call(self, tool, arguments=None, more=()):
        """The result of a tool, asked in the modern era."""
        params = {"name": tool, "arguments": arguments or {}, **meta()}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        headers = [self.host, self.bearer, *JSON_TYPES, ("MCP-Protocol-Version", MODERN), *more]
        headers += [("Mcp-Method", "tools/call"), ("Mcp-Name", tool)]
        status, _, answer = self.ask(headers, body)
        assert status == 200, answer
        return json.loads(answer)["result"]


@contextmanager
def listening(root: Path, *words: str, **more: str) -> Iterator[Site]:
    with subprocess.Popen(
        [*COMMAND, "--http", *words], cwd=root, env=environment(**more), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            said = process.stderr.readline()
            port = int(re.search(r"http://127\.0\.0\.1:(\d+)/mcp", said)[1])
            kept = root / ".devtrace" / "run" / "mcp-token"
            token = more.get(TOKEN_VARIABLE) or (kept.read_text().strip() if kept.exists() else "")
            yield Site(port, token, said, process)
        finally:
            process.terminate()
            process.wait(DEADLINE)
            process.kill()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    made = Alive(tmp_path_factory.mktemp("repo"))
    made.session(title="the session")
    made.command("make", 1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(recorded):
    with listening(recorded.workspace.root, **{TOKEN_VARIABLE: TOKEN}) as one:
        yield one


# --- who may ask --------------------------------------------------------------------------------------------


def test_who_has_the_token_is_answered_in_both_eras(site):
    assert site.call("list_sessions")["structuredContent"]["sessions"][0]["title"] == "the session"

    greeting = {"protocolVersion": LEGACY[-1], "capabilities": {}, "clientInfo": CLIENT}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": greeting}).encode()
    status, _, answer = site.ask([site.host, site.bearer, *JSON_TYPES], body)
    assert (status, json.loads(answer)["result"]["protocolVersion"]) == (200, LEGACY[-1])


def test_who_has_no_token_is_asked_for_one(site):
    status, headers, body = site.ask([site.host])

    assert status == 401
    assert headers["www-authenticate"] == 'Bearer realm="devtrace"'
    assert b"Authorization: Bearer TOKEN" in body


@pytest.mark.parametrize(
    "value",
    ["Bearer wrong", "Bearer ", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
     "Bearer \xff\xfe"],
    ids=ascii,
)  # fmt: skip
def test_a_wrong_token_is_refused(site, value):
    status, headers, _ = site.ask([site.host, ("Authorization", value)])

    assert status == 401
    assert 'error="invalid_token"' in headers["www-authenticate"]


def test_two_tokens_are_none(site):
    assert site.ask([site.host, site.bearer, site.bearer])[0] == 401


def test_the_scheme_may_be_written_in_any_case(site):
    assert site.ask([site.host, ("Authorization", f"bEaReR {TOKEN}")])[0] not in (401, 403, 421)


@pytest.mark.parametrize("place", [f"/mcp?token={TOKEN}", f"/mcp?access_token={TOKEN}", "/mcp?x=1"])
@pytest.mark.parametrize("with_header", [False, True])
def test_a_token_in_the_address_is_refused_even_beside_the_right_one(site, place, with_header):
    headers = [site.host, *([site.bearer] if with_header else [])]

    status, _, body = site.ask(headers, path=place)

    assert status == 400
    assert b"the address takes no query" in body


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost", "127.0.0.1:1", "0.0.0.0:{port}",
     "127.0.0.1.evil.example:{port}", "localhost.evil.example:{port}", "127.0.0.1:{port}.evil.example",
     "[::2]:{port}"],
)  # fmt: skip
def test_a_foreign_host_is_refused(site, host):
    status, headers, _ = site.ask([("Host", host.format(port=site.port)), site.bearer])

    assert status == 421
    assert "www-authenticate" not in headers


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
def test_this_machines_own_names_are_served(site, host):
    assert site.ask([("Host", host.format(port=site.port)), site.bearer])[0] not in (401, 403, 421)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://localhost.evil.example:80",
     "http://evil.example:8080", "file://", "chrome-extension://abc", "http://user@evil.example", "http://[::2]",
     "http://127.0.0.1:x", "", "http://localhost", "https://localhost:6274"],
)  # fmt: skip
def test_a_foreign_origin_is_refused(site, origin):
    status, headers, _ = site.ask([site.host, site.bearer, ("Origin", origin)])

    assert status == 403
    assert not any(name.startswith("access-control") for name in headers)


@pytest.mark.parametrize("origin", ["http://127.0.0.1:3000", "http://localhost:6274", "http://[::1]:80"])
def test_a_page_of_this_machine_may_ask_with_the_token(site, origin):
    told = site.call("list_sessions", more=[("Origin", origin)])

    assert not told["isError"]
    assert site.ask([site.host, ("Origin", origin)])[0] == 401


def test_nothing_is_said_about_sharing_with_other_origins(site):
    preflight = [
        site.host, ("Origin", "http://localhost:3000"), ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization"),
    ]  # fmt: skip

    for more in ([], [site.bearer]):
        status, headers, _ = site.ask([*preflight, *more], method="OPTIONS")
        assert status in (401, 405)
        assert not any(name.startswith("access-control") for name in headers)


def test_a_request_that_is_too_large_is_refused(site):
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"' + b"x" * (1 << 20) + b'"}}'

    assert site.ask([site.host, site.bearer, *JSON_TYPES], body)[0] == 413


def test_there_is_nothing_but_one_address(site):
    assert site.ask([site.host, site.bearer], path="/")[0] == 404
    assert site.ask([site.host], path="/.well-known/oauth-protected-resource")[0] == 401


def test_it_listens_on_loopback_alone(site):
    listeners = Path("/proc/net/tcp").read_text().splitlines()
    mine = [line.split()[1] for line in listeners if line.split()[1].endswith(f":{site.port:04X}")]
    assert {one.partition(":")[0] for one in mine} == {"0100007F"}


def test_a_token_that_was_given_is_not_spoken(site):
    assert TOKEN not in site.said


# --- the token ----------------------------------------------------------------------------------------------


def test_the_stores_own_token_is_made_once_told_once_and_kept_from_others(tmp_path):
    made = Alive(tmp_path)
    file = tmp_path / ".devtrace" / "run" / "mcp-token"
    with listening(tmp_path) as first:
        told = [first.process.stderr.readline() for _ in range(2)]
    with listening(tmp_path) as second:
        later = second.process.stderr.readline()
        answer = second.call("list_sessions")

    assert told == [f"Authorization: Bearer {first.token}\n", f"The token is in {file}.\n"]
    assert later == f"The token is in {file}.\n"
    assert second.token == first.token
    assert len(first.token) >= 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not answer["isError"]
    made.close()


def test_without_a_store_the_token_holds_as_long_as_the_server(tmp_path):
    with listening(tmp_path) as site:
        told = site.process.stderr.readline()

    assert re.fullmatch(r"Authorization: Bearer [\w-]{43,}\n", told)
    assert not (tmp_path / ".devtrace").exists()


def test_the_token_of_a_file_goes_before_that_of_the_environment(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)

    assert token_of({TOKEN_VARIABLE: "x" * 40}, file).value == TOKEN
    assert token_of({TOKEN_VARIABLE: "x" * 40}).value == "x" * 40


def test_two_servers_that_start_at_once_have_one_token(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Alive(tmp_path)

    first, second = token_of({}), token_of({})

    assert (first.value, first.is_new, second.is_new) == (second.value, True, False)
    made.close()


@pytest.mark.parametrize("wrong", ["mode", "short", "empty", "two words", "link", "directory", "missing"])
def test_a_file_that_others_may_read_or_that_holds_none_is_refused(tmp_path, wrong):
    file = tmp_path / "token"
    text = {"short": "abc", "empty": "", "two words": f"{TOKEN} {TOKEN}"}.get(wrong, TOKEN)
    if wrong == "directory":
        file.mkdir()
    elif wrong == "link":
        (tmp_path / "real").write_text(text)
        (tmp_path / "real").chmod(0o600)
        file.symlink_to(tmp_path / "real")
    elif wrong != "missing":
        file.write_text(text)
        file.chmod(0o644 if wrong == "mode" else 0o600)

    with pytest.raises(DevTraceError) as refused:
        token_of({}, file)

    assert refused.value.code == "ERR_TOKEN"
    assert refused.value.hint


def test_a_token_of_the_environment_that_is_too_short_is_refused():
    with pytest.raises(DevTraceError, match=TOKEN_VARIABLE):
        token_of({TOKEN_VARIABLE: "short"})


# --- the command --------------------------------------------------------------------------------------------


def run(root, *words):
    return subprocess.run(
        [*COMMAND, *words], cwd=root, env=environment(), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, timeout=DEADLINE,
    )  # fmt: skip


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = run(tmp_path, "--http", "--port", str(port))

    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 cannot be listened at" in done.stderr
    assert "[ERR_PORT_TAKEN]" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "8080"], "--port and --token-file belong to --http"),
        (["--token-file", "x"], "--port and --token-file belong to --http"),
        (["--http", "--install", "codex"], "are of the server on standard streams"),
        (["--install", "codex", "--uninstall", "codex"], "are two orders"),
        (["--dry-run"], "belongs to --install and --uninstall"),
    ],
    ids=lambda one: one if isinstance(one, str) else " ".join(one),
)
def test_options_that_do_not_fit_together_are_refused(tmp_path, words, said):
    done = run(tmp_path, *words)

    assert done.returncode == 2
    assert said in done.stderr
    assert "[ERR_USAGE]" in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_it_ends_by_a_signal_without_a_word(tmp_path, number, status):
    made = Alive(tmp_path)
    with listening(tmp_path, **{TOKEN_VARIABLE: TOKEN}) as site:
        site.call("list_sessions")
        site.process.send_signal(number)

        assert site.process.wait(DEADLINE) == status
        assert site.process.stderr.read() == ""
        assert site.process.stdout.read() == ""
    made.close()


def test_the_servers_own_process_shows_the_token_to_nobody(site):
    shown = Path(f"/proc/{site.process.pid}/cmdline").read_bytes()

    assert TOKEN.encode() not in shown
    assert sys.executable.encode() in shown
    assert os.path.exists(f"/proc/{site.process.pid}")
