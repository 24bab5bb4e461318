"""Other people's clients and servers come to the same with our proxy in between, and each call is recorded.

The servers are server-everything and server-filesystem, which speak the older revisions, and one of the
Python SDK, which speaks both eras; the clients are the Inspector on its command line and the SDK's.

Not here: a server and a client that misbehave (test_stdio_*.py), the conformance suite (test_conformance.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.mcp.nasty_client import recorded, through
from tests.mcp.peers import (
    everything,
    filesystem,
    inspector,
    listening,
    log,
    need,
    proxied,
    run,
    sdk_server,
)

pytestmark = pytest.mark.timeout(180)
NAME = "peer"
HELLO = "Hello, wörld\n"


@pytest.fixture(autouse=True)
def _peers(needs: Callable[..., None]) -> None:
    need(needs)


class Call(NamedTuple):
    """What the record is to have of a call."""

    tool: str
    arguments: Any
    outcome: str
    status: str


class Asked(NamedTuple):
    """One run of the Inspector: of which server, and what it is asked for."""

    server: str  # everything, filesystem, sdk
    era: str
    words: Sequence[str]  # `root` stands for a folder with a.txt in it
    call: Call | None = None
    transport: str = "stdio"

    @property
    def status(self) -> int:
        """Of the Inspector: 5 for a tool that failed, 1 where no revision suits both."""
        if self.era == "modern" and self.server != "sdk":
            return 1
        return 5 if self.call is not None and self.call.outcome == "tool_error" else 0

    def __str__(self) -> str:
        return f"{self.server}-{self.transport}-{self.era}-{'-'.join(self.words[1:4:2])}"


def listed() -> tuple[str, ...]:
    return ("--method", "tools/list")


def called(tool: str, *arguments: str) -> tuple[str, ...]:
    given = ("--tool-arg", *arguments) if arguments else ()
    return ("--method", "tools/call", "--tool-name", tool, *given)


SUM = Call("get-sum", {"a": 2, "b": 40}, "result", "ok")
SIMPLE = Call("test_simple_text", {}, "result", "ok")
BROKEN = Call("test_error_handling", {}, "tool_error", "failed")
ASKED = (
    Asked("everything", "legacy", listed()),
    Asked("everything", "legacy", called("get-sum", "a=2", "b=40"), SUM),
    Asked("everything", "auto", called("get-sum", "a=2", "b=40"), SUM),
    Asked("everything", "modern", listed()),
    Asked("everything", "legacy", ("--method", "resources/list")),
    Asked("everything", "legacy", called("get-sum", "a=2", "b=40"), SUM, "streamableHttp"),
    Asked("everything", "legacy", called("get-sum", "a=2", "b=40"), SUM, "sse"),
    Asked(
        "filesystem",
        "legacy",
        called("read_text_file", "path=root/a.txt"),
        Call("read_text_file", {"path": "root/a.txt"}, "result", "ok"),
    ),
    Asked(
        "filesystem",
        "auto",
        called("read_text_file", "path=root/none.txt"),
        Call("read_text_file", {"path": "root/none.txt"}, "tool_error", "failed"),
    ),
    Asked("sdk", "legacy", called("test_simple_text"), SIMPLE),
    Asked("sdk", "auto", called("test_simple_text"), SIMPLE),
    Asked("sdk", "modern", called("test_simple_text"), SIMPLE),
    Asked("sdk", "modern", called("test_error_handling"), BROKEN),
    Asked("sdk", "legacy", called("test_simple_text"), SIMPLE, "http"),
    Asked("sdk", "modern", called("test_simple_text"), SIMPLE, "http"),
    Asked("sdk", "modern", ("--method", "prompts/list"), None, "http"),
)


@pytest.mark.parametrize("asked", [pytest.param(asked, id=str(asked)) for asked in ASKED])
def test_the_inspector_sees_the_same(tmp_path: Path, asked: Asked) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_text(HELLO)

    direct, ours = (inspected(asked, recorded(tmp_path / way), root, way) for way in ("direct", "proxied"))

    assert ours == direct
    assert calls(tmp_path / "proxied") == ([placed(asked.call, root)] if asked.call else [])
    assert direct[0] == asked.status


def inspected(asked: Asked, place: Path, root: Path, way: str) -> tuple[int, Any]:
    """The status and what it printed: JSON as such, else the text."""
    words = [word.replace("root/", f"{root}/") for word in asked.words]
    commands: dict[str, list[str]] = {
        "everything": everything(asked.transport),
        "filesystem": filesystem(root),
        "sdk": sdk_server(asked.transport),
    }
    command = commands[asked.server]
    with ExitStack() as stack:
        if asked.transport == "stdio":
            # A server's command line has to be told from the Inspector's own options.
            words += ["--", *(through(command, NAME) if way == "proxied" else command)]
        else:
            url = stack.enter_context(listening(command))
            if way == "proxied":
                url = stack.enter_context(proxied(url, place, NAME))
            words = [url, "--transport", "sse" if asked.transport == "sse" else "http", *words]
        done = run(inspector("--protocol-era", asked.era, *words), place)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, done.stdout + done.stderr


def placed(call: Call, root: Path) -> Call:
    given = json.loads(json.dumps(call.arguments).replace("root/", f"{root}/"))
    return call._replace(arguments=given)


def calls(place: Path) -> list[Call]:
    """As the record has them, in their order."""
    found = log(place, "mcp_call")
    assert {event["data"]["server"] for event in found} <= {NAME}
    return [
        Call(one["data"]["tool"], json.loads(one["data"]["arguments"]), one["data"]["outcome"], one["status"])
        for one in found
    ]
