"""The processes as /proc shows them: who is whose parent, also across PID namespaces.

Lives here: `Processes`. Not here: what a shell's process has to do with its records (nested.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_DEEPEST = 1024  # generations


class Process(NamedTuple):
    """One line of /proc/PID/stat, as far as we need it."""

    pid: int
    ppid: int
    starttime: int  # clock ticks since boot, the same in every PID namespace
    stack: int | None = 0  # the address where it begins, 0 in exec and in a zombie; None: we may not read it


class Processes:
    """What is to be read in /proc; nothing where there is none."""

    def __init__(self, proc: Path = Path("/proc")):
        self._proc = proc

    def can_tell(self) -> bool:
        """Whether there is a /proc, so that a process which is not in it is gone."""
        return (self._proc / "self").is_symlink()

    def read(self, pid: int) -> Process | None:
        """The process of that number; None when it is gone."""
        try:
            stat = (self._proc / str(pid) / "stat").read_bytes()
        except OSError:
            return None
        fields = stat[stat.rindex(b")") + 2 :].split()
        return Process(pid, int(fields[1]), int(fields[19]), _stack(fields))

    def find_elsewhere(self, pid: int, starttime: int, stack: int | None = None) -> Process | None:
        """The process that calls itself `pid` in another PID namespace (proc(5): NSpid)."""
        for process in self._all():
            if process.starttime != starttime or (stack and process.stack not in (None, stack)):
                continue
            if pid in self.pids(process.pid):
                return process
        return None

    def is_below(self, pid: int, level: int) -> bool:
        """Whether a process calls itself `pid` in a PID namespace below `level`."""
        return any(pid in self.pids(process.pid)[level + 1 :] for process in self._all())

    def descends_from(self, process: Process | None, ancestor: int) -> bool:
        """Whether the chain of parents reaches `ancestor`."""
        for _ in range(_DEEPEST):
            if process is None or process.pid <= 1:
                return False
            if ancestor in (process.pid, process.ppid):
                return True
            process = self.read(process.ppid)
        return False

    def pids(self, pid: int) -> list[int]:
        """A process's numbers, from the namespace of /proc to its own; one where those are the same."""
        with contextlib.suppress(OSError, ValueError):
            for line in (self._proc / str(pid) / "status").read_text(errors="replace").splitlines():
                if line.startswith("NSpid:"):
                    return [int(number) for number in line.split()[1:]]
        return [pid]

    def level(self) -> int:
        """How many PID namespaces /proc stands above ours: 0, unless nobody mounted one for us."""
        own = self._own_pid()
        return 0 if own in (None, os.getpid()) else len(self.pids(own or 0)) - 1

    def pid_of_child(self, child: int) -> int:
        """The number by which /proc shows a child of ours."""
        level = self.level()
        if level:
            own = self._own_pid()
            for process in self._all():
                if process.ppid == own and self.pids(process.pid)[level : level + 1] == [child]:
                    return process.pid
        return child

    def zombie_status(self, pid: int) -> int | None:
        """The wait status of a process that has ended and was not waited for yet."""
        try:
            stat = (self._proc / str(pid) / "stat").read_bytes()
        except OSError:
            return None
        fields = stat[stat.rindex(b")") + 2 :].split()
        return int(fields[49]) if fields[0] == b"Z" else None

    def _own_pid(self) -> int | None:
        try:
            return int((self._proc / "self").readlink().name)
        except (OSError, ValueError):
            return None

    def _all(self) -> Iterator[Process]:
        for entry in self._proc.glob("[0-9]*"):
            process = self.read(int(entry.name))
            if process is not None:
                yield process


def _stack(fields: list[bytes]) -> int | None:
    """startstack of proc(5), which is random; who may not see it is told that startcode is 1."""
    return None if fields[23] == b"1" else int(fields[25])
