"""What passes between a client and a stdio server, byte by byte, is the same with the proxy in between.

Each test is a play that is run twice, directly and behind a proxy that records; `played` wants the same bytes
on stdout and stderr, the same report of the server, the same end. The assertions here say what that is.

Not here: how processes begin and end (test_stdio_ends.py), a recording process that dies (test_recorder.py).
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.nasty_client import Outcome, Talk, played
from tests.mcp.nasty_server import FIRST_WORDS, FLOOD, GARBAGE, NUMBERS, VENDOR

LARGE = 5 << 20
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "nasty-client", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "example.org/own": {"b": 1, "a": [None]},
}
# Nothing of this is a message, and a server may be sent all of it.
STRANGE = (
    b"not JSON at all\n", b"\n", b"\r\n", b"   \n", b'{"jsonrpc":"2.0"\n', b"[]\n", b"[1,2]\n", b"null\n",
    b"true\n", b'"text"\n', b"1e999\n", b"NaN\n", b"\x00\n", b'{"a":"\xff\xfe"}\n', b"\xed\xa0\x80\n",
    b'{"a":1}\r\n', b"[" * 5000 + b"\n", b'{"method":["not","text"]}\n', b'{"id":{},"method":1}\n',
)  # fmt: skip


def seen(outcome: Outcome) -> list[bytes]:
    """The lines that the server saw."""
    return [fact[1].encode("latin-1") for fact in outcome.report if fact[0] == "line"]


def read(data: bytes) -> list[Any]:
    """What the server reports when it has read exactly that."""
    return ["read", len(data), hashlib.sha256(data).hexdigest()]


def text(answer: dict[str, Any]) -> str:
    return answer["result"]["content"][0]["text"]


def noise(size: int) -> bytes:
    """The same bytes in every run; no line of them is a message."""
    return random.Random(7).randbytes(size)


# --- bytes --------------------------------------------------------------------------------------------------


def test_any_bytes_reach_the_server_as_they_are(tmp_path: Path) -> None:
    sent = noise(300_000)

    def play(talk: Talk) -> Outcome:
        talk.send(sent)
        return talk.finish()

    assert played(play, tmp_path).report[-1] == read(sent)


def test_any_bytes_reach_the_client_as_they_are(tmp_path: Path) -> None:
    written = noise(300_000)

    def play(talk: Talk) -> Outcome:
        talk.say(id=1, method="tools/call", params={"name": "raw", "arguments": RAW})
        talk.until(lambda: b"written" in talk.received)
        return talk.finish()

    RAW = {"hex": written.hex(), "piece": 65_536}
    assert played(play, tmp_path).received[: len(written)] == written


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_the_server_may_be_written_to_in_pieces_of_any_size(tmp_path: Path, size: int) -> None:
    """In packet mode: what is written at once is read at once, and messages are cut anywhere."""
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}})
    whole = line.replace("echo", 'echo","é€𐍈":"').encode() + b"\n" + line.encode() + b"\n"

    def play(talk: Talk) -> Outcome:
        for start in range(0, len(whole), size):
            talk.send(whole[start : start + size])
            talk.flush()
        return talk.finish()

    outcome = played(play, tmp_path, packets=True)
    assert outcome.report[-1] == read(whole)
    assert len(outcome.lines) == 2


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_the_server_may_write_in_pieces_of_any_size(tmp_path: Path, size: int) -> None:
    written = '{"method":"é€𐍈"}\n'.encode() * 20

    def play(talk: Talk) -> Outcome:
        return talk.finish(text(talk.call("raw", arguments={"hex": written.hex(), "piece": size})))

    outcome = played(play, tmp_path)
    assert outcome.received.startswith(written)
    assert outcome.returned == "written"


def test_many_messages_may_come_in_one_write(tmp_path: Path) -> None:
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": "echo"}}).encode()
        for n in range(500)
    ]

    def play(talk: Talk) -> Outcome:
        talk.send(b"\n".join(lines) + b"\n")
        return talk.finish([talk.answer(n)["id"] for n in range(500)])

    assert played(play, tmp_path, "reports-lines").returned == list(range(500))


def test_a_line_of_5_megabytes_passes_each_way(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        back = text(talk.call("echo", arguments={"text": "ä" * (LARGE // 6)}))
        return talk.finish([len(back), len(text(talk.call("large", 2, {"bytes": LARGE})))])

    there, back = played(play, tmp_path).returned
    assert there > LARGE
    assert back == LARGE


def test_both_may_write_a_megabyte_before_either_reads(tmp_path: Path) -> None:
    sent = b'{"jsonrpc":"2.0","method":"notifications/x"}\n' * (FIRST_WORDS // 45)

    def play(talk: Talk) -> Outcome:
        talk.send(sent)
        return talk.finish()

    outcome = played(play, tmp_path, "talks-first")
    assert len(outcome.received) > FIRST_WORDS - 1000
    assert outcome.report[-1] == read(sent)


def test_a_client_that_does_not_read_makes_the_server_wait(tmp_path: Path) -> None:
    """A proxy that took all of it would grow without a limit."""
    gone = {}

    def play(talk: Talk) -> Outcome:
        talk.wait_for("flooded", reading=False)
        gone[talk.way.name] = talk.report()[0][1]
        talk.until(lambda: b'"flood"' in talk.received)
        return talk.finish()._replace(received=b"", report=[])

    played(play, tmp_path, "floods")
    assert max(gone.values()) < FLOOD / 16


def test_a_last_line_without_an_end_passes_each_way(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.send(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}')
        return talk.finish()

    outcome = played(play, tmp_path, "last-words")
    assert json.loads(outcome.lines[0])["id"] == 1
    assert outcome.lines[1] == b'{"jsonrpc":"2.0","method":"last/words"}'


# --- lines that are no messages -----------------------------------------------------------------------------


def test_lines_that_are_no_messages_reach_the_server(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.send(b"".join(STRANGE))
        return talk.finish(talk.call("echo")["id"])

    outcome = played(play, tmp_path, "reports-lines")
    assert [line + b"\n" for line in seen(outcome)[:-1]] == list(STRANGE)
    assert outcome.returned == 1


def test_lines_that_are_no_messages_reach_the_client(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        return talk.finish(text(talk.call("garbage")))

    outcome = played(play, tmp_path)
    assert outcome.received.startswith(b"".join(GARBAGE))
    assert outcome.returned == "after it"


def test_stderr_is_the_servers_own_and_is_not_mixed_in(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        return talk.finish(text(talk.call("mutter")))

    outcome = played(play, tmp_path)
    assert outcome.stderr == b"".join(b"\x1b[31m\xffmuttered %d\r" % number for number in range(3))
    assert b"\xff" not in outcome.received


# --- messages -----------------------------------------------------------------------------------------------


def test_unknown_requests_and_notifications_pass_both_ways(tmp_path: Path) -> None:
    sent = []

    def play(talk: Talk) -> Outcome:
        sent[:] = [talk.say(method="vendor/told", params=[1, "x"]), talk.say(id="v", method="vendor/asked")]
        refused = talk.answer("v")["error"]["data"]
        talk.say(id=2, method="tools/call", params={"name": "stray"})
        return talk.finish([refused, talk.answer(2)])

    outcome = played(play, tmp_path, "reports-lines")
    assert [line + b"\n" for line in seen(outcome)[:2]] == sent
    assert outcome.returned[0] == {"method": "vendor/asked"}
    methods = [json.loads(line).get("method") for line in outcome.lines]
    assert methods == [None, None, None, "vendor/ask", "vendor/notify", None]


def test_an_answer_that_nobody_waits_for_passes(tmp_path: Path) -> None:
    sent = b'{"jsonrpc":"2.0","id":77,"result":{}}\n{"jsonrpc":"2.0","id":null,"error":{"code":1}}\n'

    def play(talk: Talk) -> Outcome:
        talk.send(sent)
        talk.call("stray", 3)
        return talk.finish()

    outcome = played(play, tmp_path, "reports-lines")
    assert [line + b"\n" for line in seen(outcome)[:2]] == sent.splitlines(keepends=True)
    assert [json.loads(line).get("id") for line in outcome.lines] == [424242, None, "unknown", None, 3]


def test_vendor_fields_order_and_white_space_are_kept(tmp_path: Path) -> None:
    sent = (
        b' {"x-last":{ "z" : [ ], "a":{}} ,"params":{"arguments":{"b":1,"a":2,"b":3},"name":"echo"},\t'
        b'"method":"tools\\/call","id":"k","jsonrpc":"2.0"}  \n'
    )

    def play(talk: Talk) -> Outcome:
        talk.send(sent)
        echoed = text(talk.answer("k"))
        talk.call("vendor", 2)
        return talk.finish(echoed)

    outcome = played(play, tmp_path)
    assert outcome.returned.encode() + b"\n" == sent
    assert outcome.lines[1] == VENDOR % b"2"


def test_numbers_keep_their_spelling(tmp_path: Path) -> None:
    given = b"[18446744073709551617,1e400,-1E-400,1,1.0,-0,0.10,123456789012345678901234567890.5]"
    sent = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"n":%s}}}\n'
        % given
    )

    def play(talk: Talk) -> Outcome:
        talk.send(sent)
        echoed = text(talk.answer(1))
        talk.call("numbers", 2)
        return talk.finish(echoed)

    outcome = played(play, tmp_path)
    assert given.decode() in outcome.returned
    assert outcome.lines[1] == NUMBERS % b"2"


def test_a_batch_passes(tmp_path: Path) -> None:
    batch = [{"jsonrpc": "2.0", "id": n, "method": "ping"} for n in (1, 2)]
    batch.insert(1, {"jsonrpc": "2.0", "method": "notifications/x"})

    def play(talk: Talk) -> Outcome:
        talk.send(json.dumps(batch).encode() + b"\n")
        return talk.finish([one["id"] for one in talk.message()])

    assert played(play, tmp_path).returned == [1, 2]


def test_an_error_passes_with_its_data(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        return talk.finish([talk.call("fail")["error"], talk.call("broken", 2)["result"]["isError"]])

    error, is_error = played(play, tmp_path).returned
    assert error == {"code": -32099, "message": "No luck", "data": {"deep": [1, {"x": None}]}}
    assert is_error is True


def test_progress_passes_before_the_answer(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        return talk.finish(text(talk.call("progress", _meta={"progressToken": 2**70})))

    *told, _ = [json.loads(line) for line in played(play, tmp_path).lines]
    assert [one["params"]["progress"] for one in told] == [0, 1, 2]
    assert {one["params"]["progressToken"] for one in told} == {2**70}


# --- ids ----------------------------------------------------------------------------------------------------


def test_ids_of_different_types_are_different(tmp_path: Path) -> None:
    ids = [1, "1", 1.5, "", 2**70, None, -1]

    def play(talk: Talk) -> Outcome:
        for id in ids:
            talk.say(id=id, method="tools/call", params={"name": "echo"})
        return talk.finish([talk.message()["id"] for _ in ids])

    assert json.dumps(played(play, tmp_path).returned) == json.dumps(ids)


def test_an_id_may_be_written_as_1_0(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.send(b'{"jsonrpc":"2.0","id":1.0,"method":"tools/call","params":{"name":"echo"}}\n')
        return talk.finish(talk.line().startswith(b'{"jsonrpc":"2.0","id":1.0,'))

    assert played(play, tmp_path).returned is True


def test_an_id_may_be_used_twice_and_answered_twice(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        for _ in range(2):
            talk.say(id=5, method="tools/call", params={"name": "twice"})
        return talk.finish([text(talk.message()) for _ in range(4)])

    assert played(play, tmp_path).returned == ["once", "twice", "once", "twice"]


def test_the_server_asks_with_ids_that_the_client_has_used(tmp_path: Path) -> None:
    answers = {"sampling/createMessage": {"text": "I"}, "elicitation/create": {"action": "accept"}}

    def play(talk: Talk) -> Outcome:
        asked = []
        talk.say(id=0, method="tools/call", params={"name": "ask"})
        for _ in range(3):
            message = talk.message()
            asked.append([message["method"], message["id"]])
            talk.say(id=message["id"], result=answers.get(message["method"], {"roots": []}))
        return talk.finish([asked, json.loads(text(talk.answer(0)))])

    asked, told = played(play, tmp_path).returned
    assert asked == [["sampling/createMessage", 0], ["elicitation/create", 0], ["roots/list", "0"]]
    assert told == [*answers.values(), {"roots": []}]


def test_a_cancelled_call_may_be_answered_all_the_same(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.say(id=8, method="tools/call", params={"name": "slow"})
        between = talk.call("echo", 9)["id"]
        talk.say(method="notifications/cancelled", params={"requestId": 8, "reason": "enough"})
        return talk.finish([between, text(talk.answer(8))])

    assert played(play, tmp_path).returned == [9, "too late"]


# --- both eras ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2099-01-01"])
def test_the_older_way_to_begin_passes(tmp_path: Path, revision: str) -> None:
    """With a notification before the answer to `initialize`, which server-everything sends too."""

    def play(talk: Talk) -> Outcome:
        told = talk.initialize(revision)["result"]["protocolVersion"]
        talk.say(id=1, method="tools/list")
        return talk.finish([told, len(talk.answer(1)["result"]["tools"]) > 10])

    outcome = played(play, tmp_path)
    assert outcome.returned == [revision, True]
    assert json.loads(outcome.lines[0])["method"] == "notifications/tools/list_changed"


def test_requests_of_2026_need_no_beginning(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.say(id="d", method="server/discover", params={"_meta": META})  # which stays unanswered
        return talk.finish(text(talk.call("echo", 2, {"a": 1}, _meta=META)))

    told = json.loads(played(play, tmp_path).returned)
    assert told["params"]["_meta"] == META


def test_what_a_server_of_2026_needs_is_brought_by_a_retry(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        first = talk.call("greet", 1, _meta=META)["result"]
        given = {"who": {"action": "accept", "content": {"name": "Ana"}}}
        again = {"inputResponses": given, "requestState": first["requestState"], "_meta": META}
        return talk.finish([first["resultType"], text(talk.call("greet", 2, **again))])

    assert played(play, tmp_path).returned == ["input_required", "Hello Ana"]
