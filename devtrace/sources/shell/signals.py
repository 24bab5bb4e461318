"""Signals to the host as bytes in a pipe, so that a loop over descriptors can wait for them too.

Lives here: taking signals in and giving them back, stopping as by Ctrl-Z, sending one to who may be gone.
Not here: what a signal means to a loop (pump.py, pipes.py).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import ClassVar, Self

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


class Signals:
    """Signals as bytes in a pipe. What was ignored when we came stays ignored; all is put back at the end.

    Inside another one it takes over what that one was told and nobody has read.
    `on_continue` is called at SIGCONT before anything else happens, even before a system call is repeated
    that the stop interrupted: only so does nothing go to a terminal that the outer shell has set up anew.
    """

    __slots__ = ("_before", "_numbers", "_on_continue", "_wakeup_before", "_write_fd", "fd")
    _open: ClassVar[list[Signals]] = []

    def __init__(self, numbers: tuple[signal.Signals, ...], on_continue: Callable[[], None] | None = None):
        self._numbers = numbers
        self._on_continue = on_continue
        self._before: dict[int, signal.Handlers | Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        self._wakeup_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in (*self._numbers, signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT):
            if number not in self._numbers or signal.getsignal(number) is not signal.SIG_IGN:
                self.take(number)
        if self._open:
            os.write(self._write_fd, self._open[-1].read())
        self._open.append(self)
        return self

    def __exit__(self, kind: object, error: object, trace: TracebackType | None) -> None:
        self._open.remove(self)
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.fd)
        os.close(self._write_fd)

    def take(self, number: int) -> None:
        """From now on the signal is a byte in the pipe."""
        before = signal.signal(number, self._noted)
        self._before.setdefault(number, before)

    def read(self) -> bytes:
        """The signals that came since, each as a byte."""
        try:
            return os.read(self.fd, 4096)
        except BlockingIOError:
            return b""

    def _noted(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGCONT and self._on_continue is not None:
            self._on_continue()

    def stop(self) -> None:
        """Stop as by Ctrl-Z; returns when continued, or at once where nobody could continue us."""
        if signal.SIGTSTP not in self._before:
            return
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        self.take(signal.SIGTSTP)


def kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:  # it is gone, or became another user's
        return
