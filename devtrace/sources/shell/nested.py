"""Processes of the session that are not our children: may they be believed, and how did they end?

Lives here: finding a process by what its shell said of itself (also from inside a PID namespace), the process
tree, the watch over nested shells by pidfd.
Not here: what follows from an end (pairing.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from devtrace.choices import Choice
from devtrace.sources.shell.fifo import Assembler, Hello
from devtrace.sources.shell.shells import Meeting

_PROC = Path("/proc")
# struct pidfd_info, version 0: mask, cgroupid, pid, tgid, ppid, 8 ids, exit_code (linux/pidfd.h, Linux 6.15).
_INFO = struct.Struct("=QQIII8Ii")
_INFO_EXIT = 1 << 3
_MEETINGS_KEPT = 4096  # shells greeted and not yet met; more are looked at later
_MOST_WATCHED = 256  # a descriptor each
_NEAR = 1024  # a process id given out so shortly ago was given out in our own PID namespace
_SHARE_OF_TIME = 20  # one part in so many may be spent on looking through all processes
_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11


class Process(NamedTuple):
    """One line of /proc/PID/stat, as far as we need it."""

    pid: int
    ppid: int
    starttime: int  # clock ticks since boot, the same in every PID namespace


def read_process(pid: int) -> Process | None:
    """The process as our /proc shows it; None when it is gone or there is no /proc."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return Process(pid, int(fields[1]), int(fields[19]))


def find_elsewhere(pid: int, starttime: int) -> Process | None:
    """The process that calls itself `pid` in another PID namespace (proc(5): NSpid)."""
    for process in _all_processes():
        if process.starttime == starttime and pid in _namespace_pids(process.pid):
            return process
    return None


def proc_level() -> int:
    """How many PID namespaces /proc stands above ours: 0, unless nobody mounted one for us."""
    try:
        own = int((_PROC / "self").readlink().name)
    except (OSError, ValueError):
        return 0
    return 0 if own == os.getpid() else len(_namespace_pids(own)) - 1


def pid_in_proc(child: int, level: int) -> int:
    """The number by which a /proc that stands so many levels above us shows a child of ours."""
    if level:
        own = int((_PROC / "self").readlink().name)
        for process in _all_processes():
            if process.ppid == own and _namespace_pids(process.pid)[level : level + 1] == [child]:
                return process.pid
    return child


def descends_from(process: Process | None, ancestor: int) -> bool:
    """Whether the chain of parents reaches `ancestor`."""
    for _ in range(1024):
        if process is None or process.pid <= 1:
            return False
        if ancestor in (process.pid, process.ppid):
            return True
        process = read_process(process.ppid)
    return False


def _all_processes() -> Iterator[Process]:
    for entry in _PROC.glob("[0-9]*"):
        process = read_process(int(entry.name))
        if process is not None:
            yield process


def _namespace_pids(pid: int) -> list[int]:
    """A process's numbers, from the namespace of /proc to its own; one where it is not in another."""
    with contextlib.suppress(OSError, ValueError):
        for line in (_PROC / str(pid) / "status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return [int(number) for number in line.split()[1:]]
    return [pid]


def _is_near(pid: int) -> bool:
    """Whether the number is one of the last that were given out here (proc(5): loadavg)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        last = int((_PROC / "loadavg").read_bytes().split()[-1])
        return pid > _NEAR and 0 <= last - pid < _NEAR
    return False


class Watch:
    """Nested shells whose end we wait for: a pidfd each (Linux 5.3), told apart by the shell's own id."""

    def __init__(self, root: int):
        self._level = proc_level()
        self._root = pid_in_proc(root, self._level)  # the traced shell: its descendants are of this session
        self._look_around_at = 0.0
        self._shells: dict[int, tuple[str, int]] = {}  # pidfd -> (shell id, pid)
        self._met: dict[str, Meeting] = {}  # by shell id: what greet() found

    @staticmethod
    def technique() -> Choice:
        """How an end without a record is found here."""
        if hasattr(os, "pidfd_open"):
            return Choice("nested end", "pidfd", because="it cannot be mistaken for a later process")
        return Choice("nested end", "the EXIT trap alone", because="this system has no pidfd_open")

    def greet(self, data: bytes) -> None:
        """Look at once at the shells that say hello in these bytes: a `bash -c` may live for a millisecond.

        Called on the FIFO's thread; looks at /proc and blocks on nothing. What it misses, `meet` does.
        """
        if b"HELLO\t1\t-\t" not in data:
            return
        for line in data.split(b"\n"):
            if line.startswith(b"HELLO\t1\t-\t"):
                for record in Assembler().feed(line + b"\n"):
                    if isinstance(record, Hello):
                        self._greet(record)

    def meet(self, hello: Hello) -> Meeting:
        """What is known of a shell that said hello without the nonce; watched where that can be done."""
        return self._met.pop(hello.shell, None) or self._look(hello)

    def _greet(self, hello: Hello) -> None:
        if hello.shell not in self._met and len(self._met) < _MEETINGS_KEPT:
            self._met[hello.shell] = self._look(hello)

    def _look(self, hello: Hello) -> Meeting:
        if hello.starttime is None:  # it sees no /proc, so its number may be one of any namespace
            return Meeting(0, is_watched=False, is_gone=False)
        process = read_process(hello.pid)
        if process is None or process.starttime != hello.starttime:
            parent = read_process(hello.ppid)
            if _is_near(hello.pid) and descends_from(parent, self._root):
                # It lived for a millisecond, as most do, and its parent is still there.
                return Meeting(1, is_watched=False, is_gone=True, family=_family(parent))
            if time.monotonic() < self._look_around_at:
                return Meeting(0, is_watched=False, is_gone=False)
            process = self._look_around(hello.pid, hello.starttime)
        if process is None:
            return Meeting(0, is_watched=False, is_gone=_PROC.is_dir())
        return Meeting(
            1 if descends_from(process, self._root) else 0,
            is_watched=self._watch(hello.shell, process),
            is_gone=False,
            family=_family(read_process(process.ppid)),
        )

    def _look_around(self, pid: int, starttime: int) -> Process | None:
        """Through all processes, which takes long on a large machine: then not again for a while."""
        begun = time.monotonic()
        try:
            return find_elsewhere(pid, starttime)
        finally:
            now = time.monotonic()
            self._look_around_at = now + (now - begun) * _SHARE_OF_TIME

    def fds(self) -> list[int]:
        """What to poll for reading: one becomes ready when its process has ended."""
        return list(self._shells)

    def take(self, fd: int) -> tuple[str, int | None]:
        """The shell whose process has ended and its exit code, None where the kernel does not tell."""
        shell, pid = self._shells.pop(fd)
        try:
            return shell, _exit_code(fd, pid)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Stop watching."""
        for fd in self._shells:
            os.close(fd)
        self._shells = {}

    def _watch(self, shell: str, process: Process) -> bool:
        if not hasattr(os, "pidfd_open") or len(self._shells) >= _MOST_WATCHED:
            return False
        try:
            fd = os.pidfd_open(self._pid_here(process))
        except OSError:
            return False
        now = read_process(process.pid)
        if now is None or now.starttime != process.starttime:  # another process by now
            os.close(fd)
            return False
        self._shells[fd] = (shell, process.pid)
        return True

    def _pid_here(self, process: Process) -> int:
        """The number by which the kernel knows the process in our own namespace, which /proc may not show."""
        if self._level == 0:
            return process.pid
        pids = _namespace_pids(process.pid)
        return pids[self._level] if len(pids) > self._level else -1


def _family(parent: Process | None) -> tuple[int, int] | None:
    return None if parent is None else (parent.pid, parent.starttime)


def _exit_code(fd: int, pid: int) -> int | None:
    """How the process of a pidfd ended, 128+n for signal n: from the kernel, else from the zombie's stat."""
    status = _pidfd_status(fd)
    if status is None:
        status = _zombie_status(pid)
    return (
        None
        if status is None
        else os.waitstatus_to_exitcode(status)
        if status & 0x7F == 0
        else 128 + (status & 0x7F)
    )


def _pidfd_status(fd: int) -> int | None:
    request = bytearray(_INFO.pack(_INFO_EXIT, *[0] * 12 + [0]))
    try:
        fcntl.ioctl(fd, _GET_INFO, request)
    except OSError:
        return None
    mask, *_, status = _INFO.unpack(request)
    return status if mask & _INFO_EXIT else None


def _zombie_status(pid: int) -> int | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return int(fields[49]) if fields[0] == b"Z" else None
