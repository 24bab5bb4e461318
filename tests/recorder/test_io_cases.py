"""Programs that write and read in every way there is: the console as without us, and each byte captured.

Lives here: each case, plain and recorded, in pipes and at a terminal. Not here: the programs (io_cases.py),
whole programs whose streams nobody looks at (test_identity.py), descriptors (test_fd_mirror.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.processes import DEADLINE
from tests.recorder.captured import LAUNCHER, Captured, numbered
from tests.recorder.io_cases import CASES, TYPED, Case, Typed
from tests.recorder.test_identity import VOLATILE, world
from tests.terminals import Terminal

SCRIPT = "script.py"


class Ended(NamedTuple):
    """All that somebody outside sees of a program."""

    status: int
    out: bytes
    err: bytes


def words(kept: Path | None) -> list[str]:
    return [sys.executable, *([LAUNCHER, "--out-dir", str(kept)] if kept else []), SCRIPT]


def play(case: Case, folder: Path, kept: Path | None = None) -> Ended:
    """Run it in a pipe, recorded into `kept`, or plain."""
    folder.mkdir(exist_ok=True)
    (folder / SCRIPT).write_text(numbered(case.code))

    def close() -> None:
        for fd in case.closed:
            os.close(fd)

    done = subprocess.run(
        words(kept),
        cwd=folder,
        env=world(**{"PYTHONUNBUFFERED": "", **case.variables}),
        input=case.stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if case.merged else subprocess.PIPE,
        preexec_fn=close if case.closed else None,
        timeout=DEADLINE,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr or b"")


def whole(kept: Path) -> Captured:
    """What is captured, if nothing went wrong and nothing is held back."""
    captured = Captured(kept)
    assert captured.note("gap") == []
    assert [told["metrics"]["panics"] for told in captured.note("exit") if told["metrics"]["panics"]] == []
    assert [held for held in captured.held.values() if held] == []
    return captured


def settled(shown: Ended) -> Ended:
    return shown._replace(out=VOLATILE.sub(b"", shown.out), err=VOLATILE.sub(b"", shown.err))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_console_is_as_it_was_and_every_byte_is_captured(case: Case, tmp_path: Path) -> None:
    kept = tmp_path / "kept"

    alone = play(case, tmp_path / "there")
    recorded = play(case, tmp_path / "there", kept)

    assert settled(recorded) == settled(alone)
    captured = whole(kept)
    if case.is_captured and not case.merged:
        assert captured.bytes_of("stdout") == (recorded.out if case.out is None else case.out)
        assert captured.bytes_of("stderr") == (recorded.err if case.err is None else case.err)
    elif case.is_captured:
        assert b"".join(chunk.payload for chunk in captured.chunks) == recorded.out
    if case.is_captured:
        assert captured.bytes_of("stdin") == (case.stdin if case.read is None else case.read)
    if case.is_placed:
        assert captured.misplaced() == []


def test_no_two_cases_have_one_name() -> None:
    assert len({case.name for case in (*CASES, *TYPED)}) == len(CASES) + len(TYPED) >= 60


# --- terminals ---


def at_terminal(case: Typed, folder: Path, kept: Path | None = None) -> tuple[int, bytes]:
    folder.mkdir(exist_ok=True)
    (folder / SCRIPT).write_text(numbered(case.code))
    environment = world(TERM="xterm-256color", INPUTRC=os.devnull, PYTHONUNBUFFERED="")
    with Terminal(words(kept), env=environment, cwd=folder) as terminal:
        for awaited, keys in case.keys:
            terminal.wait_for(awaited)
            terminal.send(keys)
        return terminal.wait_exit(), terminal.shown


@pytest.mark.parametrize("case", TYPED, ids=lambda case: case.name)
def test_a_terminal_shows_what_it_showed_and_every_byte_is_captured(case: Typed, tmp_path: Path) -> None:
    kept = tmp_path / "kept"

    alone = at_terminal(case, tmp_path / "there")
    recorded = at_terminal(case, tmp_path / "there", kept)

    assert recorded == alone
    captured = whole(kept)
    console = re.sub(rb"\r+\n", b"\n", recorded[1])
    both = b"".join(chunk.payload for chunk in captured.chunks if chunk.channel != "stdin")
    if case.out is None:
        assert both == console
    else:
        assert captured.bytes_of("stdout") == case.out
    assert captured.bytes_of("stdin") == case.read
    assert captured.misplaced() == []
    assert b"canary-7" not in b"".join(path.read_bytes() for path in kept.iterdir())
