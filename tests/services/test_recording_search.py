"""A host lets what was recorded be found: in quiet moments, and never in anybody's way."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devtrace.ids import new_session_id
from devtrace.services.recording import Recording
from devtrace.store import search_index
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.store.hold import hold
from devtrace.workspace import Workspace, create
from tests.store.frames import START, begin, count, frame


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / ".devtrace")
    create(made)
    return made


@pytest.fixture
def recording(place: Workspace) -> Iterator[Recording]:
    """Of a traced shell in which nothing is typed."""
    session = new_session_id()
    columns = {
        "id": session, "kind": "shell", "agent": "manual", "actor": "human", "shell": "bash",
        "cwd": str(place.root), "started_us": START, "branch": None, "head_start": None,
    }  # fmt: skip
    host = Recording(place, {}, columns, {}, held=hold(place, session))
    yield host
    host.close(START + 9_000_000, 0, [])


def write(place: Workspace, number: int) -> None:
    with closing(open_store(place)) as db:
        session = begin(db, new_session_id())
        append(db, [frame(f"make {one}", session) for one in range(number)])


def indexed(place: Workspace) -> int:
    with closing(open_store(place)) as db:
        return count(db, "search_docs")


def quiet(recording: Recording) -> None:
    recording.idle()
    while recording.waits():
        recording.idle()


def test_what_was_recorded_is_indexed_when_nothing_else_is_to_be_done(place, recording):
    write(place, 1_000)
    recording.flush()
    assert indexed(place) == 0
    quiet(recording)

    assert indexed(place) == 1_000


def test_a_host_without_time_comes_back_soon(place, recording, monkeypatch):
    write(place, 1_000)
    hurried = itertools.count(time.monotonic(), 0.015)  # so much goes by between two looks at the clock
    with monkeypatch.context() as patch:
        patch.setattr(search_index.time, "sleep", lambda _: None)
        patch.setattr(time, "monotonic", lambda: next(hurried))
        recording.idle()
        assert recording.waits()
    assert 0 < indexed(place) < 1_000
    quiet(recording)

    assert indexed(place) == 1_000


def test_while_others_write_the_index_waits_and_not_the_host(place, recording):
    write(place, 10)
    with closing(open_store(place)) as other:
        other.execute("BEGIN IMMEDIATE")
        recording.idle()
        assert not recording.waits()
        other.execute("ROLLBACK")
    assert recording.trouble is None
    quiet(recording)

    assert indexed(place) == 10


def test_a_damaged_index_is_no_trouble_of_the_record(place, recording):
    write(place, 10)
    quiet(recording)
    with closing(open_store(place)) as db:
        db.execute("UPDATE search_words_data SET block = x'ff' WHERE id = 10")
    write(place, 1)
    recording.idle()

    assert recording.trouble is None
    with closing(open_store(place)) as db:
        assert count(db) == 11
