"""Other proxies for MCP servers, where somebody has installed them, and how they get in front of a server.

They are looked for in PATH, or where DEVTRACE_BENCH_FASTMCP and DEVTRACE_BENCH_MCP_PROXY say: each wants an
environment of its own (`pip install fastmcp==4.1.2`, `pip install mcp-proxy==0.13.0`).

Not here: what is measured (mcp.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

PROGRAMS = {"fastmcp": "DEVTRACE_BENCH_FASTMCP", "mcp-proxy": "DEVTRACE_BENCH_MCP_PROXY"}
_LISTENS = re.compile(r"http://127\.0\.0\.1:\d+")
_PATIENCE_S = 60.0
_QUIET = {"FASTMCP_CHECK_FOR_UPDATES": "off", "FASTMCP_LOG_LEVEL": "ERROR", "NO_COLOR": "1"}


class Found(NamedTuple):
    """Those that are there, by name, and why the others are not."""

    programs: Mapping[str, str]
    missing: Mapping[str, str]


def found(environ: Mapping[str, str] = os.environ) -> Found:
    """Look for them."""
    programs, missing = {}, {}
    for name, variable in PROGRAMS.items():
        path = shutil.which(environ.get(variable) or name, path=environ.get("PATH"))
        if path:
            programs[name] = path
        else:
            missing[name] = f"not installed; {variable} may say where it is"
    return Found(programs, missing)


def in_front(
    name: str, program: str, command: Sequence[str], folder: Path
) -> AbstractContextManager[list[str]]:
    """The command line that speaks stdio for a stdio server, as long as the context is open."""
    if name == "fastmcp":
        return nullcontext(_fastmcp(program, command, folder))
    return _mcp_proxy(program, command, folder)


def environment(folder: Path) -> dict[str, str]:
    """What every process finds: little, and nothing that talks."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LANG": "C.UTF-8", **_QUIET}


def _fastmcp(program: str, command: Sequence[str], folder: Path) -> list[str]:
    config = folder / "fastmcp.json"
    server = {"command": command[0], "args": list(command[1:])}
    config.write_text(json.dumps({"mcpServers": {"echo": server}}))
    return [program, "run", str(config), "--transport", "stdio", "--no-banner"]


@contextmanager
def _mcp_proxy(program: str, command: Sequence[str], folder: Path) -> Iterator[list[str]]:
    """It speaks stdio on one side only, and so there are two: the one at the server runs already."""
    with subprocess.Popen(
        [program, "--port", "0", "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, env=environment(folder), cwd=folder,
    ) as back:  # fmt: skip
        assert back.stderr is not None
        deadline = time.monotonic() + _PATIENCE_S
        try:
            for line in back.stderr:
                if "Uvicorn running" in line and (url := _LISTENS.search(line)):
                    break
                if time.monotonic() > deadline:
                    raise RuntimeError("mcp-proxy did not say where it listens")
            else:
                raise RuntimeError("mcp-proxy ended without listening")
            threading.Thread(target=back.stderr.read, name="devtrace-bench-mcp-proxy", daemon=True).start()
            yield [program, "--transport", "streamablehttp", f"{url[0]}/mcp"]
        finally:
            back.terminate()
