"""Who may speak to the proxy, and what they may ask: programs of this machine, for the one server.

A page in a browser can reach a port of this machine too. It cannot forge `Host` and `Origin`, so a name
that merely points here (DNS rebinding), another site's script, and another site's image or form are
refused. And a request names a path, nothing else: the server it goes to was fixed when the proxy began.

    https://modelcontextprotocol.io/specification/latest/basic/transports ("Security Warning")
    https://www.w3.org/TR/fetch-metadata/

Not here: what is rewritten (oauth.py). Standard library only.
"""

from __future__ import annotations

import re

from devtrace.sources.mcp.headers import Fields, first

_LOOPBACK = r"(?:localhost|[a-z0-9-]+\.localhost|127(?:\.\d{1,3}){3}|\[::1\])"
_HOST = re.compile(rf"({_LOOPBACK})(?::(\d{{1,5}}))?", re.I)
_ORIGIN = re.compile(rf"https?://{_LOOPBACK}(?::\d{{1,5}})?", re.I)


def refusal(target: bytes, fields: Fields, *, is_endpoint: bool, is_keyed: bool = False) -> str:
    """Why a request goes nowhere; "" where it may pass. `is_endpoint`: it is for the MCP endpoint.

    `is_keyed`: we send a credential of our own along, which no page of any site is to make use of.
    """
    host = first(fields, b"host")
    if host is None or not _HOST.fullmatch(host.decode("latin-1")):
        return "Host is not this machine"
    origin = first(fields, b"origin")
    if origin is not None and not _ORIGIN.fullmatch(origin.decode("latin-1")):
        return "Origin is not this machine"
    is_sent_on = is_navigation(fields) and not is_endpoint  # it gets an address, and nothing of the server
    if origin is None and first(fields, b"sec-fetch-site") == b"cross-site" and not is_sent_on:
        return "another site asks"
    if is_keyed and (origin is not None or first(fields, b"sec-fetch-site") not in (None, b"none")):
        return "a page asks, and the proxy has a credential"
    if not target.startswith(b"/"):
        return "the target is no path"
    return ""


def is_navigation(fields: Fields) -> bool:
    """Whether a person's browser goes there, as it says; a page's script or image does not."""
    return first(fields, b"sec-fetch-mode") == b"navigate" and first(fields, b"sec-fetch-dest") == b"document"


def is_loopback(host: str) -> bool:
    """Whether a host, of a URL that was split, is this machine by its very spelling."""
    return _HOST.fullmatch(f"[{host}]" if ":" in host else host) is not None
