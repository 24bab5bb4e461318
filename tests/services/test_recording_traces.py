"""A host takes traces in as it has time: never long at once, and again soon while there is more."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devtrace.ids import new_session_id
from devtrace.services.recording import Recording
from devtrace.store.connection import open_store
from devtrace.store.hold import hold
from devtrace.workspace import Workspace, create
from tests.store.frames import SESSION, START, count
from tests.store.pens import Pen


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


def ended_program(place: Workspace) -> None:
    pen = Pen(place.spool).begin()
    pen.call(1)
    for line in range(20_000):
        pen.line(line)
    pen.end()


def test_a_host_takes_a_trace_in_when_nothing_else_is_to_be_done(place, recording):
    ended_program(place)

    recording.flush()
    assert list(place.spool.glob("*.seg"))
    recording.idle()
    while recording.waits():
        recording.idle()

    assert list(place.spool.glob("*.seg")) == []
    with closing(open_store(place)) as db:
        kinds = db.execute("SELECT kind FROM events WHERE session = ?", (SESSION,)).fetchall()
    assert kinds == [("python_trace",)]


def test_a_host_without_time_comes_back_soon(place, recording, monkeypatch):
    ended_program(place)
    hurried = itertools.count(time.monotonic())  # a second goes by between two looks at the clock

    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: next(hurried))
        recording.idle()
        assert recording.waits()
    recording.idle()
    while recording.waits():
        recording.idle()

    with closing(open_store(place)) as db:
        assert count(db, "trace_chunks") == 3
