"""kill -9 of a prune at any moment, and a session that writes all the while."""

from __future__ import annotations

import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from devtrace.ids import new_session_id
from devtrace.query.verify import verify
from devtrace.services.prune import prune_record
from devtrace.store import sessions
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.store.retention import EVENTS, OUTPUTS, WHENEVER, Order
from devtrace.workspace import Workspace
from tests.processes import DEADLINE, environment
from tests.store.crowd import Crowd, tell
from tests.store.frames import START, begin, count, frame, is_whole
from tests.store.pruner import AUTHOR

SEED = random.SystemRandom().randrange(1 << 32)
N_SESSIONS, N_EVENTS = 3, 120


def fill(db, chance: random.Random) -> list[str]:
    """Sessions that are over, with outputs of their own and outputs that they share."""
    names = []
    shared = [chance.randbytes(500) for _ in range(5)]
    for _ in range(N_SESSIONS):
        session = begin(db, new_session_id())
        outputs = [
            chance.choice(shared) if number % 3 else chance.randbytes(3_000) for number in range(N_EVENTS)
        ]
        append(db, [frame("make", session, blobs={"output": one}) for one in outputs])
        sessions.end(db, session, ended_us=START + 9_000, status="ended", exit_code=0)
        names.append(session)
    return names


@contextmanager
def pruner(workspace: Workspace, batch: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.store.pruner", str(workspace.dir), str(batch)]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
            process.wait(DEADLINE)


def gone(db, contents: dict[str, bytes]) -> list[bytes]:
    """What outputs were made of that are not kept any more."""
    kept = {digest for (digest,) in db.execute("SELECT sha256 FROM blobs")}
    return [data for digest, data in contents.items() if digest not in kept]


def on_disk(workspace: Workspace) -> bytes:
    """The database as it lies there, once its log is in it."""
    with closing(open_store(workspace)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return b"".join(path.read_bytes() for path in workspace.dir.glob("devtrace.db*"))


def everything(db, workspace: Workspace):
    return prune_record(
        db, workspace, [(Order(what, WHENEVER), lambda: True) for what in (OUTPUTS, EVENTS)], AUTHOR
    )


@pytest.mark.parametrize("moment", range(12))
def test_a_killed_prune_leaves_a_sound_record_and_the_next_one_finishes(db, workspace, moment):
    tell(f"seed {SEED}, moment {moment}")
    chance = random.Random(SEED + moment)
    fill(db, chance)
    before = count(db)
    contents = dict(db.execute("SELECT sha256, data FROM blobs WHERE length(data) > 15"))

    with pruner(workspace, batch=chance.choice((1, 7, 40))) as process:
        process.stdin.write("go\n")
        for _ in range(chance.randrange(0, 30)):
            process.stdout.readline()
        select.select([process.stdout], [], [], chance.random() * 0.01)  # somewhere in the next transaction
        process.kill()
        process.wait(DEADLINE)

    with closing(open_store(workspace)) as after:
        assert is_whole(after)
        verified = verify(after)
        assert (verified.findings, verified.more) == ([], 0)
        assert not [one for one in gone(after, contents) if one in on_disk(workspace)]
        n_policies = count(after, "events WHERE kind = 'policy'")
        assert count(after) + verified.pruned - n_policies == before
        everything(after, workspace)
        assert count(after, "events WHERE kind <> 'policy'") == count(after, "blobs") == 0
        assert count(after, "pruned") == before
        assert verify(after).findings == []
        assert is_whole(after)
        assert after.execute("PRAGMA freelist_count").fetchone() == (0,)


def test_a_session_writes_on_while_others_are_pruned(db, workspace):
    tell(f"seed {SEED}")
    chance = random.Random(SEED)
    fill(db, chance)
    session = begin(db, new_session_id())

    with Crowd(1, "append_some", workspace.dir, session, 300, 1) as writers:
        writers.release()
        done = everything(db, workspace)
        ((written,),) = (writers.results(),)

    kept = {row[0] for row in db.execute("SELECT id FROM events WHERE session = ?", (session,))}
    assert kept == set(written)
    assert (done.events, done.sessions) == (N_SESSIONS * N_EVENTS, N_SESSIONS)
    assert verify(db).findings == []
    assert is_whole(db)


def test_a_writer_is_let_in_between_two_steps(db, workspace):
    """Who wants to write gets the lock before the pruning is over, however long that takes."""
    fill(db, random.Random(1))
    session = begin(db, new_session_id())

    with pruner(workspace, batch=1) as process:
        process.stdin.write("go\n")
        for _ in range(10):
            process.stdout.readline()
        for number in range(20):
            append(db, [frame(f"echo {number}", session)])
        pruned_by_then = count(db, "pruned") + N_SESSIONS * N_EVENTS - count(db, "outputs")

        assert process.poll() is None
        assert 0 < pruned_by_then < 2 * N_SESSIONS * N_EVENTS
        until = time.monotonic() + DEADLINE
        while process.stdout.readline() != "done\n":
            assert time.monotonic() < until

    assert count(db, "pruned") == N_SESSIONS * N_EVENTS
    assert verify(db).findings == []


def test_two_that_prune_at_the_same_time_take_each_event_once(db, workspace):
    fill(db, random.Random(2))
    with pruner(workspace, batch=5) as process:
        process.stdin.write("go\n")
        everything(db, workspace)
        process.stdin.close()
        assert process.stdout.read().endswith("done\n")
        assert process.wait(DEADLINE) == 0

    assert count(db, "pruned") == N_SESSIONS * N_EVENTS
    assert verify(db).findings == []
    assert is_whole(db)
