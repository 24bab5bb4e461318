"""Where the server is, as `--url` says it, and what of that may be told.

    https://user:word@mcp.example.com/mcp?key=1
            ────┬──── ───────┬─────── ─┬─ ──┬──
         credentials      origin     path  query, sent along to the MCP endpoint alone

Not here: who else may be dialled: nobody (guard.py). Standard library only.
"""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from devtrace.errors import UsageError

_SHORTEST_KEY = 20  # characters
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """The server that every request goes to."""

    origin: str  # https://mcp.example.com, without a port that goes without saying
    path: str  # of the MCP endpoint, as it was given; "" where none was
    query: str  # for the MCP endpoint; never told
    credentials: str  # "Basic ...", of what stood before the @; "" where nothing did; never told

    @property
    def host(self) -> str:
        """What stands in `Host`."""
        return self.origin.partition("://")[2]


def parse(url: str) -> Address:
    """Read `--url`. Raises UsageError ERR_USAGE."""
    parts = _split(url)
    pair = ":".join(unquote(part or "") for part in (parts.username, parts.password))
    credentials = f"Basic {b64encode(pair.encode()).decode()}" if "@" in parts.netloc else ""
    return Address(_origin(parts), parts.path, parts.query, credentials)


def public(url: str) -> str:
    """The URL without user info, query, fragment and what may be a key in its path.

    Raises UsageError ERR_USAGE.
    """
    parts = _split(url)
    return _origin(parts) + "/".join("..." if _may_be_key(one) else one for one in parts.path.split("/"))


def _may_be_key(segment: str) -> bool:
    """Whether a part of a path is long, with digits and letters: some services put the key there."""
    has_both = any(map(str.isdigit, segment)) and any(map(str.isalpha, segment))
    return len(segment) >= _SHORTEST_KEY and has_both


def origin_of(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port, by which two origins are compared; None: it is none, or has user info."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if port is None or not parts.hostname or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, port


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
        fits = fits and all(character.isprintable() and character != " " for character in url)
        (parts.hostname or "").encode("idna")
    except ValueError:
        fits = False
    if not fits:
        raise UsageError("that is no http:// or https:// URL", code="ERR_USAGE", hint="https://HOST/PATH")
    return parts


def _origin(parts: SplitResult) -> str:
    host = (parts.hostname or "").encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    implied = parts.port in (None, _DEFAULT_PORTS[parts.scheme])
    return f"{parts.scheme}://{host}" + ("" if implied else f":{parts.port}")
