r"""Terminal output as a reader wants it: the text that was left standing, plain or in its colours.

A progress bar is the same line written a hundred times. So the output is written onto a sheet of lines, as
a terminal would do it: carriage returns, backspaces, erasing and the cursor's moves up and down are obeyed;
everything else that acts on a terminal (titles, the clipboard, queries, modes) is left out.

Lives here: `plain`, `coloured`, `standing`, `record`. Not here: reading it from the store
(query/output.py), the whole recording with its times (export/asciicast.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from rich.cells import cell_len

from devtrace.query.output import Output
from devtrace.views import escapes
from devtrace.views.safe import safe
from devtrace.views.words import size

_SGR = re.compile(r"[0-9;:]{0,64}")
_RESET = "\x1b[0m"
_TAB = 8
_MOST_STYLE = 160  # characters of SGR that add up before only the newest counts
_MOST_PADDING = 1_000_000  # blanks that moves of the cursor may make: `CSI 9999 G` must not eat the memory


def plain(output: Output) -> str:
    """The output without any escape sequence, every line ended by a newline."""
    return _whole(output, colours=False)


def coloured(output: Output) -> str:
    """The output with its colours (SGR) and without any other escape sequence."""
    return _whole(output, colours=True)


def standing(text: str) -> str:
    """A line of text as it was left standing, without any escape sequence."""
    return _text(text.encode("utf-8", "replace"), colours=False).removesuffix("\n").replace("\n", " ")


def record(event: dict[str, Any], output: Output) -> dict[str, Any]:
    """The fields of an `output` record of views/jsonl.py."""
    info = {name: output.info.get(name) for name in ("seen", "head", "tail", "truncated")}
    return {"session": event["session"], "event": event["id"], "text": plain(output), **info}


def _whole(output: Output, *, colours: bool) -> str:
    head, missing, tail = output.parts()
    if not missing and not tail:
        return _text(head, colours=colours)
    cut = f"[... {size(missing)} not kept ...]\n"
    return _text(head, colours=colours) + cut + _text(tail, colours=colours)


def _text(data: bytes, *, colours: bool) -> str:
    sheet = _Sheet()
    for token in escapes.Splitter().feed(data.decode("utf-8", "replace")):
        action = _ACTIONS.get(token.kind)
        if action is not None:
            action(sheet, token.text)
    lines = [line.render(colours) for line in sheet.lines]
    if not lines[-1]:
        lines.pop()
    return "".join(f"{line}\n" for line in lines)


@dataclass(slots=True)
class _Line:
    """Cells and the SGR sequences in force at each; a wide character or a tab is followed by empty cells."""

    cells: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    def write(self, at: int, cells: list[str], style: str) -> None:
        end = at + len(cells)
        self._break(at)
        self._break(end)
        self.cells[at:end] = cells
        self.styles[at:end] = [style] * len(cells)

    def pad(self, to: int) -> None:
        blank = to - len(self.cells)
        self.cells.extend(" " * blank)
        self.styles.extend([""] * blank)

    def erase(self, start: int, end: int | None = None) -> None:
        if end is None or end >= len(self.cells):
            self._break(start)
            del self.cells[start:], self.styles[start:]
        elif start < end:
            self.write(start, [" "] * (end - start), "")

    def delete(self, at: int, count: int) -> None:
        self._break(at)
        self._break(at + count)
        del self.cells[at : at + count], self.styles[at : at + count]

    def insert(self, at: int, count: int) -> None:
        self._break(at)
        self.cells[at:at] = [" "] * count
        self.styles[at:at] = [""] * count

    def render(self, colours: bool) -> str:
        if not colours:
            return safe("".join(self.cells), keep="\t")
        pieces, now = [], ""
        runs = groupby(zip(self.cells, self.styles, strict=True), key=lambda cell: cell[1])
        for style, run in runs:
            pieces.append((_RESET if now else "") + style + safe("".join(cell for cell, _ in run), keep="\t"))
            now = style
        return "".join(pieces) + (_RESET if now else "")

    def _break(self, at: int) -> None:
        """What stands across the border before cell `at`, a wide character or a tab, becomes blanks."""
        if at >= len(self.cells) or self.cells[at]:
            return
        start = at
        while start and not self.cells[start]:
            start -= 1
        while at < len(self.cells) and not self.cells[at]:
            at += 1
        self.cells[start:at] = [" "] * (at - start)


@dataclass(slots=True)
class _Sheet:
    """Lines without a lower edge, a cursor, and the colours in force."""

    lines: list[_Line] = field(default_factory=lambda: [_Line()])
    row: int = 0
    column: int = 0
    style: str = ""
    padding: int = 0

    @property
    def line(self) -> _Line:
        return self.lines[self.row]

    def move(self, row: int, column: int) -> None:
        """The cursor stays on the lines that there are, as it stays on a screen."""
        self.row, self.column = min(max(row, 0), len(self.lines) - 1), max(column, 0)

    def feed(self) -> None:
        if self.row == len(self.lines) - 1:
            self.lines.append(_Line())
        self.move(self.row + 1, 0)

    def write(self, cells: list[str]) -> None:
        blank = self.column - len(self.line.cells)
        if blank > 0:
            self.padding += blank
            if self.padding > _MOST_PADDING:
                self.column = len(self.line.cells)
            else:
                self.line.pad(self.column)
        self.line.write(self.column, cells, self.style)
        self.column += len(cells)


def _write(sheet: _Sheet, text: str) -> None:
    if text.isascii():
        sheet.write(list(text))
        return
    for character in text:
        width = cell_len(character)
        if width:
            sheet.write([character, *[""] * (width - 1)])
        elif sheet.column and sheet.column <= len(sheet.line.cells):
            sheet.line.cells[sheet.column - 1] += character  # combines with what stands there


def _control(sheet: _Sheet, text: str) -> None:
    if text in "\n\v\f":
        sheet.feed()  # to the first column: what a pipe wrote has no carriage return before it
    elif text == "\r":
        sheet.column = 0
    elif text == "\b":
        sheet.column = max(sheet.column - 1, 0)
    elif text == "\t":
        stop = _TAB - sheet.column % _TAB
        if sheet.column == len(sheet.line.cells):
            sheet.write(["\t", *[""] * (stop - 1)])  # a tab at the end of a line stays one, to be copied
        else:
            sheet.column += stop


def _csi(sheet: _Sheet, text: str) -> None:
    body, final = text[1 if text[0] == "\x9b" else 2 : -1], text[-1]
    if final == "m":
        _colour(sheet, body)
    elif body.replace(";", "").isdecimal() or not body:
        first = body.split(";")[0][:6]
        _move_or_erase(sheet, final, int(first) if first else None)


def _move_or_erase(sheet: _Sheet, final: str, number: int | None) -> None:
    row, column, line, step = sheet.row, sheet.column, sheet.line, max(number or 1, 1)
    moves = {
        "A": (row - step, column),
        "B": (row + step, column),
        "C": (row, column + step),
        "D": (row, column - step),
        "E": (row + step, 0),
        "F": (row - step, 0),
        "G": (row, step - 1),
    }
    if final in moves:
        sheet.move(*moves[final])
    elif final == "K":
        line.erase(*{1: (0, column + 1), 2: (0,)}.get(number or 0, (column,)))
    elif final == "J" and not number:
        line.erase(column)
        del sheet.lines[row + 1 :]
    elif final == "X":
        line.erase(column, column + step)
    elif final == "P":
        line.delete(column, step)
    elif final == "@" and column < len(line.cells):
        line.insert(column, min(step, _TAB * _TAB))


def _colour(sheet: _Sheet, body: str) -> None:
    if not _SGR.fullmatch(body):
        return  # `CSI > 4 ; 2 m` and its like set modes, no colours
    if body.strip("0") == "":
        sheet.style = ""
        return
    # What starts with a reset forgets what was before it; everything else adds up, within reason.
    forgets = body.split(";")[0].strip("0") == "" or len(sheet.style) > _MOST_STYLE
    sheet.style = ("" if forgets else sheet.style) + f"\x1b[{body}m"


_ACTIONS: dict[str, Callable[[_Sheet, str], None]] = {
    escapes.TEXT: _write,
    escapes.CONTROL: _control,
    escapes.CSI: _csi,
}
