"""A secret in whatever an agent writes, reads or runs reaches no file of the store, as JSON or as text."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.policy.chain import Policy
from devtrace.services import agent_hook
from devtrace.services.transcripts import import_records
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace, create

SECRET = "Hx7Qp2Lm9Zk4"
COMMANDS = [
    f"cd x\ncurl -u ana:{SECRET} https://x",
    f"mysql -uroot -p{SECRET} db",
    f'export DB_PASSWORD="{SECRET}"',
    f"export DB_PASSWORD='{SECRET}'; run",
    f'curl -H "Authorization: Bearer {SECRET}" h',
    f"psql postgres://u:{SECRET}@h/d",
    f'tool --password="{SECRET}"',
    f"python3 -c 'connect(password=\"{SECRET}\")'",
    f"cat > .env <<EOF\nDB_PASSWORD={SECRET}\nAPI_KEY={SECRET}\nEOF",
    f"echo 'machine h login u password {SECRET}' >> ~/.netrc",
]
CONTENTS = [
    f"db:\n  password: {SECRET}\n  host: x\n",
    f'DB_PASSWORD = "{SECRET}"\n',
    json.dumps({"password": SECRET}, indent=1),
    f"password = '{SECRET}'\n",
    f"machine h\nlogin u\npassword {SECRET}\n",
    "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join([SECRET * 5] * 6) + "\n-----END RSA PRIVATE KEY-----\n",
]


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "repo" / ".devtrace")
    workspace.root.mkdir()
    create(workspace)
    open_store(workspace, create=True).close()
    return workspace


def hear(place: Workspace, event: str, tool: str, given: Any, answer: Any = None) -> None:
    told = {
        "session_id": "S1", "cwd": str(place.root), "hook_event_name": event, "prompt_id": "p1",
        "tool_name": tool, "tool_input": given, "tool_use_id": "toolu_1", "tool_response": answer,
    }  # fmt: skip
    agent_hook.take(
        "claude-code", event, json.dumps(told).encode(), 1_795_226_342_000_000, {"HOME": "/nowhere"}
    )


def holding(place: Workspace) -> list[str]:
    files = [path for path in place.dir.rglob("*") if path.is_file()]
    return [path.name for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("command", COMMANDS)
def test_in_a_command(place: Workspace, command: str) -> None:
    hear(place, "PreToolUse", "Bash", {"command": command})
    hear(place, "PostToolUse", "Bash", {"command": command}, {"stdout": command, "stderr": ""})

    assert holding(place) == []


@pytest.mark.parametrize("content", CONTENTS)
def test_in_a_file_that_is_written_edited_or_read(place: Workspace, content: str) -> None:
    hear(place, "PreToolUse", "Write", {"file_path": "/x/f", "content": content})
    hear(place, "PostToolUse", "Edit", {"file_path": "/x/f", "old_string": "x", "new_string": content}, {})
    hear(place, "PostToolUse", "Read", {"file_path": "/x/f"}, {"type": "text", "file": {"content": content}})
    hear(place, "PostToolUse", "mcp__db__q", {"f": content}, [{"type": "text", "text": content}])

    assert holding(place) == []


@pytest.mark.parametrize("content", CONTENTS)
def test_in_a_payload_that_nobody_understands(place: Workspace, content: str) -> None:
    hear(place, "Unheard", "Bash", {"deep": [{"content": content}]})

    assert holding(place) == []


def test_what_a_credential_file_holds_is_known_to_the_hook(place: Workspace) -> None:
    """An agent reads it as its own, and prints it without its name."""
    (place.root / ".env").write_text(f"SERVICE_TOKEN={SECRET}\n")

    answer = {"stdout": SECRET, "stderr": ""}
    hear(place, "PostToolUse", "Bash", {"command": "cut -d= -f2 .env"}, answer)

    assert [name for name in holding(place) if name != ".env"] == []


def test_at_the_end_of_what_is_kept_of_a_payload(place: Workspace) -> None:
    token = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
    for cut in (10, 25, 39):
        text = "x" * ((1 << 20) - cut) + token + "y" * 10
        agent_hook.take("claude-code", "Stop", text.encode(), 1, {"HOME": "/nowhere"})

    spooled = b"".join(path.read_bytes() for path in place.spool.iterdir()) if place.spool.exists() else b""
    assert token[:9].encode() not in spooled


@pytest.mark.parametrize("content", [*COMMANDS, *CONTENTS])
def test_in_a_transcript_that_is_imported(place: Workspace, tmp_path: Path, content: str) -> None:
    kept = tmp_path / "home" / ".claude" / "projects" / str(place.root).replace("/", "-").replace("_", "-")
    kept.mkdir(parents=True)
    at = {"timestamp": "2026-11-21T01:58:59.717Z", "sessionId": "s", "cwd": str(place.root), "version": "2"}
    use = {"type": "tool_use", "id": "t1", "name": "Write", "input": {"file_path": "/x", "content": content}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": content}
    lines = [
        {"type": "user", "uuid": "u", **at, "message": {"role": "user", "content": "go on"}},
        {
            "type": "assistant",
            "uuid": "a",
            **at,
            "message": {"id": "m", "role": "assistant", "content": [use]},
        },
        {"type": "user", "uuid": "r", **at, "message": {"role": "user", "content": [result]}},
    ]
    (kept / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    with closing(open_store(place)) as db:
        policy = Policy.for_session({}, place.salt.read_bytes())
        done = list(import_records(db, place, policy, {"HOME": str(tmp_path / "home")}))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    assert sum(one.events for one in done) >= 2
    assert holding(place) == []
