"""The text without its escape sequences, and the way back."""

from __future__ import annotations

import random
import re

import pytest

from devtrace.policy.chain import Policy
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


@pytest.mark.parametrize(
    "escape", [r"\033[1m", r"\e[31m", r"\E[0m", r"\x1b[38;5;1m", r"\x1B[m", r"\u001b[1m"]
)
def test_a_colour_that_is_written_out_hides_nothing(policy: Policy, escape: str) -> None:
    masked = policy.redact_text(f"printf 'API_TOKEN{escape}={escape}t0p-s3cret{escape}-passw0rd'")

    assert "t0p-s3cret" not in masked
    assert "passw0rd" not in masked
    assert masked.startswith(f"printf 'API_TOKEN{escape}=")


@pytest.mark.parametrize("text", [r"C:\easy[0m", r"a\nb[1]", r"\[\e[m\]", r"\\033", r"{\"a\": [1]}"])
def test_backslashes_alone_change_nothing(policy: Policy, text: str) -> None:
    assert policy.redact_text(text) == text
