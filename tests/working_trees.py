"""A repository under a checkpoint's eye, and what git itself would say of it.

    place = Watched(tmp_path / "repo")
    place.write("a.txt", "one\n")
    assert place.checkpoint() == place.truth()     # the tree of `git add -A && git write-tree`

Lives here: `Watched`. Not here: sessions and commands over it (tests/edits.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from devtrace.config import Config, Value
from devtrace.policy.chain import Policy
from devtrace.services.edits.checkpoint import Checkpoints, Found
from devtrace.store.checkpoints import tree as trees
from devtrace.store.checkpoints.chains import Checkpoint
from devtrace.store.checkpoints.tree import Entry
from devtrace.workspace import Workspace, create


class Watched:
    """A working tree, its store and its checkpoints; `store` is where .devtrace/ lies, else in the tree."""

    def __init__(
        self, root: Path, *init: str, git: bool = True, store: Path | None = None, **settings: Value
    ):
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        if git and not (root / ".git").exists():
            self.git("init", "-q", *init)
        self.workspace = Workspace((store or root) / ".devtrace")
        self.settings = Config({key.replace("__", "."): value for key, value in settings.items()})
        create(self.workspace)
        self.found: list[Found] = []
        self.open()

    def open(self) -> Checkpoints:
        """Look with new eyes, as another process would."""
        policy = Policy.for_session({}, self.workspace.salt.read_bytes())
        self.points = Checkpoints(self.workspace, self.root, policy, self.settings)
        return self.points

    # --- the user -------------------------------------------------------------------------------------------

    def git(self, *arguments: str | bytes, may_fail: bool = False, stdin: bytes | None = None) -> str:
        """Run git in the tree; what it printed."""
        done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, input=stdin)
        if done.returncode and not may_fail:
            raise AssertionError(f"git {arguments!r}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="surrogateescape").strip()

    def write(self, path: str, content: str | bytes = "") -> Path:
        """Write a file of the tree."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def commit(self, message: str = "work") -> None:
        """Commit all there is."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)

    # --- both sides -----------------------------------------------------------------------------------------

    def checkpoint(self) -> str:
        """The tree of a new checkpoint; what was found different is in `found`."""
        points = self.points
        with points.chain.locked():
            now_us = time.time_ns() // 1000
            tip = points.tip()
            base = points.base() if tip is None else tip.tree
            self.found = list(points.look(base, points.candidates(base)))
            if tip is None:
                return points.begin(self.found, base, now_us).tree
            if self.found:
                made = points.commit(tip, self.found, "edit", now_us, now_us)
                points.chain.advance(made.checkpoint.commit)
                return made.checkpoint.tree
            return tip.tree

    def truth(self, *more: str) -> str:
        """The tree of `git add -A && git write-tree` over a copy of the index, objects thrown away."""
        with tempfile.TemporaryDirectory() as scratch:
            index = Path(self.git("rev-parse", "--absolute-git-dir")) / "index"
            if index.exists():
                shutil.copy2(index, Path(scratch, "index"))
            objects = self.git("rev-parse", "--path-format=absolute", "--git-path", "objects")
            environment = os.environ | {
                "GIT_INDEX_FILE": str(Path(scratch, "index")),
                "GIT_OBJECT_DIRECTORY": scratch,
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
            }
            for arguments in (("add", "-A", *more), ("write-tree",)):
                done = subprocess.run(
                    ["git", "-c", "advice.addEmbeddedRepo=false", *arguments],
                    cwd=self.root, capture_output=True, env=environment,
                )  # fmt: skip
                assert not done.returncode, done.stderr.decode(errors="replace")
            self._listing = subprocess.run(
                ["git", "ls-files", "-s", "-z"], cwd=self.root, capture_output=True, env=environment
            ).stdout
            return done.stdout.decode().strip()

    def difference(self, tree: str) -> str:
        """For a failed comparison: the lines that only one side has, after `truth()`."""
        theirs = set()
        for line in self._listing.split(b"\0")[:-1]:
            fields, _, path = line.partition(b"\t")
            mode, oid, _ = fields.split(b" ")
            theirs.add((path, Entry(int(mode, 8), oid.decode())))
        ours = set(trees.walk(self.points.objects, tree))
        return f"git has {sorted(theirs - ours)}, the checkpoint has {sorted(ours - theirs)}"

    def assert_equal(self, *more: str) -> str:
        """A checkpoint now is what git would make of the tree; returns it."""
        ours, theirs = self.checkpoint(), self.truth(*more)
        assert ours == theirs, self.difference(ours)
        return ours

    # --- what is kept ---------------------------------------------------------------------------------------

    def kept(self, path: str | bytes, tree: str | None = None) -> bytes | None:
        """The content that a checkpoint has for a path, the newest one's without `tree`; None: nothing."""
        entry = self.entry(path, tree)
        return None if entry is None else self.points.objects.read(entry.oid)

    def entry(self, path: str | bytes, tree: str | None = None) -> Entry | None:
        """What stands in a checkpoint for a path."""
        tip = self.points.tip()
        assert tip is not None
        return trees.find(self.points.objects, tree or tip.tree, os.fsencode(path))

    def checkpoints(self) -> list[Checkpoint]:
        """All of the chain, newest first, read by another process's eyes."""
        tip = self.open().tip()
        chain = []
        while tip is not None:
            chain.append(tip)
            tip = self.points.chain.read(tip.parent) if tip.parent else None
        return chain

    def read_everything(self) -> int:
        """Read every content of every checkpoint; how many there were."""
        return sum(
            len(self.points.objects.read(entry.oid)) >= 0
            for point in self.checkpoints()
            for _, entry in trees.walk(self.points.objects, point.tree)
            if entry.mode != 0o160000
        )

    def fsck(self) -> str:
        """What `git fsck --full` says against the store's objects; empty: they are whole."""
        done = subprocess.run(
            ["git", "--git-dir", str(self.points.objects.path), "fsck", "--full", "--no-dangling"],
            capture_output=True, text=True,
        )  # fmt: skip
        told = [line for line in done.stderr.splitlines() if not line.startswith("notice:")]
        return "\n".join([*told, *([f"status {done.returncode}"] if done.returncode else [])])


def digest(folder: Path) -> dict[str, str]:
    """Every file below a git directory but objects/ and refs/devtrace, with its mode, time and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.split("/")[0] == "objects" or name.startswith("refs/devtrace"):
            continue
        state = path.lstat()
        content = hashlib.sha1(path.read_bytes()).hexdigest() if path.is_file() else ""
        time_ns = 0 if path.is_dir() else state.st_mtime_ns  # refs/ has one entry more
        found[name] = f"{state.st_mode:o} {time_ns} {content}"
    return found


def times(root: Path) -> dict[str, int]:
    """When each file of a working tree was written last."""
    return {
        str(path.relative_to(root)): path.lstat().st_mtime_ns
        for path in sorted(root.rglob("*"))
        if not {".git", ".devtrace"} & set(path.relative_to(root).parts)
    }
