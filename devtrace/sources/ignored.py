"""Which paths are ignored: by .gitignore files, by info/exclude, and by the user's own list for us.

libgit2 answers. It is wrong about many a `!rule`: about one that takes back a rule of another file, or what
is in a folder that stays ignored. So where there is one git itself is asked (git-check-ignore(1)), for many
paths at once.

Lives here: `Ignored`. Not here: what is tracked all the same (tracked.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pygit2


class Ignored:
    """The ignore rules of one working tree. For one thread."""

    def __init__(self, root: Path, repository: pygit2.Repository, own: Path, git: Callable[..., bytes]):
        """`own`: a bare repository whose info/exclude is the user's list for us; `git` raises OSError."""
        self._root = os.fsencode(root)
        self._repository = repository
        self._git = git
        self._list = pygit2.Repository(str(own))
        self._has_list = bool(_rules(os.fsencode(own / "info" / "exclude")))
        self._seen: dict[bytes, tuple[tuple[int, int, int], bool]] = {}  # by file, whether a `!` is in it
        self._settled: dict[bytes, bool] = {}
        self._shared = self._outside()

    def is_ignored(self, path: bytes) -> bool:
        """Whether the rules say so; of a folder when it ends in a slash."""
        known = self._settled.get(path)
        if known is not None:
            return known
        if not self._is_doubtful(path):
            return self._says_libgit2(self._repository, path)
        return path in self._said_by_git([path])

    def is_left_out(self, path: bytes) -> bool:
        """Whether the user's list for us names it: that wins over what git tracks."""
        return self._has_list and self._says_libgit2(self._list, path) and not self.is_ignored(path)

    def settle(self, paths: Iterable[bytes], is_there: Callable[[bytes], bool]) -> None:
        """Ask once for all that will be asked now; an answer holds until the next call.

        git takes no path behind a link, and then answers for none.
        """
        known: dict[bytes, bool] = {}
        doubtful = [path for path in paths if self._is_doubtful(path, known) and is_there(path)]
        said = self._said_by_git(doubtful) if doubtful else set()
        self._settled = {path: path in said for path in doubtful}

    def _said_by_git(self, paths: Iterable[bytes]) -> set[bytes]:
        told = b"".join(path + b"\0" for path in paths)
        try:
            return set(
                self._git("check-ignore", "--no-index", "-z", "--stdin", stdin=told, also=1).split(b"\0")
            )
        except OSError:
            return set()

    def _says_libgit2(self, repository: pygit2.Repository, path: bytes) -> bool:
        try:
            return bool(repository.path_is_ignored(path.decode()))
        except (UnicodeDecodeError, pygit2.GitError, ValueError):
            return False

    def _is_doubtful(self, path: bytes, known: dict[bytes, bool] | None = None) -> bool:
        """Whether libgit2 may be wrong, or cannot say."""
        try:
            path.decode()
        except UnicodeDecodeError:
            return True
        folder = path.rstrip(b"/").rpartition(b"/")[0]
        if self._is_taken_back(folder, {} if known is None else known):
            return True
        # It follows a link to a folder, and takes it for one.
        is_link = os.path.islink(os.path.join(self._root, path))
        return is_link and self._says_libgit2(self._repository, path)

    def _is_taken_back(self, folder: bytes, known: dict[bytes, bool]) -> bool:
        """Whether a file of rules that counts in the folder has a `!`; `known`: what was found just now."""
        if folder not in known:
            found = self._takes_back(os.path.join(self._root, folder, b".gitignore"))
            if not found and folder:
                found = self._is_taken_back(folder.rpartition(b"/")[0], known)
            elif not found:
                found = any(self._takes_back(file) for file in self._shared)
            known[folder] = found
        return known[folder]

    def _outside(self) -> list[bytes]:
        """The files of rules outside of the tree."""
        try:
            named = str(self._repository.config["core.excludesfile"])
        except (KeyError, ValueError, pygit2.GitError):
            named = os.path.join(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "git/ignore")
        own = os.fsencode(self._repository.path)
        common = os.path.join(own, _read(os.path.join(own, b"commondir")).strip())
        return [os.fsencode(os.path.expanduser(named)), os.path.join(common, b"info/exclude")]

    def _takes_back(self, file: bytes) -> bool:
        try:
            state = os.stat(file)
        except OSError:
            return False
        stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
        known = self._seen.get(file)
        if known is None or known[0] != stamp:
            known = self._seen[file] = (stamp, any(line.startswith(b"!") for line in _rules(file)))
        return known[1]


def _rules(file: bytes) -> list[bytes]:
    lines = _read(file).splitlines()
    return [line for line in lines if line.strip() and not line.startswith(b"#")]


def _read(path: bytes) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
