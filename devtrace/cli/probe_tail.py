"""devtrace probe tail, probe sink: what probes tell, a line each."""

from __future__ import annotations

import json as jsons
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from devtrace.cli import reading
from devtrace.cli.border import say
from devtrace.query.filters import Filters
from devtrace.query.follow import Follow
from devtrace.query.ids import short
from devtrace.query.sessions import sessions_by_id
from devtrace.services.probe_hits import KINDS, envelope
from devtrace.views import console
from devtrace.views.log import LogView
from devtrace.views.probe import hit_lines
from devtrace.views.words import day

if TYPE_CHECKING:
    import sqlite3

    from devtrace.workspace import Workspace

    Row = dict[str, Any]

_TEND_S = 0.2  # between two drains while we follow: the host, where there is one, drains by itself
_LAST_PORT = 65_535
_ALL = 1 << 20  # events that are looked through for one probe's


class Printer:
    """Writes events as they come, as lines for people or as documented events, and flushes each batch."""

    def __init__(self, *, json: bool):
        self._json = json
        self._screen = console.make_console()
        self._view = LogView(day(time.time_ns() // 1000))
        self._sessions: dict[str, Row] = {}

    def show(self, db: sqlite3.Connection, rows: list[Row]) -> None:
        """One line each, and below that of a snapshot its variables."""
        if self._json:
            reading.answer(_line(envelope(row)) for row in rows)
        else:
            unknown = {row["session"] for row in rows} - self._sessions.keys()
            self._sessions.update(sessions_by_id(db, unknown) if unknown else {})
            ids = short(db, [row["id"] for row in rows])
            who = reading.reader(self._screen)
            for row in rows:
                lines = self._view.lines([row], self._sessions, ids, who)
                console.paint(self._screen, [*lines, *hit_lines(row)])
        sys.stdout.flush()


def tail(workspace: Workspace, probe: str, *, limit: int, follow: bool, json: bool) -> None:
    """The newest `limit` events of the probes whose id starts so, and then those that come."""
    from devtrace.config import load
    from devtrace.services.refresh import tend

    printer = Printer(json=json)
    history = limit if not probe else _ALL if limit else 0
    pause = load(workspace).number("follow.poll_ms") / 1000
    with (
        reading.opened(workspace) as db,
        closing(Follow(workspace, Filters(kinds=KINDS, limit=history))) as news,
    ):
        rows = [row for row in news.poll() if _is_of(row, probe)]
        printer.show(db, rows[len(rows) - limit :] if len(rows) > limit else rows)
        if not rows and not json:
            say("No probe has told anything yet." + (" Waiting; Ctrl-C ends it." if follow else ""))
        tended = time.monotonic()
        while follow:
            if time.monotonic() - tended > _TEND_S:
                tend(db, workspace)
                tended = time.monotonic()
            if rows := [row for row in news.poll() if _is_of(row, probe)]:
                printer.show(db, rows)
            time.sleep(pause)  # follow.poll_ms: other processes write, and tell nobody


def receive(port: int, *, json: bool) -> None:
    """Listen on this machine for events, and show each until Ctrl-C."""
    from devtrace.errors import EnvironmentError, UsageError
    from devtrace.services.probe_sink import serve

    if not 0 <= port <= _LAST_PORT:
        hint = f"give one from 1 to {_LAST_PORT}, or 0 for a free one"
        raise UsageError(f"there is no port {port}", code="ERR_USAGE", hint=hint)

    def show(event: Row) -> None:
        sys.stdout.write((_line(event) if json else _plain(event)) + "\n")
        sys.stdout.flush()

    try:
        receiver = serve(port, on_event=show)
    except OSError as error:
        raise EnvironmentError(
            f"port {port} cannot be used: {error.strerror or error}",
            code="ERR_IO",
            hint="give another --port; 0 takes a free one",
            context={"port": port},
        ) from error
    with closing(receiver):
        say(f"Listening at http://127.0.0.1:{receiver.port}; Ctrl-C ends it.")
        receiver.serve_forever()


def _is_of(row: Row, probe: str) -> bool:
    payload = row["data"].get("payload")
    name = payload.get("probeId") if isinstance(payload, dict) else None
    return not probe or (isinstance(name, str) and name.startswith(probe))


def _line(event: Row) -> str:
    """A documented event as one line, in ASCII."""
    return jsons.dumps(event, separators=(",", ":"))


def _plain(event: Row) -> str:
    """The time of day, the name, and what happened."""
    from devtrace.events import ProbeError, ProbeHit, ProbeStatus
    from devtrace.views.safe import first_line, safe

    name = str(event["name"])
    kind = ProbeHit if ".hit." in name else ProbeError if ".error." in name else ProbeStatus
    told = kind(name=name, payload=event["payload"], client=event["client"]).headline()
    return f"{safe(str(event['timestamp'])[11:19])}  {safe(name)}  {first_line(told)}"
