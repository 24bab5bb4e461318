"""Trees from trees: git writes the same one, and only what is above a change is read and written."""

from __future__ import annotations

import random
import subprocess

import pytest

from devtrace.errors import EnvironmentError
from devtrace.store.checkpoints import tree as trees
from devtrace.store.checkpoints.objects import Objects, open_objects
from devtrace.store.checkpoints.tree import EMPTY_TREE, Entry
from devtrace.workspace import Workspace, create

FILE, LINK = 0o100644, 0o120000


@pytest.fixture
def objects(tmp_path):
    place = Workspace(tmp_path / ".devtrace")
    create(place)
    return open_objects(place, create=True)


def blob(objects: Objects, text: str = "1\n", mode: int = FILE) -> Entry:
    return Entry(mode, objects.write("blob", text.encode()))


def made(objects: Objects, *paths: bytes) -> str:
    one = blob(objects)
    return trees.with_changes(objects, None, dict.fromkeys(paths, one))


def paths_of(objects: Objects, tree: str) -> list[bytes]:
    return [path for path, _ in trees.walk(objects, tree)]


def git_s(objects: Objects, entries: dict[bytes, Entry], tmp_path) -> str:
    """The tree that git makes of the paths."""
    environment = {
        "GIT_DIR": str(objects.path),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
        "PATH": "/usr/bin:/bin",
    }
    (tmp_path / "index").unlink(missing_ok=True)
    lines = b"".join(b"%o %s\t%s\0" % (e.mode, e.oid.encode(), p) for p, e in entries.items())
    run = {"check": True, "capture_output": True, "env": environment}
    subprocess.run(["git", "update-index", "-z", "--index-info"], input=lines, **run)
    return subprocess.run(["git", "write-tree"], **run).stdout.decode().strip()


def n_files(objects: Objects) -> int:
    return sum(1 for path in (objects.path / "objects").rglob("*") if path.is_file())


def test_names_stand_in_git_s_order(objects, tmp_path):
    names = [b"a.b", b"a/x", b"a0", b"a-", b"a b/x", b"a\xff/y", b"aa", b"A", b"a.b.c/d", b"a~/e"]

    tree = made(objects, *names)

    assert tree == git_s(objects, dict.fromkeys(names, blob(objects)), tmp_path)
    assert (
        subprocess.run(["git", "--git-dir", objects.path, "fsck", "--strict"], capture_output=True).returncode
        == 0
    )


def test_one_changed_file_five_folders_down_costs_six_trees(objects, monkeypatch):
    paths = [f"a{n % 10}/b{n // 10 % 10}/c{n // 100}/d/e/f{n}".encode() for n in range(1000)]
    tree = made(objects, *paths)
    before = n_files(objects)
    reads: list[str] = []
    read = Objects.read
    monkeypatch.setattr(Objects, "read", lambda self, oid: reads.append(oid) or read(self, oid))

    trees.with_changes(objects, tree, {paths[567]: blob(objects, "changed\n")})

    assert n_files(objects) - before == 1 + 6
    assert len(reads) == 6
    assert len(set(reads)) == 6


def test_folders_are_read_once_for_many_paths(objects, monkeypatch):
    paths = [f"a/b/c{n}".encode() for n in range(100)]
    tree = made(objects, *paths)
    reads: list[str] = []
    read = Objects.read
    monkeypatch.setattr(Objects, "read", lambda self, oid: reads.append(oid) or read(self, oid))
    known: trees.Known = {}

    assert all(trees.find(objects, tree, path, known) for path in paths)
    assert len(reads) == 3


def test_no_change_is_the_same_tree_and_writes_nothing(objects):
    tree = made(objects, b"a/b", b"c")
    before = n_files(objects)

    assert trees.with_changes(objects, tree, {}) == tree
    assert trees.with_changes(objects, tree, {b"nowhere/x": None, b"a/none": None}) == tree
    assert n_files(objects) == before


def test_a_folder_that_becomes_empty_goes(objects):
    tree = made(objects, b"a/b/c/d", b"x")

    tree = trees.with_changes(objects, tree, {b"a/b/c/d": None})

    assert paths_of(objects, tree) == [b"x"]
    assert trees.find(objects, tree, b"a") is None
    assert trees.with_changes(objects, tree, {b"x": None}) == EMPTY_TREE
    assert trees.with_changes(objects, None, {}) == EMPTY_TREE


def test_a_file_becomes_a_folder_and_a_folder_a_file(objects):
    tree = made(objects, b"a", b"b/c", b"b/d")
    one = blob(objects)

    tree = trees.with_changes(objects, tree, {b"a": None, b"a/x": one, b"b/c": None, b"b": one, b"b/d": None})

    assert paths_of(objects, tree) == [b"a/x", b"b"]


def test_what_is_taken_out_below_a_file_leaves_the_file(objects):
    tree = made(objects, b"a")

    assert trees.with_changes(objects, tree, {b"a/b/c": None}) == tree


def test_a_link_takes_the_place_of_a_folder(objects):
    tree = made(objects, b"a/b", b"a/c")

    tree = trees.with_changes(objects, tree, {b"a/b": None, b"a/c": None, b"a": blob(objects, "z", LINK)})

    assert dict(trees.walk(objects, tree)).keys() == {b"a"}


def test_differences_tell_of_each_path_once(objects):
    old = made(objects, b"same/x", b"a", b"b/c", b"gone/d/e")
    one = blob(objects, "2\n")
    changes = {b"a": None, b"a/x": one, b"b/c": None, b"b": one, b"gone/d/e": None, b"new": one}
    new = trees.with_changes(objects, old, changes)

    told = {path: after for path, _, after in trees.differences(objects, old, new)}

    assert told == changes
    assert list(trees.differences(objects, new, new)) == []


def test_equal_folders_are_not_looked_into(objects, monkeypatch):
    old = made(objects, b"same/x/y", b"a/b")
    new = trees.with_changes(objects, old, {b"a/b": blob(objects, "2\n")})
    reads: list[str] = []
    read = Objects.read
    monkeypatch.setattr(Objects, "read", lambda self, oid: reads.append(oid) or read(self, oid))

    list(trees.differences(objects, old, new))

    assert len(reads) == 4


@pytest.mark.parametrize("seed", range(8))
def test_any_changes_give_git_s_tree(objects, tmp_path, seed):
    dice = random.Random(seed)
    names = [b"a", b"a.b", b"b", b"a0", b"c\xff"]
    blobs = [blob(objects, str(n)) for n in range(4)]
    tree, state = EMPTY_TREE, {}
    for step in range(15):
        changes: dict[bytes, Entry | None] = {}
        for _ in range(dice.randrange(1, 6)):
            path = b"/".join(dice.choices(names, k=dice.randrange(1, 5)))
            if dice.random() < 0.4:
                changes |= {path: None} if path in state else {}
                state.pop(path, None)
                continue
            for other in [p for p in state if p.startswith(path + b"/") or path.startswith(p + b"/")]:
                changes[other] = None
                del state[other]
            changes[path] = state[path] = dice.choice(blobs)
        tree = trees.with_changes(objects, tree, changes)
        assert dict(trees.walk(objects, tree)) == state, f"seed {seed}, step {step}"
        assert tree == git_s(objects, state, tmp_path), f"seed {seed}, step {step}"


def test_a_tree_that_is_not_there_is_an_error_of_ours(objects):
    with pytest.raises(EnvironmentError) as caught:
        trees.find(objects, "0" * 39 + "1", b"a")

    assert caught.value.code == "ERR_STORE_DAMAGED"
