"""What a database holds of a trace.

Lives here: the tables' rows, the event, gaps. Not here: writing segments (pens.py), any test.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from tests.store.pens import Pen

TABLES = (
    "trace_streams", "trace_chunks", "trace_functions", "trace_calls", "trace_exceptions", "io_chunks",
)  # fmt: skip


def event(db: sqlite3.Connection) -> dict[str, Any]:
    """The one event of the trace."""
    cursor = db.execute("SELECT * FROM events WHERE kind = 'python_trace'")
    (values,) = cursor.fetchall()
    row = dict(zip([column[0] for column in cursor.description], values, strict=True))
    return row | {"data": json.loads(row["data"])}


def gaps(db: sqlite3.Connection) -> dict[str, int]:
    told = db.execute("SELECT data ->> 'reason', data ->> 'count' FROM events WHERE kind = 'gap'")
    return dict(told.fetchall())


def tables(db: sqlite3.Connection) -> dict[str, list[Any]]:
    return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}


def blocks_written(pen: Pen, number: int) -> None:
    while pen.writer.block[1] < number:
        pen.line(1)
