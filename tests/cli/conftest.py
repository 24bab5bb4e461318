"""Real processes: `python -m devtrace ...` in a directory with a store that tests fill."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import DEADLINE, environment
from tests.recorded import Recorded


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A git repository, as far as DevTrace looks."""
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    return tmp_path / "repo"


@pytest.fixture
def recorded(repo: Path) -> Iterator[Recorded]:
    made = Recorded(repo)
    yield made
    made.close()


class Told:
    """What a command said and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]):
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def records(self) -> list[dict[str, Any]]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def run(repo: Path) -> Callable[..., Told]:
    """`run("show", "3f2a", env={...}, stdin="...")`: one command in the repository, to its end."""

    def call(
        *words: str, cwd: Path | None = None, env: dict[str, str] | None = None, stdin: str = "", **more: Any
    ) -> Told:
        return Told(
            subprocess.run(
                [sys.executable, "-m", "devtrace", *words],
                cwd=cwd or repo,
                env=environment(**(env or {})),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
                **more,
            )
        )

    return call


class Following:
    """A running `devtrace log --follow`, whose lines are awaited one by one."""

    def __init__(self, cwd: Path, *words: str):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "devtrace", "log", "--follow", *words], cwd=cwd, env=environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._rest = {"stdout": b"", "stderr": b""}

    def line(self, stream: str = "stdout") -> str:
        """The next line, as soon as it is there."""
        pipe = getattr(self.process, stream)
        until = time.monotonic() + DEADLINE
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._rest[stream]:
                assert selector.select(max(until - time.monotonic(), 0)), f"no line came: {self._rest}"
                data = os.read(pipe.fileno(), 65536)
                assert data, f"it ended: {self.stop()}"
                self._rest[stream] += data
        line, _, self._rest[stream] = self._rest[stream].partition(b"\n")
        return line.decode()

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line())
        return found

    def stop(self, signal: int = 2) -> tuple[int, str]:
        """End it (by Ctrl-C unless told otherwise); its exit status and what was left on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(signal)
        status = self.process.wait(DEADLINE)
        return status, "" if self.process.stderr.closed else self.process.stderr.read().decode()


@pytest.fixture
def follow(repo: Path) -> Iterator[Callable[..., Following]]:
    started: list[Following] = []

    def start(*words: str, cwd: Path | None = None) -> Following:
        started.append(Following(cwd or repo, *words))
        return started[-1]

    yield start
    for one in started:
        one.stop(9)
        for pipe in (one.process.stdout, one.process.stderr):
            assert pipe is not None
            pipe.close()
