"""Header fields on their way through: what is stripped, what is put in, and what may be told of them.

Fields are pairs of bytes in the order and spelling in which they came; nothing is sorted, joined or made
lower-case on the way. Told is by a list of what is harmless, so that a credential in a field which nobody
has heard of stays untold.

Not here: fields whose values are rewritten (oauth.py), who may ask at all (guard.py). Standard library
only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256

Fields = Sequence[tuple[bytes, bytes]]

# RFC 9110, 7.6.1. Trailer too: what it announces does not pass (h11 and ASGI know no trailers).
_HOP_BY_HOP = frozenset(
    b"connection proxy-connection keep-alive te transfer-encoding trailer upgrade".split()
)
_NEVER_DROPPED = frozenset((b"host", b"content-length"))  # a Connection that names them would break framing

_TOLD = (
    *("accept", "accept-encoding", "content-encoding", "content-length", "content-type", "last-event-id"),
    *("mcp-method", "mcp-name", "mcp-protocol-version", "retry-after", "server", "traceparent", "user-agent"),
)
_SESSION = "mcp-session-id"
_DIGITS = 16  # of the digest of a session's id: enough to tell two apart


def first(fields: Fields, name: bytes) -> bytes | None:
    """The value of the first field of that lower-case name."""
    return next((value for key, value in fields if key.lower() == name), None)


def end_to_end(fields: Fields) -> list[tuple[bytes, bytes]]:
    """The fields without those of the one connection they came by."""
    dropped = _HOP_BY_HOP | (_named_by_connection(fields) - _NEVER_DROPPED)
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def to_server(fields: Fields, host: str, added: Fields) -> list[tuple[bytes, bytes]]:
    """What the server gets: `Host` is its own, what the user adds replaces what the client sent."""
    is_chunked = b"chunked" in (first(fields, b"transfer-encoding") or b"").lower()
    dropped = {name.lower() for name, _ in added} | ({b"content-length"} if is_chunked else set())
    passed = [
        (name, host.encode() if name.lower() == b"host" else value)
        for name, value in end_to_end(fields)
        if name.lower() not in dropped
    ]
    return passed + ([(b"Transfer-Encoding", b"chunked")] if is_chunked else []) + list(added)


def replaced(fields: Fields, name: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    """The fields with another value for each of that lower-case name; none is added."""
    return [(key, value if key.lower() == name else old) for key, old in fields]


def told(fields: Fields, private: Collection[bytes] = ()) -> dict[str, str]:
    """What the recording process may know: lower-case names, values of one name joined.

    `private`: lower-case names that the user gave by --header. Of a session's id a digest is told: it is the
    same for all of one session, and opens nothing.
    """
    kept: dict[str, str] = {}
    for key, value in fields:
        name, text = key.lower().decode("latin-1"), value.decode("latin-1")
        if key.lower() in private:
            continue
        if name == _SESSION:
            kept[name] = sha256(value).hexdigest()[:_DIGITS]
        elif name in _TOLD:
            kept[name] = f"{kept[name]}, {text}" if name in kept else text
    return kept


def _named_by_connection(fields: Fields) -> set[bytes]:
    values: Iterable[bytes] = (value for name, value in fields if name.lower() == b"connection")
    return {token.strip().lower() for value in values for token in value.split(b",")}
