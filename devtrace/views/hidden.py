"""What the policy would hide of a text, and why.

Lives here: the lines. Not here: judging a text (query/examine.py), the reasons (policy/reasons.py).
"""

from __future__ import annotations

from collections import Counter

from devtrace.policy.reasons import reason_of
from devtrace.query.examine import Examined, Hidden
from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.safe import safe

_AROUND = 48  # characters that are shown before a marker and after it


def hidden_lines(examined: Examined, name: str) -> list[Line]:
    """Two lines a secret: where it stands and what is kept, and why; then the sum."""
    lines: list[Line] = []
    width = max((len(_place(one)) for one in examined.hidden), default=0)
    for one in examined.hidden:
        lines.append([(_place(one).rjust(width), "id"), ("  ", ""), (_excerpt(one), "")])
        lines.append([(" " * width + f"  {one.rule}: {reason_of(one.rule)}", "dim")])
    if lines:
        lines.append([])
    return [*lines, *_sum(examined, name)]


def _sum(examined: Examined, name: str) -> list[Line]:
    lines: list[Line] = []
    if examined.by_name:
        told = "by its name: of what a file of that name holds, only an HMAC is kept."
        lines.append([(safe(name), ""), (" is withheld ", "warning"), (told, "")])
    counts = Counter(one.rule for one in examined.hidden)
    rules = ", ".join(f"{number:,} {rule}" for rule, number in counts.most_common())
    size = f"{words.count(examined.lines, 'line')}, {words.size(examined.size)}"
    if counts:
        lines.append([("Would hide ", ""), (words.count(len(examined.hidden), "secret"), "title"),
                      (f" in {size}: {rules}.", "")])  # fmt: skip
    else:
        lines.append([(f"Found nothing to hide in {size}.", "")])
    return lines


def _place(one: Hidden) -> str:
    return f"{one.line}:{one.column}"


def _excerpt(one: Hidden) -> str:
    """The line as it is kept, and of a long one what stands around the secret."""
    marker = f"[redacted:{one.rule}" + (f":{one.tag}]" if one.tag else "]")
    at = _at(one, marker)
    start, end = max(0, at - _AROUND), at + len(marker) + _AROUND
    before, after = "..." if start else "", "..." if end < len(one.text) else ""
    return before + safe(one.text[start:end].strip()) + after


def _at(one: Hidden, marker: str) -> int:
    """Where the marker stands; there may be more of the same, and its place in the kept line is not told."""
    return max(0, one.text.find(marker))
