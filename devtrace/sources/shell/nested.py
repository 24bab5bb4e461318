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
from pathlib import Path
from typing import NamedTuple

from devtrace.choices import Choice
from devtrace.sources.shell.fifo import Assembler, Hello
from devtrace.sources.shell.pairing import Meeting

_PROC = Path("/proc")
# struct pidfd_info, version 0: mask, cgroupid, pid, tgid, ppid, 8 ids, exit_code (linux/pidfd.h, Linux 6.15).
_INFO = struct.Struct("=QQIII8Ii")
_INFO_EXIT = 1 << 3
_MEETINGS_KEPT = 4096  # shells greeted and not yet met; more are looked at later
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


def find_process(pid: int, starttime: int | None) -> Process | None:
    """The process that calls itself `pid`, if need be in another PID namespace (proc(5): NSpid)."""
    process = read_process(pid)
    if process is not None and starttime in (None, process.starttime):
        return process
    if starttime is None:
        return None
    for entry in _PROC.glob("[0-9]*"):
        process = read_process(int(entry.name))
        if process is not None and process.starttime == starttime and _namespace_pid(process.pid) == pid:
            return process
    return None


def descends_from(process: Process | None, ancestor: int) -> bool:
    """Whether the chain of parents reaches `ancestor`."""
    for _ in range(1024):
        if process is None or process.pid <= 1:
            return False
        if ancestor in (process.pid, process.ppid):
            return True
        process = read_process(process.ppid)
    return False


def _namespace_pid(pid: int) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (_PROC / str(pid) / "status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return None


class Watch:
    """Nested shells whose end we wait for: a pidfd each (Linux 5.3), told apart by the shell's own id."""

    def __init__(self, root: int):
        self._root = root  # the traced shell: what descends from it is of this session
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
        for record in Assembler().feed(data):
            if isinstance(record, Hello) and record.nonce is None and len(self._met) < _MEETINGS_KEPT:
                self._met[record.shell] = self._look(record)

    def meet(self, hello: Hello) -> Meeting:
        """What is known of a shell that said hello without the nonce; watched where that can be done."""
        return self._met.pop(hello.shell, None) or self._look(hello)

    def _look(self, hello: Hello) -> Meeting:
        process = find_process(hello.pid, hello.starttime)
        if process is None:  # it lived for a millisecond, and its parent may still be there
            parent = read_process(hello.ppid)
            return Meeting(
                1 if descends_from(parent, self._root) else 0, is_watched=False, is_gone=_PROC.is_dir()
            )
        trusted = 1 if descends_from(process, self._root) else 0
        return Meeting(trusted, is_watched=self._watch(hello.shell, process), is_gone=False)

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
        if not hasattr(os, "pidfd_open"):
            return False
        try:
            fd = os.pidfd_open(process.pid)
        except OSError:
            return False
        if read_process(process.pid) != process:  # another process by now
            os.close(fd)
            return False
        self._shells[fd] = (shell, process.pid)
        return True


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
