"""Taking events and outputs out of the record, so that it can be seen that, what and when.

Of a pruned event its stub stays (the table `pruned`), so that the chain goes on; an event whose outputs are
pruned stays whole, and their digests are written down (`pruned_blobs`). With every few of them, in the same
transaction, a `policy` event in the chain of that session lists what went.

Never touched: sessions that go on or whose host lives, and the events that say what the record lacks.

Lives here: which events an order means, and pruning them. Not here: who orders it and when
(services/prune.py), giving the disk its space back (space.py), checking the stubs (chain.py).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from devtrace.events import Event, Policy
from devtrace.ids import new_span_id
from devtrace.store import blobs, chain, search_index, trace_io, trace_tables
from devtrace.store.append import append_within, row_of
from devtrace.store.connection import transaction
from devtrace.store.hold import dead
from devtrace.workspace import Workspace

EVENTS, OUTPUTS = "events", "outputs"
WHENEVER = 1 << 62  # later than any moment
BATCH = 200  # events of one transaction: a live session waits for it
_LEAST_REST_S = 0.002  # between two of them, in which others get their turn
_KEPT = ("policy", "gap")  # kinds that say what the record lacks


class Order(NamedTuple):
    """What may go: all conditions must hold. Moments are microseconds since the epoch."""

    what: str  # EVENTS, with their outputs, or OUTPUTS alone
    until_us: int | None  # what had ended by then, of the kinds that `by_kind` does not name; None: nothing
    by_kind: Mapping[str, int | None] = {}
    sessions: Sequence[str] | None = None  # None: all
    larger_than: int = -1  # bytes: of an event with its outputs, or of the outputs
    keep_labelled: bool = True  # sessions and snapshots that somebody gave a label
    batch: int = BATCH  # events of one transaction


class Author(NamedTuple):
    """Who is told to have done it."""

    actor: str
    source: str
    trusted: int


class Share(NamedTuple):
    """What goes, or would go, of one session. `size` is in bytes, as they are stored."""

    session: str
    events: int
    outputs: int
    size: int


_Goes = Callable[[], bool]
_Condition = tuple[str, list[object]]


def shares(db: sqlite3.Connection, workspace: Workspace, order: Order) -> list[Share]:
    """What an order would take of each session, the oldest first. Nothing is written."""
    found = (_share(db, order, session) for session in _sessions(db, workspace, order))
    return [share for share in found if share.events or share.outputs]


def prune(
    db: sqlite3.Connection,
    workspace: Workspace,
    order: Order,
    author: Author,
    goes_on: _Goes = lambda: True,
) -> Iterator[Share]:
    """Do it, the oldest sessions first, as long as `goes_on`; gives what went with each transaction.

    Killed in the middle it has done less: what its words left in the segments of the search index goes when
    that is filled next. Raises sqlite3.Error; what was given before stays done.
    """
    batch = _prune_events if order.what == EVENTS else _prune_outputs
    for session in _sessions(db, workspace, order):
        after = 0
        while goes_on() and (seqs := _selected(db, order, session, after)):
            began = time.monotonic()
            with transaction(db):
                whole = _pairs(db, order, session, seqs)
                share = batch(db, session, whole, author) if whole and _is_over(db, session) else None
            if share is not None:
                yield share
            after = seqs[-1]
            # SQLite knows no queue: who has just let go of the lock would mostly be the next to have it.
            time.sleep(max(time.monotonic() - began, _LEAST_REST_S))
        if not goes_on():
            return
    search_index.scrub(db, goes_on)


# --- which ----------------------------------------------------------------------------------------------


def _sessions(db: sqlite3.Connection, workspace: Workspace, order: Order) -> list[str]:
    """Those that are over and may hold something of it."""
    ages = [age for age in (order.until_us, *order.by_kind.values()) if age is not None]
    if not ages:
        return []
    parts = ["status <> 'active'", "(started_us < ? OR kind = 'import')"]
    values: list[object] = [max(ages)]
    if order.keep_labelled:
        parts.append(f"NOT ({LABELLED})")
    if order.sessions is not None:
        parts.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(list(order.sessions)))
    if order.what == OUTPUTS:
        parts.append("id IN (SELECT e.session FROM outputs CROSS JOIN events e ON e.seq = outputs.seq)")
    elif order.until_us is None:
        kinds = "kind IN (SELECT value FROM json_each(?)) AND started_us < ?"
        parts.append(f"id IN (SELECT session FROM events WHERE {kinds})")
        values += [json.dumps(list(order.by_kind)), max(ages)]
    rows = db.execute(f"SELECT id FROM sessions WHERE {' AND '.join(parts)} ORDER BY started_us, id", values)
    return [session for (session,) in rows.fetchall() if _is_left(db, workspace, session)]


# A title is the user's own where a shell or a program was started with `--label`; an order's is its name.
LABELLED = "kind IN ('shell', 'run') AND title <> ''"


def _is_left(db: sqlite3.Connection, workspace: Workspace, session: str) -> bool:
    with dead(workspace, session) as is_dead:
        return is_dead and _is_over(db, session)


def _is_over(db: sqlite3.Connection, session: str) -> bool:
    over = "SELECT 1 FROM sessions WHERE id = :session AND status <> 'active'"
    over += " AND NOT EXISTS (SELECT 1 FROM running WHERE session = :session)"
    return db.execute(over, {"session": session}).fetchone() is not None


def _condition(order: Order) -> _Condition:
    """The WHERE over `e`, an event, and `o`, its outputs."""
    ages = "".join(" WHEN ? THEN ?" for _ in order.by_kind)
    limit = f"CASE e.kind{ages} ELSE ? END" if ages else "?"
    values: list[object] = [one for pair in order.by_kind.items() for one in pair]
    parts = [f"coalesce(e.ended_us, e.started_us) < {limit}"]
    values.append(order.until_us)
    if order.what == EVENTS:
        parts.append(f"e.kind NOT IN ({', '.join('?' * len(_KEPT))})")
        values += _KEPT
    if order.keep_labelled:
        parts.append("NOT (e.kind = 'git_snapshot' AND coalesce(json_extract(e.data, '$.label'), '') <> '')")
    if order.larger_than >= 0:
        size = f"{_SIZE} + coalesce(o.size, 0)" if order.what == EVENTS else "o.size"
        parts.append(f"{size} > ?")
        values.append(order.larger_than)
    return " AND ".join(parts), values


_SIZE = "length(CAST(e.data AS BLOB))"


def _from(order: Order) -> str:
    return f"FROM events e {'LEFT JOIN' if order.what == EVENTS else 'JOIN'} outputs o ON o.seq = e.seq"


def _selected(
    db: sqlite3.Connection, order: Order, session: str, after: int, most: int | None = None
) -> list[int]:
    where, values = _condition(order)
    select = f"SELECT e.seq {_from(order)} WHERE e.session = ? AND e.seq > ? AND {where}"
    most = order.batch if most is None else most
    rows = db.execute(f"{select} ORDER BY e.seq LIMIT ?", (session, after, *values, most))
    return [seq for (seq,) in rows.fetchall()]


def _pairs(db: sqlite3.Connection, order: Order, session: str, seqs: Sequence[int]) -> list[int]:
    """A command that was cut short and its late end are one to the reader: both go, or none."""
    if order.what != EVENTS:
        return list(seqs)
    ends = db.execute(_ENDS, {"seqs": json.dumps(seqs), "session": session}).fetchall()
    others = {other for pair in ends for other in pair} - set(seqs)
    where, values = _condition(order._replace(larger_than=-1))
    select = f"SELECT e.seq {_from(order)} WHERE e.seq IN ({_LISTED}) AND {where}"
    old_enough = {seq for (seq,) in db.execute(select, (json.dumps(sorted(others)), *values))}
    young = {seq for pair in ends for seq in pair if set(pair) & (others - old_enough)}
    return sorted({*seqs, *old_enough} - young)


def _share(db: sqlite3.Connection, order: Order, session: str) -> Share:
    seqs = _pairs(db, order, session, _selected(db, order, session, 0, -1))
    row = db.execute(
        f"SELECT count(*), count(o.seq), CAST(total({_SIZE}) AS INTEGER), CAST(total({_STORED}) AS INTEGER)"
        f" {_from(order)} WHERE e.seq IN ({_LISTED})",
        (json.dumps(seqs),),
    ).fetchone()
    events, outputs, size, stored = row
    whole = order.what == EVENTS
    return Share(session, events if whole else 0, outputs, size + stored if whole else stored)


# What several events name goes when the last of them lets go: each has its part of it.
_STORED = """
    CASE WHEN o.seq IS NOT NULL THEN (
        SELECT total(length(b.data) * 1.0 / max(b.refs, 1)) FROM json_each(e.data, '$.blobs') named
        JOIN blobs b ON b.sha256 = json_extract(named.value, '$.sha256')
    ) END
"""


# --- taking them out ------------------------------------------------------------------------------------

_LISTED = "SELECT value FROM json_each(?)"
_ENDS = """
    WITH going(id) AS (SELECT id FROM events WHERE seq IN (SELECT value FROM json_each(:seqs)))
    SELECT first.seq, second.seq FROM links
    JOIN events first ON first.session = links.session AND first.id = event
    JOIN events second ON second.session = links.session AND second.id = other_event
    WHERE links.session = :session AND other_session = :session AND relation = 'end'
    AND (event IN (SELECT id FROM going) OR other_event IN (SELECT id FROM going))
"""
_NAMED = f"""
    SELECT json_extract(named.value, '$.sha256'), count(*)
    FROM outputs CROSS JOIN events e ON e.seq = outputs.seq, json_each(e.data, '$.blobs') named
    WHERE outputs.seq IN ({_LISTED}) GROUP BY 1
"""


def _prune_events(db: sqlite3.Connection, session: str, seqs: Sequence[int], author: Author) -> Share | None:
    select = f"SELECT seq, id, kind, hash, {_SIZE} FROM events e WHERE session = ? AND seq IN ({_LISTED})"
    rows = db.execute(f"{select} ORDER BY seq", (session, json.dumps(seqs))).fetchall()
    if not rows:  # another process was quicker
        return None
    stubs, seqs = [list(row[:4]) for row in rows], [row[0] for row in rows]
    outputs, freed, _ = _let_outputs_go(db, seqs)
    size = sum(row[4] for row in rows) + freed
    by_event = _tell(db, session, author, _policy(EVENTS, len(stubs), size, seqs, stubs))
    columns = "seq, id, kind, hash, session, by_event"
    insert = f"INSERT INTO pruned ({columns}) VALUES (?, ?, ?, ?, ?, ?)"
    db.executemany(insert, [(*stub, session, by_event) for stub in stubs])
    _take_out(db, session, seqs, [row[1] for row in rows])
    return Share(session, len(stubs), outputs, size)


def _take_out(db: sqlite3.Connection, session: str, seqs: Sequence[int], events: Sequence[str]) -> None:
    ids = json.dumps(events)
    db.execute(f"DELETE FROM file_changes WHERE event IN ({_LISTED}) AND session = ?", (ids, session))
    if trace_tables.trace_id(session) in events:
        trace_tables.forget(db, session)
        trace_io.forget(db, session)
    trace_io.forget(db, session, events)
    search_index.forget(db, seqs)
    for mine, event in (("session", "event"), ("other_session", "other_event")):
        db.execute(f"DELETE FROM links WHERE {mine} = ? AND {event} IN ({_LISTED})", (session, ids))
    db.execute(f"DELETE FROM events WHERE seq IN ({_LISTED})", (json.dumps(seqs),))


def _prune_outputs(db: sqlite3.Connection, session: str, seqs: Sequence[int], author: Author) -> Share | None:
    outputs, freed, digests = _let_outputs_go(db, seqs)
    if not outputs:
        return None
    known = db.execute(f"SELECT sha256 FROM pruned_blobs WHERE sha256 IN ({_LISTED})", (json.dumps(digests),))
    new = sorted(set(digests) - {digest for (digest,) in known})
    by_event = _tell(db, session, author, _policy(OUTPUTS, outputs, freed, seqs, new))
    db.executemany("INSERT INTO pruned_blobs VALUES (?, ?, ?)", [(one, session, by_event) for one in new])
    search_index.forget_outputs(db, seqs)
    return Share(session, 0, outputs, freed)


def _let_outputs_go(db: sqlite3.Connection, seqs: Sequence[int]) -> tuple[int, int, list[str]]:
    """How many events kept outputs and keep them no longer, the bytes that are free now, the digests."""
    names = db.execute(_NAMED, (json.dumps(seqs),)).fetchall()
    freed = blobs.let_go(db, dict(names))
    for session in _traces(db, seqs):
        trace_tables.forget_chunks(db, session)
    done = db.execute(f"DELETE FROM outputs WHERE seq IN ({_LISTED})", (json.dumps(seqs),)).rowcount
    return done, freed, [digest for digest, _ in names]


def _traces(db: sqlite3.Connection, seqs: Sequence[int]) -> list[str]:
    """The sessions whose traces are among the events."""
    select = f"SELECT session, id FROM events WHERE seq IN ({_LISTED}) AND kind = 'python_trace'"
    rows = db.execute(select, (json.dumps(seqs),)).fetchall()
    return [session for session, event in rows if event == trace_tables.trace_id(session)]


def _policy(
    rule: str, count: int, size: int, seqs: Sequence[int], listed: Sequence[list[object]] | Sequence[str]
) -> Policy:
    return Policy(
        action="pruned",
        rule=rule,
        count=count,
        size=size,
        first_seq=seqs[0],
        last_seq=seqs[-1],
        listed=len(listed) or None,
        sha256=chain.list_digest(listed) if listed else None,
    )


def _tell(db: sqlite3.Connection, session: str, author: Author, body: Policy) -> str:
    """Append the `policy` event while the head of the chain is still there; returns its id."""
    now_us = time.time_ns() // 1_000
    event = Event(
        session=session,
        id=new_span_id(),
        actor=author.actor,
        started_us=now_us,
        ended_us=now_us,
        status="ok",
        source=author.source,
        trusted=author.trusted,
        body=body,
    )
    append_within(db, [row_of(event.to_frame())], recorded_us=now_us)
    return event.id
