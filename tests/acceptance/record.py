"""What a session left in its store, read by the product's own questions and held to its own promises.

Lives here: `Session`, `Command`. Not here: driving a shell (traced.py).
"""

from __future__ import annotations

import base64
import sqlite3
from pathlib import Path
from typing import Any

from devtrace.query import events, output, sessions
from devtrace.query.filters import Filters
from devtrace.store import chain
from devtrace.store.connection import open_reader
from devtrace.workspace import Workspace


class Command:
    """One recorded command: the columns of its event and the fields of its `data` as attributes."""

    def __init__(self, row: dict[str, Any], printed: bytes | None):
        self.row = row
        self.data = row["data"]
        self.printed = printed  # None: no output was kept

    def __getattr__(self, name: str) -> Any:
        if name in self.row["data"]:
            return self.row["data"][name]
        try:
            return self.row[name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        return f"<{self.row['id']} {self.command!r} {self.text_form} -> {self.exit_code}>"

    @property
    def bytes(self) -> bytes:
        """The command line, byte for byte."""
        return self._bytes("command")

    @property
    def cwd_bytes(self) -> bytes:
        """Where it was run, byte for byte."""
        return self._bytes("cwd")

    def _bytes(self, name: str) -> bytes:
        if f"{name}_b64" in self.data:
            return base64.b64decode(self.data[f"{name}_b64"])
        return self.data[name].encode()


class Session:
    """One session of a store, read-only."""

    def __init__(self, db: sqlite3.Connection, session: str):
        self._db = db
        self.id = session

    def close(self) -> None:
        """Close the store."""
        self._db.close()

    @property
    def row(self) -> dict[str, Any]:
        """The row of the sessions table."""
        return sessions.get_session(self._db, self.id)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """All its events in the order of their start, running ones included."""
        rows = events.list_events(self._db, Filters(session=self.id))
        return [row for row in rows if kind in (None, row["kind"])]

    def commands(self) -> list[Command]:
        """The commands of the traced prompt."""
        return [command for command in self.all_commands() if not command.depth]

    def nested(self) -> list[Command]:
        """The commands of shells inside those."""
        return [command for command in self.all_commands() if command.depth]

    def all_commands(self) -> list[Command]:
        """Both."""
        return [self._command(row) for row in self.events("run_command")]

    def told(self) -> list[tuple[str | None, int | None]]:
        """(text, exit code) of every command of the traced prompt."""
        return [(command.command, command.exit_code) for command in self.commands()]

    def gaps(self) -> list[str]:
        """Why something could not be observed."""
        return [row["data"]["reason"] for row in self.events("gap")]

    def children(self) -> list[Session]:
        """The sessions that were opened inside this one."""
        found = sessions.list_sessions(self._db, Filters())
        return [Session(self._db, row["id"]) for row in found if row["parent_session"] == self.id]

    def is_sound(self) -> None:
        """Hold it to what is true of every session that has ended."""
        assert self.row["status"] == "ended"
        assert not [row for row in self.events() if row["status"] == "running"]
        assert chain.check(self._db, self.id) is None

    def _command(self, row: dict[str, Any]) -> Command:
        return Command(row, output.output(self._db, row).data if output.has_output(self._db, row) else None)


def open_session(store: Path, session: str | None = None) -> Session:
    """A session of the store in that directory; by default the newest that has no parent.

    Raises DevTraceError while there is no such store.
    """
    db = open_reader(Workspace(store))
    if session is None:
        found = [row for row in sessions.list_sessions(db, Filters()) if row["parent_session"] is None]
        assert found, "no session is recorded"
        session = found[0]["id"]
    return Session(db, session)
