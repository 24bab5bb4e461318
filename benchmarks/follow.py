"""How soon a command is seen: from a traced shell through FIFO, pairing, policy and store to `log --follow`.

Latency: every line of `devtrace log --follow --json` holds when its command started or ended, by the clock
that stamps the line's arrival here too. The commands last longer than one look of the follower, so that each
is seen twice. Beside it a bare `cat` of a FIFO to which a shell prints the time.
Throughput: a writer that sends finished records as fast as it can, one write a record as the hooks do, to our
reader and pairing, and to `cat`.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from benchmarks import Row
from benchmarks.prompt import PATIENCE_S, Prompt, devtrace, home, row, shells
from devtrace.events import Event
from devtrace.ids import new_nonce, new_shell_span, next_shell_span
from devtrace.sources.shell.fifo import Assembler
from devtrace.sources.shell.pairing import Pairing
from devtrace.sources.shell.reader import FifoReader
from devtrace.sources.shell.shells import Meeting, Settings

_WRITER = """
import os, sys
lines = open(sys.argv[1], "rb").read().splitlines(keepends=True)
fifo = os.open(sys.argv[2], os.O_WRONLY)
print(flush=True)
sys.stdin.readline()
for line in lines:
    os.write(fifo, line)
"""


def measure(*, quick: bool = False) -> list[Row]:
    """Latency, then throughput."""
    return [*latency(20 if quick else 100), *throughput(4_000 if quick else 40_000)]


# --- latency ------------------------------------------------------------------------------------------


def latency(commands: int) -> list[Row]:
    """Milliseconds from a command's start and end to its line: median and P95."""
    if shells()[0].version < (5, 0):
        reason = "this bash has no clock of its own to compare with"
        return [
            row("start or end to the line of `log --follow`, P95", None, budget="<= 100 ms", reason=reason)
        ]
    started, ended = followed(commands)
    peer = catted(commands)
    rows = []
    for what, ours in (("start", started), ("end", ended)):
        for name, pick, budget in (("median", statistics.median, ""), ("P95", percentile_95, "<= 100 ms")):
            title = f"a command's {what} to its line in `log --follow`, {name}"
            rows.append(row(title, pick(ours) / 1000, "cat of a FIFO", pick(peer) / 1000, budget=budget))
    return rows


def followed(commands: int) -> tuple[list[int], list[int]]:
    """Microseconds to the line of each start and each end in a real `devtrace shell`."""
    shell = shells()[0]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = home(folder, shell.name)
        subprocess.run(devtrace("init"), env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        log = subprocess.Popen(
            devtrace("log", "--follow", "--json"), env=environment, cwd=folder, stdout=subprocess.PIPE
        )
        stack.callback(_end, log)
        assert log.stdout is not None
        lines = stack.enter_context(arrivals(log.stdout))
        prompt = Prompt(devtrace("shell", "--no-login", "--shell", shell.path), environment, folder)
        stack.callback(prompt.close)
        prompt.first()
        prompt.settle()
        for number in range(commands):
            prompt.enter(f"sleep 0.06; : {number}")
        _await(lines, commands, "ok")
        found = [(at_us, json.loads(line)) for at_us, line in lines]
    # The first line of a command tells its start; where both fell between two looks that is its end's.
    first = {event["id"]: (at_us, event["started_us"]) for at_us, event in reversed(found)}
    started = [at_us - started_us for at_us, started_us in first.values()]
    ended = [at_us - event["ended_us"] for at_us, event in found if event["status"] == "ok"]
    return started, ended


def catted(commands: int) -> list[int]:
    """Microseconds from a shell's printf into a FIFO to the line that `cat` prints of it."""
    shell = shells()[0]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = home(folder, shell.name)
        os.mkfifo(folder / "fifo")
        keep = os.open(folder / "fifo", os.O_RDWR)
        stack.callback(os.close, keep)
        cat = subprocess.Popen(["cat", str(folder / "fifo")], stdout=subprocess.PIPE)
        stack.callback(_end, cat)
        assert cat.stdout is not None
        lines = stack.enter_context(arrivals(cat.stdout))
        prompt = Prompt([shell.path, "-i"], environment, folder)
        stack.callback(prompt.close)
        prompt.first()
        for _ in range(commands):
            prompt.enter(r'printf "%s\n" "${EPOCHREALTIME/[.,]/}" 1<>fifo')
        _await(lines, commands)
    return [at_us - int(line) for at_us, line in lines]


@contextmanager
def arrivals(stream: IO[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    """A list that grows by (when in microseconds, line), until the stream ends."""
    lines: list[tuple[int, bytes]] = []

    def read() -> None:
        for line in stream:
            lines.append((time.time_ns() // 1_000, line))

    thread = threading.Thread(target=read, name="devtrace-arrivals", daemon=True)
    thread.start()
    yield lines


def percentile_95(values: list[int]) -> float:
    """What 95 of 100 stay below."""
    return statistics.quantiles(values, n=20)[-1]


def _await(lines: list[tuple[int, bytes]], count: int, *statuses: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    wanted = [f'"status":"{status}"'.encode() for status in statuses]
    while sum(not wanted or any(w in line.replace(b" ", b"") for w in wanted) for _, line in lines) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(lines)} lines of {count} came; the last: {lines[-1:]}")
        time.sleep(0.01)  # it is the thread above that reads; nothing tells of a line


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


# --- throughput ---------------------------------------------------------------------------------------


def throughput(commands: int) -> list[Row]:
    """Records a second through the FIFO: paired by us, and thrown away by cat."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nonce = new_nonce()
        (folder / "records").write_bytes(records(nonce, commands))
        count = 2 * commands + 1
        ours = count / paired(folder, nonce, commands)
        peer = count / thrown_away(folder)
    return [row("records through FIFO, reader and pairing", ours, "cat of a FIFO", peer, unit="records/s")]


def records(nonce: str, commands: int) -> bytes:
    """What a shell sends: a hello, then a start and an end for each command."""
    span, lines = new_shell_span(), [f"HELLO\t1\t{nonce}\t0123456789abcdef\t-\t1\t1\t-\t0\tbash 5.3\n"]
    for number in range(commands):
        span = next_shell_span(span)
        head = f"1\t{nonce}\t0123456789abcdef"
        at_us = 1_795_269_792_000_000 + 1_000 * number
        where = "/home/ana/work/api"
        text = f"git commit -m 'change {number}'"
        lines.append(f"CMD\t{head}\t{2 * number + 1}\t1/1\t{span}\t-\t{at_us}\t0\te\t{where}\t{text}\n")
        lines.append(f"EXIT\t{head}\t{2 * number + 2}\t1/1\t{span}\t{at_us + 500}\t0\t-\t{where}\n")
    return "".join(lines).encode()


def paired(folder: Path, nonce: str, commands: int) -> float:
    """Seconds until our reader, assembler and pairing have made an event of each start and each end."""
    events: list[Event] = []
    settings = Settings(session="0" * 32, nonce=nonce, wants_output=False)
    pairing = Pairing(settings, events.append, lambda _: Meeting(1, is_watched=False, is_gone=False))
    assembler = Assembler()
    chunks: list[bytes] = []
    arrived = threading.Semaphore(0)

    def heard(data: bytes) -> None:
        chunks.append(data)
        arrived.release()

    fifo = folder / "ours"
    with FifoReader(fifo, heard), writing(folder, fifo) as begun:
        while len(events) < 2 * commands:
            arrived.acquire()
            for record in assembler.feed(chunks.pop(0)):
                pairing.record(record, 0)
        return time.perf_counter() - begun


def thrown_away(folder: Path) -> float:
    """Seconds until cat has read it all."""
    fifo = folder / "theirs"
    os.mkfifo(fifo)
    cat = subprocess.Popen([shutil.which("cat") or "cat", str(fifo)], stdout=subprocess.DEVNULL)
    with writing(folder, fifo) as begun:
        cat.wait()
        return time.perf_counter() - begun


@contextmanager
def writing(folder: Path, fifo: Path) -> Iterator[float]:
    """A process that writes the records; gives the moment it was let go."""
    program = [sys.executable, "-c", _WRITER, str(folder / "records"), str(fifo)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()  # it has read its file and waits at the gate
        begun = time.perf_counter()
        writer.stdin.write(b"\n")
        writer.stdin.close()
        yield begun
