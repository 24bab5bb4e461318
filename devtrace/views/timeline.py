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
from devtrace.views.layout import Across, Cells, Column, lay_out
from devtrace.views.safe import first_line, safe, split_first_line

Row = dict[str, Any]

_INDENT = 2
_LABEL = 12
_COLUMNS = (
    Column(drop=2),  # clock
    Column(right=True, drop=1),  # duration
    Column(),  # mark
    Column(flex=True),  # what
    Column(right=True, drop=3),  # output size
    Column(),  # id
)
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
    session: Row, events: Sequence[Row], short: Mapping[str, str], reader: Reader, *, hidden: int = 0
) -> list[Line]:
    """The rows, and the legend of the marks in them. `hidden`: earlier events that a limit left out."""
    shown = _Tree(events)
    unfold = shown.is_one_command() if reader.nested is None else reader.nested
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
        rows += _rows_of(event, shown, session, short, reader, unfold=unfold)
    return lay_out(_COLUMNS, rows, reader.width, _INDENT) + _legend(rows, unfold)


def mark(event: Row) -> Piece:
    """The loud part of a row: failed with its status, lost, running, a note, a gap; else nothing."""
    status, kind = event["status"], event["kind"]
    if kind != "run_command":
        return {"gap": (" GAP ", "gap"), "note": ("note", "note")}.get(kind, (safe(kind), "dim"))
    if status == "failed":
        return f"✗ {event['exit_code']}" if event["exit_code"] is not None else "✗", "failed"
    return {
        "running": ("▶", "running"),
        "interrupted": ("! lost", "lost"),
        "stopped": ("= stop", "warning"),
        "unknown": ("? end", "warning"),
    }.get(status, ("", ""))


def what(event: Row, session: Row | None = None) -> Line:
    """The command or headline in one line, with what the reader must know about it."""
    kind = event["kind"]
    text, more = split_first_line(event["title"].removeprefix("$ ").removeprefix(f"{kind}: "))
    style = {"gap": "warning", "note": "note", "policy": "dim"}.get(kind, "")
    if kind == "run_command" and (event["data"].get("command") is None):
        style = "dim"
    line: Line = [(text, style), (more, "dim")]
    if is_unproven(event):
        line.append((" [unproven]", "warning"))
    by_whom = kind not in ("gap", "policy")  # of these nobody is the author
    if by_whom and session is not None and event["actor"] != session["actor"]:
        line.append((f" [{safe(event['actor'])}]", "dim"))
    return line


def took(event: Row, now_us: int) -> str:
    """How long it took, or has been running; nothing for what happens in a moment."""
    if event["status"] == "running":
        return words.duration(now_us - event["started_us"])
    if event["kind"] != "run_command" and event["ended_us"] in (None, event["started_us"]):
        return ""
    return "?" if event["ended_us"] is None else words.duration(event["ended_us"] - event["started_us"])


def printed(event: Row) -> str:
    """How much it wrote to the terminal; `~` where the cut is by time."""
    output = command_data(event).get("output")
    if not output or not output.get("seen"):
        return ""
    return ("~" if output.get("approximate") else "") + words.size(output["seen"])


class _Tree:
    """The events under their parents. What has no parent in the list stands at the top."""

    def __init__(self, events: Sequence[Row]):
        known = {event["id"] for event in events}
        self.top: list[Row] = []
        self.under: dict[str, list[Row]] = defaultdict(list)
        for event in events:
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
    event: Row, tree: _Tree, session: Row, short: Mapping[str, str], reader: Reader, *, unfold: bool
) -> list[Cells | Across]:
    rows: list[Cells | Across] = [_row(event, session, short, reader, 0)]
    folded: list[Row] = []
    depths = {event["id"]: 0}
    for child in tree.below(event):
        depths[child["id"]] = depth = depths.get(child["parent"], 0) + 1
        if child["kind"] == "run_command" and not unfold:
            folded.append(child)
        else:
            rows.append(_row(child, session, short, reader, depth))
    if folded:
        rows.insert(1, _note_row(_folded(folded)))
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
            [("  " * depth, ""), *what(event, session)],
            [(printed(event), "dim")],
            [(short.get(event["id"], event["id"]), "id")],
        ]
    )


def _note_row(line: Line) -> Cells:
    return Cells([[], [], [], line, [], []])


def _legend(rows: Sequence[Cells | Across], unfold: bool) -> list[Line]:
    texts = [text for row in rows if isinstance(row, Cells) for at in (2, 3) for text, _ in row.cells[at]]
    lines: list[Line] = [
        [(f"  {sign}: {meaning}", "dim")]
        for sign, meaning in _LEGEND.items()
        if any(text.strip(" []") == sign for text in texts)
    ]
    if not unfold and any(text.startswith("  + ") for text in texts):
        lines.append([("  nested commands are folded: --nested shows them", "dim")])
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
    if tally["notes"]:
        line += [("; ", "dim"), (words.count(tally["notes"], "note"), "note")]
    return line


def _completeness(session: Row, tally: Mapping[str, int]) -> Line:
    holes: Line = []
    if tally["gaps"]:
        holes += [("; ", "dim"), (f" {words.count(tally['gaps'], 'gap')} ", "gap")]
    if tally["lost"]:
        holes += [("; ", "dim"), (f"{words.count(tally['lost'], 'end')} never seen", "lost")]
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
