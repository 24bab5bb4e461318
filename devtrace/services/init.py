"""init: make the store of a repository, once or again."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from devtrace.services import config
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace, find_or_place, repository_root


class Initialised(NamedTuple):
    """Where the store is, and what of it is new."""

    workspace: Workspace
    was_there: bool
    is_registered: bool
    repository: Path | None  # None: no git repository here; DevTrace works without one


def init(start: Path | None = None, *, register: bool = False) -> Initialised:
    """Make the store in the repository's root (else in `start`), or complete the one that is there.

    `register` also lists it in ~/.devtrace/. Raises EnvironmentError ERR_STORE_*.
    """
    workspace, was_there = find_or_place(start)
    open_store(workspace, create=True).close()
    if register:
        config.set_value(workspace, "registry.enabled", "true")
    is_registered = config.load(workspace).flag("registry.enabled")
    return Initialised(workspace, was_there, is_registered, repository_root(workspace.root))
