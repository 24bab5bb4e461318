"""Real agents with an MCP server behind the proxy, set up by `devtrace mcp install` as the README says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.query.events import list_events
from devtrace.query.filters import Filters
from devtrace.query.mcp import callers, passed
from devtrace.services.refresh import open_fresh
from devtrace.workspace import Workspace
from tests.agents.clients import CLAUDE_CODE, CODEX, Client, run
from tests.agents.model import ModelServer
from tests.agents.scripts import Ask, Script, Step
from tests.agents.test_clients import need, repo
from tests.agents.test_recorded import DEVTRACE, devtrace

__all__ = ["repo"]

pytestmark = [pytest.mark.needs("git"), pytest.mark.timeout(240)]

SERVER = Path(__file__).with_name("greeting_server.py")
GREET = Step("I greet her as she likes it.", (Ask("hello", "greet", {"name": "Ana"}),))
SCOLD = Step("Then a word about Ben.", (Ask("hello", "scold", {"name": "Ben"}),))


def configure(client: Client, repo: Path) -> None:
    """The server, as a person writes it into the agent's settings."""
    entry = {"command": sys.executable, "args": [str(SERVER)]}
    if client is CLAUDE_CODE:
        (repo / ".mcp.json").write_text(json.dumps({"mcpServers": {"hello": entry}}, indent=2))
        return
    (repo / ".codex").mkdir(exist_ok=True)
    command, args = json.dumps(entry["command"]), json.dumps(entry["args"])
    (repo / ".codex" / "config.toml").write_text(f"[mcp_servers.hello]\ncommand = {command}\nargs = {args}\n")


@pytest.fixture
def played(repo: Path) -> Callable[..., list[dict[str, Any]]]:
    """What is recorded when a client has played the two steps in a traced shell."""

    def play(client: Client) -> list[dict[str, Any]]:
        devtrace(repo, "init")
        devtrace(repo, "agent", "install", client.package)
        configure(client, repo)
        told = devtrace(repo, "mcp", "install")
        assert "hello" in told
        scripts = {"main": Script((GREET, SCOLD), "All is said.")}
        with ModelServer(repo, scripts) as server:
            shell = [*DEVTRACE, "shell", "--agent", client.package, "--"]
            done = run(client, repo, "Greet Ana [script:main]", server, through=shell)
            assert done.returncode == 0, f"{server.story()}\n{done.stderr[-2000:]}"
        with closing(open_fresh(Workspace(repo / ".devtrace")).db) as db:
            rows = list_events(db, Filters(kinds=("mcp_call", "mcp_server", "gap")))
            for row in rows:
                if row["kind"] == "mcp_call":
                    row["callers"] = callers(db, row)
                    row["back"] = [[one["id"] for one in passed(db, call)] for call in row["callers"]]
        return rows

    return play


@pytest.mark.parametrize("client", [pytest.param(one, id=one.name) for one in (CLAUDE_CODE, CODEX)])
def test_a_call_is_recorded_with_the_prompt_and_the_reason_that_led_to_it(
    client: Client, played: Callable[..., list[dict[str, Any]]], needs: Callable[..., None]
) -> None:
    need(client, needs)

    rows = played(client)

    calls = [row for row in rows if row["kind"] == "mcp_call"]
    told = [
        (row["data"]["server"], row["data"]["tool"], row["status"], row["data"]["outcome"]) for row in calls
    ]
    assert told == [
        ("hello", "greet", "ok", "result"),
        ("hello", "scold", "failed", "tool_error"),
    ]
    assert [json.loads(row["data"]["arguments"]) for row in calls] == [{"name": "Ana"}, {"name": "Ben"}]
    for row, step in zip(calls, (GREET, SCOLD), strict=True):
        (caller,) = row["callers"]
        assert caller["prompts"][-1]["text"].startswith("Greet Ana")
        assert caller["reason"]["text"] == step.reason
        assert row["back"] == [[row["id"]]]
        assert row["actor"] == f"agent:{client.package}"


def test_the_servers_run_stands_under_the_command_that_started_the_client(
    played: Callable[..., list[dict[str, Any]]], needs: Callable[..., None]
) -> None:
    need(CLAUDE_CODE, needs)

    rows = played(CLAUDE_CODE)

    (server,) = [row for row in rows if row["kind"] == "mcp_server"]
    assert server["parent"] is not None
    assert server["data"]["calls"] == 2
    assert server["data"]["client"].startswith("claude-code ")
    assert server["data"]["server"] == "greetings 1.0"
    assert {row["parent"] for row in rows if row["kind"] == "mcp_call"} == {server["id"]}
    assert [row for row in rows if row["kind"] == "gap"] == []
