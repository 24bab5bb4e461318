"""Layouts of indexes and objects, and places where libgit2 does not go: checkpoints are the same there.

Not here: what is in the working tree (test_worktree.py).
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess

import pytest

from tests.working_trees import Watched, digest

HOOKS = ("post-index-change", "pre-commit", "reference-transaction", "fsmonitor-watchman", "pre-auto-gc")


@pytest.fixture
def place(tmp_path):
    return Watched(tmp_path / "repo")


# --- indexes and objects that are laid out otherwise ----------------------------------------------------


@pytest.mark.parametrize(
    "settings", [("core.splitIndex", "true"), ("core.untrackedCache", "true"), ("index.version", "4")]
)
def test_any_layout_of_the_index_is_read(place, settings):
    place.write("f", "1\n")
    place.write("a/g", "1\n")
    place.commit()
    place.assert_equal()
    place.git("config", *settings)
    place.git("update-index", "--split-index" if "split" in settings[0] else "--refresh")
    place.write(".gitignore", "*.log\n")
    place.write("x.log", "1\n")
    place.git("add", "-f", "x.log")
    place.git("status")
    place.write("f", "2\r\n")
    place.write(".gitattributes", "f text\n")

    place.assert_equal()
    place.open()
    place.write("x.log", "2\n")
    place.assert_equal()
    place.git("rm", "-q", "-f", "--cached", "x.log")
    place.assert_equal()
    assert place.entry("x.log") is None


def test_no_hook_and_no_monitor_of_the_user_runs(place, tmp_path):
    place.write("f", "1\n")
    place.commit()
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in HOOKS:
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/mark-{name}\n")
        (hooks / name).chmod(0o755)
    place.git("config", "core.hooksPath", str(hooks))
    place.git("config", "core.fsmonitor", str(hooks / "fsmonitor-watchman"))
    place.write("f", "2\r\n")
    place.write("g", "3\n")
    place.write(".gitattributes", "g ident\n")
    place.open()
    before = digest(place.root / ".git")

    place.checkpoint()

    assert digest(place.root / ".git") == before
    assert [path.name for path in tmp_path.glob("mark-*")] == []
    place.git("config", "core.fsmonitor", "true")
    place.checkpoint()
    assert not list((place.root / ".git").glob("fsmonitor--daemon*"))


def test_a_partial_clone_fetches_nothing(tmp_path):
    server = Watched(tmp_path / "server")
    server.write("a/f", "1\n")
    server.write("a/g", "the same content\n" * 9)
    server.commit()
    server.write("a/f", "2\n")
    server.commit()
    server.git("config", "uploadpack.allowFilter", "true")
    subprocess.run(
        ["git", "clone", "-q", "--filter=blob:none", "--sparse", f"file://{server.root}", "clone"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    place = Watched(tmp_path / "clone")
    shutil.rmtree(server.root)
    place.write("a/f", "mine\n")
    place.write("new", "mine\n")
    objects = sorted((place.root / ".git/objects").rglob("*"))
    tip = place.checkpoint()
    place.write("moved", "the same content\n" * 9)
    second = place.checkpoint()

    assert tip != second
    assert place.kept("a/f") == b"mine\n"
    assert place.entry("a/g") is not None
    assert sorted((place.root / ".git/objects").rglob("*")) == objects


def test_a_shared_clone_borrows_on(tmp_path):
    first = Watched(tmp_path / "first")
    first.write("a/f", "1\n")
    first.commit()
    subprocess.run(["git", "clone", "-q", "--shared", "first", "second"], cwd=tmp_path, check=True)
    place = Watched(tmp_path / "second")
    place.write("a/g", "2\n")

    place.assert_equal()
    assert place.kept("a/f") == b"1\n"


# --- where libgit2 does not go --------------------------------------------------------------------------


def test_in_a_sha256_repository_every_file_is_kept_all_the_same(tmp_path):
    place = Watched(tmp_path / "repo", "--object-format=sha256")
    place.write(".gitignore", "*.log\n")
    place.write("a/.gitignore", "!keep.log\n")
    place.write("a/f", "1\n")
    place.commit()
    for path in ("x.log", "a/keep.log", "a/g"):
        place.write(path, "2\n")

    place.checkpoint()

    assert "libgit2 cannot open it" in place.points.choice.because
    assert {one.path for one in place.found} == {
        b".gitignore",
        b"a/.gitignore",
        b"a/f",
        b"a/keep.log",
        b"a/g",
    }
    place.write("a/f", "3\n")
    place.checkpoint()
    assert [one.path for one in place.found] == [b"a/f"]


def test_a_directory_that_is_no_repository_obeys_its_gitignore_files(tmp_path):
    place = Watched(tmp_path / "plain", git=False)
    place.write(".gitignore", "*.log\nbuild/\n")
    place.write("a/.gitignore", "!keep.log\n")
    for path in ("x.log", "build/f", "a/keep.log", "a/g", "a/b/c/d"):
        place.write(path, "1\n")
    tree = place.checkpoint()
    twin = Watched(tmp_path / "twin")
    for path in place.root.iterdir():
        if path.name != ".devtrace":
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, twin.root / path.name)

    assert place.points.choice.because == "it is no git repository"
    assert tree == twin.truth()
    shutil.rmtree(place.root / "a")
    place.checkpoint()
    assert place.entry("a") is None


def test_a_bare_repository_has_no_working_tree(tmp_path):
    place = Watched(tmp_path / "bare", "--bare", git=False)
    place.git("init", "-q", "--bare", ".git")
    place.write("f", "1\n")
    place.open()

    place.checkpoint()

    assert "bare" in place.points.choice.because
    assert place.kept("f") == b"1\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_repository_of_somebody_else_is_not_trusted(place):
    place.write("f", "1\n")
    place.commit()
    for path in (place.root, *place.root.rglob("*")):
        if ".devtrace" not in path.parts:
            os.lchown(path, 4242, 4242)
    place.open()

    place.checkpoint()

    assert "libgit2 cannot open it" in place.points.choice.because
    assert place.kept("f") == b"1\n"
    assert stat.S_IMODE(place.workspace.dir.stat().st_mode) == 0o700


def test_a_directory_that_becomes_a_repository_is_looked_at_as_one(tmp_path):
    place = Watched(tmp_path / "plain", git=False)
    place.write("a/f", "1\r\n")
    place.checkpoint()
    place.git("init", "-q")
    place.write(".gitattributes", "* text\n")
    place.commit()
    place.write("a/g", "2\r\n")
    place.write("a/f", "3\r\n")

    place.assert_equal()
    shutil.rmtree(place.root / ".git")
    place.write("a/f", "4\n")
    place.checkpoint()
    assert place.kept("a/f") == b"4\n"
