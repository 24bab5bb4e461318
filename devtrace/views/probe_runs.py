"""A busy probe in a list of events: the first few of what it told one after the other, and how many more.

Lives here: `folded`. Not here: the rows (timeline.py), one hit (probe.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.safe import safe

Row = dict[str, Any]

MOST = 3  # of one probe, one after the other, that have a line each
_NOUNS = {"probe_hit": "hit", "probe_error": "error"}  # what a probe tells again and again


def folded(events: Sequence[Row]) -> tuple[list[Row], dict[str, list[Line]]]:
    """The events that have a row, and what stands below some of them, by their ids:
    `and 57 more hits of till.py:14, the last 09:12:51`.

    Only events of one parent are folded, between which nothing else happened there. What several probes tell
    in turns is counted for each of them.
    """
    left_out: set[str] = set()
    below: dict[str, list[Line]] = {}
    for run in _runs(events):
        first, rest = _parted(run)
        left_out.update(event["id"] for left in rest for event in left)
        if rest:
            below[first[-1]["id"]] = [_rest(left) for left in rest]
    return [event for event in events if event["id"] not in left_out], below


def _runs(events: Sequence[Row]) -> Iterator[list[Row]]:
    """What probes told one after the other below one parent; nothing with something below itself."""
    parents = {event["parent"] for event in events}
    siblings: dict[str | None, list[Row]] = defaultdict(list)
    for event in sorted(events, key=lambda event: int(event["started_us"])):
        siblings[event["parent"]].append(event)
    for some in siblings.values():
        for is_told, run in groupby(some, lambda one: one["kind"] in _NOUNS and one["id"] not in parents):
            if is_told:
                yield list(run)


def _parted(run: Sequence[Row]) -> tuple[list[Row], list[list[Row]]]:
    """The first few of each probe in a run, and the rest by probe and kind."""
    told: dict[tuple[str, str], list[Row]] = defaultdict(list)
    first = []
    for event in run:
        same = told[event["kind"], _probe_of(event)]
        same.append(event)
        if len(same) <= MOST:
            first.append(event)
    return first, [events[MOST:] for events in told.values() if len(events) > MOST]


def _rest(events: Sequence[Row]) -> Line:
    last = events[-1]
    more = words.count(len(events), f"more {_NOUNS[last['kind']]}")
    text = f"and {more} of {_place(last)}, the last {words.clock(last['started_us'])}"
    return [(text, "dim")]


def _probe_of(event: Row) -> str:
    return str(_payload(event).get("probeId"))


def _place(event: Row) -> str:
    """`till.py:14`."""
    payload = _payload(event)
    file, line = payload.get("file"), payload.get("line")
    if not isinstance(file, str):
        return "a probe"
    name = file.replace("\\", "/").rpartition("/")[2]
    return safe(f"{name}:{line}" if isinstance(line, int) else name)


def _payload(event: Row) -> Row:
    payload = event["data"].get("payload")
    return payload if isinstance(payload, dict) else {}
