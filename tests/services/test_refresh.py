"""A store is brought up to date before it is read, as far as that is possible just now."""

from __future__ import annotations

from contextlib import closing

import pytest

from devtrace.errors import DevTraceError
from devtrace.events import Event, Note
from devtrace.ids import new_span_id
from devtrace.query.events import list_events
from devtrace.query.filters import Filters
from devtrace.query.sessions import get_session
from devtrace.services.refresh import index, open_fresh, tend
from devtrace.store import anchors, search_index
from devtrace.store.anchors import Synced
from devtrace.store.connection import open_reader, open_store
from devtrace.store.hold import hold
from devtrace.store.spool import SpoolWriter
from devtrace.workspace import Workspace
from tests.recorded import START, Recorded


@pytest.fixture
def recorded(tmp_path):
    made = Recorded(tmp_path)
    made.session()
    yield made
    made.close()


def test_orphans_are_closed_and_the_living_are_left_alone(recorded):
    dead = recorded.session_id
    recorded.command("vim", took=None)
    living = recorded.session(10)
    held = hold(recorded.workspace, living)

    fresh = open_fresh(recorded.workspace)

    assert fresh.stale is None
    assert get_session(fresh.db, dead)["status"] == "interrupted"
    assert get_session(fresh.db, living)["status"] == "active"
    assert [event["status"] for event in list_events(fresh.db, Filters())] == ["interrupted", "unknown"]
    fresh.db.close()
    held.close()


def test_the_spool_is_drained(recorded):
    note = Event(
        session=recorded.session_id, id=new_span_id(), actor="human", started_us=START, ended_us=START,
        status="ok", source="cli", trusted=0, body=Note(text="waited in the spool"),
    )  # fmt: skip
    writer = SpoolWriter(recorded.workspace.spool)
    writer.write(note.to_frame())
    writer.close()

    fresh = open_fresh(recorded.workspace)

    assert list_events(fresh.db, Filters())[0]["title"] == "waited in the spool"
    assert list(recorded.workspace.spool.iterdir()) == []
    fresh.db.close()


def anchored(recorded):
    log = anchors.read(recorded.workspace.seals)
    return [] if log is None else [(seal.session, seal.late) for seal in log.seals]


def test_what_is_sealed_on_the_way_is_anchored_and_is_nothing_that_was_missed(recorded):
    session = recorded.session_id
    recorded.command("vim", took=None)

    fresh = open_fresh(recorded.workspace)
    fresh.db.close()

    assert anchored(recorded) == [(session, 0)]
    assert fresh.anchored.added == ()


def test_seals_that_nobody_anchored_are_told(recorded):
    recorded.end(1)
    fresh = open_fresh(recorded.workspace)
    fresh.db.close()
    assert fresh.anchored == Synced((1,), is_new=True)

    recorded.session(5, took=1)
    fresh = open_fresh(recorded.workspace)
    fresh.db.close()
    assert fresh.anchored == Synced((2,))


def test_what_waited_in_the_spool_of_a_session_that_is_over_is_anchored_as_late(recorded):
    session = recorded.session_id
    recorded.end(1)
    anchors.sync(recorded.db, recorded.workspace)
    note = Event(
        session=session, id=new_span_id(), actor="human", started_us=START, ended_us=START,
        status="ok", source="cli", trusted=0, body=Note(text="late"),
    )  # fmt: skip
    writer = SpoolWriter(recorded.workspace.spool)
    writer.write(note.to_frame())
    writer.close()

    fresh = open_fresh(recorded.workspace)
    fresh.db.close()

    assert anchored(recorded) == [(session, 0), (session, 1)]
    assert fresh.anchored.added == ()


def test_a_store_that_somebody_writes_is_not_waited_for(recorded):
    recorded.command("vim", took=None)
    recorded.db.execute("BEGIN IMMEDIATE")

    fresh = open_fresh(recorded.workspace)

    assert fresh.stale is None
    assert fresh.db.execute("PRAGMA busy_timeout").fetchone() == (250,)
    assert [event["status"] for event in list_events(fresh.db, Filters())] == ["running"]
    recorded.db.execute("ROLLBACK")
    fresh.db.close()


def test_a_store_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DevTraceError) as error:
        open_fresh(Workspace(tmp_path / ".devtrace"))

    assert error.value.code == "ERR_STORE_MISSING"


def test_tending_a_damaged_store_is_an_error(recorded, tmp_path):
    recorded.db.execute("DROP TABLE sessions")

    with pytest.raises(DevTraceError):
        tend(recorded.db, recorded.workspace)


def indexed(recorded: Recorded) -> int:
    state = search_index.state_of(recorded.db)
    return 0 if state is None else state.high


def test_the_search_index_is_filled_for_as_long_as_there_is_time(recorded):
    for number in range(900):
        recorded.command(f"make {number}", number)
    index(recorded.db, recorded.workspace, 0)
    assert indexed(recorded) == 0
    index(recorded.db, recorded.workspace, 30)

    assert indexed(recorded) == 900


def test_a_store_that_cannot_be_written_now_is_left_with_the_index_that_it_has(recorded):
    recorded.command("make", 1)
    with closing(open_reader(recorded.workspace)) as reader:
        index(reader, recorded.workspace, 30)
    with closing(open_store(recorded.workspace)) as other:
        other.execute("BEGIN IMMEDIATE")
        index(recorded.db, recorded.workspace, 30)
        assert indexed(recorded) == 0
        other.execute("ROLLBACK")
    index(recorded.db, recorded.workspace, 30)

    assert indexed(recorded) == 1


def test_the_index_can_be_made_anew(recorded):
    recorded.command("make", 1)
    index(recorded.db, recorded.workspace, 30)
    recorded.db.execute("UPDATE search_docs SET title = 'forged'")
    index(recorded.db, recorded.workspace, 30, anew=True)

    assert recorded.db.execute("SELECT title FROM search_docs").fetchall() == [("make",)]
