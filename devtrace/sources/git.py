"""What a repository has checked out, read from its files: starting git takes longer than a prompt may.

Lives here: branch and commit of HEAD (gitrepository-layout(5): HEAD, commondir, packed-refs, a `.git` file in
worktrees). Not here: where the repository is (workspace.py).
Standard library only: the traced shell's start stands on it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_DEEPEST = 5  # symbolic refs that lead to symbolic refs, as in git's own refs.c


class Head(NamedTuple):
    """What HEAD says. `branch` None: detached; `commit` None: the branch has none yet."""

    branch: str | None
    commit: str | None


def head_of(root: Path) -> Head | None:
    """HEAD of the working tree at `root`; None where its files do not tell, as in the reftable format."""
    try:
        folder = _git_directory(root)
        text = _read(folder / "HEAD")
        if not text.startswith("ref: "):
            return Head(None, text) if _COMMIT.fullmatch(text) else None
        name = text.removeprefix("ref: ").strip()
        if name == "refs/heads/.invalid":  # gitformat: what HEAD holds where refs are in a reftable
            return None
        return Head(name.removeprefix("refs/heads/"), _commit(folder, name))
    except (OSError, UnicodeDecodeError):
        return None


def _git_directory(root: Path) -> Path:
    place = root / ".git"
    if place.is_dir():
        return place
    return root / _read(place).removeprefix("gitdir: ")


def _commit(folder: Path, name: str) -> str | None:
    common = _common(folder)
    for _ in range(_DEEPEST):
        text = next((found for base in (folder, common) if (found := _read_if_there(base / name))), None)
        if text is None:
            return _packed(common, name)
        if not text.startswith("ref: "):
            return text if _COMMIT.fullmatch(text) else None
        name = text.removeprefix("ref: ").strip()
    return None


def _common(folder: Path) -> Path:
    shared = _read_if_there(folder / "commondir")
    return folder if shared is None else folder / shared


def _packed(common: Path, name: str) -> str | None:
    for line in (_read_if_there(common / "packed-refs") or "").splitlines():
        commit, _, ref = line.partition(" ")
        if ref == name and _COMMIT.fullmatch(commit):
            return commit
    return None


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _read_if_there(path: Path) -> str | None:
    try:
        return _read(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
