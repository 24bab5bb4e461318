"""Our own server among an agent's: added once, kept right, and out again without a trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtrace.errors import DevTraceError
from devtrace.services.mcp_install import chosen, install, register, uninstall, unregister
from devtrace.services.settings_files import BACKUP
from tests.agent_settings import FILES, fill, server, texts
from tests.recorded import Recorded


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """We are in a repository, and PATH has no devtrace but what a test puts there."""
    root = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    monkeypatch.chdir(root)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return root


@pytest.fixture
def home() -> Path:
    return Path(os.environ["HOME"])


@pytest.mark.parametrize("agent", ["claude-code", "codex", "gemini", "opencode", "cursor", "cline"])
def test_our_own_server_is_registered_once_and_nothing_is_left_of_it(
    repo: Path, home: Path, agent: str
) -> None:
    done = register(agent, os.environ)
    assert done.change is not None
    assert done.change.before is None
    assert done.config.file.exists()
    assert register(agent, os.environ).change is None
    (found,) = install(chosen([agent], os.environ).configs, None, home="")
    assert [(one.name, one.became) for one in found.servers] == [("devtrace", "ours")]

    assert len(unregister(agent, os.environ)) == 1
    assert (texts(repo), texts(home)) == ({}, {})
    assert unregister(agent, os.environ) == []


@pytest.mark.parametrize("name", [name for name in FILES if name != ".vscode/mcp.json"])
def test_registered_beside_others_and_out_again_every_byte_is_as_it_was(repo: Path, name: str) -> None:
    agent = {".mcp.json": "claude-code", "opencode.json": "opencode", "opencode.jsonc": "opencode"}.get(
        name, name[1:].partition("/")[0]
    )
    fill(repo, {name: FILES[name]})

    register(agent, os.environ)
    install(chosen([], os.environ).configs, None, home="")
    assert (repo / (name + BACKUP)).read_text() == FILES[name]
    uninstall(chosen([], os.environ).configs, None)
    unregister(agent, os.environ)

    assert texts(repo) == {name: FILES[name]}


def test_a_project_gets_the_name_that_path_knows_and_a_venv_its_own_path(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("claude-code", os.environ)
    assert server(repo / ".mcp.json", "devtrace")["command"] == sys.executable
    unregister("claude-code", os.environ)
    fill(tmp_path, {"bin/devtrace": "#!/bin/sh\n"})
    (tmp_path / "bin" / "devtrace").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    register("claude-code", os.environ)
    register("cline", os.environ)

    assert server(repo / ".mcp.json", "devtrace") == {"command": "devtrace", "args": ["mcp", "serve"]}
    own = Path(os.environ["HOME"]) / ".cline/data/settings/cline_mcp_settings.json"
    assert server(own, "devtrace")["command"] == sys.executable


def test_a_server_of_ours_that_does_not_start_any_more_is_set_right(repo: Path) -> None:
    there = {"command": "/old/bin/devtrace", "args": ["mcp", "serve"], "env": {"A": "b"}}
    fill(repo, {".mcp.json": json.dumps({"mcpServers": {"devtrace": there}})})

    register("claude-code", os.environ)

    entry = server(repo / ".mcp.json", "devtrace")
    assert (entry["command"], entry["args"][-2:], entry["env"]) == (
        sys.executable,
        ["mcp", "serve"],
        {"A": "b"},
    )


def test_in_a_file_for_all_projects_it_answers_for_the_last_that_asked_for_it(
    repo: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / ".cline/data/settings/cline_mcp_settings.json"
    register("cline", os.environ)
    assert server(file, "devtrace")["cwd"] == str(repo)
    Recorded(tmp_path).close()
    monkeypatch.chdir(tmp_path)

    register("cline", os.environ)

    assert server(file, "devtrace")["cwd"] == str(tmp_path)


def test_somebody_elses_server_of_our_name_is_refused(repo: Path) -> None:
    fill(repo, {".mcp.json": '{"mcpServers": {"devtrace": {"command": "cat"}}}'})

    with pytest.raises(DevTraceError, match='has another server called "devtrace"'):
        register("claude-code", os.environ)
    assert len(texts(repo)) == 1


@pytest.mark.parametrize(("agent", "code"), [("clod", "ERR_AGENT_UNKNOWN"), ("aider", "ERR_MCP_CONFIG_NONE")])
def test_an_agent_that_cannot_be_given_our_server_is_told(repo: Path, agent: str, code: str) -> None:
    for order in (register, unregister):
        with pytest.raises(DevTraceError) as caught:
            order(agent, os.environ)
        assert caught.value.code == code
