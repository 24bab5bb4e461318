"""The first answers of a server, given before the library of the protocol is there.

It takes half a second to import, and every agent waits for its servers when it starts. What is asked first is
always the same: who are you, and which tools are there. That can be told at once; the library then hears the
same question, and its own answer, which is equal, stays unsent.

Lives here: `answer`. Not here: every other answer (serve.py), bytes (stdio.py). Equal for each
revision: tests/mcp_serve/test_first.py.
"""

from __future__ import annotations

from typing import Any

from devtrace import __version__
from devtrace.services.mcp_server.tools import LISTED
from devtrace.views.for_models import INSTRUCTIONS

Message = dict[str, Any]

NAME, TITLE = "devtrace", "DevTrace"
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN = "2026-07-28"
HANDSHAKES = ("initialize", "server/discover")

_INFO = {"name": NAME, "title": TITLE, "version": __version__}
_CAPABILITIES: Message = {
    "completions": {},
    "prompts": {"listChanged": False},
    "resources": {"listChanged": False, "subscribe": False},
    "tools": {"listChanged": False},
}
_META = "io.modelcontextprotocol"
_OF_MODERN: Message = {
    "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "_meta": {f"{_META}/serverInfo": _INFO},
}  # fmt: skip


def answer(message: object) -> Message | None:
    """The result of a request that is one of the first, and as the protocol has it; None: ask the library."""
    if not isinstance(message, dict) or not _is_id(message.get("id")) or message.get("jsonrpc") != "2.0":
        return None
    params = message.get("params", {})
    if not isinstance(params, dict):
        return None
    method = message.get("method")
    if method == "initialize":
        return _initialized(params)
    is_modern = _is_modern(params.get("_meta"))
    if method == "server/discover" and is_modern:
        about = {"supportedVersions": [MODERN], "capabilities": _CAPABILITIES, "instructions": INSTRUCTIONS}
        return {**about, **_OF_MODERN}
    if method == "tools/list" and "cursor" not in params and (is_modern or "_meta" not in params):
        return {**LISTED, **_OF_MODERN} if is_modern else LISTED
    return None


def _initialized(params: Message) -> Message | None:
    version, client = params.get("protocolVersion"), params.get("clientInfo")
    if version not in LEGACY or "_meta" in params or not isinstance(params.get("capabilities"), dict):
        return None
    return None if not _is_client(client) else {
        "protocolVersion": version, "capabilities": _CAPABILITIES, "serverInfo": _INFO,
        "instructions": INSTRUCTIONS,
    }  # fmt: skip


def _is_modern(meta: object) -> bool:
    if not isinstance(meta, dict) or meta.get(f"{_META}/protocolVersion") != MODERN:
        return False
    return _is_client(meta.get(f"{_META}/clientInfo")) and isinstance(
        meta.get(f"{_META}/clientCapabilities"), dict
    )


def _is_client(client: object) -> bool:
    return isinstance(client, dict) and all(isinstance(client.get(name), str) for name in ("name", "version"))


def _is_id(identity: object) -> bool:
    return isinstance(identity, str | int) and not isinstance(identity, bool)
