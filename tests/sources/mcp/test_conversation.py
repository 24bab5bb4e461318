"""What messages mean: which answer ends which call, and what is counted. No process, no bytes of a pipe."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devtrace.sources.mcp import calls
from devtrace.sources.mcp.conversation import GRACE_US, Conversation, Fact
from devtrace.sources.mcp.lines import Piece
from devtrace.sources.mcp.messages import Message, read
from devtrace.sources.mcp.tap import TO_CLIENT, TO_SERVER
from tests.sources.mcp.talk import START_US, Talk, as_json

MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
NAMED = MODERN | {"io.modelcontextprotocol/clientInfo": {"name": "codex-mcp-client", "version": "1"}}


@pytest.fixture
def talk() -> Talk:
    return Talk()


def only(facts: list[Fact]) -> Fact:
    (fact,) = facts
    return fact


def test_a_call_begins_with_its_request_and_ends_with_its_answer(talk: Talk) -> None:
    begun = only(talk.calls(7, "read", arguments={"path": "a.txt"}))
    ended = only(talk.answers(7, content=[{"type": "text", "text": "hi"}]))

    assert (begun.status, begun.started_us, begun.ended_us) == ("running", START_US + 1000, None)
    assert begun.data["tool"] == "read"
    assert begun.data["request"] == "7"
    assert begun.data["arguments"] == '{"path": "a.txt"}'
    assert begun.data["bytes_to_server"] == len(
        as_json(id=7, method="tools/call", params={"name": "read", "arguments": {"path": "a.txt"}})
    )
    assert (ended.number, ended.status) == (begun.number, "ok")
    assert (ended.started_us, ended.ended_us, ended.data["duration_us"]) == (
        START_US + 1000,
        START_US + 2000,
        1000,
    )
    assert (ended.data["outcome"], ended.data.get("late", False)) == ("result", False)
    assert json.loads(ended.data["result"]) == {"content": [{"type": "text", "text": "hi"}]}
    assert talk.ends() == []


def test_a_result_that_says_so_is_the_tools_error(talk: Talk) -> None:
    talk.calls(1)
    content = [{"type": "text", "text": "no such"}, {"type": "image"}, {"type": "text", "text": "file"}]
    ended = only(talk.answers(1, isError=True, content=content))

    assert (ended.status, ended.data["outcome"], ended.data["error"]) == (
        "failed",
        "tool_error",
        "no such\nfile",
    )
    assert json.loads(ended.data["result"])["content"] == content


def test_an_error_is_told_with_its_code_and_data(talk: Talk) -> None:
    talk.calls(1)
    ended = only(talk.server(id=1, error={"code": -32602, "message": "bad", "data": {"a": 1}}))

    assert (ended.status, ended.data["outcome"]) == ("failed", "error")
    assert (ended.data["error"], ended.data["error_code"], ended.data["error_data"]) == (
        "bad",
        -32602,
        '{"a": 1}',
    )


@pytest.mark.parametrize(
    "error", ["no", {"message": 5}, {"code": True}, {"code": 1.5}, {}, None, [1]], ids=repr
)
def test_an_error_may_hold_anything(talk: Talk, error: Any) -> None:
    talk.calls(1)

    ended = only(talk.server(id=1, error=error))

    assert (ended.data["outcome"], ended.data["error_code"]) == ("error", None)
    assert isinstance(ended.data["error"], str)


def test_ids_of_other_types_are_other_calls(talk: Talk) -> None:
    for id in (1, "1", 1.0, True):
        talk.calls(id, f"tool {id!r}")

    numbers = [only(talk.answers(id)).number for id in (True, 1.0, "1", 1)]

    assert numbers == [4, 3, 2, 1]


def test_an_id_that_is_used_twice_is_two_calls_in_their_order(talk: Talk) -> None:
    first, second = only(talk.calls(1, "a")), only(talk.calls(1, "b"))

    assert [only(talk.answers(1)).number for _ in range(2)] == [first.number, second.number]
    assert talk.answers(1) == []
    assert talk.counted("to_client") == {"(result)": 2, "(unasked)": 1}


def test_an_id_of_the_server_is_not_an_id_of_the_client(talk: Talk) -> None:
    talk.calls(1)
    talk.server(id=1, method="roots/list")

    assert talk.client(id=1, result={"roots": []}) == []
    assert only(talk.answers(1)).status == "ok"


def test_a_call_that_the_server_asks_for_is_none(talk: Talk) -> None:
    assert talk.server(id=1, method="tools/call", params={"name": "x"}) == []
    assert talk.client(method="tools/call", params={"name": "x"}) == []
    assert talk.conversation.calls == 0
    assert talk.counted("to_client") == talk.counted("to_server") == {"tools/call": 1}


def test_an_answer_that_nobody_asked_for_is_counted(talk: Talk) -> None:
    talk.answers(5)
    talk.server(id="5", error={"code": 1, "message": "m"})
    talk.server(id=None, error={"code": -32700, "message": "parse error"})

    assert talk.counted("to_client") == {"(unasked)": 2, "(error)": 1}


# --- progress -----------------------------------------------------------------------------------------------


def test_progress_is_counted_by_its_token_and_the_last_word_kept(talk: Talk) -> None:
    talk.calls(1, _meta={"progressToken": 1})
    talk.calls(2, _meta={"progressToken": "1"})
    talk.calls(3)
    for token, message in ((1, "a"), (1, "b"), ("1", None), (1.0, "no"), (9, "no")):
        params = {"progressToken": token, "progress": 1} | ({} if message is None else {"message": message})
        talk.server(method="notifications/progress", params=params)

    told = [only(talk.answers(id)).data for id in (1, 2, 3)]

    assert [(data["progress"], data["progress_text"]) for data in told] == [(2, "b"), (1, None), (0, None)]


def test_progress_of_the_clients_own_work_is_no_call_s(talk: Talk) -> None:
    talk.calls(1, _meta={"progressToken": 1})
    talk.client(method="notifications/progress", params={"progressToken": 1, "message": "mine"})

    assert only(talk.answers(1)).data["progress"] == 0


def test_a_word_of_progress_that_is_very_long_is_not_kept_in_memory(talk: Talk) -> None:
    talk.calls(1, _meta={"progressToken": 1})
    talk.server(method="notifications/progress", params={"progressToken": 1, "message": "x" * 1_000_000})

    assert only(talk.answers(1)).data["progress_text"] == "[... 1,000,000 characters were not kept ...]"


# --- cancelled ----------------------------------------------------------------------------------------------


def test_a_call_that_is_cancelled_ends_after_a_while_when_it_was_cancelled(talk: Talk) -> None:
    talk.calls(1)
    assert talk.cancels(1, "enough") == []
    cancelled_us = talk.at_us

    assert talk.conversation.due_us == cancelled_us + GRACE_US
    assert talk.conversation.settle(cancelled_us + GRACE_US - 1) == []
    ended = only(talk.conversation.settle(cancelled_us + GRACE_US))

    assert (ended.status, ended.data["outcome"], ended.ended_us) == ("interrupted", "cancelled", cancelled_us)
    assert ended.data["cancel_reason"] == "enough"
    assert ended.may_go_on
    assert talk.conversation.due_us is None
    assert talk.ends() == []


def test_an_answer_that_crosses_the_notice_is_told_with_the_call(talk: Talk) -> None:
    talk.calls(1)
    talk.cancels(1)
    ended = only(talk.answers(1, content=[]))

    assert (ended.status, ended.data["outcome"], ended.data["late"]) == ("interrupted", "cancelled", True)
    assert ended.data["result"] == '{"content": []}'
    assert talk.conversation.due_us is None


def test_an_answer_that_comes_much_later_is_another_end_of_the_call(talk: Talk) -> None:
    begun = only(talk.calls(1))
    talk.cancels(1, "enough")
    told = only(talk.conversation.settle(talk.at_us + GRACE_US))
    late = only(talk.answers(1))

    assert (told.number, late.number) == (begun.number, begun.number)
    assert (late.status, late.data["outcome"], late.data["late"]) == ("ok", "cancelled", True)
    assert late.data["cancel_reason"] == "enough"


def test_what_was_cancelled_and_never_answered_is_told_once(talk: Talk) -> None:
    talk.calls(1)
    talk.calls(2)
    talk.cancels(1)
    talk.cancels(1, "again")
    first = only(talk.conversation.settle(talk.at_us + GRACE_US))

    second = only(talk.ends())

    assert first.data["cancel_reason"] is None
    assert (second.data["outcome"], second.number) == ("no_answer", 2)


def test_a_notice_about_anything_else_cancels_no_call(talk: Talk) -> None:
    talk.calls(1)
    talk.client(id=2, method="tools/list")
    for id in ("1", 1.0, 2, 3, None):
        talk.cancels(id)
    talk.server(method="notifications/cancelled", params={"requestId": 1})

    assert talk.conversation.due_us is None
    assert only(talk.answers(1)).data["outcome"] == "result"


# --- asked --------------------------------------------------------------------------------------------------


def test_what_the_server_asks_while_one_call_waits_is_asked_for_it(talk: Talk) -> None:
    talk.calls(1)
    for id, method in enumerate(("sampling/createMessage", "elicitation/create", "ping", "roots/list")):
        talk.server(id=id, method=method)
        talk.client(id=id, result={})

    assert only(talk.answers(1)).data["asked"] == [
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
    ]


def test_while_several_calls_wait_it_is_not_known_for_which(talk: Talk) -> None:
    talk.server(id=0, method="roots/list")
    talk.calls(1)
    talk.calls(2)
    talk.server(id=1, method="roots/list", params={"_meta": {"progressToken": 1}})

    assert [only(talk.answers(id)).data["asked"] for id in (1, 2)] == [None, None]


def test_what_is_asked_for_a_task_is_asked_for_no_call_that_waits(talk: Talk) -> None:
    talk.calls(1)
    task = {"io.modelcontextprotocol/related-task": {"taskId": "t"}}
    talk.server(id=1, method="elicitation/create", params={"_meta": task})

    assert only(talk.answers(1)).data["asked"] is None


def test_a_call_that_is_answered_with_a_task_is_answered(talk: Talk) -> None:
    talk.calls(1, task={"ttl": 60_000})
    ended = only(talk.answers(1, task={"taskId": "t", "status": "working"}))
    talk.client(id=2, method="tasks/get", params={"taskId": "t"})

    assert (ended.status, ended.data["outcome"]) == ("ok", "result")
    assert json.loads(ended.data["result"])["task"]["taskId"] == "t"
    assert talk.counted("to_server") == {"tools/call": 1, "tasks/get": 1}


# --- answers that ask (2026-07-28) --------------------------------------------------------------------------

WANTED = {
    "who": {"method": "elicitation/create", "params": {}},
    "roots": {"method": "roots/list"},
    "odd": 5,
}


def pauses(talk: Talk, id: object, state: str | None = None) -> list[Fact]:
    more = {} if state is None else {"requestState": state}
    return talk.answers(id, resultType="input_required", inputRequests=WANTED, **more)


def test_a_retry_that_brings_what_was_asked_for_is_the_same_call(talk: Talk) -> None:
    begun = only(talk.calls(1, "greet", arguments={}, _meta=MODERN))
    paused = only(pauses(talk, 1, "s1"))
    assert talk.calls(2, "greet", arguments={}, inputResponses={}, requestState="s1", _meta=MODERN) == []
    pauses(talk, 2, "s2")
    assert talk.calls("c", "greet", arguments={}, inputResponses={}, requestState="s2", _meta=MODERN) == []
    ended = only(talk.answers("c", resultType="complete", content=[]))

    assert (paused.status, paused.data["asked"]) == ("running", ["elicitation/create", "roots/list"])
    assert (ended.number, ended.status, ended.data["outcome"]) == (begun.number, "ok", "result")
    assert ended.data["requests"] == ["2", '"c"']
    assert ended.data["asked"] == ["elicitation/create", "roots/list"] * 2
    assert (ended.started_us, ended.data["duration_us"]) == (begun.started_us, talk.at_us - begun.started_us)
    assert ended.data["bytes_to_server"] > begun.data["bytes_to_server"]
    assert talk.conversation.calls == 1


def test_a_retry_is_of_the_same_tool_and_brings_the_same_state(talk: Talk) -> None:
    talk.calls(1, "greet", _meta=MODERN)
    pauses(talk, 1, "s1")

    assert len(talk.calls(2, "other", inputResponses={}, requestState="s1")) == 1
    assert len(talk.calls(3, "greet", inputResponses={}, requestState="s2")) == 1
    assert len(talk.calls(4, "greet")) == 1


def test_without_a_state_the_same_arguments_tell_the_retry(talk: Talk) -> None:
    talk.calls(1, "greet", arguments={"a": 1}, _meta=MODERN)
    talk.calls(2, "greet", arguments={"a": 2}, _meta=MODERN)
    pauses(talk, 1)
    pauses(talk, 2)

    assert talk.calls(3, "greet", arguments={"a": 2}, inputResponses={}, _meta=MODERN) == []
    assert only(talk.answers(3)).number == 2


def test_a_retry_that_never_comes_leaves_the_call_without_an_answer(talk: Talk) -> None:
    begun = only(talk.calls(1, "greet", _meta=MODERN))
    pauses(talk, 1, "s1")

    ended = only(talk.ends())

    assert (ended.number, ended.status, ended.data["outcome"]) == (begun.number, "interrupted", "no_answer")
    assert ended.data["asked"] == ["elicitation/create", "roots/list"]


def test_calls_that_wait_for_a_retry_do_not_fill_the_memory(talk: Talk) -> None:
    ended: list[Fact] = []
    for id in range(1_005):
        talk.calls(id, "greet", _meta=MODERN)
        ended += [fact for fact in pauses(talk, id, f"s{id}") if fact.status != "running"]

    assert [fact.number for fact in ended] == [1, 2, 3, 4, 5]


# --- who speaks ---------------------------------------------------------------------------------------------


def test_the_older_way_tells_it_once(talk: Talk) -> None:
    params = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "claude-code", "version": "2.1"}}
    talk.client(id=0, method="initialize", params=params)
    early = only(talk.calls(1)).data["revision"]
    talk.server(id=0, result={"protocolVersion": "2025-06-18", "serverInfo": {"name": "fs", "version": "1"}})
    later = only(talk.calls(2)).data["revision"]

    assert (early, later) == ("2025-11-25", "2025-06-18")
    assert talk.conversation.speakers.told() == {
        "client": "claude-code 2.1", "server": "fs 1", "revisions": ["2025-06-18"],
    }  # fmt: skip
    assert talk.conversation.speakers.agent == "claude-code"


def test_what_a_client_began_with_is_told_where_nobody_answered(talk: Talk) -> None:
    talk.client(id=0, method="initialize", params={"protocolVersion": "2024-11-05"})

    assert talk.conversation.speakers.told()["revisions"] == ["2024-11-05"]


def test_the_newer_way_tells_it_with_each_request(talk: Talk) -> None:
    begun = only(talk.calls(1, _meta=NAMED))
    server = {"io.modelcontextprotocol/serverInfo": {"name": "everything"}}
    talk.answers(1, _meta=server, resultType="complete")

    assert begun.data["revision"] == "2026-07-28"
    assert talk.conversation.speakers.told() == {
        "client": "codex-mcp-client 1", "server": "everything", "revisions": ["2026-07-28"],
    }  # fmt: skip


@pytest.mark.parametrize("info", [None, "x", {"name": 5}, {"name": "x" * 500}, []], ids=repr)
def test_who_tells_nonsense_of_himself_is_nobody(talk: Talk, info: Any) -> None:
    talk.client(id=0, method="initialize", params={"protocolVersion": 7, "clientInfo": info})
    talk.server(id=0, result={"protocolVersion": "x" * 100, "serverInfo": info})

    assert talk.conversation.speakers.told() == {"client": None, "server": None, "revisions": None}


def test_a_call_carries_the_clients_own_ids_and_its_trace(talk: Talk) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    meta = {"claudecode/toolUseId": "toolu_1", "traceparent": f"00-{trace}-{span}-01"}
    begun = only(talk.calls(1, _meta=meta))

    assert (begun.data["call"], begun.trace) == ("toolu_1", (trace, span))


# --- what is odd --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [None, [], "x", {"name": 5}, {"name": None}, {"arguments": 7}], ids=repr)
def test_a_call_may_hold_anything(talk: Talk, params: Any) -> None:
    begun = only(talk.client(id=1, method="tools/call", params=params))

    assert isinstance(begun.data["tool"], str)
    assert isinstance(begun.data["arguments"], str)
    assert only(talk.server(id=1, result=params)).data["outcome"] == "result"


def test_a_batch_is_its_messages(talk: Talk) -> None:
    one, two = (as_json(id=id, method="tools/call", params={"name": "x"}) for id in (1, 2))
    begun = talk.says(b"[" + one + b"," + two + b"]", TO_SERVER)
    ended = talk.says(b"[" + as_json(id=2, result={}) + b"," + as_json(id=1, result={}) + b"]", TO_CLIENT)

    assert [fact.number for fact in begun] == [1, 2]
    assert [fact.number for fact in ended] == [2, 1]
    assert begun[0].data["bytes_to_server"] == len(one)


def test_what_is_no_message_is_counted(talk: Talk) -> None:
    for data in (b"nonsense", b"[]", b"null", b'{"jsonrpc":"2.0"}'):
        assert talk.says(data, TO_CLIENT) == []

    assert talk.counted("to_client") == {"(invalid)": 4}


def test_the_rest_of_what_was_lost_is_no_message_and_not_counted(talk: Talk) -> None:
    for message in read(Piece(b'rest":1}', 8, b"", is_torn=True)):
        assert talk.conversation.heard(message, TO_CLIENT, START_US) == []
    talk.calls(1)
    (whole,) = read(Piece(as_json(id=1, result={}), 38, b"", is_torn=True))

    assert only(talk.conversation.heard(whole, TO_CLIENT, START_US)).data["outcome"] == "result"
    assert talk.counted("to_client") == {"(result)": 1}


def test_after_a_loss_it_is_not_known_whether_there_was_an_answer(talk: Talk) -> None:
    talk.calls(1)
    talk.calls(2)
    pauses(talk, 2, "s")
    talk.conversation.lost()
    talk.calls(3)

    ended = talk.ends()

    assert sorted((fact.number, fact.status, fact.data["outcome"]) for fact in ended) == [
        (1, "unknown", ""), (2, "unknown", ""), (3, "interrupted", "no_answer"),
    ]  # fmt: skip


def test_names_that_somebody_makes_up_do_not_fill_the_memory(talk: Talk) -> None:
    for number in range(1_000):
        talk.client(method=f"made/up/{number}")
    talk.client(method="x" * 1_000)
    talk.client(method="made/up/3")

    counts = talk.counted("to_server")
    assert len(counts) == 201
    assert (counts["(other)"], counts["made/up/3"]) == (801, 2)


def test_requests_that_nobody_answers_do_not_fill_the_memory(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MOST_OPEN", 100)
    ended = [fact for id in range(105) for fact in talk.calls(id) if fact.status != "running"]
    for id in range(500):
        talk.server(id=id, method="roots/list")

    assert [(fact.number, fact.data["outcome"]) for fact in ended] == [(n, "no_answer") for n in range(1, 6)]
    assert len(talk.ends()) == 100


def test_everything_is_seen_that_was_no_rest_of_a_loss() -> None:
    seen: list[tuple[str, int, int]] = []

    def see(message: Message, direction: int, at_us: int) -> None:
        seen.append((message.text, direction, at_us))

    conversation = Conversation(see)
    for data, is_torn in ((b'{"id":1,"method":"x"}', False), (b"no", False), (b"rest", True)):
        for message in read(Piece(data, len(data), b"", is_torn)):
            conversation.heard(message, TO_SERVER, 5)

    assert seen == [('{"id":1,"method":"x"}', TO_SERVER, 5), ("no", TO_SERVER, 5)]


def test_who_comes_after_goes_on_with_the_calls_that_wait(talk: Talk) -> None:
    talk.client(id=0, method="initialize", params={"clientInfo": {"name": "codex-mcp-client"}})
    talk.calls(1, _meta={"progressToken": 5})
    talk.calls("b")
    talk.cancels("b", "enough")
    talk.server(method="notifications/progress", params={"progressToken": 5})
    kept = json.loads(json.dumps(talk.conversation.kept()))

    later = Talk()
    later.conversation.recall(kept)
    assert later.conversation.due_us == talk.conversation.due_us
    later.server(method="notifications/progress", params={"progressToken": 5})
    one, two = only(later.answers(1)), only(later.answers("b"))

    assert (one.number, one.status, one.data["progress"]) == (1, "ok", 2)
    assert (two.number, two.data["outcome"], two.data["late"]) == (2, "cancelled", True)
    assert only(later.calls(9)).number == 3
    assert later.counted("to_server") == talk.counted("to_server") | {"tools/call": 3}
    assert later.conversation.speakers.told() == talk.conversation.speakers.told()
