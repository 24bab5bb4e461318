"""The points of this process and the wanted ones of its store are kept the same, in both directions.

    the file changed       points appear, change and go; what happened to them here stays theirs
    a point changed here   it is written to the file, and the other programs of the store are woken

A point that is at its end is noted as `ended` in the file, so that it is not set again by the next program.

Lives here: `Keeping`. Not here: the file (desired.py), where points sit (placing.py).
Standard library only: a guest imports this.
"""

from __future__ import annotations

import os
from time import monotonic

from devtrace.probes import registry
from devtrace.probes.desired import Desired
from devtrace.probes.fields import Refused
from devtrace.probes.point import EXPIRED, point_from_stored

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from typing import Any

    from devtrace.probes.points import Point, Points
    from devtrace.workspace import Workspace

    Stored = dict[str, Any]

_ENDED = "ended"
_AGAIN_S = 5.0
_UNREAD = (-1, -1, -1)


class Keeping:
    """One store's wanted points, and this process's."""

    def __init__(self, workspace: Workspace, points: Points):
        self.problem = ""  # why the file cannot be read or written, in words for /health
        self._workspace = workspace
        self._points = points
        self._desired = Desired(workspace)
        self._stamp: tuple[int, int, int] | None = _UNREAD
        self._known: dict[str, Stored] = {}  # as they stood in the file
        self._changed: set[str] = set()  # ids of points that are to be written
        self._is_reading = False
        self._again_at = 0.0  # when a write that failed is tried again

    def read(self) -> None:
        """Take over what others have set since the last time. Raises nothing."""
        stamp = self._desired.stamp()
        if stamp == self._stamp:
            return
        try:
            wanted = {str(stored.get("id")): stored for stored in self._desired.read()}
        except (OSError, ValueError) as error:
            self.problem = f"the wanted probes cannot be read: {error}"
            return
        self.problem, self._stamp = "", stamp
        self._is_reading = True
        try:
            for point in self._points.listed():
                if point.id not in wanted and point.id in self._known:
                    self._points.remove(point.id)
            for name, stored in wanted.items():
                if stored != self._known.get(name):
                    self._take(stored)
        finally:
            self._is_reading = False
        self._known = wanted

    def changed(self, point: Point | None) -> None:
        """A listener of the points: what changed here is written by the next `write`."""
        if not self._is_reading:
            self._changed |= {one.id for one in self._points.listed()} if point is None else {point.id}

    def write(self) -> None:
        """Write what changed here, and wake the others. Raises nothing; `problem` says what went wrong."""
        if not self._changed or monotonic() < self._again_at:
            return
        changed, self._changed = self._changed, set()
        try:
            self._known = self._desired.change(lambda points: self._merged(points, changed))
        except (OSError, ValueError) as error:
            self.problem = f"it is not kept for other programs, and is tried again: {error}"
            self._changed |= changed
            self._again_at = monotonic() + _AGAIN_S
            return
        self.problem, self._stamp = "", _UNREAD  # others may have written just before, or just after
        for entry in registry.registered(self._workspace):
            if entry["pid"] != os.getpid() and entry["wakes"]:
                registry.poke(entry["pid"])

    def _merged(self, points: dict[str, Stored], changed: set[str]) -> dict[str, Stored]:
        for name in changed:
            point = self._points.get(name)
            if point is None:
                points.pop(name, None)
            else:
                points[name] = _stored(point)
        return {
            name: kept for name, kept in points.items() if name in changed or kept == self._known.get(name)
        }

    def _take(self, stored: Stored) -> None:
        """A point that is new, or is another one than before. One that cannot be read is left out."""
        plain = {name: value for name, value in stored.items() if name != _ENDED}
        try:
            point = point_from_stored(plain, self._points.clock, self._points.grammar)
            self._points.take(point, str(stored.get(_ENDED) or ""))
        except Refused as refused:
            self.problem = f"the probe {str(stored.get('id'))[:64]} cannot be set: {refused.message}"


def _stored(point: Point) -> Stored:
    stored = point.as_stored()
    if point.standing.status == EXPIRED:
        stored[_ENDED] = point.standing.status_message
    return stored
