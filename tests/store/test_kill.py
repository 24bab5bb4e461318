"""kill -9 at any moment: what was committed stays, whole and in its chain, and the next command goes on."""

from __future__ import annotations

import json
import random
import select
from contextlib import closing

import pytest

from devtrace.ids import new_session_id
from devtrace.store import sessions
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace
from tests.processes import DEADLINE
from tests.store.crowd import Crowd, tell
from tests.store.frames import START, events, frame, is_whole

SEED = random.SystemRandom().randrange(1 << 32)


@pytest.mark.parametrize("moment", range(10))
def test_a_killed_writer_leaves_every_committed_event(db, workspace, moment):
    tell(f"seed {SEED}, moment {moment}")
    chance = random.Random(SEED + moment)
    session = new_session_id()

    with Crowd(1, "append_for_ever", workspace.dir, session) as crowd:
        crowd.release()
        (process,) = crowd.processes
        said = process.stdout
        assert said is not None
        told = [said.readline() for _ in range(chance.randrange(1, 12))]
        select.select([said], [], [], chance.random() * 0.01)  # somewhere in the next transaction
        process.kill()
        process.wait(DEADLINE)
        told += [line for line in said if line.endswith("\n")]

    with closing(open_store(workspace)) as after:
        assert is_whole(after)
        kept = set(events(after, session=session))
        running = {row[0] for row in after.execute("SELECT id FROM running")}
        for ended, started in map(json.loads, told):
            assert kept.issuperset(ended)
            assert started in running
        assert len(kept) % 7 == 0

        assert sessions.close_orphans(after, workspace, START) == [session]

        *closed, _ = events(after, session=session)
        assert set(closed) == kept | running
        assert events(after, "title", session)[-1].startswith("gap: recorder_stopped")
        assert is_whole(after)


def test_a_killed_host_leaves_its_session_to_the_next_command(db, workspace):
    session = new_session_id()

    with Crowd(1, "append_for_ever", workspace.dir, session) as crowd:
        crowd.release()
        (process,) = crowd.processes
        assert process.stdout is not None
        process.stdout.readline()
        assert sessions.close_orphans(db, workspace, START) == []
        process.kill()
        process.wait(DEADLINE)
        assert sessions.close_orphans(db, workspace, START) == [session]

    assert sessions.close_orphans(db, workspace, START) == []
    assert list(workspace.run.iterdir()) == []


@pytest.mark.parametrize("moment", range(6))
def test_a_store_whose_maker_was_killed_is_made_by_the_next(tmp_path, moment):
    tell(f"seed {SEED}, moment {moment}")
    chance = random.Random(SEED + moment)
    stores = [tmp_path / f"store{number}" for number in range(40)]
    for store in stores:
        store.mkdir()

    with Crowd(2, "make_stores", tmp_path, len(stores)) as crowd:
        crowd.release()
        for process in crowd.processes:
            select.select([process.stdout], [], [], chance.random() * 0.3)  # somewhere in making one of them
            process.kill()
            process.wait(DEADLINE)

    begun = [store for store in stores if (store / ".devtrace").exists()]
    for store in begun:
        with closing(open_store(Workspace(store / ".devtrace"), create=True)) as db:
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert append(db, [frame()]) == 1
            assert is_whole(db)
