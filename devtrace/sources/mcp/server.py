"""What is known of the one server, and so which exchanges with it are rewritten, and how.

The MCP endpoint passes as it is. Beside it stand the documents and forms of a sign-in, whose places are
known by convention, and by what the server says of them on the way: in a challenge, in its metadata, in a
redirect, in the first event of a stream.

Lives here: the head of a request, places, the choice of a change. Not here: the changes (oauth.py,
signin.py, endpoint.py), moving bytes (relay.py). Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from devtrace.sources.mcp import oauth
from devtrace.sources.mcp.address import Address, origin_of
from devtrace.sources.mcp.endpoint import FirstEvent
from devtrace.sources.mcp.headers import Fields, first
from devtrace.sources.mcp.oauth import Origins
from devtrace.sources.mcp.signin import SignIns

Change = Callable[[bytes], bytes]

_FORM, _JSON, _EVENTS = b"application/x-www-form-urlencoded", b"application/json", b"text/event-stream"
_SAME_METHOD = (307, 308)  # a client that follows such a redirect of the endpoint posts its messages there
_OK = (200, 201)


class Asked(NamedTuple):
    """The head of a request."""

    method: str
    target: bytes  # as it stood in the request line
    fields: Fields
    origins: Origins

    @property
    def raw_path(self) -> str:
        """As it stood."""
        return self.target.partition(b"?")[0].decode("latin-1")

    @property
    def path(self) -> str:
        """Decoded: for comparisons, and for nothing else."""
        return unquote(self.raw_path)

    @property
    def query(self) -> str:
        """As it stood."""
        return self.target.partition(b"?")[2].decode("latin-1")


class Answer(NamedTuple):
    """The head of a response."""

    status: int
    fields: Fields


class Server:
    """The server of one run: its places, and the sign-ins under way."""

    def __init__(self, address: Address):
        self.address = address
        self.sign_ins = SignIns()
        self._endpoints = {_place(address.path)}
        self._resource_metadata: set[str] = set()
        self._registrations = {"/register"}

    def is_endpoint(self, asked: Asked) -> bool:
        """Whether messages of MCP pass there."""
        return _place(asked.path) in self._endpoints

    def target(self, asked: Asked) -> bytes:
        """What stands in the server's request line."""
        query, own = asked.query, self.address.query
        if not self.is_endpoint(asked):
            changed = oauth.asked(query, asked.origins)
            return asked.target if changed == query else f"{asked.raw_path}?{changed}".encode("latin-1")
        if not own or _place(asked.path) != _place(self.address.path):
            return asked.target
        return f"{asked.raw_path}?{own}{'&' if query else ''}{query}".encode()

    def change_of_request(self, asked: Asked) -> Change | None:
        """What becomes of the request's body; None: it passes as it is."""
        if asked.method != "POST" or self.is_endpoint(asked):
            return None
        if _is_of(asked.fields, _FORM):
            return lambda body: self.sign_ins.token(body.decode("latin-1"), asked.origins).encode("latin-1")
        if self._is_registration(asked):
            return lambda body: self.sign_ins.registration(body, asked.origins)
        return None

    def is_document(self, asked: Asked) -> bool:
        """Whether the answer's body may have to be read; then it must not be compressed."""
        if self.is_endpoint(asked):
            return False
        if asked.method == "POST":
            return self._is_registration(asked)
        return asked.method == "GET" and (
            self._is_resource_metadata(asked.path) or oauth.is_server_metadata(asked.path)
        )

    def change_of_answer(self, asked: Asked, answer: Answer) -> Change | None:
        """What becomes of the answer's body when it has been read whole; None: it passes as it comes."""
        fits = answer.status in _OK and _is_of(answer.fields, _JSON) and not _is_encoded(answer.fields)
        if not fits or not self.is_document(asked):
            return None
        if asked.method == "POST":
            return lambda body: self.sign_ins.registered(body, asked.origins)
        if self._is_resource_metadata(asked.path):
            return lambda body: oauth.resource_metadata(body, asked.origins)
        return lambda body: self._server_metadata(body, asked.origins)

    def first_event(self, asked: Asked, answer: Answer) -> FirstEvent | None:
        """For the stream of a server of HTTP+SSE; None: it is no stream, or none that can be read."""
        fits = answer.status == 200 and _is_of(answer.fields, _EVENTS) and not _is_encoded(answer.fields)
        if not fits or asked.method != "GET" or not self.is_endpoint(asked):
            return None
        return FirstEvent(asked.origins)

    def knows_endpoint(self, asked: Asked, url: str) -> None:
        """A stream or a redirect said where messages are posted."""
        self._endpoints.add(_place(_path_of(url, asked)))

    def for_client(self, asked: Asked, answer: Answer) -> list[tuple[bytes, bytes]]:
        """The answer's fields for the client; what they say of places is remembered."""
        return [(name, self._value(asked, answer.status, name, value)) for name, value in answer.fields]

    def _value(self, asked: Asked, status: int, name: bytes, value: bytes) -> bytes:
        text = value.decode("latin-1")
        if name.lower() == b"www-authenticate":
            announced = oauth.announced_metadata(text)
            if origin_of(announced) == origin_of(asked.origins.theirs):
                self._resource_metadata.add(urlsplit(announced).path)
            return oauth.challenge(text, asked.origins).encode("latin-1")
        if name.lower() == b"location":
            if status in _SAME_METHOD and self.is_endpoint(asked):
                self.knows_endpoint(asked, asked.origins.to_ours(text))
            return oauth.location(text, asked.origins).encode("latin-1")
        return value

    def _server_metadata(self, body: bytes, origins: Origins) -> bytes:
        place = str(oauth.parsed(body).get("registration_endpoint", ""))
        if origin_of(place) == origin_of(origins.theirs):
            self._registrations.add(urlsplit(place).path)
        return oauth.server_metadata(self.sign_ins.learned(body), origins)

    def _is_registration(self, asked: Asked) -> bool:
        return (
            self.sign_ins.names_issuer and asked.path in self._registrations and _is_of(asked.fields, _JSON)
        )

    def _is_resource_metadata(self, path: str) -> bool:
        return oauth.is_resource_metadata(path) or path in self._resource_metadata


def _path_of(url: str, asked: Asked) -> str:
    """Where a URL or reference in an answer leads; to another origin: the path that was asked for."""
    try:
        whole = urljoin(asked.origins.ours + asked.raw_path, url)
        is_ours = origin_of(whole) == origin_of(asked.origins.ours)
        return unquote(urlsplit(whole).path) if is_ours else asked.path
    except ValueError:
        return asked.path


def _place(path: str) -> str:
    return path.rstrip("/")


def _is_of(fields: Fields, media_type: bytes) -> bool:
    return (first(fields, b"content-type") or b"").lower().startswith(media_type)


def _is_encoded(fields: Fields) -> bool:
    return (first(fields, b"content-encoding") or b"identity").lower() != b"identity"
