"""stats: the numbers of one store, or of all that are registered in ~/.devtrace/."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from devtrace.errors import DevTraceError
from devtrace.query.filters import Filters
from devtrace.query.stats import Stats, held, merged, stats
from devtrace.store import registry
from devtrace.store.checkpoints import forget, tidy
from devtrace.store.checkpoints.objects import place_of
from devtrace.store.connection import open_reader
from devtrace.workspace import Workspace

__all__ = ["Everywhere", "Kept", "everywhere", "here", "kept"]


class Kept(NamedTuple):
    """How much a store keeps, in bytes on disk."""

    database: int
    checkpoints: int
    n_checkpoints: int
    spool: int
    outputs: int = 0  # of the database: what the outputs take
    n_outputs: int = 0
    n_pruned: int = 0  # events of which a stub is left


class Everywhere(NamedTuple):
    """The merged numbers, the stores they are from, and those that could not be read."""

    stats: Stats
    stores: list[Path]
    missing: list[tuple[Path, DevTraceError]]


def here(db: sqlite3.Connection, filters: Filters) -> Stats:
    """The numbers of one store."""
    return stats(db, filters)


def kept(workspace: Workspace, db: sqlite3.Connection) -> Kept:
    """The sizes of a store's parts."""
    database = sum(
        tidy.size_of(workspace.database.with_name(workspace.database.name + end))
        for end in ("", "-wal", "-shm")
    )
    checkpoints, spool = tidy.size(place_of(workspace)), tidy.size(workspace.spool)
    return Kept(database, checkpoints, forget.count(workspace), spool, **held(db))


def everywhere(filters: Filters) -> Everywhere:
    """The numbers of all registered stores; one that cannot be read is named, and the others count."""
    counted: list[tuple[Path, Stats]] = []
    missing: list[tuple[Path, DevTraceError]] = []
    for path in registry.registered():
        try:
            with closing(open_reader(Workspace(path))) as db:
                counted.append((path, stats(db, filters)))
        except DevTraceError as error:
            missing.append((path, error))
    return Everywhere(merged(one for _, one in counted), [path for path, _ in counted], missing)
