"""Ranges of commits in clones that have not got all of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devtrace.errors import UsageError
from devtrace.query.gitrange import chosen
from tests.edits import Recorded


def shallow(tmp_path: Path, depth: int) -> Path:
    """A clone of three commits that has the last of them."""
    place = Recorded(tmp_path / "repo")
    for name in ("one", "two", "three"):
        place.write(f"{name}.txt", name)
        place.git("add", "-A")
        place.git("commit", "-qm", name)
    found = tmp_path / "clone"
    url = f"file://{place.root}"
    subprocess.run(["git", "clone", "-q", "--depth", str(depth), url, str(found)], check=True)
    return found


@pytest.mark.parametrize(
    ("depth", "text"), [(1, None), (1, "HEAD"), (2, "HEAD~1"), (1, "HEAD~1.."), (2, "HEAD~2..HEAD")]
)
def test_what_a_shallow_clone_cannot_compare_is_refused(tmp_path, depth, text):
    with pytest.raises(UsageError) as caught:
        chosen(shallow(tmp_path, depth), text)

    assert caught.value.code == "ERR_RANGE"
    assert "git fetch --unshallow" in caught.value.hint


def test_what_a_shallow_clone_has_both_ends_of_is_a_range(tmp_path):
    clone = shallow(tmp_path, 2)

    assert len(chosen(clone, "HEAD").commits()) == 1
    assert len(chosen(clone, "HEAD~1..HEAD").commits()) == 1


def test_a_linked_working_tree_of_a_shallow_clone_is_shallow_too(tmp_path):
    clone = shallow(tmp_path, 1)
    subprocess.run(["git", "worktree", "add", "-q", "../linked"], cwd=clone, check=True)

    with pytest.raises(UsageError, match="not cloned"):
        chosen(tmp_path / "linked", "HEAD")


def test_the_first_commit_of_a_whole_clone_is_a_range(tmp_path):
    clone = shallow(tmp_path, 100)

    assert chosen(clone, "HEAD~2").base is None
