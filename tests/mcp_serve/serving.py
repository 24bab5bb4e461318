"""The real server, started as an agent starts it, and spoken to line by line.

    with served(root) as server:
        server.greet()
        told = server.call("list_sessions")

Lives here: `served`, `Server`, `LEGACY`, `MODERN`, `meta`. Not here: any test, HTTP (test_http.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.processes import DEADLINE, environment

Message = dict[str, Any]

COMMAND = [sys.executable, "-m", "devtrace", "mcp", "serve"]
LEGACY = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
MODERN = "2026-07-28"
CLIENT = {"name": "test", "version": "1"}


def meta() -> Message:
    """What a request of the modern era says of itself."""
    known = {"protocolVersion": MODERN, "clientInfo": CLIENT, "clientCapabilities": {}}
    return {"_meta": {f"io.modelcontextprotocol/{name}": value for name, value in known.items()}}


class Server:
    """A process, and the answers that it gave."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self.process = process
        self.lines: list[bytes] = []
        self._next = 0

    def send(self, message: Any) -> None:
        """A message, or bytes as they are."""
        assert self.process.stdin is not None
        data = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, method: str, params: Message | None = None) -> Message:
        """The whole answer to a request."""
        self._next += 1
        self.send({"jsonrpc": "2.0", "id": self._next, "method": method, "params": params or {}})
        return self.answer(self._next)

    def answer(self, identity: object) -> Message:
        """The next message, which is the answer to that id."""
        message = self.hear()
        assert message["id"] == identity, message
        return message

    def hear(self) -> Message:
        """The next message."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.endswith(b"\n"), line
        self.lines.append(line)
        return dict(json.loads(line))

    def greet(self, revision: str = LEGACY[-1]) -> Message:
        """The handshake of the legacy era."""
        told = self.ask("initialize", {"protocolVersion": revision, "capabilities": {}, "clientInfo": CLIENT})
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return told

    def call(self, tool: str, **arguments: Any) -> Message:
        """The result of a tool."""
        return dict(self.ask("tools/call", {"name": tool, "arguments": arguments})["result"])

    def end(self) -> tuple[int, bytes]:
        """Close its standard input; its status, and what it wrote beside what was heard."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.stdout is not None
        rest = self.process.stdout.read()
        return self.process.wait(DEADLINE), rest


@contextmanager
def served(root: Path, **more: str) -> Iterator[Server]:
    """The server of the store in that directory; ended at the end, whatever happened. It said nothing."""
    with subprocess.Popen(
        COMMAND, cwd=root, env=environment(**more), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield Server(process)
        finally:
            process.kill()
            assert process.stderr is not None
            assert process.stderr.read() == b""
