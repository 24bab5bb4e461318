"""How HEAD moved, told from the reflog; git itself makes the moves, and says where they ended."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from devtrace.sources.git import Head, head_of
from devtrace.sources.moves import Move, Moves


def attempt(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"GIT_EDITOR": "true", "GIT_SEQUENCE_EDITOR": "true"}
    command = ["git", "-C", str(place), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


def git(place: Path, *words: str) -> str:
    done = attempt(place, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(place: Path, subject: str = "one more") -> str:
    git(place, "commit", "-q", "--allow-empty", "-m", subject)
    return git(place, "rev-parse", "HEAD")


def commit_file(place: Path, name: str, text: str = "text\n") -> str:
    (place / name).write_text(text)
    git(place, "add", name)
    return commit(place, f"write {name}")


def told(moves: list[Move]) -> list[tuple[str, str | None]]:
    return [(move.how, move.branch) for move in moves]


def assert_linked(moves: list[Move], before: Head, place: Path) -> None:
    after = head_of(place)
    assert after is not None
    at = before.commit
    for move in moves:
        assert move.old == at, moves
        at = move.new
    assert at == after.commit, moves
    branch = moves[-1].branch if moves else before.branch
    assert branch == after.branch, moves


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    place = tmp_path / "shop"
    subprocess.run(["git", "init", "-q", "-b", "main", place], check=True)
    return place


def test_nothing_is_told_of_what_was_before(shop: Path) -> None:
    commit(shop)

    assert Moves(shop).look() == []


def test_a_first_commit_is_told_with_its_subject_and_time(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = Moves(shop)
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1700000000 +0200")
    first = commit(shop, "begin: a shop")

    assert moves.look() == [Move(None, first, "commit", "main", "begin: a shop", 1_700_000_000)]
    assert moves.look() == []


def test_commits_and_an_amend_link_up(shop: Path) -> None:
    first = commit(shop)
    moves = Moves(shop)
    second = commit(shop, "two")
    git(shop, "commit", "-q", "--amend", "--allow-empty", "-m", "better")
    third = git(shop, "rev-parse", "HEAD")

    assert [move[:5] for move in moves.look()] == [
        (first, second, "commit", "main", "two"),
        (second, third, "amend", "main", "better"),
    ]


def test_a_new_branch_at_the_same_commit_is_told(shop: Path) -> None:
    here = commit(shop)
    moves = Moves(shop)
    git(shop, "checkout", "-q", "-b", "cart")

    (move,) = moves.look()

    assert move[:5] == (here, here, "checkout", "cart", "moving from main to cart")


def test_a_checkout_of_the_same_branch_is_no_move(shop: Path) -> None:
    commit(shop)
    moves = Moves(shop)
    git(shop, "checkout", "-q", "main")
    git(shop, "reset", "-q")

    assert moves.look() == []


def test_a_stash_is_no_move(shop: Path) -> None:
    commit_file(shop, "cart.py")
    moves = Moves(shop)
    (shop / "cart.py").write_text("changed\n")
    git(shop, "stash")

    assert moves.look() == []


def test_every_branch_on_the_way_is_known(shop: Path) -> None:
    commit(shop)
    git(shop, "tag", "v1")
    moves = Moves(shop)
    git(shop, "switch", "-q", "-c", "cart")
    commit(shop)
    git(shop, "checkout", "-q", "v1")
    commit(shop)
    git(shop, "switch", "-q", "main")
    git(shop, "merge", "-q", "cart")

    assert told(moves.look()) == [
        ("checkout", "cart"),
        ("commit", "cart"),
        ("checkout", None),
        ("commit", None),
        ("checkout", "main"),
        ("fast-forward", "main"),
    ]


def test_a_merge_a_revert_a_cherry_pick_and_a_reset(shop: Path) -> None:
    commit(shop)
    git(shop, "switch", "-q", "-c", "cart")
    picked = commit_file(shop, "cart.py")
    git(shop, "switch", "-q", "main")
    commit_file(shop, "main.py")
    moves = Moves(shop)
    git(shop, "merge", "-q", "--no-edit", "cart")
    git(shop, "reset", "-q", "--hard", "HEAD~1")
    git(shop, "cherry-pick", picked)
    git(shop, "revert", "--no-edit", "HEAD")

    hows = [(how, "main") for how in ("merge", "reset", "cherry-pick", "revert")]
    assert told(moves.look()) == hows


def test_a_patch_of_a_mail(shop: Path) -> None:
    commit_file(shop, "cart.py")
    git(shop, "format-patch", "-q", "--root", "-1", "-o", "..")
    (patch,) = shop.parent.glob("*.patch")
    git(shop, "switch", "-q", "--orphan", "clean")
    commit(shop)
    moves = Moves(shop)
    git(shop, "am", "-q", str(patch))

    assert told(moves.look()) == [("am", "clean")]


@pytest.fixture
def forked(shop: Path) -> Path:
    commit(shop)
    git(shop, "switch", "-q", "-c", "cart")
    commit_file(shop, "a.py")
    commit_file(shop, "b.py")
    git(shop, "switch", "-q", "main")
    commit_file(shop, "main.py")
    git(shop, "switch", "-q", "cart")
    return shop


def test_a_rebase_ends_on_its_branch_without_a_move_of_its_own(forked: Path) -> None:
    moves = Moves(forked)
    git(forked, "rebase", "-q", "main")

    assert told(moves.look()) == [("rebase", None), ("rebase", None), ("rebase", "cart")]


def test_a_rebase_that_is_looked_at_halfway_is_detached_until_it_ends(forked: Path) -> None:
    commit_file(forked, "main.py", "conflict\n")
    moves = Moves(forked)
    assert attempt(forked, "rebase", "main").returncode == 1
    assert told(moves.look()) == [("rebase", None)] * 3

    git(forked, "rebase", "--abort")

    assert told(moves.look()) == [("rebase", "cart")]


def test_an_amend_during_a_rebase_is_an_amend(forked: Path) -> None:
    moves = Moves(forked)
    assert attempt(forked, "rebase", "-q", "--exec", "false", "main").returncode == 1
    git(forked, "commit", "-q", "--amend", "-m", "better")

    assert told(moves.look())[-1] == ("amend", None)


def test_a_pull_is_a_pull_with_a_rebase_too(shop: Path, tmp_path: Path) -> None:
    commit(shop)
    git(tmp_path, "clone", "-q", "shop", "copy")
    copy = tmp_path / "copy"
    moves = Moves(copy)
    commit(shop)
    git(copy, "pull", "-q")
    assert told(moves.look()) == [("pull", "main")]
    commit(shop)
    commit_file(copy, "mine.py")
    git(copy, "pull", "-q", "--rebase")

    assert told(moves.look()) == [("commit", "main"), ("pull", None), ("pull", "main")]


def test_a_renamed_branch_is_one_move(shop: Path) -> None:
    here = commit(shop)
    moves = Moves(shop)
    git(shop, "branch", "-m", "trunk")

    (move,) = moves.look()

    assert move[:4] == (here, here, "branch", "trunk")


def test_a_branch_renamed_in_another_worktree_is_told_here(shop: Path, tmp_path: Path) -> None:
    here = commit(shop)
    git(shop, "worktree", "add", "-q", "-b", "fix", "../fix")
    moves = Moves(shop)
    git(tmp_path / "fix", "branch", "-m", "main", "trunk")

    (move,) = moves.look()

    assert move[:4] == (here, here, "branch", "trunk")


def test_an_orphan_leaves_no_line_and_is_told_all_the_same(shop: Path) -> None:
    here = commit(shop)
    moves = Moves(shop)
    git(shop, "checkout", "-q", "--orphan", "pages")
    assert moves.look() == [Move(here, None, "unknown", "pages", "", None)]

    git(shop, "checkout", "-q", "main")
    git(shop, "checkout", "-q", "--orphan", "other")
    commit(shop)

    # What was checked out before the hole no line says: "main" might be a tag.
    assert told(moves.look()) == [("checkout", None), ("unknown", "other"), ("commit", "other")]


@pytest.mark.parametrize("message", ["", "my own words", "commit", "weird: commit: x"])
def test_words_that_are_not_gits_own_stay_whole(shop: Path, message: str) -> None:
    first = commit(shop)
    second = commit(shop)
    moves = Moves(shop)
    git(shop, "update-ref", *(["-m", message] if message else []), "HEAD", first)

    (move,) = moves.look()

    assert move[:5] == (second, first, "unknown", "main", message)


def test_a_bisection_is_a_row_of_checkouts(shop: Path) -> None:
    first = commit(shop)
    for _ in range(4):
        commit(shop)
    moves = Moves(shop)
    git(shop, "bisect", "start", "HEAD", first)
    git(shop, "bisect", "reset")

    assert told(moves.look()) == [("checkout", None), ("checkout", "main")]


def test_a_worktree_has_moves_of_its_own(shop: Path, tmp_path: Path) -> None:
    commit(shop)
    git(shop, "worktree", "add", "-q", "-b", "fix", "../fix")
    here, there = Moves(shop), Moves(tmp_path / "fix")
    commit(tmp_path / "fix")

    assert here.look() == []
    assert told(there.look()) == [("commit", "fix")]


def test_without_a_reflog_head_itself_is_compared(shop: Path) -> None:
    git(shop, "config", "core.logAllRefUpdates", "false")
    first = commit(shop)
    moves = Moves(shop)
    assert not (shop / ".git" / "logs" / "HEAD").exists()
    commit(shop)
    last = commit(shop)

    assert moves.look() == [Move(first, last, "unknown", "main", "", None)]


@pytest.mark.parametrize("damage", ["expired", "deleted", "truncated", "nonsense"])
def test_a_reflog_that_lost_its_lines_does_not_break_the_chain(shop: Path, damage: str) -> None:
    commit(shop)
    before = Head("main", commit(shop))
    moves = Moves(shop)
    log = shop / ".git" / "logs" / "HEAD"
    commit(shop)
    if damage == "expired":
        git(shop, "reflog", "expire", "--expire=now", "--all")
    elif damage == "deleted":
        log.unlink()
    else:
        log.write_bytes({"truncated": b"", "nonsense": b"\0\xff" * 400 + b"\n"}[damage])

    (move,) = found = moves.look()

    assert move.how == "unknown"
    assert_linked(found, before, shop)
    commit(shop)
    assert told(moves.look()) == [("commit", "main")]


def test_after_the_old_lines_expired_only_the_new_ones_are_told(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("GIT_COMMITTER_DATE", "1000000000 +0000")
        commit(shop)
    commit(shop)
    moves = Moves(shop)
    newest = commit(shop, "new")
    git(shop, "reflog", "expire", "--expire=1.year.ago", "--all")

    (move,) = moves.look()

    assert (move.how, move.new, move.subject) == ("commit", newest, "new")


def test_a_half_written_line_waits_for_its_end(shop: Path) -> None:
    first = commit(shop)
    second = commit(shop)
    moves = Moves(shop)
    line = f"{second} {first} Ana <ana@example.org> 1700000000 +0000\treset: moving to x\n"
    log = shop / ".git" / "logs" / "HEAD"
    with log.open("a") as file:
        file.write(line[:50])
        file.flush()
        assert moves.look() == []
        file.write(line[50:])
    (shop / ".git" / "refs" / "heads" / "main").write_text(first + "\n")

    assert told(moves.look()) == [("reset", "main")]


def test_odd_bytes_are_told_and_raise_nothing(shop: Path) -> None:
    commit(shop)
    moves = Moves(shop)
    words: list[bytes] = [
        b"git",
        b"-C",
        bytes(shop),
        b"-c",
        b"i18n.commitEncoding=latin-1",
        b"-c",
        b"user.name=A\tB\xe9",
    ]
    subprocess.run([*words, b"commit", b"-q", b"--allow-empty", b"-m", b"caf\xe9\x85\x0cx"], check=True)
    subprocess.run([*words, b"checkout", b"-q", b"-b", b"caf\xe9"], check=True)

    told_commit, checkout = moves.look()

    assert told_commit.how == "commit"
    assert told_commit.subject.encode("utf-8", "surrogateescape").startswith(b"caf")
    assert (checkout.how, checkout.branch) == ("checkout", "caf\udce9")


def test_a_repository_of_longer_names_is_told_the_same(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256", "long")
    moves = Moves(tmp_path / "long")
    first = commit(tmp_path / "long")
    second = commit(tmp_path / "long")

    assert len(first) == 64
    assert [move[:3] for move in moves.look()] == [(None, first, "commit"), (first, second, "commit")]


def test_where_there_is_no_repository_there_is_nothing_to_tell_until_there_is(tmp_path: Path) -> None:
    moves = Moves(tmp_path)
    assert moves.look() == moves.look() == []
    git(tmp_path, "init", "-q")
    assert moves.look() == []
    first = commit(tmp_path)

    assert [move[:4] for move in moves.look()] == [(None, first, "commit", "main")]


def test_a_clone_into_the_place_is_told(shop: Path, tmp_path: Path) -> None:
    newest = commit(shop)
    moves = Moves(tmp_path / "copy")
    git(tmp_path, "clone", "-q", "shop", "copy")

    assert [move[:4] for move in moves.look()] == [(None, newest, "clone", "main")]


def test_a_repository_that_is_removed_and_made_anew_links_up(shop: Path) -> None:
    before = Head("main", commit(shop))
    moves = Moves(shop)
    (shop / ".git").rename(shop / "away")
    assert moves.look() == [Move(before.commit, None, "unknown", None, "", None)]
    git(shop, "init", "-q")
    commit(shop, "anew")

    assert told(moves.look()) == [("commit", "main")]


def test_a_look_without_a_move_opens_nothing_and_asks_for_few_facts(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(shop)
    moves = Moves(shop)
    facts: list[Path] = []
    stat = Path.stat

    def counted(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        facts.append(path)
        return stat(path, follow_symlinks=follow_symlinks)

    def refused(path: Path, *_: object, **__: object) -> None:
        raise AssertionError(f"{path} was opened")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", counted)
        patch.setattr(Path, "open", refused)
        patch.setattr(Path, "read_text", refused)
        assert moves.look() == []

    assert len(facts) <= 5


def test_what_is_watched_is_what_changes(shop: Path) -> None:
    commit(shop)
    watched = Moves(shop).watched
    before = {file: file.stat().st_mtime_ns for file in watched if file.exists()}
    commit(shop)

    changed = {
        file.relative_to(shop).as_posix() for file, then in before.items() if file.stat().st_mtime_ns != then
    }
    assert changed == {".git/logs/HEAD", ".git/refs/heads/main"}
    assert shop / ".git" / "HEAD" in watched


def test_where_files_cannot_tell_git_is_asked(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # git 2.45 and later can make a reftable; this is what one looks like to who cannot read it.
    old, new = "1" * 40, "2" * 40
    answer = tmp_path / "answer"
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "git"
    fake.write_text(f'#!/bin/sh\ncase "$*" in *rev-parse*) cat {answer};; esac\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    tables = shop / ".git" / "reftable" / "tables.list"
    tables.parent.mkdir()
    tables.write_text("a\n")
    (shop / ".git" / "HEAD").write_text("ref: refs/heads/.invalid\n")
    answer.write_text(f"{old}\nrefs/heads/main\n")
    moves = Moves(shop)
    answer.write_text(f"{new}\nHEAD\n")
    assert moves.look() == []  # nothing that is watched has changed: git is not even asked
    tables.write_text("a\nb\n")

    assert moves.look() == [Move(old, new, "unknown", None, "", None)]


def test_a_damaged_head_is_waited_for(shop: Path) -> None:
    commit(shop)
    moves = Moves(shop)
    head = shop / ".git" / "HEAD"
    whole = head.read_bytes()
    head.write_bytes(b"nonsense\n")
    assert moves.look() == []
    head.write_bytes(whole)
    commit(shop)

    assert told(moves.look()) == [("commit", "main")]


class Player:
    """Plays with a repository at random; what git refuses is refused."""

    def __init__(self, place: Path, dice: random.Random) -> None:
        self.place = place
        self.dice = dice
        self.names = 0

    def step(self) -> None:
        getattr(self, self.dice.choice(PLAYS))()
        for unfinished in ("rebase", "merge", "cherry-pick"):
            if self.dice.random() < 0.7:
                attempt(self.place, unfinished, "--abort")

    def a_commit(self) -> None:
        (self.place / self.dice.choice("abc")).write_text(str(self.dice.random()))
        attempt(self.place, "add", "-A")
        attempt(self.place, "commit", "-q", "-m", "a commit to b")

    def an_amend(self) -> None:
        attempt(self.place, "commit", "-q", "--amend", "-m", f"better {self.dice.random()}")

    def a_branch(self) -> None:
        self.names += 1
        attempt(self.place, "checkout", "-q", "-b", f"b{self.names}")

    def a_checkout(self) -> None:
        attempt(self.place, "checkout", "-q", "-f", self.some())

    def a_rename(self) -> None:
        self.names += 1
        attempt(self.place, "branch", "-m", f"b{self.names}")

    def a_detour(self) -> None:
        attempt(self.place, "checkout", "-q", "--detach")

    def an_orphan(self) -> None:
        self.names += 1
        attempt(self.place, "checkout", "-q", "--orphan", f"b{self.names}")

    def a_merge(self) -> None:
        attempt(self.place, "merge", "-q", "--no-edit", self.some())

    def a_rebase(self) -> None:
        attempt(self.place, "rebase", "-q", self.some(), *([self.some()] if self.dice.random() < 0.2 else []))

    def a_reset(self) -> None:
        attempt(self.place, "reset", "-q", "--hard", self.dice.choice(["HEAD", "HEAD~1", self.some()]))

    def a_pick(self) -> None:
        attempt(self.place, "cherry-pick", self.some())

    def an_expiry(self) -> None:
        attempt(self.place, "reflog", "expire", "--expire=now", "--all")

    def a_silent_move(self) -> None:
        attempt(self.place, "-c", "core.logAllRefUpdates=false", "update-ref", "HEAD", self.some())
        attempt(self.place, "pack-refs", "--all")

    def some(self) -> str:
        names = git(self.place, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
        return self.dice.choice(names or ["HEAD"])


PLAYS = (
    [name for name in vars(Player) if name.startswith(("a_", "an_"))] + ["a_commit"] * 4 + ["a_checkout"] * 2
)


@pytest.mark.parametrize("round_", range(4))
def test_whatever_is_played_the_moves_link_up_and_end_at_head(shop: Path, round_: int) -> None:
    seed = int(os.environ.get("MOVES_SEED", random.randrange(10**9)))
    try:
        play(shop, random.Random(seed))
    except BaseException as error:
        error.add_note(f"again with MOVES_SEED={seed}")
        raise


def play(shop: Path, dice: random.Random) -> None:
    player, moves = Player(shop, dice), Moves(shop)
    before = Head("main", None)
    for _ in range(25):
        for _ in range(dice.choice([1, 1, 1, 4])):
            player.step()
        found = moves.look()
        assert_linked(found, before, shop)
        after = head_of(shop)
        assert after is not None
        assert after.commit == (attempt(shop, "rev-parse", "-q", "--verify", "HEAD").stdout.strip() or None)
        before = after
