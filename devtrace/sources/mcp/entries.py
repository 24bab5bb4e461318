"""The entry of a server as it stands in a settings file, and the file's text with our proxy in front of it.

What the user wrote is moved and never written anew: his command goes word for word, with its quotes and its
escapes, behind ours in the list of arguments, and back again. So taking ours out restores every byte, also
where something else was changed in between, or another program wrote the file meanwhile.

Lives here: `Entry`, `with_proxy`, `without_proxy`. Not here: where an entry stands (configs_json.py,
configs_toml.py), which words are put in (wrapping.py). Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from devtrace.sources.mcp import wrapping

Encode = Callable[[str], str]
Splice = tuple[int, int, str]  # from, to, what stands there instead
_BLANKS = " \t\r\n"
_IN_URL = re.compile(r"(?<=://)[^/?#]*@|\?.*")
_LATE_COMMA = re.compile(r"[ \t\r\n]*,")


class Span(NamedTuple):
    """A part of a text."""

    start: int
    end: int


class Entry(NamedTuple):
    """One server. The places are those of the text that it was found in."""

    name: str
    scope: str  # of which list of servers in the file; "": the file has one
    fields: dict[str, Any]
    command: Span | None = None  # the value of "command"
    items: list[Span] | None = None  # the words in "args", or in the command where that is the list
    opening: int = 0  # behind the bracket of that list
    room: tuple[int, str] = (0, "")  # where a list goes where there is none, and what goes before it
    alone: Span | None = None  # what goes with the list when it goes; None: it stands apart, and stays
    secrets: tuple[Span, ...] = ()  # values that are not for a screen

    @property
    def standing(self) -> wrapping.Standing:
        """What it is, for us."""
        return wrapping.standing(self.fields)

    @property
    def words(self) -> list[str]:
        """The program and its arguments; none where there are none to start."""
        return wrapping.words_of(self.fields) or []


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """The text with all of that done; no two may overlap."""
    for start, end, new in sorted(splices, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def hidden_in_url(text: str, start: int, end: int) -> Iterator[Span]:
    """What may be a secret in the URL that stands there: before its host, and behind its path."""
    for found in _IN_URL.finditer(text, start, end):
        yield Span(found.start(), found.end() - found[0].endswith("@"))


def with_proxy(text: str, entry: Entry, run: str, encode: Encode) -> list[Splice]:
    """What changes when our proxy goes in front of a server, or one of ours anew. `run`: its script."""
    has_list, there = entry.items is not None, wrapping.prefix(entry.words)
    words = wrapping.proxied(entry.words, entry.name, run, has_list=has_list)
    ours = words[: wrapping.prefix(words)]
    if there:
        return renewed(text, entry, there, ours, encode)
    put = [encode(word) for word in ours]
    if isinstance(entry.fields["command"], list):
        return [_inserted(text, entry, put)]
    assert entry.command is not None
    start, end = entry.command
    first, put = put[0], [*put[1:], text[start:end]]
    args = _inserted(text, entry, put) if has_list else _new_list(entry, put)
    return [(start, end, first), args]


def renewed(text: str, entry: Entry, count: int, words: list[str], encode: Encode) -> list[Splice]:
    """What changes when the first words, `count` of them, two or more, become these."""
    if entry.words[:count] == words:
        return []
    put, items, first = [encode(word) for word in words], entry.items or [], list[Splice]()
    if not isinstance(entry.fields["command"], list):
        assert entry.command is not None
        first = [(*entry.command, put.pop(0))]
        count -= 1
    start = items[0].start
    return [*first, (start, items[count - 1].end, _between(text, start).join(put))]


def _inserted(text: str, entry: Entry, put: list[str]) -> Splice:
    """At the list's beginning."""
    if not entry.items:
        return entry.opening, entry.opening, ", ".join(put)
    at = entry.items[0].start
    between = _between(text, at)
    return at, at, "".join(word + between for word in put)


def _between(text: str, at: int) -> str:
    """What parts two words of a list whose first is at `at`: a line's end where that begins a line."""
    blanks = text[len(text[:at].rstrip(_BLANKS)) : at]
    if "\n" not in blanks:
        return ", "
    return "," + ("\r\n" if "\r\n" in blanks else "\n") + blanks[blanks.rfind("\n") + 1 :]


def _new_list(entry: Entry, put: list[str]) -> Splice:
    at, before = entry.room
    return at, at, f"{before}[{', '.join(put)}]"


def without_proxy(text: str, entry: Entry) -> list[Splice]:
    """What changes when our proxy goes away again."""
    words, items = entry.words, entry.items or []
    count = wrapping.prefix(words)
    if not count:
        return []
    if isinstance(entry.fields["command"], list):
        return [(items[0].start, items[count].start, "")]
    assert entry.command is not None
    theirs = items[count - 1]  # the command is no item: one less
    back = (*entry.command, text[theirs.start : theirs.end])
    if len(items) > count:
        return [back, (items[0].start, items[count].start, "")]
    if entry.alone is not None and not wrapping.had_list(words):
        return [back, (*entry.alone, "")]
    late = _LATE_COMMA.match(text, theirs.end)
    return [back, (items[0].start, late.end() if late else theirs.end, "")]
