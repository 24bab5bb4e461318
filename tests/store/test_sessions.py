"""Sessions: begun, completed, ended and sealed; and closed for a host that was killed."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import stat
from contextlib import closing
from typing import Any

import pytest

from devtrace.ids import new_session_id
from devtrace.store import sessions
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.store.hold import dead, hold
from devtrace.workspace import Workspace
from tests.processes import DEADLINE
from tests.store.crowd import Crowd
from tests.store.frames import OTHER, SESSION, START, begin, count, events, frame, is_whole, start_of

DB = sqlite3.Connection


def row(db: DB, session: str = SESSION) -> dict[str, Any]:
    cursor = db.execute("SELECT * FROM sessions WHERE id = ?", (session,))
    return dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))


def test_a_session_is_begun_updated_and_ended(db: DB) -> None:
    begin(db, cwd="/x", meta={"cols": 80, "choices": [{"what": "hook"}]})
    assert row(db)["status"] == "active"

    sessions.update(db, SESSION, branch="main", meta={"rows": 24, "cols": 100})
    append(db, [frame(), frame(status="failed")])
    sessions.end(db, SESSION, ended_us=START + 9, status="ended", exit_code=3, head_end="abc")

    told = row(db)
    assert json.loads(told["meta"]) == {"cols": 100, "rows": 24, "choices": [{"what": "hook"}]}
    assert (told["status"], told["ended_us"], told["exit_code"], told["head_end"]) == (
        "ended",
        START + 9,
        3,
        "abc",
    )
    assert (told["branch"], told["cwd"], told["n_events"], told["n_failed"]) == ("main", "/x", 2, 1)
    seals = db.execute("SELECT seq, hash, sealed_us, late FROM seals").fetchall()
    assert seals == [(2, events(db, "hash")[-1], START + 9, 0)]


def test_an_end_without_a_head_keeps_the_one_that_is_known(db: DB) -> None:
    begin(db, head_end="known")
    sessions.end(db, SESSION, ended_us=START, status="ended", exit_code=None)

    assert row(db)["head_end"] == "known"


def test_events_that_came_before_their_session_are_counted_in_it(db: DB) -> None:
    append(db, [frame()])
    begin(db)

    assert (row(db)["kind"], row(db)["status"], row(db)["n_events"]) == ("shell", "active", 1)


@pytest.mark.parametrize("wrong", [{"colour": "blue"}, {"n_events": 7}, {"hash": "x"}])
def test_columns_that_are_not_to_be_given_are_refused(db: DB, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no column"):
        begin(db, **wrong)
    with pytest.raises(ValueError, match="no column"):
        sessions.update(db, SESSION, **wrong)

    assert count(db, "sessions") == 0


@pytest.mark.parametrize(
    "wrong", [{"cwd": b"/"}, {"exit_code": 1.5}, {"meta": [1]}, {"title": ["x"]}, {"ended_us": 1 << 64}]
)
def test_values_that_no_column_takes_are_refused(db: DB, wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        begin(db, **wrong)


def test_an_update_of_nothing_is_nothing(db: DB) -> None:
    begin(db)
    before = row(db)

    sessions.update(db, SESSION)

    assert row(db) == before


# --- the hold ---


def test_a_hold_is_private_and_says_that_its_host_lives(db: DB, workspace: Workspace) -> None:
    held = hold(workspace, SESSION)
    begin(db)
    file = workspace.run / f"{SESSION}.lock"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    assert sessions.close_orphans(db, workspace, START) == []
    assert not held.is_lost()

    held.close()
    held.close()
    assert not file.exists()
    assert sessions.close_orphans(db, workspace, START) == [SESSION]


def test_a_hold_whose_file_was_removed_knows_it(workspace: Workspace, db: DB) -> None:
    held = hold(workspace, SESSION)
    (workspace.run / f"{SESSION}.lock").unlink()

    assert held.is_lost()
    again = hold(workspace, SESSION)
    assert not again.is_lost()
    assert held.is_lost(), "the new file is another one"
    again.close()
    held.close()


def test_many_may_ask_at_once_whether_a_host_is_gone(db: DB, workspace: Workspace) -> None:
    """One that asks is no host: another that asks meanwhile must not take the dead for the living."""
    (workspace.run / f"{SESSION}.lock").touch()
    with dead(workspace, SESSION) as one, dead(workspace, SESSION) as other:
        assert one
        assert other
    held = hold(workspace, SESSION)
    with dead(workspace, SESSION) as one, dead(workspace, SESSION) as other:
        assert not one
        assert not other
    held.close()


# --- orphans ---


def test_what_ran_in_a_killed_session_becomes_interrupted(db: DB, workspace: Workspace) -> None:
    begin(db)
    done = frame("done", started_us=START + 10, ended_us=START + 50)
    nested = frame("nested", parent=done["id"], started_us=START + 70)
    append(
        db, [done, start_of(frame("make", started_us=START + 60)), start_of(nested)], recorded_us=START + 99
    )

    assert sessions.close_orphans(db, workspace, START + 1000) == [SESSION]

    columns = "title, status, exit_source, ended_us, exit_code, recorded_us, parent"
    found = db.execute(f"SELECT {columns} FROM events ORDER BY seq").fetchall()
    assert found[1:3] == [
        ("$ make", "interrupted", "unknown", None, None, START + 1000, None),
        ("$ nested", "interrupted", "unknown", None, None, START + 1000, done["id"]),
    ]
    assert (row(db)["status"], row(db)["exit_code"], row(db)["n_events"]) == ("interrupted", None, 4)
    assert count(db, "running") == 0
    assert db.execute("SELECT seq, late FROM seals").fetchall() == [(4, 0)]
    assert is_whole(db)


def test_a_killed_session_ended_when_it_was_last_heard_of(db: DB, workspace: Workspace) -> None:
    """Not now: the next command may come after a week, and a guess is no fact."""
    begin(db)
    append(db, [frame(started_us=START + 10, ended_us=START + 50), start_of(frame(started_us=START + 60))])
    begin(db, OTHER, started_us=START + 5)

    sessions.close_orphans(db, workspace, START + (7 << 40))

    assert (row(db)["ended_us"], row(db, OTHER)["ended_us"]) == (START + 60, START + 5)


def test_closing_again_changes_nothing(db: DB, workspace: Workspace) -> None:
    begin(db)
    append(db, [start_of(frame())])
    sessions.close_orphans(db, workspace, START)

    assert sessions.close_orphans(db, workspace, START + 1) == []
    assert (events(db, "kind"), count(db, "seals")) == (["run_command", "gap"], 1)


def test_what_nobody_saw_after_a_host_was_killed_is_a_gap(db: DB, workspace: Workspace) -> None:
    begin(db)
    append(db, [frame(started_us=START + 10, ended_us=START + 50)])

    sessions.close_orphans(db, workspace, START + 1000)

    (gap,) = db.execute("SELECT title, started_us, ended_us FROM events WHERE kind = 'gap'").fetchall()
    assert gap[0].startswith("gap: recorder_stopped")
    assert gap[1:] == (START + 50, None)  # from its last record on; when it was killed, nobody knows


def test_a_session_in_which_nobody_watched_leaves_no_such_gap(db: DB, workspace: Workspace) -> None:
    sessions.begin(db, id=SESSION, kind="snapshot", started_us=START)

    assert sessions.close_orphans(db, workspace, START + 1000) == [SESSION]
    assert events(db) == []


def test_what_was_left_running_in_an_ended_session_is_not_forgotten(db: DB, workspace: Workspace) -> None:
    begin(db)
    append(db, [start_of(frame("sleep 9"))])
    sessions.end(db, SESSION, ended_us=START + 9, status="ended", exit_code=0)

    assert sessions.close_orphans(db, workspace, START + 10) == [SESSION]

    assert events(db, "status") == ["interrupted"]
    assert row(db)["status"] == "ended", "the session itself did end"
    assert db.execute("SELECT seq, late FROM seals ORDER BY n").fetchall() == [(None, 0), (1, 1)]
    assert is_whole(db)


def test_what_runs_in_a_session_that_nobody_knows_is_not_forgotten(db: DB, workspace: Workspace) -> None:
    append(db, [start_of(frame("make"))])

    assert sessions.close_orphans(db, workspace, START) == [SESSION]

    assert events(db, "status") == ["interrupted"]
    assert row(db)["kind"] == "import"
    assert is_whole(db)


def test_what_runs_in_a_living_session_is_left_running(db: DB, workspace: Workspace) -> None:
    with closing(hold(workspace, SESSION)):
        append(db, [start_of(frame("make"))])

        assert sessions.close_orphans(db, workspace, START) == []
        assert count(db, "running") == 1


def test_text_that_is_not_utf_8_survives_the_interruption(db: DB, workspace: Workspace) -> None:
    begin(db)
    strange = frame(title="$ \udcff", data={"command": "\udcff", "argv": ["\udcfe"]})
    append(db, [start_of(strange)])

    sessions.close_orphans(db, workspace, START)

    data = json.loads(events(db, "data")[0])
    assert (data["command"], data["command_b64"], data["argv_b64"]) == ("\ufffd", "/w==", ["/g=="])
    assert is_whole(db)


def test_a_lock_that_cannot_be_looked_at_proves_no_death(db: DB, workspace: Workspace) -> None:
    begin(db)
    (workspace.run / f"{SESSION}.lock").symlink_to("/etc/hostname")

    assert sessions.close_orphans(db, workspace, START) == []
    assert row(db)["status"] == "active"


def test_a_lock_file_that_nobody_holds_is_removed_with_its_session(db: DB, workspace: Workspace) -> None:
    begin(db)
    (workspace.run / f"{SESSION}.lock").touch()

    sessions.close_orphans(db, workspace, START)

    assert list(workspace.run.iterdir()) == []


def test_a_program_that_the_host_started_does_not_keep_its_session_alive(workspace: Workspace) -> None:
    """The lock is not handed on by exec: a daemon may outlive the shell it came from."""
    with (
        closing(open_store(workspace, create=True)) as db,
        Crowd(1, "hold_and_leave_a_child", workspace.dir, SESSION) as crowd,
    ):
        crowd.release()
        (process,) = crowd.processes
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert sessions.close_orphans(db, workspace, START) == []
        process.kill()
        process.wait(DEADLINE)

        try:
            assert sessions.close_orphans(db, workspace, START) == [SESSION]
        finally:
            os.kill(child, signal.SIGKILL)


def test_many_orphans_are_closed_at_once(db: DB, workspace: Workspace) -> None:
    orphans = [begin(db, new_session_id()) for _ in range(50)]

    assert sorted(sessions.close_orphans(db, workspace, START)) == sorted(orphans)


def test_a_session_that_is_beginning_is_no_orphan(db: DB, workspace: Workspace) -> None:
    """The lock comes first, the row second: in between there is nothing to close."""
    with closing(hold(workspace, SESSION)):
        assert sessions.close_orphans(db, workspace, START) == []
        with (workspace.run / f"{SESSION}.lock").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
