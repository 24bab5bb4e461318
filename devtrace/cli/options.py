"""The options that several commands share: filters, ids, JSON.

Lives here: their names and help, and making `Filters` of them. Not here: what they mean in a query
(query/filters.py).
"""

from __future__ import annotations

import sqlite3
from typing import Annotated

import typer

from devtrace.config import parse_agent
from devtrace.errors import UsageError
from devtrace.query.filters import Filters, parse_actor, parse_time

Kind = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="KIND", help="Only events of that kind; may be repeated."),
]
Agent = Annotated[str | None, typer.Option("--agent", metavar="NAME", help="Only sessions of that agent.")]
Actor = Annotated[
    str | None, typer.Option("--actor", metavar="WHO", help="Only what human, agent, or agent:NAME did.")
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Only from then on: 10m, 2h, yesterday, 14:30.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only until then.")]
Failed = Annotated[bool, typer.Option("--failed", help="Only what failed.")]
Path = Annotated[
    str | None, typer.Option("--path", metavar="DIR", help="Only what ran in that directory or below.")
]
Limit = Annotated[int | None, typer.Option("--limit", "-n", metavar="N", help="Only the newest N.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


_MOST = 1 << 31  # of a list; SQLite counts to 64 bits, and no store holds as many


def make_filters(
    *,
    kind: list[str] | None,
    agent: str | None,
    actor: str | None,
    since: str | None,
    until: str | None,
    failed: bool,
    path: str | None,
    limit: int | None,
) -> Filters:
    """The options as a `Filters`. Raises UsageError ERR_FILTER or ERR_AGENT_UNKNOWN."""
    return Filters(
        kinds=tuple(name.strip() for one in kind or () for name in one.split(",") if name.strip()),
        agent=None if agent is None else parse_agent(agent),
        actor=None if actor is None else parse_actor(actor),
        since_us=None if since is None else parse_time(since),
        until_us=None if until is None else parse_time(until),
        failed=failed,
        path=path,
        limit=None if limit is None else min(limit, _MOST),
    )


def check_kinds(db: sqlite3.Connection | None, filters: Filters) -> None:
    """Refuse a kind that neither this version nor the store knows. Raises UsageError ERR_EVENT_KIND."""
    for kind in filters.kinds:
        known = "SELECT 1 FROM events WHERE kind = ? LIMIT 1"
        if db is not None and db.execute(known, (kind,)).fetchone():
            continue
        from devtrace.events import KINDS

        if kind not in KINDS:
            raise UsageError(
                f"unknown event kind {kind!r}",
                code="ERR_EVENT_KIND",
                hint=f"use one of {', '.join(sorted(KINDS))}",
                context={"kind": kind, "known": sorted(KINDS)},
            )
