"""The store's side of a traced session: its row, its events, its end.

Runs on the thread of the listener, where opening and importing may take their time. A store that fails is no
reason to stop: what happens waits in the spool, and the trouble is told when the session has ended.

Lives here: `Recording`, the sink of a session. Not here: what an event is (sources/), the rows (store/).
"""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devtrace import __version__
from devtrace import config as configuration
from devtrace.errors import DevTraceError
from devtrace.events import Event
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.store import sessions
from devtrace.store.connection import open_store, translated
from devtrace.store.drain import drain
from devtrace.workspace import Workspace, repository_root

_GIT_TIMEOUT_S = 5


class Recording:
    """One session's way into the store; the methods are those of `sources.shell.listener.Sink`."""

    def __init__(
        self, place: Workspace, environment: Mapping[str, str], columns: dict[str, Any], meta: dict[str, Any]
    ):
        """`columns`: of the sessions table, without what is found out here; `meta`: what is shown with it.

        `branch` and `head_start` are asked of git here, where nobody told them before the start.
        """
        self._place = place
        self._id = str(columns["id"])
        self._trouble: DevTraceError | None = None
        self._db: sqlite3.Connection | None = None
        self._hold: sessions.Hold | None = None
        self._n_events: int | None = None
        self._policy = Policy.for_session(environment, _salt(place))
        self._root = repository_root(Path(columns["cwd"]))
        self._row = {
            **columns,
            "title": self._policy.redact_text(columns.get("title") or ""),
            "repo_root": None if self._root is None else str(self._root),
            "host": platform.node(),
            "meta": {"version": __version__, "pid": os.getpid(), **meta},
        }
        if "head_start" not in columns:
            self._row["branch"] = _git(self._root, "symbolic-ref", "--short", "-q", "HEAD")
            self._row["head_start"] = _git(self._root, "rev-parse", "-q", "--verify", "HEAD")
        self._open()
        self._pipeline = Pipeline(self._db, place, self._policy)
        if self._db is None:
            self._pipeline.session({**self._row, "status": "active"})

    @property
    def n_events(self) -> int:
        """How many events the session has: its own, and once it has ended those of notes and guests too."""
        return self._pipeline.n_events if self._n_events is None else self._n_events

    @property
    def trouble(self) -> DevTraceError | None:
        """Why something is not in the store, or None."""
        return self._trouble or (self._pipeline.failures[-1] if self._pipeline.failures else None)

    def emit(self, event: Event) -> None:
        """Take one event."""
        self._pipeline.emit(event)

    def flush(self) -> None:
        """Make what was taken visible."""
        self._pipeline.flush()

    def idle(self) -> None:
        """Take in what other processes left in the spool."""
        if self._db is not None:
            self._try(self._drain)

    def close(self, ended_us: int, exit_code: int | None, warnings: list[str]) -> None:
        """End the session and seal it."""
        self._pipeline.flush()
        end = {"ended_us": ended_us, "status": "ended", "exit_code": exit_code}
        if self._db is None:
            self._pipeline.session({**self._row, **end})  # the same file: a drain reads the two in this order
        self._pipeline.close()
        if self._db is not None:
            self._try(lambda: self._end(end, warnings))
            self._db.close()
        if self._hold is not None:
            self._hold.close()

    def _open(self) -> None:
        try:
            with translated(self._place):
                self._db = open_store(self._place, create=True)
                self._hold = sessions.hold(self._place, self._id)
                sessions.close_orphans(self._db, self._place, self._row["started_us"])
                sessions.begin(self._db, **self._row)
                configuration.snapshot(self._place)
        except DevTraceError as error:
            self._trouble = error
            if self._db is not None:
                self._db.close()
                self._db = None

    def _end(self, end: dict[str, Any], warnings: list[str]) -> None:
        assert self._db is not None
        self._drain()
        if warnings:
            sessions.update(self._db, self._id, meta={"warnings": warnings})
        head_end = _git(self._root, "rev-parse", "-q", "--verify", "HEAD")
        sessions.end(self._db, self._id, head_end=head_end, **end)
        row = self._db.execute("SELECT n_events FROM sessions WHERE id = ?", (self._id,)).fetchone()
        self._n_events = row[0] if row else None

    def _drain(self) -> None:
        assert self._db is not None
        drain(self._db, self._place)

    def _try(self, work: Any) -> None:
        try:
            with translated(self._place):
                work()
        except DevTraceError as error:
            self._trouble = error


def _salt(place: Workspace) -> bytes | None:
    try:
        return place.salt.read_bytes() or None
    except OSError:
        return None


def _git(root: Path | None, *arguments: str) -> str | None:
    """One line that git says of the repository, or None; takes no lock and runs no hook."""
    if root is None:
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            check=False,
            timeout=_GIT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    text = done.stdout.decode("utf-8", "replace").strip()
    return text if done.returncode == 0 and text else None
