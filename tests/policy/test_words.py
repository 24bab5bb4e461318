"""The words of a text, and those of a shell's line."""

from __future__ import annotations

import pytest

from devtrace.policy.chain import Policy
from devtrace.policy.words import plain_words, value_at


def test_words_are_runs_of_letters_and_digits() -> None:
    assert plain_words(b"curl -u ana:x_y/../\xc3\xa9 2>&1\tcurl") == {
        b"curl",
        b"u",
        b"ana",
        b"x",
        b"y",
        b"2",
        b"1",
    }


@pytest.mark.parametrize(
    "text",
    [rb"\nword", rb"one\tword", rb"\u0026word", rb"\x1fword", b"%3Dword", b"a%2fword", b"^[[1;32mword"],
)
def test_a_word_behind_an_escape_is_found_without_the_letters_of_that(text: bytes) -> None:
    assert b"word" in plain_words(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"plain rest", b"plain"),
        (b"'two words' rest", b"two words"),
        (b'"two words" rest', b"two words"),
        (rb'"with \" inside" rest', rb"with \" inside"),
        (rb"two\ words rest", rb"two\ words"),
        (b"a'b c'd rest", b"a'b c'd"),
        (b"a;rest", b"a"),
        (b"a|rest", b"a"),
        (b"a)rest", b"a"),
        (b"${X}a rest", b"${X}a"),
        (b"a,name=rest", b"a"),
    ],
)
def test_a_value_ends_where_the_shell_ends_it(text: bytes, value: bytes) -> None:
    found = value_at(b"NAME=" + text, len(b"NAME="))

    assert found is not None
    assert (b"NAME=" + text)[found[0] : found[1]] == value


@pytest.mark.parametrize("text", [b"", b" rest", b";rest", b"''", b'""', b"\n"])
def test_nothing_is_no_value(text: bytes) -> None:
    assert value_at(b"NAME=" + text, len(b"NAME=")) is None


def test_a_value_ends_at_the_latest_where_it_is_told() -> None:
    assert value_at(b"abcdef", 0, most=3) == (0, 3, True, False)
    assert value_at(b"'abcdef' x", 0, most=3) == (1, 3, False, True)


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "hostile", ["{" * 8000, "{a" * 4000, "${" * 4000, "{{a" * 3000, "password=env." * 600 + "{" * 8000]
)
def test_braces_that_never_close_are_read_at_once(hostile: str) -> None:
    policy = Policy.for_session({}, bytes(32))
    policy.redact_text("password=env." * 150 + hostile + "\n")

    assert "policy-failure" not in policy.counts


def test_braces_in_a_row_end_in_the_variable_that_they_hold() -> None:
    found = value_at(b"NAME={{{{x y}} rest", len(b"NAME="))

    assert found is not None
    assert b"NAME={{{{x y}} rest"[found[0] : found[1]] == b"{{{{x y}}"
