"""Stores with something in them, written by the one function that writes events.

Lives here: `Recorded`, which makes sessions, commands, notes, gaps, and what agents tell. Not here: any test.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from devtrace.config import actor_of
from devtrace.events import OUTPUT_BLOB, TIMING_BLOB, Event, Gap, Note, Output, RunCommand
from devtrace.ids import new_session_id, new_span_id
from devtrace.store import sessions
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace
from tests import told

START = 1_795_269_792_000_000  # Sat 21 Nov 2026 14:03:12 UTC
SECOND = 1_000_000


def _moment(at: float) -> int:
    return START + round(at * SECOND)


class Recorded:
    """A store under construction. Times are seconds after START."""

    def __init__(self, root: Path):
        self.workspace = Workspace(root / ".devtrace")
        self.db: sqlite3.Connection = open_store(self.workspace, create=True)
        self.session_id = ""
        self._agents: dict[str, str] = {}

    def close(self) -> None:
        self.db.close()

    def session(
        self, at: float = 0, *, agent: str = "manual", took: float | None = None, **columns: Any
    ) -> str:
        """Begin a session (and end it, with `took`); later commands go into it."""
        session = columns.pop("id", None) or new_session_id()
        root = str(self.workspace.root)
        known = {
            "kind": "shell", "agent": agent, "actor": actor_of(agent), "repo_root": root, "cwd": root,
            "shell": "bash", "host": "laptop", "branch": "main", "started_us": START + round(at * SECOND),
            "meta": {"cols": 80, "rows": 24, "term": "xterm-256color"},
        }  # fmt: skip
        sessions.begin(self.db, id=session, **(known | columns))
        self.session_id, self._agents[session] = session, agent
        if took is not None:
            self.end(at + took)
        return session

    def end(self, at: float, *, exit_code: int = 0, status: str = "ended") -> None:
        moment = START + round(at * SECOND)
        sessions.end(self.db, self.session_id, ended_us=moment, status=status, exit_code=exit_code)

    def command(
        self,
        text: str | None = "true",
        at: float = 0,
        took: float | None = 0.1,
        *,
        exit_code: int | None = 0,
        status: str = "",
        printed: bytes | None = None,
        timing: list[list[int]] | None = None,
        output: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        **envelope: Any,
    ) -> str:
        """Append a command; `took=None` leaves it running. Returns its id."""
        start = START + round(at * SECOND)
        blobs = {}
        info = None
        if printed is not None:
            blobs[OUTPUT_BLOB] = printed
            steps = [[0, len(printed)]] if timing is None else timing
            blobs[TIMING_BLOB] = json.dumps(steps).encode()
            known = {"seen": len(printed), "head": len(printed), "tail": 0, "truncated": False}
            info = Output(**(known | (output or {})))
        running = took is None and not status
        session = envelope.pop("session", self.session_id)
        fields = {"command": text, "cwd": str(self.workspace.root), "shell": "bash", "output": info}
        known = {
            "session": session, "id": new_span_id(), "actor": actor_of(self._agents.get(session, "")),
            "started_us": start, "ended_us": None if took is None else start + round(took * SECOND),
            "status": status or ("running" if running else "failed" if exit_code else "ok"),
            "source": "interactive", "exit_source": None if running else "shell", "trusted": 2,
            "blobs": blobs,
        }  # fmt: skip
        event = Event(
            **(known | envelope),
            body=RunCommand(**(fields | {"exit_code": None if running else exit_code} | (body or {}))),
        )
        append(self.db, [event.to_frame()])
        return event.id

    def nested(self, text: str, parent: str, at: float = 0, took: float | None = 0.1, **more: Any) -> str:
        """A command that ran inside another one."""
        body = {"interactive": False, "depth": 1} | more.pop("body", {})
        return self.command(text, at, took, parent=parent, source="bash_env", trusted=1, body=body, **more)

    def note(self, text: str, at: float = 0, **envelope: Any) -> str:
        return self._plain(Note(text=text), at, source="cli", trusted=0, **envelope)

    def gap(self, reason: str, at: float = 0, **envelope: Any) -> str:
        return self._plain(Gap(reason=reason, count=1), at, source="host", trusted=2, **envelope)

    def prompt(self, text: str, at: float = 0, **more: Any) -> str:
        """What an agent was told."""
        return self._told(told.prompt(self.session_id, text, _moment(at), **more))

    def said(self, text: str, at: float = 0, **more: Any) -> str:
        """What an agent said."""
        return self._told(told.said(self.session_id, text, _moment(at), **more))

    def tool(self, name: str, given: Any = None, at: float = 0, took: float | None = 0.1, **more: Any) -> str:
        """What an agent did, as a hook tells it or, with `source="transcript"`, its own record."""
        ended_us = None if took is None else _moment(at + took)
        return self._told(told.tool(self.session_id, name, _moment(at), ended_us, given, **more))

    def _told(self, event: Event) -> str:
        append(self.db, [event.to_frame()])
        return event.id

    def _plain(self, body: Any, at: float, **envelope: Any) -> str:
        moment = START + round(at * SECOND)
        known = {
            "session": self.session_id, "id": new_span_id(), "actor": "human", "started_us": moment,
            "ended_us": moment, "status": "ok",
        }  # fmt: skip
        event = Event(**(known | envelope), body=body)
        append(self.db, [event.to_frame()])
        return event.id
