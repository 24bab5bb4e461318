"""A player does to a repository what people do; each checkpoint's tree is git's own, whatever came before.

    SEEDS=700-1000 pytest tests/services/test_checkpoint_random.py

Not here: the kinds of repositories one by one (tests/sources/test_worktree.py).
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from pathlib import Path

import pytest

from tests.working_trees import Watched, digest, times

STEPS = 25
_FIRST, _LAST = (int(part) for part in os.environ.get("SEEDS", "0-40").split("-"))

FOLDERS = ("", "a", "a/b", "a/b/c", "d", "d.e", "build", "a/build", "d/sub dir")
NAMES = ("f", "g.txt", "h.log", "i.tmp", "a", "b", "d", "build", "keep.log", "\N{SNOWMAN}.txt")
RULES = (
    "*.log", "!keep.log", "build/", "!build/", "/a/b/", "*.tmp", "a/*", "!a/b", "d", "!*.log", "!g.txt", "b",
    "/d.e/*", "**/c", "!b",
)  # fmt: skip


class Player:
    """Somebody at work; every move is written down."""

    def __init__(self, place: Watched, seed: int):
        self.place = place
        self.root = place.root
        self.dice = random.Random(seed)
        self.log: list[str] = []
        self.n = 0

    def play(self) -> None:
        """One move."""
        moves = [
            *[self.edit] * 8, *[self.remove] * 3, *[self.ignore] * 3, self.move, self.move, self.chmod,
            self.link, self.link, self.becomes_folder, self.becomes_file, self.becomes_link, self.exclude,
            self.exclude_everywhere, self.force, self.uncache, self.stage, self.stage, self.commit,
            self.commit, self.switch, self.switch, self.stash, self.merge, self.merge, self.wipe,
            self.same_size, self.add_intent, self.reset, self.move_folder,
        ]  # fmt: skip
        move = self.dice.choice(moves)
        self.log.append(move.__name__)
        with contextlib.suppress(OSError, shutil.Error):
            move()

    def note(self, what: object) -> None:
        self.log[-1] += f" {what}"

    def git(self, *arguments: str) -> None:
        self.note(" ".join(arguments))
        self.place.git(*arguments, may_fail=True)

    def name(self) -> str:
        """Some path, be it there or not."""
        return str(Path(self.dice.choice(FOLDERS), self.dice.choice(NAMES)))

    def there(self, *, folder: bool = False) -> str:
        """A path that is there."""
        every = [
            path for path in sorted(self.root.rglob("*"))
            if not {".git", ".devtrace"} & set(path.relative_to(self.root).parts)
            and (path.is_dir() and not path.is_symlink()) == folder
        ]  # fmt: skip
        found = str(self.dice.choice(every).relative_to(self.root)) if every else self.name()
        self.note(found)
        return found

    def write(self, path: str, text: str) -> None:
        self.note(path)
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def edit(self) -> None:
        self.n += 1
        self.write(self.name(), f"{self.n}\n" * self.dice.randrange(4))

    def same_size(self) -> None:
        path = self.root / self.there()
        text = path.read_bytes()
        path.write_bytes(bytes(reversed(text)))

    def remove(self) -> None:
        (self.root / self.there()).unlink()

    def move(self) -> None:
        old, new = self.root / self.there(), self.root / self.name()
        self.note(new)
        new.parent.mkdir(parents=True, exist_ok=True)
        old.rename(new)

    def move_folder(self) -> None:
        old, new = self.root / self.there(folder=True), self.root / self.name()
        self.note(new)
        old.rename(new)

    def chmod(self) -> None:
        path = self.root / self.there()
        if not path.is_symlink():
            path.chmod(self.dice.choice((0o644, 0o755, 0o700, 0o654)))

    def link(self) -> None:
        path = self.root / self.name()
        self.note(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(self.dice.choice(("nowhere", "/etc", ".", "../a", "f")))

    def becomes_folder(self) -> None:
        path = self.root / self.there()
        path.unlink()
        self.edit_in(path)

    def edit_in(self, folder: Path) -> None:
        folder.mkdir()
        (folder / self.dice.choice(NAMES)).write_text("inside\n")

    def becomes_file(self) -> None:
        path = self.root / self.there(folder=True)
        shutil.rmtree(path)
        path.write_text("no folder any more\n")

    def becomes_link(self) -> None:
        path, aside = self.root / self.there(folder=True), self.root / "aside"
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        path.symlink_to(os.path.relpath(aside, path.parent))

    def rules(self) -> str:
        chosen = self.dice.sample(RULES, self.dice.randrange(4))
        self.note(chosen)
        return "".join(f"{rule}\n" for rule in chosen)

    def ignore(self) -> None:
        self.write(str(Path(self.dice.choice(FOLDERS), ".gitignore")), self.rules())

    def exclude(self) -> None:
        (self.root / ".git/info/exclude").write_text(self.rules())

    def exclude_everywhere(self) -> None:
        file = self.root.parent / "everywhere"
        file.write_text(self.rules())
        self.git("config", "core.excludesFile", str(file))

    def force(self) -> None:
        self.git("add", "-f", self.there())

    def add_intent(self) -> None:
        self.git("add", "-N", self.there())

    def uncache(self) -> None:
        self.git("rm", "-q", "--cached", self.there())

    def stage(self) -> None:
        self.git("add", "--", self.there(folder=self.dice.random() < 0.3))

    def reset(self) -> None:
        self.git("reset", "-q", self.dice.choice(("--mixed", "--hard", "--soft")), "HEAD~1")

    def commit(self) -> None:
        if self.dice.random() < 0.6:
            self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", f"{self.n}")

    def switch(self) -> None:
        name = self.dice.choice(("x", "y", "z"))
        self.git("checkout", "-q", *(("-f",) if self.dice.random() < 0.3 else ()), name)
        if self.dice.random() < 0.5:
            self.git("checkout", "-q", "-b", name)

    def stash(self) -> None:
        self.git("stash", self.dice.choice(("push", "pop", "apply")), "-q")

    def merge(self) -> None:
        name = self.dice.choice(("x", "y", "z"))
        self.git("merge", "-q", "-m", "merged", "--allow-unrelated-histories", name)

    def wipe(self) -> None:
        for path in self.root.iterdir():
            if path.name in (".git", ".devtrace") or self.dice.random() < 0.5:
                continue
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize("seed", range(_FIRST, _LAST))
def test_each_checkpoint_is_what_git_would_add(tmp_path, seed):
    place = Watched(tmp_path / "repo")
    player = Player(place, seed)
    try:
        for _ in range(STEPS):
            player.play()
            if player.dice.random() < 0.3:
                _compare(place, player)
        _compare(place, player)
    except BaseException:
        print(f"seed {seed}:", *player.log, sep="\n  ")  # noqa: T201 - how to see it again
        raise


def _compare(place: Watched, player: Player) -> None:
    player.log.append("-- checkpoint")
    if player.dice.random() < 0.1:
        place.open()
    before = digest(place.root / ".git"), times(place.root)
    ours = place.checkpoint()
    assert (digest(place.root / ".git"), times(place.root)) == before
    theirs = place.truth()
    assert ours == theirs, place.difference(ours)
