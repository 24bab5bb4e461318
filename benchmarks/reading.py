"""Reading a store of a million events: as functions, and as the process that a person waits for.

The store is made by `store.append`, as a host would: 10 sessions for every thousand events, 100 events each,
one in twenty failed, one in ten with a nested child. The functions are beside the question asked naively,
the process beside `git log -20` in a repository of its own.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import devtrace
from benchmarks import Row
from devtrace.ids import new_session_id, new_span_id
from devtrace.query.events import list_events
from devtrace.query.filters import Filters
from devtrace.query.ids import resolve, short
from devtrace.query.sessions import list_sessions, tally
from devtrace.store import sessions
from devtrace.store.append import append
from devtrace.store.connection import open_reader, open_store
from devtrace.workspace import Workspace

EVENTS, QUICK_EVENTS = 1_000_000, 20_000
A_SESSION = 100  # events
START = 1_700_000_000_000_000
_COMMANDS = (
    "pytest -q tests/{n}",
    "git status",
    "git commit -m 'step {n}'",
    "ls -la src/{n}",
    "make build-{n}",
)
_NAIVE_LIST = (
    "SELECT session, min(started_us), max(ended_us), count(*), sum(status = 'failed') FROM events"
    " GROUP BY session ORDER BY 2 DESC LIMIT 20"
)
_NAIVE_NEWEST = (
    "SELECT * FROM events WHERE title LIKE '%' ORDER BY recorded_us DESC, started_us DESC LIMIT 20"
)


def measure(*, quick: bool = False, events: int | None = None) -> list[Row]:
    """The rows of this room; `events` overrides the size of the store."""
    count = events or (QUICK_EVENTS if quick else EVENTS)
    rounds = 3 if quick else 15
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / ".devtrace")
        fill(workspace, count)
        rows = functions(workspace, count, rounds)
        rows.append(per_event(workspace, count))
        rows.append(process(Path(folder), count, rounds))
    return rows


def fill(workspace: Workspace, count: int) -> None:
    """A store with `count` events."""
    db = open_store(workspace, create=True)
    for number in range(max(count // A_SESSION, 1)):
        session = new_session_id()
        start = START + number * 60_000_000
        sessions.begin(
            db, id=session, kind="shell", agent="codex" if number % 3 else "manual", started_us=start,
            repo_root="/home/ana/api", cwd="/home/ana/api", shell="bash", host="laptop", branch="main",
        )  # fmt: skip
        append(db, [frame(session, start, step) for step in range(min(A_SESSION, count))])
        sessions.end(db, session, ended_us=start + 59_000_000, status="ended", exit_code=0)
    db.close()


def frame(session: str, start: int, step: int) -> dict[str, object]:
    """One command of a session, as the pipeline would hand it to the store."""
    text = _COMMANDS[step % len(_COMMANDS)].format(n=step)
    failed = step % 20 == 7
    began = start + step * 500_000
    data = {
        "command": text,
        "text_form": "exact",
        "cwd": "/home/ana/api",
        "shell": "bash",
        "exit_code": int(failed),
    }
    return {
        "v": 1, "kind": "run_command", "session": session, "id": new_span_id(), "parent": None,
        "actor": "human", "started_us": began, "ended_us": began + 123_000,
        "status": "failed" if failed else "ok", "title": f"$ {text}", "cwd": "/home/ana/api",
        "exit_code": int(failed), "source": "interactive", "exit_source": "shell", "trusted": 2,
        "data": data, "blobs": {},
    }  # fmt: skip


def functions(workspace: Workspace, count: int, rounds: int) -> list[Row]:
    """Each question on an open connection, in milliseconds."""
    db = open_reader(workspace)
    ids = [row[0] for row in db.execute("SELECT id FROM sessions ORDER BY started_us LIMIT 3")]
    (event,) = db.execute("SELECT id FROM events WHERE seq = ?", (count // 2,)).fetchone()
    shown = list_events(db, Filters(session=ids[1]))
    of = f"of {count:,} events"

    def show() -> None:
        tally(db, ids[1])
        short(db, [row["id"] for row in list_events(db, Filters(session=ids[1]))])

    rows = [
        against(
            f"list the newest 20 sessions {of}",
            lambda: list_sessions(db, Filters(limit=20)),
            db,
            _NAIVE_LIST,
            rounds,
        ),
        row(f"show a session of {len(shown)} {of}", timed(show, rounds)),
        against(f"the newest 20 {of}", lambda: list_events(db, Filters(limit=20)), db, _NAIVE_NEWEST, rounds),
        row(
            f"the newest 20 that failed {of}",
            timed(lambda: list_events(db, Filters(limit=20, failed=True)), rounds),
        ),
        row(f"an event by 8 digits {of}", timed(lambda: resolve(db, event[:8]), rounds)),
    ]
    db.close()
    return rows


def per_event(workspace: Workspace, count: int) -> Row:
    """Bytes on the disk."""
    size = sum(path.stat().st_size for path in workspace.dir.glob("devtrace.db*"))
    return {
        "what": "a stored event", "ours": size / count, "peer_name": "", "peer": None, "ratio": None,
        "budget": "<= 700 B", "unit": "B",
    }  # fmt: skip


def process(folder: Path, count: int, rounds: int) -> Row:
    """`devtrace show` from start to exit, beside `git log -20`, taken in turn."""
    environment = os.environ | {"PYTHONPATH": str(Path(devtrace.__file__).parents[1])}
    environment.pop("DEVTRACE_DIR", None)
    repository = a_repository(folder / "repository")
    ours, peer = [], []
    for _ in range(rounds + 1):
        ours.append(wall([sys.executable, "-m", "devtrace", "show"], folder, environment))
        peer.append(wall(["git", "log", "-20"], repository, environment))
    mine, theirs = statistics.median(ours[1:]), statistics.median(peer[1:])
    return {
        "what": f"devtrace show, the process, of {count:,} events", "ours": mine, "peer_name": "git log -20",
        "peer": theirs, "ratio": mine / theirs, "budget": "<= 200 ms", "unit": "ms",
    }  # fmt: skip


def a_repository(folder: Path) -> Path:
    """A git repository of 30 commits."""
    git = ["git", "-C", str(folder), "-c", "user.name=Ana", "-c", "user.email=ana@example.org"]
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    for number in range(30):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", f"step {number}"], check=True)
    return folder


def against(what: str, ask: Callable[[], object], db: sqlite3.Connection, naive: str, rounds: int) -> Row:
    """A question beside the same one asked of the table of events alone."""
    ours = timed(ask, rounds)
    peer = timed(lambda: db.execute(naive).fetchall(), 1)
    made = row(what, ours)
    made.update(peer_name="a scan of the events", peer=peer, ratio=ours / peer)
    return made


def row(what: str, ours: float) -> Row:
    """A figure whose budget is absolute."""
    return {
        "what": what, "ours": ours, "peer_name": "", "peer": None, "ratio": None, "budget": "<= 50 ms",
        "unit": "ms",
    }  # fmt: skip


def timed(ask: Callable[[], object], rounds: int) -> float:
    """The median of some rounds after a warm one, in milliseconds."""
    ask()
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        ask()
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


def wall(command: list[str], cwd: Path, environment: dict[str, str]) -> float:
    """How long a process takes from start to exit, in milliseconds."""
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) * 1000
