"""The recorder's thread: everything that was told is recorded, and no trouble of ours reaches the shell."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtrace.events import OUTPUT_BLOB, Event, Gap, RunCommand
from devtrace.sources.shell.listener import Listener
from devtrace.sources.shell.nested import Watch
from devtrace.sources.shell.output import Captured
from devtrace.sources.shell.processes import Processes
from devtrace.sources.shell.shells import Settings
from tests.sources.records import NONCE, WRONG, Speaker

SESSION = "0198" * 8
PATIENCE_S = 20


class MemorySink:
    """Keeps events; `visible` are those that were flushed. May be told to fail or to stand still."""

    def __init__(self) -> None:
        self.taken: list[Event] = []
        self.visible: list[Event] = []
        self.idles = 0
        self.closed: tuple[int, int | None, list[str]] | None = None
        self.fails_on: Callable[[Event], bool] = lambda event: False
        self.may_flush = threading.Event()
        self.may_flush.set()
        self.is_stuck = threading.Event()
        self._changed = threading.Condition()

    def emit(self, event: Event) -> None:
        if self.fails_on(event):
            raise ZeroDivisionError("a bug of ours")
        self.taken.append(event)

    def flush(self) -> None:
        if not self.may_flush.is_set():
            self.is_stuck.set()
            assert self.may_flush.wait(PATIENCE_S)
        with self._changed:
            self.visible = list(self.taken)
            self._changed.notify_all()

    def placed(self, line: int, at_us: int, *, begins: bool) -> None:
        pass

    def waits(self) -> bool:
        return False

    def idle(self) -> None:
        with self._changed:
            self.idles += 1
            self._changed.notify_all()

    def close(self, ended_us: int, exit_code: int | None, warnings: list[str]) -> None:
        self.closed = (ended_us, exit_code, warnings)

    def wait_until(self, claim: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(claim, PATIENCE_S)

    @property
    def commands(self) -> list[Event]:
        return [e for e in self.visible if isinstance(e.body, RunCommand) and e.status != "running"]

    @property
    def gaps(self) -> dict[str, int | None]:
        return {event.body.reason: event.body.count for event in self.visible if isinstance(event.body, Gap)}


class Room:
    """A listener and what stands around it."""

    def __init__(self, tmp_path: Path, *, wants_output: bool = False):
        self.sink = MemorySink()
        self.hellos = 0
        self.told: list[tuple[str, str]] = []
        self.open_sink: Callable[[], MemorySink] = lambda: self.sink
        self.listener = Listener(
            Settings(session=SESSION, nonce=NONCE, wants_output=wants_output),
            Watch(os.getpid()),
            lambda: self.open_sink(),
            on_hello=self._greet,
            on_told=lambda letter, span: self.told.append((letter, span)),
        )

    def _greet(self) -> None:
        self.hellos += 1


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.fixture(autouse=True)
def _nothing_is_printed_and_no_thread_is_left(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield

    assert capfd.readouterr() == ("", "")
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("devtrace")] == []


def output(span: str, data: bytes) -> Captured:
    return Captured(span, data, [[0, len(data)]], 0, len(data), len(data), 0, False, False, 0, None)


def test_everything_that_was_told_is_recorded_when_it_ends(room: Room) -> None:
    shell = Speaker("sh")
    with room.listener:
        room.listener.heard(shell.hello())
        for number in range(500):
            room.listener.heard(shell.cmd(f"echo {number}") + shell.exit())
        room.listener.ended(3)

    assert len(room.sink.commands) == 500
    assert room.sink.closed is not None
    assert room.sink.closed[1:] == (3, [])
    assert room.listener.failure is None


def test_a_command_is_visible_while_it_runs(room: Room) -> None:
    shell = Speaker("sh")
    with room.listener:
        room.listener.heard(shell.hello() + shell.cmd("sleep 9"))

        room.sink.wait_until(lambda: [event.status for event in room.sink.visible] == ["running"])


def test_bytes_may_be_cut_anywhere(room: Room) -> None:
    shell = Speaker("sh")
    stream = shell.hello() + shell.cmd("x" * 3_000) + shell.exit()
    with room.listener:
        for at in range(len(stream)):
            room.listener.heard(stream[at : at + 1])

    assert [event.body.command for event in room.sink.commands] == ["x" * 3_000]  # type: ignore[attr-defined]


def test_output_and_record_are_joined_whichever_comes_first(tmp_path: Path) -> None:
    room, shell = Room(tmp_path, wants_output=True), Speaker("sh")
    with room.listener:
        room.listener.heard(shell.hello() + shell.cmd("one"))
        room.listener.cut(output(shell.span, b"1"))
        room.listener.heard(shell.exit())
        record = shell.cmd("two")
        room.listener.cut(output(shell.span, b"2"))
        room.listener.heard(record + shell.exit())
        room.sink.wait_until(lambda: len(room.sink.commands) == 2)

    assert [event.blobs[OUTPUT_BLOB] for event in room.sink.commands] == [b"1", b"2"]


def test_the_shell_s_hello_is_told_once_and_a_stranger_s_never(room: Room) -> None:
    with room.listener:
        room.listener.heard(Speaker("a", nonce=WRONG).hello() + Speaker("b", nonce="-").hello())
        room.sink.wait_until(lambda: room.sink.idles > 0)
        assert room.hellos == 0
        room.listener.heard(Speaker("sh").hello() + Speaker("sh").hello())

    assert room.hellos == 1


def test_only_the_traced_shell_s_begins_and_ends_may_cut_output(room: Room) -> None:
    shell, forger, nested = Speaker("sh"), Speaker("sh", nonce=WRONG), Speaker("n", nonce="-", depth=1)
    with room.listener:
        room.listener.heard(forger.cmd("evil") + forger.exit() + nested.cmd("nested") + nested.exit())
        room.listener.heard(shell.hello() + shell.cmd("true") + shell.exit())

    assert room.told == [("C", shell.span), ("D", shell.span)]


def test_warnings_reach_the_session(room: Room) -> None:
    with room.listener:
        room.listener.heard(Speaker("sh").warn("promptvars_off"))

    assert room.sink.closed is not None
    assert room.sink.closed[2] == ["promptvars_off"]


def test_a_host_that_failed_elsewhere_ends_the_session_without_a_status(room: Room) -> None:
    shell = Speaker("sh")

    def work() -> None:
        with room.listener:
            room.listener.heard(shell.hello() + shell.cmd("make"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()

    (event,) = room.sink.commands
    assert (event.status, room.sink.closed is not None) == ("unknown", True)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="because there is no pidfd_open")
def test_a_nested_shell_that_is_killed_is_closed_while_the_session_goes_on(room: Room) -> None:
    process = subprocess.Popen(["sleep", "60"])
    seen = Processes().read(process.pid)
    assert seen is not None
    nested = Speaker("n", nonce="-", pid=process.pid, ppid=os.getpid(), start=seen.starttime, depth=1)
    with room.listener:
        room.listener.heard(nested.hello() + nested.cmd("sleep 60"))
        room.sink.wait_until(lambda: bool(room.sink.visible))
        process.send_signal(signal.SIGKILL)

        room.sink.wait_until(lambda: bool(room.sink.commands))
        process.wait()

    (event,) = room.sink.commands
    assert (event.body.exit_code, event.exit_source, event.trusted) == (137, "pidfd", 1)  # type: ignore[attr-defined]


def test_a_quiet_moment_is_used_and_a_busy_one_is_not(room: Room) -> None:
    shell = Speaker("sh")
    with room.listener:
        room.listener.heard(shell.hello())
        room.sink.wait_until(lambda: room.sink.idles > 0)


# --- trouble of our own -------------------------------------------------------------------------------------


def test_a_bug_costs_one_command_and_is_said(room: Room) -> None:
    shell = Speaker("sh")
    room.sink.fails_on = lambda event: event.body.headline() == "$ echo 3"
    with room.listener:
        room.listener.heard(shell.hello())
        for number in range(6):
            room.listener.heard(shell.cmd(f"echo {number}") + shell.exit())

    assert [event.body.headline() for event in room.sink.commands] == [
        "$ echo 0", "$ echo 1", "$ echo 2", "$ echo 4", "$ echo 5",
    ]  # fmt: skip
    assert room.sink.gaps["recorder_failure"] >= 1  # type: ignore[operator]
    assert isinstance(room.listener.failure, ZeroDivisionError)


def test_a_bug_in_every_step_ends_the_recording_and_not_the_shell(room: Room) -> None:
    shell = Speaker("sh")
    room.sink.fails_on = lambda event: True
    with room.listener:
        for number in range(1_000):
            room.listener.heard(shell.cmd(f"echo {number}") + shell.exit())
        room.listener.ended(0)

    assert isinstance(room.listener.failure, ZeroDivisionError)


def test_a_store_that_cannot_be_opened_at_all_does_not_keep_the_shell(room: Room) -> None:
    def broken() -> MemorySink:
        raise ZeroDivisionError("a bug of ours")

    room.open_sink = broken
    with room.listener:
        for _ in range(100):
            room.listener.heard(b"x" * 100_000)
        room.listener.ended(0)

    assert isinstance(room.listener.failure, ZeroDivisionError)


def test_a_recorder_that_stands_still_takes_bounded_memory_and_says_what_it_lost(room: Room) -> None:
    shell = Speaker("sh")
    with room.listener:
        room.listener.heard(shell.hello() + shell.cmd("before"))
        room.sink.wait_until(lambda: bool(room.sink.visible))
        room.sink.may_flush.clear()
        room.listener.heard(shell.exit())
        assert room.sink.is_stuck.wait(PATIENCE_S)
        block = b"y" * 999 + b"\n"
        for _ in range(200):
            room.listener.heard(block * 1_000)
        room.listener.cut(output(shell.span, b"z" * 60_000_000))
        room.sink.may_flush.set()
        room.sink.wait_until(lambda: room.sink.idles > 0)
        room.listener.heard(shell.cmd("after") + shell.exit())

    assert [event.body.headline() for event in room.sink.commands] == ["$ before", "$ after"]
    damaged = room.sink.gaps["damaged_record"] or 0
    assert 30_000 < damaged < 68_000  # what fitted was looked at; the rest was dropped
