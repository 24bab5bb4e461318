"""A session as a reviewer reads it: who and where, is it complete, then one line a command.

Lives here: the header, the rows, what is folded, the legend of the marks that occur.
Not here: one event in full (event.py), new events as they come (log.py), colour (console.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devtrace.query.events import command_data, is_unproven
from devtrace.views import words
from devtrace.views.console import Line, Piece
from devtrace.views.edits import file_lines
from devtrace.views.layout import Across, Cells, Column, lay_out
from devtrace.views.probe_runs import folded
from devtrace.views.safe import first_line, safe, split_first_line

Row = dict[str, Any]

_INDENT = 2
_LABEL = 12
_SHORT = 10  # digits of an id that is named in passing
_COLUMNS = (
    Column(drop=2),  # clock
    Column(right=True, drop=1),  # duration
    Column(),  # mark
    Column(flex=True),  # what
    Column(right=True, drop=3),  # output size
    Column(),  # id
)
_MARKS: dict[str, Piece] = {
    "gap": (" GAP ", "gap"),
    "note": ("note", "note"),
    "edit_files": ("edit", "edit"),
    "git_commit": ("git", "dim"),
    "git_snapshot": ("state", "note"),
    "prompt": ("prompt", "note"),
    "assistant_message": ("said", "dim"),
    "agent_session": ("agent", "dim"),
    "agent_payload": ("raw", "warning"),
    "probe_hit": ("hit", "note"),
    "probe_error": ("probe", "warning"),
    "probe_status": ("probe", "dim"),
    "mcp_frames": ("frames", "dim"),
}
# What has a status of its own, and takes its time.
_RUN = ("run_command", "tool_call", "python_trace", "mcp_call", "mcp_server")
_RAN: dict[str, Piece] = {
    "tool_call": ("tool", "edit"),
    "python_trace": ("trace", "note"),
    "mcp_call": ("mcp", "edit"),
    "mcp_server": ("server", "dim"),
}  # and it went well
_MOST_TRACES = 3  # of one command that have a line
_TOLD = ("prompt", "assistant_message", "tool_call", "agent_session", "agent_payload")
_LEGEND = {
    "! lost": "the end was never seen",
    "= stop": "the shell gave the status of a stopped job, as after Ctrl-Z; it may have gone on later",
    "? end": "it ended, nobody said how",
    "▶": "still running",
    "unproven": "the record came without the session's proof of origin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who looks: when, how wide (None: a pipe), from which home, and what shall be unfolded."""

    now_us: int
    width: int | None
    home: str = ""
    nested: bool | None = None  # None: unfolded where a session is nothing but one command


class _Opened(Across):
    """A line below its row that is shown whole, however narrow the terminal."""


def header(session: Row, tally: Mapping[str, int], short: Mapping[str, str], reader: Reader) -> list[Line]:
    """Five lines: session, place, shell and time, counts, and whether the record is complete."""
    who = safe(session["agent"] or session["actor"])
    title: Line = [("session ".ljust(_LABEL), "dim"), (short.get(session["id"], session["id"]), "id")]
    title += [("  ", ""), (who, "title")]
    if session["title"]:
        title += [("  ", ""), (first_line(session["title"]), "")]
    if session["parent_session"]:
        title += [("  inside session ", "dim"), (session["parent_session"][:12], "dim")]
    return [
        title,
        _labelled("where", _where(session, reader)),
        _labelled("when", _when(session, reader)),
        _labelled("commands", _counts(tally)),
        _labelled("record", _completeness(session, tally)),
    ]


def timeline(
    session: Row,
    events: Sequence[Row],
    short: Mapping[str, str],
    reader: Reader,
    *,
    hidden: int = 0,
    opened: Mapping[str, Sequence[Line]] | None = None,
    traces: Mapping[str, Sequence[Row]] | None = None,
) -> list[Line]:
    """The rows, and the legend of the marks in them. `hidden`: earlier events that a limit left out.

    `opened`: what stands below the row of an event, by its id, such as the patch of an edit. `traces`: the
    recorded programs that an event started, by its id.
    """
    events, said = (events, {}) if reader.nested else folded(events)
    shown = _Tree(events)
    unfold = shown.is_one_command() if reader.nested is None else reader.nested
    below = _Below(opened or {}, traces or {}, said, short, reader)
    rows: list[Cells | Across] = []
    if hidden:
        rows.append(Across([(f"  ... {words.count(hidden, 'earlier event')} not shown", "dim")]))
    day, place = words.day(session["started_us"]), session["cwd"] or session["repo_root"]
    for event in shown.top:
        if words.day(event["started_us"]) != day:
            day = words.day(event["started_us"])
            rows.append(Across([(f"  {day}", "title")]))
        if event["kind"] == "run_command" and event["cwd"] and event["cwd"] != place:
            place = event["cwd"]
            inside = words.place(place, session["repo_root"], reader.home).rstrip("/")
            rows.append(_note_row([(f"in {safe(inside)}/", "dim")]))
        rows += _rows_of(event, shown, session, short, reader, unfold, below)
    laid = lay_out(_COLUMNS, rows, reader.width, _INDENT)
    whole = [row.line if isinstance(row, _Opened) else line for row, line in zip(rows, laid, strict=True)]
    return whole + _legend(rows, unfold, bool(said))


def mark(event: Row) -> Piece:
    """The loud part of a row: failed with its status, lost, running, a note, a gap; else nothing."""
    status, kind = event["status"], event["kind"]
    if kind not in _RUN:
        return _MARKS.get(kind, (safe(kind), "dim"))
    if status == "failed":
        return f"✗ {event['exit_code']}" if event["exit_code"] is not None else "✗", "failed"
    return {
        "running": ("▶", "running"),
        "interrupted": ("! lost", "lost"),
        "stopped": ("= stop", "warning"),
        "unknown": ("? end", "warning"),
    }.get(status, _RAN.get(kind, ("", "")))


def what(event: Row, session: Row | None = None) -> Line:
    """The command or headline in one line, with what the reader must know about it."""
    kind = event["kind"]
    text, more = split_first_line(event["title"].removeprefix("$ ").removeprefix(f"{kind}: "))
    style = {"gap": "warning", "note": "note", "policy": "dim", "git_commit": "dim"}.get(kind, "")
    if kind == "run_command" and (event["data"].get("command") is None):
        style = "dim"
    line: Line = [(text, style), (more, "dim")]
    if event["data"].get("subagent") and kind in _TOLD:
        line.insert(0, (f"({safe(str(event['data']['subagent'])[:_SHORT])}) ", "dim"))
    if is_unproven(event):
        line.append((" [unproven]", "warning"))
    if kind in ("edit_files", "git_commit") and event["data"].get("attribution") != "command":
        line.append((f" [{_whose(event)}]", "warning"))
    # Of these nobody is the author, or it says itself who.
    by_whom = kind not in ("gap", "policy", "edit_files", "git_commit", *_TOLD)
    if by_whom and session is not None and event["actor"] != session["actor"]:
        line.append((f" [{safe(event['actor'])}]", "dim"))
    return line


def _whose(event: Row) -> str:
    """Where a change came from that no one command made: `background`, `ambiguous: 3f2a or 77b0`."""
    data = event["data"]
    names = [safe(name.rpartition("/")[2][:_SHORT]) for name in data.get("candidates") or ()]
    return f"{safe(str(data.get('attribution')))}{': ' if names else ''}{' or '.join(names)}"


def took(event: Row, now_us: int) -> str:
    """How long it took, or has been running; nothing for what happens in a moment."""
    if event["status"] == "running":
        return words.duration(now_us - event["started_us"])
    if event["kind"] in _MARKS or (
        event["kind"] not in _RUN and event["ended_us"] in (None, event["started_us"])
    ):
        return ""
    return "?" if event["ended_us"] is None else words.duration(event["ended_us"] - event["started_us"])


def printed(event: Row) -> str:
    """How much it wrote to the terminal; `~` where the cut is by time."""
    output = command_data(event).get("output")
    if not output or not output.get("seen"):
        return ""
    return ("~" if output.get("approximate") else "") + words.size(output["seen"])


class _Tree:
    """The events under their parents in the order of time. What has no parent in the list is at the top."""

    def __init__(self, events: Sequence[Row]):
        known = {event["id"] for event in events}
        self.top: list[Row] = []
        self.under: dict[str, list[Row]] = defaultdict(list)
        for event in sorted(events, key=lambda event: int(event["started_us"])):
            if event["parent"] in known and event["parent"] != event["id"]:
                self.under[event["parent"]].append(event)
            else:
                self.top.append(event)

    def is_one_command(self) -> bool:
        return [event["kind"] for event in self.top].count("run_command") == 1

    def below(self, event: Row) -> Iterable[Row]:
        """Everything under an event, however deep. Parents come from guests: a circle ends at itself."""
        seen, waiting = {event["id"]}, list(reversed(self.under.get(event["id"], [])))
        while waiting:
            child = waiting.pop()
            if child["id"] not in seen:
                seen.add(child["id"])
                yield child
                waiting += reversed(self.under.get(child["id"], []))


def _rows_of(
    event: Row,
    tree: _Tree,
    session: Row,
    short: Mapping[str, str],
    reader: Reader,
    unfold: bool,
    below: _Below,
) -> list[Cells | Across]:
    rows: list[Cells | Across] = [_row(event, session, short, reader, 0), *below.rows(event, 0)]
    folded: list[Row] = []
    depths = {event["id"]: 0}
    for child in tree.below(event):
        depths[child["id"]] = depth = depths.get(child["parent"], 0) + 1
        if child["kind"] == "run_command" and not unfold:
            folded.append(child)
            rows += below.traces_of(child, 0)
        else:
            rows += [_row(child, session, short, reader, depth), *below.rows(child, depth)]
    if folded:
        rows.insert(1, _note_row(_folded(folded)))
    return rows


@dataclass(frozen=True, slots=True)
class _Below:
    """What stands below the row of an event, though it is no event of the session."""

    opened: Mapping[str, Sequence[Line]]
    traces: Mapping[str, Sequence[Row]]
    said: Mapping[str, Sequence[Line]]  # of what a busy probe told besides
    short: Mapping[str, str]
    reader: Reader

    def rows(self, event: Row, depth: int) -> list[Cells | Across]:
        """Of an edit its patch where that is opened, else the files, if several; of a command its traces."""
        if event["id"] in self.opened:
            return [_Opened(line) for line in self.opened[event["id"]]]
        if event["id"] in self.said:
            return [_note_row([("  " * depth, ""), *line]) for line in self.said[event["id"]]]
        if event["kind"] != "edit_files":
            return self.traces_of(event, depth)
        return [_note_row([("  " * (depth + 1), ""), *line]) for line in file_lines(event)]

    def traces_of(self, event: Row, depth: int) -> list[Cells | Across]:
        """The recorded programs that a command started, with the ids of their sessions."""
        traces = self.traces.get(event["id"], ())
        rows: list[Cells | Across] = []
        for trace in traces[:_MOST_TRACES]:
            clock, duration, sign, text, size, _ = _row(trace, trace, {}, self.reader, depth + 1).cells
            name = self.short.get(trace["session"], trace["session"])
            rows.append(Cells([clock, duration, sign, text, size, [(name, "id")]]))
        if len(traces) > _MOST_TRACES:
            left = words.count(len(traces) - _MOST_TRACES, "more trace")
            rows.append(_note_row([(f"{'  ' * (depth + 1)}+ {left}", "dim")]))
        return rows


def _folded(children: Sequence[Row]) -> Line:
    number = sum(max(child["data"].get("folded") or 0, 1) for child in children)
    line: Line = [(f"  + {number} nested", "dim")]
    for status, style, word in (
        ("failed", "failed", "failed"),
        ("interrupted", "lost", "lost"),
        ("running", "running", "running"),
    ):
        some = sum(child["status"] == status for child in children)
        if some:
            line += [(", ", "dim"), (f"{some} {word}", style)]
    return line


def _row(event: Row, session: Row, short: Mapping[str, str], reader: Reader, depth: int) -> Cells:
    duration = "running" if event["status"] == "running" else ""
    return Cells(
        [
            [(words.clock(event["started_us"]), "dim")],
            [(took(event, reader.now_us), duration)],
            [mark(event)],
            [("  " * (depth + _is_subagents(event)), ""), *what(event, session)],
            [(printed(event), "dim")],
            [(short.get(event["id"], event["id"]), "id")],
        ]
    )


def _is_subagents(event: Row) -> bool:
    is_told = event["kind"] in _TOLD and event["data"].get("subagent") is not None
    return is_told and not event.get("inside")


def _note_row(line: Line) -> Cells:
    return Cells([[], [], [], line, [], []])


def _legend(rows: Sequence[Cells | Across], unfold: bool, has_said: bool) -> list[Line]:
    texts = [text for row in rows if isinstance(row, Cells) for at in (2, 3) for text, _ in row.cells[at]]
    lines: list[Line] = [
        [(f"  {sign}: {meaning}", "dim")]
        for sign, meaning in _LEGEND.items()
        if any(text.strip(" []") == sign for text in texts)
    ]
    if not unfold and any(text.startswith("  + ") for text in texts):
        lines.append([("  nested commands are folded: --nested shows them", "dim")])
    if has_said:
        lines.append([("  hits of busy probes are folded: --nested shows them", "dim")])
    return [[], *lines] if lines else []


def _labelled(label: str, line: Line) -> Line:
    return [(label.ljust(_LABEL), "dim"), *line]


def _where(session: Row, reader: Reader) -> Line:
    place = session["repo_root"] or session["cwd"] or ""
    line: Line = [(safe(words.place(place, None, reader.home)), "")]
    if session["branch"]:
        line += [(" on ", "dim"), (safe(session["branch"]), "")]
    start, end = session["head_start"], session["head_end"]
    if start:
        line.append((f" at {safe(start[:8])}", "dim"))
    if end and end != start:  # without a start the branch had no commit yet
        line.append((f", then {safe(end[:8])}", "dim"))
    if session["shell"]:
        line += [(", ", "dim"), (safe(session["shell"]), "")]
    if session["host"]:
        line.append((f"{'' if session['shell'] else ','} on {safe(session['host'])}", "dim"))
    return line


def _when(session: Row, reader: Reader) -> Line:
    start = session["started_us"]
    line: Line = [(f"{words.day(start)} {words.clock(start)}", "")]
    if session["status"] == "active":
        return [*line, (", for ", "dim"), (words.duration(reader.now_us - start), "running")]
    if session["ended_us"] is None:
        return line
    return [*line, (", took ", "dim"), (words.duration(session["ended_us"] - start), "")]


def _counts(tally: Mapping[str, int]) -> Line:
    line: Line = [(f"{tally['commands']:,}", "")]
    for name, style in (("failed", "failed"), ("stopped", "warning"), ("running", "running")):
        if tally[name]:
            line += [(", ", "dim"), (f"{tally[name]:,} {name}", style)]
    if tally["nested"]:
        line += [("; ", "dim"), (f"{tally['nested']:,} nested", "")]
    if tally["nested_failed"]:
        line += [(", ", "dim"), (f"{tally['nested_failed']:,} failed", "failed")]
    for name, noun in (("prompts", "prompt"), ("calls", "tool call")):
        if tally.get(name):
            line += [("; ", "dim"), (words.count(tally[name], noun), "")]
    if tally["notes"]:
        line += [("; ", "dim"), (words.count(tally["notes"], "note"), "note")]
    return line


def _completeness(session: Row, tally: Mapping[str, int]) -> Line:
    holes: Line = []
    if tally["gaps"]:
        holes += [("; ", "dim"), (f" {words.count(tally['gaps'], 'gap')} ", "gap")]
    if tally["lost"]:
        holes += [("; ", "dim"), (f"{words.count(tally['lost'], 'end')} never seen", "lost")]
    if tally["pruned"]:
        holes += [("; ", "dim"), (f"{words.count(tally['pruned'], 'event')} pruned", "warning")]
    state = {
        "active": ("still recording", "running"),
        "interrupted": ("interrupted: the recording stopped without a word", "lost"),
    }.get(session["status"], ("incomplete", "lost") if holes else ("complete", "good"))
    line: Line = [state, *(holes or [("; ", "dim"), ("no gaps", "good")])]
    if tally["unproven"]:
        return [*line, ("; ", "dim"), (f"{words.count(tally['unproven'], 'record')} unproven", "warning")]
    if tally["commands"] or tally["nested"]:
        line += [("; ", "dim"), ("every record proven", "good")]
    return line
