"""From what a hook saw to records: batches and their flags, what is held back, what is hidden, block ends.

Lives here: the queue with real segments, and programs at random. Not here: the hooks (test_io_cases.py), what
could become a secret (tests/policy/test_quick.py).
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.policy.chain import Policy
from devtrace.policy.quick import redact_quickly
from devtrace.recorder.filters import load
from devtrace.recorder.io_queue import Channel, drain
from devtrace.recorder.recording import Limits, Recording
from devtrace.recorder.writing import Stream
from devtrace.store.trace import records
from devtrace.store.trace.segments import BLOCK_BYTES, MAGIC
from tests.policy.conftest import SALT
from tests.policy.test_secrets import pem
from tests.recorder.captured import Captured, run_captured

FIXED = 20_261_122
SEEDS = [FIXED, random.SystemRandom().randrange(1 << 32)]
SESSION = "0" * 32
KNOWN = {"DB_PASSWORD": "correct-horse/77", "API_TOKEN": "tr0ub4dor&3xyz"}
FILTERS = load(None, None)
NEWLINE, FLUSH, STEP, SPLIT = "newline", "flush", "step_boundary", "time_split"


class InMemory:
    """A segment of which nothing reaches the disk: making and deleting thousands of files takes its time."""

    size = 0

    def __init__(self) -> None:
        self.blocks: list[memoryview] = []

    def turn(self) -> memoryview:
        self.blocks.append(memoryview(bytearray(BLOCK_BYTES)).cast("Q"))
        self.blocks[-1][:4] = memoryview(array("Q", [MAGIC, len(self.blocks), 1, 1]))
        return self.blocks[-1]

    def close(self) -> None:
        pass


class Pen:
    """One thread's stream, and a hook that says what it was told to. `folder`: None: it is in memory."""

    def __init__(self, folder: Path | None, room: int = 1 << 24):
        self.folder = folder
        policy = Policy.for_session(KNOWN, SALT)
        self.recording = Recording(
            session=SESSION,
            folder=folder or Path(),
            filters=FILTERS,
            policy=policy,
            redact=redact_quickly(policy),
            limits=Limits(depth=3, items=100, size=1024, trace_bytes=room, fold_bytes=0),
            detail="lines",
            on_exhausted=lambda _: None,
        )
        self._memory = InMemory()
        memory: Any = self._memory
        self.stream = (
            Stream(self.recording, memory, 1, 1) if folder is None else self.recording.begin_thread(None)
        )
        self.clock = 1000
        self.channels = [Channel(what, lambda text: text.encode("utf-8", "replace")) for what in (0, 1)]
        self.bytes_channels = [Channel(what, str.encode) for what in (0, 1)]

    def write(self, data: str | bytes, what: int = records.STDOUT, after_ns: int = 10) -> None:
        """A write in the present step."""
        self.clock += after_ns
        channel = (self.channels if isinstance(data, str) else self.bytes_channels)[what]
        self.stream.queue.append([channel, data, self.clock, self.stream.at, 0, None])

    def flush(self, what: int = records.STDOUT) -> None:
        """The program flushes."""
        if self.stream.queue:
            self.stream.queue.append([self.channels[what], None, 0, -1, 0, None])
        drain(self.stream)

    def step(self, line: int = 1) -> None:
        """A line begins, and drains what the last one wrote."""
        drain(self.stream, records.STEP_BOUNDARY)
        self.stream.word(line << 4 | records.LINE)

    def end(self) -> Captured:
        """The program ends."""
        drain(self.stream, records.STEP_BOUNDARY, is_over=True)
        return self.captured

    @property
    def captured(self) -> Captured:
        """What is captured by now."""
        found = Captured(self.folder)
        if self.folder is None:
            found.add(self.raw, SESSION, 1)
            found.chunks.sort(key=lambda chunk: chunk.clock_ns)
        return found

    @property
    def raw(self) -> bytes:
        """All that is kept."""
        if self.folder is None:
            return b"".join(block.tobytes() for block in self._memory.blocks)
        return b"".join(path.read_bytes() for path in self.folder.glob("*.seg"))


@pytest.fixture
def pen(tmp_path: Path) -> Iterator[Pen]:
    made = Pen(tmp_path)
    yield made
    made.recording.close()


def shown(captured: Captured) -> list[tuple[bytes, list[str]]]:
    return [(chunk.payload, chunk.labels) for chunk in captured.chunks]


# --- batches ---


def test_writes_of_one_step_are_one_chunk_a_line(pen: Pen) -> None:
    for text in ("one ", "two\n", "three\nfour\n", "fi", "ve"):
        pen.write(text)
    pen.step()

    assert shown(pen.end()) == [
        (b"one two\n", [NEWLINE]),
        (b"three\n", [NEWLINE]),
        (b"four\n", [NEWLINE]),
        (b"five", [STEP]),
    ]


def test_a_flush_a_step_and_a_gap_end_what_is_no_line(pen: Pen) -> None:
    pen.write("a")
    pen.flush()
    pen.write("b")
    pen.step()
    pen.write("c")
    pen.write("d", after_ns=4_999_999)
    pen.write("e", after_ns=5_000_000)
    pen.write("f\n")
    pen.flush()
    pen.flush()

    captured = pen.end()
    assert shown(captured) == [(b"a", [FLUSH]), (b"b", [STEP]), (b"cd", [SPLIT]), (b"ef\n", [NEWLINE])]
    assert captured.chunks[2].clock_ns == captured.chunks[3].clock_ns - 5_000_010


def test_the_streams_of_one_step_stay_in_their_order(pen: Pen) -> None:
    for number in range(3):
        pen.write(f"out{number}\n")
        pen.write(f"err{number}\n", records.STDERR)

    told = [(chunk.channel, chunk.payload) for chunk in pen.end().chunks]
    assert told == [
        (name, f"{name[3:]}{number}\n".encode()) for number in range(3) for name in ("stdout", "stderr")
    ]


def test_bytes_beside_text_stay_what_they_are(pen: Pen) -> None:
    pen.write("text ")
    pen.write(b"\xff\x00\r\n\xfe")
    pen.write("é")

    assert pen.end().bytes_of("stdout") == b"text \xff\x00\r\n\xfe\xc3\xa9"


def test_what_is_longer_than_a_record_is_in_several(pen: Pen) -> None:
    long = "".join(f"{number} {'word ' * 30}" for number in range(2000))
    pen.write(long)
    pen.write("\nend\n")

    captured = pen.end()
    assert captured.bytes_of("stdout") == f"{long}\nend\n".encode()
    assert max(len(chunk.payload) for chunk in captured.chunks) <= 32_768
    assert [chunk.labels for chunk in captured.chunks if chunk.labels] == [[NEWLINE]] * 2


def test_what_is_queued_when_a_block_ends_is_in_the_next_one(pen: Pen) -> None:
    for number in range(30_000):
        if number % 7 == 0:
            pen.write(f"line {number}\n" if number % 2 else f"part {number} ")
        pen.step(number % 100 + 1)

    captured = pen.end()
    wanted = "".join(
        f"line {number}\n" if number % 2 else f"part {number} " for number in range(0, 30_000, 7)
    )
    assert captured.bytes_of("stdout") == wanted.encode()


def test_no_room_for_more_is_counted(tmp_path: Path) -> None:
    from devtrace.recorder import metrics

    metrics.reset()
    pen = Pen(tmp_path, room=1 << 16)
    for _ in range(100):
        pen.write("x" * 999 + "\n")
        pen.step()
    captured = pen.end()
    pen.recording.close()

    n_lost = metrics.snapshot()["dropped_events"]["io_chunk_lost"]
    assert len(captured.chunks) + n_lost == 100
    assert captured.note("gap") == [{"reason": "trace_full"}]


# --- holding back ---


def test_an_ordinary_unfinished_line_is_told_at_once(pen: Pen) -> None:
    pen.write("50% done ")
    pen.step()

    captured = pen.captured
    assert captured.bytes_of("stdout") == b"50% done "
    assert captured.held.get((SESSION, 1), 0) == 0


def test_a_bar_that_grows_is_told_sign_by_sign(pen: Pen) -> None:
    for number in range(100):
        pen.write("." if number % 2 else "#")
        pen.flush()

    assert shown(pen.captured) == [(b"." if number % 2 else b"#", [FLUSH]) for number in range(100)]


def test_a_word_that_does_not_end_is_not_held_for_ever(pen: Pen) -> None:
    for _ in range(70):
        pen.write("x" * 100)
        pen.step()

    assert len(pen.captured.bytes_of("stdout")) > 2_000
    assert pen.end().bytes_of("stdout") == b"x" * 7_000


def test_the_begin_of_a_credential_is_held_and_the_words_say_how_much(pen: Pen) -> None:
    pen.write("key ")
    pen.step()
    pen.write("ghp_abcdef")
    pen.step()

    captured = pen.captured
    assert captured.bytes_of("stdout") == b"key "
    assert captured.held[SESSION, 1] == 10

    pen.write(" is none\n")
    captured = pen.end()
    assert captured.bytes_of("stdout") == b"key ghp_abcdef is none\n"
    assert captured.held[SESSION, 1] == 0


def test_what_was_held_stays_with_the_step_that_wrote_it(pen: Pen) -> None:
    pen.step(1)
    pen.write("ghp_ab")
    pen.step(2)
    pen.write("cd no\n")
    pen.step(3)

    words = [
        record for block in _blocks(pen) for record in records.read_records(block) if record.tag in (1, 14)
    ]
    lines = [record.at for record in words if record.tag == records.LINE]
    told = [record for record in words if record.tag == records.IO and record.how == records.STDOUT]
    assert [record.value for record in told] == [b"ghp_ab", b"cd no\n"]
    assert lines[0] < told[0].anchor <= lines[1] < told[1].anchor <= lines[2]


def _blocks(pen: Pen) -> list[memoryview]:
    from devtrace.store.trace.segments import read_blocks

    return [block.words for path in pen.folder.glob("*.seg") for block in read_blocks(path.read_bytes())]


def test_what_is_held_when_a_block_ends_is_in_the_next_one(pen: Pen) -> None:
    pen.write("ghp_ab")
    for line in range(20_000):
        pen.step(line % 50 + 1)
    assert pen.captured.bytes_of("stdout") == b""
    pen.write("cd no\n")

    assert pen.end().bytes_of("stdout") == b"ghp_abcd no\n"


# --- secrets ---

TOKEN = "ghp_Aq3ZxT7bNm9KpLw2VcRt5YuJh8GfDs4EoQz1"
SECRETS = {
    "a token": ("say ", TOKEN, " twice", TOKEN),
    "a token alone": ("", TOKEN, "", TOKEN),
    "a key of AWS": ("id=", "AKIAQ3ZXT7BNM9KPLW2V", "\n", "AKIAQ3ZXT7BNM9KPLW2V"),
    "a variable's value": ("the ", KNOWN["DB_PASSWORD"], " it is", KNOWN["DB_PASSWORD"]),
    "a variable's value in JSON": ('{"a": "', "tr0ub4dor&3xyz", '"}', "tr0ub4dor&3xyz"),
    "a variable's value, encoded": ("?p=", "correct-horse%2F77", "&b=1", "correct-horse%2F77"),
    "an assignment": ("", "password=Xk7-hunter-2q", " ok\n", "Xk7-hunter-2q"),
    "JSON": ("", '{"api_key": "Xk7-hunter-2q"}', "\n", "Xk7-hunter-2q"),
    "a URL": ("", "postgres://ana:Xk7hunter2q@db/shop", "\n", "Xk7hunter2q"),
    "a header": ("", "Authorization: Bearer Xk7hunter2qZxT7bNm9Kp", "\n", "Xk7hunter2qZxT7bNm9Kp"),
    "an option": ("$ ", "mysql --password=Xk7hunter2q shop", "\n", "Xk7hunter2q"),
    "over two lines": ("", '"password":\n  "Xk7-hunter2q-Zx"', ",\n", "Xk7-hunter2q-Zx"),
    "over a line that goes on": ("", "mysql \\\n --password=Xk7-hunter2q-Zx", "\n", "Xk7-hunter2q-Zx"),
}
HOW: dict[str, Callable[[Pen, list[Any]], None]] = {}


def how(function: Callable[[Pen, list[Any]], None]) -> Callable[[Pen, list[Any]], None]:
    HOW[function.__name__] = function
    return function


@how
def at_once(pen: Pen, parts: list[Any]) -> None:
    for part in parts:
        pen.write(part)


@how
def flushed(pen: Pen, parts: list[Any]) -> None:
    for part in parts:
        pen.write(part)
        pen.flush()


@how
def in_steps(pen: Pen, parts: list[Any]) -> None:
    for part in parts:
        pen.write(part)
        pen.step()


@how
def late(pen: Pen, parts: list[Any]) -> None:
    for part in parts:
        pen.write(part, after_ns=6_000_000)


@how
def as_bytes(pen: Pen, parts: list[Any]) -> None:
    for part in parts:
        pen.write(part.encode())
        pen.step()


@how
def beside_stderr(pen: Pen, parts: list[Any]) -> None:
    for part in parts:
        pen.write(part)
        pen.write("warned\n", records.STDERR)


@how
def over_a_blocks_end(pen: Pen, parts: list[Any]) -> None:
    for part in parts:
        pen.write(part)
        pen.step()
        pen.stream.turn()


@pytest.mark.parametrize("way", HOW)
def test_no_half_of_a_secret_is_told_wherever_it_is_cut(way: str) -> None:
    chance = random.Random(FIXED)
    leaked = []
    for number, (name, (before, written, after, secret)) in enumerate(SECRETS.items(), [*HOW].index(way)):
        for cut in range(1 + number % 3, len(written), 3):  # each way at other places
            second = chance.randrange(cut, len(written))
            for parts in (
                [before + written[:cut], written[cut:] + after],
                [before, written[:cut], written[cut:second], written[second:], after],
            ):
                text, raw = told(way, [part for part in parts if part])
                if leaks(raw, secret) or not text.startswith(before.encode()):
                    leaked.append((name, parts, text))

    assert leaked == []


def told(way: str, parts: list[str]) -> tuple[bytes, bytes]:
    """What is told of stdout, and all that is kept."""
    pen = Pen(None)
    HOW[way](pen, parts)
    return pen.end().bytes_of("stdout"), pen.raw.replace(bytes(64), b"")


def leaks(raw: bytes, secret: str, size: int = 6) -> bool:
    """Whether a part of it that tells something stands there: none that all secrets of its form have."""
    begin = secret.encode()[4:] if secret.startswith(("ghp_", "AKIA")) else secret.encode()
    return any(begin[at : at + size] in raw for at in range(len(begin) - size + 1))


def test_the_lines_of_a_private_key_are_hidden_however_they_are_printed() -> None:
    body = pem().splitlines()[1:-1]
    for label in ("PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"):
        key = (
            f"-----BEGIN {label}-----\n{''.join(f'{line}{chr(10)}' for line in body)}-----END {label}-----\n"
        )
        for way in HOW:
            for size in (0, 11, 29, len(key)):
                parts = [key[at : at + size] for at in range(0, len(key), size)] if size else []
                parts = parts or [f"{line}\n" for line in key.splitlines()]
                text, raw = told(way, ["before\n", *parts, "after\n"])

                assert [line for line in body if leaks(raw, line)] == [], (label, way, size)
                assert (text[:7], text[-6:]) == (b"before\n", b"after\n")


def test_what_follows_a_private_key_is_told_at_once(pen: Pen) -> None:
    for line in pem().splitlines():
        pen.write(f"{line}\n")
        pen.step()
    pen.write("after\n")
    pen.step()

    assert pen.captured.bytes_of("stdout").endswith(b"]\nafter\n")


def test_a_private_key_without_an_end_is_hidden_at_the_end() -> None:
    lines = pem().splitlines()
    _, raw = told("in_steps", [f"{line}\n" for line in lines[:-1]])

    assert [line for line in lines[1:-1] if line.encode() in raw] == []


HALVES = """\
import os, sys, threading
half = [threading.Event(), threading.Event()]
def first():
    sys.stdout.write("ghp_7f2bC9dE1aQ8sW4x"); half[0].set(); half[1].wait(9)
def second():
    half[0].wait(9); sys.stdout.write("mN6vB3kL0pO5iU7yT2r9\\n"); half[1].set()
threads = [threading.Thread(target=one) for one in (first, second)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("the end is ghp_Aq3ZxT7bNm9KpLw2", end="")
sys.stdout.flush()
sys.stdout.write("VcRt5YuJh8GfDs4EoQz1")
print(os.environ["DB_PASSWORD"][:7], end="")
print(os.environ["DB_PASSWORD"][7:])
"""


def test_a_secret_in_halves_is_in_no_segment_and_the_console_has_it(tmp_path: Path) -> None:
    ran = run_captured(HALVES, tmp_path, "--detail", "calls", **KNOWN)

    of_two = "ghp_7f2bC9dE1aQ8sW4xmN6vB3kL0pO5iU7yT2r9"
    assert ran.out == f"{of_two}\nthe end is {TOKEN}{KNOWN['DB_PASSWORD']}\n".encode()
    assert [one for one in (TOKEN, KNOWN["DB_PASSWORD"]) if leaks(ran.raw, one)] == []
    assert of_two.encode() not in ran.raw  # each thread wrote a half, which is none by itself


# --- at random ---


def test_what_is_written_at_random_is_told_whole() -> None:
    n_whole = 0
    for seed in SEEDS:
        for number in range(25):
            pen = Pen(None)
            written = scribble(pen, random.Random(seed + number))
            captured = pen.end()

            for name, whole in zip(("stdout", "stderr"), written, strict=True):
                told = captured.bytes_of(name)
                if b"[redacted:" not in told:  # the begin of a secret may be masked that goes on otherwise
                    assert told == whole, (seed, number)
                    n_whole += 1
            assert not any(captured.held.values()), (seed, number)
    assert n_whole > 50  # the others hold what looks like a secret


PIECES = ["a", "word ", "\n", "\r", "line\n", "é", "ghp_", "AK", "x" * 40, "-----", ": ", "{", '"', "\x1b[1m",
          "corr", "tr0ub", "sk-", "x " * 600, "eyJ", "\\", "\r\n"]  # fmt: skip


def scribble(pen: Pen, chance: random.Random) -> tuple[bytes, bytes]:
    """Write what holds no secret, in any way; returns what was written to each stream."""
    written = [b"", b""]
    for _ in range(chance.randrange(200)):
        what = int(chance.random() < 0.2)
        data: str | bytes = " ".join(chance.choices(PIECES, k=chance.randrange(1, 4)))
        if chance.random() < 0.3:
            data = data.encode()
        pen.write(data, what, after_ns=chance.choice([1, 100, 6_000_000]))
        written[what] += data if isinstance(data, bytes) else data.encode()
        deed = chance.random()
        if deed < 0.1:
            pen.flush(what)
        elif deed < 0.4:
            pen.step(chance.randrange(1, 100))
        elif deed < 0.45:
            pen.stream.turn()
        elif deed < 0.6:
            drain(pen.stream, keeps_open=True)
    return written[0], written[1]


STATEMENTS = [
    'print("@@ a", end="")',
    'print("@@ b", "@@", sep="\\r")',
    'print("@@ c", end="\\r\\n", flush=True)',
    'sys.stdout.write("@@ d\\n@@ é")',
    'sys.stdout.write("@@ e")',
    'sys.stderr.write("@@ f\\n")',
    "sys.stdout.flush()",
    'sys.stdout.flush(); sys.stdout.buffer.write(b"@@ \\xff\\n"); sys.stdout.buffer.flush()',
    'sys.stdout.writelines(f"@@ {n}, " for n in range(3))',
    'for n in range(2): print("@@ g", end=" ")',
    '[print("@@ h") for n in range(2)]',
    '(lambda: print("@@ i"))()',
    "print('@@', 'x' * 3000)",
    "f{other}(depth - 1) if depth else None",
    'print(f"@@ {{f{other}(depth - 1) if depth else 0}}")',
    'for n in g{generator}(): print("@@ j", n)',
    "next(g{generator}())",
]
GENERATOR = """\
def g{number}():
    print("@@ k", end="")
    yield 1
    try:
        print("@@ l")
        yield 2
    finally:
        sys.stdout.write("@@ m ")
"""
MAIN = """\
def work(number):
    with lock:
        print("@@ n", end="")
        globals()[f"f{number}"](1)
threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
for thread in threads: thread.start()
f0(2)
for thread in threads: thread.join()
print("@@ end")
"""


def program(chance: random.Random) -> str:
    """A program that writes in any way, from functions, generators and threads: one function at a time."""
    parts = ["import sys, threading\nlock = threading.RLock()\n"]
    parts += [GENERATOR.format(number=number) for number in range(3)]
    for number in range(5):
        lines = [f"def f{number}(depth):", "    with lock:"]
        for statement in chance.choices(STATEMENTS, k=chance.randrange(3, 9)):
            if "{other}" in statement or "{generator}" in statement:
                statement = statement.format(other=chance.randrange(5), generator=chance.randrange(3))
            lines.append(f"        {statement}")
        parts.append("\n".join([*lines, f"        return {number}\n"]))
    return "".join([*parts, MAIN])


@pytest.mark.parametrize("detail", ["values", "lines", "calls"])
@pytest.mark.parametrize("nth", [0, 1], ids=["a fixed seed", "a seed of this run"])
def test_each_chunk_of_a_program_at_random_says_its_line(tmp_path: Path, nth: int, detail: str) -> None:
    ran = run_captured(program(random.Random(SEEDS[nth])), tmp_path, "--detail", detail)

    assert ran.status == 0, SEEDS[nth]
    assert ran.captured.bytes_of("stdout") == ran.out, SEEDS[nth]
    assert ran.captured.bytes_of("stderr") == ran.err, SEEDS[nth]
    assert ran.captured.misplaced() == [], SEEDS[nth]
    assert len(ran.captured.chunks) > 20, SEEDS[nth]
