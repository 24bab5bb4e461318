"""What a mirror of file descriptors is made of: pipes and ptys, a process behind them, and the way back.

Lives here: making all that, or nothing. Not here: what is done with it (fd_mirror.py), what the process does
(mirror_process.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import select
import stat
import sys
import termios
from contextlib import suppress
from io import FileIO
from os import fstat  # as it is now: tests of the program's may replace it
from typing import TYPE_CHECKING, Any

from devtrace.recorder import mirror_process
from devtrace.recorder.mirror_process import FIRST_PUMP, PUMP_WORDS, READY, WORDS_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILE = os.path.abspath(mirror_process.__file__)  # noqa: PTH100 - as python makes it
_LOWEST = 100  # our descriptors keep off the numbers that a program would get without us
_PATIENCE_S = 10.0  # for the process to begin
_FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")
UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}  # one descriptor less
_HAS_COUNT = sys.platform == "linux"  # whether the end that is written to tells what is in a pipe

Identity = tuple[int, int]


class Descriptor:
    """One that is mirrored."""

    __slots__ = ("console", "fd", "is_inheritable", "pump", "saved", "write")

    def __init__(self, fd: int, saved: int, pump: Pump):
        self.fd = fd
        self.saved = saved
        self.console = identity(saved)
        self.write = FileIO(saved, "wb", closefd=False).write
        self.is_inheritable = os.get_inheritable(fd)
        self.pump = pump


class Pump:
    """One pipe or pty, our end of it. `source` and `asked` are the other process's, until it has them."""

    __slots__ = (
        "asked",
        "control",
        "control_is",
        "counts",
        "sink",
        "source",
        "target",
        "target_is",
        "what",
        "words",
    )

    def __init__(self, what: int, sink: int, source: int, target: int, asked: int, control: int):
        self.what = what
        self.sink = sink
        self.source = source
        self.target = target
        self.asked = asked
        self.control = control
        self.control_is = identity(control)
        self.target_is = identity(target)
        self.counts = _HAS_COUNT and not os.isatty(target)
        self.words: memoryview = memoryview(b"").cast("Q")


class Making:
    """What was opened for a mirror, so that all of it can be undone."""

    def __init__(self) -> None:
        self.words = self.heard = self.ready = -1
        self._mirrored: dict[int, Descriptor] = {}
        self._pumps: list[Pump] = []
        self._saved: list[int] = []

    def descriptors(self, numbers: Sequence[int]) -> dict[int, Descriptor]:
        """Save them, and make a pipe or pty for each, or for both. Raises OSError."""
        for fd in numbers:
            if not _is_open(fd):
                continue
            saved = _duplicate(fd)
            self._saved.append(saved)
            pump = next((one for one in self._pumps if _is_one_console(one.sink, saved)), None)
            if pump is None:
                pump = self._pump(fd, saved)
            self._mirrored[fd] = Descriptor(fd, saved, pump)
        return self._mirrored

    def _pump(self, fd: int, saved: int) -> Pump:
        source, target = _moved(*(_terminal_like(saved) if os.isatty(saved) else os.pipe()))
        try:
            asked, control = _moved(*os.pipe())
        except OSError:
            os.close(source)
            os.close(target)
            raise
        os.set_blocking(control, False)
        pump = Pump(fd - 1, saved, source, target, asked, control)
        self._pumps.append(pump)
        return pump

    def shared(self) -> memoryview:
        """The words that both sides see, as bytes. Raises OSError."""
        (self.words,) = _moved(_anonymous())
        os.ftruncate(self.words, WORDS_BYTES)
        shared = memoryview(mmap.mmap(self.words, WORDS_BYTES, **UNTRACKED))
        for index, pump in enumerate(self._pumps):
            place = FIRST_PUMP + index * PUMP_WORDS
            pump.words = shared.cast("Q")[place : place + PUMP_WORDS]
        self.heard, self.ready = _moved(*os.pipe())
        return shared

    def settle_down(self) -> None:
        """It stands: close what only the other process needs."""
        for pump in self._pumps:
            for fd in (pump.source, pump.target, pump.asked):
                os.close(fd)
        for fd in (self.words, self.heard, self.ready):
            _close(fd)

    def undo(self) -> None:
        """Close everything, and put back what was replaced."""
        for fd, one in self._mirrored.items():
            if is_still(fd, one.pump.target_is):
                os.dup2(one.saved, fd, one.is_inheritable)
        for pump in self._pumps:
            for fd in (pump.source, pump.target, pump.asked, pump.control):
                os.close(fd)
        for fd in (*self._saved, self.words, self.heard, self.ready):
            _close(fd)


def spawn(made: Making, pumps: list[Pump], order: list[str]) -> None:
    """Start the process and wait until it listens. Raises OSError."""
    given = [made.words, made.ready]
    for pump in pumps:
        given += [pump.source, pump.sink, pump.asked]
    first = 3 if min(given) >= 3 + len(given) else max(given) + 1
    actions: list[Any] = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, first + index) for index, fd in enumerate(given)]
    words = [sys.executable, "-I", "-S", _FILE, *order, str(first)]
    words.append(",".join(str(pump.what) for pump in pumps))
    if not sys.executable:
        raise OSError(errno.ENOENT, "no interpreter is known")
    pid = os.posix_spawn(
        sys.executable, words, os.environ, file_actions=actions, setpgroup=0, setsigmask=_deaf()
    )
    _close(made.ready)
    made.ready = -1
    try:
        said = _heard(made.heard)
    finally:
        with suppress(ChildProcessError):  # another thread waits for whoever comes
            os.waitpid(pid, 0)  # it has forked, and ended
    if said != READY:
        reason = said.decode("utf-8", "replace").strip()
        raise OSError(errno.EIO, reason or "its process did not begin")


def _heard(fd: int) -> bytes:
    """What the process says of its start; nothing where it takes too long."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return os.read(fd, 1_024) if waiting.poll(_PATIENCE_S * 1_000) else b""


def replace(mirrored: dict[int, Descriptor]) -> None:
    """Put the pipes where the descriptors were. Raises OSError."""
    for fd, one in mirrored.items():
        os.dup2(one.pump.target, fd, one.is_inheritable)


def _deaf() -> list[int]:
    """All signals but those that tell of a fault: they stay blocked for the life of the process."""
    import signal

    return [number for number in signal.valid_signals() if getattr(number, "name", "") not in _FAULTS]


# --- descriptors ---


def identity(fd: int) -> Identity:
    """What tells an open file from others. Raises OSError."""
    found = fstat(fd)
    return found.st_dev, found.st_ino


def is_still(fd: int, identity: Identity) -> bool:
    """Whether the number is that file's yet."""
    try:
        found = fstat(fd)
    except OSError:
        return False
    return found.st_ino == identity[1] and found.st_dev == identity[0]


def _is_open(fd: int) -> bool:
    try:
        fstat(fd)
    except OSError:
        return False
    return True


def _is_one_console(one: int, other: int) -> bool:
    """Whether what is written to the one and to the other comes out in one order."""
    if identity(one) != identity(other):
        return False
    return not stat.S_ISREG(fstat(one).st_mode) or _is_one_description(one, other)


def _is_one_description(one: int, other: int) -> bool:
    """Whether they share their place in the file: a flag that is set by the one is seen by the other."""
    flag = getattr(os, "O_NOATIME", 0)
    flags = fcntl.fcntl(one, fcntl.F_GETFL)
    if flags & os.O_APPEND:
        return True
    before = fcntl.fcntl(other, fcntl.F_GETFL) & flag
    try:
        fcntl.fcntl(one, fcntl.F_SETFL, flags ^ flag)
        return bool(flag) and fcntl.fcntl(other, fcntl.F_GETFL) & flag != before
    except OSError:
        return False
    finally:
        fcntl.fcntl(one, fcntl.F_SETFL, flags)


def _terminal_like(fd: int) -> tuple[int, int]:
    """A pty as that terminal is set, but that changes no byte: the terminal itself will. Raises OSError."""
    source, target = os.openpty()
    try:
        attributes = termios.tcgetattr(fd)
        attributes[1] &= ~termios.OPOST
        attributes[3] &= ~(termios.ECHO | termios.ECHONL)
        termios.tcsetattr(target, termios.TCSANOW, attributes)
        fcntl.ioctl(source, termios.TIOCSWINSZ, fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except (OSError, termios.error) as error:
        os.close(source)
        os.close(target)
        raise OSError(errno.EIO, str(error)) from error
    return source, target


def _duplicate(fd: int) -> int:
    """The same at a number that is ours, and closed by exec. Raises OSError."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    is_low = limit != resource.RLIM_INFINITY and limit < 2 * _LOWEST  # which leaves no choice
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3 if is_low else _LOWEST)
    except OSError as error:
        if error.errno == errno.EINVAL:  # the limit is lower than that
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from error
        raise


def _moved(*given: int) -> list[int]:
    """The same at numbers that are ours, and closed by exec. Raises OSError; then they are closed."""
    moved: list[int] = []
    try:
        for fd in given:
            moved.append(_duplicate(fd))
    except OSError:
        for fd in moved:
            os.close(fd)
        raise
    finally:
        for fd in given:
            os.close(fd)
    return moved


def _anonymous() -> int:
    """A file without a name. Raises OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("devtrace-mirror", os.MFD_CLOEXEC)
    import tempfile

    fd, path = tempfile.mkstemp()
    os.unlink(path)  # noqa: PTH108 - as mkstemp told it
    return fd


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


def distinct(descriptors: dict[int, Descriptor]) -> list[Pump]:
    """The pumps of the descriptors, each once."""
    found: list[Pump] = []
    for one in descriptors.values():
        if one.pump not in found:
            found.append(one.pump)
    return found
