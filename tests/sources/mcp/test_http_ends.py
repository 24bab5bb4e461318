"""Who goes away in the middle of an exchange through the HTTP proxy, who is slow, how many there may be."""

from __future__ import annotations

import re
import select
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from devtrace.sources.mcp.listener import bound
from tests.processes import DEADLINE
from tests.sources.mcp.upstream import CLOSE, Proxy, Upstream, Wire, proxied, upstream

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = 200 << 20
MEMORY = 120 << 20  # bytes: an interpreter with what HTTP needs takes some 50 MB


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture
def proxy(server: Upstream) -> Iterator[Proxy]:
    with proxied(f"{server.origin}/mcp") as proxy:
        yield proxy


def streaming(server: Upstream, proxy: Proxy) -> tuple[Wire, Wire]:
    """A client that has seen the first event of a stream, and the server that sends it."""
    client = proxy.asks("POST /mcp\nContent-Length: 2", b"{}")
    peer = server.accepts()
    peer.head()
    assert peer.exactly(2) == b"{}"
    peer.sends(STREAM + b"4\r\n: a\n\r\n")
    client.head()
    assert client.chunk() == b": a\n"
    return client, peer


def why(proxy: Proxy) -> str:
    return str(proxy.told()[-1][3]["why"])


# --- the client goes away -----------------------------------------------------------------------------------


def test_a_client_that_goes_away_in_a_stream_is_gone_for_the_server_too(
    server: Upstream, proxy: Proxy
) -> None:
    client, peer = streaming(server, proxy)

    client.closes()

    assert peer.rest() == b""
    assert why(proxy) == "client_gone"


def test_a_client_that_is_killed_in_a_stream_is_gone_for_the_server_too(
    server: Upstream, proxy: Proxy
) -> None:
    client, peer = streaming(server, proxy)

    client.resets()

    assert peer.rest() == b""
    assert why(proxy) == "client_gone"


def test_a_client_that_goes_away_before_the_answer_is_gone_for_the_server_too(
    server: Upstream, proxy: Proxy
) -> None:
    client = proxy.asks("POST /mcp\nContent-Length: 2", b"{}")
    peer = server.accepts()
    peer.head()
    assert peer.exactly(2) == b"{}"

    client.closes()

    assert peer.rest() == b""
    assert why(proxy) == "client_gone"


def test_a_client_that_goes_away_in_its_request_leaves_it_torn(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("POST /mcp\nTransfer-Encoding: chunked", b"3\r\nabc\r\n")
    peer = server.accepts()
    peer.head()
    assert peer.chunk() == b"abc"

    client.closes()

    assert peer.rest() == b""
    assert why(proxy) == "client_gone"


@pytest.mark.parametrize("framing", ["Content-Length: 2", "Transfer-Encoding: chunked"])
def test_a_whole_request_is_delivered_though_its_client_is_gone(
    server: Upstream, proxy: Proxy, framing: str
) -> None:
    body = b"{}" if "Length" in framing else b"2\r\n{}\r\n0\r\n\r\n"
    proxy.asks(f"POST /mcp\n{framing}", body).closes()

    peer = server.accepts()

    peer.head()
    assert peer.rest() == body
    assert why(proxy) == "client_gone"


def test_one_client_that_goes_away_leaves_the_others_alone(server: Upstream, proxy: Proxy) -> None:
    client, peer = streaming(server, proxy)
    other, their_peer = streaming(server, proxy)

    client.closes()

    assert peer.rest() == b""
    their_peer.sends(b"4\r\n: b\n\r\n")
    assert other.chunk() == b": b\n"


# --- the server goes away -----------------------------------------------------------------------------------


def test_a_stream_that_breaks_off_has_no_end(server: Upstream, proxy: Proxy) -> None:
    client, peer = streaming(server, proxy)

    peer.sends(b"4\r\n: b\n\r\n")
    peer.closes()

    assert client.chunk() == b": b\n"
    assert client.rest() == b""
    assert why(proxy) == "server_gone"


def test_a_server_that_is_killed_leaves_a_stream_without_an_end(server: Upstream, proxy: Proxy) -> None:
    client, peer = streaming(server, proxy)

    peer.resets()

    assert client.rest() == b""
    assert why(proxy) == "server_gone"


def test_a_body_that_breaks_off_is_shorter_than_it_says(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("GET /mcp")
    peer = server.accepts()
    peer.head()
    peer.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
    peer.closes()

    assert client.head().values(b"content-length") == [b"6"]
    assert client.rest() == b"abc"
    assert why(proxy) == "server_gone"


def test_a_server_that_says_nothing_is_told_as_a_bad_gateway(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("POST /mcp\nContent-Length: 2", b"{}")
    peer = server.accepts()
    peer.head()
    peer.exactly(2)
    peer.closes()

    head = client.head()

    assert head.start == b"HTTP/1.1 502 Bad Gateway"
    assert head.values(b"content-type") == [b"text/plain; charset=utf-8"]
    said = client.exactly(int(head.values(b"content-length")[0]))
    assert said == f"devtrace: {server.origin}: Server disconnected without sending a response.\n".encode()
    assert why(proxy) == "server_gone"


def test_a_server_that_is_not_there_is_told_as_a_bad_gateway_and_may_come() -> None:
    with socket.socket() as later:
        later.bind(("127.0.0.1", 0))
        port = later.getsockname()[1]
        with proxied(f"http://127.0.0.1:{port}/mcp") as proxy:
            client = proxy.asks("GET /mcp?key=hush")
            head = client.head()
            said = client.exactly(int(head.values(b"content-length")[0]))

            assert head.start == b"HTTP/1.1 502 Bad Gateway"
            assert said == f"devtrace: http://127.0.0.1:{port}: Connection refused\n".encode()
            (_, (kind, _, _, ended)) = proxy.told()
            assert (kind, ended["why"]) == (CLOSE, "error")
            assert "Connection refused" in ended["detail"]

            later.listen()
            client.sends(b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n")
            later.settimeout(DEADLINE)
            with Wire(later.accept()[0]) as peer:
                assert peer.head().start == b"GET /mcp HTTP/1.1"


def test_an_answer_that_is_no_http_is_told_as_a_bad_gateway(server: Upstream, proxy: Proxy) -> None:
    client = proxy.asks("GET /mcp")
    peer = server.accepts()
    peer.head()
    peer.sends(b"SSH-2.0-OpenSSH\r\n\r\n")

    assert client.head().start == b"HTTP/1.1 502 Bad Gateway"


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again(
    server: Upstream, proxy: Proxy
) -> None:
    client = proxy.asks("GET /mcp")
    peer = server.accepts()
    peer.head()
    peer.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    client.head()
    peer.closes()
    client.sends(b"GET /again HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert server.accepts().head().start == b"GET /again HTTP/1.1"


# --- the proxy goes away ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_proxy_that_ends_leaves_both_sides_without_an_end(
    server: Upstream, proxy: Proxy, number: int
) -> None:
    client, peer = streaming(server, proxy)

    proxy.stops(number)

    assert client.rest() == b""
    assert peer.rest() == b""


def test_what_was_under_way_when_the_proxy_was_stopped_is_closed(server: Upstream, proxy: Proxy) -> None:
    streaming(server, proxy)
    waiting = proxy.asks("GET /mcp")
    server.accepts().head()

    assert proxy.stops() == 0

    assert waiting.rest() == b""
    ends = [told for kind, _, _, told in proxy.told(2) if kind == CLOSE]
    assert ends == [{"why": "error", "detail": "the proxy was stopped"}] * 2


# --- slow and many ------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_a_client_that_does_not_read_stops_the_server_and_memory_stays_small(
    server: Upstream, proxy: Proxy
) -> None:
    client = proxy.asks("GET /files")
    peer = server.accepts()
    peer.head()
    peer.sends(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)

    sent = filled(peer)

    assert sent < LARGE / 4
    client.head()
    with peer.sending(bytes(LARGE - sent)):
        drained(client, LARGE)
    assert peak_of(proxy) < MEMORY


@pytest.mark.timeout(300)
def test_a_server_that_does_not_read_stops_the_client_and_memory_stays_small(
    server: Upstream, proxy: Proxy
) -> None:
    client = proxy.asks(f"POST /files\nContent-Length: {LARGE}")
    peer = server.accepts()
    peer.head()

    sent = filled(client)

    assert sent < LARGE / 4
    with client.sending(bytes(LARGE - sent)):
        drained(peer, LARGE)
    assert peak_of(proxy) < MEMORY


def test_a_hundred_streams_run_side_by_side(server: Upstream, proxy: Proxy) -> None:
    clients = [proxy.asks(f"POST /mcp?{number}\nContent-Length: 0") for number in range(100)]
    peers = {int(re.findall(rb"\?(\d+)", peer.head().start)[0]): peer for peer in accepted(server, 100)}
    for peer in peers.values():
        peer.sends(STREAM)
    for number in reversed(range(100)):
        peers[number].sends(b"%x\r\n%b\r\n" % (len(str(number)), str(number).encode()))
    for number, client in enumerate(clients):
        client.head()
        assert client.chunk() == str(number).encode()
    for peer in peers.values():
        peer.sends(b"0\r\n\r\n")
    assert [client.chunk() for client in clients] == [b""] * 100
    assert sum(record[0] == CLOSE for record in proxy.told(100)) == 100


def test_small_pieces_do_not_wait_for_each_other() -> None:
    # asyncio sets TCP_NODELAY where a socket names TCP; those that are accepted do as the one that listens.
    with bound(0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def accepted(server: Upstream, number: int) -> list[Wire]:
    return [server.accepts() for _ in range(number)]


def filled(wire: Wire) -> int:
    """How much is taken of zeros before nothing is taken any more; in a second nobody is that slow."""
    sent = 0
    while sent < LARGE and select.select([], [wire], [], 1)[1]:
        sent += wire.takes(bytes(min(1 << 20, LARGE - sent)))
    return sent


def drained(wire: Wire, size: int) -> None:
    while size:
        part = min(size, 1 << 20)
        assert wire.exactly(part) == bytes(part)
        size -= part


def peak_of(proxy: Proxy) -> int:
    """Bytes of memory at its most."""
    if sys.platform != "linux":
        return 0
    status = Path(f"/proc/{proxy.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


# --- https --------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of 127.0.0.1, signed by itself; with its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(names, False).add_extension(x509.BasicConstraints(True, None), True)
    place = tmp_path / "one.pem"
    place.write_bytes(
        made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return place


def test_a_certificate_that_nobody_trusts_is_refused_and_said_so(server: Upstream, certificate: Path) -> None:
    with proxied(f"https://127.0.0.1:{server.port}/mcp") as proxy:
        client = proxy.asks("GET /mcp")
        with pytest.raises(ssl.SSLError):
            server.accepts_tls(certificate)
        head = client.head()

        assert head.start == b"HTTP/1.1 502 Bad Gateway"
        assert b"CERTIFICATE_VERIFY_FAILED" in client.exactly(int(head.values(b"content-length")[0]))


def test_a_server_of_https_is_reached_by_a_certificate_that_is_trusted(
    server: Upstream, certificate: Path
) -> None:
    env = {"SSL_CERT_FILE": str(certificate)}
    with proxied(f"https://127.0.0.1:{server.port}/mcp", env=env) as proxy:
        client = proxy.asks("GET /mcp")
        peer = server.accepts_tls(certificate)
        assert peer.head().values(b"host") == [f"127.0.0.1:{server.port}".encode()]
        peer.sends(STREAM + b"4\r\n: a\n\r\n")
        client.head()
        assert client.chunk() == b": a\n"
        client.closes()
        assert peer.rest() == b""
