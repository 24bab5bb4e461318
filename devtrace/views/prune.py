"""What a prune would take, session by session.

Lives here: the table. Not here: what goes (store/retention.py), the sentences around it (cli/prune.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from devtrace.store.retention import Share
from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.layout import Cells, Column, lay_out
from devtrace.views.safe import first_line, safe

_HEADINGS = ("session", "agent", "started", "title", "events", "outputs", "size")
_COLUMNS = (
    Column(),
    Column(drop=2),
    Column(drop=1),
    Column(flex=True, drop=3),
    *[Column(right=True)] * 3,
)


def share_lines(
    shares: Sequence[Share],
    sessions: Mapping[str, Mapping[str, Any]],
    short: Mapping[str, str],
    width: int | None,
) -> list[Line]:
    """A line a session, the oldest first, under headings; none for no session."""
    rows = [Cells([[(heading, "dim")] for heading in _HEADINGS])]
    for share in shares:
        session = sessions.get(share.session, {})
        started_us = session.get("started_us")
        rows.append(
            Cells([
                [(short.get(share.session, share.session), "id")],
                [(safe(session.get("agent") or "-"), "")],
                [("-" if started_us is None else words.stamp(started_us), "dim")],
                [(first_line(session.get("title") or ""), "")],
                [(f"{share.events:,}" if share.events else "", "")],
                [(f"{share.outputs:,}" if share.outputs else "", "")],
                [(words.size(share.size), "")],
            ])
        )  # fmt: skip
    return lay_out(_COLUMNS, rows, width) if shares else []
