"""Texts that fit a pattern, made at random: every row of a table of patterns is its own example.

Lives here: `text_of`. Lookarounds are passed over: whoever asks looks whether the text is what he wanted.
"""

from __future__ import annotations

import random
import re
import string
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_CHARACTERS = string.ascii_letters + string.digits + "-_.+/"
_MOST = 8  # times that what may be repeated without an end is, beyond the least


def text_of(pattern: bytes, chance: random.Random) -> str:
    """A text of which the pattern describes all."""
    return "".join(
        _piece(op, value, chance) for op, value in _parser.parse(pattern.decode("latin-1"), re.ASCII)
    )


def _all(parsed: Any, chance: random.Random) -> str:
    return "".join(_piece(op, value, chance) for op, value in parsed)


def _piece(op: Any, value: Any, chance: random.Random) -> str:
    name = str(op)
    if name == "LITERAL":
        return chr(value)
    if name in ("IN", "NOT_LITERAL", "ANY"):
        return chance.choice(_fitting(name, value))
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, inner = value
        return "".join(
            _all(inner, chance) for _ in range(chance.randint(least, min(int(most), least + _MOST)))
        )
    if name == "SUBPATTERN":
        return _all(value[3], chance)
    if name == "BRANCH":
        return _all(chance.choice(value[1]), chance)
    if name in ("ASSERT", "ASSERT_NOT", "AT"):
        return ""
    raise NotImplementedError(name)


def _fitting(name: str, value: Any) -> str:
    """The characters that fit, those of words first."""
    if name == "ANY":
        return _CHARACTERS
    items = [(_parser.NOT_LITERAL, value)] if name == "NOT_LITERAL" else value
    for characters in (_CHARACTERS, string.printable, "".join(map(chr, range(256)))):
        fitting = "".join(each for each in characters if _fits(each, items))
        if fitting:
            return fitting
    raise ValueError(items)


def _fits(character: str, items: Any) -> bool:
    is_negated = str(items[0][0]) == "NEGATE"
    return is_negated != any(_is_one(character, str(op), value) for op, value in items)


def _is_one(character: str, name: str, value: Any) -> bool:
    if name == "LITERAL":
        return ord(character) == value
    if name == "NOT_LITERAL":
        return ord(character) != value
    if name == "RANGE":
        return value[0] <= ord(character) <= value[1]
    if name == "CATEGORY":
        kinds = {"SPACE": string.whitespace, "DIGIT": string.digits, "WORD": _CHARACTERS[:62] + "_"}
        kind = str(value).rpartition("_")[2]
        return (character in kinds[kind]) != ("NOT" in str(value))
    return False
