"""What the index says of a path: whether it is tracked, as what, and whether git looks at the disk for it.

libgit2 answers, by a search and not by a walk; git does where libgit2 cannot read the index: one that is
split (git-update-index(1)) or sparse.

Lives here: `Index`, and when it or the settings have changed. Not here: what is on disk (worktree.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pygit2
from pygit2.ffi import C, ffi

REPOSITORY = 0o160000

# Of git_index_entry (git2/index.h): `git update-index --assume-unchanged` and `--skip-worktree`.
_VALID, _SKIPPED = 0x8000, 1 << 14
_STAGES = (0, 2, 1, 3)  # where a merge left several, git takes the mode of ours

Stamp = tuple[int, int, int]


class Tracked(NamedTuple):
    """An entry of the index."""

    mode: int
    oid: str
    stays: bool  # whatever is on disk, or is not there


class Index:
    """The index of one working tree, read again when it has changed. For one thread."""

    def __init__(self, repository: pygit2.Repository, git: Callable[..., bytes]):
        """`git`: runs git in the working tree, raises OSError."""
        self._repository = repository
        self._git = git
        self._path = Path(repository.path, "index")
        self._seen: Stamp | None = None
        self._told: dict[bytes, Tracked] | None = None  # by git, where libgit2 cannot read it
        self._folders: frozenset[bytes] | None = None
        self._is_read = False

    def stamp(self) -> Stamp | None:
        """Changes when the index does; None where there is none."""
        return _stamp(self._path)

    def has(self, path: bytes) -> bool:
        """Whether a path is tracked, be it in conflict."""
        return self.find(path) is not None

    def find(self, path: bytes) -> Tracked | None:
        """What the index has for a path, None when it is not tracked."""
        self._refresh()
        if self._told is not None:
            return self._told.get(path)
        index: Any = self._repository.index
        for stage in _STAGES:
            entry = C.git_index_get_bypath(index._index, path, stage)
            if entry != ffi.NULL:
                oid = bytes(ffi.buffer(ffi.addressof(entry, "id"))[:]).hex()
                stays = bool(entry.flags & _VALID or entry.flags_extended & _SKIPPED)
                return Tracked(entry.mode, oid, stays and entry.mode != REPOSITORY)
        return None

    def folders(self) -> frozenset[bytes]:
        """Every folder with something tracked in it."""
        self._refresh()
        if self._folders is None:
            paths: Iterable[bytes] = self._told or ()
            if self._told is None:
                paths = (os.fsencode(entry.path) for entry in self._repository.index)
            self._folders = frozenset(_above(paths))
        return self._folders

    def _refresh(self) -> None:
        stamp = self.stamp()
        if self._is_read and stamp == self._seen:
            return
        self._seen, self._folders, self._told, self._is_read = stamp, None, None, True
        try:
            self._repository.index.read(False)
        except (pygit2.GitError, OSError):
            self._told = self._asked()

    def _asked(self) -> dict[bytes, Tracked]:
        """All of it, as git tells it (git-ls-files(1)); what it was where git fails too."""
        found: dict[bytes, Tracked] = {}
        try:
            lines = self._git("ls-files", "-z", "-v", "--stage").split(b"\0")[:-1]
        except OSError:
            self._is_read = False
            return found
        for line in lines:
            fields, _, path = line.partition(b"\t")
            tag, mode, oid, stage = fields.split(b" ")
            if path not in found or stage == b"2":
                stays = tag.islower() or tag == b"S"
                found[path] = Tracked(int(mode, 8), oid.decode(), stays and int(mode, 8) != REPOSITORY)
        return found


def config_stamp(repository: pygit2.Repository | None) -> tuple[Stamp | None, ...]:
    """Changes when the settings do that libgit2 has read: the repository's, the tree's, the user's."""
    if repository is None:
        return ()
    own, home = Path(repository.path), Path(os.environ.get("HOME", "/"))
    more = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = (own / "config", own / "config.worktree", home / ".gitconfig", more / "git" / "config")
    shared = (own.parent.parent / "config",) if own.parent.name == "worktrees" else ()
    return tuple(_stamp(path) for path in (*files, *shared))


def _stamp(path: Path) -> Stamp | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def _above(paths: Iterable[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for path in paths:
        above = path
        while b"/" in above:
            above = above.rsplit(b"/", 1)[0]
            if above in found:
                break
            found.add(above)
    return found
