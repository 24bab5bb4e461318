"""Who wrote a line: each rule on its own. All of them together: test_blame_random.py."""

from __future__ import annotations

import base64
import time
from contextlib import closing
from pathlib import Path

import pygit2
import pytest

from devtrace.errors import DevTraceError, UsageError
from devtrace.policy.chain import Policy
from devtrace.query.blame import parse_range
from devtrace.services.edits.attribution import Verdict, Window
from devtrace.services.edits.checkpoint import Checkpoints
from devtrace.services.edits.telling import record
from devtrace.store.connection import open_store
from tests.edits import Recorded
from tests.query.blamed import asked, begun, by, edit, emit, told, whose

SECRET = "hunter2" * 2


@pytest.fixture
def place(tmp_path: Path) -> Recorded:
    return begun(tmp_path / "repo")


def refused(place: Recorded, name: str = "a.txt", at: str | None = None) -> str:
    with pytest.raises(DevTraceError) as error:
        told(place, name, at)
    assert error.value.code == "ERR_NO_BLAME"
    return error.value.message.partition(": ")[2]


# --- the walk -----------------------------------------------------------------------------------------------


def test_a_line_leads_to_its_edit_its_command_its_session_and_its_actor(place):
    command = edit(place, "one\n2\nthree\n", "sed -i s/two/2/ a.txt")
    (changed,) = place.rows()

    before, line, _ = told(place)

    assert line | {"when_us": 0} == {
        "path": "a.txt",
        "line": 2,
        "text": "2",
        "event": changed["id"],
        "session": place.session,
        "actor": "human",
        "agent": "manual",
        "when_us": 0,
        "command": "sed -i s/two/2/ a.txt",
        "attribution": "command",
        "confidence": "window",
        "candidates": None,
        "status": "recorded",
        "by_time": False,
        "call": None,
        "tool": None,
        "prompt": None,
        "reason": None,
    }
    assert abs(line["when_us"] - command.started_us) < 5_000_000
    assert (before["status"], before["event"], before["when_us"]) == ("before", None, None)


def test_every_edit_keeps_the_lines_of_those_before(place):
    edit(place, "zero\none\ntwo\nthree\n", "first")
    edit(place, "zero\none\n2\n2.5\nthree\n", "second")
    edit(place, "zero\n2\n2.5\nthree\nfour", "third")
    edit(place, "zero\n2\n2.5\nthree\nfour\nfive\n", "fourth")

    assert whose(place) == [
        ("zero", "first"), ("2", "second"), ("2.5", "second"), ("three", "before"), ("four", "third"),
        ("five", "fourth"),
    ]  # fmt: skip


def test_a_new_file_is_wholly_its_commands(place):
    edit(place, "x\ny\n", "make", "in/new.txt")

    assert whose(place, "in/new.txt") == [("x", "make"), ("y", "make")]


def test_lines_are_followed_through_renames_there_and_back(place):
    edit(place, "one\n2\nthree\n", "edit")
    (place.root / "a.txt").rename(place.root / "b.txt")
    place.command("mv")
    edit(place, "one\n2\nthree\n4\n", "more", "b.txt")
    assert whose(place, "b.txt") == [("one", "before"), ("2", "edit"), ("three", "before"), ("4", "more")]

    (place.root / "b.txt").rename(place.root / "a.txt")
    place.command("mv back")

    assert whose(place) == [("one", "before"), ("2", "edit"), ("three", "before"), ("4", "more")]


@pytest.mark.parametrize("taken_first", [True, False])
def test_a_move_that_was_told_in_two_events_is_a_move(place, taken_first):
    edit(place, "one\n2\nthree\n", "edit")
    (place.root / "a.txt").rename(place.root / "b.txt")
    now_us = time.time_ns() // 1000
    with place.points.chain.locked():
        tip = place.points.tip()
        taken, brought = place.points.look(tip.tree, [b"a.txt", b"b.txt"])
        first, second = (now_us, now_us), (now_us + 5, now_us + 5)
        groups = {
            Verdict("ambiguous", "none", None, ("x/1", "x/2")): [(taken, [first if taken_first else second])],
            Verdict("background", "none"): [(brought, [second if taken_first else first])],
        }
        emit(place, *record(place.points, tip, groups, place.session, now_us)[1])

    assert [row["data"]["changes"][0]["change"] for row in place.rows()][1:] == (
        ["deleted", "added"] if taken_first else ["added", "deleted"]
    )
    assert whose(place, "b.txt") == [("one", "before"), ("2", "edit"), ("three", "before")]


def test_what_was_never_changed_before_it_was_moved_stays_of_before(place):
    place.git("mv", "a.txt", "b.txt")
    place.command("git mv")
    place.git("commit", "-qam", "moved")
    (place.root / "b.txt").unlink()
    place.command("rm")
    place.git("checkout", "-q", "HEAD~1")
    place.command("git checkout")

    assert whose(place) == [("one", "before"), ("two", "before"), ("three", "before")]


def test_a_file_that_was_deleted_and_made_anew_owes_nothing_to_the_old_one(place):
    (place.root / "a.txt").unlink()
    place.command("rm")
    edit(place, "one\n", "echo one > a.txt")
    (place.root / "a.txt").unlink()
    place.command("rm")
    edit(place, "one\nnot committed\n", "again")

    assert whose(place) == [("one", "again"), ("not committed", "again")]


def test_a_file_that_was_ignored_for_a_while_keeps_its_lines(place):
    edit(place, "mine\n", "make", "build.log")
    edit(place, "build.log\n", "ignore", ".gitignore")
    edit(place, "", "track", ".gitignore")
    assert [row["data"]["changes"][-1]["change"] for row in place.rows()] == ["added", "ignored", "added"]

    assert whose(place, "build.log") == [("mine", "make")]


def test_going_back_and_forth_between_branches_makes_nobody_an_author(place):
    place.git("checkout", "-qb", "side")
    edit(place, "one\ntwo\nside\n", "on side")
    place.git("commit", "-qam", "side")
    place.git("checkout", "-q", "main")
    place.command("git checkout main")
    assert whose(place) == [("one", "before"), ("two", "before"), ("three", "before")]
    edit(place, "main\ntwo\nthree\n", "on main")
    place.git("commit", "-qam", "main")

    place.git("merge", "-q", "--no-edit", "side")
    place.command("git merge side")

    assert whose(place) == [("main", "on main"), ("two", "before"), ("side", "on side")]


def test_what_a_pull_brings_came_in_by_the_pull(place, tmp_path):
    other = tmp_path / "other"
    place.git("clone", "-q", str(place.root), str(other))
    theirs = Recorded(other)
    theirs.write("a.txt", "one\ntwo\nthree\ntheirs\n")
    theirs.git("commit", "-qam", "theirs")

    place.git("pull", "-q", str(other))
    place.command("git pull")

    assert whose(place)[-1] == ("theirs", "git pull")


def test_what_a_restore_brings_back_stays_its_writers(place):
    edit(place, "one\nnever committed\n", "write")
    edit(place, "rubbish\n", "spoil")
    edit(place, "one\nnever committed\n", "devtrace restore --at 3f2a a.txt")

    assert whose(place) == [("one", "before"), ("never committed", "write")]


def test_what_a_restore_outside_any_shell_brings_back_stays_its_writers(place):
    edit(place, "one\nnever committed\n", "write")
    edit(place, "rubbish\n", "spoil")
    place.write("a.txt", "one\nnever committed\nfrom elsewhere\n")
    by(place, Verdict("restore", "claim"))

    assert whose(place) == [
        ("one", "before"),
        ("never committed", "write"),
        ("from elsewhere", "devtrace restore"),
    ]


def test_what_another_command_types_again_is_its_own(place):
    edit(place, "one\nagain\n", "write")
    edit(place, "one\n", "cut")
    edit(place, "one\nagain\n", "echo again >> a.txt")

    assert whose(place)[1] == ("again", "echo again >> a.txt")


def test_a_command_that_edits_and_commits_is_the_author(place):
    place.write("a.txt", "one\nnew\nthree\n")
    place.git("commit", "-qam", "at once")
    place.command("./edit-and-commit")

    assert place.rows()[0]["data"]["changes"][0]["from_git"]
    assert whose(place)[1] == ("new", "./edit-and-commit")


def test_a_lone_brace_that_was_there_once_is_not_taken_for_the_old_one(place):
    edit(place, "one\n}\n", "brace")
    edit(place, "one\n", "cut")
    place.write("a.txt", "one\nnew\n}\n")
    place.git("commit", "-qam", "at once")
    place.command("./edit-and-commit")

    assert whose(place)[1:] == [("new", "./edit-and-commit"), ("}", "./edit-and-commit")]


def test_a_brace_that_a_merge_brings_is_its_writers(place):
    place.git("checkout", "-qb", "side")
    edit(place, "one\n}\ntwo\nthree\n", "brace")
    place.git("commit", "-qam", "side")
    place.git("checkout", "-q", "main")
    edit(place, "one\ntwo\nthree\nfour\n", "four")
    place.git("commit", "-qam", "main")
    place.git("merge", "-q", "--no-edit", "side")
    place.command("git merge side")

    assert whose(place)[1::3] == [("}", "brace"), ("four", "four")]


def test_what_comes_from_another_working_tree_keeps_its_writer(place, tmp_path):
    side = tmp_path / "side"
    place.git("worktree", "add", "-q", str(side), "-b", "side")
    points = place.points
    salt = place.workspace.salt.read_bytes()
    place.points = Checkpoints(place.workspace, side, Policy.for_session({}, salt), place.settings)
    with place.points.chain.locked():
        place.points.begin([], place.points.base(), time.time_ns() // 1000)
    (side / "a.txt").write_text("one\ntwo\nagent\n")
    place.command("by the agent")
    place.git("-C", str(side), "commit", "-qam", "side")
    place.points = points
    edit(place, "me\ntwo\nthree\n", "by me")
    place.git("commit", "-qam", "mine")

    place.git("merge", "-q", "--no-edit", "side")
    place.command("git merge side")

    assert whose(place) == [("me", "by me"), ("two", "before"), ("agent", "by the agent")]
    with asked(place) as blame:
        assert blame.on_disk(side / "a.txt").root == side


def test_where_the_record_has_a_hole_nobody_is_named(place):
    edit(place, "one\ntwo\nlost\n", "lost")
    edit(place, "one\ntwo\nlost\nkept\n", "kept")
    (lost, _) = place.rows()
    with closing(open_store(place.workspace)) as db, db:
        db.execute("DELETE FROM file_changes WHERE event = ?", (lost["id"],))

    assert whose(place) == [("one", "before"), ("two", "before"), ("lost", "before"), ("kept", "kept")]
    edit(place, "one\ntwo\nlost\nkept\nagain\n", "again")
    with closing(open_store(place.workspace)) as db, db:
        db.execute("UPDATE file_changes SET old_oid = new_oid WHERE n = (SELECT max(n) FROM file_changes)")
    assert whose(place)[-1] == ("again", "gap")


def test_a_record_written_out_of_order_is_read_in_the_order_of_the_checkpoints(place):
    edit(place, "one\ntwo\nfirst\n", "first")
    edit(place, "one\ntwo\nfirst\nsecond\n", "second")
    with closing(open_store(place.workspace)) as db, db:
        seqs = [row["seq"] for row in place.rows()]
        db.execute("UPDATE events SET seq = 1000 WHERE seq = ?", seqs[:1])

    assert whose(place) == [("one", "before"), ("two", "before"), ("first", "first"), ("second", "second")]


def test_no_two_contents_are_compared_twice(place, monkeypatch):
    for number in range(20):
        edit(place, "".join(f"{line}\n" for line in range(number + 1)), f"step {number}")
    compared = []
    original = pygit2.Patch.create_from
    monkeypatch.setattr(
        "devtrace.query.annotate.pygit2.Patch",
        type("Patch", (), {"create_from": lambda *a, **k: (compared.append(1), original(*a, **k))[1]}),
    )

    with asked(place) as blame:
        for _ in range(2):
            assert len(blame.on_disk(place.root / "a.txt").lines) == 20

    assert 0 < len(compared) <= 20


# --- who it was not -----------------------------------------------------------------------------------------


def test_what_was_made_outside_or_in_the_background_has_no_command(place):
    place.write("a.txt", "one\noutside\n")
    place.outside()
    place.write("a.txt", "one\noutside\nbackground\n")
    by(place, Verdict("background", "none"))

    _, outside, background = told(place)

    assert (outside["status"], background["status"]) == ("outside", "background")
    for row in (outside, background):
        assert (row["command"], row["session"], row["actor"], row["agent"]) == (None,) * 4
        assert row["event"]


def test_an_ambiguous_line_names_those_that_it_may_have_been(place):
    names = (f"{place.session}/{'1' * 16}", "background")
    place.write("a.txt", "who\n")
    by(place, Verdict("ambiguous", "none", None, names))

    (row,) = told(place)

    assert (row["status"], row["candidates"], row["command"]) == ("ambiguous", list(names), None)


def test_the_command_of_another_session_is_found(place):
    first = place.session
    command = place.command("nothing")
    place.agent = "codex"
    place.begin()
    place.write("a.txt", "theirs\n")
    window = Window(first, command.id, None, 0, None, "human")
    by(place, Verdict("command", "window", window, (window.name,)))

    (row,) = told(place)

    assert (row["command"], row["session"], row["agent"]) == ("nothing", first, "manual")


# --- states -------------------------------------------------------------------------------------------------


def test_what_is_on_disk_and_not_recorded_yet_says_so(place):
    edit(place, "one\n2\nthree\n", "edit")
    place.write("a.txt", "one\n2\nnow\n")

    assert whose(place) == [("one", "before"), ("2", "edit"), ("now", "unrecorded")]


def test_a_new_file_that_nobody_was_recorded_writing_is_not_recorded_yet(place):
    place.write("new.txt", "x\n")
    place.write("empty.txt", "")

    assert whose(place, "new.txt") == [("x", "unrecorded")]
    assert whose(place, "empty.txt") == []


def test_line_ends_that_git_converts_are_no_change(place):
    edit(place, "one\n2\nthree\n", "edit")
    place.write("a.txt", "one\r\n2\r\nthree\r\n")

    assert whose(place) == [("one", "before"), ("2", "edit"), ("three", "before")]


def test_a_commit_of_the_users_is_told(place):
    edit(place, "one\n2\nthree\n", "edit")
    place.git("commit", "-qam", "second")
    edit(place, "one\n2\n3\n", "later")
    place.git("mv", "a.txt", "b.txt")
    place.command("git mv")

    assert whose(place, at="HEAD~1") == [("one", "before"), ("two", "before"), ("three", "before")]
    assert whose(place, at="HEAD") == [("one", "before"), ("2", "edit"), ("three", "before")]
    assert refused(place, "b.txt", "HEAD").startswith("it is not in commit ")


def test_a_commit_of_parts_is_told_by_the_versions_that_had_them(place):
    edit(place, "one\n2\nthree\n", "edit")
    edit(place, "one\n2\nthree\nlast\n", "later")
    place.write("a.txt", "one\nthree\nlast\nnobody\n")
    place.git("commit", "-qam", "a part")

    assert whose(place, at="HEAD") == [
        ("one", "before"),
        ("three", "before"),
        ("last", "later"),
        ("nobody", "unrecorded"),
    ]


def test_a_new_file_in_a_commit_of_after_the_recording_began_is_not_of_before(place):
    place.write("new.txt", "x\n")
    place.git("add", "-A")
    place.git("commit", "-qm", "by hand, outside")

    assert whose(place, "new.txt", at="HEAD") == [("x", "unrecorded")]
    assert whose(place, "a.txt", at="HEAD") == [("one", "before"), ("two", "before"), ("three", "before")]


def test_a_file_of_a_commit_of_before_the_recording_is_of_before(place):
    place.write("new.txt", "x\n")
    place.git("add", "-A")
    place.git("commit", "-qm", "long ago", "--date", "2020-01-01T00:00:00")

    assert whose(place, "new.txt", at="HEAD") == [("x", "before")]


def test_a_name_that_is_no_utf_8_has_its_true_bytes_beside_it(place):
    (place.root / "b\udcff.txt").write_text("x\n")

    (row,) = told(place, "b\udcff.txt")

    assert (row["path"], row["path_b64"]) == ("b\ufffd.txt", base64.b64encode(b"b\xff.txt").decode())


def test_the_state_after_an_event_is_told(place):
    first = edit(place, "one\n2\nthree\n", "first")
    edit(place, "one\n2\n3\n", "second")
    (place.root / "a.txt").unlink()
    removed = place.command("rm a.txt")
    edits = place.rows()

    expected = [("one", "before"), ("2", "first"), ("three", "before")]
    assert whose(place, at=edits[0]["id"]) == expected
    assert whose(place, at=first.id) == expected
    assert whose(place, at=edits[1]["id"])[2] == ("3", "second")
    assert refused(place, at=removed.id) == f"it was not there after {removed.id}"
    assert refused(place) == "it is not there"


def test_a_session_is_no_state(place):
    edit(place, "x\n", "edit")

    with pytest.raises(UsageError, match="is a session"):
        told(place, at=place.session)
    with pytest.raises(UsageError) as error:
        told(place, at="nonsense")
    assert error.value.code == "ERR_ID_UNKNOWN"


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"a\0b", "it is no text"), (b"a\n" * (1 << 20), "it is larger than 1 MiB")],
)
def test_what_has_no_lines_is_refused(place, content, why):
    place.write("a.txt", content)

    assert refused(place) == why


def test_a_file_whose_content_is_withheld_is_refused(place):
    place.write(".env", "A=1\n")
    place.git("add", "-f", ".env")
    place.command("edit")

    assert refused(place, ".env") == "its content is withheld"


def test_a_file_that_was_no_text_has_lines_that_nobody_can_name(place):
    edit(place, "one\ntwo\n", "cut")
    place.write("a.txt", b"\0\1")
    place.command("spoil")
    edit(place, "one\ntwo\nnew\n", "mend")

    assert whose(place) == [("one", "before"), ("two", "before"), ("new", "gap")]


def test_a_directory_and_a_file_of_nobodys_tree_are_refused(place, tmp_path):
    (tmp_path / "elsewhere").write_text("x\n")
    place.write("in/x", "x\n")

    assert refused(place, "in") == "it is no file"
    with pytest.raises(UsageError, match="no working tree that is recorded") as error:
        told(place, "../elsewhere")
    assert error.value.code == "ERR_NO_BLAME"


def test_a_line_with_a_secret_keeps_its_writer(place):
    edit(place, f"one\npassword = '{SECRET}'\nthree\n", "add a key")
    assert place.rows()[0]["data"]["changes"][0]["withheld"] == "secret"
    assert whose(place) == [
        ("one", "before"),
        (f"password = '{SECRET}'", "add a key"),
        ("three", "before"),
    ]

    place.write("a.txt", f"one\npassword = '{SECRET}'\nthree\nfour\n")
    assert [status for _, status in whose(place)] == ["before", "withheld", "before", "unrecorded"]


# --- ranges -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, range(1, 31)), ("10,20", range(10, 21)), ("10,+5", range(10, 15)), ("10", range(10, 31)),
        ("10,", range(10, 31)), (",20", range(1, 21)), ("29,99", range(29, 31)), ("3,3", range(3, 4)),
    ],
)  # fmt: skip
def test_a_range_of_lines_is_read_as_git_reads_it(text, expected):
    assert parse_range(text, 30) == expected


@pytest.mark.parametrize("text", ["", "x", "0", "20,10", "31", "5,+0", "5,+", "-3", "1,2,3", "+3", "٣"])
def test_a_bad_range_is_refused(text):
    with pytest.raises(UsageError) as error:
        parse_range(text, 30)
    assert error.value.code == "ERR_USAGE"
