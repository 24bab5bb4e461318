"""What is typed into a search, as terms."""

from __future__ import annotations

import pytest

from devtrace.errors import UsageError
from devtrace.query.search_words import (
    LONGEST,
    MOST_TERMS,
    PART,
    PHRASE,
    WORD,
    Term,
    as_phrase,
    kin_of,
    terms_of,
)


def told(text: str) -> list[tuple[str, str]]:
    return [(term.kind, term.text) for term in terms_of(text)]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("make test", [(WORD, "make"), (WORD, "test")]),
        ("why did the tests fail?", [(WORD, "tests"), (WORD, "fail")]),
        ("who is it", [(WORD, "who"), (WORD, "is"), (WORD, "it")]),
        ("Test test TEST", [(WORD, "Test")]),
        ('"permission denied" here', [(PHRASE, "permission denied")]),
        ('"make"', [(WORD, "make")]),
        ('"src/a.py and b"', [(PART, "src/a.py and b")]),
        ("src/api.py:12", [(PART, "src/api.py:12")]),
        ("git commit --no-verify", [(WORD, "git"), (WORD, "commit"), (PART, "--no-verify")]),
        ("load_user(", [(PART, "load_user(")]),
        ("(see) [this]", [(WORD, "see")]),
        ("call() list[int]", [(PART, "call()"), (PART, "list[int]")]),
        ("E0308, TS2322; ok.", [(WORD, "E0308"), (WORD, "TS2322"), (WORD, "ok")]),
        ("what's user's don't", [(WORD, "user")]),
        ("make | less && true", [(WORD, "make"), (WORD, "less"), (WORD, "true")]),
        ("c++ C# -n", [(PART, "c++"), (PART, "C#"), (PART, "-n")]),
        ('an "unbalanced quote', [(WORD, "unbalanced"), (WORD, "quote")]),
        ("a\0b\0make", [(WORD, "b"), (WORD, "make")]),
        ("\u540d\u524d na\u00efve", [(WORD, "\u540d\u524d"), (WORD, "na\u00efve")]),
    ],
    ids=[
        "words", "sentence", "nothing-else", "once", "phrase", "quoted-word", "quoted-path", "path", "flag",
        "call-open", "brackets", "brackets-inside", "codes", "short-forms", "operators", "short-parts",
        "unbalanced", "nul", "letters",
    ],
)  # fmt: skip
def test_terms(text, terms):
    assert told(text) == terms


@pytest.mark.parametrize("text", ["", " \n", '""', "|", "- + >", "\U0001f600"], ids=range(6))
def test_what_cannot_be_searched_for_is_refused_with_a_hint(text):
    with pytest.raises(UsageError) as raised:
        terms_of(text)
    assert raised.value.code == "ERR_SEARCH"
    assert raised.value.hint


def test_a_text_without_end_is_refused_and_a_long_one_gives_its_first_terms():
    with pytest.raises(UsageError, match="too many"):
        terms_of("x" * (LONGEST + 1))
    assert len(terms_of(" ".join(f"word{number}" for number in range(400)))) == MOST_TERMS


def test_no_term_is_ever_a_command_to_the_index():
    assert Term(WORD, "NEAR").as_word() == '"NEAR"'
    assert Term(PART, 'a"b').as_part() == '"a""b"'
    assert Term(PART, "a*b:c^d").as_word() == '"a b c d"'
    assert Term(PART, "--").as_part() == ""


def test_the_threes_of_a_long_part_are_few_and_from_all_of_it():
    threes = Term(PART, "/".join(f"folder{number}" for number in range(300))).as_part().split(" AND ")

    assert len(threes) <= 24
    assert threes[0] == '"fol"'


def test_what_was_typed_is_a_phrase_with_the_words_that_say_nothing():
    assert as_phrase("address already in use").text == "address already in use"
    assert as_phrase("make") is None


def test_words_of_one_family_stand_for_each_other():
    assert "pytest" in kin_of("Tests")
    assert "tests" in kin_of("pytest")
    assert "tests" not in kin_of("tests")
    assert kin_of("flamingo") == []
