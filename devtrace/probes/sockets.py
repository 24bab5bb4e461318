"""Sockets in somebody's process: made, listened at, and given up without harm to what is not ours.

Lives here: `Descriptor`, `Listener`, `listen_unix`, `listen_tcp`. Not here: connections and their times
(connection.py, server.py), who may connect (guard.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import _socket  # `socket` brings enum, and programs replace it
import errno
import fcntl
import os
import stat
import sys

MSG_NOSIGNAL: int = getattr(_socket, "MSG_NOSIGNAL", 0)  # a program may have SIGPIPE as it was made: deadly

_SO_NOSIGPIPE = 0x1022  # sys/socket.h of macOS, which has no MSG_NOSIGNAL
_WAITING = 64  # connections that the kernel keeps until somebody is there to accept them
_FIRST = 3  # below are the program's streams, even while it has closed them


class Descriptor:
    """A socket of ours, as long as it is one; non-blocking, and not inherited by what the program starts.

    Programs that become daemons close every descriptor they find, and the number is soon somebody else's.
    Raises OSError.
    """

    __slots__ = ("_identity", "fd", "socket")

    def __init__(self, sock: _socket.socket):
        self.socket = sock if sock.fileno() >= _FIRST else _lifted(sock)
        self.socket.setblocking(False)
        if sys.platform == "darwin":
            self.socket.setsockopt(_socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
        self.fd = self.socket.fileno()
        self._identity = _identity(self.fd)

    def is_ours(self) -> bool:
        """Whether the number still stands for this socket."""
        return self.fd >= 0 and _identity(self.fd) == self._identity

    def close(self) -> None:
        """Close it, or forget the number where it is somebody else's; twice is well."""
        is_ours, self.fd = self.is_ours(), -1
        if is_ours:
            self.socket.close()
        else:
            self.socket.detach()


def _lifted(sock: _socket.socket) -> _socket.socket:
    fd = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST)
    lifted = _socket.socket(sock.family, sock.type, sock.proto, fd)
    sock.close()
    return lifted


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        state = os.fstat(fd)
    except OSError:
        return None
    return state.st_dev, state.st_ino


class Listener:
    """A socket that waits for connections: `port` over TCP, else `path`, its file."""

    __slots__ = ("_file", "held", "path", "port")

    def __init__(self, sock: _socket.socket, *, port: int = 0, path: str = ""):
        self.held = Descriptor(sock)
        self.port = port
        self.path = path
        self._file = _file(path)

    @property
    def is_unix(self) -> bool:
        """Whether only this machine's own users can reach it."""
        return bool(self.path)

    def accept(self) -> Descriptor:
        """The next connection. Raises OSError."""
        sock = self.held.socket
        fd, _ = sock._accept()  # type: ignore[attr-defined]  # typeshed has it at socket.socket
        return Descriptor(_socket.socket(sock.family, sock.type, sock.proto, fd))

    def unlink(self) -> None:
        """Take its file away, if it is still its own. Raises OSError."""
        if self._file is not None and _file(self.path) == self._file:
            os.unlink(self.path)


def _file(path: str) -> tuple[int, int] | None:
    try:
        state = os.lstat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def listen_tcp(host: str, port: int) -> Listener:
    """Listen at an address; port 0: at a free one. Raises OSError."""
    sock = _socket.socket(_socket.AF_INET6 if ":" in host else _socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1" if host.lower() == "localhost" else host, port))
        sock.listen(_WAITING)
        return Listener(sock, port=sock.getsockname()[1])
    except BaseException:
        sock.close()
        raise


def listen_unix(path: str) -> Listener:
    """Listen at a path, in a directory that is ours alone. Raises OSError.

    The socket gets its name when it is ready: nobody sees it open to others, or not listening. A name that a
    killed process left is taken over; one where somebody listens, or that is no socket's, is not.
    """
    _check_stale(path)
    draft = f"{path}.new"
    _remove(draft)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.bind(draft)
        os.chmod(draft, 0o600)  # the umask is the whole process's, and is left alone
        sock.listen(_WAITING)
        os.rename(draft, path)
        return Listener(sock, path=path)
    except BaseException:
        sock.close()
        _remove(draft)
        raise


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _check_stale(path: str) -> None:
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(state.st_mode):
        raise FileExistsError(errno.EEXIST, "it is no socket", path)
    trying = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        trying.setblocking(False)
        trying.connect(path)
    except (ConnectionRefusedError, FileNotFoundError):
        return
    except BlockingIOError:  # somebody listens, and has much to do
        pass
    finally:
        trying.close()
    raise OSError(errno.EADDRINUSE, "somebody listens there", path)
