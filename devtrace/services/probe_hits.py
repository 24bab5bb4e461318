"""What probes told: their hits as they come into the store, how many there were, and their documented form.

Lives here: `Hits`, `hit_counts`, `envelope`. Not here: writing them (probes/outbox.py), following all events
(query/follow.py).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from devtrace.probes import wire
from devtrace.query.events import each_event
from devtrace.query.filters import Filters
from devtrace.services.refresh import tend
from devtrace.workspace import Workspace

KINDS = ("probe_hit", "probe_error", "probe_status")
_PAUSE_S = 0.05


class Hits:
    """What is told of one probe, as it comes into the store: `poll()` again and again."""

    def __init__(self, db: sqlite3.Connection, workspace: Workspace, probe_id: str, after: int):
        """`after`: the `seq` of the last event that is no news."""
        self._db = db
        self._workspace = workspace
        self._probe_id = probe_id
        self._after = after

    def poll(self) -> list[dict[str, Any]]:
        """What is new, in the order of the record; the spool is drained first."""
        tend(self._db, self._workspace)
        rows = list(each_event(self._db, Filters(kinds=KINDS), self._after))
        self._after = max([self._after, *(row["seq"] for row in rows)])
        return [row for row in rows if is_of(row, self._probe_id)]

    def wait(self, number: int, until: float, is_hopeless: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        """What comes until there were so many hits, or `time.monotonic()` is `until`.

        `is_hopeless` is asked after a program said that the probe has no place in it.
        """
        while number > 0:
            rows = self.poll()
            for row in rows:
                number -= row["kind"] == "probe_hit"
                yield row
            if any(_is_no(row) for row in rows) and is_hopeless():
                return
            left = until - time.monotonic()
            if number <= 0 or left <= 0:
                return
            time.sleep(min(_PAUSE_S, left))  # the spool is files: a look into it is what there is


def _is_no(row: Mapping[str, Any]) -> bool:
    return row["data"].get("name") in ("probe.status.error", "probe.status.expired")


def is_of(row: Mapping[str, Any], probe_id: str) -> bool:
    """Whether an event is about that probe."""
    payload = row["data"].get("payload")
    return isinstance(payload, dict) and payload.get("probeId") == probe_id


def hit_counts(db: sqlite3.Connection, since_us: int) -> dict[str, int]:
    """How many hits of each probe the store has from that time on."""
    rows = db.execute(
        "SELECT json_extract(data, '$.payload.probeId'), count(*) FROM events"
        " WHERE kind = 'probe_hit' AND started_us >= ? GROUP BY 1",
        (since_us,),
    )
    return {str(name): number for name, number in rows}


def envelope(row: Mapping[str, Any]) -> dict[str, Any]:
    """The documented event of a stored one: `{name, timestamp, id, client, payload}`."""
    data = {"client": {}, "uuid": "", "name": row["kind"], "payload": {}, **row["data"]}
    told = wire.envelope(data, row["ended_us"] or row["started_us"])
    return {**told, "payload": with_floats(told["payload"])}


def with_floats(told: Any) -> Any:
    """The payload as it was documented: the store holds no floats, and has their text instead."""
    if isinstance(told, list):
        return [with_floats(one) for one in told]
    if not isinstance(told, dict):
        return told
    text = told.get("__repr__")
    if told.get("__tpd_type__") == "float" and len(told) == 2 and isinstance(text, str):
        with contextlib.suppress(ValueError):
            json.loads(text, parse_constant=_no_number)
            return float(text)
    return {name: with_floats(one) for name, one in told.items()}


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
