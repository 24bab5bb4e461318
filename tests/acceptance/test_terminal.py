"""The terminal under a traced shell: neither programs nor keys nor shells can tell that we are there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.record import Command, Session
from tests.acceptance.traced import CTRL_C, CTRL_D, CTRL_Z, Shell

ASKS = """\
import os, sys, termios, tty
before = termios.tcgetattr(0)
tty.setraw(0)
os.write(1, {question!r})
answer = b""
while not answer.endswith({end!r}):
    answer += os.read(0, 1)
termios.tcsetattr(0, termios.TCSADRAIN, before)
print("answered", answer)
"""


STAYS = """\
#!/bin/sh
trap 'echo contin''ues' CONT
echo wai''ting
tries=0  # a signal ends a read; the end of the terminal ends them all
until read line; do tries=$((tries + 1)); [ $tries -lt 9 ] || exit 1; done
echo got $line
"""


def printed(command: Command) -> bytes:
    """What the command printed, be it nothing."""
    return command.printed or b""


def asks(shell: Shell, question: bytes, end: bytes) -> str:
    """A command that asks the terminal and prints what it was answered."""
    file = shell.writes("asks.py", ASKS.format(question=question, end=end))
    return f"{sys.executable} {file}"


# --- the window's size --------------------------------------------------------------------------------------


def test_a_program_has_the_size_of_the_window_and_learns_of_changes(shell: Shell) -> None:
    shell.starts(rows=31, cols=97).types("stty size", until="31 97\r\n").waits_for(shell.ready)

    shell.on_screen.resize(40, 123)
    shell.types("stty size", until="40 123\r\n").waits_for(shell.ready)

    assert [one.printed for one in shell.session.commands()] == [b"31 97\r\n", b"40 123\r\n"]


def test_a_program_that_waits_for_a_change_of_size_is_told(shell: Shell) -> None:
    shell.program(
        "watches",
        f"#!{sys.executable}\n"
        "import os, signal, time\n"
        "told = []\n"
        "signal.signal(signal.SIGWINCH, lambda *_: told.append(os.get_terminal_size()))\n"
        "print('watch' 'ing', flush=True)\n"
        "while not told: time.sleep(0.05)\n"  # pause() may miss one
        "print('now', told[-1].lines, told[-1].columns)\n",
    )
    shell.starts().types("watches", until="watching\r\n")

    shell.on_screen.resize(33, 111)
    shell.waits_for("now 33 111\r\n")
    shell.waits_for(shell.ready)

    assert shell.command_alone.exit_code == 0


def test_the_size_that_the_session_began_with_is_kept(shell: Shell) -> None:
    shell.starts(rows=31, cols=97).types("true")

    assert [shell.session.row["meta"][name] for name in ("rows", "cols")] == [31, 97]


# --- full-screen programs -----------------------------------------------------------------------------------


@pytest.mark.needs("vim")
@pytest.mark.parametrize("keys", [":q!\r", "ihello\x1b:wq! written\r"])
def test_after_an_editor_the_terminal_is_what_it_was(shell: Shell, keys: str) -> None:
    before = shell.on_screen.attributes()

    shell.types("stty -a >before").types("vim -u NONE -i NONE -n", until="VIM - Vi IMproved").presses(keys)
    shell.types("stty -a >after")

    assert (shell.here / "after").read_text() == (shell.here / "before").read_text()
    assert (shell.here / "written").exists() == ("written" in keys)
    assert [code for _, code in shell.session.told()] == [0, 0, 0]
    assert shell.on_screen.attributes() != before  # it was ours while the shell ran
    assert not shell.on_screen.is_raw()


@pytest.mark.needs("vim")
def test_an_editor_may_be_stopped_and_continued(shell: Shell) -> None:
    shell.types("vim -u NONE -i NONE -n text", until=r"\x1b\[\?1049h.*text").presses(CTRL_Z)
    shell.types("echo between", until="between\r\n").waits_for(shell.ready)
    shell.types("fg", until=r"\x1b\[\?1049h").presses("ihello\x1b:wq\r")

    assert (shell.here / "text").read_text() == "hello\n"
    stopped, between, continued = shell.session.commands()
    assert (between.printed, continued.command, continued.exit_code) == (b"between\r\n", "fg", 0)
    assert b"hello" not in printed(continued)
    assert stopped.command == "vim -u NONE -i NONE -n text"


@pytest.mark.needs("tmux")
def test_tmux_runs_inside_and_its_own_shells_are_not_recorded_twice(shell: Shell) -> None:
    shell.writes(".tmux.conf", "set -g default-command 'echo in tm\"\"ux; read line; echo got $line'\n")

    name = f"traced-{os.urandom(4).hex()}"  # a server of its own: the other shells are tried at the same time
    shell.types(f"tmux -L {name} -f ~/.tmux.conf new-session", until="in tmux")
    shell.presses("answer\r", until=r"\[exited\]")
    shell.waits_for(shell.ready)
    shell.types("echo after")

    inside, after = shell.session.commands()
    assert (inside.exit_code, after.printed) == (0, b"after\r\n")
    assert b"in tmux" not in printed(inside)
    assert inside.output["alternate_screen"] > 0


@pytest.fixture(autouse=True)
def _no_server_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "tmux" in request.node.name:
        subprocess.run(["tmux", "-L", "traced", "kill-server"], capture_output=True, check=False)


# --- questions to the terminal ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (b"\x1b[6n", b"\x1b[12;40R"),
        (b"\x1b[c", b"\x1b[?62;22c"),
        (b"\x1b[>c", b"\x1b[>41;370;0c"),
        (b"\x1b[>q", b"\x1bP>|xterm(370)\x1b\\"),
        (b"\x1b]11;?\x07", b"\x1b]11;rgb:0000/0000/0000\x07"),
    ],
    ids=["cursor", "attributes", "version", "name", "background"],
)
def test_a_question_reaches_the_terminal_and_its_answer_the_program(
    shell: Shell, question: bytes, answer: bytes
) -> None:
    line = asks(shell, question, answer[-1:])

    shell.starts().sends(f"{line}\r").waits_for(b"\n" + b".*?" + re.escape(question))
    shell.sends(answer)
    shell.waits_for(re.escape(f"answered {answer!r}\r\n"))
    shell.waits_for(shell.ready)

    assert shell.command_alone.printed == question + f"answered {answer!r}\r\n".encode()


def test_keys_reach_a_raw_program_byte_for_byte(shell: Shell) -> None:
    keys = bytes(set(range(1, 256)) - {ord("q")})
    line = asks(shell, b"go\x07", b"q")

    shell.starts().sends(f"{line}\r").waits_for("go\x07")
    shell.sends(keys + b"q")
    shell.waits_for(re.escape(f"answered {keys + b'q'!r}\r\n"))
    shell.waits_for(shell.ready)

    assert shell.command_alone.exit_code == 0


# --- keys that mean something -------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "number"), [(CTRL_C, 2), ("\x1c", 3)], ids=["ctrl-c", "ctrl-backslash"])
def test_a_key_that_interrupts_interrupts_the_program_alone(shell: Shell, key: str, number: int) -> None:
    shell.program("waits", "#!/bin/sh\nulimit -c 0\necho wai''ting\nexec cat\n")

    shell.types("waits", until="waiting").presses(key).types("true")

    assert shell.session.told() == [("waits", 128 + number), ("true", 0)]


def test_a_program_that_handles_the_interrupt_ends_as_it_likes(shell: Shell) -> None:
    shell.program("handles", "#!/bin/sh\ntrap 'echo caught; exit 5' INT\necho wai''ting\nread line\n")

    shell.types("handles", until="waiting").presses(CTRL_C)

    assert (shell.command_alone.exit_code, b"caught" in printed(shell.command_alone)) == (5, True)


def test_the_end_of_file_reaches_the_program_and_not_the_shell(shell: Shell) -> None:
    shell.types("cat; echo cat is do''ne", until="\n").presses(f"one\r{CTRL_D}", until="cat is done")
    shell.waits_for(shell.ready)
    shell.types("true")

    assert [code for _, code in shell.session.told()] == [0, 0]


def test_a_job_goes_to_the_background_and_comes_back(shell: Shell) -> None:
    shell.program("stays", STAYS)

    shell.types("stays", until="waiting").presses(CTRL_Z).types("jobs")
    shell.types("fg", until="continues").presses("answer\r", until="got answer\r\n")
    shell.waits_for(shell.ready)

    _, jobs, continued = shell.session.commands()
    assert b"stays" in printed(jobs)
    assert (continued.command, continued.exit_code) == ("fg", 0)
    assert printed(continued).endswith(b"got answer\r\n")


@pytest.mark.parametrize("number", [1, 6, 9, 15])
def test_a_shell_that_a_signal_ends_ends_us_with_128_and_its_number(shell: Shell, number: int) -> None:
    """A program in the shell's place: an interactive shell ignores some of them."""
    shell.runs([*shell.command("--", "sh", "-c", f"ulimit -c 0; kill -{number} $$")])

    assert shell.ends(None) == 128 + number
    assert shell.command_alone.exit_code == 128 + number
    assert not shell.on_screen.is_raw()


# --- a traced shell in a traced shell -----------------------------------------------------------------------


def nested(shell: Shell) -> Session:
    """The one session inside."""
    (child,) = shell.session.children()
    return child


def begin_nested(shell: Shell, *options: str) -> str:
    line = " ".join(["devtrace shell --shell", shell.kind.path, *options])
    shell.types(line)
    return line


def test_a_traced_shell_inside_is_a_session_of_its_own_below_its_command(shell: Shell) -> None:
    shell.types("echo outside")
    line = begin_nested(shell, "--label inner")
    shell.types("echo inside").types("false").sends("exit 7\r").waits_for(shell.ready)
    shell.types("echo outside again")

    assert shell.session.told() == [("echo outside", 0), (line, 7), ("echo outside again", 0)]
    child = nested(shell)
    assert child.told() == [("echo inside", 0), ("false", 1), ("exit 7", 7)]
    assert [row["title"] for row in [child.row]] == ["inner"]
    assert child.row["parent_event"] == shell.session.commands()[1].id
    assert (child.row["exit_code"], child.row["status"], child.gaps()) == (7, "ended", [])
    child.is_sound()


def test_the_outer_shell_keeps_the_output_of_the_inner_one_and_no_mark_of_it(shell: Shell) -> None:
    begin_nested(shell)
    shell.types("echo in''side").sends("exit\r").waits_for(shell.ready)
    shell.types("echo after")

    inner, after = shell.session.commands()
    assert b"inside\r\n" in printed(inner)
    assert b"6973" not in printed(inner)
    assert (inner.output["approximate"], after.printed) == (False, b"after\r\n")
    assert [one.data["output"] for one in nested(shell).commands()] == [None, None]


def test_the_commands_of_each_shell_find_their_own_session(shell: Shell) -> None:
    shell.types("env >outside")
    begin_nested(shell)
    shell.types("env >inside").sends("exit\r").waits_for(shell.ready)
    shell.types("env >again")
    shell.ends()

    told = {}
    for name in ("outside", "inside", "again"):
        lines = (shell.here / name).read_text().splitlines()
        told[name] = dict(line.split("=", 1) for line in lines if "=" in line)
    child = nested(shell)
    first, inner, again = shell.session.commands()
    assert [told[name]["DEVTRACE_SESSION"] for name in told] == [shell.session.id, child.id, shell.session.id]
    assert [told[name]["DEVTRACE_SPAN"] for name in told] == [first.id, child.commands()[0].id, again.id]
    assert (
        told["inside"]["DEVTRACE_FIFO"] != told["outside"]["DEVTRACE_FIFO"] == told["again"]["DEVTRACE_FIFO"]
    )
    assert child.row["parent_event"] == inner.id


def test_three_traced_shells_inside_one_another_are_three_sessions(shell: Shell) -> None:
    shell.starts()
    begin_nested(shell)
    begin_nested(shell)
    shell.types("echo innermost").sends("exit 3\r").waits_for(shell.ready)
    shell.sends("exit 4\r").waits_for(shell.ready)

    (child,) = shell.session.children()
    (grandchild,) = child.children()
    assert grandchild.told() == [("echo innermost", 0), ("exit 3", 3)]
    assert [code for _, code in child.told()] == [3, 4]
    assert [code for _, code in shell.session.told()] == [4]


def test_a_shell_that_is_started_plainly_inside_is_one_command_a_gap_and_no_session(shell: Shell) -> None:
    shell.wants_no_gaps = False
    shell.types(f"{shell.kind.path} -i").types("echo plain").sends("exit 5\r").waits_for(shell.ready)
    shell.types("echo after")

    assert shell.session.told() == [(f"{shell.kind.path} -i", 5), ("echo after", 0)]
    assert shell.session.children() == []
    assert shell.session.gaps() == ["inner_shell"]
    first, after = shell.session.commands()
    assert b"plain\r\n" in printed(first)
    assert after.printed == b"after\r\n"


def test_job_control_works_in_the_inner_shell(shell: Shell) -> None:
    shell.program("stays", STAYS)
    begin_nested(shell)

    shell.types("stays", until="waiting").presses(CTRL_Z).types("fg", until="continues").presses(CTRL_C)
    shell.types("stty size").sends("exit\r").waits_for(shell.ready)

    texts = [text for text, _ in nested(shell).told()]
    assert texts == ["stays", "fg", "stty size", "exit"]
    assert nested(shell).commands()[1].exit_code in ({0, 130} if shell.kind.name == "fish" else {130})


def test_a_single_command_run_inside_is_a_session_below_its_command(shell: Shell) -> None:
    shell.types("devtrace run -- sh -c 'exit 6'").types("true")

    assert shell.session.told() == [("devtrace run -- sh -c 'exit 6'", 6), ("true", 0)]
    (child,) = nested(shell).commands()
    assert (child.command, child.exit_code) == ("sh -c 'exit 6'", 6)
    assert nested(shell).row["parent_event"] == shell.session.commands()[0].id


def test_the_end_of_the_outer_terminal_ends_both_shells_and_their_sessions(shell: Shell) -> None:
    shell.starts()
    begin_nested(shell)
    shell.types("echo inside")
    outer = shell.on_screen

    os.kill(outer.pid, 1)
    outer.wait_exit()

    shell.until(lambda session: session.row["status"] == "ended", "the outer session ended")
    shell.until(
        lambda session: [one.row["status"] for one in session.children()] == ["ended"],
        "the inner session ended",
    )
    private = Path(shell.env["XDG_RUNTIME_DIR"]) / "devtrace"
    outer.until(lambda: [*private.glob("*")] == [], "the private directories are gone")
    shell.status = outer.process.returncode
    assert nested(shell).told() == [("echo inside", 0)]
