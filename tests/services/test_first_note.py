"""A note typed before the host has opened the store: it waits in the spool and is not refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devtrace import workspace
from devtrace.errors import UsageError
from devtrace.ids import new_session_id, new_shell_span
from devtrace.services.note import live_session, note
from devtrace.store import sessions
from devtrace.store.connection import open_store
from devtrace.store.drain import drain
from devtrace.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / ".devtrace")
    workspace.create(made)
    return made


@pytest.fixture
def inside(place: Workspace, tmp_path: Path) -> dict[str, str]:
    """The environment of a command in a traced shell whose host lives."""
    os.mkfifo(tmp_path / "fifo")
    return {
        "DEVTRACE_DIR": str(place.dir),
        "DEVTRACE_SESSION": new_session_id(),
        "DEVTRACE_SPAN": str(new_shell_span()),
        "DEVTRACE_FIFO": str(tmp_path / "fifo"),
        "DEVTRACE_AGENT": "codex",
    }


def test_a_note_without_a_database_is_drained_into_its_session_later(
    place: Workspace, inside: dict[str, str]
) -> None:
    sent = note(None, place, "remember", inside, cwd="/srv/shop")

    db = open_store(place, create=True)
    drain(db, place)
    rows = db.execute("SELECT session, parent, actor, title FROM events").fetchall()
    assert [tuple(row) for row in rows] == [
        (inside["DEVTRACE_SESSION"], inside["DEVTRACE_SPAN"], "agent:codex", "remember")
    ]
    assert sent.session == inside["DEVTRACE_SESSION"]
    db.close()


def test_a_note_goes_to_its_own_session_though_the_store_knows_only_others(
    place: Workspace, inside: dict[str, str]
) -> None:
    db = open_store(place, create=True)
    note(db, place, "from an older session", {**inside, "DEVTRACE_SESSION": new_session_id()})

    sent = note(db, place, "from here", inside)

    assert sent.session == inside["DEVTRACE_SESSION"]
    db.close()


def test_a_session_whose_host_is_gone_is_not_live(place: Workspace, inside: dict[str, str]) -> None:
    Path(inside["DEVTRACE_FIFO"]).unlink()

    assert live_session(place, inside) is None
    with pytest.raises(UsageError) as caught:
        note(None, place, "too late", inside)
    assert caught.value.code == "ERR_NO_SESSION"


def test_a_session_of_another_store_is_not_this_ones(tmp_path: Path, inside: dict[str, str]) -> None:
    other = Workspace(tmp_path / "other" / ".devtrace")

    assert live_session(other, inside) is None


def test_a_note_from_outside_goes_to_no_recorded_program(place: Workspace) -> None:
    db = open_store(place, create=True)
    shell, program = new_session_id(), new_session_id()
    sessions.write_row(db, {"id": shell, "kind": "shell", "started_us": 1, "status": "ended", "ended_us": 2})
    sessions.write_row(db, {"id": program, "kind": "recorder", "started_us": 3, "status": "active"})

    assert note(db, place, "remember", {}).session == shell
    assert note(db, place, "of this one", {}, session=program).session == program
    db.close()


def test_a_note_where_only_programs_were_recorded_says_where_it_could_go(place: Workspace) -> None:
    db = open_store(place, create=True)
    sessions.write_row(
        db, {"id": new_session_id(), "kind": "recorder", "started_us": 3, "status": "ended", "ended_us": 4}
    )

    with pytest.raises(UsageError) as told:
        note(db, place, "remember", {})
    assert (told.value.code, "--session" in (told.value.hint or "")) == ("ERR_NO_SESSION", True)
    db.close()
