"""What a repository has checked out, read from its files: starting git takes longer than a prompt may.

Lives here: branch and commit of HEAD (gitrepository-layout(5): HEAD, commondir, packed-refs, a `.git` file in
worktrees), and which files tell them. Not here: where the repository is (workspace.py), how HEAD came to be
there (moves.py).
Standard library only: the traced shell's start stands on it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_DEEPEST = 5  # symbolic refs that lead to symbolic refs, as in git's own refs.c
_SPACE = " \t\r\n"  # what git takes for space: a branch may well end in one of Unicode's others


class Head(NamedTuple):
    """What HEAD says. `branch` None: detached; `commit` None: the branch has none yet."""

    branch: str | None
    commit: str | None


class Places(NamedTuple):
    """Where a working tree keeps its own files (HEAD, logs/HEAD), and those it shares with its worktrees."""

    own: Path
    common: Path


def head_of(root: Path) -> Head | None:
    """HEAD of the working tree at `root`; None where its files do not tell, as in the reftable format.

    None too for a branch whose name is not UTF-8; `head_in` tells that one with surrogates.
    """
    places = places_of(root)
    head = None if places is None else head_in(places)
    if head is None or head.branch is None:
        return head
    return head if _is_text(head.branch) else None


def places_of(root: Path) -> Places | None:
    """The git directories of the working tree at `root`; None where there are none that can be read."""
    try:
        own = _git_directory(root)
        return Places(own, _common(own)) if own.is_dir() else None
    except (OSError, ValueError):  # ValueError: a `.git` file with a NUL in it
        return None


def head_in(places: Places) -> Head | None:
    """As `head_of`; bytes of the branch that are no UTF-8 are surrogates (surrogateescape)."""
    try:
        text = _read(places.own / "HEAD")
        if not text.startswith("ref: "):
            return Head(None, text) if _COMMIT.fullmatch(text) else None
        name = _target(text)
        if name == "refs/heads/.invalid":  # gitformat: what HEAD holds where refs are in a reftable
            return None
        return Head(name.removeprefix("refs/heads/"), _commit(places, name))
    except (OSError, ValueError):
        return None


def head_files(places: Places) -> list[Path]:
    """The files that `head_in` asks, there or not: while none of them changes, HEAD stays where it is."""
    files = [places.own / "HEAD"]
    try:
        text: str | None = _read(files[0])
        for _ in range(_DEEPEST):
            if text is None or not text.startswith("ref: "):
                break
            files += _ref_files(places, _target(text))
            text = _ref(places, _target(text))
    except (OSError, ValueError):
        return files
    return [*files, places.common / "packed-refs"]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _git_directory(root: Path) -> Path:
    place = root / ".git"
    if place.is_dir():
        return place
    return root / _read(place).removeprefix("gitdir: ")


def _common(folder: Path) -> Path:
    shared = _read_if_there(folder / "commondir")
    return folder if shared is None else folder / shared


def _commit(places: Places, name: str) -> str | None:
    for _ in range(_DEEPEST):
        text = _ref(places, name)
        if text is None:
            return _packed(places.common, name)
        if not text.startswith("ref: "):
            return text if _COMMIT.fullmatch(text) else None
        name = _target(text)
    return None


def _ref(places: Places, name: str) -> str | None:
    return next((text for file in _ref_files(places, name) if (text := _read_if_there(file))), None)


def _ref_files(places: Places, name: str) -> list[Path]:
    return [base / name for base in dict.fromkeys(places)]


def _target(text: str) -> str:
    return text.removeprefix("ref: ").strip(_SPACE)


def _packed(common: Path, name: str) -> str | None:
    for line in (_read_if_there(common / "packed-refs") or "").split("\n"):
        commit, _, ref = line.partition(" ")
        if ref == name and _COMMIT.fullmatch(commit):
            return commit
    return None


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape").strip(_SPACE)


def _read_if_there(path: Path) -> str | None:
    try:
        return _read(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
