"""A traced shell as a person has it: `devtrace shell` on a real pty, with a home of its own, typed into.

    shell.startup("HISTCONTROL=ignorespace")   # into ~/.bashrc, ~/.zshrc or config.fish
    shell.types("false")                       # starts the shell when it does not run yet
    (command,) = shell.session.commands()      # ends it with Ctrl-D, and reads the store

Lives here: `Shell` on a terminal and `pipe` into one without. Not here: reading the store (record.py), the
terminal itself (tests/terminals.py), which shells there are (kinds.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import NamedTuple, TypeVar

from devtrace.errors import DevTraceError
from devtrace.sources.shell import hooks
from tests.acceptance.kinds import Kind
from tests.acceptance.record import Command, Session, open_session
from tests.terminals import Terminal

PROMPT = "ready$ "
REDRAWN = r"ready\$ "  # the prompt again, be it the same one
DEVTRACE = (sys.executable, "-m", "devtrace")
CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"
PATIENCE_S = 20.0

_T = TypeVar("_T")

_RC = {
    "bash": (".bashrc", f"PS1='{PROMPT}' PS2='more> '\n"),
    "zsh": (".zshrc", f"PROMPT='{PROMPT}' PROMPT2='more> '\n"),
    # fish draws its prompt anew while a line is edited; the event comes once a prompt.
    "fish": (
        ".config/fish/config.fish",
        "set -g fish_greeting\n"
        f"function fish_prompt; printf '{PROMPT}'; end\n"
        "function now_ready --on-event fish_prompt; printf '\\e]777;ready\\a'; end\n",
    ),
}
_READY = {"bash": re.escape(PROMPT), "zsh": re.escape(PROMPT), "fish": "\x1b]777;ready\x07.*?ready\\$ "}


class Home:
    """A home directory, a directory to work in, and an environment; the shell is not started yet."""

    def __init__(self, kind: Kind, home: Path, here: Path):
        self.kind = kind
        self.home = home
        self.here = here
        self.env = {**os.environ, "PATH": f"{home}/bin:{os.environ['PATH']}", "SHELL": kind.path}
        self.rc = home / _RC[kind.name][0]
        self.writes(self.rc, _RC[kind.name][1])
        self.program("devtrace", f'#!/bin/sh\nexec "{sys.executable}" -m devtrace "$@"\n')

    @property
    def ready(self) -> str:
        """What the screen shows when the prompt is back, as a regular expression."""
        return _READY[self.kind.name]

    def startup(self, text: str) -> None:
        """Append to the user's own start-up file."""
        with self.rc.open("a") as file:
            file.write(text + "\n")

    def writes(self, path: str | Path, text: str | bytes) -> Path:
        """Write a file; a relative path is below the home directory."""
        path = self.home / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def program(self, name: str, text: str) -> Path:
        """A script of that name on PATH."""
        path = self.writes(Path("bin", name), text)
        path.chmod(0o755)
        return path

    def command(self, *options: str) -> list[str]:
        """The command line of `devtrace shell` for this shell."""
        return [*DEVTRACE, "shell", "--shell", self.kind.path, *options]

    @staticmethod
    def hooks_directory() -> Path:
        """Where the hooks are that the shell is given."""
        return hooks.hooks_directory()

    def devtrace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another devtrace command where the shell works, and wait for it."""
        return subprocess.run(
            [*DEVTRACE, *arguments], env=self.env, cwd=self.here, capture_output=True, text=True, check=False
        )

    def pipe(
        self, script: str | bytes, *options: str, env: Mapping[str, str] | None = None, joined: bool = False
    ) -> Piped:
        """Run the shell with its commands on a pipe, and wait for its end."""
        done = subprocess.run(
            self.command(*options),
            input=script.encode() if isinstance(script, str) else script,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if joined else subprocess.PIPE,
            env={**self.env, **(env or {})},
            cwd=self.here,
            check=False,
            timeout=PATIENCE_S * 2,
        )
        return Piped(done.returncode, done.stdout, done.stderr or b"")

    def open_session(self, session: str | None = None) -> Session:
        """The session as the store has it now."""
        return open_session(self.here / ".devtrace", session)


class Piped(NamedTuple):
    """How a shell on pipes ended."""

    status: int
    stdout: bytes
    stderr: bytes


class Shell(Home):
    """The shell on its terminal."""

    terminal: Terminal | None = None
    status: int | None = None  # after its end
    wants_no_gaps = True  # a test that makes a gap on purpose says so
    _session: Session | None = None
    _bare: Shell | None = None

    # --- starting and typing --------------------------------------------------------------------------------

    def starts(
        self,
        *options: str,
        rows: int = 24,
        cols: int = 300,
        type_ahead: bytes = b"",
        until: str | None = None,
    ) -> Shell:
        """Start it and wait for the first prompt."""
        return self.runs(
            self.command(*options), rows=rows, cols=cols, type_ahead=type_ahead, until=until or self.ready
        )

    def runs(
        self,
        argv: list[str],
        *,
        rows: int = 24,
        cols: int = 300,
        type_ahead: bytes = b"",
        until: str | None = None,
    ) -> Shell:
        """Start any program in the shell's place."""
        self.terminal = Terminal(
            argv, env=self.env, cwd=self.here, rows=rows, cols=cols, type_ahead=type_ahead
        )
        if until:
            self.waits_for(until)
        return self

    def bare(self, *options: str, until: str | None = None) -> Shell:
        """The same shell without us, on a terminal of its own; started before this one, and ended with it."""
        assert self.terminal is None
        bare = copy(self)
        self._bare = bare.runs([self.kind.path, "-i", *options], until=until or self.ready)
        return bare

    def types(self, line: str | bytes, until: str | bytes | None = None) -> Shell:
        """Type one command, of several lines if need be, and wait for the prompt (or for `until`)."""
        data = line.encode("utf-8", "surrogateescape") if isinstance(line, str) else line
        self.on_screen.send(data.replace(b"\n", b"\r") + b"\r")
        self.waits_for(self.ready if until is None else until)
        return self

    def presses(self, keys: str | bytes, until: str | bytes | None = None) -> Shell:
        """Press keys without Enter, and wait for the prompt (or for `until`)."""
        self.on_screen.send(keys)
        self.waits_for(self.ready if until is None else until)
        return self

    def hears_of_its_job(self) -> Shell:
        """Wait for what a shell at its prompt does when a job of its own ends: zsh tells it and draws the
        prompt again, and what is typed meanwhile is lost; the others take what is typed.
        """
        if self.kind.name == "zsh":
            self.waits_for(self.ready)
        return self

    def gives_up(self) -> Shell:
        """Press Ctrl-C at the prompt, and wait for a new one.

        Any fish is deaf to it while it draws, and any zsh now and then: 1 of 300, without us, at `PROMPT2`.
        """
        for _ in range(0 if self.kind.name == "bash" else 60):
            self.sends(CTRL_C)
            with suppress(AssertionError):
                self.on_screen.wait_for(REDRAWN, 1)
                return self
        return self.presses(CTRL_C, until=REDRAWN)

    def sends(self, keys: str | bytes) -> Shell:
        """Press keys and wait for nothing."""
        self.on_screen.send(keys)
        return self

    def pastes(self, text: str, prompts: int = 1) -> Shell:
        """Paste, as a terminal does into a shell that asked for brackets, and press Enter."""
        asked = b"\x1b[?2004h" in self.on_screen.shown
        self.sends(f"\x1b[200~{text}\x1b[201~\r" if asked else text.replace("\n", "\r") + "\r")
        for _ in range(prompts):
            self.waits_for(self.ready)
        return self

    def waits_for(self, what: str | bytes) -> re.Match[bytes]:
        """Wait until the screen shows it, after what was waited for before."""
        return self.on_screen.wait_for(what)

    def until(self, claim: Callable[[Session], _T], what: str = "") -> _T:
        """Wait until the claim about the live session is true; returns what it returned."""

        def look() -> _T | None:
            try:
                session = self.open_session()
            except (DevTraceError, AssertionError):  # the store is being made
                return None
            try:
                return claim(session)
            finally:
                session.close()

        return self.on_screen.until(look, what or "the session did not become so")  # type: ignore[return-value]

    @property
    def on_screen(self) -> Terminal:
        """The terminal; the shell is started on it when it does not run yet."""
        if self.terminal is None:
            self.starts()
        assert self.terminal is not None
        return self.terminal

    @property
    def shown(self) -> str:
        """Everything the screen was sent so far."""
        return self.on_screen.text

    # --- the end --------------------------------------------------------------------------------------------

    def ends(self, keys: str | None = CTRL_D) -> int:
        """End it by Ctrl-D (or other keys; None: it ends by itself); returns the exit status."""
        if self.status is None:
            if keys:
                self.sends(keys)
            self.status = self.on_screen.wait_exit()
        return self.status

    @property
    def session(self) -> Session:
        """What was recorded, once the shell has ended."""
        self.ends()
        if self._session is None:
            self._session = self.open_session()
        return self._session

    @property
    def command_alone(self) -> Command:
        """The only command that was recorded."""
        (command,) = self.session.commands()
        return command

    def close(self) -> None:
        """End whatever still runs."""
        if self._bare is not None:
            self._bare.close()
        if self.terminal is not None:
            self.terminal.close()
        if self._session is not None:
            self._session.close()

    def is_clean(self) -> None:
        """What is true of every traced shell that has ended, whatever was done in it."""
        self.ends()
        assert "6973;" not in self.shown, "a mark reached the screen"
        left = [*(Path(self.env["XDG_RUNTIME_DIR"]) / "devtrace").glob("*")]
        assert left == [], "the private directory was left behind"
        self.session.is_sound()
        assert self.session.gaps() == [] or not self.wants_no_gaps
