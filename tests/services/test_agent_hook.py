"""The hook process of agents: what it leaves in the spool, and that nobody notices when it cannot."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.ids import new_session_id
from devtrace.services import agent_hook
from devtrace.store.connection import open_store
from devtrace.store.drain import drain
from devtrace.store.sessions import close_orphans
from devtrace.workspace import Workspace, create
from tests.processes import environment
from tests.store.frames import is_whole

HOOK = Path(agent_hook.__file__)
NATIVE = "e35eb547-d670-46b0-8b78-17e533428062"
TURN = "91fa3690-a334-468c-8904-1346738fa143"
SECRET = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
HOUR_US = 3_600_000_000


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "repo" / ".devtrace")
    workspace.root.mkdir()
    create(workspace)
    open_store(workspace, create=True).close()
    return workspace


@pytest.fixture
def db(place: Workspace) -> Iterator[Any]:
    with closing(open_store(place)) as db:
        yield db


def payload(place: Workspace, event: str, **fields: Any) -> dict[str, Any]:
    common = {"session_id": NATIVE, "transcript_path": "/t.jsonl", "cwd": str(place.root), "prompt_id": TURN}
    return {**common, "hook_event_name": event, **fields}


def play(place: Workspace, event: str, agent: str = "claude-code", **fields: Any) -> None:
    told(place, json.dumps(payload(place, event, **fields)).encode(), event, agent)


def told(
    place: Workspace, data: bytes, event: str = "", agent: str = "claude-code", **own: str
) -> subprocess.CompletedProcess[bytes]:
    """A hook as a client starts it: by its path, in isolated mode, without site-packages."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", HOOK, agent, event],
        input=data, cwd=place.root, env=environment(**own), capture_output=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return done


def rows(db: Any, place: Workspace, columns: str = "kind, status, title") -> list[tuple[Any, ...]]:
    drain(db, place)
    assert is_whole(db)
    found: list[tuple[Any, ...]] = db.execute(f"SELECT {columns} FROM events ORDER BY seq").fetchall()
    return found


def test_a_call_that_begins_and_ends_is_one_event_under_its_prompt(place: Workspace, db: Any) -> None:
    play(place, "UserPromptSubmit", prompt="Greet Ana")
    call = {"tool_name": "Bash", "tool_input": {"command": "echo hi"}, "tool_use_id": "toolu_1"}
    play(place, "PreToolUse", **call)
    drain(db, place)
    (running,) = db.execute("SELECT title, started_us, parent FROM running").fetchall()
    play(place, "PostToolUse", **call, tool_response={"stdout": "hi", "stderr": "", "interrupted": False})

    prompt, ended = rows(db, place, "kind, id, parent, title, status, started_us, ended_us, source, data")
    assert (prompt[0], prompt[3], prompt[7]) == ("prompt", "Greet Ana", "hook")
    assert ended[2:5] == (prompt[1], "Bash: echo hi", "ok")
    assert running == ("Bash: echo hi", ended[5], prompt[1])
    assert ended[6] > ended[5]
    data = json.loads(ended[8])
    assert (data["call"], data["command"], data["does"]) == ("toolu_1", "echo hi", "shell")
    assert db.execute("SELECT count(*) FROM running").fetchone() == (0,)


def test_outside_a_traced_shell_a_session_of_the_client_s_own_begins_and_ends(
    place: Workspace, db: Any
) -> None:
    play(place, "SessionStart", source="startup")
    play(place, "UserPromptSubmit", prompt="Greet Ana")
    drain(db, place)
    known = "SELECT id, kind, agent, status, started_us, json_extract(meta, '$.native') FROM sessions"
    (begun,) = db.execute(known).fetchall()
    assert begun[1:4] == ("agent", "claude-code", "active")
    assert begun[5] == NATIVE
    assert close_orphans(db, place, begun[4] + HOUR_US) == []

    play(place, "SessionEnd", reason="other")

    drain(db, place)
    (ended,) = db.execute(known).fetchall()
    assert ended == (begun[0], "agent", "claude-code", "ended", begun[4], NATIVE)
    assert {session for (session,) in rows(db, place, "session")} == {begun[0]}


def test_a_client_that_never_said_goodbye_is_taken_for_gone_after_hours(place: Workspace, db: Any) -> None:
    play(place, "SessionStart", source="startup")
    drain(db, place)
    ((session, since_us),) = db.execute("SELECT id, started_us FROM sessions").fetchall()

    assert close_orphans(db, place, since_us + 7 * HOUR_US) == [session]
    assert db.execute("SELECT status FROM sessions").fetchone() == ("interrupted",)


def test_in_a_traced_shell_it_stands_under_the_command_in_flight(
    place: Workspace, db: Any, tmp_path: Path
) -> None:
    session, span = new_session_id(), "1234567890123456"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    data = payload(place, "UserPromptSubmit", prompt="Greet Ana") | {"cwd": str(elsewhere)}
    told(
        place, json.dumps(data).encode(), "UserPromptSubmit",
        DEVTRACE_DIR=str(place.dir), DEVTRACE_SESSION=session, DEVTRACE_SPAN=span,
    )  # fmt: skip

    assert rows(db, place, "session, parent, actor") == [(session, span, "human")]


def test_where_there_is_no_store_nothing_is_done(tmp_path: Path) -> None:
    bare = Workspace(tmp_path / "bare" / ".devtrace")
    bare.root.mkdir()

    play(bare, "UserPromptSubmit", prompt="Greet Ana")

    assert list(bare.root.iterdir()) == []


def test_a_secret_reaches_no_file(place: Workspace, db: Any) -> None:
    play(place, "UserPromptSubmit", prompt=f"use {SECRET} and hunter22222")
    call = {"tool_name": "Bash", "tool_input": {"command": f"curl -H 'X: {SECRET}'"}, "tool_use_id": "t"}
    play(place, "PreToolUse", **call)
    told(place, f'{{"session_id": "{SECRET}"'.encode(), "PreToolUse")

    files = [path for path in place.dir.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    spooled = list(place.spool.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in spooled} == {0o600}
    assert "[REDACTED" in rows(db, place, "title")[0][0] or "redacted" in rows(db, place, "data")[0][0]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no_json"),
        (b"{", "no_json"),
        (b"[1, 2]", "no_json"),
        (b"\xff\xfe\x00", "no_json"),
        (b"[" * 100_000, "no_json"),
        (b'{"session_id": "x", "hook_event_name": "FooBar", "n": 1}', "unknown_event"),
        (b'{"session_id": 7, "hook_event_name": "PreToolUse", "tool_name": []}', "unknown_shape"),
    ],
)
def test_what_is_not_understood_is_kept_as_it_came(place: Workspace, db: Any, data: bytes, why: str) -> None:
    told(place, data, "PreToolUse")

    ((kind, raw),) = rows(db, place, "kind, data")
    assert kind == "agent_payload"
    assert json.loads(raw)["why"] == why
    text = json.loads(raw)["payload"]
    assert why != "unknown_event" or "FooBar" in text


def test_an_agent_without_an_adapter_is_kept_too(place: Workspace, db: Any) -> None:
    told(place, b'{"session_id": "x"}', "stop", "continue")

    assert rows(db, place, "kind, status") == [("agent_payload", "unknown")]


def test_a_store_that_cannot_be_written_is_nobody_s_trouble(place: Workspace) -> None:
    for folder in (place.spool, place.run):
        folder.rmdir()
        folder.write_text("in the way")

    play(place, "UserPromptSubmit", prompt="Greet Ana")


def test_a_closed_output_is_nobody_s_trouble(place: Workspace) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-I", "-S", HOOK, "claude-code", "Stop"],
        input=b"{}", cwd=place.root, env=environment(), stdout=writing, stderr=writing, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 0


def test_it_needs_nothing_but_the_light_part_of_the_standard_library(
    place: Workspace, tmp_path: Path
) -> None:
    seen = tmp_path / "modules"
    program = (
        "import os, runpy, sys; sys.argv = ['hook', 'claude-code', 'Stop']; os._exit = lambda _: None\n"
        f"runpy.run_path({str(HOOK)!r}, run_name='__main__')\n"
        f"open({str(seen)!r}, 'w').write(' '.join(sys.modules))"
    )
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        input=json.dumps(payload(place, "Stop")).encode(), cwd=place.root, env=environment(), check=True,
    )  # fmt: skip
    loaded = set(seen.read_text().split())

    assert "devtrace.policy.chain" in loaded
    heavy = {"dataclasses", "inspect", "logging", "sqlite3", "asyncio", "subprocess", "pygit2", "tomllib"}
    assert loaded & heavy == set()


def test_hooks_at_the_same_time_count_together(place: Workspace) -> None:
    """Sixteen processes count the same name: nobody gets another's number."""
    program = (
        f"import sys; sys.path.insert(0, {str(HOOK.parents[2])!r})\n"
        "from devtrace.services.agent_hook import Memory\n"
        "from devtrace.workspace import Workspace\nfrom pathlib import Path\n"
        "memory = Memory(Workspace(Path(sys.argv[1])), 'gemini', 'x')\n"
        "print(memory.own_session(), memory.session, *(memory.count('call') for _ in range(20)))"
    )
    running = [
        subprocess.Popen([sys.executable, "-S", "-c", program, place.dir], stdout=subprocess.PIPE, text=True)
        for _ in range(16)
    ]
    answers = [process.communicate()[0].split() for process in running]

    assert sorted(int(number) for answer in answers for number in answer[2:]) == list(range(1, 321))
    assert len({answer[1] for answer in answers}) == 1
    assert [answer[0] for answer in answers].count("True") == 1
