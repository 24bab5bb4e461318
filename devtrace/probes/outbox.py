"""From a hit in memory to an event on the disk: the worker's half of a hit.

    hits ──┐
           ├──► documented event ──► frame ──► .devtrace/spool/…    and the sink, where one is asked for
    news ──┘

What is told of a process goes under the command that started it: DEVTRACE_SESSION and DEVTRACE_SPAN. A
program outside of a traced shell has a session of its own, made with its first event.

Lives here: `Outbox`. Not here: the events' forms (wire.py), the files (store/spool.py), who calls (agent.py).
Standard library only: a guest imports this.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections import deque
from time import time_ns

from devtrace.ids import is_session_id, is_span_id, new_session_id
from devtrace.probes import registry, wire
from devtrace.probes.hits import BROKEN, CONDITION, LOG
from devtrace.store.spool import SESSION_FRAME, SpoolWriter

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from devtrace.probes.hits import Hit, Hits
    from devtrace.probes.sink import Sink
    from devtrace.workspace import Workspace

    Frame = dict[str, Any]

_BATCH = 200  # hits between two looks at all else there is to do
_MOST_NEWS = 1_000
_KINDS = {"probe.hit": "probe_hit", "probe.error": "probe_error"}  # all else is a probe_status


class Outbox:
    """What one process has to tell. One thread at a time drains it."""

    def __init__(
        self, hits: Hits, workspace: Workspace | None, environ: Mapping[str, str], sink: Sink | None
    ):
        self.sink = sink
        self.sent = 0  # events that are in the spool, or were offered to the sink
        self.unwritten = 0  # events that the spool could not take
        self._hits = hits
        self._news: deque[tuple[str, dict[str, Any], int]] = deque(maxlen=_MOST_NEWS)
        self._lock = allocate_lock()
        self._spool = None if workspace is None else SpoolWriter(workspace.spool)
        self._workspace = workspace
        session, span = environ.get("DEVTRACE_SESSION", ""), environ.get("DEVTRACE_SPAN", "")
        self._is_own = not is_session_id(session)  # it is ours to begin and to end
        self._has_begun = False
        self._is_inherited = False  # it is the parent's to end
        self.session = new_session_id() if self._is_own else session
        self.span = span if is_span_id(span) and not self._is_own else None
        agent = environ.get("DEVTRACE_AGENT", "")
        self._actor = f"agent:{agent}" if agent and agent != "manual" else "human"
        self._started_us = time_ns() // 1000
        self._redact: Callable[[str], str] = hits.redact
        self._client: dict[str, str] = {}  # who we are; made with the first event

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._hits.waiting and not self._news

    def tell(self, name: str, payload: dict[str, Any]) -> None:
        """Something that is no hit; it is written at the next drain."""
        self._news.append((name, payload, time_ns()))

    def drain(self, *, is_all: bool = False) -> None:
        """Write what waits: some of it, or all. Nothing where another thread is at it."""
        if not self._lock.acquire(timeout=0.2 if is_all else 0):
            return
        try:
            room = 1 << 30 if is_all else _BATCH
            while room > 0 and (event := self._next()) is not None:
                room -= 1
                self._write(*event)
        finally:
            self._lock.release()

    def end(self) -> None:
        """Write all, and what there is to say of a session of our own."""
        self.drain(is_all=True)
        if self._spool is None:
            return
        if self._is_own and self._has_begun and not self._is_inherited:
            self._spool.write(self._session_frame(time_ns() // 1000))
        self._spool.close()

    def forget(self) -> None:
        """In a forked child: what waits is the parent's to tell, and the file is his."""
        self._lock = allocate_lock()
        self._is_inherited = True
        self._news.clear()
        self.sent = self.unwritten = 0
        self._client = {}
        if self.sink is not None:
            self.sink.forget()

    def _next(self) -> tuple[str, dict[str, Any], int, str, int | None] | None:
        """The name, payload, time, thread and duration of what happened first among what waits."""
        if self._hits.waiting and (not self._news or self._hits.waiting[0].at_ns <= self._news[0][2]):
            hit = self._hits.waiting.popleft()
            hit.thread = self._redact(hit.thread or str(hit.thread_id))
            name, payload = _told(hit)
            return name, payload, hit.at_ns, hit.thread, hit.duration_ns
        if self._news:
            return (*self._news.popleft(), "", None)
        return None

    def _write(
        self, name: str, payload: dict[str, Any], at_ns: int, thread: str, duration_ns: int | None
    ) -> None:
        uuid = _uuid()
        self._client = self._client or wire.client(_name(self._redact), str(os.getpid()))
        data = {
            "name": name,
            "uuid": uuid,
            "payload": payload,
            "client": self._client,
            "pid": os.getpid(),
            "thread": thread,
            "cwd": None,
        }
        self.sent += 1
        if self.sink is not None:
            self.sink.offer(wire.envelope(data, at_ns // 1000))
        if self._spool is None:
            return
        if self._is_own and not self._has_begun:
            self._has_begun = self._spool.write(self._session_frame(None))
        started_us = (at_ns - (duration_ns or 0)) // 1000
        kept = {**data, "payload": _without_floats(payload)}
        frame = self._frame(uuid, name, kept, started_us, at_ns // 1000)
        self.unwritten += not self._spool.write(frame)

    def _frame(self, uuid: str, name: str, data: dict[str, Any], started_us: int, ended_us: int) -> Frame:
        kind = _KINDS.get(name.rpartition(".")[0], "probe_status")
        return {
            "v": 1,
            "kind": kind,
            "session": self.session,
            "id": uuid.replace("-", "")[:16],
            "parent": self.span,
            "actor": self._actor,
            "started_us": started_us,
            "ended_us": ended_us,
            "status": "failed" if kind == "probe_error" else "ok",
            "title": "",
            "cwd": None,
            "exit_code": None,
            "source": "probe",
            "exit_source": None,
            "trusted": 0,
            "data": data,
            "blobs": {},
        }

    def _session_frame(self, ended_us: int | None) -> Frame:
        """The row of a session of our own, as it begins and as it ends."""
        root = None if self._workspace is None else str(self._workspace.root)
        columns = {
            "id": self.session,
            "kind": "probe",
            "agent": None,
            "actor": self._actor,
            "title": self._client["applicationName"],
            "repo_root": root,
            "cwd": None,
            "started_us": self._started_us,
            "status": "active" if ended_us is None else "ended",
            "meta": {"pid": os.getpid(), "started": registry.started()},  # by which it is known to be alive
        }
        if ended_us is not None:
            columns["ended_us"] = ended_us
        return {"kind": SESSION_FRAME, "columns": columns}


def _told(hit: Hit) -> tuple[str, dict[str, Any]]:
    """The documented name and payload."""
    kind, message = hit.error
    if hit.kind == CONDITION:
        told = wire.condition_error(hit.point, message, kind, suppressed=hit.suppressed, thread=hit.thread)
        return wire.CONDITION_ERROR, told
    if hit.kind == BROKEN:
        return wire.SNAPSHOT_ERROR, wire.snapshot_error(hit.point, message, kind, thread=hit.thread)
    if hit.kind == LOG:
        return wire.LOGPOINT, wire.logpoint_payload(hit, hit.message, hit.errors)
    return wire.SNAPSHOT, wire.snapshot_payload(hit, hit.captured, hit.stack)


def _without_floats(value: Any) -> Any:
    """A record's hash is over integers and texts: a float stands there as its own text, marked as one."""
    if type(value) is dict:
        return {name: _without_floats(inner) for name, inner in value.items()}
    if type(value) is list:
        return [_without_floats(inner) for inner in value]
    return {"__tpd_type__": "float", "__repr__": repr(value)} if type(value) is float else value


def _name(redact: Callable[[str], str]) -> str:
    """What the program is called: as it was asked for on its command line."""
    import sys

    first = sys.argv[0] if getattr(sys, "argv", None) else ""
    return redact(os.path.basename(first) or "python")


def _uuid() -> str:
    """A random UUID (RFC 9562, version 4), without importing what only the standard library's needs."""
    value = bytearray(os.urandom(16))
    value[6] = value[6] & 0x0F | 0x40
    value[8] = value[8] & 0x3F | 0x80
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
