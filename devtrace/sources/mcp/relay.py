"""One HTTP exchange after the other, from the client to the server and back: an ASGI app without a framework.

Both bodies stream, each piece as it comes and no more than a few at a time, so that a slow side slows the
other. When the client goes away the server's connection is closed at once; when the server goes away in
the middle of an answer the client's is, without the end that a whole answer has. Nothing has a limit of
time, nothing is tried twice, no redirect is followed. An answer that comes before its request was sent
waits for that.

Copies go to the tap: heads without credentials, bodies of the MCP endpoint alone. The token endpoint, and
all else below the origin, is told as OPEN and CLOSE.

Not here: HTTP itself (listener.py, httpx2), which exchange is rewritten (server.py).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from itertools import count
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from devtrace.errors import EnvironmentError
from devtrace.sources.mcp import guard, headers
from devtrace.sources.mcp.address import Address
from devtrace.sources.mcp.listener import CONNECTION, Connection
from devtrace.sources.mcp.oauth import LONGEST_DOCUMENT, Origins
from devtrace.sources.mcp.server import Answer, Asked, Change, Server
from devtrace.sources.mcp.signin import CALLBACK
from devtrace.sources.mcp.tap import CLOSE, DATA, OPEN, TO_CLIENT, TO_SERVER

if TYPE_CHECKING:
    from devtrace.sources.mcp.http import TapLike

_PIECES_WAITING = 4  # of a request's body, at most some 300 KiB each
_LONGEST_FORM = 256 << 10  # a form or registration that is longer is none
_IDLE_S = 4.0  # servers close idle connections after 5 s or more: ours are closed before
_DELIVERY_S = 10.0  # for a whole request whose client is gone: it is delivered, as by a socket
_LONGEST_REASON = 300  # characters
_FAILURES = (httpx2.HTTPError, OSError)
_STOPPED = ("error", "the proxy was stopped")
_SENT = ("http11.send_request_body.complete", "http11.send_request_body.failed")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Pair = tuple[bytes, bytes]


class Relay:
    """The ASGI app, and the connections to the server that its exchanges share."""

    def __init__(self, address: Address, tap: TapLike, extra_headers: Mapping[str, str]):
        """`extra_headers` go with every request, instead of the client's own of that name."""
        self.is_stopping = False
        self.tap = tap
        self.server = Server(address)
        self.added: list[Pair] = [(name.encode(), value.encode()) for name, value in extra_headers.items()]
        self.private = {name.lower() for name, _ in self.added}
        if address.credentials and b"authorization" not in self.private:
            self.added.append((b"Authorization", address.credentials.encode()))
        self.transport = _transport(address)
        self._channels = count(1)

    async def __aenter__(self) -> Self:
        await self.transport.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.transport.aclose()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        connection: Connection = scope["state"][CONNECTION]
        fields, origin = connection.spelled, self.server.address.origin
        host = (headers.first(fields, b"host") or b"").decode("latin-1")
        asked = Asked(scope["method"], connection.target, fields, Origins(f"http://{host}", origin))
        is_endpoint = self.server.is_endpoint(asked)
        refused = guard.refusal(asked.target, fields, is_endpoint=is_endpoint, is_keyed=bool(self.added))
        if refused:
            await _say(send, 403, f"devtrace: {refused}")
        elif asked.path == CALLBACK:
            await _see(send, self.server.sign_ins.came_back(asked.query, asked.origins))
        elif guard.is_navigation(fields) and not is_endpoint:
            await _see(send, self.server.sign_ins.sent_on(asked.raw_path, asked.query, asked.origins))
        else:
            await _Exchange(self, asked, next(self._channels), connection).run(receive, send)


class _Exchange:
    """One request and its answer."""

    def __init__(self, relay: Relay, asked: Asked, channel: int, connection: Connection):
        self._relay = relay
        self._asked = asked
        self._channel = channel
        self._connection = connection
        self._is_endpoint = relay.server.is_endpoint(asked)
        self._is_answered = False  # the last of the answer is on its way
        self._sent = asyncio.Event()  # the server has been sent the whole request

    async def run(self, receive: Receive, send: Send) -> None:
        """Until one of the three is over: the exchange, the client, the proxy."""
        told = headers.told(self._asked.fields, self._relay.private)
        self._put(
            OPEN, TO_SERVER, {"method": self._asked.method, "path": self._asked.raw_path, "headers": told}
        )
        inbound = _Inbound(receive, self._copy_to_server)
        watch = asyncio.create_task(inbound.pump())
        work = asyncio.create_task(self._forward(inbound, send))
        ended = _STOPPED
        try:
            await asyncio.wait((watch, work), return_when=asyncio.FIRST_COMPLETED)
            if self._is_answered:  # uvicorn tells both of that, in any order
                await asyncio.wait((work,))
            if work.done():
                ended = work.result()
            else:
                if inbound.is_whole:
                    await self._delivered(work)
                ended = ("client_gone", "")
        except Exception as error:  # this is what the server's loop calls; it has no words for it
            ended = ("error", _named(error))
        finally:
            watch.cancel()
            work.cancel()
            await asyncio.gather(watch, work, return_exceptions=True)
            if self._relay.is_stopping and ended[0] == "client_gone":
                ended = _STOPPED  # it was we who went
            self._put(CLOSE, TO_CLIENT, {"why": ended[0], "detail": ended[1]})

    async def _delivered(self, work: asyncio.Task[tuple[str, str]]) -> None:
        """The client has gone right after its last byte, which a server it dialled itself would have got."""
        sent = asyncio.create_task(self._sent.wait())
        await asyncio.wait((work, sent), timeout=_DELIVERY_S, return_when=asyncio.FIRST_COMPLETED)
        sent.cancel()

    async def _forward(self, inbound: _Inbound, send: Send) -> tuple[str, str]:
        """Why it ended, and what there is to say of it."""
        try:
            response = await self._relay.transport.handle_async_request(await self._request(inbound))
        except _FAILURES as error:
            self._is_answered = True
            await _say(send, 502, f"devtrace: {self._relay.server.address.origin}: {_reason(error)}")
            is_gone = isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError)
            return "server_gone" if is_gone else "error", _named(error)
        try:
            await self._answer(response, send)
        except _FAILURES as error:
            return "server_gone", _named(error)  # ASGI: what returns without an end is cut
        finally:
            await response.aclose()
        return "done", ""

    async def _request(self, inbound: _Inbound) -> httpx2.Request:
        relay, asked = self._relay, self._asked
        fields = headers.to_server(asked.fields, relay.server.address.host, relay.added)
        if relay.server.is_document(asked):
            fields = headers.replaced(fields, b"accept-encoding", b"identity")
        pieces = inbound.pieces()
        change = relay.server.change_of_request(asked)
        if change is not None:
            pieces, size = await _changed(pieces, change, _LONGEST_FORM)
            if size is not None:
                fields = headers.replaced(fields, b"content-length", b"%d" % size)
        extensions = {"target": relay.server.target(asked), "trace": self._trace}
        url = relay.server.address.origin
        return httpx2.Request(asked.method, url, headers=fields, stream=_Body(pieces), extensions=extensions)

    async def _trace(self, name: str, _: Mapping[str, Any]) -> None:
        if name in _SENT:
            self._sent.set()

    async def _answer(self, response: httpx2.Response, send: Send) -> None:
        server, asked = self._relay.server, self._asked
        answer = Answer(response.status_code, response.headers.raw)
        self._put(OPEN, TO_CLIENT, {"status": answer.status, "headers": headers.told(answer.fields)})
        fields = headers.end_to_end(server.for_client(asked, answer))
        change, start = server.change_of_answer(asked, answer), server.first_event(asked, answer)
        pieces = self._copied(response)
        if change is not None:
            pieces, size = await _changed(pieces, change, LONGEST_DOCUMENT)
            if size is not None:
                fields = headers.replaced(fields, b"content-length", b"%d" % size)
        self._connection.reason = response.extensions.get("reason_phrase")
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        async with aclosing(pieces):
            async for piece in pieces:
                out = piece if start is None else start.feed(piece)
                if start is not None and start.is_over:
                    server.knows_endpoint(asked, start.endpoint)
                    start = None
                if out:
                    await send({"type": "http.response.body", "body": out, "more_body": True})
        rest = b"" if start is None else start.rest()
        self._is_answered = True
        await send({"type": "http.response.body", "body": rest, "more_body": False})

    async def _copied(self, response: httpx2.Response) -> AsyncGenerator[bytes, None]:
        async for piece in response.aiter_raw():
            if self._is_endpoint:
                self._relay.tap.put(DATA, TO_CLIENT, self._channel, piece)
            yield piece

    def _copy_to_server(self, piece: bytes) -> None:
        if self._is_endpoint:
            self._relay.tap.put(DATA, TO_SERVER, self._channel, piece)

    def _put(self, kind: int, direction: int, told: Mapping[str, Any]) -> None:
        self._relay.tap.put(kind, direction, self._channel, json.dumps(told).encode())


class _Inbound:
    """The client's half of an exchange: its body, and the moment it goes away."""

    def __init__(self, receive: Receive, copy: Callable[[bytes], None]):
        self.is_whole = False  # the body has come to its end
        self._receive = receive
        self._copy = copy
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(_PIECES_WAITING)

    async def pump(self) -> None:
        """Returns when the client has gone, or has its whole answer."""
        while (message := await self._receive())["type"] == "http.request":
            if piece := message.get("body", b""):
                self._copy(piece)
                await self._pieces.put(piece)
            if not message.get("more_body", False):
                self.is_whole = True
                await self._pieces.put(b"")

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes."""
        while piece := await self._pieces.get():
            yield piece


class _Body(httpx2.AsyncByteStream):
    def __init__(self, pieces: AsyncGenerator[bytes, None]):
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces


async def _changed(
    pieces: AsyncGenerator[bytes, None], change: Change, longest: int
) -> tuple[AsyncGenerator[bytes, None], int | None]:
    """A body, read whole and changed, and its size; one that is too long is as it was, and None."""
    held = b""
    async for piece in pieces:
        held += piece
        if len(held) > longest:
            return _after(held, pieces), None
    new = change(held)
    return _after(new, pieces), len(new)


async def _after(held: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        if held:
            yield held
        async for piece in pieces:
            yield piece


def _transport(address: Address) -> httpx2.AsyncHTTPTransport:
    """The way to the server: by the proxy that the environment names, where it is on another machine."""
    parts = urlsplit(address.origin)
    host = parts.hostname or ""
    named = {} if guard.is_loopback(host) or proxy_bypass(host) else getproxies()
    proxy = named.get(parts.scheme) or named.get("all")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_IDLE_S)
    try:
        # Where no TLS is spoken its trust store, 30 ms, is not loaded either.
        return httpx2.AsyncHTTPTransport(
            verify=parts.scheme == "https" or bool(proxy), limits=limits, proxy=proxy
        )
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        raise EnvironmentError(
            f"the proxy that the environment names cannot be used: {error}",
            code="ERR_PROXY",
            hint=f"see {parts.scheme}_proxy, all_proxy and no_proxy",
        ) from error


async def _say(send: Send, status: int, text: str) -> None:
    """An answer of our own, in words for a person: it is no message of any protocol."""
    body = f"{text}\n".encode()
    fields = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Content-Length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _see(send: Send, url: str | None) -> None:
    """Send a browser on."""
    if url is None:
        await _say(send, 404, "devtrace: nobody waits for this sign-in")
        return
    fields = [
        (b"Location", url.encode("latin-1", "replace")),
        (b"Cache-Control", b"no-store"),
        (b"Referrer-Policy", b"no-referrer"),
        (b"Content-Length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 302, "headers": fields})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {_reason(error)}"


def _reason(error: BaseException) -> str:
    """The words of the innermost error: what wraps it says less."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    if isinstance(error, BaseExceptionGroup):
        return _reason(error.exceptions[0])
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio's own words are about a call
    return str(error)[:_LONGEST_REASON] or type(error).__name__
