"""All the points of a process: who sets, changes, lists and removes them meets who hits them here.

Lives here: the registry, its listeners, expiry. The names of point.py are here too.
Not here: one point (point.py), the routes (routes.py), the store (desired state: services/).
Standard library only: guests import this.
"""

from __future__ import annotations

import threading

from devtrace.probes.fields import LOGPOINT, TRACEPOINT, Refused, defaults, read_body
from devtrace.probes.point import (
    ERROR,
    EXPIRED,
    INSTALLED,
    PENDING,
    REMOVED,
    Grammar,
    Placed,
    Point,
    Standing,
    as_object,
    iso,
    point_from_json,
    point_from_stored,
)

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

__all__ = [
    "ERROR",
    "EXPIRED",
    "INSTALLED",
    "LOGPOINT",
    "MOST_POINTS",
    "PENDING",
    "REMOVED",
    "TRACEPOINT",
    "Grammar",
    "Placed",
    "Point",
    "Points",
    "Refused",
    "Standing",
    "as_object",
    "iso",
    "point_from_json",
    "point_from_stored",
]

MOST_POINTS = 100


class Points:
    """All points of this process. Reading takes no lock, so that a hit never waits for who changes one: a
    change puts another dict in the place of the one that others may be walking through.

    Those in `listeners` are told of each change after it was made, without a lock: with the point as it is
    now (its standing says when it was removed), or None where several changed at once. A point seen
    there may be out of date when two changed it: what holds is `get(point.id)`.
    """

    def __init__(self, clock: Callable[[], int], grammar: Grammar):
        self.clock = clock
        self.grammar = grammar
        self.base: dict[str, Any] = {}  # settings of points that are yet to be made
        self.listeners: list[Callable[[Point | None], None]] = []
        self.failures = 0  # of listeners
        self._points: dict[str, Point] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._points)

    def made(self, kind: str, body: object) -> Point:
        """A point of a body, not yet one of these; raises Refused as `point_from_json`."""
        return point_from_json(kind, body, self.clock, self.grammar, self.base)

    def configure(self, body: Mapping[str, Any]) -> list[str]:
        """Set what holds for points to come: rateLimit, snapshot, ttlSeconds. The names that say nothing.

        Raises Refused 400 INVALID_FIELD.
        """
        names = ("rateLimit", "sample", "snapshot", "ttlSeconds", "expire_duration_ms")
        known = {name: value for name, value in body.items() if name in names}
        settings, ignored = read_body(TRACEPOINT, known, {**defaults(), **self.base})
        self.base = {name: settings[name] for name in ("rateLimit", "snapshot", "ttlSeconds")}
        return [name for name in body if name not in known] + ignored

    def get(self, point_id: str) -> Point | None:
        """The point as it is now."""
        return self._points.get(point_id)

    def find(self, point_id: str) -> Point:
        """The point as it is now; raises Refused 404 POINT_NOT_FOUND."""
        point = self._points.get(point_id)
        if point is None:
            raise Refused(404, "POINT_NOT_FOUND", f"Point not found: {point_id[:64]}", {"id": point_id[:64]})
        return point

    def listed(
        self, *, kinds: Iterable[str] = (), enabled: Iterable[bool] = (), tags: Iterable[str] = ()
    ) -> list[Point]:
        """Those of these kinds that are or are not enabled and have one of the tags; () is any."""
        kinds, enabled, tags = set(kinds), set(enabled), set(tags)
        return [
            point
            for point in self._points.values()
            if (not kinds or point.kind in kinds)
            and (not enabled or point.enabled in enabled)
            and (not tags or not tags.isdisjoint(point.tags))
        ]

    def add(self, point: Point) -> Point:
        """Take it in; expired ones make room. Raises Refused: 409 DUPLICATE_ID, 429 TOO_MANY_POINTS."""
        with self._lock:
            if point.id in self._points:
                raise Refused(409, "DUPLICATE_ID", f"There is a point {point.id}", {"id": point.id})
            if len(self._points) >= MOST_POINTS:
                self._drop_expired()
            if len(self._points) >= MOST_POINTS:
                raise Refused(429, "TOO_MANY_POINTS", f"There are {MOST_POINTS} points; remove one first",
                              {"most": MOST_POINTS})  # fmt: skip
            self._put(point)
        self._tell(point)
        return point

    def take(self, point: Point, ended: str = "") -> None:
        """Take in a point as others have set it; what happened here to the one before it stays.

        `ended`: why it has expired elsewhere; such a one is not taken in anew. Raises Refused 429
        TOO_MANY_POINTS.
        """
        with self._lock:
            before = self._points.get(point.id)
            if before is not None:
                point = self._swap(point.following(before))
                if ended:
                    point.standing.status, point.standing.status_message = EXPIRED, ended
        if before is not None:
            self._tell(point)
        elif not ended:
            self.add(point)

    def change(self, point_id: str, body: object) -> Point:
        """Change what the body names. Raises Refused: 404, and as `Point.changed`."""
        given = as_object(body)
        with self._lock:
            point = self._swap(self.find(point_id).changed(given, self.clock, self.grammar))
        self._tell(point)
        return point

    def enable(self, point_id: str) -> Point:
        """Enable it; raises Refused 404."""
        return self._switch(point_id, True)

    def disable(self, point_id: str) -> Point:
        """Disable it; raises Refused 404."""
        return self._switch(point_id, False)

    def switch_tagged(self, tags: Iterable[str], on: bool) -> int:
        """Enable or disable those with one of the tags: how many there are."""
        wanted = set(tags)
        with self._lock:
            found = self.listed(tags=wanted) if wanted else []
            for point in found:
                self._swap(point.switched(on, self.clock()))
        if found:
            self._tell(None)
        return len(found)

    def remove(self, point_id: str) -> Point:
        """Take it out; raises Refused 404."""
        with self._lock:
            point = self.find(point_id)
            self._points = {one: kept for one, kept in self._points.items() if one != point_id}
            point.standing.status = REMOVED
        self._tell(point)
        return point

    def report(self, point_id: str, placed: Placed) -> None:
        """Note where a point sits or why it does not. No listener is told: they are who reports."""
        with self._lock:
            point = self._points.get(point_id)
            if point and point.standing.status != EXPIRED:
                self._put(point.placed(placed))

    def expire(self, now_ns: int) -> list[Point]:
        """Note which have used up their time or their hits: those that had not before."""
        with self._lock:
            ended = [
                point
                for point in self._points.values()
                if point.standing.status != EXPIRED and point.why_expired(now_ns)
            ]
            for point in ended:
                point.standing.status_message = point.why_expired(now_ns)
                point.standing.status = EXPIRED
        for point in ended:
            self._tell(point)
        return ended

    def next_expiry_ns(self) -> int | None:
        """When the next one's time is over; None: no point waits for that."""
        times = [point.expires_ns for point in self._points.values() if point.standing.status != EXPIRED]
        return min(times, default=None)

    def forget_lock(self) -> None:
        """In a forked child: a thread that is not here may have held it."""
        self._lock = threading.Lock()

    def _switch(self, point_id: str, on: bool) -> Point:
        with self._lock:
            point = self._swap(self.find(point_id).switched(on, self.clock()))
        self._tell(point)
        return point

    def _swap(self, point: Point) -> Point:
        """Put another version in the place of one. What had ended and has not now waits for its place."""
        standing = point.standing
        if standing.status in (EXPIRED, ERROR) and point.enabled and not point.why_expired(self.clock()):
            standing.status, standing.status_message = PENDING, ""
        self._put(point)
        return point

    def _put(self, point: Point) -> None:
        self._points = {**self._points, point.id: point}

    def _drop_expired(self) -> None:
        self._points = {
            name: point for name, point in self._points.items() if point.standing.status != EXPIRED
        }

    def _tell(self, point: Point | None) -> None:
        for listener in tuple(self.listeners):
            try:
                listener(point)
            except Exception:  # what one listener cannot do is no reason not to tell the next
                self.failures += 1
