"""The tables `trace_*`: what was made of the records of Python programs, to be found without reading them.

The `python_trace` event of a session covers them by two digests, and names every chunk's blob.

Lives here: their rows. Not here: taking traces in (traces.py), what stands in a chunk (trace/).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from devtrace.store import blobs, chain, storable
from devtrace.store.blobs import Stored
from devtrace.store.trace.calls import CallRow, ExceptionRow
from devtrace.store.trace.segments import Block

FIRST_VERSION = 4  # of the schema that has them
MOST_EXCEPTIONS = 1_000  # of a trace; more are counted
_MOST_TOTAL = 1 << 62
_LEVEL = 1  # of zlib: 6 takes three times as long and saves a twentieth to a fifth
_STREAM = "session, stream, pid, ident, name, n_events, n_blocks, started_us, ended_us, clock_us"
_OTHERS = ("trace_streams", "trace_functions", "trace_calls", "trace_exceptions")
_ORDERS = {
    "trace_chunks": "stream, n",
    "trace_streams": "stream",
    "trace_functions": "number",
    "trace_calls": "stream, event",
    "trace_exceptions": "stream, event",
}


def trace_id(session: str) -> str:
    """The id of the `python_trace` event of a session, known before it is written."""
    return hashlib.sha256(f"python_trace of {session}".encode()).hexdigest()[:16]


def knows_traces(db: sqlite3.Connection) -> bool:
    """False for a database of an older version that can only be read."""
    return bool(db.execute("PRAGMA user_version").fetchone()[0] >= FIRST_VERSION)


# --- writing: in the transaction of the caller --------------------------------------------------------------


def add_chunk(
    db: sqlite3.Connection,
    session: str,
    stream: int,
    block: Block,
    first_event: int,
    n_events: int,
    started_us: int,
    ended_us: int,
) -> None:
    """Keep a block. Raises sqlite3.IntegrityError when it is there."""
    used = block.used
    digest = blobs.put(db, used, _LEVEL)
    row = (session, stream, block.number, digest, first_event, n_events, len(used), started_us, ended_us)
    db.execute("INSERT INTO trace_chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def add_functions(db: sqlite3.Connection, session: str, functions: Mapping[int, dict[str, Any]]) -> None:
    """What numbers stand for; what is no description is one of which nothing is known."""
    for number, told in functions.items():
        db.execute(
            "INSERT INTO trace_functions (session, number, path, line, name, module, names, n_arguments)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (session, number, *_described(told)),
        )


def _described(told: dict[str, Any]) -> tuple[object, ...]:
    names = told.get("names")
    names = [storable.text(str(name)) for name in names] if isinstance(names, list) else []
    path, name, module = (storable.text(str(told.get(key, ""))) for key in ("path", "name", "module"))
    line, n_arguments = (_small(told.get(key)) for key in ("line", "n_arguments"))
    return path, line, name, module, chain.encode(names), n_arguments


def _small(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else 0


def add_totals(db: sqlite3.Connection, session: str, totals: Mapping[int, Sequence[int]]) -> None:
    """Count calls for their functions."""
    add_functions(db, session, {number: {} for number in totals})
    db.executemany(
        "UPDATE trace_functions SET n_calls = n_calls + ?, max_ns = max(max_ns, ?),"
        f" total_ns = min(total_ns + ?, {_MOST_TOTAL}) WHERE session = ? AND number = ?",
        [
            (n_calls, max_ns, min(total_ns, _MOST_TOTAL), session, number)
            for number, (n_calls, total_ns, max_ns) in totals.items()
        ],
    )


def add_calls(db: sqlite3.Connection, session: str, stream: int, rows: Iterable[CallRow]) -> None:
    """Rows as calls.py makes them."""
    columns = "event, last_event, function, parent, depth, started_ns, duration_ns, how, chunk, n_folded"
    db.executemany(
        f"INSERT OR REPLACE INTO trace_calls (session, stream, {columns}) VALUES ({', '.join('?' * 12)})",
        [(session, stream, *row) for row in rows],
    )


def add_exceptions(
    db: sqlite3.Connection,
    session: str,
    stream: int,
    rows: Sequence[ExceptionRow],
    caught: Iterable[tuple[int, int]],
) -> None:
    """The first exceptions of a trace, and where they were caught."""
    if rows:
        counted = "SELECT count(*) FROM trace_exceptions WHERE session = ?"
        room = max(0, MOST_EXCEPTIONS - db.execute(counted, (session,)).fetchone()[0])
        insert = "INSERT OR REPLACE INTO trace_exceptions VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        for event, function, line, text, handled, at_ns in rows[:room]:
            values = (session, stream, event, function, line, storable.text(text), handled, at_ns)
            db.execute(insert, values)
    db.executemany(
        "UPDATE trace_exceptions SET handled = ? WHERE session = ? AND stream = ? AND event = ?",
        [(by, session, stream, event) for event, by in caught],
    )


def forget(db: sqlite3.Connection, session: str) -> None:
    """Take out all rows of a trace; its blobs are the event's."""
    for table in _ORDERS:
        db.execute(f"DELETE FROM {table} WHERE session = ?", (session,))


def forget_chunks(db: sqlite3.Connection, session: str) -> None:
    """Its records are no longer kept; what was made of them is."""
    db.execute("DELETE FROM trace_chunks WHERE session = ?", (session,))


# --- reading ------------------------------------------------------------------------------------------------


def read_chunk(db: sqlite3.Connection, digest: str) -> Block:
    """The block of a chunk. Raises EnvironmentError ERR_STORE_DAMAGED, ValueError for what is none."""
    return Block.unpacked(blobs.get(db, digest))


def named_blobs(db: sqlite3.Connection, session: str) -> dict[str, Stored]:
    """What the event of a trace names: `STREAM/NUMBER` -> a chunk's blob."""
    select = "SELECT stream, n, sha256, n_bytes FROM trace_chunks WHERE session = ? ORDER BY stream, n"
    return {
        f"{stream}/{n}": Stored(digest, size) for stream, n, digest, size in db.execute(select, (session,))
    }


def digest_of_chunks(db: sqlite3.Connection, session: str) -> str:
    """`chunks` of the event: SHA-256 over the rows, each as canonical JSON."""
    return _digest(db, session, ("trace_chunks",))


def digest_of_tables(db: sqlite3.Connection, session: str) -> str:
    """`tables` of the event: the same over the rows of the other tables."""
    return _digest(db, session, _OTHERS)


def _digest(db: sqlite3.Connection, session: str, tables: Sequence[str]) -> str:
    total = hashlib.sha256()
    for table in tables:
        columns = _STREAM if table == "trace_streams" else "*"  # the state is gone when the trace is over
        select = f"SELECT {columns} FROM {table} WHERE session = ? ORDER BY {_ORDERS[table]}"
        for row in db.execute(select, (session,)):
            total.update(chain.encode(row).encode("ascii") + b"\n")
    return total.hexdigest()


def are_true(
    db: sqlite3.Connection, session: str, event: str, data: Mapping[str, Any], *, keeps: bool
) -> bool:
    """Whether the tables say what the event says. `keeps`: it has its outputs yet."""
    if event != trace_id(session) or data.get("tables") is None:
        return True  # it is not the one that the tables belong to, or was cut short
    rows = {name: one._asdict() for name, one in named_blobs(db, session).items()}
    if rows != ((data.get("blobs") or {}) if keeps else {}):
        return False
    is_same = not keeps or digest_of_chunks(db, session) == data.get("chunks")
    return is_same and digest_of_tables(db, session) == data["tables"]


# The names that chunks have before an event names them, and rows that no trace stands behind.
UNNAMED = """
    SELECT sha256 FROM trace_chunks
    WHERE session IN (SELECT session FROM running WHERE kind = 'python_trace')
"""
STRAY = f"""
    SELECT session FROM ({" UNION ".join(f"SELECT session FROM {table}" for table in _ORDERS)})
    WHERE coalesce(?, session) = session
    EXCEPT SELECT session FROM running WHERE kind = 'python_trace'
    EXCEPT SELECT session FROM events WHERE kind = 'python_trace'
"""


def loads(text: str) -> dict[str, Any]:
    """A column of JSON that we wrote."""
    told = json.loads(text)
    return told if isinstance(told, dict) else {}
