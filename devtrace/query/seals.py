"""Seals held against what was kept of them outside the database, and what came after the first of a session.

Lives here: `differences`, `late`, what a signature is. Not here: the file's format (store/anchors.py), seals
against events and what each finding means (verify.py), making and checking signatures (services/sign.py).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from devtrace.store import chain
from devtrace.store.anchors import Log, Seal

JUST_NOW_US = 60_000_000  # so long a seal may be without its line: its writer may be about to write it


class Kept(NamedTuple):
    """What is known outside the database. `log` None: there is no seals.log, or it cannot be read."""

    log: Log | None = None
    is_unreadable: bool = False
    new: frozenset[int] = frozenset()  # seals that stood in no line of it until the command that asks
    copy: Log | None = None  # of seals.log, as it was kept elsewhere


class Signature(NamedTuple):
    """A signature that is there. `state`: `good`, `bad`, or `unchecked` where ssh-keygen cannot tell.

    `principal`: who the allowed signers say that the key belongs to; None: nobody vouched for it.
    """

    session: str
    n: int  # the number of the seal
    is_head: bool  # whether that is the session's last seal
    state: str
    key: str | None = None  # the fingerprint
    principal: str | None = None


class Outside(NamedTuple):
    """What an answer stands on besides the database."""

    signatures: list[Signature] = []  # noqa: RUF012 - a tuple's default, which nobody changes
    n_sealed: int = 0  # sessions
    has_log: bool = True
    is_log_new: bool = False  # seals.log was begun by the command that asks
    compared: int | None = None  # seals of the copy; None: no copy was named

    @property
    def n_signed(self) -> int:
        """How many sessions have a good signature of their last seal."""
        return len({one.session for one in self.signatures if one.is_head and one.state == "good"})


class Late(NamedTuple):
    """What was sealed after a session had been sealed: so many events, from when to when they happened."""

    session: str
    seals: int
    events: int  # those that were pruned since included
    since_us: int | None  # None: none of them is left
    until_us: int | None


class Difference(NamedTuple):
    """`session` None: the file as a whole."""

    session: str | None
    what: str
    number: int


def differences(
    db: sqlite3.Connection, session: str | None, kept: Kept, now_us: int
) -> tuple[list[Difference], int]:
    """What the database and what was kept do not agree about, of one session or of all.

    Returns with it how many seals stand in seals.log as they stand in the table.
    """
    table = {row[0]: Seal(*row) for row in db.execute(_SEALS)}
    found: list[Difference] = []
    if kept.is_unreadable or (kept.log is not None and kept.log.broken):
        found.append(Difference(None, "anchor_file", max(1, kept.log.broken if kept.log else 1)))
    n_anchored = 0
    if kept.log is not None:
        found += _missing("anchor", kept.log, table, session)
        found += _unanchored(kept.log, kept.new, table, session, now_us)
        n_anchored = sum(table.get(seal.n) == seal for seal in kept.log.seals if _is_asked(seal, session))
    if kept.copy is not None:
        found += _against_copy(kept.copy, kept.log, table, session)
    return found, n_anchored


def late(db: sqlite3.Connection, session: str | None = None) -> list[Late]:
    """What came late into one session or into each, in the order of their ids.

    What only says that something was pruned since is no such thing.
    """
    every = "SELECT session FROM seals WHERE coalesce(?, session) = session GROUP BY 1 HAVING count(*) > 1"
    found = [_late(db, one) for (one,) in db.execute(f"{every} ORDER BY 1", (session,)).fetchall()]
    return [one for one in found if one.events]


_PRUNING = "kind = 'policy' AND json_extract(data, '$.action') = 'pruned'"
_SEALS = "SELECT n, session, seq, hash, sealed_us, late FROM seals ORDER BY n"


def _missing(what: str, log: Log, table: Mapping[int, Seal], session: str | None) -> Iterator[Difference]:
    """A difference a session whose seals are in the file and not, or not so, in the table."""
    gone = (seal for seal in log.seals if table.get(seal.n) != seal and _is_asked(seal, session))
    return _by_session(what, gone)


def _unanchored(
    log: Log, new: frozenset[int], table: Mapping[int, Seal], session: str | None, now_us: int
) -> Iterator[Difference]:
    """The other way round: seals that should long have been written down."""
    lines = log.mentioned - new
    if log.is_torn:  # the power went while the next one was being written
        lines |= {min((n for n in table if n > max(log.mentioned, default=0)), default=0)}
    return _by_session(
        "unanchored",
        (
            seal
            for seal in table.values()
            if seal.n not in lines and seal.sealed_us < now_us - JUST_NOW_US and _is_asked(seal, session)
        ),
    )


def _against_copy(
    copy: Log, log: Log | None, table: Mapping[int, Seal], session: str | None
) -> list[Difference]:
    found = list(_missing("copy", copy, table, session))
    if copy.broken:
        found.append(Difference(None, "copy_file", copy.broken))
    if found or log is None or log.broken:
        return found
    if log.seals[: len(copy.seals)] != copy.seals:  # the table has them all: the file was written anew
        found.append(Difference(None, "anchor_file", 1))
    return found


def _by_session(what: str, seals: Iterable[Seal]) -> Iterator[Difference]:
    for session, number in Counter(seal.session for seal in seals).items():
        yield Difference(session, what, number)


def _is_asked(seal: Seal, session: str | None) -> bool:
    return session is None or seal.session == session


def _late(db: sqlite3.Connection, session: str) -> Late:
    rows = db.execute("SELECT coalesce(seq, 0) FROM seals WHERE session = ? ORDER BY n", (session,))
    seals = [seq for (seq,) in rows]
    first, last = seals[0], max(seals)
    under = "WHERE session = ? AND seq > ? AND seq <= ?", (session, first, last)
    moments = "count(*), min(started_us), max(coalesce(ended_us, started_us))"
    select = f"SELECT {moments} FROM events {under[0]} AND NOT ({_PRUNING})"
    events, since_us, until_us = db.execute(select, under[1]).fetchone()
    if chain.knows_stubs(db):
        events += db.execute(f"SELECT count(*) FROM pruned {under[0]}", under[1]).fetchone()[0]
    return Late(session, len(seals) - 1, events, since_us, until_us)
