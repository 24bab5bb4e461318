"""Records out of a pipe as the tap writes them, and the moments in which nothing comes."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import pytest

from devtrace.sources.mcp.inlet import records
from devtrace.sources.mcp.tap import BEGIN, DATA, END, TO_CLIENT, TO_SERVER, Record, Tap

PATIENCE_S = 20.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


def test_what_the_tap_puts_is_what_comes() -> None:
    fds: list[int] = []

    def start(fd: int) -> int:
        fds.append(os.dup(fd))
        return 0

    tap = Tap(start, {"name": "files"})
    for number in range(50):
        tap.put(DATA, number % 2, number, bytes(range(number)))
    tap.put(DATA, TO_SERVER, 1, b"x" * 600_000)
    found: list[Record] = []
    reading = threading.Thread(target=lambda: found.extend(filter(None, records(fds[0], lambda: None))))
    reading.start()
    tap.put(END, TO_CLIENT, 0, b"{}")
    tap.close(PATIENCE_S)
    reading.join(PATIENCE_S)
    os.close(fds[0])

    assert [record.kind for record in found] == [BEGIN, *[DATA] * 51, END]
    assert found[0].payload == b'{"name": "files"}'
    assert found[31][1:3] + found[31][4:] == (0, 30, bytes(range(30)))
    assert found[51].payload == b"x" * 600_000
    assert [record.at_ns for record in found] == sorted(record.at_ns for record in found)


def test_a_moment_of_rest_is_told_once_and_again_when_it_is_time(pipe: tuple[int, int]) -> None:
    waits = iter([None, 0.001, 0.001, None])
    os.write(pipe[1], header := (b"\x02\x00" + bytes(4) + bytes(8) + (3).to_bytes(4, "big")))
    coming = records(pipe[0], lambda: next(waits))

    assert next(coming) is None
    threading.Timer(0.05, os.write, (pipe[1], b"abc")).start()
    record = next(coming)
    assert record is not None
    assert record.payload == b"abc"
    assert [next(coming) for _ in range(3)] == [None] * 3
    os.write(pipe[1], header + b"def" + header)
    record = next(coming)
    assert record is not None
    assert record.payload == b"def"
    os.close(pipe[1])
    assert [one for one in coming if one is not None] == []


def test_the_end_comes_when_nobody_can_write_any_more(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"\x02\x00")
    os.close(pipe[1])

    assert list(records(pipe[0], lambda: None)) == []
