"""A small server as people write them: two tools over stdio, one of which fails."""

from __future__ import annotations

import json
import sys
from typing import Any

TOOLS = [
    {
        "name": name,
        "description": f"To {name} somebody.",
        "inputSchema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        "annotations": {"readOnlyHint": True},
    }
    for name in ("greet", "scold")
]


def answer(request: dict[str, Any]) -> dict[str, Any]:
    method, params = request["method"], request.get("params") or {}
    if method == "initialize":
        revision = params.get("protocolVersion", "2025-06-18")
        about = {"name": "greetings", "version": "1.0"}
        return {"result": {"protocolVersion": revision, "capabilities": {"tools": {}}, "serverInfo": about}}
    if method == "tools/list":
        return {"result": {"tools": TOOLS}}
    if method == "tools/call":
        name, is_error = params["arguments"]["name"], params["name"] == "scold"
        text = f"I scold nobody, least of all {name}." if is_error else f"Hello, {name}!"
        return {"result": {"content": [{"type": "text", "text": text}], "isError": is_error}}
    return {"error": {"code": -32601, "message": f"no {method} here"}}


def main() -> None:
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "id" in request and "method" in request:
            told = {"jsonrpc": "2.0", "id": request["id"], **answer(request)}
            sys.stdout.buffer.write(json.dumps(told).encode() + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
