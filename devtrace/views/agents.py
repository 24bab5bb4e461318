"""What an agent was told, said and did, in words: the rows of a call, a prompt, a message.

Lives here: `call_rows` for the story of a line and an event in full, `told_rows` for the events themselves.
Not here: the timeline's rows (timeline.py), joining claims and truth (query/agents.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from devtrace.query.agents import headline
from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.safe import first_line, safe

Row = dict[str, Any]
Labelled = list[tuple[str, Line]]

NO_REASON = "no stated reason"
_SHORT = 10  # digits of an id that is named in passing
_MOST_LINES = 40  # of an input or a result in full
_DIFFERS = {
    "command": "another command than it says",
    "exit_code": "another exit status than it says",
    "status": "it says that it went well",
    "paths": "hook and transcript name other files",
    "input": "hook and transcript tell another input",
}
_CONFIDENCE = {
    "call": "it stands under the call",
    "command": "it stands under the command that the call ran",
    "claim": "it changed while the call ran, which says that it writes that file",
    "candidate": "the record names it among those that may have done it",
}


def call_rows(calls: Sequence[Row], short: Mapping[str, str], *, own: bool = True) -> Labelled:
    """The tool calls that did something, each with prompt and reason; several: it may be any of them.

    `own`: with the line of the call itself.
    """
    rows: Labelled = []
    for at, call in enumerate(calls):
        label = "tool" if len(calls) == 1 else "maybe" if at == 0 else "or"
        rows += [(label, _call(call, short)), *_ran(call, short)] if own else _ran(call, short)
        rows += _prompts(call, short)
        rows += _reason(call)
    return rows


def _line(text: str) -> str:
    return words.shortened(first_line(text))


def _call(call: Row, short: Mapping[str, str]) -> Line:
    event = call["event"].rpartition("/")[2]
    line: Line = [(_line(headline(call)), "title")]
    line.append((f"  {safe(str(call['status']))}", "failed" if call["status"] == "failed" else "dim"))
    if call["subagent"]:
        line.append((f", by subagent {safe(call['subagent'][:_SHORT])}", "dim"))
    line.append((f", told by {' and '.join(safe(one) for one in call['told_by'])}  ", "dim"))
    return [*line, (short.get(event, event), "id")]


def _ran(call: Row, short: Mapping[str, str]) -> Labelled:
    """What its shell really ran, where that is not what it says."""
    if not {"command", "exit_code", "status"}.intersection(call["differs"]) or not call["ran"]:
        return []
    rows: Labelled = []
    for at, one in enumerate(call["ran"]):
        event = one["event"].rpartition("/")[2]
        line: Line = [(_line(str(one["command"] or "(not recorded)")), "warning")]
        if one["exit_code"] is not None:
            line.append((f"  exit {one['exit_code']}", "failed" if one["exit_code"] else "dim"))
        rows.append(("ran" if at == 0 else "", [*line, ("  ", ""), (short.get(event, event), "id")]))
    told = [_DIFFERS[name] for name in call["differs"] if name in _DIFFERS]
    return [*rows, ("", [(f"({'; '.join(told)})", "warning")])]


def _prompts(call: Row, short: Mapping[str, str]) -> Labelled:
    rows: Labelled = []
    for at, prompt in enumerate(call["prompts"]):
        label = "prompt" if at == 0 else "within"
        line: Line = [(_line(prompt["text"]), "")]
        rows.append(
            (label, [*line, ("  ", ""), (short.get(prompt["event"], str(prompt["event"])[:_SHORT]), "id")])
        )
    return rows or [("prompt", [("not recorded", "warning")])]


def _reason(call: Row) -> Labelled:
    if call["reason"] is None:
        return [("reason", [(NO_REASON, "dim")])]
    lines = _lines(call["reason"]["text"].strip())
    quoted = [*lines[:_MOST_LINES], "..."] if len(lines) > _MOST_LINES else lines
    quoted[0] = f'"{quoted[0]}'
    quoted[-1] = f'{quoted[-1]}"'
    return [("reason" if at == 0 else "", [(line, "")]) for at, line in enumerate(quoted)]


# --- events in full -------------------------------------------------------------------------------------


def told_rows(event: Row) -> Labelled:
    """What a prompt, a message, a tool call or a session's event says, beside its text."""
    data = event["data"]
    rows: Labelled = [("agent", _who(data))]
    for name in ("turn", "message", "starts", "transcript", "permissions", "why"):
        if data.get(name):
            rows.append((name, [(safe(str(data[name])), "")]))
    if data.get("paths"):
        rows += [("paths" if at == 0 else "", [(safe(path), "")]) for at, path in enumerate(data["paths"])]
    rows += block("input", pretty(data.get("input")))
    rows += block("result", str(data.get("result") or ""))
    rows += block("payload", str(data.get("payload") or ""))
    return rows


def _who(data: Row) -> Line:
    line: Line = [(safe(str(data.get("agent"))), "")]
    if data.get("version"):
        line.append((f" {safe(str(data['version']))}", ""))
    if data.get("model"):
        line.append((f", {safe(str(data['model']))}", ""))
    if data.get("native"):
        line.append((f", its session {safe(str(data['native']))}", "dim"))
    if data.get("call"):
        line.append((f", call {safe(str(data['call']))}", "dim"))
    if data.get("subagent"):
        kind = f" ({safe(str(data['subagent_type']))})" if data.get("subagent_type") else ""
        line.append((f", subagent {safe(str(data['subagent']))}{kind}", "dim"))
    return line


def pretty(told: object) -> str:
    """An input, a value a line where it is an object."""
    try:
        value = json.loads(str(told)) if told else None
    except (ValueError, RecursionError):
        return str(told)
    if not isinstance(value, dict):
        return str(told or "")
    return "\n".join(
        f"{name}: {one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)}"
        for name, one in value.items()
    )


def _lines(text: str) -> list[str]:
    return [safe(words.shortened(line), keep="\t") for line in text.split("\n")]


def block(label: str, text: str) -> Labelled:
    """A text of several lines; the rest of a long one is counted."""
    lines = _lines(text.rstrip("\n")) if text else []
    rows: Labelled = [(label if at == 0 else "", [(line, "")]) for at, line in enumerate(lines[:_MOST_LINES])]
    left = len(lines) - _MOST_LINES
    return [*rows, ("", [(f"... and {words.count(left, 'more line')}", "dim")])] if left > 0 else rows


def work_rows(calls: Sequence[Row], event: Row, short: Mapping[str, str]) -> Labelled:
    """For an event in full: the call that it is of, what that ran and changed."""
    name = f"{event['session']}/{event['id']}"
    is_own = len(calls) == 1 and name in calls[0]["events"]
    rows = call_rows(calls, short, own=not is_own)
    if not is_own:
        return rows
    for at, one in enumerate(calls[0]["ran"] or ()) if not rows or rows[0][0] != "ran" else ():
        inner = one["event"].rpartition("/")[2]
        line: Line = [(_line(str(one["command"] or "(not recorded)")), "")]
        rows.append(("ran" if at == 0 else "", [*line, ("  ", ""), (short.get(inner, inner), "id")]))
    for at, edit in enumerate(calls[0]["edits"]):
        inner = edit["event"].rpartition("/")[2]
        line = [(", ".join(map(safe, edit["paths"])), ""), (f": {_CONFIDENCE[edit['confidence']]}  ", "dim")]
        rows.append(("changed" if at == 0 else "", [*line, (short.get(inner, inner), "id")]))
    return rows


def ids_of(calls: Sequence[Row]) -> list[str]:
    """Every id of an event that the rows name."""
    found: list[str] = []
    for call in calls:
        found += [call["event"], *(one["event"] for one in call["ran"] or ())]
        found += [one["event"] for one in call["edits"]]
        found += [prompt["event"] for prompt in call["prompts"]]
    return [name.rpartition("/")[2] for name in found]
