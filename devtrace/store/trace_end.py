"""Where a trace begins and ends in the record: its session, what runs, the one event, its gaps.

What a recorded process says of itself was redacted there. It is taken for no more than its shape: what does
not fit is left out.

Lives here: `begin`, `end`, the rare records of a stream. Not here: blocks (traces.py), rows
(trace_tables.py).
"""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import replace
from typing import Any

from devtrace.errors import UsageError
from devtrace.events import Event, Gap, PythonTrace, gap_event, is_int, is_moment, is_plain, is_shallow
from devtrace.store import sessions, trace_io, trace_tables
from devtrace.store.append import append_within, row_of
from devtrace.store.connection import transaction
from devtrace.store.trace.scan import Scan
from devtrace.store.trace.segments import Block

_OF_SESSION = ("parent_session", "parent_event", "agent", "actor", "title", "repo_root", "cwd", "host")
_TEXTS = ("executable", "python", "engine", "engine_because", "detail")
_IN_META = ("pid", "ppid", "policy", "forked_from")
_MOST_REASON = 64  # characters
_MOST_HELD = 1 << 62
_NO_THREAD = 0  # the ident of a stream that no thread of the program wrote


# --- what is rare in a stream -------------------------------------------------------------------------------


def shape_of(note: dict[str, Any]) -> dict[str, Any]:
    """`thread`, `exit` or `io` of a note, as far as they fit."""
    told: dict[str, Any] = {}
    thread, ended = note.get("thread"), note.get("exit")
    if isinstance(thread, dict):
        name = thread.get("name")
        ident = thread.get("ident") if is_int(thread.get("ident")) else None
        told["thread"] = {"ident": ident, "name": _storable(name) if isinstance(name, str) else ""}
    if isinstance(ended, dict):
        told["exit"] = {
            "code": ended.get("code") if is_int(ended.get("code")) else None,
            "label": ended.get("label") if isinstance(ended.get("label"), str) else None,
            "ended_us": ended.get("ended_us") if is_moment(ended.get("ended_us")) else None,
            **{name: _plain(ended.get(name)) for name in ("metrics", "trace_filter")},
        }
    if (counts := _plain(note.get("io"))) is not None:
        told["io"] = counts
    return told


def reason_of(note: dict[str, Any]) -> str | None:
    """Why something was not kept: trace_full, disk_full ..."""
    gap = note.get("gap")
    reason = gap.get("reason") if isinstance(gap, dict) else None
    return _storable(reason[:_MOST_REASON]) if isinstance(reason, str) and reason else None


def lines_of(folded: list[Any]) -> int:
    """How many lines were folded away, as [[function, line, how often] ...] tells it."""
    counts = [one[2] for one in folded if isinstance(one, list) and len(one) == 3 and is_int(one[2])]
    return sum(count for count in counts if 0 < count < 1 << 40)


def _plain(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) and is_shallow(value) and is_plain(value) else None


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


# --- begin --------------------------------------------------------------------------------------------------


def begin(db: sqlite3.Connection, session: str, pid: int, head: Block, *, is_whole: bool) -> bool:
    """Write the session and that it runs; False while its process has not told of itself.

    `head`: the first block of it that there is. `is_whole`: nothing will be added to that.
    """
    notes = Scan(head).notes
    told = next((note["process"] for note in notes if isinstance(note.get("process"), dict)), None)
    if told is None and not is_whole:
        return False
    told = told or {}
    body = _body(told, pid)
    columns = _columns(session, told, head) | {"title": body.headline()}
    event = Event(
        session=session,
        id=trace_tables.trace_id(session),
        actor=str(columns.get("actor") or "human"),
        started_us=columns["started_us"],
        status="running",
        source="recorder",
        trusted=0,
        body=body,
    )
    with transaction(db):
        sessions.write_row(db, columns)
        append_within(db, [row_of(event.to_frame())])
    return True


def _columns(session: str, told: dict[str, Any], head: Block) -> dict[str, Any]:
    """The session's row, by what its process says of itself and fits."""
    started_us = told.get("started_us")
    wall_us = head.wall_ns // 1_000
    own = {
        "id": session,
        "kind": "recorder",
        "started_us": started_us if is_moment(started_us) else wall_us if is_moment(wall_us) else 0,
        "status": "active",
        "host": os.uname().nodename,
        "meta": {name: told[name] for name in _IN_META if _fits_meta(told.get(name))},
    }
    for name in _OF_SESSION:
        if told.get(name) not in (None, "", session):
            try:
                own = sessions.check_columns({**own, name: told[name]})
            except UsageError:
                continue
    return own


def _fits_meta(value: object) -> bool:
    return (
        value is not None and (not isinstance(value, (dict, list)) or is_shallow(value)) and is_plain(value)
    )


def _body(told: dict[str, Any], pid: int) -> PythonTrace:
    argv = told.get("argv")
    texts = {name: told[name] for name in _TEXTS if isinstance(told.get(name), str)}
    return PythonTrace(
        argv=[one for one in argv if isinstance(one, str)] if isinstance(argv, list) else [],
        cwd=told["cwd"] if isinstance(told.get("cwd"), str) else None,
        pid=pid,
        trace_filter=_plain(told.get("trace_filter")),
        **texts,
    )


# --- the end ------------------------------------------------------------------------------------------------


def end(db: sqlite3.Connection, session: str, gap: str = "") -> None:
    """Write the event that stands for the trace, end and seal its session.

    `gap`: why it is known to be incomplete, besides what its streams say. Nothing more of it is to be taken.
    """
    begun, kept = _begun(db, session)
    streams = db.execute(
        "SELECT state, n_events, ended_us FROM trace_streams WHERE session = ? ORDER BY stream", (session,)
    ).fetchall()
    states = [trace_tables.loads(state) if state else {} for state, *_ in streams]
    told = max((one["exit"] for one in states if "exit" in one), key=_ended_us, default=None)
    last_us = max((ended_us for *_, ended_us in streams), default=begun.started_us)
    ended_us = max(begun.started_us, (told or {}).get("ended_us") or last_us)
    body = _ended_body(db, session, begun.body, told, states)  # type: ignore[arg-type]
    body = replace(
        body,
        n_events=sum(n_events for _, n_events, _ in streams),
        duration_us=ended_us - begun.started_us if told is not None else None,
        chunks=trace_tables.digest_of_chunks(db, session),
        tables=trace_tables.digest_of_tables(db, session),
    )
    exit_source = "unknown" if told is None else "recorder" if body.exit_code is not None else None
    event = replace(begun, ended_us=ended_us, status=_status(told), exit_source=exit_source, body=body)
    frame = event.to_frame()
    frame["data"] |= kept
    frame["blobs"] = trace_tables.named_blobs(db, session)
    gaps = _gaps(session, states, gap, begun.started_us, ended_us)
    with transaction(db):
        append_within(db, [row_of(one.to_frame()) for one in gaps] + [row_of(frame)])
        db.execute("UPDATE trace_streams SET state = NULL WHERE session = ?", (session,))
        status = "interrupted" if told is None else "ended"
        sessions.end_within(db, session, ended_us, status, body.exit_code)


def tell_late(db: sqlite3.Connection, session: str, name: str) -> None:
    """A file came after its trace had ended. Inside a transaction that the caller holds."""
    row = db.execute("SELECT started_us, ended_us FROM sessions WHERE id = ?", (session,)).fetchone()
    since_us, until_us = row if row is not None else (0, 0)
    gap = Gap(reason="late_segment", count=1, detail=f"spool/unfit/{name}")
    append_within(db, [row_of(gap_event(session, gap, since_us, until_us or since_us).to_frame())])


def _begun(db: sqlite3.Connection, session: str) -> tuple[Event, dict[str, Any]]:
    """The event as it ran, and what the store added to its data."""
    event = trace_tables.trace_id(session)
    select = "SELECT actor, started_us, data FROM running WHERE session = ? AND id = ?"
    row = db.execute(select, (session, event)).fetchone()
    if row is None:  # it was taken away; the session's row is all there is
        select = "SELECT actor, started_us, '{}' FROM sessions WHERE id = ?"
        row = db.execute(select, (session,)).fetchone()
    actor, started_us, data = row
    told = json.loads(data)
    pid = told.get("pid")
    kept = {name: value for name, value in told.items() if name.endswith("_b64")}
    begun = Event(
        session=session,
        id=event,
        actor=actor,
        started_us=started_us,
        status="running",
        source="recorder",
        trusted=0,
        body=_body(told, pid if is_int(pid) else 0),
    )
    return begun, kept


def _ended_body(
    db: sqlite3.Connection,
    session: str,
    body: PythonTrace,
    told: dict[str, Any] | None,
    states: list[dict[str, Any]],
) -> PythonTrace:
    calls = "SELECT coalesce(sum(n_calls), 0) FROM trace_functions WHERE session = ?"
    stats = (told or {}).get("trace_filter")
    return replace(
        body,
        exit_code=(told or {}).get("code"),
        label=(told or {}).get("label"),
        n_calls=db.execute(calls, (session,)).fetchone()[0],
        n_exceptions=sum(one.get("calls", {}).get("n_raised", 0) for one in states),
        n_threads=sum((one.get("thread") or {}).get("ident") != _NO_THREAD for one in states),
        n_folded=sum(one.get("n_folded", 0) + one.get("n_in_fold", 0) for one in states),
        metrics=(told or {}).get("metrics"),
        trace_filter=body.trace_filter if stats is None else {**(body.trace_filter or {}), "stats": stats},
        **_io(db, session, states),
    )


def _io(db: sqlite3.Connection, session: str, states: list[dict[str, Any]]) -> dict[str, Any]:
    """What is told of the standard streams."""
    n_chunks, sizes = trace_io.totals(db, session)
    reached = [one.get("io_chunks", {}).get("reached", {}) for one in states]
    origin_ns = next((one["origin_ns"] for one in states if "origin_ns" in one), 0)
    return {
        "n_io_chunks": n_chunks,
        "io_bytes": sizes or None,
        "unflushed": trace_io.unflushed(db, session, reached, origin_ns) or None,
        "io": next((one["io"] for one in states if "io" in one), None),
    }


def _status(told: dict[str, Any] | None) -> str:
    if told is None:
        return "unknown"
    return "failed" if told["code"] else "ok"


def _gaps(session: str, states: list[dict[str, Any]], gap: str, since_us: int, until_us: int) -> list[Event]:
    """One for each reason that the streams tell."""
    counts: dict[str, int] = {gap: 1} if gap else {}
    for state in states:
        for reason, count in state.get("gaps", {}).items():
            counts[reason] = counts.get(reason, 0) + count
        if state.get("n_broken"):
            counts["damaged_block"] = counts.get("damaged_block", 0) + state["n_broken"]
    held = sum(state.get("io_chunks", {}).get("held", 0) for state in states)
    if held and not any("exit" in state for state in states):
        counts["io_held_back"] = min(held, _MOST_HELD)
    return [
        gap_event(
            session, Gap(reason=reason, count=count, detail=_DETAILS.get(reason, "")), since_us, until_us
        )
        for reason, count in counts.items()
    ]


_DETAILS = {
    "fd_mirror_failed": "what was written below Python was not recorded, or no more; the program went on",
    "io_after_end": "what children wrote after the program had ended was shown and not recorded",
    "trace_full": "the trace had as many bytes as it may have; nothing was recorded from then on",
    "disk_full": "the disk had no room left; nothing was recorded from then on",
    "damaged_block": "blocks of a segment that hold what no recorder wrote, counted",
    "io_held_back": "bytes that were kept back until it was known whether a secret is in them, and were lost"
    " with the program; counted",
    "segments_removed": "files of it were removed, or are in spool/unfit: what they held is not here",
}


def _ended_us(told: dict[str, Any]) -> int:
    return told["ended_us"] or 0
