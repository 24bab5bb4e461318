"""devtrace probe add: what is set, what is said of it, and the exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import sqlite3

    from devtrace.probes.fields import Refused
    from devtrace.probes.point import Point
    from devtrace.services.probe import Orders
    from devtrace.services.probe_asked import Asked
    from devtrace.services.probe_records import Records
    from devtrace.services.probe_standing import Standing
    from devtrace.workspace import Workspace


def add(asked: Asked, *, wait: int, timeout_s: float, json: bool) -> int:
    """Set it, wait for hits if wanted, and say how far it came; the exit status. Raises UsageError."""
    import os

    from devtrace.cli import reading
    from devtrace.probes.fields import Refused
    from devtrace.query.events import last_seq
    from devtrace.services.probe import Orders
    from devtrace.services.probe_asked import grammar, nowhere, point_of
    from devtrace.services.probe_records import Records
    from devtrace.services.probe_standing import REFUSED, is_unknown, standing
    from devtrace.workspace import find, working_directory

    _check_wait(wait, timeout_s)
    workspace = find()
    with reading.opened(workspace) as db:
        orders, since = Orders(db, workspace, os.environ), last_seq(db)
        try:
            made = point_of(asked, working_directory(), workspace.root, grammar(orders.holds_secret))
            point = made.point
            orders.add(point)
        except Refused as refused:
            return _refuse(refused, json=json)
        answer = _Answer(db, workspace, point, Records(workspace, orders.policy), json=json)
        told = standing(workspace, point)
        if made.is_nowhere and is_unknown(told, point):
            return _take_back(orders, point, nowhere(point), json=json)
        if told.status != REFUSED and wait > 0:
            answer.tell(told)
            told = answer.wait(since, wait, timeout_s)
        if told.status == REFUSED:
            return _take_back(orders, point, _refused(told), json=json)
        return answer.end(told)


def _check_wait(wait: int, timeout_s: float) -> None:
    """Raises UsageError ERR_USAGE for a wait that has no end, or that ends before it begins."""
    from math import inf

    from devtrace.errors import UsageError

    if wait < 0:
        raise UsageError(
            f"--wait {wait} is no number of hits", code="ERR_USAGE", hint="write --wait 1, or leave it out"
        )
    if not 0 <= timeout_s < inf:
        raise UsageError(
            f"--timeout {timeout_s:g} is no time to wait",
            code="ERR_USAGE",
            hint="write seconds: --timeout 30",
        )


def _take_back(orders: Orders, point: Point, refused: Refused, *, json: bool) -> int:
    orders.remove([point.id], refused.message)
    return _refuse(refused, json=json)


class _Answer:
    """What is said of a probe that was set."""

    def __init__(
        self, db: sqlite3.Connection, workspace: Workspace, point: Point, records: Records, *, json: bool
    ):
        self._db = db
        self._workspace = workspace
        self._point = point
        self._records = records
        self._json = json
        self._has_told = False
        self._hits: list[dict[str, Any]] = []
        self._errors: list[dict[str, Any]] = []

    def wait(self, since: int, number: int, timeout_s: float) -> Standing:
        """Show hits as they come; how far the probe came by then."""
        import time

        from devtrace.cli.probe_tail import Printer
        from devtrace.probes.point import INSTALLED, PENDING
        from devtrace.services.probe_hits import Hits, envelope
        from devtrace.services.probe_standing import standing

        printer = None if self._json else Printer(json=False)
        hits = Hits(self._db, self._workspace, self._point.id, since)
        until = time.monotonic() + timeout_s

        def is_hopeless() -> bool:
            return standing(self._workspace, self._point).status not in (INSTALLED, PENDING)

        for row in hits.wait(number, until, is_hopeless):
            kept = {"probe_hit": self._hits, "probe_error": self._errors}.get(row["kind"])
            if kept is not None:
                kept.append(envelope(row))
                if printer is not None:
                    printer.show(self._db, [row])
        return standing(self._workspace, self._point)

    def tell(self, told: Standing) -> None:
        """How far it came, for people."""
        import time

        from devtrace.views import console
        from devtrace.views.probe import set_lines, where

        if self._json or self._has_told:
            return
        self._has_told = True
        place = {"file": self._point.file, "line": self._point.line}
        place["location"] = self._point.settings["location"]
        screen = console.make_console()
        now_us = time.time_ns() // 1000
        text = where(place, str(self._workspace.root))
        console.paint(screen, set_lines(self._record(told), text, now_us))

    def end(self, told: Standing) -> int:
        """Say what is left to say; the exit status."""
        from devtrace.cli import reading
        from devtrace.probes.point import INSTALLED
        from devtrace.views import jsonl

        self.tell(told)
        if self._json:
            reading.answer([jsonl.line("probe_set", self._record(told))])
        else:
            typer.echo(f"See what it tells with: devtrace probe tail {self._point.id[:8]}")
        return 0 if self._hits or told.status == INSTALLED else 1

    def _record(self, told: Standing) -> dict[str, Any]:
        return self._records.was_set(self._point, told, self._hits, self._errors)


def _refused(told: Standing) -> Refused:
    from devtrace.probes.fields import Refused

    return Refused(400, told.code, told.message, {"processes": [one.process["pid"] for one in told.replies]})


def _refuse(refused: Refused, *, json: bool) -> int:
    """Raises UsageError, unless the answer is for a machine."""
    from devtrace.cli import reading
    from devtrace.errors import UsageError
    from devtrace.services.probe_records import refused_record
    from devtrace.views import jsonl

    if json:
        reading.answer([jsonl.line("probe_set", refused_record(refused))])
        return 2
    what, _, hint = refused.message.partition("; ")
    if refused.details.get("nearest"):
        hint += ", or give --nearest"
    raise UsageError(what, code=refused.code, hint=hint, context=dict(refused.details))
