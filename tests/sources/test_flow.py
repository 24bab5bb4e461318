"""Waiting and writing: what the loops over terminals and pipes are made of."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from devtrace.sources.shell.flow import HIGH_WATER, Idle, Poller, Sink, own_sink


class Pipe(NamedTuple):
    read: int
    write: int


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe whose writing end never blocks."""
    made = Pipe(*os.pipe())
    os.set_blocking(made.write, False)
    yield made
    for fd in made:
        try:
            os.close(fd)
        except OSError:
            continue


@pytest.fixture(params=[False, True], ids=["poll", "select"])
def poller(request: pytest.FixtureRequest) -> Poller:
    """Both ways to wait: select is what macOS needs."""
    return Poller(by_select=request.param)


def fill(fd: int) -> None:
    """Write until nothing more is taken."""
    try:
        while True:
            os.write(fd, b"x" * 4096)
    except BlockingIOError:
        return


def test_what_is_ready_is_told_with_its_events(poller, pipe):
    poller.want(pipe.read, select.POLLIN)
    poller.want(pipe.write, select.POLLOUT)
    assert poller.wait(0) == [(pipe.write, select.POLLOUT)]

    os.write(pipe.write, b"x")
    assert sorted(poller.wait(0)) == sorted([(pipe.read, select.POLLIN), (pipe.write, select.POLLOUT)])

    poller.want(pipe.write, 0)
    assert poller.wait(0) == [(pipe.read, select.POLLIN)]


def test_a_descriptor_is_wanted_differently_from_time_to_time(poller, pipe):
    for mask in (select.POLLIN, 0, 0, select.POLLIN, select.POLLIN):
        poller.want(pipe.read, mask)
    os.write(pipe.write, b"x")

    assert poller.wait(0) == [(pipe.read, select.POLLIN)]


def test_a_hang_up_is_not_reported_of_what_nobody_wants(poller, pipe):
    poller.want(pipe.read, select.POLLIN)
    poller.want(pipe.read, 0)
    os.close(pipe.write)

    assert poller.wait(1) == []


def test_nothing_ready_is_an_empty_answer_after_the_timeout(poller, pipe):
    poller.want(pipe.read, select.POLLIN)

    assert poller.wait(1) == []


def test_a_sink_keeps_what_is_not_taken_and_writes_it_later_in_order(pipe):
    sink = Sink(pipe.write, None)
    data = bytes(range(256)) * 1024
    sink.write(data)
    sink.write(b"END")
    assert len(sink.waiting) > HIGH_WATER

    read = b""
    while sink.waiting:
        read += os.read(pipe.read, 65_536)
        sink.flush()
    read += os.read(pipe.read, 65_536)
    while not read.endswith(b"END"):
        read += os.read(pipe.read, 65_536)

    assert read == data + b"END"


def test_a_blocking_sink_writes_only_when_told_that_there_is_room_and_only_a_little(pipe):
    sink = Sink(pipe.write, 256)
    sink.write(b"x" * 1000)
    assert len(sink.waiting) == 1000

    sink.flush()
    assert len(os.read(pipe.read, 4096)) == 256
    assert len(sink.waiting) == 744


def test_a_sink_that_nobody_reads_is_lost_and_takes_everything_after(pipe):
    sink = Sink(pipe.write, None)
    os.close(pipe.read)
    sink.write(b"x")

    assert sink.is_lost
    sink.write(b"y")
    sink.flush()
    assert not sink.waiting


def test_a_full_pipe_takes_nothing_and_is_not_lost(pipe):
    fill(pipe.write)
    sink = Sink(pipe.write, None)
    sink.write(b"later")

    assert (sink.waiting, sink.is_lost) == (b"later", False)


def test_a_sink_of_an_inherited_pipe_leaves_it_blocking():
    read, write = os.pipe()
    try:
        sink = own_sink(write)
        sink.write(b"x" * 100)
        sink.flush()

        assert os.get_blocking(write)
        assert os.read(read, 1000) == b"x" * 100
        os.close(sink.fd)
    finally:
        os.close(read)
        os.close(write)


def test_idle_is_called_as_often_as_it_asks():
    answers = [0.5, 0.25, None]
    idle = Idle(lambda: answers.pop(0))
    waits = []
    for _ in range(3):
        waits.append(idle.timeout_ms)
        idle.quiet()

    assert waits == [20.0, 500.0, 250.0]
    assert idle.timeout_ms is None
    idle.quiet()
    assert Idle(None).timeout_ms is None
