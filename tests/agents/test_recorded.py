"""Each real client, recorded: four formats, and one list of what it was told, did, and why.

The clients play the same script (scripts.py) inside `devtrace shell --agent NAME`, with our hooks installed
as the README says. What is asked here is what a reviewer asks; how a client tells it is its adapter's test.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.query.agents import Work
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace
from tests.agents.clients import CLAUDE_CODE, CLIENTS, CODEX, Client, run
from tests.agents.model import ModelServer
from tests.agents.scripts import COMMIT, EXIT_CODE, FAILING, SCRIPTS, Run, Script, Step, commands, reasons
from tests.agents.test_clients import git, need, repo
from tests.processes import environment
from tests.store.frames import is_whole

__all__ = ["repo"]

pytestmark = [pytest.mark.needs("git"), pytest.mark.timeout(240)]

DEVTRACE = (sys.executable, "-m", "devtrace")
PROMPT = "Greet Ana [script:main]"
PARALLEL = [step for step in SCRIPTS["main"].steps if len(step.actions) > 1]
# Gemini takes a leading `bash -c` apart, and so another command runs than it says.
TAKEN_APART = "bash -c 'echo nested >nested.txt'"

every_client = pytest.mark.parametrize("client", [pytest.param(client, id=client.name) for client in CLIENTS])


def devtrace(repo: Path, *words: str) -> str:
    done = subprocess.run(
        [*DEVTRACE, *words], cwd=repo, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Record:
    """What was recorded of one run."""

    def __init__(self, db: sqlite3.Connection):
        self.db = db
        ((self.session, self.agent),) = db.execute("SELECT id, agent FROM sessions").fetchall()
        self.calls = [call for call in Work(db, self.session).calls if call["does"] != "other"]

    def ask(self, select: str) -> list[Any]:
        return [row[0] if len(row) == 1 else row for row in self.db.execute(select)]

    def gaps(self) -> list[str]:
        return self.ask("SELECT json_extract(data, '$.reason') FROM events WHERE kind = 'gap'")

    def call(self, command: str) -> dict[str, Any]:
        (found,) = [call for call in self.calls if call["command"] == command]
        return found


@pytest.fixture
def recorded(repo: Path) -> Callable[..., Iterator[Record]]:
    def play(client: Client, *, hooks: bool = True, extra: tuple[str, ...] = ()) -> Record:
        devtrace(repo, "init")
        if hooks:
            devtrace(repo, "agent", "install", client.package)
        (repo / ".git" / "info").mkdir(exist_ok=True)
        (repo / ".git" / "info" / "exclude").write_text("/.claude/\n/.codex/\n/.gemini/\n/.opencode/\n")
        with ModelServer(repo) as server:
            shell = [*DEVTRACE, "shell", "--agent", client.package, *extra, "--"]
            done = run(client, repo, PROMPT, server, through=shell)
        assert done.returncode == 0, f"{server.story()}\n{done.stderr[-2000:]}"
        assert git(repo, "log", "-1", "--format=%s") == COMMIT, server.story()
        opened.append(open_store(Workspace(repo / ".devtrace")))
        assert is_whole(opened[-1])
        return Record(opened[-1])

    opened: list[sqlite3.Connection] = []
    yield play
    for db in opened:
        db.close()


def expected() -> list[tuple[str, str, str]]:
    """(what the tool does, command or file, status) of the script, as every client carries it out."""
    told = []
    for step in SCRIPTS["main"].steps:
        for action in step.actions:
            if isinstance(action, Run):
                told.append(("shell", action.command, "failed" if action.command == FAILING else "ok"))
            elif hasattr(action, "path"):
                told.append(("edit", action.path, "ok"))
            else:
                told.append(("subagent", "", "ok"))
                told.append(("shell", commands("sub")[0], "ok"))
    return told


def listed(record: Record) -> list[tuple[str, str, str]]:
    return [
        (call["does"], call["command"] or Path((call["paths"] or [""])[0]).name, call["status"])
        for call in record.calls
    ]


@every_client
def test_four_clients_one_record(client: Client, recorded: Any, needs: Callable[..., None]) -> None:
    need(client, needs)

    record = recorded(client)

    assert record.agent == client.package
    assert record.gaps() == []
    assert sorted(listed(record)) == sorted(expected())
    in_order = [command for _, command, _ in listed(record) if command in {c for _, c, _ in expected()}]
    beside = {action.command for step in PARALLEL for action in step.actions if isinstance(action, Run)}
    assert [c for c in in_order if c not in beside] == [c for _, c, _ in expected() if c not in beside]
    # what it was told
    prompts = record.ask(
        "SELECT json_extract(data, '$.text') FROM events WHERE kind = 'prompt' ORDER BY started_us"
    )
    assert PROMPT in prompts[0]
    assert all(PROMPT in call["prompts"][-1]["text"] for call in record.calls)
    # why, quoted
    stated = {call["command"]: call["reason"]["text"] if call["reason"] else None for call in record.calls}
    for step in SCRIPTS["main"].steps:
        for action in step.actions:
            if isinstance(action, Run):
                assert stated[action.command] == step.reason
    said = record.ask("SELECT DISTINCT title FROM events WHERE kind = 'assistant_message'")
    assert set(reasons("main")) <= set(said)
    # what really ran
    for command in commands("main"):
        call = record.call(command)
        assert call["ran"], f"{command} was not seen to run"
        assert [ran["exit_code"] for ran in call["ran"]] == [EXIT_CODE if command == FAILING else 0]
        assert ("command" in call["differs"]) == (client.name == "gemini" and command == TAKEN_APART)
    # what changed, and by which of them
    changed = record.ask(
        "SELECT c.path, json_extract(e.data, '$.attribution') FROM file_changes c"
        " JOIN events e ON e.id = c.event AND e.session = c.session ORDER BY c.n"
    )
    assert {path for path, _ in changed} == {
        "hello.py",
        "notes.txt",
        "checked.txt",
        "nested.txt",
        "deeper.txt",
    }
    assert {how for path, how in changed if path != "hello.py"} <= {"command", "ambiguous"}
    assert record.ask("SELECT title FROM events WHERE kind = 'git_commit'")[-1].endswith(COMMIT)


def test_without_hooks_the_transcript_fills_the_session_and_the_gap_says_so(
    recorded: Any, needs: Callable[..., None]
) -> None:
    need(CODEX, needs)

    record = recorded(CODEX, hooks=False)

    assert record.gaps() == ["agent_hooks_silent"]
    assert sorted(listed(record)) == sorted(expected())
    assert {tuple(call["told_by"]) for call in record.calls} == {("transcript",)}
    assert all(call["ran"] for call in record.calls if call["does"] == "shell")


def test_claude_code_runs_its_commands_without_our_prefix_too(
    recorded: Any, needs: Callable[..., None]
) -> None:
    need(CLAUDE_CODE, needs)

    record = recorded(CLAUDE_CODE, extra=("--no-prefix",))

    ran = record.ask("SELECT title FROM events WHERE kind = 'run_command' AND parent IS NOT NULL")
    assert {f"$ {command}" for command in commands("main")} <= set(ran)
    assert record.gaps() == []


def test_what_was_done_without_us_can_be_imported(repo: Path, needs: Callable[..., None]) -> None:
    need(CLAUDE_CODE, needs)
    with ModelServer(repo) as server:
        assert run(CLAUDE_CODE, repo, PROMPT, server).returncode == 0
    devtrace(repo, "init")

    assert "claude-code: " in devtrace(repo, "agent", "import")
    assert devtrace(repo, "agent", "import").startswith("There is no transcript")
    with closing(open_store(Workspace(repo / ".devtrace"))) as db:
        record = Record(db)
    assert sorted(listed(record)) == sorted(expected())


def test_a_client_outside_a_traced_shell_has_a_session_of_its_own(
    repo: Path, needs: Callable[..., None]
) -> None:
    need(CLAUDE_CODE, needs)
    devtrace(repo, "init")
    devtrace(repo, "agent", "install", "claude-code")
    with ModelServer(repo) as server:
        assert run(CLAUDE_CODE, repo, PROMPT, server).returncode == 0

    assert "claude-code" in devtrace(repo, "sessions")
    with closing(open_store(Workspace(repo / ".devtrace"))) as db:
        record = Record(db)
        assert db.execute("SELECT kind, status FROM sessions").fetchall() == [("agent", "ended")]
    assert sorted(listed(record)) == sorted(expected())


PATCH = "apply_patch <<'END'\n*** Begin Patch\n*** Add File: patched.txt\n+by a patch\n*** End Patch\nEND"


def test_a_patch_in_a_here_document_is_the_call_s_although_its_end_is_never_told(
    repo: Path, needs: Callable[..., None]
) -> None:
    need(CODEX, needs)
    devtrace(repo, "init")
    devtrace(repo, "agent", "install", "codex")
    script = Script((Step("A patch by the shell.", (Run(PATCH),)),), "It is patched.")
    with ModelServer(repo, {"main": script}) as server:
        run(CODEX, repo, PROMPT, server, through=[*DEVTRACE, "shell", "--agent", "codex", "--"])

    assert (repo / "patched.txt").read_text() == "by a patch\n"
    with closing(open_store(Workspace(repo / ".devtrace"))) as db:
        (call,) = Record(db).calls
        ((how, parent),) = db.execute(
            "SELECT json_extract(data, '$.attribution'), parent FROM events WHERE kind = 'edit_files'"
            " AND title LIKE '%patched.txt%'"
        ).fetchall()
    assert (call["does"], [Path(path).name for path in call["paths"]]) == ("edit", ["patched.txt"])
    assert (how, f"{call['session']}/{parent}") == ("tool", call["event"])
    assert call["reason"]["text"] == "A patch by the shell."
