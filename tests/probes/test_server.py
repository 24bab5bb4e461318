"""The server over real sockets: what it answers, its limits and times, its descriptors, its files.

Not here: what a request is (test_http.py), who may ask (test_guard.py).
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtrace.probes.connection import IDLE_S, LINGERING_S, READING_S, WRITING_S
from devtrace.probes.guard import Guard
from devtrace.probes.http import CONTINUE
from devtrace.probes.routes import MOST_BYTES
from devtrace.probes.server import MOST_CONNECTIONS, MOST_REFUSED
from tests.probes.serving import (
    BEARER,
    TOKEN,
    Reply,
    Stepped,
    heard,
    is_closed,
    replies,
    stepped,
)
from tests.processes import DEADLINE

LIMIT = MOST_CONNECTIONS


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Stepped]:
    with stepped(tmp_path) as made:
        yield made


def reset(client: socket.socket) -> None:
    """Leave without a word: the other end finds the connection broken."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# --- answers ------------------------------------------------------------------------------------------------


def test_a_request_reaches_the_routes_whole(api: Stepped) -> None:
    reply = api.asks(api.unix(), "POST /tracepoints?a=b", body='{"line": 42}')

    assert reply.status == 200
    ((method, path, query, body, peer),) = api.said
    assert (method, path, query, body) == ("POST", "/tracepoints", "a=b", b'{"line": 42}')
    assert (peer.pid, peer.uid, peer.is_unix) == (os.getpid(), os.geteuid(), True)


def test_over_tcp_a_token_is_needed_and_the_peer_is_nobody(api: Stepped) -> None:
    assert api.asks(api.tcp(), "GET /points").code == (401, "UNAUTHORIZED")
    assert api.said == []
    assert api.asks(api.tcp(), "GET /points", BEARER).status == 200
    assert (api.said[0][4].pid, api.said[0][4].uid, api.said[0][4].is_unix) == (None, None, False)


def test_health_needs_no_token_and_no_other_route_is_told(api: Stepped) -> None:
    assert api.asks(api.tcp(), "GET /health").status == 200
    assert api.asks(api.tcp(), "GET /nothing").code == (401, "UNAUTHORIZED")
    assert api.asks(api.tcp(), "GET /nothing", BEARER).code == (404, "ROUTE_NOT_FOUND")
    reply = api.asks(api.tcp(), "PUT /health", BEARER)
    assert reply.code == (405, "METHOD_NOT_ALLOWED")
    assert reply.headers["allow"] == "GET"


def test_csrf_sets_no_point(api: Stepped) -> None:
    page = ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Content-Type: text/plain"]
    reply = api.asks(api.tcp(), "POST /tracepoints", *page, body='{"file": "a.py", "line": 1}')

    assert reply.code == (403, "FORBIDDEN")
    assert not [name for name in reply.headers if name.startswith("access-control")]
    assert api.said == []


def test_csrf_has_no_preflight(api: Stepped) -> None:
    page = ["Origin: http://evil.example", "Access-Control-Request-Method: POST"]
    reply = api.asks(api.tcp(), "OPTIONS /tracepoints", *page)

    assert reply.code == (403, "FORBIDDEN")
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_dns_rebinding_reads_no_point(tmp_path: Path) -> None:
    for number, guard in enumerate([Guard(TOKEN), Guard(TOKEN, is_insecure=True)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with stepped(folder, guard=guard) as api:
            client = api.tcp()
            reply = api.asks(client, "GET /points", f"Host: evil.example:{api.port}", BEARER)
            assert reply.code == (403, "FORBIDDEN")
            assert api.said == []


def test_head_is_answered_as_get_without_a_body(api: Stepped) -> None:
    client = api.unix()
    told = api.asks(client, "HEAD /points")
    length = int(told.headers["content-length"])

    assert (told.status, told.body, told.rest) == (200, b"", b"")
    assert len(api.asks(client, "GET /points").body) == length
    assert [said[0] for said in api.said] == ["GET", "GET"]


def test_head_is_refused_without_a_body_too(api: Stepped) -> None:
    told = api.asks(api.tcp(), "HEAD /points")

    assert (told.status, told.rest) == (401, b"")


def test_a_204_is_nothing_but_a_head(api: Stepped) -> None:
    client = api.unix()
    raw = api.says(client, api.text("DELETE /points/a"))

    assert raw == b"HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\nConnection: keep-alive\r\n\r\n"
    assert api.asks(client, "GET /points").status == 200


def test_a_bug_of_ours_is_a_500_and_counted(api: Stepped) -> None:
    client = api.unix()
    reply = api.asks(client, "GET /fails")

    assert reply.code == (500, "INTERNAL_ERROR")
    assert b"ana" not in reply.body
    assert api.server.failures == 1
    assert api.asks(client, "GET /points").status == 200


def test_a_connection_is_kept_until_somebody_ends_it(api: Stepped) -> None:
    client = api.unix()
    for _ in range(3):
        assert api.asks(client, "GET /points").headers["connection"] == "keep-alive"
    assert api.asks(client, "GET /points", "Connection: close").headers["connection"] == "close"

    assert is_closed(client)
    client.close()
    api.pump()
    assert not api.server.is_busy


def test_the_old_version_is_answered_and_closed(api: Stepped) -> None:
    client = api.tcp()
    reply = Reply(api.says(client, f"GET /health HTTP/1.0\r\nHost: localhost:{api.port}\r\n\r\n".encode()))

    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert is_closed(client)


def test_pipelined_requests_are_answered_in_order(api: Stepped) -> None:
    client = api.unix()
    asked = [api.text(f"POST /tracepoints?{number}", body=str(number)) for number in range(100)]
    answers = replies(api.says(client, b"".join(asked)))

    assert [answer.document["query"] for answer in answers] == [str(number) for number in range(100)]
    assert [said[3] for said in api.said] == [str(number).encode() for number in range(100)]


def test_behind_a_refusal_nothing_is_read(api: Stepped) -> None:
    client = api.unix()
    smuggled = api.text("POST /tracepoints", "Transfer-Encoding: chunked", "Content-Length: 4")
    answers = replies(api.says(client, smuggled + b"0\r\n\r\n" + api.text("DELETE /points/a")))

    assert [answer.code for answer in answers] == [(400, "INVALID_REQUEST")]
    assert api.said == []
    assert is_closed(client)


def test_behind_connection_close_nothing_is_read(api: Stepped) -> None:
    client = api.unix()
    asked = api.text("GET /points", "Connection: close") + api.text("GET /points")

    assert len(replies(api.says(client, asked))) == 1
    assert len(api.said) == 1


def test_many_requests_of_one_client_do_not_keep_others_waiting(api: Stepped) -> None:
    greedy, modest = api.unix(), api.unix()
    greedy.sendall(api.text("GET /points?greedy") * 50)
    modest.sendall(api.text("GET /points?modest"))
    api.pump()

    assert [said[2] for said in api.said].index("modest") <= 2


def test_a_client_that_waits_is_told_to_continue(api: Stepped) -> None:
    client = api.unix()
    told = api.says(client, api.text("POST /tracepoints", "Expect: 100-continue", "Content-Length: 2",
                                     "Content-Type: application/json"))  # fmt: skip

    assert told == CONTINUE
    assert Reply(api.says(client, b"{}")).status == 200


def test_a_client_that_has_not_waited_is_not_told_to_continue(api: Stepped) -> None:
    assert api.asks(api.unix(), "POST /tracepoints", "Expect: 100-continue", body="{}").status == 200


def test_a_client_that_waits_is_told_at_once_that_it_is_in_vain(api: Stepped) -> None:
    waits = ["Expect: 100-continue", "Content-Length: 2"]

    assert api.asks(api.tcp(), "POST /tracepoints", *waits).code == (401, "UNAUTHORIZED")
    assert api.asks(api.unix(), "POST /points", *waits).code == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_body_without_a_length_is_a_411(api: Stepped) -> None:
    chunked = api.text("POST /tracepoints", "Transfer-Encoding: chunked", "Content-Type: application/json")

    assert Reply(api.says(api.unix(), chunked + b"2\r\n{}\r\n0\r\n\r\n")).code == (411, "LENGTH_REQUIRED")


# --- limits -------------------------------------------------------------------------------------------------


def test_a_body_may_be_as_long_as_the_limit(api: Stepped) -> None:
    body = "a" * MOST_BYTES

    assert api.asks(api.unix(), "POST /tracepoints", body=body).status == 200
    assert api.said[0][3] == body.encode()


def test_a_body_that_is_too_long_is_refused_before_it_comes(api: Stepped) -> None:
    client = api.unix()
    kind = "Content-Type: application/json"
    reply = api.asks(client, "POST /tracepoints", f"Content-Length: {MOST_BYTES + 1}", kind)

    assert reply.code == (413, "BODY_TOO_LARGE")
    assert reply.headers["connection"] == "close"
    assert api.said == []


def test_who_sends_a_body_that_is_too_long_hears_why(api: Stepped) -> None:
    client = api.tcp()
    length = 2 * MOST_BYTES
    kind = "Content-Type: application/json"
    client.sendall(api.text("POST /tracepoints", BEARER, f"Content-Length: {length}", kind))
    api.pump()
    client.sendall(b"a" * length)  # into a socket that was closed this would take the answer back
    api.pump()

    assert Reply(heard(client)).code == (413, "BODY_TOO_LARGE")


def test_a_body_without_an_end_is_not_thrown_away_for_ever(
    api: Stepped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devtrace.probes.connection._MOST_THROWN_AWAY", 100_000)
    client = api.unix()
    api.asks(client, "POST /tracepoints", f"Content-Length: {MOST_BYTES + 1}")
    for _ in range(4):
        if api.server.is_busy:
            client.sendall(b"a" * 60_000)
            api.pump()

    assert not api.server.is_busy


@pytest.mark.parametrize("data", [b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"a" * 20_000])
def test_a_head_that_is_too_long_is_refused(api: Stepped, data: bytes) -> None:
    client = api.unix()

    assert Reply(api.says(client, data)).code == (400, "INVALID_REQUEST")
    assert is_closed(client)


def test_the_seventeenth_connection_is_told_so(api: Stepped) -> None:
    held = [api.tcp() for _ in range(LIMIT)]
    reply = Reply(heard(api.tcp()))

    assert reply.code == (429, "TOO_MANY_CONNECTIONS")
    assert reply.document["details"] == {"most": LIMIT}
    assert all(api.asks(client, "GET /health").status == 200 for client in held)


def test_the_seventeenth_hears_it_even_if_it_has_spoken_first(api: Stepped) -> None:
    held = [api.tcp() for _ in range(LIMIT)]
    late = socket.create_connection(("127.0.0.1", api.port), DEADLINE)
    with late:
        late.sendall(api.text("GET /health"))
        api.pump()
        assert Reply(heard(late)).code == (429, "TOO_MANY_CONNECTIONS")
    assert len(held) == LIMIT


def test_a_place_that_is_given_up_is_somebody_elses(api: Stepped) -> None:
    held = [api.tcp() for _ in range(LIMIT + 3)]  # three were refused, and have not gone yet
    held.pop(0).close()
    api.pump()

    assert api.asks(api.tcp(), "GET /health").status == 200


def test_who_is_refused_holds_no_place_for_long(api: Stepped) -> None:
    held = [api.tcp() for _ in range(LIMIT + MOST_REFUSED)]
    waiting = api.tcp()
    assert heard(waiting) == b""  # it waits in the kernel
    api.wait(LINGERING_S)

    assert len(held) == LIMIT + MOST_REFUSED
    assert Reply(heard(waiting)).code == (429, "TOO_MANY_CONNECTIONS")


def test_a_page_that_holds_all_connections_does_not_keep_the_command_line_out(api: Stepped) -> None:
    held = [api.tcp() for _ in range(LIMIT + 2)]

    assert api.asks(api.unix(), "GET /points").status == 200
    assert len(held) == LIMIT + 2


# --- times --------------------------------------------------------------------------------------------------


def test_slow_loris_is_ended_however_it_dribbles(api: Stepped) -> None:
    client = api.unix()
    for byte in b"GET /poin":
        assert api.says(client, bytes([byte])) == b""
        api.wait(READING_S / 10)
    assert heard(client) == b""
    api.says(client, b"t")
    api.wait(READING_S / 10)

    assert Reply(heard(client)).code == (408, "REQUEST_TIMEOUT")
    assert is_closed(client)
    assert api.said == []


def test_slow_loris_with_a_body_is_ended(api: Stepped) -> None:
    client = api.unix()
    kind = "Content-Type: application/json"
    api.says(client, api.text("POST /tracepoints", "Content-Length: 100", kind) + b"{")
    api.wait(READING_S)

    assert Reply(heard(client)).code == (408, "REQUEST_TIMEOUT")


def test_the_next_request_has_time_of_its_own(api: Stepped) -> None:
    client = api.unix()
    whole = api.text("GET /points")
    assert api.says(client, whole[:10]) == b""
    api.wait(READING_S * 0.9)
    assert len(replies(api.says(client, whole[10:] + whole[:10]))) == 1
    api.wait(READING_S * 0.9)
    assert len(replies(api.says(client, whole[10:]))) == 1
    api.wait(READING_S)

    assert not is_closed(client)


def test_a_client_that_never_speaks_is_ended(api: Stepped) -> None:
    client = api.unix()
    api.wait(IDLE_S - 1)
    assert not is_closed(client)
    api.wait(1)

    assert is_closed(client)
    assert not api.server.is_busy


def test_a_kept_connection_is_ended_when_it_is_idle_for_too_long(api: Stepped) -> None:
    client = api.unix()
    api.wait(IDLE_S - 1)
    assert api.asks(client, "GET /points").status == 200
    api.wait(IDLE_S - 1)
    assert not is_closed(client)
    api.wait(1)

    assert is_closed(client)


def test_a_client_that_never_reads_is_ended(api: Stepped) -> None:
    client = api.unix()
    client.sendall(api.text("GET /long") * 100)
    api.pump()
    assert len(api.said) == 1  # one answer is owed, and no more is read
    api.wait(WRITING_S)

    assert not api.server.is_busy


def test_a_client_that_reads_slowly_hears_all(api: Stepped) -> None:
    client = api.unix()
    found = api.says(client, api.text("GET /long", "Connection: close"))

    assert len(Reply(found).document["long"]) == 4_000_000


def test_a_client_that_does_not_close_after_the_last_answer_is_ended(api: Stepped) -> None:
    client = api.unix()
    assert api.asks(client, "GET /points", "Connection: close").status == 200
    assert api.server.is_busy
    api.wait(LINGERING_S)

    assert not api.server.is_busy


def test_a_client_that_has_said_all_is_answered(api: Stepped) -> None:
    client = api.unix()
    client.sendall(api.text("GET /points") * 2)
    client.shutdown(socket.SHUT_WR)
    api.pump()

    assert len(replies(heard(client))) == 2
    assert not api.server.is_busy


@pytest.mark.parametrize("part", [0, 1, 20])
def test_a_client_that_goes_in_the_midst_is_forgotten(api: Stepped, part: int) -> None:
    for client in (api.unix(), api.tcp()):
        client.sendall(api.text("GET /points")[:part])
        api.pump()
        reset(client)
        api.pump()

    assert not api.server.is_busy
    assert api.server.failures == 0


def test_a_client_that_goes_before_its_answer_is_forgotten(api: Stepped) -> None:
    for client in (api.unix(), api.tcp()):
        client.sendall(api.text("GET /long", BEARER))
        api.pump()
        reset(client)
        api.pump()

    assert len(api.said) == 2
    assert not api.server.is_busy
    assert api.server.failures == 0


def test_the_deadline_is_that_of_who_is_ended_first(api: Stepped) -> None:
    assert api.server.deadline() is None
    api.unix()
    assert api.server.deadline() == api.now + IDLE_S
    api.says(api.unix(), b"G")
    assert api.server.deadline() == api.now + READING_S
    api.wait(READING_S)
    assert api.server.deadline() == api.now + LINGERING_S
    api.wait(IDLE_S)
    assert api.server.deadline() is None


# --- what nobody thought of ---------------------------------------------------------------------------------

_PARTS = [
    b"GET ", b"POST ", b"HEAD ", b"DELETE ", b"/points", b"/tracepoints", b" HTTP/1.1", b" HTTP/1.0", b"\r\n",
    b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"Host: a\r\n", b"Content-Length: 5\r\n", b"{}",
    b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"1\r\na\r\n0\r\n\r\n",
    b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Content-Type: application/json\r\n", b"\xff\xfe",
    b"Origin: null\r\n", b"a" * 5_000,
]  # fmt: skip


def mutilated(seed: int) -> bytes:
    """A few requests, of which something is missing, doubled, moved, or not what it was."""
    rng = random.Random(seed)
    head = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n[1,2]"
    data = bytearray((b"POST /tracepoints HTTP/1.1\r\n" + head) * rng.randint(1, 3))
    for _ in range(rng.randint(1, 6)):
        at, size = rng.randrange(len(data) + 1), rng.randint(0, 12)
        how = rng.randrange(4)
        if how == 0:
            del data[at : at + size]
        elif how == 1:
            data[at:at] = rng.choice(_PARTS)
        elif how == 2:
            data[at : at + size] = rng.randbytes(size)
        else:
            data[at:at] = data[: rng.randrange(len(data) + 1)]
    return bytes(data)


@pytest.mark.parametrize("first", range(0, 500, 50))
def test_mutilated_requests_end_in_an_answer_or_a_close(api: Stepped, first: int) -> None:
    for seed in range(first, first + 50):
        rng, data = random.Random(-seed), mutilated(seed)
        client = api.unix()
        found = b""
        for part in (data[: (cut := rng.randrange(len(data) + 1))], data[cut:]):
            if sent(client, part):
                found += api.hears(client)
        api.wait(READING_S)
        found += heard(client)
        api.wait(IDLE_S)

        for reply in replies(found.replace(CONTINUE, b"")):
            assert reply.status < 500, (seed, data)
        assert is_closed(client), (seed, data)
        assert (api.server.failures, api.server.is_busy) == (0, False), (seed, data)
        client.close()


def sent(client: socket.socket, data: bytes) -> bool:
    """Whether the server was still there for it."""
    try:
        client.sendall(data)
    except ConnectionError:
        return False
    return True
