"""The one way an event travels: policy, then store.

What the store cannot take now waits in a spool file of ours; what the spool cannot take either is counted,
and said by a `gap` as soon as something can be written again.

Lives here: `Pipeline`. Not here: the rules (policy/), the rows (store/append.py).
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from devtrace.errors import DevTraceError
from devtrace.events import Event, Frame, Gap
from devtrace.ids import new_span_id
from devtrace.policy.chain import Policy
from devtrace.store.append import append
from devtrace.store.connection import translated
from devtrace.store.drain import SESSION_FRAME
from devtrace.store.spool import SpoolWriter
from devtrace.workspace import Workspace


class Pipeline:
    """Takes typed events, writes redacted frames. For one thread; never raises for the store."""

    def __init__(self, db: sqlite3.Connection | None, workspace: Workspace, policy: Policy):
        """`db` None: the store could not be opened, and everything goes to the spool."""
        self._db = db
        self._workspace = workspace
        self._policy = policy
        self._spool = SpoolWriter(workspace.spool)
        self._pending: list[Frame] = []
        self._lost: dict[str, tuple[int, int]] = {}  # session -> (frames lost, since when)
        self.failures: list[DevTraceError] = []  # why frames are in the spool or lost, newest last
        self.n_events = 0  # ended events taken so far, wherever they are now

    @property
    def n_lost(self) -> int:
        """How many frames neither the store nor the spool could take, and no gap tells of yet."""
        return sum(count for count, _ in self._lost.values())

    def emit(self, event: Event) -> None:
        """Take an event; it is written by the next `flush`."""
        self._pending.append(self._policy.redact(event.to_frame()))
        self.n_events += event.status != "running"

    def flush(self) -> None:
        """Write what was taken."""
        frames, self._pending = self._pending, []
        if not frames:
            return
        frames = self._gaps() + frames
        if not self._stored(frames):
            self._to_spool(frames)

    def session(self, columns: dict[str, Any]) -> None:
        """Leave a session's row in the spool, for a store that could not be opened."""
        self._spool.write({"kind": SESSION_FRAME, "columns": columns})

    def close(self) -> None:
        """Flush and let go of the spool; the connection stays its owner's."""
        self.flush()
        self._spool.close()

    def _stored(self, frames: list[Frame]) -> bool:
        if self._db is None:
            return False
        try:
            with translated(self._workspace):
                append(self._db, frames)
        except DevTraceError as error:
            self._note(error)
            return False
        return True

    def _to_spool(self, frames: list[Frame]) -> None:
        for frame in frames:
            if not self._spool.write(frame):
                count, since_us = self._lost.get(frame["session"], (0, frame["started_us"]))
                self._lost[frame["session"]] = (count + 1, since_us)

    def _gaps(self) -> list[Frame]:
        """What was lost, as events; they are lost again, and counted again, where they cannot be written."""
        lost, self._lost = self._lost, {}
        now_us = time.time_ns() // 1_000
        return [
            Event(
                session=session,
                id=new_span_id(),
                actor="human",
                started_us=since_us,
                ended_us=now_us,
                status="unknown",
                source="host",
                trusted=2,
                body=Gap(reason="store_unwritable", count=count),
            ).to_frame()
            for session, (count, since_us) in lost.items()
        ]

    def _note(self, error: DevTraceError) -> None:
        if not self.failures or self.failures[-1].code != error.code:
            self.failures.append(error)
