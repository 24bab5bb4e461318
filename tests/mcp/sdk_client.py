"""A client of the `mcp` SDK that says what it saw, as JSON: `python sdk_client.py MODE CALLS TARGET...`

MODE is legacy, auto or a revision; CALLS a JSON array of `[tool, arguments]`; TARGET a URL or a command line.

Lives here: lists, the calls, and what the server sent and asked meanwhile. Not here: what is expected of it
(test_sdk_client.py); the scenarios of the conformance suite (conformance_client.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.shared.exceptions import MCPError
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent
from pydantic import FileUrl


class Seen:
    """What came from the server besides answers."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def sample(self, context: Any, params: Any) -> CreateMessageResult:
        self.told.append(["sampling", _plain(params)])
        said = TextContent(type="text", text="Sampled")
        return CreateMessageResult(role="assistant", content=said, model="none", stop_reason="endTurn")

    async def elicit(self, context: Any, params: Any) -> ElicitResult:
        self.told.append(["elicitation", _plain(params)])
        return ElicitResult(action="accept", content={"name": "Ana", "ok": True})

    async def roots(self, context: Any) -> ListRootsResult:
        """Not told: server-everything asks when some time has passed, which may be when all is over."""
        return ListRootsResult(roots=[Root(uri=FileUrl("file:///home/ana"), name="home")])

    async def log(self, params: Any) -> None:
        self.told.append(["log", _plain(params)])

    async def progress(self, done: float, total: float | None, message: str | None) -> None:
        self.told.append(["progress", done, total, message])


def _plain(value: Any) -> Any:
    return value and value.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"meta"})


async def used(client: Client, calls: list[Any], seen: Seen) -> dict[str, Any]:
    """Everything that it is asked to look at."""
    found: dict[str, Any] = {"revision": client.protocol_version, "server": _plain(client.server_info)}
    found["tools"] = _plain(await client.list_tools())
    found["resources"] = _plain(await client.list_resources())
    found["prompts"] = _plain(await client.list_prompts())
    found["calls"] = []
    for tool, arguments in calls:
        try:
            answer = _plain(await client.call_tool(tool, arguments, progress_callback=seen.progress))
        except MCPError as error:
            answer = ["error", error.code, error.message]
        found["calls"].append([tool, answer])
    return {**found, "told": seen.told}


async def main(mode: str, calls: str, *target: str) -> None:
    """Connect, use, and say what was seen."""
    seen = Seen()
    where: Any = target[0]
    if not where.startswith("http"):
        place = dict(os.environ)
        where = StdioServerParameters(command=target[0], args=list(target[1:]), env=place, cwd=Path.cwd())
    async with Client(
        where, mode=mode, sampling_callback=seen.sample, elicitation_callback=seen.elicit,
        list_roots_callback=seen.roots, logging_callback=seen.log,
    ) as client:  # fmt: skip
        sys.stdout.write(json.dumps(await used(client, json.loads(calls), seen)))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asyncio.run(main(*sys.argv[1:]))
