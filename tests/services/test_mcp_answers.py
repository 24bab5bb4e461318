"""What a model is told of sessions and events: right, whole page by page, and no more than it asked for."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from devtrace.query.events import list_events
from devtrace.query.filters import Filters
from devtrace.services.mcp_server.tools import TOOLS
from devtrace.store.append import append
from devtrace.store.connection import open_store
from tests.mcp_serve.asking import Alive, Model, between
from tests.recorded import START
from tests.store.frames import frame


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Alive(tmp_path)
    yield made
    made.close()


@pytest.fixture
def model():
    made = Model()
    yield made
    made.close()


def test_the_tools_stand_in_one_order_and_only_read():
    assert [tool.name for tool in TOOLS] == [
        "list_sessions", "list_events", "get_event", "get_diff", "get_output", "search_commands",
        "blame_line", "why", "audit",
    ]  # fmt: skip


# --- sessions -----------------------------------------------------------------------------------------------


def test_sessions_are_listed_the_newest_first_a_line_each(recorded, model):
    old = recorded.session(0, took=60, agent="codex", title="first try")
    recorded.command("false", 1, exit_code=1)
    new = recorded.session(100, branch="topic")

    reply = model.ask("list_sessions")

    ours, lines = between(reply.text)
    assert ours == [f'2 sessions of the store "{recorded.workspace.root.name}", newest first.']
    assert len(lines) == 2
    assert lines[1].endswith("agent:codex  ended  1 event, 1 failed  1m00s  branch main  first try")
    first, second = reply.structured["sessions"]
    assert (first["id"], first["status"], first["branch"]) == (new, "active", "topic")
    assert "ended" not in first
    assert second == {
        "id": old, "short": second["short"], "kind": "shell", "status": "ended", "agent": "codex",
        "actor": "agent:codex", "title": "first try", "started": "2026-11-21T14:03:12.000Z",
        "ended": "2026-11-21T14:04:12.000Z", "duration_ms": 60_000, "events": 1, "failed": 1, "exit_code": 0,
        "branch": "main", "shell": "bash", "cwd": ".",
    }  # fmt: skip


def test_sessions_are_narrowed_as_the_command_line_narrows_them(recorded, model):
    recorded.session(0, took=60, agent="codex")
    failed = recorded.session(100, took=60)
    recorded.command("false", 101, exit_code=1)

    def ids(**filters):
        return [row["id"] for row in model.ask("list_sessions", **filters).structured["sessions"]]

    assert ids(failed=True) == [failed]
    assert ids(agent="manual", since="2026-11-21T14:04:20+00:00") == [failed]
    assert ids(kinds=["recorder"]) == []
    assert len(ids(path=".")) == 2
    assert ids(path="sub") == []


def test_all_sessions_come_page_by_page(recorded, model):
    ids = [recorded.session(number) for number in range(25)]

    pages = model.pages("list_sessions", "sessions", limit=10)

    assert [len(page) for page in pages] == [10, 10, 5]
    assert [row["id"] for page in pages for row in page] == ids[::-1]


# --- events -------------------------------------------------------------------------------------------------


def test_events_of_a_session_are_listed_by_any_unique_start_of_its_id(recorded, model):
    session = recorded.session()
    recorded.command("pytest -q", 1, 2.5, exit_code=1, printed=b"1 failed\n")
    recorded.note("look here", 5)

    reply = model.ask("list_events", session=session[:14], order="oldest")

    ours, lines = between(reply.text)
    assert ours[0].startswith(f"2 events of session {session} in the store")
    assert "run_command  failed(1)  2.5s  human  $ pytest -q" in lines[0]
    command, note = reply.structured["events"]
    assert (command["title"], command["exit_code"], command["output_bytes"]) == ("$ pytest -q", 1, 9)
    assert (note["kind"], note["title"]) == ("note", "look here")


def test_what_runs_now_stands_above_the_others_on_the_first_page_alone(recorded, model):
    recorded.session()
    for number in range(3):
        recorded.command(f"true {number}", number)
    recorded.command("make watch", 9, took=None)

    first = model.ask("list_events", limit=2)
    second = model.ask("list_events", limit=2, cursor=first.structured["next_cursor"])

    assert [row["title"] for row in first.structured["running"]] == ["$ make watch"]
    assert [row["title"] for row in first.structured["events"]] == ["$ true 2", "$ true 1"]
    ours, lines = between(first.text)
    assert "Above them 1 event that runs now." in ours
    assert "running" in lines[0]
    assert "running" not in second.structured


def test_events_are_narrowed_by_kind_agent_actor_time_and_failure(recorded, model):
    recorded.session(0, agent="codex")
    recorded.prompt("do it", 1)
    recorded.command("false", 2, exit_code=1)
    recorded.session(100)
    recorded.command("true", 101)

    def titles(**filters):
        return [row["title"] for row in model.ask("list_events", **filters).structured["events"]]

    assert titles(kinds=["prompt"]) == ["do it"]
    assert titles(failed=True) == ["$ false"]
    assert titles(agent="manual") == ["$ true"]
    assert titles(actor="agent") == ["$ false", "do it"]
    assert titles(until="2026-11-21T14:03:14+00:00", kinds=["run_command", "prompt"]) == ["$ false", "do it"]


def test_nothing_is_lost_or_told_twice_while_somebody_writes_between_the_pages(recorded, model):
    recorded.session()
    for number in range(40):
        recorded.command(f"true {number}", number)
    wanted = [row["id"] for row in list_events(recorded.db, Filters())][::-1]
    told, more = [], {}
    while True:
        answer = model.ask("list_events", limit=7, **more).structured
        told += [row["id"] for row in answer["events"]]
        recorded.command("written meanwhile", 3.5)
        recorded.command("written meanwhile", 99)
        if "next_cursor" not in answer:
            break
        more = {"cursor": answer["next_cursor"]}

    assert told == wanted


def test_the_same_holds_while_another_thread_writes_all_the_time(recorded, model):
    session = recorded.session()
    for number in range(200):
        recorded.command(f"true {number}", number)
    wanted = [row["id"] for row in list_events(recorded.db, Filters())][::-1]
    over = threading.Event()

    def write():
        with closing(open_store(recorded.workspace)) as db:
            while not over.is_set():
                append(db, [frame("true", session, started_us=START + 100)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        told = [row["id"] for row in model.rows("list_events", "events", limit=9)]
    finally:
        over.set()
        writer.join()

    assert [name for name in told if name in set(wanted)] == wanted
    assert len(told) == len(set(told))


def test_a_relative_time_means_on_each_page_what_it_meant_on_the_first(recorded, model):
    recorded.session()
    for number in range(6):
        recorded.command(f"true {number}", number)
    first = model.ask("list_events", until="now", limit=2)
    recorded.command("later", 1_000_000)

    rest = model.ask("list_events", until="now", limit=50, cursor=first.structured["next_cursor"])

    assert [row["title"] for row in rest.structured["events"]] == [f"$ true {n}" for n in (3, 2, 1, 0)]


def test_a_session_that_becomes_ambiguous_between_two_pages_is_still_the_same(recorded, model):
    session = recorded.session(id="abcd0000000000000000000000000001")
    for number in range(4):
        recorded.command(f"true {number}", number)
    first = model.ask("list_events", session="abcd", limit=2)
    recorded.session(id="abcd0000000000000000000000000002")

    rest = model.ask("list_events", session="abcd", limit=2, cursor=first.structured["next_cursor"])

    assert {row["session"] for row in rest.structured["events"]} == {session}


# --- bounds -------------------------------------------------------------------------------------------------


def test_as_many_rows_come_as_there_is_room_for_and_the_cursor_leads_to_the_others(recorded, model):
    recorded.session()
    for number in range(60):
        recorded.command(f"echo {number} " + "word " * 40, number)

    pages = model.pages("list_events", "events", limit=60, max_bytes=4_096)

    assert all(2 <= len(page) < 20 for page in pages[:-1])
    assert [row["title"].split()[2] for page in pages for row in page] == [str(n) for n in range(59, -1, -1)]


def test_a_row_that_is_larger_than_the_room_comes_cut_and_alone(recorded, model):
    recorded.session()
    for number in range(3):
        recorded.command(f"{number} " + "\u20ac" * 3_000, number)

    pages = model.pages("list_events", "events", limit=60, max_bytes=4_096)

    assert [len(page) for page in pages] == [1, 1, 1]


def test_20_rows_come_where_nothing_is_said(recorded, model):
    recorded.session()
    for number in range(30):
        recorded.command("true", number)

    assert len(model.ask("list_events").structured["events"]) == 20
    assert len(model.ask("list_events", limit=200).structured["events"]) == 30


# --- search -------------------------------------------------------------------------------------------------


def test_commands_are_found_by_their_words_with_where_they_stand(recorded, model):
    recorded.session()
    recorded.command("pytest -q tests/test_shop.py", 1, exit_code=1, printed=b"AssertionError: total\n")
    recorded.command("ls", 2)

    reply = model.ask("search_commands", query="shop pytest")

    (match,) = reply.structured["matches"]
    assert (match["title"], match["field"], match["how"]) == (
        "$ pytest -q tests/test_shop.py", "title", "words",
    )  # fmt: skip
    _, lines = between(reply.text)
    assert "[in title: " in lines[0]


def test_words_that_nothing_has_are_named(recorded, model):
    recorded.session()
    recorded.command("ls", 2)

    reply = model.ask("search_commands", query="quicksort")

    assert reply.structured["matches"] == []
    assert reply.structured["missing"] == ["quicksort"]
    assert '"quicksort"' in reply.text


def test_matches_come_page_by_page_each_once(recorded, model):
    recorded.session()
    for number in range(25):
        recorded.command(f"deploy step{number}", number)

    for size in ({"limit": 10}, {"limit": 25, "max_bytes": 4_096}):
        rows = model.rows("search_commands", "matches", query="deploy", **size)

        assert sorted(row["title"] for row in rows) == sorted(f"$ deploy step{n}" for n in range(25))
