"""devtrace show"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devtrace.cli.options import Actor, Agent, Failed, Json, Kind, Limit, Path, Since, Until

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from rich.console import Console

    from devtrace.query.filters import Filters
    from devtrace.query.ids import Found
    from devtrace.views.console import Line


def show(
    identity: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="A session or event, by any unique start of its id."),
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="The session, or the one the event is in.")
    ] = None,
    output: Annotated[bool, typer.Option("--output", help="What it printed to the terminal.")] = False,
    colour: Annotated[
        bool | None,
        typer.Option("--colour/--plain", help="With --output: keep the colours, or not.", show_default=False),
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="With what was changed, line by line.")] = False,
    nested: Annotated[
        bool | None,
        typer.Option(
            "--nested/--folded",
            help="Show the commands inside commands and each hit, or fold them.",
            show_default=False,
        ),
    ] = None,
    kind: Kind = None,
    agent: Agent = None,
    actor: Actor = None,
    since: Since = None,
    until: Until = None,
    failed: Failed = False,
    path: Path = None,
    limit: Limit = None,
    json: Json = False,
    function: Annotated[
        str | None,
        typer.Option(
            "--function", metavar="PATTERN", help="Of a trace: only calls of functions of that name."
        ),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="PATTERN", help="Of a trace: only calls in these files.")
    ] = None,
    thread: Annotated[
        str | None, typer.Option("--thread", metavar="NAME", help="Of a trace: only that thread.")
    ] = None,
    min_ms: Annotated[
        float | None,
        typer.Option("--min-ms", metavar="N", help="Of a trace: only calls that took N ms or longer."),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option("--depth", metavar="N", help="Of a trace: N levels of calls, recursion unfolded."),
    ] = None,
    lines: Annotated[
        str | None,
        typer.Option(
            "--lines",
            metavar="WHERE",
            help="Of a trace: one call line by line, values beside the source: FUNC, FILE:FUNC or FILE:LINE.",
        ),
    ] = None,
    call: Annotated[
        int | None, typer.Option("--call", metavar="N", help="With --lines: the Nth call, not the first.")
    ] = None,
    summary: Annotated[
        bool, typer.Option("--all", help="With --lines: of all calls, how often each line ran.")
    ] = False,
    exceptions: Annotated[
        bool,
        typer.Option("--exceptions", help="Of a trace: each exception, with the variables around it."),
    ] = False,
    io: Annotated[
        bool, typer.Option("--io", help="Of a trace: what it printed and read, each line with its place.")
    ] = False,
    stream: Annotated[
        str | None,
        typer.Option("--stream", metavar="NAME", help="With --io: only stdout, stderr or stdin."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="With --io: the bytes as they were written, for a pipe or a file.")
    ] = False,
) -> None:
    """Show a session as a timeline, or one event in full; without an ID the latest session.

    What an agent was told, said and did by its tools stands between the commands; a tool call, a command of
    it and an edit in full name the prompt and the stated reason.

    Of a recorded program (a trace) it shows the tree of its calls: the slowest, 200 unless --limit says
    another number, and how many there were besides. PATTERN is a name or a glob. With an option that is
    about traces and without an ID it is the newest trace.

    \b
    Example:
      devtrace show
      devtrace show 3f2a --output
      devtrace show 3f2a --diff
      devtrace show --lines app.py:total
      devtrace show --io
      devtrace show --io --raw --stream stdout | wc -l
    """
    from devtrace.cli import reading
    from devtrace.cli.options import check_kinds, make_filters
    from devtrace.cli.trace import Asked, newest_trace, no_trace, show_trace
    from devtrace.query.ids import Found, resolve, resolve_session
    from devtrace.query.traces import trace_of

    asked = Asked(
        function=function, file=file, thread=thread, min_ms=min_ms, depth=depth, lines=lines, call=call,
        summary=summary, exceptions=exceptions, io=io, stream=stream, raw=raw,
    )  # fmt: skip
    asked.check()
    wanted = make_filters(
        kind=kind, agent=agent, actor=actor, since=since, until=until, failed=failed, path=path, limit=limit
    )
    with reading.opened() as db:
        check_kinds(db, wanted)
        if identity is not None:
            found = resolve(db, identity, None if session is None else resolve_session(db, session))
        elif asked.is_any and session is None:
            found = newest_trace(db)
        else:
            found = Found(resolve_session(db, session))
        trace = trace_of(db, found)
        if asked.is_any and trace is None:
            raise no_trace(identity or session)
        if trace is not None and not output and not diff:
            show_trace(db, trace, asked, limit=wanted.limit, json=json)
        elif output:
            _show_output(db, found, wanted, colour=colour, json=json)
        elif found.event is not None:
            _show_event(db, found, diff=diff, json=json)
        else:
            _show_session(db, found.session, wanted, nested=nested, diff=diff, json=json)


def _show_session(
    db: sqlite3.Connection, session: str, wanted: Filters, *, nested: bool | None, diff: bool, json: bool
) -> None:
    from devtrace.cli import reading
    from devtrace.query.agents import Works, told_once, under_calls
    from devtrace.query.events import count_events, list_events, with_late_ends
    from devtrace.query.ids import short
    from devtrace.query.sessions import get_session, tally
    from devtrace.views import console, jsonl
    from devtrace.views.timeline import header, timeline

    wanted = replace(wanted, session=session)
    row, events = get_session(db, session), list_events(db, wanted)
    if json:
        reading.answer([jsonl.line("session", row), *(jsonl.line("event", event) for event in events)])
        return
    screen = console.make_console()
    who = reading.reader(screen, nested=nested)
    traces = _under(db, session)
    programs = [trace["session"] for some in traces.values() for trace in some]
    ids = short(db, [session, *programs, *(event["id"] for event in events)])
    hidden = 0 if wanted.limit is None else max(count_events(db, wanted) - len(events), 0)
    events = told_once(with_late_ends(db, events))
    if any(event["kind"] == "tool_call" for event in events):
        events = under_calls(Works(db).of(session), events)
    lines = header(row, tally(db, session), ids, who)
    if events:
        lines += [
            [],
            *timeline(
                row,
                events,
                ids,
                who,
                hidden=hidden,
                opened=_opened(db, events) if diff else {},
                traces=traces,
            ),
        ]
    _paint(screen, lines, paged=diff)


def _under(db: sqlite3.Connection, session: str) -> dict[str, list[dict[str, Any]]]:
    """The recorded programs that a session started, by the command that did."""
    from devtrace.query.traces import traces_under

    found: dict[str, list[dict[str, Any]]] = {}
    for trace in traces_under(db, session):
        found.setdefault(trace["under"] or "", []).append(trace)
    return found


def _show_event(db: sqlite3.Connection, found: Found, *, diff: bool, json: bool) -> None:
    from devtrace.cli import reading
    from devtrace.query.agents import Works
    from devtrace.query.events import children, get_event, with_late_end
    from devtrace.query.ids import short
    from devtrace.query.mcp import callers
    from devtrace.query.output import has_output
    from devtrace.query.sessions import get_session
    from devtrace.query.traces import traces_under
    from devtrace.views import console, jsonl
    from devtrace.views.agents import ids_of
    from devtrace.views.event import event_lines

    assert found.event is not None
    event = get_event(db, found.session, found.event)
    if json:
        reading.answer([jsonl.line("event", event)])
        return
    event = with_late_end(db, event)
    inside = children(db, found.session, found.event)
    parents = [event["parent"]] if event["parent"] else []
    calls = (
        callers(db, event) if event["kind"] == "mcp_call" else Works(db).of_event(found.session, found.event)
    )
    named = [*parents, *(child["id"] for child in inside), *ids_of(calls)]
    traces = traces_under(db, found.session, found.event)
    ids = short(db, [found.session, found.event, *named, *(trace["session"] for trace in traces)])
    screen = console.make_console()
    session = get_session(db, found.session)
    lines = event_lines(event, session, inside, ids, reading.reader(screen), calls, traces)
    if has_output(db, event):
        lines.append([(f"See what it printed with: devtrace show {ids[found.event]} --output", "dim")])
    if diff and (patch := _patch(db, found)):
        lines += [[], *patch]
    _paint(screen, lines, paged=diff)


def _patch(db: sqlite3.Connection, found: Found) -> list[Line]:
    """What an event changed, with all that ran in it."""
    from devtrace.cli.diff import Form, shown
    from devtrace.query.diff import net, select
    from devtrace.views.diff import lines
    from devtrace.workspace import find

    files = [file for one in net(db, select(db, found).edits) for file in one.files]
    return list(lines(shown(find(), files, Form()))) if files else []


def _opened(db: sqlite3.Connection, events: Sequence[dict[str, Any]]) -> dict[str, list[Line]]:
    """The patch of every edit, by its id."""
    from devtrace.query.ids import Found

    edits = [event for event in events if event["kind"] == "edit_files"]
    return {event["id"]: _patch(db, Found(event["session"], event["id"])) for event in edits}


def _paint(screen: Console, lines: Sequence[Line], *, paged: bool) -> None:
    from devtrace.cli.pager import page
    from devtrace.views import console

    if paged:
        page(lambda: lines)
    else:
        console.paint(screen, lines)


def _show_output(
    db: sqlite3.Connection, found: Found, wanted: Filters, *, colour: bool | None, json: bool
) -> None:
    """One event's output alone; a session's as a transcript, each command before what it printed."""
    import sys

    from devtrace.cli import reading
    from devtrace.cli.border import say
    from devtrace.query.events import get_event, list_events, with_late_end
    from devtrace.query.output import has_output, output
    from devtrace.views import console, jsonl
    from devtrace.views.output import coloured, plain, record
    from devtrace.views.safe import safe

    events: Sequence[dict[str, Any]]
    if found.event is not None:
        events = [with_late_end(db, get_event(db, found.session, found.event))]
        output(db, events[0])  # says why, where there is none
    else:
        listed = list_events(db, replace(wanted, session=found.session))
        events = [event for event in listed if has_output(db, event)]
        if not events and not json:
            say("No command of the session that fits kept terminal output.")
    screen = console.make_console()
    keep = screen.color_system is not None and not screen.no_color if colour is None else colour
    for event in events:
        printed = output(db, event)
        if json:
            reading.answer([jsonl.line("output", record(event, printed))])
            continue
        if found.event is None:
            title = safe(event["title"], keep="\n\t")
            console.paint(screen, [[(line, "title")] for line in title.split("\n")])
        sys.stdout.write(coloured(printed) if keep else plain(printed))
