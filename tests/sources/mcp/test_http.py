"""Bytes through the HTTP proxy, seen at both ends: what passes, what does not, what never leads elsewhere."""

from __future__ import annotations

import gzip
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.processes import DEADLINE, environment
from tests.sources.mcp.upstream import Proxy, Upstream, proxied, upstream

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture
def proxy(server: Upstream) -> Iterator[Proxy]:
    with proxied(f"{server.origin}/mcp") as proxy:
        yield proxy


# --- requests -----------------------------------------------------------------------------------------------


def test_it_says_where_it_listens_with_the_path_of_the_server(server: Upstream) -> None:
    with proxied(f"http://ana:word@127.0.0.1:{server.port}/a/mcp?key=1") as proxy:
        assert proxy.url == f"http://127.0.0.1:{proxy.port}/a/mcp"


def test_nothing_is_put_into_a_request_but_the_name_of_the_server(server: Upstream, proxy: Proxy) -> None:
    proxy.asks("GET /mcp")

    assert server.accepts().head() == (b"GET /mcp HTTP/1.1", [(b"Host", server.origin[7:].encode())])


def test_fields_keep_spelling_order_doubles_and_strange_bytes(server: Upstream, proxy: Proxy) -> None:
    fields = [
        (b"uSER-aGENT", b"Client/1 (x)"),
        (b"Accept", b"application/json, text/event-stream"),
        (b"accept-ENCODING", b"br;q=0.5"),
        (b"X-Two", b"1"),
        (b"MCP-Protocol-Version", b"2026-07-28"),
        (b"Mcp-Method", b"tools/call"),
        (b"Mcp-Name", b"=?base64?w6k=?="),
        (b"Mcp-Param-Region", b"eu"),
        (b"Mcp-Session-Id", b"s-1"),
        (b"Last-Event-ID", b"7"),
        (b"x-two", b"2"),
        (b"Authorization", b"Bearer t"),
        (b"X-Latin", b"\xe9\xff"),
        (b"X-Empty", b""),
    ]

    proxy.asks("\n".join(["GET /mcp", *(f"{k.decode()}: {v.decode('latin-1')}" for k, v in fields)]))

    assert server.accepts().head().fields[1:] == fields


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "HEAD", "PATCH", "QUERY"])
def test_any_method_passes_without_a_body_of_ours(server: Upstream, proxy: Proxy, method: str) -> None:
    client = proxy.asks(f"{method} /mcp")
    peer = server.accepts()

    assert peer.head().start == f"{method} /mcp HTTP/1.1".encode()
    assert peer.is_silent()
    peer.sends(EMPTY)
    assert client.head().start == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "target",
    [
        "/mcp?",
        "/mcp?a=%20+&&b=%C3%A9;c=[x]|{y}#",
        "//evil.example/mcp",
        "/../../etc/passwd",
        "/%2e%2e/./x//y",
        "/\\evil.example",
        "/http://evil.example/",
        "/@evil.example:80/",
        "/.well-known/x?resource=http://evil.example/",
    ],
)
def test_a_target_passes_byte_for_byte_and_leads_to_the_one_server(
    server: Upstream, proxy: Proxy, target: str
) -> None:
    proxy.asks(f"GET {target}")

    head = server.accepts().head()

    assert head.start == f"GET {target} HTTP/1.1".encode()
    assert head.values(b"host") == [f"127.0.0.1:{server.port}".encode()]


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /mcp HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\n\r\n", b"403"),
        (b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\n\r\n", b"403"),
        (b"GET http://evil.example/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"403"),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"403"),
        (b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"403"),
        (b"GET /mcp HTTP/1.0\r\n\r\n", b"403"),
        (b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n", b"400"),
        (b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
    ids=[
        *("host", "origin", "site", "absolute", "connect", "asterisk", "no host", "two hosts"),
        *("two lengths", "nonsense"),
    ],
)
def test_what_is_refused_never_reaches_the_server(
    server: Upstream, proxy: Proxy, request_head: bytes, status: bytes
) -> None:
    client = proxy.dials()
    client.sends(request_head)

    assert client.head().start.split()[1] == status
    proxy.asks("GET /first")
    assert server.accepts().head().start == b"GET /first HTTP/1.1"
    assert server.is_alone()


def test_a_body_with_a_length_keeps_it_and_goes_on_piece_by_piece(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("POST /mcp\nContent-Length: 6", b"abc")
    peer = server.accepts()

    head = peer.head()
    assert (head.values(b"content-length"), head.values(b"transfer-encoding")) == ([b"6"], [])
    assert peer.exactly(3) == b"abc"
    client.sends(b"def")
    assert peer.exactly(3) == b"def"


def test_a_chunked_body_stays_chunked_and_goes_on_piece_by_piece(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("POST /mcp\nTransfer-Encoding: chunked", b"3\r\nabc\r\n")
    peer = server.accepts()

    head = peer.head()
    assert (head.values(b"content-length"), head.values(b"transfer-encoding")) == ([], [b"chunked"])
    assert peer.chunk() == b"abc"
    client.sends(b"2\r\nde\r\n")
    assert peer.chunk() == b"de"
    client.sends(b"0\r\n\r\n")
    assert peer.chunk() == b""


def test_an_answer_that_the_client_waits_for_before_its_body_is_given(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("POST /mcp\nExpect: 100-continue\nContent-Length: 3")

    assert client.head().start.startswith(b"HTTP/1.1 100")
    client.sends(b"abc")
    peer = server.accepts()
    peer.head()
    assert peer.exactly(3) == b"abc"


def test_five_megabytes_pass_both_ways(server: Upstream, proxy: Proxy) -> None:
    body = bytes(range(256)) * 20_480
    client = proxy.asks(f"POST /mcp\nContent-Length: {len(body)}", body[:1000])
    peer = server.accepts()
    peer.head()
    with client.sending(body[1000:]):
        assert peer.exactly(len(body)) == body
    with peer.sending(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body):
        client.head()
        assert client.exactly(len(body)) == body


def test_long_fields_pass(server: Upstream, proxy: Proxy) -> None:
    proxy.asks("GET /mcp\nAuthorization: Bearer " + "x" * 200_000)

    assert server.accepts().head().values(b"authorization") == [b"Bearer " + b"x" * 200_000]


def test_what_the_user_adds_goes_with_every_request(server: Upstream) -> None:
    url = f"http://ana:word@127.0.0.1:{server.port}/mcp?key=k%201"
    with proxied(url, "X-Key:hush", "User-Agent:mine") as proxy:
        for target in ("/mcp?a=1", "/mcp", "/token?a=1"):
            proxy.asks(f"GET {target}\nx-key: theirs\nUser-Agent: theirs")
        heads = [server.accepts().head() for _ in range(3)]

    assert {head.start for head in heads} == {
        b"GET /mcp?key=k%201&a=1 HTTP/1.1",
        b"GET /mcp?key=k%201 HTTP/1.1",
        b"GET /token?a=1 HTTP/1.1",
    }
    for head in heads:
        assert (head.values(b"x-key"), head.values(b"user-agent")) == ([b"hush"], [b"mine"])
        assert head.values(b"authorization") == [b"Basic YW5hOndvcmQ="]


def test_the_proxy_of_the_environment_is_used_for_other_machines_alone(server: Upstream) -> None:
    env = {"http_proxy": f"127.0.0.1:{server.port}", "no_proxy": ""}
    with proxied("http://mcp.example.com/mcp", env=env) as proxy:
        proxy.asks("GET /mcp?a=1")
        head = server.accepts().head()
        assert head.start == b"GET http://mcp.example.com/mcp?a=1 HTTP/1.1"
        assert head.values(b"host") == [b"mcp.example.com"]
    with proxied(f"{server.origin}/mcp", env={"http_proxy": "http://127.0.0.1:1"}) as proxy:
        proxy.asks("GET /mcp")
        assert server.accepts().head().start == b"GET /mcp HTTP/1.1"


def test_connections_are_kept_on_both_sides(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("GET /mcp?1")
    peer = server.accepts()
    for number in (b"1", b"2", b"3"):
        assert peer.head().start == b"GET /mcp?%b HTTP/1.1" % number
        peer.sends(EMPTY)
        assert client.head().values(b"content-length") == [b"0"]
        client.sends(b"GET /mcp?%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % (int(number) + 1))
    assert server.is_alone()


def test_an_older_client_is_served_until_the_end_of_its_connection(server: Upstream, proxy: Proxy) -> None:
    client = proxy.dials()
    client.sends(b"GET /mcp HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
    peer = server.accepts()
    peer.head()
    peer.sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")

    assert client.head().values(b"transfer-encoding") == []
    assert client.rest() == b"abc"


# --- answers ------------------------------------------------------------------------------------------------


def test_status_reason_and_fields_of_an_answer_pass_as_they_are(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("GET /mcp")
    peer = server.accepts()
    peer.head()
    peer.sends(
        b"HTTP/1.1 299 Quite Fine\r\nX-B: 1\r\nsET-cookie: a=1\r\nSet-Cookie: b=2\r\nServer: me\r\n"
        b"Mcp-Session-Id: s-1\r\nX-Latin: \xe9\r\nContent-Length: 2\r\n\r\nhi"
    )

    assert client.head() == (
        b"HTTP/1.1 299 Quite Fine",
        [
            (b"X-B", b"1"),
            (b"sET-cookie", b"a=1"),
            (b"Set-Cookie", b"b=2"),
            (b"Server", b"me"),
            (b"Mcp-Session-Id", b"s-1"),
            (b"X-Latin", b"\xe9"),
            (b"Content-Length", b"2"),
        ],
    )
    assert client.exactly(2) == b"hi"


def test_an_empty_reason_stays_empty_and_the_next_answer_has_its_own(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("GET /mcp")
    peer = server.accepts()
    peer.head()
    peer.sends(b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n")
    assert client.head().start == b"HTTP/1.1 200 "

    client.sends(b"GET /mcp HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert client.head().start == b"HTTP/1.1 403 Forbidden"


def test_only_what_belongs_to_one_connection_is_stripped_from_an_answer(
    server: Upstream, proxy: Proxy
) -> None:
    client = proxy.asks("GET /mcp")
    peer = server.accepts()
    peer.head()
    peer.sends(
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n"
        b"X-Theirs: 2\r\nContent-Length: 0\r\n\r\n"
    )

    assert client.head().fields == [(b"X-Theirs", b"2"), (b"Content-Length", b"0")]


def test_events_are_delivered_as_they_come(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("POST /mcp\nContent-Length: 2", b"{}")
    peer = server.accepts()
    peer.head()
    peer.sends(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert client.head().values(b"transfer-encoding") == [b"chunked"]

    for event in (b": hi\n\n", b"data: 1\n\n", b"event: message\ndata: {", b'"a":1}\n\n'):
        peer.sends(b"%x\r\n%b\r\n" % (len(event), event))
        assert client.chunk() == event
    peer.sends(b"0\r\n\r\n")
    assert client.chunk() == b""


def test_a_compressed_body_stays_compressed(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("GET /mcp\nAccept-Encoding: gzip")
    peer = server.accepts()
    assert peer.head().values(b"accept-encoding") == [b"gzip"]
    body = gzip.compress(b"x" * 1000)
    peer.sends(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )

    assert client.head().values(b"content-encoding") == [b"gzip"]
    assert client.exactly(len(body)) == body


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_has_none(server: Upstream, proxy: Proxy, status: bytes) -> None:
    client = proxy.asks("GET /mcp")
    peer = server.accepts()
    peer.head()
    peer.sends(b"HTTP/1.1 %b\r\nETag: x\r\n\r\n" % status)

    assert client.head() == (b"HTTP/1.1 " + status, [(b"ETag", b"x")])
    client.sends(b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert peer.head().start == b"GET /next HTTP/1.1"


def test_the_head_of_a_body_that_is_not_sent_keeps_its_length(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("HEAD /mcp")
    peer = server.accepts()
    peer.head()
    peer.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")

    assert client.head().values(b"content-length") == [b"1000"]
    client.sends(b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert peer.head().start == b"GET /next HTTP/1.1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_passed_and_stays_at_our_origin(server: Upstream, proxy: Proxy, status: int) -> None:
    client = proxy.asks("POST /mcp\nContent-Length: 2", b"{}")
    peer = server.accepts()
    peer.head()
    peer.sends(b"HTTP/1.1 %d Moved\r\nLocation: %b/mcp/\r\n" % (status, server.origin.encode()))
    peer.sends(b"Content-Length: 0\r\n\r\n")

    assert client.head().values(b"location") == [f"{proxy.origin}/mcp/".encode()]
    assert server.is_alone()


@pytest.mark.parametrize("location", ["/mcp/", "https://as.example/x", "http://[", "http://h:x/", "\xe9"])
def test_a_redirect_to_elsewhere_passes_as_it_is(server: Upstream, proxy: Proxy, location: str) -> None:
    client = proxy.asks("GET /mcp")
    peer = server.accepts()
    peer.head()
    peer.sends(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))

    assert client.head().values(b"location") == [location.encode("latin-1")]


# --- what is missing ----------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = (
            "from devtrace.errors import DevTraceError\nfrom devtrace.sources.mcp.http import serve\n"
            f"try: serve('http://127.0.0.1/', port={port}, tap=None, extra_headers={{}}, announce=print)\n"
            "except DevTraceError as error: print(error.code, error.message)"
        )
        assert said(program).startswith(f"ERR_PORT_TAKEN nothing can listen at 127.0.0.1:{port}: ")


@pytest.mark.parametrize("module", ["uvicorn", "h11", "httpx2"])
def test_a_missing_extra_is_said_so_with_how_to_get_it(module: str) -> None:
    program = (
        f"import sys; sys.modules['{module}'] = None\n"
        "from devtrace.errors import DevTraceError\nfrom devtrace.sources.mcp.http import serve\n"
        "try: serve('http://127.0.0.1/', port=0, tap=None, extra_headers={}, announce=print)\n"
        "except DevTraceError as error: print(error.code, error.hint)"
    )

    assert said(program) == "ERR_EXTRA_MISSING pip install 'devtrace-shell[mcp]'"


def test_it_is_imported_without_the_extra_and_without_what_is_slow() -> None:
    program = (
        "import devtrace.sources.mcp.http, sys\n"
        "print({'uvicorn', 'httpx2', 'h11'} & set(sys.modules) or 'none')"
    )

    assert said(program) == "none"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_it_ends_by_a_signal_with_a_status(proxy: Proxy, number: int, status: int) -> None:
    assert proxy.stops(number) == status


def test_a_proxy_of_the_environment_that_cannot_be_used_is_said_so() -> None:
    program = (
        "import os; os.environ |= {'https_proxy': 'gopher://x:1', 'no_proxy': ''}\n"
        "from devtrace.errors import DevTraceError\nfrom devtrace.sources.mcp.http import serve\n"
        "try: serve('https://mcp.example.com/', port=0, tap=None, extra_headers={}, announce=print)\n"
        "except DevTraceError as error: print(error.code, error.hint)"
    )

    assert said(program) == "ERR_PROXY see https_proxy, all_proxy and no_proxy"


def test_the_handlers_of_who_called_it_are_there_again() -> None:
    program = (
        "import os, signal\nfrom devtrace.sources.mcp.http import serve\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('mine'))\n"
        "end = lambda _: os.kill(os.getpid(), signal.SIGINT)\n"
        "print(serve('http://127.0.0.1/', port=0, tap=None, extra_headers={}, announce=end))\n"
        "os.kill(os.getpid(), signal.SIGTERM)"
    )

    assert said(program) == "130\nmine"


def said(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()
