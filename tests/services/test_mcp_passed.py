"""Messages as they passed, kept on request: real records through a real pipe, blobs in a real store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.config import Config, snapshot
from devtrace.sources.mcp.tap import DATA, OPEN, TO_CLIENT, TO_SERVER
from devtrace.store import blobs
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace, create
from tests.services.mcp_feed import (
    Feed,
    Row,
    events,
    one,
    until,
)

SECRET = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"


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


# --- frames -------------------------------------------------------------------------------------------------


def lines(db: Any, row: Row) -> list[Row]:
    digest = row["data"]["blobs"]["frames"]["sha256"]
    return [json.loads(line) for line in blobs.get(db, digest).splitlines()]


def test_with_frames_everything_that_passes_is_kept(place: Workspace, db: Any) -> None:
    with Feed(place, frames=True) as feed:
        feed.data(
            TO_SERVER, b'{"jsonrpc":"2.0","id":1,\t"method":"tools/list","big":18446744073709551617}\r\n'
        )
        feed.data(TO_CLIENT, b'{"jsonrpc":"2.0","id":1,"result":{"tools":["\xc3\xa9"]}}\n')
        feed.data(TO_CLIENT, b"no JSON \xff\n" + b'{"jsonrpc":"2.0","method":"m","params":NaN}\n')
        feed.calls(2, arguments={"t": SECRET})
        feed.finish()

    frames = one(db, place, "mcp_frames")
    found = lines(db, frames)
    assert (frames["data"]["server"], frames["data"]["frames"], frames["parent"]) == ("files", 5, feed.event)
    assert [line["to"] for line in found] == ["server", "client", "client", "client", "server"]
    assert found[0]["message"] == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/list",
        "big": 18446744073709551617,
    }
    assert found[1]["message"]["result"] == {"tools": ["é"]}
    assert [line["raw"] for line in found[2:4]] == [
        "no JSON \udcff", '{"jsonrpc":"2.0","method":"m","params":NaN}',
    ]  # fmt: skip
    assert found[4]["message"]["params"]["arguments"]["t"].startswith("[redacted:github-token:")
    assert frames["started_us"] == found[0]["at_us"] <= found[-1]["at_us"] == frames["ended_us"]


def test_frames_come_in_batches_and_an_answer_of_http_is_one_line(place: Workspace, db: Any) -> None:
    with Feed(place, frames=True, transport="http") as feed:
        feed.record(OPEN, TO_SERVER, 1, b'{"method":"GET","path":"/mcp","headers":{}}')
        feed.record(OPEN, TO_CLIENT, 1, b'{"status":200,"headers":{"content-type":"text/event-stream"}}')
        for number in range(30):
            body = b'data: {"jsonrpc":"2.0","method":"m",\ndata: "params":"%s%d"}\n\n' % (
                b"x" * 100_000,
                number,
            )
            feed.record(DATA, TO_CLIENT, 1, body)
        feed.finish(None)

    batches = events(db, place, "mcp_frames")
    found = [line for row in batches for line in lines(db, row)]
    assert len(batches) == 3
    assert [int(line["message"]["params"].strip("x")) for line in found] == list(range(30))


def test_frames_do_not_wait_for_the_end(place: Workspace, db: Any) -> None:
    with Feed(place, frames=True) as feed:
        a_while_ago_ns = time.time_ns() - 6 * 10**9
        feed.record(DATA, TO_SERVER, 0, b'{"jsonrpc":"2.0","method":"m"}\n', a_while_ago_ns)

        (row,) = until(lambda: events(db, place, "mcp_frames"))

        assert row["started_us"] == a_while_ago_ns // 1000
        feed.finish()


def test_frames_beyond_what_the_settings_allow_are_left_out_and_told(place: Workspace, db: Any) -> None:
    snapshot(place, Config({"limits.session_mb": 1}))
    with Feed(place, frames=True) as feed:
        for _ in range(30):
            feed.client(method="m", params="x" * 100_000)
        feed.finish()

    dropped = [row["data"].get("dropped") for row in events(db, place, "mcp_frames")]
    told = one(db, place, "policy")["data"]
    assert dropped.count("limits.session_mb") == told["count"] > 0
    assert (told["action"], told["rule"]) == ("dropped", "limits.session_mb")
