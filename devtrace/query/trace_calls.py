"""The calls of a trace that fit on a screen: the slowest with those around them, all others counted.

A call has a row of its own where it was among the first of its kind or slow (store/trace/calls.py), and its
callers took at least as long: so the slowest rows make a tree. What is not shown is counted where it belongs.

Lives here: `Wanted`, `tree`. Not here: what the calls were given (trace_values.py), drawing (views/trace.py).
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from devtrace.query.traces import Trace

Row = dict[str, Any]
Key = tuple[int, int]  # stream and event

CALL = (
    "stream", "event", "last_event", "function", "parent", "depth", "started_ns", "duration_ns", "how",
    "chunk", "n_folded",
)  # fmt: skip
LIMIT = 200  # calls, unless another number is asked for
_SAME_INSIDE = 3  # calls of a function within each other that are shown
_SAME_BESIDE = 6  # calls of a function beside each other
_READ = 4  # rows that are read for each that may be shown
_MOST_ROWS = 20_000
_MOST_EXCEPTIONS = 1_000
_LOOKED_BACK = 100  # calls on the screen
_SELECT = f"SELECT {', '.join(CALL)} FROM trace_calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a tree is narrowed by; every field narrows, but for `depth`, which unfolds recursion as well."""

    function: str | None = None  # a glob of its name
    file: str | None = None
    thread: str | None = None
    min_ms: float | None = None
    depth: int | None = None  # levels, from the outermost
    limit: int | None = None  # calls; None: LIMIT

    @property
    def is_narrow(self) -> bool:
        """Whether calls are missing because nobody asked for them."""
        return any(one is not None for one in (self.function, self.file, self.min_ms, self.depth))


@dataclass(slots=True, kw_only=True)
class Call:
    """A call that is shown. `is_asked`: it is not only there because of what it called."""

    row: Row
    is_asked: bool = True
    inside: list[Call] = field(default_factory=list)
    raised: list[Row] = field(default_factory=list)  # rows of trace_exceptions
    caught: list[Row] = field(default_factory=list)
    more: list[Row] = field(default_factory=list)  # `function` (None: several), `count`, `total_ns`, `deep`

    @property
    def key(self) -> Key:
        return self.row["stream"], self.row["event"]


@dataclass(slots=True, kw_only=True)
class Tree:
    """The outermost calls of each stream in their order. `raised`: what was raised in none that is shown."""

    top: dict[int, list[Call]]
    raised: dict[int, list[Row]]
    hidden: dict[int, int]  # outermost calls of a stream that are not shown

    def each(self) -> list[Call]:
        """Every call, callers before what they called."""
        found: list[Call] = []
        waiting = [call for calls in reversed(self.top.values()) for call in reversed(calls)]
        while waiting:
            found.append(waiting.pop())
            waiting += reversed(found[-1].inside)
        return found


def tree(trace: Trace, wanted: Wanted) -> Tree:
    """The calls that are worth a line. Raises UsageError ERR_FILTER for a pattern that nothing fits."""
    streams = trace.streams_of(wanted.thread)
    numbers = trace.functions_of(wanted.function, wanted.file)
    limit = LIMIT if wanted.limit is None else wanted.limit
    asked = _slowest(trace, wanted, streams, numbers, min(limit * _READ, _MOST_ROWS))
    around = _around(trace, asked)
    every = {key: Call(row=row, is_asked=key in asked) for key, row in (around | asked).items()}
    roots = _joined(every)
    if wanted.depth is None and numbers is None:
        _fold(every, roots)
    shown = _kept(every, roots, limit)
    top: dict[int, list[Call]] = {stream: [] for stream in streams}
    for call in roots:
        if call.key in shown:
            top[call.row["stream"]].append(call)
    found = Tree(top=top, raised=defaultdict(list), hidden={})
    _place_exceptions(trace, found, numbers)
    if not wanted.is_narrow:
        _count_rest(trace, found)
    return found


# --- reading ---


def _slowest(
    trace: Trace, wanted: Wanted, streams: Sequence[int], numbers: set[int] | None, most: int
) -> dict[Key, Row]:
    """What is still open counts as slowest."""
    where, values = ["session = ?", "stream IN (SELECT value FROM json_each(?))"], [trace.session]
    values.append(json.dumps(streams))
    if numbers is not None:
        where.append("function IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(numbers)))
    if wanted.min_ms is not None:
        where.append(f"(duration_ns >= {round(wanted.min_ms * 1e6)} OR duration_ns IS NULL)")
    if wanted.depth is not None:
        where.append(f"depth < {wanted.depth}")
    rows = trace.db.execute(
        f"{_SELECT} WHERE {' AND '.join(where)}"
        f" ORDER BY duration_ns IS NOT NULL, duration_ns DESC, event LIMIT {most}",
        values,
    )
    return _by_key(rows)


def _around(trace: Trace, found: dict[Key, Row]) -> dict[Key, Row]:
    """The callers of these that are not among them."""
    known: dict[Key, Row] = {}
    missing = _callers(found.values()) - found.keys()
    while missing and len(known) < _MOST_ROWS:
        pairs = json.dumps(sorted(missing))
        rows = trace.db.execute(
            f"SELECT {', '.join(f't.{name}' for name in CALL)} FROM json_each(?) j CROSS JOIN trace_calls t"
            " WHERE t.session = ? AND t.stream = j.value ->> 0 AND t.event = j.value ->> 1",
            (pairs, trace.session),
        )
        new = _by_key(rows)
        known |= new
        missing = _callers(new.values()) - found.keys() - known.keys()
    return known


def _callers(rows: Iterable[Row]) -> set[Key]:
    return {(row["stream"], row["parent"]) for row in rows if row["parent"] is not None}


def _by_key(rows: Iterable[tuple[Any, ...]]) -> dict[Key, Row]:
    found = [dict(zip(CALL, row, strict=True)) for row in rows]
    return {(row["stream"], row["event"]): row for row in found}


# --- choosing ---


def _joined(every: dict[Key, Call]) -> list[Call]:
    """Each call into the one around it; returns the outermost."""
    roots: list[Call] = []
    for key in sorted(every):
        call = every[key]
        parent = every.get((key[0], call.row["parent"])) if call.row["parent"] is not None else None
        (roots if parent is None or parent.key >= key else parent.inside).append(call)
    return roots


def _fold(every: dict[Key, Call], roots: list[Call]) -> None:
    """Take out what repeats: recursion from the fourth call on, and most calls of a function in a row."""
    waiting: list[tuple[Call, Counter[int]]] = [(call, Counter()) for call in roots]
    while waiting:
        call, above = waiting.pop()
        inner = above + Counter([call.row["function"]])
        kept = _worth_it(call.inside)
        for one in call.inside:
            if inner[one.row["function"]] >= _SAME_INSIDE or one.key not in kept:
                _drop(every, one)
        call.inside = [one for one in call.inside if one.key in every]
        waiting += [(one, inner) for one in call.inside]


def _worth_it(calls: Sequence[Call]) -> set[Key]:
    """Of each function the first ones and the slowest."""
    by_function: dict[int, list[Call]] = defaultdict(list)
    for call in calls:
        by_function[call.row["function"]].append(call)
    kept: set[Key] = set()
    for some in by_function.values():
        slowest = sorted(some, key=_time_left)
        few = len(some) <= _SAME_BESIDE
        half = _SAME_BESIDE // 2
        kept |= {one.key for one in (some if few else [*some[:half], *slowest[:half]])}
    return kept


def _drop(every: dict[Key, Call], call: Call) -> None:
    waiting = [call]
    while waiting:
        one = waiting.pop()
        every.pop(one.key, None)
        waiting += one.inside


def _kept(every: dict[Key, Call], roots: list[Call], limit: int) -> set[Key]:
    """The slowest of those that are left, with their callers; the others are taken out of the tree."""
    by_time = sorted(every.values(), key=lambda call: (not call.is_asked, _time_left(call), call.key))
    shown: set[Key] = set()
    for call in by_time[:limit]:
        at: Call | None = call
        while at is not None and at.key not in shown:
            shown.add(at.key)
            at = every.get((at.key[0], at.row["parent"]))
    waiting = list(roots)
    while waiting:
        call = waiting.pop()
        call.inside = [one for one in call.inside if one.key in shown]
        waiting += call.inside
    return shown


def _time_left(call: Call) -> tuple[bool, int]:
    duration = call.row["duration_ns"]
    return duration is not None, -(duration or 0)


# --- what is not shown ---


def _count_rest(trace: Trace, found: Tree) -> None:
    """Below each call, by function, those that it made and that have no line."""
    calls = {call.key: call for call in found.each()}
    rows = trace.db.execute(
        "SELECT stream, parent, function, count(*), sum(duration_ns) FROM trace_calls"
        " WHERE session = ? GROUP BY 1, 2, 3",
        (trace.session,),
    )
    for stream, parent, function, count, total_ns in rows:
        call = calls.get((stream, parent)) if parent is not None else None
        if parent is None:
            left = count - sum(one.row["function"] == function for one in found.top.get(stream, ()))
            found.hidden[stream] = found.hidden.get(stream, 0) + left
        elif call is not None:
            same = [one.row["duration_ns"] or 0 for one in call.inside if one.row["function"] == function]
            if count > len(same):
                call.more.append(
                    _more(function, count - len(same), max((total_ns or 0) - sum(same), 0), deep=False)
                )
    for call in calls.values():
        if any(one["function"] == call.row["function"] for one in call.more):
            _count_recursion(trace, call)
        elif call.row["n_folded"]:
            call.more.append(_more(None, call.row["n_folded"], None, deep=True))


def _count_recursion(trace: Trace, call: Call) -> None:
    """A function that called itself: all calls below it in one number."""
    row = call.row
    found = trace.db.execute(
        "SELECT count(*), sum(n_folded), min(function), max(function) FROM trace_calls"
        " WHERE session = ? AND stream = ? AND event > ? AND event < ?",
        (trace.session, row["stream"], row["event"], row["last_event"] or 1 << 62),
    ).fetchone()
    count, folded, least, most = found
    shown = len(_below(call))
    total_ns = sum(one["total_ns"] or 0 for one in call.more)
    same = least == most == row["function"]
    left = count - shown + (folded or 0) + row["n_folded"]
    call.more = [_more(row["function"] if same else None, left, total_ns, deep=True)]


def _below(call: Call) -> list[Call]:
    found, waiting = [], list(call.inside)
    while waiting:
        found.append(waiting.pop())
        waiting += found[-1].inside
    return found


def _more(function: int | None, count: int, total_ns: int | None, *, deep: bool) -> Row:
    return {"function": function, "count": count, "total_ns": total_ns, "deep": deep}


# --- exceptions ---


def _place_exceptions(trace: Trace, found: Tree, numbers: set[int] | None) -> None:
    """Each exception to the innermost call on the screen in which it was raised, and where it was caught."""
    rows = exceptions(trace, sorted(found.top), _MOST_EXCEPTIONS)
    calls: dict[int, list[Call]] = defaultdict(list)
    for call in found.each():
        calls[call.key[0]].append(call)
    by_event = {stream: {call.row["event"]: call for call in here} for stream, here in calls.items()}
    for row in rows:
        here, known = calls[row["stream"]], by_event.get(row["stream"], {})
        inside = _innermost(here, known, row["event"], row["function"])
        if inside is not None:
            inside.raised.append(row)
        elif numbers is None:
            found.raised[row["stream"]].append(row)
        caught = _innermost(here, known, row["handled"]) if row["handled"] is not None else None
        if caught is not None and caught is not inside:
            caught.caught.append(row)


def exceptions(trace: Trace, streams: Sequence[int], limit: int) -> list[Row]:
    """The exceptions that were raised in these streams, in their order."""
    names = ("stream", "event", "function", "line", "text", "handled", "at_ns")
    rows = trace.db.execute(
        f"SELECT {', '.join(names)} FROM trace_exceptions WHERE session = ?"
        " AND stream IN (SELECT value FROM json_each(?)) ORDER BY stream, event LIMIT ?",
        (trace.session, json.dumps(list(streams)), limit),
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def _innermost(calls: list[Call], by_event: dict[int, Call], event: int, function: int = 0) -> Call | None:
    """`calls`: of one stream, in their order. A call of that function is preferred: tasks take turns."""
    at = bisect_right(calls, event, key=lambda call: call.row["event"]) - 1
    for call in reversed(calls[max(at + 1 - _LOOKED_BACK, 0) : at + 1] if function else []):
        if call.row["function"] == function and (call.row["last_event"] or event) >= event:
            return call
    inner = calls[at] if at >= 0 else None
    while inner is not None and inner.row["last_event"] is not None and inner.row["last_event"] < event:
        inner = by_event.get(inner.row["parent"]) if inner.row["parent"] is not None else None
    return inner
