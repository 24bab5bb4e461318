"""Shells of the session that are not our children: may they be believed, and how did they end?

Lives here: meeting a shell that said hello without the nonce, the watch over it by pidfd.
Not here: reading /proc (processes.py), what follows from an end (pairing.py).
"""

from __future__ import annotations

import fcntl
import os
import struct
import time

from devtrace.choices import Choice
from devtrace.sources.shell.fifo import Assembler, Hello
from devtrace.sources.shell.processes import Process, Processes
from devtrace.sources.shell.shells import Meeting

# struct pidfd_info, version 0: mask, cgroupid, pid, tgid, ppid, 8 ids, exit_code (linux/pidfd.h, Linux 6.15).
_INFO = struct.Struct("=QQIII8Ii")
_INFO_EXIT = 1 << 3
_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11
_MEETINGS_KEPT = 4096  # shells greeted and not yet met; more are looked at later
_MOST_WATCHED = 256  # a descriptor each
_SANDBOXED = 1024  # process ids up to here may be those of a small PID namespace
_SHARE_OF_TIME = 20  # one part in so many may be spent on looking through all processes


class Watch:
    """Nested shells whose end we wait for: a pidfd each (Linux 5.3), told apart by the shell's own id."""

    def __init__(self, root: int, processes: Processes | None = None):
        """`root`: the traced shell or program, a child of ours; its descendants are of this session."""
        self._processes = processes or Processes()
        self._level = self._processes.level()
        self._root = self._processes.pid_of_child(root)
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

    def fds(self) -> list[int]:
        """What to poll for reading: one becomes ready when its process has ended."""
        return list(self._shells)

    def take(self, fd: int) -> tuple[str, int | None]:
        """The shell whose process has ended and its exit code, None where the kernel does not tell."""
        shell, pid = self._shells.pop(fd)
        try:
            return shell, self._exit_code(fd, pid)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Stop watching."""
        for fd in self._shells:
            os.close(fd)
        self._shells = {}

    def _greet(self, hello: Hello) -> None:
        if hello.shell not in self._met and len(self._met) < _MEETINGS_KEPT:
            self._met[hello.shell] = self._look(hello)

    def _look(self, hello: Hello) -> Meeting:
        processes = self._processes
        if hello.starttime is None:  # it sees no /proc, so its number may be one of any namespace
            return Meeting(0, is_watched=False, is_gone=False)
        process = processes.read(hello.pid)
        if process is None or process.starttime != hello.starttime:
            parent = processes.read(hello.ppid)
            # It lived for a millisecond, as most do, and its parent is still there.
            is_child = self._may_be_parent(parent, hello.starttime)
            may_look = time.monotonic() >= self._look_around_at
            if is_child and not (may_look and hello.pid <= _SANDBOXED):
                return Meeting(1, is_watched=False, is_gone=True, family=_family(parent))
            if hello.pid > _SANDBOXED and not may_look:
                return Meeting(0, is_watched=False, is_gone=False)
            process = self._look_around(hello.pid, hello.starttime, hello.stack)
            if process is None and is_child and not processes.is_below(hello.ppid, self._level):
                return Meeting(1, is_watched=False, is_gone=True, family=_family(parent))
        if process is None:
            return Meeting(0, is_watched=False, is_gone=processes.can_tell())
        trusted = 1 if processes.descends_from(process, self._root) else 0
        family = _family(processes.read(process.ppid))
        is_watched = self._watch(hello.shell, process)
        is_gone = not is_watched and not self._is_there(process)
        return Meeting(trusted, is_watched=is_watched, is_gone=is_gone, family=family)

    def _may_be_parent(self, parent: Process | None, starttime: int) -> bool:
        """Whether a shell that is gone can have been its child; its number may be another's by now."""
        if parent is None or parent.starttime > starttime:
            return False
        return self._processes.descends_from(parent, self._root)

    def _look_around(self, pid: int, starttime: int, stack: int | None) -> Process | None:
        """Through all processes, which takes long on a large machine: then not again for a while."""
        begun = time.monotonic()
        try:
            return self._processes.find_elsewhere(pid, starttime, stack)
        finally:
            now = time.monotonic()
            self._look_around_at = now + (now - begun) * _SHARE_OF_TIME

    def _watch(self, shell: str, process: Process) -> bool:
        if not hasattr(os, "pidfd_open") or len(self._shells) >= _MOST_WATCHED:
            return False
        try:
            fd = os.pidfd_open(self._pid_here(process))
        except OSError:
            return False
        if not self._is_there(process):  # the number may be another's by now
            os.close(fd)
            return False
        self._shells[fd] = (shell, process.pid)
        return True

    def _is_there(self, process: Process) -> bool:
        now = self._processes.read(process.pid)
        return now is not None and now.starttime == process.starttime

    def _pid_here(self, process: Process) -> int:
        """The number by which the kernel knows the process in our own namespace, which /proc may not show."""
        pids = self._processes.pids(process.pid) if self._level else [process.pid]
        return pids[self._level] if len(pids) > self._level else -1

    def _exit_code(self, fd: int, pid: int) -> int | None:
        """How the process ended, 128+n for signal n: from the kernel, else from the zombie's stat.

        The kernel tells it once the process has been waited for, /proc until then: which may be in between.
        """
        status = _pidfd_status(fd)
        if status is None:
            status = self._processes.zombie_status(pid)
        if status is None:
            status = _pidfd_status(fd)
        if status is None:
            return None
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


def _family(parent: Process | None) -> tuple[int, int] | None:
    return None if parent is None else (parent.pid, parent.starttime)


def _pidfd_status(fd: int) -> int | None:
    request = bytearray(_INFO.pack(_INFO_EXIT, *[0] * 12 + [0]))
    try:
        fcntl.ioctl(fd, _GET_INFO, request)
    except OSError:
        return None
    mask, *_, status = _INFO.unpack(request)
    return status if mask & _INFO_EXIT else None
