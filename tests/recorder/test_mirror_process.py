"""The process behind a mirror, as the system sees it.

Not here: what the program sees of it (test_fd_mirror.py), what it keeps (test_mirror_record.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recorder import mirrors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

_WAITING = "m = begin()\nnative(b'ready\\n')\nsys.stdin.readline()\nnative(b'end\\n')\n"


@pytest.fixture
def program(tmp_path):
    """A program that waits for a line."""
    with mirrors.began(_WAITING, tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as begun:
        assert begun.stdout.readline() == b"ready\n"
        yield begun
        begun.kill()


def status(pid: int) -> dict[str, str]:
    """What /proc says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_it_is_nobodys_child_and_in_a_session_of_its_own(tmp_path, program):
    (pid,) = mirrors.processes(tmp_path)

    assert int(status(pid)["PPid"]) != program.pid
    assert os.getsid(pid) != os.getsid(program.pid)
    assert os.getpgid(pid) == os.getsid(pid)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_its_words_hold_no_secret_and_its_descriptors_none_of_the_program(tmp_path):
    reading, writing = os.pipe()
    with mirrors.began(
        _WAITING, tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[reading, writing]
    ) as begun:
        assert begun.stdout.readline() == b"ready\n"
        (pid,) = mirrors.processes(tmp_path)
        theirs = {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        begun.communicate(b"go\n", mirrors.DEADLINE_S)

    assert os.readlink(f"/proc/self/fd/{reading}") not in theirs
    assert str(mirrors.SESSION).encode() in words
    os.close(writing)
    assert os.read(reading, 1) == b""
    os.close(reading)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP]
)
def test_a_signal_does_not_end_it_before_it_has_drained(tmp_path, program, number):
    (pid,) = mirrors.processes(tmp_path)
    os.kill(pid, number)
    out, _ = program.communicate(b"go\n", mirrors.DEADLINE_S)

    assert out == b"end\n"
    assert mirrors.text(mirrors.recorded(tmp_path), "stdout") == b"ready\nend\n"


def test_what_was_held_back_when_it_was_killed_is_counted(tmp_path, program):
    (pid,) = mirrors.processes(tmp_path)
    held = mirrors.until(
        lambda: [one for one in mirrors.all_records(tmp_path) if one.how == 7], "nothing is held"
    )
    os.kill(pid, signal.SIGKILL)
    program.communicate(b"go\n", mirrors.DEADLINE_S)
    kept = mirrors.recorded(tmp_path)

    last = [one for one in mirrors.all_records(tmp_path) if one.how == 7][-1]
    assert held
    assert last.value + len(mirrors.text(kept, "stdout")) == len(b"ready\n")


def test_it_ends_when_the_last_writer_has(tmp_path, program):
    program.communicate(b"go\n", mirrors.DEADLINE_S)

    mirrors.until(lambda: not mirrors.processes(tmp_path), "it stays")
