"""The probes of one process: everything that belongs to them, put together, and its life.

    reached()   a Python of a traced shell was asked, or finds wanted probes as it starts
    turn()      of the worker: what others have set, what came to its end, what waits to be written
    fork        the child has the same probes, and everything else of its own
    end()       as the program ends, or as it says: what waits is written, nothing stays in the interpreter

Lives here: `Agent`, the one of this process. Not here: what the parts do (their own modules), `start` and
`stop` (api.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock
from pathlib import Path
from time import monotonic, time_ns

from devtrace import __version__
from devtrace.errors import DevTraceError
from devtrace.probes import asking, wire
from devtrace.probes.engine import choose
from devtrace.probes.hits import Callbacks, Hits
from devtrace.probes.keeping import Keeping
from devtrace.probes.outbox import Outbox
from devtrace.probes.placing import Placing
from devtrace.probes.point import ERROR, EXPIRED, Placed
from devtrace.probes.points import Points
from devtrace.probes.redactor import Redactor
from devtrace.probes.routes import Routes
from devtrace.probes.sink import Sink, url_from
from devtrace.probes.worker import Worker

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from devtrace.probes.guard import Peer
    from devtrace.probes.points import Point
    from devtrace.workspace import Workspace

ENGINE = "TRACEPOINTDEBUG_ENGINE"
_LINGER_S = 1.0  # after it was woken it stays for who connects then
_SETTLE_S = 0.02  # between two drains: a flood of hits is written by batches
_LIMITS_S = 1.0
_LEAVE_S = 0.2  # what the program's end may wait for the thread
_FORK_S = 1.0  # what a fork may: it is gone in less than a millisecond, unless the machine is very busy


class Agent:
    """What `Routes` asks of the process (its State), and what `Worker` does (its Work)."""

    def __init__(self, workspace: Workspace | None, environ: Mapping[str, str], callbacks: Callbacks):
        self.workspace = workspace
        self.version = __version__
        self.started_ns = time_ns()
        self.is_free_threaded = not getattr(sys, "_is_gil_enabled", lambda: True)()
        self.broker_url = asking.broker_url(environ)
        self.engine = choose(environ.get(ENGINE, "auto").strip().lower())
        self.engine_name, self.engine_because = self.engine.name, self.engine.because
        self._redactor = redactor = Redactor(workspace, environ)
        callbacks.learn = redactor.learn
        url = url_from(environ)
        self.worker = Worker(self)
        self.hits = Hits(self.worker.wake, redactor, callbacks)
        self.outbox = Outbox(self.hits, workspace, environ, Sink(url) if url else None)
        self.points = Points(time_ns, asking.grammar(redactor))
        self.placing = Placing(self.points, self.engine, self.hits, self._told)
        self.keeping = None if workspace is None else Keeping(workspace, self.points)
        self.asking = asking.Asking(self, environ)
        self._routes = Routes(self.points, self)
        self._limited: dict[str, float] = {}  # a point's id -> since when hits are held back
        self._woken_at = 0.0
        self._by: int | None = None  # who asks just now
        self._before: dict[str, Point] | None = None  # the points as they were when he asked
        self.is_held = False  # no signal wakes us, and the program has asked for us: our thread stays
        self._is_told = False  # that we are there
        self._is_early = False
        self._is_known = True  # who asks: the same user, over the unix socket
        self._is_over = False

    # --- its life -------------------------------------------------------------------------------------------

    def begin(self, *, is_early: bool = False) -> None:
        """Set what is wanted already. `is_early`: the program has not begun, and little is to be done."""
        self.engine.start(self.hits.on_hit, self.placing.on_new_code)
        self.points.listeners.append(self._changed)
        self.placing.is_early = self._is_early = is_early
        if self.keeping is not None:
            self.keeping.read()
        self.placing.is_early = self._is_early = False

    def wake(self) -> None:
        """Somebody has something to ask, or has set something."""
        self._woken_at = monotonic()
        self.worker.wake()

    def end(self) -> None:
        """Take everything back, and write what waits. May be called twice."""
        if self._is_over:
            return
        self._is_over = True
        self.placing.clear()
        self.worker.end_for_good(_LEAVE_S)
        self._note_ended()
        self._tell_limits(at_once=True)
        if self._is_told:
            uptime_ms = (time_ns() - self.started_ns) // 1_000_000
            stopped = wire.agent_stopped(uptime_ms, len(self.points), self.outbox.sent)
            self.outbox.tell(wire.STOPPED, stopped)
        self.outbox.end()
        self.asking.leave()
        if self.outbox.sink is not None:
            self.outbox.sink.stop()

    def take_callbacks(self, callbacks: Callbacks) -> None:
        """The program's own redaction, for the probes that are set already too."""
        known = self.hits.callbacks
        if known is not callbacks and (callbacks.tracepoint or callbacks.log):
            known.tracepoint, known.log = callbacks.tracepoint, callbacks.log
            self.placing.renew()

    def flush(self) -> None:
        """Write what waits, now: the process is about to go without an end."""
        self._tell_limits(at_once=True)
        self.outbox.drain(is_all=True)

    # --- a fork ---------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """No thread of ours is there while the program forks, and nothing waits for one."""
        if self.worker.is_running:
            self.worker.end(_FORK_S)
            self.outbox.drain(is_all=True)
        if self.outbox.sink is not None:
            self.outbox.sink.rest()

    def after_fork_in_parent(self) -> None:
        """Who listens over TCP goes on; for all else the next hit or the next signal is enough."""
        if self.asking.is_open or self.is_held:
            self.worker.wake()
        if self.outbox.sink is not None:
            self.outbox.sink.resume()

    def after_fork_in_child(self) -> None:
        """The same probes, and everything else anew."""
        for part in (self.worker, self.outbox, self.asking):
            part.forget()
        self.points.forget_lock()
        self.placing.forget_lock()
        self.engine.forget_lock()
        self._redactor.forget_lock()
        self._limited.clear()
        self.hits.forget()
        self.started_ns = time_ns()
        for point in self.points.listed():
            standing = point.standing
            standing.hit_count = standing.total_hits = standing.dropped_count = 0
            standing.last_hit_ns = None
        if self._is_told:
            self._is_told = False
            self.tell_started()
        if self.keeping is not None:
            self.keeping.read()  # what the parent has not heard yet

    # --- the worker's work ----------------------------------------------------------------------------------

    def turn(self) -> float | None:
        """One look at everything; seconds until the next, None: nothing is left to be done."""
        if self.keeping is not None:
            self.keeping.read()
        self.placing.catch_up()
        self._note_ended()
        self._tell_limits()
        self.outbox.drain()
        self.asking.turn()
        return self._pause()

    def fds(self) -> list[tuple[int, int]]:
        return self.asking.server.fds()

    def ready(self, fd: int, mask: int) -> None:
        self.asking.server.ready(fd, mask)

    def _pause(self) -> float | None:
        now = monotonic()
        waits = [] if self.outbox.is_empty else [_SETTLE_S]
        if self._limited or self.hits.limited:
            waits.append(_LIMITS_S / 4)
        deadline = self.asking.server.deadline()
        if deadline is not None:
            waits.append(deadline - now)
        if now - self._woken_at < _LINGER_S:
            waits.append(_LINGER_S - (now - self._woken_at))
        expiry = self.points.next_expiry_ns()
        if any(point.is_live for point in self.points.listed()) and expiry is not None:
            waits.append((expiry - time_ns()) / 1e9 + 0.001)
        if waits:
            return max(0.0, min(waits))
        if self.asking.is_open or self.asking.server.is_busy or self.is_held:
            return float("inf")
        self.asking.close()
        return None

    # --- what the routes ask --------------------------------------------------------------------------------

    def answer(
        self, method: str, path: str, query: str, body: bytes, peer: Peer
    ) -> tuple[int, dict[str, Any] | None]:
        """One request, from whom; what it changes is kept before it is answered."""
        if self.keeping is not None:
            self.keeping.read()
        self._by, self._is_known = peer.pid, peer.is_unix
        self._before = {point.id: point for point in self.points.listed()}
        try:
            status, document = self._routes.answer(method, path, query, body)
        finally:
            self._by = self._before = None
        if self.keeping is not None:
            self.keeping.write()
            if self.keeping.problem and method != "GET" and document is not None and status < 300:
                document["warning"] = self.keeping.problem
        return status, document

    def place(self, point: Point) -> Placed | None:
        """Where it sits. Raises Refused."""
        return self.placing.find(point)

    def sink_status(self) -> Mapping[str, Any]:
        return {"connected": False, "url": None} if self.outbox.sink is None else self.outbox.sink.status()

    def health(self) -> Mapping[str, Any]:
        """Beside what is documented; over HTTP, where nobody has to say who he is, little."""
        keeping = self.keeping
        if not self._is_known:
            return {"tags": self.asking.tags, "failures": self._failures()}
        return {
            "store": None if self.workspace is None else str(self.workspace.dir),
            "session": self.outbox.session,
            "tags": self.asking.tags,
            "siblings": self.asking.siblings(),
            "problem": "" if keeping is None else keeping.problem,
            "control": self.asking.told(),
            "events": {"sent": self.outbox.sent, "lost": self.hits.lost, "unwritten": self.outbox.unwritten},
            "failures": self._failures(),
        }

    def _failures(self) -> int:
        """Bugs of ours that the program was kept from."""
        parts = (self.engine, self.points, self._routes, self.worker, self.asking.server)
        return sum(part.failures for part in parts)

    # --- telling --------------------------------------------------------------------------------------------

    def _changed(self, point: Point | None) -> None:
        """A listener of the points."""
        if self.keeping is not None:
            self.keeping.changed(point)
        if not self._is_early:
            self.tell_started()
        if self._before is not None:
            self._tell_order(self._before, [point] if point else self.points.listed())
        if point is None:
            for one in self.points.listed():
                self.placing.settle(one)
        elif self.points.get(point.id) is None:
            self.placing.forget_removed()
        else:
            self._settle(point)
            if point.standing.status == EXPIRED:
                self._told(point, EXPIRED, point.standing.status_message)

    def _settle(self, point: Point) -> None:
        if not self._is_over:
            self.placing.settle(point)

    def _told(self, point: Point, status: str, message: str) -> None:
        """How a point stands now, as an event."""
        self.tell_started()
        self.outbox.tell(f"probe.status.{status}", wire.probe_status(point, message, self._by))
        self.worker.wake()

    def _tell_order(self, before: dict[str, Point], points: list[Point]) -> None:
        """What somebody had us do, before what came of it."""
        for point in points:
            order = _order(before.get(point.id), self.points.get(point.id))
            before[point.id] = point
            if order:
                self.outbox.tell(f"probe.status.{order}", wire.probe_status(point, "", self._by))
                self.worker.wake()

    def tell_started(self) -> None:
        """Once, when there is something to watch: who only looks at us leaves no event."""
        if self._is_told:
            return
        self._is_told = True
        payload = wire.agent_started(
            self.engine_name, self.engine_because, is_free_threaded=self.is_free_threaded
        )
        self.outbox.tell(wire.STARTED, payload)

    def _tell_limits(self, *, at_once: bool = False) -> None:
        """What limits held back, once in a second for each probe."""
        now = monotonic()
        for name in list(self.hits.limited):
            self.hits.limited.discard(name)
            self._limited.setdefault(name, now)
        for name, since in list(self._limited.items()):
            if at_once or now - since >= _LIMITS_S:
                del self._limited[name]
                self._tell_dropped(name)

    def _tell_dropped(self, name: str) -> None:
        point, told = self.points.get(name), self.hits.told_dropped
        if point is not None:
            dropped = point.standing.dropped_count - told.get(name, 0)
            told[name] = point.standing.dropped_count
            if dropped > 0:
                limit = self.hits.shared_limit(point)
                self.outbox.tell(wire.RATE_LIMIT_ERROR, wire.rate_limit_error(point, dropped, limit))

    def _note_ended(self) -> None:
        """Which probes have come to their end, and that no other program is to set them again."""
        self._take_ended()
        self.points.expire(time_ns())
        if self.keeping is not None:
            self.keeping.write()

    def _take_ended(self) -> None:
        """Probes that were ended by a hit."""
        while self.hits.ended:
            probe, status, why = self.hits.ended.popleft()
            if status == ERROR:
                self.points.report(probe.point.id, Placed(ERROR, why))
                if (point := self.points.get(probe.point.id)) is not None:
                    self._settle(point)
                    self._told(point, ERROR, why)
                    self.outbox.tell(
                        wire.CONDITION_ERROR,
                        wire.condition_error(point, why, "Error", code=why.partition(":")[0]),
                    )


def _order(before: Point | None, now: Point | None) -> str:
    if before is None or now is None:
        return "set" if before is None else "removed"
    if before is now or before.settings == now.settings:
        return ""
    plain = {**before.settings, "enabled": now.enabled}
    if plain == now.settings:
        return "enabled" if now.enabled else "disabled"
    return "changed"


# --- the one of this process --------------------------------------------------------------------------------

_agent: Agent | None = None
_is_stopped = False  # by the program, which alone may begin another one
_lock = allocate_lock()
_is_watching_forks = False


def current() -> Agent | None:
    """The agent of this process, if it has begun."""
    return _agent


def reached(store: str, *, is_early: bool = False) -> Agent | None:
    """The agent, begun if need be, of a program in a traced shell. None where it ended already.

    `is_early`: the program has not begun.
    """
    from devtrace.workspace import Workspace, checked

    if _is_stopped:
        return None
    try:
        return begun(checked(Workspace(Path(store))), Callbacks(), is_early=is_early)
    except (DevTraceError, OSError):
        return None


def begun(workspace: Workspace | None, callbacks: Callbacks, *, is_early: bool = False) -> Agent:
    """The agent of this process; of two threads that ask at once one makes it."""
    global _agent, _is_stopped, _is_watching_forks
    with _lock:
        _is_stopped = False
        if _agent is None:
            if not _is_watching_forks:  # before all else: a child that is forked meanwhile has our lock
                _watch()
                _is_watching_forks = True
            agent = Agent(workspace, os.environ, callbacks)
            agent.begin(is_early=is_early)
            _agent = agent
        return _agent


def ended() -> None:
    """End the agent, so that another one may begin."""
    global _agent, _is_stopped
    if not _lock.acquire(timeout=_LEAVE_S):
        return  # one begins just now, and the program does not wait for it
    try:
        agent, _agent, _is_stopped = _agent, None, True
    finally:
        _lock.release()
    if agent is not None:
        agent.end()


def _watch() -> None:
    os.register_at_fork(
        before=lambda: _agent.before_fork() if _agent else None,
        after_in_parent=lambda: _agent.after_fork_in_parent() if _agent else None,
        after_in_child=_forked,
    )
    _flush_before_leaving()


def _forked() -> None:
    global _lock
    _lock = allocate_lock()
    if _agent is not None:
        _agent.after_fork_in_child()


def _flush_before_leaving() -> None:
    """A process that leaves by `os._exit`, as children of a fork do, loses no hit."""
    leave = os._exit

    def _exit(status: int) -> Any:
        try:
            if _agent is not None:
                _agent.flush()
        finally:
            leave(status)

    _exit.__doc__, _exit.__module__, _exit.__qualname__ = leave.__doc__, leave.__module__, leave.__qualname__
    os._exit = _exit
