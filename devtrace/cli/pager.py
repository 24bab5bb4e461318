"""Long answers through the user's pager, on a terminal only.

Which one: DEVTRACE_PAGER, then what git would take (GIT_PAGER, core.pager, PAGER, less). `cat` or nothing
means none. A pager that cannot be started, or that its user leaves early, is no error.

Lives here: `page`. Not here: the lines and their colours (views/).
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator

from devtrace.views.console import Line, make_console, paint

Lines = Callable[[], Iterable[Line]]

_DEFAULTS = {"LESS": "FRX", "LV": "-c"}  # git-config(1), core.pager
_SHELL = frozenset("|&;<>()$`\\\"' \t\n*?[#~=%")  # run-command.c: what needs a shell
_NOT_STARTED = (126, 127)  # sh(1)
_BATCH = 500  # lines: the first screen is there before the last line is made


def page(lines: Lines, *, wanted: bool = True) -> None:
    """Show lines, asked for twice where that must be: what a pager did not start for is written as it is."""
    first = next(iter(lines()), None)
    if first is None:
        return
    command = _command() if wanted and sys.stdout.isatty() else ""
    if not command or not _through(command, lines):
        _write(lines, None)


def _command() -> str:
    named = os.environ.get("DEVTRACE_PAGER")
    command = (_as_git() if named is None else named).strip()
    if not command or command == "cat":
        return ""
    first = command.split()[0]
    return "" if _SHELL.isdisjoint(first) and shutil.which(first) is None else command


def _as_git() -> str:
    with contextlib.suppress(OSError):
        asked = ["git", "var", "GIT_PAGER"]
        done = subprocess.run(asked, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == 0:
            return done.stdout
    return os.environ.get("GIT_PAGER") or os.environ.get("PAGER") or "less"


class _Terminal(io.TextIOWrapper):
    """What is written here arrives on the terminal, by way of the pager."""

    def isatty(self) -> bool:
        return True


def _through(command: str, lines: Lines) -> bool:
    """Whether the pager was there to show the lines."""
    sys.stdout.flush()
    environment = {**_DEFAULTS, **os.environ}
    process = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=environment)  # noqa: S602 - as git does
    assert process.stdin is not None
    with _undisturbed(process):
        stream = _Terminal(process.stdin, encoding=sys.stdout.encoding)
        try:
            _write(lines, stream)
        except BrokenPipeError:
            pass
        finally:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    return process.returncode not in _NOT_STARTED


@contextlib.contextmanager
def _undisturbed(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ctrl-C is the pager's while it runs; the terminal is its own until it has ended."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        process.wait()
        signal.signal(signal.SIGINT, before)


def _write(lines: Lines, stream: io.TextIOWrapper | None) -> None:
    console = make_console(stream)
    for batch in _batches(lines()):
        paint(console, batch)
        console.file.flush()


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    waiting = iter(lines)
    while batch := list(itertools.islice(waiting, _BATCH)):
        yield batch
