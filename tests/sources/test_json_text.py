"""Places in a text of JSON, with comments and without: what is put in comes out, and the rest stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devtrace.sources.json_text import appended, at_names, cut, encoded, parts, plain


def data(text: str) -> Any:
    return json.loads(plain(text).removeprefix("\ufeff"))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ('{"a": "// no", "b": "/* no */"}', '{"a": "// no", "b": "/* no */"}'),
        ('{"a": 1 // yes\n}', '{"a": 1       \n}'),
        ('{/* a\n "b" */"c": 1}', '{    \n       "c": 1}'),
        ("[1, 2, ]", "[1, 2  ]"),
        ('{"a": [1,], // late\r\n}', '{"a": [1 ]         \r\n}'),
        ('["a\\"//", ",]"]', '["a\\"//", ",]"]'),
        ("[1, // it's\n]", "[1         \n]"),
    ],
)
def test_comments_and_late_commas_are_seen_as_blanks(text: str, seen: str) -> None:
    assert plain(text) == seen
    assert len(plain(text)) == len(text)


@pytest.mark.parametrize("text", ["[1,,]", "[,]", "{ ,}", '{"a" 1}', "/* open", '"x', '{"a": 1} /'])
def test_what_is_no_json_does_not_become_it(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        data(text)


def test_parts_stand_where_they_are_said_to() -> None:
    text = '\ufeff{ "a" : [1, "x"],\n"b":{}}'
    at = at_names(text, ())

    found = parts(text, at or 0)

    assert [(text[one.start : one.end], one.name, text[one.at : one.end]) for one in found] == [
        ('"a" : [1, "x"]', "a", '[1, "x"]'),
        ('"b":{}', "b", "{}"),
    ]
    assert [one.value for one in parts(text, found[0].at)] == [1, "x"]
    assert parts('"text"', 0) == []


def test_of_two_of_a_name_the_last_counts_and_a_missing_one_is_nowhere() -> None:
    text = '{"a": {"b": 1}, "a": {"b": 2}}'

    assert text[at_names(text, ("a", "b")) or 0] == "2"
    assert at_names(text, ("a", "c")) is None
    assert at_names(text, ("a", "b", "c")) is None
    with pytest.raises(KeyError):
        appended(text, ("x",), "y", 1)


TEXTS = {
    "empty": "{}",
    "empty lines": "{\n}\n",
    "comment only": "{ // nothing\n}",
    "one": '{"a": 1}',
    "lines": '{\n    "a": 1\n}\n',
    "tabs": '{\n\t"a": {\n\t\t"b": 1\n\t}\n}',
    "crlf": '{\r\n  "a": 1\r\n}\r\n',
    "late": '{\n  "a": 1,\n}\n',
    "comments": '{\n  "a": 1, // of a\n  /* end */\n}\n',
    "mark": '\ufeff{"a": 1}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_appended_is_there_and_cut_again_leaves_every_byte(text: str) -> None:
    new = appended(text, (), "new", {"x": [1, "é"]})

    assert data(new) == {**data(text), "new": {"x": [1, "é"]}}
    beside = parts(plain(new), at_names(plain(new), ()) or 0)
    rest = cut(new, beside, len(beside) - 1)
    assert rest == text if data(text) else data(rest) == {}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_part_goes_with_its_comma_and_comments_stay(number: int) -> None:
    text = '{\n  "a": 1, // of a\n  "b": [2], /* of b */\n  "c": 3 // of c\n}\n'

    rest = cut(text, parts(plain(text), 0), number)

    assert data(rest) == {name: value for name, value in data(text).items() if name != "abc"[number]}
    assert [word for word in ("of a", "of b", "of c") if word in rest] == ["of a", "of b", "of c"]


def test_the_only_part_goes_with_the_comma_behind_it() -> None:
    text = '{\n  "a": 1,\n}\n'

    assert data(cut(text, parts(plain(text), 0), 0)) == {}


def test_a_list_is_appended_to_without_a_name() -> None:
    assert appended('{"a": [\n  1\n]}', ("a",), None, 2) == '{"a": [\n  1,\n  2\n]}'


def test_what_no_encoding_has_is_escaped() -> None:
    assert encoded("\ud800") == '"\\ud800"'
    assert encoded("é") == '"é"'
