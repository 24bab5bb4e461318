"""Pages of a search hang together while others write, and what nobody has indexed yet is found too."""

from __future__ import annotations

from contextlib import closing

import pytest

from devtrace.errors import EnvironmentError
from devtrace.query import search_lists
from devtrace.query.filters import Filters
from devtrace.query.search import HOW, search
from devtrace.store import retention, search_index
from devtrace.store.connection import open_reader
from devtrace.store.retention import EVENTS, WHENEVER, Author, Order
from tests.query.searched import LONG_S, all_of, fill, found, pages_of, titles
from tests.recorded import START, Recorded


@pytest.fixture
def busy(recorded: Recorded) -> Recorded:
    return fill(recorded)


# --- pages -----------------------------------------------------------------------------------------------


def test_pages_are_the_whole_in_its_order_whatever_is_recorded_meanwhile(busy):
    whole = [hit["seq"] for hit in all_of(busy, "make notes")]
    paged = []
    for page in pages_of(busy, "make notes", 7):
        paged += [hit["seq"] for hit in page.hits]
        busy.command("make notes at once", 10_500)
        if len(paged) % 3:
            search_index.catch_up(busy.db)

    assert paged[: len(whole)] == whole
    assert len(set(paged)) == len(paged) == 603


def test_the_first_page_can_be_asked_for_again_as_it_was(recorded):
    recorded.session()
    recorded.command("make one", 1)
    first = found(recorded, "make")
    recorded.command("make two", 2)
    again = search(recorded.db, "make", Filters(), after={"of": first.of})

    assert (titles(first), titles(again)) == (["make one"], ["make one"])


def test_a_page_of_a_long_list_goes_on_below_what_was_ranked(busy, monkeypatch):
    monkeypatch.setattr("devtrace.query.search._LONGEST_LIST", 50)

    seqs = [hit["seq"] for page in pages_of(busy, "make", 20) for hit in page.hits]

    assert sorted(seqs) == list(range(1, 604))
    assert max(seqs[:50]) > min(seqs[:50]) > max(seqs[50:])


def test_a_page_ends_when_time_is_over_and_the_next_one_goes_on(busy, monkeypatch):
    monkeypatch.setattr(search_lists, "_FEW", 0)
    monkeypatch.setattr(search_lists, "_CHUNK", 20)
    monkeypatch.setattr(search_lists, "_MOST_LOOKED", 20)
    search_index.catch_up(busy.db)

    first = search(busy.db, "make", Filters(actor="agent"), seconds=0)

    assert first.hits == []
    assert first.after is not None
    rest = search(busy.db, "make", Filters(actor="agent"), after=first.after, seconds=LONG_S)
    assert len(rest.hits) == 20


def test_nothing_is_asked_for_more_than_was_asked(busy):
    assert found(busy, "make", limit=0).hits == []
    assert len(found(busy, "make", limit=3).hits) == 3


# --- what is not indexed yet -------------------------------------------------------------------------------


def test_the_newest_events_are_found_though_nobody_has_indexed_them(recorded):
    recorded.session()
    recorded.command("make old", 1)
    search_index.catch_up(recorded.db)
    recorded.command("make new", 2)

    with closing(open_reader(recorded.workspace)) as db:
        answer = search(db, "make", Filters())

        assert (titles(answer), answer.n_left_out) == (["make new", "make old"], 0)
        assert titles(search(db, '"ake n"', Filters())) == ["make new"]
        assert search(db, "old make", Filters()).hits[0]["missing"] == []


def test_what_is_too_much_to_look_at_is_said_to_be_left_out(recorded, monkeypatch):
    monkeypatch.setattr(search_lists, "MOST_FRESH", 5)
    recorded.session()
    for number in range(12):
        recorded.command(f"make {number}", number)

    with closing(open_reader(recorded.workspace)) as db:  # nobody ever indexed it
        answer = search(db, "make", Filters())
        assert (titles(answer), answer.n_left_out) == ([f"make {n}" for n in range(11, 6, -1)], 7)
        assert [hit["title"] for hit in search(db, "make", Filters(failed=True)).hits] == []


def test_long_texts_that_nobody_indexed_are_bounded_by_their_length(recorded, monkeypatch):
    monkeypatch.setattr(search_lists, "_MOST_FRESH_CHARACTERS", 1_000)
    recorded.session()
    for number in range(4):
        recorded.note("make " + "x" * 400, number)

    answer = search(recorded.db, "make", Filters())

    assert (len(answer.hits), answer.n_left_out) == (2, 2)


def test_pages_stay_right_while_what_was_fresh_is_indexed(recorded):
    recorded.session()
    for number in range(30):
        recorded.command(f"make {number}", number)
        if number == 9:
            search_index.catch_up(recorded.db)
    first = search(recorded.db, "make", Filters(), limit=12)
    search_index.catch_up(recorded.db)
    second = search(recorded.db, "make", Filters(), limit=12, after=first.after)

    assert titles(first) + titles(second) == [f"make {number}" for number in range(29, 5, -1)]


def test_a_store_of_an_older_version_is_searched_as_far_as_it_can_be(recorded):
    recorded.session()
    recorded.command("make", 1)
    for table in ("search_docs", "search_state", "search_times"):
        recorded.db.execute(f"DROP TABLE {table}")
    recorded.db.execute("PRAGMA user_version = 5")

    with closing(open_reader(recorded.workspace)) as db:
        assert titles(search(db, "make", Filters(since_us=START))) == ["make"]


def test_an_sqlite_that_cannot_search_says_so(recorded, monkeypatch):
    monkeypatch.setattr(search_index, "is_possible", lambda _: False)

    with pytest.raises(EnvironmentError) as raised:
        search(recorded.db, "make", Filters())
    assert raised.value.code == "ERR_SEARCH"


def test_a_damaged_index_is_told_from_a_damaged_record(recorded):
    recorded.session()
    recorded.command("make", 1)
    search_index.catch_up(recorded.db)
    recorded.db.execute("DELETE FROM search_words_data WHERE id > 10")

    with pytest.raises(EnvironmentError) as raised:
        search(recorded.db, "make", Filters())
    assert (raised.value.code, raised.value.context) == ("ERR_SEARCH", {"is_damaged": True})
    assert not recorded.db.in_transaction


# --- once ------------------------------------------------------------------------------------------------


def test_a_command_whose_end_came_late_is_one_hit(recorded):
    session = recorded.session()
    event = recorded.command("make world", 1, None, id="1" * 16)
    recorded.command(
        "make world", 1, None, id=event, status="interrupted", exit_source="unknown", exit_code=None
    )
    recorded.command("make world", 1, 9, id=event)

    (hit,) = found(recorded, "world", session=session).hits

    assert (hit["id"], hit["status"], hit["marks"]) == (event, "ok", [[5, 10]])
    pages = [page.hits for page in pages_of(recorded, "world", 1)]
    assert {(hit["id"], hit["status"]) for page in pages for hit in page} == {(event, "ok")}


def test_what_hook_and_transcript_tell_is_one_hit(recorded):
    recorded.session(agent="claude-code")
    recorded.prompt("Make it work", 1)
    recorded.prompt("Make it work", 1, source="transcript")
    recorded.tool("Bash", "make work", 2, call="c1")
    recorded.tool("Bash", "make work", 2, call="c1", source="transcript")

    hits = found(recorded, "make work").hits

    assert [(hit["kind"], hit["source"]) for hit in hits] == [("tool_call", "hook"), ("prompt", "hook")]


def test_a_pruned_event_is_no_hit_nor_on_a_page_that_was_begun_before(recorded):
    recorded.session()
    recorded.command("make one", 1)
    recorded.end(2)
    session = recorded.session(3)
    recorded.command("make two", 4)
    recorded.command("make three", 5)
    first = found(recorded, "make", limit=1)
    order = Order(EVENTS, WHENEVER)
    list(retention.prune(recorded.db, recorded.workspace, order, Author("human", "cli", 0)))

    second = search(recorded.db, "make", Filters(), limit=5, after=first.after)
    assert titles(first) + titles(second) == ["make three", "make two"]
    assert {hit["session"] for hit in second.hits} == {session}


def test_every_way_of_finding_has_a_name(recorded):
    recorded.session()
    recorded.command("make world", 1)
    hows = {hit["how"] for wanted in ("world", "orl", "world xyz") for hit in found(recorded, wanted).hits}

    assert hows == set(HOW)
