"""A checkpoint keeps what git would, withholds what it must, and leaves the user's repository as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from devtrace.store.checkpoints import tidy
from devtrace.store.checkpoints import tree as trees
from tests.working_trees import Watched, digest, times

KEY = "kD9x-2fLq81ZpVw"


@pytest.fixture
def place(tmp_path):
    return Watched(tmp_path / "repo")


def worked(place: Watched) -> None:
    """Some commits, branches, a stash, and a checkpoint after each."""
    for n in range(4):
        place.write(f"a/f{n}", f"{n}\n")
        place.write("shared", f"{n}\n" * 50)
        place.assert_equal()
        place.commit(f"{n}")
        place.git("checkout", "-q", "-b", f"branch{n}")
        place.write("a/f0", f"only seen by us {n}\n")
        place.assert_equal()
    place.git("stash", "-q")
    place.assert_equal()


def everything_in(store: Path) -> bytes:
    """All that a store holds, loose objects unpacked."""
    found = b""
    for path in store.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found += data
            if "objects" in path.parts and len(path.parent.name) == 2:
                found += zlib.decompress(data)
    return found


# --- the user's repository ------------------------------------------------------------------------------


def test_a_checkpoint_touches_nothing_of_the_user_s(place):
    worked(place)
    place.write("a/new", "1\n")
    place.git("add", "a/new")
    place.write("a/f1", "edited\n")
    before = digest(place.root / ".git"), times(place.root)

    place.checkpoint()
    place.open()
    place.checkpoint()

    assert (digest(place.root / ".git"), times(place.root)) == before


def test_the_first_checkpoint_adds_one_ref_and_no_object(place):
    place.write("f", "1\n")
    place.commit()
    place.write("f", "2\n")
    before, objects = digest(place.root / ".git"), sorted((place.root / ".git/objects").rglob("*"))

    place.checkpoint()

    assert digest(place.root / ".git") == before
    assert sorted((place.root / ".git/objects").rglob("*")) == objects
    assert place.git("for-each-ref", "--format=%(objecttype) %(refname)").splitlines() == [
        f"tree refs/devtrace/{place.points.chain.name}",
        "commit refs/heads/main",
    ]


@pytest.mark.parametrize("keep_ref", [True, False])
def test_checkpoints_outlive_gc_rebase_and_deleted_branches(tmp_path, keep_ref):
    place = Watched(tmp_path / "repo", checkpoints__keep_ref=keep_ref)
    place.write("base", "base\n")
    place.commit("base")
    worked(place)
    n = len(place.checkpoints())
    assert bool(place.git("for-each-ref", "refs/devtrace")) == keep_ref

    place.git("checkout", "-q", "--orphan", "fresh")
    place.git("commit", "-q", "-m", "squashed")
    for branch in ("main", *(f"branch{n}" for n in range(4))):
        place.git("branch", "-q", "-D", branch)
    place.git("stash", "clear")
    place.git("reflog", "expire", "--expire=now", "--all")
    place.git("gc", "-q", "--prune=now", "--aggressive")

    assert len(place.checkpoints()) == n
    assert place.read_everything() > 20
    assert place.fsck() == ""


def test_packed_checkpoints_outlive_it_too(place):
    worked(place)
    assert tidy.pack(place.points.objects) > 10
    place.git("checkout", "-q", "--orphan", "fresh")
    place.git("rm", "-q", "-rf", ".")
    for branch in ("main", *(f"branch{n}" for n in range(4))):
        place.git("branch", "-q", "-D", branch, may_fail=True)
    place.git("stash", "clear")
    place.git("reflog", "expire", "--expire=now", "--all")
    place.git("gc", "-q", "--prune=now", "--aggressive")

    assert place.read_everything() > 20
    assert place.fsck() == ""
    place.write("new", "1\n")
    place.assert_equal()


def test_a_copied_base_needs_the_user_s_repository_no_more(tmp_path):
    place = Watched(tmp_path / "repo", checkpoints__keep_ref=False)
    place.write("a/base", "base\n")
    place.commit()
    place.write("a/more", "more\n")
    place.checkpoint()
    shutil.rmtree(place.root / ".git/objects")

    assert place.read_everything() == 2


# --- what is withheld -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".env", "a/id_ed25519", "certs/server.pem"])
def test_of_a_secret_file_nothing_is_written(place, name):
    place.write(name, "TOKEN=correct horse battery staple\n")
    place.checkpoint()

    (found,) = place.found
    assert found.kept is not None
    assert found.kept.withheld == "path"
    assert found.kept.hmac
    assert found.kept.hmac.encode() in (place.kept(name) or b"")
    assert found.after is not None
    assert place.points.objects.withheld(found.after.oid) == "path"
    assert b"correct horse" not in everything_in(place.workspace.dir)


def test_a_secret_that_changes_is_a_change_and_one_that_does_not_is_none(place):
    place.write(".env", "A=1\n")
    tree = place.checkpoint()
    assert list(place.points.look(tree, [b".env"])) == []
    place.write(".env", "A=2\n")

    assert place.checkpoint() != tree
    place.write(".env", "A=1\n")
    assert place.checkpoint() == tree


def test_of_a_file_with_a_secret_in_it_a_redacted_form_is_kept(place):
    place.write("settings.ini", f"region = eu\npassword = {KEY}\n")
    place.checkpoint()

    (found,) = place.found
    assert found.kept is not None
    assert found.after is not None
    assert found.kept.withheld == "secret"
    assert place.points.objects.withheld(found.after.oid) == "secret"
    assert b"region = eu" in (place.kept("settings.ini") or b"")
    assert KEY.encode() not in everything_in(place.workspace.dir)


def test_what_is_committed_is_no_secret_to_the_repository(place):
    place.write("settings.ini", f"password = {KEY}\n")
    place.commit()
    place.write("f", "1\n")

    place.assert_equal()
    place.write("settings.ini", f"password = {KEY}\nregion = eu\n")
    place.checkpoint()
    assert KEY.encode() not in (place.kept("settings.ini") or b"")
    place.write("elsewhere.ini", f"password = {KEY}\n")
    place.checkpoint()
    assert KEY.encode() not in (place.kept("elsewhere.ini") or b"")


def test_a_secret_that_is_only_staged_is_withheld(place):
    place.write("settings.ini", "none yet\n")
    place.commit()
    place.checkpoint()
    place.write("settings.ini", f"password = {KEY}\n")
    place.git("add", "settings.ini")
    place.git("update-index", "--assume-unchanged", "settings.ini")
    place.checkpoint()

    assert KEY.encode() not in (place.kept("settings.ini") or b"")
    assert KEY.encode() not in everything_in(place.workspace.dir)


def test_a_link_that_leads_to_a_secret_file_is_only_a_link(place):
    place.write(".env", "TOKEN=correct horse\n")
    (place.root / "link").symlink_to(".env")
    place.checkpoint()

    assert place.kept("link") == b".env"


# --- bounds ---------------------------------------------------------------------------------------------


def test_of_a_file_that_is_too_large_hash_and_size_are_kept(tmp_path):
    place = Watched(tmp_path / "repo", checkpoints__file_kb=1)
    place.write("large", b"x" * 5000)
    place.write("small", b"x" * 1024)
    tree = place.checkpoint()

    (large, small) = place.found
    assert large.kept is not None
    assert (large.kept.withheld, small.kept and small.kept.withheld) == ("size", None)
    assert b"5000 bytes, hmac" in (place.kept("large") or b"")
    assert list(place.points.look(tree, [b"large", b"small"])) == []
    place.write("large", b"y" * 5000)
    assert place.checkpoint() != tree
    assert place.points.bounds == {"checkpoints.file_kb": 2}


def test_a_bound_is_counted_once_for_a_change_however_often_it_is_looked_at(tmp_path):
    place = Watched(tmp_path / "repo", checkpoints__file_kb=1)
    place.write("large", b"x" * 5000)

    for _ in range(3):
        assert len(list(place.points.look(None, [b"large"]))) == 1

    assert place.points.bounds == {"checkpoints.file_kb": 1}


def test_one_checkpoint_keeps_so_much_and_no_more(tmp_path):
    place = Watched(tmp_path / "repo", checkpoints__file_kb=1024, checkpoints__checkpoint_mb=1)
    for name in "abc":
        place.write(name, os.urandom(700_000))
    tree = place.checkpoint()

    assert [one.kept and one.kept.withheld for one in place.found] == [None, "checkpoint", "checkpoint"]
    assert place.points.bounds == {"checkpoints.checkpoint_mb": 2}
    assert list(place.points.look(tree, [b"a", b"b", b"c"])) == []


def test_a_full_store_keeps_hashes_and_goes_on(place):
    place.write("a", "1\n")
    place.checkpoint()
    place.points.is_full = True
    place.write("a", "2\n")
    tree = place.checkpoint()

    (found,) = place.found
    assert found.kept is not None
    assert found.kept.withheld == "store"
    place.points.is_full = False
    assert list(place.points.look(tree, [b"a"])) == []
    place.write("a", "3\n")
    place.checkpoint()
    assert place.kept("a") == b"3\n"


# --- what is told of changes ----------------------------------------------------------------------------


def test_what_stops_to_count_is_told_so_and_is_there(place):
    place.write("f.log", "1\n")
    place.checkpoint()
    place.write(".gitignore", "*.log\n")
    place.assert_equal()

    assert {one.path: one.is_ignored for one in place.found} == {b".gitignore": False, b"f.log": True}


def test_the_user_s_list_for_us_wins_over_what_is_tracked(tmp_path):
    place = Watched(tmp_path / "repo", edits__ignore="*.gen noise/")
    place.write("keep.log", "1\n")
    place.write(".gitignore", "*.log\n")
    place.write("a/.gitignore", "!keep.log\n")
    for path in ("x.gen", "noise/f", "a/keep.log", "a/y.gen", "f"):
        place.write(path, "1\n")
    place.git("add", "x.gen")
    place.checkpoint()

    assert {one.path for one in place.found} == {b".gitignore", b"a/.gitignore", b"a/keep.log", b"f"}


def test_hints_find_what_candidates_find(place):
    place.write("a/b/f", "1\n")
    place.write("c", "1\n")
    place.commit()
    tree = place.checkpoint()
    shutil.rmtree(place.root / "a")
    place.write("a", "a file now\n")
    (place.root / "c").unlink()
    place.write("c/d/e", "a folder now\n")
    hints = {path for hint in (b"a", b"c") for path in place.points.expand(tree, hint)}

    found = {one.path for one in place.points.look(tree, hints)}
    place.assert_equal()

    assert found == {one.path for one in place.found} == {b"a", b"a/b/f", b"c", b"c/d/e"}


def test_a_file_that_comes_and_goes_between_two_looks_is_nothing(place):
    tree = place.checkpoint()
    place.write("f", "1\n").unlink()

    assert list(place.points.look(tree, [b"f", b"nowhere/at/all", b""])) == []


def test_ten_changes_read_no_folder_twice(place, monkeypatch):
    for n in range(200):
        place.write(f"a/b{n % 10}/c/f{n}", f"{n}\n")
    place.commit()
    tree = place.checkpoint()
    for n in range(10):
        place.write(f"a/b3/c/f{n * 10 + 3}", "changed\n")
    reads: list[str] = []
    read = trees.Objects.read
    monkeypatch.setattr(trees.Objects, "read", lambda self, oid: reads.append(oid) or read(self, oid))

    found = list(place.points.look(tree, [f"a/b3/c/f{n * 10 + 3}".encode() for n in range(10)]))

    assert len(found) == 10
    assert len(reads) == len(set(reads)) == 4


def test_a_damaged_chain_is_set_aside_and_a_new_one_begun(place):
    place.write("f", "1\n")
    place.checkpoint()
    ref = place.points.objects.path / "refs/devtrace" / place.points.chain.name
    ref.write_text("0" * 40 + "\n")
    place.open()

    assert place.points.tip() is None
    assert place.points.bounds == {"checkpoints_lost": 1}
    place.assert_equal()


def test_git_itself_can_read_a_chain(place):
    worked(place)

    ref = f"refs/devtrace/{place.points.chain.name}"
    told = subprocess.run(
        ["git", "--git-dir", place.points.objects.path, "log", "--format=%T", ref],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip

    assert told == [point.tree for point in place.checkpoints()]
