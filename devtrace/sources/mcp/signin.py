"""The browser's way through a sign-in, and what has to be remembered until it is over.

    browser  GET OURS/authorize?...&resource=OURS/mcp   302  THEIRS/authorize?...&resource=THEIRS/mcp

A person's browser does not sign in through us: the pages there want cookies, and addresses that were
registered elsewhere. So it is sent on to the server's own origin, with the resource put right.

An authorization server that names itself in its answer (`iss`, RFC 9207) names THEIRS, and the client,
which knows it as OURS, must refuse that. The answer then has to come by us: the client is registered with
an address of ours besides its own, the browser is sent on with that one, and what comes back goes to the
client's.

    browser  GET OURS/.devtrace/signed-in?code=C&state=S&iss=THEIRS   302  http://localhost:1455/cb?...&iss=OURS

A token is asked for with the address to which its code went (RFC 6749, 4.1.3). All this is kept in
memory, for as long as the proxy runs. A client that is known by a URL (its own metadata document) cannot
be registered with one more address, so it is told that such clients are not known here.

Not here: documents, headers, forms (oauth.py). Standard library only.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qs

from devtrace.sources.mcp import oauth
from devtrace.sources.mcp.address import origin_of
from devtrace.sources.mcp.guard import is_loopback
from devtrace.sources.mcp.oauth import Origins

CALLBACK = "/.devtrace/signed-in"

_MOST_REMEMBERED = 100  # sign-ins that nobody came back from


class SignIns:
    """The sign-ins of one run of the proxy."""

    def __init__(self) -> None:
        self.names_issuer = False  # whether the server's authorization server announces that it sends `iss`
        self._own: set[str] = set()  # redirect_uris of clients that were registered through us
        self._ways: dict[str, str] = {}  # `state` -> the client's own redirect_uri
        self._codes: dict[str, str] = {}  # code -> our redirect_uri, with which it was asked for

    def learned(self, metadata: bytes) -> bytes:
        """Metadata of an authorization server that is the server itself, for the client."""
        told = oauth.parsed(metadata)
        self.names_issuer = told.get("authorization_response_iss_parameter_supported") is True
        if self.names_issuer and told.get("registration_endpoint"):
            return _without_documents(metadata)
        return metadata

    def registration(self, body: bytes, origins: Origins) -> bytes:
        """A client's registration for the server: our address is one more of its own."""
        asked = oauth.parsed(body)
        uris = asked.get("redirect_uris")
        if not self.names_issuer or not isinstance(uris, list) or not uris:
            return body
        return json.dumps({**asked, "redirect_uris": [*uris, origins.ours + CALLBACK]}).encode()

    def registered(self, body: bytes, origins: Origins) -> bytes:
        """The server's answer to a registration, for the client: as if it had asked for its own only."""
        told = oauth.parsed(body)
        uris, ours = told.get("redirect_uris"), origins.ours + CALLBACK
        if not isinstance(uris, list) or ours not in uris:
            return body
        self._own.update(uri for uri in uris if isinstance(uri, str))
        return json.dumps({**told, "redirect_uris": [uri for uri in uris if uri != ours]}).encode()

    def sent_on(self, path: str, query: str, origins: Origins) -> str:
        """Where a browser that comes to a page of the server has to go."""
        query = oauth.asked(query, origins)
        asked = parse_qs(query)
        state, way = asked.get("state", [""])[0], asked.get("redirect_uri", [""])[0]
        if self.names_issuer and state and self._is_own(way) and _can_come_back(asked):
            _remember(self._ways, state, way)
            query = oauth.changed(query, "redirect_uri", lambda _: origins.ours + CALLBACK)
        return f"{origins.theirs}{path}" + (f"?{query}" if query else "")

    def came_back(self, query: str, origins: Origins) -> str | None:
        """Where the client waits for an answer that came to us; None: nobody waits for it."""
        told = parse_qs(query)
        way = self._ways.pop(told.get("state", [""])[0], None)
        if way is None:
            return None
        if "code" in told:
            _remember(self._codes, told["code"][0], origins.ours + CALLBACK)
        query = oauth.changed(query, "iss", origins.to_ours)
        return f"{way}{'&' if '?' in way else '?'}{query}"

    def _is_own(self, way: str) -> bool:
        """Whether a code may be handed on to that address.

        The authorization server sees ours instead, and so cannot refuse one that a page made up. What we were
        not told when the client was registered, in an earlier run, has to be on this machine.
        """
        origin = origin_of(way)
        is_here = origin is not None and origin[0] == "http" and is_loopback(origin[1])
        return way in self._own or is_here

    def token(self, form: str, origins: Origins) -> str:
        """A form for the server: a code is exchanged with the address it was asked for with."""
        form = oauth.asked(form, origins)
        ours = self._codes.pop(parse_qs(form).get("code", [""])[0], None)
        return form if ours is None else oauth.changed(form, "redirect_uri", lambda _: ours)


def _can_come_back(asked: dict[str, list[str]]) -> bool:
    """Whether the client was registered by us, and the answer comes in a query."""
    is_document = asked.get("client_id", [""])[0].startswith("https://")
    return not is_document and asked.get("response_mode", ["query"])[0] == "query"


def _without_documents(metadata: bytes) -> bytes:
    """The document with one value changed, where it is there: clients register, and bring no document."""
    text = metadata.decode()
    for part in reversed(oauth.members(text)):
        if part.name == "client_id_metadata_document_supported" and part.value is True:
            text = f"{text[: part.at]}false{text[part.end :]}"
    return text.encode()


def _remember(kept: dict[str, str], key: str, value: str) -> None:
    while len(kept) >= _MOST_REMEMBERED:
        kept.pop(next(iter(kept)))
    kept[key] = value
