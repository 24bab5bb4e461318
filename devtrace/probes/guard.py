"""Who may ask: the checks of a request before its body is read, in an order that tells a stranger nothing.

    where from   Host, Origin, Sec-Fetch-Site   403   a page in a browser on this machine is a stranger
    who          the bearer token               401   over TCP; over a unix socket it is the peer's user
    what         length and type of the body    413, 415
    which        the route                      404, 405, in routes.py

Whoever sets a point reads all that the program knows, so being let in is as much as being its debugger.

Lives here: `Guard`, `Peer`, the file of the token. Not here: sockets (server.py), how a head is read
(http.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import sys
from _operator import _compare_digest as compare_digest  # hmac's own; hmac brings hashlib with it

from devtrace.probes.fields import Refused
from devtrace.probes.routes import MOST_BYTES, find_route

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from _socket import socket

    from devtrace.probes.http import Head

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")  # as they stand in a Host
TOKEN_BYTES = 32

_TOKEN = re.compile(rb"[0-9A-Za-z._~+/=-]{32,256}")  # RFC 6750, and long enough
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-f:.]+\]")
_SOL_LOCAL, _LOCAL_PEERCRED, _LOCAL_PEERPID = 0, 1, 2  # sys/un.h of macOS


class Peer:
    """Who is at the other end. `pid` and `uid` are None over TCP, and `pid` where the system does not say."""

    __slots__ = ("is_unix", "pid", "uid")

    def __init__(self, pid: int | None = None, uid: int | None = None, *, is_unix: bool = False):
        self.pid = pid
        self.uid = uid
        self.is_unix = is_unix


class Guard:
    """The checks. `token` "": nobody has one. `is_insecure`: none is needed on loopback.

    `is_everywhere`: other machines can reach us, by any name, and a token is always needed.
    """

    def __init__(self, token: str, *, is_insecure: bool = False, is_everywhere: bool = False):
        self.is_insecure = is_insecure
        self.is_everywhere = is_everywhere
        self._token = token.encode()

    def check_address(self, host: str) -> None:
        """Whether we may listen there. Raises PermissionError."""
        if _named(host) in LOOPBACK:
            return
        if not self.is_everywhere:
            raise PermissionError(errno.EACCES, "other machines could reach it", host)
        if not self._token:
            raise PermissionError(errno.EACCES, "other machines could reach it without a token", host)

    def admits(self, peer: Peer) -> bool:
        """Whether that user may speak at all: over a unix socket only our own."""
        return not peer.is_unix or peer.uid == os.geteuid()

    def check(self, head: Head, peer: Peer, port: int) -> None:
        """Raises Refused: 403 FORBIDDEN, 401 UNAUTHORIZED, 413 BODY_TOO_LARGE, 415 UNSUPPORTED_MEDIA_TYPE.

        `port` is where it came in; it means nothing over a unix socket.
        """
        if not peer.is_unix:
            self._check_host(head, port)
        _check_origin(head)
        if not peer.is_unix and not self._is_open(head) and not self._has_token(head):
            raise Refused(401, "UNAUTHORIZED", "The bearer token is missing or wrong")
        _check_body(head)

    def _check_host(self, head: Head, port: int) -> None:
        """A name that somebody's DNS leads to us (DNS rebinding) stands in Host as it was typed."""
        if self.is_everywhere:
            return
        name, given = _split(head.headers.get("host", ""))
        if name not in LOOPBACK or (given or "80") != str(port):
            raise Refused(403, "FORBIDDEN", "The Host is not this machine's own, with our port")

    def _is_open(self, head: Head) -> bool:
        if self.is_insecure and not self.is_everywhere:
            return True
        # Where every name is good a page whose name leads to us could read it; an address is nobody's name.
        name, _ = _split(head.headers.get("host", ""))
        if name not in LOOPBACK and not _ADDRESS.fullmatch(name):
            return False
        try:
            return find_route("GET" if head.method == "HEAD" else head.method, head.path)[0].is_open
        except Refused:
            return False

    def _has_token(self, head: Head) -> bool:
        scheme, _, given = head.headers.get("authorization", "").partition(" ")
        is_bearer = scheme.lower() == "bearer" and bool(self._token)
        return compare_digest(given.strip().encode("latin-1"), self._token) and is_bearer


def _named(host: str) -> str:
    """As it stands in a Host."""
    return f"[{host}]" if ":" in host else host.lower()


def _split(host: str) -> tuple[str, str]:
    """A Host's name in lower case and its port, "" without one."""
    name, colon, port = host.lower().rpartition(":")
    return (name, port) if colon and not host.endswith("]") else (host.lower(), "")


def _check_origin(head: Head) -> None:
    """A browser says whose page asks. Programs do not."""
    origin = head.headers.get("origin")
    if origin is not None and origin.lower() != f"http://{head.headers.get('host', '').lower()}":
        raise Refused(403, "FORBIDDEN", "A page of another origin may not ask")
    if head.headers.get("sec-fetch-site", "none").lower() not in ("none", "same-origin"):
        raise Refused(403, "FORBIDDEN", "A page of another site may not ask")


def _check_body(head: Head) -> None:
    if head.length > MOST_BYTES:
        message = f"The body is longer than {MOST_BYTES} bytes"
        raise Refused(413, "BODY_TOO_LARGE", message, {"most": MOST_BYTES})
    kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    if head.length and kind != "application/json":  # which no form of a page can send
        raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", "The Content-Type must be application/json")


# --- the other end of a unix socket ---


def peer_of(connection: socket) -> Peer:
    """Who connected to a unix socket. Raises OSError where the system does not say: then it is nobody."""
    if sys.platform == "linux":
        from _socket import SO_PEERCRED, SOL_SOCKET

        pid, uid, _ = struct.unpack("iII", connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
        return Peer(pid or None, uid, is_unix=True)  # 0: it lives in a namespace that we do not see
    if sys.platform != "darwin":
        raise OSError(errno.ENOTSUP, "this system does not tell who connected")
    # struct xucred: version 0, uid, the number of groups, 16 groups
    version, uid = struct.unpack_from("II", connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76))
    if version != 0:
        raise OSError(errno.ENOTSUP, "an unknown form of credentials")
    (pid,) = struct.unpack("i", connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4))
    return Peer(pid or None, uid, is_unix=True)


# --- the file of the token ---


def read_or_make_token(path: str) -> str:
    """The token in that file; made when there is none: 32 random bytes in hex.

    Raises OSError, PermissionError for a file that others could read or have written, ValueError for one that
    holds no token.
    """
    try:
        return _read_token(path)
    except FileNotFoundError:
        _make_token(path)
    return _read_token(path)


def _read_token(path: str) -> str:
    # A link is refused (ELOOP); with a FIFO nobody waits for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o077:
            raise PermissionError(errno.EPERM, "it must be a file of yours with mode 0600", path)
        token = os.read(fd, 4_096).strip()
    finally:
        os.close(fd)
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"{path} holds no token")
    return token.decode("ascii")


def _make_token(path: str) -> None:
    """Its name comes when it is whole: workers that start together all read one token."""
    draft = f"{path}.{os.urandom(8).hex()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)  # the umask may have taken our own right to read
        os.write(fd, os.urandom(TOKEN_BYTES).hex().encode("ascii") + b"\n")
        os.link(draft, path)
    except FileExistsError:
        return  # somebody was quicker
    finally:
        os.close(fd)
        os.unlink(draft)
