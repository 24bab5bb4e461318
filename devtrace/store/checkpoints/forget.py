"""Forgetting: checkpoints before a moment go, and with them every content that only they had.

The first commit that is kept stands in the repository's `shallow` file, so that Git takes it for a beginning
(gitrepository-layout(5)); no id changes, and events still name their checkpoint. A chosen one stays alone,
off the line: only its event leads to it.

Lives here: `forget`, and which chains there are. Not here: packing what stays (tidy.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from devtrace.errors import DevTraceError
from devtrace.store.checkpoints import chains, tidy
from devtrace.store.checkpoints import tree as trees
from devtrace.store.checkpoints.chains import Checkpoint
from devtrace.store.checkpoints.objects import Objects, open_objects
from devtrace.store.connection import locked
from devtrace.workspace import Workspace

_PATIENCE_MS = 10_000


class Forgotten(NamedTuple):
    """What one `forget` did, or would do."""

    checkpoints: int
    before_bytes: int
    after_bytes: int
    oldest_us: int | None  # of what is kept now; None: nothing is


def forget(
    workspace: Workspace, until_us: int, *, dry_run: bool = False, chosen: Collection[str] = ()
) -> Forgotten:
    """Forget the checkpoints that were made before that moment; the newest of each chain always stays.

    `chosen`: commits that stay too, those included that stayed alone before.

    Nobody adds to a chain meanwhile. Killed in the middle it has forgotten less, and harmed nothing. Raises
    EnvironmentError ERR_NO_CHECKPOINT, ERR_STORE_LOCKED or ERR_STORE_DAMAGED.
    """
    objects = open_objects(workspace)
    before = tidy.size(objects.path)
    with _all_locked(objects):
        objects.refresh()
        lines = [list(_line(objects, tip)) for tip in _tips(objects)]
        kept = [_recent(line, until_us) for line in lines]
        alone = _alone(objects, chosen, {one.commit for line in kept for one in line})
        stay = {one.commit for line in kept for one in line} | {one.commit for one in alone}
        gone = sum(one.commit not in stay for line in lines for one in line)
        oldest_us = min((line[-1].seen_us for line in kept if line), default=None)
        if dry_run or not gone:
            return Forgotten(gone, before, before, oldest_us)
        ends = [*(line[-1] for line in kept if line), *alone]
        _cut(objects, [one.commit for one in ends if one.parent])
        _keep_only(objects, [*(one for line in kept for one in line), *alone])
    return Forgotten(gone, before, tidy.size(objects.path), oldest_us)


def _recent(line: list[Checkpoint], until_us: int) -> list[Checkpoint]:
    """What stays of a chain: all up to the oldest one of that time, for clocks may have been set back."""
    last = max((at for at, one in enumerate(line) if one.seen_us >= until_us), default=0)
    return line[: last + 1]


def _alone(objects: Objects, chosen: Collection[str], kept: Collection[str]) -> list[Checkpoint]:
    """The chosen ones that are on no line that stays; one that is not there any more is passed over."""
    found = []
    for commit in chosen:
        if commit not in kept:
            with contextlib.suppress(DevTraceError):
                found.append(chains.read(objects, commit))
    return found


def count(workspace: Workspace) -> int:
    """How many checkpoints are kept; 0 where there is no repository."""
    with contextlib.suppress(DevTraceError):
        objects = open_objects(workspace)
        return sum(1 for tip in _tips(objects) for _ in _line(objects, tip))
    return 0


def _tips(objects: Objects) -> list[str]:
    folder = objects.path / "refs" / "devtrace"
    refs = [path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix == ""]
    return [path.read_text(encoding="ascii").strip() for path in refs]


def _line(objects: Objects, tip: str) -> Iterator[Checkpoint]:
    """The commits of a chain that are kept, the newest first."""
    ends = set(_shallow(objects).read_text().split()) if _shallow(objects).exists() else set()
    commit: str | None = tip
    while commit is not None:
        found = chains.read(objects, commit)
        yield found
        commit = None if commit in ends else found.parent


def _shallow(objects: Objects) -> Path:
    return objects.path / "shallow"


def _cut(objects: Objects, commits: list[str]) -> None:
    draft = objects.path / ".shallow"
    draft.write_text("".join(f"{commit}\n" for commit in commits))
    draft.replace(_shallow(objects))


@contextlib.contextmanager
def _all_locked(objects: Objects) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for path in sorted((objects.path / "refs" / "devtrace").iterdir()):
            if not path.name.startswith("."):
                lock = objects.path / f"{path.name}.lock"
                stack.enter_context(locked(lock, patience_ms=_PATIENCE_MS))
        yield


def _keep_only(objects: Objects, kept: list[Checkpoint]) -> None:
    """Pack what the kept checkpoints need of our own objects, then drop all other packs and loose objects."""
    wanted: set[str] = set()
    for one in kept:
        wanted.add(one.commit)
        _collect(objects, one.tree, wanted)
    own = sorted(oid for oid in wanted if objects.owns(oid))
    loose = list(tidy.loose(objects.path))
    packs = sorted((objects.path / "objects" / "pack").glob("pack-*.pack"))
    name = tidy.packed(objects, own)
    for _, path in loose:
        path.unlink(missing_ok=True)
    for pack in packs:
        if pack.stem != f"pack-{name}":
            for suffix in (".idx", ".rev", ".pack"):
                pack.with_suffix(suffix).unlink(missing_ok=True)


def _collect(objects: Objects, tree: str, wanted: set[str]) -> None:
    if tree in wanted or not objects.owns(tree):
        return  # what is borrowed is the user's, and so is all below it that we do not own
    wanted.add(tree)
    for entry in trees.entries(objects, tree).values():
        if entry.mode == trees.FOLDER:
            _collect(objects, entry.oid, wanted)
        else:
            wanted.add(entry.oid)
