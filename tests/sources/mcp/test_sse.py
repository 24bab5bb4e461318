"""Event streams: WHATWG's rules, whatever the pieces are, in bounded memory, and again after a loss."""

from __future__ import annotations

import pytest

from devtrace.sources.mcp.lines import HEAD, TAIL
from devtrace.sources.mcp.sse import Events

STREAM = (
    b"\xef\xbb\xbf: a comment\n"
    b'data: {"id":1}\n\n'
    b"event: endpoint\r\ndata: /messages?session=1\r\n\r\n"
    b'id: 7\rdata:{"a":\rdata: 1}\r\r'
    b"event: message\nretry: 10\ndata\ndata: x\nnonsense\n\n"
    b"event: ping\n\n"
    b"data:  two blanks\n\n"
)
MEANT = [
    ("message", b'{"id":1}'),
    ("endpoint", b"/messages?session=1"),
    ("message", b'{"a":\n1}'),
    ("message", b"\nx"),
    ("message", b" two blanks"),
]


def fed(events: Events, *chunks: bytes) -> list[tuple[str, bytes]]:
    return [(event.name, event.data.data) for chunk in chunks for event in events.feed(chunk)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 1000])
def test_events_may_come_in_any_pieces(size: int) -> None:
    chunks = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]

    assert fed(Events(), *chunks) == MEANT


def test_an_event_ends_with_an_empty_line_only() -> None:
    events = Events()

    assert fed(events, b'data: {"id":1}\n') == []
    assert fed(events, b"", b"\n") == [("message", b'{"id":1}')]


def test_whether_a_stream_can_be_taken_up_again_is_known_by_its_ids() -> None:
    without, having = Events(), Events()
    without.feed(b"data: x\n\n")
    having.feed(b"id: 1\ndata: \n\n")

    assert (without.has_ids, having.has_ids) == (False, True)


def test_an_event_that_is_too_long_keeps_its_ends_and_its_size() -> None:
    events = Events(longest=200_000)
    long = b"x" * 300_000 + b"END"

    found = events.feed(b"data: " + long + b"\n\ndata: y\n\n")

    assert [event.data.is_cut for event in found] == [True, False]
    assert found[0].data.size == len(long)
    assert found[0].data.data == long[: HEAD - len("data: ")]
    assert found[0].data.tail == long[-TAIL:]
    assert found[1].data.data == b"y"


def test_an_event_of_very_many_lines_is_too_long_as_a_whole() -> None:
    events = Events(longest=100_000)

    (event,) = events.feed(b"data: xxxxxxxxx\n" * 20_000 + b"\n")

    assert (event.data.is_cut, event.data.size) == (True, 20_000 * 10 - 1)


def test_after_a_loss_the_event_is_torn_and_the_next_is_not() -> None:
    events = Events()
    events.feed(b'data: {"id":1,\ndata: "be')

    events.lost()
    found = events.feed(b'gin":1}\n\ndata: {"id":2}\n\ndata: {"id":3}\n\n')

    assert [(event.data.data, event.data.is_torn) for event in found] == [
        (b'{"id":2}', False),
        (b'{"id":3}', False),
    ]


def test_after_a_loss_the_rest_of_an_event_with_data_is_marked() -> None:
    events = Events(is_torn=True)

    (event,) = events.feed(b"rest\ndata: 1}\n\n")

    assert (event.data.data, event.data.is_torn) == (b"1}", True)
