"""The client's side of the proxy: uvicorn as far as it parses HTTP/1.1, and nothing else of it.

No logging, no signals, no headers of its own, no limit of time; and two things of each connection that
ASGI has no words for: how the client spelled its request, and what the server called its status.

What does not pass, for h11 and ASGI do not know it: where `Host` stood among the fields (it is written
first), how a body was cut into chunks, chunk extensions, trailers, interim answers (103), upgrades, a
status above 599. A client whose body is stuck halfway is seen to go away only when it moves again.

Not here: what becomes of a request (relay.py), the order of start and end (http.py).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

LOOPBACK = "127.0.0.1"
CONNECTION = "connection"  # in the scope's state: the `Connection` that a request came by

_LONGEST_HEAD = 1 << 20  # bytes of header fields: tokens, cookies and Mcp-Param-* may be long
_IDLE_S = 24 * 3600  # a client closes its own idle connections; ours would meet a request on its way
_LOUD = ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio")

App = Callable[[Any, Any, Any], Awaitable[None]]


class Connection(h11.Connection):
    """h11 for one client: it keeps the spelling of the fields it read, and uses the reason it is given."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, _LONGEST_HEAD)
        self.target = b""  # of the request line, with a ? that nothing follows
        self.spelled: list[tuple[bytes, bytes]] = []
        self.reason: bytes | None = None  # of the answer that is to come; None: the usual one

    def next_event(self) -> Any:
        """What h11 read next."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.target, self.spelled, self.reason = event.target, event.headers.raw_items(), None
        return event

    def send(self, event: Any) -> Any:
        """The bytes for an event."""
        if isinstance(event, h11.Response) and self.reason is not None:
            event = h11.Response(status_code=event.status_code, headers=event.headers, reason=self.reason)
        return super().send(event)


class _Protocol(H11Protocol):
    def __init__(self, config: Config, state: ServerState):
        super().__init__(config, state, {})
        self.conn = Connection()
        self.app_state = {CONNECTION: self.conn}


def bound(port: int) -> socket.socket:
    """A socket that listens on loopback; 0: any free port. Raises OSError."""
    # Where TCP is named asyncio sets TCP_NODELAY: else small pieces wait for each other, 40 ms a call.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        listening.listen(socket.SOMAXCONN)
    except OSError:
        listening.close()
        raise
    return listening


@asynccontextmanager
async def listening(app: App, at: socket.socket) -> Any:
    """Serve an ASGI app at that socket; at the end connections are cut, and their tasks have ended."""
    config = Config(
        app,
        loop="asyncio",
        http=H11Protocol,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE_S,
    )
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: _Protocol(config, state), sock=at)
    try:
        yield
    finally:
        server.close()
        await _cut(state)


@contextmanager
def silence() -> Iterator[None]:
    """uvicorn and asyncio say nothing: what stands on our stderr is ours."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


async def _cut(state: ServerState) -> None:
    """A stream that is not over must not look as if it were: no last chunk, no answer of ours."""
    for connection in list(state.connections):
        connection.transport.abort()
    tasks = list(state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
