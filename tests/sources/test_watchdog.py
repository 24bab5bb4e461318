"""A host killed with SIGKILL leaves a terminal that one can work in."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest

from devtrace.sources.shell.modes import BRACKETED_PASTE
from devtrace.sources.shell.watchdog import Watchdog
from tests.sources.hosting import (
    BASH,
    OUTSIDE,
    PROMPT,
    Host,
    alive,
    command,
    environment,
    outer_bash,
    reports,
)
from tests.terminals import PATIENCE_S, Terminal

# The host forks while it has one thread; a test runner has more, of which newer Pythons warn.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

EDITOR = (
    "import os, signal, time\n"
    "os.write(1, b'\\x1b[?1049h\\x1b[?1000h\\x1b[?1006h\\x1b[?2004h\\x1b[?25lSCREEN')\n"
    "while True: time.sleep(0.05)\n"  # pause() may miss a signal that came just before
)
OPENED = "\x1b\\[\\?25lSCREEN"
ENDED = "\x1b[?1000l\x1b[?1006l\x1b[?1049l\x1b[?25h"


def start_inside(terminal: Terminal, report: Path, *argv: str) -> dict[str, int]:
    """Type the host's command line into an outer shell; what the host reported first."""
    terminal.send('PS1="$INSIDE" ' + shlex.join(command("pty", report, *argv)) + "\r")
    return terminal.until(lambda: reports(report))[0]


def test_a_killed_host_under_a_shell_leaves_a_sane_terminal(tmp_path):
    with outer_bash() as terminal:
        started = start_inside(terminal, tmp_path / "report", *BASH)
        terminal.wait_for(PROMPT)
        os.kill(started["pid"], signal.SIGKILL)
        terminal.wait_for("Killed")
        terminal.wait_for(OUTSIDE)
        terminal.send("echo wrong\x15echo $((40+2))\r")
        terminal.wait_for("\r42\r\n")
        terminal.wait_for(OUTSIDE)
        terminal.send("stty -a\r")
        settings = terminal.wait_for("speed.*" + OUTSIDE)[0].decode()

        assert re.search(r"(?<!-)icanon", settings)
        assert re.search(r"(?<!-)echo ", settings)
        assert re.search(r"(?<!-)opost", settings)
        terminal.until(lambda: not alive(started["watchdog"]))
        terminal.until(lambda: not alive(started["child"]))


def test_the_modes_that_were_seen_open_are_ended_under_a_shell(tmp_path):
    with outer_bash() as terminal:
        started = start_inside(terminal, tmp_path / "report", sys.executable, "-c", EDITOR)
        terminal.wait_for(OPENED)
        os.kill(started["pid"], signal.SIGKILL)
        terminal.wait_for(re.escape(ENDED))
        terminal.until(lambda: OUTSIDE.encode() in terminal.shown.rpartition(b"SCREEN")[2])


@pytest.mark.parametrize("env", [{}, {"LATE_WATCHDOG": "1"}], ids=["at rest", "before its first turn"])
def test_a_killed_host_with_no_shell_around_it_leaves_a_sane_terminal(tmp_path, env):
    with Host(tmp_path, sys.executable, "-c", EDITOR, env=env) as host:
        before = host.found
        host.wait_for(OPENED)
        assert host.is_raw()
        watchdog, child = host.watchdog, host.child
        host.kill()

        assert host.wait_exit() == -signal.SIGKILL
        host.wait_for(re.escape("\x1b[?1000l\x1b[?1006l\x1b[?2004l\x1b[?1049l\x1b[?25h"))
        host.until(lambda: not alive(watchdog))
        assert host.attributes() == before
        host.until(lambda: not alive(child))


@pytest.mark.parametrize("moment", ["before it is open", "open", "before it is ended"])
def test_whenever_the_host_is_killed_a_mode_is_not_left_open(tmp_path, moment):
    """Between two of its steps too: what the watchdog knows is never less than what the terminal got."""
    code = "print(end='\\x1b[?1000hOPEN', flush=True); input(); print('\\x1b[?1000lEND')"
    before = {"before it is open": "OPEN", "open": "[killed by the test]", "before it is ended": "END"}[
        moment
    ]
    with Host(tmp_path, sys.executable, "-c", code, env={"DIES_BEFORE": before}) as host:
        if moment != "before it is open":
            host.wait_for("OPEN")
            host.kill() if moment == "open" else host.send("\r")

        assert host.wait_exit() == -signal.SIGKILL
        host.wait_for(re.escape("\x1b[?1000l"))
        assert "END" not in host.text


def test_a_mode_whose_end_the_terminal_has_not_taken_yet_is_ended(tmp_path):
    """Nobody reads the terminal: what was printed last waits in the host.

    It is more than a terminal holds, some 18,000 bytes, and less than makes the host stop reading besides.
    """
    code = "print('\\x1b[?1000hOPEN', flush=True); input(); print('x' * 50_000 + '\\x1b[?1000lEND'); input()"
    with Host(tmp_path, sys.executable, "-c", code, env={"TELLS": "END"}) as host:
        host.wait_for("OPEN")
        host.send("\r")
        deadline = time.monotonic() + PATIENCE_S
        while not any("took" in line for line in reports(host.report)):  # and the terminal is not read
            assert time.monotonic() < deadline
            select.select([], [], [], 0.01)
        host.kill()

        assert host.wait_exit() == -signal.SIGKILL
        host.wait_for(re.escape("\x1b[?1000l"))
        assert "END" not in host.text


@pytest.mark.parametrize("interactive", [True, False], ids=["a job of its own", "a script's group"])
def test_a_host_whose_parent_does_not_care_is_cleaned_up_after(tmp_path, interactive):
    """The parent neither reaps the host nor takes the terminal back: only the watchdog can."""
    report = tmp_path / "report"
    code = (
        "import os, signal, subprocess, sys, time\n"
        "host = subprocess.Popen(sys.argv[2:], process_group=0 if sys.argv[1] == 'True' else None)\n"
        "signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
        "if sys.argv[1] == 'True': os.tcsetpgrp(0, host.pid)\n"
        "while True: time.sleep(0.05)\n"  # pause() may miss a signal that came just before
    )
    argv = [
        sys.executable,
        "-c",
        code,
        str(interactive),
        *command("pty", report, "sh", "-c", "echo ready; cat"),
    ]
    with Terminal(argv, env=environment()) as terminal:
        before = terminal.found
        terminal.wait_for("ready")
        terminal.until(terminal.is_raw)
        os.kill(reports(report)[0]["pid"], signal.SIGKILL)

        terminal.until(lambda: terminal.attributes() == before)
        terminal.until(lambda: not alive(reports(report)[0]["watchdog"]))


def test_killing_the_hosts_whole_group_does_not_kill_the_watchdog(tmp_path):
    with outer_bash() as terminal:
        started = start_inside(terminal, tmp_path / "report", sys.executable, "-c", EDITOR)
        terminal.wait_for(OPENED)
        os.killpg(started["pid"], signal.SIGKILL)
        terminal.wait_for(re.escape(ENDED))
        terminal.until(lambda: OUTSIDE.encode() in terminal.shown.rpartition(b"SCREEN")[2])


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP]
)
def test_signals_that_are_meant_for_others_do_not_move_the_watchdog(tmp_path, number):
    with Host(tmp_path, *BASH) as host:
        host.wait_for(PROMPT)
        os.kill(host.watchdog, number)
        host.kill()
        host.wait_exit()
        host.until(lambda: not host.is_raw())
        host.until(lambda: not alive(host.watchdog))


def test_a_terminal_that_somebody_else_took_is_left_as_he_set_it(tmp_path):
    """A stopped host is killed: the outer shell is in front, with the terminal as it likes it."""
    with outer_bash() as terminal:
        started = start_inside(terminal, tmp_path / "report", *BASH)
        terminal.wait_for(PROMPT)
        os.kill(started["pid"], signal.SIGTSTP)
        terminal.wait_for("Stopped")
        terminal.wait_for(OUTSIDE)
        editing = terminal.attributes()
        at = len(terminal.shown)
        os.kill(started["pid"], signal.SIGKILL)
        terminal.until(lambda: not alive(started["watchdog"]))

        assert terminal.attributes() == editing
        assert terminal.shown[at:] == b""


def test_a_host_that_was_stopped_from_outside_and_killed_does_not_disturb_the_shell_in_front(tmp_path):
    with outer_bash() as terminal:
        started = start_inside(terminal, tmp_path / "report", sys.executable, "-c", EDITOR)
        terminal.wait_for(OPENED)
        os.kill(started["pid"], signal.SIGSTOP)
        terminal.wait_for(OUTSIDE)
        editing = terminal.attributes()
        os.kill(started["pid"], signal.SIGKILL)
        terminal.wait_for(re.escape(ENDED))
        terminal.until(lambda: not alive(started["watchdog"]))

        assert terminal.attributes() == editing
        assert b"\x1b[?2004l" not in terminal.shown[terminal.shown.rfind(OUTSIDE.encode()) :]


def test_after_a_normal_end_the_watchdog_is_gone_and_has_said_nothing(tmp_path):
    with Host(tmp_path, "printf", "bye") as host:
        assert host.wait_exit() == 0

        assert host.text == "bye"
        assert not alive(host.watchdog)


def test_a_watchdog_that_was_killed_is_no_trouble(tmp_path):
    with Host(tmp_path, sys.executable, "-c", EDITOR) as host:
        host.wait_for(OPENED)
        os.kill(host.watchdog, signal.SIGKILL)
        host.kill(signal.SIGTERM)

        assert host.wait_exit() == 143


def test_a_terminal_that_takes_nothing_does_not_keep_the_watchdog_for_ever(tmp_path):
    filler = "import os, signal\nos.write(1, b'\\x1b[?1049h')\nwhile True: os.write(1, b'x' * 4096)\n"
    with Host(tmp_path, sys.executable, "-c", filler) as host:
        host.wait_for("\x1b\\[\\?1049h")
        watchdog = host.watchdog
        host.kill()
        host.process.wait(20)

        host.until(lambda: not alive(watchdog))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_watchdog_keeps_nothing_open_but_its_pipe_and_the_terminal(tmp_path):
    with Host(tmp_path, *BASH) as host:
        host.wait_for(PROMPT)
        links = [os.readlink(entry) for entry in Path(f"/proc/{host.watchdog}/fd").iterdir()]

        assert sorted(link.partition(":")[0] for link in links) == [os.ttyname(host.slave), "pipe"]
        host.send("exit\r")
        host.wait_exit()


def test_telling_and_closing_twice_is_harmless():
    master, slave = os.openpty()
    try:
        watchdog = Watchdog.start(slave)
        watchdog.saw(BRACKETED_PASTE)
        watchdog.saw(0)
        watchdog.close()
        watchdog.close()
        watchdog.saw(1)
        assert not alive(watchdog.pid)
    finally:
        os.close(master)
        os.close(slave)
