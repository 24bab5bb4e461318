"""How far a probe came: every program of the store is asked for it, and their answers are told as one.

    installed   in one program at least
    refused     in none, and one of them says that there is no such place
    pending, error, expired

Lives here: `standing`, `listing`, `healths`. Not here: one program (probe_client.py), which there are
(probe_processes.py), what is wanted (probe.py), how it is said (probe_records.py).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from devtrace.probes.point import ERROR, EXPIRED, INSTALLED, PENDING, Point
from devtrace.services.probe import wanted
from devtrace.services.probe_client import TIMEOUT_S, Ended, NoAnswer, ask
from devtrace.services.probe_processes import programs
from devtrace.workspace import Workspace

SILENT, REFUSED = "silent", "refused"
_CODED = re.compile(r"([A-Z]+(?:_[A-Z]+)+): (.*)", re.DOTALL)  # `INVALID_LINE: line 40 is blank`
_FOR_GOOD = {"INVALID_LINE", "INVALID_LOCATION", "FUNCTION_NOT_FOUND", "AMBIGUOUS_FILE"}
_MOST_ASKED = 16  # programs at once
_PAUSE_S = 0.01


class Reply(NamedTuple):
    """What one program says of a point. `status`: the point's, or SILENT. `code`: of an error, or ""."""

    process: dict[str, Any]
    status: str
    code: str
    message: str
    point: dict[str, Any]  # as its API has it; {} where it did not answer


class Standing(NamedTuple):
    """A point in all programs together. `status`: installed, pending, error, expired or refused."""

    status: str
    code: str
    message: str
    replies: Sequence[Reply]

    @property
    def installed(self) -> int:
        """In how many programs it sits."""
        return sum(reply.status == INSTALLED for reply in self.replies)


def standing(workspace: Workspace, point: Point, *, timeout_s: float = TIMEOUT_S) -> Standing:
    """Ask every program of the store for the point; each has so many seconds, all at the same time."""
    replies = _asked(programs(workspace), lambda one: _reply(workspace, one, point.id, timeout_s))
    return summed([reply for reply in replies if reply is not None])


def summed(replies: Sequence[Reply]) -> Standing:
    """The programs' answers as one."""
    if any(reply.status == INSTALLED for reply in replies):
        return Standing(INSTALLED, "", "", replies)
    for reply in replies:
        if reply.status == ERROR and reply.code in _FOR_GOOD:
            return Standing(REFUSED, reply.code, reply.message, replies)
    for status in (ERROR, EXPIRED):
        for reply in replies:
            if reply.status == status:
                return Standing(status, reply.code, reply.message, replies)
    return Standing(PENDING, "", "", replies)


def is_unknown(told: Standing, point: Point) -> bool:
    """Whether every program that there is has looked for the point's file, and has not found it."""
    return all(reply.status == PENDING and not _has_found(reply, point) for reply in told.replies)


def _has_found(reply: Reply, point: Point) -> bool:
    return reply.point.get("file") not in (None, point.file)


def listing(workspace: Workspace) -> list[tuple[Point, Standing]]:
    """Every point of the store with its standing; programs that never heard of a probe are not woken."""
    points = wanted(workspace)
    found = programs(workspace) if points else []
    answers = _asked(found, lambda one: _all_points(workspace, one))
    told = []
    for point in points:
        replies = [
            _of(process, point.id, answer)
            for process, answer in zip(found, answers, strict=True)
            if answer is not None
        ]
        has_ended = point.standing.status == EXPIRED
        ended = Standing(EXPIRED, "", point.standing.status_message, replies)
        told.append((point, ended if has_ended else summed(replies)))
    return told


def health(workspace: Workspace, process: Mapping[str, Any]) -> dict[str, Any]:
    """What a program says of itself: its /health; {} of one that never was asked, or is silent."""
    if not process["socket"]:
        return {}
    try:
        status, document = ask(workspace, process, "GET", "/health")
    except NoAnswer:
        return {}
    return document or {} if status == 200 else {}


def healths(workspace: Workspace, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same of several, all at the same time."""
    return _asked(found, lambda one: health(workspace, one))


def _asked(found: Sequence[dict[str, Any]], question: Callable[[dict[str, Any]], Any]) -> list[Any]:
    if not found:
        return []
    with ThreadPoolExecutor(min(len(found), _MOST_ASKED), "devtrace-ask") as threads:
        return list(threads.map(question, found))


def _reply(workspace: Workspace, process: dict[str, Any], point_id: str, timeout_s: float) -> Reply | None:
    """It may have to take the point in first: a point that it does not know yet is asked for again.

    None: the program has ended meanwhile, and says nothing of any point.
    """
    until = time.monotonic() + timeout_s
    while True:
        try:
            status, document = ask(
                workspace, process, "GET", f"/points/{point_id}", timeout_s=max(until - time.monotonic(), 0.1)
            )
        except Ended:
            return None
        except NoAnswer as silence:
            return Reply(process, SILENT, "", silence.reason, {})
        told = document or {}
        if status == 200:
            return _read(process, told)
        if time.monotonic() > until:
            return Reply(process, SILENT, str(told.get("code", "")), "it does not know the probe yet", {})
        time.sleep(_PAUSE_S)  # it reads the file again by itself, and tells nobody


def _all_points(workspace: Workspace, process: dict[str, Any]) -> list[Any] | str | None:
    """Its points, or why it tells none; None: it has ended meanwhile."""
    try:
        _, document = ask(workspace, process, "GET", "/points")
    except Ended:
        return None
    except NoAnswer as silence:
        return silence.reason
    points = (document or {}).get("points")
    return points if isinstance(points, list) else "its answer cannot be read"


def _of(process: dict[str, Any], point_id: str, answer: list[Any] | str) -> Reply:
    if isinstance(answer, str):
        return Reply(process, SILENT, "", answer, {})
    for point in answer:
        if isinstance(point, dict) and point.get("id") == point_id:
            return _read(process, point)
    return Reply(process, SILENT, "", "it does not know the probe yet", {})


def _read(process: dict[str, Any], point: dict[str, Any]) -> Reply:
    status, message = str(point.get("status", "")), str(point.get("statusMessage", ""))
    coded = _CODED.fullmatch(message) if status == ERROR else None
    code, message = (coded[1], coded[2]) if coded else ("", message)
    return Reply(process, status, code, message, point)
