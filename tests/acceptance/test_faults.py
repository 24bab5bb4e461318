"""What may go wrong around a traced shell, with real processes: nothing is torn, nothing is invented.

Random moments are told by their seed, which every failure names.
"""

from __future__ import annotations

import random
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.ids import new_session_id
from devtrace.sources.shell import hooks
from devtrace.sources.shell.fifo import RECORD_LIMIT, Assembler, Cmd, Damaged, Exit
from devtrace.sources.shell.modes import ModeScanner
from devtrace.sources.shell.reader import FifoReader
from devtrace.store import blobs
from devtrace.store.connection import open_reader
from tests.acceptance.hosts import PROMPT, SHELL, Event, Piped, Place, until
from tests.processes import environment
from tests.terminals import Terminal


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "repo")


@pytest.fixture
def chance() -> random.Random:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)


def on_a_terminal(
    place: Place, *, type_ahead: bytes = b"", attributes: Callable[[list[Any]], None] | None = None
) -> Terminal:
    return Terminal(
        list(SHELL),
        cwd=place.root,
        env=environment(),
        cols=200,
        type_ahead=type_ahead,
        attributes=attributes,
    )


# --- the host is killed -------------------------------------------------------------------------------------


class Victim:
    """A traced shell on a terminal that works through unique commands until it is killed."""

    def __init__(self, place: Place, number: int, chance: random.Random):
        self.place = place
        self.lines = [self._line(number, step, chance) for step in range(12)]
        self.lines.append(f"sleep 30 # {number}")
        self.terminal = on_a_terminal(place, type_ahead="".join(f"{line}\r" for line in self.lines).encode())
        self.before = self.terminal.found
        self.stored: set[tuple[str, str, str]] = set()

    @staticmethod
    def _line(number: int, step: int, chance: random.Random) -> str:
        words = chance.choice(("echo", ":", "sleep 0.01", "bash -c true", "false", "printf x%0999d 1"))
        return f"{words} # {number}.{step}"

    def kill_at_some_moment(self, chance: random.Random) -> None:
        """While it starts, while a command is typed or runs, or while its end is being stored."""
        step = chance.randrange(len(self.lines))
        moment = chance.choice(("by the clock", "when typed", "when stored", "when stored"))
        if moment == "when typed":
            self.terminal.wait_for(re.escape(PROMPT + self.lines[step]))
        elif moment == "when stored":
            self.terminal.until(lambda: self._count() >= step, "so many commands are stored")
        self.terminal.read_for(chance.random() * (0.3 if moment == "by the clock" else 0.02))
        self.stored = set(self.place.ask("SELECT session, id, hash FROM events"))
        self.terminal.kill(signal.SIGKILL)

    def _count(self) -> int:
        """How many of its commands are stored; -1 before it has a session."""
        of_pid = "SELECT id FROM sessions WHERE json_extract(meta, '$.pid') = ?"
        ((session, count),) = self.place.ask(
            f"SELECT ({of_pid}), (SELECT count(*) FROM events WHERE session = ({of_pid}))",
            *(self.terminal.pid, self.terminal.pid),
        )
        return -1 if session is None else int(count)

    def check(self) -> None:
        assert self.terminal.wait_exit() == -signal.SIGKILL
        self.terminal.until(lambda: self.terminal.attributes() == self.before, "the terminal is as it was")
        self.terminal.until(lambda: open_modes(self.terminal.shown) == 0, "all modes are closed")

    def check_record(self) -> None:
        session = next((s for s in self.place.sessions() if s["meta"].get("pid") == self.terminal.pid), None)
        if session is None:  # killed before it had opened the store
            return
        assert session["status"] == "interrupted"
        commands = self.place.commands(session["id"])
        assert [command.command for command in commands] == self.lines[: len(commands)]
        assert [c.status for c in commands[:-1] if c.status not in ("ok", "failed")] == []
        assert self.place.gaps(session["id"]).keys() == {"recorder_stopped"}
        pid = commands[-1].shell_pid if commands else 0
        until(lambda: not is_alive(pid), "the shell inside has ended")


def open_modes(shown: bytes) -> int:
    modes = ModeScanner()
    modes.feed(shown)
    return modes.open


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state[state.rindex(")") + 2] != "Z"


def test_a_host_that_is_killed_at_any_moment_leaves_all_it_wrote_and_a_sane_terminal(
    place: Place, chance: random.Random
) -> None:
    rounds, at_once = 10, 5
    place.devtrace("init")
    for round_ in range(rounds):
        victims = [Victim(place, round_ * at_once + number, chance) for number in range(at_once)]
        stored: set[tuple[str, str, str]] = set()
        for victim in chance.sample(victims, at_once):
            victim.kill_at_some_moment(chance)
            stored |= victim.stored
        for victim in victims:
            victim.check()

        assert place.devtrace("sessions", "--json").returncode == 0

        place.is_sound()
        assert stored <= set(place.ask("SELECT session, id, hash FROM events"))
        assert place.ask("SELECT id FROM sessions WHERE status = 'active'") == []
        assert place.running() == []
        for victim in victims:
            victim.check_record()
            victim.terminal.close()

    with Piped(place) as shell:
        assert shell.says("echo clean").ends() == (0, b"clean\n", b"")
    assert place.private() == []
    assert place.sessions()[-1]["status"] == "ended"


# --- the host is stopped ------------------------------------------------------------------------------------

WRITERS = """
import os, subprocess, sys, threading, time
def work(name):
    for number in range(int(sys.argv[2])):
        subprocess.run(["bash", "-c", f"exit {number % 5} # {name}.{number}"])
        with open(sys.argv[1], "ab", buffering=0) as progress:
            progress.write(b".")
threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
while not os.path.exists(sys.argv[3]):  # a shell that is gone is believed for its parent's sake
    time.sleep(0.01)  # a file, so that a test which failed leaves nobody behind who waits for a writer
"""


def test_a_host_that_is_stopped_under_load_loses_nothing(place: Place, tmp_path: Path) -> None:
    each = 50
    (tmp_path / "writers.py").write_text(WRITERS)
    progress = tmp_path / "progress"
    progress.touch()
    place.devtrace("init")
    place.devtrace("config", "set", "shell.nested_limit", "1000")
    with Piped(place) as shell:
        writers = f"{sys.executable} {tmp_path}/writers.py {progress} {each} {tmp_path}/go"
        shell.says("echo before", writers, "echo after")
        until(lambda: progress.stat().st_size >= 20, "the writers are at work")

        shell.kill(signal.SIGSTOP)
        stop_for(2.0, until=lambda: progress.stat().st_size >= 8 * each)
        shell.kill(signal.SIGCONT)
        until(lambda: len(place.commands(depth=1)) == 8 * each, "the host has caught up")
        (tmp_path / "go").touch()

        status, out, err = shell.ends()

    assert (status, out, err) == (0, b"before\nafter\n", b"")
    place.is_sound()
    assert place.gaps() == {}
    assert [command.status for command in place.commands()] == ["ok"] * 3
    nested = place.commands(depth=1)
    expected = {
        f"exit {number % 5} # {name}.{number}": number % 5 for name in range(8) for number in range(each)
    }
    assert {command.command: command.exit_code for command in nested} == expected
    assert len(nested) == 8 * each
    assert {command.trusted for command in nested} == {1}
    assert {command.parent for command in nested} == {place.commands()[1].id}


def stop_for(seconds: float, until: Callable[[], bool]) -> None:
    """Let that time pass, or less where nothing more can happen in it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not until():
        select.select([], [], [], 0.01)


def test_a_host_that_is_stopped_while_its_terminal_floods_loses_nothing(place: Place) -> None:
    """More marks wait in the terminal than records were heard of when it goes on.

    The terminal echoes nothing: what is typed while a command runs would stand in that one's output.
    """
    count = 400

    def silently(attributes: list[Any]) -> None:
        attributes[3] &= ~termios.ECHO

    with on_a_terminal(place, attributes=silently) as terminal:
        terminal.wait_for(r"ready\$ ")
        terminal.send("".join(f"echo {number}\r" for number in range(count)))
        terminal.wait_for(r"\r\n5\r\n")

        terminal.kill(signal.SIGSTOP)
        terminal.read_for(0.8)
        terminal.kill(signal.SIGCONT)

        terminal.wait_for(rf"\r\n{count - 1}\r\n.*ready\$ ")
        terminal.send("\x04")
        assert terminal.wait_exit() == 0

    assert place.texts() == [f"echo {number}" for number in range(count)]
    assert [printed(place, command) for command in place.commands()] == [b"%d\r\n" % n for n in range(count)]
    assert place.gaps() == {}


def printed(place: Place, command: Event) -> bytes:
    """What a command printed, as it was kept."""
    digest = command["data"]["blobs"]["output"]["sha256"]
    with closing(open_reader(place.store)) as db:
        return blobs.get(db, digest)


# --- many at once -------------------------------------------------------------------------------------------


def test_eight_shells_at_once_lose_nothing_and_record_nothing_twice(place: Place) -> None:
    count = 500
    pipes = [Piped(place) for _ in range(6)]
    terminals = [on_a_terminal(place) for _ in range(2)]
    expected = {}
    for number, shell in enumerate(pipes):
        expected[shell.pid] = [f"echo {number}.{step}" for step in range(count)]
        feeder = threading.Thread(target=shell.says, args=expected[shell.pid], name=f"feeder-{number}")
        feeder.start()
    for number, terminal in enumerate(terminals):
        expected[terminal.pid] = [f"echo t{number}.{step}" for step in range(count)]
    for step in range(0, count, 20):
        for terminal in terminals:
            terminal.send("".join(f"{line}\r" for line in expected[terminal.pid][step : step + 20]))
    for shell in pipes:
        assert shell.ends()[0] == 0
    for number, terminal in enumerate(terminals):
        terminal.wait_for(rf"\rt{number}.{count - 1}\r\n.*ready\$ ")
        terminal.send("\x04")
        assert terminal.wait_exit() == 0
        terminal.close()

    place.is_sound()
    assert place.gaps() == {}
    recorded = {session["meta"]["pid"]: place.texts(session["id"]) for session in place.sessions()}
    assert recorded == expected
    for command in place.commands():  # a terminal echoes there what is typed ahead
        assert command.command.split()[1].encode() in printed(place, command)
    assert {command["data"]["output"]["approximate"] for command in place.commands()} == {False}
    assert {command.status for command in place.commands()} == {"ok"}
    assert place.private() == []


class Writers:
    """Interactive shells that share one FIFO, as no two of a user's do: the worst case for torn records."""

    def __init__(self, tmp_path: Path):
        self.heard = b""
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        self.session = hooks.new_session(new_session_id(), tmp_path, "manual", private)
        self.reader = FifoReader(self.session.fifo, self._hear)

    def _hear(self, data: bytes) -> None:
        self.heard += data

    def start(self, number: int, shell: str, lines: list[str]) -> subprocess.Popen[bytes]:
        """A shell with our hooks."""
        private = self.session.private / str(number)
        private.mkdir()
        request = hooks.Request(
            name=shell, path=shutil.which(shell) or shell, login=False, piped=True, marks=[], nested="off"
        )
        plan = hooks.plan(self.session._replace(private=private), request, environment())
        return self._run(number, plan.argv, plan.environment, lines)

    def start_bare(self, number: int, lines: list[str]) -> subprocess.Popen[bytes]:
        """A bash without them."""
        own = environment(DEVTRACE_FIFO=str(self.session.fifo))
        return self._run(number, ["bash", "--norc", "--noediting", "-i"], own, lines)

    def _run(
        self, number: int, argv: list[str], env: Mapping[str, str], lines: list[str]
    ) -> subprocess.Popen[bytes]:
        script = self.session.private / f"{number}.in"
        script.write_text("".join(f"{line}\n" for line in lines))
        with script.open("rb") as stdin:
            return subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=env,
                cwd="/",  # it is part of every record, and its length must not depend on where pytest works
                start_new_session=True,
            )


def test_records_of_every_length_from_four_interactive_shells_are_never_torn(tmp_path: Path) -> None:
    writers = Writers(tmp_path)
    shells = ["bash", "bash", *(name for name in ("zsh", "fish") if shutil.which(name)), "bash", "bash"][:4]
    # One record's text has at most 800 bytes: those borders, and every length from 900 to 1,100 in all.
    sizes = [*range(660, 1_000), *range(1_590, 1_606), *range(2_390, 2_406)]
    lines = {number: [f": {number}.{'x' * size}" for size in sizes[number::4] * 2] for number in range(4)}
    with writers.reader:
        started = [writers.start(number, shell, lines[number]) for number, shell in enumerate(shells)]
        for process in started:
            process.wait(60)
    records = list(Assembler(writers.session.nonce).feed(writers.heard))

    assert max(len(line) + 1 for line in writers.heard.split(b"\n")) <= RECORD_LIMIT
    assert [record for record in records if isinstance(record, Damaged)] == []
    commands = [record.command for record in records if isinstance(record, Cmd)]
    assert sorted(commands) == sorted(line for said in lines.values() for line in said)
    assert sum(isinstance(record, Exit) for record in records) == len(commands)
    lengths = {len(line) + 1 for line in writers.heard.split(b"\n") if line.startswith(b"CMD")}
    assert lengths >= set(range(800, 889))


def test_the_limit_of_a_record_is_what_an_interactive_bash_writes_in_one_piece(tmp_path: Path) -> None:
    writers = Writers(tmp_path)
    texts = {
        number: [
            f"{number}.{size}.".ljust(size - 1, "x")
            for size in range(900, RECORD_LIMIT + 1)
            for _ in range(4)
        ]
        for number in range(4)
    }
    with writers.reader:
        started = [
            writers.start_bare(number, [f"printf '%s\\n' {text} 1<>\"$DEVTRACE_FIFO\"" for text in said])
            for number, said in texts.items()
        ]
        for process in started:
            process.wait(60)

    heard = writers.heard.decode().splitlines()
    assert sorted(heard) == sorted(text for said in texts.values() for text in said)
