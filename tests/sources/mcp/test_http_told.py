"""What the HTTP proxy hands to the tap, and what of a sign-in it rewrites on the wire."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pytest

from devtrace.sources.mcp.endpoint import FirstEvent
from devtrace.sources.mcp.oauth import Origins
from devtrace.sources.mcp.signin import CALLBACK
from tests.sources.mcp.upstream import (
    CLOSE,
    DATA,
    OPEN,
    TO_CLIENT,
    TO_SERVER,
    Head,
    Proxy,
    Upstream,
    Wire,
    proxied,
    upstream,
)

FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = b"Content-Type: application/json\r\n"


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture
def proxy(server: Upstream) -> Iterator[Proxy]:
    with proxied(f"{server.origin}/mcp") as proxy:
        yield proxy


def answered(server: Upstream, head: bytes, body: bytes = b"") -> Head:
    """One request that the server answers, and then it hangs up; its head."""
    peer = server.accepts()
    asked = peer.head()
    peer.exactly(int((asked.values(b"content-length") or [b"0"])[0]))
    peer.sends(b"HTTP/1.1 %bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
    peer.closes()
    return asked


def body_of(client: Wire) -> bytes:
    return client.exactly(int(client.head().values(b"content-length")[0]))


# --- the tap ------------------------------------------------------------------------------------------------


def test_an_exchange_of_the_endpoint_is_told_whole_and_in_order(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks(
        "POST /mcp?key=hush\nMcp-Method: tools/call\nTransfer-Encoding: chunked", b"2\r\n{}\r\n"
    )
    peer = server.accepts()
    peer.head()
    client.sends(b"1\r\n \r\n0\r\n\r\n")
    while peer.chunk():
        pass
    peer.sends(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.head()
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        peer.sends(b"%x\r\n%b\r\n" % (len(event), event))
        assert client.chunk() == event
    peer.sends(b"0\r\n\r\n")

    told = proxy.told()

    assert [record[2] for record in told] == [1] * len(told)
    assert told[0][:2] == (OPEN, TO_SERVER)
    assert told[0][3] == {"method": "POST", "path": "/mcp", "headers": {"mcp-method": "tools/call"}}
    assert "".join(record[3] for record in told if record[:2] == (DATA, TO_SERVER)) == "{} "
    answer = [record for record in told if record[1] == TO_CLIENT]
    assert answer[0][3] == {"status": 200, "headers": {"content-type": "text/event-stream"}}
    assert [record[3] for record in answer[1:-1]] == ["data: 1\n\n", "data: 2\n\n"]
    assert (answer[-1][0], answer[-1][3]) == (CLOSE, {"why": "done", "detail": ""})


def test_a_compressed_body_is_told_as_it_passed(server: Upstream, proxy: Proxy) -> None:
    body = gzip.compress(b"{}")
    proxy.asks("POST /mcp\nContent-Length: 0")
    answered(server, b"200 OK\r\nContent-Encoding: gzip\r\n", body)

    told = proxy.told()

    assert "".join(record[3] for record in told if record[0] == DATA).encode("latin-1") == body
    assert told[1][3]["headers"]["content-encoding"] == "gzip"


def test_nothing_of_a_credential_reaches_the_tap(server: Upstream) -> None:
    url = f"http://hush0:hush1@127.0.0.1:{server.port}/mcp?key=hush2"
    with proxied(url, "X-Team:hush3", "Accept:hush4") as proxy:
        secrets = "Authorization: Bearer hush5\nCookie: a=hush6\nMcp-Param-Region: hush7\nX-Api-Key: hush8"
        secrets += "\nMcp-Session-Id: hush9\nDPoP: hush10\nX-Forwarded-Access-Token: hush11"
        proxy.asks(f"GET /mcp?token=hush12\n{secrets}")
        answered(
            server,
            b'401 No\r\nWWW-Authenticate: Bearer error="hush13"\r\nSet-Cookie: hush14\r\n'
            b"Mcp-Session-Id: hush15\r\nLocation: /cb?code=hush16\r\nX-Token: hush17\r\n",
        )
        told = json.dumps(proxy.told())

    assert "hush" not in told
    assert '"status": 401' in told


@pytest.mark.parametrize(
    "path", ["/token", "/register", "/.well-known/oauth-protected-resource", "/mcp2", "/"]
)
def test_of_all_but_the_endpoint_only_that_it_was_is_told(server: Upstream, proxy: Proxy, path: str) -> None:
    client = proxy.asks(f"POST {path}?a=hush\n{FORM}\nContent-Length: 9", b"code=hush")
    answered(server, b"200 OK\r\n" + JSON, b'{"access_token":"hush"}')
    body_of(client)

    told = proxy.told()

    assert [(kind, direction) for kind, direction, _, _ in told] == [
        (OPEN, TO_SERVER),
        (OPEN, TO_CLIENT),
        (CLOSE, TO_CLIENT),
    ]
    assert told[0][3]["path"] == path
    assert "hush" not in json.dumps(told)


def test_the_endpoint_is_known_by_other_spellings_and_behind_its_redirect(
    server: Upstream, proxy: Proxy
) -> None:
    proxy.asks("POST /%6dcp/\nContent-Length: 3", b"one")
    answered(server, b"307 T\r\nLocation: /v2/mcp\r\n")
    proxy.told()
    proxy.asks("POST /v2/mcp\nContent-Length: 3", b"two")
    answered(server, b"200 OK\r\n")

    told = proxy.told(2)

    assert [record[3] for record in told if record[:2] == (DATA, TO_SERVER)] == ["one", "two"]


def test_what_is_refused_is_no_exchange(server: Upstream, proxy: Proxy) -> None:
    proxy.asks("GET /mcp\nOrigin: https://evil.example").head()
    proxy.asks("GET /mcp")
    answered(server, b"200 OK\r\n")

    assert [record[2] for record in proxy.told()] == [1, 1, 1]


# --- servers of HTTP+SSE ------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["{}/messages/?session_id=hush", "/messages/?session_id=hush"])
def test_an_older_server_tells_an_endpoint_of_ours_and_its_messages_are_told(
    server: Upstream, endpoint: str
) -> None:
    with proxied(f"{server.origin}/sse") as proxy:
        client = proxy.asks("GET /sse\nAccept: text/event-stream")
        peer = server.accepts()
        peer.head()
        peer.sends(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.head()
        event = f"event: endpoint\r\ndata: {endpoint}\r\n\r\n"
        for piece in (": hi\n\n", event.format(server.origin), "event: message\ndata: {}\n\n"):
            peer.sends(b"%x\r\n%b\r\n" % (len(piece), piece.encode()))
        assert [client.chunk().decode() for _ in range(3)] == [
            ": hi\n\n",
            event.format(proxy.origin),
            "event: message\ndata: {}\n\n",
        ]
        proxy.asks("POST /messages/?session_id=hush\nContent-Length: 2", b"{}")
        answered(server, b"202 Accepted\r\n")
        told = proxy.told()

    assert (DATA, TO_SERVER, 2, "{}") in told
    assert "hush" not in json.dumps([record for record in told if record[0] == OPEN])


OURS, THEIRS = "http://127.0.0.1:9", "https://mcp.example.com"
STREAMS = {
    "absolute": (f"event: endpoint\ndata: {THEIRS}/m?s=1\n\n", f"event: endpoint\ndata: {OURS}/m?s=1\n\n"),
    "no space": (f"event:endpoint\rdata:{THEIRS}/m\r\r", f"event:endpoint\rdata:{OURS}/m\r\r"),
    "with an id": (
        f"id: 1\nevent: endpoint\ndata: {THEIRS}\n\n",
        f"id: 1\nevent: endpoint\ndata: {OURS}\n\n",
    ),
    "behind a bom": (
        f"\ufeffevent: endpoint\r\ndata: {THEIRS}/m\r\n\r\n",
        f"\ufeffevent: endpoint\r\ndata: {OURS}/m\r\n\r\n",
    ),
    "behind comments": (
        f":a\n\n:b\nevent: endpoint\n:c\ndata: {THEIRS}/m\n\n",
        f":a\n\n:b\nevent: endpoint\n:c\ndata: {OURS}/m\n\n",
    ),
    "relative": ("event: endpoint\ndata: /m?s=1\n\n", None),
    "elsewhere": ("event: endpoint\ndata: https://evil.example/m\n\n", None),
    "only the first": (f"data: 1\n\nevent: endpoint\ndata: {THEIRS}/m\n\n", None),
    "another event": (f"event: message\ndata: {THEIRS}/m\n\n", None),
    "no event": (f"data: {THEIRS}/m\n\n", None),
    "not whole": (f"event: endpoint\ndata: {THEIRS}/m\n", None),
    "nonsense": ("\0\0\0", None),
    "empty": ("", None),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_first_event_is_rewritten_however_it_is_cut(name: str) -> None:
    told, expected = (None if text is None else text.encode() for text in STREAMS[name])
    assert told is not None
    for cut in range(min(len(told), 200) + 1):
        first = FirstEvent(Origins(OURS, THEIRS))
        assert first.feed(told[:cut]) + first.feed(told[cut:]) + first.rest() == (expected or told)


@pytest.mark.parametrize(
    "piece", [": hi\n", "\n", "data: x", "event: message\n", "x", "id: 1\ndata: x", "da"]
)
def test_what_is_no_endpoint_is_not_held(piece: str) -> None:
    assert FirstEvent(Origins(OURS, THEIRS)).feed(piece.encode()) == piece.encode()


# --- signing in ---------------------------------------------------------------------------------------------


def test_a_challenge_and_the_document_behind_it_name_what_the_client_dialled(
    server: Upstream, proxy: Proxy
) -> None:
    client = proxy.asks("POST /mcp\nContent-Length: 0")
    place = f'Bearer resource_metadata="{server.origin}/hidden/place.json"'
    answered(server, f"401 Unauthorized\r\nWWW-Authenticate: {place}\r\n".encode())
    challenge = client.head().values(b"www-authenticate")[0].decode()
    client = proxy.asks("GET /hidden/place.json\nAccept-Encoding: gzip, br")
    document = f'{{"resource": "{server.origin}/mcp",  "authorization_servers": ["https://as.example"]}}\n'
    asked = answered(server, b"200 OK\r\n" + JSON, document.encode())

    assert challenge == place.replace(server.origin, proxy.origin)
    assert asked.values(b"accept-encoding") == [b"identity"]
    assert body_of(client).decode() == document.replace(server.origin, proxy.origin)


def test_the_name_under_which_the_client_dialled_is_kept(server: Upstream, proxy: Proxy) -> None:
    client = proxy.dials()
    path = "/.well-known/oauth-protected-resource/mcp"
    client.sends(f"GET {path} HTTP/1.1\r\nHost: localhost:{proxy.port}\r\n\r\n".encode())
    answered(server, b"200 OK\r\n" + JSON, b'{"resource":"%b/mcp"}' % server.origin.encode())

    assert json.loads(body_of(client)) == {"resource": f"http://localhost:{proxy.port}/mcp"}


@pytest.mark.parametrize("head", [b"404 No\r\n" + JSON, b"200 OK\r\nContent-Type: text/html\r\n"])
def test_what_is_no_document_passes_as_it_is(server: Upstream, proxy: Proxy, head: bytes) -> None:
    body = b'{"resource":"%b/mcp"}' % server.origin.encode()
    client = proxy.asks("GET /.well-known/oauth-protected-resource")
    answered(server, head, body)

    assert body_of(client) == body


@pytest.mark.parametrize("coding", ["gzip", "x-own"])
def test_a_document_that_is_encoded_all_the_same_passes_as_it_is(
    server: Upstream, proxy: Proxy, coding: str
) -> None:
    plain = b'{"resource":"%b/mcp"}' % server.origin.encode()
    body = gzip.compress(plain) if coding == "gzip" else plain
    client = proxy.asks("GET /.well-known/oauth-protected-resource")
    answered(server, b"200 OK\r\nContent-Encoding: %b\r\n%b" % (coding.encode(), JSON), body)

    assert body_of(client) == body


def test_a_document_in_chunks_stays_in_chunks(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("GET /.well-known/oauth-authorization-server")
    peer = server.accepts()
    peer.head()
    issuer = b'{"issuer":"%b"}' % server.origin.encode()
    peer.sends(b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % JSON)
    peer.sends(b"2\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (issuer[:2], len(issuer) - 2, issuer[2:]))

    assert client.head().values(b"content-length") == []
    assert json.loads(client.chunk()) == {"issuer": proxy.origin}
    assert client.chunk() == b""


def test_a_document_that_is_too_long_passes_as_it_comes(server: Upstream, proxy: Proxy) -> None:
    body = b'{"issuer":"%b","x":"%b"}' % (server.origin.encode(), b"x" * (2 << 20))
    client = proxy.asks("GET /.well-known/oauth-authorization-server")
    peer = server.accepts()
    peer.head()
    with peer.sending(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (JSON, len(body), body)):
        assert body_of(client) == body


@pytest.mark.parametrize("framing", ["Content-Length: {}", "Transfer-Encoding: chunked"])
def test_a_token_is_asked_for_the_servers_own_url(server: Upstream, proxy: Proxy, framing: str) -> None:
    form = f"code=1&resource={proxy.origin}/mcp&client_secret=%20+".encode()
    sent = form if "{}" in framing else b"%x\r\n%b\r\n0\r\n\r\n" % (len(form), form)
    expected = form.replace(
        f"{proxy.origin}/mcp".encode(), b"http%%3A%%2F%%2F127.0.0.1%%3A%d%%2Fmcp" % server.port
    )

    proxy.asks(f"POST /token\n{FORM}\n{framing.format(len(form))}", sent)
    peer = server.accepts()
    head = peer.head()

    got = peer.exactly(int(head.values(b"content-length")[0])) if "{}" in framing else peer.chunk()
    assert got == expected


def test_a_form_for_the_endpoint_is_none_of_ours(server: Upstream, proxy: Proxy) -> None:
    form = f"resource={proxy.origin}/mcp".encode()
    proxy.asks(f"POST /mcp?resource={proxy.origin}\n{FORM}\nContent-Length: {len(form)}", form)
    peer = server.accepts()

    assert peer.head().start == f"POST /mcp?resource={proxy.origin} HTTP/1.1".encode()
    assert peer.exactly(len(form)) == form


def test_a_form_that_is_too_long_for_one_passes_as_it_is(server: Upstream, proxy: Proxy) -> None:
    form = b"resource=%b/mcp&x=%b" % (proxy.origin.encode(), b"x" * (1 << 20))
    client = proxy.asks(f"POST /upload\n{FORM}\nContent-Length: {len(form)}")
    with client.sending(form):
        peer = server.accepts()
        peer.head()
        assert peer.exactly(len(form)) == form


def test_a_page_that_a_program_asks_for_comes_through_us(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks(f"GET /authorize?state=%20&resource={proxy.origin}/mcp")
    where = f"http://localhost:1/cb?code=1&iss={server.origin}"
    asked = answered(server, f"302 Found\r\nLocation: {where}\r\n".encode())

    assert asked.start.startswith(b"GET /authorize?state=%20&resource=http%3A%2F%2F127.0.0.1%3A")
    assert asked.start.endswith(b"%d%%2Fmcp HTTP/1.1" % server.port)
    iss = proxy.origin.replace(":", "%3A").replace("/", "%2F")
    assert client.head().values(b"location") == [f"http://localhost:1/cb?code=1&iss={iss}".encode()]


BROWSER = "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: document\nSec-Fetch-Site: cross-site"


def test_a_persons_browser_is_sent_to_the_server_itself(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks(f"GET /authorize?a=%20&resource={proxy.origin}/mcp\n{BROWSER}")

    head = client.head()

    assert head.start == b"HTTP/1.1 302 Found"
    resource = f"{server.origin}/mcp".replace(":", "%3A").replace("/", "%2F")
    assert head.values(b"location") == [f"{server.origin}/authorize?a=%20&resource={resource}".encode()]
    assert server.is_alone()


def test_a_browser_that_comes_back_without_having_been_sent_is_told_so(proxy: Proxy) -> None:
    client = proxy.asks(f"GET {CALLBACK}?code=1&state=2\n{BROWSER}")

    assert client.head().start == b"HTTP/1.1 404 Not Found"
