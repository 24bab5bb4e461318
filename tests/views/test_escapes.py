"""Escape sequences are found wherever the pieces are cut."""

from __future__ import annotations

import itertools

import pytest

from devtrace.views.escapes import CONTROL, CSI, ESCAPE, OSC, STRING, TEXT, Splitter

STREAM = (
    "plain\r\n\x1b[1;31mred\x1b[0m\x1b]0;title\x07\x1b]8;;u\x1b\\link\x1bPq#0\x1b\\"
    "\x1b(B\x1b7é日\x9b2J\x9d0;x\x9c\x1b_a\x1b\\end"
)


def test_a_stream_is_cut_into_its_tokens():
    tokens = [(token.kind, token.text) for token in Splitter().feed(STREAM)]

    assert tokens == [
        (TEXT, "plain"), (CONTROL, "\r"), (CONTROL, "\n"), (CSI, "\x1b[1;31m"), (TEXT, "red"),
        (CSI, "\x1b[0m"),
        (OSC, "\x1b]0;title\x07"), (OSC, "\x1b]8;;u\x1b\\"), (TEXT, "link"), (STRING, "\x1bPq#0\x1b\\"),
        (ESCAPE, "\x1b(B"), (ESCAPE, "\x1b7"), (TEXT, "é日"), (CSI, "\x9b2J"), (OSC, "\x9d0;x\x9c"),
        (STRING, "\x1b_a\x1b\\"), (TEXT, "end"),
    ]  # fmt: skip


def test_two_cuts_anywhere_change_nothing():
    whole = [token for token in Splitter().feed(STREAM) if token.kind != TEXT]

    for first, second in itertools.combinations(range(len(STREAM) + 1), 2):
        splitter = Splitter()
        pieces = (STREAM[:first], STREAM[first:second], STREAM[second:])
        tokens = [token for piece in pieces for token in splitter.feed(piece)]
        assert [token for token in tokens if token.kind != TEXT] == whole
        assert "".join(token.text for token in tokens) + splitter.rest == STREAM


@pytest.mark.parametrize(
    "text", ["\x1b", "\x1b[", "\x1b[1;", "\x1b]0;x", "\x1b]0;x\x1b", "\x1bP", "\x1b(", "\x9b3"]
)
def test_what_is_not_whole_waits(text):
    splitter = Splitter()

    assert list(splitter.feed("a" + text))[1:] == []
    assert splitter.rest == text


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("\x1b\n", [ESCAPE, CONTROL]),
        ("\x1b[3\nx", [ESCAPE, CONTROL, TEXT]),
        ("\x1b]0;x\x18y", [OSC, CONTROL, TEXT]),
        ("\x1b]0;x\x1b[31my", [OSC, CSI, TEXT]),
        ("\x1b\x1b[31m", [ESCAPE, CSI]),
        ("\x80", [CONTROL]),
    ],
)
def test_broken_sequences_end_where_the_next_thing_begins(text, kinds):
    tokens = list(Splitter().feed(text))

    assert [token.kind for token in tokens] == kinds
    assert "".join(token.text for token in tokens) == text


def test_a_string_that_never_ends_is_forgotten_at_last():
    splitter = Splitter()

    fed = [list(splitter.feed(piece)) for piece in ("\x1b]0;", *["x" * 10_000] * 6)]

    assert fed == [[]] * 7
    assert len(splitter.rest) == 60_004
    assert list(splitter.feed("x" * 10_000)) == []
    assert splitter.rest == ""
