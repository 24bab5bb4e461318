"""When an agent's tools were at work, as its hooks tell: what an edit tool writes, no command did.

A shell tool is none of them, since the shell that it starts tells of itself; nor is what only reads, waits or
starts a subagent, whose own tools tell. A tool that names its files can have changed no other.

Lives here: `Tools`. Not here: whose a change was (attribution.py), how hooks reach the store (agent_hook.py).
"""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from devtrace.services.edits.attribution import Window

_WORKS = ("edit", "mcp")
_NEXT_US = 1_000_000  # after the beginning of a call; what begins later is no parallel one
_FIELDS = "id, parent, actor, started_us, data"
_FAILED = ("failed", "interrupted")
_RUNNING = f"SELECT NULL, NULL, '', {_FIELDS} FROM running WHERE session = ? AND kind = 'tool_call'"
_ENDED = (
    f"SELECT seq, ended_us, status, {_FIELDS} FROM events"
    " WHERE session = ? AND kind = 'tool_call' AND source = 'hook' AND seq > ? ORDER BY seq"
)


# Of the same client, and of the same subagent of it: its next call, its next turn or its end.
_LATER = """
    SELECT min(started_us) FROM (
        SELECT kind, started_us, data FROM events WHERE session = :session AND source = 'hook'
        UNION ALL SELECT kind, started_us, data FROM running WHERE session = :session AND source = 'hook'
    ) WHERE started_us > :after AND json_extract(data, '$.native') = :native
    AND coalesce(json_extract(data, '$.subagent'), '') = :subagent
    AND (kind IN ('tool_call', 'prompt') OR json_extract(data, '$.phase') IN ('stopped', 'ended'))
"""


class _Call(NamedTuple):
    window: Window
    seq: int | None  # None: it goes on
    native: str
    subagent: str


class Tools:
    """The calls of one session that were told since the last time."""

    def __init__(self, session: str, root: Path):
        """`root`: the working tree that is looked at."""
        self._session = session
        self._root = root
        self._seq = 0
        self._open: dict[str, Window] = {}  # begun, as they were told last

    def news(self, db: sqlite3.Connection) -> list[Window]:
        """Those that have begun or ended. Raises sqlite3.Error."""
        begun = [self._call(db, *row) for row in db.execute(_RUNNING, (self._session,)).fetchall()]
        ended = [self._call(db, *row) for row in db.execute(_ENDED, (self._session, self._seq)).fetchall()]
        self._seq = max([self._seq, *(call.seq or 0 for call in ended if call is not None)])
        over = [call.window for call in ended if call is not None]
        found = [self._closed(db, call) for call in begun if call is not None]
        news = [one for one in found if self._open.get(one.event) != one]
        self._open = {one.event: one for one in found}
        return [*news, *over]

    def _closed(self, db: sqlite3.Connection, call: _Call) -> Window:
        """A call whose end is not told is over when the client goes on; should its end come, that counts.

        Codex tells no end of a patch in a here-document.
        """
        after = call.window.started_us + _NEXT_US
        where = {"session": self._session, "after": after, "native": call.native, "subagent": call.subagent}
        (later_us,) = db.execute(_LATER, where).fetchone()
        return call.window if later_us is None else call.window._replace(ended_us=later_us)

    def _call(
        self,
        db: sqlite3.Connection,
        seq: int | None,
        ended_us: int | None,
        status: str,
        event: str,
        parent: str | None,
        actor: str,
        started_us: int,
        data: str,
    ) -> _Call | None:
        told = json.loads(data)
        if told.get("does") not in _WORKS:
            return None
        if status in _FAILED:  # what it did all the same, if anything, it does not say
            ended_us = started_us
        claims = tuple(self._path(path, told.get("cwd")) for path in told.get("paths") or ())
        around = self._client(db, parent)
        is_tool = True
        window = Window(self._session, event, around, started_us, ended_us, actor, 0, is_tool, claims)
        return _Call(window, seq, str(told.get("native")), str(told.get("subagent") or ""))

    def _client(self, db: sqlite3.Connection, parent: str | None) -> str | None:
        """The command that the client runs in: what a prompt was typed into."""
        prompt = "SELECT parent FROM events WHERE session = ? AND id = ? AND kind = 'prompt'"
        row = db.execute(prompt, (self._session, parent)).fetchone()
        return parent if row is None else row[0]

    def _path(self, path: str, cwd: str | None) -> bytes:
        whole = os.path.normpath(os.path.join(str(self._root), cwd or "", path))
        return os.fsencode(os.path.relpath(whole, self._root))
