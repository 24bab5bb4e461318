"""Programs whose descriptors are mirrored: run by themselves, without the rest of the recorder.

A program is given `begin()`, which starts a mirror and leads Python's own writes past it, and `native()`,
which writes by the C library. `recorded` says what the mirror kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from devtrace.store.trace import records
from devtrace.store.trace.segments import read_blocks

CHECKOUT = Path(__file__).parents[2]
DEADLINE_S = 60.0
SESSION = "5" * 32

_BEGIN = """\
import ctypes, os, signal, subprocess, sys, time
from pathlib import Path
from devtrace.recorder.fd_mirror import FdMirror, FdMirrorFailed
class Limits:
    trace_bytes = 64 << 20
libc = ctypes.CDLL(None)
failures = []
def native(data, fd=1):
    libc.dprintf(fd, b"%s", data)
def begin(**more):
    if os.environ.get("PLAIN"):
        return None
    mirror = FdMirror.start(folder=Path(os.environ["KEPT"]), session=os.environ["SESSION_ID"], number=9,
                            workspace_dir=None, limits=Limits, on_failed=failures.append, **more)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        lead(stream, mirror.past(stream.buffer.raw, stream.fileno()))
    return mirror
def lead(stream, past):
    write, flush = stream.write, stream.flush
    def led(text):
        past.lead()
        return write(text)
    def led_flush():
        past.lead()
        return flush()
    stream.write, stream.flush = led, led_flush
def say(*words, **more):
    print(*words, flush=True, **more)
"""


class Piece(NamedTuple):
    """What one record of the mirror says."""

    channel: str
    data: bytes
    clock_ns: int
    flags: int


def written(folder: Path, source: str) -> Path:
    """The program as a file."""
    (folder / "kept").mkdir(exist_ok=True)
    script = folder / "program.py"
    script.write_text(_BEGIN + source)
    return script


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What the program needs to find us, and where the mirror keeps what it does."""
    found = {**os.environ, "PYTHONPATH": str(CHECKOUT), "KEPT": str(folder / "kept"), "SESSION_ID": SESSION}
    found.pop("PYTHONUNBUFFERED", None)
    return {**found, **more}


def run(source: str, folder: Path, *, python: str = sys.executable, **more: Any) -> Any:
    """Run a program to its end, its output taken by pipes."""
    command = [python, str(written(folder, source))]
    variables = environment(folder, **more.pop("variables", {}))
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.run(command, env=variables, timeout=DEADLINE_S, check=False, cwd=folder, **given)


def began(source: str, folder: Path, **more: Any) -> subprocess.Popen[bytes]:
    """Start a program."""
    command = [sys.executable, str(written(folder, source))]
    return subprocess.Popen(command, env=environment(folder), cwd=folder, **more)


def processes(folder: Path) -> list[int]:
    """The processes of mirrors that keep what they do in this folder, and are no zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if (
            any(word.endswith(b"mirror_process.py") for word in words)
            and str(folder / "kept").encode() in words
        ):
            found.append(int(entry.name))
    return found


def until(claim: Callable[[], Any], what: str) -> Any:
    """Wait until the claim is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := claim()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)  # the processes are nobody's children: nothing tells of their end but /proc
    return found


def recorded(folder: Path) -> list[Piece]:
    """What the mirrors kept, once their processes have ended."""
    until(lambda: not processes(folder), "a process of a mirror was left behind")
    return [
        Piece(records.CHANNELS[one.how], one.value, one.clock_ns, one.flags)
        for one in all_records(folder)
        if one.tag == records.IO and one.how <= records.STDERR
    ]


def notes(folder: Path) -> list[Any]:
    """What stands beside the bytes."""
    return [one.value for one in all_records(folder) if one.tag == records.NOTE]


def all_records(folder: Path) -> list[Any]:
    """Every record of each segment."""
    return [
        record
        for path in sorted((folder / "kept").glob("*.seg"))
        for block in read_blocks(path.read_bytes())
        for record in records.read_records(block.words)
    ]


def text(pieces: list[Piece], channel: str) -> bytes:
    """All bytes of a channel."""
    return b"".join(one.data for one in pieces if one.channel == channel)
