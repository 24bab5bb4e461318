"""HTTP as bytes: what is a request, what is none, and what an answer looks like. No socket is opened."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from devtrace.probes import http
from devtrace.probes.fields import Refused
from devtrace.probes.http import MOST_FIELDS, MOST_HEAD, MOST_LINE, REASONS, Head, Incoming, response
from devtrace.probes.routes import CODES
from tests.probes.serving import Reply

HOST = b"Host: localhost:5001\r\n"


def read(data: bytes) -> Head | None:
    incoming = Incoming()
    incoming.take(data)
    return incoming.head()


def whole(data: bytes) -> Head:
    head = read(data)
    assert head is not None
    return head


def refused(data: bytes) -> tuple[int, str]:
    with pytest.raises(Refused) as raised:
        read(data)
    assert (http.CODES | CODES)[raised.value.code][0] == raised.value.status
    return raised.value.status, raised.value.code


# --- heads --------------------------------------------------------------------------------------------------


def test_a_head_tells_method_path_query_and_fields() -> None:
    head = whole(b"GET /points?type=logpoint&tag=a?b HTTP/1.1\r\n" + HOST + b"X-Mine:\t a b \r\n\r\n")

    assert (head.method, head.path, head.query) == ("GET", "/points", "type=logpoint&tag=a?b")
    assert head.headers == {"host": "localhost:5001", "x-mine": "a b"}
    assert (head.length, head.is_kept, head.wants_continue) == (0, True, False)


def test_a_path_stays_as_it_was_sent() -> None:
    assert whole(b"GET //a/../%2e%00 HTTP/1.1\r\n" + HOST + b"\r\n").path == "//a/../%2e%00"


def test_a_head_may_come_byte_by_byte() -> None:
    incoming = Incoming()
    data = b"\r\nPOST /tracepoints HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n"
    for byte in data[:-1]:
        incoming.take(bytes([byte]))
        assert incoming.head() is None
    incoming.take(data[-1:])
    head = incoming.head()

    assert head is not None
    assert (head.method, head.length) == ("POST", 2)


def test_requests_that_came_together_are_read_one_after_the_other() -> None:
    incoming = Incoming()
    incoming.take(b"PUT /a HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n" + HOST)
    first = incoming.head()
    assert first is not None
    assert incoming.body(first.length) == b"abc"
    assert incoming.head() is None
    incoming.take(b"\r\n")
    second = incoming.head()

    assert second is not None
    assert second.path == "/b"
    assert incoming.body(second.length) == b""
    assert not incoming


def test_a_body_is_waited_for() -> None:
    incoming = Incoming()
    incoming.take(b"ab")

    assert incoming.body(3) is None
    incoming.take(b"cd")
    assert incoming.body(3) == b"abc"
    assert len(incoming) == 1


@pytest.mark.parametrize(
    ("version", "connection", "is_kept"),
    [
        ("1.1", "", True),
        ("1.1", "keep-alive", True),
        ("1.1", "close", False),
        ("1.1", "Upgrade, Close", False),
        ("1.0", "", False),
        ("1.0", "Keep-Alive", True),
        ("1.0", "close", False),
    ],
)
def test_a_connection_is_kept_as_the_version_and_the_client_say(
    version: str, connection: str, is_kept: bool
) -> None:
    field = f"Connection: {connection}\r\n".encode() if connection else b""

    assert whole(f"GET / HTTP/{version}\r\n".encode() + HOST + field + b"\r\n").is_kept is is_kept


def test_only_a_new_client_waits_to_be_told_to_continue() -> None:
    fields = HOST + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n"

    assert whole(b"PUT / HTTP/1.1\r\n" + fields).wants_continue
    assert not whole(b"PUT / HTTP/1.0\r\n" + fields).wants_continue


def test_the_old_version_needs_no_host() -> None:
    assert "host" not in whole(b"GET /health HTTP/1.0\r\n\r\n").headers


# --- what is no request -------------------------------------------------------------------------------------

_NO_REQUEST: dict[str, bytes] = {
    "no-version": b"GET /\r\n\r\n",
    "another-version": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "version-in-small-letters": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "http2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "two-spaces": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "tab-for-space": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "space-in-target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "space-at-the-end": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "for-a-proxy": b"GET http://localhost:5001/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "connect": b"CONNECT localhost:5001 HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "target-not-ascii": b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "two-empty-lines-first": b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "two-hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "folded-line": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n",
    "folded-with-tab": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\r\n\tX-B: c\r\n\r\n",
    "folded-first": b"GET / HTTP/1.1\r\n " + HOST + b"\r\n",
    "space-before-colon": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length : 3\r\n\r\nabc",
    "no-colon": b"GET / HTTP/1.1\r\n" + HOST + b"nothing\r\n\r\n",
    "no-name": b"GET / HTTP/1.1\r\n" + HOST + b": a\r\n\r\n",
    "name-not-ascii": b"GET / HTTP/1.1\r\n" + HOST + b"\xc3\xa9: a\r\n\r\n",
    "control-in-value": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\x1b[2J\r\n\r\n",
    "nul-in-value": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: \0\r\n\r\n",
    "nul-in-line": b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "nul-in-the-midst": b"GET /\0",
    "bare-lf": b"GET / HTTP/1.1\n" + HOST + b"\r\n",
    "bare-lf-alone": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "bare-lf-in-value": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\nX-B: b\r\n\r\n",
    "bare-cr": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\rX-B: b\r\n\r\n",
    "cr-cr-lf": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\r\r\n\r\n",
    "two-lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two-equal-lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "length-list": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n\r\nabc",
    "length-negative": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "length-signed": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc",
    "length-hex": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x3\r\n\r\nabc",
    "length-underscore": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1_0\r\n\r\n0123456789",
    "length-other-digits": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \xb2\r\n\r\nab",
    "length-empty": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\n",
    "length-endless": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 9_000 + b"\r\n\r\n",
    "length-and-chunks": b"POST / HTTP/1.1\r\n" + HOST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    "chunks-and-length": b"POST / HTTP/1.1\r\n" + HOST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    "chunked-twice": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n",
    "long-line": b"GET /" + b"a" * MOST_LINE + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "long-method": b"A" * 33 + b" / HTTP/1.1\r\n" + HOST + b"\r\n",
    "long-head": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * MOST_HEAD + b"\r\n\r\n",
    "long-head-without-end": b"a" * (MOST_HEAD + 1),
    "many-fields": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\r\n" * MOST_FIELDS + b"\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", _NO_REQUEST)
def test_what_is_not_plain_is_refused(name: str) -> None:
    assert refused(_NO_REQUEST[name]) == (400, "INVALID_REQUEST")


def test_what_is_not_plain_is_refused_byte_by_byte_too() -> None:
    for name, data in _NO_REQUEST.items():
        incoming = Incoming()
        with pytest.raises(Refused) as raised:  # noqa: PT012 - at which byte is nobody's concern
            for byte in data:
                incoming.take(bytes([byte]))
                incoming.head()
            pytest.fail(name)
        assert raised.value.code == "INVALID_REQUEST"


@pytest.mark.parametrize("coding", ["chunked", "gzip, chunked", "identity", "xchunked", ""])
def test_a_body_without_a_length_is_refused(coding: str) -> None:
    data = b"POST / HTTP/1.1\r\n" + HOST + f"Transfer-Encoding: {coding}\r\n\r\n".encode()

    assert refused(data) == (411, "LENGTH_REQUIRED")


def test_what_is_as_long_as_it_may_be_is_read() -> None:
    line = b"GET /" + b"a" * (MOST_LINE - len("GET / HTTP/1.1")) + b" HTTP/1.1\r\n"
    fields = HOST + b"X-A: a\r\n" * (MOST_FIELDS - 1)
    head = b"GET / HTTP/1.1\r\n" + HOST + b"X-A: "

    assert whole(line + fields + b"\r\n").headers["x-a"].count("a") == MOST_FIELDS - 1
    assert whole(head + b"a" * (MOST_HEAD - len(head) - 2) + b"\r\n\r\n")


def test_a_value_of_many_blanks_is_read_in_no_time() -> None:
    blanks = b" \t" * 8_000

    assert refused(b"GET / HTTP/1.1\r\n" + HOST + b"X-A:" + blanks + b"\x01\r\n\r\n")
    assert whole(b"GET / HTTP/1.1\r\n" + HOST + b"X-A:" + blanks[:8_000] + b"\r\n\r\n").headers["x-a"] == ""


def test_a_refusal_repeats_nothing_of_the_request() -> None:
    for data in _NO_REQUEST.values():
        with pytest.raises(Refused) as raised:
            read(data)
        assert re.fullmatch(r"Invalid request: [A-Za-z0-9 ,./-]+", raised.value.message)


# --- answers ------------------------------------------------------------------------------------------------


def test_an_answer_is_json_that_nobody_stores() -> None:
    raw = response(201, {"name": "ಕನ್ನಡ", "lone": "\ud800"})
    reply = Reply(raw)

    assert raw.startswith(b"HTTP/1.1 201 Created\r\n")
    assert reply.headers == {
        "content-type": "application/json",
        "x-content-type-options": "nosniff",
        "content-length": str(len(reply.body)),
        "cache-control": "no-store",
        "connection": "keep-alive",
    }
    assert reply.document == {"name": "ಕನ್ನಡ", "lone": "\ud800"}


def test_an_answer_without_a_body_has_neither_type_nor_length() -> None:
    assert response(204, None, is_kept=False) == (
        b"HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )


def test_head_is_told_the_length_and_no_more() -> None:
    full = response(200, {"a": 1})

    assert response(200, {"a": 1}, has_body=False) == full[: -len(b'{"a": 1}')]


def test_a_401_says_what_is_wanted() -> None:
    assert Reply(response(401, {})).headers["www-authenticate"] == "Bearer"


def test_a_405_lists_what_is_allowed() -> None:
    reply = Reply(response(405, {"details": {"allowed": ["GET", "PUT"]}}))

    assert reply.headers["allow"] == "GET, PUT"
    assert Reply(response(405, {})).headers["allow"] == ""


@pytest.mark.parametrize("value", [float("nan"), b"", object()], ids=["nan", "bytes", "object"])
def test_what_is_no_json_is_a_500(value: Any) -> None:
    assert Reply(response(200, {"a": [value]})).code == (500, "INTERNAL_ERROR")


def test_every_status_has_its_words_and_every_code_one_meaning() -> None:
    assert {status for status, _ in (CODES | http.CODES).values()} <= set(REASONS)
    assert all(CODES.get(code, told)[0] == told[0] for code, told in http.CODES.items())


def test_no_answer_opens_a_door_for_pages() -> None:
    for status in REASONS:
        raw = response(status, {"error": "a", "code": "b"}).lower()
        assert b"access-control" not in raw
        assert b"\r\nserver:" not in raw
        assert json.loads(raw.partition(b"\r\n\r\n")[2])
