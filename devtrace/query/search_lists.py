"""Which events have a word or a part of one: lists out of the search index, the newest first, and bounded.

A common word is in half of a million events. So no list is longer than was asked for, and none is looked for
without end where a filter lets few pass: `Seen` says how far it goes. A filter by time is turned into ranges
of `seq`; one that an index answers with few events is asked first. The newest events, which nobody has
indexed yet, are indexed here in memory, where they are not many.

Lives here: `Lists`. Not here: filling the index (store/search_index.py), what is made of lists (search.py).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from devtrace.errors import EnvironmentError
from devtrace.query.events import last_seq
from devtrace.query.filters import Condition, Filters, event_condition
from devtrace.query.search_words import Term
from devtrace.store import search_index
from devtrace.store.search_index import COLUMNS, SPAN, WORDS

MOST_FRESH = 400  # events that nobody has indexed yet: so many are looked at
_MOST_FRESH_CHARACTERS = 200_000
_CHUNK = 1_000  # of a list that is held against a filter at once
_MOST_LOOKED = 6_000  # of one list
_MOST_CHECKED = 1_000  # texts that are read for it
_FEW = 2_000  # events that a filter leaves: they are known beforehand
_MOST_RANGES = 40
_WINDOW = 100_000  # events in which what two indexes have is laid side by side
_A_SEEK = 2_000  # events that a list is walked over in the time in which one is sought
_HEAD = "{title paths said} : "
_TEXTS = " || char(10) || ".join(f"coalesce({name}, '')" for name in COLUMNS)

State = dict[str, Any]


class Match(NamedTuple):
    """What is asked of an index. `check`: the part that must be in the text besides."""

    table: str
    expression: str
    check: tuple[Term, ...] = ()

    def in_head(self) -> Match:
        """The same in titles, paths and what was said; only of words."""
        return self._replace(expression=f"{_HEAD}({self.expression})")


class Seen(NamedTuple):
    """Events, the newest first. All that are newer than `down_to` were looked at; None: all there are."""

    seqs: list[int]
    down_to: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether there are no others."""
        return self.down_to is None


class _Range(NamedTuple):
    db: sqlite3.Connection
    first: int
    last: int


class Lists:
    """The index of one store under one filter, as it was when the first page was read."""

    def __init__(self, db: sqlite3.Connection, filters: Filters, state: State | None):
        self._db = db
        self._fresh: sqlite3.Connection | None = None
        if not search_index.is_possible(db):
            raise EnvironmentError(
                "the SQLite of this Python cannot search: it was built without FTS5",
                code="ERR_SEARCH",
                hint="use another Python, 3.11 or newer",
            )
        self.state = _now(db) if state is None else state
        self._filters = filters
        self._only, left = self._selected()
        self._where = _condition(left)
        indexed = list(self._indexed_ranges())
        self._ranges = self._bounded([*self._fresh_range(), *indexed])

    def close(self) -> None:
        """Let go of what is in memory."""
        if self._fresh is not None:
            self._fresh.close()

    @property
    def size(self) -> int:
        """About how many events are searched."""
        return max(sum(one.last - one.first + 1 for one in self._ranges), 1)

    @property
    def n_left_out(self) -> int:
        """About how many events are not searched, because they are not indexed yet."""
        return int(self.state["low"] + max(self.state["fresh"] - self.state["high"], 0))

    @property
    def reads_events(self) -> bool:
        """Whether each event of a list must be looked at, to know if it passes the filter."""
        return self._where is not None

    def newest(self, match: Match, most: int, *, below: int | None = None, share: int = 1) -> Seen:
        """The newest so many that match and pass the filter, all of them `seq` < `below`.

        `share`: among so many lists goes what may be looked at.
        """
        found: list[int] = []
        looked = (_MOST_CHECKED if match.check else _MOST_LOOKED) // share
        for db, first, last in self._ranges:
            at = last if below is None else min(last, below - 1)
            while at >= first:
                chunk = self._chunk(db, match, first, at, most)
                found += self._fitting(chunk, match)
                looked -= len(chunk)
                if len(found) > most:
                    return Seen(found[:most], found[most - 1])
                if len(chunk) < self._look(match, most):
                    break
                at = chunk[-1] - 1
                if looked <= 0 and self._only is not None:
                    found += self._of_few(db, match, first, at)
                    break
                if looked <= 0:
                    return Seen(found, at + 1)
        return Seen(found[:most], found[most - 1] if len(found) > most else None)

    def newest_of_both(self, words: Match, parts: Match, most: int, *, below: int | None = None) -> Seen:
        """The same of what two indexes have both; one step of it, if it is far to the next that has."""
        select = f"SELECT rowid FROM {words.table} WHERE {words.table} MATCH ? AND rowid BETWEEN ? AND ?"
        other = f"SELECT rowid FROM {parts.table} WHERE {parts.table} MATCH ? AND rowid BETWEEN ? AND ?"
        order = "ORDER BY rowid DESC LIMIT ?"
        for at, (db, first, last) in enumerate(self._ranges):
            end = last if below is None else min(last, below - 1)
            if end < first:
                continue
            start = max(first, end - _WINDOW + 1)
            values = (words.expression, start, end, parts.expression, start, end, most + 1)
            rows = db.execute(f"{select} AND +rowid IN ({other}) {order}", values).fetchall()
            found = self._fitting([seq for (seq,) in rows[:most]], parts)
            if len(rows) > most:
                return Seen(found, rows[most - 1][0])
            return Seen(found, start if start > first or at + 1 < len(self._ranges) else None)
        return Seen([])

    def members(self, match: Match, seqs: Sequence[int]) -> set[int]:
        """Which of these match, whatever the filter."""
        found: set[int] = set()
        for db in self._sources():
            found.update(self._among(db, match, seqs))
        return found

    def texts(self, seqs: Sequence[int]) -> dict[int, dict[str, str]]:
        """The texts of events by where they stand."""
        found = {}
        select = f"SELECT seq, {', '.join(COLUMNS)} FROM search_docs WHERE seq IN ({_LISTED})"
        for db in self._sources():
            for seq, *texts in db.execute(select, (json.dumps(list(seqs)),)):
                found[seq] = {name: text for name, text in zip(COLUMNS, texts, strict=True) if text}
        return found

    def sizes(self, seqs: Sequence[int]) -> dict[int, int]:
        """The characters of their texts."""
        select, listed = f"SELECT seq, size FROM search_docs WHERE seq IN ({_LISTED})", json.dumps(list(seqs))
        return {seq: size for db in self._sources() for seq, size in db.execute(select, (listed,))}

    def marked(self, match: Match, seqs: Sequence[int], begin: str, end: str) -> dict[int, dict[str, str]]:
        """The texts of events with signs around the words that match; of those that have any."""
        found = {}
        marks = ", ".join(f"highlight({WORDS}, {at}, ?, ?)" for at in range(len(COLUMNS)))
        which, listed = _one_of(seqs)
        select = f"SELECT rowid, {marks} FROM {WORDS} WHERE {WORDS} MATCH ? AND {which}"
        for db in self._sources() if seqs else ():
            for seq, *texts in db.execute(select, (*(begin, end) * len(COLUMNS), match.expression, *listed)):
                found[seq] = {name: text for name, text in zip(COLUMNS, texts, strict=True) if text}
        return found

    # --- what is searched -------------------------------------------------------------------------------

    def _sources(self) -> Iterator[sqlite3.Connection]:
        if self._fresh is not None:
            yield self._fresh
        if self.state["high"] > self.state["low"]:
            yield self._db

    def _fresh_range(self) -> Iterator[_Range]:
        """What nobody has indexed yet, the newest of it, in a database in memory."""
        first, last = self.state["fresh"] + 1, self.state["last"]
        if first <= last:
            found = search_index.read(
                self._db, "WHERE events.seq BETWEEN ? AND ? ORDER BY events.seq", (first, last)
            )
            self._fresh = search_index.in_memory([(seq, texts) for seq, _, texts in found])
            yield _Range(self._fresh, first, last)

    def _indexed_ranges(self) -> Iterator[_Range]:
        """The parts of the index in which something may pass a filter by time, the newest first."""
        low, high = self.state["low"] + 1, self.state["high"]
        since, until = self._filters.since_us, self._filters.until_us
        if low > high:
            return
        if since is None and until is None:
            yield _Range(self._db, low, high)
            return
        spans = self._db.execute(
            "SELECT span FROM search_times WHERE last_us >= ? AND first_us <= ? ORDER BY span DESC",
            (-_FOREVER if since is None else since, _FOREVER if until is None else until),
        )
        for first, last in _joined([span for (span,) in spans]):
            yield _Range(self._db, max(first * SPAN, low), min(last * SPAN + SPAN - 1, high))

    def _bounded(self, ranges: Sequence[_Range]) -> list[_Range]:
        if self._only is None:
            return [one for one in ranges if one.first <= one.last]
        first, last = min(self._only, default=1), max(self._only, default=0)
        narrow = [one._replace(first=max(one.first, first), last=min(one.last, last)) for one in ranges]
        return [one for one in narrow if one.first <= one.last]

    def _selected(self) -> tuple[frozenset[int] | None, Filters]:
        """The events that pass what an index can answer of the filter, where they are few; the rest of it."""
        filters = self._filters
        if filters.session is not None:
            found, left = self._few(Filters(session=filters.session)), replace(filters, session=None)
        elif filters.kinds:
            asked = Filters(kinds=filters.kinds, since_us=filters.since_us, until_us=filters.until_us)
            found, left = self._few(asked), replace(filters, kinds=(), since_us=None, until_us=None)
        elif filters.failed:
            found, left = self._few(Filters(failed=True)), replace(filters, failed=False)
        elif filters.agent is not None and self._n_of_agent(filters.agent) <= _FEW:
            found, left = self._few(Filters(agent=filters.agent)), replace(filters, agent=None)
        else:
            found, left = None, filters
        return (None, filters) if found is None else (found, left)

    def _few(self, filters: Filters) -> frozenset[int] | None:
        where, values = event_condition(filters)
        rows = self._db.execute(f"SELECT seq FROM events WHERE {where} LIMIT {_FEW + 1}", values).fetchall()
        return frozenset(seq for (seq,) in rows) if len(rows) <= _FEW else None

    def _n_of_agent(self, agent: str) -> int:
        total = "SELECT total(n_events) FROM sessions WHERE agent = ?"
        return int(self._db.execute(total, (agent,)).fetchone()[0])

    # --- one list -----------------------------------------------------------------------------------------

    def _look(self, match: Match, most: int) -> int:
        """How many are asked for at once: one more than is wanted tells whether there are more."""
        if match.check:
            return min(most + 1, _CHUNK)
        return most + 1 if self._where is None else _CHUNK

    def _chunk(self, db: sqlite3.Connection, match: Match, first: int, last: int, most: int) -> list[int]:
        rows = db.execute(
            f"SELECT rowid FROM {match.table} WHERE {match.table} MATCH ? AND rowid BETWEEN ? AND ?"
            " ORDER BY rowid DESC LIMIT ?",
            (match.expression, first, last, self._look(match, most)),
        )
        return [seq for (seq,) in rows.fetchall()]

    def _of_few(self, db: sqlite3.Connection, match: Match, first: int, last: int) -> list[int]:
        """The rest of a long list, where the events that pass the filter are few and known."""
        assert self._only is not None
        wanted = sorted(seq for seq in self._only if first <= seq <= last)
        return self._fitting(sorted(self._among(db, match, wanted), reverse=True), match._replace(check=()))

    def _fitting(self, seqs: list[int], match: Match) -> list[int]:
        """Those of a list that pass the filter, and hold the part that is looked for."""
        if self._only is not None:
            seqs = [seq for seq in seqs if seq in self._only]
        if seqs and self._where is not None:
            where, values = self._where
            rows = self._db.execute(
                f"SELECT seq FROM json_each(?) one CROSS JOIN events ON seq = one.value WHERE {where}",
                (json.dumps(seqs), *values),
            )
            passing = {seq for (seq,) in rows}
            seqs = [seq for seq in seqs if seq in passing]
        return self._checked(seqs, match)

    def _checked(self, seqs: list[int], match: Match) -> list[int]:
        for term in match.check if seqs else ():
            holds = term.pattern().search
            select = f"SELECT seq, {_TEXTS} FROM search_docs WHERE seq IN ({_LISTED})"
            rows = (row for db in self._sources() for row in db.execute(select, (json.dumps(seqs),)))
            kept = {seq for seq, text in rows if holds(text)}
            seqs = [seq for seq in seqs if seq in kept]
        return seqs

    def _among(self, db: sqlite3.Connection, match: Match, seqs: Sequence[int]) -> list[int]:
        if not seqs:
            return []
        which, listed = _one_of(seqs)
        select = f"SELECT rowid FROM {match.table} WHERE {match.table} MATCH ? AND {which}"
        rows = db.execute(select, (match.expression, *listed))
        return self._checked([seq for (seq,) in rows.fetchall()], match)


_LISTED = "SELECT value FROM json_each(?)"
_FOREVER = (1 << 63) - 1


def _one_of(seqs: Sequence[int]) -> Condition:
    """The WHERE of some rows of an index: each is sought, or what lies between them is walked through."""
    first, last, listed = min(seqs, default=1), max(seqs, default=0), json.dumps(list(seqs))
    if last - first > len(seqs) * _A_SEEK:
        return f"rowid IN ({_LISTED})", [listed]
    return f"rowid BETWEEN ? AND ? AND +rowid IN ({_LISTED})", [first, last, listed]


def _now(db: sqlite3.Connection) -> State:
    """What is indexed now, and from where on the newest events are indexed in memory.

    Events with low < seq <= high are in the index, and those with fresh < seq <= last will be in memory.
    """
    known = search_index.state_of(db)
    low, high = (0, 0) if known is None else (known.low, known.high)
    last = last_seq(db)
    fresh, characters = max(high, last), 0
    rows = search_index.read(db, "WHERE events.seq > ? ORDER BY events.seq DESC LIMIT ?", (high, MOST_FRESH))
    for seq, _, texts in rows:
        characters += sum(map(len, filter(None, texts)))
        if characters > _MOST_FRESH_CHARACTERS:
            break
        fresh = seq - 1
    return {"low": low, "high": high, "fresh": fresh, "last": last}


def _condition(filters: Filters) -> Condition | None:
    """What has to be asked of each event; None: nothing."""
    where, values = event_condition(replace(filters, agent=None, session=None))
    parts = [] if where == "1" else [where]
    if filters.session is not None:
        parts.append("session = ?")
        values = [*values, filters.session]
    if filters.agent is not None:  # asked session by session: there may be many
        parts.append("EXISTS (SELECT 1 FROM sessions WHERE sessions.id = session AND sessions.agent = ?)")
        values = [*values, filters.agent]
    return (" AND ".join(parts), values) if parts else None


def _joined(spans: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of neighbours, from many the newest, and all the others as one."""
    runs: list[tuple[int, int]] = []
    for span in spans:
        if runs and runs[-1][0] == span + 1:
            runs[-1] = (span, runs[-1][1])
        else:
            runs.append((span, span))
    few, rest = runs[:_MOST_RANGES], runs[_MOST_RANGES:]
    return [*few, (rest[-1][0], rest[0][1])] if rest else few
