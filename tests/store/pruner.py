"""A process that prunes a store, to be killed at any moment, or to stand in a writer's way.

`python -m tests.store.pruner STORE` says `ready`, waits for a line, and tells a line for each transaction.

Lives here: what it does. Not here: what must be true afterwards.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from devtrace.services.prune import prune_record
from devtrace.store.connection import open_store
from devtrace.store.retention import EVENTS, OUTPUTS, WHENEVER, Author, Order
from devtrace.workspace import Workspace
from tests.store.crowd import tell

AUTHOR = Author("human", "cli", 0)


def main(store: str, batch: str) -> None:
    """Everything that may go: outputs, then events, then the space."""
    place = Workspace(Path(store))
    with closing(open_store(place)) as db:
        tell("ready")
        sys.stdin.readline()
        orders = [
            (Order(what, WHENEVER, batch=int(batch)), lambda: bool(tell("step") or True))
            for what in (OUTPUTS, EVENTS)
        ]
        prune_record(db, place, orders, AUTHOR)
    tell("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
