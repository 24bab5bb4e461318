"""devtrace prune"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import sqlite3

    from devtrace.services.prune import Pruned
    from devtrace.store.checkpoints.forget import Forgotten
    from devtrace.store.retention import Order, Share
    from devtrace.workspace import Workspace

_CHECKPOINTS = "checkpoints"
_WHAT = (_CHECKPOINTS, "outputs", "events")
_SIZE = re.compile(r"([0-9]{1,12}) ?([kmg]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def prune(
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="TIME", help="Such as 30d, 12h, 2026-11-01.")
    ] = None,
    what: Annotated[
        list[str] | None,
        typer.Option(
            "--what", metavar="WHAT", help="checkpoints (default), outputs, events; may be repeated."
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="KIND", help="Only events of that kind; may be repeated."),
    ] = None,
    session: Annotated[
        list[str] | None,
        typer.Option("--session", metavar="ID", help="Only that session; may be repeated."),
    ] = None,
    larger_than: Annotated[
        str | None, typer.Option("--larger-than", metavar="SIZE", help="Only what is larger: 500K, 2M.")
    ] = None,
    keep_labelled: Annotated[
        bool, typer.Option(help="Keep what has a label: sessions and snapshots.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it, without asking.")] = False,
) -> None:
    """Forget old states of the working tree, outputs of commands, or whole events.

    To the outputs belong the lines and values of recorded programs; their calls stay.

    Without outputs the events stay whole; of a pruned event its id and hash stay, so that the record can be
    verified. A session that goes on is left alone.

    \b
    Example:
      devtrace prune --older-than 30d --dry-run
      devtrace prune --older-than 90d --what events --what checkpoints
      devtrace prune --what outputs --larger-than 1M --older-than 7d
    """
    import os

    from devtrace.cli import reading
    from devtrace.cli.border import say
    from devtrace.query.filters import parse_time
    from devtrace.services import prune as service
    from devtrace.workspace import find

    wanted = _wanted(what, older_than, kind, session, larger_than)
    until_us = None if older_than is None else parse_time(older_than)
    workspace = find()
    with reading.opened(workspace) as db:
        orders = _orders(db, wanted, until_us, kind or [], session, larger_than, keep_labelled=keep_labelled)
        found = (
            _checkpoints(db, workspace, until_us, keep_labelled, alone=wanted == {_CHECKPOINTS})
            if _CHECKPOINTS in wanted
            else None
        )
        shares = service.planned(db, workspace, orders)
        going = _going(found, shares)
        if not going:
            typer.echo(_nothing(found, orders))
            return
        when = _before(until_us)
        if dry_run:
            _list(db, shares)
            typer.echo(f"Would forget {going}{when}.")
            return
        if not yes and not _confirmed(f"Forget {going}{when}? {_loss(found, shares)}"):
            say("Nothing was forgotten. Do it with: --yes")
            return
        done = record = None
        if found is not None and found.checkpoints and until_us is not None:
            done = service.prune(db, workspace, until_us, os.environ, keep_labelled=keep_labelled)
        if shares:
            each = [(order, lambda: True) for order in orders]
            record = service.prune_record(db, workspace, each, service.author_of(os.environ))
    _tell(done, record)


# --- what was asked ---------------------------------------------------------------------------------------


def _wanted(
    what: list[str] | None,
    older_than: str | None,
    kind: list[str] | None,
    session: list[str] | None,
    larger_than: str | None,
) -> set[str]:
    """What is to go. Raises UsageError ERR_USAGE."""
    wanted = set(what or [_CHECKPOINTS])
    for one in wanted - set(_WHAT):
        raise _asked_wrongly(f"--what {one}: there is no such thing", f"use one of {', '.join(_WHAT)}")
    given = {"--kind": kind, "--session": session, "--larger-than": larger_than}
    if wanted == {_CHECKPOINTS}:
        for option in (name for name, value in given.items() if value):
            raise _asked_wrongly(
                f"{option} narrows events and outputs, not checkpoints",
                f"add --what outputs or --what events to {option}",
            )
    if older_than is None and (not session or _CHECKPOINTS in wanted):
        raise _asked_wrongly("it is not said how old", "add --older-than 30d, or name a --session")
    return wanted


def _orders(
    db: sqlite3.Connection,
    wanted: set[str],
    until_us: int | None,
    kinds: list[str],
    sessions: list[str] | None,
    larger_than: str | None,
    *,
    keep_labelled: bool,
) -> list[Order]:
    """What goes with an event need not go by itself."""
    from devtrace.cli.options import check_kinds
    from devtrace.query.filters import Filters
    from devtrace.query.ids import resolve_session
    from devtrace.store.retention import EVENTS, OUTPUTS, WHENEVER, Order

    check_kinds(db, Filters(kinds=tuple(kinds)))
    named = None if not sessions else [resolve_session(db, one) for one in sessions]
    age = WHENEVER if until_us is None else until_us
    what = EVENTS if EVENTS in wanted else OUTPUTS
    if what not in wanted:
        return []
    return [
        Order(
            what,
            None if kinds else age,
            dict.fromkeys(kinds, age),
            named,
            -1 if larger_than is None else _bytes(larger_than),
            keep_labelled,
        )
    ]


def _bytes(text: str) -> int:
    """`500K`, `2 MB`, `1GiB`: units of 1,024. Raises UsageError ERR_FILTER."""
    from devtrace.errors import UsageError

    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"cannot read {text!r} as a size", code="ERR_FILTER", hint="write 500K, 2M or 1G")
    return int(found[1]) * _UNITS[found[2].lower()]


def _asked_wrongly(message: str, hint: str) -> Exception:
    from devtrace.errors import UsageError

    return UsageError(message, code="ERR_USAGE", hint=hint)


def _checkpoints(
    db: sqlite3.Connection, workspace: Workspace, until_us: int | None, keep_labelled: bool, *, alone: bool
) -> Forgotten | None:
    """Which would go; None where nothing was ever kept, and that is not all that was asked for."""
    import os

    from devtrace.errors import DevTraceError
    from devtrace.services import prune as service

    assert until_us is not None
    try:
        return service.prune(db, workspace, until_us, os.environ, dry_run=True, keep_labelled=keep_labelled)
    except DevTraceError as error:
        if alone or error.code != "ERR_NO_CHECKPOINT":
            raise
        return None


# --- what is said -----------------------------------------------------------------------------------------


def _going(found: Forgotten | None, shares: list[Share]) -> str:
    """`3 checkpoints and 120 events of 2 sessions (1.2 MB)`; "" for nothing."""
    from devtrace.views import words

    parts = [words.count(found.checkpoints, "checkpoint")] if found is not None and found.checkpoints else []
    if shares:
        told = _amount(sum(one.events for one in shares), sum(one.outputs for one in shares))
        size = words.size(sum(one.size for one in shares))
        parts.append(f"{told} of {words.count(len(shares), 'session')} ({size})")
    return ", and ".join(parts)


def _amount(events: int, outputs: int) -> str:
    from devtrace.views import words

    told = [words.count(number, noun) for number, noun in ((events, "event"), (outputs, "output")) if number]
    return " with ".join(told)


def _before(until_us: int | None) -> str:
    from devtrace.views import words

    return "" if until_us is None else f" from before {words.stamp(until_us)}"


def _nothing(found: Forgotten | None, orders: list[Order]) -> str:
    from devtrace.views import words

    if found is not None and not orders:
        return f"No checkpoint is older than that; {words.size(found.before_bytes)} are kept."
    return "Nothing of that kind and age is kept. What goes on is left alone, and what has a label."


def _loss(found: Forgotten | None, shares: list[Share]) -> str:
    if found is not None and found.checkpoints and not shares:
        return "Their diffs cannot be shown any more."
    return "They cannot be brought back."


def _confirmed(question: str) -> bool:
    import sys

    return sys.stdin.isatty() and typer.confirm(question, default=False, err=True)


def _list(db: sqlite3.Connection, shares: list[Share]) -> None:
    from devtrace.query.ids import short
    from devtrace.query.sessions import sessions_by_id
    from devtrace.views import console
    from devtrace.views.prune import share_lines

    ids = [one.session for one in shares]
    screen = console.make_console()
    lines = share_lines(shares, sessions_by_id(db, ids), short(db, ids), console.width_of(screen))
    console.paint(screen, lines)


def _tell(done: Forgotten | None, record: Pruned | None) -> None:
    """What went, the bytes, and the next useful step."""
    from devtrace.views import words

    for amount, sizes in (
        (None if done is None else words.count(done.checkpoints, "checkpoint"), done),
        (None if record is None else _amount(record.events, record.outputs), record),
    ):
        if sizes is not None:
            freed = words.size(max(sizes.before_bytes - sizes.after_bytes, 0))
            typer.echo(f"Forgot {amount}; {freed} were freed, {words.size(sizes.after_bytes)} are kept.")
    if record is not None:
        if record.late_bytes:
            late = words.size(record.late_bytes)
            typer.echo(f"The disk gets {late} more when others who read the record now are done.")
        typer.echo("Check what is left with: devtrace verify")
    else:
        typer.echo("See what is left with: devtrace stats")
