"""What is told of probes, in the documented form: `{name, timestamp, id, client, payload}`.

A payload is made of what is plain already: no frame and no value of the program's comes here.

Lives here: the names, the payloads, the envelope. Not here: what each may hold as a table (schema.py), how a
value is told (markers.py), sending (sink.py, store/spool.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import os
import sys

from devtrace import __version__
from devtrace.probes.point import iso

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from devtrace.probes.point import Point

SNAPSHOT, LOGPOINT = "probe.hit.snapshot", "probe.hit.logpoint"
CONDITION_ERROR, SNAPSHOT_ERROR = "probe.error.condition", "probe.error.snapshot"
RATE_LIMIT_ERROR = "probe.error.rateLimit"
STARTED, STOPPED = "agent.status.started", "agent.status.stopped"
STATUSES = ("set", "changed", "enabled", "disabled", "removed", "pending", "installed", "error", "expired")


# --- the envelope -------------------------------------------------------------------------------------------


def client(application_name: str, instance_id: str | None = None) -> dict[str, str]:
    """The documented `client`. `instance_id`: which of a program's several processes, where that is said."""
    told = {
        "hostname": os.uname().nodename,
        "applicationName": application_name,
        "agentVersion": __version__,
        "runtime": "python",
        "runtimeVersion": ".".join(map(str, sys.version_info[:3])),
    }
    return {**told, "applicationInstanceId": instance_id} if instance_id else told


def envelope(data: Mapping[str, Any], at_us: int) -> dict[str, Any]:
    """The documented event of a frame's `data` and of its time, in microseconds since the epoch.

    Raises nothing: what the data lacks is null.
    """
    return {
        "name": data.get("name"),
        "timestamp": iso(at_us * 1000),
        "id": data.get("uuid"),
        "client": data.get("client"),
        "payload": data.get("payload"),
    }


# --- hits ---------------------------------------------------------------------------------------------------


class Hit:
    """What a snapshot and a message have in common, as it was when the probe was hit.

    `place`: `{file, line, method, className?}` of the frame. `evaluated`: the condition could be asked.
    `allowed`, `dropped`: of the probe's own limit. `duration_ns`: at an exit, where the entry was seen.
    """

    __slots__ = ("allowed", "at", "dropped", "duration_ns", "evaluated", "hit_count", "place", "point",
                 "thread", "total_hits")  # fmt: skip

    def __init__(
        self,
        point: Point,
        place: Mapping[str, Any],
        *,
        hit_count: int,
        total_hits: int,
        allowed: int = 0,
        dropped: int = 0,
        evaluated: bool = True,
        at: str = "line",
        thread: str = "",
        duration_ns: int | None = None,
    ):
        self.point = point
        self.place = place
        self.hit_count = hit_count
        self.total_hits = total_hits
        self.allowed = allowed
        self.dropped = dropped
        self.evaluated = evaluated
        self.at = at
        self.thread = thread
        self.duration_ns = duration_ns


def snapshot_payload(hit: Hit, captured: Mapping[str, Any], stack: list[dict[str, Any]]) -> dict[str, Any]:
    """`captured`: `{locals, arguments, returnValue, exception, watch?}`, as `Encoder.capture` makes it."""
    kept = {name: captured[name] for name in ("locals", "arguments", "returnValue", "exception")}
    told = {**_head(hit), "snapshot": kept, "stack": stack, **_counts(hit)}
    return {**told, "watch": captured["watch"]} if "watch" in captured else told


def logpoint_payload(hit: Hit, message: str, errors: Iterable[dict[str, str]] = ()) -> dict[str, Any]:
    """`message` and `errors` as `Template.render` gives them."""
    point, failed = hit.point, list(errors)
    told = {
        **_head(hit),
        "conditionResult": True,  # a hit is told nowhere else
        "message": message,
        "messageTemplate": point.message or "",
        **_counts(hit),
        "level": point.settings["level"],
    }
    return {**told, "errors": failed} if failed else told


def _head(hit: Hit) -> dict[str, Any]:
    class_name = hit.place.get("className")
    return {
        **_probe(hit.point, hit.place),
        "method": hit.place["method"],
        **({"className": class_name} if class_name else {}),
        "condition": hit.point.settings["condition"],
        "conditionEvaluated": hit.evaluated,
    }


def _counts(hit: Hit) -> dict[str, Any]:
    return {
        "hitCount": hit.hit_count,
        "totalHits": hit.total_hits,
        "rateLimit": {"allowedThisSecond": hit.allowed, "dropped": hit.dropped},
        "at": hit.at,
        **({} if hit.duration_ns is None else {"durationNs": hit.duration_ns}),
        **_in_process(hit.point, hit.thread),
    }


def _probe(point: Point, place: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Which probe. One that was set by a module's name has no file of its own before it is placed."""
    found = place or {}
    return {
        "probeId": point.id,
        "probeType": point.kind,
        "file": point.file or found.get("file") or point.where.rpartition(":")[0],
        "line": point.line or found.get("line") or 0,
    }


def _in_process(point: Point, thread: str = "") -> dict[str, Any]:
    asked = {"requestedLine": point.requested_line} if point.requested_line else {}
    return {**asked, "pid": os.getpid(), **({"thread": thread} if thread else {})}


# --- errors -------------------------------------------------------------------------------------------------


def condition_error(
    point: Point,
    error: str,
    error_type: str,
    *,
    condition: str | None = None,
    stack: str = "",
    code: str = "",
    suppressed: int = 0,
    thread: str = "",
) -> dict[str, Any]:
    """`error` as `error_text` gives it. `condition`: what failed, where that is not the probe's own."""
    return {
        **_probe(point),
        "condition": condition or point.settings["condition"] or "",
        "error": error,
        "errorType": error_type,
        "errorStack": stack or error,
        **({"code": code} if code else {}),
        **({"suppressedCount": suppressed} if suppressed else {}),
        **_in_process(point, thread),
    }


def snapshot_error(
    point: Point,
    error: str,
    error_type: str,
    *,
    failed_variable: str | None = None,
    attempted_value: str | None = None,
    suppressed: int = 0,
    thread: str = "",
) -> dict[str, Any]:
    """`attempted_value` is no more than the name of a type: the value itself may be what must not leave."""
    return {
        **_probe(point),
        "error": error,
        "errorType": error_type,
        "failedVariable": failed_variable,
        "attemptedValue": attempted_value,
        **({"suppressedCount": suppressed} if suppressed else {}),
        **_in_process(point, thread),
    }


def rate_limit_error(
    point: Point, dropped: int, limit: Mapping[str, int | float] | None = None
) -> dict[str, Any]:
    """So many hits were held back: by the probe's own limit, or by `limit`, which all probes share."""
    own = point.settings["rateLimit"]
    return {
        **_probe(point),
        "limit": {name: (limit or own)[name] for name in ("limitPerSecond", "burst")},
        "droppedCount": dropped,
        "message": f"Rate limit exceeded: dropped {dropped} event{'' if dropped == 1 else 's'}",
        "scope": "probe" if limit is None else "process",
        **_in_process(point),
    }


# --- statuses -----------------------------------------------------------------------------------------------


def features(is_free_threaded: bool) -> dict[str, bool]:
    """What the agent can do, as `/health` and its first event say it."""
    always = ("tracepoints", "logpoints", "conditions", "rateLimit")
    return {**dict.fromkeys(always, True), "freeThreaded": is_free_threaded}


def agent_started(engine: str, because: str = "", *, is_free_threaded: bool = False) -> dict[str, Any]:
    """`engine`: its real name."""
    told = {"message": "DevTrace agent started", "engine": engine, "features": features(is_free_threaded)}
    return {**told, **({"because": because} if because else {}), "pid": os.getpid()}


def agent_stopped(uptime_ms: int, total_probes: int, total_events: int) -> dict[str, Any]:
    """The uptime is in milliseconds here, and in seconds in /health: so it is documented."""
    counts = {"uptime": uptime_ms, "totalProbes": total_probes, "totalEvents": total_events}
    return {"message": "DevTrace agent stopped", **counts, "pid": os.getpid()}


def probe_status(point: Point, message: str = "", by_pid: int | None = None) -> dict[str, Any]:
    """How a probe stands. `by_pid`: who did that to it; None: nobody, as when its time is over."""
    asked = {"requestedLine": point.requested_line} if point.requested_line else {}
    return {
        "probeId": point.id,
        "probeType": point.kind,
        "file": point.file,
        "line": point.line,
        "location": point.where,
        **asked,
        "status": point.standing.status,
        "message": message or point.standing.status_message,
        "by": None if by_pid is None else {"pid": by_pid},
    }
