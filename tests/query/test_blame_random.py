"""Whatever is done to a repository, a line was written by the one who wrote it.

A player edits, moves, deletes, commits, amends, changes branches, merges, rebases, reverts, stashes and lets
git collect its garbage, at random, as commands of two sessions and outside of any. The model is honest as
it is simple: no text is written twice, so who wrote it is known for ever, and nothing of git writes a line.

Lives here: the player and its model. Not here: each rule on its own (test_blame.py).
"""

from __future__ import annotations

import os
import random
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from devtrace.query.blame import Blame
from devtrace.store.connection import open_store
from tests.edits import Recorded

SEEDS = int(os.environ.get("DEVTRACE_BLAME_SEEDS", "25"))
FIRST = int(os.environ.get("DEVTRACE_BLAME_FIRST", "0"))
STEPS = 30
NAMES = [f"{folder}{name}.txt" for folder in ("", "in/") for name in "abc"]
BRANCHES = ("main", "one", "two")


class Player:
    """One repository, its store, and who wrote which text."""

    def __init__(self, root: Path, seed: int):
        self.random = random.Random(seed)
        self.log: list[str] = []
        self.writers: dict[str, str] = {}
        self.place = Recorded(root)
        self.root = root
        config = root / ".git" / "config"
        config.write_text(config.read_text() + "[gc]\n\tauto = 0\n[core]\n\tfsync = none\n")
        self.number = 0
        for name in NAMES[:3]:
            self.place.write(name, "".join(self.fresh("before") for _ in range(40)))
        self.git("add", "-A")
        self.git("commit", "-qm", "first")
        self.sessions = [(self.place.begin(), "manual")]
        self.place.agent = "codex"
        self.sessions.append((self.place.begin(), "codex"))

    # --- the world ------------------------------------------------------------------------------------------

    def git(self, *words: str) -> bool:
        done = subprocess.run(["git", *words], cwd=self.root, capture_output=True, check=False)
        return done.returncode == 0

    def files(self) -> list[str]:
        return [name for name in NAMES if (self.root / name).is_file()]

    def lines(self, name: str) -> list[str]:
        return (self.root / name).read_text().splitlines(keepends=True)

    def fresh(self, writer: str = "?") -> str:
        self.number += 1
        self.writers[f"text {self.number}"] = writer
        return f"text {self.number}\n"

    # --- what can be done -----------------------------------------------------------------------------------

    def edit(self) -> None:
        files = self.files()
        if not files:
            return self.create()
        name = self.random.choice(files)
        lines = self.lines(name)
        for _ in range(self.random.randint(1, 2)):
            at = self.random.randint(0, len(lines))
            gone = self.random.choice((0, 0, 1, 2))
            lines[at : at + gone] = [self.fresh() for _ in range(self.random.randint(0 if gone else 1, 3))]
        self.place.write(name, "".join(lines))
        return None

    def create(self) -> None:
        free = [name for name in NAMES if name not in self.files()]
        if free:
            text = "".join(self.fresh() for _ in range(self.random.randint(1, 30)))
            self.place.write(self.random.choice(free), text)

    def move(self) -> None:
        files = self.files()
        free = [name for name in NAMES if name not in files]
        if files and free:
            target = self.root / self.random.choice(free)
            target.parent.mkdir(exist_ok=True)
            (self.root / self.random.choice(files)).rename(target)

    def delete(self) -> None:
        if files := self.files():
            (self.root / self.random.choice(files)).unlink()

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", "more")

    def edit_and_commit(self) -> None:
        self.edit()
        self.commit()

    def amend(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--amend", "--no-edit")

    def branch(self) -> None:
        name = self.random.choice(BRANCHES)
        if not self.git("checkout", "-q", name):
            self.git("checkout", "-qb", name)

    def clean_branch(self) -> None:
        self.commit()
        self.branch()

    def merge(self) -> None:
        self.commit()
        if not self.git("merge", "-q", "--no-edit", self.random.choice(BRANCHES)):
            self.git("merge", "--abort")

    def rebase(self) -> None:
        self.commit()
        if not self.git("rebase", "-q", self.random.choice(BRANCHES)):
            self.git("rebase", "--abort")

    def pick(self) -> None:
        self.commit()
        if not self.git("cherry-pick", self.random.choice(BRANCHES)):
            self.git("cherry-pick", "--abort")

    def revert(self) -> None:
        self.commit()
        if not self.git("revert", "--no-edit", self.random.choice(("HEAD", "HEAD~1"))):
            self.git("revert", "--abort")

    def reset(self) -> None:
        self.git("reset", "-q", "--hard", self.random.choice(("HEAD", "HEAD~1")))

    def restore(self) -> None:
        self.git("checkout", "-q", self.random.choice(BRANCHES), "--", self.random.choice(NAMES))

    def stash(self) -> None:
        self.git("stash", "push", "-q", *self.random.choice(((), ("-u",))))

    def pop(self) -> None:
        if not self.git("stash", "pop", "-q"):
            self.git("reset", "-q", "--hard")

    def collect(self) -> None:
        self.git("gc", "-q", "--prune=now")

    # --- playing --------------------------------------------------------------------------------------------

    def step(self) -> None:
        verbs = {
            self.edit: 8, self.create: 3, self.move: 2, self.delete: 1, self.commit: 4,
            self.edit_and_commit: 8, self.amend: 2, self.branch: 4, self.clean_branch: 7, self.merge: 7,
            self.rebase: 3, self.pick: 2, self.revert: 2, self.reset: 1, self.restore: 2, self.stash: 4,
            self.pop: 4, self.collect: 0.7,
        }  # fmt: skip
        verb = self.random.choices(list(verbs), list(verbs.values()))[0]
        who = self.random.choice((0, 0, 1, 1, 2))
        self.log.append(f"{verb.__name__} by {who}")
        verb()
        if who == 2:
            self.place.outside()
            writer = "outside"
        else:
            self.place.session, self.place.agent = self.sessions[who]
            text = f"devtrace-test {verb.__name__} {len(self.log)}"
            self.place.command(text)
            writer = f"{self.sessions[who][0]} {self.sessions[who][1]} {text}"
        self.writers.update({text: writer for text, known in self.writers.items() if known == "?"})

    def check(self) -> None:
        if not (files := self.files()):
            return
        name = self.random.choice(files)
        assert self.told(name) == [
            (text.rstrip("\n"), self.writers[text.rstrip("\n")]) for text in self.lines(name)
        ]

    def told(self, name: str, state: str | None = None) -> list[tuple[str, str]]:
        with closing(open_store(self.place.workspace)) as db:
            blame = Blame(db, self.place.workspace)
            found = blame.on_disk(self.root / name) if state is None else blame.at(self.root / name, state)
            rows = blame.tell(found, range(1, len(found.lines) + 1))
        return [
            (
                row["text"],
                f"{row['session']} {row['agent']} {row['command']}"
                if row["status"] == "recorded"
                else row["status"],
            )
            for row in rows
        ]

    def check_a_commit(self) -> None:
        """The same of a commit of any branch."""
        branch = self.random.choice(BRANCHES)
        name = self.random.choice(NAMES)
        done = subprocess.run(
            ["git", "show", f"{branch}:{name}"], cwd=self.root, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            expected = [(text, self.writers[text]) for text in done.stdout.splitlines()]
            assert self.told(name, branch) == expected


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_a_line_was_written_by_the_one_who_wrote_it(seed: int, tmp_path: Path) -> None:
    player = Player(tmp_path / "repo", seed)
    try:
        for number in range(STEPS):
            player.step()
            player.check()
            if number % 10 == 9:
                player.check_a_commit()
    except BaseException as error:
        error.add_note("\n  ".join([f"seed {seed}:", *player.log]))
        raise
