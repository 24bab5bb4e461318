"""Rows as the queries give them, made by hand, and a real console of a fixed width."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from devtrace.views.console import Line, paint
from devtrace.views.timeline import Reader

Row = dict[str, Any]

START = 1_795_269_792_000_000  # Sat 21 Nov 2026 14:03:12 UTC
SESSION = "019aa6e0c1de7abc8000000000000001"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def session_row() -> Callable[..., Row]:
    def make(**changes: Any) -> Row:
        row = {
            "id": SESSION, "kind": "shell", "parent_session": None, "parent_event": None,
            "agent": "claude-code", "actor": "agent:claude-code", "title": "", "repo_root": "/home/ana/api",
            "cwd": "/home/ana/api", "shell": "bash", "host": "laptop", "branch": "main",
            "head_start": "1a2b3c4d5e6f70819aabbccddeeff00112233445", "head_end": None, "started_us": START,
            "ended_us": START + 1348 * 1_000_000, "status": "ended", "exit_code": 0, "n_events": 3,
            "n_failed": 1, "meta": {"cols": 100, "rows": 30, "term": "xterm-256color"},
        }  # fmt: skip
        return row | changes

    return make


@pytest.fixture
def command_row() -> Callable[..., Row]:
    """`command_row("make", at=3, took=1.5)`: seconds after the session's start."""

    def make(text: str | None, at: float = 0, took: float | None = 0.1, **changes: Any) -> Row:
        start = START + round(at * 1e6)
        made = _count_up()
        data = {"command": text, "text_form": "exact", "reason": None, "output": None, "folded": 0}
        row = {
            "seq": made, "session": SESSION, "id": f"{made * 0x1111111111111111 % (1 << 64):016x}",
            "parent": None, "kind": "run_command", "actor": "agent:claude-code", "started_us": start,
            "ended_us": None if took is None else start + round(took * 1e6), "recorded_us": start,
            "status": "ok", "title": f"$ {text}", "cwd": "/home/ana/api", "exit_code": 0,
            "source": "interactive", "exit_source": "shell", "trusted": 2, "data": data, "hash": "00",
        }  # fmt: skip
        row["data"] = data | changes.pop("data", {})
        row |= changes
        if row["status"] == "failed" and not changes.get("exit_code"):
            row["exit_code"] = 1
        return row

    number = 0

    def _count_up() -> int:
        nonlocal number
        number += 1
        return number

    return make


@pytest.fixture
def other_row(command_row) -> Callable[..., Row]:
    """`other_row("note", "a title", at=2)`: an event that is no command."""

    def make(kind: str, title: str, at: float = 0, **changes: Any) -> Row:
        return command_row("", at, 0, kind=kind, title=title, exit_code=None, exit_source=None, **changes)

    return make


@pytest.fixture
def look() -> Callable[..., Reader]:
    def make(width: int | None = 100, **changes: Any) -> Reader:
        known: Row = {"now_us": START + 2000 * 1_000_000, "width": width, "home": "/home/ana"}
        return Reader(**(known | changes))

    return make


@pytest.fixture
def painted() -> Callable[..., str]:
    """What a terminal of that width gets, with or without colours; None: a pipe."""

    def show(lines: list[Line], width: int | None = 100, *, colours: bool = False) -> str:
        file = io.StringIO()
        console = Console(
            file=file, width=width or 80, force_terminal=colours,
            color_system="standard" if colours else None, markup=False, highlight=False, emoji=False,
        )  # fmt: skip
        paint(console, lines)
        return file.getvalue()

    return show
