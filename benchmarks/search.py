"""Searching a store of a million events, and what it takes to be able to.

The store is that of the reading room, with one rare word in it. Peers, asked in the same run: the events
scanned by LIKE, and the same index asked by FTS5's own bm25. P95 is over some tens of rounds, in which each
question takes its turn; the peers, which take longer, have fewer.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from benchmarks import Row, reading
from devtrace.ids import new_session_id
from devtrace.query.filters import Filters
from devtrace.query.search import search
from devtrace.store import search_index, sessions
from devtrace.store.append import append
from devtrace.store.connection import open_reader, open_store
from devtrace.workspace import Workspace

EVENTS, QUICK_EVENTS = 1_000_000, 20_000
ROUNDS, QUICK_ROUNDS = 40, 5
_RARE = "flamingo"
_LIKE = "SELECT seq FROM events WHERE {} ORDER BY started_us DESC LIMIT 20"
_BM25 = "SELECT rowid FROM search_words WHERE search_words MATCH ? ORDER BY rank LIMIT 20"
_HOUR_US = 3_600_000_000
_SLOW = 10  # rounds of ours for one of a peer


class Question(NamedTuple):
    """What is searched for; `like`: the same as patterns; `match`: the same for FTS5, or none."""

    name: str
    wanted: str
    like: tuple[str, ...]
    match: str = ""
    filters: Filters = Filters()


def measure(*, quick: bool = False, events: int | None = None) -> list[Row]:
    """The rows of this room; `events` overrides the size of the store."""
    count = events or (QUICK_EVENTS if quick else EVENTS)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / ".devtrace")
        reading.fill(workspace, count)
        add_rare(workspace)
        rows = built(workspace, count)
        with closing(open_reader(workspace)) as db:
            rows += asked(db, questions(db), QUICK_ROUNDS if quick else ROUNDS)
    return rows


def add_rare(workspace: Workspace) -> None:
    """A session with one command that no other is like, in the middle of the others by its time."""
    with closing(open_store(workspace)) as db:
        session = new_session_id()
        sessions.begin(db, id=session, kind="shell", agent="manual", started_us=reading.START)
        frame = reading.frame(session, reading.START, 1)
        frame.update(title=f"$ echo {_RARE}", data={"command": f"echo {_RARE}"})
        append(db, [frame])


def built(workspace: Workspace, count: int) -> list[Row]:
    """How quickly the index is made, rests for other writers included, and what it takes of the disk."""
    with closing(open_store(workspace)) as db:
        without = _bytes(db)
        begun = time.perf_counter()
        assert search_index.catch_up(db)
        took = time.perf_counter() - begun
        with_it = _bytes(db)
    what = "a stored event, with the search index"
    return [
        _row("indexing, rests for other writers included", count / took, unit="events/s"),
        _row(what, with_it / count, "without it", without / count, budget="<= 700 B", unit="B"),
    ]


def _bytes(db: sqlite3.Connection) -> int:
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return int(db.execute("PRAGMA page_count").fetchone()[0] * db.execute("PRAGMA page_size").fetchone()[0])


def questions(db: sqlite3.Connection) -> list[Question]:
    """Of all sorts; filters leave one session of a hundred events, or an hour of many days."""
    ((last,),) = db.execute("SELECT max(started_us) FROM events").fetchall()
    (session,) = db.execute("SELECT session FROM events ORDER BY seq LIMIT 1 OFFSET 500").fetchone()
    since, until = Filters(since_us=last - _HOUR_US), Filters(until_us=reading.START + _HOUR_US)
    common, both = ("%git%", "%commit%"), "git AND commit"
    return [
        Question("a rare word", _RARE, (f"%{_RARE}%",), _RARE),
        Question("a word of two in five events", "git", ("%git%",), "git"),
        Question("two common words", "git commit", common, both),
        Question("two common words, never together", "git build", ("%git%", "%build%"), "git AND build"),
        Question(
            "a question in plain words", "why did the tests fail", ("%tests%", "%fail%"), "tests OR fail"
        ),
        Question("a part of a word", "laming", ("%laming%",)),
        Question("a part of every fifth event", "ild-", ("%ild-%",)),
        Question("a path", "src/98", ("%src/98%",)),
        Question("two common words in a session", "git commit", common, both, Filters(session=session)),
        Question("two common words since an hour", "git commit", common, both, since),
        Question("two common words in the first hour", "git commit", common, both, until),
        Question("two common words that failed", "git commit", common, both, Filters(failed=True)),
        Question("two common words of nobody", "git commit", common, both, Filters(actor="agent")),
    ]


def asked(db: sqlite3.Connection, wanted: Sequence[Question], rounds: int) -> list[Row]:
    """Each question in turn: P50 and P95, beside the scan, and beside bm25 where it has words."""
    ours: list[list[float]] = [[] for _ in wanted]
    scans: list[list[float]] = [[] for _ in wanted]
    ranks: list[list[float]] = [[] for _ in wanted]
    for number in range(rounds + 1):
        for at, one in enumerate(wanted):
            ours[at].append(_timed(lambda one=one: search(db, one.wanted, one.filters)))
            if number % _SLOW == 0:
                scans[at].append(_timed(lambda one=one: _scan(db, one)))
            if number % _SLOW == 0 and one.match:
                ranks[at].append(_timed(lambda one=one: db.execute(_BM25, (one.match,)).fetchall()))
    rows = []
    for at, one in enumerate(wanted):
        mine = sorted(ours[at][1:])  # without the first round, in which SQLite reads its pages
        middle, late = statistics.median(mine), mine[max(int(len(mine) * 0.95) - 1, 0)]
        rows.append(_row(f"{one.name}, P95", late, budget="<= 50 ms"))
        rows.append(_row(f"{one.name}, P50", middle, "a LIKE scan", statistics.median(scans[at])))
        if one.match and not _is_narrow(one.filters):
            rows.append(_row(f"{one.name}, P50", middle, "plain bm25", statistics.median(ranks[at])))
    return rows


def _is_narrow(filters: Filters) -> bool:
    return filters != Filters()


def _scan(db: sqlite3.Connection, one: Question) -> list[tuple[int]]:
    where = " AND ".join("title LIKE ?" for _ in one.like)
    return db.execute(_LIKE.format(where), one.like).fetchall()


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def _row(
    what: str,
    ours: float,
    peer_name: str = "",
    peer: float | None = None,
    *,
    budget: str = "",
    unit: str = "ms",
) -> Row:
    ratio = None if peer is None else ours / peer
    return {
        "what": what, "ours": ours, "peer_name": peer_name, "peer": peer, "ratio": ratio, "budget": budget,
        "unit": unit,
    }  # fmt: skip


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["--only", "search", *sys.argv[1:]]))
