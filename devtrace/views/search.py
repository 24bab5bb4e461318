"""What a search found: a line for each event, and below it the line of its text that was meant.

Lives here: `hit_lines`. Not here: finding (query/search.py), which line of a text it is
(query/search_excerpt.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.layout import Across, Cells, Column, lay_out
from devtrace.views.safe import safe, split_first_line
from devtrace.views.timeline import Reader, mark, what

Row = dict[str, Any]

_COLUMNS = (
    Column(least=16, drop=1),  # when
    Column(least=11, drop=2),  # agent
    Column(least=6),  # kind, or how it failed
    Column(flex=True),  # what
    Column(),  # id
)
_INDENT = "    "
_FOUND = "title"  # the style of what was looked for
_IN_FULL = ("output", "input")  # fields of which nothing stands in the line of an event
_SECONDS = 3  # characters of a moment that say nothing here


def hit_lines(
    hits: Sequence[Row],
    sessions: Mapping[str, Row],
    short: Mapping[str, str],
    reader: Reader,
    nowhere: Sequence[str] = (),
) -> list[Line]:
    """Two lines for a hit, one where all that was found stands in the first.

    `nowhere`: what no event has, which is not said of each.
    """
    rows: list[Cells | Across] = []
    for hit in hits:
        found = _found(hit)
        rows.append(_row(hit, found, sessions.get(hit["session"]), short))
        excerpt = _excerpt(hit, found, [one for one in hit["missing"] if one not in nowhere])
        if excerpt:
            rows.append(Across(excerpt))
    return lay_out(_COLUMNS, rows, reader.width)


def _found(hit: Row) -> re.Pattern[str] | None:
    """What was looked for, as it stands in the excerpt."""
    parts = {hit["snippet"][start:end] for start, end in hit["marks"]}
    longest = sorted(filter(None, parts), key=lambda part: (-len(part), part))
    return re.compile("|".join(map(re.escape, longest)), re.IGNORECASE) if longest else None


def _row(hit: Row, found: re.Pattern[str] | None, session: Row | None, short: Mapping[str, str]) -> Cells:
    sign = mark(hit) if mark(hit)[0] else ("ran", "dim")
    head, *rest = what(hit, session)
    name = "/".join(short.get(one, one) for one in (hit["session"], hit["id"]))
    command = [("$ ", "dim")] if hit["kind"] == "run_command" else []
    return Cells(
        [
            [(words.stamp(hit["started_us"])[:-_SECONDS], "dim")],
            [(safe((session["agent"] if session else "") or hit["actor"]), "dim")],
            [sign],
            [*command, *_highlighted(head[0], head[1], found), *rest],
            [(name, "id")],
        ]
    )


def _excerpt(hit: Row, found: re.Pattern[str] | None, missing: Sequence[str]) -> Line:
    """The line of the text, where the line of the event does not show it; and what it lacks."""
    without = f"without {safe(', '.join(missing))}" if missing else ""
    shown = split_first_line(hit["title"])[0]
    if hit["where"] not in _IN_FULL and (found is None or found.search(shown) is not None):
        return [(f"{_INDENT}{without}", "dim")] if without else []
    label: Line = [(f"{_INDENT}{safe(hit['where'])}: ", "dim")]
    return [*label, *_marked(hit["snippet"], hit["marks"]), *([(f"  {without}", "dim")] if without else [])]


def _marked(snippet: str, marks: Sequence[Sequence[int]]) -> Line:
    pieces, at = list[tuple[str, str]](), 0
    for start, end in marks:
        pieces += [(snippet[at:start], ""), (snippet[start:end], _FOUND)]
        at = end
    pieces.append((snippet[at:], ""))
    return [(safe(text.replace("\t", " ")), style) for text, style in pieces if text]


def _highlighted(text: str, style: str, found: re.Pattern[str] | None) -> Line:
    """A text that is safe already, with what was looked for in it."""
    if found is None:
        return [(text, style)]
    pieces, at = list[tuple[str, str]](), 0
    for one in found.finditer(text):
        pieces += [(text[at : one.start()], style), (one[0], _FOUND)]
        at = one.end()
    return [piece for piece in [*pieces, (text[at:], style)] if piece[0]] or [("", style)]
