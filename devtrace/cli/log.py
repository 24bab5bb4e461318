"""devtrace log"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devtrace.cli.options import Actor, Agent, Failed, Json, Kind, Limit, Path, Since, Until

if TYPE_CHECKING:
    from devtrace.query.filters import Filters
    from devtrace.workspace import Workspace

_SHOWN = 20
_TEND_EVERY = 2.0  # seconds between two drains while we follow: a live host drains by itself


def log(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens now.")] = False,
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
    """List the newest events of all sessions, the newest last.

    Without a filter of time or number the newest 20. With --follow it goes on, a line when a command starts
    and one when it ends, until Ctrl-C; it may be started before there is a store.

    \b
    Example:
      devtrace log --follow --agent claude-code
    """
    from dataclasses import replace

    from devtrace.cli import reading
    from devtrace.cli.border import say
    from devtrace.cli.options import check_kinds, make_filters
    from devtrace.query.events import list_events, when

    wanted = make_filters(
        kind=kind, agent=agent, actor=actor, since=since, until=until, failed=failed, path=path, limit=limit
    )
    if wanted.limit is None and (follow or (since is None and until is None)):
        wanted = replace(wanted, limit=_SHOWN)
    if follow:
        check_kinds(None, wanted)
        _follow(wanted, json=json)
        return
    with reading.opened() as db:
        check_kinds(db, wanted)
        found = sorted(list_events(db, wanted), key=when)
        if not found and not json and wanted.limit != 0:
            say("No event fits. Record some with: devtrace shell --agent manual")
        _Printer(json=json).show(db, found)


def _follow(wanted: Filters, *, json: bool) -> None:
    from contextlib import closing

    from devtrace.cli import reading
    from devtrace.cli.border import say
    from devtrace.config import load
    from devtrace.query.follow import Follow

    workspace, is_new = _wait_for_store()
    if sys.stderr.isatty():
        say(f"Following {workspace.dir}; Ctrl-C ends it.")
    pause = load(workspace).number("follow.poll_ms") / 1000
    printer, tended = _Printer(json=json), 0.0
    with closing(Follow(workspace, wanted, is_new=is_new)) as follow:
        while True:
            if time.monotonic() - tended > _TEND_EVERY:
                _tend(workspace)
                tended = time.monotonic()
            events = follow.poll()
            if events:
                with reading.asking(workspace):
                    printer.show(follow.db, events)
            time.sleep(pause)


def _wait_for_store() -> tuple[Workspace, bool]:
    """The store, and whether there was none at first."""
    from devtrace.cli.border import say
    from devtrace.errors import EnvironmentError
    from devtrace.workspace import find

    waiting = False
    while True:
        try:
            return find(), waiting
        except EnvironmentError as error:
            if error.code != "ERR_STORE_MISSING":
                raise
            if not waiting:
                say(f"Waiting for a store: {error.message}.")
                waiting = True
        time.sleep(0.02)


def _tend(workspace: Workspace) -> None:
    """Close what killed hosts left, drain what nobody drains; a store in the making is left alone."""
    from devtrace.errors import DevTraceError
    from devtrace.services.refresh import open_fresh

    try:
        open_fresh(workspace).db.close()
    except DevTraceError:
        return  # Follow meets the same trouble, and decides how long to bear it


class _Printer:
    """Writes events as they come, as lines for people or for machines, and flushes each batch."""

    def __init__(self, *, json: bool):
        from devtrace.views import console
        from devtrace.views.log import LogView
        from devtrace.views.words import day

        self._json = json
        self._screen = console.make_console()
        self._view = LogView(day(time.time_ns() // 1000))
        self._sessions: dict[str, dict[str, Any]] = {}

    def show(self, db: Any, events: list[dict[str, Any]]) -> None:
        from devtrace.cli import reading
        from devtrace.query.accounts import told_once
        from devtrace.query.events import with_late_ends
        from devtrace.query.ids import short
        from devtrace.query.sessions import sessions_by_id
        from devtrace.views import console, jsonl

        if self._json:
            reading.answer(jsonl.line("event", event) for event in events)
        else:
            unknown = {event["session"] for event in events} - self._sessions.keys()
            self._sessions.update(sessions_by_id(db, unknown) if unknown else {})
            events = told_once(with_late_ends(db, events))
            ids = short(db, [event["id"] for event in events])
            who = reading.reader(self._screen)
            console.paint(self._screen, self._view.lines(events, self._sessions, ids, who))
        sys.stdout.flush()
