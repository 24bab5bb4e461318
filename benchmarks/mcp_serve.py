"""What a model waits for: each tool of `devtrace mcp serve`, over stdio, in a store of a million events.

The store is that of `reading`, all of it searchable, and in its newest session an agent has changed files of
a repository. The server is the real process; a call is timed from the line that asks to the line that
answers. The start is beside a server of the library alone that has one tool and does nothing.
"""

from __future__ import annotations

import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks import Row
from benchmarks.checkpoints import checkpoints, edit, files_to_edit, git, policy
from benchmarks.prompt import row
from benchmarks.reading import EVENTS, QUICK_EVENTS, fill
from devtrace.events import (
    OUTPUT_BLOB,
    AssistantMessage,
    Body,
    Event,
    Output,
    Prompt,
    RunCommand,
    ToolCall,
)
from devtrace.ids import new_session_id, new_span_id
from devtrace.pipeline import Pipeline
from devtrace.services.edits.attribution import Verdict, Window
from devtrace.services.edits.checkpoint import Checkpoints
from devtrace.services.edits.telling import Groups, record
from devtrace.store import sessions
from devtrace.store.connection import open_store
from devtrace.store.search_index import catch_up
from devtrace.workspace import Workspace

EDITS, QUICK_EDITS = 200, 10
AGENT, ACTOR = "codex", "agent:codex"
BUDGET = "<= 50 ms"
PRINTED = b"".join(b"\x1b[32mtests/test_%d.py::test_it PASSED\x1b[0m\r\n" % number for number in range(1_300))
PLAIN = """
import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import ListToolsResult, Tool

async def tools(context, params):
    return ListToolsResult(tools=[Tool(name="nothing", input_schema={"type": "object"})])

async def main():
    server = Server("plain", on_list_tools=tools)
    async with stdio_server() as (heard, said):
        await server.run(heard, said, server.create_initialization_options())

anyio.run(main)
"""
_ABOUT = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}
_HUNK = re.compile(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@")
Ask = Callable[[random.Random], dict[str, Any]]


def measure(*, quick: bool = False, events: int | None = None) -> list[Row]:
    """The rows of this room; `events` overrides the size of the store."""
    count = events or (QUICK_EVENTS if quick else EVENTS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "repository"
        make(root, count, QUICK_EDITS if quick else EDITS)
        return [*starts(root, 3 if quick else 15), *calls(root, count, 5 if quick else 60)]


# --- the store ----------------------------------------------------------------------------------------------


def make(root: Path, count: int, edits: int) -> Workspace:
    """A repository whose store has `count` events and besides a session of an agent with so many edits."""
    files_to_edit(root)
    points = checkpoints(root)
    workspace = Workspace(root / ".devtrace")
    fill(workspace, count)
    session, begun_us = new_session_id(), time.time_ns() // 1000
    with closing(open_store(workspace)) as db:
        sessions.begin(
            db, id=session, kind="shell", agent=AGENT, actor=ACTOR, started_us=begun_us, repo_root=str(root),
            cwd=str(root), shell="bash", host="laptop", branch="main",
        )  # fmt: skip
        pipeline = Pipeline(db, workspace, policy(workspace))
        for number in range(edits):
            for event in agents_edit(points, session, number):
                pipeline.emit(event)
        pipeline.close()
        assert not pipeline.n_lost, pipeline.failures
        git(root, "commit", "-q", "-a", "-m", "what the agent did")
        sessions.end(db, session, ended_us=time.time_ns() // 1000, status="ended", exit_code=0)
        while not catch_up(db):
            pass
    return workspace


def agents_edit(points: Checkpoints, session: str, number: int) -> list[Event]:
    """What an agent was told, said and ran, and what that changed."""
    now_us = time.time_ns() // 1000
    path, _ = edit(points.root, number)
    command = f"sed -i part{number} {path.decode()}"
    told = {"agent": AGENT, "native": "n", "turn": f"t{number}"}
    bodies: list[Body] = [
        Prompt(text=f"Make {path.decode()} faster", **told),
        AssistantMessage(text=f"I change three lines of {path.decode()}", **told),
        ToolCall(tool="Bash", does="shell", command=command, call=f"c{number}", **told),
        RunCommand(
            command=command,
            cwd=str(points.root),
            exit_code=0,
            duration_us=0,
            shell="bash",
            output=Output(seen=len(PRINTED), head=len(PRINTED), tail=0, truncated=False),
        ),
    ]
    events = [_event(session, body, now_us + at) for at, body in enumerate(bodies)]
    ran = events[-1]
    assert ran.ended_us is not None
    window = Window(session, ran.id, None, ran.started_us, ran.ended_us, ACTOR)
    verdict = Verdict("command", "window", window, (window.name,))
    moment = (ran.started_us, ran.ended_us)
    with points.chain.locked():
        tip = points.tip()
        assert tip is not None
        found = list(points.look(tip.tree, [path]))
        groups: Groups = {verdict: [(one, [moment]) for one in found]}
        return [*events, *record(points, tip, groups, session, ran.ended_us)[1]]


def _event(session: str, body: Body, at_us: int) -> Event:
    is_command = isinstance(body, RunCommand)
    return Event(
        session=session, id=new_span_id(), actor=ACTOR, started_us=at_us, ended_us=at_us + 9, status="ok",
        source="interactive" if is_command else "hook", exit_source="shell" if is_command else None,
        trusted=2 if is_command else 0, body=body, blobs={OUTPUT_BLOB: PRINTED} if is_command else {},
    )  # fmt: skip


# --- the start ----------------------------------------------------------------------------------------------


def starts(root: Path, rounds: int) -> list[Row]:
    """Until a client has been greeted, and until its first call is answered; each in turn with the peer."""
    greeted: list[float] = []
    answered: list[float] = []
    plain: list[float] = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        with speaking([sys.executable, "-m", "devtrace", "mcp", "serve"], root) as ask:
            ask("initialize", _ABOUT)
            greeted.append(_ms(begun))
            ask("tools/call", {"name": "list_sessions"})
            answered.append(_ms(begun))
        begun = time.perf_counter()
        with speaking([sys.executable, "-c", PLAIN], root) as ask:
            ask("initialize", _ABOUT)
            plain.append(_ms(begun))
    peer = median(plain[1:])
    return [
        row("start until greeted", median(greeted[1:]), "the library alone", peer, budget="<= 0.5x"),
        row("start until the first call is answered", median(answered[1:]), "the library alone", peer),
    ]


# --- the tools ----------------------------------------------------------------------------------------------


def calls(root: Path, count: int, rounds: int) -> list[Row]:
    """The median and the 95th percentile of each tool, with other arguments each time."""
    chance = random.Random(7)
    rows: list[Row] = []
    with speaking([sys.executable, "-m", "devtrace", "mcp", "serve"], root) as ask:
        ask("initialize", _ABOUT)
        ask("tools/call", {"name": "audit"})  # imports, and the pages of the file that are read by anybody
        for name, (tool, arguments, budget) in questions(root).items():
            times = []
            for _ in range(rounds):
                given = arguments(chance)
                begun = time.perf_counter()
                told = ask("tools/call", {"name": tool, "arguments": given})
                times.append(_ms(begun))
                assert not told["isError"], told["structuredContent"]
            rows.append(row(f"{name}, median, of {count:,} events", median(times)))
            rows.append(row(f"{name}, P95", _p95(times), budget=budget))
    return rows


def questions(root: Path) -> dict[str, tuple[str, Ask, str]]:
    """What is asked: a tool, its arguments, and how long it may take."""
    with closing(sqlite3.connect(root / ".devtrace" / "devtrace.db")) as db:
        ids = [str(name) for (name,) in db.execute("SELECT id FROM sessions ORDER BY started_us")]
        (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
        some = "SELECT id FROM events WHERE seq % ? = 0"
        events = [str(name) for (name,) in db.execute(some, (max(last // 500, 1),))]
        changed = "SELECT id, parent FROM events WHERE kind = 'edit_files'"
        edits, commands = zip(*db.execute(changed).fetchall(), strict=True)
    changed_lines = lines_of(git(root, "diff", "-U0", "HEAD~1", "HEAD"))
    return {
        "list_sessions": ("list_sessions", lambda _: {}, BUDGET),
        "list_sessions of an agent": ("list_sessions", lambda _: {"agent": "manual", "failed": True}, BUDGET),
        "list_events": ("list_events", lambda _: {}, BUDGET),
        "list_events, 200 rows": ("list_events", lambda _: {"limit": 200, "max_bytes": 131_072}, BUDGET),
        "list_events of a session": ("list_events", lambda c: {"session": c.choice(ids)[:14]}, BUDGET),
        "list_events that failed": ("list_events", lambda _: {"failed": True}, BUDGET),
        "list_events that hardly any are": ("list_events", lambda _: {"actor": "agent:aider"}, BUDGET),
        "get_event": ("get_event", lambda c: {"id": c.choice(events)}, BUDGET),
        "get_diff of an edit": ("get_diff", lambda c: {"id": c.choice(edits)}, BUDGET),
        "get_diff of a command": ("get_diff", lambda c: {"id": c.choice(commands)}, BUDGET),
        "get_diff of the session": ("get_diff", lambda _: {"id": ids[-1]}, BUDGET),
        "get_output": ("get_output", lambda c: {"id": c.choice(commands), "part": "tail"}, BUDGET),
        "search_commands, two words": (
            "search_commands", lambda c: {"query": f"step {c.randrange(100)}"}, BUDGET,
        ),
        "search_commands, a path": (
            "search_commands", lambda c: {"query": f"tests/{c.randrange(100)}"}, BUDGET,
        ),
        "blame_line": ("blame_line", lambda c: c.choice(changed_lines), BUDGET),
        "why": ("why", lambda c: c.choice(changed_lines), BUDGET),
        "audit of a commit": ("audit", lambda _: {"range": "HEAD"}, ""),
    }  # fmt: skip


def lines_of(patch: str) -> list[dict[str, Any]]:
    """Every line that a patch without context brings, as a file and a number."""
    found, path = [], ""
    for line in patch.splitlines():
        if line.startswith("+++ b/"):
            path = line.removeprefix("+++ b/")
        elif hunk := _HUNK.match(line):
            first, count = int(hunk[1]), int(hunk[2] or 1)
            found += [{"path": path, "line": number} for number in range(first, first + count)]
    return found


# --- speaking -----------------------------------------------------------------------------------------------


@contextmanager
def speaking(command: list[str], root: Path) -> Iterator[Callable[[str, dict[str, Any]], dict[str, Any]]]:
    """A server, and a way to ask it one thing after the other."""
    environment = {name: value for name, value in os.environ.items() if name != "DEVTRACE_DIR"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    with subprocess.Popen(
        command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        heard, said = server.stdin, server.stdout

        def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
            message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            heard.write(json.dumps(message).encode() + b"\n")
            heard.flush()
            return dict(json.loads(said.readline())["result"])

        yield ask
        heard.close()


def _ms(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["--only", "mcp_serve", *sys.argv[1:]]))
