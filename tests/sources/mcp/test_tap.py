"""Copies for the recording process: all arrive in order, or are counted; the forwarder never waits."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtrace.sources.mcp import tap as taps
from devtrace.sources.mcp.tap import BEGIN, DATA, END, LOST, TO_CLIENT, TO_SERVER, Tap

CHECKOUT = Path(__file__).parents[3]
PATIENCE_S = 20.0

# Writes each record as a line; "die" in a payload makes it die before it has written that one.
READER = f"""
import os, sys
sys.path.insert(0, {str(CHECKOUT)!r})
from devtrace.sources.mcp.inlet import records
out = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
for one in filter(None, records(0, lambda: None)):
    if one.payload.startswith(b"die"):
        os._exit(1)
    text = one.payload[:400].decode("latin-1")
    line = (os.getpid(), one.kind, one.direction, one.channel, len(one.payload), text)
    os.write(out, repr(line).encode() + b"\\n")
"""

Line = tuple[int, int, int, int, int, str]


class Recorded:
    """What the recording processes wrote down, and how they are started."""

    def __init__(self, path: Path):
        self._path = path
        self.pids: list[int] = []

    def start(self, fd: int) -> int:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", READER, str(self._path)],
            dict(os.environ),
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, 0)],
        )
        self.pids.append(pid)
        return pid

    def lines(self) -> list[Line]:
        text = self._path.read_text() if self._path.exists() else ""
        return [eval(line) for line in text.splitlines()]

    def wait(self, is_there: Callable[[list[Line]], bool]) -> list[Line]:
        until = time.monotonic() + PATIENCE_S
        while not is_there(found := self.lines()):
            assert time.monotonic() < until, found
            threading.Event().wait(0.01)
        return found


def wait_for_end(pid: int) -> None:
    """Until it is a zombie, which is left to its parent."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    one = Recorded(tmp_path / "records")
    yield one
    for pid in one.pids:  # a test that failed may leave one behind
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def test_all_that_is_put_arrives_in_order_after_who_records_it(recorded: Recorded) -> None:
    tap = Tap(recorded.start, {"name": "files"})
    for number in range(200):
        tap.put(DATA, number % 2, 7, b"x" * number)
    tap.put(END, TO_CLIENT, 0, b"{}")
    tap.close(PATIENCE_S)

    first, *rest, last = recorded.lines()

    assert (first[1], json.loads(first[5])) == (BEGIN, {"name": "files"})
    assert [(kind, way, channel, size) for _, kind, way, channel, size, _ in rest] == [
        (DATA, number % 2, 7, number) for number in range(200)
    ]
    assert last[1] == END


def test_close_waits_for_the_process_and_leaves_none(recorded: Recorded) -> None:
    tap = Tap(recorded.start, {})
    tap.put(END, TO_CLIENT, 0, b"{}")
    tap.close(PATIENCE_S)

    assert tap.pid == 0
    with pytest.raises(ChildProcessError):
        os.waitpid(recorded.pids[0], os.WNOHANG)


def test_a_process_that_is_killed_is_started_anew_and_told_what_was_lost(recorded: Recorded) -> None:
    tap = Tap(recorded.start, {"name": "files"})
    tap.put(DATA, TO_SERVER, 0, b"before")
    recorded.wait(lambda lines: any(line[5] == "before" for line in lines))
    os.kill(tap.pid, signal.SIGKILL)
    os.waitpid(recorded.pids[0], 0)
    tap.put(DATA, TO_SERVER, 0, b"missed")
    recorded.wait(lambda lines: len({line[0] for line in lines}) == 2)
    tap.put(DATA, TO_SERVER, 0, b"after")
    tap.put(END, TO_CLIENT, 0, b"{}")
    tap.close(PATIENCE_S)

    lines = [line for line in recorded.lines() if line[0] == recorded.pids[1]]

    assert [line[1] for line in lines] == [BEGIN, LOST, DATA, END]
    assert json.loads(lines[0][5])["died_ns"] > 0
    told = json.loads(lines[1][5])
    assert (told["count"], told["bytes"]) == (1, len("missed"))
    assert lines[2][5] == "after"


def test_a_process_that_dies_again_and_again_is_left_alone_and_the_gap_is_told_at_the_end(
    recorded: Recorded,
) -> None:
    tap = Tap(recorded.start, {})
    for number in range(3):
        recorded.wait(lambda lines, n=number: len({line[0] for line in lines}) > n)  # type: ignore[misc]
        os.kill(recorded.pids[number], signal.SIGKILL)
        wait_for_end(recorded.pids[number])
        tap.put(DATA, TO_SERVER, 0, b"missed")
    for _ in range(17):
        tap.put(DATA, TO_SERVER, 0, b"missed")
    n_started = len(recorded.pids)
    tap.put(END, TO_CLIENT, 0, b"{}")
    tap.close(PATIENCE_S)

    lines = [line for line in recorded.lines() if line[0] == recorded.pids[-1]]

    assert (n_started, len(recorded.pids)) == (3, 4)
    assert [line[1] for line in lines] == [BEGIN, LOST, END]
    assert json.loads(lines[1][5])["count"] == 18  # of the first two the next process was told
    assert json.loads(lines[0][5])["died_ns"] > 0


def test_a_stopped_process_stops_nobody_and_what_finds_no_room_is_counted(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taps, "_MOST_WAITING", 1 << 20)
    tap = Tap(recorded.start, {})
    recorded.wait(lambda lines: len(lines) == 1)
    os.kill(tap.pid, signal.SIGSTOP)
    for _ in range(100):
        tap.put(DATA, TO_CLIENT, 0, b"y" * 100_000)  # 10 MB, and 2 MB have room
    os.kill(tap.pid, signal.SIGCONT)
    tap.put(END, TO_CLIENT, 0, b"{}")
    tap.close(PATIENCE_S)

    lines = recorded.lines()
    arrived = sum(line[1] == DATA for line in lines)
    (lost,) = [json.loads(line[5]) for line in lines if line[1] == LOST]

    assert arrived + lost["count"] == 100
    assert lost["bytes"] == lost["count"] * 100_000
    assert lines[-1][1] == END


def test_where_no_process_can_be_started_nothing_happens() -> None:
    def fail(fd: int) -> int:
        raise OSError("no more processes")

    tap = Tap(fail, {})
    tap.put(DATA, TO_SERVER, 0, b"gone")
    tap.put(END, TO_CLIENT, 0, b"{}")
    tap.close(PATIENCE_S)

    assert tap.pid == 0


def test_what_waits_when_time_is_up_is_given_up_and_counted_and_the_end_is_told(recorded: Recorded) -> None:
    tap = Tap(recorded.start, {})
    recorded.wait(lambda lines: len(lines) == 1)
    os.kill(tap.pid, signal.SIGSTOP)
    for _ in range(50):
        tap.put(DATA, TO_CLIENT, 0, b"y" * 100_000)  # 5 MB, and the pipe takes one
    waker = threading.Timer(0.2, os.kill, (tap.pid, signal.SIGCONT))
    waker.start()
    tap.put(END, TO_CLIENT, 0, b"{}")
    tap.close(0.1)
    waker.join()
    lines = recorded.wait(lambda lines: lines[-1][1] == END)

    arrived = sum(line[1] == DATA for line in lines)
    (lost,) = [json.loads(line[5]) for line in lines if line[1] == LOST]

    assert arrived + lost["count"] == 50
    assert 0 < arrived < 50
