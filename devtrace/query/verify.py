"""Whether the record is what was written: chains, seals, blobs, and the tables made from events.

What is found is named by what must have been done to it. Where two doings leave the same trace, the words say
both. Nothing is changed, and nothing is guessed from times.

Lives here: `verify`, its findings. Not here: the canonical form and the links (store/chain.py), how it is
shown (views/verify.py).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from devtrace.errors import DevTraceError
from devtrace.query import seals
from devtrace.query.seals import Kept, Late
from devtrace.store import blobs, chain, changes, trace_io, trace_tables
from devtrace.store.append import late_end_id

MOST_LISTED = 100  # findings of one session
_MOST_COMPARED = 20  # events of a broken chain for which the place is looked for that they followed

# What was found, in plain words; a `doubt` may have an innocent reason.
FINDINGS = {
    "changed": "its content was changed after it was recorded, or the event before it was removed",
    "removed": "events that stood before it were removed",
    "inserted": "it was put in between: the next event follows the one before it",
    "reordered": "it stands before the event that it follows",
    "truncated": "the last events were removed: a seal covers more than there is",
    "seal": "the event under a seal is another one now: the chain was written anew",
    "unsealed": "the session has ended, and a seal over its last events is missing",
    "blob_missing": "the output or content that it names was removed",
    "blob_changed": "the output or content that it names was changed",
    "index": "a table that was made from the events does not say what they say",
    "io": "what it covers was changed, removed or added: chunks of standard streams, or their bytes",
    "refs": "it was changed how many events name a kept output: a prune would take it too early, or never",
    "no_session": "the row of its session was removed",
    "count": "its session says that it has another number of events",
    "stub": "what is said to have been pruned here is not what the record of the pruning lists",
    "back_dated": "it says that it was recorded before the event that it follows; or the clock was set back",
    "anchor": "a seal that stands in seals.log was removed, changed or written anew in the database; or an"
    " older copy of the database was put back (then move seals.log away)",
    "anchor_file": "lines of seals.log were changed, removed or written anew, or it cannot be read",
    "unanchored": "a seal stood in no line of seals.log: it could not be written, or its line was cut off",
    "copy": "a seal that stands in the copy was removed, changed or written anew in the database",
    "copy_file": "lines of the copy do not follow one another: it is no true copy",
    "signature": "a signature does not fit its seal: one of them was changed, or the signature is forged",
    "unverified": "a signature could not be checked: ssh-keygen is missing or too old",
}
DOUBTS = frozenset({"back_dated", "unanchored", "unverified"})


class Finding(NamedTuple):
    """Something that is not as it was written."""

    session: str | None  # None: what is kept of all of them
    event: str | None  # None: the session as a whole
    what: str  # a key of FINDINGS
    number: int = 1


class Verified(NamedTuple):
    """What was looked at, and what was found. `more`: findings that are not listed."""

    sessions: int
    events: int
    seals: int
    blobs: int
    findings: list[Finding]
    more: int = 0
    anchored: int = 0  # seals that stand in seals.log as they stand in the database
    late: list[Late] = []  # noqa: RUF012 - a tuple's default, which nobody changes
    pruned: int = 0  # events of which a stub is left
    dropped: int = 0  # events whose outputs are gone, and listed as pruned

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found that has no innocent reason."""
        return all(finding.what in DOUBTS for finding in self.findings)


class _Row(NamedTuple):
    seq: int
    id: str
    hash: str
    columns: dict[str, Any]


class _Session(NamedTuple):
    findings: list[Finding]
    events: int
    pruned: int
    seals: int


def verify(
    db: sqlite3.Connection, session: str | None = None, *, kept: Kept | None = None, now_us: int = 0
) -> Verified:
    """Check one session, or all of them, and their seals against what was `kept` of them elsewhere.

    Memory follows the longest session's ids and not its data. Others may write meanwhile: it is one state of
    the database that is looked at.
    """
    db.execute("BEGIN")
    try:
        return _verify(db, session, kept or Kept(), now_us)
    finally:
        db.execute("ROLLBACK")


def _verify(db: sqlite3.Connection, session: str | None, kept: Kept, now_us: int) -> Verified:
    sessions = [session] if session is not None else _all_sessions(db)
    contents = _Contents(db)
    findings: list[Finding] = []
    n_events = n_pruned = n_seals = more = 0
    for one in sessions:
        found, events, pruned, sealed = _session(db, one, contents)
        n_events, n_pruned, n_seals = n_events + events, n_pruned + pruned, n_seals + sealed
        findings += found[:MOST_LISTED]
        more += max(0, len(found) - MOST_LISTED)
    findings += _stray(db, session)
    if session is None and not findings and chain.knows_stubs(db):  # else what was found explains it
        miscounted = _MISCOUNTED.format(_NOT_YET if trace_tables.knows_traces(db) else "")
        findings += [Finding(None, None, "refs", number) for (number,) in db.execute(miscounted) if number]
    differences, anchored = seals.differences(db, session, kept, now_us)
    findings += [Finding(one.session, None, one.what, one.number) for one in differences]
    late = seals.late(db, session)
    kept_now, gone = contents.counts()
    told = (len(sessions), n_events, n_seals, kept_now, findings, more, anchored, late, n_pruned, gone)
    return Verified(*told)


def _all_sessions(db: sqlite3.Connection) -> list[str]:
    names = "SELECT id FROM sessions UNION SELECT session FROM events UNION SELECT session FROM seals"
    names += " UNION SELECT session FROM pruned" if chain.knows_stubs(db) else ""
    return [row[0] for row in db.execute(f"SELECT id FROM ({names}) ORDER BY id")]


def _session(db: sqlite3.Connection, session: str, contents: _Contents) -> _Session:
    row = db.execute("SELECT status, n_events FROM sessions WHERE id = ?", (session,)).fetchone()
    status, counted = (None, None) if row is None else row
    findings: list[Finding] = []
    hashes: list[tuple[str, str]] = []  # (hash, id) of each event, pruned ones included
    broken: list[int] = []
    policies: dict[str, str] = {}
    n_pruned = at_us = 0
    for one in chain.walk(db, session):
        previous = hashes[-1][0] if hashes else chain.FIRST
        hashes.append((one.hash, one.id))
        if one.columns is None:
            n_pruned += 1
            continue
        event = _Row(one.seq, one.id, one.hash, one.columns)
        if _link(previous, event) != event.hash:
            broken.append(len(hashes) - 1)
        if event.columns["recorded_us"] < at_us:
            findings.append(Finding(session, event.id, "back_dated"))
        at_us = max(at_us, event.columns["recorded_us"])
        if event.columns["kind"] == "policy":
            policies[event.id] = event.columns["data"]
        findings += _about_data(db, session, event, contents)
    missing = 0 if counted is None else counted - len(hashes)
    lists = [
        Finding(session, one.event or one.by_event, "stub", max(one.number, 1))
        for one in chain.wrong_lists(db, session, policies)
    ]
    findings = [*_named(db, session, hashes, broken, missing), *lists, *findings]
    sealed, seals = _seals(db, session, hashes, status)
    findings += sealed
    if status is None and (hashes or seals):
        findings.append(Finding(session, None, "no_session"))
    elif missing and not any(one.what in ("removed", "truncated") for one in findings):
        findings.append(Finding(session, None, "count", missing))
    return _Session(findings, len(hashes) - n_pruned, n_pruned, seals)


def _link(previous: str, event: _Row) -> str | None:
    try:
        return chain.link(previous, event.columns)
    except (TypeError, UnicodeEncodeError):  # a column holds what never was written into it
        return None


# --- the chain ----------------------------------------------------------------------------------------------


def _named(
    db: sqlite3.Connection,
    session: str,
    hashes: Sequence[tuple[str, str]],
    broken: Sequence[int],
    missing: int,
) -> list[Finding]:
    """What was done at each place at which the chain does not hold."""
    findings: list[Finding] = []
    explained: set[int] = set()
    for place in broken[:_MOST_COMPARED]:
        if place in explained:
            continue
        follows = _follows(db, session, hashes, place)
        if follows is None:
            findings.append(Finding(session, hashes[place][1], "removed" if missing > 0 else "changed"))
        elif follows > place:
            findings.append(Finding(session, hashes[place][1], "reordered"))
            explained.update(broken[broken.index(place) : broken.index(place) + 3])
        else:
            between = range(follows + 1, place)
            findings += [Finding(session, hashes[one][1], "inserted") for one in between]
            explained.update(between)
    rest = [place for place in broken[_MOST_COMPARED:] if place not in explained]
    return findings + [Finding(session, hashes[place][1], "changed") for place in rest]


def _follows(
    db: sqlite3.Connection, session: str, hashes: Sequence[tuple[str, str]], place: int
) -> int | None:
    """The place of the event that this one was linked to, -1 for the beginning; None: it is not there."""
    select = f"SELECT {', '.join(chain.COLUMNS)} FROM events WHERE session = ? AND id = ?"
    values = db.execute(select, (session, hashes[place][1])).fetchone()
    digest = hashes[place][0]
    event = _Row(0, hashes[place][1], digest, dict(zip(chain.COLUMNS, values, strict=True)))
    near = sorted(range(-1, len(hashes)), key=lambda other: abs(other - place))
    for other in near:
        if other != place and _link(hashes[other][0] if other >= 0 else chain.FIRST, event) == digest:
            return other
    return None


def _seals(
    db: sqlite3.Connection, session: str, hashes: Sequence[tuple[str, str]], status: str | None
) -> tuple[list[Finding], int]:
    seals = db.execute("SELECT seq, hash FROM seals WHERE session = ? ORDER BY n", (session,)).fetchall()
    tables = ("events", "pruned") if chain.knows_stubs(db) else ("events",)
    last = max(
        db.execute(f"SELECT max(seq) FROM {table} WHERE session = ?", (session,)).fetchone()[0] or 0
        for table in tables
    )
    findings = []
    for seq, digest in seals:
        if seq is None:
            continue
        rows = (
            db.execute(f"SELECT id, hash FROM {table} WHERE session = ? AND seq = ?", (session, seq))
            for table in tables
        )
        row = next((found for one in rows if (found := one.fetchone()) is not None), None)
        if row is None and seq > last:
            findings.append(Finding(session, None, "truncated"))
        elif row is None or row[1] != digest:
            findings.append(Finding(session, None if row is None else row[0], "seal"))
    head = hashes[-1][0] if hashes else chain.FIRST
    is_over = status in ("ended", "interrupted")
    if is_over and not findings and (not seals or seals[-1][1] != head):
        findings.append(Finding(session, hashes[-1][1] if hashes else None, "unsealed"))
    return list(dict.fromkeys(findings)), len(seals)


def _stray(db: sqlite3.Connection, session: str | None) -> list[Finding]:
    """Rows of other tables that no event stands behind: readers would believe them."""
    traces = db.execute(trace_tables.STRAY, (session,)).fetchall() if trace_tables.knows_traces(db) else []
    if trace_io.knows_io(db):
        traces += db.execute(trace_io.STRAY, (session,)).fetchall()
        chunks = trace_io.stray(db, session)
    else:
        chunks = []
    found = (
        db.execute(_STRAY_CHANGES, (session,)).fetchall()
        + [(one, None) for (one,) in traces]
        + [
            (one, first)
            for one, first, other, end, is_cut_short in db.execute(_ENDS, (session,))
            if one != other or end != late_end_id(one, first) or not is_cut_short
        ]
    )
    forged = [Finding(one, event, "io") for one, event in chunks]
    return [Finding(one, event, "index") for one, event in dict.fromkeys(found)] + forged


_MISCOUNTED = """
    SELECT count(*) FROM blobs LEFT JOIN (
        SELECT digest, count(*) AS names FROM (
            SELECT json_extract(named.value, '$.sha256') AS digest
            FROM outputs CROSS JOIN events ON events.seq = outputs.seq,
                json_each(events.data, '$.blobs') AS named
            WHERE named.type = 'object' {}
        ) GROUP BY 1
    ) ON digest = sha256 WHERE refs <> coalesce(names, 0)
"""
_NOT_YET = f"UNION ALL {trace_tables.UNNAMED}"
_STRAY_CHANGES = """
    SELECT DISTINCT file_changes.session, event FROM file_changes
    LEFT JOIN events ON events.session = file_changes.session AND events.id = event AND kind = 'edit_files'
    WHERE events.seq IS NULL AND coalesce(?, file_changes.session) = file_changes.session
"""
_ENDS = """
    SELECT links.session, event, other_session, other_event,
        coalesce(events.status = 'interrupted' AND events.exit_source = 'unknown', 0)
    FROM links LEFT JOIN events ON events.session = links.session AND events.id = event
    WHERE relation = 'end' AND coalesce(?, links.session) = links.session
"""


# --- what events name ---------------------------------------------------------------------------------------


def _about_data(db: sqlite3.Connection, session: str, event: _Row, contents: _Contents) -> Iterable[Finding]:
    try:
        data = json.loads(event.columns["data"])
    except (TypeError, ValueError):
        return
    if not isinstance(data, dict):
        return
    named = data.get("blobs")
    for one in (named if isinstance(named, dict) else {}).values():
        digest = one.get("sha256") if isinstance(one, dict) else None
        if isinstance(digest, str) and (wrong := contents.wrong(digest, event.seq)) is not None:
            yield Finding(session, event.id, wrong)
    if event.columns["kind"] == "edit_files" and not changes.is_indexed(db, session, event.id, data):
        yield Finding(session, event.id, "index")
    if event.columns["kind"] == "python_trace" and trace_tables.knows_traces(db):
        keeps = contents.keeps(event.seq)
        if not trace_tables.are_true(db, session, event.id, data, keeps=keeps):
            yield Finding(session, event.id, "index")
    is_io = event.columns["kind"] == "io" and trace_io.knows_io(db)
    if is_io and not trace_io.is_true(db, session, event.id, data):
        yield Finding(session, event.id, "io")


class _Contents:
    """The blobs that events name, each looked at once."""

    def __init__(self, db: sqlite3.Connection):
        self._db = db
        self._states: dict[str, str] = {}  # by digest: kept, pruned, blob_missing, blob_changed
        self._without: set[int] = set()  # the seq of events whose outputs were pruned
        self._lists: dict[tuple[str, str], bool] = {}  # whether a `policy` event lists what it is said to

    def counts(self) -> tuple[int, int]:
        """How many are there or should be, and of how many events some are gone by right."""
        return sum(state != "pruned" for state in self._states.values()), len(self._without)

    def keeps(self, seq: int) -> bool:
        """Whether that event keeps its outputs."""
        return self._db.execute("SELECT 1 FROM outputs WHERE seq = ?", (seq,)).fetchone() is not None

    def wrong(self, digest: str, seq: int) -> str | None:
        """What is wrong with a blob that the event names; None: nothing is."""
        if digest not in self._states:
            self._states[digest] = self._state(digest)
        state = self._states[digest]
        if state == "pruned":  # by another event's leave, if this one still keeps its outputs
            if self.keeps(seq):
                return "blob_missing"
            self._without.add(seq)
            return None
        return None if state == "kept" else state

    def _state(self, digest: str) -> str:
        try:
            blobs.get(self._db, digest)
        except DevTraceError:
            if self._db.execute("SELECT 1 FROM blobs WHERE sha256 = ?", (digest,)).fetchone() is not None:
                return "blob_changed"
            return "pruned" if self._is_listed(digest) else "blob_missing"
        return "kept"

    def _is_listed(self, digest: str) -> bool:
        if not chain.knows_stubs(self._db):
            return False
        listed = "SELECT session, by_event FROM pruned_blobs WHERE sha256 = ?"
        place = self._db.execute(listed, (digest,)).fetchone()
        if place is not None and place not in self._lists:
            self._lists[place] = chain.is_list_true(self._db, *place)
        return place is not None and self._lists[place]
