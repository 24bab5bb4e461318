"""The benchmark of searching measures what it says it measures: a tiny run, no seconds asserted."""

from __future__ import annotations

from contextlib import closing

from benchmarks import reading, search
from devtrace.query.search import search as ask
from devtrace.store import search_index
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace


def test_every_row_has_a_figure_and_a_ratio_where_there_is_a_peer():
    rows = search.measure(quick=True, events=600)

    assert [row["unit"] for row in rows[:2]] == ["events/s", "B"]
    assert {row["peer_name"] for row in rows} == {"", "without it", "a LIKE scan", "plain bm25"}
    for row in rows:
        assert row["ours"] is not None
        assert row["ours"] > 0
        assert (row["peer"] is None) == (row["peer_name"] == "") == (row["ratio"] is None)


def test_every_question_has_the_answer_that_its_name_says(tmp_path):
    workspace = Workspace(tmp_path / ".devtrace")
    reading.fill(workspace, 600)
    search.add_rare(workspace)

    with closing(open_store(workspace)) as db:
        search_index.catch_up(db)
        answers = {one.name: ask(db, one.wanted, one.filters, seconds=30) for one in search.questions(db)}

    assert [len(answers[name].hits) for name in ("a rare word", "a part of a word")] == [1, 1]
    apart = answers.pop("two common words, never together")
    assert {hit["how"] for hit in apart.hits} == {"some words"}
    assert answers.pop("two common words of nobody").hits == []
    others = {name: answer for name, answer in answers.items() if "rare" not in name and "plain" not in name}
    assert {hit["how"] for answer in others.values() for hit in answer.hits} == {"words", "substring"}
