"""The same conversation in any order and any pieces is the same record; a mistake of ours costs one message.

The recorder works in this process, and its frames are read from the spool.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from devtrace.services.mcp_proxy import recorder as mcp_recorder
from devtrace.services.mcp_proxy.passed import Passed
from devtrace.services.mcp_proxy.recorder import Recorder
from devtrace.sources.mcp.messages import read
from devtrace.sources.mcp.tap import DATA, END, LOST, TO_CLIENT, TO_SERVER, Record
from devtrace.store.spool import SESSION_FRAME, read_frames
from devtrace.workspace import Workspace, create
from tests.services.mcp_feed import begin_of

START_US = 1_795_269_792_000_000
ROUNDS = 25
Said = tuple[int, bytes]  # by whom, and what
MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "repo" / ".devtrace")
    workspace.root.mkdir()
    create(workspace)
    return workspace


def line(direction: int, **message: Any) -> Said:
    return direction, json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


def call(id: object, tool: str, **params: Any) -> Said:
    return line(TO_SERVER, id=id, method="tools/call", params={"name": tool, **params})


def answer(id: object, **result: Any) -> Said:
    return line(TO_CLIENT, id=id, result=result)


def progress(token: object, message: str) -> Said:
    return line(
        TO_CLIENT, method="notifications/progress", params={"progressToken": token, "message": message}
    )


def threads() -> list[list[Said]]:
    """What goes on at the same time; in each of them one thing follows the other."""
    wanted = {"a": {"method": "elicitation/create"}}
    error = {"code": -32000, "message": "no", "data": [1.50]}
    notice, token = {"requestId": "c", "reason": "enough"}, {"progressToken": 2}
    cancelled = line(TO_SERVER, method="notifications/cancelled", params=notice)
    one, two = (call(f"b{n}", f"batch {n}", arguments={"n": n})[1].strip() for n in (1, 2))
    more, less = (answer(f"b{n}", n=n)[1].strip() for n in (1, 2))
    return [
        [call(1, "plain", arguments={"n": 1.0}), answer(1, content=[{"type": "text", "text": "one"}])],
        [call("1", "of text"), line(TO_CLIENT, id="1", error=error)],
        [call(2, "slow", _meta=token), progress(2, "a"), progress(2, "b"), answer(2, isError=True)],
        [call(3, "twice"), call(3, "again"), answer(3, n=1), answer(3, n=2)],
        [call("c", "late"), cancelled, answer("c", n=3)],
        [
            call("m", "asks", _meta=MODERN),
            answer("m", resultType="input_required", inputRequests=wanted, requestState="s"),
            call("n", "asks", inputResponses={}, requestState="s", _meta=MODERN),
            answer("n", resultType="complete"),
        ],
        [call("never", "unanswered")],
        [call("big", "big", arguments={"text": "x" * 30_000}), answer("big", text="line\n" * 30_000)],
        [(TO_SERVER, b"[" + one + b"," + two + b"]\r\n"), (TO_CLIENT, b"[" + less + b"," + more + b"]\n")],
        [line(TO_SERVER, id="l", method="tools/list"), answer("l", tools=[])],
        [(TO_CLIENT, b"no JSON\n"), (TO_CLIENT, b"\n"), (TO_CLIENT, b'{"jsonrpc":"2.0"\n'), answer("nobody")],
        [(TO_SERVER, '{"jsonrpc":"2.0","method":"uni/é"}\n'.encode()), (TO_SERVER, b"\xff\xfe\n")],
    ]  # fmt: skip


def mixed(chance: random.Random) -> list[Said]:
    """All threads at once, in pieces that end anywhere."""
    waiting, said = [list(thread) for thread in threads()], []
    while waiting:
        thread = chance.choice(waiting)
        said.append(thread.pop(0))
        waiting = [one for one in waiting if one]
    pieces: list[Said] = []
    for direction, data in said:
        cuts = sorted(chance.sample(range(1, len(data)), min(len(data) - 1, chance.choice((0, 0, 1, 3)))))
        parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        if pieces and pieces[-1][0] == direction and chance.random() < 0.5:
            parts[0] = pieces.pop()[1] + parts[0]
        pieces += [(direction, part) for part in parts]
    return pieces


def recorded(place: Workspace, said: list[Said], **begin: Any) -> list[dict[str, Any]]:
    """The frames of a run in which that was said, without what is another one's each time."""
    recorder = Recorder(begin_of(place, **begin), time.time_ns() // 1000, os.environ)
    for number, (direction, data) in enumerate(said):
        recorder.take(Record(DATA, direction, 0, time.time_ns(), data))
        if number % 7 == 0:
            recorder.rest()
    recorder.take(Record(END, TO_CLIENT, 0, time.time_ns(), b'{"exit_code":0}'))
    recorder.close()
    return frames_of(place)


def frames_of(place: Workspace) -> list[dict[str, Any]]:
    found = []
    for path in sorted(place.spool.iterdir()):
        found += read_frames(path.read_bytes(), is_finished=True).frames
        path.unlink()
    return [frame for frame in found if frame["kind"] != SESSION_FRAME and frame["status"] != "running"]


def story(frames: list[dict[str, Any]]) -> list[Any]:
    """What they tell, in an order of its own."""
    told = []
    for frame in frames:
        data = {name: value for name, value in frame["data"].items() if name != "duration_us"}
        told.append((frame["kind"], frame["status"], json.dumps(data, sort_keys=True)))
    return sorted(told)


def test_any_order_and_any_pieces_are_the_same_record(place: Workspace) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    wanted = story(recorded(place, [said for thread in threads() for said in thread]))
    assert [(kind, status) for kind, status, _ in wanted].count(("mcp_call", "ok")) == 7
    assert len(wanted) == 12

    for number in range(ROUNDS):
        chance = random.Random(seed + number)
        assert story(recorded(place, mixed(chance))) == wanted, f"round {number}"


def test_a_mistake_of_ours_costs_one_message_and_is_told(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(piece: Any) -> Any:
        if b"trips" in piece.data:
            raise RuntimeError("a mistake")
        return read(piece)

    monkeypatch.setattr(mcp_recorder, "read", failing)
    said = [call(1, "a"), call(2, "trips"), call(3, "c"), answer(1), answer(3)]

    frames = recorded(place, [(TO_SERVER, b"".join(data for _, data in said[:3])), *said[3:]])

    assert [frame["data"]["tool"] for frame in frames if frame["kind"] == "mcp_call"] == ["a", "c"]
    (gap,) = [frame["data"] for frame in frames if frame["kind"] == "gap"]
    assert gap == {"reason": "mcp_unreadable", "detail": "RuntimeError", "count": 1}


def test_a_frame_that_cannot_be_kept_costs_no_call(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Passed, "add", failing)
    frames = recorded(place, [call(1, "a"), answer(1)], frames=True)

    assert {frame["kind"] for frame in frames} == {"gap", "mcp_call", "mcp_server"}
    assert sum(frame["data"]["count"] for frame in frames if frame["kind"] == "gap") == 2


@pytest.mark.parametrize("kind", [LOST, END, 2, 1, 4, 99])
@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"null", b'{"count":"x"}', b"\xff"], ids=repr)
def test_a_record_may_hold_anything(place: Workspace, kind: int, payload: bytes) -> None:
    recorder = Recorder(begin_of(place), START_US, os.environ)
    for channel in (0, 1):
        for direction in (TO_SERVER, TO_CLIENT):
            recorder.take(Record(kind, direction, channel, START_US * 1000, payload))
            recorder.rest()
    recorder.close()

    assert [frame["kind"] for frame in frames_of(place)].count("mcp_server") == 1
