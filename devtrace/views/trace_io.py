"""What a recorded program printed and read, each line with the place that did.

    cart.py:12      total 22
    cart.py:15    ! no 'price'             stderr
    cart.py:20    < 5                      stdin: it was read
    cart.py:21      loading
    cart.py:23      …done                  the same line, from another place
    below Python    written by C code, or by a program that it started

A progress bar is shown as it was left standing, with how often it was drawn. What would act on the terminal
is left out or escaped.

Lives here: the lines, and what is said of the terminal's record. Not here: which they are
(query/trace_io.py), the bytes as they were (cli/trace_io.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rich.cells import cell_len

from devtrace.query.trace_io import IoChunk, IoLine, Place, Writer
from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.output import standing
from devtrace.views.safe import first_line, safe
from devtrace.views.trace import place

Row = dict[str, Any]
FunctionOf = Callable[[int], Row]

BELOW = "below Python"
_UNKNOWN = "?"
_WIDEST = 36  # columns of a place, or of a thread
_TAB = 8
_MARKS = {"stdout": (" ", ""), "stderr": ("!", "deleted"), "stdin": ("<", "edit")}
_ACTS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")


class Columns:
    """Where each line was written, in a column that is as wide as it must be for all of them."""

    def __init__(
        self,
        function: FunctionOf,
        places: Iterable[Place],
        writers: Mapping[Writer, str],
        root: str = "",
    ):
        """`writers`: labels of threads and tasks, where there are several; `root`: paths are seen from it."""
        self._function = function
        self._root = root
        self._places = {one: self._named(*one) for one in places}
        self._writers = {writer: _cut(safe(label)) for writer, label in writers.items()}
        self._width = max(map(cell_len, self._places.values()), default=0)
        self._writer_width = max(map(cell_len, self._writers.values()), default=0)

    def of(self, chunk: IoChunk) -> Line:
        """The thread or task, the place and the mark of the channel, each padded."""
        line: Line = []
        _, _, is_below = chunk.place
        if self._writers:
            name = "" if is_below else self._writers.get(chunk.writer, "")
            line.append((_padded(name, self._writer_width) + "  ", "dim"))
        where = self._places.get(chunk.place, _UNKNOWN)
        mark, style = _MARKS[chunk.channel]
        line.append((_padded(where, self._width) + "  ", "note" if is_below else "dim"))
        return [*line, (mark + " ", style)]

    def _named(self, function: int | None, line: int | None, is_below: int) -> str:
        if is_below or function is None:
            return BELOW if is_below else _UNKNOWN
        return _cut(place(self._function(function)["path"], line or 0, self._root) or _UNKNOWN)


def labels(writers: Iterable[Writer], threads: Mapping[int, str]) -> dict[Writer, str]:
    """Threads by their names, tasks by theirs; nothing where all is of one. `threads`: labels by stream."""
    every = list(writers)
    several = len({stream for stream, _ in every}) > 1
    found = {}
    for stream, task in every:
        thread = threads.get(stream, str(stream))
        found[stream, task] = thread if task is None else f"{thread} {task}" if several else task
    return found if len(found) > 1 else {}


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else "…" + text[1 - _WIDEST :]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def io_lines(found: Iterable[IoLine], columns: Columns) -> Iterator[Line]:
    """A line for each, as they come."""
    for one in found:
        yield [*columns.of(one.first), *_text(one)]


def _text(one: IoLine) -> Line:
    if one.data is None:
        return [(f"({words.size(one.first.size)}, no longer kept)", "dim")]
    text, n_drawn = shown(one.data)
    line: Line = [("…", "dim")] if one.goes_on else []
    line.append((words.shortened(text), _MARKS[one.first.channel][1]))
    if one.n_redrawn + n_drawn:
        line.append((f"  drawn {words.count(one.n_redrawn + n_drawn + 1, 'time')}", "dim"))
    if one.n_unflushed:
        part = "" if one.n_unflushed >= len(one.data) else f"{words.size(one.n_unflushed)} "
        line.append((f"  {part}never flushed", "warning"))
    return line


def shown(data: bytes) -> tuple[str, int]:
    """The text of a line as it was left standing, safe, and how often it had gone back to its begin."""
    body = data.removesuffix(b"\n").removesuffix(b"\r")
    text = body.decode("utf-8", "backslashreplace")
    if _ACTS.search(text) is None:
        return safe(text, keep="\t").expandtabs(_TAB), 0
    return standing(text).expandtabs(_TAB), text.lstrip("\r").count("\r")


# --- beside the terminal's record -------------------------------------------------------------------------


def terminal_lines(told: Row, short: Mapping[str, str]) -> list[Line]:
    """How the program's text and the terminal's record of its command agree."""
    name = first_line(told["title"].removeprefix("$ "))
    event = told["event"].rpartition("/")[2]
    verdict, style = _verdict(told)
    line: Line = [("terminal  ", "dim"), (verdict, style), (" what it shows of ", ""), (name, "")]
    line += [(f"  {short.get(event, event)}", "id"), ("  approximate", "warning")]
    lines = [line]
    if told["n_elsewhere"]:
        lines.append([(f"          {words.size(told['n_elsewhere'])} of that came from elsewhere", "dim")])
    if not told["is_whole"]:
        lines.append([("          only a part of the two could be compared", "dim")])
    return lines


def _verdict(told: Row) -> tuple[str, str]:
    found, asked = told["n_found"], told["n_lines"]
    if found == asked:
        return f"{words.count(found, 'line')} stand in their order in", "good"
    if found:
        return f"{found:,} of {words.count(asked, 'line')} stand in their order in", "warning"
    return "nothing of it stands in", "warning"
