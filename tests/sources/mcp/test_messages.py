"""One message: what it is, its id with its type, and the very text of what it carries."""

from __future__ import annotations

import json

import pytest

from devtrace.sources.mcp.lines import HEAD, TAIL, Piece
from devtrace.sources.mcp.messages import Message, key_of, read


def one(data: bytes | str) -> Message:
    raw = data.encode() if isinstance(data, str) else data
    (message,) = read(Piece(raw, len(raw)))
    return message


@pytest.mark.parametrize(
    ("text", "kind", "method", "id"),
    [
        ('{"jsonrpc":"2.0","id":1,"method":"ping"}', "request", "ping", "1"),
        ('{"jsonrpc":"2.0","method":"notifications/x"}', "notification", "notifications/x", ""),
        ('{"jsonrpc":"2.0","id":1,"result":{}}', "result", "", "1"),
        ('{"jsonrpc":"2.0","id":1,"result":null}', "result", "", "1"),
        ('{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}', "error", "", "1"),
        ('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}', "error", "", "null"),
        ('{"jsonrpc":"2.0","error":{"code":-32700,"message":"no"}}', "error", "", "null"),
        ('{"error":"invalid_token"}', "invalid", "", ""),
        (' \t{ "id" : "a" , "method" : "ping" } ', "request", "ping", '"a'),
        ('{"id":1,"method":"x","result":{}}', "request", "x", "1"),
        ('{"id":1,"method":5}', "invalid", "", "1"),
        ('{"jsonrpc":"2.0","result":{}}', "invalid", "", ""),
        ('{"jsonrpc":"2.0"}', "invalid", "", ""),
        ("{}", "invalid", "", ""),
        ("null", "invalid", "", ""),
        ("[]", "invalid", "", ""),
        ('{"jsonrpc":"2.0"', "invalid", "", ""),
        ('{"a":1} {"b":2}', "invalid", "", ""),
        ("this is no JSON", "invalid", "", ""),
        ("", "invalid", "", ""),
    ],
)  # fmt: skip
def test_what_a_message_is(text: str, kind: str, method: str, id: str) -> None:
    message = one(text)

    assert (message.kind, message.method, message.id) == (kind, method, id)


def test_ids_are_compared_with_their_type() -> None:
    ids = ["1", '"1"', "1.0", "true", "null", "-1", "18446744073709551617", '"true"', "1e400", "[1]", "{}"]

    keys = [one(f'{{"id":{id},"method":"x"}}').id for id in ids]

    assert len(set(keys)) == len(ids)
    assert [one(f'{{"id":{id},"method":"x"}}').shown_id for id in ids] == ids


def test_an_id_is_the_same_however_it_is_written() -> None:
    assert one('{"id":"\\u0061","method":"x"}').id == one('{"id":"a","result":1}').id == key_of("a")
    assert one('{"id":1.50,"method":"x"}').id == one('{"id":1.5,"result":1}').id == key_of(1.5)


def test_a_very_long_id_is_kept_as_its_digest() -> None:
    first, second = (one(json.dumps({"id": "x" * 5_000 + end, "method": "x"})) for end in "ab")

    assert first.id != second.id
    assert len(first.id) == 32
    assert first.shown_id == '"[... an id of 5,003 characters was not kept ...]"'


ODD = (
    '{"huge":18446744073709551617,"beyond":-1e400,"one_point":1.0,"exp":1E+2, "minus_zero":-0.0,'
    '"a":1,"a":2,"esc":"\\u00e9\\/","nan":NaN}'
)


def test_arguments_and_results_are_the_very_text_that_passed() -> None:
    call = one('{"id":1,"method":"tools/call","params":{"name":"x", "arguments" : ' + ODD + ' ,"_meta":{}}}')
    answer = one('{"result" : ' + ODD + ', "id":1}')
    error = one('{"id":1,"error":{"code":1,"message":"m","data":' + ODD + "}}")

    assert [call.detail, answer.detail, error.detail] == [ODD] * 3
    assert call.params["arguments"]["a"] == 2


def test_of_names_that_stand_twice_the_last_counts() -> None:
    message = one(
        '{"id":1,"id":2,"method":"a","method":"tools/call","params":{"arguments":1,"arguments":{"b":2}}}'
    )

    assert (message.id, message.method, message.detail) == ("2", "tools/call", '{"b":2}')


def test_a_number_of_thousands_of_digits_is_no_reason_to_fail() -> None:
    digits = "9" * 5_000
    message = one(f'{{"id":1,"method":"tools/call","params":{{"name":"x","arguments":{{"n":{digits}}}}}}}')

    assert (message.kind, message.detail) == ("request", f'{{"n":{digits}}}')


@pytest.mark.parametrize(
    "deep",
    ["[" * 200_000, '{"a":' * 200_000, "[" * 100_000 + "]" * 100_000],
    ids=["arrays", "objects", "closed"],
)
def test_what_nests_without_end_is_no_message_and_no_crash(deep: str) -> None:
    assert one(deep).kind == "invalid"
    assert one(f'{{"id":1,"result":{deep}}}').kind == "invalid"


def test_bytes_that_are_no_utf8_stay_what_they_are() -> None:
    message = one(b'{"id":1,"result":"\xff\xfe"}')

    assert message.kind == "result"
    assert message.detail.encode("utf-8", "surrogateescape") == b'"\xff\xfe"'
    assert message.size == 22


def test_a_byte_order_mark_is_passed_over() -> None:
    assert one(b'\xef\xbb\xbf{"id":1,"method":"x"}').kind == "request"


def test_a_batch_is_its_messages_each_with_its_own_size() -> None:
    whole = b'[{"id":1,"method":"x"} , {"method":"y"},5,\n{"id":"\xc3\xa9","result":{}}]'

    found = read(Piece(whole, len(whole)))

    assert [(message.kind, message.size) for message in found] == [
        ("request", 21),
        ("notification", 14),
        ("invalid", 1),
        ("result", 23),
    ]
    assert found[0].text == '{"id":1,"method":"x"}'


def test_of_a_batch_without_end_the_rest_is_one_message() -> None:
    whole = b"[" + b'{"method":"x"},' * 1_000_000 + b"{}]"

    found = read(Piece(whole, len(whole)))

    assert len(found) == 1_001
    assert (found[-1].kind, found[-1].is_cut) == ("invalid", True)


# --- what is too long ---------------------------------------------------------------------------------------


def too_long(begin: str, end: str) -> Message:
    size = 20 << 20
    data, tail = (begin + "x" * HEAD).encode()[:HEAD], ("x" * TAIL + end).encode()[-TAIL:]
    (message,) = read(Piece(data, size, tail))
    return message


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ('{"jsonrpc":"2.0","id":5,"result":{"content":"', '"}}'),
        ('{"result":{"content":"', '"},"jsonrpc":"2.0","id":5}'),
        ('{"result":{"content":"', '"},"id": 5 , "jsonrpc":"2.0"}\r'),
    ],
    ids=["id-first", "id-last", "id-before-version"],
)
def test_an_answer_that_is_too_long_is_known_by_its_ends(begin: str, end: str) -> None:
    message = too_long(begin, end)

    assert (message.kind, message.id, message.is_cut, message.size) == ("result", "5", True, 20 << 20)
    assert message.detail.startswith('{"content":"xxx')


def test_an_id_inside_of_the_answer_is_not_its_own() -> None:
    assert too_long('{"result":{"content":"', '","id":7}}').kind == "invalid"
    assert too_long('{"result":{"content":"', '"},"id":"s"}').id == '"s'


def test_a_call_that_is_too_long_is_known_by_its_ends() -> None:
    begin = (
        '{"method":"tools/call","params":{"name":"write","_meta":{"progressToken":3},"arguments":{"text":"'
    )
    message = too_long(begin, '"}},"jsonrpc":"2.0","id":9}')

    assert (message.kind, message.method, message.id) == ("request", "tools/call", "9")
    assert (message.params["name"], message.meta) == ("write", {"progressToken": 3})
    assert message.detail.startswith('{"text":"xxx')


def test_what_is_too_long_and_tells_nothing_is_no_message() -> None:
    assert too_long('["', '"]').kind == "invalid"
    assert too_long("x", "x").kind == "invalid"
