"""A client of the `mcp` SDK that does what the conformance suite's scenarios for clients want to see.

    python conformance_client.py SOCKET

It waits for conformance_ask.py to name a URL, and forks a client for each. That one lists the tools and calls
them: with what the scenario says, with what their names ask for, else with nothing. Where a server wants it,
it signs in. With BEHIND_PROXY=1 it puts `devtrace mcp proxy --url` in front of that URL and speaks to it.

Not here: running the suite (conformance.py), the proxy (peers.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, TextContent

from tests.mcp.peers import proxied

CALLBACK = "http://localhost:3000/callback"
CLIENT_ID_URL = "https://conformance-test.local/client-metadata.json"  # of a document; the suite knows it
MODERN = "2026-07-28"
GIVEN = {"add_numbers": {"a": 5, "b": 3}}
FOCAL, ECHO = "json_schema_2020_12_tool", "json_schema_echo"


class Kept:
    """Tokens and registrations, as long as the process lives."""

    def __init__(self, known: OAuthClientInformationFull | None):
        self.tokens: OAuthToken | None = None
        self.known = known

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.known

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.known = client_info


class User:
    """Who signs in: by one request to the page, whose answer leads back with a code."""

    def __init__(self) -> None:
        self.answer: Mapping[str, list[str]] = {}

    async def open(self, url: str) -> None:
        async with httpx2.AsyncClient() as browser:
            response = await browser.get(url, follow_redirects=False)
        self.answer = parse_qs(urlsplit(response.headers["location"]).query)

    async def come_back(self) -> AuthorizationCodeResult:
        said = {name: values[0] for name, values in self.answer.items()}
        return AuthorizationCodeResult(code=said["code"], state=said.get("state"), iss=said.get("iss"))


def signing_in(url: str, context: Mapping[str, Any]) -> OAuthClientProvider:
    known, user = None, User()
    if "client_id" in context:
        secret = context.get("client_secret")
        known = OAuthClientInformationFull.model_validate(
            {
                "client_id": context["client_id"],
                "client_secret": secret,
                "redirect_uris": [CALLBACK],
                "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
            }
        )
    about = OAuthClientMetadata.model_validate(
        {
            "client_name": "conformance-client",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        }
    )
    return OAuthClientProvider(
        url, about, Kept(known), user.open, user.come_back, client_metadata_url=CLIENT_ID_URL
    )


async def elicit(context: Any, params: Any) -> ElicitResult:
    """Says yes, with the defaults."""
    properties = (getattr(params, "requested_schema", None) or {}).get("properties", {})
    content = {name: one["default"] for name, one in properties.items() if "default" in one}
    return ElicitResult(action="accept", content=content)


async def sample(context: Any, params: Any) -> CreateMessageResult:
    said = TextContent(type="text", text="Sampled")
    return CreateMessageResult(role="assistant", content=said, model="none", stop_reason="endTurn")


async def roots(context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[])


async def use(client: Client, context: Mapping[str, Any]) -> None:
    """List and call."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    if FOCAL in tools and ECHO in tools:
        await client.call_tool(ECHO, {"schema": tools[FOCAL].input_schema})
        return
    calls = context.get("toolCalls") or [{"name": name, "arguments": GIVEN.get(name, {})} for name in tools]
    for call in calls:
        await client.call_tool(call["name"], call["arguments"])


async def run(url: str, context: Mapping[str, Any], revision: str) -> None:
    async with create_mcp_http_client(auth=signing_in(url, context)) as http, Client(
        streamable_http_client(url, http_client=http), elicitation_callback=elicit,
        sampling_callback=sample, list_roots_callback=roots,
        mode=MODERN if revision == MODERN else "legacy",
    ) as client:  # fmt: skip
        await use(client, context)


def play(url: str, environ: Mapping[str, str]) -> None:
    """One scenario to its end. Whatever goes wrong is an error of the client, which some of them want."""
    context = json.loads(environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    revision = environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", MODERN)
    with ExitStack() as stack:
        if os.environ.get("BEHIND_PROXY"):
            url = stack.enter_context(proxied(url))
        asyncio.run(run(url, context, revision))


def answer(connection: socket.socket) -> None:
    """In a process of its own: what it says, and its status as the last word."""
    with connection, connection.makefile("rwb") as stream:
        asked, status = json.loads(stream.readline()), 0
        try:
            play(asked["url"], asked["environ"])
        except BaseException:
            status = 1
            stream.write(traceback.format_exc().encode())
        stream.write(f"\n{status}".encode())


def serve(place: str) -> None:
    """Until a signal ends it; its children are nobody's to wait for."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            connection, _ = listening.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listening.close()
                answer(connection)
                os._exit(0)
            connection.close()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(sys.argv[1])
