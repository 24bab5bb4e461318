"""What is captured of threads, tasks and processes, with readers that are slow or gone, up to a sudden end.

Lives here: programs of which something outside, or several parts, decides what they print. Not here: which
streams are captured (test_io_capture.py), every way to write (test_io_cases.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import DEADLINE
from tests.recorder.captured import LAUNCHER, Captured, buffered, run_captured
from tests.terminals import Terminal


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def captured() -> Captured:
    return Captured(Path("out"))


# --- threads, tasks, processes ---

THREADS = """\
import sys, threading
N = 1000
def work(number):
    for turn in range(N):
        print(f"{number}:{turn} @@\\n", end="")
threads = [threading.Thread(target=work, args=(number,)) for number in range(200)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_no_line_of_two_hundred_threads_is_lost_or_torn(tmp_path: Path) -> None:
    ran = run_captured(THREADS, tmp_path, "--detail", "calls", "--only", "nothing.at:all")

    assert (ran.status, ran.err) == (0, b"")
    seen: dict[int, list[int]] = {}
    for chunk in ran.captured.chunks:
        number, turn = chunk.payload.removesuffix(b" @5\n").split(b":")
        assert (chunk.line, chunk.flags) == (5, 1)
        seen.setdefault(int(number), []).append(int(turn))
    assert seen == {number: list(range(1000)) for number in range(200)}
    if sys.version_info >= (3, 13):  # plain python before that loses lines of its own here
        assert sorted(ran.out.splitlines()) == sorted(chunk.payload[:-1] for chunk in ran.captured.chunks)


TASKS = """\
import asyncio
async def speak(name):
    for number in range(3):
        print(f"{name} @@")
        await asyncio.sleep(0)
async def main():
    print("main @@")
    await asyncio.gather(*(asyncio.create_task(speak(name), name=name) for name in ("one", "two")))
    print("main @@")
asyncio.run(main())
"""


def test_each_task_has_what_it_printed(tmp_path: Path) -> None:
    chunks = run_captured(TASKS, tmp_path).captured.of("stdout")

    told = [(chunk.payload.split()[0].decode(), chunk.task) for chunk in chunks]
    assert [pair for pair in told if pair[0] != "main"] == [("one", "one"), ("two", "two")] * 3
    assert {task for name, task in told if name == "main"} == {"Task-1"}


CHILDREN = """\
import os, subprocess, sys
print("parent @@", flush=True)
if not os.fork():
    print("forked @@")
    sys.exit(0)
os.wait()
subprocess.run([sys.executable, "child.py"])
print("parent @@")
"""


def test_children_are_captured_in_sessions_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text("print('spawned')\n")

    ran = run_captured(CHILDREN, tmp_path, "--follow", "python", store=True)

    by_session: dict[str, bytes] = {}
    for chunk in ran.captured.chunks:
        by_session[chunk.session] = by_session.get(chunk.session, b"") + chunk.payload
    assert ran.out == b"parent @2\nforked @4\nspawned\nparent @8\n"
    assert sorted(by_session.values()) == [b"forked @4\n", b"parent @2\nparent @8\n", b"spawned\n"]
    assert ran.captured.misplaced() == []


READERS = """\
import sys
for number in range(3000):
    print(f"{number:06} " + "x" * 93)
sys.stderr.write("done")
"""


def test_a_slow_reader_gets_all(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(READERS)
    with subprocess.Popen(
        [sys.executable, LAUNCHER, "--out-dir", "out", "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=buffered(),
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        taken = []
        while part := os.read(program.stdout.fileno(), 1000):
            taken.append(part)
        assert program.stderr.read() == b"done"

    assert captured().bytes_of("stdout") == b"".join(taken)
    assert len(b"".join(taken)) == 3000 * 101


STUCK = """\
import os, sys
from devtrace import recorder
recorder.start("out")
sys.stdout.write("x" * 1000)  # in the buffer, and the pipe is full
print("y", file=sys.stderr)
os.set_blocking(1, False)
try:
    while True:
        os.write(1, b"z" * 4096)
except BlockingIOError:
    os.set_blocking(1, True)
recorder.stop()
sys.stderr.write("stopped\\n")
sys.stderr.flush()
os._exit(0)
"""


def test_a_reader_who_takes_nothing_does_not_keep_us_from_stopping(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(STUCK)
    with subprocess.Popen(
        [sys.executable, "script.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered()
    ) as program:
        assert program.stderr is not None
        assert program.stderr.read() == b"y\nstopped\n"
        assert program.wait(DEADLINE) == 0

    assert captured().bytes_of("stdout") == b"x" * 1000


@pytest.mark.parametrize("how", ["head", "closed"])
def test_who_reads_no_more_is_told_of_as_plain_python_tells(tmp_path: Path, how: str) -> None:
    (tmp_path / "script.py").write_text(
        "import sys\nfor number in range(30_000): print(number)\n"
        if how == "head"
        else "print('x', flush=True)\nprint('y', flush=True)\n"
    )
    told = [_with_a_reader_gone(words) for words in ([], [LAUNCHER, "--out-dir", "out"])]

    assert told[0] == told[1]
    assert b"BrokenPipeError" in told[0][1]


def _with_a_reader_gone(words: list[str]) -> tuple[int, bytes]:
    with subprocess.Popen(
        [sys.executable, *words, "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=buffered(),
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        told = program.stderr.read()
    return program.returncode, told


ALARMED = """\
import signal
class Over(Exception): pass
def stop(*_): raise Over
signal.signal(signal.SIGALRM, stop)
caught = 0
for trial in range(20):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + trial % 50 * 0.00001)
        for turn in range(10_000_000): print("password=hunter2-Zx81", turn)
    except Over:
        caught += 1
raise SystemExit(caught)
"""


def test_what_a_signal_handler_raises_while_something_is_printed_reaches_the_program(tmp_path: Path) -> None:
    assert run_captured(ALARMED, tmp_path).status == 20


# --- sudden ends ---


def test_what_was_printed_before_a_sudden_exit_is_captured_and_known_to_be_unflushed(tmp_path: Path) -> None:
    ran = run_captured("import os\nprint('told', flush=True)\nprint('lost')\nos._exit(3)\n", tmp_path)

    told, lost = ran.captured.of("stdout")
    clock, behind = ran.captured.reached["stdout"]
    assert (ran.status, ran.out) == (3, b"told\n")
    assert (told.payload, lost.payload) == (b"told\n", b"lost\n")
    assert told.clock_ns <= clock < lost.clock_ns
    assert behind == 0


KILLED = """\
import sys, threading
threads = []
def work(name):
    number = 0
    while True:
        print(f"{name}{number}")
        number += 1
for name in "abc":
    threading.Thread(target=work, args=(name,), daemon=True).start()
threading.Event().wait()
"""


def test_of_a_killed_program_all_that_the_terminal_showed_is_captured(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(KILLED)
    words = [sys.executable, LAUNCHER, "--out-dir", "out", "script.py"]
    with Terminal(words, env=buffered()) as terminal:
        terminal.wait_for("a20\r\n")
        terminal.kill()
        assert terminal.wait_exit() == -9
        shown = re.findall(rb"[abc]\d+(?=\D)", terminal.shown)  # threads write into one line, and end it then

    told = {chunk.payload.strip() for chunk in captured().of("stdout")}
    lost = [one for one in shown if one not in told]
    # What a thread has begun is told when that thread ends its line; the end of another's may show it before.
    begun = {one[:1]: one for one in shown}  # the last one of each thread
    assert len(shown) > 20
    assert [one for one in lost if begun[one[:1]] != one] == []


CAPPED = """\
import {first}
line = "x" * 1000
for number in range(6000):
    print(number, line)
sys.stderr.write("end")
"""


@pytest.mark.parametrize("reason", ["trace_full", "disk_full"])
def test_when_no_room_is_left_the_console_goes_on_and_a_gap_is_told(tmp_path: Path, reason: str) -> None:
    source = CAPPED.format(first="sys")
    variables = {"DEVTRACE_RECORD_TRACE_MB": "1"}
    if reason == "disk_full":
        limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))"
        source, variables = CAPPED.format(first=f"sys, resource; {limit}"), {}

    ran = run_captured(source, tmp_path, "--log-level", "off", **variables)

    whole = b"".join(b"%d %s\n" % (number, b"x" * 1000) for number in range(6000))
    assert (ran.status, ran.out) == (0, whole)
    assert ran.captured.note("gap")[:1] == [{"reason": reason}]
    kept = ran.captured.bytes_of("stdout")
    assert whole.startswith(kept)
    assert 500_000 < len(kept) < 1 << 20
    (told,) = ran.captured.note("exit")
    assert told["metrics"]["dropped_events"].get("io_chunk_lost", 0) > 0


def test_what_is_printed_in_a_hot_loop_is_captured_whole(tmp_path: Path) -> None:
    source = "def work():\n    for number in range(40_000):\n        print(number, '@@')\nwork()\n"

    ran = run_captured(source, tmp_path, DEVTRACE_RECORD_FOLD_MB="1")

    assert ran.captured.bytes_of("stdout") == ran.out
    assert ran.captured.misplaced() == []
