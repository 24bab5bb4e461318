"""The list of sessions: one line each, the newest first.

Lives here: its columns. Not here: which sessions there are (query/sessions.py), one of them (timeline.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from devtrace.views import words
from devtrace.views.console import Line, Piece
from devtrace.views.layout import Cells, Column, lay_out
from devtrace.views.safe import first_line, safe
from devtrace.views.timeline import Reader

Row = dict[str, Any]

_COLUMNS = (
    Column(),  # started
    Column(right=True, drop=2),  # took
    Column(),  # state
    Column(),  # agent
    Column(drop=3),  # shell
    Column(flex=True),  # where and label
    Column(right=True, drop=1),  # events
    Column(right=True),  # failed
    Column(),  # id
)
_HEADINGS = ("started", "took", "", "agent", "shell", "where", "events", "failed", "id")


def session_lines(
    sessions: Sequence[Row],
    short: Mapping[str, str],
    reader: Reader,
    traces: Mapping[str, int] | None = None,
) -> list[Line]:
    """A heading and one line a session; nothing when there is none. `traces`: programs recorded in each."""
    if not sessions:
        return []
    head = Cells([[(heading, "dim")] for heading in _HEADINGS])
    rows = [_row(session, short, reader, (traces or {}).get(session["id"], 0)) for session in sessions]
    return lay_out(_COLUMNS, [head, *rows], reader.width)


def _row(session: Row, short: Mapping[str, str], reader: Reader, traces: int) -> Cells:
    failed = session["n_failed"]
    return Cells(
        [
            [(words.stamp(session["started_us"]), "dim")],
            [(_took(session, reader.now_us), "")],
            [_state(session)],
            [(safe(session["agent"] or session["actor"]), "")],
            [(safe(session["shell"] or ""), "dim")],
            [*_where(session, reader), *([(f"  +{words.count(traces, 'trace')}", "dim")] if traces else [])],
            [(f"{session['n_events']:,}", "")],
            [(f"{failed:,}" if failed else "", "failed")],
            [(short.get(session["id"], session["id"]), "id")],
        ]
    )


def _took(session: Row, now_us: int) -> str:
    if session["status"] == "active":
        return words.duration(now_us - session["started_us"])
    return words.duration(session["ended_us"] - session["started_us"]) if session["ended_us"] else "?"


def _state(session: Row) -> Piece:
    return {"active": ("▶", "running"), "interrupted": ("! lost", "lost")}.get(session["status"], ("", ""))


def _where(session: Row, reader: Reader) -> Line:
    place = session["repo_root"] or session["cwd"] or ""
    line: Line = [(safe(PurePosixPath(place).name or words.place(place, None, reader.home)), "")]
    if session["branch"]:
        line.append((f" on {safe(session['branch'])}", "dim"))
    if session["title"]:
        line.append((f"  {first_line(session['title'])}", "title"))
    if session["parent_session"]:
        line.append(("  (nested)", "dim"))
    return line
