"""The server by which a model asks the record: the official library of the protocol around our answers.

Both eras of the protocol are the library's; each of our answers is made in a thread, so that a long one
delays no other, and is given up when nobody waits for it any more.

Lives here: `serve_stdio`, `server_of`. Not here: the answers (calls.py, resources.py), the bytes of
stdio (stdio.py), HTTP (http.py). The library is imported here and in http.py alone, and late: it
takes half a second.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from devtrace.errors import DevTraceError, EnvironmentError
from devtrace.services.mcp_server import first
from devtrace.services.mcp_server.stdio import Streams
from devtrace.views.for_models import INSTRUCTIONS

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from devtrace.services.mcp_server.calls import Calls
    from devtrace.services.mcp_server.store import Store

Row = dict[str, Any]
Answering = Callable[[Any, Any], Awaitable[Row]]
Found = TypeVar("Found")

_AT_ONCE = 8  # answers in the making; more wait
_GRACE_S = 2.0  # beyond the patience of a call, which looks at the clock itself as long as it asks the store
_WITHOUT_LINKS = ("2024-11-05", "2025-03-26")  # revisions that know no resource_link


def serve_stdio(environ: Mapping[str, str]) -> None:
    """Serve until the client closes its end; does not return.

    Raises EnvironmentError ERR_EXTRA_MISSING.
    """
    check_extra()
    streams = Streams()
    streams.begin()
    quiet()
    store, calls = opened(environ)
    import anyio

    anyio.run(_serve, server_of(store, calls), streams)


def check_extra() -> None:
    """Raises EnvironmentError ERR_EXTRA_MISSING where the library is not installed."""
    from importlib.util import find_spec

    if find_spec("mcp") is None or find_spec("mcp_types") is None:
        raise EnvironmentError(
            "the extra `mcp` is not installed",
            code="ERR_EXTRA_MISSING",
            hint="pip install 'devtrace-shell[mcp]'",
        )


def opened(environ: Mapping[str, str]) -> tuple[Store, Calls]:
    """What answers; what the first question would have to wait for is being done already."""
    from devtrace.services.mcp_server.calls import Calls, warm
    from devtrace.services.mcp_server.store import Store

    store = Store(environ)

    def begin() -> None:
        store.begin()
        warm()

    threading.Thread(target=begin, name="devtrace-mcp-warm", daemon=True).start()
    return store, Calls(store)


def quiet() -> None:
    """The library's own log goes nowhere: stderr is shown to people, who did not ask for it."""
    import logging

    logging.getLogger().addHandler(logging.NullHandler())


async def _serve(server: Server[Any], streams: Streams) -> None:
    import anyio
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    incoming, heard = anyio.create_memory_object_stream[SessionMessage | Exception](math.inf)
    said, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    from asyncio import get_running_loop

    loop = get_running_loop()

    def take(line: bytes) -> None:
        try:
            message: SessionMessage | Exception = SessionMessage(
                jsonrpc_message_adapter.validate_json(line, by_name=False)
            )
        except Exception as error:  # no message: the library judges what to do about it
            message = error
        loop.call_soon_threadsafe(incoming.send_nowait, message)

    async def write() -> None:
        async for one in outgoing:
            text = one.message.model_dump_json(by_alias=True, exclude_unset=True)
            is_answer = not hasattr(one.message, "method")
            streams.write(getattr(one.message, "id", None) if is_answer else None, text)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        streams.hand_over(take)
        await server.run(heard, said, server.create_initialization_options())


# --- the library ----------------------------------------------------------------------------------------


def server_of(store: Store, calls: Calls) -> Server[Any]:
    """The server of the library, with all that we answer."""
    import mcp_types as types
    from mcp.server.lowlevel import Server

    from devtrace import __version__
    from devtrace.services.mcp_server import resources as mcp_resources
    from devtrace.services.mcp_server.tools import LISTED

    server: Server[Any] = Server(
        first.NAME, version=__version__, title=first.TITLE, instructions=INSTRUCTIONS
    )
    server.middleware.clear()  # it tells OpenTelemetry of each message, and nobody asked for that
    desk = _Desk(store, calls)

    def always(told: Row) -> Answering:
        async def tell(_context: Any, _params: Any) -> Row:
            return told

        return tell

    paged = types.PaginatedRequestParams
    for method, takes, gives, answering in (
        ("tools/list", paged, types.ListToolsResult, always(LISTED)),
        ("tools/call", types.CallToolRequestParams, types.CallToolResult, desk.call),
        ("resources/list", paged, types.ListResourcesResult, desk.resources),
        (
            "resources/templates/list",
            paged,
            types.ListResourceTemplatesResult,
            always(mcp_resources.TEMPLATES),
        ),
        ("resources/read", types.ReadResourceRequestParams, types.ReadResourceResult, desk.read),
        ("prompts/list", paged, types.ListPromptsResult, always(mcp_resources.PROMPTS)),
        ("prompts/get", types.GetPromptRequestParams, types.GetPromptResult, desk.prompt),
        ("completion/complete", types.CompleteRequestParams, types.CompleteResult, desk.complete),
    ):
        server.add_request_handler(method, takes, _in_shape(gives, answering))
    return server


def _in_shape(gives: Any, answering: Answering) -> Callable[[Any, Any], Awaitable[Any]]:
    """With the fields that the library adds to a result of that type, one revision more, another less."""

    async def answer(context: Any, params: Any) -> Any:
        return gives.model_validate(await answering(context, params), by_name=False)

    return answer


class _Desk:
    """Takes what the library hears to what answers it."""

    def __init__(self, store: Store, calls: Calls):
        import anyio

        self._store, self._calls = store, calls
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def call(self, context: Any, params: Any) -> Row:
        """A tool is called. An unknown one is an error of the protocol, anything else one of the tool."""
        import anyio
        from mcp.shared.exceptions import MCPError
        from mcp_types import INVALID_PARAMS

        from devtrace.services.mcp_server.calls import PATIENCE_S, refused
        from devtrace.services.mcp_server.store import too_slow
        from devtrace.services.mcp_server.tools import BY_NAME

        if params.name not in BY_NAME:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name[:100]!r}")
        reply = refused(too_slow())
        with anyio.move_on_after(PATIENCE_S + _GRACE_S):
            reply = await self._apart(partial(self._calls.reply, params.name, params.arguments))
        content: list[Row] = [{"type": "text", "text": reply.text}]
        if context.protocol_version not in _WITHOUT_LINKS:
            content += [
                {"type": "resource_link", "uri": uri, "name": name, "mimeType": kind}
                for uri, name, kind in reply.links
            ]
        return {"content": content, "structuredContent": reply.structured, "isError": reply.is_error}

    async def resources(self, _context: Any, params: Any) -> Row:
        """The newest sessions."""
        from devtrace.services.mcp_server import resources as mcp_resources

        cursor = params.cursor if params is not None else None
        return await self._or_error(lambda _stop: mcp_resources.listed(self._store, cursor))

    async def read(self, _context: Any, params: Any) -> Row:
        """What a session or an event holds."""
        from devtrace.services.mcp_server import resources as mcp_resources

        return await self._or_error(lambda _stop: mcp_resources.read(self._calls, str(params.uri)))

    async def prompt(self, _context: Any, params: Any) -> Row:
        """How to ask."""
        from devtrace.services.mcp_server import resources as mcp_resources

        return await self._or_error(lambda _stop: mcp_resources.prompt(params.name, params.arguments))

    async def complete(self, _context: Any, params: Any) -> Row:
        """What an argument may be."""
        from devtrace.services.mcp_server import resources as mcp_resources

        name, start = params.argument.name, params.argument.value
        return await self._or_error(lambda _stop: mcp_resources.completed(self._store, name, start))

    async def _or_error(self, ask: Callable[[threading.Event], Row]) -> Row:
        """The answer; what goes wrong is an error of the protocol, for there is no other way to tell it."""
        from mcp.shared.exceptions import MCPError
        from mcp_types import INTERNAL_ERROR, INVALID_PARAMS

        from devtrace.services.mcp_server.calls import logged, refused

        try:
            return await self._apart(ask)
        except DevTraceError as error:
            told, code = refused(error).structured, INVALID_PARAMS
        except Exception as error:
            told, code = refused(logged(error)).structured, INTERNAL_ERROR
        raise MCPError(code, told["message"], told)

    async def _apart(self, ask: Callable[[threading.Event], Found]) -> Found:
        """Ask in a thread; when nobody waits any more it is told to stop, and is not waited for."""
        import anyio.to_thread

        stop = threading.Event()
        try:
            return await anyio.to_thread.run_sync(ask, stop, abandon_on_cancel=True, limiter=self._limiter)
        finally:
            stop.set()
