"""The small host of these tests, in a terminal or between pipes, and what it reported."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devtrace.sources.shell.output import mark
from tests.terminals import Terminal

ROOT = Path(__file__).parents[2]
NONCE = "0123456789abcdef"
SPAN = "00000000000000aa"
PROMPT = "inside> "
OUTSIDE = "outside> "
BASH = ["bash", "--norc", "--noprofile", "-i"]


def command(way: str, report: Path, *argv: str) -> list[str]:
    """The command line of a host that runs a program."""
    return [sys.executable, str(Path(__file__).with_name("small_host.py")), way, str(report), *argv]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a host needs to find the package, and a shell to have a known prompt."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PS1": PROMPT, "HISTFILE": "", **(more or {})}


def reports(path: Path) -> list[dict[str, Any]]:
    """What a host wrote so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler of its own for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> number - 1 & 1)


def marked(output: str) -> str:
    """A shell's words that write the output between marks; for single quotes in printf."""
    begin, end = (mark(NONCE, letter, SPAN).decode() for letter in "CD")
    return (begin + output + end).replace("\x1b", r"\033").replace("\x07", r"\007")


class Host(Terminal):
    """A small host in a terminal, and the program inside it."""

    def __init__(
        self,
        tmp_path: Path,
        *argv: str,
        way: str = "pty",
        env: Mapping[str, str] | None = None,
        **options: Any,
    ):
        self.report = tmp_path / "report"
        super().__init__(command(way, self.report, *argv), env=environment(env), **options)

    @property
    def child(self) -> int:
        """The process inside, once it is started."""
        return int(self.until(lambda: reports(self.report))[0]["child"])

    @property
    def watchdog(self) -> int:
        """The host's watchdog."""
        return int(self.until(lambda: reports(self.report))[0]["watchdog"])

    def captured(self) -> list[dict[str, Any]]:
        """The captures that were handed out."""
        return [line for line in reports(self.report) if "span" in line]


def outer_bash(env: Mapping[str, str] | None = None) -> Terminal:
    """An interactive bash in a terminal, for hosts to run under."""
    terminal = Terminal(BASH, env=environment({"PS1": OUTSIDE, "INSIDE": PROMPT, **(env or {})}))
    terminal.wait_for(OUTSIDE)
    return terminal
