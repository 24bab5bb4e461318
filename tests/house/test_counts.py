"""What the budgets rest on, counted: forks, opens and writes of a hook, imports before the fork, rows, bytes.

No test here knows of seconds: what a fork or an import costs differs from machine to machine, whether there
is one does not. The seconds are in benchmarks/.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from devtrace.events import Event, RunCommand
from devtrace.ids import new_session_id, new_span_id
from devtrace.sources.shell import hooks
from devtrace.sources.shell.reader import FifoReader
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace
from tests.acceptance.kinds import Kind, kinds
from tests.terminals import Terminal

PROMPT = "ready> "
START_UP = {
    "bash": (".bashrc", f"PS1='{PROMPT}'\n"),
    "zsh": (".zshrc", f"PS1='{PROMPT}'\n"),
    "fish": (
        ".config/fish/config.fish",
        f"set -g fish_greeting\nfunction fish_prompt; echo -n '{PROMPT}'; end\n",
    ),
}
FORK = re.compile(r"\b(?:clone3?|v?fork)\((?!.*CLONE_THREAD)")
COMMANDS = 4  # of which the first is practice: a shell does some things once
HEAVY = {"typer", "rich", "click", "sqlite3", "sqlite_utils", "dataclasses", "inspect", "subprocess", "json"}
HEAVY |= {
    "tomllib",
    "tomlkit",
    "logging",
    "asyncio",
    "hashlib",
    "hmac",
    "devtrace.events",
    "devtrace.store.append",
}
BYTES_PER_EVENT = 700
MANY = 10_000  # beside them the tables of an empty store weigh little

every_shell = pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.label) for kind in kinds()])
# fish reads no file that could be put into the way of a `fish -c`.
every_nested_shell = pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=kind.label) for kind in kinds() if kind.name != "fish"]
)


class Count(NamedTuple):
    """What the kernel was asked for between one prompt and the next."""

    forks: int
    fifo_opens: int
    fifo_writes: int
    marks: int


@pytest.fixture
def strace(needs: Callable[..., None], tmp_path: Path) -> Path:
    """Where strace writes to; skips where it may not trace."""
    needs("strace")
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        needs(because="strace may not trace here")
    return tmp_path / "trace"


@pytest.fixture
def private(needs: Callable[..., None], tmp_path: Path) -> Iterator[Path]:
    """A session's private directory; without a memory file system bash forks once more for its history."""
    folder = tmp_path / new_span_id()  # its scratch directory has the same name, beside that of other tests
    folder.mkdir(mode=0o700)
    if not Path("/dev/shm").is_dir():
        needs(because="there is no memory file system")
    yield folder
    shutil.rmtree(hooks.scratch_directory(folder), ignore_errors=True)


def traced(kind: Kind, private: Path, trace: Path) -> list[Count]:
    """Count what the kernel is asked for by each of some builtins at the prompt of a shell with our hooks."""
    session = hooks.new_session(new_session_id(), private, "manual", private)
    file, text = START_UP[kind.name]
    (Path.home() / file).parent.mkdir(parents=True, exist_ok=True)
    (Path.home() / file).write_text(text)
    request = hooks.Request(kind.name, kind.path, login=False, piped=False, marks=[Path("/dev/tty")])
    plan = hooks.plan(session, request, dict(os.environ))
    calls = "trace=clone,clone3,fork,vfork,open,openat,write"
    argv = [
        "strace",
        "-f",
        "-y",
        "-qq",
        "-s",
        "16",
        "-e",
        "signal=none",
        "-e",
        calls,
        "-o",
        str(trace),
        *plan.argv,
    ]
    with FifoReader(session.fifo, len), Terminal(argv, env=plan.environment) as terminal:
        terminal.wait_for(PROMPT)
        for number in range(COMMANDS):
            terminal.send(f": {number}\r")
            terminal.wait_for(PROMPT)
        terminal.send("exit\r")
        terminal.wait_exit()
    return counted(trace.read_text(errors="replace"))[1:COMMANDS]


def counted(trace: str) -> list[Count]:
    """Cut a trace behind each EXIT record, and count."""
    counts, since = [], [0, 0, 0, 0]
    for line in trace.splitlines():
        since[0] += bool(FORK.search(line))
        since[1] += "open" in line and '/fifo"' in line
        since[2] += "write(" in line and "/fifo>" in line
        since[3] += "write(" in line and r'"\33]6973' in line
        if "/fifo>" in line and '"EXIT' in line:
            counts.append(Count(*since))
            since = [0, 0, 0, 0]
    return counts


def forks_allowed(kind: Kind) -> int:
    """None where the shell allows it."""
    if kind.name == "fish":
        return 2  # one process a record, for fish has no `<>`
    return 1 if kind.name == "bash" and (4, 4) <= kind.version < (5, 3) else 0


@every_shell
def test_a_hook_forks_only_where_the_shell_leaves_no_other_way(
    kind: Kind, private: Path, strace: Path, needs: Callable[..., None]
) -> None:
    if not kind.path:
        needs(kind.name)

    counts = traced(kind, private, strace)

    assert [count.forks for count in counts] == [forks_allowed(kind)] * (COMMANDS - 1)


@every_shell
def test_a_command_opens_and_writes_the_fifo_once_for_its_start_and_once_for_its_end(
    kind: Kind, private: Path, strace: Path, needs: Callable[..., None]
) -> None:
    if not kind.path:
        needs(kind.name)

    counts = traced(kind, private, strace)

    marks = 3 if kind.name == "zsh" else 2  # it shows the end's with its own, PROMPT_EOL_MARK, too
    assert [count[1:] for count in counts] == [(2, 2, marks)] * (COMMANDS - 1)


@every_nested_shell
def test_a_nested_shell_is_recorded_without_a_fork(
    kind: Kind, tmp_path: Path, strace: Path, needs: Callable[..., None]
) -> None:
    if not kind.path:
        needs(kind.name)
    session = hooks.new_session(new_session_id(), tmp_path, "codex", tmp_path)
    environment = {**os.environ, **hooks.session_environment(session), "DEVTRACE_SPAN": "1234567890123456"}
    environment = hooks.with_nested_parts(environment, "codex", "first")
    calls = ["-e", "signal=none", "-e", "trace=clone,clone3,fork,vfork,open,openat,write"]
    argv = ["strace", "-f", "-y", "-qq", "-s", "16", *calls, "-o", str(strace), kind.path, "-c", "true"]

    with FifoReader(session.fifo, len):
        subprocess.run(argv, env=environment, check=True)

    trace = strace.read_text()
    told = re.findall(r'/fifo>, "([A-Z]+)', trace)
    assert (told[0], told[-1]) == ("HELLO", "EXIT")
    assert len(re.findall(r'open.*/fifo"', trace)) == 2  # its start and its end
    assert FORK.findall(trace) == []


def test_nothing_slow_is_imported_before_the_shell_is_started(tmp_path: Path) -> None:
    # The spawn is replaced by a look at what has been imported until then.
    program = (
        "import sys\n"
        "from devtrace.sources.shell import spawn\n"
        "def look(*_, **__):\n"
        "    print(*sys.modules, file=open(sys.argv[1], 'w'))\n"
        "    sys.exit(0)\n"
        "spawn.spawn_pty = look\n"
        "from devtrace.__main__ import main\n"
        "main(['shell', '--shell', 'bash', '--no-login'])\n"
    )
    with Terminal([sys.executable, "-c", program, str(tmp_path / "modules")]) as terminal:
        assert terminal.wait_exit() == 0, terminal.text

    loaded = set((tmp_path / "modules").read_text().split())
    assert "devtrace.services.shell" in loaded
    assert loaded & HEAVY == set()


def test_a_host_has_two_children_the_watchdog_and_the_shell(needs: Callable[..., None]) -> None:
    if not Path("/proc/self/task").is_dir():
        needs(because="there is no /proc to look at processes in")
    (Path.home() / ".bashrc").write_text(START_UP["bash"][1])
    with Terminal([sys.executable, "-m", "devtrace", "shell", "--shell", "bash", "--no-login"]) as terminal:
        terminal.wait_for(PROMPT)

        children = Path(f"/proc/{terminal.pid}/task/{terminal.pid}/children").read_text().split()
        states = [Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] for child in children]

        assert len(children) == 2
        assert "Z" not in states
        terminal.send("exit\r")
        terminal.wait_exit()


@pytest.mark.parametrize("way", ["typed", "piped"])
def test_a_command_becomes_one_row_and_leaves_none_running(way: str) -> None:
    (Path.home() / ".bashrc").write_text(START_UP["bash"][1])
    argv = [sys.executable, "-m", "devtrace", "shell", "--shell", "bash", "--no-login"]
    lines = [f": {number}" for number in range(5)]
    if way == "typed":
        with Terminal(argv) as terminal:
            for line in lines:
                terminal.wait_for(PROMPT)
                terminal.send(f"{line}\r")
            terminal.wait_for(PROMPT)
            terminal.send("\x04")
            assert terminal.wait_exit() == 0, terminal.text
    else:
        subprocess.run(argv, input="\n".join([*lines, ""]), text=True, check=True, capture_output=True)

    with sqlite3.connect(".devtrace/devtrace.db") as db:
        told = [json.loads(data)["command"] for (data,) in db.execute("SELECT data FROM events ORDER BY seq")]
        tables = ("running", "sessions", "seals", "links")
        rows = {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    assert told == lines
    assert rows == {"running": 0, "sessions": 1, "seals": 1, "links": 0}


def test_a_short_command_takes_no_more_than_its_share_of_the_disk() -> None:
    session = new_session_id()
    frames = [short_command(session, number).to_frame() for number in range(MANY)]

    with closing(open_store(Workspace(Path.cwd() / ".devtrace"), create=True)) as db:
        append(db, frames)
        size = db.execute("PRAGMA page_count").fetchone()[0] * db.execute("PRAGMA page_size").fetchone()[0]

    assert size / MANY <= BYTES_PER_EVENT


def short_command(session: str, number: int) -> Event:
    """What most commands are: one short line in some directory, which prints nothing."""
    at_us = 1_795_269_792_000_000 + 1_000_000 * number
    return Event(
        session=session,
        id=new_span_id(),
        actor="human",
        started_us=at_us,
        ended_us=at_us + 12_345,
        status="ok",
        source="interactive",
        exit_source="shell",
        trusted=2,
        body=RunCommand(
            command=f"git commit -m 'change {number}'",
            cwd="/home/ana/work/api",
            exit_code=0,
            duration_us=12_345,
            shell="bash",
            shell_pid=12_345,
        ),
    )
