"""What was found out is used again as long as it is true, and never longer."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing

import pytest

from devtrace.errors import DevTraceError
from devtrace.events import Event, McpCall
from devtrace.ids import new_span_id
from devtrace.services.mcp_server.kept import Kept
from devtrace.store.append import append
from devtrace.store.connection import open_reader
from tests.edits import Recorded as Edited
from tests.mcp_serve.asking import Alive, Model
from tests.recorded import START


@pytest.fixture
def recorded(tmp_path):
    made = Alive(tmp_path)
    made.session()
    made.command("true", 1)
    yield made
    made.close()


@pytest.fixture
def kept(recorded):
    made = Kept(open_reader)
    with made.opened(recorded.workspace) as (_, found):
        found["what"] = "true"
    yield made
    made.close()


def what(kept, recorded):
    """What is still known."""
    with kept.opened(recorded.workspace) as (_, found):
        return found.get("what")


def test_what_was_found_out_is_there_for_the_next_question(kept, recorded):
    assert what(kept, recorded) == "true"


def test_it_is_forgotten_when_something_is_recorded(kept, recorded):
    recorded.note("news", 2)

    assert what(kept, recorded) is None


def test_it_stays_when_a_call_is_recorded_that_a_proxy_of_ours_saw(kept, recorded):
    call = McpCall(server="devtrace", tool="why", transport="stdio", request="1")
    for status in ("running", "ok"):
        event = Event(
            session=recorded.session_id, id=new_span_id(), actor="agent:codex", started_us=START,
            ended_us=None if status == "running" else START, status=status, source="mcp", trusted=1,
            body=call,
        )  # fmt: skip
        append(recorded.db, [event.to_frame()])

        assert what(kept, recorded) == "true"


def test_it_is_forgotten_when_something_begins_or_is_no_longer_at_work(kept, recorded):
    recorded.command("vim", 3, took=None)
    assert what(kept, recorded) is None
    with kept.opened(recorded.workspace) as (_, found):
        found["what"] = "true again"
    recorded.db.execute("DELETE FROM running")

    assert what(kept, recorded) is None


def test_it_is_forgotten_when_something_is_pruned(kept, recorded):
    recorded.db.execute("INSERT INTO pruned VALUES (1, 's', 'e', 'note', '0', '0')")

    assert what(kept, recorded) is None


def test_it_is_forgotten_when_another_file_stands_there(kept, recorded, tmp_path):
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        recorded.db.backup(copy)
    recorded.close()
    os.replace(tmp_path / "copy.db", recorded.workspace.database)

    assert what(kept, recorded) is None


def test_a_newer_form_of_the_store_is_told(kept, recorded):
    recorded.db.execute("PRAGMA user_version = 99")

    with pytest.raises(DevTraceError) as refused, kept.opened(recorded.workspace):
        pass

    assert refused.value.code == "ERR_STORE_NEWER"


def test_who_asks_while_another_asks_has_a_connection_of_his_own_and_nothing_to_go_by(kept, recorded):
    seen = []

    def ask():
        with kept.opened(recorded.workspace) as (db, found):
            seen.append((db.execute("SELECT count(*) FROM events").fetchone(), found))

    with kept.opened(recorded.workspace) as (_, found):
        other = threading.Thread(target=ask)
        other.start()
        other.join()
        assert found == {"what": "true"}

    assert seen == [((1,), {})]


def test_a_question_that_failed_leaves_nothing_behind(kept, recorded):
    with pytest.raises(sqlite3.OperationalError), kept.opened(recorded.workspace) as (db, _):
        db.execute("SELECT * FROM nothing")

    assert what(kept, recorded) is None


def test_no_state_of_the_store_is_held_between_two_questions(kept, recorded):
    with kept.opened(recorded.workspace) as (db, _):
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM events").fetchone()

    assert recorded.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_a_line_is_told_as_it_is_now_however_often_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place, model = Edited(tmp_path), Model()
    place.write("a.txt", "one\ntwo\n")
    place.git("add", "-A")
    place.git("commit", "-qm", "first")
    place.begin()

    def line():
        (row,) = model.ask("blame_line", path="a.txt", line=2).structured["lines"]
        return row["text"], row["status"], row.get("command")

    told = [line(), line()]
    place.write("a.txt", "one\n2\n")
    told.append(line())
    place.command("first edit")
    told.append(line())
    place.write("a.txt", "one\nII\n")
    place.command("second edit")
    told += [line(), line()]

    assert told == [
        ("two", "before", None), ("two", "before", None), ("2", "unrecorded", None),
        ("2", "recorded", "first edit"), ("II", "recorded", "second edit"), ("II", "recorded", "second edit"),
    ]  # fmt: skip
    model.close()
