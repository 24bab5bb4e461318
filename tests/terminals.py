"""A terminal emulator for tests: a real program on a real pty, driven by waiting for what it shows.

    with Terminal([sys.executable, "-m", "devtrace", "shell"]) as terminal:
        terminal.wait_for("$ ")
        terminal.send("echo hello\\r")
        terminal.wait_for("hello")
        terminal.send("\\x04")
        assert terminal.wait_exit() == 0

Every wait has a deadline and fails with what was on the screen. The program leads a session of its own with
the pty as its controlling terminal, as under a terminal emulator; the test holds the pty's other end too,
so that the attributes can be read after the program has ended.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

PATIENCE_S = 60.0  # how long a thing may take before a test calls it hung, on a machine with much else to do

_T = TypeVar("_T")

# Only a session leader that opens the terminal, or asks for it, gets it as its controlling terminal.
_ADOPT = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)
_SH_ADOPT = 'tty=$1; shift; exec "$@" <>"$tty" >&0 2>&0'
_POLL_S = 0.01


class Terminal:
    """A program and its terminal; `shown` is all that it received, `found` the attributes it had at first."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        rows: int = 24,
        cols: int = 80,
        type_ahead: bytes = b"",
        attributes: Callable[[list[Any]], None] | None = None,
    ):
        self.master, self.slave = os.openpty()
        self.shown = bytearray()
        self._looked_at = 0
        self.resize(rows, cols)
        if attributes is not None:
            wanted = termios.tcgetattr(self.slave)
            attributes(wanted)
            termios.tcsetattr(self.slave, termios.TCSANOW, wanted)
        if type_ahead:
            os.write(self.master, type_ahead)
        os.set_blocking(self.master, False)
        self.found = self.attributes()
        environment = dict(os.environ if env is None else env)
        environment.setdefault("TERM", "xterm-256color")
        self.process = subprocess.Popen(
            [*self._adopting(), *argv],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang the terminal up and end the program, if it still runs."""
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)
        self.master = self.slave = -1
        if self.process.poll() is None:
            try:
                self.process.wait(2)  # the hang-up ends most programs by itself
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(PATIENCE_S)

    @property
    def text(self) -> str:
        """Everything shown so far, undecodable bytes as U+FFFD."""
        return self.shown.decode(errors="replace")

    def send(self, data: bytes | str) -> None:
        """Type; waits while the program does not take it, reading on meanwhile."""
        rest = data.encode() if isinstance(data, str) else data
        deadline = time.monotonic() + PATIENCE_S
        while rest:
            self._move(deadline, typing=True)
            try:
                rest = rest[os.write(self.master, rest) :]
            except BlockingIOError:
                self._check(deadline, f"the program did not take {len(rest)} bytes")

    def wait_for(self, what: str | bytes, timeout: float = PATIENCE_S) -> re.Match[bytes]:
        """Wait until the regular expression matches what came after the last match; returns the match."""
        pattern = re.compile(what.encode() if isinstance(what, str) else what, re.DOTALL)
        deadline = time.monotonic() + timeout
        while True:
            match = pattern.search(self.shown, self._looked_at)
            if match:
                self._looked_at = match.end()
                return match
            alive = self.process.poll() is None
            if not self._move(deadline) and not alive:
                raise AssertionError(f"ended without showing {what!r}; {self._story()}")
            self._check(deadline, f"did not show {what!r}")

    def until(self, claim: Callable[[], _T], what: str = "", timeout: float = PATIENCE_S) -> _T:
        """Wait until the claim is true, reading what is shown meanwhile; returns what it returned."""
        deadline = time.monotonic() + timeout
        while not (result := claim()):
            self._move(time.monotonic() + _POLL_S)
            self._check(deadline, what or "the claim did not come true")
        return result

    def wait_exit(self, timeout: float = PATIENCE_S) -> int:
        """Wait for the program's end and for all it wrote; returns its exit code, -n for signal n."""
        self.until(lambda: self.process.poll() is not None, "the program did not end", timeout)
        while self._move(time.monotonic()):
            pass
        assert self.process.returncode is not None
        return self.process.returncode

    def read_for(self, seconds: float) -> None:
        """Read what is shown for that long: for claims that something does not appear."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._move(deadline)

    def resize(self, rows: int, cols: int) -> None:
        """Change the window's size; the kernel tells the program by SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def attributes(self) -> list[Any]:
        """The terminal's attributes as termios.tcgetattr gives them."""
        return termios.tcgetattr(self.slave)

    def is_raw(self) -> bool:
        """Whether somebody has taken line editing and signal keys away from the terminal."""
        return not self.attributes()[3] & (termios.ICANON | termios.ISIG)

    def foreground(self) -> int:
        """The process group in the foreground."""
        return os.tcgetpgrp(self.master)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal the program itself."""
        os.kill(self.pid, number)

    def _adopting(self) -> list[str]:
        if sys.platform == "linux":
            return ["/bin/sh", "-c", _SH_ADOPT, "sh", os.ttyname(self.slave)]
        return [sys.executable, "-I", "-S", "-c", _ADOPT]

    def _move(self, deadline: float, typing: bool = False) -> bool:
        """Wait for output (or, when typing, for room) until the deadline; read it; whether there was any."""
        left = max(0.0, min(deadline - time.monotonic(), 10 * _POLL_S))
        readable, writable, _ = select.select([self.master], [self.master] if typing else [], [], left)
        if not readable:
            return bool(writable)
        try:
            data = os.read(self.master, 65_536)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
        self.shown += data
        return bool(data)

    def _check(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}; {self._story()}")

    def _story(self) -> str:
        state = "it still runs" if self.process.poll() is None else f"it ended with {self.process.returncode}"
        return f"{state} and had shown {self.shown[-3000:]!r}"
