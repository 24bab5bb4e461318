"""Secrets that a command printed, or that a tool gave to an agent; what is kept of them is masked.

The mark of a masked secret says which rule found it. A text may hold such marks by itself, as a document
about them does: it counts only where the redaction of that very event says that the rule found something.

Lives here: `Secrets`. Not here: masking (policy/).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from devtrace.errors import UsageError
from devtrace.query.agents import headline
from devtrace.query.events import get_event
from devtrace.query.output import has_output, output
from devtrace.query.smells import brief, finding

Row = dict[str, Any]

_MARK = re.compile(r"\[redacted:([a-z0-9-]+)(?::[0-9a-f]{8})?\]")


class Secrets:
    """Names each secret once, with the first event that showed it."""

    def __init__(self, db: sqlite3.Connection):
        self._db = db
        self._known: set[str] = set()

    def of(self, rows: Sequence[Row], calls: Sequence[Row], clients: Collection[str]) -> Iterator[Row]:
        """Those of a session: of its commands, then of its calls, then of the clients around them."""
        commands = [row for row in rows if row["kind"] == "run_command"]
        around = [row for row in commands if f"{row['session']}/{row['id']}" in clients]
        yield from self._printed([row for row in commands if row not in around])
        written: set[str] = set()
        for call in calls:
            told = set(_marks(str(call["input"] or ""))) | set(_marks(str(call["command"] or "")))
            if self._new(_found(str(call["result"] or ""), self._rules(call)) - told):
                event = {"session": call["session"], "id": call["event"].rpartition("/")[2]}
                yield finding("secret", f"{brief(headline(call))} gave the agent a secret", event)
            written |= told
        yield from self._printed(around, written)

    def _printed(self, rows: Sequence[Row], written: Collection[str] = ()) -> Iterator[Row]:
        """`written`: what an agent wrote itself, and its client only repeats."""
        for row in rows:
            rules = set(row["data"].get("redacted") or ())
            if rules and has_output(self._db, row):
                shown = output(self._db, row).data.decode("utf-8", "replace")
                if self._new(_found(shown, rules).difference(written)):
                    name = brief(str(row["data"].get("command") or row["title"]))
                    yield finding("secret", f"{name} printed a secret", row)

    def _new(self, marks: set[str]) -> bool:
        new = marks - self._known
        self._known |= new
        return bool(new)

    def _rules(self, call: Row) -> set[str]:
        """The rules that found something in a call, by whatever event tells of it."""
        found: set[str] = set()
        for name in call["events"]:
            session, _, event = name.partition("/")
            try:
                found.update(get_event(self._db, session, event)["data"].get("redacted") or ())
            except UsageError:  # its record was lost
                continue
        return found


def _found(text: str, rules: Collection[str]) -> set[str]:
    return {mark for mark, rule in _marks(text).items() if rule in rules}


def _marks(text: str) -> dict[str, str]:
    """Each mark in a text, with its rule."""
    return {found[0]: found[1] for found in _MARK.finditer(text)}
