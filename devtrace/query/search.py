"""Search: what is recorded of some words, the best matches first.

Events that have all words come first; where they are fewer than asked for, those follow that have some, and
each says which are missing. A word that nothing has is looked for as a part of other words, and a part that
nothing has, by the words in it. Words weigh the more the rarer they are; in a command, a path or in what
somebody said more than in what a tool was given or printed; and in a short text more than in a long one.
Those come first that have it as it was typed, one word behind the other. Among equals the newer is first.

How rare a common word is, and which events have it, is told from the newest of them (search_lists.py), so a
search takes no longer in a large store. The place between two pages names what was searched for the first
one: what is recorded or indexed since changes nothing in the pages behind it.

Lives here: `search`. Not here: terms (search_words.py), the excerpt of a hit (search_excerpt.py).
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from devtrace.errors import EnvironmentError
from devtrace.query import events
from devtrace.query.accounts import told_once
from devtrace.query.filters import Filters
from devtrace.query.search_excerpt import BEGIN, END, Excerpt, excerpt
from devtrace.query.search_lists import Lists, Match, Seen, State
from devtrace.query.search_words import PART, WORD, Term, as_phrase, kin_of, terms_of
from devtrace.store import search_index
from devtrace.store.search_index import PARTS, WORDS

Row = dict[str, Any]

MOST = 500  # hits of one page
QUICK_S = 0.02  # after which no further list is begun, where few events pass a filter
HOW = ("words", "some words", "substring")
_ALL, _SOME = "all", "some"
_LONGEST_LIST = 1_000  # events of one term, the newest
_LONGEST_READ = 300  # the same, where the events or their texts are read for it: of a part, or under a filter
_OUT_OF_HEAD = 0.6  # the weight of a word in what a tool was given or printed
_OF_KIN = 0.6  # the weight of a word that was meant, maybe
_OF_PARTS = 0.5  # and of a word that is a part of another
_SHORT = 60  # characters of a text that is not long yet
_PART_OF_WORD = 4  # letters that say something of a word that they are in


class Found(NamedTuple):
    """One page of hits. Each is the row of an event (query/events.py) and besides:

    `where` (title, paths, said, input, output: the field of the excerpt), `snippet`, `marks` ([[from, to],
    ...] in its characters), `missing` (terms that the event does not have), `how` (one of `HOW`).
    """

    hits: list[Row]
    after: State | None  # what `search` wants for the next page; None: this was the last one
    missing: list[str]  # terms that no event has which passes the filter
    n_left_out: int  # about how many events were not searched: they are not indexed yet
    is_cut: bool  # only the newest events that have some words were looked at
    of: State  # what was searched: `{"of": of}` asks for the first page again, as it was


def search(
    db: sqlite3.Connection,
    wanted: str,
    filters: Filters,
    *,
    limit: int = 20,
    after: State | None = None,
    seconds: float = QUICK_S,
) -> Found:
    """The events that have what is wanted and pass the filters, whose `limit` is not asked.

    A page may be shorter than `limit`, and even empty, with others behind it: after so many `seconds` it is
    not looked further for events that have all. Raises UsageError ERR_SEARCH for what cannot be searched for,
    EnvironmentError ERR_SEARCH where SQLite has no FTS5, or says that the index is damaged (context:
    `is_damaged`).
    """
    terms = terms_of(wanted)
    state, until = dict(after or {}), time.monotonic() + seconds
    try:
        with _one_state(db), closing(Lists(db, filters, state.get("of"))) as lists:
            asked = _Search(db, lists, terms, as_phrase(wanted))
            return asked.page(min(max(limit, 0), MOST), state, until)
    except sqlite3.DatabaseError as error:
        if not search_index.is_damage(error):
            raise
        raise EnvironmentError(
            "the search index is damaged; the record itself is not",
            code="ERR_SEARCH",
            hint="`devtrace search` makes it anew",
            context={"is_damaged": True},
        ) from error


class _Known(NamedTuple):
    """A term, how it is found, and the newest events that have it."""

    term: Term
    match: Match
    seen: Seen
    weight: float


class _Search:
    """One question to one store."""

    def __init__(self, db: sqlite3.Connection, lists: Lists, terms: Sequence[Term], whole: Term | None):
        self._db = db
        self._whole = whole
        self._lists = lists
        self._terms = terms
        self._share = 2 * len(terms) if len(terms) > 1 else 1
        self._known = [known for term in terms if (known := self._look_up(term)) is not None]
        there = {known.term for known in self._known}
        self._nowhere = [term.text for term in terms if term not in there]
        self._is_cut = False

    def page(self, limit: int, state: State, until: float) -> Found:
        """The hits from a place on, and the next place."""
        stage, below, skip = state.get("stage", _ALL), state.get("below"), state.get("skip", 0)
        hits: list[Row] = []
        while True:
            ranked, down_to = self._all(below) if stage == _ALL else self._some()
            while skip < len(ranked) and len(hits) < limit:
                few = ranked[skip : skip + limit - len(hits)]
                skip += len(few)
                hits += [hit for hit in self._hits(few) if stage == _ALL or self._lacks_some(hit)]
            following = (stage, below, skip) if skip < len(ranked) else self._following(stage, down_to)
            is_late = following is not None and following[0] == _ALL and time.monotonic() > until
            if following is None or len(hits) >= limit or is_late:
                break
            stage, below, skip = following
        after = None if following is None else self._place(*following)
        left_out, of = self._lists.n_left_out, self._lists.state
        return Found(told_once(hits), after, self._nowhere, left_out, self._is_cut, of)

    def _place(self, stage: str, below: int | None, skip: int) -> State:
        return {"of": self._lists.state, "stage": stage, "below": below, "skip": skip}

    def _lacks_some(self, hit: Row) -> bool:
        """Else it was among those that have all: how it was found now does not tell of every term."""
        return not self._known or any(term not in self._nowhere for term in hit["missing"])

    def _following(self, stage: str, down_to: int | None) -> tuple[str, int | None, int] | None:
        if stage == _ALL and down_to is not None:
            return _ALL, down_to, 0
        is_more = len(self._terms) > 1 or not self._known
        return (_SOME, None, 0) if stage == _ALL and is_more else None

    # --- the terms --------------------------------------------------------------------------------------

    def _look_up(self, term: Term) -> _Known | None:
        """By words or as a part, whichever finds something; first as it was written."""
        ways = [_by_words(term), _as_part(term)]
        for match in filter(None, ways[::-1] if term.kind == PART else ways):
            seen = self._lists.newest(match, self._longest(match), share=self._share)
            if seen.seqs or not seen.is_whole:
                return _Known(term, match, seen, self._weight(seen))
        return None

    def _longest(self, match: Match) -> int:
        return _LONGEST_READ if match.table == PARTS or self._lists.reads_events else _LONGEST_LIST

    def _weight(self, seen: Seen) -> float:
        """The rarer the more: the idf of BM25, of how many events have it, or seem to have."""
        size, number = self._lists.size, float(len(seen.seqs))
        if seen.down_to is not None:
            looked_at = max(self._lists.state["last"] - seen.down_to + 1, 1)
            number = min(number / looked_at, 1.0) * size
        return math.log(1 + max(size - number + 0.5, 0.5) / (number + 0.5))

    # --- all of them ------------------------------------------------------------------------------------

    def _all(self, below: int | None) -> tuple[list[int], int | None]:
        """The newest events below a place that have all terms, the best first; down to which one."""
        seen = self._having_all(below) if self._known else Seen([])
        if not seen.seqs:
            return [], seen.down_to
        words, typed = self._words(), None if self._whole is None else _by_words(self._whole)
        heads = set(seen.seqs) if words is None else self._lists.members(words.in_head(), seen.seqs)
        in_a_row = set[int]() if typed is None else self._lists.members(typed, seen.seqs)
        sizes = self._lists.sizes(seen.seqs)
        scores = {seq: _where(seq, heads) * _shortness(sizes.get(seq, 0)) for seq in seen.seqs}
        for seq in in_a_row:
            scores[seq] += 1 + self._is_almost_all(sizes.get(seq, 0))
        return _ranked(scores), seen.down_to

    def _is_almost_all(self, size: int) -> float:
        """Which share of a text of that size is what was typed."""
        return 0.0 if self._whole is None else min(len(self._whole.text) / max(size, 1), 1.0)

    def _having_all(self, below: int | None) -> Seen:
        words, parts = self._words(), self._parts()
        if len(self._known) == 1 and below is None:
            return self._known[0].seen
        if words is None or parts is None:
            one = words or parts
            assert one is not None
            return self._lists.newest(one, self._longest(one), below=below)
        return self._lists.newest_of_both(words, parts, _LONGEST_READ, below=below)

    def _words(self) -> Match | None:
        """What has all terms that are found by words."""
        found = [known.match.expression for known in self._known if known.match.table == WORDS]
        return Match(WORDS, " AND ".join(found)) if found else None

    def _parts(self) -> Match | None:
        found = [known.match for known in self._known if known.match.table == PARTS]
        if not found:
            return None
        checks = tuple(term for match in found for term in match.check)
        return Match(PARTS, " AND ".join(match.expression for match in found), checks)

    # --- some of them -----------------------------------------------------------------------------------

    def _some(self) -> tuple[list[int], None]:
        """Events that have some terms and not all, the best first."""
        told: dict[int, dict[str, float]] = {}
        for known in self._known:
            self._is_cut |= not known.seen.is_whole
            heads = self._heads(known)
            for seq in self._seqs_of(known):
                told.setdefault(seq, {})[known.term.text] = known.weight * _where(seq, heads)
        whole = {seq for seq, terms in told.items() if len(terms) == len(self._known)}
        for term, match, weight in self._meant():
            seen = self._lists.newest(match, _LONGEST_READ, share=self._share)
            for seq in seen.seqs:
                terms = told.setdefault(seq, {})
                terms[term.text] = max(terms.get(term.text, 0.0), weight * self._weight(seen))
        sizes = self._lists.sizes(list(told))
        scores = {
            seq: sum(terms.values()) * _shortness(sizes.get(seq, 0))
            for seq, terms in told.items()
            if seq not in whole
        }
        return _ranked(scores), None

    def _heads(self, known: _Known) -> set[int]:
        """Of the newest that have it those that have it in a command, a path, or what was said."""
        if known.match.table == PARTS:
            return set(known.seen.seqs)
        return self._lists.members(known.match.in_head(), known.seen.seqs)

    def _seqs_of(self, known: _Known) -> Iterable[int]:
        """The newest that have it, and of a common one besides all that have a rare one too."""
        rare = [
            other.match.expression
            for other in self._known
            if other.match.table == WORDS and other.seen.is_whole and other is not known
        ]
        if known.seen.is_whole or not rare or known.match.table == PARTS:
            return known.seen.seqs
        both = Match(WORDS, f"{known.match.expression} AND ({' OR '.join(rare)})")
        return {*known.seen.seqs, *self._lists.newest(both, self._longest(both), share=self._share).seqs}

    def _meant(self) -> Iterable[tuple[Term, Match, float]]:
        """What a word may stand for, and the longer words that it is a part of."""
        for term in self._terms:
            if term.kind == WORD:
                if kin := kin_of(term.text):
                    yield term, Match(WORDS, " OR ".join(Term(WORD, one).as_word() for one in kin)), _OF_KIN
                if len(term.text) >= _PART_OF_WORD and (part := _as_part(term)) is not None:
                    yield term, part, _OF_PARTS

    # --- hits -------------------------------------------------------------------------------------------

    def _hits(self, seqs: Sequence[int]) -> list[Row]:
        """The rows of events with what is told of a hit, in the same order."""
        if not seqs:
            return []
        listed = "seq IN (SELECT value FROM json_each(?))"
        select = f"SELECT {', '.join(events.COLUMNS)} FROM events WHERE {listed}"
        rows = {}
        for values in self._db.execute(select, (json.dumps(list(seqs)),)):
            row = dict(zip(events.COLUMNS, values, strict=True))
            rows[row["seq"]] = row | {"data": json.loads(row["data"])}
        told = self._told(seqs)
        found = events.with_late_ends(self._db, [rows[seq] for seq in seqs if seq in rows])
        return [self._as_it_ended(row) | told[row["seq"]] for row in found]

    def _as_it_ended(self, row: Row) -> Row:
        return events.with_late_end(self._db, row) if row["status"] == "interrupted" else row

    def _told(self, seqs: Sequence[int]) -> dict[int, Row]:
        having = [(known, self._lists.members(known.match, seqs)) for known in self._known]
        shown = self._excerpts(seqs)
        told = {}
        for seq in seqs:
            has = {known.term for known, those in having if seq in those}
            missing = [term.text for term in self._terms if term not in has]
            is_part = any(known.match.table == PARTS for known, those in having if seq in those)
            how = "some words" if missing else "substring" if is_part else "words"
            where, snippet, marks = shown[seq]
            told[seq] = {"where": where, "snippet": snippet, "marks": marks, "missing": missing, "how": how}
        return told

    def _excerpts(self, seqs: Sequence[int]) -> dict[int, Excerpt]:
        """By the terms themselves; by what they may stand for where an event has none of them."""
        own = [known.match for known in self._known]
        found = self._marked(seqs, own)
        without = [seq for seq, one in found.items() if not one.marks]
        return found | self._marked(without, [match for _, match, _ in self._meant()]) if without else found

    def _marked(self, seqs: Sequence[int], matches: Sequence[Match]) -> dict[int, Excerpt]:
        patterns = [term.pattern() for match in matches for term in match.check]
        words = " OR ".join(f"({match.expression})" for match in matches if match.table == WORDS)
        texts = self._lists.texts(seqs)
        if words:
            texts |= self._lists.marked(Match(WORDS, words), seqs, BEGIN, END)
        return {seq: excerpt(texts.get(seq, {}), patterns) for seq in seqs}


@contextmanager
def _one_state(db: sqlite3.Connection) -> Iterator[None]:
    """Others may write meanwhile: it is one state of the database that is searched."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")


def _by_words(term: Term) -> Match | None:
    return Match(WORDS, term.as_word()) if term.words else None


def _as_part(term: Term) -> Match | None:
    threes = term.as_part()
    return Match(PARTS, threes, (term,)) if threes else None


def _where(seq: int, heads: Set[int]) -> float:
    return 1.0 if seq in heads else _OUT_OF_HEAD


def _shortness(size: int) -> float:
    """1 for a short text, less for a longer one: half for one that is 16 times as long."""
    return 1 / (1 + max(math.log2(max(size, 1) / _SHORT), 0.0) / 4)


def _ranked(scores: dict[int, float]) -> list[int]:
    """The best first, among equals the newest."""
    return sorted(scores, key=lambda seq: (-round(scores[seq], 3), -seq))
