"""Whose call it was: by the id that the client sends along, else by tool, arguments and time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.query.events import get_event
from devtrace.query.mcp import _names, callers, passed
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace

SESSION, OTHER = "0192aaaaaaaa7bbb8ccc0123456789ab", "0192aaaaaaaa7bbb8ccc0123456789ac"
SECOND = 1_000_000
T0 = 1_800_000_000 * SECOND


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(Workspace(tmp_path / ".devtrace"), create=True)) as opened:
        yield opened


def frame(kind: str, number: int, at_us: int, **fields: Any) -> dict[str, Any]:
    data = fields.pop("data")
    return {
        "v": 1, "kind": kind, "session": SESSION, "id": f"{number:016x}", "parent": None,
        "actor": "agent:claude-code", "started_us": at_us, "ended_us": at_us + SECOND, "status": "ok",
        "title": kind, "cwd": None, "exit_code": None, "source": "hook", "exit_source": None, "trusted": 0,
        "data": data, "blobs": {}, **fields,
    }  # fmt: skip


def told(
    number: int, at_us: int, tool: str, given: object, call: str | None = None, **more: Any
) -> dict[str, Any]:
    data = {
        "tool": tool, "does": "mcp", "agent": "claude-code", "native": "n1", "call": call, "turn": None,
        "input": json.dumps(given), "interrupted": False,
    }  # fmt: skip
    return frame("tool_call", number, at_us, data=data, **more)


def seen(number: int, at_us: int, given: object, call: str | None = None, **more: Any) -> dict[str, Any]:
    data = {
        "server": "my files", "tool": "read_text", "transport": "stdio", "request": "1", "call": call,
        "arguments": json.dumps(given), "outcome": "result",
    }  # fmt: skip
    return frame("mcp_call", number, at_us, data=data, source="mcp", **more)


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [int((row["event"] if "event" in row else row["id"]).rpartition("/")[2], 16) for row in rows]


def test_the_clients_own_id_tells_which_call_it_was(db: sqlite3.Connection) -> None:
    rows = [
        told(1, T0, "mcp__my_files__read_text", {"path": "a"}, call="toolu_1"),
        told(2, T0, "mcp__my_files__read_text", {"path": "a"}, call="toolu_2"),
        seen(3, T0 + 1000, {"path": "a"}, call="toolu_2"),
    ]
    append(db, rows)

    assert ids(callers(db, get_event(db, SESSION, f"{3:016x}"))) == [2]


def test_without_an_id_tool_arguments_and_time_tell(db: sqlite3.Connection) -> None:
    rows = [
        told(1, T0, "mcp__my_files__read_text", {"path": "a", "n": 1}),
        told(2, T0, "mcp__my_files__read_text", {"path": "b"}),
        told(3, T0, "mcp__my_files__write_text", {"path": "a", "n": 1}),
        told(4, T0 + 60 * SECOND, "mcp__my_files__read_text", {"path": "a", "n": 1}),
        seen(5, T0 + 1000, {"n": 1, "path": "a"}),
    ]
    append(db, rows)

    assert ids(callers(db, get_event(db, SESSION, f"{5:016x}"))) == [1]


def test_two_ids_that_differ_are_two_calls(db: sqlite3.Connection) -> None:
    rows = [
        told(1, T0, "mcp__my_files__read_text", {"path": "a"}, call="toolu_1"),
        seen(2, T0 + 1000, {"path": "a"}, call="toolu_2"),
    ]
    append(db, rows)

    assert callers(db, get_event(db, SESSION, f"{2:016x}")) == []


def test_a_tool_of_the_agents_own_is_no_servers(db: sqlite3.Connection) -> None:
    own = told(1, T0, "read_text", {"path": "a"})
    own["data"]["does"] = "read"
    append(db, [own, seen(2, T0 + 1000, {"path": "a"})])

    assert callers(db, get_event(db, SESSION, f"{2:016x}")) == []


def test_names_in_any_script_are_told_apart() -> None:
    assert _names("mcp__文件__read", "文件", "read")
    assert not _names("mcp__文件__read", "数据", "read")


def test_of_several_that_fit_any_may_be_it(db: sqlite3.Connection) -> None:
    rows = [told(n, T0, "my files_read_text", {"path": "a"}, call=f"c{n}") for n in (1, 2)]
    append(db, [*rows, seen(3, T0 + 1000, {"path": "a"})])

    assert ids(callers(db, get_event(db, SESSION, f"{3:016x}"))) == [1, 2]


def test_a_client_that_tells_elsewhere_is_found_too(db: sqlite3.Connection) -> None:
    """The proxy had a session of its own: the client gave it no environment."""
    append(
        db, [told(1, T0, "MCP:read_text", {"path": "a"}, session=OTHER), seen(2, T0 + 1000, {"path": "a"})]
    )

    (call,) = callers(db, get_event(db, SESSION, f"{2:016x}"))
    assert call["event"] == f"{OTHER}/{1:016x}"


def test_what_nobody_told_has_no_caller(db: sqlite3.Connection) -> None:
    append(db, [told(1, T0, "Bash", {"command": "ls"}), seen(2, T0 + 1000, {"path": "a"})])

    assert callers(db, get_event(db, SESSION, f"{2:016x}")) == []


def test_an_agents_call_leads_to_what_passed(db: sqlite3.Connection) -> None:
    rows = [
        told(1, T0, "mcp__my_files__read_text", {"path": "a"}, call="toolu_1"),
        seen(2, T0 + 1000, {"path": "a"}, call="toolu_1"),
        seen(3, T0 + 2000, {"path": "a"}, call="toolu_9"),
        seen(4, T0 + 3000, {"path": "a"}),
    ]
    append(db, rows)
    (call,) = callers(db, get_event(db, SESSION, f"{2:016x}"))

    assert ids(passed(db, call)) == [2]
    assert ids(passed(db, {**call, "call": None})) == [4]


@pytest.mark.parametrize(
    ("told", "is_it"),
    [
        ("mcp__my_files__read_text", True),
        ("mcp_my-files_read_text", True),
        ("my files__read-text", True),
        ("MCP:read_text", True),
        ("read_text", True),
        ("mcp__other__read_text", False),
        ("mcp__my_files__bread_text", False),
        ("mcp__my_files__read", False),
    ],
)
def test_each_client_has_its_own_name_for_a_tool(told: str, is_it: bool) -> None:
    assert _names(told, "my files", "read_text") is is_it


def test_a_tool_that_calls_tools_names_them_in_its_input(db: sqlite3.Connection) -> None:
    given = {"server_name": "my files", "tool_name": "read_text", "arguments": '{"path": "a"}'}
    append(db, [told(1, T0, "use_mcp_tool", given), seen(2, T0 + 1000, {"path": "a"})])

    assert ids(callers(db, get_event(db, SESSION, f"{2:016x}"))) == [1]
