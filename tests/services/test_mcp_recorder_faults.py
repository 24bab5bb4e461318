"""What a recording process missed or could not write, and its manners: it is in nobody's way."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.ids import new_span_id
from devtrace.sources.mcp.tap import CLOSE, DATA, END, LOST, OPEN, TO_CLIENT, TO_SERVER, Tap
from devtrace.store.connection import open_store
from devtrace.store.hold import hold
from devtrace.workspace import Workspace, create
from tests.processes import environment
from tests.services.mcp_feed import (
    PATIENCE_S,
    Feed,
    begin_of,
    events,
    note_text,
    noted,
    one,
    running,
    spawn,
    spooled,
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


# --- what was missed ----------------------------------------------------------------------------------------


def test_what_did_not_reach_us_is_a_gap_and_the_rest_is_read(place: Workspace, db: Any) -> None:
    since_us = time.time_ns() // 1000
    with Feed(place) as feed:
        feed.calls(1)
        feed.data(TO_CLIENT, b'{"jsonrpc":"2.0","id":1,"result":{"content":[]')
        lost = {"count": 12, "bytes": 4_711, "since_ns": since_us * 1000}
        feed.record(LOST, 0, 0, json.dumps(lost).encode())
        feed.data(TO_CLIENT, b'half of another"}}\n')
        feed.calls(2)
        feed.answers(2)
        feed.finish()

    gap = one(db, place, "gap")
    assert (gap["data"]["reason"], gap["data"]["count"], gap["data"]["detail"]) == (
        "mcp_overflow",
        12,
        "4,711 bytes",
    )
    assert (gap["started_us"], gap["status"], gap["parent"]) == (since_us, "unknown", feed.event)
    calls = {row["data"]["request"]: row for row in events(db, place, "mcp_call")}
    assert [(calls[id]["status"], calls[id]["data"]["outcome"]) for id in "12"] == [
        ("unknown", ""),
        ("ok", "result"),
    ]
    assert "(invalid)" not in one(db, place, "mcp_server")["data"]["counts"]["to_client"]


def test_a_process_that_is_killed_is_followed_by_one_that_goes_on(place: Workspace, db: Any) -> None:
    begun = Feed(place, frames=True)
    with begun as first:
        first.client(id=0, method="initialize", params={"clientInfo": {"name": "codex-mcp-client"}})
        first.calls(1, "slow", arguments={"a": 1})
        first.calls(2, "slower")
        for id in (4, 5, 6, 7):
            first.calls(id, "big", arguments={"text": "x" * 20_000})
        first.calls(8, "bigger", arguments={"text": "x" * 25_000})
        until(lambda: len(running(db, place)) == 7)
        until(lambda: noted(place, first.event) == 7)
        os.kill(first.pid, signal.SIGKILL)
    died_ns = time.time_ns()
    again = {**begun.begin, "died_ns": died_ns}
    with Feed(place, **again) as second:
        lost = {"count": 2, "bytes": 99, "since_ns": died_ns - 1000}
        second.record(LOST, 0, 0, json.dumps(lost).encode())
        second.data(TO_CLIENT, b'st of something"}\n')
        second.answers(1)
        for id in (4, 5, 6, 7, 8):
            second.answers(id)
        second.calls(3)
        second.answers(3)
        second.finish()

    calls = {row["data"]["request"]: row for row in events(db, place, "mcp_call")}
    big = {id: calls.pop(id) for id in "45678"}
    assert {id: (row["data"]["tool"], row["status"]) for id, row in calls.items()} == {
        "1": ("slow", "ok"), "2": ("slower", "unknown"), "3": ("echo", "ok"),
    }  # fmt: skip
    assert {row["status"] for row in big.values()} == {"ok"}
    assert big["4"]["data"]["truncated"]["arguments"] > 20_000  # the oldest of those that are too much
    assert len(big["8"]["data"]["arguments"]) > 25_000
    assert calls["1"]["data"]["arguments"] == '{"a": 1}'
    gap, server = one(db, place, "gap"), one(db, place, "mcp_server")
    # What stood unread in the pipe nobody has counted.
    assert (gap["data"]["reason"], gap["data"].get("count")) == ("mcp_recorder_stopped", None)
    assert gap["started_us"] < died_ns // 1000 <= gap["ended_us"]
    assert (server["data"]["client"], server["data"]["calls"]) == ("codex-mcp-client", 8)
    assert server["data"]["counts"]["to_server"] == {"initialize": 1, "tools/call": 8}
    assert {row["actor"] for row in calls.values()} == {"agent:codex"}
    assert db.execute("SELECT status FROM sessions").fetchall() == [("ended",)]
    assert list(place.run.glob("mcp-*")) == []


def test_killed_beside_a_real_tap_it_is_followed_by_one_that_goes_on(place: Workspace, db: Any) -> None:
    begin = begin_of(place)
    held = hold(place, str(begin["session"]))
    tap = Tap(lambda fd: spawn(fd, environment()), begin)

    def put(direction: int, **message: Any) -> None:
        tap.put(DATA, direction, 0, json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    put(TO_SERVER, id=1, method="tools/call", params={"name": "slow"})
    until(lambda: noted(place, str(begin["event"])) == 1)
    until(lambda: running(db, place))
    os.kill(tap.pid, signal.SIGKILL)
    os.waitid(os.P_PID, tap.pid, os.WEXITED | os.WNOWAIT)
    put(TO_CLIENT, method="notifications/message")  # which finds nobody
    put(TO_CLIENT, id=1, result={})
    put(TO_SERVER, id=2, method="tools/call", params={"name": "quick"})
    put(TO_CLIENT, id=2, result={})
    tap.put(END, TO_CLIENT, 0, b'{"exit_code":0,"signal":null}')
    tap.close(PATIENCE_S)
    held.close()

    calls = {row["data"]["tool"]: row["status"] for row in events(db, place, "mcp_call")}
    assert calls == {"slow": "ok", "quick": "ok"}
    assert one(db, place, "gap")["data"]["reason"] == "mcp_recorder_stopped"
    assert one(db, place, "mcp_server")["data"]["calls"] == 2


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"talk":{},"frames":{}}', b'{"talk":5}'], ids=repr)
def test_a_note_that_cannot_be_read_costs_what_it_would_have_told(
    place: Workspace, db: Any, note: bytes
) -> None:
    event = new_span_id()
    (place.run / f"mcp-{event}.json").write_bytes(note)
    with Feed(place, event=event, died_ns=time.time_ns()) as feed:
        feed.answers(1)
        feed.calls(2)
        feed.answers(2)
        feed.finish()

    assert [row["data"]["request"] for row in events(db, place, "mcp_call")] == ["2"]
    gap = one(db, place, "gap")
    assert (gap["data"]["reason"], gap["data"].get("count")) == ("mcp_recorder_stopped", None)


def test_while_the_spool_cannot_be_written_frames_wait(place: Workspace, db: Any) -> None:
    aside = place.dir / "aside"
    place.spool.rename(aside)
    place.spool.write_bytes(b"no directory")
    with Feed(place) as feed:
        feed.calls(1)
        until(lambda: noted(place, feed.event) == 1)
        place.spool.unlink()
        aside.rename(place.spool)
        feed.answers(1)
        feed.finish()

    assert {row["kind"]: row["status"] for row in events(db, place)} == {"mcp_call": "ok", "mcp_server": "ok"}
    assert db.execute("SELECT kind, status FROM sessions").fetchall() == [("mcp", "ended")]


def test_what_finds_no_room_while_it_waits_is_a_gap(place: Workspace, db: Any) -> None:
    aside = place.dir / "aside"
    place.spool.rename(aside)
    place.spool.write_bytes(b"no directory")
    with Feed(place) as feed:
        for id in range(60):
            feed.calls(id, arguments={"text": "x" * 150_000})
            feed.answers(id)
        feed.calls("last")
        until(lambda: "last" in note_text(place, feed.event))
        place.spool.unlink()
        aside.rename(place.spool)
        feed.answers("last")
        feed.finish()

    gap = one(db, place, "gap")
    told = [row for row in events(db, place, "mcp_call") if row["status"] == "ok"]
    assert gap["data"]["reason"] == "store_unwritable"
    assert gap["data"]["count"] + len(told) == 61
    assert 0 < gap["data"]["count"] < 61
    assert gap["started_us"] < gap["ended_us"]


def test_what_could_not_be_read_is_a_gap(place: Workspace, db: Any) -> None:
    with Feed(place, transport="http") as feed:
        head = {"status": 200, "headers": {"content-type": "application/json", "content-encoding": "br"}}
        for channel in (1, 2, 3):
            feed.record(OPEN, TO_SERVER, channel, b'{"method":"POST","path":"/mcp","headers":{}}')
            feed.record(OPEN, TO_CLIENT, channel, json.dumps(head).encode())
            feed.record(CLOSE, TO_CLIENT, channel, b'{"why":"done"}')
        feed.finish(None)

    gaps = [row["data"] for row in events(db, place, "gap")]
    assert {(gap["reason"], gap["detail"]) for gap in gaps} == {("mcp_unreadable", "content-encoding br")}
    assert sum(gap["count"] for gap in gaps) == 3


# --- manners ------------------------------------------------------------------------------------------------


def test_signals_that_were_meant_for_others_do_not_end_it(place: Workspace, db: Any) -> None:
    with Feed(place) as feed:
        feed.calls(1)
        until(lambda: running(db, place))
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
            os.kill(feed.pid, number)
        feed.answers(1)
        feed.finish()

    assert one(db, place, "mcp_call")["status"] == "ok"


def test_it_holds_nothing_of_the_forwarder_open(place: Workspace, db: Any, needs: Any) -> None:
    if not Path("/proc/self/fd").exists():
        needs(because="because there is no /proc")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    os.set_inheritable(reading, True)
    try:
        with Feed(place) as feed:
            feed.calls(1)
            until(lambda: running(db, place))
            folder = Path(f"/proc/{feed.pid}")
            held = {os.readlink(fd) for fd in (folder / "fd").iterdir()}
            where = os.readlink(folder / "cwd")
            feed.finish()
    finally:
        os.close(reading)
        os.close(writing)

    pipes = {name for name in held if name.startswith("pipe:")}
    assert len(pipes) == 1
    assert {name for name in held - pipes if not name.startswith(str(place.dir))} == {"/dev/null"}
    assert where == "/"


def test_when_nothing_passes_it_does_nothing(place: Workspace, db: Any, needs: Any) -> None:
    if not Path("/proc/self/status").exists():
        needs(because="because there is no /proc")
    with Feed(place) as feed:
        feed.calls(1)
        until(lambda: noted(place, feed.event) == 1)
        wait_for_sleep(feed.pid)
        before = switches(feed.pid)
        assert select.select([], [], [], 0.4) == ([], [], [])
        assert switches(feed.pid) == before
        feed.finish()


def wait_for_sleep(pid: int) -> None:
    seen: list[int] = []

    def is_still() -> bool:
        seen.append(switches(pid))
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    until(is_still)


def switches(pid: int) -> int:
    """How often it went to sleep and was woken."""
    told = Path(f"/proc/{pid}/status").read_text()
    return sum(int(line.split()[1]) for line in told.splitlines() if "ctxt_switches" in line)


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{}", b'{"dir":"/nowhere/.devtrace"}', b'{"dir":5,"session":"x"}'],
    ids=["nothing", "no object", "empty", "no store", "nonsense"],
)
def test_where_it_cannot_begin_it_ends_without_a_word(
    place: Workspace, tmp_path: Path, payload: bytes
) -> None:
    reading, writing = os.pipe()
    out = tmp_path / "out"
    pid = spawn(reading, environment(), str(out))
    os.close(reading)
    os.write(writing, b"\0" * 14 + len(payload).to_bytes(4, "big") + payload)
    os.close(writing)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert out.read_bytes() == b""
    assert spooled(place) == b""
