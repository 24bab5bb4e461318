"""The benchmark of checkpoints measures what it says it measures: a tiny run, no seconds asserted."""

from __future__ import annotations

import os

import pytest

from benchmarks import checkpoints
from benchmarks.__main__ import rooms

TINY = checkpoints.Amount(sizes=(70,), rounds=1, starts=1, edits=40)

pytestmark = pytest.mark.needs("git")


def test_it_is_found_by_its_name():
    assert rooms(["checkpoints"]) == ["checkpoints"]


def test_every_row_has_a_figure_and_a_ratio_where_there_is_a_peer():
    rows = checkpoints.measure(amount=TINY)

    hints, whole = "a checkpoint of 10 changed files of 70, from hints", "the same of 70, from a whole look"
    assert [(row["what"], row["peer_name"]) for row in rows] == [
        (hints, "git status"),
        (hints, "git add -A, write-tree"),
        (whole, "git status"),
        (whole, "git add -A, write-tree"),
        ("the first start of a tracker of 70 files", "git status"),
        ("a later start of 70 files", "git status"),
        ("its watcher's part of 70 files", ""),
        ("disk for a changed byte, loose", "git commit"),
        ("disk for a changed byte, packed", "git gc"),
        ("an edit event in the database", ""),
    ]
    for row in rows:
        assert row["ours"] is not None
        assert row["ours"] > 0
        assert (row["peer"] is None) == (row["peer_name"] == "") == (row["ratio"] is None)
    assert [row["budget"] for row in rows if row["budget"]] == ["<= 50 ms"]
    assert {row["unit"] for row in rows} == {"ms", "B"}


def test_a_look_from_hints_a_whole_look_and_git_make_the_same_tree(tmp_path):
    tree = checkpoints.a_tree(tmp_path / "tree", 70)
    points = checkpoints.checkpoints(tree)
    paths = [os.fsencode(checkpoints.path_of(number)) for number in (0, 7, 60, 61)]

    checkpoints.change(tree, paths, "once")
    from_hints = checkpoints.a_checkpoint(points, lambda _: paths)

    assert checkpoints.a_checkpoint(points, points.candidates) == from_hints
    assert checkpoints.side_tree(tree, tmp_path / "index") == from_hints
    assert len(list(tree.glob("part*/area*"))) == 2


def test_an_edit_is_the_same_in_every_root_and_changes_as_much_as_it_says(tmp_path):
    roots = (tmp_path / "one", tmp_path / "other")
    for root in roots:
        checkpoints.files_to_edit(root)

    changed = [checkpoints.edit(root, 3) for root in roots]

    assert changed[0] == changed[1]
    told = [checkpoints.git(root, "diff", "--numstat") for root in roots]
    assert told[0] == told[1] == f"3\t3\t{os.fsdecode(changed[0][0])}"
    assert 4_000 < (roots[0] / os.fsdecode(changed[0][0])).stat().st_size < 6_000
