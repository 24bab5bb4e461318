"""Selectors of trace filters: `pkg:app.*`, `file:src/**/*.py`, `arg:regex:^raw_`, `obj:literal:app.main`.

    selector = kind ":" [match ":"] pattern
    kind     = pkg | file | obj                       which code: its module, its file, its dotted name
             | local | global | arg | ret | attr      which values: a variable, what is returned, a field
    match    = glob (unless said) | regex (found anywhere, anchor it with ^ and $) | literal

In a glob `*` and `?` stand for any characters, `[a-c]` and `[!a-c]` for one of a set, `{a,b}` for either,
and a backslash takes the meaning from what follows. In the glob of a file `*` and `?` stop at a slash:
`**` does not, and `**/` is also no folder at all. What stands behind the second colon may hold further
colons.

Lives here: reading one, and whether it fits a name. Not here: rules and files (filter_files.py), which
rule decides (filters.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

SCOPE_KINDS = ("pkg", "file", "obj")
VALUE_KINDS = ("local", "global", "arg", "ret", "attr")
MATCHES = ("glob", "regex", "literal")

_PARTS = r"(?s)\\.|\[[!^]?\]?[^\]]*\]|\*\*/|\*+|."
_TOLD = r"[]\\[&|~^]"  # what a regular expression would take for more than itself in a set
_WILD = frozenset("*?[]{}\\")


class Selector:
    """One of them, ready to be asked: `fits(name)`. `text` is what was written."""

    __slots__ = ("fits", "is_absolute", "is_literal", "kind", "pattern", "text")

    def __init__(self, text: str, kind: str, match: str, pattern: str):
        self.text = text
        self.kind = kind
        self.pattern = _plain_path(pattern, match) if kind == "file" else pattern
        self.is_literal = match == "literal" or (match == "glob" and not _WILD.intersection(pattern))
        self.is_absolute = kind == "file" and pattern.removeprefix("^").startswith("/")
        self.fits = self._matcher(match)

    def _matcher(self, match: str) -> Callable[[str], object]:
        if self.is_literal:
            return self.pattern.__eq__
        if match == "regex":
            return re.compile(self.pattern).search
        return glob_fits(self.pattern, has_folders=self.kind == "file")

    def __repr__(self) -> str:
        return f"Selector({self.text!r})"


def parsed(text: str, kinds: tuple[str, ...]) -> Selector:
    """The selector that a text spells; a ValueError says what is wrong with it."""
    kind, colon, rest = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r} is no selector: write KIND:PATTERN, with a kind of {_either(kinds)}")
    if kind not in kinds:
        raise ValueError(f"no kind {kind!r} here: use {_either(kinds)}")
    match, colon, pattern = rest.partition(":")
    if not colon:
        match, pattern = "glob", rest
    elif match not in MATCHES:
        raise ValueError(f"no way to match is called {match!r}: use {_either(MATCHES)}")
    if not pattern:
        raise ValueError(f"{text!r} has no pattern")
    try:
        with warnings.catch_warnings():  # of a doubtful pattern: the program's stderr is not ours
            warnings.simplefilter("ignore")
            return Selector(text, kind, match, pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is no {match}: {error}") from error


def glob_fits(pattern: str, *, has_folders: bool) -> Callable[[str], object]:
    """What tells whether a glob fits a whole name; `re.error` for one that is none."""
    return re.compile(_from_glob(pattern, has_folders), re.DOTALL).fullmatch


def is_wild(pattern: str) -> bool:
    """Whether a glob is more than one name."""
    return not _WILD.isdisjoint(pattern)


def _plain_path(pattern: str, match: str) -> str:
    return pattern if match == "regex" else pattern.removeprefix("./")


def _from_glob(pattern: str, has_folders: bool) -> str:
    """The regular expression of a glob."""
    any_one, many = ("[^/]", "[^/]*") if has_folders else (".", ".*")
    depth = 0
    expression: list[str] = []
    for part in re.findall(_PARTS, pattern):
        if part == "{":
            depth += 1
            expression.append("(?:")
        elif part == "}" and depth:
            depth -= 1
            expression.append(")")
        elif part == "," and depth:
            expression.append("|")
        elif part == "**/" and has_folders and expression[-1:] in ([], ["/"]):
            expression.append("(?:.*/)?")
        elif part.startswith("*"):
            slash = "/" if part.endswith("/") else ""
            expression.append((".*" if len(part.rstrip("/")) > 1 else many) + slash)
        else:
            expression.append(any_one if part == "?" else _of_one(part, has_folders))
    if depth:
        raise re.error("a { is not closed")
    return "".join(expression)


def _of_one(part: str, has_folders: bool) -> str:
    """Of a set, of a character that lost its meaning, or of any other character."""
    if part == "[":
        raise re.error("a [ is not closed")
    if part[0] != "[":
        return re.escape(part[-1])
    is_without = part[1] in "!^"
    inside = re.sub(_TOLD, r"\\\g<0>", part[2 if is_without else 1 : -1])
    return f"{'(?!/)' if has_folders else ''}[{'^' if is_without else ''}{inside}]"


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
