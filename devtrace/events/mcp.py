"""What went between a client and a server of the Model Context Protocol, as our proxy saw it pass.

A `tools/call` is a `mcp_call`; the run of the proxy around it, with a count of all other traffic, is a
`mcp_server`; `mcp_frames` keeps that traffic itself, where it was asked for. What both sides say of
themselves, names and versions among it, is theirs: a claim. That a call passed, and when, was observed.

Lives here: the three kinds. Not here: the protocol (sources/mcp/), whose call it was (query/mcp.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devtrace.events.envelope import Body, kind, sensitive

FRAMES_BLOB = "frames"  # JSON lines: {"at_us", "to": "server"|"client", "message": ...} or "raw": text
OUTCOMES = ("", "result", "tool_error", "error", "cancelled", "no_answer")  # "": it runs


@kind("mcp_server")
@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer(Body):
    """One run of the proxy in front of a server: from its start to its end."""

    name: str = sensitive()  # given by --name, else the program's or the host's
    transport: str  # stdio, http, sse (the older HTTP with two channels)
    command: str | None = sensitive(default=None)  # stdio: the server's command line
    url: str | None = sensitive(default=None)  # http: without user, query and fragment
    client: str | None = sensitive(default=None)  # name and version, as it says; None: it did not
    server: str | None = sensitive(default=None)  # the same
    # of the protocol, as they were told, in that order; None: none was
    revisions: list[str] | None = sensitive(default=None)  # noqa: RUF009 - a field, not a shared value
    # {"to_server": {"tools/list": 2, "(result)": 1}, "to_client": {...}}: messages by method, and "(error)",
    # "(invalid)", "(unasked)": an answer to nothing, "(too long)" to be read, "(other)": names after 200
    counts: dict[str, Any] | None = sensitive(default=None)  # noqa: RUF009 - the same
    bytes_to_server: int = 0
    bytes_to_client: int = 0
    calls: int = 0
    exit_code: int | None = (
        None  # of a stdio server; 128+n for signal n; None: not known, or it is no process
    )
    cwd: str | None = sensitive(default=None)

    def headline(self) -> str:
        """`mcp server files (stdio), 3 calls`."""
        calls = f", {self.calls} call{'' if self.calls == 1 else 's'}" if self.calls else ""
        return f"mcp server {self.name} ({self.transport}){calls}"


@kind("mcp_call")
@dataclass(frozen=True, slots=True, kw_only=True)
class McpCall(Body):
    """One call of a tool: what it was asked, what came of it, and how long that took."""

    server: str = sensitive()  # as in mcp_server's `name`
    tool: str = sensitive()  # as the server names it
    transport: str
    request: str = sensitive()  # the JSON-RPC id as JSON: 1 and "1" are two
    # ids of the retries that brought what the server had asked for (2026-07-28); None: there were none
    requests: list[str] | None = sensitive(default=None)  # noqa: RUF009 - a field, not a shared value
    revision: str | None = sensitive(default=None)  # of the protocol; None: nobody told it
    arguments: str = sensitive(default="")  # as JSON
    result: str | None = sensitive(default=None)  # as JSON; None: none came
    error: str | None = sensitive(default=None)  # of JSON-RPC, or the text of a result that says isError
    error_code: int | None = None  # of JSON-RPC
    error_data: str | None = sensitive(default=None)  # of JSON-RPC, as JSON; None: there was none
    outcome: str = ""  # one of OUTCOMES; "" too where the answer may be among what was missed
    # what the server asked of the client for it, by method: sampling/createMessage; None: nothing
    asked: list[str] | None = sensitive(default=None)  # noqa: RUF009 - the same
    progress: int = 0  # how often it told how far it is
    progress_text: str | None = sensitive(default=None)  # what it said last
    cancel_reason: str | None = sensitive(default=None)
    duration_us: int | None = None  # from the request's passing to the answer's
    late: bool = False  # the answer came after the call had been cancelled
    call: str | None = sensitive(default=None)  # the client's own id of its tool call, where it tells it
    native: str | None = sensitive(default=None)  # the client's own id of its session, the same
    turn: str | None = sensitive(default=None)  # the client's own id of the prompt, the same
    bytes_to_server: int = 0  # of the request as it passed
    bytes_to_client: int = 0  # of the answer
    cwd: str | None = sensitive(default=None)

    def headline(self) -> str:
        """`files/read_text_file {"path":"a.txt"}`."""
        return f"{self.server}/{self.tool} {self.arguments}".rstrip()


@kind("mcp_frames")
@dataclass(frozen=True, slots=True, kw_only=True)
class McpFrames(Body):
    """Messages as they passed, `tools/call` or not: the blob `frames`."""

    server: str = sensitive()
    transport: str
    frames: int = 0

    def headline(self) -> str:
        """`12 frames of files`."""
        return f"{self.frames} frame{'' if self.frames == 1 else 's'} of {self.server}"
