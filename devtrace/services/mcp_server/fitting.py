"""An answer as it is sent: escaped, within so many bytes, and with a word about what was left out.

Both forms of an answer count, the text and the structured content, for nobody knows which of the two a client
shows to its model. Of a list as many rows are sent as there is room for; the cursor says where the next page
begins. Of one thing that is too large its longest texts and lists lose their ends.

Lives here: `fitted`. Not here: what is asked (answers.py), what a line looks like (views/for_models.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from devtrace.services.mcp_server.answers import Answer
from devtrace.views.for_models import block, structured
from devtrace.views.words import count

Row = dict[str, Any]

_FRAME = 700  # bytes of the lines and fields that are added here
# Characters of a text, items of a list, names of an object: the first that are small enough.
_STEPS = ((20_000, 400), (6_000, 200), (2_000, 60), (600, 20), (200, 8), (80, 4), (40, 1))
_NAMES = 10  # of an object, for each item of a list
_Shown = tuple[Row, list[str]]  # a row, and its lines in the text


class Fitted(NamedTuple):
    """What is sent. `links`: URI, name and media type of what is too big for an answer."""

    text: str
    structured: Row
    links: tuple[tuple[str, str, str], ...]


class _Parts(NamedTuple):
    """What an answer is put together of."""

    told: Row
    body: list[str]
    rows: list[_Shown]
    was_cut: bool


def fitted(answer: Answer, most: int) -> Fitted:
    """The answer within `most` bytes; of a list at least one row, cut where it has to be."""
    told, was_cut = _shrunk(structured(answer.told), (most - _FRAME) // 2)
    room = most - _FRAME - _cost(told)
    body = _first_lines(answer.body, room)
    parts = _Parts(told, body, _rows(answer, room - _cost_of(body)), was_cut or len(body) < len(answer.body))
    while True:
        found = _put_together(answer, parts)
        over = _size(found) - most
        smaller = _smaller(parts, over) if over > 0 else parts
        if smaller == parts:
            return found
        parts = smaller


def _smaller(parts: _Parts, over: int) -> _Parts:
    """With a row less; with one row alone fewer lines, then a smaller row, then a smaller rest."""
    told, body, rows, _ = parts
    if len(rows) > 1:
        return parts._replace(rows=rows[:-1])
    if body:
        return parts._replace(body=_first_lines(body, _cost_of(body) - over), was_cut=True)
    if rows:
        (row, lines), half = rows[0], max((_cost(rows[0][0]) + _cost_of(rows[0][1]) - over) // 2, 1)
        smaller = [(_shrunk(row, half)[0], _first_lines(lines, half))]
        if smaller != rows:
            return parts._replace(rows=smaller, was_cut=True)
    return parts._replace(told=_shrunk(told, max(_cost(told) - over, 1))[0], was_cut=True)


def _put_together(answer: Answer, parts: _Parts) -> Fitted:
    told, body, rows, was_cut = parts
    whole, cursor = dict(told), answer.cursor(len(rows))
    if answer.name:
        whole[answer.name] = [row for row, _ in rows]
    if cursor is not None:
        whole["next_cursor"] = cursor
    if was_cut:
        whole["cut"] = True
    head = [*answer.head(len(rows)), *_about(answer, cursor, was_cut=was_cut)]
    text = block(head, [*body, *(line for _, lines in rows for line in lines)])
    return Fitted(text, whole, tuple(answer.links))


def _about(answer: Answer, cursor: str | None, *, was_cut: bool) -> list[str]:
    lines = [f"It was cut to fit. {answer.rest}".rstrip()] if was_cut else []
    if cursor is not None:
        lines.append(f'There is more: repeat the arguments with cursor="{cursor}".')
    return lines


def _rows(answer: Answer, room: int) -> list[_Shown]:
    """As many rows as there seems to be room for, one at least."""
    shown: list[_Shown] = []
    for raw in answer.rows:
        row, lines = structured(raw), list(answer.lines(raw))
        room -= _cost(row) + _cost_of(lines)
        if room < 0 and shown:
            break
        shown.append((row, lines))
    return shown


def _size(found: Fitted) -> int:
    return len(found.text.encode("utf-8", "replace")) + _cost(found.structured)


def _cost(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))


def _cost_of(lines: Sequence[str]) -> int:
    return sum(len(line.encode("utf-8", "replace")) + 1 for line in lines)


def _first_lines(lines: Sequence[str], room: int) -> list[str]:
    """The first lines that there is room for."""
    found: list[str] = []
    for line in lines:
        room -= len(line.encode("utf-8", "replace")) + 1
        if room < 0:
            break
        found.append(line)
    return found


# --- one thing that is too large ------------------------------------------------------------------------


def _shrunk(value: Row, most: int) -> tuple[Row, bool]:
    """The value with its longest texts and lists cut, as little as is enough, and whether that was needed."""
    if _cost(value) <= most:
        return value, False
    shorter = value
    for characters, items in _STEPS:
        shorter = _shortened(value, characters, items)
        if _cost(shorter) <= most:
            break
    return shorter, True


def _shortened(value: Any, characters: int, items: int) -> Any:
    if isinstance(value, str) and len(value) > characters:
        return f"{value[:characters]}… (+{count(len(value) - characters, 'character')})"
    if isinstance(value, list):
        return [_shortened(one, characters, items) for one in value[:items]]
    if isinstance(value, dict):
        kept = list(value.items())[: items * _NAMES]
        return {name: _shortened(one, characters, items) for name, one in kept}
    return value
