"""devtrace show"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devtrace.cli.options import Actor, Agent, Failed, Json, Kind, Limit, Path, Since, Until

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from devtrace.query.filters import Filters
    from devtrace.query.ids import Found


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
    nested: Annotated[
        bool | None,
        typer.Option(
            "--nested/--folded", help="Show the commands inside commands, or fold them.", show_default=False
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
) -> None:
    """Show a session as a timeline, or one event in full; without an ID the latest session.

    \b
    Example:
      devtrace show
      devtrace show 3f2a --output
    """
    from devtrace.cli import reading
    from devtrace.cli.options import check_kinds, make_filters
    from devtrace.query.ids import Found, resolve, resolve_session

    wanted = make_filters(
        kind=kind, agent=agent, actor=actor, since=since, until=until, failed=failed, path=path, limit=limit
    )
    with reading.opened() as db:
        check_kinds(db, wanted)
        if identity is None:
            found = Found(resolve_session(db, session))
        else:
            found = resolve(db, identity, None if session is None else resolve_session(db, session))
        if output:
            _show_output(db, found, wanted, colour=colour, json=json)
        elif found.event is not None:
            _show_event(db, found, json=json)
        else:
            _show_session(db, found.session, wanted, nested=nested, json=json)


def _show_session(
    db: sqlite3.Connection, session: str, wanted: Filters, *, nested: bool | None, json: bool
) -> None:
    from devtrace.cli import reading
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
    ids = short(db, [session, *(event["id"] for event in events)])
    hidden = 0 if wanted.limit is None else max(count_events(db, wanted) - len(events), 0)
    events = with_late_ends(db, events)
    lines = header(row, tally(db, session), ids, who)
    if events:
        lines += [[], *timeline(row, events, ids, who, hidden=hidden)]
    console.paint(screen, lines)


def _show_event(db: sqlite3.Connection, found: Found, *, json: bool) -> None:
    from devtrace.cli import reading
    from devtrace.query.events import children, get_event, with_late_end
    from devtrace.query.ids import short
    from devtrace.query.output import has_output
    from devtrace.query.sessions import get_session
    from devtrace.views import console, jsonl
    from devtrace.views.event import event_lines

    assert found.event is not None
    event = get_event(db, found.session, found.event)
    if json:
        reading.answer([jsonl.line("event", event)])
        return
    event = with_late_end(db, event)
    inside = children(db, found.session, found.event)
    parents = [event["parent"]] if event["parent"] else []
    ids = short(db, [found.session, found.event, *parents, *(child["id"] for child in inside)])
    screen = console.make_console()
    lines = event_lines(event, get_session(db, found.session), inside, ids, reading.reader(screen))
    if has_output(event):
        lines.append([(f"See what it printed with: devtrace show {ids[found.event]} --output", "dim")])
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
        events = [event for event in listed if has_output(event)]
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
