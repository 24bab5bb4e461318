"""The least MCP server that peers accept: `python -S mcp_echo.py stdio`, or `http`, which prints its port.

Standard library only, and one tool, so that what is measured is what stands in front of it.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOOLS = [{"name": "echo", "description": "Echo.", "inputSchema": {"type": "object", "properties": {}}}]
REVISION = "2025-11-25"


def answer(message: dict[str, Any]) -> dict[str, Any] | None:
    """To a request; None: it was a notification."""
    if "id" not in message:
        return None
    method, params = message.get("method"), message.get("params") or {}
    results: dict[str, dict[str, Any]] = {
        "initialize": {
            "protocolVersion": params.get("protocolVersion", REVISION),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "echo", "version": "1"},
        },
        "ping": {},
        "tools/list": {"tools": TOOLS},
        "tools/call": {"content": [{"type": "text", "text": json.dumps(params.get("arguments"))}]},
    }
    told = {"jsonrpc": "2.0", "id": message["id"]}
    if method not in results:
        return {**told, "error": {"code": -32601, "message": "Method not found"}}
    return {**told, "result": results[method]}


class Handler(BaseHTTPRequestHandler):
    """Streamable HTTP as far as it answers with JSON, on connections that stay open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told = answer(json.loads(body))
        data = b"" if told is None else json.dumps(told).encode()
        self.send_response(202 if told is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def main(transport: str) -> None:
    """Serve until the end of the input, or of time."""
    if transport == "http":
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()
    for line in sys.stdin.buffer:
        told = answer(json.loads(line))
        if told is not None:
            sys.stdout.buffer.write(json.dumps(told).encode() + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
