"""Regular expressions that cannot hang."""

from __future__ import annotations

import warnings

import pytest

from devtrace.probes.patterns import Pattern
from devtrace.probes.reading import Unsafe


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+$",
        "(a*)*",
        "(?:a?){30}",
        "(a|a)*b",
        "(?:ab|ac*)+",
        "(?i)(?:ab|Ab)+",
        "(?:\\w|ab)+x",
        "(?:a|)+",
        r"(a)\1",
        r"(?P<x>a)(?P=x)",
        "(a)?(?(1)b|c)",
        "a?" * 25 + "a" * 25,
        ".*" * 8 + "x",
        "(?=(a+)+)",
        "(?:(?:ab|cd){2}|e)+f",
        "a" * 3_000,
        "(",
        "[[a]",
        "[a--b]",
    ],
)
def test_what_could_hang_or_is_none_is_refused(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"."):
            Pattern(text)


@pytest.mark.parametrize(
    ("text", "subject", "expected"),
    [
        ("^/api/v[0-9]+/", "/api/v12/x", True),
        (r"\d{3}-\d{4}", "call 555-1234", True),
        ("^(?:foo|bar)$", "foobar", False),
        ("(?:ab|cd)+e", "ababcde", True),
        (r"\w+@\w+\.com", "ana@mail.com", True),
        ("a--b", "a--b", True),
        (r"[\[\-]", "-", True),
        ("(?i)HELLO", "say hello", True),
        ("(a+)?b", "aab", True),
        ("", "anything", True),
    ],
)
def test_a_pattern_is_found_anywhere(text, subject, expected):
    assert Pattern(text).matches(subject) is expected


@pytest.mark.parametrize(
    ("text", "loops"),
    [("abc", 1), ("a+b", 2), ("^a+b", 1), (r"\Aa+b+", 2), ("(?m)^a+b", 2), ("a+b+", 3), ("(?=a*)b*", 3)],
)
def test_each_repeat_shortens_the_longest_text_that_is_searched(text, loops):
    longest = Pattern(text).longest

    assert (longest == 2_000) == (loops < 3)
    assert longest**loops <= 12_000_000
    assert Pattern(text).matches("a" * longest) in (True, False)
    with pytest.raises(Unsafe, match=f"{longest} characters"):
        Pattern(text).matches("a" * (longest + 1))


def test_only_a_text_can_match():
    class Text(str):
        __slots__ = ()

    with pytest.raises(TypeError):
        Pattern("a").matches(b"a")
    with pytest.raises(Unsafe):
        Pattern("a").matches(Text("a"))
