"""Probes and programs as `--json` has them, and as the views show them.

A command line and a directory are read from the process itself, where nobody has looked for secrets in them:
they pass the policy of the store first.

Lives here: `Records`, `refused_record`, `redacted_words`. Not here: finding out (probe_standing.py,
probe_processes.py), the words for people (views/probe.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from devtrace.policy.chain import Policy
from devtrace.probes.fields import Refused
from devtrace.probes.point import Point
from devtrace.services.probe_client import CANNOT_WAKE
from devtrace.services.probe_processes import programs, unreachable
from devtrace.services.probe_standing import REFUSED, Reply, Standing, healths
from devtrace.workspace import Workspace

_PROBE = ("id", "type", "file", "line", "condition", "hitCondition", "watch", "tags", "enabled",
          "rateLimit", "maxHits", "created", "expiresAt")  # fmt: skip


class Records:
    """Those of one store. `policy`: what is a secret in it."""

    def __init__(self, workspace: Workspace, policy: Policy):
        self._workspace = workspace
        self._policy = policy

    def probe(self, point: Point, told: Standing, hits: int) -> dict[str, Any]:
        """A point and how far it came, as `probe list` has it. `hits`: that the store has."""
        known = point.as_json()
        return {
            **{name: known[name] for name in _PROBE},
            "location": point.settings["location"],
            "logMessage": point.message,
            "status": told.status,
            "code": told.code,
            "statusMessage": told.message,
            "hits": hits,
            "installed": told.installed,
            "processes": [self._reply(reply) for reply in told.replies],
        }

    def was_set(
        self,
        point: Point,
        told: Standing,
        hits: Sequence[dict[str, Any]] = (),
        errors: Sequence[dict[str, Any]] = (),
    ) -> dict[str, Any]:
        """A point that was set, as `probe add` has it. `hits`, `errors`: documented events."""
        others = [self._shown(one._asdict()) for one in unreachable(self._workspace)]
        return {
            "id": point.id,
            "status": told.status,
            "code": told.code,
            "message": told.message,
            "details": {},
            "expires_us": point.expires_ns // 1000,
            "processes": [self._reply(reply) for reply in told.replies],
            "unreachable": [_some(one, "pid", "python", "argv", "reason") for one in others],
            "hits": list(hits),
            "errors": list(errors),
        }

    def programs(self) -> list[dict[str, Any]]:
        """The programs of the store as `probe ps` has them: those that can be asked first."""
        found = programs(self._workspace)
        answers = healths(self._workspace, found)
        told = [_program(self._shown(one), known) for one, known in zip(found, answers, strict=True)]
        for other in unreachable(self._workspace):
            shown = self._shown(other._asdict())
            told.append({**shown, "engine": "", "because": "", "points": 0, "reachable": False})
        return told

    def _reply(self, reply: Reply) -> dict[str, Any]:
        shown = _some(self._shown(reply.process), "pid", "python", "argv", "session", "span")
        return {**shown, "status": reply.status, "code": reply.code, "message": reply.message}

    def _shown(self, process: Mapping[str, Any]) -> dict[str, Any]:
        argv, cwd = redacted_words(self._policy, process["argv"]), self._policy.redact_text(process["cwd"])
        return {**process, "argv": argv, "cwd": cwd}


def redacted_words(policy: Policy, words: Sequence[str]) -> list[str]:
    """A command line without secrets: a word may be one because of the word before it."""
    line = policy.redact_text(shlex.join(words))
    try:
        return [policy.redact_text(word) for word in shlex.split(line)]
    except ValueError:  # a marker stands in the place of a quote
        return [line]


def refused_record(refused: Refused) -> dict[str, Any]:
    """A point that was not set, as `probe add` has it."""
    empty: dict[str, Any] = {"expires_us": None, "processes": [], "unreachable": [], "hits": [], "errors": []}
    told = {"status": REFUSED, "code": refused.code, "message": refused.message, "details": refused.details}
    return {"id": None, **told, **empty}


def _program(process: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    engine, points = known.get("engine"), known.get("points")
    can_wake = process["wakes"] or process["socket"]
    return {
        **_some(process, "pid", "python", "argv", "cwd", "session", "span", "engine"),
        "because": str(engine.get("because", "")) if isinstance(engine, dict) else "",
        "points": points.get("total", 0) if isinstance(points, dict) else 0,
        "reachable": bool(can_wake),
        "reason": "" if can_wake else CANNOT_WAKE,
    }


def _some(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: record[name] for name in names}
