"""`python -m benchmarks`: collect what every room measures and print one table of ratios.

Lives here: finding the rooms, judging a figure by its budget, the table. Not here: any measurement.
"""

from __future__ import annotations

import argparse
import importlib
import json
import operator
import os
import pkgutil
import platform
import re
import sys
from collections.abc import Iterable, Iterator

import benchmarks
from benchmarks import Row

ORDER = ("hooks", "terminal", "store", "reading", "search", "follow")
HEADINGS = ("what", "ours", "peer", "", "ratio", "budget", "")
COMPARE = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}
BUDGET = re.compile(r"\s*(<=|>=|<|>)\s*([\d.,]+)\s*(k?)\s*(x?)")


def rooms(only: Iterable[str]) -> list[str]:
    """The names of the measuring modules, the known ones first; `only` chooses among them."""
    found = {
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")
    }
    unknown = set(only) - found
    if unknown:
        raise SystemExit(
            f"no benchmark called {', '.join(sorted(unknown))}; there are: {', '.join(sorted(found))}"
        )
    ordered = [name for name in ORDER if name in found] + sorted(found - set(ORDER))
    return [name for name in ordered if name in set(only)] if only else ordered


def collect(names: Iterable[str], quick: bool) -> Iterator[tuple[str, list[Row]]]:
    """Each room's rows, in turn: rooms are never measured at the same time."""
    for name in names:
        module = importlib.import_module(f"benchmarks.{name}")
        measure = getattr(module, "measure", None)
        if measure is None:  # a part that several rooms share
            continue
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        try:
            yield name, measure(quick=quick)
        except Exception as error:  # one room that fails must not cost the figures of the others
            yield name, [_failed(name, error)]


def _failed(name: str, error: Exception) -> Row:
    told = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return Row(
        what=name,
        ours=None,
        peer_name="",
        peer=None,
        ratio=None,
        budget="",
        unit="",
        reason=f"failed, {told}",
    )


def verdict(row: Row) -> str:
    """`kept`, `MISSED`, or `` where there is no budget or no figure to hold against it."""
    match = BUDGET.match(row["budget"])
    if match is None:
        return ""
    comparison, number, thousands, is_ratio = match.groups()
    figure = row["ratio"] if is_ratio else row["ours"]
    if figure is None:
        return ""
    limit = float(number.replace(",", "")) * (1000 if thousands else 1)
    return "kept" if COMPARE[comparison](figure, limit) else "MISSED"


def figure(value: float | None, unit: str) -> str:
    """`0.12 ms`, `31,500 events/s`; `-` for what was not measured."""
    if value is None:
        return "-"
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def line(row: Row) -> tuple[str, ...]:
    """A row as the cells under `HEADINGS`."""
    ratio = "-" if row["ratio"] is None else f"x{row['ratio']:.2f}"
    return (
        row["what"],
        figure(row["ours"], row["unit"]),
        figure(row["peer"], row["unit"]) if row["peer_name"] else "",
        row["peer_name"],
        ratio if row["peer_name"] else "",
        row["budget"],
        verdict(row),
    )


def table(measured: list[tuple[str, list[Row]]]) -> str:
    """All rooms under one set of headings, and below it what is missing and why."""
    cells = [(name, [line(row) for row in rows]) for name, rows in measured]
    widths = [
        max(map(len, column))
        for column in zip(HEADINGS, *(row for _, rows in cells for row in rows), strict=True)
    ]
    aligned = "<>><><<"

    def drawn(row: Iterable[str]) -> str:
        parts = (f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, widths, strict=True))
        return "  ".join(parts).rstrip()

    lines = [drawn(HEADINGS)]
    for name, rows in cells:
        lines += ["", f"-- {name}", *(drawn(row) for row in rows)]
    missing = {
        f"{row['peer_name'] if row['peer'] is None and row['peer_name'] else row['what']}: {row['reason']}"
        for _, rows in measured
        for row in rows
        if row.get("reason")
    }
    if missing:
        lines += ["", "Missing or limited here:", *(f"  {text}" for text in sorted(missing))]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print. A missed budget is shown and is no error of the run; a room that failed is one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", action="append", default=[], metavar="ROOM", help="hooks, terminal, store, ..."
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a figure to quote")
    parser.add_argument("--json", action="store_true", help="one row a line, for machines")
    asked = parser.parse_args(arguments)
    measured = list(collect(rooms(asked.only), asked.quick))
    failed = any(row.get("reason", "").startswith("failed, ") for _, rows in measured for row in rows)
    if asked.json:
        for name, rows in measured:
            for row in rows:
                print(json.dumps({"room": name, **row, "verdict": verdict(row)}))
        return int(failed)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    print(f"Python {platform.python_version()}, {machine}")
    print("ratio = ours / peer, measured side by side in this run" + (", quickly" if asked.quick else ""))
    print()
    print(table(measured))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
