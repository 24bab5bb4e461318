"""One event in full: everything that is known of it, and how it is known.

Lives here: the labelled lines. Not here: the timeline's rows (timeline.py), its output (output.py).
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any

from devtrace.query.events import command_data, is_unproven
from devtrace.views import words
from devtrace.views.agents import told_rows, work_rows
from devtrace.views.console import Line
from devtrace.views.edits import commit_rows, edit_rows, snapshot_rows
from devtrace.views.mcp import mcp_rows
from devtrace.views.probe import probe_rows
from devtrace.views.safe import safe
from devtrace.views.timeline import Reader, mark, took, what
from devtrace.views.trace import trace_line

Row = dict[str, Any]

_LABEL = 12
_CHILDREN = 20  # shown; an agent's command may have thousands
_EXIT_SOURCES = {
    "shell": "said by the shell",
    "next_prompt": "said by the shell at its next prompt",
    "waitpid": "seen by its parent",
    "pidfd": "seen as the end of its process",
    "unknown": "the end was never seen",
}
_SOURCES = {
    "interactive": "typed at the prompt",
    "bash_env": "run by a non-interactive bash",
    "zshenv": "run by a non-interactive zsh",
    "fifo": "told by a shell that never said who it is",
    "host": "seen by the recording itself",
    "cli": "written by a devtrace command",
    "worktree": "seen in the working tree",
    "hook": "told by the agent's hook",
    "transcript": "read from the agent's own record",
    "probe": "told by the program itself",
    "mcp": "seen by the proxy in front of the server",
}
_TRUST = {
    2: "proven by the session's nonce",
    1: "from the session's process tree, without its nonce",
    0: "without the nonce, and not from the session's process tree",
}
_TOLD = {
    "command",
    "cwd",
    "cwd_end",
    "exit_code",
    "pipestatus",
    "output",
    "blobs",
    "text",
    "text_form",
    "reason",
}
# Kinds whose every field has its own words.
_TELLS = ("prompt", "assistant_message", "tool_call", "agent_session", "agent_payload")  # by its own account
_PROBES = ("probe_hit", "probe_error", "probe_status")
_MCP = ("mcp_server", "mcp_call", "mcp_frames")
_NEVER_PROVEN = (*_TELLS, *_PROBES, *_MCP)
_IN_FULL = {
    "edit_files": edit_rows, "git_commit": commit_rows, "git_snapshot": snapshot_rows,
    **dict.fromkeys(_TELLS, told_rows), **dict.fromkeys(_PROBES, probe_rows),
    **dict.fromkeys(_MCP, mcp_rows),
}  # fmt: skip
_KNOWN = {"run_command", "note", "gap", "policy"}  # of any other kind nothing is told but what it is called
_TOLD |= {"duration_us", "shell", "interactive", "depth", "folded", "shell_pid", "redacted"}


def event_lines(
    event: Row,
    session: Row,
    children: Sequence[Row],
    short: Mapping[str, str],
    reader: Reader,
    calls: Sequence[Row] = (),
    traces: Sequence[Row] = (),
) -> list[Line]:
    """The event, line by line, widest first: nothing is cut, whatever the terminal's width.

    `calls`: the agent's tool calls that it belongs to. `traces`: the recorded programs that it started.
    """
    rows: list[tuple[str, Line]] = [("event", _identity(event, session, short))]
    rows += _text(event)
    rows += [("status", _status(event)), ("time", _time(event, reader))]
    rows += _where(event, session, reader)
    rows += [("source", _source(event))]
    rows += _output(event)
    rows += _IN_FULL[event["kind"]](event) if event["kind"] in _IN_FULL else _others(event)
    rows += work_rows(calls, event, short)
    rows += [
        ("trace" if at == 0 else "", trace_line(one, short)) for at, one in enumerate(traces[:_CHILDREN])
    ]
    if len(traces) > _CHILDREN:
        rows.append(("", [(f"... and {len(traces) - _CHILDREN:,} more", "dim")]))
    rows += [
        ("inside" if at == 0 else "", _child(child, short, reader))
        for at, child in enumerate(children[:_CHILDREN])
    ]
    if len(children) > _CHILDREN:
        rows.append(("", [(f"... and {len(children) - _CHILDREN:,} more; --nested shows them all", "dim")]))
    return [[(label.ljust(_LABEL), "dim"), *line] for label, line in rows]


def _identity(event: Row, session: Row, short: Mapping[str, str]) -> Line:
    line: Line = [(event["id"], "id"), (f"  {safe(event['kind'])} in session ", "dim")]
    line.append((short.get(session["id"], session["id"]), "id"))
    if event["parent"]:
        line += [(", under ", "dim"), (short.get(event["parent"], event["parent"]), "id")]
    return line


def _text(event: Row) -> list[tuple[str, Line]]:
    data = command_data(event)
    has_text = event["kind"] in ("note", "prompt", "assistant_message")
    note = event["data"].get("text") if has_text else None
    text = data.get("command") or note or event["title"].removeprefix("$ ")
    label = "command" if event["kind"] == "run_command" else "text"
    lines = safe(text, keep="\n\t").split("\n")
    rows: list[tuple[str, Line]] = [
        (label if at == 0 else "", [(one, "title")]) for at, one in enumerate(lines)
    ]
    form = {
        "normalised": "the shell joined the lines; it was typed differently",
        "private": "not recorded on purpose",
        "unknown": "the text was not to be had",
    }.get(data.get("text_form", "exact"))
    if form:
        reason = f": {safe(data['reason'])}" if data.get("reason") else ""
        rows.append(("", [(f"({form}{reason})", "dim")]))
    if event["data"].get("redacted"):
        rules = ", ".join(safe(str(rule)) for rule in event["data"]["redacted"])
        rows.append(("", [(f"(redacted by {rules})", "warning")]))
    return rows


def _status(event: Row) -> Line:
    _, style = mark(event)
    line: Line = [(event["status"], style if event["kind"] in ("run_command", "tool_call") else "")]
    code = event["exit_code"]
    if code is not None:
        line.append((f", exit {code}{_signal(code)}", ""))
    pipe = command_data(event).get("pipestatus")
    if pipe and len(pipe) > 1:
        line.append((f", of the pipeline {' '.join(str(one) for one in pipe)}", "dim"))
    if event["exit_source"]:
        known = str(event["exit_source"])
        line.append((f"; {_EXIT_SOURCES.get(known, safe(known))}", "dim"))
    return line


def _signal(code: int) -> str:
    try:
        return f" ({signal.Signals(code - 128).name})" if code > 128 else ""
    except ValueError:
        return ""


def _time(event: Row, reader: Reader) -> Line:
    line: Line = [(words.moment(event["started_us"]), "")]
    duration = took(event, reader.now_us)
    if duration and duration != "?":
        verb = "for" if event["status"] == "running" else "took"
        line += [(f", {verb} ", "dim"), (duration, "")]
    return line


def _where(event: Row, session: Row, reader: Reader) -> list[tuple[str, Line]]:
    if not event["cwd"]:
        return []
    line: Line = [(safe(event["cwd"]), "")]
    after = command_data(event).get("cwd_end")
    if after and after != event["cwd"]:
        line += [(", then ", "dim"), (safe(words.place(after, session["repo_root"], reader.home)), "")]
    return [("where", line)]


def _source(event: Row) -> Line:
    line: Line = [(safe(event["actor"]), "")]
    source = str(event["source"])
    line.append((f", {_SOURCES.get(source, safe(source))}", "dim"))
    data = command_data(event)
    shell, depth = data.get("shell"), data.get("depth")
    if shell:
        line.append((f", {safe(str(shell))}{f' at depth {depth}' if depth else ''}", "dim"))
    style = "warning" if is_unproven(event) else "dim"
    if (
        source == "worktree" or event["kind"] in _NEVER_PROVEN
    ):  # we saw it ourselves, or it is nothing but told
        return line
    return [*line, (", ", "dim"), (_TRUST.get(event["trusted"], ""), style)]


def _output(event: Row) -> list[tuple[str, Line]]:
    output = command_data(event).get("output")
    if not output:
        return []
    line: Line = [(words.size(output["seen"]), "")]
    if output.get("stderr"):
        line.append((f", {words.size(output['stderr'])} of it on stderr", "dim"))
    if output.get("truncated"):
        kept = f", kept: the first {words.size(output['head'])} and the last {words.size(output['tail'])}"
        line.append((kept, "dim"))
    if output.get("alternate_screen"):
        line.append((f", {words.size(output['alternate_screen'])} on the alternate screen, not kept", "dim"))
    if output.get("approximate"):
        line.append((", cut by time", "warning"))
    return [("output", line)]


def _others(event: Row) -> list[tuple[str, Line]]:
    told = _TOLD if event["kind"] in _KNOWN else {"redacted", "blobs"}
    rest = {name: value for name, value in event["data"].items() if name not in told}
    return [
        (safe(name), [(safe(str(value)), "")])
        for name, value in rest.items()
        if value not in (None, "", [], {}) and not name.endswith("_b64")
    ]


def _child(child: Row, short: Mapping[str, str], reader: Reader) -> Line:
    sign, style = mark(child)
    line: Line = [(words.clock(child["started_us"]), "dim"), (f"  {took(child, reader.now_us):>7}  ", "dim")]
    line += [(f"{sign}  " if sign else "", style), *what(child)]
    return [*line, (f"  {short.get(child['id'], child['id'])}", "id")]
