"""What connects a change with an agent by its time alone: its own command ran, or one that names no path.

Lives here: `Clients`, the commands that are agents themselves; `names`, whether a command line names a path.
Not here: whose a line is (blame.py), which call changed what (agents.py).
"""

from __future__ import annotations

import re
import sqlite3
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from devtrace.errors import UsageError
from devtrace.query.agents import Works
from devtrace.query.events import get_event
from devtrace.query.sessions import sessions_by_id
from devtrace.query.stats import program

_TOLD_UNDER = (
    "SELECT DISTINCT parent FROM events WHERE session = ? AND +kind = 'agent_session' AND parent NOT NULL"
)
_BETWEEN = re.compile(r"[\s'\"`;|&<>()=,:{}$]+")
_GLOB = re.compile(r"[*?\[]")


class Clients:
    """The commands of a store that are an agent's own: what they change, no tool of it is known to have."""

    def __init__(self, db: sqlite3.Connection, works: Works):
        self._db = db
        self._works = works
        self._heard: dict[str, set[str]] = {}
        self._known: dict[tuple[str, str], bool] = {}

    def has(self, session: str, event: str) -> bool:
        """Whether the command is one inside of which an agent spoke, or is named as the session's agent."""
        key = (session, event)
        if key not in self._known:
            if session not in self._heard:
                told = self._db.execute(_TOLD_UNDER, (session,)).fetchall()
                known = {f"{session}/{row[0]}" for row in told}
                self._heard[session] = known | self._works.clients(session)
            self._known[key] = f"{session}/{event}" in self._heard[session] or self._is_named(session, event)
        return self._known[key]

    def _is_named(self, session: str, event: str) -> bool:
        """Whether a command is the session's agent itself, by its name: of some no hooks are known."""
        try:
            row = get_event(self._db, session, event)
        except UsageError:  # its record was lost
            return False
        agent = sessions_by_id(self._db, [session]).get(session, {}).get("agent") or "manual"
        name = agent.removeprefix("custom:").partition("-")[0]
        words = program(str(row["data"].get("command") or "")).split()
        return bool(row["parent"] is None and words and agent != "manual" and words[0] == name)


def names(command: str, path: str) -> bool:
    """Whether a command line names a file: by its name, by a pattern, or by a folder that it lies in."""
    where = PurePosixPath(path)
    if re.search(rf"(?<![\w-]){re.escape(where.name)}(?![\w-]|\.\w)", command):
        return True
    folders = {str(folder) for folder in where.parents if folder.name}
    for word in _BETWEEN.split(command):
        plain = word.removeprefix("./").rstrip("/")
        is_pattern = _GLOB.search(plain) and fnmatchcase(where.name, plain.rpartition("/")[2] or "\0")
        if is_pattern or plain in folders:
            return True
    return False
