"""`devtrace search`: what is recorded of some words, from the first time on."""

from __future__ import annotations

import json

import pytest

from devtrace.store import search_index
from devtrace.store.hold import hold
from devtrace.views.jsonl import FIELDS
from tests.processes import CAN_OBEY, obey_permissions


@pytest.fixture
def live(recorded):
    """A session whose host lives, so that nobody closes it."""
    recorded.session(agent="codex")
    held = hold(recorded.workspace, recorded.session_id)
    recorded.command("git stash", 1)
    recorded.command("make world", 2, exit_code=2, printed=b"first\ncannot find -lfoo\nlast\n")
    recorded.note("stash it away\nand remember where", 3)
    yield recorded
    held.close()


def test_what_was_recorded_is_found_the_first_time_one_searches(run, live):
    told = run("search", "stash")

    lines = told.out.splitlines()
    assert (told.status, told.err, len(lines)) == (0, "", 2)
    assert [line.split()[2] for line in lines] == ["codex", "codex"]
    assert "$ git stash" in told.out
    assert "stash it away" in told.out
    event = lines[0].split()[-1]
    assert run("show", event).status == 0
    assert search_index.state_of(live.db).high == 3


def test_where_it_was_found_is_shown_below_what_does_not_show_it(run, live):
    out = run("search", "cannot find").out.splitlines()
    assert "make world" in out[0]
    assert "\u2717 2" in out[0]
    assert out[1] == "    output: cannot find -lfoo"

    (first, second) = run("search", "remember").out.splitlines()
    assert first.count("remember") == 0
    assert second == "    said: and remember where"


def test_words_that_are_missing_are_said(run, live):
    told = run("search", "git", "world")

    assert "No event has all of it; these have some." in told.err
    assert sorted(line.strip() for line in told.out.splitlines() if "without" in line) == [
        "without git", "without world",
    ]  # fmt: skip
    told = run("search", "git", "stash")
    assert "1 event has all of it; those behind have some." in told.err
    told = run("search", "git flamingo")
    assert "Nothing that was searched has: flamingo" in told.err
    assert "without" not in told.out


def test_what_is_not_there_is_said_and_is_no_failure(run, live):
    told = run("search", "flamingo")

    assert (told.status, told.out) == (0, "")
    assert "Nothing was found." in told.err


def test_what_cannot_be_searched_for_is_an_error(run, live):
    for words in (["|"], [""], ["x" * 5_000]):
        told = run("search", *words)
        assert (told.status, told.out) == (2, "")
        assert "[ERR_SEARCH]" in told.err


def test_one_word_of_several_that_has_blanks_was_quoted_in_the_shell(run, live):
    live.note("it was away, the stash", 4)

    assert len(run("search", "stash it away", "--json").records) == 3
    assert [hit["title"] for hit in run("search", "stash it", "away", "--json").records[:1]] == [
        "stash it away\nand remember where"
    ]
    assert run("search", "--", "stash it", "--flag").status == 0


def test_a_flag_is_text_behind_two_dashes(run, live):
    live.command("git commit --no-verify", 4)

    assert run("search", "--no-verify").status == 2
    (line,) = run("search", "--", "--no-verify").out.splitlines()
    assert "git commit --no-verify" in line


def test_for_machines_a_hit_has_its_documented_fields(run, live):
    told = run("search", "find", "--json")

    (hit,) = told.records
    assert set(hit) == set(FIELDS["found"][1])
    assert (hit["record"], hit["where"], hit["snippet"], hit["marks"]) == (
        "found", "output", "cannot find -lfoo", [[7, 11]],
    )  # fmt: skip
    assert (hit["missing"], hit["how"], hit["kind"]) == ([], "words", "run_command")
    assert json.loads(told.out.encode("ascii"))


def test_filters_and_a_limit_narrow(run, live):
    codex = live.session_id
    live.session(20, agent="manual", took=10)
    live.command("git stash list", 21, exit_code=1)

    def found(*words: str) -> list[str]:
        return [hit["title"] for hit in run("search", "stash", "--json", *words).records]

    assert len(found()) == 3
    assert found("--agent", "manual") == found("--failed") == ["$ git stash list"]
    assert found("--session", codex[:13], "--kind", "run_command") == ["$ git stash"]
    assert len(found("--limit", "1")) == 1
    assert found("--kind", "note") == ["stash it away\nand remember where"]
    assert found("--until", "2026-11-21T14:03:13Z") == ["$ git stash"]
    assert run("search", "x", "--kind", "nonsense").status == 2
    assert run("search", "x", "--session", "ffff").status == 2


def test_more_than_a_page_of_hits_is_found_if_that_is_asked_for(run, live):
    for number in range(700):
        live.command(f"make part-{number}", 10 + number / 10)

    assert len(run("search", "make", "--limit", "650", "--json").records) == 650


@pytest.mark.skipif(not CAN_OBEY, reason="because permissions do not hold for root here")
def test_a_store_that_cannot_be_written_is_searched_all_the_same(run, live):
    search_index.catch_up(live.db)
    live.command("git stash pop", 4)
    live.close()
    place = live.workspace
    try:
        place.database.chmod(0o400)
        place.dir.chmod(0o500)
        told = run("search", "stash", "--json", preexec_fn=obey_permissions)
    finally:
        place.dir.chmod(0o700)
        place.database.chmod(0o600)

    assert told.status == 0
    assert len(told.records) == 3
    assert "ERR_STORE_READONLY" in told.err


@pytest.mark.skipif(not CAN_OBEY, reason="because permissions do not hold for root here")
def test_what_could_not_be_searched_is_said(run, live):
    for number in range(500):
        live.command(f"make part-{number}", 10 + number / 10)
    live.close()
    place = live.workspace
    try:
        place.dir.chmod(0o500)
        place.database.chmod(0o400)
        told = run("search", "stash", preexec_fn=obey_permissions)
    finally:
        place.dir.chmod(0o700)
        place.database.chmod(0o600)

    assert "about 103 events were not searched." in told.err
    assert "Search again" not in told.err


def test_a_damaged_index_is_made_anew_unasked(run, live):
    search_index.catch_up(live.db)
    live.db.execute("DELETE FROM search_words_data WHERE id > 10")

    told = run("search", "stash")

    assert (told.status, len(told.out.splitlines())) == (0, 2)


def test_what_was_recorded_cannot_act_on_the_terminal(run, live):
    live.command("printf '\x1b]0;evil\x07' \u202egnp.exe", 4, exit_code=1, printed=b"evil \xe2\x80\xaegnp\n")

    for words in (["evil"], ["printf"], ["gnp.exe"]):
        out = run("search", *words).out
        assert out
        assert not {"\x1b", "\x07", "\u202e"} & set(out)
