"""A store of one's own, open for writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtrace.store.connection import open_store
from devtrace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Where a store belongs; nothing is there yet."""
    return Workspace(tmp_path / ".devtrace")


@pytest.fixture
def db(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    """The store, made."""
    connection = open_store(workspace, create=True)
    yield connection
    connection.close()
