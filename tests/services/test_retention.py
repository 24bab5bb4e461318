"""Retention that nobody asked for: what the settings say, once a day, in the background, for a moment."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from devtrace.config import Config
from devtrace.errors import UsageError
from devtrace.ids import new_session_id
from devtrace.policy.limits import DAY_US
from devtrace.query.verify import verify
from devtrace.services import retention
from devtrace.services.config import set_value
from devtrace.store import sessions
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.store.retention import EVENTS, OUTPUTS, Order
from devtrace.workspace import Workspace, create
from tests.processes import DEADLINE
from tests.store.frames import START, begin, count, frame, is_whole


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / ".devtrace")
    create(made)
    return made


def settings(workspace: Workspace, text: str) -> None:
    workspace.config.write_text(text)


def worked(db, at_us: int = START, *, title: str = "", size: int = 1_000, many: int = 1) -> str:
    session = begin(db, new_session_id(), title=title, started_us=at_us)
    times = {"started_us": at_us, "ended_us": at_us + 1}
    append(db, [frame("make", session, blobs={"output": os.urandom(size)}, **times) for _ in range(many)])
    sessions.end(db, session, ended_us=at_us + 1, status="ended", exit_code=0)
    return session


def kinds(db, session: str) -> list[str]:
    rows = db.execute("SELECT kind FROM events WHERE session = ? ORDER BY seq", (session,))
    return [kind for (kind,) in rows]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, []),
        ({"days": 10}, [Order(EVENTS, 90 * DAY_US, {})]),
        ({"output_days": 99}, [Order(OUTPUTS, DAY_US)]),
        ({"kinds": "note=40 edit_files=0"}, [Order(EVENTS, None, {"note": 60 * DAY_US, "edit_files": None})]),
        ({"kinds": "note=0"}, []),
        ({"days": 200, "keep_labelled": False}, [Order(EVENTS, 0, {}, keep_labelled=False)]),
    ],
)
def test_the_settings_are_orders(given, found):
    values = {f"retention.{name}": value for name, value in given.items()}

    assert retention.orders(Config(values), 100 * DAY_US) == found


def test_ages_that_cannot_be_read_are_an_error():
    with pytest.raises(UsageError):
        retention.orders(Config({"retention.kinds": "monthly"}), 1)


def test_what_is_old_goes_and_what_is_young_or_labelled_stays(workspace):
    settings(workspace, "[retention]\ndays = 30\noutput_days = 7\n")
    now_us = START + 40 * DAY_US
    with closing(open_store(workspace, create=True)) as db:
        old, labelled = worked(db), worked(db, title="before the release")
        middle, young = worked(db, now_us - 10 * DAY_US), worked(db, now_us - DAY_US)

        retention.retain(workspace, seconds=DEADLINE, now_us=now_us)

        assert (kinds(db, old), kinds(db, middle)) == (["policy"], ["run_command", "policy"])
        assert kinds(db, labelled) == kinds(db, young) == ["run_command"]
        assert (count(db, "blobs"), verify(db).findings) == (2, [])
        actor = db.execute("SELECT DISTINCT actor, source, trusted FROM events WHERE kind = 'policy'")
        assert actor.fetchall() == [("human", "host", 2)]
        assert is_whole(db)


def test_a_store_beyond_its_limit_lets_its_oldest_outputs_go_until_it_fits(workspace):
    settings(workspace, "[limits]\nstore_mb = 1\n")
    with closing(open_store(workspace, create=True)) as db:
        names = [worked(db, START + number * 10, size=20_000, many=10) for number in range(9)]

        retention.retain(workspace, seconds=DEADLINE)

        assert kinds(db, names[0]) == ["run_command"] * 10 + ["policy"]
        assert kinds(db, names[-1]) == ["run_command"] * 10
        assert 0 < count(db, "outputs") < 90
        assert verify(db).findings == []
    assert workspace.database.stat().st_size <= 1 << 20


def test_it_takes_no_longer_than_it_may(workspace):
    settings(workspace, "[retention]\noutput_days = 1\n")
    with closing(open_store(workspace, create=True)) as db:
        worked(db)
        retention.retain(workspace, seconds=0)

        assert count(db, "outputs") == 1


def test_what_was_pruned_is_in_no_file_of_the_store(workspace):
    settings(workspace, "[retention]\ndays = 1\n")
    with closing(open_store(workspace, create=True)) as db:
        session = begin(db, new_session_id(), started_us=START - 9 * DAY_US)
        times = {"started_us": START - 9 * DAY_US, "ended_us": START - 9 * DAY_US}
        frames = [
            frame(f"very private {n}", session, blobs={"output": b"and so"}, **times) for n in range(300)
        ]
        append(db, frames)
        sessions.end(db, session, ended_us=START, status="ended", exit_code=0)
        kept = worked(db, time.time_ns() // 1_000)
        assert holding(workspace, b"very private")

        retention.retain(workspace, seconds=DEADLINE)

        assert holding(workspace, b"very private") == holding(workspace, b"and so") == []
        assert kinds(db, kept) == ["run_command"]


def holding(workspace: Workspace, text: bytes) -> list[Path]:
    files = (path for path in workspace.dir.rglob("*") if path.is_file())
    return [path for path in files if text in path.read_bytes()]


def test_ages_that_cannot_be_read_are_not_set(workspace):
    open_store(workspace, create=True).close()
    with pytest.raises(UsageError) as raised:
        set_value(workspace, "retention.kinds", "note=monthly")
    with pytest.raises(UsageError, match="there is no kind 'notes'"):
        set_value(workspace, "retention.kinds", "notes=30")

    assert raised.value.code == "ERR_CONFIG_VALUE"
    assert set_value(workspace, "retention.kinds", "note=30").value == "note=30"


@pytest.mark.parametrize("text", ["", "[retention]\nkeep_labelled = false\n"])
def test_nothing_is_begun_where_nothing_is_wanted(workspace, text):
    settings(workspace, text)
    open_store(workspace, create=True).close()
    values = Config({"retention.keep_labelled": False} if text else {})

    assert retention.start(workspace, values) is False
    assert not (workspace.run / "retention").exists()


def test_it_runs_in_a_process_of_its_own_and_once_a_day(workspace):
    settings(workspace, "[retention]\ndays = 1\n")
    values = Config({"retention.days": 1})
    with closing(open_store(workspace, create=True)) as db:
        worked(db, START - 100 * DAY_US)
        assert retention.start(workspace, values) is True
        assert retention.start(workspace, values) is False

        until = time.monotonic() + DEADLINE
        while count(db) != count(db, "pruned"):  # its one event became a stub, and a line tells of it
            assert time.monotonic() < until
        assert db.execute("SELECT kind FROM events").fetchall() == [("policy",)]
    stamp = workspace.run / "retention"
    os.utime(stamp, (time.time() - 90_000,) * 2)
    assert retention.start(workspace, values) is True
    os.utime(stamp, (time.time() + 90_000,) * 2)  # a clock that was set back
    assert retention.start(workspace, values) is True


def test_a_store_that_is_gone_is_nobody_s_trouble(tmp_path):
    retention.main(str(tmp_path / "nowhere" / ".devtrace"))

    assert (
        retention.start(Workspace(tmp_path / "nowhere" / ".devtrace"), Config({"retention.days": 1})) is False
    )
