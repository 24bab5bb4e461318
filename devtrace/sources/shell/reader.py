"""The FIFO itself, and the thread that reads it.

Lives here: making the FIFO, and making it anew when somebody removed it; moving its bytes to a queue.
Not here: what the bytes say (fifo.py), the directory around it (private.py).
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import stat
import termios
import threading
from collections.abc import Callable
from pathlib import Path

_PIPE_SIZE = 1 << 20
_READS_AT_ONCE = 16  # and then the wake-up is looked at, which a writer that never stops must not hide
_LOOK_MS = 1_000  # of silence, after which we see whether the FIFO can still be found


class FifoReader:
    """The thread `devtrace-fifo`: it moves bytes from the FIFO to `on_bytes` and does nothing else.

    A reader that did more would stop the shells once the pipe is full. `on_bytes(data)` must not block.
    `on_gone()` is called on the thread when the FIFO's path leads there no more (`rm -rf /tmp/*`): what was
    sent since then is lost. It sees to it that there is a directory to make it anew in, or raises OSError.
    """

    def __init__(
        self, path: Path, on_bytes: Callable[[bytes], None], on_gone: Callable[[], None] | None = None
    ):
        self._path = path
        self._on_bytes = on_bytes
        self._on_gone = on_gone
        self._fd = _make(path)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        self._is_open = True
        self._n_lines = 0
        self._lock = threading.Lock()  # held from taking bytes until `on_bytes` has them
        self._thread = threading.Thread(target=self._run, name="devtrace-fifo", daemon=True)

    def __enter__(self) -> FifoReader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Read what is still in the pipe, then end the thread and close everything."""
        os.write(self._wake_write, b"x")
        self._thread.join()
        self.discard()

    def discard(self) -> None:
        """Close what was opened, when the thread never ran; may be called after it did."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                for fd in (self._fd, self._wake_read, self._wake_write):
                    os.close(fd)

    def n_told(self) -> int | None:
        """How many lines were given to `on_bytes`; None: not all that was written before this call."""
        waiting = array.array("i", [0])
        with self._lock:
            if self._is_open:
                fcntl.ioctl(self._fd, termios.FIONREAD, waiting)
            return None if waiting[0] else self._n_lines

    def _run(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            poll.register(self._wake_read, select.POLLIN)
            ready = [fd for fd, _ in poll.poll(_LOOK_MS)]
            self._read()  # at the end: what a pipe can hold, however much somebody goes on writing
            is_ending = self._wake_read in ready
            if (is_ending or not ready) and self._on_gone is not None and not self._is_there():
                self._make_anew(self._on_gone)
            if is_ending:
                return

    def _read(self) -> None:
        for _ in range(_READS_AT_ONCE):
            with self._lock:
                try:
                    data = os.read(self._fd, _PIPE_SIZE)
                except (BlockingIOError, InterruptedError):
                    return
                self._n_lines += data.count(b"\n")
                self._on_bytes(data)

    def _is_there(self) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return False
        here = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def _make_anew(self, on_gone: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):  # there is no place for it: looked at again in a second
            on_gone()
            beside = self._path.with_name(f"{self._path.name}.new")
            beside.unlink(missing_ok=True)
            fd = _make(beside)
            beside.replace(self._path)  # open already: what somebody writes to it at once is not lost
            with self._lock:
                os.close(self._fd)
                self._fd = fd


def _make(path: Path) -> int:
    """Make the FIFO and open it to read and write, so that it lives on while no shell has it open."""
    os.mkfifo(path, 0o600)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is no FIFO")
    _widen(fd)
    return fd


def _widen(fd: int) -> None:
    """Ask for a pipe of 1 MiB, so that a host that is stopped for seconds stops nobody else (Linux)."""
    size = getattr(fcntl, "F_SETPIPE_SZ", None)
    if size is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, size, _PIPE_SIZE)
