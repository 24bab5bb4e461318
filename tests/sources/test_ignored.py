"""What is ignored is what git ignores, above all where a rule is taken back by another."""

from __future__ import annotations

import os

import pytest

from tests.working_trees import Watched

FILES = (
    "f",
    "x.log",
    "keep.log",
    "a/f",
    "a/keep.log",
    "a/build/f",
    "a/build/h.log",
    "a/b/keep.log",
    "build/f",
)


@pytest.mark.parametrize(
    "rules",
    [
        {".gitignore": "*.log\n", "a/.gitignore": "!keep.log\n"},
        {".gitignore": "build/\n", "a/.gitignore": "!build/\n"},
        {".gitignore": "a/*\n!build/\n"},
        {".git/info/exclude": "a/*\n!*.log\n"},
        {".git/info/exclude": "*.log\n", ".gitignore": "!keep.log\n"},
        {".gitignore": "/*\n!/a/\n/a/*\n!/a/build/\n"},
        {".gitignore": "*\n!*/\n!*.log\n"},
        {".gitignore": "*.log\n", "a/b/.gitignore": "!*\n"},
        {"a/.gitignore": "*\n!.gitignore\n"},
        {".gitignore": "\\!odd\n*.log\n"},
        {".gitignore": "a\n!a/f\n"},
    ],
)
def test_a_rule_that_is_taken_back_is_taken_back_as_git_does(tmp_path, rules):
    place = Watched(tmp_path / "repo")
    for path in FILES:
        place.write(path, "1\n")
    place.checkpoint()
    for path, text in rules.items():
        place.write(path, text)

    tree = place.assert_equal()
    everything = {path for folder in (b"a", b"build") for path in place.points.expand(tree, folder)}
    assert list(place.points.look(tree, everything | {path.encode() for path in FILES})) == []


def test_rules_for_everybody_are_heard_when_they_change(tmp_path):
    place = Watched(tmp_path / "repo")
    everywhere = tmp_path / "everywhere"
    for path in FILES:
        place.write(path, "1\n")
    place.assert_equal()
    place.git("config", "core.excludesFile", str(everywhere))
    for rules in ("*.log\n", "build/\n", "*.log\n!keep.log\n", ""):
        everywhere.write_text(rules)
        place.assert_equal()


def test_a_link_to_a_folder_is_no_folder(tmp_path):
    place = Watched(tmp_path / "repo")
    place.write("a/f", "1\n")
    place.write(".gitignore", "build/\n")
    (place.root / "build").symlink_to("a")

    place.assert_equal()
    assert place.kept("build") == b"a"


def test_one_path_behind_a_link_spoils_no_answer_for_the_others(tmp_path):
    place = Watched(tmp_path / "repo")
    place.write("a/f", "1\n")
    place.write("x.log", "1\n")
    tree = place.assert_equal()
    place.write(".git/info/exclude", "!keep.log\n*.log\n")
    (place.root / "a").rename(place.root / "b")
    (place.root / "a").symlink_to("b")

    assert {one.path for one in place.points.look(tree, [b"a", b"a/f", b"a/new", b"x.log"])} == {
        b"a",
        b"a/f",
        b"x.log",
    }
    place.assert_equal()


def test_names_that_are_no_text_are_ignored_too(tmp_path):
    place = Watched(tmp_path / "repo")
    place.write(".gitignore", "*.log\n")
    for name in (b"\xff.log", b"\xff.txt"):
        with open(os.path.join(os.fsencode(place.root), name), "wb") as file:
            file.write(b"1\n")

    place.assert_equal()
