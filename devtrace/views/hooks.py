"""Our hooks at the agents: a table of how they stand, and what a change of their files would be as a patch.

Lives here: `standing_lines`, `record`, `patched`. Not here: finding out (services/agents.py), the patch's
form (patch.py), what agents did (agents.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pygit2

from devtrace.query.diff import NetFile
from devtrace.store.checkpoints.tree import Entry
from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.diff import Shown
from devtrace.views.layout import Cells, Column, lay_out
from devtrace.views.patch import patches_of
from devtrace.views.safe import safe

_COLUMNS = (Column(), Column(), Column(drop=1), Column(flex=True))
_HEADINGS = ("agent", "hooks", "heard from", "program")
_HOOKS = {
    "all": ("in place", "good"),
    "some": ("incomplete: install again", "warning"),
    "none": ("none", "dim"),
    "unreadable": ("its settings cannot be read", "failed"),
    "unknown": ("none known", "dim"),
}


class Standing(NamedTuple):
    """The fields of a `hooks` record."""

    agent: str
    title: str
    program: str | None
    hooks: str
    current: bool | None
    trusted: bool | None
    heard_us: int | None
    files: Sequence[str]


def record(one: Standing) -> dict[str, Any]:
    """As views/jsonl.py has it."""
    return one._asdict()


def standing_lines(standings: Sequence[Standing], width: int | None) -> list[Line]:
    """A line for each agent."""
    rows = [Cells([[(heading, "dim")] for heading in _HEADINGS])]
    rows += [Cells([[(one.agent, "")], _hooks(one), _heard(one), _program(one)]) for one in standings]
    return lay_out(_COLUMNS, rows, width)


def patched(path: str, before: bytes | None, after: bytes | None, *, is_executable: bool = False) -> Shown:
    """One file before and after; None: it is not there."""
    mode = 0o100755 if is_executable else 0o100644
    contents: dict[str, bytes] = {}

    def entry(data: bytes | None) -> Entry | None:
        if data is None:
            return None
        oid = str(pygit2.hash(data))
        contents[oid] = data
        return Entry(mode, oid)

    file = NetFile(path.encode(), None, entry(before), entry(after))
    return Shown(file, patches_of(file, contents.__getitem__))


def _hooks(one: Standing) -> Line:
    if one.hooks == "all" and one.current is False:
        line: Line = [("of another devtrace: install again", "warning")]
    else:
        line = [_HOOKS[one.hooks]]
    if one.trusted is not None:
        line.append((", trusted", "dim") if one.trusted else (", not trusted", "warning"))
    return line


def _heard(one: Standing) -> Line:
    if one.hooks == "unknown":
        return [("", "")]
    return [("never", "dim") if one.heard_us is None else (words.stamp(one.heard_us), "")]


def _program(one: Standing) -> Line:
    return [("not found", "dim") if one.program is None else (safe(one.program), "")]
