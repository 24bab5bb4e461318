"""Checkpoints whose makers are killed, whose disk fills up, whose objects are damaged, and the user's own gc.

Random moments are told by their seed, which every failure names. Processes that are to be killed are forked
by one that has imported everything: so there is time for many.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devtrace.policy.chain import Policy
from devtrace.services.edits.checkpoint import Checkpoints
from devtrace.services.edits.once import State, checkpoint_now
from devtrace.store.checkpoints import tidy
from devtrace.store.checkpoints import tree as trees
from tests.edits import Recorded
from tests.processes import DEADLINE, environment

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def seed() -> int:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    return seed


@pytest.fixture
def place(tmp_path: Path) -> Recorded:
    """A repository with two commits, and a session in it."""
    place = Recorded(tmp_path / "repo")
    for number in range(2):
        for name in ("api.py", "src/a.py", "src/deep/b.py"):
            place.write(name, f"{name} {number}\n" * 20)
        place.git("add", "-A")
        place.git("commit", "-q", "-m", f"step {number}")
    place.begin()
    return place


# --- what must be true afterwards ---------------------------------------------------------------------------


def objects_of(place: Recorded) -> Path:
    return place.workspace.dir / "objects.git"


def asked(place: Recorded, *arguments: str, stdin: str = "") -> str:
    """What git says of our objects; it may not fail."""
    done = subprocess.run(
        ["git", "--git-dir", str(objects_of(place)), *arguments],
        input=stdin, capture_output=True, text=True, check=False, timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def is_sound(place: Recorded) -> list[str]:
    """Nothing is missing or corrupt, and the chain holds all that events name; its commits, oldest first."""
    said = asked(place, "fsck", "--full", "--no-dangling")
    assert "missing" not in said
    assert "corrupt" not in said
    assert place.points is not None
    tip = place.points.chain.tip()
    assert tip is not None
    line = [
        words.split() for words in asked(place, "rev-list", "--reverse", "--parents", tip.commit).splitlines()
    ]
    assert [words[1:] for words in line] == [[], *([words[0]] for words in line[:-1])], (
        "the line has branches"
    )
    commits = [words[0] for words in line]
    told = [event["data"] for event in place.rows()]
    assert [event["commit"] for event in told if event["commit"] not in commits] == []
    assert [event["before"] for event in told if event["before"] not in commits] == []
    is_readable(place, tip.commit)
    return commits


def is_readable(place: Recorded, commit: str) -> None:
    """Every object of a checkpoint and of all before it can be read to its end."""
    listed = asked(place, "rev-list", "--objects", commit)
    oids = "".join(line.split(" ")[0] + "\n" for line in listed.splitlines())
    assert " missing" not in asked(place, "cat-file", "--batch-check", stdin=oids)


def has_kept(place: Recorded, before: list[str]) -> None:
    """The line still holds what events name, and all that was in it can be read.

    The newest may be that of a maker which was killed before its event was stored: it is told anew.
    """
    after = is_sound(place)
    told = {event["data"]["commit"] for event in place.rows()}
    assert [commit for commit in before if commit in told and commit not in after] == []
    assert after[0] == before[0]
    is_readable(place, before[-1])


def git_tree(place: Recorded) -> str:
    """What git makes of the working tree, by an index of its own."""
    index = place.workspace.run / "side-index"
    own = environment(GIT_INDEX_FILE=str(index))
    subprocess.run(["git", "add", "-A"], cwd=place.root, env=own, check=True, timeout=DEADLINE)
    done = subprocess.run(
        ["git", "write-tree"], cwd=place.root, env=own, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def opened(place: Recorded) -> Checkpoints:
    """As the next process would open them."""
    policy = Policy.for_session({}, place.workspace.salt.read_bytes())
    return Checkpoints(place.workspace, place.root, policy, place.settings)


def goes_on(place: Recorded) -> State:
    """The next checkpoint is made, and holds all that git sees."""
    place.points = opened(place)
    place.write("next.py", "the next one\n")
    state = checkpoint_now(place.workspace, place.points, place.session)
    assert state.checkpoint.tree == git_tree(place)
    return state


# --- killed -------------------------------------------------------------------------------------------------

NURSERY = """
import os, random, signal, sys, time
from pathlib import Path
from devtrace.store.checkpoints import tidy
from tests.edits import Recorded

root, seed, rounds, works = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(",")
chance = random.Random(seed)

def make(chance):
    place = Recorded(root)
    place.begin()
    number = 0
    while True:
        number += 1
        for _ in range(chance.randrange(1, 6)):
            name = chance.choice(("api.py", f"src/made/d{chance.randrange(4)}/f{chance.randrange(8)}.py"))
            place.write(name, f"{chance.random()}\\n" * chance.randrange(1, 300))
        place.command(f"edit {number}")

def pack(chance):
    place = Recorded(root)
    place.begin()
    while True:
        tidy.pack(place.points.objects)

def begun(work, seed):
    child = os.fork()
    if not child:
        try:
            globals()[work](random.Random(seed))
        finally:
            os._exit(1)
    return child

for number in range(rounds):
    children = [begun(work, chance.random()) for work in works]
    for child in chance.sample(children, len(children)):
        time.sleep(chance.random() * 0.25)  # somewhere in what it does
        os.kill(child, signal.SIGKILL)
        if os.waitpid(child, 0)[1] != signal.SIGKILL:
            print(f"round {number}: a process ended by itself", file=sys.stderr, flush=True)
            os.killpg(0, signal.SIGKILL)  # no other child outlives the nursery, nor keeps its stderr open
"""


@contextmanager
def nursery(place: Recorded, seed: int, rounds: int, *works: str) -> Iterator[subprocess.Popen[str]]:
    """Processes that work and are killed, while the block happens; whatever happens there, none is left."""
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(place.root), str(seed), str(rounds), ",".join(works)],
        env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its children with it


def ends_well(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate(timeout=DEADLINE * 2)
    assert process.returncode == 0, said


def test_makers_of_checkpoints_killed_at_any_moment_leave_a_whole_line_and_no_lock(
    place: Recorded, seed: int
) -> None:
    with nursery(place, seed, 10, "make", "make") as process:
        ends_well(process)

    place.points = opened(place)
    before = is_sound(place)
    state = goes_on(place)

    assert state.checkpoint.parent in before
    has_kept(place, before)
    assert len(place.rows()) > 0


def test_packing_killed_at_any_moment_and_beside_a_maker_loses_nothing(place: Recorded, seed: int) -> None:
    with nursery(place, seed, 7, "make", "pack", "pack") as process:
        ends_well(process)

    place.points = opened(place)
    before = is_sound(place)
    tidy.pack(place.points.objects)

    assert is_sound(place) == before
    assert asked(place, "count-objects").startswith("0 objects")
    goes_on(place)
    is_sound(place)


def test_whoever_has_the_objects_open_finds_them_after_another_process_packed_them(place: Recorded) -> None:
    place.write("api.py", "before packing\n")
    event = place.command()
    reader = opened(place)
    (told,) = place.rows()
    tip = reader.chain.read(told["data"]["commit"])

    assert tidy.pack(opened(place).objects) > 0

    entry = trees.find(reader.objects, tip.tree, b"api.py")
    assert entry is not None
    assert reader.objects.read(entry.oid) == b"before packing\n"
    assert told["parent"] == event.id


# --- the user's own housekeeping ----------------------------------------------------------------------------


def test_no_gc_rebase_or_lost_branch_of_the_user_takes_a_checkpoint_away(place: Recorded, seed: int) -> None:
    chance = random.Random(seed)
    # The maker writes api.py all the while, so nothing here may: no checkout has -f, which would take that
    # file away to write it anew, and fails where the maker writes it in between ("File exists").
    with nursery(place, seed, 25, "make") as process:
        for number in range(2):
            place.git("checkout", "-q", "-b", f"side{number}")
            housework(place, "src/a.py", f"on the side {chance.random()}\n")
            place.git("checkout", "-q", "main")
            housework(place, "src/deep/b.py", f"on main {chance.random()}\n")
            place.git("update-index", "--skip-worktree", "api.py")  # the maker's: no rebase looks at it
            place.git("rebase", "-q", "main", f"side{number}")
            place.git("update-index", "--no-skip-worktree", "api.py")
            place.git("checkout", "-q", "main")
            place.git("commit", "-q", "--amend", "-m", f"amended {number}")
            place.git("branch", "-q", "-D", f"side{number}")
            place.git("reflog", "expire", "--expire=now", "--all")
            place.git("gc", "-q", "--prune=now", "--aggressive")
        ends_well(process)
    place.git("checkout", "-q", "--orphan", "anew")
    place.git("commit", "-q", "-m", "nothing of what was")
    place.git("branch", "-q", "-D", "main")
    place.git("reflog", "expire", "--expire=now", "--all")
    place.git("gc", "-q", "--prune=now", "--aggressive")

    place.points = opened(place)
    before = is_sound(place)
    goes_on(place)
    has_kept(place, before)


def housework(place: Recorded, path: str, text: str) -> None:
    place.write(path, text)
    place.git("commit", "-q", "-m", text.strip(), "--", path)


# --- the disk is full ---------------------------------------------------------------------------------------

SMALL_DISK = 'mount -t tmpfs -o size=2m,mode=700 none "$1/.devtrace/objects.git" && shift && exec "$@"'
ON_SMALL_DISK = """
import json, os, random, sys, threading, time
from pathlib import Path
from devtrace.config import Config
from devtrace.errors import DevTraceError
from devtrace.events import EditFiles, Gap
from devtrace.ids import new_session_id
from devtrace.policy.chain import Policy
from devtrace.services.edits.early import Early
from devtrace.services.edits.tracker import Tracker
from devtrace.store.checkpoints.objects import Objects
from tests.edits import Recorded
from tests.store.test_checkpoint_faults import git_tree, is_sound

place = Recorded(Path(sys.argv[1]))
filler = place.workspace.dir / "objects.git" / "filler"
failed = threading.Event()
write = Objects.write
def watched(*arguments):
    try:
        return write(*arguments)
    except DevTraceError as error:
        told.setdefault("code", error.code)
        failed.set()
        raise
Objects.write = watched
told = {}

def fill():
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                pass

def large(name):
    place.write(name, random.Random(name).randbytes(200_000).hex())

place.begin()
large("early.txt")
place.command()
tip = place.points.chain.tip()
"""
FAILS = """
fill()
large("late.txt")
place.write("src/a.py", "small\\n")
try:
    place.command()
except DevTraceError as error:
    told["raised"] = error.code
told["is_where_it_was"] = place.points.chain.tip() == tip
filler.unlink()
is_sound(place)
place.command()
is_sound(place)
told["is_right"] = place.points.chain.tip().tree == git_tree(place)
told["changes"] = sorted(one["path"] for one in place.rows()[-1]["data"]["changes"])
print(json.dumps(told))
"""
TRACKED = """
policy = Policy.for_session({}, place.workspace.salt.read_bytes())
now_us = time.time_ns() // 1000
early = Early(place.root)
tracker = Tracker(place.workspace, place.root, new_session_id(), Config({}), policy, now_us, early)
tracker.start()
assert tracker.is_ready.wait(30)
fill()
large("late.txt")
tracker.progress(time.time_ns() // 1000 + 1_000_000)
assert failed.wait(30)
if sys.argv[2] == "there is room again":
    filler.unlink()
tracker.close()
events = tracker.take()
told["gaps"] = [event.body.reason for event in events if isinstance(event.body, Gap)]
edits = [event.body for event in events if isinstance(event.body, EditFiles)]
told["changes"] = [change.path for body in edits for change in body.changes]
told["is_where_it_was"] = place.points.chain.tip() == tip
filler.unlink(missing_ok=True)
print(json.dumps(told))
"""


def on_small_disk(
    place: Recorded, needs: Callable[..., None], script: str, *arguments: str
) -> dict[str, Any]:
    """Run it where the objects have two megabytes; what it told."""
    needs("unshare")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("because mounting a small disk needs root")
    empty = Recorded(place.root.with_name("small"))
    empty.write("src/a.py", "a\n")
    objects_of(empty).mkdir(mode=0o700)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", SMALL_DISK, "sh", str(empty.root), sys.executable, "-c",
         ON_SMALL_DISK + script, str(empty.root), *arguments],
        env=environment(), capture_output=True, text=True, check=False, timeout=DEADLINE * 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.unmeasured
def test_a_checkpoint_on_a_full_disk_fails_whole_and_the_next_one_has_everything(
    place: Recorded, needs: Callable[..., None]
) -> None:
    told = on_small_disk(place, needs, FAILS)

    assert told.pop("raised") == told.pop("code")
    assert told == {
        "is_where_it_was": True,
        "is_right": True,
        "changes": ["late.txt", "src/a.py"],
    }


@pytest.mark.unmeasured
def test_a_full_disk_is_called_full(place: Recorded, needs: Callable[..., None]) -> None:
    assert on_small_disk(place, needs, FAILS)["raised"] == "ERR_STORE_FULL"


@pytest.mark.unmeasured
@pytest.mark.parametrize("room", ["there is room again", "there never is"])
def test_a_session_says_what_a_full_disk_kept_it_from_recording_and_nothing_when_it_got_room(
    place: Recorded, needs: Callable[..., None], room: str
) -> None:
    told = on_small_disk(place, needs, TRACKED, room)

    is_full = room == "there never is"
    assert told.pop("code").startswith("ERR_STORE_")
    assert told == {
        "gaps": ["edits_unrecorded"] if is_full else [],
        "changes": [] if is_full else ["late.txt"],
        "is_where_it_was": is_full,
    }


# --- damaged ------------------------------------------------------------------------------------------------


def damage(place: Recorded, what: str) -> None:
    """Spoil what the newest checkpoint stands on."""
    assert place.points is not None
    tip = place.points.chain.tip()
    assert tip is not None
    ref = objects_of(place) / "refs" / "devtrace" / place.points.chain.name
    below = trees.find(place.points.objects, tip.tree, b"src/deep")
    file = trees.find(place.points.objects, tip.tree, b"src/deep/b.py")
    assert below is not None
    assert file is not None
    oids = {"commit": tip.commit, "root": tip.tree, "folder": below.oid, "file": file.oid}
    how, _, which = what.partition(" ")
    if how == "ref":
        contents = {
            "empty": "",
            "garbage": "\0garbage\n",
            "zeros": "0" * 40,
            "file": file.oid,
            "root": tip.tree,
        }
        ref.write_text(contents[which])
        return
    loose = objects_of(place) / "objects" / oids[which][:2] / oids[which][2:]
    data = loose.read_bytes()
    loose.chmod(0o600)
    loose.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "garbled": b"\xff" * len(data)}[how])


DAMAGES = [
    "ref empty",
    "ref garbage",
    "ref zeros",
    "empty commit",
    "empty root",
    "garbled commit",
    "garbled root",
    "ref file",
    "ref root",
    "empty folder",
    "garbled folder",
    "cut commit",
    "cut root",
]


@pytest.mark.parametrize("what", DAMAGES)
def test_a_tip_that_cannot_be_read_is_set_aside_and_a_new_line_begins(place: Recorded, what: str) -> None:
    for number in range(3):
        place.write("src/deep/b.py", f"{number}\n")
        place.command()
    damage(place, what)
    place.write("src/deep/b.py", "after the damage\n")

    done = subprocess.run(
        [sys.executable, "-c", AFTER_DAMAGE, str(place.root), place.session],
        env=environment(), capture_output=True, text=True, check=False,
        timeout=10 if what.startswith("cut") else DEADLINE,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        [True, {"checkpoints_lost": 1}, True],
        [False, {}, True],
        [False, {}, True],
    ]


AFTER_DAMAGE = """
import json, sys
from pathlib import Path
from devtrace.services.edits.once import checkpoint_now
from tests.edits import Recorded
from tests.store.test_checkpoint_faults import git_tree, opened

place = Recorded(Path(sys.argv[1]))
told = []
for number in range(3):
    points = opened(place)  # each time as a new process would
    place.write("api.py", f"{number}\\n")
    state = checkpoint_now(place.workspace, points, sys.argv[2])
    told.append([state.is_first, points.bounds, state.checkpoint.tree == git_tree(place)])
print(json.dumps(told))
"""


@pytest.mark.parametrize("what", ["empty file", "garbled file"])
def test_a_content_that_cannot_be_read_costs_the_counted_lines_and_no_checkpoint(
    place: Recorded, what: str
) -> None:
    place.write("src/deep/b.py", "once\n")
    place.command()
    damage(place, what)
    place.write("src/deep/b.py", "after the damage\n")

    place.points = opened(place)
    (event,) = checkpoint_now(place.workspace, place.points, place.session).events

    (changed,) = event.body.changes  # type: ignore[attr-defined]
    assert (changed.path, changed.change, changed.added) == ("src/deep/b.py", "modified", None)


def test_a_damaged_content_is_whole_again_when_the_same_is_kept_once_more(place: Recorded) -> None:
    place.write("src/deep/b.py", "once\n")
    place.command()
    damage(place, "garbled file")
    place.points = opened(place)
    for text in ("other\n", "once\n"):
        place.write("src/deep/b.py", text)
        state = checkpoint_now(place.workspace, place.points, place.session)

    entry = trees.find(place.points.objects, state.checkpoint.tree, b"src/deep/b.py")

    assert entry is not None
    assert opened(place).objects.read(entry.oid) == b"once\n"


def test_a_line_whose_ref_was_deleted_is_told_as_lost(place: Recorded) -> None:
    place.write("api.py", "once\n")
    place.command()
    (objects_of(place) / "refs" / "devtrace" / opened(place).chain.name).unlink()

    place.points = opened(place)
    checkpoint_now(place.workspace, place.points, place.session)

    assert place.points.bounds == {"checkpoints_lost": 1}
