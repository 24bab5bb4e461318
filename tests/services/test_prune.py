"""Forgetting old states frees their bytes, and never anything that is still kept."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from devtrace.errors import DevTraceError
from devtrace.services.edits.checkpoint import Checkpoints
from devtrace.services.prune import prune
from devtrace.store import chain
from devtrace.store.checkpoints import tidy
from devtrace.store.checkpoints import tree as trees
from devtrace.store.checkpoints.chains import Checkpoint
from devtrace.store.checkpoints.forget import count, forget
from devtrace.store.checkpoints.objects import open_objects
from devtrace.store.connection import open_store
from tests.edits import Recorded
from tests.working_trees import Watched

pytestmark = pytest.mark.needs("git")


def noise(size: int = 20_000) -> bytes:
    """What does not pack."""
    return random.randbytes(size)


def add(points: Checkpoints, seen_us: int | None = None) -> Checkpoint:
    """A checkpoint of what differs, said to be seen at that moment."""
    with points.chain.locked():
        tip = points.tip()
        base = points.base() if tip is None else tip.tree
        found = list(points.look(base, points.candidates(base)))
        seen_us = time.time_ns() // 1000 if seen_us is None else seen_us
        if tip is None:
            return points.begin(found, base, seen_us)
        made = points.commit(tip, found, "edit", seen_us, seen_us).checkpoint
        points.chain.advance(made.commit)
    return made


def grown(place: Watched, *seen_us: int) -> list[Checkpoint]:
    """A checkpoint for each of these moments, every one with a content that only it has."""
    made = []
    for at, seen in enumerate(seen_us):
        place.write("changing", noise())
        place.write(f"folder/{at}", f"{at}\n")
        made.append(add(place.points, seen))
    return made


def contents(place: Watched, one: Checkpoint) -> dict[bytes, bytes]:
    """Every content of a checkpoint, as another process reads it."""
    objects = open_objects(place.workspace)
    return {path: objects.read(entry.oid) for path, entry in trees.walk(objects, one.tree)}


def assert_sound(place: Watched) -> None:
    repository = place.workspace.dir / "objects.git"
    done = subprocess.run(
        ["git", "--git-dir", repository, "fsck", "--full", "--strict"], capture_output=True, text=True
    )
    assert (done.returncode, "missing" in done.stdout + done.stderr) == (0, False), done.stdout + done.stderr


@pytest.fixture
def place(tmp_path):
    """A commit, and no checkpoint yet."""
    made = Watched(tmp_path / "repo")
    made.write("base", "committed\n")
    made.commit()
    return made


def test_contents_that_only_old_states_have_are_gone(place):
    made = grown(place, 10, 20, 30, 40)
    kept = [contents(place, one) for one in made[2:]]
    only_old = trees.find(place.points.objects, made[0].tree, b"changing")
    before = tidy.size(place.points.objects.path)

    assert forget(place.workspace, 30, dry_run=True).checkpoints == 2
    assert (count(place.workspace), tidy.size(place.points.objects.path)) == (4, before)
    done = forget(place.workspace, 30)

    assert (done.checkpoints, done.before_bytes, done.oldest_us) == (2, before, 30)
    assert done.after_bytes == tidy.size(place.points.objects.path) < before - 30_000
    assert [contents(place, one) for one in made[2:]] == kept
    objects = open_objects(place.workspace)
    for oid in (only_old.oid, made[0].commit, made[0].tree, made[1].commit):
        with pytest.raises(DevTraceError):
            objects.read(oid)
    assert_sound(place)
    assert forget(place.workspace, 30).checkpoints == 0


def test_the_newest_of_each_chain_stays_however_old(place):
    nested = Watched(place.root / "nested", store=place.root)
    nested.write("inner", "1\n")
    ours, theirs = grown(place, 10, 20), grown(nested, 5, 15)

    done = forget(place.workspace, 1_000)

    assert (done.checkpoints, count(place.workspace), done.oldest_us) == (2, 2, 15)
    assert b"changing" in contents(place, ours[1])
    assert b"inner" in contents(place, theirs[1])
    assert_sound(place)
    ours += grown(place, 2_000)
    assert forget(place.workspace, 1_500).checkpoints == 1
    assert b"inner" in contents(place, theirs[1])
    assert_sound(place)


def test_a_clock_that_was_set_back_tears_no_hole(place):
    made = grown(place, 10, 100, 20, 110)
    kept = [contents(place, one) for one in made[1:]]

    assert forget(place.workspace, 50).checkpoints == 1

    assert [contents(place, one) for one in made[1:]] == kept
    assert count(place.workspace) == 3
    assert_sound(place)


def test_who_has_it_open_goes_on_rightly(place):
    """libgit2 believes in a pack that has vanished, and would not write what was in it."""
    grown(place, 10)
    old = (place.root / "changing").read_bytes()
    grown(place, 20)
    tidy.pack(place.points.objects)
    points = place.points
    assert points.objects.owns(str(points.tip().tree))
    forget(place.workspace, 20)

    place.write("changing", old)  # what was forgotten is there again
    place.write("new", "new\n")
    made = add(points, 30)

    assert contents(place, made)[b"changing"] == old
    assert made.tree == place.truth()
    assert_sound(place)


def test_what_is_the_user_s_alone_is_left_to_them(place):
    made = grown(place, 10, 20)
    before = place.git("count-objects", "-v"), place.git("for-each-ref")

    forget(place.workspace, 20)
    place.git("gc", "-q", "--prune=now")

    assert contents(place, made[1])[b"base"] == b"committed\n"
    assert place.git("for-each-ref") == before[1]


@pytest.mark.parametrize("seed", range(3))
def test_killed_in_the_middle_it_loses_nothing_that_is_kept(place, seed):
    random.seed(seed)
    for attempt in range(3):
        now = 100 * (attempt + 1)
        made = grown(place, now, now + 1, now + 2, now + 3)
        if attempt == 1:
            tidy.pack(place.points.objects)
        kept = [contents(place, one) for one in made[2:]]
        child = os.fork()
        if not child:
            forget(place.workspace, now + 2)
            os._exit(0)
        time.sleep(random.uniform(0, 0.03))  # the moment is what is tried
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

        assert [contents(place, one) for one in made[2:]] == kept
        assert_sound(place)
    place.write("after", "after\n")
    assert add(place.points, 1_000).tree == place.truth()
    last = forget(place.workspace, 1_000)
    assert (count(place.workspace), last.oldest_us) == (1, 1_000)
    assert_sound(place)


@pytest.mark.parametrize(
    "stop",
    [
        "devtrace.store.checkpoints.forget._keep_only",
        "devtrace.store.checkpoints.tidy.packed",
        "pathlib.Path.unlink",
    ],
)
def test_wherever_it_stops_it_loses_nothing_that_is_kept(place, monkeypatch, stop):
    made = grown(place, 10, 20, 30)
    tidy.pack(place.points.objects)
    made += grown(place, 40)
    kept = [contents(place, one) for one in made[2:]]

    def stops(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(stop, stops)
    with pytest.raises(KeyboardInterrupt):
        forget(place.workspace, 30)
    monkeypatch.undo()

    assert [contents(place, one) for one in made[2:]] == kept
    assert_sound(place)
    grown(place, 50)
    forget(place.workspace, 40)
    assert contents(place, made[3]) == kept[1]
    assert_sound(place)


def test_a_chosen_state_stays_alone_however_often_others_are_forgotten(place):
    made = grown(place, 10, 20, 30, 40)
    wanted = contents(place, made[1])

    assert forget(place.workspace, 40, dry_run=True, chosen=[made[1].commit]).checkpoints == 2
    assert forget(place.workspace, 40, chosen=[made[1].commit, "0" * 40]).checkpoints == 2
    assert contents(place, made[1]) == wanted
    assert_sound(place)
    made += grown(place, 50, 60)
    assert forget(place.workspace, 60, chosen=[made[1].commit]).checkpoints == 2

    assert contents(place, made[1]) == wanted
    assert count(place.workspace) == 1
    assert_sound(place)
    with pytest.raises(DevTraceError):
        open_objects(place.workspace).read(made[3].commit)
    made += grown(place, 70)
    forget(place.workspace, 70)
    with pytest.raises(DevTraceError):
        open_objects(place.workspace).read(made[1].commit)
    assert_sound(place)


# --- packing --------------------------------------------------------------------------------------------


def test_packing_keeps_every_object_and_takes_less(place):
    text = [f"line {number} {random.random()}\n" for number in range(400)]
    for at in range(20):
        text[at] = "changed\n"
        place.write("long", "".join(text))
        add(place.points, at)
    objects = place.points.objects
    loose = dict(tidy.loose(objects.path))
    before = {oid: open_objects(place.workspace).read(oid) for oid in loose}
    size = tidy.size(objects.path)

    assert tidy.pack(objects) == len(loose)

    assert list(tidy.loose(objects.path)) == []
    for reader in (objects, open_objects(place.workspace)):
        assert {oid: reader.read(oid) for oid in before} == before
    assert tidy.size(objects.path) < size / 3
    assert_sound(place)
    assert tidy.pack(objects) == 0
    assert len(list(objects.path.glob("objects/pack/*.pack"))) == 1


def test_what_git_cannot_pack_stays_loose(place, monkeypatch):
    (made,) = grown(place, 10)
    kept = contents(place, made)
    monkeypatch.setenv("PATH", str(place.root))
    (place.root / "git").write_text("#!/bin/sh\nexit 1\n")
    (place.root / "git").chmod(0o755)

    assert tidy.pack(place.points.objects) == 0
    assert contents(place, made) == kept


# --- the order ------------------------------------------------------------------------------------------


def test_the_record_says_what_went(tmp_path):
    place = Recorded(tmp_path / "repo")
    place.write("a", "1\n")
    place.begin()
    place.write("a", "2\n")
    place.command()
    until_us = time.time_ns() // 1000

    with closing(open_store(place.workspace)) as db:
        assert prune(db, place.workspace, until_us, {}, dry_run=True).checkpoints == 1
        assert place.rows("policy") == []
        done = prune(db, place.workspace, until_us, {})
        (event,) = place.rows("policy")
        (kind, status) = db.execute(
            "SELECT kind, status FROM sessions WHERE id = ?", (event["session"],)
        ).fetchone()
        assert chain.check(db, event["session"]) is None
        assert chain.check(db, place.session) is None
        assert prune(db, place.workspace, until_us, {}).checkpoints == 0

    assert (kind, status, done.checkpoints) == ("prune", "ended", 1)
    data = event["data"]
    assert (data["action"], data["rule"], data["count"]) == ("pruned", "checkpoints", 1)
    assert f"{done.before_bytes} bytes before, {done.after_bytes} after" in data["detail"]
    assert len(place.rows("policy")) == 1


def test_without_checkpoints_there_is_nothing_to_forget(tmp_path):
    place = Recorded(tmp_path / "repo")
    with closing(open_store(place.workspace, create=True)) as db, pytest.raises(DevTraceError) as raised:
        prune(db, place.workspace, 1, {})

    assert raised.value.code == "ERR_NO_CHECKPOINT"
    assert count(place.workspace) == 0
    assert not Path(place.workspace.dir / "objects.git").exists()
