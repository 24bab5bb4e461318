"""A recorded program as a whole, and those that it started: for the forms of other programs.

Lives here: `Program`, `program_of`, `family`. Not here: what is known of a trace without reading its records
(traces.py), the forms (views/export/).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from devtrace.errors import UsageError
from devtrace.query.ids import Found
from devtrace.query.traces import Trace, started_by, trace_of, traces_under
from devtrace.store.trace.segments import Block
from devtrace.store.trace.threads import Thread

Row = dict[str, Any]

_MOST = 1_000  # processes
_NAMED = 3


class Program:
    """One process. `process` is what the trace tells of it, redacted as it was kept."""

    def __init__(self, db: sqlite3.Connection, session: str):
        self.session = session
        self._trace = Trace(db, session)
        event = self._trace.event or {}
        self.process: Row = event.get("data") or {}
        self.exit_code: int | None = self.process.get("exit_code")
        self.label: str | None = self.process.get("label")
        self.title: str = event.get("title", "")

    @property
    def is_kept(self) -> bool:
        """Whether there is a record to read."""
        return bool(self._trace.chunks)

    def threads(self) -> list[Thread]:
        """Its threads, to be read once, with what they printed and read."""
        return [Thread(stream, self._blocks(stream), with_io=True) for stream in self._trace.chunks]

    def clocks(self) -> tuple[int, int]:
        """The clock of its times and Unix ns, at one moment near its begin."""
        block = next((block for stream in self._trace.chunks for block in self._blocks(stream)), None)
        return (block.clock_ns, block.wall_ns) if block is not None else (0, 0)

    def _blocks(self, stream: int) -> Iterator[Block]:
        for chunk in self._trace.chunks[stream]:
            block = self._trace.block(chunk)
            if block is not None:
                yield block


def program_of(db: sqlite3.Connection, found: Found, form: str) -> Program:
    """The program that an id means. Raises UsageError ERR_USAGE for what is none, or is no longer kept."""
    session = trace_of(db, found)
    if session is None:
        raise UsageError(
            f"{form} is written of a recorded Python program, and that is none",
            code="ERR_USAGE",
            hint=_hint(db, found),
            context={"session": found.session, "event": found.event},
        )
    program = Program(db, session)
    if not program.is_kept:
        raise UsageError(
            "the records of that program are not kept",
            code="ERR_USAGE",
            hint="they were pruned, or it recorded nothing: see `devtrace show`",
            context={"session": session},
        )
    return program


def family(db: sqlite3.Connection, program: Program) -> list[Program]:
    """The program and those that its process started, each after the one that started it."""
    found, at = [program.session], 0
    while at < len(found) and len(found) < _MOST:
        found += [one for one in started_by(db, found[at], _MOST) if one not in found]
        at += 1
    programs = [program, *(Program(db, session) for session in found[1:_MOST])]
    return [one for one in programs if one.is_kept]


def _hint(db: sqlite3.Connection, found: Found) -> str:
    inside = [row["session"] for row in traces_under(db, found.session, found.event)]
    if not inside:
        return "record one with `devtrace record SCRIPT`; `devtrace sessions` lists them"
    more = f", and {len(inside) - _NAMED} more" if len(inside) > _NAMED else ""
    return f"the programs that it started: {', '.join(inside[:_NAMED])}{more}"
