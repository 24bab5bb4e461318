"""The loop between two terminals where one of them is missing, or is shared with the child."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys

import pytest

from tests.sources.hosting import (
    BASH,
    PROMPT,
    Host,
    catches,
    command,
    environment,
    reports,
)
from tests.terminals import Terminal

# --- standard input is no terminal ---


def fed(tmp_path, script: str, *argv: str) -> Terminal:
    """A host whose standard input is a pipe, in a terminal."""
    line = f"{script} | {shlex.join(command('fed', tmp_path / 'report', *argv))}; echo status $?"
    return Terminal(["sh", "-c", line], env=environment())


def test_commands_come_by_a_pipe_and_go_to_the_terminal(tmp_path):
    with fed(
        tmp_path, "echo 'echo $((6*7)); tty </dev/tty >/dev/null && echo tty; exit 3'", "bash"
    ) as terminal:
        terminal.wait_for("42\r\r?\ntty\r\r?\n")
        terminal.wait_for("status 3")


def test_the_end_of_the_pipe_is_the_end_of_the_shell(tmp_path):
    with fed(tmp_path, "printf 'echo one\necho two'", "bash") as terminal:
        terminal.wait_for("one.*two.*status 0")


def test_an_input_of_nothing_ends_a_reader_and_not_the_terminal(tmp_path):
    line = shlex.join(
        command("fed", tmp_path / "report", "sh", "-c", "cat; test -t 1 && echo terminal; exit 4")
    )
    with Terminal(["sh", "-c", f"{line} </dev/null; echo status $?"], env=environment()) as terminal:
        terminal.wait_for("terminal.*status 4")


def test_a_pager_reads_its_keys_from_the_terminal_though_the_text_comes_by_a_pipe(tmp_path):
    program = (
        "import os, sys, termios, tty\n"
        "text = sys.stdin.read()\n"
        "keys = os.open('/dev/tty', os.O_RDWR)\n"
        "before = termios.tcgetattr(keys)\n"
        "tty.setraw(keys)\n"
        "os.write(1, text.encode() + b'press')\n"
        "key = os.read(keys, 1)\n"
        "termios.tcsetattr(keys, termios.TCSANOW, before)\n"
        "print('pressed', key, flush=True)\n"
        "input_over = os.read(keys, 0)\n"
    )
    with fed(tmp_path, "echo words", sys.executable, "-c", program) as terminal:
        terminal.wait_for("words.*press")
        assert terminal.until(terminal.is_raw)
        terminal.send("q")
        terminal.wait_for("pressed b'q'")
        terminal.wait_for("status 0")
        assert not terminal.is_raw()


def test_the_keyboard_stays_with_the_program_that_writes_the_pipe(tmp_path):
    with fed(tmp_path, "cat", "bash") as terminal:
        terminal.until(lambda: reports(tmp_path / "report"))
        terminal.send("echo $((6*7))\n")
        terminal.wait_for("42")
        assert not terminal.is_raw()
        terminal.send("exit 9\n\x04")
        terminal.wait_for("status 9")


def test_ctrl_c_interrupts_what_runs_inside_though_the_terminal_is_not_raw(tmp_path):
    loop = tmp_path / "loop"
    loop.write_text("trap 'echo caught; exit 8' INT; echo ready; while :; do sleep 0.05; done\n")
    typist = f"(trap '' INT; cat {loop}; read x </dev/tty)"
    with fed(tmp_path, typist, "bash") as terminal:
        terminal.wait_for("ready")
        terminal.send("\x03")
        terminal.wait_for("caught")
        terminal.send("\n")
        terminal.until(lambda: [line for line in reports(tmp_path / "report") if "exit" in line])

        assert reports(tmp_path / "report")[-1]["exit"] == 8


# --- without a terminal of its own ---


def test_a_child_that_shares_our_terminal_is_only_waited_for(tmp_path):
    with Host(tmp_path, *BASH, way="plain") as host:
        host.wait_for(PROMPT)
        host.send("tty\r")
        host.wait_for(re.escape(os.ttyname(host.slave)))
        host.send("exit 7\r")

        assert host.wait_exit() == 7


def test_ctrl_c_at_a_shared_terminal_does_not_end_the_host(tmp_path):
    with Host(tmp_path, *BASH, way="plain") as host:
        host.wait_for(PROMPT)
        host.send("echo $((1+1))ready; cat\r")
        host.wait_for("2ready\r\n")
        host.send("one\r")
        host.wait_for("one\r\none\r\n")
        host.send("\x03")
        host.wait_for(PROMPT)
        host.send("exit 4\r")

        assert host.wait_exit() == 4


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_hang_up_reaches_a_child_that_shares_our_terminal(tmp_path):
    with Host(tmp_path, "sh", "-c", "echo ready; read x", way="plain") as host:
        host.wait_for("ready")
        host.until(lambda: catches(host.pid, signal.SIGHUP))
        host.kill(signal.SIGHUP)

        assert host.wait_exit() == 129
