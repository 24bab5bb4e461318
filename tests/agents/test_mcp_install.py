"""The real clients take what `devtrace mcp install` writes: they start their servers through our proxy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devtrace.services.mcp_install import chosen, install, uninstall
from tests.agents.clients import CLAUDE_CODE, CODEX, GEMINI, OPENCODE, Client, run, whole_environment
from tests.agents.model import ModelServer

pytestmark = [pytest.mark.needs("git"), pytest.mark.timeout(180)]

PATIENCE_S = 60.0
# A server without a tool. It leaves a note of what started it, for who wants to know.
SERVER = """\
import json, os, subprocess, sys
with open(sys.argv[1], "wb") as note:
    subprocess.run(["ps", "-o", "args=", "-p", str(os.getppid())], stdout=note, stdin=subprocess.DEVNULL)
for line in sys.stdin:
    asked = json.loads(line)
    revision = asked.get("params", {}).get("protocolVersion", "2025-06-18")
    who = {"serverInfo": {"name": "s", "version": "1"}, "capabilities": {"tools": {}}}
    answers = {"initialize": {"protocolVersion": revision, **who}, "tools/list": {"tools": []}}
    result = answers.get(asked["method"])
    error = {"code": -32601, "message": "no such method"}
    if "id" in asked:
        answer = {"error": error} if result is None else {"result": result}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
"""


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose servers Claude Code does not ask about, and Codex trusts."""
    place = tmp_path / "a repo"
    subprocess.run(["git", "init", "-q", place], check=True)
    (place / "server.py").write_text(SERVER)
    (place / ".claude").mkdir()
    (place / ".claude" / "settings.local.json").write_text('{"enableAllProjectMcpServers": true}')
    monkeypatch.chdir(place)
    return place


def need(client: Client, needs: Callable[..., None]) -> None:
    """Skip with the reason; where all is required, only the clients that CI installs are."""
    if client.is_installed():
        return
    because = f"because {client.package} is not installed (make clients CLIENTS={client.package})"
    if client.is_required:
        needs(because=because)
    pytest.skip(because)


def words(repo: Path, note: str) -> list[str]:
    return [sys.executable, str(repo / "server.py"), str(repo / note)]


def ask(client: Client, repo: Path, server: ModelServer, *arguments: str) -> str:
    """What a command of the client says, without a model."""
    done = subprocess.run(
        [str(client.program), *arguments], cwd=repo, env=whole_environment(client, Path.home(), server),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout if "--json" in arguments else done.stdout + done.stderr


def put(name: str) -> list[str]:
    """Ours in front of the agent's servers; which they are."""
    done = install(chosen([name], os.environ).configs, None, home=str(Path.home()))
    assert [one.error for one in done if one.error] == []
    return sorted(server.name for one in done for server in one.servers if server.became == "put")


def test_claude_code_connects_to_its_servers_of_all_scopes_through_ours(
    repo: Path, needs: Callable[..., None]
) -> None:
    need(CLAUDE_CODE, needs)
    entry = {"command": sys.executable, "args": words(repo, "team")[1:]}
    project = json.dumps({"mcpServers": {"of the team, é": entry}})
    (repo / ".mcp.json").write_text(project)
    own = Path.home() / ".claude.json"

    with ModelServer(repo) as server:
        for scope in ("local", "user"):
            ask(CLAUDE_CODE, repo, server, "mcp", "add", "-s", scope, scope, "--", *words(repo, scope))
        before = json.loads(own.read_text())
        assert put("claude-code") == ["local", "of the team, é", "user"]
        listed = ask(CLAUDE_CODE, repo, server, "mcp", "list")

    assert listed.count("Connected") == 3, listed
    for note in ("team", "local", "user"):
        assert "-m devtrace mcp proxy --name=" in (repo / note).read_text()
    uninstall(chosen(["claude-code"], os.environ).configs, None)
    after = json.loads(own.read_text())
    assert (repo / ".mcp.json").read_text() == project
    assert after["mcpServers"] == before["mcpServers"]
    assert [one["mcpServers"] for one in after["projects"].values()] == [
        one["mcpServers"] for one in before["projects"].values()
    ]


def test_codex_reads_what_is_written_into_what_it_wrote_itself(
    repo: Path, needs: Callable[..., None]
) -> None:
    need(CODEX, needs)
    own = Path.home() / ".codex" / "config.toml"

    with ModelServer(repo) as server:
        CODEX.prepare(Path.home(), repo, server)
        ask(CODEX, repo, server, "mcp", "add", "its_own", "--env", "A=b", "--", *words(repo, "own"))
        ask(CODEX, repo, server, "mcp", "add", "bare", "--", "cat")
        before = own.read_bytes()
        assert put("codex") == ["bare", "its_own"]
        listed = {
            one["name"]: one["transport"]
            for one in json.loads(ask(CODEX, repo, server, "mcp", "list", "--json"))
        }

    assert listed["its_own"]["command"] == listed["bare"]["command"] == "/bin/sh"
    assert listed["its_own"]["args"][3:] == ["--name=its_own", "--", *words(repo, "own")]
    assert listed["its_own"]["env"] == {"A": "b"}
    assert listed["bare"]["args"][3:] == ["--name=bare", "--", "cat"]
    uninstall(chosen(["codex"], os.environ).configs, None)
    assert own.read_bytes() == before


@pytest.mark.parametrize("client", [GEMINI, OPENCODE], ids=lambda client: client.name)
def test_a_client_that_allows_comments_connects_through_ours_and_keeps_them(
    client: Client, repo: Path, needs: Callable[..., None]
) -> None:
    need(client, needs)
    command, *args = words(repo, "note")
    (repo / ".gemini").mkdir()
    file, lists = {
        "gemini": (".gemini/settings.json", {"mcpServers": {"it": {"command": command, "args": args}}}),
        "opencode": ("opencode.jsonc", {"mcp": {"it": {"type": "local", "command": [command, *args]}}}),
    }[client.name]
    text = "// mine\n" + json.dumps(lists, indent=2).replace("\n}", " // late\n}")
    (repo / file).write_text(text)
    put(client.name)

    with ModelServer(repo) as server:
        client.prepare(Path.home(), repo, server)
        listed = ask(client, repo, server, "mcp", "list")

    assert "onnected" in listed, listed
    assert "-m devtrace mcp proxy --name=it" in (repo / "note").read_text()
    uninstall(chosen([client.name], os.environ).configs, None)
    assert (repo / file).read_text() == text


def test_codex_starts_a_projects_servers_through_ours(repo: Path, needs: Callable[..., None]) -> None:
    need(CODEX, needs)
    command, *args = words(repo, "note")
    (repo / ".codex").mkdir()
    settings = (
        f"[mcp_servers.it]\ncommand = {json.dumps(command)}\nargs = {json.dumps(args)}\nrequired = true\n"
    )
    (repo / ".codex" / "config.toml").write_text(settings)
    put("codex")

    with ModelServer(repo) as server:
        done = run(CODEX, repo, "Check the program [script:sub]", server)

    assert done.returncode == 0, done.stderr
    assert "-m devtrace mcp proxy --name=it" in (repo / "note").read_text()
