"""What every reading command does first: find the store, bring it up to date, know the reader.

Lives here: `opened`, `refreshed`, `asking`, `reader`, writing answers to stdout. Not here: errors
(border.py).
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

from rich.console import Console

from devtrace.cli.border import say
from devtrace.services.refresh import Fresh, open_fresh
from devtrace.store.connection import from_sqlite_error
from devtrace.views.console import width_of
from devtrace.views.timeline import Reader
from devtrace.workspace import Workspace, find


@contextmanager
def opened(workspace: Workspace | None = None) -> Iterator[sqlite3.Connection]:
    """The store above here, open and as fresh as it can be made; says so when it is not."""
    with refreshed(workspace or find()) as fresh:
        yield fresh.db


@contextmanager
def refreshed(workspace: Workspace) -> Iterator[Fresh]:
    """The same of a store that is known, with what was found while it was made fresh."""
    fresh = open_fresh(workspace)
    if fresh.stale is not None:
        say(f"The store is shown as it was last left: {fresh.stale.message} [{fresh.stale.code}]")
    with closing(fresh.db), asking(workspace):
        yield fresh


@contextmanager
def asking(workspace: Workspace) -> Iterator[None]:
    """What SQLite says against a question, in our words. An OSError in here is about the answer."""
    try:
        yield
    except sqlite3.Error as error:
        raise from_sqlite_error(error, workspace) from error


def reader(console: Console, *, nested: bool | None = None) -> Reader:
    """Who looks, through which window."""
    return Reader(
        now_us=time.time_ns() // 1000,
        width=width_of(console),
        home=os.environ.get("HOME", ""),
        nested=nested,
    )


def answer(lines: Iterable[str]) -> None:
    """Lines for machines, on stdout."""
    for line in lines:
        sys.stdout.write(line + "\n")
