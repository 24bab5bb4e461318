"""The `mcp` SDK on both sides of the HTTP proxy: it must not matter that the proxy is there."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
import pytest
from mcp.client.auth import OAuthClientProvider
from mcp.client.client import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)

from tests.processes import DEADLINE, environment
from tests.sources.mcp.upstream import DATA, OPEN, Proxy, proxied

PROGRAM = Path(__file__).with_name("sdk_server.py")
MODERN, LEGACY = "2026-07-28", "legacy"
CALLBACK = "http://localhost:1455/callback"
BROWSER = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}


@contextmanager
def serving(way: str) -> Iterator[str]:
    """The URL of a server of the SDK."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), way], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def within(work: Callable[[], Awaitable[Any]]) -> Any:
    """The outcome of something that must come to an end."""

    async def run() -> Any:
        with anyio.fail_after(DEADLINE):
            return await work()

    return asyncio.run(run())


async def used(client: Client) -> list[Any]:
    """What a client sees of a server, as far as it is the same each time."""
    seen: list[Any] = [[tool.model_dump() for tool in (await client.list_tools()).tools]]
    progress: list[float] = []

    async def note(now: float, _total: float | None, _message: str | None) -> None:
        progress.append(now)

    for name, arguments in (
        ("add", {"a": 2, "b": 2**60}),
        ("fail", {}),
        ("repeat", {"text": "é", "times": 10**5}),
    ):
        seen.append((await client.call_tool(name, arguments)).model_dump())
    seen.append((await client.call_tool("count", {"to": 3}, progress_callback=note)).model_dump())
    return [*seen, progress]


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
def test_a_client_sees_the_same_with_the_proxy_and_without(mode: str) -> None:
    async def seen(url: str) -> list[Any]:
        async with Client(url, mode=mode) as client:
            return await used(client)

    with serving("open") as url, proxied(url) as proxy:
        direct, through = within(lambda: seen(url)), within(lambda: seen(proxy.url))
        told = proxy.told(5)

    assert through == direct
    heads = [record[3]["headers"] for record in told if record[0] == OPEN]
    versions = {head["mcp-protocol-version"] for head in heads if "mcp-protocol-version" in head}
    assert versions == ({MODERN} if mode == MODERN else {"2025-11-25"})
    assert any('"add"' in record[3] for record in told if record[0] == DATA)


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
def test_a_call_that_is_given_up_is_given_up_by_the_server(mode: str) -> None:
    async def give_up(url: str) -> bool:
        async with Client(url, mode=mode) as client:
            with anyio.move_on_after(0.5):
                await client.call_tool("wait", {})
            result = await client.call_tool("was_given_up", {})
            return bool(result.structured_content == {"result": True})

    with serving("open") as url, proxied(url) as proxy:
        assert within(lambda: give_up(proxy.url))


def test_an_older_server_of_http_and_sse_is_used_through_the_proxy() -> None:
    async def seen(url: str) -> list[Any]:
        async with Client(sse_client(url), mode=LEGACY) as client:
            return await used(client)

    with serving("sse") as url, proxied(url) as proxy:
        direct, through = within(lambda: seen(url)), within(lambda: seen(proxy.url))
        told = proxy.told(5)

    assert through == direct
    assert any('"add"' in record[3] for record in told if record[0] == DATA)


# --- signing in ---------------------------------------------------------------------------------------------


class Kept:
    """What a client remembers, in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Person:
    """Who signs in: opens the page, and goes where that leads until the client's own address is reached."""

    def __init__(self, fields: dict[str, str]):
        self.visited: list[str] = []
        self._fields = fields

    async def opens(self, url: str) -> None:
        async with httpx2.AsyncClient(headers=self._fields) as browser:
            while not url.startswith(CALLBACK):
                self.visited.append(url)
                response = await browser.get(url)
                assert response.status_code == 302, response.text
                url = response.headers["location"]
        self.visited.append(url)

    async def comes_back(self) -> AuthorizationCodeResult:
        said = {name: values[0] for name, values in parse_qs(urlsplit(self.visited[-1]).query).items()}
        return AuthorizationCodeResult(code=said["code"], state=said.get("state"), iss=said.get("iss"))


@asynccontextmanager
async def signed_in(url: str, person: Person, kept: Kept, mode: str) -> AsyncIterator[Client]:
    about = OAuthClientMetadata.model_validate(
        {
            "client_name": "test",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        }
    )
    auth = OAuthClientProvider(url, about, kept, person.opens, person.comes_back)
    async with (
        create_mcp_http_client(auth=auth) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def one_call(url: str, person: Person, kept: Kept, mode: str) -> Any:
    async with signed_in(url, person, kept, mode) as client:
        return (await client.call_tool("add", {"a": 2, "b": 3})).structured_content


@pytest.mark.parametrize("mode", [MODERN, LEGACY])
@pytest.mark.parametrize("who", ["browser", "program"])
@pytest.mark.parametrize("way", ["signed", "naming", "older"])
def test_a_sign_in_through_the_proxy_ends_with_a_call(way: str, who: str, mode: str) -> None:
    person, kept = Person(BROWSER if who == "browser" else {}), Kept()
    with serving(way) as url, proxied(url) as proxy:
        result = within(lambda: one_call(proxy.url, person, kept, mode))
        told = json.dumps(proxy.told(5))

    assert result == {"result": 5}
    went_to_the_server = any(place.startswith(url.removesuffix("/mcp")) for place in person.visited)
    assert went_to_the_server == (who == "browser")
    assert kept.client is not None
    assert [str(uri) for uri in kept.client.redirect_uris or []] == [CALLBACK]
    assert kept.tokens is not None
    for secret in (kept.tokens.access_token, kept.tokens.refresh_token, kept.client.client_secret):
        assert secret
        assert secret not in told


def test_the_same_sign_in_works_without_the_proxy() -> None:
    person, kept = Person(BROWSER), Kept()
    with serving("naming") as url:
        assert within(lambda: one_call(url, person, kept, MODERN)) == {"result": 5}


def test_a_user_who_brings_a_token_does_not_sign_in() -> None:
    person, kept = Person({}), Kept()
    with serving("signed") as url:
        within(lambda: one_call(url, person, kept, MODERN))
        assert kept.tokens is not None
        with proxied(url, f"Authorization:Bearer {kept.tokens.access_token}") as proxy:
            assert within(lambda: plain_call(proxy)) == {"result": 5}
            assert kept.tokens.access_token not in json.dumps(proxy.told(1))


async def plain_call(proxy: Proxy) -> Any:
    async with Client(proxy.url, mode=MODERN) as client:
        return (await client.call_tool("add", {"a": 2, "b": 3})).structured_content
