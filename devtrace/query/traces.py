"""A recorded Python program: what is known of it as a whole, its functions, its threads, its chunks.

Lives here: `Trace`, `trace_of`, `traces_under`. Not here: its calls (trace_calls.py), its lines
(trace_lines.py), its exceptions (trace_exceptions.py), text in its values (trace_search.py).
"""

from __future__ import annotations

import json
import os
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from pathlib import PurePath
from typing import Any, NamedTuple

from devtrace.errors import DevTraceError, UsageError
from devtrace.query.events import get_event
from devtrace.query.ids import Found
from devtrace.query.sessions import get_session
from devtrace.store import blobs
from devtrace.store.trace.scan import Scan
from devtrace.store.trace.segments import BLOCK_BYTES, Block

Row = dict[str, Any]

KIND = "python_trace"
_FACTS = (
    "argv", "cwd", "executable", "python", "pid", "engine", "engine_because", "detail", "label", "metrics",
    "trace_filter",
)  # fmt: skip
_COUNTS = ("n_events", "n_calls", "n_exceptions", "n_threads", "n_folded")
_KEPT_BLOCKS = 8
_MOST_UNDER = 1_000
_MOST_CHILDREN = 50  # processes that are named
# Of one command, or of no command at all: those that a process of ours forked or started.
_STARTED = """
    SELECT child.id FROM sessions AS child JOIN sessions AS parent ON parent.id = ?
    WHERE child.kind = 'recorder' AND child.id != parent.id AND (
        child.parent_session = parent.id
        OR child.meta ->> 'forked_from' = parent.id
        OR (child.meta ->> 'ppid' = parent.meta ->> 'pid' AND child.host IS parent.host
            AND child.parent_session IS parent.parent_session
            AND child.started_us BETWEEN parent.started_us AND coalesce(parent.ended_us, child.started_us))
    )
    ORDER BY child.started_us, child.id LIMIT ?
"""


class Chunk(NamedTuple):
    """A block of a thread's records. `first_event` is the number of its first event in the stream."""

    stream: int
    n: int
    sha256: str
    first_event: int
    n_events: int


class Thread(NamedTuple):
    """One stream. `clock_us`: what its times in ns count from."""

    stream: int
    name: str
    n_events: int
    clock_us: int

    @property
    def label(self) -> str:
        """Its name, or its number where it has none."""
        return self.name or f"thread {self.stream}"


def trace_of(db: sqlite3.Connection, found: Found) -> str | None:
    """The session of the trace that a session or an event is; None: it is none."""
    if found.event is None:
        sql = "SELECT id FROM sessions WHERE id = ? AND kind = 'recorder'"
        row = db.execute(sql, (found.session,)).fetchone()
    else:
        row = None
        for table in ("events", "running"):
            sql = f"SELECT session FROM {table} WHERE session = ? AND id = ? AND kind = ?"
            row = row or db.execute(sql, (found.session, found.event, KIND)).fetchone()
    return None if row is None else str(row[0])


def traces_under(db: sqlite3.Connection, session: str, event: str | None = None) -> list[Row]:
    """The `python_trace` events of the programs that a session started, or one command of it: in their order.

    Each has `under` besides: the command's id. At most 1,000.
    """
    rows = db.execute(
        "SELECT id, parent_event FROM sessions WHERE parent_session = :session AND kind = 'recorder'"
        " AND (:event IS NULL OR parent_event = :event) ORDER BY started_us, id LIMIT :most",
        {"session": session, "event": event, "most": _MOST_UNDER},
    ).fetchall()
    found = [(Trace(db, one).event, under) for one, under in rows]
    return [row | {"under": under} for row, under in found if row is not None]


def started_by(db: sqlite3.Connection, session: str, most: int) -> list[str]:
    """The sessions of the recorded programs that a recorded program's process started, in their order."""
    return [one for (one,) in db.execute(_STARTED, (session, most)).fetchall()]


class Trace:
    """One trace of a store. What it tells is as the tables have it at that moment."""

    def __init__(self, db: sqlite3.Connection, session: str):
        self.db = db
        self.session = session
        self.block = lru_cache(_KEPT_BLOCKS)(self._block)
        self.scan = lru_cache(_KEPT_BLOCKS)(self._scan)

    # --- as a whole ---

    @cached_property
    def event(self) -> Row | None:
        """The event, recorded or in flight; None: it was pruned, or nothing was said of it yet."""
        for table in ("events", "running"):
            sql = f"SELECT id FROM {table} WHERE session = ? AND kind = '{KIND}' LIMIT 1"
            row = self.db.execute(sql, (self.session,)).fetchone()
            if row is not None:
                return get_event(self.db, self.session, row[0])
        return None

    def head(self) -> Row:
        """What is known without reading a chunk: the record `trace`."""
        session, event = get_session(self.db, self.session), self.event or {}
        data = event.get("data") or {}
        parent = session["parent_session"]
        is_over = bool(event) and event["status"] != "running"
        started = event.get("started_us") or session["started_us"]
        return {
            "session": self.session,
            "event": event.get("id"),
            "parent": f"{parent}/{session['parent_event']}" if parent and session["parent_event"] else parent,
            "status": event.get("status", "unknown"),
            "title": event.get("title", ""),
            "started_us": started,
            "duration_us": data.get("duration_us"),
            "exit_code": event.get("exit_code") if is_over else None,
            **{name: data.get(name) for name in _FACTS},
            **(self._counted() | {name: data[name] for name in _COUNTS if is_over and name in data}),
            "gaps": self._gaps(),
            "threads": [
                {"stream": one.stream, "name": one.name, "n_events": one.n_events}
                for one in self.threads.values()
            ],
            "children": self._children(),
        }

    def _counted(self) -> dict[str, int]:
        """The same numbers from the tables, of a program that is still at work."""
        return {
            "n_events": sum(thread.n_events for thread in self.threads.values()),
            "n_calls": self._number("SELECT sum(n_calls) FROM trace_functions WHERE session = ?"),
            "n_exceptions": self._number("SELECT count(*) FROM trace_exceptions WHERE session = ?"),
            "n_threads": len(self.threads),
            "n_folded": 0,
        }

    def _number(self, sql: str) -> int:
        return int(self.db.execute(sql, (self.session,)).fetchone()[0] or 0)

    def _gaps(self) -> list[str]:
        rows = self.db.execute(
            "SELECT data ->> 'reason' FROM events WHERE session = ? AND kind = 'gap' ORDER BY seq",
            (self.session,),
        )
        return [str(row[0]) for row in rows]

    def _children(self) -> list[Row]:
        """The recorded programs that its process started: `session`, `title`."""
        found = []
        for session in started_by(self.db, self.session, _MOST_CHILDREN):
            event = Trace(self.db, session).event
            found.append({"session": session, "title": event["title"] if event is not None else ""})
        return found

    # --- functions and threads ---

    @cached_property
    def functions(self) -> dict[int, Row]:
        """Number -> number, path, line, name, module, names, n_arguments, n_calls, total_ns, max_ns."""
        names = (
            "number", "path", "line", "name", "module", "names", "n_arguments", "n_calls", "total_ns",
            "max_ns",
        )  # fmt: skip
        rows = self.db.execute(
            f"SELECT {', '.join(names)} FROM trace_functions WHERE session = ?", (self.session,)
        )
        found = {row[0]: dict(zip(names, row, strict=True)) for row in rows}
        for one in found.values():
            one["names"] = json.loads(one["names"])
        return found

    def function(self, number: int) -> Row:
        """The function of that number; one without a name where nothing tells of it."""
        unknown: Row = {"number": number, "path": "", "line": 0, "name": "?", "module": "", "names": []}
        return self.functions.get(number) or unknown | {"n_arguments": 0, "n_calls": 0}

    @cached_property
    def threads(self) -> dict[int, Thread]:
        """The streams by their numbers."""
        rows = self.db.execute(
            "SELECT stream, name, n_events, clock_us FROM trace_streams WHERE session = ? ORDER BY stream",
            (self.session,),
        )
        return {row[0]: Thread(*row) for row in rows}

    def streams_of(self, wanted: str | None) -> list[int]:
        """The streams of a thread by its name (a glob) or number; None: all. Raises UsageError ERR_FILTER."""
        found = [
            one.stream
            for one in self.threads.values()
            if wanted is None or str(one.stream) == wanted or fnmatchcase(one.label, wanted)
        ]
        if not found and wanted is not None:
            known = ", ".join(sorted({one.label for one in self.threads.values()})[:5])
            raise UsageError(
                f"the trace has no thread {wanted!r}", code="ERR_FILTER", hint=f"there is {known or 'none'}"
            )
        return found

    def functions_of(self, function: str | None, file: str | None) -> set[int] | None:
        """The numbers of the functions that fit; None: nothing was asked. Raises UsageError ERR_FILTER."""
        if function is None and file is None:
            return None
        found = {
            number
            for number, one in self.functions.items()
            if (function is None or _is_called(one, function)) and (file is None or is_in(one["path"], file))
        }
        if not found:
            asked = " ".join(f"{one!r}" for one in (function, file) if one is not None)
            raise UsageError(
                f"no recorded function fits {asked}",
                code="ERR_FILTER",
                hint=f"there is {', '.join(self._some_names()) or 'none'}",
                context={"session": self.session},
            )
        return found

    def _some_names(self) -> list[str]:
        known = sorted(self.functions.values(), key=lambda one: -one["n_calls"])
        return list(dict.fromkeys(one["name"] for one in known))[:5]

    # --- chunks ---

    @cached_property
    def chunks(self) -> dict[int, list[Chunk]]:
        """The chunks of each stream in their order."""
        rows = self.db.execute(
            "SELECT stream, n, sha256, first_event, n_events FROM trace_chunks WHERE session = ?"
            " ORDER BY stream, n",
            (self.session,),
        )
        found: dict[int, list[Chunk]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(Chunk(*row))
        return found

    def chunk_of(self, stream: int, event: int) -> Chunk | None:
        """The chunk that holds an event; None: it is not kept."""
        chunks = self.chunks.get(stream, [])
        at = bisect_right(chunks, event, key=lambda one: one.first_event) - 1
        if at < 0 or event >= chunks[at].first_event + chunks[at].n_events:
            return None
        return chunks[at]

    def _block(self, chunk: Chunk) -> Block | None:
        """Its records; None where they were pruned, or are damaged."""
        try:
            return Block(blobs.get(self.db, chunk.sha256).ljust(BLOCK_BYTES, b"\0"))
        except (ValueError, DevTraceError):
            return None

    def _scan(self, chunk: Chunk) -> Scan | None:
        block = self.block(chunk)
        return None if block is None else Scan(block, self.functions.keys())


def is_in(path: str, wanted: str) -> bool:
    """Whether a file is the one that is meant: by its end, its whole path, or a glob of either."""
    ending = "/" + wanted.removeprefix("./")
    return (
        path == wanted
        or path.endswith(ending)
        or fnmatchcase(path, wanted)
        or fnmatchcase(PurePath(path).name, wanted)
        or path == os.path.abspath(wanted)  # noqa: PTH100 - a link stays as it was named
    )


def _is_called(function: Row, wanted: str) -> bool:
    name = str(function["name"])
    names: Iterable[str] = (name, name.rpartition(".")[2], f"{function['module']}.{name}")
    return any(fnmatchcase(one, wanted) for one in names)
