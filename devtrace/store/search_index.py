"""The search index: the texts of events in one table, and two FTS5 indexes over it.

`search_docs` has the texts by where they stand (search_text.py); `search_words` finds them by the stems of
their words, `search_parts` by any three characters in a row. Writing events does not wait for it: it is
filled behind them, in short transactions, by whoever has time. `search_state` says how far: events with
`low` < `seq` <= `high` are in. What is new comes first, then what is old, the newest of that first; so a
store from before there was an index can be searched at once. `search_times` has the first and the last
`started_us` of every `SPAN` numbers, so that a search by time need not look at all.

What is taken out leaves its words in the indexes' segments until these are merged: SQLite before 3.42 has
nothing better, and what later ones have makes the file unreadable for earlier ones. `scrub` merges them.

Lives here: filling it, taking out of it. Not here: asking it (query/search_lists.py).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from devtrace.errors import DevTraceError
from devtrace.store import blobs, chain
from devtrace.store.connection import transaction
from devtrace.store.search_text import Texts, texts_of

COLUMNS = Texts._fields
WORDS, PARTS = "search_words", "search_parts"
SPAN = 512  # numbers of events that a row of search_times is about
_NAMES = ", ".join(COLUMNS)
# Sizes of texts are in search_docs: columnsize=0. A run of characters is asked for by its threes, and then
# looked for in the text itself: detail=none, which is a third as large.
_INDEXES = {
    WORDS: "tokenize = 'porter unicode61', columnsize = 0",
    PARTS: "tokenize = 'trigram', columnsize = 0, detail = none",
}
_MOST_ROWS, _MOST_CHARACTERS = 400, 200_000  # of one transaction: others wait for it
_PATIENCE_MS = 50  # for others who write: there is always a later time
_LEAST_REST_S = 0.002  # between two transactions, in which others get their turn
_MERGED_PAGES = 64  # by one step

_Goes = Callable[[], bool]


class State(NamedTuple):
    """Events with `low` < `seq` <= `high` are indexed; how often was something taken out, and merged away."""

    low: int
    high: int
    n_taken: int = 0
    n_scrubbed: int = 0


class _Event(NamedTuple):
    seq: int
    started_us: int
    texts: Texts


def state_of(db: sqlite3.Connection) -> State | None:
    """How far the index goes; None: there is none in this store yet."""
    try:
        row = db.execute("SELECT low, high, n_taken, n_scrubbed FROM search_state").fetchone()
    except sqlite3.OperationalError:  # a database of an older version, which can only be read
        return None
    return State(*row) if row is not None and _has_indexes(db) else None


def is_possible(db: sqlite3.Connection) -> bool:
    """Whether this SQLite has FTS5 with trigrams (3.34)."""
    modules = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
    return sqlite3.sqlite_version_info >= (3, 34) and db.execute(modules).fetchone() is not None


def catch_up(db: sqlite3.Connection, goes_on: _Goes = lambda: True) -> bool:
    """Index what is not yet, for as long as `goes_on`; whether nothing is left.

    Killed at any moment it goes on where it was. Others may do the same at the same time. Raises
    sqlite3.Error, of which SQLITE_BUSY means that somebody else writes just now.
    """
    with _patient(db, _PATIENCE_MS), _secure(db):
        if not _has_indexes(db):
            if not is_possible(db):
                return True
            with transaction(db):
                make_indexes(db)
        while (found := _next(db)) is not None:
            if not goes_on():
                return False
            began = time.monotonic()
            _add(db, *found)
            # SQLite knows no queue: who has just let go of the lock would mostly be the next to have it.
            time.sleep(max(time.monotonic() - began, _LEAST_REST_S) if goes_on() else 0)
        return scrub(db, goes_on)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that it is an index which is damaged, and not the record."""
    name, told = getattr(error, "sqlite_errorname", ""), str(error)
    return name == "SQLITE_CORRUPT_VTAB" or told.startswith(("fts5: corruption", "vtable constructor failed"))


def begin_anew(db: sqlite3.Connection) -> None:
    """Throw the indexes and the texts away: all of it can be made from the events again."""
    with transaction(db):
        for name in _INDEXES if _has_indexes(db) else ():
            # One whose first records are damaged cannot even be dropped: they become those of an empty one.
            db.execute(f"DELETE FROM {name}_data")
            db.execute(f"INSERT INTO {name}_data (id, block) VALUES (1, x''), (10, x'00000000000000')")
            db.execute(f"DROP TABLE {name}")
        db.execute("DELETE FROM search_docs")
        db.execute("DELETE FROM search_times")
        last = "(SELECT coalesce(max(seq), 0) FROM events)"
        db.execute(f"UPDATE search_state SET low = {last}, high = {last}, n_taken = 0, n_scrubbed = 0")


def make_indexes(db: sqlite3.Connection) -> None:
    """The two indexes, where they are missing; they are made when they are first filled."""
    for name, options in _INDEXES.items():
        over = f"{_NAMES}, content = 'search_docs', content_rowid = 'seq', {options}"
        db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS {name} USING fts5 ({over})")


def in_memory(found: Sequence[tuple[int, Texts]]) -> sqlite3.Connection:
    """A database of its own with the table and the indexes, for a few texts that are not indexed yet."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"CREATE TABLE search_docs (seq INTEGER PRIMARY KEY, size INTEGER, {_NAMES})")
        make_indexes(db)
        insert(db, found)
    except BaseException:
        db.close()
        raise
    return db


def insert(db: sqlite3.Connection, found: Sequence[tuple[int, Texts]]) -> None:
    """Put texts into the table and both indexes, by ascending `seq`; those without any are left out."""
    rows = [(seq, sum(map(len, filter(None, texts))), *texts) for seq, texts in found if any(texts)]
    holes = ", ".join("?" * (len(COLUMNS) + 2))
    db.executemany(f"INSERT INTO search_docs (seq, size, {_NAMES}) VALUES ({holes})", rows)
    for name in _INDEXES:
        into = f"INSERT INTO {name} (rowid, {_NAMES}) VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"
        db.executemany(into, [(row[0], *row[2:]) for row in rows])


def read(db: sqlite3.Connection, where: str, values: Sequence[object]) -> Iterator[tuple[int, int, Texts]]:
    """`seq`, `started_us` and texts of the events that fit, as the index would have them."""
    columns = "events.seq, kind, title, status, started_us, data"
    kept = "outputs.seq FROM events LEFT JOIN outputs ON outputs.seq = events.seq"
    source = kept if chain.knows_stubs(db) else "NULL FROM events"  # of an older version, only to be read
    rows = db.execute(f"SELECT {columns}, {source} {where}", values)
    for seq, kind, title, status, started_us, data, keeps in rows:
        event = {"kind": kind, "title": title, "status": status, "data": _decoded(data)}
        yield seq, started_us, texts_of(event, partial(_output, db, event, keeps))


# --- taking out -----------------------------------------------------------------------------------------


def forget(db: sqlite3.Connection, seqs: Sequence[int]) -> None:
    """Take the texts of events out; to be done in the transaction that takes out the events."""
    listed = json.dumps(list(seqs))
    if _take_out(db, f"seq IN ({_LISTED})", listed):
        db.execute(f"DELETE FROM search_docs WHERE seq IN ({_LISTED})", (listed,))


def forget_outputs(db: sqlite3.Connection, seqs: Sequence[int]) -> None:
    """The same of what commands printed, where the events stay."""
    ran = f"SELECT seq FROM events WHERE seq IN ({_LISTED}) AND +kind = 'run_command'"
    rows = db.execute(
        f"SELECT seq, {_NAMES} FROM search_docs WHERE output IS NOT NULL AND seq IN ({ran})",
        (json.dumps(list(seqs)),),
    ).fetchall()
    if rows:
        forget(db, [row[0] for row in rows])
        insert(db, [(row[0], Texts(*row[1:])._replace(output=None)) for row in rows])


def scrub(db: sqlite3.Connection, goes_on: _Goes = lambda: True) -> bool:
    """Merge the indexes' segments where they hold words that were taken out; False: there was no time.

    Raises sqlite3.Error.
    """
    state = state_of(db)
    if state is None or state.n_taken == state.n_scrubbed:
        return True
    with _secure(db):
        if not all(_merged(db, name, goes_on) for name in _INDEXES):
            return False
        # Not what another process took out meanwhile.
        db.execute("UPDATE search_state SET n_scrubbed = max(n_scrubbed, ?)", (state.n_taken,))
    with _patient(db, 0), contextlib.suppress(sqlite3.OperationalError):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return True


_LISTED = "SELECT value FROM json_each(?)"


def _take_out(db: sqlite3.Connection, where: str, listed: str) -> bool:
    try:
        known = db.execute(f"SELECT 1 FROM search_docs WHERE {where} LIMIT 1", (listed,)).fetchone()
    except sqlite3.OperationalError:  # a database of an older version
        return False
    if known is None:
        return False
    for name in _INDEXES:  # an index wants to be told what it was given
        gone = f"SELECT 'delete', seq, {_NAMES} FROM search_docs WHERE {where}"
        db.execute(f"INSERT INTO {name} ({name}, rowid, {_NAMES}) {gone}", (listed,))
    db.execute("UPDATE search_state SET n_taken = n_taken + 1")
    return True


def _merged(db: sqlite3.Connection, name: str, goes_on: _Goes) -> bool:
    """All segments of now become one, step by step; https://sqlite.org/fts5.html#the_merge_command.

    A negative number of pages begins it, a positive one goes on; a step that changes less than two rows had
    nothing to do. It is begun twice, for what was being merged already when it was begun first.
    """
    for _ in range(2):
        pages = -_MERGED_PAGES
        while _merge(db, name, pages):
            if not goes_on():
                return False
            pages = _MERGED_PAGES
            time.sleep(_LEAST_REST_S)
    return True


def _merge(db: sqlite3.Connection, name: str, pages: int) -> bool:
    before = db.total_changes
    db.execute(f"INSERT INTO {name} ({name}, rank) VALUES ('merge', ?)", (pages,))
    return db.total_changes - before >= 2


# --- filling --------------------------------------------------------------------------------------------


def _next(db: sqlite3.Connection) -> tuple[State, State, list[_Event]] | None:
    """The state, what it will be, and what is to be added for that; None: nothing is left."""
    state = state_of(db)
    if state is None:
        return None
    ways = (
        ("WHERE events.seq > ? ORDER BY events.seq LIMIT ?", state.high),
        ("WHERE events.seq <= ? ORDER BY events.seq DESC LIMIT ?", state.low),
    )
    for is_old, (where, at) in enumerate(ways):
        found = list(_few(_events(db, where, at))) if at or not is_old else []
        if found and is_old:
            return state, state._replace(low=found[-1].seq - 1), found[::-1]
        if found:
            return state, state._replace(high=found[-1].seq), found
    return (state, state._replace(low=0), []) if state.low else None


def _events(db: sqlite3.Connection, where: str, at: int) -> Iterator[_Event]:
    for found in read(db, where, (at, _MOST_ROWS)):
        yield _Event(*found)


def _few(found: Iterator[_Event]) -> Iterator[_Event]:
    """As many as one transaction shall take."""
    characters = 0
    for event in found:
        yield event
        characters += sum(map(len, filter(None, event.texts)))
        if characters >= _MOST_CHARACTERS:
            return


def _add(db: sqlite3.Connection, before: State, after: State, found: Sequence[_Event]) -> None:
    """One transaction. What was pruned since it was read stays out; nothing where others were quicker."""
    listed = json.dumps([event.seq for event in found])
    with transaction(db):
        if state_of(db) != before:
            return
        there = {seq for (seq,) in db.execute(f"SELECT seq FROM events WHERE seq IN ({_LISTED})", (listed,))}
        ran = f"SELECT seq FROM events WHERE seq IN ({_LISTED}) AND +kind = 'run_command'"
        gone = f"{ran} AND seq NOT IN (SELECT seq FROM outputs WHERE seq IN ({_LISTED}))"
        silenced = {seq for (seq,) in db.execute(gone, (listed, listed))}
        insert(
            db,
            [
                (event.seq, event.texts._replace(output=None) if event.seq in silenced else event.texts)
                for event in found
                if event.seq in there
            ],
        )
        _note_times(db, found)
        db.execute("UPDATE search_state SET low = ?, high = ?", (after.low, after.high))


def _note_times(db: sqlite3.Connection, found: Sequence[_Event]) -> None:
    spans: dict[int, list[int]] = {}
    for event in found:
        spans.setdefault(event.seq // SPAN, []).append(event.started_us)
    db.executemany(
        "INSERT INTO search_times VALUES (?, ?, ?) ON CONFLICT (span) DO UPDATE"
        " SET first_us = min(first_us, excluded.first_us), last_us = max(last_us, excluded.last_us)",
        [(span, min(times), max(times)) for span, times in spans.items()],
    )


def _output(db: sqlite3.Connection, event: dict[str, Any], keeps: int | None) -> bytes | None:
    """What a command printed, where it is kept; `output` as events/command.py names the blob."""
    named = event["data"].get("blobs") if keeps is not None else None
    one = named.get("output") if isinstance(named, dict) else None
    digest = one.get("sha256") if isinstance(one, dict) else None
    try:
        return blobs.get(db, digest) if isinstance(digest, str) else None
    except DevTraceError:  # damaged: `verify` says so
        return None


def _decoded(data: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _has_indexes(db: sqlite3.Connection) -> bool:
    made = "SELECT count(*) FROM sqlite_master WHERE name IN (?, ?)"
    return bool(db.execute(made, (WORDS, PARTS)).fetchone()[0] == len(_INDEXES))


@contextlib.contextmanager
def _patient(db: sqlite3.Connection, milliseconds: int) -> Iterator[None]:
    (before,) = db.execute("PRAGMA busy_timeout").fetchone()
    db.execute(f"PRAGMA busy_timeout = {milliseconds}")
    try:
        yield
    finally:
        db.execute(f"PRAGMA busy_timeout = {before}")


@contextlib.contextmanager
def _secure(db: sqlite3.Connection) -> Iterator[None]:
    """What segments that are merged held is written over."""
    (before,) = db.execute("PRAGMA secure_delete").fetchone()
    db.execute("PRAGMA secure_delete = ON").fetchall()
    try:
        yield
    finally:
        db.execute(f"PRAGMA secure_delete = {before}").fetchall()
