"""The store that a server answers from may come, go, grow and change while it runs."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing, suppress

import pytest

from devtrace.events import Event, Note
from devtrace.ids import new_span_id
from devtrace.services.mcp_server import store as mcp_store
from devtrace.store import VERSION
from devtrace.store.connection import open_store
from devtrace.store.search_index import state_of
from devtrace.store.spool import SpoolWriter
from devtrace.workspace import Workspace
from tests.mcp_serve.asking import Alive, Model
from tests.recorded import START


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The directory that the server runs in; nothing is there yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mcp_store, "_EVERY_S", 0.0)
    monkeypatch.setattr(mcp_store, "_PATIENCE_S", 60.0)
    return tmp_path


@pytest.fixture
def recorded(here):
    made = Alive(here)
    made.session()
    yield made
    made.close()


@pytest.fixture
def model():
    made = Model()
    yield made
    made.close()


def spool(place, session, text):
    note = Event(
        session=session, id=new_span_id(), actor="human", started_us=START, ended_us=START, status="ok",
        source="cli", trusted=0, body=Note(text=text),
    )  # fmt: skip
    writer = SpoolWriter(place.spool)
    writer.write(note.to_frame())
    writer.close()


def titles(model):
    return [row["title"] for row in model.ask("list_events").structured["events"]]


def test_what_waits_in_the_spool_is_in_the_answer(recorded, model):
    spool(recorded.workspace, recorded.session_id, "waited in the spool")

    assert titles(model) == ["waited in the spool"]
    assert list(recorded.workspace.spool.iterdir()) == []


def test_a_session_whose_host_was_killed_is_closed(recorded, model):
    recorded.command("vim", 1, took=None)
    recorded._held[0].close()

    assert "running" not in model.ask("list_events").structured
    assert model.ask("list_sessions").structured["sessions"][0]["status"] == "interrupted"


def test_the_spool_is_not_looked_through_at_every_question(recorded, model, monkeypatch):
    monkeypatch.setattr(mcp_store, "_EVERY_S", 3600.0)
    assert titles(model) == []
    spool(recorded.workspace, recorded.session_id, "came right after")

    assert titles(model) == []


def test_a_question_does_not_wait_for_a_long_drain(recorded, model, monkeypatch):
    monkeypatch.setattr(mcp_store, "_PATIENCE_S", 0.0)
    inside, leave = threading.Event(), threading.Event()
    real = mcp_store.open_fresh

    def slow(workspace):
        inside.set()
        assert leave.wait(60)
        return real(workspace)

    monkeypatch.setattr(mcp_store, "open_fresh", slow)
    spool(recorded.workspace, recorded.session_id, "waits")

    assert titles(model) == []
    assert inside.wait(60)
    leave.set()


def test_a_store_that_is_made_later_is_found(here, model):
    assert model.refused("list_sessions") == "ERR_STORE_MISSING"

    made = Alive(here)
    made.session()

    assert len(model.ask("list_sessions").structured["sessions"]) == 1
    made.close()


def test_a_store_that_was_replaced_is_the_one_that_is_asked(recorded, model, tmp_path_factory):
    assert len(model.ask("list_sessions").structured["sessions"]) == 1
    other = Alive(tmp_path_factory.mktemp("other"))
    for number in range(3):
        other.session(number)
    with closing(sqlite3.connect(tmp_path_factory.mktemp("copy") / "copy.db")) as copy:
        other.db.backup(copy)
        path = copy.execute("PRAGMA database_list").fetchone()[2]
    other.close()
    recorded.close()

    os.replace(path, recorded.workspace.database)

    assert len(model.ask("list_sessions").structured["sessions"]) == 3


def test_a_store_that_is_gone_is_missing_and_may_come_back(recorded, model):
    assert model.ask("list_sessions")
    hidden = recorded.workspace.root / "hidden"
    recorded.workspace.dir.rename(hidden)
    assert model.refused("list_sessions") == "ERR_STORE_MISSING"

    hidden.rename(recorded.workspace.dir)

    assert model.ask("list_sessions")


def test_a_question_waits_until_a_store_of_an_older_form_was_brought_to_todays(recorded, model, monkeypatch):
    recorded.command("make a.out", 1)
    for name in ("search_docs", "search_words", "search_parts", "search_state", "search_times"):
        recorded.db.execute(f"DROP TABLE IF EXISTS {name}")
    recorded.db.execute("DELETE FROM _sqlite_migrations WHERE name LIKE 'm0006%'")
    recorded.db.execute("PRAGMA user_version = 5")
    monkeypatch.setattr(mcp_store, "_PATIENCE_S", 0.0)
    was_urgent, real_fresh, real_ask = threading.Event(), mcp_store.open_fresh, mcp_store.Freshener.ask

    def fresh(workspace):
        assert was_urgent.wait(60)
        return real_fresh(workspace)

    def ask(self, workspace, patience_s, *, is_urgent=False):
        if is_urgent:
            was_urgent.set()
        return real_ask(self, workspace, patience_s, is_urgent=is_urgent)

    monkeypatch.setattr(mcp_store, "open_fresh", fresh)
    monkeypatch.setattr(mcp_store.Freshener, "ask", ask)

    assert titles(model) == ["$ make a.out"]
    assert recorded.db.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_the_store_of_the_traced_shell_is_asked_and_not_the_one_above(
    recorded, tmp_path_factory, monkeypatch
):
    other = Alive(tmp_path_factory.mktemp("other"))
    other.session(title="of the shell")
    monkeypatch.setenv("DEVTRACE_DIR", str(other.workspace.dir))
    model = Model()

    (session,) = model.ask("list_sessions").structured["sessions"]

    assert session["title"] == "of the shell"
    model.close()
    other.close()


def test_a_store_that_cannot_be_written_is_answered_from_and_the_answer_says_so(recorded, model, monkeypatch):
    spool(recorded.workspace, recorded.session_id, "waits")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))

    reply = model.ask("list_events")

    assert reply.structured["events"] == []
    assert reply.structured["note"].endswith("[ERR_STORE_READONLY].")
    assert reply.text.startswith(reply.structured["note"])


def test_nothing_can_be_written_through_the_connection_of_a_question(recorded):
    store = mcp_store.Store(os.environ)

    with store.opened(float("inf")) as opened, pytest.raises(sqlite3.OperationalError, match="readonly"):
        opened.db.execute("DELETE FROM sessions")

    store.close()


def test_every_connection_is_closed_in_the_end_and_most_behind_their_question(recorded, monkeypatch):
    made, real = [], mcp_store.open_reader

    def connect(workspace):
        made.append(real(workspace))
        return made[-1]

    def are_open():
        count = 0
        for db in made:
            with suppress(sqlite3.ProgrammingError):
                count += db.execute("SELECT 1").fetchone()[0]
        return count

    monkeypatch.setattr(mcp_store, "open_reader", connect)
    model = Model()
    for _ in range(5):
        model.ask("list_events")
        model.refused("list_events", session="ffff")
        model.refused("get_event", id="ffff")

    assert (len(made) > 10, are_open()) == (True, 1)  # the one that is kept: services/mcp_server/kept.py
    model.close()
    assert are_open() == 0


def test_all_that_one_question_reads_is_of_one_moment(recorded):
    store = mcp_store.Store(os.environ)
    recorded.command("one", 1)

    with store.opened(float("inf")) as opened:
        count = "SELECT count(*) FROM events"
        before = opened.db.execute(count).fetchone()
        recorded.command("two", 2)
        assert opened.db.execute(count).fetchone() == before

    store.close()


def test_a_search_has_the_index_filled_behind_it(recorded, model):
    for number in range(3):
        recorded.command(f"deploy {number}", number)
    model.ask("search_commands", query="deploy")
    model.store.close()

    with closing(open_store(Workspace(recorded.workspace.dir))) as db:
        assert state_of(db).high == 3


def test_a_damaged_index_is_told_and_made_anew(recorded, model, monkeypatch):
    for number in range(3):
        recorded.command(f"deploy {number}", number)
    model.ask("search_commands", query="deploy")
    model.store.close()
    recorded.db.execute("DELETE FROM search_words_data WHERE id > 10")
    again, real = Model(), mcp_store.Store.index
    # Filling it finds the damage too; here a search is the first to do so.
    monkeypatch.setattr(mcp_store.Store, "index", lambda store, anew=False: anew and real(store, anew=True))

    text = again.reply("search_commands", query="deploy").text

    assert "the search index is damaged; the record itself is not [ERR_SEARCH]" in text
    assert "it is being made anew" in text
    again.close()
    after = Model()
    assert len(after.ask("search_commands", query="deploy").structured["matches"]) == 3
    after.close()


def test_questions_of_many_threads_at_once_are_all_answered(recorded, model):
    for number in range(50):
        recorded.command(f"true {number}", number)
    found = []

    def ask():
        found.append(len(model.rows("list_events", "events", limit=9)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [50] * 8
