"""The client of the Python SDK sees the same with our proxy in between: what it is answered, and asked.

Not here: the client (sdk_client.py), the Inspector (test_peers.py).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.mcp.nasty_client import recorded, through
from tests.mcp.peers import everything, listening, log, need, proxied, run, sdk_server

pytestmark = pytest.mark.timeout(180)
CLIENT = Path(__file__).with_name("sdk_client.py")
NAME = "sdk"
LEGACY, MODERN = "2025-11-25", "2026-07-28"
METHODS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation"}
OF_EVERYTHING = [
    ["echo", {"message": "ä\u2028\u0000"}],
    ["get-sum", {"a": 2**53, "b": 0.1}],
    ["get-tiny-image", {}],
    ["get-structured-content", {"location": "Chicago"}],
    ["trigger-long-running-operation", {"duration": 0.2, "steps": 2}],
    ["trigger-sampling-request", {"prompt": "hi", "maxTokens": 10}],
    ["trigger-elicitation-request", {}],
    ["no-such-tool", {}],
]
OF_SDK = [
    ["test_simple_text", {}],
    ["test_error_handling", {}],
    ["test_multiple_content_types", {}],
    ["test_tool_with_progress", {}],
    ["no-such-tool", {"a": [1, None]}],
]
OF_SDK_LEGACY = [*OF_SDK, ["test_sampling", {"prompt": "hi"}], ["test_tool_with_logging", {}]]
OF_SDK_MODERN = [*OF_SDK, ["test_input_required_result_elicitation", {}]]
OF_SDK_MODERN += [["test_input_required_result_multiple_inputs", {}]]


class Use(NamedTuple):
    """One run of the client."""

    server: str  # everything, sdk
    transport: str  # stdio, else as the server calls it
    mode: str
    calls: list[Any]
    revision: str  # that they come to

    def __str__(self) -> str:
        return f"{self.server}-{self.transport}-{self.mode}"


USES = (
    Use("everything", "stdio", "legacy", OF_EVERYTHING, LEGACY),
    Use("everything", "streamableHttp", "legacy", OF_EVERYTHING, LEGACY),
    Use("sdk", "stdio", "legacy", OF_SDK_LEGACY, LEGACY),
    Use("sdk", "stdio", "auto", OF_SDK_MODERN, MODERN),
    Use("sdk", "http", "legacy", OF_SDK_LEGACY, LEGACY),
    Use("sdk", "http", MODERN, OF_SDK_MODERN, MODERN),
)


@pytest.mark.parametrize("use", [pytest.param(use, id=str(use)) for use in USES])
def test_the_client_of_the_sdk_sees_the_same(tmp_path: Path, use: Use, needs: Callable[..., None]) -> None:
    if use.server == "everything":
        need(needs)

    direct, ours = (seen(use, recorded(tmp_path / way), way) for way in ("direct", "proxied"))

    assert ours == direct
    assert direct["revision"] == use.revision
    assert_recorded(tmp_path / "proxied", use, direct)


def seen(use: Use, place: Path, way: str) -> dict[str, Any]:
    command = everything(use.transport) if use.server == "everything" else sdk_server(use.transport)
    with ExitStack() as stack:
        target = command
        if use.transport != "stdio":
            target = [stack.enter_context(listening(command))]
            if way == "proxied":
                target = [stack.enter_context(proxied(target[0], place, NAME))]
        elif way == "proxied":
            target = through(command, NAME)
        done = run([sys.executable, str(CLIENT), use.mode, json.dumps(use.calls), *target], place)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    if use.server == "everything":  # which logs on a timer of its own, that may be behind the end
        found["told"] = [told for told in found["told"] if told[0] != "log"]
    return found


def assert_recorded(place: Path, use: Use, direct: dict[str, Any]) -> None:
    """Each call once, in the order they were made, with what came of it."""
    found = [event["data"] for event in log(place, "mcp_call")]
    assert [[call["tool"], json.loads(call["arguments"])] for call in found] == use.calls
    assert [call["outcome"] for call in found] == [outcome(answer) for _, answer in direct["calls"]]
    assert {(call["server"], call.get("revision")) for call in found} == {(NAME, use.revision)}
    told = Counter(one[0] for one in direct["told"])
    asked = Counter(method for call in found for method in call.get("asked") or [])
    assert {method: asked[method] for method in METHODS} == {m: told[name] for m, name in METHODS.items()}
    assert sum(call["progress"] for call in found) == told["progress"]


def outcome(answer: Any) -> str:
    if isinstance(answer, list):
        return "error"
    return "tool_error" if answer.get("isError") else "result"
