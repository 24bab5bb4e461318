"""A repository with one commit, edits that are told with any verdict, and the question who wrote a line.

Lives here: `begun`, `edit`, `by`, `emit`; `asked`, `told`, `whose`. Not here: any test, the builder of
repositories (tests/edits.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from devtrace.events import Event
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.query.blame import Blame
from devtrace.services.edits.attribution import Verdict
from devtrace.services.edits.telling import record
from devtrace.store.connection import open_store
from tests.edits import Recorded


def begun(root: Path, agent: str = "manual") -> Recorded:
    """One commit: `a.txt` with the lines one, two, three; and a session."""
    made = Recorded(root, agent=agent)
    made.write("a.txt", "one\ntwo\nthree\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "first")
    made.begin()
    return made


@contextmanager
def asked(place: Recorded) -> Iterator[Blame]:
    with closing(open_store(place.workspace)) as db:
        yield Blame(db, place.workspace)


def told(place: Recorded, name: str = "a.txt", at: str | None = None) -> list[dict[str, Any]]:
    with asked(place) as blame:
        file = place.root / name
        found = blame.on_disk(file) if at is None else blame.at(file, at)
        return blame.tell(found, range(1, len(found.lines) + 1))


def whose(place: Recorded, name: str = "a.txt", at: str | None = None) -> list[tuple[str, str]]:
    """Each line with its command, or why there is none."""
    return [
        (row["text"], row["command"] if row["status"] == "recorded" else row["status"])
        for row in told(place, name, at)
    ]


def edit(place: Recorded, text: str, command: str, name: str = "a.txt") -> Event:
    place.write(name, text)
    return place.command(command)


def by(place: Recorded, verdict: Verdict) -> None:
    """What changed since the last checkpoint is told with this verdict."""
    assert place.points is not None
    now_us = time.time_ns() // 1000
    with place.points.chain.locked():
        tip = place.points.tip()
        assert tip is not None
        found = list(place.points.look(tip.tree, place.points.candidates(tip.tree)))
        groups = {verdict: [(one, [(now_us, now_us)]) for one in found]}
        emit(place, *record(place.points, tip, groups, place.session, now_us)[1])


def emit(place: Recorded, *events: Event) -> None:
    with closing(open_store(place.workspace)) as db:
        pipeline = Pipeline(db, place.workspace, Policy.for_session({}, place.workspace.salt.read_bytes()))
        for event in events:
            pipeline.emit(event)
        pipeline.close()
