"""Places in a text of JSON, and changes there that leave every other byte as it is.

Settings files are other people's: what stands in them, their indentation and their order are kept. Comments
and commas behind the last item, as JSONC allows them, are seen as blanks (`plain`), so that a place in one
text is the same place in the other.

Lives here: where values stand (`parts`, `at_names`), putting one in (`appended`), taking one out (`cut`).
Not here: what is put in (agents/hookfiles.py, mcp/configs_json.py). Standard library only: guests import
this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

BOM = "\ufeff"
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_COMMENTS = re.compile(rf"{_STRING}|//[^\r\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMAS = re.compile(rf"{_STRING}|,(?=[ \t\r\n]*[\]}}])", re.DOTALL)
_VISIBLE = re.compile(r"[^\r\n]")


class Part(NamedTuple):
    """A member of an object, or an item of an array: from `start`, or where its name begins, to `end`."""

    start: int
    name: str | None
    at: int  # where the value begins
    end: int
    value: Any


def plain(text: str) -> str:
    """The text as JSON alone: of the same length, with blanks for comments and for commas behind the last."""
    without = _COMMENTS.sub(_blank_comment, text) if "//" in text or "/*" in text else text
    return _LAST_COMMAS.sub(_blank_comma, without)


def _blank_comma(found: re.Match[str]) -> str:
    """One behind an item; behind nothing it is a mistake, and stays."""
    before = found.start() - 1
    while before >= 0 and found.string[before] in " \t\r\n":
        before -= 1
    return found[0] if found[0] != "," or found.string[before] in "[{," else " "


def _blank_comment(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else _VISIBLE.sub(" ", found[0])


def parts(text: str, at: int) -> list[Part]:
    """What stands in the object or array that begins at `at` of a plain text; nothing where it is neither."""
    closing = {"{": "}", "[": "]"}.get(text[at])
    found: list[Part] = []
    here = skip(text, at + 1)
    while closing and text[here] != closing:
        start, name = here, None
        if closing == "}":
            name, here = _DECODER.raw_decode(text, here)
            here = skip(text, skip(text, here) + 1)  # over the colon
        value, end = _DECODER.raw_decode(text, here)
        found.append(Part(start, name, here, end, value))
        here = skip(text, end)
        here = skip(text, here + 1) if text[here] == "," else here
    return found


def skip(text: str, at: int) -> int:
    """The first place from `at` on that is no blank."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def beginning(text: str) -> int:
    """Where the value begins that the text is."""
    return skip(text, 1 if text.startswith(BOM) else 0)


def named(found: list[Part], name: str) -> Iterator[tuple[int, Part]]:
    """Those of that name: JSON allows more than one."""
    return ((number, part) for number, part in enumerate(found) if part.name == name)


def at_names(text: str, names: tuple[str, ...]) -> int | None:
    """Where the value behind these names begins in a plain text; of two of a name the last counts."""
    at = beginning(text)
    for name in names:
        inside = [part.at for _, part in named(parts(text, at), name)]
        if not inside:
            return None
        at = inside[-1]
    return at


def cut(text: str, beside: list[Part], number: int) -> str:
    """Without one part, and the comma and the blanks that it brought along; comments beside it stay."""
    part = beside[number]
    if number:
        before = beside[number - 1].end
        return text[:before] + _comments(text[before : part.start]) + text[part.end :]
    if len(beside) > 1:
        after = beside[1].start
        comments = _comments(text[part.end : after]).strip(" \t\r\n")
        return text[: part.start] + (comments + lead(text, after) if comments else "") + text[after:]
    end = skip(text, part.end)
    end = skip(text, end + 1) if text[end] == "," else end
    return text[: len(text[: part.start].rstrip(" \t\r\n"))] + text[end:]


def _comments(between: str) -> str:
    """What stands between two parts, without the comma; nothing where that is all."""
    at = _COMMENTS.sub(_blank_comment, between).find(",")
    kept = (between[:at] + between[at + 1 :]).rstrip(" \t\r\n")
    return kept + "\n" if kept.strip(" \t\r\n") else ""


def appended(text: str, names: tuple[str, ...], name: str | None, value: object) -> str:
    """With one part more at the end of the object or array at `names`, indented as what is there.

    The text may hold comments. Raises KeyError where there is nothing at `names`.
    """
    bare = plain(text)
    at = at_names(bare, names)
    if at is None:
        raise KeyError(names)
    there = parts(bare, at)
    label = "" if name is None else encoded(name) + ": "
    if not there:
        told = _told(text, at, label, value, unit(text))
        return text[: at + 1] + told + lead(text, at) + text[skip(text, at + 1) :]
    last = there[-1]
    return text[: last.end] + "," + _told(text, last.start, label, value, "") + text[last.end :]


def encoded(value: object, *, indent: str | None = None) -> str:
    """A value as JSON, readable, and in no encoding that UTF-8 does not have."""
    written = json.dumps(value, indent=indent, ensure_ascii=False)
    return written if is_utf8(written) else json.dumps(value, indent=indent)


def is_utf8(text: str) -> bool:
    """Whether there is no lone surrogate in it, as an escape of JSON can bring one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _told(text: str, at: int, label: str, value: object, deeper: str) -> str:
    """A value as it goes beside what stands at `at`: on one line where that has none of its own."""
    before = text[:at]
    if not deeper and "\n" not in before[len(before.rstrip()) :]:
        return " " + label + encoded(value)
    start = lead(text, at) + deeper
    return start + label + encoded(value, indent=unit(text)).replace("\n", start)


def lead(text: str, at: int) -> str:
    """The end of a line and the indentation of the line of `at`."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return ("\r\n" if "\r\n" in text else "\n") + line[: len(line) - len(line.lstrip())]


def unit(text: str) -> str:
    """By how much the file indents."""
    found = re.match(r"\ufeff?[ \t\r\n]*\{[ \t]*\r?\n([ \t]+)\S", text)
    return found[1] if found else "  "
