"""How people say where a probe shall sit.

    app/handlers.py:42      app.handlers:42         a line
    app.handlers:load       app.handlers:User.save  a function: its entry
    app.handlers:load@exit  ...@entry  ...@raise    its end, with what it returns; exceptions in it

Lives here: `parse_location`, `mapped`. Not here: the file and the code (places.py). Standard library only: a
guest imports this.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable

WHATS = ("entry", "exit", "raise")
_EXAMPLES = "such as app/handlers.py:42, app.handlers:42, app.handlers:load or app.handlers:load@exit"


class BadLocation(Exception):
    """The text names no place. The message says what is missing."""


class Location:
    """`file` or `module` is set, the other is ""; `line` or `function`, the other is 0 or "".

    `what`: "line", "entry", "exit" or "raise".
    """

    __slots__ = ("file", "function", "line", "module", "what")

    def __init__(
        self, *, file: str = "", module: str = "", line: int = 0, function: str = "", what: str = "line"
    ):
        self.file = file
        self.module = module
        self.line = line
        self.function = function
        self.what = what

    def __str__(self) -> str:
        where = f"{self.file or self.module}:{self.line or self.function}"
        return where if self.what in ("line", "entry") else f"{where}@{self.what}"


def parse_location(text: str) -> Location:
    """Raises BadLocation."""
    head, _, tail = text.strip().rpartition(":")
    if not head or not tail:
        raise BadLocation(f"{text!r} names no line and no function; write it {_EXAMPLES}")
    file, module = ("", head) if _is_module(head) else (head, "")
    if tail.lstrip("+-").isdigit():
        line = int(tail) if len(tail) < 10 else 0
        if not tail.isascii() or line < 1:
            raise BadLocation(f"{tail} is no line: lines are counted from 1")
        return Location(file=file, module=module, line=line)
    function, at, what = tail.partition("@")
    if not all(_is_name(part) for part in function.split(".")):
        raise BadLocation(f"{function!r} is no name of a function; write it {_EXAMPLES}")
    if at and what not in WHATS:
        raise BadLocation(f"@{what} is not known; there are @entry, @exit and @raise")
    return Location(file=file, module=module, function=function, what=what or "entry")


def mapped(path: str, maps: Iterable[tuple[str, str]]) -> str:
    """The path as the program has it, by the first pair (from, to) that is the path or a folder above it."""
    path = with_slashes(path)
    for source, target in maps:
        above = with_slashes(source).rstrip("/")
        if path == above or path.startswith(above + "/"):
            return with_slashes(target).rstrip("/") + path[len(above) :]
    return path


def with_slashes(path: str) -> str:
    """Windows' separators are taken for ours, unless a file here has them in its name."""
    return path if "\\" not in path or os.path.exists(path) else path.replace("\\", "/")


def _is_module(head: str) -> bool:
    return not head.endswith(".py") and all(part.isidentifier() for part in head.split("."))


def _is_name(part: str) -> bool:
    return part.isidentifier() or part in ("<locals>", "<lambda>")
