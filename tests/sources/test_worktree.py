"""Kinds of repositories: in each a checkpoint's tree is what `git add -A && git write-tree` gives.

Not here: what git converts (test_worktree_contents.py), layouts (test_worktree_kinds.py), a player's whims
(tests/services/test_checkpoint_random.py).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devtrace.sources.worktree import REPOSITORY
from tests.processes import CAN_OBEY, environment, obey_permissions
from tests.working_trees import Watched


@pytest.fixture
def place(tmp_path):
    return Watched(tmp_path / "repo")


def other(place: Watched, *arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, capture_output=True, cwd=place.root)


def obey_all_permissions() -> None:
    """Not even reading is root's own right: CAP_DAC_READ_SEARCH (2) goes too."""
    obey_permissions()
    if os.getuid() == 0:
        ctypes.CDLL(None).prctl(24, 2, 0, 0, 0)


def module(tmp_path: Path) -> Watched:
    """A repository with a submodule `sub`, everything committed."""
    inner = Watched(tmp_path / "inner")
    inner.write("f", "1\n")
    inner.commit()
    shutil.rmtree(inner.workspace.dir)
    place = Watched(tmp_path / "repo")
    place.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.root), "sub")
    place.write("top", "1\n")
    place.commit()
    return place


# --- where HEAD and the index are -----------------------------------------------------------------------


def test_before_the_first_commit_all_files_are_there(place):
    place.write("a/b", "1\n")
    place.git("add", "a/b")
    place.write("c", "2\n")

    place.assert_equal()
    (place.root / "c").unlink()
    place.assert_equal()


def test_an_empty_tree_is_the_empty_tree(place):
    assert place.assert_equal() == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def test_after_everything_is_removed_the_tree_is_empty(place):
    place.write("a/b", "1\n")
    place.commit()
    place.assert_equal()
    shutil.rmtree(place.root / "a")

    assert place.assert_equal() == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@pytest.mark.parametrize("store_is_inside_the_linked_one", [True, False])
def test_a_linked_worktree_has_checkpoints_of_its_own(tmp_path, store_is_inside_the_linked_one):
    main = Watched(tmp_path / "repo")
    main.write("f", "1\n")
    main.write(".gitignore", "*.log\n")
    main.commit()
    main.git("worktree", "add", "-q", "../linked")
    linked = Watched(tmp_path / "linked", store=None if store_is_inside_the_linked_one else main.root)
    linked.write("g", "2\n")
    linked.write("x.log", "3\n")
    main.write("h", "4\n")

    linked.assert_equal()
    main.assert_equal()
    linked.write("f", "5\n")
    linked.git("add", "f")
    linked.assert_equal()

    assert linked.entry("h") is None
    assert main.entry("g") is None


def test_a_worktree_inside_the_main_tree_is_one_entry_at_most(place):
    place.write("f", "1\n")
    place.commit()
    place.git("worktree", "add", "-q", "linked")
    place.write("linked/g", "2\n")

    place.assert_equal()
    assert place.entry("linked/g") is None


@pytest.mark.parametrize("names", ["GIT_DIR GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"])
def test_what_git_s_environment_says_leads_nowhere_else(place, tmp_path, monkeypatch, names):
    place.write("f", "1\n")
    place.commit()
    place.write("g", "2\n")
    place.write(".gitattributes", "g filter=none\n")
    truth = place.truth()
    elsewhere = tmp_path / "elsewhere"
    other(place, "init", "-q", str(elsewhere))
    for name in names.split():
        monkeypatch.setenv(name, str(elsewhere / ".git"))
    place.open()

    assert place.checkpoint() == truth


# --- what is inside -------------------------------------------------------------------------------------


def test_a_submodule_is_the_commit_it_stands_on(tmp_path):
    place = module(tmp_path)
    place.assert_equal()
    place.write("sub/f", "dirty inside\n")
    place.write("sub/new", "and new\n")
    place.assert_equal()
    place.git("-C", "sub", "commit", "-qam", "moved on")
    place.assert_equal()

    entry = place.entry("sub")
    assert entry is not None
    assert entry.mode == REPOSITORY


def test_hints_about_files_in_a_submodule_change_nothing(tmp_path):
    place = module(tmp_path)
    tree = place.assert_equal()
    place.write("sub/new", "inside\n")

    found = [
        one.path
        for hint in (b"sub/new", b"sub/f", b"sub", b"")
        for one in place.points.look(tree, place.points.expand(tree, hint))
    ]

    assert found == []


def test_a_submodule_that_was_not_fetched_stays(tmp_path):
    place = module(tmp_path)
    place.git("submodule", "deinit", "-q", "-f", "sub")

    place.assert_equal()
    assert place.entry("sub") is not None


def test_a_submodule_that_is_a_plain_folder_now_stays_as_git_has_it(tmp_path):
    place = module(tmp_path)
    place.assert_equal()
    (place.root / "sub/.git").unlink()
    place.write("sub/more", "1\n")

    place.assert_equal()


def test_a_submodule_removed_from_disk_is_gone(tmp_path):
    place = module(tmp_path)
    place.assert_equal()
    shutil.rmtree(place.root / "sub")

    place.assert_equal()
    assert place.entry("sub") is None


def test_a_submodule_that_becomes_a_file_is_a_file(tmp_path):
    place = module(tmp_path)
    place.assert_equal()
    shutil.rmtree(place.root / "sub")
    place.write("sub", "a file\n")

    place.assert_equal()


def test_a_repository_inside_that_is_no_submodule_is_its_commit(place):
    place.write("f", "1\n")
    place.commit()
    place.git("init", "-q", "inner")
    place.write("inner/f", "1\n")
    place.git("-C", "inner", "add", "f")
    place.git("-C", "inner", "commit", "-qm", "first")

    place.assert_equal()
    place.git("-C", "inner", "commit", "-q", "--allow-empty", "-m", "second")
    place.assert_equal()


def test_a_repository_inside_without_a_commit_is_nothing(place):
    # `git add -A` fails altogether: "does not have a commit checked out".
    place.write("f", "1\n")
    truth = place.truth()
    place.git("init", "-q", "inner")
    place.write("inner/f", "1\n")

    assert place.checkpoint() == truth
    assert list(place.points.look(truth, [b"inner/f", b"inner"])) == []


def test_a_folder_of_tracked_files_stays_one_when_a_repository_is_made_in_it(place):
    place.write("a/f", "1\n")
    place.commit()
    place.git("init", "-q", "a")
    place.git("-C", "a", "commit", "-q", "--allow-empty", "-m", "first")
    place.write("a/f", "2\n")
    place.write("a/g", "3\n")

    place.assert_equal()


def test_a_broken_git_file_makes_no_repository(place):
    place.write("a/.git", "gitdir: /nowhere\n")
    place.write("a/f", "1\n")

    place.assert_equal()
    assert place.kept("a/f") == b"1\n"


# --- what git does not look at --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["--cone", "--no-cone", "--sparse-index"])
def test_what_a_sparse_checkout_leaves_out_stays_in_the_tree(place, how):
    for path in ("top", "a/f", "b/f", "b/c/f"):
        place.write(path, "1\n")
    place.commit()
    options = ["--cone", "--sparse-index"] if how == "--sparse-index" else [how]
    place.git("sparse-checkout", "set", *options, "a" if how != "--no-cone" else "/a/")
    assert not (place.root / "b/f").exists()

    place.assert_equal()
    place.write("a/f", "2\n")
    place.write("a/g", "3\n")
    place.assert_equal()
    (place.root / "a/f").unlink()
    place.git("commit", "-qam", "one less")
    place.write("a/g", "4\n")
    place.assert_equal()
    assert place.kept("b/c/f") == b"1\n"


def test_a_file_outside_a_sparse_checkout_that_is_there_is_kept(place):
    # As `git add -A --sparse`: without it git refuses the path, and its content would be lost.
    for path in ("a/f", "b/f"):
        place.write(path, "1\n")
    place.commit()
    place.git("sparse-checkout", "set", "--cone", "a")
    place.write("b/f", "2\n")
    place.write("b/new", "3\n")

    place.assert_equal("--sparse")


@pytest.mark.parametrize("option", ["--assume-unchanged", "--skip-worktree"])
def test_what_git_takes_for_unchanged_is_as_it_is_in_the_index(place, option):
    place.write("f", "1\n")
    place.write("g", "1\n")
    place.commit()
    place.assert_equal()
    place.write("f", "staged\n")
    place.git("add", "f")
    place.git("update-index", option, "f", "g")
    place.write("f", "edited\n")
    (place.root / "g").unlink()

    tree = place.assert_equal()
    assert place.kept("f") == b"staged\n"
    assert list(place.points.look(tree, [b"f", b"g"])) == []


def test_a_path_that_is_to_be_added_counts_though_it_is_ignored(place):
    place.write(".gitignore", "*.log\n")
    place.write("x.log", "1\n")
    place.write("y.log", "1\n")
    place.git("add", "-N", "-f", "x.log")

    place.assert_equal()
    (place.root / "x.log").unlink()
    place.assert_equal()


# --- names and modes ------------------------------------------------------------------------------------


def test_a_case_only_rename_is_a_rename(place):
    place.write("readme", "1\n")
    place.commit()
    place.assert_equal()
    (place.root / "readme").rename(place.root / "README")

    place.assert_equal()


def test_the_exec_bit_is_a_change(place):
    place.write("f", "1\n")
    place.commit()
    place.assert_equal()
    (place.root / "f").chmod(0o755)

    place.assert_equal()


def test_without_a_file_mode_the_index_says_what_a_program_is(place):
    place.git("config", "core.fileMode", "false")
    place.write("f", "1\n")
    place.write("g", "1\n")
    place.git("add", "f", "g")
    place.git("update-index", "--chmod=+x", "g")
    place.git("commit", "-qm", "both")
    place.assert_equal()
    (place.root / "f").chmod(0o755)
    place.write("f", "2\n")
    place.write("g", "2\n")
    place.write("new", "1\n").chmod(0o755)

    place.assert_equal()
    place.git("update-index", "--chmod=+x", "f")
    place.assert_equal()


def test_without_symbolic_links_a_file_stands_for_one(place):
    (place.root / "link").symlink_to("target")
    place.commit()
    place.git("config", "core.symlinks", "false")
    (place.root / "link").unlink()
    place.write("link", "elsewhere")

    place.assert_equal()


@pytest.mark.parametrize("target", ["nowhere", "folder", "/etc/passwd", ".", "../.."])
def test_a_symbolic_link_is_where_it_leads(place, target):
    place.write("folder/f", "1\n")
    place.write(".gitignore", "link/\n")
    (place.root / "link").symlink_to(target)

    place.assert_equal()
    place.git("add", "link")
    place.assert_equal()


def test_a_folder_that_becomes_a_link_takes_its_files_along(place):
    place.write("a/f", "1\n")
    place.commit()
    place.assert_equal()
    (place.root / "a").rename(place.root / "b")
    (place.root / "a").symlink_to("b")

    place.assert_equal()


@pytest.mark.parametrize(
    "name",
    [
        b"new\nline", b'quo"te', b"tick'", b"back\\slash", b"-leading", b"--", b"latin-\xe9", b"\xff\xfe",
        b" ", b"trailing ", b"tab\t", b"x" * 255, b":(glob)*", b"*", b"!not", b"#hash", b"[a]", "é".encode(),
        b"\x7f\x01",
    ],
)  # fmt: skip
def test_any_name_is_a_name(place, name):
    whole = os.path.join(os.fsencode(place.root), b"folder " + name[:240], name)
    os.makedirs(os.path.dirname(whole))
    Path(os.fsdecode(whole)).write_bytes(b"1\r\n")
    place.write(".gitignore", "*.log\n")
    place.write(".gitattributes", "* text=auto\n")

    place.assert_equal()
    place.commit()
    Path(os.fsdecode(whole)).write_bytes(b"2\n")
    Path(os.fsdecode(whole[:-1] + b".log")).write_bytes(b"2\n") if len(name) < 250 else None
    place.assert_equal()
    place.git("rm", "-q", "-r", "--cached", ".")
    place.assert_equal()
    os.unlink(whole)
    place.assert_equal()


def test_a_deep_folder_is_not_too_deep(place):
    path = "/".join(["d"] * 300 + ["f"])
    place.write(path, "1\n")

    place.assert_equal()
    place.commit()
    place.write(path, "2\n")
    place.assert_equal()


@pytest.fixture
def endless(place):
    """A folder in a folder, 1,500 times, as a program makes that went astray."""
    handle = os.open(place.root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)
    yield place
    subprocess.run(["rm", "-rf", place.root / "d"], check=True)  # shutil.rmtree comes to Python's end there


def test_folders_without_end_stop_nothing(endless):
    endless.write("g", "1\n")
    tree = endless.checkpoint()

    assert [one.path for one in endless.found] == [b"g"]
    assert list(endless.points.look(tree, endless.points.expand(tree, b"d"))) == []
    endless.commit()
    endless.checkpoint()


def test_nothing_named_as_git_s_own_folder_is_kept(place):
    place.write("f", "1\n")
    truth = place.truth()
    place.write(".GIT/config", "no\n")
    place.write("a/.Git", "no\n")

    assert place.checkpoint() == truth


def test_what_is_no_file_is_passed_by(place):
    place.write("f", "1\n")
    os.mkfifo(place.root / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(place.root)
        server.bind("socket")
        place.assert_equal()
        tree = place.checkpoint()
        assert list(place.points.look(tree, [b"fifo", b"socket", b"fifo/x", b"f/x"])) == []


def test_a_tracked_file_that_becomes_a_fifo_is_gone(place):
    place.write("f", "1\n")
    place.commit()
    place.checkpoint()
    (place.root / "f").unlink()
    os.mkfifo(place.root / "f")

    place.checkpoint()
    assert place.entry("f") is None


@pytest.mark.skipif(not CAN_OBEY, reason="root reads everything here")
def test_a_file_that_cannot_be_read_keeps_what_is_known_of_it(place):
    place.write("f", "known\n")
    place.checkpoint()
    place.write("g", "unknown\n").chmod(0)
    place.write("f", "changed\n").chmod(0)
    script = f"""if True:
        import os
        from pathlib import Path
        from tests.working_trees import Watched
        place = Watched(Path({str(place.root)!r}))
        place.checkpoint()
        print([one.path for one in place.found], [one.kept.withheld for one in place.found])
    """
    done = subprocess.run(
        [sys.executable, "-c", script], preexec_fn=obey_all_permissions, capture_output=True, text=True,
        env=environment(PYTHONPATH=str(Path(__file__).parents[2])),
    )  # fmt: skip

    assert done.stdout.strip() == "[b'g'] ['unreadable']", done.stderr
    assert place.kept("f") == b"known\n"
