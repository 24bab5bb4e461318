"""Exchanges of HTTP as the tap tells them: both eras, both kinds of answers, and the older HTTP."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from devtrace.sources.mcp.conversation import Conversation, Fact
from devtrace.sources.mcp.exchanges import Exchanges
from devtrace.sources.mcp.tap import CLOSE, DATA, OPEN, TO_CLIENT, TO_SERVER, Record
from tests.sources.mcp.talk import START_US, as_json

JSON, EVENTS = {"content-type": "application/json"}, {"content-type": "text/event-stream; charset=utf-8"}
MODERN = {"mcp-protocol-version": "2026-07-28"}
OLDER = {"mcp-protocol-version": "2025-11-25"}
RESULT: dict[str, Any] = {"content": []}


def event(data: bytes, **fields: str) -> bytes:
    lines = [f"{name}: {value}\n".encode() for name, value in fields.items()]
    return b"".join(lines) + b"data: " + data + b"\n\n"


def call(id: object = 1, tool: str = "echo", **params: Any) -> bytes:
    return as_json(id=id, method="tools/call", params={"name": tool, **params})


class Wire:
    """What the proxy would put into the tap, a millisecond apart; all facts so far are in `facts`."""

    def __init__(self) -> None:
        self.unread: list[str] = []
        self.conversation = Conversation()
        self.exchanges = Exchanges(self.conversation, lambda why, _: self.unread.append(why))
        self.facts: list[Fact] = []
        self.at_us = START_US

    def record(self, kind: int, direction: int, channel: int, payload: bytes) -> list[Fact]:
        self.at_us += 1000
        facts = self.exchanges.take(Record(kind, direction, channel, self.at_us * 1000, payload))
        self.facts += facts
        return facts

    def asks(
        self, channel: int, body: bytes = b"", method: str = "POST", path: str = "/mcp", **headers: str
    ) -> None:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        told = {"content-length": str(len(body)), **told} if body else told
        head = {"method": method, "path": path, "headers": told}
        self.record(OPEN, TO_SERVER, channel, json.dumps(head).encode())
        for at in range(0, len(body), 50):
            self.record(DATA, TO_SERVER, channel, body[at : at + 50])

    def head(self, channel: int, status: int = 200, headers: dict[str, str] | None = None) -> None:
        told = {"status": status, "headers": JSON if headers is None else headers}
        self.record(OPEN, TO_CLIENT, channel, json.dumps(told).encode())

    def tells(self, channel: int, body: bytes) -> list[Fact]:
        found: list[Fact] = []
        for at in range(0, len(body), 70):
            found += self.record(DATA, TO_CLIENT, channel, body[at : at + 70])
        return found

    def closes(self, channel: int, why: str = "done", detail: str = "") -> list[Fact]:
        return self.record(CLOSE, TO_CLIENT, channel, json.dumps({"why": why, "detail": detail}).encode())

    def answers(
        self, channel: int, body: bytes, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.head(channel, status, headers)
        self.tells(channel, body)
        self.closes(channel)

    @property
    def ends(self) -> list[tuple[int, str, str]]:
        """(number, status, outcome) of the calls that ended, in that order."""
        return [
            (fact.number, fact.status, fact.data["outcome"])
            for fact in self.facts
            if fact.status != "running"
        ]


@pytest.fixture
def wire() -> Wire:
    return Wire()


def underscored(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in headers.items()}


@pytest.mark.parametrize("era", [MODERN, OLDER, {}], ids=["modern", "older", "untold"])
def test_an_answer_may_be_json(wire: Wire, era: dict[str, str]) -> None:
    wire.asks(1, call(), user_agent="claude-code/2.1 (cli)", **underscored(era))
    (begun,) = wire.facts
    wire.answers(1, as_json(id=1, result=RESULT))

    assert (begun.status, begun.data["tool"]) == ("running", "echo")
    assert begun.data["revision"] == (era.get("mcp-protocol-version"))
    assert wire.ends == [(1, "ok", "result")]
    assert wire.conversation.speakers.told()["client"] == "claude-code/2.1 (cli)"


def test_a_call_is_told_as_soon_as_its_request_is_whole(wire: Wire) -> None:
    body = call(1, text="x" * 200)
    wire.asks(1, body[:-1], content_length=str(len(body)))
    assert wire.facts == []

    (begun,) = wire.record(DATA, TO_SERVER, 1, body[-1:])

    assert begun.started_us == wire.at_us


def test_a_request_of_unknown_length_is_whole_when_it_is_answered(wire: Wire) -> None:
    body = call()
    wire.asks(1, body, content_length="", transfer_encoding="chunked")
    sent_us = wire.at_us
    assert wire.facts == []

    wire.head(1)

    assert [(fact.status, fact.started_us) for fact in wire.facts] == [("running", sent_us)]


def test_an_answer_may_be_a_stream_in_which_more_is_said_before(wire: Wire) -> None:
    wire.asks(1, call(_meta={"progressToken": 7}), **underscored(OLDER), mcp_session_id="s")
    wire.head(1, headers=EVENTS)
    progress = as_json(method="notifications/progress", params={"progressToken": 7, "message": "half"})
    wire.tells(
        1, event(b"", id="1") + event(progress) + event(as_json(id=0, method="sampling/createMessage"))
    )
    wire.asks(2, as_json(id=0, result={}), mcp_session_id="s")
    wire.answers(2, b"", 202)
    (ended,) = wire.tells(1, event(as_json(id=1, result=RESULT)))
    wire.closes(1)

    assert (ended.data["progress"], ended.data["progress_text"]) == (1, "half")
    assert ended.data["asked"] == ["sampling/createMessage"]
    assert wire.conversation.tally.told() == {
        "to_server": {"tools/call": 1, "(result)": 1},
        "to_client": {
            "notifications/progress": 1,
            "sampling/createMessage": 1,
            "(result)": 1,
        },
    }


def test_clients_that_use_the_same_ids_are_told_apart_by_their_exchanges(wire: Wire) -> None:
    for channel, tool in ((1, "a"), (2, "b"), (3, "c")):
        wire.asks(channel, call(0, tool, _meta={"progressToken": 0}), **underscored(MODERN))
    for channel in (2, 3, 1):
        wire.head(channel, headers=EVENTS)
        note = as_json(method="notifications/progress", params={"progressToken": 0, "message": str(channel)})
        wire.tells(channel, event(note) + event(as_json(id=0, result=RESULT)))

    ended = [fact for fact in wire.facts if fact.status != "running"]
    assert [(fact.number, fact.data["progress_text"]) for fact in ended] == [(2, "2"), (3, "3"), (1, "1")]


def test_a_client_that_closes_the_stream_has_cancelled_the_call(wire: Wire) -> None:
    wire.asks(1, call(), **underscored(MODERN))
    wire.head(1, headers=EVENTS)
    (ended,) = wire.closes(1, "client_gone")

    assert wire.ends == [(1, "interrupted", "cancelled")]
    assert ended.ended_us == wire.at_us


def test_the_revision_in_the_message_tells_the_era_too(wire: Wire) -> None:
    wire.asks(1, call(_meta={"io.modelcontextprotocol/protocolVersion": "2026-07-28"}))
    wire.closes(1, "client_gone")

    assert wire.ends == [(1, "interrupted", "cancelled")]


def test_before_that_the_client_may_take_the_answer_up_again(wire: Wire) -> None:
    wire.asks(1, call(), **underscored(OLDER), mcp_session_id="s")
    wire.head(1, headers=EVENTS)
    wire.tells(1, event(b"", id="e1"))
    assert wire.closes(1, "client_gone") == []

    wire.asks(2, method="GET", last_event_id="e1", mcp_session_id="s")
    wire.head(2, headers=EVENTS)
    wire.tells(2, event(as_json(id=1, result=RESULT)))

    assert wire.ends == [(1, "ok", "result")]


def test_before_that_a_notice_in_another_exchange_cancels(wire: Wire) -> None:
    for channel, session in ((1, "s"), (2, "t")):
        wire.asks(channel, call(5), mcp_session_id=session)
    notice = as_json(method="notifications/cancelled", params={"requestId": 5, "reason": "enough"})
    wire.asks(3, notice, mcp_session_id="t")
    (ended,) = wire.conversation.settle(wire.at_us + 10**7)

    assert (ended.number, ended.data["cancel_reason"]) == (2, "enough")


def test_without_sessions_a_notice_cancels_where_only_one_call_can_be_meant(wire: Wire) -> None:
    wire.asks(1, call(5))
    wire.asks(2, call(6))
    wire.asks(3, call(6))
    for channel, id in ((4, 5), (5, 6)):
        wire.asks(channel, as_json(method="notifications/cancelled", params={"requestId": id}))

    assert [fact.number for fact in wire.conversation.settle(wire.at_us + 10**7)] == [1]


@pytest.mark.parametrize("status", [307, 401, 404, 500])
def test_a_status_that_is_no_success_is_the_calls_error(wire: Wire, status: int) -> None:
    wire.asks(1, call())
    wire.answers(1, b"<html>no</html>", status, {"content-type": "text/html"})

    assert wire.ends == [(1, "failed", "error")]
    assert wire.facts[-1].data["error"] == f"HTTP {status}"
    assert wire.conversation.tally.told()["to_client"] == {}


def test_an_error_without_an_id_is_the_answer_to_the_one_call(wire: Wire) -> None:
    wire.asks(1, call())
    wire.answers(1, as_json(id=None, error={"code": -32020, "message": "header mismatch"}), 400)

    assert wire.ends == [(1, "failed", "error")]
    assert (wire.facts[-1].data["error"], wire.facts[-1].data["error_code"]) == ("header mismatch", -32020)


def test_what_signing_in_answers_is_no_message(wire: Wire) -> None:
    wire.asks(1, call())
    wire.answers(1, b'{"error":"invalid_token","error_description":"expired"}', 401)
    wire.asks(2, method="POST", path="/token", content_type="application/x-www-form-urlencoded")
    wire.closes(2)

    assert wire.facts[-1].data["error"] == "HTTP 401"
    assert wire.conversation.tally.told() == {"to_server": {"tools/call": 1}, "to_client": {}}


def test_a_server_that_goes_away_leaves_no_answer_and_says_why(wire: Wire) -> None:
    wire.asks(1, call())
    (ended,) = wire.closes(1, "server_gone", "ConnectError: refused")

    assert wire.ends == [(1, "interrupted", "no_answer")]
    assert ended.data["error"] == "ConnectError: refused"


def test_a_stream_that_ends_without_an_answer_leaves_none(wire: Wire) -> None:
    wire.asks(1, call())
    wire.head(1, headers=EVENTS)
    wire.closes(1)

    assert wire.ends == [(1, "interrupted", "no_answer")]


def test_the_end_of_a_session_is_the_end_of_its_calls(wire: Wire) -> None:
    for channel, session in ((1, "s"), (2, "t")):
        wire.asks(channel, call(channel), mcp_session_id=session)
        wire.head(channel, headers=EVENTS)
        wire.tells(channel, event(b"", id="1"))
        wire.closes(channel, "server_gone")
    wire.asks(3, method="DELETE", mcp_session_id="t")
    wire.answers(3, b"", 200)

    assert wire.ends == [(2, "interrupted", "no_answer")]


def test_the_session_that_an_answer_tells_is_the_requests_too(wire: Wire) -> None:
    begin = {"protocolVersion": "2025-06-18", "clientInfo": {"name": "cline"}}
    wire.asks(1, as_json(id=0, method="initialize", params=begin))
    told = as_json(
        id=0, result={"protocolVersion": "2025-06-18", "serverInfo": {"name": "x", "version": "2"}}
    )
    wire.answers(1, told, headers=JSON | {"mcp-session-id": "s"})
    wire.asks(2, call(), mcp_session_id="s")

    assert wire.facts[0].data["revision"] == "2025-06-18"
    assert wire.conversation.speakers.told() == {
        "client": "cline",
        "server": "x 2",
        "revisions": ["2025-06-18"],
    }


# --- the older HTTP with two channels -----------------------------------------------------------------------


def stream(wire: Wire, channel: int, address: str) -> None:
    wire.asks(channel, method="GET", path="/sse")
    wire.head(channel, headers=EVENTS)
    wire.tells(channel, event(address.encode(), event="endpoint"))


def test_on_the_older_http_answers_come_in_the_stream_of_the_session(wire: Wire) -> None:
    stream(wire, 1, "/messages/a?session_id=1")
    stream(wire, 2, "http://127.0.0.1:9/messages/b")
    for channel, path in ((3, "/messages/a"), (4, "/messages/b")):
        wire.asks(channel, call(0, path), path=path)
        wire.answers(channel, b"Accepted", 202, {"content-type": "text/plain"})
    assert wire.ends == []
    wire.tells(
        2, event(as_json(id=9, method="roots/list")) + event(as_json(id=0, result=RESULT), event="message")
    )
    wire.tells(1, event(as_json(id=0, result=RESULT)))

    assert wire.exchanges.has_two_channels
    assert wire.ends == [(2, "ok", "result"), (1, "ok", "result")]
    assert [fact.data.get("asked") for fact in wire.facts[2:]] == [["roots/list"], None]


def test_on_the_older_http_the_end_of_the_stream_is_the_end_of_its_calls(wire: Wire) -> None:
    stream(wire, 1, "/messages/a")
    wire.asks(3, call(0), path="/messages/a")
    wire.answers(3, b"", 202)
    wire.closes(1, "client_gone")

    assert wire.ends == [(1, "interrupted", "no_answer")]


def test_a_server_of_the_newer_http_has_one_channel(wire: Wire) -> None:
    wire.asks(1, method="GET")
    wire.head(1, headers=EVENTS)
    wire.tells(1, event(as_json(method="notifications/tools/list_changed")))

    assert not wire.exchanges.has_two_channels
    assert wire.conversation.tally.told()["to_client"] == {"notifications/tools/list_changed": 1}


# --- what cannot be read ------------------------------------------------------------------------------------


def test_compressed_answers_are_read(wire: Wire) -> None:
    wire.asks(1, call())
    wire.answers(1, gzip.compress(as_json(id=1, result=RESULT)), headers=JSON | {"content-encoding": "gzip"})
    wire.asks(2, call(2))
    packed = gzip.compress(event(as_json(id=2, result=RESULT)) * 2)
    wire.answers(2, packed, headers=EVENTS | {"content-encoding": "gzip"})

    assert wire.ends == [(1, "ok", "result"), (2, "ok", "result")]
    assert wire.unread == []


@pytest.mark.parametrize("encoding", ["br", "zstd"])
def test_an_answer_that_cannot_be_read_is_said_and_not_guessed(wire: Wire, encoding: str) -> None:
    wire.asks(1, call())
    wire.answers(1, b"\x1b\x00\x00", headers=JSON | {"content-encoding": encoding})

    assert wire.ends == [(1, "unknown", "")]
    assert wire.unread == [f"content-encoding {encoding}"]


def test_a_broken_answer_is_said_and_not_guessed(wire: Wire) -> None:
    wire.asks(1, call())
    wire.answers(1, b"no gzip", headers=JSON | {"content-encoding": "gzip"})

    assert wire.ends == [(1, "unknown", "")]
    assert wire.unread == ["a compressed body that is broken"]


def test_an_answer_of_which_bytes_were_lost_is_not_known(wire: Wire) -> None:
    wire.asks(1, call())
    wire.head(1)
    body = as_json(id=1, result={"content": "x" * 200})
    wire.record(DATA, TO_CLIENT, 1, body[:50])
    wire.exchanges.lost()
    wire.record(DATA, TO_CLIENT, 1, body[100:])
    wire.closes(1)

    assert wire.ends == [(1, "unknown", "")]
    assert wire.conversation.tally.told()["to_client"] == {}


def test_a_stream_goes_on_behind_the_bytes_that_were_lost(wire: Wire) -> None:
    wire.asks(1, call())
    wire.head(1, headers=EVENTS)
    wire.record(DATA, TO_CLIENT, 1, b'data: {"jso')
    wire.exchanges.lost()
    wire.tells(1, b'st of it"}\n\n' + event(as_json(id=1, result=RESULT)))

    assert wire.ends == [(1, "ok", "result")]


def test_an_exchange_that_began_before_us_is_read_from_its_next_event_on(wire: Wire) -> None:
    wire.tells(8, b'"half"}\n\n' + event(as_json(method="notifications/message")))
    wire.record(DATA, TO_SERVER, 9, b'half of a request"}')
    wire.closes(8)
    wire.closes(9)

    assert wire.conversation.tally.told() == {"to_server": {}, "to_client": {"notifications/message": 1}}


def test_an_exchange_that_does_not_end_does_not_fill_the_memory(wire: Wire) -> None:
    for channel in range(1, 5_010):
        wire.asks(channel, method="GET")

    wire.head(1, headers=EVENTS)  # it was forgotten, and is nobody's

    assert wire.facts == []


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"headers":5,"status":"x"}', b"no JSON"], ids=repr)
def test_a_head_may_hold_anything(wire: Wire, payload: bytes) -> None:
    for kind in (OPEN, CLOSE):
        for direction in (TO_SERVER, TO_CLIENT):
            assert wire.record(kind, direction, 1, payload) == []


def test_what_goes_wrong_with_one_message_costs_no_other(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = wire.conversation.heard

    def failing(message: Any, *args: Any) -> list[Fact]:
        if message.id == "1":
            raise RuntimeError("a mistake of ours")
        return heard(message, *args)

    monkeypatch.setattr(wire.conversation, "heard", failing)
    wire.asks(1, b"[" + call(1) + b"," + call(2) + b"]")

    assert [fact.data["request"] for fact in wire.facts] == ["2"]
    assert wire.unread == ["RuntimeError"]
