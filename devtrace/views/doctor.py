"""What `devtrace doctor` found, section by section.

Lives here: the lines. Not here: looking (services/doctor.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from devtrace.views.console import Line
from devtrace.views.safe import safe

_STYLES = {"ok": "", "note": "warning", "problem": "failed"}
_LABEL = 16


def doctor_lines(findings: Sequence[dict[str, Any]]) -> list[Line]:
    """A heading a section, a line a finding, its reason below it where it has one."""
    lines: list[Line] = []
    section = ""
    for finding in findings:
        if finding["section"] != section:
            section = finding["section"]
            lines += [[], [(section, "title")]] if lines else [[(section, "title")]]
        label = safe(finding["what"]).ljust(_LABEL)
        lines.append([(f"  {label}  ", "dim"), (safe(finding["chosen"]), _STYLES[finding["state"]])])
        if finding["because"]:
            lines.append([(" " * (_LABEL + 4) + safe(finding["because"]), "dim")])
    return lines
