"""What is answered before the library is there is what the library answers."""

from __future__ import annotations

import json

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from devtrace.services.mcp_server.calls import Calls
from devtrace.services.mcp_server.first import HANDSHAKES, answer
from devtrace.services.mcp_server.serve import server_of
from devtrace.services.mcp_server.store import Store
from tests.mcp_serve.serving import CLIENT, LEGACY, MODERN, meta

INITIALIZE = {"protocolVersion": LEGACY[-1], "capabilities": {}, "clientInfo": CLIENT}


def request(method, params=None, identity=1):
    return {"jsonrpc": "2.0", "id": identity, "method": method, "params": params or {}}


def of_the_library(*messages):
    """The answers of the library's server to what a client sends, without ours before it."""

    async def main():
        store = Store({})
        server = server_of(store, Calls(store))
        said, heard = anyio.create_memory_object_stream(20)
        written, answers = anyio.create_memory_object_stream(20)
        found = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run, heard, written, server.create_initialization_options())
            for message in messages:
                await said.send(SessionMessage(jsonrpc_message_adapter.validate_python(message)))
                if "id" in message:
                    one = (await answers.receive()).message
                    found.append(json.loads(one.model_dump_json(by_alias=True, exclude_unset=True)))
            said.close()
        answers.close()
        return found

    return anyio.run(main)


@pytest.mark.parametrize("revision", LEGACY)
def test_each_legacy_revision_is_greeted_and_told_the_tools_as_the_library_does(revision):
    greeting = request("initialize", INITIALIZE | {"protocolVersion": revision})
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    tools = request("tools/list", identity=2)

    one, other = of_the_library(greeting, ready, tools)

    assert answer(greeting) == one["result"]
    assert answer(tools) == other["result"]


def test_the_modern_revision_is_told_who_we_are_and_the_tools_as_the_library_does():
    discovery, tools = request("server/discover", meta()), request("tools/list", meta(), "two")

    one, other = of_the_library(discovery, tools)

    assert answer(discovery) == one["result"]
    assert answer(tools) == other["result"]


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        "text",
        {"jsonrpc": "2.0", "method": "initialize", "params": INITIALIZE},
        request("initialize", INITIALIZE) | {"id": None},
        request("initialize", INITIALIZE) | {"id": True},
        request("initialize", INITIALIZE) | {"jsonrpc": "1.0"},
        request("initialize", INITIALIZE | {"protocolVersion": "2099-01-01"}),
        request("initialize", INITIALIZE | {"protocolVersion": MODERN}),
        request("initialize", INITIALIZE | {"capabilities": None}),
        request("initialize", INITIALIZE | {"clientInfo": {"name": "x"}}),
        request("initialize", INITIALIZE | meta()),
        request("initialize", []),
        request("server/discover"),
        request("server/discover", {"_meta": {"io.modelcontextprotocol/protocolVersion": MODERN}}),
        request("server/discover", {"_meta": []}),
        request("tools/list", {"cursor": "x"}),
        request("tools/list", {"_meta": {"progressToken": 1}}),
        request("tools/call", {"name": "list_sessions"}),
        request("ping"),
    ],
    ids=lambda message: ascii(message)[:70],
)
def test_whatever_is_not_plain_is_left_to_the_library(message):
    assert answer(message) is None


def test_the_library_hears_of_every_handshake():
    assert set(HANDSHAKES) == {"initialize", "server/discover"}
