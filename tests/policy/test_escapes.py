"""The text without its escape sequences, and the way back."""

from __future__ import annotations

import random
import re

import pytest

from devtrace.policy.escapes import Plain

SEQUENCES = [
    b"\x1b[m",
    b"\x1b[0;1;31m",
    b"\x1b[2K",
    b"\x1b(B",
    b"\x1b[?25l",
    b"\x1b7",
    b"\x1b#8",
    b"\x1b[1 q",
]


def test_text_without_an_escape_is_taken_as_it_is() -> None:
    data = b"plain \xff text"

    plain = Plain(data)

    assert plain.text is data
    assert plain.span(2, 5) == (2, 5)
    assert plain.sequences(0, len(data)) == b""


def test_the_strings_of_titles_and_links_stay_to_be_looked_at() -> None:
    assert Plain(b"\x1b]8;;https://x\x07y\x1b[m").text == b"\x1b]8;;https://x\x07y"


@pytest.mark.parametrize("begun", [b"\x1b", b"\x1b[", b"\x1b[3", b"\x1b(", b"\x1b[3;4\xff"])
def test_a_sequence_that_is_not_whole_stays(begun: bytes) -> None:
    assert Plain(b"a" + begun).text == b"a" + begun


@pytest.mark.parametrize("seed", range(50))
def test_every_span_leads_back_to_the_same_characters(seed: int) -> None:
    chance = random.Random(seed)
    letters = b"abcdefghijklmnopqrstuvwxyz"
    data = b"".join(
        (b"".join(chance.choices(SEQUENCES, k=chance.randrange(3))) if chance.random() < 0.3 else b"")
        + letters[i : i + 1]
        for i in range(26)
    ) + chance.choice([b"", b"\x1b[m"])
    plain = Plain(data)

    assert plain.text == letters
    for start in range(26):
        for end in range(start + 1, 27):
            first, last = plain.span(start, end)
            part = data[first:last]
            assert part[:1] == letters[start : start + 1], (
                "begins with its first character, not with a sequence"
            )
            assert part[-1:] == letters[end - 1 : end]
            inside = plain.sequences(first, last)
            assert len(inside) == len(part) - (end - start)
            assert re.sub(rb"\x1b", b"", inside) != inside or not inside
