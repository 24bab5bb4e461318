"""Header fields on their way through the HTTP proxy: stripped, put in, told; and who may ask at all."""

from __future__ import annotations

import json

import pytest

from devtrace.errors import UsageError
from devtrace.sources.mcp import address, guard, headers

HOST = (b"Host", b"127.0.0.1:8790")
SECRETS = [
    (b"Authorization", b"Bearer hush-1"),
    (b"Proxy-Authorization", b"Basic hush-2"),
    (b"Cookie", b"sid=hush-3"),
    (b"Set-Cookie", b"sid=hush-4"),
    (b"X-Api-Key", b"hush-5"),
    (b"X-Goog-Api-Key", b"hush-6"),
    (b"Mcp-Param-Region", b"hush-7"),
    (b"WWW-Authenticate", b'Bearer error="hush-8"'),
    (b"Location", b"https://as.example/cb?code=hush-9"),
    (b"X-Nobody-Has-Heard-Of", b"hush-10"),
    (b"Referer", b"https://a.example/?t=hush-11"),
    (b"DPoP", b"hush-12"),
]


# --- stripped -----------------------------------------------------------------------------------------------


def test_fields_of_one_connection_do_not_pass() -> None:
    hops = b"Connection Proxy-Connection Keep-Alive TE Transfer-Encoding Trailer Upgrade".split()

    assert headers.end_to_end([(name, b"x") for name in hops]) == []


def test_what_connection_names_does_not_pass_however_it_is_spelled() -> None:
    fields = [
        (b"X-One", b"1"),
        (b"connection", b"close, x-ONE"),
        (b"Connection", b" X-Two "),
        (b"x-two", b"2"),
    ]

    assert headers.end_to_end([*fields, (b"X-Three", b"3")]) == [(b"X-Three", b"3")]


def test_connection_takes_neither_the_length_nor_the_host_away() -> None:
    fields = [HOST, (b"Connection", b"content-length, host"), (b"Content-Length", b"3")]

    assert headers.end_to_end(fields) == [HOST, (b"Content-Length", b"3")]


def test_all_else_keeps_its_order_its_spelling_and_its_doubles() -> None:
    fields = [
        (b"X-b", b"1"),
        (b"x-A", b"2"),
        (b"X-B", b"3"),
        (b"x-a", b""),
        (b"Proxy-Authenticate", b"Basic"),
    ]

    assert headers.end_to_end(fields) == fields


# --- put in -------------------------------------------------------------------------------------------------


def test_the_server_is_called_by_its_own_name() -> None:
    fields = headers.to_server([(b"X-A", b"1"), HOST, (b"X-B", b"2")], "mcp.example.com", [])

    assert fields == [(b"X-A", b"1"), (b"Host", b"mcp.example.com"), (b"X-B", b"2")]


def test_a_chunked_body_stays_chunked_and_its_length_goes() -> None:
    fields = headers.to_server([HOST, (b"transfer-encoding", b"CHUNKED"), (b"Content-Length", b"3")], "a", [])

    assert fields == [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")]


def test_what_the_user_adds_replaces_what_the_client_sent() -> None:
    client = [HOST, (b"authorization", b"Bearer client"), (b"X-A", b"1")]

    fields = headers.to_server(client, "a", [(b"Authorization", b"Bearer user")])

    assert fields == [(b"Host", b"a"), (b"X-A", b"1"), (b"Authorization", b"Bearer user")]


# --- told ---------------------------------------------------------------------------------------------------


def test_no_credential_is_told() -> None:
    told = headers.told([*SECRETS, (b"Content-Type", b"text/event-stream")])

    assert told == {"content-type": "text/event-stream"}


def test_what_the_user_added_is_not_told_even_where_it_would_be() -> None:
    told = headers.told([(b"User-Agent", b"hush"), (b"Accept", b"*/*")], {b"user-agent"})

    assert told == {"accept": "*/*"}


def test_what_a_recorder_needs_is_told_in_lower_case_and_doubles_are_joined() -> None:
    fields = [(b"MCP-Protocol-Version", b"2026-07-28"), (b"Accept", b"a/b"), (b"accept", b"c/d")]

    assert headers.told(fields) == {"mcp-protocol-version": "2026-07-28", "accept": "a/b, c/d"}


def test_a_session_is_told_by_a_digest_that_opens_nothing() -> None:
    one, same, other = (headers.told([(b"Mcp-Session-Id", name)]) for name in (b"s-1", b"s-1", b"s-2"))

    assert one == same != other
    assert "s-1" not in json.dumps(one)


# --- who may ask --------------------------------------------------------------------------------------------


def refusal(*fields: tuple[bytes, bytes], target: bytes = b"/mcp", is_endpoint: bool = True) -> str:
    return guard.refusal(target, fields, is_endpoint=is_endpoint)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8790",
        "127.1.2.3:1",
        "localhost:8790",
        "LOCALHOST",
        "a.localhost:1",
        "[::1]:8790",
    ],
)
def test_a_program_of_this_machine_may_ask(host: str) -> None:
    assert refusal((b"Host", host.encode())) == ""


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example:8790",
        "evil-localhost:8790",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "localhost:8790/x",
        "localhost:8790\x00",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::ffff:10.0.0.1]",
        "localhost:",
        "",
    ],
)
def test_a_name_that_merely_points_here_may_not_ask(host: str) -> None:
    assert "Host" in refusal((b"Host", host.encode()))


def test_no_host_may_not_ask() -> None:
    assert "Host" in refusal()


@pytest.mark.parametrize("origin", ["http://localhost:6274", "https://127.0.0.1", "http://[::1]:3000"])
def test_a_page_of_this_machine_may_ask(origin: str) -> None:
    assert refusal(HOST, (b"Origin", origin.encode())) == ""


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost.evil.example", "file://", "http://localhost@evil", ""],
)
def test_a_page_of_elsewhere_may_not_ask(origin: str) -> None:
    assert "Origin" in refusal(HOST, (b"origin", origin.encode()))


def test_an_image_of_another_site_may_not_ask() -> None:
    fields = [
        HOST,
        (b"Sec-Fetch-Site", b"cross-site"),
        (b"Sec-Fetch-Mode", b"no-cors"),
        (b"Sec-Fetch-Dest", b"image"),
    ]

    assert "site" in refusal(*fields)


def test_a_link_of_another_site_may_be_followed_to_a_sign_in_and_not_to_the_endpoint() -> None:
    browser = [
        (b"Sec-Fetch-Site", b"cross-site"),
        (b"Sec-Fetch-Mode", b"navigate"),
        (b"Sec-Fetch-Dest", b"document"),
    ]

    assert refusal(HOST, *browser, target=b"/authorize", is_endpoint=False) == ""
    assert "site" in refusal(HOST, *browser, target=b"/mcp", is_endpoint=True)


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:1/mcp", "https://evil.example/", "evil.example:443", "*", ""]
)
def test_a_target_that_is_no_path_is_refused(target: str) -> None:
    assert "path" in refusal(HOST, target=target.encode())


# --- the server's address -----------------------------------------------------------------------------------


def test_an_address_is_split_into_what_may_be_told_and_what_may_not() -> None:
    there = address.parse("HTTPS://ana:w%20d@MCP.Example.com:443/a/mcp?key=1#x")

    assert (there.origin, there.host, there.path) == ("https://mcp.example.com", "mcp.example.com", "/a/mcp")
    assert (there.query, there.credentials) == ("key=1", "Basic YW5hOncgZA==")
    assert address.public("https://ana:w@mcp.example.com/a/mcp?key=1#x") == "https://mcp.example.com/a/mcp"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("http://[::1]:3000/mcp", "http://[::1]:3000"),
        ("https://bücher.example/mcp", "https://xn--bcher-kva.example"),
        ("http://h:443", "http://h:443"),
    ],
)
def test_an_origin_is_spelled_in_one_way(url: str, origin: str) -> None:
    assert address.parse(url).origin == origin


@pytest.mark.parametrize(
    "url",
    ["ftp://h/", "h:1/mcp", "http://", "http://h:99999/", "http://h:0/", "http://h:x/", "http://h/a b", ""],
)
def test_what_is_no_address_of_a_server_is_said_so(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        address.parse(url)

    assert refused.value.code == "ERR_USAGE"


@pytest.mark.parametrize(
    "field",
    [
        (b"Origin", b"http://localhost:3000"),
        (b"Sec-Fetch-Site", b"same-site"),
        (b"Sec-Fetch-Site", b"same-origin"),
    ],
)
def test_where_the_proxy_has_a_credential_no_page_may_use_it(field: tuple[bytes, bytes]) -> None:
    asked = [HOST, field]

    assert guard.refusal(b"/mcp", asked, is_endpoint=True) == ""
    assert guard.refusal(b"/mcp", asked, is_endpoint=True, is_keyed=True) != ""
    assert guard.refusal(b"/mcp", [HOST], is_endpoint=True, is_keyed=True) == ""


def test_what_may_be_a_key_in_a_path_is_not_told() -> None:
    url = "https://a.example/api/mcp/s/NDdkMjRhYjMtZDZjNy00OGY3LWE5/mcp?key=1"

    assert address.public(url) == "https://a.example/api/mcp/s/.../mcp"
    assert (
        address.public("https://a.example/api/v2/streamable-http")
        == "https://a.example/api/v2/streamable-http"
    )
