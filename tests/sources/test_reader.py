"""The FIFO and its thread: all that is written is passed on, and a FIFO that was removed comes back."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from devtrace.sources.shell.reader import FifoReader


class Heard:
    """What the reader passed on; `wait_for` returns once so many bytes are there."""

    def __init__(self) -> None:
        self.data = b""
        self._came = threading.Condition()

    def __call__(self, data: bytes) -> None:
        with self._came:
            self.data += data
            self._came.notify_all()

    def until(self, claim: Callable[[], bool]) -> None:
        with self._came:
            while not claim():
                self._came.wait(0.01)

    def wait_for(self, size: int) -> bytes:
        with self._came:
            assert self._came.wait_for(lambda: len(self.data) >= size, timeout=20)
            return self.data


def test_the_reader_makes_a_fifo_for_us_alone(tmp_path: Path) -> None:
    with FifoReader(tmp_path / "fifo", Heard()):
        mode = (tmp_path / "fifo").stat().st_mode

    assert stat.S_ISFIFO(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_the_reader_refuses_a_path_that_somebody_has_taken(tmp_path: Path) -> None:
    (tmp_path / "fifo").write_text("")

    with pytest.raises(FileExistsError):
        FifoReader(tmp_path / "fifo", Heard())


def test_the_reader_hears_writers_that_come_and_go(tmp_path: Path) -> None:
    heard = Heard()
    with FifoReader(tmp_path / "fifo", heard):
        for number in range(50):
            with (tmp_path / "fifo").open("wb", buffering=0) as fifo:
                fifo.write(b"%03d" % number)

        assert heard.wait_for(150) == b"".join(b"%03d" % number for number in range(50))


def test_what_was_written_before_the_end_is_read_before_the_end(tmp_path: Path) -> None:
    heard = Heard()
    with FifoReader(tmp_path / "fifo", heard):
        writer = os.open(tmp_path / "fifo", os.O_RDWR)
        os.write(writer, b"x" * 60_000)

    os.close(writer)
    assert len(heard.data) == 60_000


def test_a_writer_that_never_stops_does_not_keep_the_reader(tmp_path: Path) -> None:
    stop = threading.Event()
    heard = Heard()

    def flood() -> None:
        writer = os.open(tmp_path / "fifo", os.O_RDWR | os.O_NONBLOCK)
        while not stop.is_set():
            try:
                os.write(writer, b"y\n" * 2_000)
            except BlockingIOError:
                continue
        os.close(writer)

    writer = threading.Thread(target=flood, name="flood")
    with FifoReader(tmp_path / "fifo", heard):
        writer.start()
        heard.wait_for(100_000)
    stop.set()
    writer.join()


def test_the_reader_can_be_thrown_away_before_it_ran(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
    reader = FifoReader(tmp_path / "fifo", Heard())

    reader.discard()
    reader.discard()

    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_fifo_that_somebody_removed_is_made_anew_and_said_to_have_been_gone(tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / "private" / "fifo"
    path.parent.mkdir()
    gone = threading.Event()

    def restore() -> None:
        path.parent.mkdir(exist_ok=True)
        gone.set()

    with FifoReader(path, heard, restore):
        write(path, b"before")
        heard.wait_for(6)
        shutil.rmtree(path.parent)
        assert gone.wait(20)
        while not path.exists():
            pass
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # would fail where it has no reader yet
        os.write(fd, b"after")
        os.close(fd)

        assert heard.wait_for(11) == b"beforeafter"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("other", ["a file", "a fifo"])
def test_what_was_put_in_the_fifo_s_place_is_not_ours(tmp_path: Path, other: str) -> None:
    heard, path, gone = Heard(), tmp_path / "fifo", threading.Event()
    with FifoReader(path, heard, gone.set):
        path.unlink()
        path.write_text("") if other == "a file" else os.mkfifo(path)
        assert gone.wait(20)

        heard.until(lambda: path.is_fifo() and (write(path, b"after") or heard.data != b""))


def test_a_fifo_that_is_removed_just_before_the_end_is_said_to_be_gone_too(tmp_path: Path) -> None:
    gone: list[str] = []
    with FifoReader(tmp_path / "fifo", Heard(), lambda: gone.append("gone")):
        (tmp_path / "fifo").unlink()

    assert gone == ["gone"]


def test_where_no_fifo_can_be_made_any_more_the_thread_goes_on(tmp_path: Path) -> None:
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise PermissionError

    with FifoReader(tmp_path / "fifo", Heard(), fail):
        (tmp_path / "fifo").unlink()

    assert tries


def write(path: Path, data: bytes) -> bool:
    fd = os.open(path, os.O_RDWR)
    os.write(fd, data)
    os.close(fd)
    return False
