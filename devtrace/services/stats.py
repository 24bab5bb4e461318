"""stats: the numbers of one store, or of all that are registered in ~/.devtrace/."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from devtrace.errors import DevTraceError
from devtrace.query.filters import Filters
from devtrace.query.stats import Stats, merged, stats
from devtrace.store import registry
from devtrace.store.connection import open_reader
from devtrace.workspace import Workspace

__all__ = ["Everywhere", "everywhere", "here"]


class Everywhere(NamedTuple):
    """The merged numbers, the stores they are from, and those that could not be read."""

    stats: Stats
    stores: list[Path]
    missing: list[tuple[Path, DevTraceError]]


def here(db: sqlite3.Connection, filters: Filters) -> Stats:
    """The numbers of one store."""
    return stats(db, filters)


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
