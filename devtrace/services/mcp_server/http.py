"""The same server over HTTP: on this machine only, and for whoever has the token.

A web page can send requests to 127.0.0.1 too, and a name of its own can be made to lead there. So the token
stands in a header that no page may set elsewhere without being asked, Host and Origin must be this machine's
own, nothing is said about sharing with other origins, and a token in the address, which ends up in logs, is
refused.

Lives here: `serve_http`, `Guard`, `token_of`. Not here: the answers (serve.py and its like).
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from devtrace.errors import DevTraceError, EnvironmentError
from devtrace.services.mcp_server.serve import check_extra, opened, quiet, server_of
from devtrace.workspace import find

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HOST, PATH = "127.0.0.1", "/mcp"
TOKEN_VARIABLE = "DEVTRACE_MCP_TOKEN"  # noqa: S105 - a name
_TOKEN_FILE = "mcp-token"  # noqa: S105 - a name
_TOKEN_BYTES = 32
_SHORTEST, _LONGEST = 32, 512  # characters of a token
_MOST_BODY = 1 << 20
_LEAVING_S = 2
_MOST_CONNECTIONS = 64
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_REALM = b'Bearer realm="devtrace"'


class Token(NamedTuple):
    """`path`: the file that it is in; None: the environment, or nowhere. `is_new`: nobody can know it yet."""

    value: str
    path: Path | None
    is_new: bool


class Ready(NamedTuple):
    """What a person has to be told."""

    url: str
    token: Token


def serve_http(
    environ: Mapping[str, str], port: int, token_file: Path | None, announce: Callable[[Ready], None]
) -> None:
    """Serve until the process is told to end.

    Raises EnvironmentError ERR_EXTRA_MISSING, ERR_TOKEN or ERR_PORT_TAKEN.
    """
    check_extra()
    token = token_of(environ, token_file)
    with _listening(port) as listener:
        number = listener.getsockname()[1]
        quiet()
        store, calls = opened(environ)
        app = server_of(store, calls).streamable_http_app(
            streamable_http_path=PATH,
            json_response=True,
            stateless_http=True,
            max_request_body_size=_MOST_BODY,
        )
        announce(Ready(f"http://{HOST}:{number}{PATH}", token))
        _run(Guard(app, token.value, number), listener)
        store.close()


def _listening(port: int) -> socket.socket:
    # asyncio sends without delay only where the protocol is named: else an answer waits 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(socket.SOMAXCONN)  # who comes while the rest is imported waits
    except OSError as error:
        listener.close()
        raise EnvironmentError(
            f"port {port} of {HOST} cannot be listened at: {error.strerror}",
            code="ERR_PORT_TAKEN",
            hint="choose another with --port, or none: then any free one is taken",
            context={"port": port},
        ) from error
    return listener


def _run(app: App, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, ws="none", proxy_headers=False,
        timeout_graceful_shutdown=_LEAVING_S, limit_concurrency=_MOST_CONNECTIONS,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])


# --- who may ask ----------------------------------------------------------------------------------------


class Guard:
    """Lets pass what comes from this machine with the token, and nothing else. An ASGI application."""

    def __init__(self, app: App, token: str, port: int):
        self._app = app
        self._token = token.encode()
        self._hosts = {f"{host}:{port}" for host in _LOOPBACK}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = self._refusal(scope)
            await (self._app(scope, receive, send) if refusal is None else _refuse(send, *refusal))

    def _refusal(self, scope: Scope) -> tuple[int, str, bytes | None] | None:
        """Status, reason, and what to prove oneself by; None: it may pass."""
        hosts, origins, tokens = (_headers(scope, name) for name in (b"host", b"origin", b"authorization"))
        if [host.lower() for host in hosts] != [hosts[0].lower() if hosts else ""] or (
            hosts[0].lower() not in self._hosts
        ):
            return 421, "this server answers for 127.0.0.1 and localhost alone", None
        if not all(map(_is_own, origins)):
            return 403, "requests of other origins are refused", None
        if scope.get("query_string"):
            return 400, "the address takes no query; the token belongs into the header Authorization", None
        if not tokens:
            return 401, "a token is needed: Authorization: Bearer TOKEN", _REALM
        if len(tokens) > 1 or not self._is_right(tokens[0]):
            return 401, "that is not the token", _REALM + b', error="invalid_token"'
        return None

    def _is_right(self, given: str) -> bool:
        scheme, _, value = given.partition(" ")
        is_same = hmac.compare_digest(value.strip().encode("latin-1"), self._token)
        return is_same and scheme.lower() == "bearer"


def _headers(scope: Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted]


def _is_own(origin: str) -> bool:
    """Whether a page of this machine asks: one of a development server, which has a port of its own."""
    try:
        parts = urlsplit(origin)
        host, _, _ = parts.netloc.rpartition(":")
        return parts.scheme == "http" and parts.port is not None and host.lower() in _LOOPBACK
    except ValueError:
        return False


async def _refuse(send: Send, status: int, reason: str, challenge: bytes | None) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *([(b"www-authenticate", challenge)] if challenge is not None else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# --- the token ------------------------------------------------------------------------------------------


def token_of(environ: Mapping[str, str], file: Path | None = None) -> Token:
    """The token: of the file, else of the environment, else the store's own, which is made if it is missing.

    Raises EnvironmentError ERR_TOKEN for a file that others may read, or that holds none.
    """
    if file is not None:
        return Token(_read(file), file, False)
    if given := environ.get(TOKEN_VARIABLE):
        return Token(_checked(given, f"the variable {TOKEN_VARIABLE}"), None, False)
    try:
        workspace = find()
    except DevTraceError:
        return Token(secrets.token_urlsafe(_TOKEN_BYTES), None, True)
    return _kept(workspace.run / _TOKEN_FILE)


def _kept(path: Path) -> Token:
    value = secrets.token_urlsafe(_TOKEN_BYTES)
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return Token(_read(path), path, False)
    except OSError:  # a store that cannot be written: it holds as long as this process does
        return Token(value, None, True)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{value}\n")
    return Token(value, path, True)


def _read(path: Path) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
                raise _unfit(f"{path} is no file that you alone can read", f"chmod 600 {path}")
            return _checked(file.read(2 * _LONGEST).decode("ascii", "replace"), str(path))
    except OSError as error:
        raise _unfit(f"{path} cannot be read: {error.strerror}", "name a file with a token in it") from error


def _checked(text: str, where: str) -> str:
    value = text.strip()
    if (
        not _SHORTEST <= len(value) <= _LONGEST
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        raise _unfit(f"{where} holds no token", f"a token is one word of {_SHORTEST} characters or more")
    return value


def _unfit(what: str, hint: str) -> EnvironmentError:
    return EnvironmentError(what, code="ERR_TOKEN", hint=hint)
