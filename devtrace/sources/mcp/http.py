"""The proxy in front of a server that is reached by HTTP: `devtrace mcp proxy --url`.

    client ──HTTP on 127.0.0.1── listener.py ── relay.py ── httpx2 ──HTTP or HTTPS── server
                 (uvicorn, h11)                    │ copies
                                                   ▼
                                                 the tap

Lives here: the order of start and end, and the one place that says what is missing. Not here: one
exchange (relay.py), who may ask (guard.py), header fields (headers.py), signing in (oauth.py, signin.py).

What HTTP needs is imported in `serve`: the rest of the package has to start without it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from devtrace.errors import EnvironmentError
from devtrace.sources.mcp.address import Address, parse, public

if TYPE_CHECKING:
    import socket

    from devtrace.sources.mcp.relay import Relay

__all__ = ["TapLike", "public", "serve"]

_BROUGHT_BY_EXTRA = ("h11", "httpcore2", "httpx2", "uvicorn")
_STATUS = {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGHUP: 129}  # after which signal it returns what


class TapLike(Protocol):
    """Where copies go (tap.py)."""

    def put(self, kind: int, direction: int, channel: int, payload: bytes) -> None:
        """Never blocks, never raises."""


def serve(
    url: str,
    *,
    port: int,
    tap: TapLike,
    extra_headers: Mapping[str, str],
    announce: Callable[[str], None],
) -> int:
    """Stand before the server until SIGTERM (returns 0), SIGINT (130), SIGHUP (129). For the main thread.

    Raises UsageError ERR_USAGE (the URL), EnvironmentError ERR_EXTRA_MISSING, ERR_PORT_TAKEN.
    """
    address = parse(url)
    try:
        from devtrace.sources.mcp import listener, relay
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    try:
        at = listener.bound(port)
    except OSError as error:
        raise EnvironmentError(
            f"nothing can listen at 127.0.0.1:{port}: {error.strerror}",
            code="ERR_PORT_TAKEN",
            hint="leave --port out, or name another one",
        ) from error
    with at, listener.silence(), _handlers_kept():
        forward = relay.Relay(address, tap, extra_headers)
        return asyncio.run(_run(forward, at, lambda: announce(_dialled(address, at))))


async def _run(forward: Relay, at: socket.socket, ready: Callable[[], None]) -> int:
    from devtrace.sources.mcp import listener

    stopped: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
    for number in _STATUS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's & without job control
            asyncio.get_running_loop().add_signal_handler(number, _stop, stopped, number)
    async with forward, listener.listening(forward, at):
        ready()
        number = await stopped
        forward.is_stopping = True
    return _STATUS[number]


def _stop(stopped: asyncio.Future[signal.Signals], number: signal.Signals) -> None:
    if not stopped.done():
        stopped.set_result(number)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """The loop takes its handlers away at its end, and leaves the default; the caller had its own."""
    before = {number: signal.getsignal(number) for number in _STATUS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _dialled(address: Address, at: socket.socket) -> str:
    host, port = at.getsockname()
    return f"http://{host}:{port}{address.path}"


def _missing(error: ModuleNotFoundError) -> EnvironmentError | ModuleNotFoundError:
    if (error.name or "").partition(".")[0] not in _BROUGHT_BY_EXTRA:
        return error
    return EnvironmentError(
        f"the proxy for --url needs {error.name}, which is not installed",
        code="ERR_EXTRA_MISSING",
        hint="pip install 'devtrace-shell[mcp]'",
    )
