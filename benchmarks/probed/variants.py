"""What is asked of a probe in each variant, in no tool's own words; and where in the program.

Lives here: the variants, copies of the program for them. Not here: how a tool is told (ours.py, ddtraced.py,
dap.py), the clock (worker.py). Standard library only, for any Python from 3.11 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_PROGRAM = Path(__file__).parent / "hot.py"
MANY = 1_000_000  # a second: as good as no limit


class Variant(NamedTuple):
    """`at`: the line that ends with this comment, "" for no probe. `rate`: hits a second, for one at once."""

    title: str
    at: str = "HERE"
    condition: tuple[str, ...] = ()  # a name and the names of attributes: greater than 100?
    fields: tuple[str, ...] = ()  # of a message; none: a snapshot
    rate: float = MANY
    is_big: bool = False  # one of the locals has five million leaves
    is_told: bool = False  # each call ends in a queue, which wants to be emptied
    share: float = 1  # of the calls of a round


VARIANTS: Mapping[str, Variant] = {
    "idle": Variant("nothing set", at=""),
    "elsewhere": Variant("probe in another function", at="ELSEWHERE"),
    "never": Variant("line not reached", at="NEVER"),
    "false": Variant("condition false", condition=("x",)),
    "attribute": Variant("condition on an attribute false", condition=("user", "id")),
    "limited": Variant("snapshot at its limit", rate=0.001),
    "log": Variant("logpoint, two fields", fields=("x", "name"), is_told=True, share=0.2),
    "snapshot": Variant("snapshot, 9 locals", is_told=True, share=0.05),
    "big": Variant("snapshot, 5M leaves", is_told=True, is_big=True, share=0.005),
}


class Place(NamedTuple):
    """A copy of the program, and the line where the probe sits; 0: nowhere."""

    module: str
    file: Path
    line: int


def copied(folder: Path, name: str) -> Place:
    """The program of that variant."""
    text = _PROGRAM.read_text()
    module = f"hot_{name}"
    file = folder / f"{module}.py"
    file.write_text(text)
    at = VARIANTS[name].at if name in VARIANTS else "HERE"
    ends = f"  # {at}"
    numbers = [number for number, line in enumerate(text.splitlines(), 1) if at and line.endswith(ends)]
    return Place(module, file, numbers[0] if numbers else 0)


def condition_text(variant: Variant) -> str:
    """As Python writes it, or ""."""
    return f"{'.'.join(variant.condition)} > 100" if variant.condition else ""


def message_text(variant: Variant) -> str:
    """With each field in braces, or ""."""
    return " ".join(f"{field}={{{field}}}" for field in variant.fields)
