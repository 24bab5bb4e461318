"""How a stdio server begins and ends is the same with the proxy in between: status, signals, ends of file.

Not here: what passes in between (test_stdio_bytes.py), a recording process that dies (test_recorder.py).
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import termios
from pathlib import Path

import pytest

from tests.mcp.nasty_client import PROXIED, Outcome, Talk, played, recorded
from tests.mcp.test_stdio_bytes import read
from tests.processes import environment

ENDING = ["SIGTERM", "SIGINT", "SIGHUP"]
on_linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="because there is no /proc")


# --- the status ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 7, 127, 255])
def test_the_exit_status_is_the_servers(tmp_path: Path, status: int) -> None:
    """It leaves while its client still has both pipes open."""

    def play(talk: Talk) -> Outcome:
        talk.call("echo")
        talk.say(id=2, method="tools/call", params={"name": "leave", "arguments": {"status": status}})
        return talk.ended()

    assert played(play, tmp_path).ended == f"exit {status}"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGPIPE"])
def test_a_server_that_a_signal_killed_looks_killed(tmp_path: Path, name: str) -> None:
    number = signal.Signals[name]

    def play(talk: Talk) -> Outcome:
        talk.say(id=2, method="tools/call", params={"name": "leave", "arguments": {"signal": number}})
        return talk.ended()

    assert played(play, tmp_path).ended == f"signal {name}"


# --- ends of file -------------------------------------------------------------------------------------------


def test_a_server_sees_the_end_of_its_input_and_may_still_write(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.call("echo")
        return talk.finish()

    outcome = played(play, tmp_path, "last-words")
    assert outcome.report[0] == ["eof"]
    assert outcome.lines[-1] == b'{"jsonrpc":"2.0","method":"last/words"}'
    assert outcome.ended == "exit 0"


def test_a_server_may_close_its_output_and_live_on(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.call("hush")
        talk.until_silent()
        assert talk.process.poll() is None
        talk.say(method="notifications/more")
        return talk.finish()

    outcome = played(play, tmp_path, "reports-lines")
    assert "notifications/more" in outcome.report[1][1]
    assert outcome.ended == "exit 5"


def test_a_server_without_input_ends_as_it_does_alone(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        return talk.ended()

    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        assert played(play, tmp_path, stdin=nothing).report == [["eof"], ["signals", 1], read(b"")]
    finally:
        os.close(nothing)


def test_standard_streams_may_be_such_that_do_not_wait(tmp_path: Path) -> None:
    """As a program that used the same terminal or pipe before may have left them."""

    def play(talk: Talk) -> Outcome:
        talk.call("echo")
        return talk.finish(len(talk.call("large", 2, {"bytes": 1 << 20})["result"]["content"][0]["text"]))

    outcome = played(play, tmp_path, preexec_fn=lambda: [os.set_blocking(fd, False) for fd in (0, 1)])
    assert outcome.returned == 1 << 20
    assert outcome.ended == "exit 0"


def test_a_server_finds_a_broken_pipe_when_the_client_is_gone(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.call("echo")
        talk.close_stdout()
        for id in range(50):  # the first may still go into a pipe that nobody will read
            talk.say(id=id, method="tools/call", params={"name": "large", "arguments": {"bytes": 100_000}})
        outcome = talk.ended()
        return outcome._replace(report=outcome.report[:1])

    outcome = played(play, tmp_path)
    assert outcome.report == [["epipe"]]
    assert outcome.ended == "exit 3"


def test_what_a_grandchild_writes_still_passes(tmp_path: Path) -> None:
    """It has the server's standard output, and outlives it."""
    os.mkfifo(tmp_path / "hold")

    def play(talk: Talk) -> Outcome:
        talk.call("echo")
        talk.flush()
        talk.close_stdin()
        talk.wait_for("read")
        if talk.way is PROXIED:
            with pytest.raises(subprocess.TimeoutExpired):
                talk.process.wait(1)  # it does not go while somebody may still write
        os.close(holds.pop())
        return talk.ended()

    holds: list[int] = []
    with_hold = environment(NASTY_HOLD=str(tmp_path / "hold"))

    def held(talk: Talk) -> Outcome:
        holds.append(os.open(tmp_path / "hold", os.O_RDWR))
        return play(talk)

    outcome = played(held, tmp_path, "leaves-a-grandchild", env=with_hold)
    assert outcome.lines[-1] == b'{"jsonrpc":"2.0","method":"grandchild/words"}\n'
    assert outcome.ended == "exit 0"


# --- signals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENDING)
def test_a_signal_that_ends_the_server_ends_it(tmp_path: Path, name: str) -> None:
    def play(talk: Talk) -> Outcome:
        talk.call("echo")
        os.kill(talk.process.pid, signal.Signals[name])
        return talk.ended()

    assert played(play, tmp_path).ended == f"signal {name}"


@pytest.mark.parametrize("name", ENDING)
def test_a_server_that_tidies_up_at_a_signal_can(tmp_path: Path, name: str) -> None:
    number = signal.Signals[name]

    def play(talk: Talk) -> Outcome:
        talk.call("echo")
        os.kill(talk.process.pid, number)
        return talk.ended()

    outcome = played(play, tmp_path, f"notes-{name}")
    assert outcome.report == [["signal", name]]
    assert outcome.ended == f"exit {30 + number}"


def test_a_server_that_is_deaf_to_a_signal_goes_on(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.call("echo")
        os.kill(talk.process.pid, signal.SIGTERM)
        talk.wait_for("signal", "SIGTERM")
        talk.call("echo", 2)
        return talk.finish()

    outcome = played(play, tmp_path, "deaf-SIGTERM")
    assert outcome.ended == "exit 0"
    assert len(outcome.lines) == 3


def test_a_signal_to_the_whole_group_ends_both(tmp_path: Path) -> None:
    """As the Python SDK ends its servers."""

    def play(talk: Talk) -> Outcome:
        talk.call("echo")
        os.killpg(talk.process.pid, signal.SIGTERM)
        return talk.ended()

    assert played(play, tmp_path).ended == "signal SIGTERM"


def test_ctrl_c_at_a_terminal_reaches_the_server_once(tmp_path: Path) -> None:
    """The key goes to all of the foreground: the server has it already when the proxy could pass it on."""
    keys, terminal = os.openpty()

    def play(talk: Talk) -> Outcome:
        talk.call("echo")
        if talk.way is PROXIED:  # it finds its own later, or a second one could not be told from the first
            os.kill(talk.process.pid, signal.SIGSTOP)
        os.write(keys, b"\x03")
        talk.wait_for("signal", "SIGINT")
        os.kill(talk.process.pid, signal.SIGCONT)
        talk.call("echo", 2)
        return talk.finish()

    def foreground() -> None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    try:
        outcome = played(play, tmp_path, "deaf-SIGINT", preexec_fn=foreground)
    finally:
        os.close(keys)
        os.close(terminal)
    assert outcome.report[:-1] == [["signal", "SIGINT"], ["eof"], ["signals", 2]]


@on_linux
def test_kill_9_of_the_proxy_leaves_no_process(tmp_path: Path) -> None:
    """The server finds the end of its input; `Talk` waits until nothing of the run is left."""
    with Talk(PROXIED, recorded(tmp_path / "place")) as talk:
        talk.call("echo")
        talk.process.kill()
        talk.wait_for("eof")


# --- where a server finds itself ----------------------------------------------------------------------------


@on_linux
def test_a_server_finds_the_same_world(tmp_path: Path) -> None:
    """Arguments, directory, environment, open files, umask; none of it is always text."""
    words = ("--", "-h", "--name", "", "two words", "new\nline", "\udcff\udcfe", "$HOME", "é")
    with_bytes = environment(ODD="\udcff", EMPTY="", LINES_="a\nb")

    def play(talk: Talk) -> Outcome:
        return talk.finish(talk.call("world")["result"]["structuredContent"])

    world = played(play, tmp_path, *words, env=with_bytes).returned
    assert world["argv"] == list(words)
    assert world["cwd"] == str(tmp_path / "place")
    assert {"ODD=\xff", "EMPTY=", "LINES_=a\nb"} <= set(world["environ"])


@on_linux
def test_a_server_finds_no_locale_that_was_not_there(tmp_path: Path) -> None:
    """In the C locale Python puts LC_CTYPE into its environment, and that would be handed on (PEP 538)."""
    bare = {name: value for name, value in environment().items() if not name.startswith(("LC_", "LANG"))}

    def play(talk: Talk) -> Outcome:
        return talk.finish(talk.call("world")["result"]["structuredContent"]["environ"])

    environ = played(play, tmp_path, env=bare).returned
    assert [entry for entry in environ if entry.startswith("LC_")] == []


@on_linux
@pytest.mark.needs("grep")
def test_a_server_finds_no_signal_blocked_or_ignored(tmp_path: Path) -> None:
    """But for 32 and 33, which glibc keeps for itself, and which its posix_spawn leaves ignored."""

    def play(talk: Talk) -> Outcome:
        outcome = talk.ended()
        masks = [int(line.split()[1], 16) & ~(0b11 << 31) for line in outcome.lines]
        return outcome._replace(received=b"", returned=masks)

    shown = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    outcome = played(play, tmp_path, program=shown)
    assert outcome.returned == [0, 0]


# --- a server that cannot be started ------------------------------------------------------------------------


def refused(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        PROXIED.command(command), cwd=recorded(folder), env=environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_program_that_is_not_there_ends_with_127(tmp_path: Path) -> None:
    done = refused(tmp_path, "no-such-server", "stdio")

    assert (done.returncode, done.stdout) == (127, "")
    assert "no-such-server" in done.stderr
    assert "ERR_TARGET_START" in done.stderr


def test_a_program_that_may_not_be_run_ends_with_126(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("print()")

    done = refused(tmp_path, str(tmp_path / "server.py"))

    assert (done.returncode, done.stdout) == (126, "")
    assert "ERR_TARGET_START" in done.stderr
