"""`devtrace log --follow` beside real shells: each start and each end is told while it happens, and once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.hosts import SHELL, Piped, Place, until
from tests.processes import environment

Record = dict[str, Any]


class Following:
    """A running `devtrace log --follow --json`, or one for people; what it told so far."""

    def __init__(self, cwd: Path, *words: str):
        self.shown = self.said = b""
        self.process = subprocess.Popen(
            [*SHELL[:3], "log", "--follow", *words],
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)

    @property
    def told(self) -> list[Record]:
        """The whole lines of JSON."""
        return [json.loads(line) for line in self.look().shown.split(b"\n")[:-1]]

    def look(self) -> Following:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.shown += self.process.stdout.read() or b""
        self.said += self.process.stderr.read() or b""
        return self

    def waits_for(self, command: str, *statuses: str) -> Record:
        """Wait until that command is told with one of these statuses."""
        wanted = statuses or ("ok", "failed")

        def found() -> Record:
            assert self.process.poll() is None, f"it ended: {self.look().said!r}"
            rows = [row for row in self.told if row["data"].get("command") == command]
            return next((row for row in rows if row["status"] in wanted), {})

        return until(found, f"{command!r} is told as {wanted}; told is {self.shown[-2000:]!r}")

    def says(self, what: str) -> None:
        """Wait until it says that on stderr."""
        until(lambda: what.encode() in self.look().said, f"{what!r} is said")

    def ends(self, number: int = signal.SIGINT) -> int:
        """Send a signal; returns the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(60)
        self.look()
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def place() -> Place:
    return Place(Path.cwd())


@pytest.fixture
def follow(place: Place) -> Iterator[Callable[..., Following]]:
    started: list[Following] = []

    def start(*words: str) -> Following:
        started.append(Following(place.root, *words))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def following(follow: Callable[..., Following]) -> Following:
    """For machines, from before there is a store."""
    one = follow("--json")
    one.says("Waiting for a store")
    return one


def runs(shell: Piped, *lines: str) -> None:
    """Run these lines, to the end of the last."""
    shell.says(*lines, "echo the e''nd").waits_for("the end")
    shell.shown = b""


# --- from the beginning -------------------------------------------------------------------------------------


def test_it_may_be_started_before_there_is_a_store(following: Following, place: Place) -> None:
    with Piped(place) as shell:
        runs(shell, "echo first", "(exit 7)")
        first, second = following.waits_for("echo first"), following.waits_for("(exit 7)")

    assert (first["status"], first["exit_code"], first["session"]) == ("ok", 0, second["session"])
    assert (second["status"], second["exit_code"]) == ("failed", 7)
    assert following.said.count(b"Waiting for a store") == 1


def test_started_later_it_begins_with_what_was_there(place: Place, follow: Callable[..., Following]) -> None:
    with Piped(place) as shell:
        runs(shell, "echo first", "echo second")
        following = follow("--json")
        following.waits_for("echo second")
        runs(shell, "echo third")
        following.waits_for("echo third")

    ended = [row["data"]["command"] for row in following.told if row["status"] != "running"]
    assert [text for text in ended if text != "echo the e''nd"] == ["echo first", "echo second", "echo third"]


def test_a_command_is_told_while_it_runs_and_again_when_it_ends(following: Following, place: Place) -> None:
    line = "until [ -e go ]; do sleep 0.01; done; echo we''nt"
    with Piped(place) as shell:
        shell.says(line)
        running = following.waits_for(line, "running")
        (place.root / "go").touch()
        shell.waits_for("went")
        ended = following.waits_for(line)

    assert (running["id"], running["exit_code"], running["ended_us"]) == (ended["id"], None, None)
    assert (ended["status"], ended["exit_code"], ended["started_us"]) == ("ok", 0, running["started_us"])
    assert [row["status"] for row in following.told if row["id"] == ended["id"]] == ["running", "ok"]


def test_it_joins_a_command_that_runs_already(place: Place, follow: Callable[..., Following]) -> None:
    line = "until [ -e go ]; do sleep 0.01; done"
    with Piped(place) as shell:
        shell.says(line)
        until(lambda: len(place.running()) == 1, "the command runs")
        following = follow("--json")
        running = following.waits_for(line, "running")
        (place.root / "go").touch()

        assert following.waits_for(line)["id"] == running["id"]


# --- several shells -----------------------------------------------------------------------------------------


def test_two_shells_at_once_are_told_together(following: Following, place: Place) -> None:
    with Piped(place, "--agent", "codex") as one, Piped(place) as two:
        for number in range(5):
            runs(one, f"echo one {number}")
            runs(two, f"echo two {number}")
        for who in ("one", "two"):
            following.waits_for(f"echo {who} 4")

    ended = [row for row in following.told if row["status"] == "ok"]
    told = [row["data"]["command"] for row in ended if row["data"]["command"] != "echo the e''nd"]
    assert sorted(told) == sorted(f"echo {who} {number}" for who in ("one", "two") for number in range(5))
    for who in ("one", "two"):
        assert [text for text in told if who in text] == [f"echo {who} {number}" for number in range(5)]
    sessions = {row["data"]["command"][:8]: row["session"] for row in ended}
    assert sessions["echo one"] != sessions["echo two"]


def test_only_what_is_asked_for_is_told(place: Place, follow: Callable[..., Following]) -> None:
    following = follow("--json", "--failed", "--agent", "codex")
    with Piped(place) as mine, Piped(place, "--agent", "codex") as its:
        runs(mine, "(exit 1)")
        runs(its, "true", "(exit 2)")
        following.waits_for("(exit 2)", "failed")

    assert [row["data"]["command"] for row in following.told] == ["(exit 2)"]


def test_two_followers_are_told_the_same(place: Place, follow: Callable[..., Following]) -> None:
    one, two = follow("--json"), follow("--json")
    for each in (one, two):
        each.says("Waiting for a store")
    with Piped(place) as shell:
        runs(shell, "echo first", "false")
        for each in (one, two):
            each.waits_for("false")

    def ends(each: Following) -> list[Record]:
        return [row for row in each.told if row["data"]["command"] in ("echo first", "false") and row["seq"]]

    assert ends(one) == ends(two)
    assert len(ends(one)) == 2


def test_nothing_is_told_twice_however_much_it_is(following: Following, place: Place) -> None:
    with Piped(place) as shell:
        runs(shell, *[f": {number}" for number in range(200)])
        following.waits_for(": 199")

    ended = [row["data"]["command"] for row in following.told if row["status"] == "ok"]
    assert [text for text in ended if text[0] == ":"] == [f": {number}" for number in range(200)]


def test_a_nested_command_is_told_below_its_own(following: Following, place: Place) -> None:
    line = "python3 -c \"import subprocess; subprocess.run(['bash', '-c', 'echo nested'])\""
    with Piped(place) as shell:
        runs(shell, line)
        outer, inner = following.waits_for(line), following.waits_for("echo nested")

    assert (inner["parent"], inner["data"]["depth"], inner["session"]) == (outer["id"], 1, outer["session"])


def test_a_shell_that_is_killed_is_told_as_interrupted(following: Following, place: Place) -> None:
    line = "until [ -e go ]; do sleep 0.01; done"
    with Piped(place) as shell:
        shell.says(line)
        following.waits_for(line, "running")
        shell.kill()
        shell.process.wait(60)
        told = following.waits_for(line, "interrupted")
        (place.root / "go").touch()

    assert (told["exit_code"], told["exit_source"]) == (None, "unknown")


# --- the store changes under it -----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["the store", "the database"])
def test_it_goes_on_when_the_store_is_moved_away_and_made_anew(
    following: Following, place: Place, what: str
) -> None:
    with Piped(place) as shell:
        runs(shell, "echo before")
        following.waits_for("echo before")
        shell.ends()
    if what == "the store":
        place.store.dir.rename(place.root / "old")
    else:
        for file in place.store.dir.glob("devtrace.db*"):
            file.rename(place.root / file.name)
    with Piped(place) as shell:
        runs(shell, "echo after")
        following.waits_for("echo after")

    rows = [row for row in following.told if row["kind"] == "run_command"]  # the files came into the tree
    told = [row["data"]["command"] for row in rows if row["status"] == "ok"]
    assert [told.count(f"echo {when}") for when in ("before", "after")] == [1, 1]


def test_it_goes_on_when_the_store_is_moved_away_under_a_live_shell(
    following: Following, place: Place
) -> None:
    with Piped(place) as shell:
        runs(shell, "echo before")
        following.waits_for("echo before")
        place.store.dir.rename(place.root / "old")
        runs(shell, "echo after")
        following.waits_for("echo after")

    told = [row["data"]["command"] for row in following.told if row["status"] == "ok"]
    assert [told.count(f"echo {when}") for when in ("before", "after")] == [1, 1]


def test_a_copy_in_the_stores_place_is_followed_without_repeating_anything(
    following: Following, place: Place
) -> None:
    with Piped(place) as shell:
        runs(shell, "echo before")
        following.waits_for("echo before")
        shell.ends()
    shutil.copytree(place.store.dir, place.root / "copy")
    place.store.dir.rename(place.root / "old")
    (place.root / "copy").rename(place.store.dir)
    with Piped(place) as shell:
        runs(shell, "echo after")
        following.waits_for("echo after")

    told = [row["data"]["command"] for row in following.told if row["status"] == "ok"]
    assert [told.count(f"echo {when}") for when in ("before", "after")] == [1, 1]


def test_while_the_store_is_gone_it_waits(following: Following, place: Place) -> None:
    with Piped(place) as shell:
        runs(shell, "echo before")
        following.waits_for("echo before")
        shell.ends()
    shutil.rmtree(place.store.dir)

    assert following.ends() == 130
    assert b"error" not in following.said


# --- its end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before there is a store", "while nothing happens", "while much happens"])
def test_ctrl_c_ends_it_without_a_word(following: Following, place: Place, when: str) -> None:
    said = following.said
    if when == "before there is a store":
        assert following.ends() == 130
    else:
        with Piped(place) as shell:
            runs(shell, "echo first")
            following.waits_for("echo first")
            if when == "while much happens":
                shell.says(*[f": {number}" for number in range(300)])
                following.waits_for(": 5")
            assert following.ends() == 130

    assert following.said == said
    assert following.shown == b"" or following.shown.endswith(b"\n")


def test_its_end_costs_the_shell_nothing(following: Following, place: Place) -> None:
    with Piped(place) as shell:
        runs(shell, "echo before")
        following.waits_for("echo before")
        following.ends(signal.SIGKILL)
        runs(shell, "echo after")
        status, _, _ = shell.ends()

    assert status == 0
    assert [text for text in place.texts() if text != "echo the e''nd"] == ["echo before", "echo after"]
    assert place.gaps() == {}
    place.is_sound()


def test_people_are_told_in_lines(place: Place, follow: Callable[..., Following]) -> None:
    following = follow()
    following.says("Waiting for a store")
    with Piped(place, "--agent", "codex") as shell:
        runs(shell, "echo first", "(exit 9)")
        following.look()
        until(lambda: "✗ 9".encode() in following.look().shown, "the status is told")

    lines = following.shown.decode().splitlines()
    (failed,) = [line for line in lines if "✗ 9" in line]
    assert failed.split()[1] == "codex"
    assert "(exit 9)" in failed
    assert "\x1b" not in following.shown.decode()
