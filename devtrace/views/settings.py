"""The settings of a store: one line each, what was changed stands out."""

from __future__ import annotations

from collections.abc import Sequence

from devtrace.views.console import Line
from devtrace.views.layout import Cells, Column, lay_out
from devtrace.views.safe import safe

_COLUMNS = (Column(), Column(), Column(flex=True))


def setting_lines(settings: Sequence[tuple[str, str, bool, str]], width: int | None) -> list[Line]:
    """`settings` are (key, value, whether it was set, meaning)."""
    return lay_out(
        _COLUMNS,
        [
            Cells([[(key, "")], [(safe(value) or '""', "title" if is_set else "dim")], [(meaning, "dim")]])
            for key, value, is_set, meaning in settings
        ],
        width,
    )
