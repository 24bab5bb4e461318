"""What may go wrong around recorded edits, with real shells: each change is told once, by whoever made it.

Random moments are told by their seed, which every failure names.

Lives here: killed hosts, two sessions in one tree, damaged checkpoints as their user meets them. Not here:
makers of checkpoints without a shell, full disks, the user's gc (tests/store/test_checkpoint_faults.py).
"""

from __future__ import annotations

import random
import select
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.hosts import Event, Piped, Place, until
from tests.processes import environment

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def chance() -> random.Random:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A repository with a commit in it."""
    place = Place(tmp_path / "repo")
    git(place, "init", "-q", ".")
    for name in ("api.py", "src/a.py"):
        file = place.root / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{name}\n")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "first")
    assert place.devtrace("init").returncode == 0
    return place


def git(place: Place, *arguments: str, **own: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=place.root,
        env=environment(**own),
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def edits(place: Place, session: str | None = None) -> list[Event]:
    return place.events(session, "edit_files")


def changes(place: Place, session: str | None = None) -> list[dict[str, Any]]:
    """Every change that was told, in its order."""
    return [change for event in edits(place, session) for change in event["data"]["changes"]]


def told(place: Place, session: str | None = None) -> Counter[tuple[str, str]]:
    """How often each content of each path was told."""
    return Counter((change["path"], change["new_oid"]) for change in changes(place, session))


def oid(place: Place, path: str) -> str:
    return git(place, "hash-object", path)


def is_linear(place: Place) -> None:
    """The checkpoints are one line without branches, whole, and each event names its own part of it."""
    objects = str(place.store.dir / "objects.git")
    (ref,) = [
        line.split()[1]
        for line in git(place, "--git-dir", objects, "for-each-ref", "--format=x %(refname)").splitlines()
        if not line.endswith(".lost")
    ]
    git(place, "--git-dir", objects, "fsck", "--full", "--no-dangling")
    listed = git(place, "--git-dir", objects, "rev-list", "--parents", "--reverse", ref).splitlines()
    line = [words.split() for words in listed]
    assert [words[1:] for words in line] == [[], *([words[0]] for words in line[:-1])]
    parents = {words[0]: words[1:] for words in line}
    by_message = git(place, "--git-dir", objects, "log", "--format=%s", ref).splitlines()
    assert sorted(words for words in by_message if words.startswith("edit_files")) == sorted(
        f"edit_files {event.session} {event.id}" for event in edits(place)
    ), "a checkpoint has no event, or an event no checkpoint"
    commits = [event["data"]["commit"] for event in edits(place)]
    assert len(set(commits)) == len(commits)
    assert [parents[event["data"]["commit"]] for event in edits(place)] == [
        [event["data"]["before"]] for event in edits(place)
    ]
    index = str(place.store.run / "side-index")
    git(place, "add", "-A", GIT_INDEX_FILE=index)
    tree = git(place, "write-tree", GIT_INDEX_FILE=index)
    assert git(place, "--git-dir", objects, "rev-parse", f"{ref}^{{tree}}") == tree


def makers(place: Place) -> dict[str, str | None]:
    """By the path that was changed: the command that is said to have done it."""
    commands = {(event.session, event.id): event.command for event in place.events()}
    return {
        change["path"]: commands.get((event.session, event.parent or ""))
        for event in edits(place)
        for change in event["data"]["changes"]
    }


# --- the host is killed -------------------------------------------------------------------------------------


def test_what_changed_around_a_kill_of_the_host_is_told_once_and_by_the_next_session(
    place: Place, chance: random.Random
) -> None:
    with Piped(place) as shell:  # the first of all begins the line, from what it finds
        assert shell.says("echo clean").ends()[0] == 0
    for round_ in range(5):
        with Piped(place) as shell:
            names = [f"src/r{round_}f{number}.py" for number in range(8)]
            shell.says(*(f"echo {name} > {name}; echo done {name}" for name in names))
            shell.waits_for(f"done {names[chance.randrange(len(names))]}")
            select.select([], [], [], chance.random() * 0.8)  # somewhere in looking and telling
            shell.kill()
            shell.process.wait()
        (place.root / "src" / f"outside{round_}.py").write_text(f"outside {round_}\n")
    with Piped(place) as shell:
        assert shell.says("echo clean").ends()[0] == 0

    place.is_sound()
    is_linear(place)
    files = [path for path in sorted(place.root.glob("src/*.py")) if path.name != "a.py"]
    paths = [str(path.relative_to(place.root)) for path in files]
    assert len(paths) >= 10
    assert told(place) == Counter((path, oid(place, path)) for path in paths)
    named = makers(place)
    for path in paths:
        assert named[path] in (None, f"echo {path} > {path}; echo done {path}")
    assert {named[path] for path in paths if "outside" in path} == {None}


def test_an_edit_whose_host_was_killed_before_it_told_is_told_by_the_next_session(place: Place) -> None:
    with Piped(place) as shell:
        session = shell.session
        shell.says("echo first > api.py").says("echo told")
        until(lambda: changes(place), "the first edit is told")
        shell.says("echo second > src/a.py; kill -9 $PPID; sleep 0.1").process.wait()

    with Piped(place) as shell:
        assert shell.says("echo on").ends()[0] == 0
        (later,) = [one["id"] for one in place.sessions() if one["id"] != session]

    assert [change["path"] for change in changes(place, session)] == ["api.py"]
    assert [change["path"] for change in changes(place, later)] == ["src/a.py"]
    (event,) = edits(place, later)
    assert event["data"]["attribution"] in ("command", "outside", "ambiguous")
    is_linear(place)


# --- more than the kernel keeps -----------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's queue is inotify's")
def test_changes_beyond_the_kernels_queue_leave_a_gap_and_the_state_behind_them(place: Place) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 50_000:
        pytest.skip("the queue of this machine is too long to fill")
    with Piped(place) as shell:
        shell.says("echo first > api.py", "echo told").waits_for("told")
        until(lambda: changes(place), "the first edit is told")
        shell.kill(signal.SIGSTOP)
        for number in range(limit // 2 + 1_000):
            path = place.root / f"f{number % 2}"
            path.touch()
            path.unlink()
        (place.root / "left").touch()
        shell.kill(signal.SIGCONT)
        assert shell.says("echo on").ends()[0] == 0

    assert place.gaps() == {"watcher_overflow": 1}
    assert {change["path"] for change in changes(place)} == {"api.py", "left"}


# --- two at once --------------------------------------------------------------------------------------------


def test_two_sessions_in_one_tree_tell_every_change_once_and_as_their_own(place: Place) -> None:
    count = 12
    with Piped(place) as one, Piped(place) as other:
        for number in range(count):
            for name, shell in (("one", one), ("other", other)):
                path = f"src/{name}{number}.py"
                shell.says(f"echo {number} > {path}; echo made {path}")
            one.waits_for(f"made src/one{number}.py")
            other.waits_for(f"made src/other{number}.py")
        assert one.ends()[0] == 0
        assert other.ends()[0] == 0

    place.is_sound()
    is_linear(place)
    made = {f"src/{name}{number}.py": number for name in ("one", "other") for number in range(count)}
    assert told(place) == Counter((path, oid(place, path)) for path in made)
    assert place.gaps() == {}
    own = {path: f"echo {number} > {path}; echo made {path}" for path, number in made.items()}
    by_id = {f"{event.session}/{event.id}": event.command for event in place.events()}
    for event in edits(place):  # where both were at work it may be said that it was one of them
        said = event["data"]["candidates"] or [f"{event.session}/{event.parent}"]
        for change in event["data"]["changes"]:
            assert own[change["path"]] in [by_id.get(name) for name in said], event


def test_two_sessions_that_write_the_same_file_in_turn_lose_no_state_of_it(place: Place) -> None:
    with Piped(place) as one, Piped(place) as other:
        for number in range(4):
            for shell, name in ((one, "one"), (other, "other")):
                text = f"{name} {number}"
                shell.says(f"echo {text} > api.py")
                (place.root / "expected").write_text(text + "\n")
                expected = oid(place, "expected")
                (place.root / "expected").unlink()
                until(lambda expected=expected: ("api.py", expected) in told(place), f"{text!r} was told")
        assert one.ends()[0] == 0
        assert other.ends()[0] == 0

    contents = [change for change in changes(place) if change["path"] == "api.py"]
    assert len(contents) == 8
    assert [change["old_oid"] for change in contents[1:]] == [change["new_oid"] for change in contents[:-1]]
    is_linear(place)


# --- damaged ------------------------------------------------------------------------------------------------


def damaged(place: Place, what: str) -> str:
    """One recorded edit, and its checkpoint spoilt; returns the edit as a command names it."""
    with Piped(place) as shell:
        shell.says("echo once > api.py").ends()
    (event,) = edits(place)
    objects = place.store.dir / "objects.git"
    (ref,) = (objects / "refs" / "devtrace").iterdir()
    if what == "ref":
        ref.write_text("garbage\n")
    commit = event["data"]["commit"]
    loose = objects / "objects" / commit[:2] / commit[2:]
    loose.chmod(0o600)
    loose.write_bytes(b"")
    return f"{event.session}/{event.id}"


@pytest.mark.parametrize("what", ["ref", "object"])
def test_a_session_on_damaged_checkpoints_says_so_once_and_records_on(place: Place, what: str) -> None:
    damaged(place, what)

    with Piped(place) as shell:
        session = shell.session
        shell.says("echo twice > src/a.py")
        until(lambda: changes(place, session), "the edit is told")
        assert shell.ends()[0] == 0

    assert place.gaps(session) == {"checkpoints_lost": 1}
    assert [change["path"] for change in changes(place, session)] == ["src/a.py"]


def test_a_command_about_a_damaged_checkpoint_says_what_is_lost_and_shows_no_traceback(place: Place) -> None:
    event = damaged(place, "object")

    done = place.devtrace("restore", "--yes", "--at", event)

    assert (done.returncode, "[ERR_STORE_DAMAGED]" in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
    assert place.devtrace("show", event).returncode == 0
    assert place.devtrace("snapshot", "--label", "anew").returncode == 0


def test_checkpoints_lost_in_the_middle_of_a_session_cost_no_edit_and_tell_none_twice(place: Place) -> None:
    with Piped(place) as shell:
        shell.says("echo once > api.py")
        until(lambda: changes(place), "the edit is told")
        (ref,) = (place.store.dir / "objects.git" / "refs" / "devtrace").iterdir()
        ref.write_text("garbage\n")
        shell.says("echo twice > src/a.py")
        until(lambda: len(changes(place)) > 1, "the next edit is told")
        assert shell.ends()[0] == 0

    assert place.gaps() == {"checkpoints_lost": 1}
    assert [change["path"] for change in changes(place)] == ["api.py", "src/a.py"]
