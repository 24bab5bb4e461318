"""What happens at a hit, in the program's own thread and while it waits: a few microseconds, and never more.

    condition ─ true ─► hit condition ──► rate of the probe ──► rate of all ──► values or message ──► queue

Who is at a limit is told so by one comparison of the clock. What a hit takes with it is plain data without
secrets; all else (the event's form, JSON, the disk) is the worker's. A failing condition is told once in a
minute, what a limit held back once in a second. A probe that costs too much is disabled, and one in which we
fail three times.

Lives here: `Probe`, `Hits`, `Hit`. Not here: where probes sit (placing.py), what becomes of a hit
(outbox.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import threading
from _thread import get_ident
from collections import deque
from time import monotonic_ns, time_ns

from devtrace.probes import wire
from devtrace.probes.engine import is_ours
from devtrace.probes.hiding import hidden_of, hides_name
from devtrace.probes.kinds import short_name
from devtrace.probes.limits import CpuBudget, OncePerWindow, ProcessLimits, TokenBucket
from devtrace.probes.point import ERROR, EXPIRED
from devtrace.probes.reading import truth
from devtrace.probes.scopes import FrameScope
from devtrace.probes.snapshot import NOTHING, Encoder, SnapshotLimits
from devtrace.probes.template import error_text

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from devtrace.probes.point import Point

SNAPSHOT, LOG, CONDITION, BROKEN = "snapshot", "logpoint", "condition", "broken"

MOST_WAITING = 1_000  # hits that wait for the worker; one may be 64 KiB
_SAMPLED = 16  # of so many conditions one is timed, after the first ones
_MOST_BEGUN = 10_000  # calls whose beginning is remembered
_MOST_FAILURES = 3
_SECOND = 1_000_000_000

_NO_ERROR = ("", "")
_NONE: list[Any] = []
_NOTHING: dict[str, Any] = {}


class Hit(wire.Hit):
    """One hit, as the worker gets it: plain data, and nothing of the program's. Times are nanoseconds.

    `kind`: SNAPSHOT, LOG, CONDITION or BROKEN. `error`: (its type, its message), of the last two.
    """

    __slots__ = ("at_ns", "captured", "error", "errors", "kind", "message", "stack", "suppressed",
                 "thread_id")  # fmt: skip

    def __init__(self, kind: str, point: Point, at: str, place: dict[str, Any]):
        standing = point.standing
        self.kind = kind
        self.point = point
        self.at = at
        self.place = place
        self.at_ns = time_ns()
        self.thread_id = get_ident()
        self.thread = _thread_name(self.thread_id)  # now: the thread may be gone when this is written
        self.hit_count = standing.hit_count
        self.total_hits = standing.total_hits
        self.dropped = standing.dropped_count
        self.allowed = 0
        self.evaluated = True
        self.duration_ns: int | None = None
        self.suppressed = 0  # errors like this one that were not told
        self.message = ""
        self.error: tuple[str, str] = _NO_ERROR
        self.errors: list[dict[str, Any]] = _NONE  # these three are put in their place, and not changed
        self.stack: list[dict[str, Any]] = _NONE
        self.captured: dict[str, Any] = _NOTHING


class Probe:
    """A point that sits somewhere: what an engine hands back at each hit. One for all versions of a point."""

    __slots__ = ("_begun", "bucket", "budget", "closed_until", "condition", "encoder", "ends", "errors",
                 "failures", "is_on", "n_timed", "point", "untimed", "what")  # fmt: skip

    def __init__(self, point: Point, what: str, make_encoder: Callable[[Point], Encoder]):
        self.what = what
        self.errors = OncePerWindow(monotonic_ns)
        self.failures = 0
        self.n_timed = 0  # conditions
        self.untimed = 0  # so many are asked until the next one is timed
        self._begun: dict[int, int] = {}  # a frame's id -> when it was entered
        self.point: Any = None
        self.is_on = False
        self.take(point, make_encoder)

    def take(self, point: Point, make_encoder: Callable[[Point], Encoder]) -> None:
        """Another version of the point: the next hit sees it, and nothing is armed anew."""
        before, after = None if self.point is None else self.point.settings, point.settings
        if before is None or before["rateLimit"] != after["rateLimit"]:
            rate = after["rateLimit"]
            self.bucket = TokenBucket(rate["limitPerSecond"], rate["burst"], monotonic_ns)
            self.closed_until = 0
        if before is None or before["cpuPercent"] != after["cpuPercent"] or not self.is_on:
            self.budget = CpuBudget(monotonic_ns, after["cpuPercent"] / 100)
        if before is None or before["snapshot"] != after["snapshot"]:
            self.encoder = make_encoder(point)
        self.condition: Any = None if point.condition is None else point.condition.evaluate
        self.ends = monotonic_ns() + point.expires_ns - time_ns()
        self.point = point
        self.is_on = point.is_live and point.standing.status != ERROR

    def weight(self) -> int:
        """One more condition was timed: for how many it stands."""
        self.n_timed += 1
        if self.n_timed < _SAMPLED:
            return 1
        self.untimed = _SAMPLED - 1
        return _SAMPLED

    def enter(self, frame: FrameType) -> None:
        """Remember when a call began, for its duration."""
        if len(self._begun) >= _MOST_BEGUN:
            self._begun.clear()  # generators that were never run to their end
        self._begun[id(frame)] = monotonic_ns()

    def left(self, frame: FrameType) -> int | None:
        """How long the call took; None: it began before we looked."""
        begun = self._begun.pop(id(frame), None)
        return None if begun is None else monotonic_ns() - begun


class Hits:
    """What all probes of a process do at a hit."""

    def __init__(self, wake: Callable[[], None], redact: Callable[[str], str], callbacks: Callbacks):
        self.waiting: deque[Hit] = deque()
        self.lost = 0  # hits for which there was no room
        self.limits = ProcessLimits(monotonic_ns)
        self.redact = redact
        self.callbacks = callbacks
        self.ended: deque[tuple[Probe, str, str]] = deque()  # a probe, its status from now on, why
        self.limited: set[str] = set()  # ids of points that held back a hit since the worker looked
        self.held_by_all: set[str] = set()  # those that the limits of the whole process held back
        self.told_dropped: dict[str, int] = {}  # a point's id -> how many of these were told
        self._wake = wake

    def forget(self) -> None:
        """In a forked child: what happened in the parent is his to tell."""
        self.lost = 0
        for kept in (self.waiting, self.ended):
            kept.clear()
        self.limited.clear()
        self.held_by_all.clear()
        self.told_dropped.clear()

    def shared_limit(self, point: Point) -> dict[str, int | float] | None:
        """The limit of all probes that held this one back since the last time; None: its own did."""
        if point.id not in self.held_by_all:
            return None
        self.held_by_all.discard(point.id)
        bucket = self.limits.snapshots if point.template is None else self.limits.log_bytes
        return {"limitPerSecond": bucket.rate_per_second, "burst": bucket.burst}

    def encoder_of(self, point: Point) -> Encoder:
        """What makes plain data for that point."""
        kept = point.settings["snapshot"]
        limits = SnapshotLimits(
            kept["maxDepth"], kept["maxProperties"], kept["maxStringLength"], kept["maxFrames"]
        )
        callback = self.callbacks.log if point.template is not None else self.callbacks.tracepoint
        return Encoder(limits, self.redact, hides_name, callback, learn=self.callbacks.learn)

    def on_hit(self, probe: Any, what: str, frame: FrameType, value: object) -> None:
        """Called by the engine, with the Probe that was armed. Raises only what a handler of a signal did."""
        if not probe.is_on:
            return
        extra = None
        if what != "line":
            if what == "entry" and probe.what == "exit":
                probe.enter(frame)
                return
            extra = None if what == "entry" else _extra(probe, what, frame, value)
        scope = None
        if probe.condition is not None:
            if probe.untimed:
                probe.untimed -= 1
                scope = self._asked(probe, frame, extra)
            else:
                scope = self._timed(probe, frame, extra)
            if scope is None:
                return
        point = probe.point
        standing = point.standing
        standing.total_hits += 1
        if point.hit_rule is not None and not point.hit_rule.counts(standing.total_hits):
            return
        now = monotonic_ns()
        if now < probe.closed_until:
            standing.dropped_count += 1
            return
        if not self._may_pass(probe, now):
            return
        try:
            self._tell(probe, what, scope or FrameScope(frame, extra), value, now)
        except Exception as error:
            if not is_ours(error):
                raise
            self._failed(probe, what, frame, error)
        done = monotonic_ns()
        if probe.budget.spend_at(done, done - now):
            self._too_dear(probe)

    def _timed(self, probe: Probe, frame: FrameType, extra: dict[str, Any] | None) -> FrameScope | None:
        """The same as `_asked`, by the clock."""
        began = monotonic_ns()
        scope = self._asked(probe, frame, extra)
        done = monotonic_ns()
        if probe.budget.spend_at(done, (done - began) * probe.weight()):
            self._too_dear(probe)
        return scope

    def _asked(self, probe: Probe, frame: FrameType, extra: dict[str, Any] | None) -> FrameScope | None:
        """The scope in which the condition is true; None: it is not."""
        try:
            scope = FrameScope(frame, extra)
            answer = probe.condition(scope)
            if answer is False or (answer is not True and not truth(answer)):
                return None
        except Exception as error:
            if not is_ours(error):
                raise
            self._condition_failed(probe, frame, error)
            return None
        return scope

    def _may_pass(self, probe: Probe, now: int) -> bool:
        """Whether a hit is told: its hits, its time, its rate and that of all."""
        point = probe.point
        standing = point.standing
        if now >= probe.ends or (point.hits_until is not None and standing.hit_count >= point.hits_until):
            self._end(probe, EXPIRED, point.why_expired(time_ns()) or "its time is over")
            return False
        if probe.bucket.take_at(now):
            if point.template is not None or self.limits.snapshots.take_at(now):
                return True
            self.held_by_all.add(point.id)
        standing.dropped_count += 1
        probe.closed_until = now + int(_SECOND / max(probe.bucket.rate_per_second, 0.001)) // 2
        self._held_back(point)
        return False

    def _held_back(self, point: Point) -> None:
        if point.id not in self.limited:
            self.limited.add(point.id)
            self._wake()

    def _tell(self, probe: Probe, what: str, scope: FrameScope, value: object, now: int) -> None:
        point = probe.point
        hit = (
            self._line(probe, what, scope, now)
            if point.template
            else self._snapshot(probe, what, scope, value)
        )
        standing = point.standing
        if hit is None:
            standing.dropped_count += 1
            self._held_back(point)
            return
        if scope.extra is not None and (taken := scope.extra.get("duration_ms")) is not None:
            hit.duration_ns = int(taken * 1_000_000)
        standing.hit_count = hit.hit_count = standing.hit_count + 1
        standing.last_hit_ns = hit.at_ns
        hit.allowed = probe.bucket.available()
        self._put(hit)
        if point.hits_until is not None and hit.hit_count >= point.hits_until:
            self._end(probe, EXPIRED, point.why_expired(hit.at_ns))

    def _line(self, probe: Probe, what: str, scope: FrameScope, now: int) -> Hit | None:
        """The message of a logpoint; None: too much was said already."""
        point, encoder, frame = probe.point, probe.encoder, scope.frame
        hidden, certain = hidden_of(scope, point.template.names)
        show = encoder.show if hidden is None else lambda value: hidden.masked(encoder.show(value))
        message, errors = point.template.render(scope, show)
        message = self.redact(message if hidden is None else hidden.masked(message))
        encoder.learn(certain)
        if not self.limits.log_bytes.take_at(now, len(message)):
            self.held_by_all.add(point.id)
            return None
        hit = Hit(LOG, point, what, encoder.place(frame.f_code, _line_of(frame, what)))
        hit.message, hit.errors = message, errors
        return hit

    def _snapshot(self, probe: Probe, what: str, scope: FrameScope, value: object) -> Hit:
        """The values, and who called."""
        point, encoder, frame = probe.point, probe.encoder, scope.frame
        hit = Hit(SNAPSHOT, point, what, encoder.place(frame.f_code, _line_of(frame, what)))
        watched = _watched(point, scope) if point.watches else None
        hit.captured = encoder.capture(
            scope.locals,
            _arguments(frame, scope),
            returned=value if what == "return" else NOTHING,
            raised=value if what in ("raise", "unwind") and isinstance(value, BaseException) else None,
            watch=None if watched is None else watched[0],
        )
        if watched is not None:
            hit.captured["watch"] |= watched[1]
        hit.stack = encoder.stack(frame)
        return hit

    def _condition_failed(self, probe: Probe, frame: FrameType, error: Exception) -> None:
        """Told once in a minute: the same condition fails as often as the line runs."""
        kind = short_name(type(error))
        suppressed = probe.errors.tell(kind)
        if suppressed is None:
            return
        hit = Hit(CONDITION, probe.point, "line", probe.encoder.place(frame.f_code, frame.f_lineno))
        hit.error = (kind, self.redact(error_text(error)))
        hit.suppressed = suppressed
        self._put(hit)

    def _failed(self, probe: Probe, what: str, frame: FrameType, error: Exception) -> None:
        """A bug of ours. The program goes on, and after a few the probe does not."""
        probe.failures += 1
        hit = Hit(BROKEN, probe.point, what, {"file": probe.point.file, "line": frame.f_lineno, "method": ""})
        hit.error = (short_name(type(error)), self.redact(error_text(error)))
        self._put(hit)
        if probe.failures >= _MOST_FAILURES:
            self._end(probe, ERROR, f"it failed {_MOST_FAILURES} times: {hit.error[0]}")

    def _too_dear(self, probe: Probe) -> None:
        if probe.is_on:
            percent = probe.point.settings["cpuPercent"]
            self._end(probe, ERROR, f"CPU_BUDGET: it took more than {percent:g} % of the time")

    def _end(self, probe: Probe, status: str, why: str) -> None:
        probe.is_on = False
        self.ended.append((probe, status, why))
        self._wake()

    def _put(self, hit: Hit) -> None:
        if len(self.waiting) >= MOST_WAITING:
            self.lost += 1
        else:
            self.waiting.append(hit)
        self._wake()


class Callbacks:
    """What the program gave to `start`: from a value to what may leave of it; and who learns secrets."""

    __slots__ = ("learn", "log", "tracepoint")

    def __init__(
        self,
        tracepoint: Callable[[Any], Any] | None = None,
        log: Callable[[Any], Any] | None = None,
        learn: Callable[[list[bytes]], object] | None = None,
    ):
        self.tracepoint = tracepoint
        self.log = log
        self.learn = learn


def _extra(probe: Probe, what: str, frame: FrameType, value: object) -> dict[str, Any]:
    """What expressions may read besides: `return_value`, `exception`, `duration_ms`."""
    if what == "raise":
        return {"exception": value}
    duration = probe.left(frame) if probe.what == "exit" else None
    milliseconds = None if duration is None else duration / 1e6
    returned, raised = (value, None) if what == "return" else (None, value)
    return {"duration_ms": milliseconds, "return_value": returned, "exception": raised}


def _thread_name(ident: int) -> str:
    """Of a thread that Python knows; "" else. No method of the program's is called."""
    thread = threading._active.get(ident)  # type: ignore[attr-defined]
    if type(thread) in (threading.Thread, threading._MainThread):  # type: ignore[attr-defined]
        name: Any = thread._name
    else:
        names = (
            object.__getattribute__(thread, "__dict__") if issubclass(type(thread), threading.Thread) else {}
        )
        name = dict.get(names, "_name")
    return name if type(name) is str else ""


def _line_of(frame: FrameType, what: str) -> int:
    return frame.f_code.co_firstlineno if what == "entry" else frame.f_lineno


def _arguments(frame: FrameType, scope: FrameScope) -> dict[str, Any]:
    """As they are now, `*args` and `**kwargs` by their names too."""
    code, known = frame.f_code, scope.locals
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    return {name: known[name] for name in code.co_varnames[:count] if name in known}


def _watched(point: Point, scope: FrameScope) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the watched expressions give, and what is told of those that give nothing."""
    found, failed = {}, {}
    for text, expression in point.watches:
        try:
            found[text] = expression.evaluate(scope)
        except Exception as error:
            if not is_ours(error):
                raise
            failed[text] = {"__tpd_type__": "error", "__message__": error_text(error)}
    return found, failed
