"""Which files an agent's servers stand in: of the project, of the user, and one that is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtrace.config import AGENTS
from devtrace.sources.mcp import clients
from devtrace.sources.mcp.clients import for_own_server, named_file, project, user

REPO = Path("/repo")


def own(agent: str, **environ: str) -> list[str]:
    return [str(one.file) for one in user({"HOME": "/home/ana", **environ}, None) if one.agent == agent]


def test_a_projects_files() -> None:
    assert {one.path: one.agent for one in project(REPO)} == {
        ".mcp.json": "claude-code",
        ".codex/config.toml": "codex",
        ".gemini/settings.json": "gemini",
        "opencode.json": "opencode",
        "opencode.jsonc": "opencode",
        ".opencode/opencode.json": "opencode",
        ".opencode/opencode.jsonc": "opencode",
        ".cursor/mcp.json": "cursor",
        ".vscode/mcp.json": "",
    }
    assert {one.shown: one.is_toml for one in project(REPO) if one.is_toml} == {".codex/config.toml": True}


@pytest.mark.parametrize(
    ("agent", "files"),
    [
        ("claude-code", ["/home/ana/.claude.json"]),
        ("codex", ["/home/ana/.codex/config.toml"]),
        ("gemini", ["/home/ana/.gemini/settings.json"]),
        ("cursor", ["/home/ana/.cursor/mcp.json"]),
        (
            "opencode",
            [
                f"/home/ana/.config/opencode/{name}"
                for name in ("opencode.json", "opencode.jsonc", "config.json")
            ],
        ),
    ],
)
def test_the_users_own_files(agent: str, files: list[str]) -> None:
    assert own(agent) == files


@pytest.mark.parametrize(
    ("agent", "name", "value", "first"),
    [
        ("claude-code", "CLAUDE_CONFIG_DIR", "/c", "/c/.claude.json"),
        ("codex", "CODEX_HOME", "/c", "/c/config.toml"),
        ("gemini", "GEMINI_CLI_HOME", "/c", "/c/.gemini/settings.json"),
        ("opencode", "XDG_CONFIG_HOME", "/c", "/c/opencode/opencode.json"),
        ("cline", "CLINE_DIR", "/c", "/c/data/settings/cline_mcp_settings.json"),
        ("cline", "CLINE_DATA_DIR", "/c", "/c/settings/cline_mcp_settings.json"),
        ("cline", "CLINE_MCP_SETTINGS_PATH", "/c/mine.json", "/c/mine.json"),
    ],
)
def test_a_home_that_a_variable_names_is_looked_into(agent: str, name: str, value: str, first: str) -> None:
    assert own(agent, **{name: value})[0] == first


def test_opencode_is_told_of_further_files_by_variables() -> None:
    assert own("opencode", OPENCODE_CONFIG="/x/one.jsonc", OPENCODE_CONFIG_DIR="/y")[-3:] == [
        "/x/one.jsonc",
        "/y/opencode.json",
        "/y/opencode.jsonc",
    ]


def test_clines_files_are_its_own_and_those_in_editors() -> None:
    files = own("cline")

    assert files[0] == "/home/ana/.cline/data/settings/cline_mcp_settings.json"
    assert any("/Code/User/globalStorage/saoudrizwan.claude-dev/settings/" in file for file in files)
    assert any(file.startswith("/home/ana/.vscode-server/data/User/") for file in files)


def test_the_users_own_are_written_as_people_do() -> None:
    shown = {one.agent: one.shown for one in user({"HOME": "/home/ana", "CODEX_HOME": "/opt/codex"}, None)}

    assert (shown["claude-code"], shown["codex"]) == ("~/.claude.json", "/opt/codex/config.toml")
    assert all(one.is_user for one in user({"HOME": "/home/ana"}, None))


def test_claude_codes_own_file_holds_servers_of_this_project_too(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real")

    (config, *_) = user({"HOME": "/home/ana"}, link)

    assert list(config.lists.values()) == [
        ("mcpServers",),
        ("projects", str(link), "mcpServers"),
        ("projects", str(tmp_path / "real"), "mcpServers"),
    ]


def test_the_users_own_file_is_written_where_its_link_leads(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "home" / ".codex").mkdir(parents=True)
    (tmp_path / "home" / ".codex" / "config.toml").symlink_to("../../dotfiles/codex.toml")

    (config,) = (one for one in user({"HOME": str(tmp_path / "home")}, None) if one.agent == "codex")

    assert (config.file, config.root) == (tmp_path / "dotfiles" / "codex.toml", tmp_path / "dotfiles")
    assert config.shown == "~/.codex/config.toml"


@pytest.mark.parametrize(
    ("path", "lists"),
    [
        ("/x/any.toml", [("mcp_servers",)]),
        ("/x/claude_desktop_config.json", [("mcpServers",), ("servers",), ("mcp",)]),
    ],
)
def test_a_file_that_is_named_has_the_lists_of_its_form(path: str, lists: list[tuple[str, ...]]) -> None:
    config = named_file(Path(path))

    assert list(config.lists.values()) == lists
    assert (config.file, config.shown, config.agent) == (Path(path), path, "")


@pytest.mark.parametrize(
    ("agent", "file"),
    [
        ("claude-code", "/repo/.mcp.json"),
        ("codex", "/repo/.codex/config.toml"),
        ("gemini", "/repo/.gemini/settings.json"),
        ("opencode", "/repo/opencode.json"),
        ("cursor", "/repo/.cursor/mcp.json"),
        ("cline", "/home/ana/.cline/data/settings/cline_mcp_settings.json"),
    ],
)
def test_our_own_server_goes_into_the_project_else_to_the_user(agent: str, file: str) -> None:
    config = for_own_server(agent, REPO, {"HOME": "/home/ana"})

    assert config is not None
    assert str(config.file) == file
    assert agent in clients.AGENTS


def test_our_own_server_goes_into_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "opencode.jsonc").write_text("{}")

    config = for_own_server("opencode", tmp_path, {"HOME": "/home/ana"})

    assert config is not None
    assert config.path == "opencode.jsonc"


def test_our_own_server_goes_where_cline_has_its_servers_already(tmp_path: Path) -> None:
    first, *others = [Path(file) for file in own("cline", HOME=str(tmp_path))]
    there = others[-1]
    there.parent.mkdir(parents=True)
    there.write_text("{}")
    environ = {"HOME": str(tmp_path)}

    config = for_own_server("cline", REPO, environ)
    assert (config and config.file) == there
    first.parent.mkdir(parents=True)
    first.write_text("{}")

    config = for_own_server("cline", REPO, environ)
    assert (config and config.file) == first


@pytest.mark.parametrize("agent", sorted(set(AGENTS) - set(clients.AGENTS)))
def test_an_agent_without_mcp_has_no_file(agent: str) -> None:
    assert for_own_server(agent, REPO, {"HOME": "/home/ana"}) is None
