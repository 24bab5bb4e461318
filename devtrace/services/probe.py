"""probe: points are set, switched and taken away in the store.

What is wanted stands in one file (probes/desired.py). Each change of it is a `probe_status` event, and wakes
every program of the store, which does the rest by itself.

Lives here: `Orders`, `wanted`, `only`. Not here: what was typed (probe_asked.py), how far a probe came
(probe_standing.py), what it told (probe_hits.py).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from devtrace.errors import EnvironmentError, UsageError
from devtrace.events import ProbeStatus
from devtrace.policy.chain import Policy
from devtrace.probes import registry, wire
from devtrace.probes.desired import Desired
from devtrace.probes.fields import Refused
from devtrace.probes.point import EXPIRED, REMOVED, Point, point_from_stored
from devtrace.probes.points import MOST_POINTS
from devtrace.services.own_session import belonging, emit
from devtrace.services.probe_asked import grammar
from devtrace.services.redaction import redaction
from devtrace.workspace import Workspace

ORDER = "probe_order"  # the kind of a session that holds one order given outside any

_Points = dict[str, dict[str, Any]]
_T = TypeVar("_T")


class Orders:
    """What is ordered in one store, from one command line."""

    def __init__(self, db: sqlite3.Connection, workspace: Workspace, environ: Mapping[str, str]):
        self._db = db
        self._workspace = workspace
        self._environ = environ
        self._desired = Desired(workspace)
        self._policy: Policy | None = None

    @property
    def policy(self) -> Policy:
        """What is a secret here."""
        if self._policy is None:
            self._policy = redaction(self._workspace, self._environ)
        return self._policy

    def holds_secret(self, text: str) -> bool:
        """Whether a text may not be written down as it is."""
        return self.policy.redact_text(text) != text

    def add(self, point: Point) -> None:
        """Want it, and wake all programs. Raises Refused TOO_MANY_POINTS, EnvironmentError."""

        def edit(points: _Points) -> None:
            alive = [one for one in points.values() if _ends_ns(one) > time.time_ns()]
            if len(alive) >= MOST_POINTS:
                message = f"There are {MOST_POINTS} points; remove one first"
                raise Refused(429, "TOO_MANY_POINTS", message, {"most": MOST_POINTS})
            points[point.id] = point.as_stored()

        self._changed(edit)
        self._tell("set", [point])

    def remove(self, ids: Iterable[str], why: str = "") -> list[Point]:
        """Take them out; those that were there."""
        return self._each(ids, "removed", lambda points, point: points.pop(point.id), why)

    def switch(self, ids: Iterable[str], on: bool) -> list[Point]:
        """Enable or disable them; an expired one is given its time again. Those that were there."""

        def edit(points: _Points, point: Point) -> None:
            points[point.id] = point.switched(on, time.time_ns()).as_stored()

        return self._each(ids, "enabled" if on else "disabled", edit)

    def chosen(self, names: Sequence[str], tags: Sequence[str], *, all_of_them: bool = False) -> list[str]:
        """The ids of the points that are meant: by the start of an id, by a tag.

        Raises UsageError: POINT_NOT_FOUND, and ERR_ID_AMBIGUOUS for a start that fits several.
        """
        points = wanted(self._workspace)
        if all_of_them:
            return [point.id for point in points]
        by_tag = [point.id for point in points if not set(tags).isdisjoint(point.tags)]
        if tags and not by_tag and not names:
            raise _no_point(f"no probe has the tag {' or '.join(tags)}")
        return list(dict.fromkeys([*(only(points, name).id for name in names), *by_tag]))

    def _each(
        self,
        ids: Iterable[str],
        what: str,
        edit_one: Callable[[_Points, Point], object],
        why: str = "",
    ) -> list[Point]:
        chosen = list(ids)

        def edit(points: _Points) -> list[Point]:
            there = [points[name] for name in chosen if name in points]
            known = [point for point in map(_point, there) if point is not None]
            for point in known:
                edit_one(points, point)
            return known

        changed = self._changed(edit)
        self._tell(what, changed, why)
        return changed

    def _changed(self, edit: Callable[[_Points], _T]) -> _T:
        try:
            result = self._desired.change(edit)
        except (OSError, ValueError) as error:
            raise _unwritable(self._desired, error) from error
        for process in registry.registered(self._workspace):
            if process["wakes"]:
                registry.poke(process["pid"])
        return result

    def _tell(self, what: str, points: Sequence[Point], why: str = "") -> None:
        """An event a point, where the order was typed."""
        if not points:
            return
        title = f"probe {what}"
        with belonging(self._db, self._workspace, self._environ, ORDER, self._workspace.root, title) as own:
            bodies = [_status_body(what, point, why) for point in points]
            emit(self._db, self._workspace, self.policy, *map(own.event, bodies))


def wanted(workspace: Workspace) -> list[Point]:
    """The points of a store, the oldest first; one that cannot be read is left out.

    Raises EnvironmentError where the file cannot be read.
    """
    desired = Desired(workspace)
    try:
        stored = desired.read()
    except (OSError, ValueError) as error:
        raise _unwritable(desired, error) from error
    return [point for point in map(_point, stored) if point is not None]


def only(points: Sequence[Point], name: str) -> Point:
    """The point whose id starts so. Raises UsageError: POINT_NOT_FOUND, ERR_ID_AMBIGUOUS."""
    found = [point for point in points if point.id == name] or [
        point for point in points if name and point.id.startswith(name)
    ]
    if not found:
        raise _no_point(f"no probe has an id that starts with {name!r}")
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} probes have an id that starts with {name!r}",
            code="ERR_ID_AMBIGUOUS",
            hint="write more of it",
            context={"candidates": [point.id for point in found[:10]]},
        )
    return found[0]


# --- the words of an event ----------------------------------------------------------------------------------


def _status_body(what: str, point: Point, why: str) -> ProbeStatus:
    if what == "removed":
        point.standing.status = REMOVED
    told = wire.probe_status(point, why, os.getpid())
    place = {"location": point.settings["location"]} if point.settings["location"] else {}
    return ProbeStatus(
        name=f"probe.status.{what}",
        uuid=_uuid(),
        payload={**told, **place},
        client=wire.client("devtrace"),
        pid=os.getpid(),
    )


def _uuid() -> str:
    import uuid

    return str(uuid.uuid4())


def _point(stored: Mapping[str, Any]) -> Point | None:
    """With its standing where it has ended. None: another version wrote it, or somebody by hand."""
    try:
        point = point_from_stored(stored, time.time_ns, grammar())
    except Refused:
        return None
    ended = stored.get("ended")
    why = ended if isinstance(ended, str) else point.why_expired(time.time_ns())
    if why:
        point.standing.status, point.standing.status_message = EXPIRED, why
    return point


def _ends_ns(stored: Mapping[str, Any]) -> int:
    value = stored.get("expires_ns")
    return value if isinstance(value, int) else 0


def _no_point(message: str) -> UsageError:
    return UsageError(message, code="POINT_NOT_FOUND", hint="see them with `devtrace probe list`")


def _unwritable(desired: Desired, error: Exception) -> EnvironmentError:
    told = getattr(error, "strerror", None) or error
    return EnvironmentError(
        f"{desired.path} cannot be used: {told}",
        code="ERR_STORE_READONLY",
        hint="check its owner and permissions, or move it away: it only says which probes are set",
        context={"path": str(desired.path)},
    )
