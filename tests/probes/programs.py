"""Programs in which a logpoint is set at the line that is marked."""

from __future__ import annotations

from typing import Any

from tests.probes.running import Program

MANY = {"limitPerSecond": 100_000, "burst": 1000}


def at(text: str, source: str) -> int:
    """The line in which that stands."""
    (line,) = [number for number, one in enumerate(source.splitlines(), 1) if text in one]
    return line


def log(
    program: Program, source: str, mark: str = "# here", message: str = "{x}", name: str = "app.py"
) -> dict[str, Any]:
    """A logpoint at the line that is marked."""
    line = at(mark, source)
    return program.set("logpoint", file=name, line=line, message=message, rateLimit=MANY, cpuPercent=100)
