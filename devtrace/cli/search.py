"""devtrace search"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devtrace.cli.options import Actor, Agent, Failed, Json, Kind, Path, Since, Until

if TYPE_CHECKING:
    from devtrace.query.filters import Filters
    from devtrace.query.search import Found

_INDEX_S = 2.0  # for what nobody has indexed yet
_SEARCH_S = 2.0  # where few events pass the filters


def search(
    text: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Words, a quoted phrase, a part of a path or flag.")
    ],
    kind: Kind = None,
    agent: Agent = None,
    actor: Actor = None,
    since: Since = None,
    until: Until = None,
    failed: Failed = False,
    path: Path = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="Only events of that session.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="Only the best N.")] = 20,
    json: Json = False,
) -> None:
    """Find commands, notes, prompts, reasons, tool calls, paths, and the ends of outputs that failed.

    The best matches come first: those that have all words, then those that have some. Words are found in any
    of their forms: test, tests, testing. What has punctuation inside, such as src/api.py, --no-verify or
    load_user(, is found as it is written, as a part of whatever it is in; so is a word that nothing has.
    Behind -- a flag is text: devtrace search -- --no-verify

    \b
    Example:
      devtrace search "permission denied" api.py --since yesterday
    """
    from dataclasses import replace

    from devtrace.cli import reading
    from devtrace.cli.options import check_kinds, make_filters
    from devtrace.errors import EnvironmentError
    from devtrace.query.ids import resolve_session
    from devtrace.query.search_words import terms_of
    from devtrace.services import refresh
    from devtrace.views import jsonl
    from devtrace.workspace import find

    filters = make_filters(
        kind=kind, agent=agent, actor=actor, since=since, until=until, failed=failed, path=path, limit=limit
    )
    wanted = _wanted(text)
    terms_of(wanted)  # what cannot be searched for is said before the index is filled
    place = find()
    with reading.refreshed(place) as fresh:
        check_kinds(fresh.db, filters)
        if session is not None:
            filters = replace(filters, session=resolve_session(fresh.db, session))
        if fresh.stale is None:
            refresh.index(fresh.db, place, _INDEX_S)
        try:
            found = _found(fresh.db, wanted, filters, limit)
        except EnvironmentError as error:
            if fresh.stale is not None or not error.context.get("is_damaged"):
                raise
            refresh.index(fresh.db, place, _INDEX_S, anew=True)
            found = _found(fresh.db, wanted, filters, limit)
        _tell(found, is_filled=fresh.stale is None)
        if json:
            reading.answer(jsonl.line("found", hit) for hit in found.hits)
        else:
            _show(fresh.db, found)


def _wanted(text: list[str]) -> str:
    """The words as they were typed; of several, one that has blanks was quoted: a phrase."""
    if len(text) == 1:
        return text[0]
    unquoted = [word.replace('"', " ") for word in text]
    return " ".join(f'"{word}"' if " " in word.strip() else word for word in unquoted)


def _found(db: sqlite3.Connection, wanted: str, filters: Filters, limit: int) -> Found:
    """So many of the best, page by page."""
    from devtrace.query.search import search as ask

    until = time.monotonic() + _SEARCH_S
    hits: list[dict[str, Any]] = []
    page: Found | None = None
    while page is None or (page.after is not None and len(hits) < limit and time.monotonic() < until):
        after = None if page is None else page.after
        left_s = max(until - time.monotonic(), 0)
        page = ask(db, wanted, filters, limit=limit - len(hits), after=after, seconds=left_s)
        hits += page.hits
    return page._replace(hits=hits)


def _tell(found: Found, *, is_filled: bool) -> None:
    from devtrace.cli.border import say
    from devtrace.views.safe import safe
    from devtrace.views.words import count

    if found.n_left_out:
        left = count(found.n_left_out, "event")
        again = " Search again to fill it." if is_filled else ""
        say(f"The index is not complete yet: about {left} were not searched.{again}")
    if found.missing:
        say(f"Nothing that was searched has: {safe(', '.join(found.missing))}")
    if not found.hits:
        say("Nothing was found.")
    elif found.hits[0]["how"] == "some words":
        say("No event has all of it; these have some.")
    elif found.hits[-1]["how"] == "some words":
        whole = sum(not hit["missing"] for hit in found.hits)
        say(f"{count(whole, 'event has', 'events have')} all of it; those behind have some.")
    if found.is_cut:
        say("Some of it is so frequent that only the newest events with it were looked at.")


def _show(db: sqlite3.Connection, found: Found) -> None:
    from devtrace.cli import reading
    from devtrace.query.ids import short
    from devtrace.query.sessions import sessions_by_id
    from devtrace.views import console
    from devtrace.views.search import hit_lines

    screen = console.make_console()
    ids = short(db, [name for hit in found.hits for name in (hit["session"], hit["id"])])
    sessions = sessions_by_id(db, [hit["session"] for hit in found.hits])
    lines = hit_lines(found.hits, sessions, ids, reading.reader(screen), found.missing)
    console.paint(screen, lines)
