"""Places in a text of TOML: where each value stands, by its name.

tomlkit keeps comments when a value is replaced, but not every byte when a key is added or taken out: a blank
line goes, a comma comes. What stands in a client's settings is to come back as it was, so it is changed at
its place in the text, and the result is read again (configs_toml.py).

Lives here: `values`, `items`. The text is known to be TOML: whoever asks has had it parsed. Standard library
only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

Names = tuple[str, ...]
_BLANKS = re.compile(r"[ \t]*")
_VOID = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\r\n]*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)


class Value(NamedTuple):
    """A value and its name. Of `a.b = 1`, `start` is at the a, `last` at the b and `at` at the 1."""

    names: Names  # with those of its table
    start: int
    last: int
    at: int
    end: int
    is_inline: bool  # in a table between braces


def values(text: str) -> list[Value]:
    """All of them in their order, those in inline tables before the table itself."""
    found: list[Value] = []
    table: Names = ()
    at = _over(_VOID, text, 0)
    while at < len(text):
        if text[at] == "[":
            width = 2 if text.startswith("[[", at) else 1
            table, _, at = _key(text, at + width)
            table += ("[]",) * (width - 1)  # one of many: none of them is asked for by name
            at = _over(_BLANKS, text, at) + width
        else:
            at = _pair(text, at, table, found, is_inline=False)
        at = _over(_VOID, text, at)
    return found


def items(text: str, at: int) -> list[tuple[int, int]]:
    """Where the items of the array stand that begins at `at`."""
    found = []
    at = _over(_VOID, text, at + 1)
    while text[at] != "]":
        end = _value(text, at, (), [])
        found.append((at, end))
        at = _over(_VOID, text, end)
        at = _over(_VOID, text, at + 1) if text[at] == "," else at
    return found


def _over(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _pair(text: str, at: int, table: Names, found: list[Value], *, is_inline: bool) -> int:
    names, last, end = _key(text, at)
    here = _over(_BLANKS, text, _over(_BLANKS, text, end) + 1)  # over the equals sign
    over = _value(text, here, table + names, found)
    found.append(Value(table + names, at, last, here, over, is_inline))
    return over


def _key(text: str, at: int) -> tuple[Names, int, int]:
    """The names of a dotted key, where the last begins, and where it ends."""
    names: list[str] = []
    while True:
        at = last = _over(_BLANKS, text, at)
        end = _over(_STRING, text, at) if text[at] in "\"'" else _over(_BARE, text, at)
        names.append(_plain(text[at:end]))
        dot = _over(_BLANKS, text, end)
        if text[dot] != ".":
            return tuple(names), last, end
        at = dot + 1


def _plain(name: str) -> str:
    if name[0] != '"':
        return name.strip("'")
    import tomllib  # by commands only, and only for a quoted name

    return str(tomllib.loads(f"x = {name}")["x"])


def _value(text: str, at: int, names: Names, found: list[Value]) -> int:
    """Where the value ends that begins at `at`; those inside an inline table are found on the way."""
    if text[at] in "\"'":
        return _over(_STRING, text, at)
    if text[at] == "[":
        inside = items(text, at)
        at = _over(_VOID, text, inside[-1][1] if inside else at + 1)
        at = _over(_VOID, text, at + 1) if text[at] == "," else at
        return at + 1
    if text[at] == "{":
        at = _over(_VOID, text, at + 1)
        while text[at] != "}":
            at = _over(_VOID, text, _pair(text, at, names, found, is_inline=True))
            at = _over(_VOID, text, at + 1) if text[at] == "," else at
        return at + 1
    scalar = _SCALAR.match(text, at)
    return at + len((scalar[0] if scalar else "").rstrip())
