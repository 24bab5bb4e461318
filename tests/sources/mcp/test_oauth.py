"""What a sign-in through the HTTP proxy reads and sends: rewritten where it must be, else the same bytes."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from devtrace.sources.mcp import oauth
from devtrace.sources.mcp.oauth import Origins
from devtrace.sources.mcp.signin import CALLBACK, SignIns

OURS, THEIRS = "http://127.0.0.1:8790", "https://mcp.example.com"
BOTH = Origins(OURS, THEIRS)


# --- origins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        (f"{THEIRS}/mcp?a=%20b#c", f"{OURS}/mcp?a=%20b#c"),
        (THEIRS, OURS),
        ("HTTPS://MCP.Example.COM:443/mcp", f"{OURS}/mcp"),
        (f"{THEIRS}?q", f"{OURS}?q"),
        ("http://mcp.example.com/mcp", None),
        ("https://mcp.example.com:8443/mcp", None),
        ("https://mcp.example.com.evil.example/", None),
        ("https://mcp.example.com@evil.example/", None),
        ("https://as.example/", None),
        ("/mcp", None),
        ("", None),
        ("https://mcp.example.com:port/", None),
        ("https://[mcp.example.com/", None),
    ],
)
def test_a_url_of_the_server_becomes_ours_and_no_other_does(url: str, ours: str | None) -> None:
    assert BOTH.to_ours(url) == (url if ours is None else ours)


@pytest.mark.parametrize(
    ("url", "theirs"),
    [
        (f"{OURS}/mcp", f"{THEIRS}/mcp"),
        ("http://localhost:8790/mcp", f"{THEIRS}/mcp"),
        ("http://[::1]:8790", THEIRS),
        ("http://127.0.0.1:8791/mcp", None),
        ("https://127.0.0.1:8790/mcp", None),
        ("http://10.0.0.1:8790/mcp", None),
        (f"{THEIRS}/mcp", None),
    ],
)
def test_a_url_of_ours_becomes_the_servers_again(url: str, theirs: str | None) -> None:
    assert BOTH.to_theirs(url) == (url if theirs is None else theirs)


# --- what the client reads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("quote", ['"', ""])
def test_a_challenge_leads_to_metadata_at_our_origin(quote: str) -> None:
    told = (
        f"Bearer error={quote}invalid_token{quote}, "
        f"resource_metadata={quote}{THEIRS}/.well-known/x{quote}, scope=a"
    )

    changed = oauth.challenge(told, BOTH)

    assert changed == told.replace(THEIRS, OURS)
    assert oauth.announced_metadata(told) == f"{THEIRS}/.well-known/x"


def test_a_challenge_of_elsewhere_stays() -> None:
    told = 'Bearer realm="https://mcp.example.com", resource_metadata="https://meta.example/x"'

    assert oauth.challenge(told, BOTH) == told
    assert oauth.announced_metadata('Basic realm="x"') == ""


def test_resource_metadata_names_what_the_client_dialled_and_keeps_every_other_byte() -> None:
    told = (
        '{ "resource" :\t"https:\\/\\/mcp.example.com/mcp" ,\r\n "scopes_supported":["a"], "n": 1.0e5,'
        ' "resource_documentation":"https://mcp.example.com/docs", "x":{"resource":"https://mcp.example.com/"},'
        ' "authorization_servers":[ "https://mcp.example.com/tenant","https://as.example" ], "\u00fc":[ ] }\n'
    ).encode()
    expected = told.replace(b'"https:\\/\\/mcp.example.com/mcp"', f'"{OURS}/mcp"'.encode()).replace(
        b'"https://mcp.example.com/tenant"', f'"{OURS}/tenant"'.encode()
    )

    assert oauth.resource_metadata(told, BOTH) == expected


def test_metadata_of_the_servers_own_authorization_server_is_that_of_ours() -> None:
    told = {
        "issuer": f"{THEIRS}/",
        "authorization_endpoint": f"{THEIRS}/authorize",
        "token_endpoint": f"{THEIRS}/token",
        "registration_endpoint": f"{THEIRS}/register",
        "revocation_endpoint": "https://as.example/revoke",
        "jwks_uri": f"{THEIRS}/keys",
        "service_documentation": f"{THEIRS}/docs",
    }

    changed = json.loads(oauth.server_metadata(json.dumps(told).encode(), BOTH))

    assert changed == told | {
        "issuer": f"{OURS}/",
        "authorization_endpoint": f"{OURS}/authorize",
        "token_endpoint": f"{OURS}/token",
        "registration_endpoint": f"{OURS}/register",
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'["https://mcp.example.com"]',
        b'"resource"',
        b"\xff\xfe{}",
        b'\xef\xbb\xbf{"resource":"https://mcp.example.com"}',
        b'{"resource":7,"authorization_servers":{"a":"https://mcp.example.com"}}',
        b'{"resource":"https://mcp.example.com"',
        b"[" * 100_000,
        b'{"resource":"https://mcp.example.com","x":"' + b"x" * oauth.LONGEST_DOCUMENT + b'"}',
    ],
    ids=["empty", "text", "list", "string", "utf-16", "bom", "other types", "torn", "deep", "long"],
)
def test_a_document_that_is_none_passes_as_it_is(body: bytes) -> None:
    assert oauth.resource_metadata(body, BOTH) == body


@pytest.mark.parametrize("name", ["resource", "issuer"])
def test_every_one_of_two_of_a_name_is_changed(name: str) -> None:
    body = f'{{"{name}":"{THEIRS}/1","{name}":"{THEIRS}/2"}}'
    change = oauth.resource_metadata if name == "resource" else oauth.server_metadata

    assert change(body.encode(), BOTH) == body.replace(THEIRS, OURS).encode()


@pytest.mark.parametrize(
    ("path", "is_of_resource", "is_of_server"),
    [
        ("/.well-known/oauth-protected-resource", True, False),
        ("/.well-known/oauth-protected-resource/mcp", True, False),
        ("/.well-known/oauth-authorization-server", False, True),
        ("/.well-known/openid-configuration/tenant", False, True),
        ("/tenant/.well-known/openid-configuration", False, True),
        ("/mcp", False, False),
        ("/token", False, False),
    ],
)
def test_documents_are_known_by_their_places(path: str, is_of_resource: bool, is_of_server: bool) -> None:
    assert (oauth.is_resource_metadata(path), oauth.is_server_metadata(path)) == (
        is_of_resource,
        is_of_server,
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (f"{THEIRS}/mcp/", f"{OURS}/mcp/"),
        ("/mcp/", "/mcp/"),
        ("https://login.example/?next=https%3A%2F%2Fmcp.example.com", None),
        (
            "http://localhost:1455/cb?code=1&iss=https%3A%2F%2Fmcp.example.com&state=%20",
            "http://localhost:1455/cb?code=1&iss=http%3A%2F%2F127.0.0.1%3A8790&state=%20",
        ),
        ("http://localhost:1455/cb?code=1&iss=https%3A%2F%2Fas.example", None),
        ("app:cb#code=1&iss=https://mcp.example.com", "app:cb#code=1&iss=http%3A%2F%2F127.0.0.1%3A8790"),
    ],
)
def test_a_redirect_stays_at_our_origin_and_names_our_issuer(told: str, expected: str | None) -> None:
    assert oauth.location(told, BOTH) == (told if expected is None else expected)


# --- what the server reads ----------------------------------------------------------------------------------


def test_a_token_is_asked_for_the_servers_own_url_and_every_other_byte_stays() -> None:
    form = "grant_type=x&resource=http%3a%2f%2f127.0.0.1:8790%2Fmcp&&empty=&code=%20+a&resource=urn:x&flag"

    assert oauth.asked(form, BOTH) == form.replace(
        "http%3a%2f%2f127.0.0.1:8790%2Fmcp", "https%3A%2F%2Fmcp.example.com%2Fmcp"
    )


# --- a browser's way ----------------------------------------------------------------------------------------

NAMING = json.dumps(
    {
        "issuer": THEIRS,
        "registration_endpoint": f"{THEIRS}/register",
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
    }
).encode()
WAY = "http://localhost:1455/cb?keep=1"
ASKS = f"client_id=c1&state=s1&redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fcb%3Fkeep%3D1&resource={OURS}/mcp"


@pytest.fixture
def naming() -> SignIns:
    """An authorization server that names itself in its answers."""
    sign_ins = SignIns()
    sign_ins.learned(NAMING)
    return sign_ins


def test_a_browser_is_sent_to_the_servers_own_page() -> None:
    sent = SignIns().sent_on("/authorize", ASKS, BOTH)

    assert sent == f"{THEIRS}/authorize?" + ASKS.replace(
        f"resource={OURS}/mcp", "resource=https%3A%2F%2Fmcp.example.com%2Fmcp"
    )


def test_an_answer_that_names_the_issuer_comes_by_us(naming: SignIns) -> None:
    sent = parse_qs(urlsplit(naming.sent_on("/authorize", ASKS, BOTH)).query)
    back = naming.came_back(f"code=k1&state=s1&iss={THEIRS}", BOTH)

    assert sent["redirect_uri"] == [OURS + CALLBACK]
    assert back == f"{WAY}&code=k1&state=s1&iss=http%3A%2F%2F127.0.0.1%3A8790"
    assert naming.came_back(f"code=k1&state=s1&iss={THEIRS}", BOTH) is None


def test_a_code_is_exchanged_with_the_address_that_it_was_asked_for_with(naming: SignIns) -> None:
    naming.sent_on("/authorize", ASKS, BOTH)
    naming.came_back("code=k1&state=s1", BOTH)
    form = "grant_type=authorization_code&code=k1&redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fcb"

    first, second = parse_qs(naming.token(form, BOTH)), naming.token(form, BOTH)

    assert first["redirect_uri"] == [OURS + CALLBACK]
    assert second == form


def test_a_refusal_comes_back_too(naming: SignIns) -> None:
    naming.sent_on("/authorize", ASKS, BOTH)

    assert naming.came_back("error=access_denied&state=s1", BOTH) == f"{WAY}&error=access_denied&state=s1"


def test_a_client_is_registered_with_our_address_and_does_not_hear_of_it(naming: SignIns) -> None:
    asked = {"client_name": "c", "redirect_uris": [WAY]}

    sent = json.loads(naming.registration(json.dumps(asked).encode(), BOTH))
    told = json.loads(naming.registered(json.dumps({**sent, "client_id": "c1"}).encode(), BOTH))

    assert sent == asked | {"redirect_uris": [WAY, OURS + CALLBACK]}
    assert told == asked | {"client_id": "c1"}


def test_a_client_that_is_a_document_is_asked_to_register_instead(naming: SignIns) -> None:
    told = naming.learned(NAMING)

    assert told == NAMING.replace(
        b'"client_id_metadata_document_supported": true', b'"client_id_metadata_document_supported": false'
    )


@pytest.mark.parametrize(
    "asks",
    [
        ASKS.replace("client_id=c1", "client_id=https%3A%2F%2Fc.example%2Fclient.json"),
        ASKS.replace("state=s1&", ""),
        ASKS + "&response_mode=form_post",
    ],
    ids=["document", "no state", "posted"],
)
def test_an_answer_that_cannot_come_by_us_goes_straight_to_the_client(naming: SignIns, asks: str) -> None:
    sent = parse_qs(urlsplit(naming.sent_on("/authorize", asks, BOTH)).query)

    assert sent["redirect_uri"] == [WAY]


@pytest.mark.parametrize(
    "way", ["https://evil.example/cb", "http://localhost.evil.example/", "evil:cb", "http://[", ""]
)
def test_a_code_is_handed_on_to_no_address_that_a_page_made_up(naming: SignIns, way: str) -> None:
    asks = f"client_id=c1&state=s1&redirect_uri={quote(way, safe='')}"

    sent = parse_qs(urlsplit(naming.sent_on("/authorize", asks, BOTH)).query, keep_blank_values=True)

    assert sent["redirect_uri"] == [way]
    assert naming.came_back("code=k1&state=s1", BOTH) is None


def test_a_code_is_handed_on_to_the_address_that_a_client_was_registered_with(naming: SignIns) -> None:
    way = "cursor://anysphere/callback"
    naming.registered(json.dumps({"redirect_uris": [way, OURS + CALLBACK]}).encode(), BOTH)
    naming.sent_on("/authorize", f"client_id=c1&state=s1&redirect_uri={way}", BOTH)

    assert naming.came_back("code=k1&state=s1", BOTH) == f"{way}?code=k1&state=s1"


def test_where_no_issuer_is_named_nothing_of_a_registration_changes() -> None:
    sign_ins = SignIns()
    asked = b'{"redirect_uris":  ["http://localhost/cb"]}'
    metadata = b'{"client_id_metadata_document_supported": true, "registration_endpoint": "https://x/"}'

    assert sign_ins.learned(metadata) == metadata
    assert sign_ins.registration(asked, BOTH) == asked
    assert sign_ins.registered(asked, BOTH) == asked


@pytest.mark.parametrize("body", [b"", b"[]", b'{"redirect_uris":"x"}', b'{"redirect_uris":[]}'])
def test_a_registration_that_is_none_passes_as_it_is(naming: SignIns, body: bytes) -> None:
    assert naming.registration(body, BOTH) == body
    assert naming.registered(body, BOTH) == body


def test_sign_ins_that_nobody_came_back_from_are_forgotten_in_the_end(naming: SignIns) -> None:
    for number in range(200):
        naming.sent_on("/authorize", ASKS.replace("s1", f"s{number}"), BOTH)

    assert naming.came_back("state=s0&code=k", BOTH) is None
    assert naming.came_back("state=s199&code=k", BOTH) is not None
