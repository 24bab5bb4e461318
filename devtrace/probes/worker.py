"""The one thread that we have in a program, while there is something for it to do and not longer.

    wake()     from any thread, from a signal's handler, from a hit: starts it, or lets it turn once more
    turn()     what it does each time, given by its owner: seconds until it wants to turn again, or None
    fds()      descriptors that it watches meanwhile; `ready(fd, mask)` is called for one that has something

It ends when a turn says None. Before a fork it ends too, for a program that forks
with two threads is warned by Python; after the fork the next `wake` starts it anew.

What it is woken by is a pipe. Programs that become daemons close every descriptor they find, and the number
is soon somebody else's file: nothing is written, read or closed before it was looked at.

Lives here: `Worker`. Not here: what is done (agent.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import os
import select
import time
from _thread import allocate_lock, get_native_id, start_new_thread

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from typing import Protocol

    class Work(Protocol):
        """What the thread is there for. None of it raises, as far as it can."""

        def turn(self) -> float | None: ...
        def fds(self) -> list[tuple[int, int]]: ...
        def ready(self, fd: int, mask: int) -> None: ...


_LONGEST_S = 3_600  # of one sleep: a descriptor wakes it sooner
_SHORT_S = 0.05  # a sleep that nobody needs to cut short
_PAUSE_S = 0.0005
_MOST_FAILURES = 100  # of turns, one after the other: then something is broken for good


class Worker:
    """One thread at most."""

    def __init__(self, work: Work):
        self._work = work
        self._lock = allocate_lock()  # held for the start of a thread
        self._is_running = False
        self._is_wanted = False
        self._is_sleeping = False
        self._leaves = False  # a fork is near
        self._native = 0
        self._is_over = False
        self._pipe: _Pipe | None = None
        self.failures = 0

    @property
    def is_running(self) -> bool:
        """Whether the thread is there."""
        return self._is_running

    def wake(self) -> None:
        """Let it turn once more, soon. Waits for nothing, and raises only what a handler of a signal did."""
        self._is_wanted = True
        if self._is_running:
            if self._is_sleeping:
                self._is_sleeping = False  # one ring is enough
                try:
                    self._ring()
                except BaseException:  # a handler of a signal raised it, perhaps before the ring
                    self._is_sleeping = True
                    raise
            return
        if self._is_over:
            return
        if self._lock.acquire(False):  # else somebody starts it just now, and it sees what we want
            try:
                if not self._is_running:
                    self._start()
            finally:
                self._lock.release()

    def end(self, seconds: float) -> bool:
        """Let the thread end, and wait for so long. Whether it is gone, for the system too."""
        self._leaves = True
        try:
            until = time.monotonic() + seconds
            native = self._native
            while (self._is_running or _is_there(native)) and time.monotonic() < until:
                self._ring()
                time.sleep(_PAUSE_S)  # nothing tells of the end of a thread that the system has ended
            return not self._is_running
        finally:
            self._leaves = self._is_over

    def end_for_good(self, seconds: float) -> None:
        """The same, and none is started any more."""
        self._is_over = True
        self.end(seconds)
        self._pipe = None

    def forget(self) -> None:
        """In the child of a fork, where the thread is not."""
        self._lock = allocate_lock()
        self._is_running = self._is_wanted = self._is_sleeping = self._leaves = False
        self._native = 0
        self._pipe = None

    def _start(self) -> None:
        try:
            self._open()
            self._is_running = True
            start_new_thread(self._run, ())
        except (OSError, RuntimeError):  # no descriptor is left, or the interpreter is at its end
            self._is_running = False
            self.failures += 1

    def _open(self) -> _Pipe:
        pipe = self._pipe
        if pipe is None or not pipe.is_ours():
            pipe = self._pipe = _Pipe()
        return pipe

    def _ring(self) -> None:
        pipe = self._pipe
        if pipe is not None:
            pipe.ring()

    def _run(self) -> None:
        self._native = get_native_id()
        try:
            self._turn_round()
        except BaseException:  # what a turn did not catch; the interpreter may be at its end
            self.failures += 1
        self._is_running = False
        if self._is_wanted and not self._leaves and self.failures < _MOST_FAILURES:
            self.wake()

    def _turn_round(self) -> None:
        while not self._leaves:
            self._is_wanted = False
            pause = self._work.turn()
            if pause is not None:
                self._sleep(pause, self._work.fds())
            elif not self._is_wanted:
                return

    def _sleep(self, pause: float, fds: list[tuple[int, int]]) -> None:
        pipe = self._open()
        poll = select.poll()
        poll.register(pipe.reads, select.POLLIN)
        for fd, mask in fds:
            poll.register(fd, mask)
        is_long = pause > _SHORT_S
        self._is_sleeping = is_long
        try:
            found = poll.poll(0 if is_long and self._is_wanted else min(_LONGEST_S, pause) * 1000)
        finally:
            self._is_sleeping = False
        for fd, mask in found:
            if fd == pipe.reads:
                pipe.empty()
            else:
                self._work.ready(fd, mask)


def _is_there(native: int) -> bool:
    """Whether the system still has that thread; Python says that it has ended a little before."""
    return bool(native) and os.path.exists(f"/proc/self/task/{native}")


class _Pipe:
    """Both ends, closed when the last one who uses it has let go of it: never between a look and a write."""

    __slots__ = ("_identity", "reads", "writes")

    def __init__(self) -> None:
        """Raises OSError."""
        self.reads, self.writes = os.pipe()  # close-on-exec, as Python makes them
        for fd in (self.reads, self.writes):
            os.set_blocking(fd, False)
        self._identity = _identity(self.reads)

    def is_ours(self) -> bool:
        """Whether both numbers still stand for it: the two ends of a pipe are one file to the system."""
        return self._identity == _identity(self.reads) == _identity(self.writes)

    def ring(self) -> None:
        if _identity(self.writes) == self._identity:
            try:
                os.write(self.writes, b"!")
            except OSError:  # it is full, so it rings
                return

    def empty(self) -> None:
        if _identity(self.reads) == self._identity:
            try:
                os.read(self.reads, 4096)
            except OSError:
                return

    def __del__(self) -> None:
        for fd in (self.reads, self.writes):
            if _identity(fd) == self._identity:
                _close(fd)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        state = os.fstat(fd)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return
