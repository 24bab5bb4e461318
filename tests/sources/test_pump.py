"""A program in a traced terminal cannot tell, and neither can the person in front of it."""

from __future__ import annotations

import hashlib
import os
import random
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable

import pytest

from devtrace.sources.shell.output import mark
from tests.sources.hosting import (
    BASH,
    NONCE,
    OUTSIDE,
    PROMPT,
    SPAN,
    Host,
    alive,
    command,
    marked,
    outer_bash,
    reports,
)
from tests.terminals import PATIENCE_S, Terminal

RAW = "import os, sys, termios, tty\ntty.setraw(0)\n"


# --- statuses ---


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_the_status_of_the_child_is_the_hosts(tmp_path, script, code):
    with Host(tmp_path, "sh", "-c", script) as host:
        assert host.wait_exit() == code


def test_end_of_file_at_the_prompt_ends_the_shell_with_its_last_status(tmp_path):
    with Host(tmp_path, *BASH) as host:
        host.wait_for(PROMPT)
        host.send("(exit 5)\r")
        host.wait_for(PROMPT)
        host.send("\x04")

        assert host.wait_exit() == 5


def test_a_program_that_cannot_be_started_is_reported_and_leaves_the_terminal_alone(tmp_path):
    with Host(tmp_path, "no-such-program") as host:
        before = host.found

        assert host.wait_exit() == 1
        assert reports(host.report)[-1]["error"] == "ERR_TARGET_START"
        assert host.attributes() == before


# --- size ---


def test_the_child_has_the_size_of_the_window_and_learns_of_changes(tmp_path):
    program = (
        "import os, signal, time\n"
        "def tell(*_): print(*os.get_terminal_size()[::-1], flush=True)\n"
        "signal.signal(signal.SIGWINCH, tell)\n"
        "tell()\n"
        "while True: time.sleep(0.05)\n"  # pause() may miss a signal that came just before
    )
    with Host(tmp_path, sys.executable, "-c", program, rows=33, cols=111) as host:
        host.wait_for("33 111\r\n")
        host.resize(20, 40)
        host.wait_for("20 40\r\n")
        host.resize(50, 150)
        host.wait_for("50 150\r\n")


def test_columns_follow_the_window_at_the_prompt(tmp_path):
    with Host(tmp_path, *BASH) as host:
        host.wait_for(PROMPT)
        host.resize(24, 40)
        host.wait_for(PROMPT)
        host.send("echo =$COLUMNS=\r")
        host.wait_for("=40=")


# --- bytes ---


def test_every_byte_passes_both_ways(tmp_path):
    program = RAW + (
        "os.write(1, b'ready')\n"
        "count = 0\n"
        "while count < 256:\n    data = os.read(0, 999)\n    count += len(data)\n    os.write(1, data)\n"
    )
    with Host(tmp_path, sys.executable, "-c", program) as host:
        host.wait_for("ready")
        host.send(bytes(range(256)))

        host.wait_for(re.escape(bytes(range(256))))
        assert host.wait_exit() == 0


def test_twenty_megabytes_with_marks_come_out_byte_for_byte(tmp_path):
    dice = random.Random(7)
    parts, expected = [], hashlib.sha256()
    for number in range(400):
        noise = dice.randbytes(dice.randrange(2, 102_400))
        expected.update(noise)
        cut = dice.randrange(len(noise))
        span = f"{number + 1:016x}"
        parts += [noise[:cut], mark(NONCE, "C", span), noise[cut:], mark(NONCE, "D", span)]
    source = tmp_path / "source"
    source.write_bytes(b"".join(parts))
    program = RAW + "import shutil\nshutil.copyfileobj(open(sys.argv[1], 'rb'), open(1, 'wb', 0), 1_000)\n"

    with Host(tmp_path, sys.executable, "-c", program, str(source)) as host:
        assert host.wait_exit(60) == 0

        assert hashlib.sha256(host.shown).digest() == expected.digest()
        kept = host.captured()
        assert [int(one["span"], 16) for one in kept] == list(range(1, 401))
        assert not any(one["approximate"] for one in kept)


def test_two_hundred_short_programs_lose_nothing(tmp_path):
    with Host(tmp_path, "printf", "<%s>", env={"RUNS": "200"}) as host:
        assert host.wait_exit(60) == 0

        assert host.text == "".join(f"<{number}>" for number in range(1, 201))


def test_a_programs_last_words_are_not_lost_when_the_screen_is_slow(tmp_path):
    with Host(tmp_path, "sh", "-c", "head -c 60000 /dev/zero | tr '\\0' x; printf END") as host:
        host.wait_for("END")

        assert host.text == "x" * 60_000 + "END"


def test_a_question_to_the_terminal_passes_untouched_and_so_does_the_answer(tmp_path):
    program = RAW + (
        "os.write(1, b'\\x1b[c\\x1b[6n\\x1b[>0q')\n"
        "answer = b''\n"
        "while not answer.endswith(b'R'):\n    answer += os.read(0, 1)\n"
        "os.write(1, repr(answer).encode())\n"
    )
    with Host(tmp_path, sys.executable, "-c", program) as host:
        host.wait_for(re.escape("\x1b[c\x1b[6n\x1b[>0q"))
        host.send("\x1b[?62;c\x1b[3;4R")
        host.wait_for(re.escape(repr(b"\x1b[?62;c\x1b[3;4R")))


def test_the_beginning_of_a_mark_is_shown_when_nothing_follows(tmp_path):
    with Host(tmp_path, "sh", "-c", r"printf 'a\033]6973;'; read line") as host:
        host.wait_for(re.escape("a\x1b]6973;"))


def test_a_mark_is_found_though_the_screen_stood_still_in_the_middle_of_it(tmp_path):
    """Its rest waits inside while nobody takes what came before it: longer than a beginning is held."""
    stuck = tmp_path / "stuck"
    program = RAW + (
        "import pathlib, select\n"
        "mark = sys.argv[2].encode()\n"
        "data = memoryview((b'x' + mark) * 250_000)\n"
        "os.set_blocking(1, False)\n"
        "while data:\n"
        "    try:\n"
        "        data = data[os.write(1, data[:4_000]):]\n"
        "    except BlockingIOError:\n"
        "        if not select.select([], [1], [], 0.3)[1]:\n"
        "            pathlib.Path(sys.argv[1]).touch()\n"
    )
    begin = mark(NONCE, "C", SPAN).decode()
    with Host(tmp_path, sys.executable, "-c", program, str(stuck), begin) as host:
        without_reading(stuck.exists)

        assert host.wait_exit() == 0
        assert host.shown == b"x" * 250_000


def test_output_is_kept_without_its_marks_and_the_user_sees_none(tmp_path):
    with Host(tmp_path, "sh", "-c", f"printf '{marked('hello')}'; printf bye") as host:
        assert host.wait_exit() == 0

        assert host.text == "hellobye"
        (kept,) = host.captured()
        assert (kept["span"], kept["data"]) == (SPAN, "hello")


# --- the keyboard ---


def test_what_was_typed_before_we_were_ready_reaches_the_shell(tmp_path):
    with Host(tmp_path, *BASH, type_ahead=b"echo $((6*7))\necho $((7*7))\n") as host:
        host.wait_for("42\r\n")
        host.wait_for("49\r\n")


def test_a_megabyte_pasted_at_once_arrives_whole(tmp_path):
    program = RAW + (
        "import hashlib\n"
        "os.write(1, b'ready')\n"
        "sum, count = hashlib.sha256(), 0\n"
        "while count < 1_000_000:\n    data = os.read(0, 500)\n    count += len(data)\n    sum.update(data)\n"
        "print(sum.hexdigest())\n"
    )
    paste = random.Random(1).randbytes(1_000_000)
    with Host(tmp_path, sys.executable, "-c", program) as host:
        host.wait_for("ready")
        host.send(paste)
        host.wait_for(hashlib.sha256(paste).hexdigest())


def test_ctrl_c_interrupts_the_program_inside_and_not_the_host(tmp_path):
    with Host(tmp_path, *BASH) as host:
        host.wait_for(PROMPT)
        host.send("echo $((1+1))ready; cat\r")
        host.wait_for("2ready\r\n")
        host.send("typed\r")
        host.wait_for("typed\r\ntyped\r\n")
        host.send("\x03")
        host.wait_for(PROMPT)
        host.send("echo $?\r")
        host.wait_for("130\r\n")


def test_ctrl_z_and_fg_belong_to_the_shell_inside(tmp_path):
    with Host(tmp_path, *BASH) as host:
        host.wait_for(PROMPT)
        host.send("echo $((1+1))ready; cat\r")
        host.wait_for("2ready\r\n")
        host.send("one\r")
        host.wait_for("one\r\none\r\n")
        host.send("\x1a")
        host.wait_for("Stopped")
        host.wait_for(PROMPT)
        host.send("fg\r")
        host.wait_for("fg\r\n.*cat\r\n")
        host.send("two\r")
        host.wait_for("two\r\ntwo\r\n")
        host.send("\x04")
        host.wait_for(PROMPT)
        host.send("exit\r")

        assert host.wait_exit() == 0


def test_keys_reach_the_program_while_nobody_reads_the_screen(tmp_path):
    """A terminal that takes no more output, as after Ctrl-S: Ctrl-C must get through."""
    stuck, interrupted = tmp_path / "stuck", tmp_path / "interrupted"
    program = (
        "import os, pathlib, select, signal, sys\n"
        "stuck, interrupted = map(pathlib.Path, sys.argv[1:])\n"
        "signal.signal(signal.SIGINT, lambda *a: (interrupted.touch(), os._exit(3)))\n"
        "os.set_blocking(1, False)\n"
        "while True:\n"
        "    try:\n"
        "        os.write(1, b'x' * 4096)\n"
        "    except BlockingIOError:\n"
        "        if not select.select([], [1], [], 0.3)[1]:\n"
        "            stuck.touch()\n"
    )
    with Host(tmp_path, sys.executable, "-c", program, str(stuck), str(interrupted)) as host:
        without_reading(stuck.exists)
        os.write(host.master, b"\x03")
        without_reading(interrupted.exists)

        assert host.wait_exit() == 3
        assert len(host.shown) < 1_000_000


def without_reading(claim: Callable[[], bool]) -> None:
    """Wait for the claim as nobody who looks at the screen would."""
    quiet, end = os.pipe()
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not claim():
            assert time.monotonic() < deadline
            select.select([quiet], [], [], 0.01)
    finally:
        os.close(quiet)
        os.close(end)


# --- how it ends ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_to_the_host_restores_the_terminal_and_ends_the_shell(tmp_path, number):
    with Host(tmp_path, *BASH) as host:
        before = host.found
        host.wait_for(PROMPT)
        assert host.is_raw()
        child = host.child
        host.kill(number)

        assert host.wait_exit() == 128 + number
        assert host.attributes() == before
        assert not alive(child)


def test_the_program_in_front_gets_the_hang_up_too(tmp_path):
    heard = tmp_path / "heard"
    program = (
        "import os, pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGHUP, lambda *_: (pathlib.Path(sys.argv[1]).touch(), os._exit(0)))\n"
        "print('read' + 'y', flush=True)\n"
        "while True: time.sleep(0.05)\n"  # pause() may miss a signal that came just before
    )
    with Host(tmp_path, *BASH) as host:
        host.wait_for(PROMPT)
        host.send(shlex.join([sys.executable, "-c", program, str(heard)]).replace("\n", "\x16\n") + "\r")
        host.wait_for("ready\r\n")
        host.kill(signal.SIGTERM)

        assert host.wait_exit() == 143
        host.until(heard.exists)


def test_a_child_that_ignores_the_hang_up_is_killed(tmp_path):
    with Host(tmp_path, "sh", "-c", "trap '' HUP; echo ready; while :; do read x; done") as host:
        host.wait_for("ready")
        child = host.child
        host.kill(signal.SIGTERM)

        assert host.wait_exit() == 143
        assert not alive(child)


def test_the_user_who_is_impatient_signals_twice(tmp_path):
    with Host(tmp_path, "sh", "-c", "trap '' HUP; echo ready; while :; do read x; done") as host:
        host.wait_for("ready")
        host.kill(signal.SIGTERM)
        host.kill(signal.SIGINT)

        assert host.wait_exit() == 143


def test_a_failure_of_ours_restores_the_terminal(tmp_path):
    with Host(tmp_path, *BASH, env={"BUG": "1"}) as host:
        before = host.found

        assert host.wait_exit() == 1
        assert "a bug of ours" in host.text
        assert host.attributes() == before
        assert not alive(host.child)


def test_odd_settings_of_the_terminal_are_there_again_and_inside(tmp_path):
    def odd(attributes):
        attributes[0] &= ~termios.IXON
        attributes[6][termios.VERASE] = b"\x08"

    with Host(tmp_path, *BASH, attributes=odd) as host:
        before = host.found
        host.wait_for(PROMPT)
        host.send("stty -a\r")
        host.wait_for(r"erase = \^H;.*-ixon")
        host.send("exit\r")

        assert host.wait_exit() == 0
        assert host.attributes() == before


def test_a_terminal_that_goes_away_hangs_up_the_shell(tmp_path):
    host = Host(tmp_path, *BASH)
    host.wait_for(PROMPT)
    child = host.child

    host.close()

    assert host.process.returncode == 129
    assert not alive(child)


def test_a_job_left_behind_does_not_hold_up_the_end(tmp_path):
    script = "trap '' HUP; sleep 300 & echo $!; exit 4"
    with Host(tmp_path, "sh", "-c", script) as host:
        job = int(host.wait_for(r"(\d+)\r\n")[1])
        try:
            assert host.wait_exit() == 4
            assert alive(job)
        finally:
            os.kill(job, signal.SIGKILL)


def test_a_program_that_closes_its_terminal_is_waited_for_and_may_come_back(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = (
        f"echo leaving; exec <&- >&- 2>&-; read x <{shlex.quote(str(gate))}; echo back $x >/dev/tty; exit 6"
    )
    with Host(tmp_path, "sh", "-c", script) as host:
        host.wait_for("leaving")
        with gate.open("w") as pipe:
            pipe.write("again\n")
        host.wait_for("back again")

        assert host.wait_exit() == 6


def test_modes_that_a_killed_program_left_open_are_ended(tmp_path):
    script = r"printf '\033[?1049h\033[?1000h\033[?25l'; kill -9 $$"
    with Host(tmp_path, "sh", "-c", script) as host:
        assert host.wait_exit() == 137
        assert host.text.endswith("\x1b[?1000l\x1b[?1049l\x1b[?25h")


def test_modes_that_a_program_leaves_open_on_purpose_stay_open(tmp_path):
    with Host(tmp_path, "printf", "\x1b[?1049h\x1b=") as host:
        assert host.wait_exit() == 0
        assert host.text == "\x1b[?1049h\x1b="


# --- under another shell ---


def run_inside(terminal: Terminal, tmp_path, *argv: str, way: str = "pty") -> int:
    """Start a host in an outer shell; its process id."""
    report = tmp_path / "report"
    terminal.send('PS1="$INSIDE" ' + shlex.join(command(way, report, *argv)) + "\r")
    return int(terminal.until(lambda: reports(report))[0]["pid"])


def test_a_stopped_host_gives_the_terminal_back_and_takes_it_again(tmp_path):
    with outer_bash() as terminal:
        host = run_inside(terminal, tmp_path, *BASH)
        terminal.wait_for(PROMPT)
        os.kill(host, signal.SIGTSTP)
        terminal.wait_for("Stopped")
        terminal.wait_for(OUTSIDE)
        terminal.send("echo $((40+2))\r")
        terminal.wait_for("42\r\n")
        terminal.wait_for(OUTSIDE)  # readline reads and sets the size as it draws its prompt
        terminal.resize(30, 90)
        terminal.send("fg\r")
        terminal.wait_for("small_host")
        terminal.send("stty size\r")
        terminal.wait_for("30 90\r\n")
        terminal.send("exit 3\r")
        terminal.wait_for(OUTSIDE)
        terminal.send("echo status $?\r")
        terminal.wait_for("status 3\r\n")


def test_a_host_started_in_the_background_waits_until_it_is_in_front(tmp_path):
    with outer_bash() as terminal:
        editing = terminal.attributes()
        line = shlex.join(command("pty", tmp_path / "report", "sh", "-c", "read x; echo got $x; exit 2"))
        terminal.send(f"{line} &\r")
        host = int(terminal.wait_for(r"\[1\] (\d+)")[1])
        terminal.until(lambda: is_stopped(host))
        terminal.send("echo $((40+2))\r")
        terminal.wait_for("42\r\n")
        terminal.wait_for(OUTSIDE)
        assert terminal.attributes() == editing
        terminal.send("fg\r")
        terminal.until(terminal.is_raw)
        terminal.send("words\r")
        terminal.wait_for("got words")
        terminal.wait_for(OUTSIDE)


def is_stopped(pid: int) -> bool:
    """Whether the process waits for somebody to continue it."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.startswith("T")


def test_suspend_inside_brings_the_outer_shell_back(tmp_path):
    with outer_bash() as terminal:
        run_inside(terminal, tmp_path, *BASH)
        terminal.wait_for(PROMPT)
        terminal.send("suspend\r")
        terminal.wait_for("Stopped")
        terminal.wait_for(OUTSIDE)
        terminal.send("fg\r")
        terminal.wait_for("small_host")
        terminal.send("echo $((40+2))\r")
        terminal.wait_for("42\r\n")


def test_a_full_screen_program_steps_aside_when_the_host_is_stopped(tmp_path):
    program = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGWINCH, lambda *_: os.write(1, b'REDRAWN'))\n"
        "os.write(1, b'\\x1b[?1049h\\x1b[?1002hSCREEN')\n"
        "while True: time.sleep(0.05)\n"  # pause() may miss a signal that came just before
    )
    with outer_bash() as terminal:
        host = run_inside(terminal, tmp_path, sys.executable, "-c", program)
        terminal.wait_for("\x1b\\[\\?1002hSCREEN")
        os.kill(host, signal.SIGTSTP)
        terminal.wait_for(re.escape("\x1b[?1002l\x1b[?1049l"))
        terminal.wait_for(OUTSIDE)
        terminal.send("fg\r")
        terminal.wait_for(re.escape("\x1b[?1049h") + ".*" + re.escape("\x1b[?1002h") + ".*REDRAWN")


def test_a_host_stopped_under_load_loses_nothing(tmp_path):
    with outer_bash() as terminal:
        host = run_inside(terminal, tmp_path, "bash", "-c", "read x; seq 1 100000; echo END; read x")
        terminal.until(terminal.is_raw)
        terminal.send("\r")
        for number in (20_000, 40_000, 60_000):
            terminal.wait_for(f"\n{number}\r\n")
            os.kill(host, signal.SIGSTOP)
            terminal.wait_for(OUTSIDE)
            terminal.send("fg\r")
        terminal.wait_for("END\r\n")
        talk = rb"\r\n\[1\]\+  Stopped.*?fg\r\n[^\n]*\r\n"
        shown, count = re.subn(talk, b"", terminal.shown, flags=re.DOTALL)
        assert count == 3
        assert shown.endswith(b"".join(b"%d\r\n" % number for number in range(1, 100_001)) + b"END\r\n")


def test_the_outer_shell_has_its_line_editing_back(tmp_path):
    with outer_bash() as terminal:
        run_inside(terminal, tmp_path, "true")
        terminal.wait_for(OUTSIDE)
        terminal.send("echo wrong\x15echo $((40+2))\r")
        terminal.wait_for("\r42\r\n")


def test_a_shell_that_suspends_itself_suspends_the_host_that_shares_its_terminal(tmp_path):
    with outer_bash() as terminal:
        run_inside(terminal, tmp_path, *BASH, way="plain")
        terminal.wait_for(PROMPT)
        terminal.send("suspend\r")
        terminal.wait_for("Stopped")
        terminal.wait_for(OUTSIDE)
        terminal.send("fg\r")
        terminal.wait_for("small_host")
        terminal.send("echo $((40+2))\r")
        terminal.wait_for("42\r\n")
        terminal.send("exit 3\r")
        terminal.wait_for(OUTSIDE)
        terminal.send("echo status $?\r")
        terminal.wait_for("status 3\r\n")
