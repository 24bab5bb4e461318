"""A small process that outlives a host killed with SIGKILL, for as long as it takes to tidy the terminal.

It is forked before the terminal inside is opened and before any thread, and knows nothing but the host's
terminal, the attributes it had, and the modes seen open since. When its pipe ends without a farewell, the
host was killed: then it restores the attributes while the host's process group is still in the foreground
(else somebody else has set the terminal up for himself, and it is left alone), and ends those modes.

Lives here: the process, its messages. Not here: the modes and their sequences (modes.py), what the host
does for itself when it ends otherwise (terminal.py).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import termios
import time
from typing import Any, NoReturn, Self

from devtrace.sources.shell.modes import BRACKETED_PASTE, closing
from devtrace.sources.shell.terminal import await_foreground

_MESSAGE = struct.Struct("=I")
_FAREWELL = 0xFFFF_FFFF
_PATIENCE_S = 2.0  # for a host that is still dying, and for a terminal that takes nothing

_IGNORED = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGPIPE,
)


class Watchdog:
    """The host's side: `saw` passes on which modes are open, `close` says that all ended well."""

    __slots__ = ("_pid", "_pipe", "_told", "_wanted")

    def __init__(self, pid: int, pipe: int):
        self._pid = pid
        self._pipe = pipe
        self._told = self._wanted = 0

    @classmethod
    def start(cls, tty_fd: int) -> Self:
        """Fork the watchdog of that terminal. OSError or termios.error when it is no terminal."""
        await_foreground(tty_fd)
        charge = _Charge(tty_fd)
        ours, theirs = os.pipe()
        # Blocked, so that no signal can come between the fork and the child's ignoring it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
        pid = os.fork()
        if pid == 0:
            _watch(ours, charge, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(ours)
        os.set_blocking(theirs, False)
        return cls(pid, theirs)

    @property
    def pid(self) -> int:
        """The watchdog's process id."""
        return self._pid

    def saw(self, modes: int) -> None:
        """These terminal modes are open now; never blocks, and a dead watchdog is no trouble."""
        if self._pipe >= 0 and modes != self._told and self._send(modes):
            self._told = modes

    def close(self) -> None:
        """All ended well: send the watchdog away and reap it. May be called twice."""
        if self._pipe < 0:
            return
        self._send(_FAREWELL)
        os.close(self._pipe)
        self._pipe = -1
        os.waitpid(self._pid, 0)

    def _send(self, number: int) -> bool:
        try:
            return os.write(self._pipe, _MESSAGE.pack(number)) == _MESSAGE.size
        except OSError:  # it was killed, or is stopped and its pipe full
            return False


class _Charge:
    """The terminal as the watchdog found it, and whose it was."""

    __slots__ = ("attributes", "fd", "group", "host", "leads_session", "name")

    def __init__(self, tty_fd: int):
        self.fd = tty_fd
        self.attributes: list[Any] = termios.tcgetattr(tty_fd)
        self.host = os.getpid()
        self.group = os.getpgrp()
        self.leads_session = os.getsid(0) == self.host
        try:
            self.name = os.ttyname(tty_fd)
        except OSError:
            self.name = "/dev/tty"


def _watch(pipe: int, charge: _Charge, mask: set[signal.Signals] | set[int]) -> NoReturn:
    try:
        _settle(pipe, charge.fd)
        _rehearse(charge)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        modes = _listen(pipe)
        if modes is not None:
            _tidy(charge, modes)
    finally:
        os._exit(0)


def _settle(pipe: int, tty_fd: int) -> None:
    """Keep the pipe and the terminal only, and be deaf to what is meant for the host.

    A group of its own, so that a `kill -9` of the host's group leaves it alive. SIGTTOU is caught rather
    than ignored: then the kernel refuses us the terminal when somebody else is in the foreground.
    """
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTTOU, _nothing)
    os.setpgid(0, 0)
    low, high = sorted((pipe, tty_fd))
    if low:  # closerange(0, 0) closes everything: CPython hands -1 to close_range(2) as the last
        os.closerange(0, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))


def _rehearse(charge: _Charge) -> None:
    """Touch once what will have to be quick: after a fork the first write to a page costs a fault."""
    with contextlib.suppress(OSError, termios.error):  # the host may be dead already
        _is_in_front(charge)
        os.setpgid(0, 0)
        termios.tcgetattr(charge.fd)


def _nothing(number: int, frame: object) -> None:
    """Only so that the system call is interrupted instead of repeated."""


def _listen(pipe: int) -> int | None:
    """The modes that were open when the host was killed; None after a farewell."""
    modes = 0
    data = b""
    while True:
        read = os.read(pipe, 4096)
        if not read:
            return modes
        data += read
        whole = len(data) - len(data) % _MESSAGE.size
        for (number,) in _MESSAGE.iter_unpack(data[:whole]):
            if number == _FAREWELL:
                return None
            modes = number
        data = data[whole:]


def _tidy(charge: _Charge, modes: int) -> None:
    if charge.leads_session:
        # With the session's leader its terminal is hung up, which closes it for us too, and sets it back.
        _await_death(charge.host)
        charge.fd = os.open(charge.name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        _write(charge.fd, closing(modes))
        termios.tcsetattr(charge.fd, termios.TCSANOW, charge.attributes)
        return
    if _is_in_front(charge):
        _restore(
            charge
        )  # first: what waits for the host, such as make, ends now too, and its shell takes over
    _write(_opened_anew(charge), closing(modes & ~BRACKETED_PASTE))
    if _is_in_front(charge):  # else the shell has asked for bracketed paste itself by now
        _write(_opened_anew(charge), closing(modes & BRACKETED_PASTE))


def _is_in_front(charge: _Charge) -> bool:
    """Whether the host's group still has the terminal; and be of that group from now on.

    A shell that waits for the host takes the terminal back once it has reaped it; the group is gone then.
    """
    try:
        os.setpgid(0, charge.group)
        return os.tcgetpgrp(charge.fd) == charge.group
    except OSError:
        return False


def _restore(charge: _Charge) -> None:
    try:
        termios.tcsetattr(charge.fd, termios.TCSANOW, charge.attributes)
    except termios.error:  # EIO, EINTR: we are no longer in front, and the terminal is another's
        return


def _opened_anew(charge: _Charge) -> int:
    """Never wait for ever on a terminal that takes nothing: a description of our own, non-blocking."""
    try:
        return os.open(charge.name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return charge.fd


def _write(fd: int, data: bytes) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while data and time.monotonic() < deadline:
        if select.select([], [fd], [], _PATIENCE_S)[1]:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                continue


def _await_death(host: int) -> None:
    """Until the host is gone entirely, and with it what the kernel does to its terminal."""
    deadline = time.monotonic() + _PATIENCE_S
    while os.getppid() == host and time.monotonic() < deadline:
        time.sleep(0.001)
