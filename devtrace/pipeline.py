"""The one way an event travels: policy (what is secret, how much), then store.

What the store cannot take now waits in a spool file of ours, and goes in before anything newer; what the
spool cannot take either is counted, and said by a `gap` as soon as something can be written again.

Lives here: `Pipeline`. Not here: the rules (policy/), the rows (store/append.py).
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from devtrace import config as configuration
from devtrace.errors import DevTraceError
from devtrace.events import Body, Event, Frame, Gap
from devtrace.events import Policy as Told
from devtrace.ids import new_span_id
from devtrace.policy.chain import Policy
from devtrace.policy.limits import Limits
from devtrace.store.append import UNFIT, append, row_of
from devtrace.store.connection import translated
from devtrace.store.drain import drain, obstacle, offset_of
from devtrace.store.retry import Retry
from devtrace.store.spool import SESSION_FRAME, SpoolWriter
from devtrace.workspace import Workspace

_UNWRITABLE, _UNFIT = "store_unwritable", "unfit_event"  # reasons of a gap

_Loss = tuple[int, int]  # (how many events, since when)


class Pipeline:
    """Takes typed events, writes redacted frames. For one thread; never raises for the store."""

    def __init__(
        self,
        db: sqlite3.Connection | None,
        workspace: Workspace,
        policy: Policy,
        retry: Retry | None = None,
    ):
        """`db` None: the store could not be opened, and everything goes to the spool until `use`."""
        self._db = db
        self._workspace = workspace
        self._policy = policy
        self._retry = retry or Retry()
        self._limits = _limits(workspace)
        self._spool = SpoolWriter(workspace.spool)
        self._is_behind = False  # something of ours waits in the spool
        self._pending: list[Frame] = []
        self._lost: dict[tuple[str, str], _Loss] = {}  # by session and reason
        self.failures: list[DevTraceError] = []  # why frames are in the spool or lost, newest last
        self.n_events = 0  # ended events taken so far, wherever they are now

    @property
    def n_lost(self) -> int:
        """How many events neither the store nor the spool could take, and no gap tells of yet."""
        return sum(count for count, _ in self._lost.values())

    def use(self, db: sqlite3.Connection | None) -> None:
        """From now on write to this database, or to the spool alone."""
        self._db = db

    def emit(self, event: Event) -> None:
        """Take an event; it is written by the next `flush`."""
        frame = self._policy.redact(event.to_frame())
        size = _size(self._workspace) if frame["blobs"] else 0
        self._pending.append(self._limits.apply(frame, size))
        self.n_events += event.status != "running"

    def flush(self) -> bool:
        """Write what was taken; False when it went to the spool, or nowhere."""
        frames, self._pending = self._pending, []
        return not frames or self._write(frames)

    def settle(self) -> None:
        """Say what was lost, where something can be written again."""
        if self._lost:
            self._write([])

    def session(self, columns: dict[str, Any]) -> bool:
        """Leave a session's row in the spool, for a store that cannot be written now."""
        self._is_behind = True
        return self._spool.write({"kind": SESSION_FRAME, "columns": self._policy.redact_values(columns)})

    def close(self) -> None:
        """Flush and let go of the spool; the connection stays its owner's."""
        self._retry.begin_anew()
        self._tell_dropped()
        self.flush()
        self.settle()
        self._spool.close()

    def _tell_dropped(self) -> None:
        for session, setting, count, size in self._limits.take_dropped():
            now_us = time.time_ns() // 1_000
            body = Told(action="dropped", rule=setting, count=count, size=size)
            self.emit(_own(session, "ok", now_us, now_us, body))

    def _write(self, frames: list[Frame]) -> bool:
        lost, self._lost = self._lost, {}
        gaps = [_gap(session, reason, *loss) for (session, reason), loss in lost.items()]
        if self._stored([*gaps, *frames]):
            return True
        self._is_behind = True
        for gap, key in zip(gaps, lost, strict=True):
            if not self._spool.write(gap):
                self._lose(key, *lost[key])
        for frame in frames:
            # A start that is lost is told by its end, and no loss by itself.
            if not self._spool.write(frame) and frame["status"] != "running":
                self._lose((frame["session"], _UNWRITABLE), 1, frame["started_us"])
        return False

    def _stored(self, frames: list[Frame]) -> bool:
        if self._db is None or (self._is_behind and not self._retry.is_due()):
            return False
        try:
            with translated(self._workspace):
                if self._is_behind and not self._catch_up(self._db):
                    return False
                append(self._db, frames)
        except UNFIT:  # a bug of ours in one event must not take the others with it
            fit = [frame for frame in frames if self._fits(frame)]
            return len(fit) < len(frames) and self._stored(fit)
        except DevTraceError as error:
            self._retry.failed()
            self._note(error)
            return False
        self._retry.begin_anew()
        return True

    def _catch_up(self, db: sqlite3.Connection) -> bool:
        """Take in what we spooled: the chain of a session keeps the order of what happened."""
        drain(db, self._workspace, trace_s=0)  # of ours are frames alone
        path = self._spool.path
        if path is not None and not obstacle(path) and offset_of(db, path) < self._spool.size:
            return False  # another process drains just now
        self._spool.close()  # gone, or not to be read: then it waits for a later drain, and nothing for it
        self._is_behind = False
        return True

    def _fits(self, frame: Frame) -> bool:
        try:
            row_of(frame)
        except UNFIT:
            self._lose((frame["session"], _UNFIT), 1, frame["started_us"])
            return False
        return True

    def _lose(self, key: tuple[str, str], count: int, since_us: int) -> None:
        before, first_us = self._lost.get(key, (0, since_us))
        self._lost[key] = (before + count, min(first_us, since_us))

    def _note(self, error: DevTraceError) -> None:
        if not self.failures or self.failures[-1].code != error.code:
            self.failures.append(error)


def _gap(session: str, reason: str, count: int, since_us: int) -> Frame:
    now_us = time.time_ns() // 1_000
    body = Gap(reason=reason, count=count)
    return _own(session, "unknown", min(since_us, now_us), now_us, body).to_frame()


def _own(session: str, status: str, since_us: int, until_us: int, body: Body) -> Event:
    """What we say ourselves about a session's record."""
    return Event(
        session=session,
        id=new_span_id(),
        actor="human",
        started_us=since_us,
        ended_us=until_us,
        status=status,
        source="host",
        trusted=2,
        body=body,
    )


def _limits(workspace: Workspace) -> Limits:
    """As they are set; the defaults where the settings cannot be read, of which others tell."""
    try:
        return Limits(configuration.load(workspace))
    except DevTraceError:
        return Limits()


def _size(workspace: Workspace) -> int:
    """Bytes of the database file; 0 where there is none."""
    try:
        return workspace.database.stat().st_size
    except OSError:
        return 0
