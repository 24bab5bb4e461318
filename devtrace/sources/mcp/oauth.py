"""Signing in through the proxy: what a client reads of the server's origin has to name ours, and back.

A client holds the documents it finds against the URL it dialled, so these change, and nothing else does:

    WWW-Authenticate    resource_metadata="THEIRS/..." becomes ours                             RFC 9728, 5.1
    resource metadata   `resource`; those `authorization_servers` that are the server itself    RFC 9728, 3.3
    server metadata     `issuer` and the `*_endpoint`s that are the server's own                RFC 8414, 3.3
    Location            of the server's origin; `iss` in the answer to a client                 RFC 9207
    resource=OURS       in a query or form becomes the server's own again, for tokens are for it     RFC 8707

In 2025-03-26 there is no resource metadata, and the authorization server's stands at the origin of the
MCP server: the same rules fit. An authorization server elsewhere is left alone, for the client speaks to
it without us. It is then asked for a token for our URL: fine where it does not care, else the proxy has
to be given a token (--header). What is signed over a URL (DPoP, private_key_jwt) cannot be mended by
anybody in between.

Lives here: pure functions from text to text. Not here: the browser's way (signin.py). Standard library
only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_plus

from devtrace.sources.json_text import Part, beginning, parts
from devtrace.sources.mcp.address import origin_of
from devtrace.sources.mcp.guard import is_loopback

LONGEST_DOCUMENT = 1 << 20  # what is longer is no metadata, and passes as it is

_RESOURCE_METADATA = "/.well-known/oauth-protected-resource"
_SERVER_METADATA = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
_CHALLENGE = re.compile(r'(\bresource_metadata\s*=\s*"?)([^"\s,]+)', re.I)
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\\]*")


class Origins(NamedTuple):
    """The two names of one server."""

    ours: str  # as the client dialled it: http://127.0.0.1:8790
    theirs: str  # https://mcp.example.com

    def to_ours(self, url: str) -> str:
        """A URL of the server's origin at ours; any other as it is."""
        return self._at(self.ours, url) if origin_of(url) == origin_of(self.theirs) else url

    def to_theirs(self, url: str) -> str:
        """A URL of ours at the server's origin; any other as it is. localhost and 127.0.0.1 are one."""
        asked, ours = origin_of(url), origin_of(self.ours)
        if asked is None or ours is None or not is_loopback(asked[1]):
            return url
        return self._at(self.theirs, url) if (asked[0], asked[2]) == (ours[0], ours[2]) else url

    @staticmethod
    def _at(origin: str, url: str) -> str:
        authority = _AUTHORITY.match(url)
        return url if authority is None else origin + url[authority.end() :]


def is_resource_metadata(path: str) -> bool:
    """Whether that is where RFC 9728 puts the metadata of a protected resource."""
    return path.startswith(_RESOURCE_METADATA)


def is_server_metadata(path: str) -> bool:
    """Whether that is where an authorization server's metadata stands: before its path, or behind it."""
    return any(place in path for place in _SERVER_METADATA)


def challenge(value: str, origins: Origins) -> str:
    """`WWW-Authenticate` for the client."""
    return _CHALLENGE.sub(lambda found: found[1] + origins.to_ours(found[2]), value)


def announced_metadata(value: str) -> str:
    """The URL of resource metadata in `WWW-Authenticate`; "" where there is none."""
    found = _CHALLENGE.search(value)
    return "" if found is None else found[2]


def location(value: str, origins: Origins) -> str:
    """`Location` for the client: the server's origin is ours, and so it is in the answer of a sign-in."""
    moved = origins.to_ours(value)
    if moved != value:
        return moved
    return _in_query(value, "iss", origins.to_ours)


def asked(text: str, origins: Origins) -> str:
    """A query or form for the server: the resource that a token is asked for is the server's own."""
    return changed(text, "resource", origins.to_theirs)


def resource_metadata(body: bytes, origins: Origins) -> bytes:
    """The document for the client. What is not concerned stays byte for byte."""
    return _rewritten(body, lambda name: name in ("resource", "authorization_servers"), origins.to_ours)


def server_metadata(body: bytes, origins: Origins) -> bytes:
    """The document for the client. Keys, pages for people and all else stay where they are."""
    return _rewritten(body, lambda name: name == "issuer" or name.endswith("_endpoint"), origins.to_ours)


def parsed(body: bytes) -> dict[str, Any]:
    """A document as a dict; empty where it is no JSON object."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def changed(text: str, name: str, change: Callable[[str], str]) -> str:
    """A query or form with other values of that name; the other pairs stay byte for byte."""
    return "&".join(_pair(pair, name, change) for pair in text.split("&"))


def _pair(pair: str, name: str, change: Callable[[str], str]) -> str:
    key, equals, raw = pair.partition("=")
    if not equals or unquote_plus(key) != name:
        return pair
    value = unquote_plus(raw)
    new = change(value)
    return pair if new == value else f"{key}={quote(new, safe='')}"


def _in_query(url: str, name: str, change: Callable[[str], str]) -> str:
    before, hash_mark, fragment = url.partition("#")
    path, mark, query = before.partition("?")
    return f"{path}{mark}{changed(query, name, change)}{hash_mark}{changed(fragment, name, change)}"


def _rewritten(body: bytes, is_meant: Callable[[str], bool], change: Callable[[str], str]) -> bytes:
    try:
        text = body.decode()
        if len(body) > LONGEST_DOCUMENT or not isinstance(json.loads(text), dict):
            return body
        found = [part for part in members(text) if is_meant(part.name or "")]
    except (ValueError, RecursionError):
        return body
    strings = [part for value in found for part in _strings(text, value)]
    for part in reversed(strings):
        new = change(part.value)
        text = text if new == part.value else f"{text[: part.at]}{json.dumps(new)}{text[part.end :]}"
    return text.encode()


def members(text: str) -> list[Part]:
    """What stands in the object that a valid JSON text is."""
    return parts(text, beginning(text))


def _strings(text: str, value: Part) -> list[Part]:
    """The value, where it is a string, or the strings in the list that it is."""
    inside = parts(text, value.at) if isinstance(value.value, list) else [value]
    return [part for part in inside if isinstance(part.value, str)]
