"""Many processes at one store: whatever they do at the same moment, nothing is lost and nothing doubled."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from itertools import chain
from pathlib import Path

from devtrace.ids import new_session_id
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.store.drain import drain
from devtrace.store.hold import hold
from devtrace.workspace import Workspace
from tests.store.crowd import Crowd
from tests.store.frames import OTHER, SESSION, begin, count, events, frame, is_whole, start_of


def test_eight_processes_may_race_to_make_a_store(tmp_path):
    stores = [tmp_path / f"store{number}" for number in range(12)]
    for store in stores:
        store.mkdir()

    with Crowd(8, "make_stores", tmp_path, len(stores)) as crowd:
        made = crowd.go()

    assert made == [len(stores)] * 8
    for store in stores:
        with closing(open_store(Workspace(store / ".devtrace"))) as db:
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert is_whole(db)


def test_eight_writers_lose_and_double_nothing(db, workspace):
    begin(db)
    mine = [begin(db, new_session_id()) for _ in range(4)]

    with (
        Crowd(4, "append_some", workspace.dir, SESSION, 150, 1) as into_one,
        Crowd(2, "append_some", workspace.dir, mine[0], 300, 10) as into_another,
        Crowd(2, "append_some", workspace.dir, mine[1], 300, 300) as in_one_go,
    ):
        crowds = (into_one, into_another, in_one_go)
        for crowd in crowds:
            crowd.release()
        told = [crowd.results() for crowd in crowds]

    for session, ids in zip((SESSION, mine[0], mine[1]), told, strict=True):
        assert Counter(events(db, session=session)) == Counter(chain.from_iterable(ids))
    assert is_whole(db)


def test_what_eight_processes_deliver_at_once_is_there_once(db, workspace):
    with Crowd(8, "append_same", workspace.dir, SESSION, 50) as crowd:
        new = crowd.go()

    assert sum(new) == 50
    assert sorted(events(db)) == [f"{number + 1:016x}" for number in range(50)]
    assert is_whole(db)


def test_each_orphan_is_closed_by_one_of_eight(db, workspace):
    orphans = [begin(db, new_session_id()) for _ in range(10)]
    for orphan in orphans:
        append(db, [frame(session=orphan), start_of(frame("sleep 9", orphan))])
    living = begin(db)
    append(db, [start_of(frame("vim"))])
    held = hold(workspace, living)

    with Crowd(8, "close_orphans", workspace.dir) as crowd:
        closed = crowd.go()

    assert sorted(chain.from_iterable(closed)) == sorted(orphans)
    for orphan in orphans:
        assert events(db, "kind", orphan) == ["run_command", "run_command", "gap"]
        assert events(db, "status", orphan) == ["ok", "interrupted", "unknown"]
    assert db.execute("SELECT status FROM sessions WHERE id = ?", (living,)).fetchone() == ("active",)
    assert (count(db, "running"), count(db, "seals")) == (1, len(orphans))
    assert is_whole(db)
    held.close()


def test_the_spool_is_drained_once_however_many_drain_it(db, workspace):
    begin(db)
    begin(db, OTHER)

    with (
        Crowd(3, "spool_some", workspace.dir, SESSION, 400) as one,
        Crowd(2, "spool_some", workspace.dir, OTHER, 400) as other,
        Crowd(4, "drain_often", workspace.dir, 40) as drainers,
    ):
        for crowd in (one, other, drainers):
            crowd.release()
        spooled = (one.results(), other.results())
        drained = sum(drainers.results()) + drain(db, workspace).events

    for session, ids in zip((SESSION, OTHER), spooled, strict=True):
        assert Counter(events(db, session=session)) == Counter(chain.from_iterable(ids))
    assert drained == count(db) == 5 * 400
    assert left_in(workspace.spool) == []
    assert count(db, "spool_offsets") == 0
    assert is_whole(db)


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
