"""devtrace stats"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from devtrace.cli.options import Actor, Agent, Failed, Json, Path, Since, Until

if TYPE_CHECKING:
    from devtrace.query.stats import Stats


def stats(
    everywhere: Annotated[
        bool, typer.Option("--global", help="All stores that are registered in ~/.devtrace/.")
    ] = False,
    agent: Agent = None,
    actor: Actor = None,
    since: Since = None,
    until: Until = None,
    failed: Failed = False,
    path: Path = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", help="The N programs used most.", min=0)
    ] = 10,
    json: Json = False,
) -> None:
    """Count commands, failures and time, by program and by agent.

    \b
    Example:
      devtrace stats --since 7d
    """
    from devtrace.cli import border, reading
    from devtrace.cli.options import make_filters
    from devtrace.services import stats as service
    from devtrace.workspace import find

    wanted = make_filters(
        kind=None, agent=agent, actor=actor, since=since, until=until, failed=failed, path=path, limit=None
    )
    if not everywhere:
        with reading.opened() as db:
            kept = service.kept(find(), db)._asdict()
            _answer(service.here(db, wanted), {"bytes": kept}, limit=limit, json=json)
        return
    found = service.everywhere(wanted)
    for store, error in found.missing:
        border.say(f"Left out {store}: {error.message} [{error.code}]")
    if not found.stores and not found.missing:
        border.say("No store is registered. List one with: devtrace init --register")
    stores = {
        "stores": [str(store) for store in found.stores],
        "missing": [str(store) for store, _ in found.missing],
    }
    _answer(found.stats, stores, limit=limit, json=json)


def _answer(found: Stats, stores: dict[str, Any], *, limit: int, json: bool) -> None:
    from devtrace.cli import reading
    from devtrace.views import console, jsonl
    from devtrace.views.stats import kept_line, stats_lines

    if not json:
        screen = console.make_console()
        lines = stats_lines(found, console.width_of(screen), top=limit)
        if "bytes" in stores:
            lines += [[], kept_line(stores["bytes"])]
        console.paint(screen, lines)
        return
    totals = {name: value for name, value in found.items() if name not in ("top", "agents")}
    reading.answer(
        [
            jsonl.line("totals", {**totals, **stores}),
            *(jsonl.line("command", row) for row in found["top"][:limit]),
            *(jsonl.line("agent", row) for row in found["agents"]),
        ]
    )
