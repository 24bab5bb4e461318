"""How much of a change is explained, whatever git did to it since."""

from __future__ import annotations

import base64
import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.errors import UsageError
from devtrace.query.blame import Blame
from devtrace.query.coverage import CLASSES, SPAN, Coverage
from devtrace.query.gitrange import chosen
from devtrace.services.edits.attribution import Verdict
from devtrace.store.connection import open_store
from tests import told
from tests.edits import Recorded
from tests.query.blamed import by, emit

FIRST = "one\ntwo\nthree\n"


@pytest.fixture
def place(tmp_path: Path) -> Recorded:
    """One commit on `main`, then an agent works in a session, in a branch."""
    made = Recorded(tmp_path / "repo", agent="claude-code")
    made.git("checkout", "-q", "-b", "main")
    made.write("a.txt", FIRST)
    commit(made, "first")
    made.git("checkout", "-q", "-b", "work")
    made.begin()
    return made


def commit(place: Recorded, message: str) -> str:
    place.git("add", "-A")
    place.git("commit", "-qm", message)
    return place.git("rev-parse", "HEAD")


def covered(place: Recorded, text: str | None = None) -> dict[str, Any]:
    with closing(open_store(place.workspace)) as db:
        return Coverage(Blame(db, place.workspace)).of_range(chosen(place.root, text)).told


def lines(place: Recorded, text: str | None = None) -> dict[str, int]:
    return {name: number for name, number in covered(place, text)["lines"].items() if number}


def spans(place: Recorded, text: str | None = None) -> list[tuple[str, str]]:
    """Each run as `a.txt:1-2` with its class and why."""
    return [
        (f"{span['path']}:{span['start']}-{span['end']}", f"{span['class']} {span['why']}")
        for file in covered(place, text)["files"]
        for span in file["spans"]
    ]


def work(place: Recorded) -> None:
    """Of five new lines an edit tool makes two, a shell command one, the client by itself one, nobody one."""
    client = place.client()
    given = {"file_path": str(place.root / "a.txt"), "new_string": "TOOL 1\nTOOL 2"}
    with place.calling("Edit", given, call="a", parent=client.id):
        place.write("a.txt", FIRST + "TOOL 1\nTOOL 2\n")
        place.changed(client)
    place.write("a.txt", FIRST + "TOOL 1\nTOOL 2\nSHELL\n")
    place.command("echo SHELL >> a.txt", parent=client.id)
    place.write("a.txt", FIRST + "TOOL 1\nTOOL 2\nSHELL\nCLIENT\n")
    place.changed(client)
    place.write("a.txt", FIRST + "TOOL 1\nTOOL 2\nSHELL\nCLIENT\nNOBODY\n")
    by(place, Verdict("outside", "none"))


EXPECTED = {"observed": 3, "checkpoint": 1, "unexplained": 1}


def test_each_line_has_the_class_of_who_made_it(place):
    work(place)
    commit(place, "second")

    assert spans(place) == [
        ("a.txt:4-5", "observed tool"),
        ("a.txt:6-6", "observed command"),
        ("a.txt:7-7", "checkpoint client"),
        ("a.txt:8-8", "unexplained outside"),
    ]


def test_the_sums_are_of_the_new_lines(place):
    work(place)
    place.write("a.txt", (place.root / "a.txt").read_text().replace("two\n", ""))
    place.command("sed", parent=None)
    head = commit(place, "second")

    row = covered(place)

    assert list(row["lines"]) == list(CLASSES)
    assert (row["total"], row["explained"], row["percent"], row["deleted"]) == (5, 4, 80.0, 1)
    assert (row["range"], row["head"], row["session"]) == ("main..HEAD", head, None)
    assert row["sessions"] == [place.session]
    assert [list(span) for file in row["files"] for span in file["spans"]] == [list(SPAN)] * 4


def test_a_tool_call_is_named_with_its_prompt_and_its_reason(place):
    place.prompt("do it", turn="t")
    place.said("I write it.", turn="t")
    client = place.client()
    with place.calling("Write", {"file_path": "b.txt"}, call="a", turn="t", parent=client.id):
        place.write("b.txt", "new\n")
        place.changed(client)
    commit(place, "second")

    ((span,),) = (file["spans"] for file in covered(place)["files"])

    assert span["reason"] == "I write it."
    assert span["call"].startswith(f"{place.session}/")
    assert span["prompt"].startswith(f"{place.session}/")
    assert span["actor"] == "agent:claude-code"


# --- whatever git did -----------------------------------------------------------------------------------


def amended(place: Recorded) -> None:
    work(place)
    commit(place, "second")
    place.git("commit", "-q", "--amend", "-m", "other words")


def rebased(place: Recorded) -> None:
    work(place)
    commit(place, "second")
    place.git("checkout", "-q", "main")
    place.write("before.txt", "x\n")
    commit(place, "on main")
    place.git("checkout", "-q", "work")
    place.git("rebase", "-q", "main")


def rebased_over_the_same_file(place: Recorded) -> None:
    work(place)
    commit(place, "second")
    place.git("checkout", "-q", "main")
    place.write("a.txt", "zero\n" + FIRST)
    commit(place, "on main")
    place.git("checkout", "-q", "work")
    place.git("rebase", "-q", "main")


def squashed(place: Recorded) -> None:
    work(place)
    text = (place.root / "a.txt").read_text()
    for at in range(4, 9):
        place.write("a.txt", "".join(text.splitlines(keepends=True)[:at]))
        commit(place, f"part {at}")
    place.git("reset", "-q", "--soft", "main")
    commit(place, "all of it")


def picked(place: Recorded) -> None:
    work(place)
    found = commit(place, "second")
    place.git("checkout", "-q", "-b", "other", "main")
    place.git("cherry-pick", found)


def renamed(place: Recorded) -> None:
    work(place)
    place.git("mv", "a.txt", "b.txt")
    place.command("git mv a.txt b.txt")
    commit(place, "second")


@pytest.mark.parametrize("done", [amended, rebased, rebased_over_the_same_file, squashed, picked, renamed])
def test_a_line_keeps_its_class_whatever_git_did(place, done):
    done(place)

    assert lines(place, "main..HEAD") == EXPECTED


# --- classes --------------------------------------------------------------------------------------------


def test_what_a_person_typed_is_human(tmp_path):
    place = Recorded(tmp_path / "repo")
    place.write("a.txt", FIRST)
    commit(place, "first")
    place.begin()
    place.write("a.txt", FIRST + "mine\n")
    place.command("vim a.txt")
    commit(place, "second")

    assert lines(place, "HEAD") == {"human": 1}


def test_an_agent_in_a_persons_session_is_an_agent(tmp_path):
    place = Recorded(tmp_path / "repo")
    place.write("a.txt", FIRST)
    commit(place, "first")
    place.begin()
    client = place.client()
    emit(place, told.client(place.session, "started", client.started_us, parent=client.id))
    place.write("a.txt", FIRST + "by itself\n")
    place.changed(client)
    with place.calling("Write", {"file_path": "b.txt"}, call="a", parent=client.id):
        place.write("b.txt", "by a tool\n")
        place.changed(client)
    commit(place, "second")

    assert lines(place, "HEAD") == {"checkpoint": 1, "observed": 1}


def test_what_an_agent_without_hooks_did_is_seen_by_checkpoints(tmp_path):
    place = Recorded(tmp_path / "repo", agent="aider")
    place.write("a.txt", FIRST)
    commit(place, "first")
    place.begin()
    place.write("a.txt", FIRST + "by itself\n")
    place.command("aider --yes a.txt")
    place.write("a.txt", FIRST + "by itself\nby a command\n")
    place.command("make fmt")
    commit(place, "second")

    assert spans(place, "HEAD") == [("a.txt:4-4", "checkpoint client"), ("a.txt:5-5", "observed time")]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict("background", "none"), "checkpoint background"),
        (Verdict("ambiguous", "none", None, ("background", "x/y")), "checkpoint ambiguous"),
        (Verdict("outside", "none"), "unexplained outside"),
    ],
)
def test_what_no_one_command_made(place, verdict, expected):
    place.write("b.txt", "new\n")
    by(place, verdict)
    commit(place, "second")

    assert spans(place) == [("b.txt:1-1", expected)]


def test_what_was_never_seen_is_unexplained(place):
    place.write("b.txt", "new\n")
    place.write("a.txt", FIRST + "new\n")
    commit(place, "second")

    assert spans(place) == [("a.txt:4-4", "unexplained unseen"), ("b.txt:1-1", "unexplained unseen")]


def test_a_commit_of_before_the_recording_is_that(tmp_path):
    place = Recorded(tmp_path / "repo")
    place.write("a.txt", FIRST)
    place.write("gone.txt", "x\n")
    commit(place, "first")
    old = {"GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z"}
    place.write("b.txt", "old\n")
    place.git("rm", "-q", "gone.txt")
    place.git("add", "-A")
    environment = {**os.environ, **old}
    subprocess.run(["git", "commit", "-qm", "second"], cwd=place.root, check=True, env=environment)
    place.begin()
    place.write("b.txt", "old\nnew\n")
    place.command("edit")
    place.write("c.txt", "never seen\n")
    environment = {**environment, "GIT_AUTHOR_DATE": "2020-01-02T00:00:00Z"}
    place.git("add", "-A")
    subprocess.run(["git", "commit", "-qm", "third"], cwd=place.root, check=True, env=environment)

    assert spans(place, "HEAD~2..HEAD") == [
        ("b.txt:1-1", "before before"),
        ("b.txt:2-2", "human command"),
        ("c.txt:1-1", "before commit"),
    ]


def test_a_file_that_never_changed_since_was_there_before(place):
    place.git("checkout", "-q", "main")

    assert spans(place, "HEAD") == [("a.txt:1-3", "before before")]


def test_files_that_are_no_text_are_counted_by_their_content(place):
    place.write("a.bin", b"\0\1\2")
    place.command("make a.bin")
    place.write("b.bin", b"\0\1\3")
    commit(place, "second")

    row = covered(place)

    assert row["binary"] == {"observed": 1, "unexplained": 1}
    assert (row["total"], row["percent"]) == (0, None)


def test_a_file_that_is_gone_and_one_that_was_only_renamed_have_no_new_lines(place):
    place.git("mv", "a.txt", "b.txt")
    place.command("git mv")
    commit(place, "second")
    place.git("rm", "-q", "b.txt")
    commit(place, "third")

    assert covered(place, "HEAD~1")["total"] == 0
    assert (covered(place, "HEAD")["total"], covered(place, "HEAD")["deleted"]) == (0, 3)


def test_a_file_too_large_to_compare_is_judged_whole(place):
    place.write("a.txt", "x\n" * (1 << 20))
    place.command("make")
    place.write("b.txt", "y\n" * (1 << 20))
    commit(place, "second")

    row = covered(place)

    assert (row["total"], row["binary"]) == (0, {})
    assert row["withheld"] == {"observed": 1, "unexplained": 1}
    assert row["whole"] == [
        {"path": "a.txt", "class": "observed", "why": "size"},
        {"path": "b.txt", "class": "unexplained", "why": "size"},
    ]


def test_a_file_that_is_withheld_by_its_name_is_judged_whole(place):
    place.write(".env", "DB_PASSWORD=hunter2hunter2\nX=1\n")
    place.command("cp")
    commit(place, "second")
    place.command("git commit")
    place.write(".env", "DB_PASSWORD=hunter3hunter3\nX=1\n")
    commit(place, "by hand")

    assert covered(place, "HEAD~1")["whole"] == [{"path": ".env", "class": "observed", "why": "path"}]
    assert covered(place, "HEAD")["whole"] == [{"path": ".env", "class": "unexplained", "why": "path"}]
    assert covered(place, "HEAD")["lines"]["unexplained"] == 0


def test_a_large_file_that_is_no_text_is_known_by_its_content_too(place):
    place.write("a.bin", b"\0" * (3 << 20))
    place.command("make")
    commit(place, "second")

    assert covered(place)["withheld"] == {"observed": 1}


def test_a_file_with_a_masked_secret_keeps_its_lines(place):
    place.write("a.py", "A = 1\nTOKEN = 'ghp_abcdefghijklmnopqrstuvwxyz0123456789AB'\n")
    place.command("write")
    commit(place, "second")

    assert (covered(place)["whole"], lines(place)) == ([], {"observed": 2})


def test_a_name_that_is_no_utf_8_has_its_true_bytes_beside_it(place):
    for name in (b"b\xff.py", b"b\xfe.py"):
        place.write(os.fsdecode(name), "x\n")
    place.command("write")
    commit(place, "second")

    found = covered(place, "HEAD")["files"]

    raw = [base64.b64encode(name).decode() for name in (b"b\xfe.py", b"b\xff.py")]
    assert [(file["path"], file["path_b64"]) for file in found] == [("b\ufffd.py", one) for one in raw]
    assert [span["path_b64"] for file in found for span in file["spans"]] == raw


def test_the_first_commit_has_nothing_before_it(place):
    assert covered(place, "main")["base"] is None
    assert covered(place, "main")["total"] == 3


# --- ranges ---------------------------------------------------------------------------------------------


def test_without_a_range_it_is_what_the_upstream_has_not(place):
    place.write("b.txt", "b\n")
    place.command("b")
    commit(place, "b")
    place.git("branch", "-q", "up")
    place.git("branch", "-q", "--set-upstream-to", "up")
    place.write("c.txt", "c\n")
    place.command("c")
    commit(place, "c")

    assert [file["path"] for file in covered(place)["files"]] == ["c.txt"]
    assert covered(place)["range"] == "up..HEAD"
    place.git("branch", "-q", "-f", "up", "HEAD")
    assert covered(place)["range"] == "HEAD"


def test_of_two_branches_it_is_what_one_has_since_they_parted(place):
    place.write("b.txt", "b\n")
    place.command("b")
    commit(place, "b")
    place.git("checkout", "-q", "main")
    place.write("other.txt", "x\n")
    commit(place, "other")

    for text in ("main..work", "main...work"):
        assert [file["path"] for file in covered(place, text)["files"]] == ["b.txt"]
    assert [file["path"] for file in covered(place, "work..")["files"]] == ["other.txt"]


@pytest.mark.parametrize("text", ["nothing", "main..nothing", "nothing..main", "..nothing"])
def test_what_is_no_range_is_said_to_be_none(place, text):
    with pytest.raises(UsageError, match="is no range of commits") as caught:
        covered(place, text)
    assert caught.value.code == "ERR_RANGE"


def test_a_folder_without_a_repository_has_no_range(tmp_path):
    with pytest.raises(UsageError, match="there is no git repository"):
        chosen(tmp_path, None)


# --- a session ------------------------------------------------------------------------------------------


def of_session(place: Recorded, session: str) -> dict[str, Any]:
    with closing(open_store(place.workspace)) as db:
        return Coverage(Blame(db, place.workspace)).of_session(session).told


def test_a_session_is_covered_be_its_work_committed_or_not(place):
    work(place)
    session = place.session

    row = of_session(place, session)

    assert {name: number for name, number in row["lines"].items() if number} == {
        "observed": 3,
        "checkpoint": 1,
    }
    assert row["session"] == session


def test_a_session_without_changes_has_nothing_to_explain(place):
    assert of_session(place, place.session)["percent"] is None


def test_a_session_of_hooks_alone_has_what_its_tools_say_that_they_wrote(tmp_path):
    place = Recorded(tmp_path / "repo")
    place.write("a.txt", FIRST)
    commit(place, "first")
    place.begin()
    place.end()
    agents = (
        place.begin()
    )  # no shell of ours saw the agent: its hooks spoke, and the next session saw the files
    with place.calling("Write", {"file_path": str(place.root / "b.txt")}, call="a"):
        place.write("b.txt", "new\n")
        by(place, Verdict("outside", "none"))
    commit(place, "second")

    assert spans(place, "HEAD") == [("b.txt:1-1", "observed tool")]
    assert of_session(place, agents)["lines"]["observed"] == 1
