"""The outer terminal is borrowed: its states are plain, its description is not changed for others."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from devtrace.sources.shell.terminal import COOKED, RAW, RESTORED, OuterTerminal, Size, size_of
from tests.sources.hosting import BASH, PROMPT, Host, environment, reports
from tests.terminals import Terminal


class Pair(NamedTuple):
    master: int
    slave: int


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both ends of a fresh pty."""
    made = Pair(*os.openpty())
    yield made
    for fd in made:
        os.close(fd)


def test_a_terminal_goes_from_cooked_to_raw_and_back(pair):
    before = termios.tcgetattr(pair.slave)
    with OuterTerminal(pair.slave) as outer:
        assert outer.state == COOKED
        outer.raw()
        assert outer.state == RAW
        assert not termios.tcgetattr(pair.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
        outer.cooked()
        assert (outer.state, termios.tcgetattr(pair.slave)) == (COOKED, before)
        outer.raw()
        outer.restore()
        outer.restore()
        assert (outer.state, termios.tcgetattr(pair.slave)) == (RESTORED, before)


def test_an_exception_restores_the_terminal(pair):
    before = termios.tcgetattr(pair.slave)

    def is_interrupted() -> None:
        with OuterTerminal(pair.slave) as outer:
            outer.raw()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        is_interrupted()

    assert termios.tcgetattr(pair.slave) == before


def test_an_exit_that_forgets_the_terminal_restores_it_all_the_same():
    code = (
        "import sys\n"
        "from devtrace.sources.shell.terminal import OuterTerminal\n"
        "outer = OuterTerminal(0).__enter__()\n"
        "outer.raw()\n"
        "print('raw', flush=True)\n"
        "sys.stdin.read(1)\n"
    )
    with Terminal([sys.executable, "-c", code], env=environment()) as terminal:
        before = terminal.found
        terminal.wait_for("raw")
        assert terminal.is_raw()
        terminal.send("x")

        assert terminal.wait_exit() == 0
        assert terminal.attributes() == before


def test_what_was_typed_ahead_survives_the_way_to_raw_and_back(pair):
    os.write(pair.master, b"typed\nahead")
    with OuterTerminal(pair.slave) as outer:
        outer.raw()
        assert os.read(outer.fd, 5) == b"typed"
        outer.cooked()
    os.write(pair.master, b"!\n")

    assert os.read(pair.slave, 100) + os.read(pair.slave, 100) == b"\nahead!\n"


def test_only_our_own_description_of_the_terminal_is_non_blocking(pair):
    with OuterTerminal(pair.slave) as outer:
        assert outer.choice.chosen == "reopened"
        assert not os.get_blocking(outer.fd)
        assert os.get_blocking(pair.slave)
        assert not os.get_inheritable(outer.fd)


def test_the_size_has_rows_columns_and_pixels(pair):
    termios.tcsetwinsize(pair.slave, (33, 111))

    assert size_of(pair.slave) == Size(33, 111, (0, 0))
    with OuterTerminal(pair.slave) as outer:
        assert outer.size == (33, 111, (0, 0))


def test_no_terminal_is_an_error():
    with open(os.devnull) as null:
        with pytest.raises(termios.error):
            OuterTerminal(null.fileno())
        with pytest.raises(OSError, match=os.strerror(errno.ENOTTY)):
            size_of(null.fileno())


def test_a_terminal_that_has_gone_is_restored_without_a_word(pair):
    master, slave = os.openpty()
    with OuterTerminal(slave) as outer:
        outer.raw()
        os.close(master)
    os.close(slave)

    assert outer.state == RESTORED


def test_a_terminal_without_a_name_is_shared_and_the_reason_kept(tmp_path):
    """As in a container that was given a terminal of the machine around it."""
    with Host(tmp_path, *BASH, env={"SHARED": "1"}) as host:
        before = host.found
        host.wait_for(PROMPT)
        assert reports(host.report)[0]["terminal"] == "shared"
        assert os.get_blocking(host.slave)
        host.send("seq 1 20000; echo $((40+2))\r")
        host.wait_for(re.escape("19999\r\n20000\r\n42\r\n"))
        host.send("exit 3\r")

        assert host.wait_exit() == 3
        assert host.attributes() == before


def test_these_modules_load_no_heavy_ones_before_the_shell_is_started():
    """The shell is forked before anything else: what these import is waited for at every start."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "from devtrace.sources.shell import output, pipes, pump, spawn, terminal, watchdog\n"
        "heavy = {'dataclasses', 'inspect', 'subprocess', 'threading', 'logging', 'sqlite3', 'asyncio',\n"
        "         'typer', 'rich', 'json', 'tempfile', 'ptyprocess'}\n"
        "print(*sorted(heavy & (set(sys.modules) - before)))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())

    assert (done.stdout, done.stderr) == ("\n", "")
