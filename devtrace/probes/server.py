"""The sockets of the control API: one thread, that of whoever calls, serves all of them and waits for none.

Lives here: `Server`: who is let in, how many, and whose time is over. Not here: one client (connection.py),
making sockets (sockets.py), who may ask (guard.py), the poll loop (worker.py), who answers (routes.py).
Standard library only: a guest imports this.
"""

from __future__ import annotations

from functools import partial
from select import POLLIN, POLLNVAL
from time import monotonic

from devtrace.probes.connection import CLOSED, NOT_NOW, Connection
from devtrace.probes.fields import Refused
from devtrace.probes.guard import Peer, peer_of
from devtrace.probes.sockets import listen_tcp, listen_unix

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from devtrace.probes.guard import Guard
    from devtrace.probes.http import Head
    from devtrace.probes.sockets import Descriptor, Listener

    Answering = Callable[[str, str, str, bytes, Peer], tuple[int, dict[str, Any] | None]]

MOST_CONNECTIONS = 16  # over TCP, and as many over the unix socket: no page can keep the command line out
MOST_REFUSED = 16  # connections beyond those, while they are told so; more wait in the kernel
DEAF_S = 1.0  # a listener that could not accept stays ready, and is left alone for a while


class Server:
    """Listeners and connections. `answer(method, path, query, body, peer)` gives a status and a document.

    `fds`, `ready`, `deadline` and `tick` are for the loop of one thread. `guard` may be replaced.
    """

    def __init__(self, answer: Answering, guard: Guard, *, clock: Callable[[], float] = monotonic):
        self.guard = guard
        self.failures = 0  # bugs of ours, each an answer of 500 or the end of a connection
        self._answer = answer
        self._clock = clock
        self._listeners: dict[int, Listener] = {}
        self._connections: dict[int, Connection] = {}
        self._deaf_until: float | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a connection is open."""
        return bool(self._connections)

    @property
    def is_listening(self) -> bool:
        """Whether there is a socket to connect to: the program may have closed ours."""
        return any(listener.held.is_ours() for listener in self._listeners.values())

    def listen_unix(self, path: str) -> None:
        """Listen at a path, in a directory that is ours alone; at most about 100 bytes. Raises OSError."""
        self._add(listen_unix(path))

    def listen_tcp(self, host: str, port: int) -> int:
        """Listen at an address; port 0: at a free one, which is returned.

        Raises OSError, as for a busy port, and PermissionError where the guard does not let it be.
        """
        self.guard.check_address(host)
        listener = listen_tcp(host, port)
        self._add(listener)
        return listener.port

    def fds(self) -> list[tuple[int, int]]:
        """(descriptor, poll mask) of what is waited for now."""
        wanted = [(fd, connection.mask) for fd, connection in self._connections.items()]
        if self._deaf_until is None:
            most = MOST_CONNECTIONS + MOST_REFUSED
            listeners = self._listeners.items()
            wanted += [(fd, POLLIN) for fd, one in listeners if len(self._of(one.is_unix)) < most]
        return wanted

    def ready(self, fd: int, mask: int) -> None:
        """Do what can be done without waiting. Raises nothing."""
        try:
            found = self._listeners.get(fd) or self._connections.get(fd)
            if found is None:
                return
            if mask & POLLNVAL or not found.held.is_ours():
                self._drop(fd)
            elif isinstance(found, Connection):
                found.ready()
                self._drop_closed(found)
            else:
                self._accept(found)
        except OSError:
            self._drop(fd)
        except Exception:  # the program is somebody's, and goes on
            self.failures += 1
            self._drop(fd)

    def deadline(self) -> float | None:
        """When `tick` is wanted next, as the clock tells it; None: not at all."""
        times = [connection.deadline for connection in self._connections.values()]
        return min(times if self._deaf_until is None else [*times, self._deaf_until], default=None)

    def tick(self) -> None:
        """End what is over its time. Raises nothing."""
        now = self._clock()
        if self._deaf_until is not None and now >= self._deaf_until:
            self._deaf_until = None
        for connection in [one for one in self._connections.values() if now >= one.deadline]:
            connection.late()
            self._drop_closed(connection)

    def close(self) -> None:
        """End all connections and listeners, and take away the files of unix sockets. Raises nothing."""
        for listener in self._listeners.values():
            try:
                listener.unlink()
            except OSError:
                continue
        self.forget()

    def forget(self) -> None:
        """Close the descriptors only: in a forked child they are the parent's, and so are the files."""
        for fd in [*self._connections, *self._listeners]:
            self._drop(fd)
        self._deaf_until = None

    def _add(self, listener: Listener) -> None:
        self._forget_number(listener.held.fd)
        self._listeners[listener.held.fd] = listener

    def _forget_number(self, fd: int) -> None:
        """Of a socket that the program closed: it is given anew, and would be closed with the old one."""
        while fd in self._connections or fd in self._listeners:
            self._drop(fd)

    def _of(self, is_unix: bool) -> list[Connection]:
        return [one for one in self._connections.values() if one.peer.is_unix == is_unix]

    def _accept(self, listener: Listener) -> None:
        try:
            held = listener.accept()
        except NOT_NOW:
            return
        except OSError:  # such as no descriptor left for one more
            self._deaf_until = self._clock() + DEAF_S
            return
        try:
            self._welcome(held, listener)
        except OSError:
            held.close()
        except Exception:  # of one client; the listener goes on
            self.failures += 1
            held.close()

    def _welcome(self, held: Descriptor, listener: Listener) -> None:
        """Raises OSError when the client is gone, or cannot be told from others."""
        peer = peer_of(held.socket) if listener.is_unix else Peer()
        if not self.guard.admits(peer):
            held.close()
            return
        connection = Connection(
            held,
            peer,
            check=lambda head: self.guard.check(head, peer, listener.port),
            answer=partial(self._answered, peer),
            clock=self._clock,
        )
        if sum(not one.is_refused for one in self._of(peer.is_unix)) >= MOST_CONNECTIONS:
            connection.is_refused = True
            connection.refuse(_too_many())
        self._forget_number(held.fd)
        self._connections[held.fd] = connection

    def _answered(self, peer: Peer, head: Head, body: bytes) -> tuple[int, dict[str, Any] | None]:
        method = "GET" if head.method == "HEAD" else head.method
        try:
            return self._answer(method, head.path, head.query, body, peer)
        except Exception as error:  # the program is somebody's, and goes on
            self.failures += 1
            return 500, {"error": f"Internal error: {type(error).__name__}", "code": "INTERNAL_ERROR"}

    def _drop_closed(self, connection: Connection) -> None:
        if connection.state == CLOSED:
            self._drop(connection.held.fd)

    def _drop(self, fd: int) -> None:
        found = self._connections.pop(fd, None) or self._listeners.pop(fd, None)
        if found:
            try:
                found.held.close()
            except OSError:  # it is gone in any case
                return


def _too_many() -> Refused:
    message = f"There are {MOST_CONNECTIONS} connections, as many as there may be"
    return Refused(429, "TOO_MANY_CONNECTIONS", message, {"most": MOST_CONNECTIONS})
