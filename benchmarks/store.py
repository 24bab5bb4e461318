"""Writing to the store: appended in batches, one by one, by eight processes at once, and through the spool.

The peer is the standard library's sqlite3 with the same pragmas and the same columns, without what makes a
record of it: no chain, no counters, no check of the frame, no second delivery to recognise. For the spool it
is a file of JSON lines. Ours and theirs take turns, each round in files of its own, and the best round
counts: nothing here waits for anybody but the disk and the other programs of this machine.
"""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import Row
from devtrace.ids import new_session_id, new_span_id
from devtrace.store import chain, sessions
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.store.drain import drain
from devtrace.store.spool import SpoolWriter
from devtrace.workspace import Workspace

START = 1_700_000_000_000_000
WRITERS, EACH = 8, 3_000
BATCH = 300
UNIT = "events/s"
_PATIENCE_S = 120.0

Frame = dict[str, Any]


class Amount(NamedTuple):
    """How much is written in one round."""

    batched: int
    single: int
    writers: int
    each: int
    rounds: int


FULL = Amount(batched=30_000, single=3_000, writers=WRITERS, each=EACH, rounds=5)
QUICK = Amount(batched=3_000, single=300, writers=WRITERS, each=100, rounds=2)


def measure(*, quick: bool = False, amount: Amount | None = None) -> list[Row]:
    """The rows of this room; `amount` overrides how much is written."""
    size = amount or (QUICK if quick else FULL)
    with tempfile.TemporaryDirectory() as folder:
        return [
            in_turn(
                f"append, {BATCH} events a transaction",
                Path(folder),
                size.batched,
                lambda place: append_batches(place, size.batched, BATCH),
                "sqlite3 executemany",
                lambda place: insert_batches(place, size.batched, BATCH),
                size.rounds,
                budget=">= 20k events/s",
            ),
            in_turn(
                "append, one event a transaction",
                Path(folder),
                size.single,
                lambda place: append_batches(place, size.single, 1),
                "sqlite3 execute",
                lambda place: insert_batches(place, size.single, 1),
                size.rounds,
            ),
            *many_writers(Path(folder), size),
            in_turn(
                "spool, one event a frame",
                Path(folder),
                size.batched,
                lambda place: spool(place, size.batched),
                "a file of JSON lines",
                lambda place: write_lines(place, size.batched),
                size.rounds,
            ),
            drained(Path(folder), size),
        ]


def frames_of(session: str, count: int) -> list[Frame]:
    """Commands with a command's usual data, as the pipeline would hand them to the store."""
    return [_frame(session, number) for number in range(count)]


def append_batches(place: Path, count: int, batch: int) -> float:
    """Seconds that the store takes for so many events."""
    db = open_store(Workspace(place / ".devtrace"), create=True)
    session = begin(db)
    frames = frames_of(session, count)
    begun = time.perf_counter()
    for at in range(0, count, batch):
        append(db, frames[at : at + batch])
    took = time.perf_counter() - begun
    assert chain.check(db, session) is None
    db.close()
    return took


def insert_batches(place: Path, count: int, batch: int) -> float:
    """Seconds that plain SQLite takes for the same."""
    db = open_plain(place)
    frames = frames_of(new_session_id(), count)
    begun = time.perf_counter()
    for at in range(0, count, batch):
        insert(db, frames[at : at + batch])
    took = time.perf_counter() - begun
    db.close()
    return took


def spool(place: Path, count: int) -> float:
    """Seconds to leave so many frames in the spool."""
    place.mkdir(exist_ok=True)
    writer = SpoolWriter(place)
    frames = frames_of(new_session_id(), count)
    begun = time.perf_counter()
    written = sum(map(writer.write, frames))
    took = time.perf_counter() - begun
    writer.close()
    assert written == count
    return took


def write_lines(place: Path, count: int) -> float:
    """Seconds to leave so many JSON lines in a file, each flushed so that it survives us."""
    place.mkdir(exist_ok=True)
    frames = frames_of(new_session_id(), count)
    with (place / "lines").open("w") as file:
        begun = time.perf_counter()
        for frame in frames:
            file.write(json.dumps(frame) + "\n")
            file.flush()
        return time.perf_counter() - begun


def drained(folder: Path, size: Amount) -> Row:
    """From the spool into the store; there is no peer that could be asked the same."""
    rates = []
    for number in range(size.rounds):
        workspace = Workspace(folder / f"drain{number}" / ".devtrace")
        workspace.root.mkdir()
        db = open_store(workspace, create=True)
        writer = SpoolWriter(workspace.spool)
        for frame in frames_of(begin(db), size.batched):
            writer.write(frame)
        writer.close()
        begun = time.perf_counter()
        found = drain(db, workspace)
        rates.append(size.batched / (time.perf_counter() - begun))
        assert (found.events, found.damaged) == (size.batched, 0)
        db.close()
    return _row("drain the spool", max(rates), budget=">= 20k events/s")


# --- eight at once --------------------------------------------------------------------------------------


def many_writers(folder: Path, size: Amount) -> list[Row]:
    """All writers together, one event a transaction; and how many of their events are not there."""
    ours, theirs, lost = [], [], 0
    total = size.writers * size.each
    for number in range(max(size.rounds // 2, 1)):
        place = folder / f"writers{number}"
        place.mkdir()
        workspace = Workspace(place / ".devtrace")
        ours.append(total / together(append_alone, place, size))
        db = open_store(workspace)
        lost += total - db.execute("SELECT count(*) FROM events").fetchone()[0]
        db.close()
        open_plain(place).close()
        theirs.append(total / together(insert_alone, place, size))
    what = f"{size.writers} processes, {size.each} events each, one a transaction"
    rate = _row(what, max(ours), "sqlite3 under BEGIN IMMEDIATE", max(theirs))
    return [rate, _row(f"of these {total * len(ours):,} lost", float(lost), budget="<= 0", unit="events")]


def together(work: Callable[[Path, int, Barrier], None], place: Path, size: Amount) -> float:
    """Seconds from the moment that all processes are ready to the end of the last one."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(size.writers + 1), context.Barrier(size.writers + 1)
    writers = [
        context.Process(target=_between, args=(work, place, size.each, ready, done))
        for _ in range(size.writers)
    ]
    for writer in writers:
        writer.start()
    ready.wait(_PATIENCE_S)
    begun = time.perf_counter()
    done.wait(_PATIENCE_S)
    took = time.perf_counter() - begun
    for writer in writers:
        writer.join(_PATIENCE_S)
    return took


def append_alone(place: Path, count: int, ready: Barrier) -> None:
    """One of our writers: all of them race to make the store, too."""
    db = open_store(Workspace(place / ".devtrace"), create=True)
    frames = frames_of(begin(db), count)
    ready.wait(_PATIENCE_S)
    for frame in frames:
        append(db, [frame])
    db.close()


def insert_alone(place: Path, count: int, ready: Barrier) -> None:
    """One of theirs; the table is there already."""
    db = open_plain(place, make=False)
    frames = frames_of(new_session_id(), count)
    ready.wait(_PATIENCE_S)
    for frame in frames:
        insert(db, [frame])
    db.close()


def _between(
    work: Callable[[Path, int, Barrier], None], place: Path, count: int, ready: Barrier, done: Barrier
) -> None:
    work(place, count, ready)
    done.wait(_PATIENCE_S)


# --- what both are made of --------------------------------------------------------------------------------


def begin(db: sqlite3.Connection) -> str:
    """A session to write into."""
    session = new_session_id()
    sessions.begin(db, id=session, kind="shell", agent="manual", actor="human", started_us=START)
    return session


def open_plain(place: Path, *, make: bool = True) -> sqlite3.Connection:
    """A database with our pragmas, a table with our columns, and the index that reading a session needs."""
    place.mkdir(exist_ok=True)
    db = sqlite3.connect(place / "plain.db", timeout=30, isolation_level=None)
    db.execute("PRAGMA synchronous = NORMAL")
    if make:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"CREATE TABLE events (seq INTEGER PRIMARY KEY, {', '.join(chain.COLUMNS)})")
        db.execute("CREATE INDEX events_session ON events (session, seq)")
    return db


def insert(db: sqlite3.Connection, frames: list[Frame]) -> None:
    """One transaction without a chain."""
    columns = f"{', '.join(chain.COLUMNS)}"
    holes = ", ".join("?" * len(chain.COLUMNS))
    rows = [
        [json.dumps(frame["data"]) if name == "data" else frame.get(name) for name in chain.COLUMNS]
        for frame in frames
    ]
    db.execute("BEGIN IMMEDIATE")
    db.executemany(f"INSERT INTO events ({columns}) VALUES ({holes})", rows)
    db.execute("COMMIT")


def in_turn(
    what: str,
    folder: Path,
    count: int,
    ours: Callable[[Path], float],
    peer_name: str,
    peer: Callable[[Path], float],
    rounds: int,
    *,
    budget: str = "",
) -> Row:
    """Ours and the peer's by turns, as events a second: the best round of each."""
    mine: list[float] = []
    theirs: list[float] = []
    for number in range(rounds):
        for name, work, took in (("ours", ours, mine), ("peer", peer, theirs)):
            place = folder / f"{what} {name} {number}"
            place.mkdir()
            took.append(work(place))
    return _row(what, count / min(mine), peer_name, count / min(theirs), budget=budget)


def _row(
    what: str,
    ours: float,
    peer_name: str = "",
    peer: float | None = None,
    *,
    budget: str = "",
    unit: str = UNIT,
) -> Row:
    ratio = None if peer is None else ours / peer
    return {
        "what": what, "ours": ours, "peer_name": peer_name, "peer": peer, "ratio": ratio, "budget": budget,
        "unit": unit,
    }  # fmt: skip


def _frame(session: str, number: int) -> Frame:
    failed = number % 20 == 7
    text = f"pytest -q tests/part_{number % 97}/test_{number}.py"
    began = START + number * 500_000
    data = {
        "command": text, "text_form": "exact", "reason": None, "cwd": "/home/ana/api", "cwd_end": None,
        "exit_code": int(failed), "pipestatus": None, "duration_us": 123_000, "shell": "bash",
        "interactive": True, "depth": 0, "folded": 0, "shell_pid": 4242, "output": None,
    }  # fmt: skip
    return {
        "v": 1, "kind": "run_command", "session": session, "id": new_span_id(), "parent": None,
        "actor": "human", "started_us": began, "ended_us": began + 123_000,
        "status": "failed" if failed else "ok", "title": f"$ {text}", "cwd": "/home/ana/api",
        "exit_code": int(failed), "source": "interactive", "exit_source": "shell", "trusted": 2,
        "data": data, "blobs": {},
    }  # fmt: skip


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["--only", "store", *sys.argv[1:]]))
