"""What passed between a client and an MCP server, in words: the rows of a call, of a server's run.

Lives here: `mcp_rows`. Not here: the timeline's rows (timeline.py), whose call it was (query/mcp.py).
"""

from __future__ import annotations

import json
from typing import Any

from devtrace.views import words
from devtrace.views.agents import Labelled, block, pretty
from devtrace.views.safe import safe

Row = dict[str, Any]

_OUTCOMES = {
    "result": "answered",
    "tool_error": "answered: the tool says that it failed",
    "error": "answered with an error",
    "cancelled": "cancelled",
    "no_answer": "no answer was seen",
}


def mcp_rows(event: Row) -> Labelled:
    """What a call, a server's run or kept frames say, beside their headline."""
    return _ROWS[event["kind"]](event["data"])


def _call(data: Row) -> Labelled:
    rows: Labelled = [("server", [(safe(f"{data.get('server')}, its tool {data.get('tool')}"), "")])]
    request = f"{data.get('request')} over {data.get('transport')}"
    if data.get("revision"):
        request += f", protocol {data['revision']}"
    rows.append(("request", [(safe(request), "dim")]))
    if data.get("requests"):
        rows.append(("retried", [(safe(f"as {', '.join(data['requests'])}"), "dim")]))
    rows += block("arguments", pretty(data.get("arguments")))
    if data.get("asked"):
        rows.append(("asked", [(safe(", ".join(data["asked"])), "")]))
    if data.get("progress"):
        last = f": {data['progress_text']}" if data.get("progress_text") else ""
        rows.append(("progress", [(safe(words.count(data["progress"], "report") + last), "")]))
    if outcome := _OUTCOMES.get(str(data.get("outcome"))):
        late = ", and answered after all" if data.get("late") else ""
        rows.append(("outcome", [(outcome + late, "" if data.get("outcome") == "result" else "warning")]))
    rows += _plain(data, "cancel_reason", "error", "error_code", "error_data")
    result = _text_of(data.get("result"))
    return rows if result == data.get("error") else rows + block("result", result)


def _server(data: Row) -> Labelled:
    rows = _plain(data, "command", "url", "client", "server")
    if data.get("revisions"):
        rows.append(("protocol", [(safe(", ".join(data["revisions"])), "")]))
    for direction, label in (("to_server", "to server"), ("to_client", "to client")):
        counts = (data.get("counts") or {}).get(direction)
        if isinstance(counts, dict) and counts:
            told = ", ".join(f"{number} {name}" for name, number in counts.items())
            size = words.size(int(data.get(f"bytes_{direction}") or 0))
            rows.append((label, [(safe(told), ""), (f"; {size}", "dim")]))
    return rows


def _frames(data: Row) -> Labelled:
    return _plain(data, "server", "frames")


def _plain(data: Row, *names: str) -> Labelled:
    found = ((name, data.get(name)) for name in names)
    return [
        (name.replace("_", " "), [(safe(str(value)), "")]) for name, value in found if value not in (None, "")
    ]


def _text_of(told: object) -> str:
    """A result's texts as they read; anything else of it as JSON."""
    try:
        content = json.loads(str(told))["content"]
        parts = [one["text"] if one.get("type") == "text" else json.dumps(one) for one in content]
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return pretty(told) if told else ""
    return "\n".join(map(str, parts))


_ROWS = {"mcp_call": _call, "mcp_server": _server, "mcp_frames": _frames}
