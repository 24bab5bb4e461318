"""The one way to a terminal: colours, width, and lines that were laid out elsewhere.

Lives here: making a rich console that obeys NO_COLOR, pipes and dumb terminals; the palette; `paint`.
Not here: what the lines say (timeline.py, sessions.py, ...), what makes text harmless (safe.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style

# (text that is safe already, a name of the palette or "")
Piece = tuple[str, str]
Line = list[Piece]

PALETTE: dict[str, Style] = {
    name: Style.parse(definition)
    for name, definition in {
        "title": "bold",
        "dim": "dim",
        "id": "yellow",
        "failed": "bold red",
        "lost": "bold magenta",
        "running": "bold cyan",
        "good": "green",
        "gap": "bold black on yellow",
        "warning": "yellow",
        "note": "green",
        "edit": "cyan",
        "added": "green",
        "deleted": "red",
        "hunk": "cyan",
    }.items()
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """A reader that goes away is for the command's border to judge; rich would end with status 1."""
        raise BrokenPipeError


def make_console(file: TextIO | None = None, *, width: int | None = None) -> Console:
    """A console on stdout (or `file`) that adds nothing of its own: no markup, no highlighting, no emoji."""
    target = file or sys.stdout
    reconfigure = getattr(target, "reconfigure", None)
    if reconfigure is not None:
        # A terminal that is not UTF-8 shows escapes where a mark or a recorded letter does not exist.
        reconfigure(errors="backslashreplace")
    return _Console(file=target, width=width, markup=False, highlight=False, emoji=False)


def width_of(console: Console) -> int | None:
    """The columns that lines must fit into; None in a pipe or a file, where nothing is cut."""
    return console.width if console.is_terminal else None


def paint(console: Console, lines: Iterable[Line]) -> None:
    """Write laid-out lines as they are: neither wrapped nor cropped, colours where the console has them."""
    segments: list[Segment] = []
    for line in lines:
        segments.extend(Segment(text, PALETTE.get(style)) for text, style in line)
        segments.append(Segment.line())
    console.print(Segments(segments), end="", soft_wrap=True)
