"""devtrace blame"""

from __future__ import annotations

from typing import Annotated

import typer

from devtrace.cli.options import Json


def blame(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of the working tree.")],
    lines: Annotated[
        str | None, typer.Option("-L", metavar="START,END", help="Only these lines: 10,20 or 10,+5 or 10.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="COMMIT|EVENT", help="As it was then, not as it is now."),
    ] = None,
    json: Json = False,
) -> None:
    """Tell who wrote each line of a file, and when, committed or not.

    A line leads to the edit that brought it, the command of that edit, its session and its actor; of what an
    agent's tool wrote the reason is quoted that it stated. Lines are followed through renames, branches and
    rebases; what was there before says "before recording".

    \b
    Example:
      devtrace blame api.py
      devtrace blame api.py -L 10,+5 --at HEAD~2
    """
    from pathlib import Path

    from devtrace.cli import reading
    from devtrace.query.blame import LINE, Blame, parse_range
    from devtrace.query.ids import short
    from devtrace.views import console, jsonl
    from devtrace.views.blame import blame_lines
    from devtrace.workspace import find

    place = find()
    with reading.opened(place) as db:
        asked = Blame(db, place)
        found = asked.on_disk(Path(file)) if at is None else asked.at(Path(file), at)
        records = asked.tell(found, parse_range(lines, len(found.lines)))
        if json:
            reading.answer(jsonl.line("line", {name: one[name] for name in LINE}) for one in records)
            return
        ids = short(db, [one["event"] for one in records if one["event"]])
        screen = console.make_console()
        console.paint(screen, blame_lines(records, ids, reading.reader(screen)))
