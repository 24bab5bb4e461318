"""The numbers of `devtrace stats`: totals, the programs used most, the agents.

Lives here: the two small tables. Not here: counting (query/stats.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.layout import Cells, Column, lay_out
from devtrace.views.safe import safe

Row = dict[str, Any]

_COLUMNS = (
    Column(flex=True),
    *[Column(right=True)] * 3,
    Column(right=True, drop=1),
    Column(right=True, drop=2),
)
_WORTH_A_WORD = 1 << 20  # bytes of outputs
_PROGRAMS = {"command": "command", "commands": "times", "failed": "failed", "time_us": "time"}
_AGENTS = {
    "agent": "agent",
    "commands": "commands",
    "failed": "failed",
    "time_us": "time",
    "nested": "nested",
    "sessions": "sessions",
}


def stats_lines(stats: Row, width: int | None, *, top: int) -> list[Line]:
    """The totals in a sentence, then the programs and the agents, the most frequent first."""
    lines = [_totals(stats)]
    if stats["top"]:
        lines += [[], *_table(_PROGRAMS, stats["top"][:top], width)]
        if len(stats["top"]) > top:
            lines.append([(f"... and {words.count(len(stats['top']) - top, 'more program')}", "dim")])
    if stats["agents"]:
        lines += [[], *_table(_AGENTS, stats["agents"], width)]
    return lines


def kept_line(kept: Mapping[str, int]) -> Line:
    """How much the store keeps: `kept 1.2 MB of events, 3.4 MB in 120 checkpoints`.

    What outputs take of the first is said where it is worth a word, and so is what was pruned.
    """
    line: Line = [("kept ", "dim"), (words.size(kept["database"]), ""), (" of events", "dim")]
    if kept.get("outputs", 0) >= _WORTH_A_WORD:
        line += [(" (", "dim"), (words.size(kept["outputs"]), ""), (" of them outputs)", "dim")]
    if kept["n_checkpoints"]:
        number = words.count(kept["n_checkpoints"], "checkpoint")
        line += [(", ", "dim"), (words.size(kept["checkpoints"]), ""), (f" in {number}", "dim")]
    if kept["spool"]:
        line += [(", ", "dim"), (words.size(kept["spool"]), "warning"), (" in the spool", "dim")]
    if kept.get("n_pruned"):
        line += [("; ", "dim"), (words.count(kept["n_pruned"], "event"), ""), (" pruned", "dim")]
    return line


def _totals(stats: Row) -> Line:
    line: Line = [(words.count(stats["commands"], "command"), "title")]
    line.append((f" in {words.count(stats['sessions'], 'session')}", ""))
    for name, style in (("failed", "failed"), ("stopped", "warning"), ("interrupted", "lost")):
        if stats[name]:
            line += [(", ", "dim"), (f"{stats[name]:,} {name}", style)]
    if stats["nested"]:
        line += [(", ", "dim"), (f"{stats['nested']:,} nested", "")]
    return [*line, (", ", "dim"), (f"{words.duration(stats['time_us'])} at the prompt", "")]


def _table(fields: Mapping[str, str], rows: Sequence[Row], width: int | None) -> list[Line]:
    cells = [Cells([[(heading, "dim")] for heading in fields.values()])]
    cells += [Cells([_cell(field, row[field]) for field in fields]) for row in rows]
    return lay_out(_COLUMNS[: len(fields)], cells, width)


def _cell(field: str, value: Any) -> Line:
    if field == "time_us":
        return [(words.duration(value), "")]
    if field == "failed":
        return [(f"{value:,}" if value else "", "failed")]
    return [(f"{value:,}" if isinstance(value, int) else safe(value or "-"), "")]
