"""A few digits find the one session or event that is meant; what is printed can be typed back."""

from __future__ import annotations

import pytest

from devtrace.errors import UsageError
from devtrace.query.ids import Found, resolve, resolve_session, short

ONE = "019aa6e0c1de7abc8000000000000001"
TWO = "019aa6e0c1de7abc8000000000000002"
OLD = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def store(recorded):
    recorded.session(0, id=OLD)
    recorded.command("old", 0, id="00000000000000aa")
    recorded.session(10, id=ONE)
    recorded.command("one", 10, id="1111aaaaaaaaaaaa")
    recorded.command("two", 11, id="1111bbbbbbbbbbbb")
    recorded.session(20, id=TWO)
    recorded.command("same id, other session", 20, id="1111aaaaaaaaaaaa")
    recorded.command("runs", 21, None, id="2222cccccccccccc")
    return recorded


def code_of(call) -> tuple[str, dict]:
    with pytest.raises(UsageError) as error:
        call()
    return error.value.code, error.value.context


def test_without_an_id_the_session_that_began_last(store):
    assert resolve_session(store.db, None) == TWO


def test_an_empty_store_says_how_to_begin(recorded):
    code, _ = code_of(lambda: resolve_session(recorded.db, None))

    assert code == "ERR_NO_SESSION"


@pytest.mark.parametrize("prefix", [OLD, "01234", "0123", " 0123 ", "012"])
def test_any_unique_start_finds_a_session(store, prefix):
    assert resolve_session(store.db, prefix) == OLD
    assert resolve(store.db, prefix) == Found(OLD)


def test_upper_case_is_the_same_id(store):
    assert resolve_session(store.db, ONE.upper()) == ONE


def test_an_ambiguous_start_names_the_candidates(store):
    code, context = code_of(lambda: resolve_session(store.db, "019"))

    assert code == "ERR_ID_AMBIGUOUS"
    assert context["candidates"] == [ONE, TWO]


@pytest.mark.parametrize(
    "prefix", ["", "9", "xyz", "019aa6e0_", "0123%", "'", "0" * 40, "0123456789abcdef0123456789abcdef0"]
)
def test_an_unknown_start_is_refused(store, prefix):
    assert code_of(lambda: resolve(store.db, prefix))[0] == "ERR_ID_UNKNOWN"


def test_an_event_is_found_in_any_session(store):
    assert resolve(store.db, "1111b") == Found(ONE, "1111bbbbbbbbbbbb")


def test_an_event_that_still_runs_is_found(store):
    assert resolve(store.db, "2222") == Found(TWO, "2222cccccccccccc")


def test_sessions_and_events_share_one_name_space(store):
    code, context = code_of(lambda: resolve(store.db, "0"))

    assert code == "ERR_ID_AMBIGUOUS"
    assert context["candidates"] == [OLD, ONE, TWO, f"{OLD}/00000000000000aa"]


def test_the_same_event_id_in_two_sessions_needs_its_session(store):
    code, context = code_of(lambda: resolve(store.db, "1111aaaaaaaaaaaa"))

    assert code == "ERR_ID_AMBIGUOUS"
    assert f"{ONE}/1111aaaaaaaaaaaa" in context["candidates"]
    assert resolve(store.db, f"{ONE}/1111a") == Found(ONE, "1111aaaaaaaaaaaa")
    assert resolve(store.db, "1111a", session=TWO) == Found(TWO, "1111aaaaaaaaaaaa")


def test_within_a_session_its_own_events_are_enough(store):
    assert resolve(store.db, "2", session=TWO) == Found(TWO, "2222cccccccccccc")
    assert code_of(lambda: resolve(store.db, "2", session=ONE))[0] == "ERR_ID_UNKNOWN"


def test_a_whole_id_wins_over_longer_ones(recorded):
    recorded.session(0, id="1111aaaaaaaaaaaa0000000000000000")
    recorded.command("x", 0, id="1111aaaaaaaaaaaa")

    assert resolve(recorded.db, "1111aaaaaaaaaaaa").event == "1111aaaaaaaaaaaa"


def test_short_ids_are_the_shortest_that_are_unique(store):
    ids = ["1111aaaaaaaaaaaa", "1111bbbbbbbbbbbb", "2222cccccccccccc", ONE, OLD]

    assert short(store.db, ids) == {
        "1111aaaaaaaaaaaa": "1111a",
        "1111bbbbbbbbbbbb": "1111b",
        "2222cccccccccccc": "2222",
        ONE: ONE,
        OLD: "01234567",
    }


def test_what_is_printed_short_is_found_again(recorded):
    for number in range(20):
        recorded.session(number)
        for step in range(20):
            recorded.command(f"c{step}", number)
    sessions = [row[0] for row in recorded.db.execute("SELECT id FROM sessions")]
    events = recorded.db.execute("SELECT session, id FROM events").fetchall()

    for whole, prefix in short(recorded.db, sessions).items():
        assert resolve(recorded.db, prefix) == Found(whole)
    shorts = short(recorded.db, [event for _, event in events])
    for session, event in events:
        assert resolve(recorded.db, shorts[event]) == Found(session, event)


def test_looking_up_ids_walks_an_index_never_a_table(store):
    statements = []
    store.db.set_trace_callback(statements.append)
    short(store.db, [ONE, "1111aaaaaaaaaaaa"])
    resolve(store.db, "1111b")
    store.db.set_trace_callback(None)

    for statement in statements:
        plan = store.db.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        assert [row[3] for row in plan if row[3].startswith("SCAN") and "json_each" not in row[3]] == []
