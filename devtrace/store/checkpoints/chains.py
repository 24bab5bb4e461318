"""One line of commits per working tree, a commit a checkpoint: what Git's own diff and blame work on too.

The chain's name is an HMAC of where the working tree is, seen from the store: a store that is moved together
with its tree keeps its chain, and two stores in one repository do not meet in its refs.

Lives here: the tip, adding to it, the lock around both, and keeping the borrowed base alive.
Not here: the trees (tree.py).
"""

from __future__ import annotations

import contextlib
import hmac
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pygit2

from devtrace.errors import EnvironmentError
from devtrace.store.checkpoints.objects import Objects, translated, write_whole
from devtrace.store.connection import locked
from devtrace.workspace import Workspace

_WHO = "devtrace <devtrace@localhost>"
_SEEN = "Seen: "  # a trailer (git-interpret-trailers(1)) of every commit, in microseconds
_NAME_DIGITS = 16
_PATIENCE_MS = 10_000


class Checkpoint(NamedTuple):
    """A commit of the chain."""

    commit: str
    tree: str
    parent: str | None
    seen_us: int  # when the working tree was looked at, microseconds since the Unix epoch
    message: str


class Chain:
    """The checkpoints of one working tree."""

    def __init__(self, workspace: Workspace, objects: Objects, root: Path):
        """`root`: the working tree. Raises OSError when the salt cannot be read."""
        self.root = root
        self.name = _name(workspace, root)
        self._objects = objects
        self._ref = objects.path / "refs" / "devtrace" / self.name
        self._known = objects.path / "chains"
        self._lock = objects.path / f"{self.name}.lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else adds to the chain meanwhile. Raises EnvironmentError ERR_STORE_LOCKED."""
        with locked(self._lock, patience_ms=_PATIENCE_MS):
            yield

    def tip(self) -> Checkpoint | None:
        """The newest checkpoint, None before the first. Raises EnvironmentError ERR_STORE_DAMAGED."""
        try:
            commit = self._ref.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            if self.name not in self._begun():
                return None
            commit = ""
        except (UnicodeDecodeError, IsADirectoryError):
            commit = ""
        return self.read(commit)

    def read(self, commit: str) -> Checkpoint:
        """A checkpoint by its id. Raises EnvironmentError ERR_STORE_DAMAGED."""
        return read(self._objects, commit)

    def commit(self, tree: str, parent: str | None, message: str, at_us: int, seen_us: int) -> str:
        """Write a commit that the chain does not know of yet; returns its id.

        `at_us`: when it changed; `seen_us`: when that was looked at.
        """
        who = f"{_WHO} {max(at_us, 0) // 1_000_000} +0000"
        above = f"parent {parent}\n" if parent else ""
        text = f"tree {tree}\n{above}author {who}\ncommitter {who}\n\n{message}\n\n{_SEEN}{seen_us}\n"
        return self._objects.write("commit", text.encode())

    def _begun(self) -> list[str]:
        """The chains that have a tip, or had one: a ref that is gone is not one that never was."""
        try:
            return self._known.read_text(encoding="ascii", errors="replace").split()
        except OSError:
            return []

    def _note(self, names: list[str]) -> None:
        write_whole(self._known, "".join(f"{name}\n" for name in names).encode())

    def advance(self, commit: str) -> None:
        """From now on this is the tip; to be done under the lock."""
        with translated(self._objects.path):
            write_whole(self._ref, commit.encode() + b"\n")
            if self.name not in (begun := self._begun()):
                self._note([*begun, self.name])

    def set_aside(self) -> None:
        """The tip cannot be read any more: begin anew, and leave what is left where it can be looked at."""
        folder = self._objects.path / "damaged"
        with contextlib.suppress(OSError):
            self._note([name for name in self._begun() if name != self.name])
            folder.mkdir(mode=0o700, exist_ok=True)
            self._ref.replace(folder / f"{self.name}.{time.time_ns()}")

    # --- the borrowed base ----------------------------------------------------------------------------------

    @property
    def user_ref(self) -> str:
        """The ref in the user's repository that keeps the base tree alive; a tree, so no log shows it."""
        return f"refs/devtrace/{self.name}"

    def keep(self, repository: pygit2.Repository, tree: str) -> bool:
        """Keep the base tree alive in the user's repository; False where that cannot be written."""
        try:
            repository.references.create(self.user_ref, tree, force=True)
        except (pygit2.GitError, OSError, ValueError):
            return False
        return True

    def copy(self, git_directory: Path, tree: str) -> None:
        """Copy the base tree instead, every object of it: dear, once. Raises EnvironmentError."""
        done = subprocess.run(
            ["git", "--git-dir", str(git_directory), "pack-objects", "--revs", "--quiet",
             str(self._objects.path / "objects" / "pack" / "pack")],
            input=f"{tree}\n".encode(),
            capture_output=True,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )  # fmt: skip
        if done.returncode:
            raise EnvironmentError(
                f"the base tree could not be copied: {done.stderr.decode('utf-8', 'replace').strip()}",
                code="ERR_STORE_READONLY",
                hint="see `devtrace config get checkpoints.keep_ref`",
                context={"tree": tree},
            )


def read(objects: Objects, commit: str) -> Checkpoint:
    """A checkpoint by its id. Raises EnvironmentError ERR_STORE_DAMAGED."""
    try:
        return _parsed(commit, objects.read(commit))
    except (KeyError, ValueError) as error:
        raise EnvironmentError(
            f"{commit} in {objects.path} is no checkpoint",
            code="ERR_STORE_DAMAGED",
            hint="the record of commands is intact; a state of the working tree is lost",
            context={"commit": commit},
        ) from error


def _parsed(commit: str, data: bytes) -> Checkpoint:
    head, _, message = data.decode("utf-8", "replace").partition("\n\n")
    fields = dict(line.split(" ", 1) for line in head.splitlines() if " " in line)
    text, _, seen = message.strip().rpartition(_SEEN)
    return Checkpoint(commit, fields["tree"], fields.get("parent"), int(seen), text.strip())


def _name(workspace: Workspace, root: Path) -> str:
    place = os.fsencode(os.path.relpath(root, workspace.root))
    return hmac.digest(workspace.salt.read_bytes(), b"chain " + place, "sha256").hex()[:_NAME_DIGITS]
