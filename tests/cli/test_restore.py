"""restore, snapshot and prune as processes, and what stats says is kept."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from contextlib import closing

import pytest

from devtrace.store import chain
from devtrace.store.connection import open_store
from tests.edits import Recorded, begun
from tests.processes import CAN_OBEY, environment, obey_permissions
from tests.terminals import Terminal

pytestmark = pytest.mark.needs("git")

SECRET = "https://ana:swordfish@example.org"


@pytest.fixture
def repo(tmp_path):
    return tmp_path / "repo"


@pytest.fixture
def place(repo):
    return begun(repo, kept="one\n", src__b="b\n")


@pytest.fixture
def edited(place):
    """A command that changed kept.py, deleted src/b.py and added src/a.py."""
    place.write("kept.py", "two\n")
    place.write("src/a.py", "a\n")
    (place.root / "src/b.py").unlink()
    return place.command("make edits")


def files(repo):
    return {
        str(path.relative_to(repo)): path.read_bytes()
        for path in repo.rglob("*")
        if path.is_file() and not {".git", ".devtrace"} & set(path.parts)
    }


def undo_of(told):
    (line,) = [line for line in told.out.splitlines() if line.startswith("Undo it with: devtrace ")]
    return shlex.split(line.removeprefix("Undo it with: devtrace "))


# --- restore --------------------------------------------------------------------------------------------


def test_it_shows_what_it_would_do_and_without_a_terminal_changes_nothing(run, repo, edited):
    before = files(repo)

    told = run("restore", "--before", edited.id, stdin="y\n")

    assert (told.status, told.err) == (0, "Nothing was changed. Do it with: --yes\n")
    assert told.out == (
        "bring back      kept.py\n"
        "leave           src/a.py  (it was not there then; --delete deletes it)\n"
        "create          src/b.py\n"
    )
    assert files(repo) == before


def test_it_restores_and_the_undo_that_it_prints_brings_everything_back(run, repo, edited):
    (repo / "kept.py").write_text("not recorded yet\n")
    (repo / "untold").write_text("nor this\n")
    before = files(repo)

    told = run("restore", "--before", edited.id[:10], "--delete", "--yes")

    assert (told.status, told.err) == (0, "")
    assert "Restored 4 files. What was there before is kept.\n" in told.out
    assert files(repo) == {"kept.py": b"one\n", "src/b.py": b"b\n"}
    undone = run(*undo_of(told))
    assert (undone.status, files(repo)) == (0, before)
    again = run(*undo_of(undone))
    assert (again.status, files(repo)) == (0, {"kept.py": b"one\n", "src/b.py": b"b\n"})


def test_paths_are_those_of_the_current_directory(run, repo, edited):
    told = run("restore", "b.py", "--before", edited.id, "--yes", cwd=repo / "src")

    assert (repo / "src/b.py").read_text() == "b\n"
    assert (repo / "kept.py").read_text() == "two\n"
    assert undo_of(told)[:2] == ["restore", "b.py"]
    run(*undo_of(told), cwd=repo / "src")
    assert not (repo / "src/b.py").exists()
    assert run("restore", str(repo / "kept.py"), "--before", edited.id, "-y", cwd=repo / "src").status == 0
    assert (repo / "kept.py").read_text() == "one\n"


def test_a_name_that_looks_like_an_option_can_be_undone(run, place):
    place.write("-x y", "1\n")
    first = place.command()
    place.write("-x y", "2\n")
    place.command()

    told = run("restore", "--at", first.id, "--yes", "--", "-x y")
    assert (place.root / "-x y").read_text() == "1\n"

    assert run(*undo_of(told)).status == 0
    assert (place.root / "-x y").read_text() == "2\n"


@pytest.mark.needs("bash")
@pytest.mark.parametrize("name", [b"it's \xff\n\x1b[31m", "grün $x".encode()])
def test_whatever_a_file_is_called_the_undo_can_be_pasted(run, place, name):
    path = os.fsdecode(name)
    file = place.root / path
    file.write_text("1\n")
    first = place.command()
    file.write_text("2\n")
    place.command()

    told = run("restore", path, "--at", first.id, "--yes", env={"PYTHONIOENCODING": "utf-8:strict"})

    assert (told.status, told.err, file.read_text()) == (0, "", "1\n")
    assert "\x1b" not in told.out
    (line,) = [line for line in told.out.splitlines() if line.startswith("Undo it with: devtrace ")]
    pasted = line.replace("Undo it with: devtrace", f"{shlex.quote(sys.executable)} -m devtrace")
    subprocess.run(["bash", "-c", pasted], cwd=place.root, env=environment(), check=True, capture_output=True)
    assert file.read_text() == "2\n"


@pytest.mark.parametrize("path", ["../elsewhere", "/etc/hostname", ".git/config", ".devtrace/salt"])
def test_outside_the_working_tree_is_refused(run, repo, edited, path):
    before = files(repo)

    told = run("restore", path, "kept.py", "--before", edited.id, "--yes")

    assert (told.status, "[ERR_USAGE]" in told.err, "outside the working tree" in told.err) == (2, True, True)
    assert files(repo) == before


def test_one_state_must_be_named(run, edited):
    assert run("restore").status == run("restore", "--at", edited.id, "--before", edited.id).status == 2


def test_what_is_in_that_state_already_is_said(run, edited):
    told = run("restore", "--at", edited.id, "--yes")

    assert (told.status, told.out) == (0, "")
    assert told.err == "There is nothing to restore: the files are in that state.\n"


def test_before_anything_was_kept_there_is_no_state(run, place):
    early = place.command("true")

    assert "[ERR_NO_CHECKPOINT]" in run("restore", "--before", early.id, "--yes").err


@pytest.mark.skipif(not CAN_OBEY, reason="root cannot be held to permissions here")
def test_one_that_cannot_be_written_fails_alone(run, repo, edited):
    (repo / "src").chmod(0o555)
    try:
        told = run("restore", "--before", edited.id, "--yes", preexec_fn=obey_permissions)
    finally:
        (repo / "src").chmod(0o755)

    assert (told.status, "[ERR_RESTORE]" in told.err) == (1, True)
    assert "Could not restore src/b.py: " in told.err
    assert "Restored 1 file." in told.out
    assert (repo / "kept.py").read_text() == "one\n"
    assert run(*undo_of(told)).status == 0
    assert (repo / "kept.py").read_text() == "two\n"


def test_what_is_refused_is_shown_with_the_reason(run, repo, place):
    place.write(".env", "A=1\n")
    first = place.command()
    place.write(".env", "A=2\n")
    place.command()

    told = run("restore", "--at", first.id, "--yes")

    assert "cannot restore  .env  (its name says that it is a secret" in told.out
    assert "There is nothing to restore" in told.err
    assert (repo / ".env").read_text() == "A=2\n"


def test_for_machines(run, repo, edited):
    planned = run("restore", "--before", edited.id, "--json")
    done = run("restore", "--before", edited.id, "--json", "--yes")

    rows = {row["path"]: (row["action"], row["done"], row["undo"]) for row in planned.records}
    assert rows == {
        "kept.py": ("write", False, None),
        "src/a.py": ("left", False, None),
        "src/b.py": ("create", False, None),
    }
    assert [(row["action"], row["done"]) for row in done.records] == [
        ("write", True),
        ("left", False),
        ("create", True),
    ]
    (undo,) = {row["undo"] for row in done.records}
    assert run("restore", "--at", undo, "--yes", "--delete", "--json").status == 0
    assert not (repo / "src/b.py").exists()


def test_on_a_terminal_it_asks(repo, edited):
    words = [sys.executable, "-m", "devtrace", "restore", "--before", edited.id]
    for answer, content in (("n", "two\n"), ("y", "one\n")):
        with Terminal(words, env=environment(), cwd=repo) as terminal:
            terminal.wait_for("Restore them?")
            terminal.send(f"{answer}\r")
            assert terminal.wait_exit() == 0
        assert (repo / "kept.py").read_text() == content


def test_lines_that_come_back_keep_their_writer(run, repo, place):
    place.write("kept.py", "one\nmine\n")
    writer = place.command("write it")
    place.write("kept.py", "another\n")
    place.command("lose it")

    run("restore", "--at", writer.id, "--yes")

    lines = run("blame", "kept.py", "--json").records
    assert [(row["command"], row["status"]) for row in lines if row["text"] == "mine"] == [
        ("write it", "recorded")
    ]


def test_a_tree_that_was_moved_with_its_store_is_restored_where_it_is(run, repo, edited, tmp_path):
    moved = tmp_path / "moved"
    repo.rename(moved)

    told = run("restore", "--before", edited.id, "--yes", cwd=moved)

    assert (told.status, told.err) == (0, "")
    assert (moved / "kept.py").read_text() == "one\n"
    assert not repo.exists()


def test_of_two_trees_in_a_store_the_one_of_the_event_is_meant(run, repo, place, tmp_path):
    inner = Recorded(repo / "inner")
    inner.workspace = place.workspace
    inner.write("kept.py", "inner one\n")
    inner.begin()
    inner.write("kept.py", "inner two\n")
    event = inner.command("edit inner")
    place.write("kept.py", "two\n")
    env = {"DEVTRACE_DIR": str(place.workspace.dir)}

    told = run("restore", "--before", event.id, "--yes", env=env)

    assert told.status == 0, told.err
    assert f"In the working tree {repo / 'inner'}" in told.err
    assert (repo / "inner/kept.py").read_text() == "inner one\n"
    assert (repo / "kept.py").read_text() == "two\n"


# --- snapshot -------------------------------------------------------------------------------------------


def test_a_snapshot_is_a_session_of_its_own_and_can_be_come_back_to(run, repo, place):
    place.git("add", "kept.py")
    place.git("commit", "-qm", "begin")
    place.write("kept.py", "two\n")
    place.write("new", "new\n")

    told = run("snapshot", "--label", f"before {SECRET}")

    assert (told.status, told.err) == (0, "")
    assert told.out.startswith("Recorded a snapshot with 2 changed files in session ")
    (row,) = run("log", "--kind", "git_snapshot", "--json").records
    assert (row["data"]["dirty"], row["data"]["changed"], row["data"]["head"]) == (
        3,
        2,
        place.git("rev-parse", "HEAD"),
    )
    assert row["data"]["label"].startswith("before https://ana:[redacted:")
    with closing(open_store(place.workspace)) as db:
        kept = "SELECT kind, status, title FROM sessions WHERE id = ?"
        kind, status, title = db.execute(kept, (row["session"],)).fetchone()
        assert chain.check(db, row["session"]) is None
    assert (kind, status) == ("snapshot", "ended")
    assert title == row["data"]["label"] == row["title"]
    (back,) = [line for line in told.out.splitlines() if line.startswith("Come back to it with: devtrace ")]
    (repo / "new").unlink()
    run(*shlex.split(back.removeprefix("Come back to it with: devtrace ")), "--yes")
    assert (repo / "new").read_text() == "new\n"
    assert place.session[:4] in run("show").out
    assert run("snapshot").out.startswith("Recorded a snapshot with no changed file")


def test_a_snapshot_in_a_traced_shell_belongs_to_it(run, place, tmp_path):
    command = place.command("devtrace snapshot")
    os.mkfifo(tmp_path / "fifo")
    env = {"DEVTRACE_SESSION": place.session, "DEVTRACE_DIR": str(place.workspace.dir)}
    env |= {"DEVTRACE_SPAN": command.id, "DEVTRACE_FIFO": str(tmp_path / "fifo")}

    run("snapshot", "-l", "inside", env=env)

    (row,) = run("log", "--kind", "git_snapshot", "--json").records
    assert (row["session"], row["parent"], row["data"]["label"]) == (place.session, command.id, "inside")
    assert len(run("sessions", "--json").records) == 1


@pytest.mark.parametrize("git", [True, False])
def test_a_snapshot_where_nothing_is_committed(run, repo, git):
    place = Recorded(repo, git=git)
    place.write("a", "1\n")
    run("init")

    told = run("snapshot")

    assert told.status == 0, told.err
    (row,) = run("log", "--kind", "git_snapshot", "--json").records
    assert (row["data"]["dirty"], row["data"]["head"]) == (1 if git else None, None)
    (repo / "a").write_text("2\n")
    assert run("restore", "--at", row["id"], "--yes").status == 0
    assert (repo / "a").read_text() == "1\n"


# --- prune, stats ---------------------------------------------------------------------------------------


def test_a_snapshot_with_a_label_can_be_restored_after_the_states_around_it_were_forgotten(run, repo, place):
    (repo / "kept.py").write_text("good\n")
    run("snapshot", "--label", "good")
    for number in range(3):
        place.write("kept.py", f"{number}\n")
        place.command(f"edit {number}")
    (state,) = run("log", "--kind", "git_snapshot", "--json").records

    assert run("prune", "--older-than", "0s", "--yes").out.startswith("Forgot 3 checkpoints; ")
    told = run("restore", "--at", state["id"], "--yes")
    assert (told.status, (repo / "kept.py").read_text()) == (0, "good\n"), told.err
    assert run("prune", "--older-than", "0s", "--yes", "--no-keep-labelled").status == 0
    told = run("restore", "--at", state["id"], "--yes")
    assert (told.status, "no longer kept" in told.err) == (1, True)


def test_forgetting_is_asked_for_and_said_and_what_is_gone_is_named(run, repo, place):
    events = []
    for number in range(3):
        place.write("kept.py", f"{number}\n" + "x" * 5_000 + "\n")
        events.append(place.command(f"edit {number}"))
        time.sleep(0.002)  # so that their times differ
    assert run("stats").out.splitlines()[-1].endswith(" in 4 checkpoints")

    assert run("prune", "--older-than", "1h").out.startswith("No checkpoint is older than that; ")
    assert run("prune", "--older-than", "0s", "--dry-run").out.startswith("Would forget 3 checkpoints from ")
    refused = run("prune", "--older-than", "0s", stdin="y\n")
    assert refused.err == "Nothing was forgotten. Do it with: --yes\n"
    assert run("stats", "--json").records[0]["bytes"]["n_checkpoints"] == 4
    done = run("prune", "--older-than", "0s", "--yes")

    assert (done.status, done.out.startswith("Forgot 3 checkpoints; ")) == (0, True)
    assert run("stats").out.splitlines()[-1].endswith(" in 1 checkpoint")
    assert run("log", "--kind", "policy", "--json").records[0]["data"]["action"] == "pruned"
    shown = run("diff", events[1].id)
    assert (shown.status, "no longer kept" in shown.out + shown.err) == (0, True)
    blamed = run("blame", "kept.py")
    assert (blamed.status, "Traceback" in blamed.err) == (0, False)
    told = run("restore", "--at", events[0].id, "--yes")
    assert (told.status, "[ERR_NO_CHECKPOINT]" in told.err, "no longer kept" in told.err) == (1, True, True)
    assert (repo / "kept.py").read_text().startswith("2\n")
