"""A conversation in a test's words: who says what, and the facts that come of it.

Lives here: `Talk`. Not here: any test.
"""

from __future__ import annotations

import json
from typing import Any

from devtrace.sources.mcp.calls import STDIO, Via
from devtrace.sources.mcp.conversation import Conversation, Fact
from devtrace.sources.mcp.lines import Piece
from devtrace.sources.mcp.messages import read
from devtrace.sources.mcp.tap import TO_CLIENT, TO_SERVER

START_US = 1_795_269_792_000_000


def as_json(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode()


class Talk:
    """A client and a server; each message passes a millisecond after the one before it."""

    def __init__(self) -> None:
        self.conversation = Conversation()
        self.at_us = START_US

    def says(self, data: bytes, direction: int, via: Via = STDIO) -> list[Fact]:
        self.at_us += 1000
        found: list[Fact] = []
        for message in read(Piece(data, len(data))):
            found += self.conversation.heard(message, direction, self.at_us, via)
        return found

    def client(self, via: Via = STDIO, **message: Any) -> list[Fact]:
        return self.says(as_json(**message), TO_SERVER, via)

    def server(self, via: Via = STDIO, **message: Any) -> list[Fact]:
        return self.says(as_json(**message), TO_CLIENT, via)

    def calls(self, id: object, tool: str = "echo", via: Via = STDIO, **params: Any) -> list[Fact]:
        return self.client(via, id=id, method="tools/call", params={"name": tool, **params})

    def answers(self, id: object, via: Via = STDIO, **result: Any) -> list[Fact]:
        return self.server(via, id=id, result=result or {"content": []})

    def cancels(self, id: object, reason: str | None = None, via: Via = STDIO) -> list[Fact]:
        params = {"requestId": id} | ({} if reason is None else {"reason": reason})
        return self.client(via, method="notifications/cancelled", params=params)

    def ends(self) -> list[Fact]:
        self.at_us += 1000
        return self.conversation.ended(self.at_us)

    def counted(self, direction: str) -> dict[str, int]:
        found: dict[str, int] = self.conversation.tally.told()[direction]
        return found
