"""The hash chain: each event's hash covers the one before it in its session.

Of a pruned event a stub with its hash is left, so that the chain goes on; a `policy` event lists the stubs.

Lives here: the canonical form, linking, sealing a head, checking one session, what a list of stubs is.
Not here: when a head is sealed (sessions.py, append.py), pruning (retention.py).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

FIRST = "0" * 64  # what the first event of a session follows

# Every column of an event but `seq`, which SQLite gives, and `hash` itself. `data` goes in as it is stored.
COLUMNS: Sequence[str] = (
    "session",
    "id",
    "parent",
    "kind",
    "actor",
    "started_us",
    "ended_us",
    "recorded_us",
    "status",
    "title",
    "cwd",
    "exit_code",
    "source",
    "exit_source",
    "trusted",
    "data",
)


def dumps(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces, ASCII escapes. Raises ValueError for a float."""
    if _holds_float(value):
        raise ValueError("a float has no canonical form: use integers")
    return encode(value)


def encode(value: object) -> str:
    """`dumps` of what is known to hold no float (storable.py)."""
    return _ENCODER.encode(value)


def canonical(row: Mapping[str, Any]) -> bytes:
    """The bytes of an event that are hashed: its columns as canonical JSON.

    Written out by hand, which takes a third of the time: every column is a text, an integer or null.
    """
    return b"{" + ",".join([_LABELS[name] + _scalar(row[name]) for name in _SORTED]).encode("ascii") + b"}"


def link(previous: str, row: Mapping[str, Any]) -> str:
    """SHA-256 over the previous hash, as text, and the event's canonical form; 64 hex digits."""
    return hashlib.sha256(previous.encode("ascii") + canonical(row)).hexdigest()


def head(db: sqlite3.Connection, session: str) -> tuple[int | None, str]:
    """The seq and hash of a session's last event; (None, FIRST) when it has none."""
    row = db.execute(
        "SELECT seq, hash FROM events WHERE session = ? ORDER BY seq DESC LIMIT 1", (session,)
    ).fetchone()
    return (None, FIRST) if row is None else (row[0], row[1])


def seal(db: sqlite3.Connection, session: str, sealed_us: int) -> None:
    """Write down the head as it is now, unless the last seal says the same; a second seal is a late one."""
    seq, digest = head(db, session)
    last = db.execute(
        "SELECT hash FROM seals WHERE session = ? ORDER BY n DESC LIMIT 1", (session,)
    ).fetchone()
    if last != (digest,):
        db.execute(
            "INSERT INTO seals (session, seq, hash, sealed_us, late) VALUES (?, ?, ?, ?, ?)",
            (session, seq, digest, sealed_us, int(last is not None)),
        )


def check(db: sqlite3.Connection, session: str) -> int | None:
    """The seq of the first event whose hash does not follow, or None when the chain holds.

    A chain holds when every event follows the one before it, and every seal is still the hash of the event
    that it was put on: so the last events cannot be taken away unseen either. A stub stands for its event,
    where a `policy` event of the chain lists it.
    """
    previous = FIRST
    hashes: dict[int, str] = {}
    policies: dict[str, str] = {}
    for one in walk(db, session):
        previous = one.hash if one.columns is None else link(previous, one.columns)
        if previous != one.hash:
            return one.seq
        hashes[one.seq] = one.hash
        if one.columns is not None and one.columns["kind"] == "policy":
            policies[one.id] = one.columns["data"]
    wrong = [one.first_seq for one in wrong_lists(db, session, policies)]
    sealed = db.execute("SELECT seq, hash FROM seals WHERE session = ? AND seq IS NOT NULL", (session,))
    wrong += [seq for seq, digest in sealed if hashes.get(seq) != digest]
    return min(wrong, default=None)


# --- stubs of pruned events ---------------------------------------------------------------------------------


class Linked(NamedTuple):
    """One link of a chain; `columns` None: the event was pruned, and this is its stub."""

    seq: int
    id: str
    hash: str
    columns: dict[str, Any] | None


class WrongList(NamedTuple):
    """What is said to be pruned, and is not what the `policy` event lists."""

    by_event: str
    first_seq: int  # 0: there is none, or it is an output
    event: str | None  # the first stub's; None: as above
    number: int  # of stubs or outputs that are said to be pruned


_LINKS = f"SELECT seq, id, hash, 0, {', '.join(COLUMNS)} FROM events WHERE session = :session"
_STUBS = (
    f" UNION ALL SELECT seq, id, hash, 1, {', '.join('NULL' for _ in COLUMNS)} FROM pruned"
    " WHERE session = :session"
)


def walk(db: sqlite3.Connection, session: str) -> Iterator[Linked]:
    """The chain of a session, its stubs included, in its order."""
    stubs = _STUBS if knows_stubs(db) else ""
    rows = db.execute(f"{_LINKS}{stubs} ORDER BY seq", {"session": session})
    for seq, event, digest, is_stub, *values in rows:
        columns = None if is_stub else dict(zip(COLUMNS, values, strict=True))
        yield Linked(seq, event, digest, columns)


def knows_stubs(db: sqlite3.Connection) -> bool:
    """False for a database of an older version that can only be read."""
    return bool(db.execute("PRAGMA user_version").fetchone()[0] >= _FIRST_WITH_STUBS)


def list_digest(listed: Sequence[object]) -> str:
    """What a `policy` event keeps of its list: stubs as [seq, id, kind, hash], or digests of outputs."""
    return hashlib.sha256(encode(listed).encode("ascii")).hexdigest()


def wrong_lists(db: sqlite3.Connection, session: str, policies: Mapping[str, str]) -> list[WrongList]:
    """Where the lists that the session's `policy` events keep (`data` by id) are not what the tables say."""
    if not knows_stubs(db):
        return []
    listed: dict[str, list[Any]] = defaultdict(list)
    firsts: dict[str, tuple[int, str | None]] = {}
    stubs = "SELECT by_event, seq, id, kind, hash FROM pruned WHERE session = ? ORDER BY seq"
    for by_event, *stub in db.execute(stubs, (session,)):
        firsts.setdefault(by_event, (stub[0], stub[1]))
        listed[by_event].append(stub)
    said = {event: told for event, data in policies.items() if (told := _list_of(data)) is not None}
    for event in said:
        if event not in listed:
            outputs = "SELECT sha256 FROM pruned_blobs WHERE by_event = ? AND session = ? ORDER BY sha256"
            listed[event] = [digest for (digest,) in db.execute(outputs, (event, session))]
    wrong = []
    for event in sorted({*said, *listed}):
        if said.get(event) != (len(listed[event]), list_digest(listed[event])):
            seq, stub_id = firsts.get(event, (0, None))
            wrong.append(WrongList(event, seq, stub_id, len(listed[event])))
    return wrong


def is_list_true(db: sqlite3.Connection, session: str, by_event: str) -> bool:
    """Whether the outputs that a `policy` event is said to list are those that it lists."""
    event = "SELECT data FROM events WHERE session = ? AND id = ? AND kind = 'policy'"
    row = db.execute(event, (session, by_event)).fetchone()
    rows = "SELECT sha256 FROM pruned_blobs WHERE by_event = ? AND session = ? ORDER BY sha256"
    listed = [digest for (digest,) in db.execute(rows, (by_event, session))]
    return row is not None and _list_of(row[0]) == (len(listed), list_digest(listed))


def _list_of(data: str) -> tuple[int, str] | None:
    """How many a `policy` event lists, and their digest; None: it lists nothing."""
    try:
        told = json.loads(data)
    except ValueError:
        return None
    listed = told.get("listed") if isinstance(told, dict) else None
    return None if listed is None else (listed, told.get("sha256"))


_FIRST_WITH_STUBS = 3  # the version of the schema
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
_SORTED = tuple(sorted(COLUMNS))
_LABELS = {name: f'"{name}":' for name in COLUMNS}


def _scalar(value: str | int | None) -> str:
    if type(value) is str:
        return encode_basestring_ascii(value)
    if value is None:
        return "null"
    if type(value) is not int:
        raise TypeError(f"a column holds no {type(value).__name__}")
    return str(value)


def _holds_float(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_float, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_float, value))
    return isinstance(value, float)
