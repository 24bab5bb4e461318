"""From the few digits a person copies to the one session or event they mean, and back.

Lives here: prefix lookup and the shortest unique prefixes. Not here: minting ids (devtrace/ids.py).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from devtrace.errors import UsageError
from devtrace.store.chain import knows_stubs

SHORTEST = 4
# A session id begins with its time: with 8 digits it stays unique however many are still to come, unless
# two begin within the same minute.
SHORTEST_SESSION = 8
_CANDIDATES = 10
# Kinds of sessions that hold one order given outside any.
ORDERS = "('snapshot', 'restore', 'prune', 'probe_order')"
_HEX = frozenset("0123456789abcdef")
# The ids just before and after `value` in each table: nobody shares more digits with it than they do.
_NEIGHBOURS = ", ".join(
    f"(SELECT {end}(id) FROM {table} WHERE id {operator} value)"
    for table in ("sessions", "events", "running")
    for operator, end in (("<", "max"), (">", "min"))
)
_SESSION_DIGITS, _EVENT_DIGITS = 32, 16


class Found(NamedTuple):
    """What a prefix means: a whole session (`event` is None), or one event of it."""

    session: str
    event: str | None = None


def resolve_session(db: sqlite3.Connection, prefix: str | None) -> str:
    """The one session whose id starts with the prefix; None means the one that started last, of
    those that were not started inside another, and are no order's own (a snapshot's, a restore's).

    Raises UsageError ERR_NO_SESSION, ERR_ID_UNKNOWN or ERR_ID_AMBIGUOUS (context: `candidates`).
    """
    if prefix is None:
        newest = "SELECT id FROM sessions {} ORDER BY started_us DESC, id DESC LIMIT 1"
        narrowed = (
            f"WHERE parent_session IS NULL AND kind NOT IN {ORDERS}",
            "WHERE parent_session IS NULL",
            "",
        )
        found = (db.execute(newest.format(where)).fetchone() for where in narrowed)
        row = next((row for row in found if row is not None), None)
        if row is None:
            raise UsageError(
                "nothing is recorded here yet",
                code="ERR_NO_SESSION",
                hint="start a traced shell with `devtrace shell`",
            )
        return str(row[0])
    wanted = _digits(prefix)
    return _only(prefix, [Found(row) for row in _sessions(db, wanted)]).session


def resolve(db: sqlite3.Connection, prefix: str, session: str | None = None) -> Found:
    """The one session or event (running ones too) whose id starts with the prefix.

    `session` narrows to the events of that session, as `SESSION/EVENT` does. Raises UsageError
    ERR_ID_UNKNOWN or ERR_ID_AMBIGUOUS (context: `candidates`).
    """
    if "/" in prefix:
        outer, _, prefix = prefix.partition("/")
        session = resolve_session(db, outer)
    wanted = _digits(prefix)
    whole = [] if session is not None else [Found(row) for row in _sessions(db, wanted)]
    found = [*whole, *_events(db, wanted, session)]
    if not found:
        _must_not_be_pruned(db, prefix, wanted, session)
    return _only(prefix, found)


def short(db: sqlite3.Connection, ids: Iterable[str]) -> dict[str, str]:
    """Each id's shortest prefix that no other session or event shares: 4 digits or more, a session's 8.

    An event id that occurs in two sessions stays whole: `resolve` then asks for `SESSION/EVENT`.
    """
    wanted = list(dict.fromkeys(ids))
    rows = db.execute(f"SELECT value, {_NEIGHBOURS} FROM json_each(?)", (json.dumps(wanted),))
    return {whole: whole[: _unique_length(whole, neighbours)] for whole, *neighbours in rows}


def _unique_length(whole: str, neighbours: Iterable[str | None]) -> int:
    shared = max((_shared(whole, other) for other in neighbours if other is not None), default=0)
    least = SHORTEST_SESSION if len(whole) == _SESSION_DIGITS else SHORTEST
    return max(least, shared + 1)


def _shared(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _sessions(db: sqlite3.Connection, wanted: str) -> list[str]:
    if len(wanted) > _SESSION_DIGITS:
        return []
    rows = db.execute(
        "SELECT id FROM sessions WHERE id >= ? AND id < ? LIMIT ?", (wanted, _beyond(wanted), _CANDIDATES)
    )
    return [str(row[0]) for row in rows]


def _events(db: sqlite3.Connection, wanted: str, session: str | None = None) -> list[Found]:
    if len(wanted) > _EVENT_DIGITS:
        return []
    where, values = "id >= ? AND id < ?", [wanted, _beyond(wanted)]
    if session is not None:
        where, values = f"session = ? AND {where}", [session, *values]
    found: dict[Found, None] = {}
    for table in ("events", "running"):
        rows = db.execute(
            f"SELECT session, id FROM {table} WHERE {where} LIMIT ?", (*values, _CANDIDATES)
        ).fetchall()
        found.update(dict.fromkeys(Found(row[0], row[1]) for row in rows))
    return list(found)


def _must_not_be_pruned(db: sqlite3.Connection, prefix: str, wanted: str, session: str | None) -> None:
    stub = (
        "SELECT id FROM pruned WHERE id >= :first AND id < :beyond AND session = coalesce(:session, session)"
    )
    values = {"first": wanted, "beyond": _beyond(wanted), "session": session}
    if knows_stubs(db) and db.execute(stub, values).fetchone() is not None:
        raise UsageError(
            f"event {prefix} was pruned",
            code="ERR_ID_UNKNOWN",
            hint="its place in the chain is kept, nothing else; `devtrace log --kind policy` says when",
            context={"prefix": prefix},
        )


def _digits(prefix: str) -> str:
    wanted = prefix.strip().lower()
    if not wanted or not _HEX.issuperset(wanted):
        raise _unknown(prefix)
    return wanted


def _beyond(wanted: str) -> str:
    return wanted + "g"  # greater than every hexadecimal continuation


def _only(prefix: str, found: list[Found]) -> Found:
    whole = [one for one in found if prefix.strip().lower() == (one.event or one.session)]
    if len(whole) == 1:
        return whole[0]
    if len(found) == 1:
        return found[0]
    if not found:
        raise _unknown(prefix)
    candidates = [f"{one.session}/{one.event}" if one.event else one.session for one in found[:_CANDIDATES]]
    raise UsageError(
        f"{prefix} fits {len(found) if len(found) < _CANDIDATES else 'many'} sessions or events",
        code="ERR_ID_AMBIGUOUS",
        hint=f"add digits: {', '.join(candidates[:3])}{' ...' if len(candidates) > 3 else ''}",
        context={"prefix": prefix, "candidates": candidates},
    )


def _unknown(prefix: str) -> UsageError:
    return UsageError(
        f"no session or event starts with {prefix!r}",
        code="ERR_ID_UNKNOWN",
        hint="`devtrace sessions` and `devtrace show` list the ids",
        context={"prefix": prefix},
    )
