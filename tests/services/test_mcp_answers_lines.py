"""What a model is told of lines: who wrote one, why it is there, how much of a change is explained."""

from __future__ import annotations

import pytest

from tests.edits import Recorded as Edited
from tests.mcp_serve.asking import Model, between


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A repository in which an agent has changed a line, told by its hook."""
    monkeypatch.chdir(tmp_path)
    made = Edited(tmp_path, agent="claude-code")
    made.write("a.txt", "one\ntwo\nthree\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "first")
    made.begin()
    client = made.client()
    made.prompt("shout the second line", turn="t")
    made.said("It has to be louder.", turn="t")
    given = {"file_path": str(tmp_path / "a.txt"), "old_string": "two", "new_string": "TWO"}
    with made.calling("Edit", given, call="a", turn="t", parent=client.id):
        made.write("a.txt", "one\nTWO\nthree\n")
        made.changed(client)
    return made


@pytest.fixture
def model():
    made = Model()
    yield made
    made.close()


# --- who ----------------------------------------------------------------------------------------------------


def test_who_wrote_a_line_is_told_with_the_reason(edited, model):
    reply = model.ask("blame_line", path="a.txt", line=2)

    (row,) = reply.structured["lines"]
    assert (row["line"], row["text"], row["status"]) == (2, "TWO", "recorded")
    assert (row["actor"], row["tool"]) == ("agent:claude-code", "Edit")
    assert row["reason"] == "It has to be louder."
    ours, lines = between(reply.text)
    assert ours == ["1 line of 3, with who wrote them."]
    assert lines[-1] == "  stated reason: It has to be louder."


def test_lines_that_follow_each_other_are_told_at_once(edited, model):
    rows = model.ask("blame_line", path="a.txt", line=1, end_line=39).structured["lines"]

    assert [(row["line"], row["status"]) for row in rows] == [(1, "before"), (2, "recorded"), (3, "before")]


def test_a_file_is_told_as_it_was_in_a_commit(edited, model):
    (row,) = model.ask("blame_line", path="a.txt", line=2, at="HEAD").structured["lines"]

    assert (row["text"], row["status"]) == ("two", "before")


@pytest.mark.parametrize("path", ["a.txt", "./a.txt", "src/../a.txt"])
def test_a_path_is_seen_from_the_root_of_the_repository(edited, model, path, monkeypatch):
    (edited.root / "src").mkdir()
    monkeypatch.chdir(edited.root / "src")

    assert model.ask("blame_line", path=path, line=2).structured["lines"][0]["text"] == "TWO"


def test_a_path_may_be_absolute_if_it_lies_in_the_repository(edited, model):
    path = str(edited.root / "a.txt")

    assert model.ask("blame_line", path=path, line=2).structured["lines"][0]["path"] == "a.txt"


# --- why ----------------------------------------------------------------------------------------------------


def test_the_story_of_a_line_leads_from_it_to_the_prompt(edited, model):
    reply = model.ask("why", path="a.txt", line=2)

    told = reply.structured
    assert told["line"]["text"] == "TWO"
    assert told["edit"]["kind"] == "edit_files"
    (call,) = told["calls"]
    assert (call["tool"], call["prompts"], call["reason"]) == (
        "Edit", ["shout the second line"], "It has to be louder.",
    )  # fmt: skip
    assert told["session"]["id"] == edited.session
    assert told["replaced"]["text"] == "two"
    _, lines = between(reply.text)
    assert any("shout the second line" in line for line in lines)


def test_a_line_that_was_always_there_has_a_short_story(edited, model):
    told = model.ask("why", path="a.txt", line=1).structured

    assert told["line"]["status"] == "before"
    assert "edit" not in told


# --- how much -----------------------------------------------------------------------------------------------


def test_a_range_of_commits_is_audited(edited, model):
    edited.git("commit", "-qam", "louder")

    reply = model.ask("audit", range="HEAD~1..HEAD")

    told = reply.structured
    assert (told["total"], told["explained"], told["percent"]) == (1, 1, 100)
    assert told["lines"]["observed"] == 1
    assert told["unexplained"] == []
    assert reply.text.startswith("100 % of 1 new line explained; ")


def test_what_nothing_explains_is_named_by_its_lines(edited, model):
    edited.write("b.txt", "x\ny\n")
    edited.git("add", "-A")
    edited.git("commit", "-qm", "unseen")

    told = model.ask("audit", range="HEAD~1..HEAD").structured

    places = [(row["path"], row["start"], row["end"]) for row in told["unexplained"]]
    assert ("b.txt", 1, 2) in places


def test_a_session_is_audited(edited, model):
    told = model.ask("audit", session=edited.session[:12]).structured

    assert (told["session"], told["total"], told["explained"]) == (edited.session, 1, 1)


def test_findings_come_page_by_page_and_the_overview_once(edited, model):
    for number in range(7):
        edited.write(f"tests/test_{number}.py", "def test_it():\n    assert total() == 3\n")
    edited.git("add", "-A")
    edited.git("commit", "-qm", "tests")
    edited.git("rm", "-rq", "tests")
    edited.git("commit", "-qm", "no tests")
    first = model.ask("audit", range="HEAD~1..HEAD", limit=3)

    rows = model.rows("audit", "findings", range="HEAD~1..HEAD", limit=3)
    second = model.ask("audit", range="HEAD~1..HEAD", limit=3, cursor=first.structured["next_cursor"])

    assert [row["kind"] for row in rows].count("test_deleted") == 7
    assert len(rows) == first.structured["total_findings"]
    assert len(between(first.text)[1]) > 3
    assert len(between(second.text)[1]) == 3


def test_a_cursor_of_an_audit_is_refused_when_the_range_means_something_else_by_then(edited, model):
    for name in ("one", "two"):
        edited.write(f"tests/test_{name}.py", "def test_it():\n    assert total() == 3\n")
    edited.git("add", "-A")
    edited.git("commit", "-qm", "tests")
    edited.git("rm", "-rq", "tests")
    edited.git("commit", "-qm", "no tests")
    cursor = model.ask("audit", range="HEAD", limit=1).structured["next_cursor"]
    edited.git("commit", "-q", "--allow-empty", "-m", "more")

    assert model.refused("audit", range="HEAD", limit=1, cursor=cursor) == "ERR_CURSOR"
