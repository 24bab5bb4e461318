"""The line of an event that shows best why it was found, and what in it was looked for.

Lives here: `excerpt`. Not here: which events are found (search.py), which words in them match
(search_lists.py), colour (views/search.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

LONGEST = 200  # characters
BEGIN, END = "\x02", "\x03"  # around a match; no text of the index has control characters
_BEFORE = 60  # characters in front of the first match of a long line
_ELLIPSIS = "…"
# Where a reader looks first.
_ORDER = ("title", "said", "paths", "output", "input")

Span = tuple[int, int]


class Excerpt(NamedTuple):
    """`where` is the field, `marks` are [from, to] in the characters of `snippet`."""

    where: str
    snippet: str
    marks: list[list[int]]


def excerpt(texts: Mapping[str, str], patterns: Sequence[re.Pattern[str]]) -> Excerpt:
    """The line with the most different matches, of several the first.

    `texts` by where they stand, with BEGIN and END around the words that match; `patterns` find the parts.
    Where nothing matches, it is the first line of all.
    """
    best: Excerpt | None = None
    most = 0
    for where in _ORDER:
        for line, spans in _matching(texts.get(where, ""), patterns):
            number = len({line[start:end].casefold() for start, end in spans})
            if number > most:
                best, most = _cut(where, line, spans), number
    return best or _first(texts)


def _matching(text: str, patterns: Sequence[re.Pattern[str]]) -> Iterator[tuple[str, list[Span]]]:
    """Each line in which something matches, without signs, and where in it."""
    for marked in text.split("\n"):
        line, spans = _unmarked(marked) if BEGIN in marked else (marked, [])
        for pattern in patterns:
            spans += [found.span() for found in pattern.finditer(line)]
        if spans:
            yield line, _merged(spans)


def _unmarked(marked: str) -> tuple[str, list[Span]]:
    line, spans = "", list[Span]()
    for piece in marked.split(BEGIN):
        match, end, rest = piece.partition(END)
        if end:
            spans.append((len(line), len(line) + len(match)))
        line += match + rest
    return line, spans


def _merged(spans: list[Span]) -> list[Span]:
    """In their order, those that overlap as one."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _cut(where: str, line: str, spans: Sequence[Span]) -> Excerpt:
    """As much of the line as may be shown, around its first match."""
    indent = len(line) - len(line.lstrip())
    start = indent
    if len(line) - indent > LONGEST:
        start = max(min(spans[0][0] - _BEFORE, len(line) - LONGEST), indent)
    end = min(start + LONGEST, len(line))
    head, tail = _ELLIPSIS * (start > indent), _ELLIPSIS * (end < len(line))
    shift = len(head) - start
    marks = [[max(one, start) + shift, min(other, end) + shift] for one, other in spans if one < end]
    return Excerpt(where, head + line[start:end].rstrip() + tail, marks)


def _first(texts: Mapping[str, str]) -> Excerpt:
    where = next((where for where in _ORDER if texts.get(where)), _ORDER[0])
    line, _ = _unmarked(texts.get(where, "").lstrip().split("\n", 1)[0])
    return _cut(where, line, [(0, 0)])._replace(marks=[])
