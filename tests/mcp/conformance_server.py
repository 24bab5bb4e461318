"""The server that the official conformance suite asks for, of the `mcp` SDK, for both eras of the protocol.

    python conformance_server.py stdio
    python conformance_server.py http          # prints the URL, on a port of its own choice

It is a fixture on this side of the proxy: what counts is not how much of the suite it passes, but that it is
the same with the proxy in between.

Lives here: resources, prompts, the server on both transports. Not here: its tools (conformance_tools.py),
running the suite and reading what it says (conformance.py).
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.lowlevel.server import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, JSONRPCMessage

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.mcp.conformance_tools import (
    BUS,
    IMAGE,
    PNG,
    RETRY_MS,
    TOOLS,
    Ctx,
    Result,
    Run,
    answers,
    asked,
    embedded,
    question,
    text,
)

NAME = "conformance-server"
MODERN = "2026-07-28"
CACHED = {"ttlMs": 1000, "cacheScope": "private"}
STATIC = {
    "test://static-text": ("text/plain", "text", "This is the content of the static text resource."),
    "test://static-binary": ("image/png", "blob", PNG),
    "test://watched-resource": ("text/plain", "text", "Watched."),
}
PROMPTS: dict[str, tuple[str, ...]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}


async def list_tools(ctx: Ctx, params: Any) -> Result:
    return {
        "tools": [
            {"name": name, "description": one.description, "inputSchema": one.schema}
            for name, one in TOOLS.items()
        ]
    }


async def call_tool(ctx: Ctx, params: Any) -> Result:
    if params.name not in TOOLS:
        raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name}")
    return await TOOLS[params.name].run(ctx, params.arguments or {})


async def list_resources(ctx: Ctx, params: Any) -> Result:
    return {
        "resources": [
            {"uri": uri, "name": uri.rpartition("/")[2], "description": f"For tests: {uri}", "mimeType": mime}
            for uri, (mime, _, _) in STATIC.items()
        ]
    }


async def list_templates(ctx: Ctx, params: Any) -> Result:
    template = {"uriTemplate": "test://template/{id}/data", "name": "data", "mimeType": "application/json"}
    return {"resourceTemplates": [{**template, "description": "For tests: data of an id"}]}


async def read_resource(ctx: Ctx, params: Any) -> Result:
    uri = str(params.uri)
    if uri in STATIC:
        mime, field, content = STATIC[uri]
        return {"contents": [{"uri": uri, "mimeType": mime, field: content}]}
    if not (uri.startswith("test://template/") and uri.endswith("/data")):
        raise MCPError(INVALID_PARAMS, "Resource not found", {"uri": uri})
    id = uri.split("/")[3]
    told = json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})
    return {"contents": [{"uri": uri, "mimeType": "application/json", "text": told}]}


async def list_prompts(ctx: Ctx, params: Any) -> Result:
    return {
        "prompts": [
            {
                "name": name,
                "description": f"For tests: {name}",
                "arguments": [{"name": one, "required": True} for one in given],
            }
            for name, given in PROMPTS.items()
        ]
    }


async def get_prompt(ctx: Ctx, params: Any) -> Result:
    given = params.arguments or {}
    if params.name == "test_input_required_result_prompt" and not answers(ctx):
        return asked({"user_context": question("What context should the prompt use?", "context")})
    contents: dict[str, list[Result]] = {
        "test_simple_prompt": text("This is a simple prompt for testing.")["content"],
        "test_prompt_with_arguments": text(
            f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'"
        )["content"],
        "test_prompt_with_embedded_resource": [
            embedded(given.get("resourceUri", ""), "text/plain", "Embedded resource content for testing."),
            *text("Please process the embedded resource above.")["content"],
        ],
        "test_prompt_with_image": [IMAGE, *text("Please analyze the image above.")["content"]],
        "test_input_required_result_prompt": text(json.dumps(answers(ctx), sort_keys=True))["content"],
    }
    if params.name not in contents:
        raise MCPError(INVALID_PARAMS, f"Unknown prompt: {params.name}")
    return {"messages": [{"role": "user", "content": one} for one in contents[params.name]]}


async def complete(ctx: Ctx, params: Any) -> Result:
    return {"completion": {"values": ["paris", "park", "party"], "total": 3, "hasMore": False}}


async def nothing(ctx: Ctx, params: Any) -> Result:
    return {}


def dated(handler: Run, **more: Any) -> Run:
    """With what results say of themselves from 2026-07-28 on."""

    async def run(ctx: Ctx, params: Any) -> Result:
        result = await handler(ctx, params)
        return result if ctx.protocol_version < MODERN else {"resultType": "complete", **more, **result}

    return run


class Events(EventStore):
    """Every event of every stream, for clients that come back."""

    def __init__(self) -> None:
        self._told: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._told.append((stream_id, message))
        return str(len(self._told))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        seen = int(last_event_id)
        stream = self._told[seen - 1][0]
        for number, (of, message) in enumerate(self._told[seen:], seen + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


def made() -> Server[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the newest revision deprecates is to be served to the others
        server: Server[Any] = Server(
            NAME, version="1.0.0", on_list_tools=dated(list_tools, **CACHED), on_call_tool=dated(call_tool),
            on_list_resources=dated(list_resources, **CACHED),
            on_list_resource_templates=dated(list_templates, **CACHED),
            on_read_resource=dated(read_resource, **CACHED), on_subscribe_resource=nothing,
            on_unsubscribe_resource=nothing, on_subscriptions_listen=ListenHandler(BUS),
            on_list_prompts=dated(list_prompts, **CACHED), on_get_prompt=dated(get_prompt),
            on_completion=dated(complete), on_set_logging_level=nothing,
        )  # fmt: skip
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    return server


async def serve_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def serve_http(server: Server[Any]) -> None:
    app = server.streamable_http_app(event_store=Events(), retry_interval=RETRY_MS)
    listening = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1] == "stdio":
        asyncio.run(serve_stdio(made()))
    else:
        serve_http(made())
