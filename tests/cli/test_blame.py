"""`devtrace blame` and `devtrace why`, as typed."""

from __future__ import annotations

import pytest

from devtrace.views.jsonl import FIELDS
from tests.edits import Recorded


@pytest.fixture
def repo(tmp_path):
    return tmp_path / "repo"


@pytest.fixture
def place(repo):
    """One commit, then an edit in line 2 and a file in a folder."""
    made = Recorded(repo, agent="codex")
    made.write("a.txt", "one\ntwo\nthree\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "first")
    made.begin()
    made.write("a.txt", "one\n2\nthree\n")
    made.command("sed -i s/two/2/ a.txt")
    made.write("in/b.txt", "wanted\n")
    made.command("write b")
    return made


def test_blame_tells_who_wrote_each_line(run, place):
    told = run("blame", "a.txt")

    assert (told.status, told.err) == (0, "")
    one, two, three = told.out.splitlines()
    assert "before recording" in one
    assert "before recording" in three
    assert two.split()[0] in place.rows()[0]["id"]
    assert "  codex  " in two
    assert two.endswith("  sed -i s/two/2/ a.txt  2  2")


def test_paths_are_relative_to_where_one_is(run, place, repo):
    assert "write b" in run("blame", "b.txt", cwd=repo / "in").out
    assert "write b" in run("blame", str(repo / "in" / "b.txt"), cwd=repo / "in").out
    assert "sed -i" in run("blame", "../a.txt", cwd=repo / "in").out


def test_blame_of_some_lines_at_some_time(run, place):
    (row,) = run("blame", "a.txt", "-L", "2,+1", "--json").records
    (old,) = run("blame", "a.txt", "-L", "2,2", "--at", "HEAD", "--json").records
    (place.root / "a.txt").unlink()
    gone = run("blame", "a.txt", "--at", row["event"], "--json").records

    assert (row["text"], row["command"], row["status"]) == ("2", "sed -i s/two/2/ a.txt", "recorded")
    assert (old["text"], old["status"]) == ("two", "before")
    assert gone[1] == row


def test_the_records_have_the_fields_that_are_documented(run, place):
    (row,) = run("blame", "a.txt", "-L", "2,2", "--json").records
    (found,) = run("why", "--text", "wanted", "--json").records
    (story,) = run("why", "a.txt:2", "--json").records

    assert list(row) == list(found) == list(FIELDS["line"][1])
    assert list(story) == list(FIELDS["why"][1])


def test_why_tells_the_story_of_a_line(run, place):
    told = run("why", "a.txt:2")

    assert (told.status, told.err) == (0, "")
    labels = [line.split()[0] for line in told.out.splitlines() if not line.startswith(" ")]
    assert labels == ["line", "written", "edit", "command", "session", "replaced"]
    assert told.out.endswith(
        "replaced    two\n            before recording: it was there before recording began\n"
    )


def test_why_finds_a_text(run, place):
    told = run("why", "--text", "wanted")
    none = run("why", "--text", "wanted", "a.txt")

    assert told.out.endswith("  write b  in/b.txt:1  wanted\n")
    assert (none.status, none.out) == (0, "")
    assert none.err.startswith("No recorded line ")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("blame", "none.txt"), "ERR_NO_BLAME"),
        (("blame", "in"), "ERR_NO_BLAME"),
        (("blame", "../x"), "ERR_NO_BLAME"),
        (("blame", "a.txt", "-L", "9"), "ERR_USAGE"),
        (("blame", "a.txt", "--at", "zz"), "ERR_ID_UNKNOWN"),
        (("why", "a.txt"), "ERR_USAGE"),
        (("why", "a.txt:0"), "ERR_USAGE"),
        (("why",), "ERR_USAGE"),
        (("why", "--text", ""), "ERR_USAGE"),
    ],
)
def test_a_question_that_cannot_be_answered_is_status_2(run, place, words, code):
    told = run(*words)

    assert (told.status, told.out) == (2, "")
    assert f"[{code}]" in told.err


def test_without_a_checkpoint_there_is_nothing_to_tell(run, recorded):
    told = run("blame", "a.txt")

    assert told.status == 1
    assert "[ERR_NO_CHECKPOINT]" in told.err


@pytest.fixture
def recorded(repo):
    from tests.recorded import Recorded as Store

    repo.mkdir()
    made = Store(repo)
    made.session()
    yield made
    made.close()
