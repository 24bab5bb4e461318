"""Columns: cells become aligned lines that fit a narrow terminal, a wide one, and no terminal at all.

Lives here: measuring, cutting, padding. Not here: colour (console.py), words (the other views).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from devtrace.views.console import Line, Piece

GAP = 2  # blanks between two columns
_LEAST_FLEX = 24  # a narrower flexible column makes droppable ones go
_PIPE_FLEX = 72  # in a pipe the flexible column is padded this far at most, and never cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How one column behaves; `least` is its width even where its cells are narrower."""

    right: bool = False
    flex: bool = False  # takes and gives the room that the others leave
    fill: bool = False  # a flexible column that takes all the room, so that batches of lines align
    drop: int = 0  # when the terminal is narrow the highest number goes first; 0 never goes
    least: int = 0


@dataclass(frozen=True, slots=True)
class Cells:
    """One row: for each column the pieces of its cell."""

    cells: Sequence[Sequence[Piece]]


@dataclass(frozen=True, slots=True)
class Across:
    """A line across all columns, which neither widens nor obeys them."""

    line: Line


def lay_out(
    columns: Sequence[Column], rows: Sequence[Cells | Across], width: int | None, indent: int = 0
) -> list[Line]:
    """The rows as lines of at most `width` cells (None: as long as they are), indented by `indent`."""
    table = [row for row in rows if isinstance(row, Cells)]
    widths = [
        max([column.least, *(_width(row.cells[at]) for row in table)]) for at, column in enumerate(columns)
    ]
    shown = _shown(columns, widths, width, indent)
    flex = next((at for at in shown if columns[at].flex), None)
    if flex is not None:
        others = sum(widths[at] for at in shown if at != flex) + GAP * (len(shown) - 1) + indent
        room = _PIPE_FLEX if width is None else max(width - others, 1)
        widths[flex] = room if columns[flex].fill else min(widths[flex], room)
    return [
        _cut(row.line, width)
        if isinstance(row, Across)
        else _line(columns, shown, widths, row, width, indent)
        for row in rows
    ]


def _shown(columns: Sequence[Column], widths: list[int], width: int | None, indent: int) -> list[int]:
    shown = [at for at, content in enumerate(widths) if content]  # what is empty in every row takes no room
    if width is None:
        return shown
    while True:
        taken = sum(min(widths[at], _LEAST_FLEX) if columns[at].flex else widths[at] for at in shown)
        droppable = [at for at in shown if columns[at].drop]
        if taken + GAP * (len(shown) - 1) + indent <= width or not droppable:
            return shown
        shown.remove(max(droppable, key=lambda at: columns[at].drop))


def _line(
    columns: Sequence[Column],
    shown: Sequence[int],
    widths: Sequence[int],
    row: Cells,
    width: int | None,
    indent: int,
) -> Line:
    line: Line = [(" " * indent, "")] if indent else []
    for place, at in enumerate(shown):
        cell = list(row.cells[at])
        if width is not None:
            cell = _cut(cell, widths[at])
        blank = " " * max(widths[at] - _width(cell), 0)
        if place:
            line.append((" " * GAP, ""))
        line += [(blank, ""), *cell] if columns[at].right else [*cell, (blank, "")]
    return _stripped(_cut(line, width))


def _stripped(line: Line) -> Line:
    while line and not line[-1][0].strip(" "):
        line = line[:-1]
    return line


def _width(cell: Sequence[Piece]) -> int:
    return sum(cell_len(text) for text, _ in cell)


def _cut(cell: Sequence[Piece], room: int | None) -> Line:
    """The longest piece gives way, so that what stands behind a long command is still seen."""
    line = list(cell)
    over = 0 if room is None else _width(line) - room
    while over > 0 and line:
        at = max(range(len(line)), key=lambda place: cell_len(line[place][0]))
        text, style = line[at]
        keep = max(cell_len(text) - over - 1, 0)
        if keep or len(line) == 1:
            line[at] = (set_cell_size(text, keep) + "…" * (room != 0), style)
            return line
        del line[at]
        over = _width(line) - (room or 0)
    return line
