"""Records that nobody of ours has written, and shells whose host is gone or stands still.

A program inside a traced shell knows where the FIFO is, and all that is in its environment; it may write
there what it likes. What the shell itself said stays as it was.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devtrace.ids import new_session_id
from devtrace.sources.shell import hooks
from tests.acceptance.hosts import PROMPT, Piped, Place, until
from tests.acceptance.kinds import Kind
from tests.processes import environment
from tests.terminals import Terminal

FORGER = r"""
import os, sys
fifo = os.open(os.environ["DEVTRACE_FIFO"], os.O_WRONLY)
span, session = os.environ["DEVTRACE_SPAN"], os.environ["DEVTRACE_SESSION"]
ahead = (int(span) - 10**15 + 5562305898749053) % (9 * 10**15) + 10**15
start = open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19]
def say(*fields):
    os.write(fifo, "\t".join(map(str, fields)).encode() + b"\n")
def shell(name, nonce, depth=1, version="bash 5.2"):
    say("HELLO", 1, nonce, name, "-", os.getpid(), os.getppid(), start, depth, version)
def cmd(name, nonce, seq, span, text):
    say("CMD", 1, nonce, name, seq, "1/1", span, "-", 1, 0, "e", f"/\t{text}")
def end(name, nonce, seq, span, status):
    say("EXIT", 1, nonce, name, seq, "1/1", span, 2, status, "-", "/")
def both(name, nonce, span):
    cmd(name, nonce, 1, span, "forged")
    end(name, nonce, 2, span, 66)
"""

# What is written, and how many commands it makes.
FORGERIES = {
    "an end for the command it runs in": ("end('evil', nonce, 1, span, 66)", 0),
    "the shell's goodbye": ("say('BYE', 1, nonce, 'evil', 1, 66)", 0),
    "a command with the id of its own": ("shell('evil', nonce); both('evil', nonce, span)", 1),
    "a command with the id of the next": ("shell('evil', nonce); both('evil', nonce, ahead)", 1),
    "a shell at the prompt": ("shell('evil', nonce, 0); both('evil', nonce, 'e' * 16)", 1),
    "a program of the host": ("shell('host', nonce, 0, 'program'); both('host', nonce, 'e' * 16)", 1),
    "a command without a hello": ("both('evil', nonce, 'e' * 16)", 1),
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "forger.py").write_text(FORGER)
    return Place(tmp_path / "repo")


def forge(place: Place, *words: str) -> list[str]:
    """A session of three commands; the second one forges."""
    script = place.root.parent / "forge.py"
    script.write_text(FORGER + "\n".join(words) + "\nprint('done')\n")
    lines = ["echo before", f"{sys.executable} {script}; (exit 7)", "echo after"]
    with Piped(place) as shell:
        assert shell.says(*lines).ends()[:2] == (0, b"before\ndone\nafter\n")
    return lines


def check_true_ones(place: Place, lines: list[str]) -> None:
    true = [command for command in place.events() if command.trusted == 2]
    assert [command.command for command in true] == lines
    assert [command.exit_code for command in true] == [0, 7, 0]
    assert {(command.source, command.exit_source) for command in true} == {("interactive", "shell")}
    assert [command["data"]["output"]["seen"] for command in true] == [7, 5, 6]
    (session,) = place.sessions()
    assert (session["status"], session["exit_code"]) == ("ended", 0)
    place.is_sound()


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_record_changes_nothing_that_is_trusted(place: Place, what: str) -> None:
    words, forged = FORGERIES[what]

    lines = forge(place, f"for nonce in ('-', '0123456789abcdef'): {words}")

    check_true_ones(place, lines)
    others = [command for command in place.events() if command.trusted < 2]
    assert [command.command for command in others] == ["forged"] * forged * 2
    assert {command.source for command in others} <= {"bash_env", "fifo"}
    wrong = [command for command in others if command.trusted == 0]
    assert len(wrong) >= forged  # with a nonce that is wrong nothing is believed at all
    shown = place.devtrace("show", "--nested").stdout
    assert not forged or "unproven" in shown or "not proven" in shown, shown


RUBBISH = {
    "invalid bytes": ("os.write(fifo, bytes(range(128, 256)) + b'\\n')", 1),
    "ten megabytes without a newline": ("for _ in range(160): os.write(fifo, b'x' * 65536)", 1),
    "ten megabytes of it, and an end": (
        "for _ in range(160): os.write(fifo, b'x' * 65536)\nos.write(fifo, b'\\n')", 1,
    ),
    "a head without an end": ("os.write(fifo, b'CMD\\t1\\t-\\tevil\\t1\\t1/1\\t' + span.encode())", 1),
    "parts out of order": (
        "for part in (2, 1, 3):"
        " say('CMD', 1, '-', 'evil', 1, f'{part}/3', 'e' * 16, '-', 1, 0, 'e', '/\\tx')",
        2,
    ),
    "numbers beyond all bounds": (
        "say('BYE', 1, '-', 'evil', '9' * 800, 0)\nend('evil', '-', 1, 'e' * 16, 1 << 70)\n"
        "say('HELLO', 1, '-', 'evil', '-', 1 << 80, 1, start, 1, 'bash 5')", 3,
    ),
    "lines of nothing": ("os.write(fifo, b'\\n' * 5000)", 0),
}  # fmt: skip


@pytest.mark.parametrize("what", RUBBISH)
def test_rubbish_is_counted_and_costs_no_record(place: Place, what: str) -> None:
    words, damaged = RUBBISH[what]

    lines = forge(place, words)

    check_true_ones(place, lines)
    assert [command for command in place.events() if command.trusted < 2] == []
    assert place.gaps() == ({"damaged_record": damaged} if damaged else {})


def test_a_flood_of_forged_shells_costs_the_true_one_nothing(place: Place) -> None:
    lines = forge(
        place,
        "for n in range(3000):",
        "    shell(f'f{n}', '-')",
        "    cmd(f'f{n}', '-', 1, f'{n + 1:016x}', 'forged')",
        "    end(f'f{n}', '-', 2, f'{n + 1:016x}', 0)",
    )

    check_true_ones(place, lines)
    folded = [command for command in place.events() if command["data"]["folded"]]
    kept = [command for command in place.events() if command.command == "forged"]
    assert len(kept) + sum(command["data"]["folded"] for command in folded) == 3_000


# --- the host is not there ----------------------------------------------------------------------------------


class Orphan:
    """A shell with our hooks, and a FIFO that nobody reads."""

    def __init__(self, kind: Kind, private: Path):
        private.mkdir(mode=0o700)
        self.kind = kind
        self.session = hooks.new_session(new_session_id(), private, "codex", private)

    def start(self) -> Terminal:
        home = Path.home()
        (home / ".bashrc").write_text(f"PS1='{PROMPT}' PS2=''\n")
        (home / ".zshrc").write_text(f"PROMPT='{PROMPT}' PROMPT2=''\nunsetopt prompt_sp\n")
        (home / ".config/fish").mkdir(parents=True)
        (home / ".config/fish/config.fish").write_text(
            f"set -g fish_greeting\nfunction fish_prompt; printf '{PROMPT}'; end\n"
        )
        request = hooks.Request(name=self.kind.name, path=self.kind.path, login=False, piped=False, marks=[])
        plan = hooks.plan(self.session, request, environment())
        return Terminal(plan.argv, env=plan.environment, cols=200)


@pytest.mark.parametrize("fifo", ["without a reader", "gone", "gone in between"])
def test_a_shell_whose_host_is_dead_goes_on_in_silence(
    kind: Kind, tmp_path: Path, fifo: str, needs: Callable[..., None]
) -> None:
    if not kind.path:
        needs(kind.name)
    orphan = Orphan(kind, tmp_path / "private")
    if fifo != "gone":
        os.mkfifo(orphan.session.fifo, 0o600)
    with orphan.start() as terminal:
        terminal.wait_for(r"ready\$ ")
        for number in range(25):
            terminal.send(f"echo {number}x\r")
            terminal.wait_for(rf"{number}x\r\n(?:.*?)ready\$ ")
            if fifo == "gone in between" and number == 10:
                shutil.rmtree(orphan.session.private)
        terminal.send("bash -c 'echo nested; exit 4'\r")
        terminal.wait_for(r"nested\r\n(?:.*?)ready\$ ")
        terminal.send("echo status $status$?\r" if kind.name != "fish" else "echo status $status\r")
        terminal.wait_for(r"status 4")
        terminal.send("exit 5\r")

        assert terminal.wait_exit() == 5

    for word in ("devtrace", "No such", "fifo", "rror", "Broken", "6973"):
        assert word not in terminal.text, terminal.text
    assert fifo != "gone" or not orphan.session.fifo.exists(), "a regular file was made in its place"


def test_a_private_directory_that_is_deleted_under_a_shell_comes_back_and_a_gap_says_so(place: Place) -> None:
    """As `rm -rf /tmp/*` does where there is no other runtime directory."""
    place.devtrace("init")
    with Piped(place) as shell:
        shell.says("echo first").waits_for("first")
        until(lambda: place.texts() == ["echo first"], "the first command is stored")
        (private,) = place.private()
        shell.says(f"rm -rf {private}").says("echo unheard").waits_for("unheard")
        until((private / "fifo").is_fifo, "the FIFO is back")

        assert shell.says("echo again").ends() == (0, b"first\nunheard\nagain\n", b"")

    assert place.texts()[0] == "echo first"
    assert place.texts()[-1] == "echo again"
    assert place.gaps()["fifo_removed"] == 1
    assert place.private() == []
    place.is_sound()


def test_a_shell_on_pipes_whose_host_is_killed_ends_and_leaves_nothing(place: Place) -> None:
    place.devtrace("init")
    with Piped(place) as shell:
        shell.says("echo first").waits_for("first")
        until(lambda: place.texts() == ["echo first"], "the first command is stored")
        (command,) = place.commands()
        shell.says("while :; do echo on || exit; done").waits_for("on\non\n")
        until(place.running, "the second is stored as running")
        shell.kill(signal.SIGKILL)
        shell.process.wait()

        until(
            lambda: not Path(f"/proc/{command.shell_pid}").exists(), "the shell has ended for want of readers"
        )

    place.devtrace("sessions")
    assert [command.status for command in place.commands()] == ["ok", "interrupted"]
    with Piped(place) as shell:
        shell.says("true").ends()
    assert place.private() == []
