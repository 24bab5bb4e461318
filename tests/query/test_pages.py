"""Pages of a long list: together they are the whole list, whatever is written between two of them."""

from __future__ import annotations

import random

import pytest

from devtrace.events import Event, Io
from devtrace.query.events import last_seq, list_events
from devtrace.query.filters import Filters
from devtrace.query.pages import (
    events_page,
    kinds_of,
    place_of_event,
    place_of_session,
    sessions_page,
)
from devtrace.query.sessions import list_sessions
from devtrace.store.append import append
from tests.recorded import SECOND, START

LATE = START + 900 * SECOND


def keys(rows):
    return [(row["session"], row["id"]) for row in rows]


def all_events(db, filters, limit, *, is_oldest_first=False, meanwhile=lambda: None, is_over=lambda: False):
    """The rows of all pages, and how many pages there were."""
    upto, after, found, pages = last_seq(db), None, [], 0
    while after is not None or not pages:
        if pages:
            meanwhile()
        page = events_page(
            db, filters, limit=limit, upto=upto, after=after, is_oldest_first=is_oldest_first, is_over=is_over
        )
        assert len(page.rows) <= limit
        found += page.rows
        after, pages = page.after, pages + 1
    return found, pages


@pytest.fixture
def busy(recorded):
    """Three sessions at once, of two agents, with events of several kinds."""
    chance = random.Random(7)
    sessions = [
        recorded.session(at, agent=agent) for at, agent in ((0, "codex"), (1, "manual"), (2, "codex"))
    ]
    for number in range(120):
        recorded.session_id = chance.choice(sessions)
        at = chance.random() * 100
        if number % 7 == 0:
            recorded.note(f"note {number}", at)
        elif number % 11 == 0:
            recorded.prompt(f"prompt {number}", at)
        else:
            recorded.command(f"true {number}", at, exit_code=int(number % 9 == 0))
    return recorded


@pytest.mark.parametrize("limit", [1, 3, 20, 119, 120, 500])
@pytest.mark.parametrize("is_oldest_first", [False, True], ids=["newest first", "oldest first"])
def test_the_pages_together_are_the_whole_list(busy, limit, is_oldest_first):
    whole = list_events(busy.db, Filters())

    found, pages = all_events(busy.db, Filters(), limit, is_oldest_first=is_oldest_first)

    assert keys(found) == keys(whole if is_oldest_first else whole[::-1])
    assert pages == -(-120 // limit)


@pytest.mark.parametrize(
    "filters",
    [
        Filters(kinds=("note",)),
        Filters(kinds=("note", "prompt")),
        Filters(kinds=("nothing",)),
        Filters(agent="codex"),
        Filters(agent="aider"),
        Filters(failed=True),
        Filters(actor="human"),
        Filters(since_us=START + 20 * SECOND, until_us=START + 60 * SECOND),
        Filters(agent="codex", failed=True, kinds=("run_command",), since_us=START + 10 * SECOND),
    ],
    ids=str,
)
def test_a_filter_means_the_same_as_in_a_whole_list(busy, filters):
    found, _ = all_events(busy.db, filters, 4)

    assert keys(found) == keys(list_events(busy.db, filters)[::-1])


@pytest.mark.parametrize("kinds", [(), ("note",)], ids=["all kinds", "notes"])
@pytest.mark.parametrize("is_oldest_first", [False, True], ids=["newest first", "oldest first"])
def test_a_session_is_paged_in_the_order_of_its_record(busy, kinds, is_oldest_first):
    session = busy.session_id
    filters = Filters(session=session, kinds=kinds)
    whole = sorted(list_events(busy.db, filters), key=lambda row: row["seq"], reverse=not is_oldest_first)

    found, _ = all_events(busy.db, filters, 5, is_oldest_first=is_oldest_first)

    assert keys(found) == keys(whole)


def test_the_agent_of_another_session_leaves_nothing_of_this_one(busy):
    found, _ = all_events(busy.db, Filters(session=busy.session_id, agent="aider"), 5)

    assert found == []


@pytest.mark.parametrize("is_oldest_first", [False, True], ids=["newest first", "oldest first"])
def test_what_is_recorded_between_two_pages_neither_comes_twice_nor_pushes_anything_out(
    busy, is_oldest_first
):
    whole = list_events(busy.db, Filters())
    chance = random.Random(3)

    def write():
        busy.command("written meanwhile", chance.random() * 200 - 50)
        busy.note("written meanwhile", chance.random() * 200 - 50)

    found, _ = all_events(busy.db, Filters(), 7, is_oldest_first=is_oldest_first, meanwhile=write)

    assert keys(found) == keys(whole if is_oldest_first else whole[::-1])


def test_events_of_one_moment_are_told_apart_by_their_order_in_the_record(recorded):
    recorded.session()
    for number in range(30):
        recorded.command(f"true {number}", 5)
    whole = list_events(recorded.db, Filters())

    found, _ = all_events(recorded.db, Filters(), 4)

    assert keys(found) == keys(whole[::-1])


def test_a_page_that_may_take_no_more_time_says_where_it_came_to_and_loses_nothing(recorded):
    recorded.session()
    for number in range(3_000):
        recorded.command(f"true {number}", number, exit_code=int(number in (5, 2_000)))
    wanted = Filters(failed=True)

    first = events_page(recorded.db, wanted, limit=5, upto=last_seq(recorded.db), is_over=lambda: True)
    found, pages = all_events(recorded.db, wanted, 5, is_over=lambda: True)

    assert (first.rows, first.is_short) == ([], True)
    assert first.after is not None
    assert [row["title"] for row in found] == ["$ true 2000", "$ true 5"]
    assert pages > 3


def test_parts_of_other_events_are_listed_only_when_they_are_asked_for(recorded):
    recorded.session()
    recorded.command("true")
    counts = {"stdout": 3}
    printed = Io(
        stream=1, first=1, last=3, n_chunks=3, bytes=counts, lines=counts, flags={}, rows="0", digest="0"
    )
    event = Event(
        session=recorded.session_id, id="1234567890123456", actor="human", started_us=START, ended_us=START,
        status="ok", source="recorder", trusted=1, body=printed,
    )  # fmt: skip
    append(recorded.db, [event.to_frame()])

    without, _ = all_events(recorded.db, Filters(), 5)
    asked, _ = all_events(recorded.db, Filters(kinds=("io",)), 5)

    assert kinds_of(recorded.db) == ["io", "run_command"]
    assert [row["kind"] for row in without] == ["run_command"]
    assert [row["kind"] for row in asked] == ["io"]


def test_the_place_of_a_row_is_where_the_page_behind_it_begins(busy):
    for wanted in (Filters(), Filters(session=busy.session_id)):
        upto = last_seq(busy.db)
        whole = events_page(busy.db, wanted, limit=50, upto=upto).rows
        at = place_of_event(whole[9], wanted)

        assert events_page(busy.db, wanted, limit=40, upto=upto, after=at).rows == whole[10:50]


# --- sessions -----------------------------------------------------------------------------------------------


def test_the_pages_of_sessions_together_are_the_whole_list(recorded):
    for number in range(23):
        recorded.session(number // 4, agent=["codex", "manual"][number % 2])
    recorded.session(3, kind="recorder", parent_session=recorded.session_id)

    for filters in (Filters(), Filters(agent="codex"), Filters(kinds=("recorder",))):
        found, after = [], None
        while True:
            page = sessions_page(recorded.db, filters, limit=5, after=after)
            found += page.rows
            if page.after is None:
                break
            assert page.after == place_of_session(page.rows[-1])
            after = page.after
            recorded.session(900 + len(found))

        assert found == [row for row in list_sessions(recorded.db, filters) if row["started_us"] < LATE]
