"""What the loops that move bytes are made of: waiting, writing what is taken, holding back the rest.

Lives here: `Poller`, `Sink` with its high water, `Idle`.
Not here: the loops (pump.py between terminals, pipes.py between pipes).
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Callable

CHUNK = 65_536
HIGH_WATER = 65_536  # with so much waiting to be written, nothing more is read
TERMINAL_BLOCKING_WRITE = 256  # what a terminal that polls writable takes without blocking

OnIdle = Callable[[], float | None]

_FIRST_IDLE_S = 0.02


class Poller:
    """Waits for descriptors, and is told the wanted events of each as often as one likes.

    By poll(2); by select(2) on macOS, whose poll does not work for terminals (poll(2) says so under BUGS).
    """

    __slots__ = ("_masks", "_way")

    def __init__(self, by_select: bool = sys.platform == "darwin") -> None:
        self._way: select.poll | _BySelect = _BySelect() if by_select else select.poll()
        self._masks: dict[int, int] = {}

    def want(self, fd: int, mask: int) -> None:
        """Of POLLIN and POLLOUT; 0 forgets the descriptor, so that not even a hang-up is reported."""
        if mask == self._masks.get(fd, 0):
            return
        self._masks[fd] = mask
        if mask:
            self._way.register(fd, mask)
        else:
            self._way.unregister(fd)

    def wait(self, timeout_ms: float | None) -> list[tuple[int, int]]:
        """What is ready, as (descriptor, events); empty after the timeout."""
        return self._way.poll(timeout_ms)


class _BySelect:
    """What is used of select.poll, by select.select."""

    __slots__ = ("_masks",)

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}

    def register(self, fd: int, mask: int) -> None:
        self._masks[fd] = mask

    def unregister(self, fd: int) -> None:
        del self._masks[fd]

    def poll(self, timeout_ms: float | None) -> list[tuple[int, int]]:
        reading = [fd for fd, mask in self._masks.items() if mask & select.POLLIN]
        writing = [fd for fd, mask in self._masks.items() if mask & select.POLLOUT]
        timeout = None if timeout_ms is None else timeout_ms / 1000
        readable, writable, _ = select.select(reading, writing, [], timeout)
        found: dict[int, int] = dict.fromkeys(readable, select.POLLIN)
        for fd in writable:
            found[fd] = found.get(fd, 0) | select.POLLOUT
        return list(found.items())


class Sink:
    """Where output goes: what it does not take at once waits here, and the caller stops at the high water."""

    __slots__ = ("_most", "fd", "is_lost", "waiting")

    def __init__(self, fd: int, most: int | None):
        self.fd = fd
        self.waiting = bytearray()
        self.is_lost = False
        self._most = (
            most  # bytes that a blocking descriptor takes when it polls writable; None: it never blocks
        )

    def write(self, data: bytes) -> None:
        if self.is_lost:
            return
        if self.waiting or self._most is not None:
            self.waiting += data
            return
        written = self._write(data)
        if written < len(data) and not self.is_lost:
            self.waiting += memoryview(data)[written:]

    def flush(self) -> None:
        """Write on; to be called when the descriptor is writable."""
        if self.waiting and not self.is_lost:
            del self.waiting[: self._write(self.waiting[: self._most])]

    def lose(self) -> None:
        """Nobody is there any more: what comes from now on is dropped."""
        self.is_lost = True
        self.waiting.clear()

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            self.lose()
            return 0


class Idle:
    """When to call `on_idle`: after a quiet moment, and then as often as it asks for."""

    __slots__ = ("_call", "_wait_s")

    def __init__(self, call: OnIdle | None):
        self._call = call
        self._wait_s: float | None = _FIRST_IDLE_S if call else None

    @property
    def timeout_ms(self) -> float | None:
        return None if self._wait_s is None else self._wait_s * 1000

    def quiet(self) -> None:
        if self._call is not None and self._wait_s is not None:
            self._wait_s = self._call()


def own_sink(fd: int) -> Sink:
    """A sink for an inherited descriptor whose open file description is not ours to make non-blocking."""
    kind = os.fstat(fd).st_mode
    if stat.S_ISREG(kind):
        return Sink(os.dup(fd), None)
    if stat.S_ISFIFO(kind):
        try:  # Linux opens the pipe anew by this name; elsewhere it is no more than a dup
            own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            return Sink(own, None)
        except OSError:
            pass
    return Sink(os.dup(fd), select.PIPE_BUF if stat.S_ISFIFO(kind) else TERMINAL_BLOCKING_WRITE)


def ms_until(moment: float) -> float:
    return max(0.0, (moment - time.monotonic()) * 1000) + 1
