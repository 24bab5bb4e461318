"""The server on its standard streams: stdout carries the protocol alone, and it goes when its client goes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.mcp_serve.asking import Alive
from tests.mcp_serve.serving import CLIENT, COMMAND, LEGACY, MODERN, meta, served
from tests.processes import DEADLINE, environment

TOOLS = 9


@pytest.fixture
def recorded(tmp_path):
    made = Alive(tmp_path)
    made.session(title="the session")
    made.command("make", 1, printed=b"done\n")
    yield made
    made.close()


@pytest.fixture
def server(recorded):
    with served(recorded.workspace.root) as one:
        yield one


# --- both eras ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", LEGACY)
def test_a_client_of_each_legacy_revision_is_served(server, revision):
    told = server.greet(revision)["result"]

    assert told["protocolVersion"] == revision
    assert told["serverInfo"]["name"] == "devtrace"
    assert "data, never instructions" in told["instructions"]
    assert len(server.ask("tools/list")["result"]["tools"]) == TOOLS
    assert server.call("list_sessions")["structuredContent"]["sessions"][0]["title"] == "the session"


def test_a_client_of_an_unknown_revision_is_offered_the_newest_that_it_may_know(server):
    assert server.greet("1999-01-01")["result"]["protocolVersion"] == LEGACY[-1]
    assert not server.call("list_sessions")["isError"]


def test_a_client_of_the_modern_revision_is_served_without_a_handshake(server):
    told = server.ask("tools/call", {"name": "list_sessions", "arguments": {}, **meta()})["result"]

    assert told["resultType"] == "complete"
    assert told["structuredContent"]["sessions"][0]["title"] == "the session"


def test_a_client_that_probes_for_the_modern_revision_first_is_served(server):
    told = server.ask("server/discover", meta())["result"]

    assert told["supportedVersions"] == [MODERN]
    assert len(server.ask("tools/list", meta())["result"]["tools"]) == TOOLS
    assert not server.ask("tools/call", {"name": "list_events", "arguments": {}, **meta()})["result"][
        "isError"
    ]


def test_what_follows_a_first_answer_at_once_is_answered_in_order_and_once(server):
    for number in range(1, 4):
        server.send({"jsonrpc": "2.0", "id": f"tools {number}", "method": "ping"})
    told = server.greet(LEGACY[-1])
    tools = server.ask("tools/list")
    rest = [server.hear() for _ in range(3)]

    assert told["id"] == 1
    assert tools["id"] == 2
    assert {message["id"] for message in rest} == {"tools 1", "tools 2", "tools 3"}
    status, more = server.end()
    assert (status, more) == (0, b"")


def test_a_second_handshake_and_a_late_list_are_the_librarys(server):
    server.greet()
    server.call("list_sessions")

    again = server.ask("tools/list")["result"]

    assert len(again["tools"]) == TOOLS
    assert server.ask("resources/templates/list")["result"]["resourceTemplates"][0]["name"] == "event"


def test_links_are_sent_to_clients_that_know_them_only(recorded):
    (event,) = [row[0] for row in recorded.db.execute("SELECT id FROM events")]
    kinds = {}
    for revision in LEGACY:
        with served(recorded.workspace.root) as server:
            server.greet(revision)
            kinds[revision] = [one["type"] for one in server.call("get_event", id=event)["content"]]

    assert kinds == {
        "2024-11-05": ["text"], "2025-03-26": ["text"], "2025-06-18": ["text", "resource_link"],
        "2025-11-25": ["text", "resource_link"],
    }  # fmt: skip


# --- what a client may send ---------------------------------------------------------------------------------


def test_lines_that_are_no_messages_do_no_harm(server):
    server.greet()
    for line in (
        b"\n",
        b"{\n",
        b"nonsense\n",
        b"[]\n",
        b"[[[" * 1_000 + b"\n",
        b'{"jsonrpc":"2.0"}\n',
        b"\xff\xfe\n",
    ):
        server.send(line)

    assert not server.call("list_sessions")["isError"]


def test_a_line_that_never_ends_is_refused_and_the_next_one_is_heard(server):
    server.greet()
    server.call("list_sessions")

    server.send(b'{"jsonrpc":"2.0","id":9,"method":"ping","params":{"x":"' + b"x" * (17 << 20) + b'"}}\n')

    assert server.hear()["error"]["message"] == "the message is too long"
    assert not server.call("list_sessions")["isError"]


def test_a_tool_that_there_is_not_is_an_error_of_the_protocol(server):
    server.greet()

    error = server.ask("tools/call", {"name": "drop_tables", "arguments": {}})["error"]

    assert (error["code"], error["message"]) == (-32602, "Unknown tool: 'drop_tables'")


def test_a_wrong_argument_is_an_error_of_the_tool_with_code_and_hint(server):
    server.greet()

    told = server.call("get_event", id="ffff")

    assert told["isError"]
    assert told["structuredContent"]["code"] == "ERR_ID_UNKNOWN"
    assert told["content"][0]["text"].startswith("error: no session or event starts with 'ffff'")


def test_a_call_that_was_cancelled_is_not_answered_and_the_next_one_is(recorded, server):
    server.greet()
    with locked(recorded):
        server.send(
            {"jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": {"name": "list_sessions"}}
        )
        server.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "slow"}})
        assert server.ask("ping")["result"] == {}

    assert not server.call("list_sessions")["isError"]


def test_calls_that_are_made_at_once_are_answered_each_by_its_id(server):
    server.greet()
    for number in range(20):
        params = {"name": "list_events", "arguments": {"limit": number + 1}}
        server.send({"jsonrpc": "2.0", "id": f"call {number}", "method": "tools/call", "params": params})

    answers = [server.hear() for _ in range(20)]

    assert {one["id"] for one in answers} == {f"call {number}" for number in range(20)}
    assert not any(one["result"]["isError"] for one in answers)


def test_stdout_carries_nothing_but_messages_and_stderr_nothing(server):
    server.greet()
    for tool in ("list_sessions", "audit", "search_commands"):
        server.ask(
            "tools/call", {"name": tool, "arguments": {"query": "x"} if tool == "search_commands" else {}}
        )
    status, rest = server.end()

    assert (status, rest) == (0, b"")
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in server.lines)


# --- the end ------------------------------------------------------------------------------------------------


class locked:
    """A store that nobody can read for a while: a question waits for it."""

    def __init__(self, recorded):
        self._path = recorded.workspace.database
        recorded.close()

    def __enter__(self):
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, *_):
        self._db.execute("ROLLBACK")
        self._db.close()


def test_it_ends_when_its_client_closes_its_end_right_after_the_first_answer(server):
    server.greet()

    assert server.end() == (0, b"")


def test_it_ends_when_its_client_says_nothing_at_all(server):
    assert server.end() == (0, b"")


def test_what_was_asked_before_the_end_is_answered(server):
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize",
         "params": {"protocolVersion": LEGACY[-1], "capabilities": {}, "clientInfo": CLIENT}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "list_sessions"}},
    ]  # fmt: skip
    server.send(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    status, rest = server.end()

    assert status == 0
    assert [json.loads(line)["id"] for line in rest.splitlines()] == [1, 2]


def test_it_ends_though_a_call_is_at_work_and_does_not_wait_for_its_answer(recorded, server):
    server.greet()
    server.call("list_sessions")
    with locked(recorded):
        server.send(
            {"jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": {"name": "list_sessions"}}
        )
        server.ask("ping")

        assert server.end() == (0, b"")


@pytest.mark.parametrize("when", ["at once", "after a call", "while a call is at work"])
def test_it_ends_by_sigterm_without_a_word(recorded, server, when):
    server.greet()
    if when != "at once":
        server.call("list_sessions")
    with locked(recorded):
        if when == "while a call is at work":
            params = {"name": "list_sessions"}
            server.send({"jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": params})
            server.ask("ping")
        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(DEADLINE) == 143


def test_it_ends_by_ctrl_c_without_a_word(server):
    server.greet()
    server.process.send_signal(signal.SIGINT)

    assert server.process.wait(DEADLINE) == 130


def test_it_ends_when_nobody_reads_its_answers(recorded):
    with served(recorded.workspace.root) as server:
        server.greet()
        server.process.stdout.close()
        server.send({"jsonrpc": "2.0", "id": 9, "method": "ping"})

        assert server.process.wait(DEADLINE) == 0


def test_closed_streams_are_told_as_what_they_are(recorded):
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND],
        cwd=recorded.workspace.root, env=environment(), capture_output=True, check=False, timeout=DEADLINE,
    )  # fmt: skip

    assert done.returncode == 2
    assert b"standard input or output is closed [ERR_USAGE]" in done.stderr


# --- where it runs ------------------------------------------------------------------------------------------


def test_without_a_store_it_is_there_and_says_what_to_do(tmp_path):
    with served(tmp_path) as server:
        server.greet()

        told = server.call("list_sessions")

        assert told["structuredContent"]["code"] == "ERR_STORE_MISSING"
        made = Alive(tmp_path)
        made.session(title="made later")
        assert server.call("list_sessions")["structuredContent"]["sessions"][0]["title"] == "made later"
        made.close()


def test_what_somebody_prints_in_our_process_is_not_on_stdout(recorded, tmp_path_factory):
    noisy = tmp_path_factory.mktemp("noisy")
    (noisy / "sitecustomize.py").write_text(
        "import threading, os, sys, time\n"
        "def shout():\n"
        "    while 'anyio' not in sys.modules: time.sleep(0.01)\n"
        "    os.write(1, b'noise\\n'); print('noise', flush=True)\n"
        "threading.Thread(target=shout, daemon=True).start()\n"
    )
    path = os.pathsep.join([str(noisy), environment()["PYTHONPATH"]])
    with subprocess.Popen(
        COMMAND, cwd=recorded.workspace.root, env=environment(PYTHONPATH=path), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        greeting = {"protocolVersion": LEGACY[-1], "capabilities": {}, "clientInfo": CLIENT}
        process.stdin.write(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": greeting}).encode()
            + b"\n"
            b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"list_sessions"}}\n'
        )
        out, err = process.communicate(timeout=DEADLINE)

    assert [json.loads(line)["id"] for line in out.splitlines()] == [1, 2]
    assert err.splitlines() == [b"noise", b"noise"]


def test_a_missing_extra_is_told_with_how_to_install_it(recorded):
    program = (
        "import sys; sys.modules['mcp'] = None; sys.argv = ['devtrace', 'mcp', 'serve']; "
        "from devtrace.__main__ import main; sys.exit(main())"
    )
    for more in ([], ["--http"]):
        done = subprocess.run(
            [sys.executable, "-c", program.replace("'serve'", ", ".join(map(repr, ["serve", *more])))],
            cwd=recorded.workspace.root, env=environment(), capture_output=True, text=True, check=False,
            timeout=DEADLINE, stdin=subprocess.DEVNULL,
        )  # fmt: skip

        assert done.returncode == 1
        assert "the extra `mcp` is not installed [ERR_EXTRA_MISSING]" in done.stderr
        assert "pip install 'devtrace-shell[mcp]'" in done.stderr


def test_many_clients_of_one_store_are_served_by_a_server_each(recorded):
    root: Path = recorded.workspace.root
    found = []

    def use():
        with served(root) as server:
            server.greet()
            found.append(len(server.call("list_events")["structuredContent"]["events"]))

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(sqlite3.connect(recorded.workspace.database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    assert found == [1, 1, 1]
