"""Lines of a file with who wrote them, and the whole story of one.

Lives here: the columns of `blame`, the labelled lines of `why`. Not here: finding it out (query/blame.py,
query/why.py), what a line of JSON means (jsonl.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import set_cell_size

from devtrace.views import words
from devtrace.views.agents import call_rows
from devtrace.views.console import Line
from devtrace.views.layout import Across, Cells, Column, lay_out
from devtrace.views.safe import first_line, safe
from devtrace.views.timeline import Reader, mark, took

Row = dict[str, Any]

_LABEL = 12
_WHAT, _NARROW_WHAT = 30, 16  # columns of the command
_WIDE = 120
_SHORT = 10  # digits of an id that is named in passing
_TAB = 8
_COLUMNS = (
    Column(),  # id
    Column(drop=2),  # who
    Column(drop=1),  # when
    Column(drop=3),  # what
    Column(right=True),  # number
    Column(flex=True),  # text
)
_WORDS = {
    "before": "before recording",
    "gap": "not known",
    "unrecorded": "not recorded yet",
    "withheld": "withheld",
    "pruned": "pruned or older",
    "outside": "outside any session",
    "background": "background",
    "ambiguous": "ambiguous",
}
_WHY = {
    "before": "it was there before recording began",
    "gap": "it came in while nothing was recorded, or what was recorded then cannot be read",
    "unrecorded": "it differs from the last recorded state, and nobody was recorded doing that",
    "withheld": "what is kept of it was redacted, so it cannot be compared",
    "pruned": "it came with an edit that was pruned, or was there before recording began",
    "outside": "it was changed outside any session",
    "background": "it was changed during the session, while no command ran",
    "ambiguous": "more than one may have done it",
}
_CONFIDENCE = {
    "window": "while it ran, and nothing else that is recorded",
    "inside": "the innermost of those that ran",
    "claim": "as it says itself",
    "none": "not known",
}


def blame_lines(
    records: Sequence[Row], short: Mapping[str, str], reader: Reader, *, paths: bool = False
) -> list[Line]:
    """A row a line; what the row above says already is dimmed. `paths`: the lines are of several files."""
    rows: list[Cells | Across] = []
    above: object = None
    for record in records:
        same = (record["event"], record["session"], record["status"])
        rows.append(_row(record, short, reader, is_same=same == above, paths=paths))
        above = same
    return lay_out(_COLUMNS, rows, reader.width)


def _row(record: Row, short: Mapping[str, str], reader: Reader, *, is_same: bool, paths: bool) -> Cells:
    event, moment = record["event"], record["when_us"]
    number = f"{safe(record['path'])}:{record['line']}" if paths else str(record["line"])
    text, style = _what(record, reader.width)
    return Cells(
        [
            [(short.get(event, event) if event else "-", "dim" if is_same or not event else "id")],
            [(who(record), "dim" if is_same else "")],
            [(words.stamp(moment)[:-3] if moment is not None else "", "dim")],
            [(text, "dim" if is_same else style)],
            [(number, "dim")],
            [(_text(record["text"], reader.width), "")],
        ]
    )


def who(record: Row) -> str:
    """The agent's name, or the actor; nothing where nobody is known."""
    actor = str(record["actor"] or "")
    if not actor or actor == "unknown":
        return ""
    return safe(actor.removeprefix("agent:"))


def _what(record: Row, width: int | None) -> tuple[str, str]:
    """The command, or why there is none."""
    status = record["status"]
    room = _NARROW_WHAT if width is not None and width < _WIDE else _WHAT
    is_doubted = status == "ambiguous" and record["call"] is not None
    if status != "recorded" and record["call"] is None:
        names = " or ".join(safe(name.rpartition("/")[2][:_SHORT]) for name in record["candidates"] or ())
        text = _WORDS.get(status, safe(status)) + (f": {names}" if names else "")
        return text if width is None else _fitted(text, max(room, len("outside any session"))), _style(status)
    text = first_line(record["command"]) if record["command"] else "(its command was lost)"
    if record["reason"] and text.startswith(f"{record['tool']}: "):  # the path is known already
        text = first_line(f'{record["tool"]} "{record["reason"]}"')
    if is_doubted:
        return _fitted(f"{_WORDS[status]}: {text}", room), _style(status)
    return _fitted(text, room), ""


def _style(status: str) -> str:
    return "dim" if status in ("before", "outside", "unrecorded", "pruned") else "warning"


def _fitted(text: str, room: int) -> str:
    fitted = set_cell_size(text, room).rstrip(" ")
    return fitted if fitted == text.rstrip(" ") else set_cell_size(text, room - 1) + "…"


def _text(text: str, width: int | None) -> str:
    """A line of the file: with its tabs in a pipe, with blanks where columns are counted."""
    line = words.shortened(text.removesuffix("\r"))
    return safe(line, keep="\t") if width is None else safe(line.expandtabs(_TAB))


# --- one line -----------------------------------------------------------------------------------------------


def story_lines(story: Row, short: Mapping[str, str], reader: Reader) -> list[Line]:
    """Everything that is known of one line, labelled; nothing but an endless line is cut."""
    rows: list[tuple[str, Line]] = [
        ("line", [(f"{safe(story['path'])}:{story['line']}", "title")]),
        ("", [(_text(story["text"], None), "")]),
        ("written", _written(story)),
    ]
    rows += _edit(story, short)
    rows += call_rows(story["calls"], short)
    told = {event for call in story["calls"] for event in call["events"]}
    told |= {f"{one['session']}/{one['event']}" for call in story["calls"] for one in call["prompts"]}
    around = [row for row in story["commands"] if f"{row['session']}/{row['id']}" not in told]
    for at, command in enumerate(around):
        rows += _command(command, "command" if at == 0 else "inside", short, reader)
    told |= {one["event"] for call in story["calls"] for one in call["ran"] or ()}
    suspects = [row for row in story["suspects"] if f"{row['session']}/{row['id']}" not in told]
    for at, command in enumerate(suspects):
        rows += _command(command, "maybe" if at == 0 else "or", short, reader)
    rows += _session(story["of_session"], short)
    rows += _commit(story["commit"], short)
    rows += _replaced(story["replaced"], short)
    return [[(label.ljust(_LABEL), "dim"), *line] for label, line in rows]


def _written(record: Row) -> Line:
    status = record["status"]
    if record["when_us"] is None:
        return [(_WORDS.get(status, safe(status)), "warning"), (f": {_WHY.get(status, '')}", "dim")]
    line: Line = [(words.stamp(record["when_us"]), "")]
    if who(record):
        line += [(" by ", "dim"), (who(record), "title")]
    if status != "recorded":
        line += [(f", {_WORDS.get(status, safe(status))}", "warning"), (f": {_WHY.get(status, '')}", "dim")]
    if record["by_time"]:
        which = "an agent itself ran then" if record["actor"] == "unknown" else "a command of it ran then"
        line += [(", by time alone", "warning"), (f": {which}, and no call names the path", "dim")]
    return line


def _edit(story: Row, short: Mapping[str, str]) -> list[tuple[str, Line]]:
    edit = story["edit"]
    if edit is None:
        return []
    how = _CONFIDENCE.get(str(story["confidence"]), safe(str(story["confidence"])))
    line: Line = [(safe(edit["title"]), ""), (f", by {safe(str(story['attribution']))}", "dim")]
    if story["status"] != "recorded":
        line.pop()
    else:
        line.append((f": {how}", "dim"))
    return [("edit", [*line, ("  ", ""), (short.get(edit["id"], edit["id"]), "id")])]


def _command(event: Row, label: str, short: Mapping[str, str], reader: Reader) -> list[tuple[str, Line]]:
    text = event["title"].removeprefix("$ ").split("\n")
    rows: list[tuple[str, Line]] = [
        (label if at == 0 else "", [(safe(words.shortened(one), keep="\t"), "" if at else "title")])
        for at, one in enumerate(text)
    ]
    rows[0][1].extend([("  ", ""), (short.get(event["id"], event["id"]), "id")])
    sign, style = mark(event)
    code, lasted = event["exit_code"], took(event, reader.now_us)
    facts: Line = [(words.stamp(event["started_us"]), "dim")]
    if code is not None:
        facts += [(", ", "dim"), (f"exit {code}", style if code else "dim")]
    elif sign:
        facts += [(", ", "dim"), (sign.strip(), style)]
    if lasted and lasted != "?":
        facts.append((f", took {lasted}", "dim"))
    return [*rows, ("", facts)]


def _session(session: Row | None, short: Mapping[str, str]) -> list[tuple[str, Line]]:
    if session is None:
        return []
    line: Line = [(safe(session["agent"] or session["actor"]), "")]
    if session["title"]:
        line.append((f"  {first_line(session['title'])}", ""))
    line.append((f"  since {words.stamp(session['started_us'])}  ", "dim"))
    return [("session", [*line, (short.get(session["id"], session["id"]), "id")])]


def _commit(move: Row | None, short: Mapping[str, str]) -> list[tuple[str, Line]]:
    if move is None:
        return []
    when = f", {words.stamp(move['started_us'])}  "
    line: Line = [(first_line(move["title"]), ""), (when, "dim")]
    return [("commit", [*line, (short.get(move["id"], move["id"]), "id")])]


def _replaced(record: Row | None, short: Mapping[str, str]) -> list[tuple[str, Line]]:
    if record is None:
        return []
    line = _written(record)
    if record["command"]:
        line += [(": ", "dim"), (words.shortened(first_line(record["command"])), "")]
    if record["event"]:
        line += [("  ", ""), (short.get(record["event"], record["event"]), "id")]
    return [("replaced", [(_text(record["text"], None), "deleted")]), ("", line)]
