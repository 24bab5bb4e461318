"""One event to a receiver, and what it answered: as much of HTTP/1.1 as that takes.

Its own, since a deadline for a whole exchange is what http.client does not have (a receiver that sends a byte
a second would hold it for hours), and since importing that costs the program more than the rest of its agent.

Lives here: `Address`, `Poster`, `Answer`. Not here: what waits, and when to try again (sink.py). Standard
library only: a guest imports this; `ssl` is loaded for an https URL alone.
"""

from __future__ import annotations

import binascii
import re
from time import monotonic

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from socket import socket

TIMEOUT_S = 2.0  # of one exchange, from the connection to the end of the answer
PATH = "/api/events"
MOST_ANSWER = 65_536  # bytes that are read of it

_URL = re.compile(
    r"(?i:(?P<scheme>https?))://(?:(?P<user>[^@/?#]*)@)?(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._~-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?:#.*)?"
)
_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[!-~]+")
_VERSION = b"HTTP/1."
_STATUS = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?:[ \r]|$)")
_BOTH_WAYS = 2  # SHUT_RDWR
_NOT_HTTP = "what answers does not speak HTTP"


class BadAddress(ValueError):
    """Why nothing can be sent there, without the URL itself: it may hold a password."""


class Foreign(OSError):
    """What answers there does not speak HTTP/1."""


class Address:
    """Where a URL leads. `shown`: the URL without its user, its query and its fragment."""

    __slots__ = ("head", "host", "is_tls", "port", "shown")

    def __init__(self, url: str):
        """Raises BadAddress."""
        found = _URL.fullmatch(url.strip()) if _PRINTABLE.fullmatch(url.strip()) else None
        if found is None:
            raise BadAddress("the URL is none of http or https")
        scheme = found["scheme"].lower()
        self.is_tls = scheme == "https"
        self.host = found["host"].strip("[]")
        self.port = int(found["port"] or _PORTS[scheme])
        if not 0 < self.port < 65_536:
            raise BadAddress("the URL's port is none")
        authority = found["host"] + (f":{found['port']}" if found["port"] else "")
        path = (found["path"] or "").rstrip("/")
        self.shown = f"{scheme}://{authority}{path}"
        target = (path if path.endswith(PATH) else path + PATH) + (found["query"] or "")
        self.head = _head(target, authority, found["user"])


def _head(target: str, authority: str, user: str | None) -> str:
    """The request's first lines; the length of its body is missing."""
    lines = [f"POST {target} HTTP/1.1", f"Host: {authority}", "Content-Type: application/json",
             "Accept: application/json"]  # fmt: skip
    if user:
        from urllib.parse import unquote_to_bytes  # seldom, and not while a probe is hit

        secret = binascii.b2a_base64(unquote_to_bytes(user), newline=False)
        lines.append(f"Authorization: Basic {secret.decode()}")
    return "\r\n".join([*lines, "Content-Length: "])


class Answer:
    """What a receiver said. `is_json`: it looks like one, or is nothing."""

    __slots__ = ("is_json", "status")

    def __init__(self, status: int, is_json: bool):
        self.status = status
        self.is_json = is_json


class Poster:
    """Posts over one connection as long as the receiver keeps it. For one thread."""

    __slots__ = ("_socket", "address")

    def __init__(self, address: Address):
        self.address = address
        self._socket: socket | None = None

    def post(self, body: bytes) -> Answer:
        """Raises OSError for what cannot be reached or takes too long, Foreign for what speaks no HTTP."""
        until = monotonic() + TIMEOUT_S
        try:
            self._send(f"{self.address.head}{len(body)}\r\n\r\n".encode("ascii") + body, until)
            answer, is_kept = self._answer(until)
        except BaseException:
            self.close()
            raise
        if not is_kept:
            self.close()
        return answer

    def close(self) -> None:
        """Let go of the connection; in a forked child the parent keeps it."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """From another thread: whoever waits for the receiver fails at once."""
        connection = self._socket
        if connection is not None:
            try:
                connection.shutdown(_BOTH_WAYS)
            except OSError:
                return  # it was closed meanwhile

    def _send(self, request: bytes, until: float) -> None:
        connection = self._socket or self._connect(until)
        connection.settimeout(_left(until))
        connection.sendall(request)

    def _connect(self, until: float) -> socket:
        from socket import IPPROTO_TCP, TCP_NODELAY, create_connection  # not before something is sent

        address = self.address
        self._socket = create_connection((address.host, address.port), _left(until))
        self._socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        if address.is_tls:
            import ssl

            self._socket.settimeout(_left(until))
            context = ssl.create_default_context()
            self._socket = context.wrap_socket(self._socket, server_hostname=address.host)
        return self._socket

    def _answer(self, until: float) -> tuple[Answer, bool]:
        """The answer, and whether the connection can be used again. The head decides, a body may be torn."""
        read = b""
        while b"\r\n\r\n" not in read:
            read += self._more(until)
            if not _VERSION.startswith(read[: len(_VERSION)]) or len(read) > MOST_ANSWER:
                raise Foreign(_NOT_HTTP)
        head, _, body = read.partition(b"\r\n\r\n")
        found = _STATUS.match(head)
        if found is None:
            raise Foreign(_NOT_HTTP)
        fields = _fields(head)
        length = b"0" if found[2] == b"204" else fields.get(b"content-length", b"")
        body, is_whole = self._body(body, int(length) if length.isdigit() else None, until)
        is_kept = is_whole and found[1] == b"1" and fields.get(b"connection", b"").lower() != b"close"
        is_json = (is_whole and not body) or _is_json(fields.get(b"content-type", b""), body)
        return Answer(int(found[2]), is_json), is_kept

    def _body(self, body: bytes, length: int | None, until: float) -> tuple[bytes, bool]:
        """The body, and whether it is all of it: without a length nobody knows."""
        if length is None or length > MOST_ANSWER:
            return body, False
        try:
            while len(body) < length:
                body += self._more(until)
        except OSError:
            return body, False
        return body, len(body) == length

    def _more(self, until: float) -> bytes:
        """What comes next. Raises OSError where nothing does."""
        assert self._socket is not None
        self._socket.settimeout(_left(until))
        if not (more := self._socket.recv(16_384)):
            raise ConnectionError("it hung up")
        return more


def _is_json(type_: bytes, body: bytes) -> bool:
    return b"json" in type_.lower() or (not type_ and body.lstrip()[:1] in (b"", b"{"))


def _left(until: float) -> float:
    """Seconds; raises TimeoutError where there are none."""
    if (left := until - monotonic()) <= 0:
        raise TimeoutError("no answer in time")
    return left


def _fields(head: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
