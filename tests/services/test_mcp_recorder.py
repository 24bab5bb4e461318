"""The process that records a proxy: real records through a real pipe, and the events in a real store."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.config import Config, snapshot
from devtrace.ids import new_session_id, new_span_id
from devtrace.query.events import with_late_ends
from devtrace.sources.mcp.tap import CLOSE, DATA, OPEN, TO_CLIENT, TO_SERVER
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace, create
from tests.services.mcp_feed import (
    PATIENCE_S,
    Feed,
    events,
    one,
    running,
    until,
)

SECRET = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"


KNOWN = "correct-horse-battery-staple-9"


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


# --- calls --------------------------------------------------------------------------------------------------


def test_a_call_is_an_event_under_its_server(place: Workspace, db: Any) -> None:
    with Feed(place) as feed:
        feed.calls(7, "read", arguments={"path": "a.txt"}, _meta={"claudecode/toolUseId": "toolu_1"})
        feed.answers(7)
        feed.finish()

    server, call = one(db, place, "mcp_server"), one(db, place, "mcp_call")
    assert (server["id"], server["parent"], server["status"]) == (feed.event, None, "ok")
    assert (call["parent"], call["session"], call["status"]) == (feed.event, feed.session, "ok")
    assert (call["title"], call["source"], call["trusted"]) == ('files/read {"path": "a.txt"}', "mcp", 0)
    assert call["ended_us"] - call["started_us"] == call["data"]["duration_us"] > 0
    wanted = {
        "server": "files", "tool": "read", "transport": "stdio", "request": "7", "outcome": "result",
        "call": "toolu_1",
    }  # fmt: skip
    assert {name: call["data"][name] for name in wanted} == wanted
    assert json.loads(call["data"]["result"]) == {"content": [{"type": "text", "text": "hi"}]}
    assert call["cwd"] == str(place.root)


def test_a_call_stands_there_while_it_goes_on(place: Workspace, db: Any) -> None:
    with Feed(place) as feed:
        feed.calls(1, "slow")
        (call,) = until(lambda: running(db, place))
        (server,) = running(db, place, "mcp_server")
        assert (call["data"]["tool"], call["data"]["arguments"], call["parent"]) == ("slow", "", server["id"])
        feed.answers(1)
        feed.finish()

    assert one(db, place, "mcp_call")["id"] == call["id"]
    assert running(db, place) == running(db, place, "mcp_server") == []


def test_the_run_tells_who_spoke_and_how_much(place: Workspace, db: Any) -> None:
    begin = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "claude-code", "version": "2.1"}}
    with Feed(place) as feed:
        feed.client(id=0, method="initialize", params=begin)
        feed.server(method="notifications/tools/list_changed")
        feed.server(
            id=0, result={"protocolVersion": "2025-06-18", "serverInfo": {"name": "fs", "version": "1"}}
        )
        feed.calls(1)
        feed.answers(1)
        feed.data(TO_CLIENT, b"this is no JSON\n")
        feed.finish()

    data = one(db, place, "mcp_server")["data"]
    assert (data["client"], data["server"], data["revisions"]) == ("claude-code 2.1", "fs 1", ["2025-06-18"])
    assert data["counts"] == {
        "to_server": {"initialize": 1, "tools/call": 1},
        "to_client": {"notifications/tools/list_changed": 1, "(result)": 2, "(invalid)": 1},
    }
    assert (data["calls"], data["exit_code"], data["command"]) == (1, 0, "node files.js")
    assert data["bytes_to_server"] > 100 < data["bytes_to_client"]


def test_the_client_tells_whose_agent_it_is(place: Workspace, db: Any) -> None:
    with Feed(place) as feed:
        feed.client(id=0, method="initialize", params={"clientInfo": {"name": "codex-mcp-client"}})
        feed.finish()

    assert {row["actor"] for row in events(db, place)} == {"agent:codex"}
    assert db.execute("SELECT agent, actor FROM sessions").fetchall() == [("codex", "agent:codex")]


def test_who_started_it_knows_better_than_the_client_whose_agent_it_is(place: Workspace, db: Any) -> None:
    with Feed(place, agent="claude-code") as feed:
        feed.client(id=0, method="initialize", params={"clientInfo": {"name": "codex-mcp-client"}})
        feed.finish()

    assert {row["actor"] for row in events(db, place)} == {"agent:claude-code"}


def test_the_clients_session_is_told_by_its_environment(place: Workspace, db: Any) -> None:
    with Feed(place, environ={"CLAUDE_CODE_SESSION_ID": "e35eb547"}) as feed:
        feed.client(id=0, method="initialize", params={"clientInfo": {"name": "claude-code"}})
        feed.calls(1)
        feed.finish()

    assert one(db, place, "mcp_call")["data"]["native"] == "e35eb547"


def test_a_call_stands_under_the_span_that_its_trace_names(place: Workspace, db: Any) -> None:
    span = new_span_id()
    with Feed(place) as feed:
        for id, trace in ((1, feed.session), (2, new_session_id())):
            feed.calls(id, _meta={"traceparent": f"00-{trace}-{span}-01"})
        feed.finish()

    parents = {row["data"]["request"]: row["parent"] for row in events(db, place, "mcp_call")}
    assert parents == {"1": span, "2": feed.event}


def test_an_answer_long_after_the_call_was_cancelled_is_its_late_end(place: Workspace, db: Any) -> None:
    with Feed(place) as feed:
        feed.calls(1, "slow", arguments={"a": 1})
        notice = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
        notice |= {"params": {"requestId": 1, "reason": "enough"}}
        a_while_ago_ns = time.time_ns() - 3 * 10**9
        feed.record(DATA, TO_SERVER, 0, json.dumps(notice).encode() + b"\n", a_while_ago_ns)
        first = until(
            lambda: [row for row in events(db, place, "mcp_call") if row["status"] == "interrupted"]
        )
        assert [(row["data"]["outcome"], row["data"]["cancel_reason"]) for row in first] == [
            ("cancelled", "enough")
        ]
        feed.answers(1, "too late")
        feed.finish()

    (row,) = [row for row in with_late_ends(db, events(db, place)) if row["kind"] == "mcp_call"]
    assert (row["status"], row["data"]["outcome"], row["data"]["late"]) == ("ok", "cancelled", True)
    assert (row["data"]["tool"], row["data"]["arguments"]) == ("slow", '{"a": 1}')
    assert "too late" in row["data"]["result"]


def test_over_http_exchanges_are_calls_too(place: Workspace, db: Any) -> None:
    with Feed(place, transport="http", command=None, url="http://127.0.0.1:1/mcp") as feed:
        body = json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}}
        ).encode()
        head = {"method": "POST", "path": "/mcp", "headers": {"mcp-protocol-version": "2026-07-28"}}
        for channel in (1, 2):
            feed.record(OPEN, TO_SERVER, channel, json.dumps(head).encode())
            feed.record(DATA, TO_SERVER, channel, body)
            told = {"status": 200, "headers": {"content-type": "text/event-stream"}}
            feed.record(OPEN, TO_CLIENT, channel, json.dumps(told).encode())
        feed.record(DATA, TO_CLIENT, 2, b'data: {"jsonrpc":"2.0","id":1,"result":{}}\n\n')
        feed.record(CLOSE, TO_CLIENT, 2, b'{"why":"done","detail":""}')
        feed.record(CLOSE, TO_CLIENT, 1, b'{"why":"client_gone","detail":""}')
        feed.finish(None)

    ends = {(row["data"]["outcome"], row["data"]["revision"]) for row in events(db, place, "mcp_call")}
    assert ends == {("result", "2026-07-28"), ("cancelled", "2026-07-28")}
    server = one(db, place, "mcp_server")
    assert (server["status"], server["data"]["transport"], server["data"]["url"]) == (
        "ok",
        "http",
        feed.begin["url"],
    )


def test_an_older_server_of_http_is_told_as_one(place: Workspace, db: Any) -> None:
    with Feed(place, transport="http") as feed:
        feed.record(OPEN, TO_SERVER, 1, b'{"method":"GET","path":"/sse","headers":{}}')
        feed.record(OPEN, TO_CLIENT, 1, b'{"status":200,"headers":{"content-type":"text/event-stream"}}')
        feed.record(DATA, TO_CLIENT, 1, b"event: endpoint\ndata: /messages\n\n")
        feed.finish(None)

    assert one(db, place, "mcp_server")["data"]["transport"] == "sse"


# --- how it ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit_code", "number", "status"),
    [
        *((0, None, "ok"), (3, None, "failed"), (None, None, "ok"), (139, 11, "failed"), (137, 9, "failed")),
        *((143, 15, "ok"), (130, 2, "ok"), (129, None, "ok")),
    ],
    ids=["well", "failed", "no process", "crashed", "killed", "terminated", "interrupted", "hung up"],
)
def test_the_run_ends_as_its_server_did(
    place: Workspace, db: Any, exit_code: int | None, number: int | None, status: str
) -> None:
    with Feed(place) as feed:
        feed.finish(exit_code, number)

    server = one(db, place, "mcp_server")
    assert (server["status"], server["exit_code"], server["data"].get("exit_code")) == (
        status,
        exit_code,
        exit_code,
    )
    assert db.execute("SELECT id, kind, status FROM sessions").fetchall() == [(feed.session, "mcp", "ended")]


def test_when_the_forwarder_is_killed_nobody_says_that_no_answer_came(place: Workspace, db: Any) -> None:
    with Feed(place) as feed:
        feed.calls(1)
        feed.data(TO_CLIENT, b'{"jsonrpc":"2.0","id":1,"res')
        feed.wait()

    ends = {(row["kind"], row["status"]) for row in events(db, place)}
    assert ends == {("mcp_call", "unknown"), ("mcp_server", "interrupted"), ("gap", "unknown")}
    assert one(db, place, "mcp_call")["data"]["outcome"] == ""
    assert one(db, place, "gap")["data"]["reason"] == "mcp_recorder_stopped"  # what it had still to hand over
    assert db.execute("SELECT status FROM sessions").fetchone() == ("interrupted",)


def test_the_last_answer_needs_no_line_end(place: Workspace, db: Any) -> None:
    with Feed(place) as feed:
        feed.calls(1)
        feed.data(TO_CLIENT, b'{"jsonrpc":"2.0","id":1,"result":{}}')
        feed.finish()

    assert one(db, place, "mcp_call")["data"]["outcome"] == "result"


def test_in_a_traced_shell_its_session_is_used_and_its_host_is_woken(
    place: Workspace, db: Any, tmp_path: Path
) -> None:
    fifo, session, span = tmp_path / "fifo", new_session_id(), new_span_id()
    os.mkfifo(fifo)
    host = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        with Feed(place, session=session, own=False, span=span, fifo=str(fifo)) as feed:
            feed.calls(1)
            assert select.select([host], [], [], PATIENCE_S)[0] == [host]
            assert set(os.read(host, 100)) == {ord("\n")}
            (call,) = until(lambda: running(db, place))
            feed.finish()
    finally:
        os.close(host)

    assert {row["session"] for row in events(db, place)} == {session}
    assert (one(db, place, "mcp_server")["parent"], call["parent"]) == (span, feed.event)
    assert db.execute("SELECT kind FROM sessions").fetchall() == [("import",)]  # the host writes its row


# --- secrets and sizes --------------------------------------------------------------------------------------


def test_a_secret_reaches_no_file(place: Workspace, db: Any, tmp_path: Path) -> None:
    environ = {"SERVICE_PASSWORD": KNOWN}
    texts = f"{SECRET} and {KNOWN}"
    begin = {"name": f"n {KNOWN}", "command": f"node x --token {SECRET}", "frames": True}
    with Feed(place, environ=environ, **begin) as feed:
        feed.client(id=0, method="initialize", params={"clientInfo": {"name": "c", "version": KNOWN}})
        feed.server(id=0, result={"protocolVersion": KNOWN, "serverInfo": {"name": SECRET, "version": "1"}})
        feed.client(method=f"x/{SECRET}")
        feed.calls(
            KNOWN,
            KNOWN,
            arguments={"line": f"a\nexport T={texts}\n", KNOWN: 1},
            _meta={"progressToken": KNOWN},
        )
        feed.server(method="notifications/progress", params={"progressToken": KNOWN, "message": texts})
        feed.server(id=1, method=f"ask/{KNOWN}")
        until(lambda: list(place.run.glob("mcp-*.json")))
        assert_no_secret(place)
        feed.server(id=KNOWN, error={"code": 1, "message": texts, "data": {"t": texts}})
        feed.calls(2, "x")
        feed.answers(2, f"the key is {texts}", isError=True)
        feed.calls(3, "x")
        feed.client(method="notifications/cancelled", params={"requestId": 3, "reason": texts})
        feed.calls(4, "x", _meta={"claudecode/toolUseId": KNOWN})
        feed.data(TO_CLIENT, f"no JSON but {texts}\n".encode())
        feed.finish()
        assert_no_secret(place)

    rows = events(db, place)
    assert {row["kind"] for row in rows} == {"mcp_call", "mcp_server", "mcp_frames"}
    assert SECRET not in str(rows)
    assert KNOWN not in str(rows)
    first = next(row for row in rows if row["kind"] == "mcp_call" and "progress_text" in row["data"])
    assert first["data"]["redacted"] == ["github-token", "known-value"]
    assert_no_secret(place)


def assert_no_secret(place: Workspace) -> None:
    for path in [path for path in place.dir.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        assert KNOWN.encode() not in content, path


def test_what_credential_files_hold_and_the_users_own_rules_are_secrets_too(
    place: Workspace, db: Any
) -> None:
    (place.root / ".env").write_text("DATABASE_PASSWORD=from-the-env-file-77\n")
    snapshot(place, Config({"policy.rules.ticket": r"TICKET-[0-9]+"}))
    with Feed(place) as feed:
        feed.calls(1, arguments={"a": "from-the-env-file-77", "b": "TICKET-4711"})
        feed.finish()

    data = one(db, place, "mcp_call")["data"]
    assert "from-the-env-file-77" not in str(data)
    assert "TICKET-4711" not in str(data)
    assert data["redacted"] == ["known-value", "ticket"]


def test_what_is_too_long_loses_its_middle_and_tells_its_size(place: Workspace, db: Any) -> None:
    snapshot(place, Config({"limits.event_kb": 32}))
    with Feed(place) as feed:
        feed.calls(1, arguments={"text": "a" * 100_000})
        feed.answers(1, "line\n" * 1_000_000)
        feed.calls(2, arguments={"text": "é" * 10_000})
        feed.server(id=2, error={"code": 1, "message": "m" * 200_000, "data": ["d" * 200_000]})
        feed.finish()

    first, second = (row["data"] for row in events(db, place, "mcp_call"))
    assert set(first["truncated"]) == {"arguments", "result"}
    assert first["truncated"]["result"] > 6_000_000
    assert json.loads(first["result"])["content"][0]["text"].startswith("line\nline\n")
    assert json.loads(first["arguments"])["text"].endswith("aaa")
    assert first["bytes_to_client"] > 6_000_000
    assert set(second["truncated"]) == {"arguments", "error", "error_data"}
    for row in events(db, place, "mcp_call"):
        assert len(json.dumps(row["data"], ensure_ascii=False).encode()) < 36_000
        assert len(row["title"]) <= 1_000


def test_a_message_of_which_only_the_ends_were_kept_is_a_call_all_the_same(place: Workspace, db: Any) -> None:
    with Feed(place) as feed:
        feed.data(TO_SERVER, b'{"method":"tools/call","params":{"name":"write","arguments":{"text":"')
        for _ in range(20):
            feed.data(TO_SERVER, b"x" * (1 << 20), 1 << 20)
        feed.data(TO_SERVER, b'"}},"jsonrpc":"2.0","id":1}\n')
        feed.answers(1)
        feed.finish()

    data = one(db, place, "mcp_call")["data"]
    assert (data["tool"], data["request"], data["outcome"]) == ("write", "1", "result")
    assert data["arguments"].startswith('{"text":"xxx')
    assert data["truncated"]["arguments"] == data["bytes_to_server"] > 20 << 20


def test_the_bytes_of_an_image_are_counted_and_not_kept(place: Workspace, db: Any) -> None:
    with Feed(place) as feed:
        feed.calls(1)
        image = {"type": "image", "mimeType": "image/png", "data": "QUJD" * 100_000}
        feed.server(id=1, result={"content": [image]})
        feed.finish()

    data = one(db, place, "mcp_call")["data"]
    assert json.loads(data["result"])["content"] == [
        image | {"data": "[... 300,000 bytes of image/png were not kept ...]"}
    ]
    assert data["truncated"]["result"] > 400_000
