"""Keeping the checkpoints small: packing loose objects, and knowing how much there is.

Packing is git's, over a list of our own loose objects: `git repack` would leave out, and `git prune-packed`
take away, what the user's repository has too, and that may go there at any time.

Lives here: `tidy`, `size`, `pack`. Not here: forgetting old checkpoints (forget.py).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from devtrace.errors import EnvironmentError
from devtrace.store.checkpoints.objects import Objects

_MOST_LOOSE = 2_000
_BLOCK = 512  # of st_blocks (stat(2))
_PACK_S = 600
_REST = 38  # digits of a loose object's name behind those of its folder


def tidy(objects: Objects, most_bytes: int) -> bool:
    """Pack where that is worth it; whether more than `most_bytes` are there all the same."""
    if sum(1 for _ in loose(objects.path)) > _MOST_LOOSE:
        pack(objects)
    return size(objects.path) > most_bytes


def size(path: Path) -> int:
    """Bytes on disk of the repository, in whole blocks."""
    return sum(size_of(Path(folder, name)) for folder, _, names in os.walk(path) for name in names)


def size_of(path: Path) -> int:
    """Bytes on disk of a file; 0 where there is none."""
    try:
        return path.lstat().st_blocks * _BLOCK
    except OSError:
        return 0


def pack(objects: Objects) -> int:
    """Put the loose objects into one pack; returns how many. Nothing is lost when it is killed."""
    found = dict(loose(objects.path))
    if not found:
        return 0
    names = _names(objects.path)
    try:
        packed(objects, [_named(oid, names) for oid in found])
    except EnvironmentError:
        return 0
    for path in found.values():
        path.unlink(missing_ok=True)
    return len(found)


def _named(oid: str, names: Mapping[str, str]) -> str:
    return f"{oid} {names[oid]}" if oid in names else oid


def _names(path: Path) -> dict[str, str]:
    """The path of each object that a checkpoint needs: versions of one file are stored as differences."""
    try:
        done = subprocess.run(
            ["git", "--git-dir", str(path), "rev-list", "--objects", "--all"],
            capture_output=True,
            check=False,
            timeout=_PACK_S,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = done.stdout.decode("utf-8", "surrogateescape").splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


def packed(objects: Objects, oids: Sequence[str]) -> str:
    """Write a pack of these objects, each an id or `id path`; returns its name. Raises ERR_STORE_FULL."""
    if not oids:
        return ""
    base = objects.path / "objects" / "pack" / "pack"
    done = subprocess.run(
        ["git", "--git-dir", str(objects.path), "pack-objects", "--quiet", "--threads=1", str(base)],
        input="".join(f"{oid}\n" for oid in oids).encode("utf-8", "surrogateescape"),
        capture_output=True,
        check=False,
        timeout=_PACK_S,
    )
    name = done.stdout.decode("ascii", "replace").strip()
    if done.returncode or not base.with_name(f"pack-{name}.idx").exists():
        raise EnvironmentError(
            f"git could not pack the checkpoints: {done.stderr.decode('utf-8', 'replace').strip()}",
            code="ERR_STORE_FULL",
            hint="free some disk space; nothing was lost",
            context={"path": str(objects.path)},
        )
    return name


def loose(path: Path) -> Iterator[tuple[str, Path]]:
    """The loose objects of the repository, by their ids."""
    for folder in (path / "objects").glob("[0-9a-f][0-9a-f]"):
        for file in folder.iterdir():
            if len(file.name) == _REST:
                yield folder.name + file.name, file
