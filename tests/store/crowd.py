"""Many processes that do the same at the same moment, and one that can be killed at any.

`python -m tests.store.crowd WORK STORE ...` says `ready`, waits for a line, works, and says its result as
JSON. `Crowd` starts several and lets them go together.

Lives here: the processes and what they can do. Not here: what must be true afterwards.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from devtrace.store import drain as draining
from devtrace.store import sessions
from devtrace.store.append import append
from devtrace.store.connection import open_store, translated
from devtrace.store.drain import drain
from devtrace.store.hold import hold
from devtrace.store.spool import SpoolWriter
from devtrace.workspace import Workspace
from tests.processes import DEADLINE, environment
from tests.store.frames import START, frame


class Crowd:
    """Processes that are ready; `go` lets them work at once. One crowd, one `with`."""

    def __init__(self, size: int, work: str, store: Path, *arguments: object):
        """`work` is one of WORK, with the arguments that it takes after the store."""
        self.processes = [_start(work, store, arguments) for _ in range(size)]
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait(DEADLINE)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def release(self) -> None:
        """Let them begin."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def results(self) -> list[Any]:
        """What each has to say at its end."""
        said = [process.communicate(timeout=DEADLINE * 2)[0] for process in self.processes]
        assert [process.returncode for process in self.processes] == [0] * len(said)
        return [json.loads(text.splitlines()[-1]) for text in said]

    def go(self) -> list[Any]:
        """`release`, then `results`."""
        self.release()
        return self.results()


def _start(work: str, store: Path, arguments: tuple[object, ...]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.crowd", work, store, *map(str, arguments)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def tell(said: object) -> None:
    """One line for whoever started us."""
    sys.stdout.write(f"{said}\n")
    sys.stdout.flush()


# --- what a process of the crowd does ---------------------------------------------------------------------


def make_stores(parent: Path, many: str) -> int:
    """Open one new store after the other, all of the crowd the same ones."""
    for number in range(int(many)):
        open_store(Workspace(parent / f"store{number}" / ".devtrace"), create=True).close()
    return int(many)


def append_some(store: Path, session: str, many: str, batch: str) -> list[str]:
    """So many events in batches; returns their ids."""
    db = open_store(Workspace(store))
    frames = [frame(f"echo {number}", session) for number in range(int(many))]
    for at in range(0, len(frames), int(batch)):
        append(db, frames[at : at + int(batch)])
    db.close()
    return [one["id"] for one in frames]


def append_same(store: Path, session: str, many: str) -> int:
    """The same events as everybody else; returns how many were new."""
    db = open_store(Workspace(store))
    new = sum(append(db, [frame(session=session, id=f"{number + 1:016x}")]) for number in range(int(many)))
    db.close()
    return new


def append_for_ever(store: Path, session: str) -> None:
    """Begin, then append batches without end; tell the ids of each once it is committed."""
    workspace = Workspace(store)
    held = hold(workspace, session)
    db = open_store(workspace)
    sessions.begin(db, id=session, kind="shell", started_us=START)
    while held:
        ended = [frame(f"echo {number}", session, blobs={"output": b"x" * 5000}) for number in range(7)]
        running = frame("sleep 9", session, status="running", ended_us=None, exit_source=None)
        append(db, [*ended, running])
        tell(json.dumps([[one["id"] for one in ended], running["id"]]))


def spool_some(store: Path, session: str, many: str) -> list[str]:
    """So many events into a spool file of our own; returns their ids."""
    writer = SpoolWriter(Workspace(store).spool)
    frames = [frame(f"echo {number}", session) for number in range(int(many))]
    assert sum(map(writer.write, frames)) == len(frames)
    writer.close()
    return [one["id"] for one in frames]


def drain_often(store: Path, many: str) -> int:
    """Drain again and again; returns how many events were new."""
    workspace = Workspace(store)
    db = open_store(workspace)
    new = sum(drain(db, workspace).events for _ in range(int(many)))
    db.close()
    return new


def spool_into_new_files(store: Path, many: str) -> list[str]:
    """So many events, each into a spool file of its own; returns their ids."""
    ids = []
    for number in range(int(many)):
        writer = SpoolWriter(Workspace(store).spool)
        one = frame(f"echo {number}")
        assert writer.write(one)
        writer.close()
        ids.append(one["id"])
    return ids


def drain_in_small_batches(store: Path) -> int:
    """Drain a little at a time; tell of each batch before it is committed."""
    draining.BATCH_BYTES = 40_000
    append_within = draining.append_within

    def telling(*arguments: Any) -> int:
        tell("batch")
        return append_within(*arguments)

    draining.append_within = telling
    return drain_often(store, "1")


def hold_and_leave_a_child(store: Path, session: str) -> None:
    """Begin, start a program that goes on without us, tell its process id, and wait to be killed."""
    workspace = Workspace(store)
    db = open_store(workspace)
    held = hold(workspace, session)
    sessions.begin(db, id=session, kind="shell", started_us=START)
    child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    tell(child.pid)
    sys.stdin.read()
    held.close()


def close_orphans(store: Path) -> list[str]:
    """Returns which sessions were closed by us."""
    workspace = Workspace(store)
    db = open_store(workspace)
    with translated(workspace):
        closed = sessions.close_orphans(db, workspace, time.time_ns() // 1000)
    db.close()
    return closed


WORK = {
    work.__name__: work
    for work in (
        append_for_ever, append_same, append_some, close_orphans, drain_in_small_batches, drain_often,
        hold_and_leave_a_child, make_stores, spool_into_new_files, spool_some,
    )
}  # fmt: skip


if __name__ == "__main__":
    tell("ready")
    sys.stdin.readline()
    tell(json.dumps(WORK[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))  # type: ignore[operator]
