"""Searching stores that tests fill.

Lives here: `found`, `all_of`, `pages_of`, reading hits, `fill`. Not here: any test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from devtrace.query.filters import Filters
from devtrace.query.search import Found, search
from devtrace.store import search_index
from tests.recorded import Recorded

LONG_S = 30.0


def found(recorded: Recorded, wanted: str, limit: int = 20, **filters: Any) -> Found:
    """Asked of an index that is up to date."""
    search_index.catch_up(recorded.db)
    return search(recorded.db, wanted, Filters(**filters), limit=limit, seconds=LONG_S)


def titles(answer: Found) -> list[str]:
    """Of the hits, without the sign of a command."""
    return [hit["title"].removeprefix("$ ") for hit in answer.hits]


def marked(hit: dict[str, Any]) -> list[str]:
    """What is marked in the excerpt."""
    return [hit["snippet"][start:end] for start, end in hit["marks"]]


def fill(recorded: Recorded) -> Recorded:
    """Two sessions with 300 events each, of which a few are special."""
    for agent, start in (("codex", 0), ("manual", 10_000)):
        recorded.session(start, agent=agent)
        for number in range(300):
            recorded.command("make world", start + number, exit_code=int(number % 50 == 7))
        recorded.note("make notes", start + 300)
    recorded.command("make elsewhere", 10_400, body={"cwd": "/srv/deep/down"})
    return recorded


def all_of(recorded: Recorded, wanted: str, **filters: Any) -> list[dict[str, Any]]:
    """The hits of one large page."""
    return found(recorded, wanted, limit=500, **filters).hits


def pages_of(recorded: Recorded, wanted: str, limit: int, **filters: Any) -> Iterator[Found]:
    """Page after page, as somebody asks for them who has little time."""
    search_index.catch_up(recorded.db)
    state = None
    while True:
        page = search(recorded.db, wanted, Filters(**filters), limit=limit, after=state)
        yield page
        state = page.after
        if state is None:
            return
