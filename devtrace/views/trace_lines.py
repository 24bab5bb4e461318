"""A call line by line with the source beside its values, how often lines ran, and exceptions.

    total(items=[40, 60])  cart.py:3  call 1 of 2, 12µs
      in main cart.py:9
     4      result = 0                    result = 0
     5      for item in items:            item = 40
     6          result += item            result = 40
       pass 2
     5      for item in items:            item = 60

A loop is shown pass by pass; passes that ran the same lines are folded in the middle, and the last one stays.

Lives here: the lines. Not here: what ran (query/trace_lines.py), the tree (trace.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from devtrace.query.trace_source import Source
from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.layout import Across, Cells, Column, lay_out
from devtrace.views.safe import first_line, safe
from devtrace.views.timeline import Reader
from devtrace.views.trace import place, span
from devtrace.views.values import value_text

Row = dict[str, Any]

_PASSES = 3  # of a loop that are shown at its begin
_SOURCE = 72  # characters of a line of source
_VALUE = 60
_STACK = 8  # callers
_VARIABLES = 20
_STYLES = {"raised": "failed", "left": "failed", "printed": "dim", "read": "dim"}
_COLUMNS = (
    Column(right=True),  # line
    Column(),  # source
    Column(flex=True),  # values
)


def call_lines(told: Row, source: Source, root: str, reader: Reader) -> list[Line]:
    """One call as `query.trace_lines.call_of` tells it."""
    lines = [_head(told, root), *_stack(told["stack"], root)]
    if source.warning:
        lines.append([(f"  {source.warning}", "warning")])
    given = ", ".join(_value(one) for one in told["arguments"] if not one[0].startswith("."))
    if given:
        lines.append([("  with ", "dim"), (given, "")])
    rows: list[Cells | Across] = []
    for number, some in _passes(told["steps"]):
        if isinstance(some, int):
            rows.append(
                Across([(f"    … {words.count(some, 'more pass', 'more passes')} of the same lines", "dim")])
            )
            continue
        if number > 1:
            rows.append(Across([(f"    pass {number:,}", "dim")]))
        rows += [_step(one, source) for one in some]
    if told["is_cut"]:
        line: Line = [(f"    … {len(told['steps']):,} lines are shown: --limit shows more", "dim")]
        if told["how"] == "return":
            line += [("; returned", "good"), (f" {value_text(told['result'], _VALUE)}", "")]
        rows.append(Across(line))
    return lines + lay_out(_COLUMNS, rows, reader.width, 2)


def _head(told: Row, root: str) -> Line:
    line: Line = [(safe(told["name"]), "title"), (f"  {place(told['path'], told['line'], root)}", "dim")]
    line.append((f"  call {told['call']:,} of {max(told['calls'], told['call']):,}", "dim"))
    took = span(told["duration_ns"])
    line.append((f", {took}" if took else ", its end was not seen", "dim"))
    return line


def _stack(stack: Sequence[Row], root: str) -> list[Line]:
    return [[("  in ", "dim"), *line] for line in callers(stack, root)]


def callers(stack: Sequence[Row], root: str) -> list[Line]:
    """The innermost first; a function that called itself at the same line has one line."""
    runs = [(key, len(list(some))) for key, some in groupby(reversed(stack), key=_place_of)]
    lines: list[Line] = []
    for (name, path, line), count in runs[:_STACK]:
        lines.append([(safe(name), ""), (f"  {place(path, line, root)}", "dim")])
        if count > 1:
            lines[-1].append((f" {words.TIMES}{count:,}", "dim"))
    left = sum(count for _, count in runs[_STACK:])
    return [*lines, [(f"… {words.count(left, 'more caller')}", "dim")]] if left else lines


def _place_of(one: Row) -> tuple[str, str, int]:
    return one["name"], one["path"], one["line"]


def _step(step: Row, source: Source) -> Cells:
    text = safe(source.line(step["line"]).expandtabs(4)[:_SOURCE])
    values: Line = [(", ".join(_value(one) for one in step["values"]), "edit")]
    for what, form in step["told"]:
        style = _STYLES.get(what, "good")
        verb = "left by an exception" if what == "left" else what
        values.append((f"{'  ' if values[-1][0] else ''}{verb}", style))
        if form is not None:
            values.append((f" {value_text(form, _VALUE)}", "dim" if style == "dim" else ""))
    return Cells([[(str(step["line"]), "dim")], [(text, "")], values])


def _value(one: Sequence[Any]) -> str:
    name = safe(one[0])
    return f"{name} = {value_text(one[1], _VALUE)}" if len(one) > 1 else f"del {name}"


def _passes(steps: Sequence[Row]) -> list[tuple[int, Any]]:
    """(number of the pass through its loop, its steps), and (0, how many) for passes that are folded.

    A pass begins where a line is not behind the one before it. It is counted among those that began at the
    same line, since one began further up.
    """
    runs: list[tuple[int, list[Row]]] = []
    counts: dict[int, int] = {}
    before = 0
    for step in steps:
        line = step["line"]
        if runs and line > before:
            runs[-1][1].append(step)
        else:
            counts = {start: count for start, count in counts.items() if start <= line}
            counts[line] = counts.get(line, 1 if runs else 0) + 1
            runs.append((counts[line], [step]))
        before = line
    return _folded(runs)


def _folded(runs: list[tuple[int, list[Row]]]) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    at = 0
    while at < len(runs):
        lines = [step["line"] for step in runs[at][1]]
        end = at
        while end < len(runs) and [step["line"] for step in runs[end][1]] == lines:
            end += 1
        same = runs[at:end]
        if len(same) > _PASSES + 2:
            found += [*same[:_PASSES], (0, len(same) - _PASSES - 1), same[-1]]
        else:
            found += same
        at = end
    return found


def step_record(session: str, told: Row, step: Row) -> Row:
    """A line that ran as the record `trace_line`."""
    return {"session": session, "stream": told["stream"], "call": told["event"], "path": told["path"], **step}


def hit_lines(function: Row, hits: Mapping[int, int], source: Source, root: str) -> list[Line]:
    """How often each line ran; between the first and the last those, too, that never did."""
    head: Line = [
        (safe(function["name"]), "title"),
        (f"  {place(function['path'], function['first'], root)}", "dim"),
    ]
    lines: list[Line] = [[*head, (f"  {words.count(function['n_calls'], 'call')}", "dim")]]
    if source.warning:
        lines.append([(f"  {source.warning}", "warning")])
    numbers = range(min(hits), max(hits) + 1) if hits and source.lines else sorted(hits)
    rows: list[Cells | Across] = []
    for number in numbers:
        count = hits.get(number, 0)
        text = safe(source.line(number).expandtabs(4)[:_SOURCE])
        rows.append(Cells([[(f"{count:,}" if count else "", "edit")], [(str(number), "dim")], [(text, "")]]))
    return lines + lay_out((Column(right=True), Column(right=True), Column(flex=True)), rows, None, 2)


def exception_lines(found: Sequence[Row], root: str, hidden: int) -> list[Line]:
    """Each exception with its place, its variables, and where it was caught."""
    lines: list[Line] = []
    for one in found:
        lines += [[], *_exception(one, root)] if lines else _exception(one, root)
    if hidden:
        lines += [[], [(f"… {words.count(hidden, 'more exception')}: --limit shows more", "dim")]]
    return lines


def _exception(one: Row, root: str) -> list[Line]:
    message = f": {first_line(one['message'])}" if one["message"] else ""
    lines: list[Line] = [
        [(f"✗ {safe(one['type'])}", "failed"), (message, "title")],
        [
            ("  raised in ", "dim"),
            (safe(one["name"]), ""),
            (f" {place(one['path'], one['line'], root)}", "dim"),
        ],
    ]
    lines += _stack(one["stack"] or (), root)
    caught = one["caught"]
    if caught is None:
        lines.append([("  not caught by anything recorded", "warning")])
    else:
        where = place(caught["path"], caught["line"], root) if caught["path"] else ""
        lines.append([("  caught in ", "good"), (safe(caught["name"]), ""), (f" {where}", "dim")])
    variables = [pair for pair in one["variables"] or () if not pair[0].startswith(".")]
    lines += [[(f"    {_value(pair)}", "")] for pair in variables[:_VARIABLES]]
    if len(variables) > _VARIABLES:
        lines.append([(f"    … {words.count(len(variables) - _VARIABLES, 'more variable')}", "dim")])
    if one["variables"] is None:
        lines.append([("    its variables are not kept any more", "dim")])
    elif not one["is_whole"]:
        lines.append([("    and what was set long before", "dim")])
    return lines
