"""What is checked out, told without starting git; git itself is the judge."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devtrace.sources.git import Head, head_files, head_in, head_of, places_of


def git(place: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(place), *words], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    place = tmp_path / "shop"
    subprocess.run(["git", "init", "-q", "-b", "main", place], check=True)
    return place


def commit(place: Path) -> str:
    git(place, "commit", "-q", "--allow-empty", "-m", "one more")
    return git(place, "rev-parse", "HEAD")


def test_a_new_repository_has_a_branch_and_no_commit(shop: Path) -> None:
    assert head_of(shop) == Head("main", None)


def test_a_branch_leads_to_its_commit(shop: Path) -> None:
    commit(shop)
    git(shop, "switch", "-q", "-c", "feature/cart")
    newest = commit(shop)

    assert head_of(shop) == Head("feature/cart", newest)


def test_a_packed_branch_is_found(shop: Path) -> None:
    newest = commit(shop)
    git(shop, "pack-refs", "--all")
    assert not (shop / ".git" / "refs" / "heads" / "main").exists()

    assert head_of(shop) == Head("main", newest)


def test_a_detached_head_has_no_branch(shop: Path) -> None:
    newest = commit(shop)
    git(shop, "switch", "-q", "--detach")

    assert head_of(shop) == Head(None, newest)


def test_a_worktree_has_a_head_of_its_own(shop: Path, tmp_path: Path) -> None:
    newest = commit(shop)
    git(shop, "worktree", "add", "-q", "-b", "fix", str(tmp_path / "fix"))

    assert head_of(tmp_path / "fix") == Head("fix", newest)
    assert head_of(shop) == Head("main", newest)


def test_a_branch_that_stands_for_another_is_followed(shop: Path) -> None:
    newest = commit(shop)
    git(shop, "symbolic-ref", "refs/heads/trunk", "refs/heads/main")
    (shop / ".git" / "HEAD").write_text("ref: refs/heads/trunk\n")

    assert head_of(shop) == Head("trunk", newest)


@pytest.mark.parametrize("damage", [b"", b"nonsense\n", b"\xff\xfe\n", b"ref: refs/heads/.invalid\n"])
def test_what_the_files_do_not_tell_is_not_guessed(shop: Path, damage: bytes) -> None:
    (shop / ".git" / "HEAD").write_bytes(damage)

    assert head_of(shop) is None


def test_no_repository_is_no_error(tmp_path: Path) -> None:
    assert head_of(tmp_path) is None


def test_a_branch_of_odd_bytes_hides_no_other(shop: Path) -> None:
    newest = commit(shop)
    subprocess.run([b"git", b"-C", bytes(shop), b"branch", b"caf\xe9"], check=True)
    git(shop, "pack-refs", "--all")

    assert head_of(shop) == Head("main", newest)
    subprocess.run([b"git", b"-C", bytes(shop), b"checkout", b"-q", b"caf\xe9"], check=True)
    places = places_of(shop)
    assert places is not None
    assert head_in(places) == Head("caf\udce9", newest)
    assert head_of(shop) is None


def test_the_files_of_head_are_those_of_its_branch_too(shop: Path, tmp_path: Path) -> None:
    commit(shop)
    git(shop, "worktree", "add", "-q", "-b", "fix", str(tmp_path / "fix"))
    places = places_of(tmp_path / "fix")
    assert places is not None

    files = {file.resolve() for file in head_files(places)}

    wanted = ("worktrees/fix/HEAD", "refs/heads/fix", "packed-refs")
    assert files >= {shop / ".git" / name for name in wanted}


def test_a_git_file_of_nonsense_is_no_error(tmp_path: Path) -> None:
    (tmp_path / ".git").write_bytes(b"gitdir: a\0b\n")

    assert head_of(tmp_path) is None
    assert places_of(tmp_path) is None
