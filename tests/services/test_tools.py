"""When tools were at work, read from what hooks left in the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.services.edits.tools import Tools
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace, create
from tests.store.frames import OTHER, SESSION, START, frame

ROOT = Path("/home/ana/shop")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Any]:
    workspace = Workspace(tmp_path / ".devtrace")
    create(workspace)
    with closing(open_store(workspace, create=True)) as db:
        yield db


def call(does: str = "edit", session: str = SESSION, **data: Any) -> dict[str, Any]:
    told = {"tool": "Edit", "does": does, "agent": "codex", "native": "n", "cwd": str(ROOT), **data}
    made = frame(session=session, kind="tool_call", source="hook", title="Edit", actor="agent:codex")
    return made | {"data": told, "exit_source": None}


def begun(one: dict[str, Any]) -> dict[str, Any]:
    return one | {"status": "running", "ended_us": None}


def test_a_call_is_told_when_it_begins_and_when_it_has_ended(db: Any) -> None:
    tools, one = Tools(SESSION, ROOT), call(paths=["/home/ana/shop/src/a.py", "b.py"])
    append(db, [begun(one)])
    (window,) = tools.news(db)
    assert (window.event, window.ended_us, window.is_tool) == (one["id"], None, True)
    assert window.claims == (b"src/a.py", b"b.py")
    assert tools.news(db) == []

    append(db, [one])

    (window,) = tools.news(db)
    assert (window.event, window.started_us, window.ended_us) == (one["id"], START, START + 1000)
    assert tools.news(db) == []


def test_its_client_s_command_is_around_it(db: Any) -> None:
    prompt = frame(kind="prompt", source="hook", parent="1234567890123456")
    prompt["data"] = {"text": "go", "agent": "codex", "native": "n"}
    under = call() | {"parent": prompt["id"]}
    bare = call() | {"parent": "6543210987654321"}
    append(db, [prompt, under, bare])

    around = {window.event: window.parent for window in Tools(SESSION, ROOT).news(db)}

    assert around == {under["id"]: "1234567890123456", bare["id"]: "6543210987654321"}


@pytest.mark.parametrize("does", ["shell", "read", "search", "subagent", "other"])
def test_what_tells_of_itself_or_changes_nothing_is_none_of_them(db: Any, does: str) -> None:
    append(db, [call(does), begun(call(does))])

    assert Tools(SESSION, ROOT).news(db) == []


def test_calls_of_other_sessions_and_of_transcripts_are_none_of_them(db: Any) -> None:
    append(db, [call(session=OTHER), call() | {"source": "transcript"}])

    assert Tools(SESSION, ROOT).news(db) == []


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_call_that_failed_did_nothing_that_it_could_claim(db: Any, status: str) -> None:
    tools, one = Tools(SESSION, ROOT), call(paths=["a.py"])
    append(db, [begun(one)])
    assert [window.ended_us for window in tools.news(db)] == [None]

    append(db, [one | {"status": status}])

    assert [(window.started_us, window.ended_us) for window in tools.news(db)] == [(START, START)]


SECOND = 1_000_000


def test_a_call_whose_end_nobody_tells_is_over_when_the_client_goes_on(db: Any) -> None:
    tools, patch = Tools(SESSION, ROOT), call()
    append(db, [begun(patch)])
    assert [window.ended_us for window in tools.news(db)] == [None]
    parallel = call("shell") | {"started_us": START + SECOND // 2}
    others = call("shell", native="m") | {"started_us": START + 2 * SECOND}
    inside = call("shell", subagent="s") | {"started_us": START + 2 * SECOND}
    append(db, [begun(one) for one in (parallel, others, inside)])
    assert tools.news(db) == []

    append(db, [begun(call("shell") | {"started_us": START + 3 * SECOND})])

    assert [(one.event, one.ended_us) for one in tools.news(db)] == [(patch["id"], START + 3 * SECOND)]
    assert tools.news(db) == []
    append(db, [patch | {"ended_us": START + 4 * SECOND}])
    assert [(one.event, one.ended_us) for one in tools.news(db)] == [(patch["id"], START + 4 * SECOND)]


@pytest.mark.parametrize("how", ["prompt", "stopped"])
def test_and_when_its_turn_is_over(db: Any, how: str) -> None:
    tools, patch = Tools(SESSION, ROOT), call()
    kind, data = ("prompt", {"text": "go on"}) if how == "prompt" else ("agent_session", {"phase": how})
    later = frame(kind=kind, source="hook", started_us=START + 5 * SECOND, ended_us=START + 5 * SECOND)
    append(db, [begun(patch), later | {"data": {"agent": "codex", "native": "n", **data}}])

    assert [window.ended_us for window in tools.news(db)] == [START + 5 * SECOND]
