"""Settings of agents with MCP servers: of a project and of a user, each as its agent writes them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.processes import DEADLINE

FILES = {
    ".mcp.json": '{\n  "mcpServers": {\n    "files": {"command": "npx", "args": ["-y", "x"]}\n  }\n}\n',
    ".codex/config.toml": '[mcp_servers.files]\ncommand = "cat"  # it\n',
    ".gemini/settings.json": '{"theme": "x", "mcpServers": {"files": {"command": "cat", "timeout": 5}}}',
    "opencode.json": '{"mcp": {"files": {"type": "local", "command": ["cat"]}}}',
    "opencode.jsonc": '{\n  // mine\n  "mcp": {"more": {"type": "local", "command": ["cat"],},},\n}\n',
    ".cursor/mcp.json": '{"mcpServers": {"files": {"command": "cat"}}}',
    ".vscode/mcp.json": '{"servers": {"files": {"type": "stdio", "command": "cat"}}, "inputs": []}',
}
OWN = {
    ".claude.json": FILES[".mcp.json"],
    ".codex/config.toml": FILES[".codex/config.toml"],
    ".gemini/settings.json": FILES[".gemini/settings.json"],
    ".config/opencode/opencode.jsonc": FILES["opencode.jsonc"],
    ".cursor/mcp.json": FILES[".cursor/mcp.json"],
    ".cline/data/settings/cline_mcp_settings.json": FILES[".mcp.json"],
}


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())


def texts(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {
        str(path.relative_to(folder)): path.read_bytes().decode()
        for path in files
        if path.name != ".gitconfig"
    }


def server(path: Path, name: str = "files") -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(path.read_text())["mcpServers"][name]
    return entry


def started(entry: dict[str, Any], **more: Any) -> subprocess.CompletedProcess[bytes]:
    """The server as its client starts it; `cat` in these."""
    words = [entry["command"], *entry["args"]]
    return subprocess.run(words, input=b"bytes\n", capture_output=True, timeout=DEADLINE, check=False, **more)
