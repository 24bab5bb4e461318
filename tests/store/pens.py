"""Segments written by hand, record by record, as a recorder writes them.

Lives here: `Pen`. Not here: any test, the recorder itself (tests/recorder/).
"""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

from devtrace.store.trace import records
from devtrace.store.trace.segments import BLOCK_WORDS, HEADER_WORDS, Room, SegmentWriter
from tests.store.frames import SESSION, START

PLENTY = 1 << 30
MOST_NAMED = 512  # frames that a block names, the innermost
PROCESS = {
    "id": SESSION, "parent_session": "019aa6e0c1de7abc8000000000000009", "parent_event": "00000000000000aa",
    "agent": "", "actor": "human", "cwd": "/home/ana/shop", "started_us": START, "argv": ["app.py", "--fast"],
    "executable": "/usr/bin/python3", "python": "3.12.1", "pid": 4242, "ppid": 1, "engine": "monitoring",
    "engine_because": "sys.monitoring is there", "detail": "values", "policy": {"keep": True},
    "trace_filter": {"filters": []}, "forked_from": None,
}  # fmt: skip


class Pen:
    """One stream. Every block begins with what is at work, as a recorder's does."""

    def __init__(self, folder: Path, stream: int = 1, session: str = SESSION, limit: int = PLENTY):
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = SegmentWriter(folder, session, stream, Room(limit))
        self.path = self.writer.path
        self.stack: list[list[int]] = []  # [function, number of its frame, line, event that began it]
        self.waiting: list[Written] = []
        self.written: list[Written] = []
        self.numbers = 0
        self.n_events = 0
        self.turn()
        self.clock = self.writer.block[2]

    def turn(self, *, over: int | None = None) -> None:
        """The next block; with `over` in the place of an older one. What waits says itself where it was."""
        for one in self.waiting:
            one.move()
        block = self.writer.turn() if over is None else self.writer.turn_over(over)
        self.body = block[HEADER_WORDS:BLOCK_WORDS]
        self.at = 0
        self.defined: set[int] = set()
        self.entries = records.FIRST_ENTRY
        self.tell_stack()

    def tell_stack(self) -> None:
        named = self.stack[-MOST_NAMED:]
        for function, *_ in named:
            self.define(function)
        self.word(records.STACK)
        for function, number, line, _ in named:
            self.word(function << 24 | line << 4 | records.STACK)
            if number:
                self.word(number << 4 | records.FRAME)

    def word(self, *words: int) -> None:
        if self.at + len(words) > len(self.body):
            self.turn()
        for place, word in reversed(list(enumerate(words))):
            self.body[self.at + place] = word
        self.at += len(words)

    def text(self, first: int, payload: bytes) -> None:
        size = (len(payload) + 7) // 8
        self.word(first, *struct.unpack(f"={size}Q", payload.ljust(size * 8, b"\0")))

    def define(self, function: int) -> None:
        if function in self.defined:
            return
        self.defined.add(function)
        told = {"path": "/home/ana/app.py", "line": function, "name": f"f{function}", "module": "app"}
        payload = json.dumps({**told, "names": ["a", "b"], "n_arguments": 1}).encode()
        self.text(len(payload) << 32 | function << 4 | records.FUNCTION, payload)

    def entry(self, form: Any) -> int:
        payload = json.dumps(form).encode()
        if self.at + len(payload) // 8 + 4 > len(self.body):
            self.turn()
        self.text(len(payload) << 4 | records.ENTRY, payload)
        self.entries += 1
        return self.entries - 1

    def tick(self, ns: int = 1_000) -> int:
        self.clock += ns
        return self.clock

    def call(self, function: int, *, is_generator: bool = False) -> None:
        if self.at + 40 > len(self.body):
            self.turn()
        self.define(function)
        self.word(function << 24 | records.CALL, self.tick())
        self.stack.append([function, 0, 0, self.n_events])
        self.n_events += 1
        if is_generator:
            self.numbers += 1
            self.stack[-1][1] = self.numbers
            self.word(self.numbers << 4 | records.FRAME)

    def leave(self, how: int = records.RETURNED, ns: int = 1_000) -> list[int]:
        function = self.stack[-1][0]
        self.word(function << 24 | how << 4 | records.RETURN, self.tick(ns))
        self.n_events += 1
        return self.stack.pop()

    def resume(self, frame: list[int], how: int = records.RESUMED) -> None:
        self.define(frame[0])
        if self.at + 4 > len(self.body):
            self.turn()
            self.define(frame[0])
        self.word(frame[0] << 24 | how << 4 | records.RESUME, self.tick())
        self.stack.append(frame)
        self.word(frame[1] << 4 | records.FRAME)
        self.n_events += 1

    def line(self, line: int) -> None:
        self.word(self.stack[-1][0] << 24 | line << 4 | records.LINE)
        self.stack[-1][2] = line
        self.n_events += 1

    def number(self, name: int, value: int) -> None:
        self.word(value << 20 | name << 4 | records.INT)

    def raised(self, form: Any, how: int = records.RAISED) -> None:
        entry = self.entry(form)
        self.word(entry << 20 | how << 4 | records.RAISE)
        self.n_events += 1

    def write(
        self,
        payload: bytes,
        what: int = records.STDOUT,
        flags: int = 0,
        *,
        place: int = 0,
        waits: bool = False,
    ) -> Written:
        """Something goes through a standard stream. `waits`: its record comes later, by `tell`."""
        written = Written(self, payload, what, flags, place)
        self.waiting.append(written)
        if not waits:
            self.tell(written)
        return written

    def tell(self, written: Written) -> None:
        """Write its record."""
        size = (len(written.payload) + 7) // 8
        if self.at + 3 + size > len(self.body):
            self.turn()
        self.waiting.remove(written)
        written.key = (self.writer.block[1], written.anchor, written.clock)
        self.written.append(written)
        first = len(written.payload) << 32 | written.anchor << 16 | written.flags << 8 | written.what << 4
        behind = struct.unpack(f"={size}Q", written.payload.ljust(size * 8, b"\0"))
        self.word(first | records.IO, written.clock, written.place, *behind)

    def held(self, n_bytes: int) -> None:
        self.word(n_bytes << 16 | records.HELD << 4 | records.IO)

    def reached(self, what: int, n_bytes: int = 0, clock: int | None = None) -> None:
        clock = self.tick() if clock is None else clock
        self.word(n_bytes << 16 | records.REACHED + what << 4 | records.IO, clock)

    def note(self, told: dict[str, Any]) -> None:
        payload = json.dumps(told).encode()
        self.text(len(payload) << 4 | records.NOTE, payload)

    def begin(self, **changes: Any) -> Pen:
        """What stands at the begin of a trace."""
        self.note({"thread": {"ident": 77, "name": "MainThread"}})
        self.note({"process": {**PROCESS, **changes}})
        return self

    def end(self, code: int | None = 0, **changes: Any) -> None:
        """What stands at its end; the file is let go."""
        told = {"code": code, "label": None, "metrics": {"sink_errors": 0}, "trace_filter": {"skipped": 1}}
        self.note({"exit": {**told, "ended_us": START + 5_000_000, **changes}})
        self.close()

    def close(self) -> None:
        self.body = memoryview(b"")
        self.writer.close()


class Written:
    """What went through a standard stream, and where: as the records are to say it."""

    def __init__(self, pen: Pen, payload: bytes, what: int, flags: int, place: int):
        self.payload, self.what, self.flags, self.place = payload, what, flags, place
        self.anchor, self.clock, self.events = pen.at, pen.tick(), pen.n_events
        self.pen = pen
        top = pen.stack[-1] if pen.stack else [0, 0, 0, None]
        self.function, _, self.line, self.frame = top
        if place:
            is_top = place >> 24 == top[0]
            self.function, self.line = place >> 24, place >> 4 & records.MOST_LINE
            self.frame = top[3] if is_top else None
        if flags & records.MIRROR:
            self.function, self.line, self.frame = 0, 0, None
        self.key = (0, 0, 0)

    def move(self) -> None:
        """It happened in front of a block."""
        self.place = self.function << 24 | self.line << 4
        self.anchor, self.frame, self.events = 0, None, self.pen.n_events

    @property
    def where(self) -> tuple[int | None, int | None, int | None]:
        """Function, line, the event that began the call; None: not known."""
        return self.function or None, self.line or None, self.frame


def scribble(pen: Pen, chance: random.Random, steps: int, *, writes: bool = False) -> None:
    """A program of any shape."""
    asleep: list[list[int]] = []
    for _ in range(steps):
        if writes and chance.random() < 0.2:
            _write(pen, chance)
        what = chance.choice("ccllllvvvrrreyRpd") if pen.stack else "c"
        if what == "c" and len(pen.stack) < 40:
            pen.call(chance.randrange(1, 9), is_generator=chance.random() < 0.2)
        elif what == "r" and pen.stack:
            pen.leave(chance.choice([records.RETURNED, records.UNWOUND]), chance.choice([9, 2_000_000]))
        elif what == "y" and pen.stack[-1][1]:
            asleep.append(pen.leave(records.YIELDED))
        elif what == "R" and asleep:
            pen.resume(asleep.pop(chance.randrange(len(asleep))), chance.choice([0, records.THROWN]))
        elif what == "v" and pen.stack:
            pen.number(0, chance.randrange(1 << 43))
            pen.word(1 << 4 | records.FLOAT, _bits(chance.choice([0.0, 1.5, chance.random()])))
        elif what == "e" and pen.stack:
            pen.raised(["exception", "ValueError", [chance.randrange(3)]], chance.choice([0, 1]))
        elif what == "p":
            entry = pen.entry("x" * chance.randrange(90))
            if writes and chance.random() < 0.2:
                pen.word(entry << 20 | records.TASK)
        elif what == "d" and chance.random() < 0.05:
            pen.tell_stack()
        elif pen.stack:
            pen.line(chance.randrange(1, 1 << 20))


def _write(pen: Pen, chance: random.Random) -> None:
    """Something is written, and some of what waits is told."""
    parts = [b"", b"\n", b"a\r\n", b"\0\xff", b"no end", b"xyz " * chance.randrange(20)]
    payload = b"".join(chance.choices(parts, k=chance.randrange(4))) or b"x"
    place = chance.randrange(1, 9) << 24 | chance.randrange(99) << 4 if chance.random() < 0.1 else 0
    flags = chance.choice([0, records.FLUSH, records.STEP_BOUNDARY, records.TIME_SPLIT])
    what = chance.randrange(3)
    flags |= records.INPUT if what == records.STDIN else 0
    pen.write(payload, what, flags, place=place, waits=chance.random() < 0.3)
    if chance.random() < 0.5:
        for one in chance.sample(pen.waiting, chance.randrange(len(pen.waiting) + 1)):
            pen.tell(one)


def _bits(number: float) -> int:
    return int(struct.unpack("=Q", struct.pack("=d", number))[0])
