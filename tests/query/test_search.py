"""A search finds what is recorded, says where and what is missing, and never takes what is typed for more."""

from __future__ import annotations

import random
import sqlite3

import pytest

from devtrace.errors import UsageError
from devtrace.query import search_lists
from devtrace.query.filters import Filters
from devtrace.query.search import search
from devtrace.store import search_index
from tests.query.searched import all_of, fill, found, marked, pages_of, titles
from tests.recorded import SECOND, START, Recorded
from tests.store.crowd import tell

SEED = random.SystemRandom().randrange(1 << 32)


# --- words ----------------------------------------------------------------------------------------------


def test_a_word_is_found_in_all_its_forms_and_everywhere(recorded):
    recorded.session()
    recorded.command("pytest tests/unit", 1)
    recorded.note("the testing room", 2)
    recorded.prompt("Test it again", 3)
    recorded.said("I tested all of it.", 4)
    recorded.tool("Bash", "npm test", 5)
    recorded.command("make", 6, exit_code=2, printed=b"1 test failed\n")
    recorded.command("make", 7, printed=b"1 test passed\n")

    answer = found(recorded, "test")

    assert {(hit["where"], *marked(hit)) for hit in answer.hits} == {
        ("title", "tests"), ("said", "testing"), ("said", "Test"), ("said", "tested"), ("title", "test"),
        ("output", "test"),
    }  # fmt: skip
    assert {hit["how"] for hit in answer.hits} == {"words"}
    assert (answer.after, answer.missing, answer.n_left_out, answer.is_cut) == (None, [], 0, False)


def test_a_hit_is_the_row_of_its_event_and_says_where_it_was_found(recorded):
    recorded.session()
    event = recorded.command(
        "make", 1, exit_code=2, printed=b"first line\n\x1b[1mcannot\x1b[0m find -lfoo\nlast"
    )

    (hit,) = found(recorded, "find cannot").hits

    assert (hit["id"], hit["session"], hit["kind"], hit["status"]) == (
        event, recorded.session_id, "run_command", "failed",
    )  # fmt: skip
    assert hit["data"]["exit_code"] == 2
    assert (hit["where"], hit["snippet"], marked(hit)) == ("output", "cannot find -lfoo", ["cannot", "find"])
    assert (hit["missing"], hit["how"]) == ([], "words")


def test_those_with_all_words_come_first_and_the_others_say_what_they_lack(recorded):
    recorded.session()
    recorded.command("git stash", 1)
    recorded.command("git status", 2)
    recorded.note("a note about git and the stash and much else besides, so that it is long", 3)
    recorded.command("stash --help", 4)

    answer = found(recorded, "git stash")

    assert titles(answer)[0] == "git stash"
    assert answer.hits[1]["title"].startswith("a note about git")
    assert [hit["missing"] for hit in answer.hits] == [[], [], ["git"], ["stash"]]
    assert [hit["how"] for hit in answer.hits] == ["words", "words", "some words", "some words"]


def test_a_word_that_nothing_has_is_told_once_for_all(recorded):
    recorded.session()
    recorded.command("git stash", 1)

    answer = found(recorded, "git flamingo")

    assert (titles(answer), answer.missing) == (["git stash"], ["flamingo"])
    assert answer.hits[0]["missing"] == ["flamingo"]
    nothing = found(recorded, "flamingo")
    assert (nothing.hits, nothing.after, nothing.missing) == ([], None, ["flamingo"])


def test_the_same_words_in_a_row_come_before_the_same_words_apart(recorded):
    recorded.session()
    recorded.note("in use is the address already", 1)
    recorded.command("serve", 2, exit_code=1, printed=b"OSError: address already in use\n" + b"x " * 300)
    recorded.note("already an address", 3)

    answer = found(recorded, "address already in use")

    assert titles(answer)[0] == "serve"
    assert len(answer.hits) == 3


def test_a_phrase_is_found_as_a_phrase_alone(recorded):
    recorded.session()
    recorded.note("permission was denied", 1)
    recorded.note("Permissions denied", 2)

    assert titles(found(recorded, '"permission denied"')) == ["Permissions denied"]


def test_among_equals_the_newest_is_first(recorded):
    recorded.session()
    for number in range(30):
        recorded.command("make world", number, took=None if number == 29 else 0.1)

    hits = found(recorded, "world", limit=50).hits

    assert [hit["seq"] for hit in hits] == list(range(29, 0, -1))  # what runs is not recorded yet


def test_a_command_counts_more_than_what_a_tool_was_given(recorded):
    recorded.session()
    recorded.command("deploy", 1)
    recorded.tool("Edit", {"file_path": "a.sh", "old_string": "deploy", "new_string": ""}, 2)

    assert [hit["kind"] for hit in found(recorded, "deploy").hits] == ["run_command", "tool_call"]


def test_a_common_word_counts_less_though_only_its_newest_events_are_known(recorded, monkeypatch):
    monkeypatch.setattr("devtrace.query.search._LONGEST_LIST", 5)
    recorded.session()
    for number in range(5):
        recorded.command("deploy", number)
    for number in range(50):
        recorded.command("upload", 10 + number)

    answer = found(recorded, "deploy upload", limit=10)

    assert titles(answer) == ["deploy"] * 5 + ["upload"] * 5
    assert answer.is_cut


def test_what_a_word_may_stand_for_is_found_behind_the_word_itself(recorded):
    recorded.session()
    recorded.command("pytest -q", 1)
    recorded.note("remove the old unit test cases", 2)

    assert titles(found(recorded, "remove test")) == ["remove the old unit test cases", "pytest -q"]
    (hit,) = found(recorded, "vitest").hits[:1]
    assert (hit["missing"], hit["how"]) == (["vitest"], "some words")
    assert hit["marks"]


# --- parts ----------------------------------------------------------------------------------------------


@pytest.fixture
def code(recorded):
    recorded.session()
    recorded.command("git commit --no-verify -m wip", 1)
    recorded.command("python src/shop/api.py --verify no", 2)
    recorded.tool(
        "Edit", {"file_path": "/home/ana/src/shop/api.py", "old_string": "foo_bar(x)", "new_string": ""}, 3
    )
    recorded.command("cc a.c", 4, exit_code=1, printed=b"a.c:3: undefined reference to `fooBar'\n")
    return recorded


@pytest.mark.parametrize(
    ("wanted", "where", "mark", "number"),
    [
        ("--no-verify", "title", "--no-verify", 1),
        ("SHOP/api.py", "title", "shop/api.py", 2),
        ("foo_bar(", "input", "foo_bar(", 1),
        ("a.c:3", "output", "a.c:3", 1),
        ("oba", "output", "oBa", 1),
        ("`fooBar'", "output", "fooBar", 1),
        ('"--verify no"', "title", "--verify no", 1),
    ],
    ids=["flag", "path", "call", "place", "part-of-word", "quoted", "blanks"],
)
def test_what_has_punctuation_inside_is_found_as_it_is_written(code, wanted, where, mark, number):
    answer = found(code, wanted)

    assert len(answer.hits) == number
    assert (answer.hits[0]["where"], marked(answer.hits[0])) == (where, [mark])


def test_a_part_of_a_word_says_that_it_is_one(code):
    assert [hit["how"] for hit in found(code, "ommi").hits] == ["substring"]
    assert [hit["how"] for hit in found(code, "commit").hits] == ["words"]


def test_parts_and_words_are_asked_for_together(code):
    answer = found(code, "commit --no-verify")

    assert titles(answer) == ["git commit --no-verify -m wip"]
    assert (answer.hits[0]["how"], marked(answer.hits[0])) == ("substring", ["commit", "--no-verify"])
    some = found(code, "python --no-verify")
    assert [hit["missing"] for hit in some.hits[:2]] == [["--no-verify"], ["python"]]


def test_threes_that_are_all_there_are_no_match_yet(recorded):
    recorded.session()
    recorded.note("ab/cx y/cd", 1)
    recorded.note("ab/cde", 2)
    recorded.note("ab/cx y/cd", 3, session=recorded.session(3))

    assert titles(found(recorded, "b/cd")) == ["ab/cde"]
    assert found(recorded, "b/cd", session=recorded.session_id).hits == []


def test_what_two_terms_have_in_common_is_marked_once(code):
    (hit,) = found(code, "foo foo_bar").hits
    assert marked(hit) == ["foo_bar"]


def test_a_part_that_nothing_has_is_found_by_its_words(recorded):
    recorded.session()
    recorded.note("the rate limit was reached", 1)

    (hit,) = found(recorded, "rate-limit").hits
    assert (marked(hit), hit["how"]) == (["rate limit"], "words")


def test_a_letter_that_is_no_ascii_is_found_in_either_case(recorded):
    recorded.session()
    recorded.note("\u00c4RGER mit \u00d6L.txt", 1)
    recorded.note("\u65e5\u672c\u8a9e\u306e\u30e1\u30e2", 2)

    assert marked(found(recorded, "\u00e4rger").hits[0]) == ["\u00c4RGER"]
    assert marked(found(recorded, "\u00f6l.txt").hits[0]) == ["\u00d6L.txt"]
    assert marked(found(recorded, "\u8a9e\u306e\u30e1").hits[0]) == ["\u8a9e\u306e\u30e1"]


# --- what is typed ---------------------------------------------------------------------------------------

ODD = [
    '"', '""', "'", "*", "a*", "NEAR", "NEAR(", "AND", "OR", "NOT", "-", "--", ":", "title:", "^", "^a", "{",
    "}", "(", ")", "\\", "\0", "%", "_", "\U0001f600", "\u202e", "\ud800", "e\u0301", "\u0130", "\u00df",
    "\n", "\t", "a", "make", "git", "-n", "x" * 300, "\x1b[31m", "\u65e5\u672c", "+", "rowid", "search_words",
    "' OR 1=1 --",
]  # fmt: skip


def test_nothing_that_is_typed_is_a_command_or_an_error_of_sqlite(recorded):
    tell(f"seed {SEED}")
    chance = random.Random(SEED)
    recorded.session()
    recorded.command('make "it" work*', 1)
    recorded.note("NEAR AND title:x ^ {a} \U0001f600", 2)
    search_index.catch_up(recorded.db)
    refused = []
    for _ in range(700):
        text = chance.choice(("", " ")).join(chance.choice(ODD) for _ in range(chance.randrange(1, 9)))
        try:
            search(recorded.db, text, Filters(), limit=3)
        except UsageError as error:
            refused.append(error.code)
    assert set(refused) == {"ERR_SEARCH"}
    assert len(refused) < 700


@pytest.mark.parametrize("text", ["x" * 10_000, "x y " * 2_500, '"' * 10_000, "\0" * 10_000], ids=range(4))
def test_ten_thousand_characters_are_refused(recorded, text):
    with pytest.raises(UsageError) as raised:
        search(recorded.db, text, Filters())
    assert raised.value.code == "ERR_SEARCH"


def test_what_is_in_the_record_cannot_forge_a_mark(recorded):
    recorded.session()
    recorded.note("\x02forged\x03 make \x02\x02", 1)

    (hit,) = found(recorded, "make").hits
    assert marked(hit) == ["make"]


# --- filters ---------------------------------------------------------------------------------------------


@pytest.fixture
def busy(recorded: Recorded) -> Recorded:
    return fill(recorded)


def test_every_filter_narrows(busy):
    first, second = (session for (session,) in busy.db.execute("SELECT id FROM sessions ORDER BY started_us"))

    assert len(all_of(busy, "make")) == 500
    assert {hit["session"] for hit in all_of(busy, "make", session=first)} == {first}
    assert len(all_of(busy, "make", session=second)) == 302
    assert len(all_of(busy, "make", agent="codex")) == 301
    assert len(all_of(busy, "make", failed=True)) == 12
    assert len(all_of(busy, "make", kinds=("note",))) == 2
    assert len(all_of(busy, "make", kinds=("note",), session=first)) == 1
    assert len(all_of(busy, "make", actor="agent")) == 300
    assert len(all_of(busy, "make", path="/srv/deep")) == 1
    assert len(all_of(busy, "make", since_us=START + 10_290 * SECOND)) == 12
    assert len(all_of(busy, "make", until_us=START + 9 * SECOND)) == 10
    assert len(all_of(busy, "make", since_us=START + 5 * SECOND, until_us=START + 9 * SECOND)) == 5
    assert len(all_of(busy, "make", failed=True, until_us=START + 9 * SECOND, agent="codex")) == 1
    assert all_of(busy, "make", failed=True, kinds=("note",)) == []
    assert found(busy, "make flamingo", kinds=("note",)).missing == ["flamingo"]


@pytest.mark.parametrize("few", [0, 3, 2_000])
def test_whatever_way_is_taken_the_same_is_found(busy, few, monkeypatch):
    """The index of a filter or the list of a word first; at once or step by step."""
    tell(f"seed {SEED}")
    chance = random.Random(SEED)
    monkeypatch.setattr(search_lists, "_FEW", few)
    monkeypatch.setattr(search_lists, "_CHUNK", chance.choice((3, 50)))
    monkeypatch.setattr(search_lists, "_MOST_LOOKED", chance.choice((5, 100)))
    monkeypatch.setattr(search_lists, "_A_SEEK", chance.choice((0, 1, 2_000)))
    monkeypatch.setattr(search_lists, "_WINDOW", chance.choice((7, 100)))
    for name in ("_LONGEST_LIST", "_LONGEST_READ"):
        monkeypatch.setattr(f"devtrace.query.search.{name}", chance.choice((2, 20, 300)))
    sessions = [session for (session,) in busy.db.execute("SELECT id FROM sessions")]
    for _ in range(12):
        since = START + chance.randrange(-5, 10_400) * SECOND
        asked = {
            "failed": chance.random() < 0.5,
            "session": chance.choice((None, *sessions)),
            "kinds": chance.choice(((), ("run_command",), ("note", "run_command"))),
            "agent": chance.choice((None, "codex", "manual", "nobody")),
            "since_us": chance.choice((None, since)),
            "until_us": chance.choice((None, since + chance.randrange(300) * SECOND)),
        }
        wanted = chance.choice(("make", "make world", "ake", "make wor", "world mak"))
        pages = list(pages_of(busy, wanted, chance.randrange(1, 60), **asked))
        seqs = [hit["seq"] for page in pages for hit in page.hits if not hit["missing"]]
        assert len(seqs) == len(set(seqs))
        assert sorted(seqs) == scanned(busy.db, wanted, Filters(**asked))


def test_events_that_two_filters_leave_together_are_all_found(busy, monkeypatch):
    monkeypatch.setattr(search_lists, "_CHUNK", 10)
    monkeypatch.setattr(search_lists, "_MOST_LOOKED", 10)

    assert len(all_of(busy, "make", session=busy.session_id, failed=True)) == 6
    assert len(all_of(busy, "make world", session=busy.session_id, failed=True)) == 6


def scanned(db: sqlite3.Connection, wanted: str, filters: Filters) -> list[int]:
    """The same by looking at every event."""
    from devtrace.query.events import each_event

    words = wanted.split()
    rows = (row for row in each_event(db, filters) if all(word in row["title"] for word in words))
    return [row["seq"] for row in rows]
