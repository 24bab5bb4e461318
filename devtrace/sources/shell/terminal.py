"""The terminal we were started in: its states, its size, and a description of it that is ours alone.

Lives here: `OuterTerminal`, raw mode and the way back.
Not here: moving bytes through it (pump.py), putting it right after the host was killed (watchdog.py).
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import struct
import termios
from types import TracebackType
from typing import Any, NamedTuple, Self

from devtrace.choices import Choice

# The outer terminal's states.
COOKED = "cooked"  # as we found it
RAW = "raw"  # every key goes to the terminal inside
RESTORED = "restored"  # as we found it, and no longer ours

Attributes = list[Any]  # what termios.tcgetattr returns

_SIZE = struct.Struct("HHHH")


class Size(NamedTuple):
    """A terminal's size; `pixels` is (width, height), zeros where the terminal does not say."""

    rows: int
    cols: int
    pixels: tuple[int, int] = (0, 0)


def size_of(fd: int) -> Size:
    """The size of the terminal behind the descriptor; OSError when it is none."""
    rows, cols, width, height = _SIZE.unpack(fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_SIZE.size)))
    return Size(rows, cols, (width, height))


def await_foreground(tty_fd: int) -> None:
    """Let the kernel stop us until we are in front: in the background the attributes are those of another.

    A terminal that is not ours, or a group that nobody could continue, is not waited for.
    """
    with contextlib.suppress(termios.error):
        termios.tcdrain(tty_fd)


class OuterTerminal:
    """The terminal we were started in: `COOKED`, `RAW` and back, and in the end `RESTORED`.

    It is opened anew, so that O_NONBLOCK is set on an open file description of our own and not on the one
    that is shared with the user's shell; where that cannot be, `choice` says why and writes are small.
    `follows`: the shell inside reads a pipe, so the keyboard is left to whoever shares the terminal with us,
    until a program inside switches its own terminal to raw or stops the echo (a pager, a password).
    Raises OSError or termios.error when the descriptor is no terminal.
    """

    __slots__ = ("attributes", "choice", "fd", "follows", "is_blocking", "state")

    def __init__(self, tty_fd: int = 0, *, follows: bool = False):
        await_foreground(tty_fd)
        self.attributes = termios.tcgetattr(tty_fd)
        self.fd, self.choice = _open_anew(tty_fd)
        self.is_blocking = self.choice.chosen != "reopened"
        self.follows = follows
        self.state = COOKED

    def __enter__(self) -> Self:
        atexit.register(self.restore)
        return self

    def __exit__(self, kind: object, error: object, trace: TracebackType | None) -> None:
        self.restore()
        atexit.unregister(self.restore)
        os.close(self.fd)
        self.fd = -1

    @property
    def size(self) -> Size:
        """How large the terminal is now."""
        return size_of(self.fd)

    def raw(self) -> None:
        """Give every key to the terminal inside; what was typed ahead is kept."""
        _set_attributes(self.fd, _raw(self.attributes))
        self.state = RAW

    def cooked(self) -> None:
        """Give the keyboard back for a while."""
        if self.state == RAW:
            _set_attributes(self.fd, self.attributes)
            self.state = COOKED

    def restore(self) -> None:
        """Leave the terminal as it was found, if it is still ours to change. May be called twice."""
        if self.state == RAW and self.is_foreground():
            with contextlib.suppress(termios.error):  # the terminal is gone
                _set_attributes(self.fd, self.attributes)
        self.state = RESTORED

    def is_foreground(self) -> bool:
        """Whether the terminal takes orders from us: our group is in front, or it is nobody's terminal."""
        try:
            return os.tcgetpgrp(self.fd) == os.getpgrp()
        except OSError:
            return True


def _open_anew(fd: int) -> tuple[int, Choice]:
    """Our own open file description of the terminal, and why it had to be the shared one otherwise."""
    flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    why = ""
    for name in _names_of(fd):
        try:
            return os.open(name, flags), Choice(
                "terminal", "reopened", f"as {name}, non-blocking for us alone"
            )
        except OSError as error:
            why = f"{name}: {error.strerror}"
    return os.dup(fd), Choice(
        "terminal", "shared", f"it could not be opened by name ({why or 'it has none'})"
    )


def _names_of(fd: int) -> list[str]:
    names = []
    with contextlib.suppress(OSError):  # no such name here: another mount namespace, as in a container
        names.append(os.ttyname(fd))
    with contextlib.suppress(OSError):
        os.tcgetpgrp(fd)
        names.append("/dev/tty")  # it is our controlling terminal
    return names


def _raw(attributes: Attributes) -> Attributes:
    """The attributes as cfmakeraw(3) changes them."""
    t = termios
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = attributes
    characters = [*characters]
    characters[t.VMIN], characters[t.VTIME] = 1, 0
    return [
        iflag & ~(t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON),
        oflag & ~t.OPOST,
        cflag & ~(t.CSIZE | t.PARENB) | t.CS8,
        lflag & ~(t.ECHO | t.ECHONL | t.ICANON | t.ISIG | t.IEXTEN),
        ispeed,
        ospeed,
        characters,
    ]


def _set_attributes(fd: int, attributes: Attributes) -> None:
    """Set them once all output is out (TCSADRAIN), so that nothing typed ahead is thrown away."""
    while True:
        try:
            return termios.tcsetattr(fd, termios.TCSADRAIN, attributes)
        except termios.error as error:
            if error.args[0] != errno.EINTR:
                raise
