"""devtrace why"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from devtrace.cli.options import Json

if TYPE_CHECKING:
    import sqlite3

    from devtrace.query.blame import Blame
    from devtrace.workspace import Workspace


def why(
    where: Annotated[
        str | None, typer.Argument(metavar="FILE:LINE", help="A line; with --text a file, or nothing.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            metavar="T",
            help="List the newest lines, and what recorded programs printed and held, with this text in it.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Tell the whole story of one line: edit, command, session, commit, and what it replaced.

    Of a line that an agent wrote it names the tool call, the prompt that it was called under, and what the
    agent said before it, quoted; or "no stated reason".

    With --text it lists the ten newest lines that were ever written with that text in them, be they still
    there or not; and below them, of the programs that were recorded, the ten newest places that printed it,
    variables, results and exceptions that held it, with their callers and the values that they came from.

    \b
    Example:
      devtrace why api.py:12
      devtrace why --text timeout api.py
    """
    from devtrace.cli import reading
    from devtrace.query.blame import Blame
    from devtrace.workspace import find

    place = find()
    with reading.opened(place) as db:
        if text is not None:
            _search(db, place, text, where, json=json)
        else:
            _tell(db, Blame(db, place), where, json=json)


def _tell(db: sqlite3.Connection, asked: Blame, where: str | None, *, json: bool) -> None:
    from devtrace.cli import reading
    from devtrace.query.ids import short
    from devtrace.query.why import story
    from devtrace.views import console, jsonl
    from devtrace.views.agents import ids_of
    from devtrace.views.blame import story_lines

    file, number = _split(where)
    told = story(asked, asked.on_disk(file), number)
    if json:
        reading.answer([jsonl.line("why", told)])
        return
    screen = console.make_console()
    ids = short(db, [*_ids(told), *ids_of(told["calls"])])
    console.paint(screen, story_lines(told, ids, reading.reader(screen)))


def _search(db: sqlite3.Connection, place: Workspace, text: str, where: str | None, *, json: bool) -> None:
    from devtrace.cli import reading
    from devtrace.cli.border import say
    from devtrace.errors import UsageError
    from devtrace.query import trace_search
    from devtrace.query.blame import LINE
    from devtrace.query.ids import short
    from devtrace.views import console, jsonl
    from devtrace.views.blame import blame_lines
    from devtrace.views.trace_search import match_lines

    if not text or "\n" in text:
        raise UsageError(
            "--text wants a part of one line", code="ERR_USAGE", hint="see `devtrace why --help`"
        )
    cut: list[bool] = []
    matches = trace_search.search(db, text, file=where, cut=lambda: cut.append(True))
    found = _written(db, place, text, where, is_alone=not matches)
    if cut:
        say("Only a part of what programs did was searched, the newest first: there may be more.")
    if json:
        reading.answer(jsonl.line("line", {name: one[name] for name in LINE}) for one in found)
        reading.answer(jsonl.line("trace_match", one) for one in matches)
        return
    if not found and not matches and not cut:
        say("No recorded line and no value or output of a recorded program holds that text.")
    screen = console.make_console()
    named = [one["event"] for one in found if one["event"]]
    named += [
        name for one in matches for name in (one["session"], (one["command"] or {}).get("event")) if name
    ]
    ids = short(db, named)
    lines = blame_lines(found, ids, reading.reader(screen), paths=True)
    told = match_lines(matches, ids, str(place.root))
    console.paint(screen, [*lines, *([[]] if lines and told else []), *told])


def _written(
    db: sqlite3.Connection, place: Workspace, text: str, where: str | None, *, is_alone: bool
) -> list[dict[str, Any]]:
    """The lines of files; none where no files are recorded, and there is another answer."""
    from pathlib import Path

    from devtrace.errors import DevTraceError
    from devtrace.query.blame import Blame
    from devtrace.query.why import search

    try:
        return search(Blame(db, place), text, None if where is None else Path(where))
    except DevTraceError as error:
        if is_alone and error.code != "ERR_NO_CHECKPOINT":  # no files are recorded: programs may be
            raise
        return []


def _split(where: str | None) -> tuple[Any, int]:
    """`api.py:12` as a path and a number. Raises UsageError ERR_USAGE."""
    from pathlib import Path

    from devtrace.errors import UsageError

    name, _, number = (where or "").rpartition(":")
    if not name or not (number.isascii() and number.isdigit()):
        raise UsageError(
            "say which line: FILE:LINE, or --text T", code="ERR_USAGE", hint="see `devtrace why --help`"
        )
    return Path(name), int(number)


def _ids(told: dict[str, Any]) -> list[str]:
    """Every id that the story names."""
    rows = [told["edit"], told["of_session"], told["commit"], *told["commands"], *told["suspects"]]
    found = [str(row["id"]) for row in rows if row is not None]
    replaced = told["replaced"]
    return [*found, replaced["event"]] if replaced is not None and replaced["event"] else found
