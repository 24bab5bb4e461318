"""A shell on a pseudo-terminal, somebody who types there, and a stopwatch.

Lives here: what the rooms that measure at a prompt share: `Prompt`, the shells to measure, worlds for them.
Not here: any figure.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from fcntl import ioctl
from pathlib import Path
from typing import NamedTuple

from benchmarks import Row

READY = b"ready> "  # every contender's prompt
PATIENCE_S = 30.0
_QUIET_S = 0.005  # so long nothing new on the screen means: the shell waits for us
_START_UP = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}
_PROMPTS = {
    "bash": "PS1='ready> '\n",
    "zsh": "PS1='ready> '\n",
    "fish": "set -g fish_greeting\nfunction fish_prompt\n    echo -n 'ready> '\nend\n",
}


class Shell(NamedTuple):
    """A shell of this machine."""

    name: str  # bash, zsh, fish
    path: str
    version: tuple[int, int]

    @property
    def label(self) -> str:
        """As the table names it: `bash 5.2`."""
        return f"{self.name} {self.version[0]}.{self.version[1]}"


class Prompt:
    """A program on a terminal of its own; `enter` types a line and times the way to the next prompt."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | Path):
        self._begun = time.perf_counter()
        self.pid, self.fd = os.forkpty()
        if self.pid == 0:
            try:
                ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
                os.chdir(cwd)
                os.execvpe(argv[0], [*argv], dict(env))
            finally:
                os._exit(127)
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)
        self._shown = b""

    def first(self) -> float:
        """Wait for the first prompt; seconds since the program was started."""
        return self._ready() - self._begun

    def enter(self, line: str) -> float:
        """Type a line and Enter; seconds until the next prompt."""
        self._shown = b""
        begun = time.perf_counter()
        os.write(self.fd, line.encode() + b"\r")
        return self._ready() - begun

    def settle(self) -> None:
        """Wait until nothing moves on the screen."""
        deadline = time.perf_counter() + _QUIET_S
        while self._read(deadline):
            deadline = time.perf_counter() + _QUIET_S

    def close(self) -> None:
        """Leave by `exit`, and kill what does not."""
        with contextlib.suppress(OSError):
            self.settle()
            os.write(self.fd, b"exit\r")
            deadline = time.perf_counter() + PATIENCE_S
            while self._read(deadline):
                pass
        deadline = time.perf_counter() + PATIENCE_S
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.perf_counter() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                break
            time.sleep(0.001)
        os.close(self.fd)

    def _ready(self) -> float:
        deadline = time.perf_counter() + PATIENCE_S
        while READY not in self._shown:
            if not self._read(deadline):
                raise RuntimeError(f"no prompt came back; shown: {self._shown[-2000:]!r}")
        return time.perf_counter()

    def _read(self, deadline: float) -> bool:
        if not self._poll.poll(max(0.0, deadline - time.perf_counter()) * 1000):
            return False
        data = os.read(self.fd, 65536)
        self._shown += data
        return bool(data)


def shells() -> list[Shell]:
    """bash, zsh and fish of this machine, and those that DEVTRACE_TEST_SHELLS names by path."""
    named = re.split(r"[:\s]+", os.environ.get("DEVTRACE_TEST_SHELLS", ""))
    found: dict[str, Shell] = {}
    for candidate in ["bash", "zsh", "fish", *filter(None, named)]:
        path = shutil.which(candidate)
        name = Path(candidate).name.partition("-")[0]
        if path and name in _PROMPTS:
            asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            match = re.search(r"(\d+)\.(\d+)", asked.stdout)
            if match:
                found.setdefault(os.path.realpath(path), Shell(name, path, (int(match[1]), int(match[2]))))
    return list(found.values())


def home(folder: Path, shell: str, more: str = "") -> dict[str, str]:
    """A home whose start-up file sets the prompt and does `more`; the environment that leads there."""
    file = folder / _START_UP[shell]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_PROMPTS[shell] + more)
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(runtime),
        "TMPDIR": str(folder),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        **({"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}),
    }


def devtrace(*arguments: str) -> list[str]:
    """The command line of our own installed command, else of the module."""
    script = Path(sys.executable).with_name("devtrace")
    start = [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "devtrace"]
    return [*start, *arguments]


@contextlib.contextmanager
def drained(fifo: Path) -> Iterator[None]:
    """A process of its own that makes the FIFO and moves what comes to nowhere, as the host's reader does."""
    program = (
        "import sys; from pathlib import Path; from devtrace.sources.shell.reader import FifoReader\n"
        "with FifoReader(Path(sys.argv[1]), len):\n"
        "    print(flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(fifo)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdout.readline()
        try:
            yield
        finally:
            process.stdin.close()


def median_ms(times: Sequence[float]) -> float:
    """Seconds in, the median in milliseconds out."""
    return statistics.median(times) * 1000


def row(
    what: str,
    ours: float | None,
    peer_name: str = "",
    peer: float | None = None,
    *,
    budget: str = "",
    unit: str = "ms",
    reason: str = "",
) -> Row:
    """A line of the table; the ratio is worked out here."""
    ratio = ours / peer if ours is not None and peer else None
    made: Row = {
        "what": what,
        "ours": ours,
        "peer_name": peer_name,
        "peer": peer,
        "ratio": ratio,
        "budget": budget,
        "unit": unit,
    }
    if reason:
        made["reason"] = reason
    return made
