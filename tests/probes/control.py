"""A process with probes and its control API, without a socket: for the tests of the routes."""

from __future__ import annotations

import json
import re
from typing import Any

from devtrace.probes.points import (
    Placed,
    Point,
    Points,
    Refused,
)
from devtrace.probes.routes import CODES, Routes
from tests.probes.grammars import GRAMMAR, HERE, NOON

LOG = {**HERE, "message": "User {user.id}"}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Process:
    """The process around the routes. `places`: file -> what is found there."""

    engine_name = "monitoring"
    engine_because = "Python has sys.monitoring"
    version = "0.4.0"
    started_ns = NOON
    is_free_threaded = False
    broker_url: str | None = None

    def __init__(self) -> None:
        self.places: dict[str | None, Placed | Refused] = {}
        self.asked: list[str] = []

    def sink_status(self) -> dict[str, Any]:
        return {"connected": True, "url": "http://127.0.0.1:4317"}

    def health(self) -> dict[str, Any]:
        return {"siblings": [7], "status": "overwritten"}

    def place(self, point: Point) -> Placed | None:
        self.asked.append(point.where)
        found = self.places.get(point.file)
        if isinstance(found, Refused):
            raise found
        return found


class Api:
    """Routes with a clock that stands still, spoken to as over HTTP."""

    def __init__(self) -> None:
        self.now = NOON
        self.process = Process()
        self.points = Points(lambda: self.now, GRAMMAR)
        self.routes = Routes(self.points, self.process)

    def __call__(self, request: str, body: Any = None) -> tuple[int, Any]:
        method, _, target = request.partition(" ")
        path, _, query = target.partition("?")
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        status, document = self.routes.answer(method, path, query, raw)
        return status, json.loads(json.dumps(document, allow_nan=False))

    def made(self, request: str = "POST /tracepoints", **body: Any) -> dict[str, Any]:
        status, point = self(request, {**(LOG if "log" in request else HERE), **body})
        assert status == 201, point
        return dict(point)


def is_error(answer: tuple[int, Any], status: int, code: str) -> bool:
    """Whether it is that error, in the envelope that all errors have."""
    given, document = answer
    assert set(document) <= {"error", "code", "details"}
    assert isinstance(document["error"], str)
    assert document["error"]
    assert (given, document["code"]) == (status, code)
    assert CODES[code][0] == status
    return True
