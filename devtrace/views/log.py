"""Events as they come, from all sessions: one line each, in columns that hold from batch to batch.

Lives here: the line of a start and of an end. Not here: waiting for them (query/follow.py, cli/log.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from devtrace.query.events import when
from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.layout import Across, Cells, Column, lay_out
from devtrace.views.safe import safe
from devtrace.views.timeline import Reader, mark, took, what

Row = dict[str, Any]

_COLUMNS = (
    Column(least=8),  # clock
    Column(least=11, drop=2),  # agent: claude-code is the longest of the table
    Column(right=True, least=6, drop=1),  # duration
    Column(least=6),  # mark
    Column(flex=True, fill=True),  # what
    Column(least=4),  # id
)


class LogView:
    """Lines for events; it remembers the day, to say when another one begins."""

    def __init__(self, today: str):
        self._day = today

    def lines(
        self, events: Iterable[Row], sessions: Mapping[str, Row], short: Mapping[str, str], reader: Reader
    ) -> list[Line]:
        """One line an event, and one before the first of a day; `sessions` by their whole ids."""
        rows: list[Cells | Across] = []
        for event in events:
            moment, _ = when(event)
            if words.day(moment) != self._day:
                self._day = words.day(moment)
                rows.append(Across([(self._day, "title")]))
            rows.append(_row(event, moment, sessions.get(event["session"]), short, reader))
        return lay_out(_COLUMNS, rows, reader.width)


def _row(event: Row, moment: int, session: Row | None, short: Mapping[str, str], reader: Reader) -> Cells:
    starts = event["status"] == "running"
    who = (session["agent"] if session else "") or event["actor"]
    return Cells(
        [
            [(words.clock(moment), "dim")],
            [(safe(who), "dim")],
            [("", "") if starts else (took(event, reader.now_us), "")],
            [mark(event)],
            [("  " if event["parent"] else "", ""), *what(event, session)],
            [(short.get(event["id"], event["id"]), "id")],
        ]
    )
