"""A server of the `mcp` SDK on loopback, for both eras; with a sign-in of its own where that is asked for.

    python sdk_server.py open       # anybody may call
    python sdk_server.py sse        # HTTP+SSE, as of 2024-11-05
    python sdk_server.py signed     # tokens are for this server's URL alone, and expire at once
    python sdk_server.py naming     # besides, answers name their issuer (RFC 9207), and must be asked for so
    python sdk_server.py older      # as of 2025-03-26: no metadata of the resource

It prints its URL when it listens. The sign-in asks nobody: its page leads straight back.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import warnings
from typing import Any

import anyio
import uvicorn
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from mcp_types import ToolAnnotations

SECONDS = 3600
METADATA = "/.well-known/oauth-authorization-server"


class Provider:
    """Clients, codes and tokens, in memory."""

    def __init__(self, issuer: str, names_issuer: bool):
        self._issuer = issuer
        self._names_issuer = names_issuer
        self._clients: dict[str, OAuthClientInformationFull] = {}
        self._codes: dict[str, AuthorizationCode] = {}
        self._access: dict[str, AccessToken] = {}
        self._refresh: dict[str, RefreshToken] = {}

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self._clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self._clients[str(client_info.client_id)] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        code = secrets.token_urlsafe()
        self._codes[code] = AuthorizationCode(
            code=code,
            scopes=params.scopes or [],
            expires_at=2**40,
            client_id=str(client.client_id),
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        names = {"iss": self._issuer} if self._names_issuer else {}
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state, **names)

    async def load_authorization_code(self, client: Any, authorization_code: str) -> AuthorizationCode | None:
        return self._codes.get(authorization_code)

    async def exchange_authorization_code(self, client: Any, authorization_code: AuthorizationCode) -> Any:
        code = self._codes.pop(authorization_code.code)
        return self._token(code.client_id, code.scopes, code.resource)

    async def load_refresh_token(self, client: Any, refresh_token: str) -> RefreshToken | None:
        return self._refresh.get(refresh_token)

    async def exchange_refresh_token(
        self, client: Any, refresh_token: RefreshToken, scopes: list[str]
    ) -> Any:
        old = self._refresh.pop(refresh_token.token)
        return self._token(old.client_id, scopes, old.resource)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self._access.get(token)

    async def revoke_token(self, token: Any) -> None:
        self._access.pop(token.token, None)

    def _token(self, client_id: str, scopes: list[str], resource: str | None) -> OAuthToken:
        access, refresh = secrets.token_urlsafe(), secrets.token_urlsafe()
        about = {"client_id": client_id, "scopes": scopes, "resource": resource}
        self._access[access] = AccessToken(token=access, **about)
        self._refresh[refresh] = RefreshToken(token=refresh, **about)
        return OAuthToken(access_token=access, refresh_token=refresh, expires_in=0, scope=" ".join(scopes))


def protected(way: str, origin: str) -> dict[str, Any]:
    """What the server is made with where one has to sign in."""
    settings = AuthSettings(
        issuer_url=origin,
        resource_server_url=None if way == "older" else f"{origin}/mcp",
        validate_token_resource=way != "older",
        required_scopes=["use"],
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=["use"], default_scopes=["use"]
        ),
    )
    return {"auth": settings, "auth_server_provider": Provider(origin, way == "naming")}


def made(way: str, origin: str) -> MCPServer:
    server = MCPServer(
        "sdk", log_level="CRITICAL", **({} if way in ("open", "sse") else protected(way, origin))
    )
    given_up = anyio.Event()

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    def repeat(text: str, times: int) -> str:
        return text * times

    @server.tool()
    def fail() -> str:
        raise ValueError("no luck")

    @server.tool()
    async def count(to: int, ctx: Context) -> str:
        for number in range(1, to + 1):
            await ctx.report_progress(number, to)
        return "counted"

    @server.tool()
    async def wait() -> str:
        try:
            await anyio.sleep_forever()
        finally:
            given_up.set()
        return "never"

    @server.tool()
    async def was_given_up() -> bool:
        await given_up.wait()
        return True

    return server


def announcing(app: Any) -> Any:
    """The app, whose metadata says that answers name their issuer; the SDK's own says nothing of it."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def changed(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"content-length"]
            elif message.get("body"):
                told = json.loads(message["body"])
                told["authorization_response_iss_parameter_supported"] = True
                message["body"] = json.dumps(told).encode()
            await send(message)

        await app(scope, receive, changed if scope.get("path") == METADATA else send)

    return wrapped


def main(way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = made(way, origin)
        app = server.sse_app() if way == "sse" else server.streamable_http_app()
        config = uvicorn.Config(announcing(app) if way == "naming" else app, log_level="error")
        sys.stdout.write(f"{origin}/{'sse' if way == 'sse' else 'mcp'}\n")
        sys.stdout.flush()
        uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
