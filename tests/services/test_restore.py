"""Restoring brings back what was kept, keeps what is there, and refuses what it could not undo."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from devtrace.errors import DevTraceError, EnvironmentError, UsageError
from devtrace.query.ids import resolve
from devtrace.query.states import state_at
from devtrace.services.restore import Restored, Restorer, Step
from devtrace.services.snapshot import snapshot
from devtrace.store import chain
from devtrace.store.checkpoints import tree as trees
from devtrace.store.checkpoints.objects import open_objects
from devtrace.store.connection import open_store
from tests.edits import Recorded

pytestmark = pytest.mark.needs("git")

SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"


class Place(Recorded):
    """A recorded tree whose states are kept, compared and restored."""

    def kept(self) -> str:
        """The commit of the state as it is now."""
        assert self.points is not None
        with self.points.chain.locked():
            tip = self.points.tip()
            assert tip is not None
            found = list(self.points.look(tip.tree, self.points.candidates(tip.tree)))
            made = self.points.commit(tip, found, "test", 1, 1).checkpoint
            self.points.chain.advance(made.commit)
        return made.commit

    def files(self) -> dict[bytes, tuple[int, bytes]]:
        """Every file with its mode and content, but for git's own and ours."""
        found = {}
        for folder, folders, names in os.walk(os.fsencode(self.root)):
            folders[:] = [name for name in folders if name not in (b".git", b".devtrace")]
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in (*names, *links):
                path = os.path.join(folder, name)
                mode = os.lstat(path).st_mode
                content = os.readlink(path) if stat.S_ISLNK(mode) else Path(os.fsdecode(path)).read_bytes()
                found[os.path.relpath(path, os.fsencode(self.root))] = (mode, content)
        return found

    def plan(self, commit: str, *paths: str, delete: bool = False) -> list[Step]:
        with closing(open_store(self.workspace)) as db:
            wanted = [self.root / path for path in paths]
            return Restorer(db, self.workspace, self.root, {}).plan(commit, wanted, delete=delete)

    def restore(self, commit: str, *paths: str, delete: bool = False, **env: str) -> Restored:
        with closing(open_store(self.workspace)) as db:
            wanted = [self.root / path for path in paths]
            restorer = Restorer(db, self.workspace, self.root, env)
            return restorer.carry_out(commit, wanted, delete=delete, title="devtrace restore")

    def says(self, commit: str, *paths: str, delete: bool = False) -> dict[str, tuple[str, str]]:
        """The plan: what becomes of each path, and why not."""
        steps = self.plan(commit, *paths, delete=delete)
        return {os.fsdecode(step.path): (step.action, step.reason) for step in steps}

    def undo(self, done: Restored) -> None:
        with closing(open_store(self.workspace)) as db:
            state = state_at(db, resolve(db, done.undo.id))
        self.restore(state.commit, delete=True)


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path / "repo", checkpoints__file_kb=64)
    made.workspace.config.write_text("[checkpoints]\nfile_kb = 64\n")
    made.write("kept.py", "one\n")
    made.write("src/b.py", "b\n")
    made.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    os.symlink("kept.py", made.root / "link")
    made.write("folder/deep/x", b"\0\xff\r\n")
    made.begin()
    return made


def edit(place):
    place.write("kept.py", "two\n")


def delete(place):
    (place.root / "kept.py").unlink()


def create(place):
    place.write("new/deep/file", "new\n")


def rename(place):
    (place.root / "src/b.py").rename(place.root / "src/c.py")


def execute(place):
    (place.root / "kept.py").chmod(0o755)
    (place.root / "run.sh").chmod(0o644)


def become_link(place):
    delete(place)
    os.symlink("src/b.py", place.root / "kept.py")


def no_link(place):
    (place.root / "link").unlink()
    place.write("link", "a file\n")


def other_link(place):
    (place.root / "link").unlink()
    os.symlink(b"\xff-nowhere", place.root / "link")


def become_folder(place):
    delete(place)
    place.write("kept.py/inner/one", "1\n")
    (place.root / "kept.py/empty").mkdir()


def folder_becomes_file(place):
    (place.root / "folder/deep/x").unlink()
    (place.root / "folder/deep").rmdir()
    place.write("folder/deep", "file\n")


def folder_becomes_link(place):
    (place.root / "folder/deep/x").unlink()
    (place.root / "folder/deep").rmdir()
    os.symlink("../src", place.root / "folder/deep")


def same_bytes_as_link(place):
    """A link and a file with the same bytes have the same blob."""
    (place.root / "link").unlink()
    place.write("link", "kept.py")


def odd_name(place):
    Path(os.fsdecode(os.fsencode(place.root) + b"/\xff\n$name")).write_bytes(b"odd\n")


CHANGES = [edit, delete, create, rename, execute, become_link, no_link, other_link, become_folder,
           folder_becomes_file, folder_becomes_link, same_bytes_as_link, odd_name]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_everything_is_brought_back_and_undone(place, change):
    commit, before = place.kept(), place.files()
    change(place)
    after = place.files()
    assert after != before

    done = place.restore(commit, delete=True)

    assert (place.files(), done.failed) == (before, [])
    place.undo(done)
    assert place.files() == after


@pytest.mark.parametrize("change", [become_folder, folder_becomes_file, folder_becomes_link])
def test_what_stands_in_the_way_is_not_deleted_unasked(place, change):
    commit = place.kept()
    change(place)
    after = place.files()

    says = place.says(commit)
    done = place.restore(commit)

    assert {action for action, _ in says.values()} == {"left", "refused"}
    assert (place.files(), done.failed) == (after, [])


def test_a_file_with_unrecorded_ones_in_its_place_is_refused(place):
    place.write(".gitignore", "*.log\n")
    commit = place.kept()
    delete(place)
    place.write("kept.py/a.log", "ignored\n")
    place.write("kept.py/b", "recorded\n")
    (place.root / "src/b.py").unlink()
    place.write("src/b.py", "")

    assert place.says(commit, "kept.py", delete=True)["kept.py"] == (
        "refused",
        "a folder with other files is in its place",
    )
    place.restore(commit, "kept.py", delete=True)
    assert (place.root / "kept.py/a.log").read_text() == "ignored\n"


def test_an_ignored_file_in_its_place_is_refused(place):
    place.write("a.log", "recorded\n")
    commit = place.kept()
    place.write(".gitignore", "*.log\n")
    place.kept()
    place.write("a.log", "precious\n")

    assert place.says(commit)["a.log"] == ("refused", "something that is not recorded is in its place")
    place.restore(commit, delete=True)
    assert (place.root / "a.log").read_text() == "precious\n"


def test_new_files_stay_unless_they_are_to_go(place):
    commit = place.kept()
    create(place)

    assert place.says(commit) == {"new/deep/file": ("left", "")}
    place.restore(commit)
    assert (place.root / "new/deep/file").exists()
    assert place.says(commit, delete=True) == {"new/deep/file": ("delete", "")}
    place.restore(commit, delete=True)
    assert not (place.root / "new").exists()


def test_only_the_paths_that_are_named(place):
    commit = place.kept()
    place.write("kept.py", "two\n")
    place.write("src/b.py", "c\n")
    place.write("src-too", "\n")

    assert list(place.says(commit, "src")) == ["src/b.py"]
    assert list(place.says(commit, "src/../kept.py")) == ["kept.py"]
    assert list(place.says(commit, ".")) == ["kept.py", "src/b.py", "src-too"]
    place.restore(commit, "src")
    assert (place.root / "kept.py").read_text() == "two\n"
    assert (place.root / "src/b.py").read_text() == "b\n"


def test_what_is_outside_the_tree_is_refused_and_nothing_is_written(place, tmp_path):
    commit = place.kept()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x").write_text("theirs\n")
    os.symlink(tmp_path / "elsewhere", place.root / "out")
    os.symlink("src", place.root / "in")
    edit(place)

    for path in (
        *("..", "../elsewhere/x", str(tmp_path / "elsewhere/x"), "src/../../elsewhere", "/"),
        *("out/x", "in/b.py", ".git/config", ".devtrace", ".devtrace/salt", f"{place.root}-too"),
    ):
        for order in (place.plan, place.restore):
            with pytest.raises(UsageError, match="outside the working tree"):
                order(commit, "kept.py", path)
    assert (place.root / "kept.py").read_text() == "two\n"
    assert list(place.says(commit, "out", delete=True)) == ["out"]


def test_a_name_that_git_would_not_check_out_is_refused(place, tmp_path):
    """A repository brings its own store, perhaps: what stands in its trees is not believed."""
    objects = open_objects(place.workspace)
    blob = objects.write("blob", b"evil\n")
    names = [b"../escaped", b"..", os.fsencode(tmp_path / "absolute"), b".GIT", b"a//b", b".devtrace"]
    lines = [b"100644 %s\0%s" % (name, bytes.fromhex(blob)) for name in sorted(names)]
    tree = objects.write("tree", b"".join(lines))
    assert place.points is not None
    with place.points.chain.locked():
        commit = place.points.chain.commit(tree, None, "evil", 1, 1)

    done = place.restore(commit)

    assert {step.action for step in done.steps} == {"left", "refused"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["repo"]


# --- what is withheld -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        (".env", "A=1\n", "its name says that it is a secret"),
        ("settings.txt", f"token = {SECRET}\n", "a secret in it was masked"),
        ("large.bin", "x" * 70_000, "it was too large"),
    ],
)
def test_what_is_withheld_is_refused_and_it_is_said_why(place, name, content, why):
    before = place.kept()
    file = place.write(name, content)
    then = place.kept()
    file.unlink()
    assert place.says(then)[name][0] == "refused"
    assert why in place.says(then)[name][1]
    file.write_text(content + "more")
    assert why in place.says(then)[name][1]
    assert "could not be undone" in place.says(before, delete=True)[name][1]
    place.restore(then)
    place.restore(before, delete=True)
    assert file.read_text() == content + "more"


def test_a_mode_comes_back_where_the_content_is_withheld(place):
    file = place.write(".env", "A=1\n")
    then = place.kept()
    file.chmod(0o755)

    place.restore(then)

    assert (file.read_text(), file.stat().st_mode & 0o111) == ("A=1\n", 0)


def test_present_content_that_is_withheld_is_not_overwritten(place):
    then = place.kept()
    place.write("kept.py", f"token = {SECRET}\n")

    assert "could not be undone" in place.says(then)["kept.py"][1]
    place.restore(then)
    assert SECRET in (place.root / "kept.py").read_text()


def test_a_nested_repository_is_refused(place):
    then = place.kept()
    nested = Recorded(place.root / "nested")
    nested.write("x", "1\n")
    nested.git("add", "x")
    nested.git("commit", "-qm", "x")

    says = place.says(then, delete=True)
    place.restore(then, delete=True)

    assert {reason for action, reason in says.values()} == {"it is a repository of its own"}
    assert (nested.root / "x").read_text() == "1\n"
    with_it = place.kept()
    (place.root / "nested").rename(place.root.parent / "away")
    assert place.says(with_it)["nested"] == ("refused", "it is a repository of its own")


# --- git's own ways -------------------------------------------------------------------------------------


def test_line_ends_and_filters_are_those_of_a_checkout(place):
    place.git("config", "filter.shout.clean", "tr A-Z a-z")
    place.git("config", "filter.shout.smudge", "tr a-z A-Z")
    place.write(".gitattributes", "* text eol=crlf\n*.loud filter=shout -text\n*.bin -text\n")
    place.write("kept.py", "one\r\ntwo\r\n")
    place.write("a.loud", "LOUD\n")
    place.write("a.bin", b"\0\n")
    then = place.kept()
    for name in ("kept.py", "a.loud", "a.bin"):
        (place.root / name).unlink()

    place.restore(then)

    assert (place.root / "kept.py").read_bytes() == b"one\r\ntwo\r\n"
    assert (place.root / "a.loud").read_bytes() == b"LOUD\n"
    assert (place.root / "a.bin").read_bytes() == b"\0\n"


def test_who_may_read_a_file_stays_as_it_is(place):
    then = place.kept()
    place.write("kept.py", "private\n").chmod(0o600)
    (place.root / "run.sh").unlink()
    os.symlink("kept.py", place.root / "run.sh")
    umask = os.umask(0o022)
    try:
        place.restore(then)
    finally:
        os.umask(umask)

    modes = [stat.S_IMODE((place.root / name).stat().st_mode) for name in ("kept.py", "run.sh")]
    assert modes == [0o600, 0o755]


# --- carrying out ---------------------------------------------------------------------------------------


def test_what_changed_after_the_plan_is_kept_for_the_undo(place):
    then = place.kept()
    edit(place)
    place.plan(then)
    place.write("kept.py", "three\n")

    done = place.restore(then)

    assert (place.root / "kept.py").read_text() == "one\n"
    place.undo(done)
    assert (place.root / "kept.py").read_text() == "three\n"


def test_what_changes_after_it_was_kept_is_not_overwritten(place, monkeypatch):
    then = place.kept()
    edit(place)
    place.write("src/b.py", "c\n")
    planned = Restorer.plan

    def and_then_somebody_writes(self, *args, **kwargs):
        steps = planned(self, *args, **kwargs)
        place.write("kept.py", "just now\n")
        return steps

    monkeypatch.setattr(Restorer, "plan", and_then_somebody_writes)
    done = place.restore(then)

    assert [(step.path, why) for step, why in done.failed] == [(b"kept.py", "it has changed just now")]
    assert (place.root / "kept.py").read_text() == "just now\n"
    assert (place.root / "src/b.py").read_text() == "b\n"


def test_one_that_cannot_be_written_keeps_no_other(place, monkeypatch):
    then = place.kept()
    edit(place)
    place.write("src/b.py", "c\n")
    replace = os.replace

    def fails(source, target):
        if os.fsencode(target).endswith(b"/kept.py"):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr("devtrace.services.restore.os.replace", fails)
    done = place.restore(then)

    assert [step.path for step, _ in done.failed] == [b"kept.py"]
    assert (place.root / "kept.py").read_text() == "two\n"
    assert (place.root / "src/b.py").read_text() == "b\n"
    assert not list(place.root.rglob(".devtrace-*"))


def test_it_is_told_in_a_session_of_its_own(place):
    then = place.kept()
    edit(place)
    place.command("edit")

    done = place.restore(then)

    (edit_event,) = [row for row in place.rows() if row["session"] == done.undo.session]
    assert (edit_event["data"]["attribution"], edit_event["parent"]) == ("restore", None)
    with closing(open_store(place.workspace)) as db:
        row = db.execute("SELECT kind, status, ended_us FROM sessions WHERE id = ?", (done.undo.session,))
        kind, status, ended_us = row.fetchone()
        assert (kind, status, ended_us is not None) == ("restore", "ended", True)
        assert chain.check(db, done.undo.session) is None
        seals = "SELECT count(*) FROM seals WHERE session = ?"
        assert db.execute(seals, (done.undo.session,)).fetchone()[0] > 0
    assert not list(place.workspace.run.glob("*.lock"))


def test_in_a_traced_shell_it_is_told_under_its_command(place, tmp_path):
    then = place.kept()
    edit(place)
    command = place.command("edit")
    os.mkfifo(tmp_path / "fifo")

    done = place.restore(
        then, DEVTRACE_SESSION=place.session, DEVTRACE_DIR=str(place.workspace.dir),
        DEVTRACE_SPAN=command.id, DEVTRACE_FIFO=str(tmp_path / "fifo"), DEVTRACE_AGENT="codex",
    )  # fmt: skip

    last = place.rows()[-1]
    assert (last["session"], last["parent"]) == (place.session, command.id)
    assert (last["data"]["attribution"], last["data"]["confidence"]) == ("restore", "claim")
    assert (done.undo.session, done.undo.parent) == (place.session, command.id)
    with closing(open_store(place.workspace)) as db:
        assert [row[0] for row in db.execute("SELECT kind FROM sessions")] == ["shell"]


def test_what_was_left_or_refused_is_not_told_as_restored(place):
    then = place.kept()
    create(place)
    edit(place)

    place.restore(then)

    told = [(row["data"]["attribution"], [c["path"] for c in row["data"]["changes"]]) for row in place.rows()]
    assert told[-1] == ("restore", ["kept.py"])
    assert ["new/deep/file"] not in [paths for attribution, paths in told if attribution == "restore"]


# --- which state ----------------------------------------------------------------------------------------


def state_of(place, name, *, before=False):
    with closing(open_store(place.workspace)) as db:
        commit = state_at(db, resolve(db, name), before=before).commit
    objects = open_objects(place.workspace)
    entry = trees.find(objects, place.points.chain.read(commit).tree, b"kept.py")
    return objects.read(entry.oid)


def test_the_state_of_a_command_an_edit_a_snapshot_and_a_session(place, monkeypatch):
    place.write("kept.py", "two\n")
    first = place.command("first")
    nothing = place.command("nothing")
    monkeypatch.chdir(place.root)
    with closing(open_store(place.workspace)) as db:
        taken = snapshot(db, place.workspace, "label", {}).event
    place.write("kept.py", "three\n")
    second = place.command("second")
    edits = place.rows()

    assert [state_of(place, one, before=True) for one in (first.id, edits[0]["id"])] == [b"one\n"] * 2
    assert [state_of(place, one) for one in (first.id, edits[0]["id"])] == [b"two\n"] * 2
    assert [state_of(place, nothing.id, before=flag) for flag in (True, False)] == [b"two\n"] * 2
    assert [state_of(place, taken.id, before=flag) for flag in (True, False)] == [b"two\n"] * 2
    assert [state_of(place, second.id, before=flag) for flag in (True, False)] == [b"two\n", b"three\n"]
    assert [state_of(place, place.session, before=flag) for flag in (True, False)] == [b"one\n", b"three\n"]


def test_before_the_first_checkpoint_there_is_no_state(place):
    early = place.command("true")
    edit(place)
    place.command("edit")

    with closing(open_store(place.workspace)) as db, pytest.raises(UsageError) as raised:
        state_at(db, resolve(db, early.id), before=True)
    assert raised.value.code == "ERR_NO_CHECKPOINT"


def test_a_state_that_was_forgotten_says_so(place):
    with pytest.raises(EnvironmentError) as raised:
        place.plan("0" * 40)

    assert (raised.value.code, "no longer kept" in raised.value.message) == ("ERR_NO_CHECKPOINT", True)
    assert isinstance(raised.value, DevTraceError)
