"""The whole story of one line, and the newest lines with a text."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from devtrace.errors import UsageError
from devtrace.events import Event, GitCommit
from devtrace.ids import new_span_id
from devtrace.query.why import search, story
from devtrace.services.edits.attribution import Verdict
from tests.edits import Recorded
from tests.query.blamed import asked, begun, by, edit, emit


@pytest.fixture
def place(tmp_path: Path) -> Recorded:
    return begun(tmp_path / "repo")


def told_story(place: Recorded, number: int, name: str = "a.txt") -> dict[str, Any]:
    with asked(place) as blame:
        return story(blame, blame.on_disk(place.root / name), number)


def test_a_story_has_the_edit_the_commands_the_session_and_what_was_replaced(place):
    edit(place, "one\nTWO\nthree\n", "first")
    outer = place.command("make")
    place.write("a.txt", "one\ntwo!\nthree\n")
    place.command("sed", parent=outer.id)

    told = told_story(place, 2)

    assert [row["title"] for row in told["commands"]] == ["$ sed", "$ make"]
    assert told["edit"]["id"] == told["event"]
    assert "changes" not in told["edit"]["data"]
    assert told["of_session"]["id"] == place.session
    assert (told["replaced"]["text"], told["replaced"]["command"]) == ("TWO", "first")
    assert told["suspects"] == []
    assert told["commit"] is None


def test_a_line_of_before_the_recording_has_no_story(place):
    told = told_story(place, 1)

    assert (told["status"], told["edit"], told["of_session"], told["commit"], told["replaced"]) == (
        "before",
        *(None,) * 4,
    )
    assert told["commands"] == []
    with pytest.raises(UsageError, match="there is no line 9: the file has 3"):
        told_story(place, 9)


def test_the_most_alike_of_many_replaced_lines_is_told(place):
    edit(place, "alpha = 1\nbeta = 2\ngamma = 3\n", "first")
    edit(place, "gamma = 4\n", "second")

    assert told_story(place, 1)["replaced"]["text"] == "gamma = 3"


def test_the_commit_that_took_a_line_in_is_told(place):
    edit(place, "one\n2\nthree\n", "edit")
    old = place.git("rev-parse", "HEAD")
    place.git("commit", "-qam", "second")
    now_us = time.time_ns() // 1000
    body = GitCommit(
        old=old, new=place.git("rev-parse", "HEAD"), how="commit", subject="second", root=str(place.root)
    )
    emit(
        place,
        Event(
            session=place.session, id=new_span_id(), actor="human", started_us=now_us, ended_us=now_us,
            status="ok", source="worktree", trusted=2, body=body,
        ),
    )  # fmt: skip

    assert told_story(place, 2)["commit"]["data"]["subject"] == "second"
    assert told_story(place, 1)["commit"] is None


def test_the_suspects_of_an_ambiguous_line_are_told(place):
    one, two = place.command("one"), place.command("two")
    place.write("a.txt", "who\n")
    by(place, Verdict("ambiguous", "none", None, tuple(f"{place.session}/{each.id}" for each in (one, two))))

    told = told_story(place, 1)

    assert [row["title"] for row in told["suspects"]] == ["$ one", "$ two"]
    assert told["commands"] == []


def test_the_newest_lines_with_a_text_are_found_be_they_gone_or_not(place):
    edit(place, "one\nwanted 1\n", "first")
    edit(place, "one\n", "cut")
    edit(place, "wanted 2\nwanted 3\n", "second", "b.txt")
    (place.root / "b.txt").rename(place.root / "c.txt")
    place.command("mv")

    with asked(place) as blame:
        everywhere = search(blame, "wanted", None)
        here = search(blame, "wanted", place.root / "c.txt")
        one = search(blame, "wanted", None, most=1)

    assert [(row["path"], row["line"], row["text"], row["command"]) for row in everywhere] == [
        ("b.txt", 1, "wanted 2", "second"),
        ("b.txt", 2, "wanted 3", "second"),
        ("a.txt", 2, "wanted 1", "first"),
    ]
    assert here == everywhere[:2]
    assert one == everywhere[:1]


# --- what an agent was told -----------------------------------------------------------------------------


@pytest.fixture
def agents(tmp_path: Path) -> Recorded:
    """An agent told to do something, and it edits line 2 of `a.txt` and, without a word, line 3."""
    made = begun(tmp_path / "repo", agent="claude-code")
    client = made.client()
    made.prompt("Write it as a number.\nAnd be quick.", turn="t")
    made.said("I edit the file.", turn="t")
    given = {"file_path": str(made.root / "a.txt"), "new_string": "2"}
    with made.calling("Edit", given, call="a", turn="t", parent=client.id):
        made.write("a.txt", "one\n2\nthree\n")
        made.changed(client)
    with made.calling("Bash", "sed -i s/three/3/ a.txt", call="b", turn="t", parent=client.id):
        made.write("a.txt", "one\n2\n3\n")
        made.command("sed -i s/three/3/ a.txt", parent=client.id)
    return made


def test_the_story_of_an_agents_line_has_the_call_the_prompt_and_the_reason(agents):
    told = told_story(agents, 2)

    (call,) = told["calls"]
    assert (call["tool"], call["call"]) == ("Edit", "a")
    assert [prompt["text"] for prompt in call["prompts"]] == ["Write it as a number.\nAnd be quick."]
    assert call["reason"]["text"] == "I edit the file."
    assert (told["call"], told["tool"], told["reason"]) == (call["event"], "Edit", "I edit the file.")
    assert told["prompt"] == f"{agents.session}/{call['prompts'][0]['event']}"
    assert told["command"] == f"Edit: {agents.root / 'a.txt'}"
    assert [row["title"] for row in told["commands"]] == ["$ claude"]


def test_what_was_done_without_a_word_has_no_reason(agents):
    told = told_story(agents, 3)

    assert (told["tool"], told["reason"], told["command"]) == ("Bash", None, "sed -i s/three/3/ a.txt")
    assert told["calls"][0]["reason"] is None
    assert told["prompt"] is not None


def test_a_line_of_before_the_recording_has_no_call(agents):
    told = told_story(agents, 1)

    assert (told["calls"], told["call"], told["tool"], told["prompt"], told["reason"]) == ([], *(None,) * 4)
