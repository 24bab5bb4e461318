"""What went through a recorded program's standard streams, as its segments say.

Lives here: `Captured`, the chunks of a folder of segments; `run_captured`. Not here: what else segments say
(recordings.py).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import devtrace
from devtrace.store.trace import records
from devtrace.store.trace.replay import Replay, Written
from devtrace.store.trace.segments import read_blocks
from devtrace.workspace import Workspace, create
from tests.processes import DEADLINE, environment

LAUNCHER = str(Path(devtrace.__file__).parent / "recorder" / "__main__.py")

SAID = re.compile(rb"@(\d+)")  # a program says so which line it writes from
_LINES = re.compile(rb"[^\n]*\n|[^\n]+")


class Chunk(NamedTuple):
    """A line, or a part of one."""

    channel: str
    payload: bytes
    flags: int
    line: int  # 0: not known
    function: str
    clock_ns: int
    task: str
    session: str
    stream: int

    @property
    def labels(self) -> list[str]:
        """Its flags by their names."""
        return [label for bit, label in records.LABELS.items() if self.flags & bit]

    @property
    def said(self) -> set[int]:
        """The lines of which the payload says that it comes from there."""
        return {int(number) for number in SAID.findall(self.payload)}


class Captured:
    """All chunks, in the order of their clocks; those of one thread in its order."""

    def __init__(self, folder: Path | None):
        self.chunks: list[Chunk] = []
        self.notes: list[dict[str, Any]] = []
        self.held: dict[tuple[str, int], int] = {}  # of each stream, the last word about it
        self.reached: dict[str, tuple[int, int]] = {}  # channel -> clock, how many bytes not
        for path in sorted(folder.glob("*.seg")) if folder is not None else ():
            session, _, number = path.stem.split("-")
            self.add(path.read_bytes(), session, int(number))
        self.chunks.sort(key=lambda chunk: chunk.clock_ns)

    def add(self, segment: bytes, session: str, number: int) -> None:
        """Take in one stream."""
        replay = Replay(with_io=True)
        for block in read_blocks(segment):
            for record in records.read_records(block.words):
                self._look(record, (session, number))
            for event in replay.feed(block):
                if isinstance(event, Written):
                    self.chunks += _chunks(event, replay, session, number)
        self.notes += replay.notes

    def _look(self, record: records.Record, stream: tuple[str, int]) -> None:
        if record.tag != records.IO:
            return
        if record.how == records.HELD:
            self.held[stream] = record.value
        elif record.how >= records.REACHED:
            channel = records.CHANNELS[record.how - records.REACHED]
            self.reached[channel] = max(self.reached.get(channel, (0, 0)), (record.clock_ns, record.value))

    def of(self, channel: str) -> list[Chunk]:
        """The chunks of one stream."""
        return [chunk for chunk in self.chunks if chunk.channel == channel]

    def bytes_of(self, channel: str) -> bytes:
        """All that went through one stream."""
        return b"".join(chunk.payload for chunk in self.of(channel))

    def note(self, name: str) -> list[Any]:
        """All notes of that name."""
        return [note[name] for note in self.notes if name in note]

    def misplaced(self) -> list[Chunk]:
        """The chunks that say another line than the record does."""
        return [chunk for chunk in self.chunks if chunk.said and chunk.said != {chunk.line}]


def _chunks(event: Written, replay: Replay, session: str, stream: int) -> Iterator[Chunk]:
    function = replay.functions.get(event.frame.function)
    for part in _LINES.findall(event.payload):
        flags = event.flags & (records.INPUT | records.MIRROR)
        flags |= records.NEWLINE if part.endswith(b"\n") else event.flags
        yield Chunk(
            event.channel,
            part,
            flags,
            event.line,
            function.name if function is not None else "",
            event.clock_ns or 0,
            event.task,
            session,
            stream,
        )


def numbered(source: str) -> str:
    """The source, in which each `@@` has become `@` and the number of its line."""
    return "".join(
        line.replace("@@", f"@{number}") for number, line in enumerate(source.splitlines(keepends=True), 1)
    )


def buffered(**variables: str) -> dict[str, str]:
    """This test's own world, in which Python buffers what it writes, whatever the outer one says."""
    return environment(**{"PYTHONUNBUFFERED": "", **variables})


class Ran(NamedTuple):
    """A program that ran: its end, what the console got, what was captured, and where that stands."""

    status: int
    out: bytes
    err: bytes
    captured: Captured
    kept: Path

    @property
    def raw(self) -> bytes:
        """All bytes that are on the disk."""
        return b"".join(path.read_bytes() for path in self.kept.glob("*.seg"))


def run_captured(source: str, folder: Path, *options: str, store: bool = False, **variables: str) -> Ran:
    """Run a script recorded, into `folder/kept`, or with `store` into one that its children find too."""
    script = folder / "script.py"
    script.write_text(numbered(source))
    kept = folder / "kept"
    if store:
        create(Workspace(folder / ".devtrace"))
        kept = folder / ".devtrace" / "spool"
    done = subprocess.run(
        [sys.executable, LAUNCHER, *([] if store else ["--out-dir", str(kept)]), *options, script.name],
        cwd=folder,
        env=buffered(**({"DEVTRACE_DIR": str(folder / ".devtrace")} if store else {}), **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr, Captured(kept), kept)
