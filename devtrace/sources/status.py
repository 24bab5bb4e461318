"""What git says differs in a working tree: by a process of git's own, which is quick and no load for us.

Lives here: the question and how its answer is read. Not here: what a path holds (worktree.py).
Standard library only: a traced shell's start stands on it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

QUIET = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "core.safecrlf=false")
# What would lead git to another repository than that of the directory it is called in (git(1)).
ASTRAY = frozenset(
    f"GIT_{name}"
    for name in (
        "DIR", "WORK_TREE", "INDEX_FILE", "PREFIX", "CEILING_DIRECTORIES", "COMMON_DIR", "NAMESPACE", "TRACE",
        "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "SHALLOW_FILE", "INTERNAL_SUPER_PREFIX",
        "LITERAL_PATHSPECS", "ICASE_PATHSPECS", "GLOB_PATHSPECS", "NOGLOB_PATHSPECS",
    )
)  # fmt: skip
STATUS = (
    "status",
    "--porcelain=v2",
    "-z",
    "--untracked-files=all",
    "--ignore-submodules=dirty",
    "--no-renames",
)
_TIMEOUT_S = 120


def changed(told: bytes) -> Iterator[bytes]:
    """The paths of `git status --porcelain=v2 -z` (git-status(1), Porcelain Format Version 2)."""
    for line in told.split(b"\0"):
        kind = line[:2]
        if kind == b"1 ":
            yield line.split(b" ", 8)[8].rstrip(b"/")
        elif kind == b"u ":
            yield line.split(b" ", 10)[10]
        elif kind == b"? ":
            yield line[2:].rstrip(b"/")


def differing(root: Path) -> list[bytes]:
    """The paths that git sees as differing from HEAD; none where it cannot tell."""
    environment = {name: value for name, value in os.environ.items() if name not in ASTRAY}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *QUIET, *STATUS],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [] if done.returncode else list(changed(done.stdout))
