"""Which files each agent's MCP servers stand in: those of a project, and the user's own.

    Claude Code   .mcp.json                     ~/.claude.json, also those of this project alone
    Codex         .codex/config.toml            ~/.codex/config.toml
    Gemini CLI    .gemini/settings.json         ~/.gemini/settings.json
    opencode      opencode.json(c), .opencode/  ~/.config/opencode/
    Cursor        .cursor/mcp.json              ~/.cursor/mcp.json
    Cline                                       ~/.cline/data/settings/, and where editors keep it
    VS Code       .vscode/mcp.json

Sources: code.claude.com/docs/en/mcp, codex-rs/config/src/mcp_types.rs, Gemini CLI's page on MCP servers,
packages/opencode/src/config of opencode, cursor.com/docs/mcp, sdk/packages/shared/src/storage/paths.ts of
cline, code.visualstudio.com/docs/copilot/reference/mcp-configuration.

Lives here: the files, by agent. Not here: what stands in them (configs.py). Standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

Names = tuple[str, ...]
_MCP_SERVERS: Names = ("mcpServers",)
_VS_CODE: Names = ("servers",)
_OPENCODE: Names = ("mcp",)
_CODEX: Names = ("mcp_servers",)
_CLINE = "cline_mcp_settings.json"
_EDITORS = ("Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf")
_REMOTE_EDITORS = (".vscode-server", ".vscode-server-insiders", ".cursor-server", ".windsurf-server")
_OPENCODE_FILES = ("opencode.json", "opencode.jsonc")

_PROJECT: tuple[tuple[str, str, Names], ...] = (
    ("claude-code", ".mcp.json", _MCP_SERVERS),
    ("codex", ".codex/config.toml", _CODEX),
    ("gemini", ".gemini/settings.json", _MCP_SERVERS),
    ("opencode", "opencode.json", _OPENCODE),
    ("opencode", "opencode.jsonc", _OPENCODE),
    ("opencode", ".opencode/opencode.json", _OPENCODE),
    ("opencode", ".opencode/opencode.jsonc", _OPENCODE),
    ("cursor", ".cursor/mcp.json", _MCP_SERVERS),
    ("", ".vscode/mcp.json", _VS_CODE),
)
AGENTS = ("claude-code", "codex", "gemini", "opencode", "cursor", "cline")


class Config(NamedTuple):
    """One file with servers."""

    agent: str  # of config.AGENTS; "": of none of them
    root: Path  # nothing outside is written
    path: str  # below the root
    shown: str  # as people write it
    lists: dict[str, Names]  # where in it the servers are, by scope; "": its only list
    is_user: bool = False

    @property
    def file(self) -> Path:
        """Where it is, links not followed."""
        return self.root / self.path

    @property
    def is_toml(self) -> bool:
        """JSON otherwise. Codex' settings are TOML whatever a link leads to."""
        return _CODEX in self.lists.values()


def project(root: Path) -> list[Config]:
    """Those of a repository, whether they are there or not."""
    return [Config(agent, root, path, path, {"": names}) for agent, path, names in _PROJECT]


def user(environ: Mapping[str, str], root: Path | None) -> list[Config]:
    """The user's own, whether they are there or not. `root`: the project whose servers count, too."""
    home = Path(environ.get("HOME") or Path.home())
    places = [
        ("claude-code", _claude(environ, home), _MCP_SERVERS),
        ("codex", Path(environ.get("CODEX_HOME") or home / ".codex") / "config.toml", _CODEX),
        ("gemini", Path(environ.get("GEMINI_CLI_HOME") or home) / ".gemini" / "settings.json", _MCP_SERVERS),
        *(("opencode", path, _OPENCODE) for path in _opencode(environ, home)),
        ("cursor", home / ".cursor" / "mcp.json", _MCP_SERVERS),
        *(("cline", path, _MCP_SERVERS) for path in _cline(environ, home)),
    ]
    found = [_own(agent, path, names, home) for agent, path, names in places]
    return [_with_project(one, root) if one.agent == "claude-code" and root else one for one in found]


def _claude(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("CLAUDE_CONFIG_DIR") or home) / ".claude.json"


def _with_project(config: Config, root: Path) -> Config:
    """With the servers that the user has in this project alone (`claude mcp add`, scope local)."""
    paths = dict.fromkeys((str(root), os.path.realpath(root)))
    own = {f"project {path}": ("projects", path, *_MCP_SERVERS) for path in paths}
    return config._replace(lists={**config.lists, **own})


def _opencode(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    folder = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "opencode"
    yield from (folder / name for name in (*_OPENCODE_FILES, "config.json"))
    if named := environ.get("OPENCODE_CONFIG"):
        yield Path(named)
    if folder_named := environ.get("OPENCODE_CONFIG_DIR"):
        yield from (Path(folder_named) / name for name in _OPENCODE_FILES)


def _cline(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Where it keeps them now, and where its extension kept them before."""
    own = Path(environ.get("CLINE_DIR") or home / ".cline")
    data = Path(environ.get("CLINE_DATA_DIR") or own / "data")
    yield Path(environ.get("CLINE_MCP_SETTINGS_PATH") or data / "settings" / _CLINE)
    base = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    base = home / "Library" / "Application Support" if sys.platform == "darwin" else base
    folders = [base / editor / "User" for editor in _EDITORS]
    folders += [home / editor / "data" / "User" for editor in _REMOTE_EDITORS]
    for folder in folders:
        yield folder / "globalStorage" / "saoudrizwan.claude-dev" / "settings" / _CLINE


def _own(agent: str, path: Path, names: Names, home: Path) -> Config:
    shown = f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
    return _named(agent, path, shown, {"": names}, is_user=True)


def _named(agent: str, path: Path, shown: str, lists: dict[str, Names], *, is_user: bool) -> Config:
    """A file that somebody has chosen to have there: where a link leads is where it is written."""
    real = Path(os.path.realpath(path))
    return Config(agent, real.parent, real.name, shown, lists, is_user)


def named_file(path: Path) -> Config:
    """A file that was named. JSON may be anybody's: it has the lists that it has."""
    lists = {"": _MCP_SERVERS, "servers": _VS_CODE, "mcp": _OPENCODE}
    if path.suffix == ".toml":
        lists = {"": _CODEX}
    return _named("", Path(os.path.abspath(path)), str(path), lists, is_user=False)  # noqa: PTH100 - ".." goes


def for_own_server(agent: str, root: Path, environ: Mapping[str, str]) -> Config | None:
    """Where a server of ours is registered with an agent; None: it has no MCP that we know."""
    meant = [one for one in project(root) if one.agent == agent]
    meant = meant or [one for one in user(environ, None) if one.agent == agent]
    return next((one for one in meant if one.file.exists()), None) or next(iter(meant), None)
