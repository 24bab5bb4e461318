"""Checkpoints beside git: how long one takes in a large tree, how long a start, how many bytes an edit.

Ours runs inside of a process that is there anyway; the peers are the whole processes that would have to be
started instead: `git status`, and `git add -A` with `git write-tree` on an index of its own that is kept from
round to round, so that it too only reads what changed. The tree is the same one, in turn, in one run.

Bytes on disk are whole blocks. The peer there is a plain repository with a commit an edit.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import Row
from benchmarks.prompt import median_ms, row
from devtrace.config import Config
from devtrace.events import Event, Gap
from devtrace.ids import new_session_id
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.services.edits.attribution import Verdict
from devtrace.services.edits.checkpoint import Checkpoints
from devtrace.services.edits.early import Early
from devtrace.services.edits.telling import Groups, record
from devtrace.services.edits.tracker import Tracker
from devtrace.sources.watch import Watcher
from devtrace.store import sessions
from devtrace.store.checkpoints import tidy
from devtrace.store.checkpoints.objects import place_of
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace, create

A_FOLDER = 61  # files, so that 50,000 of them are in 820 folders
CHANGED = 10  # files of a round
EDITED = 200  # files that the edits are made in
EDIT_LINES, FILE_LINES = 3, 100
BLOCKS = 4096
_GIT = ("git", "-c", "user.name=Ana", "-c", "user.email=ana@example.org", "-c", "gc.auto=0",
        "-c", "maintenance.auto=false")  # fmt: skip
_READY_S = 120.0


class Amount(NamedTuple):
    """How much is measured."""

    sizes: tuple[int, ...]  # files of a tree
    rounds: int
    starts: int
    edits: int


FULL = Amount(sizes=(1_000, 10_000, 50_000), rounds=21, starts=5, edits=1_000)
QUICK = Amount(sizes=(1_000,), rounds=3, starts=1, edits=60)


def measure(*, quick: bool = False, amount: Amount | None = None) -> list[Row]:
    """The rows of this room; `amount` overrides how much is measured."""
    asked = amount or (QUICK if quick else FULL)
    rows: list[Row] = []
    for size in asked.sizes:
        with tempfile.TemporaryDirectory() as folder:
            tree = a_tree(Path(folder) / "tree", size)
            rows += looks(tree, size, asked.rounds)
            rows += starts(tree, Path(folder), size, asked.starts)
    with tempfile.TemporaryDirectory() as folder:
        rows += on_disk(Path(folder), asked.edits)
    return rows


# --- a large tree ---------------------------------------------------------------------------------------


def a_tree(root: Path, size: int) -> Path:
    """A repository of so many small files, all of them committed."""
    chance = random.Random(size)
    for number in range(size):
        file = root / path_of(number)
        if number % A_FOLDER == 0:
            file.parent.mkdir(parents=True)
        file.write_text("".join(f"line {line} = {chance.random()}\n" for line in range(20)))
    git(root, "init", "-q", ".")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "all")
    time.sleep(1.1)  # what is as old as the index is read again by every git: it might have changed since
    git(root, "update-index", "-q", "--really-refresh")
    git(root, "status")
    return root


def path_of(number: int) -> str:
    """Where a file is: folders in folders, `A_FOLDER` files in each of the lower ones."""
    folder = number // A_FOLDER
    return f"part{folder // 40}/area{folder}/file{number}.py"


def looks(tree: Path, size: int, rounds: int) -> list[Row]:
    """One checkpoint of ten changed files, from hints and without any, each beside git."""
    points = checkpoints(tree)
    chance = random.Random(size)
    paths = [os.fsencode(path_of(number)) for number in chance.sample(range(size), CHANGED)]
    index = tree.parent / "index"
    shutil.copyfile(tree / ".git" / "index", index)
    ways: dict[str, Callable[[], object]] = {
        "hints": lambda: a_checkpoint(points, lambda _: paths),
        "whole": lambda: a_checkpoint(points, points.candidates),
        "status": lambda: git(tree, "status", GIT_OPTIONAL_LOCKS="0"),
        "add": lambda: side_tree(tree, index),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    trees: dict[str, object] = {}
    for number in range(rounds + 1):
        for name, way in ways.items():
            change(tree, paths, f"{number} {name}")
            begun = time.perf_counter()
            trees[name] = way()
            took[name].append(time.perf_counter() - begun)
    assert a_checkpoint(points, points.candidates) == side_tree(tree, index)
    ms = {name: median_ms(times[1:]) for name, times in took.items()}  # the first round is a warm one
    of = f"of {size:,}"
    rows = []
    for name, what, budget in (
        ("hints", f"a checkpoint of {CHANGED} changed files {of}, from hints", "<= 50 ms"),
        ("whole", f"the same {of}, from a whole look", ""),
    ):
        rows.append(row(what, ms[name], "git status", ms["status"], budget=budget))
        rows.append(row(what, ms[name], "git add -A, write-tree", ms["add"]))
    return rows


def a_checkpoint(points: Checkpoints, paths: Callable[[str | None], Sequence[bytes] | set[bytes]]) -> str:
    """One look and one commit, under the lock; returns the tree."""
    with points.chain.locked():
        tip = points.tip()
        assert tip is not None
        found = list(points.look(tip.tree, paths(tip.tree)))
        if not found:
            return tip.tree
        now_us = time.time_ns() // 1000
        made = points.commit(tip, found, "a round", now_us, now_us)
        points.chain.advance(made.checkpoint.commit)
        return made.checkpoint.tree


def side_tree(tree: Path, index: Path) -> str:
    """What git makes of the working tree on a side index."""
    git(tree, "add", "-A", GIT_INDEX_FILE=str(index))
    return git(tree, "write-tree", GIT_INDEX_FILE=str(index))


def change(tree: Path, paths: Sequence[bytes], text: str) -> None:
    """Put another last line into each of the files."""
    for path in paths:
        file = tree / os.fsdecode(path)
        lines = file.read_text().splitlines(keepends=True)[:20]
        file.write_text("".join(lines) + f"changed {text}\n")


# --- a start --------------------------------------------------------------------------------------------


def starts(tree: Path, folder: Path, size: int, rounds: int) -> list[Row]:
    """Until a session's tracker has seen the state in which it begins, and how long its watcher takes."""
    first, later, watched, status = [], [], [], []
    for number in range(rounds):
        place = Workspace(folder / f"store{number}" / ".devtrace")
        place.root.mkdir()
        create(place)
        first.append(a_start(place, tree))
        later.append(a_start(place, tree))
        watched.append(a_watch(Checkpoints(place, tree, policy(place), Config({}))))
        begun = time.perf_counter()
        git(tree, "status", GIT_OPTIONAL_LOCKS="0")
        status.append(time.perf_counter() - begun)
    of, peer = f"of {size:,} files", median_ms(status)
    return [
        row(f"the first start of a tracker {of}", median_ms(first), "git status", peer),
        row(f"a later start {of}", median_ms(later), "git status", peer),
        row(f"its watcher's part {of}", median_ms(watched)),
    ]


def a_start(place: Workspace, tree: Path) -> float:
    """Seconds until it is ready."""
    started_us = time.time_ns() // 1000
    begun = time.perf_counter()
    tracker = Tracker(place, tree, new_session_id(), Config({}), policy(place), started_us, Early(tree))
    tracker.start()
    assert tracker.is_ready.wait(_READY_S)
    took = time.perf_counter() - begun
    tracker.close()
    assert not [event for event in tracker.take() if isinstance(event.body, Gap)]
    return took


def a_watch(points: Checkpoints) -> float:
    """Seconds until every folder is watched."""
    begun = time.perf_counter()
    with Watcher(points.root, points.open_tree().skips) as watcher:
        took = time.perf_counter() - begun
        assert watcher.is_complete, watcher.choice.because
    return took


# --- bytes ----------------------------------------------------------------------------------------------


def on_disk(folder: Path, edits: int) -> list[Row]:
    """Bytes for each byte that was changed, loose and packed, and of an event in the database."""
    ours, theirs = folder / "ours", folder / "theirs"
    for root in (ours, theirs):
        files_to_edit(root)
    points = checkpoints(ours)
    place = Workspace(ours / ".devtrace")
    begun = (tidy.size(place_of(place)), tidy.size(theirs / ".git"))
    events, changed = [], 0
    session = new_session_id()
    for number in range(edits):
        path, count = edit(ours, number)
        edit(theirs, number)
        changed += count
        events += told(points, session, path)
        git(theirs, "commit", "-q", "-a", "-m", f"edit {number}")
    assert len(events) == edits
    assert git(theirs, "rev-parse", "HEAD^{tree}") == git(ours, "write-tree", **side(ours))
    rows = [grown("loose", place, theirs, begun, changed)]
    assert tidy.pack(points.objects) > edits
    git(theirs, "gc", "-q", "--prune=now")
    rows.append(grown("packed", place, theirs, begun, changed, "git gc"))
    rows.append(per_event(place, session, events))
    return rows


def files_to_edit(root: Path) -> None:
    """A repository of `EDITED` files of about 5 KB."""
    chance = random.Random(EDITED)
    for number in range(EDITED):
        file = root / edited(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(a_line(chance, line) for line in range(FILE_LINES)))
    git(root, "init", "-q", ".")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "all")
    git(root, "gc", "-q")  # so that a later one packs what was added and nothing else


def edited(number: int) -> str:
    """Where a file to be edited is."""
    return f"src/room{number % 10}/module{number % EDITED}.py"


def a_line(chance: random.Random, number: int) -> str:
    """About 50 bytes."""
    return f"    value_{number} = compute({chance.randrange(1 << 40)}, {chance.randrange(1 << 40)})\n"


def edit(root: Path, number: int) -> tuple[bytes, int]:
    """Rewrite three lines of one file, alike in any root; returns its path and how many bytes that is."""
    chance = random.Random(number)
    path = edited(chance.randrange(EDITED))
    lines = (root / path).read_text().splitlines(keepends=True)
    at = chance.randrange(len(lines) - EDIT_LINES)
    lines[at : at + EDIT_LINES] = [a_line(chance, at + line) for line in range(EDIT_LINES)]
    (root / path).write_text("".join(lines))
    return os.fsencode(path), sum(map(len, lines[at : at + EDIT_LINES]))


def told(points: Checkpoints, session: str, path: bytes) -> list[Event]:
    """A checkpoint as a session makes it; returns its events."""
    now_us = time.time_ns() // 1000
    with points.chain.locked():
        tip = points.tip()
        assert tip is not None
        found = list(points.look(tip.tree, [path]))
        groups: Groups = {Verdict("outside", "none"): [(one, [(now_us, now_us)]) for one in found]}
        return record(points, tip, groups, session, now_us)[1]


def grown(
    how: str, place: Workspace, theirs: Path, begun: tuple[int, int], changed: int, peer: str = "git commit"
) -> Row:
    """How much the two repositories have grown since, for each changed byte."""
    ours_now, theirs_now = tidy.size(place_of(place)), tidy.size(theirs / ".git")
    return row(
        f"disk for a changed byte, {how}",
        max(ours_now - begun[0], BLOCKS) / changed,
        peer,
        max(theirs_now - begun[1], BLOCKS) / changed,
        unit="B",
    )


def per_event(place: Workspace, session: str, events: Sequence[Event]) -> Row:
    """What the rows of an edit take in the database."""
    with contextlib.closing(open_store(place, create=True)) as db:
        sessions.begin(db, id=session, kind="shell", started_us=events[0].started_us)

        def size() -> int:
            (pages,), (page,) = (
                db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
            )
            return int(pages) * int(page)

        begun = size()
        pipeline = Pipeline(db, place, policy(place))
        for event in events:
            pipeline.emit(event)
        pipeline.close()
        assert not pipeline.n_lost
        return row("an edit event in the database", (size() - begun) / len(events), unit="B")


# --- what all of them need ------------------------------------------------------------------------------


def checkpoints(root: Path) -> Checkpoints:
    """The checkpoints of a working tree with a store in it; the first one is made."""
    place = Workspace(root / ".devtrace")
    create(place)
    points = Checkpoints(place, root, policy(place), Config({}))
    with points.chain.locked():
        base = points.base()
        found = list(points.look(base, points.candidates(base)))
        points.begin(found, base, time.time_ns() // 1000)
    return points


def policy(place: Workspace) -> Policy:
    """As a session has it, with nothing in its environment."""
    return Policy.for_session({}, place.salt.read_bytes())


def side(root: Path) -> Mapping[str, str]:
    """An index of its own that knows the whole working tree."""
    index = {"GIT_INDEX_FILE": str(root.parent / "side-index")}
    git(root, "add", "-A", **index)
    return index


def git(root: Path, *arguments: str, **environment: str) -> str:
    """A whole process; what it printed."""
    done = subprocess.run(
        [*_GIT, "-C", str(root), *arguments],
        env=os.environ | environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["--only", "checkpoints", *sys.argv[1:]]))
