"""The questions about lines: who wrote one, why it is there, how much of a change is explained.

A file is read only where a line of it is asked for, and only if something of it is recorded.

Lives here: `blame_line`, `why`, `audit`. Not here: finding it out (query/blame.py, query/why.py,
services/audit.py), one event (answers_event.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from devtrace.errors import UsageError
from devtrace.query.blame import LINE, Blame, Blamed
from devtrace.query.ids import resolve_session, short
from devtrace.query.why import story
from devtrace.services.audit import audit_range, audit_session
from devtrace.services.mcp_server.answers import Answer, Asked, event_row, known, session_row, stamp
from devtrace.services.mcp_server.answers_event import reader_of
from devtrace.services.mcp_server.cursor import outdated
from devtrace.services.mcp_server.paths import base_of, file_of
from devtrace.views.agents import ids_of
from devtrace.views.audit import audit_lines, percent
from devtrace.views.blame import story_lines
from devtrace.views.for_models import finding_line, line_lines
from devtrace.views.words import count

Row = dict[str, Any]

MOST_LINES = 50  # of a file, that are told at once
_MOST_PLACES = 20
_MOST_CALLS = 5
_MOST_OVERVIEW = 40  # lines of it: one a file at its end


# --- who ------------------------------------------------------------------------------------------------


def blame_line(asked: Asked) -> Answer:
    """Who wrote a line of a file, or some lines that follow each other."""
    first = int(asked.arguments["line"])
    last = int(asked.arguments.get("end_line") or first)
    if last < first or last - first >= MOST_LINES:
        raise UsageError(
            f"lines {first} to {last} are none, or more than {MOST_LINES}",
            code="ERR_ARGUMENT",
            hint="end_line is the last line, not how many",
        )
    asked_of, blamed = _blamed(asked, asked.arguments.get("at"))
    _must_have(blamed, first)
    last = min(last, len(blamed.lines))
    rows = [_line_row(asked, row) for row in asked_of.tell(blamed, range(first, last + 1))]
    return Answer(
        told={"total_lines": len(blamed.lines)},
        head=lambda number: [f"{count(number, 'line')} of {len(blamed.lines):,}, with who wrote them."],
        name="lines",
        rows=rows,
        lines=line_lines,
        rest="Ask for fewer lines.",
    )


def _blame(asked: Asked) -> Blame:
    """Of this question, or of an earlier one."""
    if "blame" not in asked.found:
        asked.found["blame"] = Blame(asked.db, asked.workspace)
    blame: Blame = asked.found["blame"]
    return blame


def _blamed(asked: Asked, at: str | None = None) -> tuple[Blame, Blamed]:
    """The file that is asked about. Raises UsageError ERR_NO_BLAME where nothing of it is recorded."""
    path = asked.arguments["path"]
    file = file_of(asked.workspace, path)
    blame = _blame(asked)
    blamed = blame.on_disk(file) if at is None else blame.at(file, at)
    is_known = any(blame.is_known(origin.version) for origin in blamed.origins)
    if at is None and blamed.lines and not is_known and not blame.stood(blamed):
        raise UsageError(
            f"the lines of {path} cannot be told: nothing of that file is recorded",
            code="ERR_NO_BLAME",
            hint="name a file that was there, or was changed, in a recorded session",
        )
    return blame, blamed


def _must_have(blamed: Blamed, number: int) -> None:
    if number > len(blamed.lines):
        raise UsageError(
            f"there is no line {number}: the file has {len(blamed.lines)}",
            code="ERR_ARGUMENT",
            hint="lines are counted from 1",
        )


def _line_row(asked: Asked, row: Row) -> Row:
    """A record of a line, without what is not known."""
    told = {name: row[name] for name in LINE if name not in ("when_us", "by_time")}
    when = None if row["when_us"] is None else stamp(row["when_us"])
    masked: Row = asked.mask({name: told.pop(name) for name in ("path", "text", "command", "reason")})
    kept = known(**masked, **told, when=when, by_time_alone=row["by_time"] or None)
    return {**kept, "actor": kept.get("actor", "")}


# --- why ------------------------------------------------------------------------------------------------


def why(asked: Asked) -> Answer:
    """The whole story of one line."""
    blame, blamed = _blamed(asked)
    number = int(asked.arguments["line"])
    _must_have(blamed, number)
    told: Row = asked.mask(story(blame, blamed, number))
    named = [told["edit"], told["of_session"], told["commit"], *told["commands"], *told["suspects"]]
    ids = [str(row["id"]) for row in named if row is not None]
    replaced = told["replaced"]
    ids += [replaced["event"]] if replaced is not None and replaced["event"] else []
    shown = short(asked.db, [*ids, *ids_of(told["calls"])])
    lines = story_lines(told, shown, reader_of(asked))
    return Answer(
        told=_story(asked, told, shown),
        head=lambda _number: [f"What is known of that line in the store {asked.store}."],
        body=["".join(text for text, _ in line) for line in lines],
        rest="get_event with one of the ids tells more.",
    )


def _story(asked: Asked, told: Row, shown: Mapping[str, str]) -> Row:
    def rows(name: str) -> list[Row] | None:
        return [event_row(asked, row, shown) for row in told[name]] or None

    def one(name: str) -> Row | None:
        return None if told[name] is None else event_row(asked, told[name], shown)

    session = told["of_session"]
    return known(
        line=_line_row(asked, told),
        edit=one("edit"),
        calls=[_call(call) for call in told["calls"][:_MOST_CALLS]] or None,
        commands=rows("commands"),
        session=None if session is None else session_row(asked, session, shown),
        suspects=rows("suspects"),
        commit=one("commit"),
        replaced=None if told["replaced"] is None else _line_row(asked, told["replaced"]),
    )


def _call(call: Row) -> Row:
    """A tool call with what it was told by and the reason that was stated."""
    reason = call["reason"]
    return known(
        event=call["event"],
        agent=call["agent"],
        tool=call["tool"],
        status=call["status"],
        command=call["command"],
        paths=call["paths"],
        prompts=[prompt["text"] for prompt in call["prompts"]] or None,
        reason=None if reason is None else reason["text"],
        differs=call["differs"] or None,
    )


# --- how much -------------------------------------------------------------------------------------------


def audit(asked: Asked) -> Answer:
    """How much of a change is explained, and what a reviewer should look at."""
    commits, session = asked.arguments.get("range"), asked.arguments.get("session")
    if commits is not None and session is not None:
        raise UsageError("range and session are two changes", code="ERR_ARGUMENT", hint="give one of them")
    blame = _blame(asked)
    if session is None:
        told = audit_range(blame, base_of(asked.workspace), commits)
    else:
        told = audit_session(blame, resolve_session(asked.db, session))
    findings, state = told["findings"], asked.place()
    start = 0 if state is None else int(state["k"])
    if state is not None and state["n"] != [told["head"], len(findings)]:
        raise outdated()
    limit = asked.arguments["limit"]

    def cursor(number: int) -> str | None:
        at = start + number
        return (
            asked.desk.hand_out({"k": at, "n": [told["head"], len(findings)]}) if at < len(findings) else None
        )

    return Answer(
        told=asked.mask(_audited(told)),
        head=lambda number: [
            f"{percent(told)} of {count(told['total'], 'new line')} explained; "
            f"{count(number, 'finding')} of {len(findings):,}."
        ],
        body=_overview(asked, told) if not start else (),
        name="findings",
        rows=asked.mask([known(**row) for row in findings[start : start + limit]]),
        lines=lambda row: [finding_line(row)],
        cursor=cursor,
        rest="`devtrace audit --json` tells all of it; a smaller range tells more here.",
    )


def _overview(asked: Asked, told: Row) -> list[str]:
    """The verdict, the sums and the files, as people read them."""
    shown = short(asked.db, [*told["sessions"], *([told["session"]] if told["session"] else [])])
    lines = audit_lines(told | {"findings": []}, shown, reader_of(asked))
    kept = lines[:-2] if told["findings"] else lines  # without the word that there are no findings
    shown_lines = [str(asked.mask("".join(text for text, _ in line))) for line in kept[:_MOST_OVERVIEW]]
    left = len(kept) - len(shown_lines)
    return [*shown_lines, f"... and {count(left, 'more line')}"] if left > 0 else shown_lines


def _audited(told: Row) -> Row:
    places = [
        known(path=span["path"], start=span["start"], end=span["end"], why=span["why"])
        for file in told["files"]
        for span in file["spans"]
        if span["class"] == "unexplained"
    ]
    return known(
        range=told["range"],
        base=told["base"],
        head=told["head"],
        session=told["session"],
        percent=None if told["percent"] is None else round(told["percent"], 1),
        total=told["total"],
        explained=told["explained"],
        lines=told["lines"],
        deleted=told["deleted"],
        files=len(told["files"]),
        total_findings=len(told["findings"]),
        unexplained=_first(places),
        whole=_first(told["whole"]),
        sessions=_first(told["sessions"]),
    )


def _first(rows: Sequence[Any]) -> list[Any]:
    return list(rows[:_MOST_PLACES])
