"""Where a text stood in what programs were doing, told as a story: what, where, by whom, from where.

Lives here: `match_lines`. Not here: finding it (query/trace_search.py), lines of files (blame.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.safe import first_line, safe
from devtrace.views.trace import place
from devtrace.views.trace_lines import callers
from devtrace.views.values import value_text

Row = dict[str, Any]

_LABEL = 12
_VALUE = 200
_WHAT = {
    "argument": "argument", "value": "variable", "result": "result", "exception": "exception",
    "printed": "printed", "read": "read",
}  # fmt: skip


def match_lines(found: Sequence[Row], short: Mapping[str, str], root: str) -> list[Line]:
    """Each match with a blank line between."""
    lines: list[Line] = []
    for one in found:
        lines += [[], *_match(one, short, root)] if lines else _match(one, short, root)
    return lines


def _match(one: Row, short: Mapping[str, str], root: str) -> list[Line]:
    name = f"{safe(one['variable'])} = " if one["variable"] else ""
    what: Line = [(f"{name}{value_text(one['value'], _VALUE)}", "title")]
    if one["channel"]:
        what.append((f"  {'from' if one['what'] == 'read' else 'to'} {one['channel']}", "dim"))
    if one["count"] > 1:
        what.append((f"  and {words.count(one['count'] - 1, 'more time')}", "dim"))
    rows: list[tuple[str, Line]] = [(_WHAT[one["what"]], what)]
    where: Line = [(safe(one["name"]), ""), (f"  {place(one['path'], one['line'], root)}", "dim")]
    rows.append(("in", where if one["path"] else [("below Python, or a place that is not known", "dim")]))
    rows += _labelled("called by", callers(one["stack"], root))
    rows += _labelled("from", [_same(same) for same in one["same"]])
    rows += _labelled("before", [_store(one["variable"], store) for store in reversed(one["stores"])])
    if one["command"] is not None:
        command = one["command"]
        title = first_line(command["title"].removeprefix("$ "))
        agent = command["actor"].removeprefix("agent:")
        by = f"  by {safe(agent)}" if agent != command["actor"] else ""
        name = short.get(command["event"], command["event"])
        rows.append(("command", [(title, ""), (by, "dim"), (f"  {name}", "id")]))
    trace: Line = [(short.get(one["session"], one["session"]), "id")]
    if one["traces"] > 1:
        trace.append((f"  and {words.count(one['traces'] - 1, 'earlier one')}", "dim"))
    rows.append(("trace", trace))
    return [[(label.ljust(_LABEL), "dim"), *line] for label, line in rows]


def _labelled(label: str, lines: Sequence[Line]) -> list[tuple[str, Line]]:
    return [(label if at == 0 else "", line) for at, line in enumerate(lines)]


def _same(one: Row) -> Line:
    return [
        (f"{safe(one['variable'])} = {value_text(one['value'])}", ""),
        (f" in {safe(one['name'])}", "dim"),
    ]


def _store(variable: str | None, one: Row) -> Line:
    return [
        (f"{safe(variable or '')} = {value_text(one['value'])}", ""),
        (f" at line {one['line']}" if one["line"] else "", "dim"),
    ]
