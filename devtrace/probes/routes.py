"""The control API as a table of routes: a request's parts in, a status and a JSON document out.

Lives here: the routes, the codes of their errors, `Routes.answer`. Not here: sockets, tokens
and headers, what a body's fields may be (fields.py), the points (points.py). Standard library only: a guest
imports this.
"""

from __future__ import annotations

import json
import os
import sys

from devtrace.probes import http
from devtrace.probes.fields import KINDS, LOGPOINT, TRACEPOINT, Refused
from devtrace.probes.points import as_object

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn, Protocol

    from devtrace.probes.points import Placed, Point, Points

    Answer = tuple[int, dict[str, Any] | None]

    class State(Protocol):
        """What the routes ask of the process around them."""

        engine_name: str
        engine_because: str
        version: str
        started_ns: int  # since the epoch
        is_free_threaded: bool
        broker_url: str | None

        def sink_status(self) -> Mapping[str, Any]:
            """At least `{connected, url}`."""

        def health(self) -> Mapping[str, Any]:
            """What else /health tells."""

        def place(self, point: Point) -> Placed | None:
            """Where it sits; None: not known yet. Raises Refused, such as FILE_NOT_FOUND."""


MOST_BYTES = 65_536  # of a body

AGENT = "tracepointdebug"  # the name that clients of this API look for

CODES: dict[str, tuple[int, str]] = {
    **http.CODES,
    "INVALID_JSON": (400, "The body is no JSON object."),
    "MISSING_FIELD": (400, "A field that is needed is not there."),
    "INVALID_FIELD": (400, "A field is not what it may be, or cannot be changed."),
    "INVALID_LINE": (400, "The line is no whole number from 1 on, or there is no code on it."),
    "INVALID_LOCATION": (400, "The location is none."),
    "INVALID_QUERY": (400, "A filter of the list is unknown, or has no such value."),
    "UNAUTHORIZED": (401, "The bearer token is missing or wrong."),
    "FORBIDDEN": (403, "The Host or Origin of the request is not this machine's own."),
    "FILE_NOT_FOUND": (404, "No such file is loaded, on sys.path or below the current directory."),
    "FUNCTION_NOT_FOUND": (404, "The file defines no function of that name; the details list some."),
    "POINT_NOT_FOUND": (404, "No point has this id."),
    "ROUTE_NOT_FOUND": (404, "There is nothing at this path."),
    "METHOD_NOT_ALLOWED": (405, "The path takes other methods; the details list them."),
    "AMBIGUOUS_FILE": (409, "More than one file ends so; the details list them."),
    "DUPLICATE_ID": (409, "A point has this id."),
    "BODY_TOO_LARGE": (413, f"The body is longer than {MOST_BYTES} bytes."),
    "UNSUPPORTED_MEDIA_TYPE": (415, "The body is not said to be application/json."),
    "INVALID_CONDITION": (422, "The condition, or an expression to watch, cannot be read."),
    "INVALID_TEMPLATE": (422, "The message cannot be read."),
    "INVALID_HIT_CONDITION": (422, "The hit condition cannot be read."),
    "HIDDEN_NAME": (422, "An expression reads what has a secret's name."),
    "HIDDEN_VALUE": (422, "A text holds a secret itself, and would be written to the disk."),
    "TOO_MANY_POINTS": (429, "There are as many points as there may be."),
    "INTERNAL_ERROR": (500, "A bug of ours; the program goes on."),
}


class Call:
    """A request as its handler sees it: the `{id}` of the path, the raw query, the body if one is taken."""

    __slots__ = ("body", "id", "query")

    def __init__(self, point_id: str, query: str, body: object):
        self.id = point_id
        self.query = query
        self.body = body


class Route:
    """One line of the API. `body` names what it takes: "" nothing, or tracepoint, logpoint, change, tags, id,
    config. `errors` are its own, beside those of its body and of every request."""

    __slots__ = ("answer", "body", "errors", "is_open", "meaning", "method", "path", "status")

    def __init__(
        self,
        method: str,
        path: str,
        answer: Callable[[Routes, Call], Answer],
        meaning: str,
        *,
        body: str = "",
        status: int = 200,
        errors: tuple[str, ...] = (),
        is_open: bool = False,
    ):
        self.method = method
        self.path = path
        self.answer = answer
        self.meaning = meaning
        self.body = body
        self.status = status
        self.errors = errors
        self.is_open = is_open  # it needs no token

    def fits(self, path: str) -> str | None:
        """The `{id}` of the path, "" where the route has none; None: it is another path."""
        before, brace, after = self.path.partition("{id}")
        if not brace:
            return "" if path == self.path else None
        point_id = path[len(before) : len(path) - len(after)]
        return point_id if point_id and "/" not in point_id and path == before + point_id + after else None


class Routes:
    """The API over the points. `answer` raises nothing."""

    def __init__(self, points: Points, state: State):
        self.points = points
        self.state = state
        self.failures = 0  # answers of 500

    def answer(self, method: str, path: str, query: str = "", body: bytes = b"") -> Answer:
        """Status and document of a request; None: an answer without a body.

        `path` is as it stands in the request, without the query; `query` is what follows its "?".
        """
        try:
            route, point_id = find_route(method, path)
            call = Call(point_id, query, read_json(body) if route.body else None)
            return route.answer(self, call)
        except Refused as refused:
            return refused.status, refused.as_json()
        except Exception as error:  # the program is somebody's, and goes on
            self.failures += 1
            return 500, {"error": f"Internal error: {type(error).__name__}", "code": "INTERNAL_ERROR"}


def find_route(method: str, path: str) -> tuple[Route, str]:
    """The route and the id in its path. Raises Refused: 404 ROUTE_NOT_FOUND, 405 METHOD_NOT_ALLOWED."""
    here = [(route, point_id) for route in ROUTES if (point_id := route.fits(path)) is not None]
    for route, point_id in here:
        if route.method == method:
            return route, point_id
    if not here:
        raise Refused(404, "ROUTE_NOT_FOUND", f"Not found: {path[:200]}")
    allowed = sorted({route.method for route, _ in here})
    raise Refused(405, "METHOD_NOT_ALLOWED", f"Not allowed here: {method[:20]}", {"allowed": allowed})


def read_json(body: bytes) -> dict[str, Any]:
    """The object of a body. Raises Refused: 400 INVALID_JSON, 413 BODY_TOO_LARGE."""
    if len(body) > MOST_BYTES:
        raise Refused(
            413, "BODY_TOO_LARGE", f"The body is longer than {MOST_BYTES} bytes", {"most": MOST_BYTES}
        )
    try:
        read = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "INVALID_JSON", f"Invalid JSON: {_of_json(error)}") from None
    return as_object(read)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _of_json(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (line {error.lineno}, column {error.colno})"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _health(api: Routes, _: Call) -> Answer:
    state, points = api.state, api.points
    sink = state.sink_status()
    return 200, {
        **state.health(),
        "status": "healthy",
        "agent": {
            "name": AGENT,
            "version": state.version,
            "runtime": "python",
            "runtimeVersion": ".".join(map(str, sys.version_info[:3])),
        },
        "features": {
            "tracepoints": True,
            "logpoints": True,
            "conditions": True,
            "rateLimit": True,
            "freeThreaded": state.is_free_threaded,
        },
        "broker": {"connected": False, "url": state.broker_url},
        "eventSink": dict(sink),
        "uptime": max(0, points.clock() - state.started_ns) // 1_000_000_000,
        "engine": {"name": state.engine_name, "because": state.engine_because},
        "points": {"total": len(points), "live": sum(point.is_live for point in points.listed())},
        "pid": os.getpid(),
    }


def _points(api: Routes, call: Call) -> Answer:
    asked = _filters(call.query)
    enabled = [value == "true" for value in asked["enabled"]]
    found = api.points.listed(kinds=asked["type"], enabled=enabled, tags=asked["tag"])
    return 200, {"points": [point.as_json() for point in found], "total": len(found)}


_FILTERS: dict[str, tuple[str, ...]] = {"type": KINDS, "enabled": ("true", "false"), "tag": ()}


def _filters(query: str) -> dict[str, list[str]]:
    """Filter -> its values; a misspelt one is refused, for it would show all. Raises Refused 400."""
    from urllib.parse import parse_qsl  # not before somebody asks

    asked: dict[str, list[str]] = {name: [] for name in _FILTERS}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise Refused(400, "INVALID_QUERY", "Invalid query: too many filters") from None
    for name, value in pairs:
        if name not in _FILTERS:
            raise _bad_query(f"there is no filter {name[:64]}", {"filters": list(_FILTERS)})
        if _FILTERS[name] and value not in _FILTERS[name]:
            raise _bad_query(f"{name} must be {' or '.join(_FILTERS[name])}", {"filter": name})
        asked[name].append(value)
    return asked


def _bad_query(why: str, details: dict[str, Any]) -> Refused:
    return Refused(400, "INVALID_QUERY", f"Invalid query: {why}", details)


def _set_tracepoint(api: Routes, call: Call) -> Answer:
    return _set(api, TRACEPOINT, call.body)


def _set_logpoint(api: Routes, call: Call) -> Answer:
    return _set(api, LOGPOINT, call.body)


def _set(api: Routes, kind: str, body: object) -> Answer:
    point = api.points.made(kind, body)
    placed = api.state.place(point)
    point = api.points.add(point.placed(placed) if placed else point)
    return 201, _now(api, point)


def _now(api: Routes, point: Point) -> dict[str, Any]:
    """The point after those who were told of it have placed it."""
    return (api.points.get(point.id) or point).as_json()


def _point(api: Routes, call: Call) -> Answer:
    return 200, api.points.find(call.id).as_json()


def _change(api: Routes, call: Call) -> Answer:
    return 200, _now(api, api.points.change(call.id, call.body))


def _enable(api: Routes, call: Call) -> Answer:
    point = api.points.enable(call.id)
    return 200, {"id": point.id, "enabled": point.enabled, "message": "Point enabled"}


def _disable(api: Routes, call: Call) -> Answer:
    point = api.points.disable(call.id)
    return 200, {"id": point.id, "enabled": point.enabled, "message": "Point disabled"}


def _remove(api: Routes, call: Call) -> Answer:
    api.points.remove(call.id)
    return 204, None


def _enable_tagged(api: Routes, call: Call) -> Answer:
    number = api.points.switch_tagged(_tags(call), True)
    return 200, {"enabled": number, "message": f"{number} points enabled"}


def _disable_tagged(api: Routes, call: Call) -> Answer:
    number = api.points.switch_tagged(_tags(call), False)
    return 200, {"disabled": number, "message": f"{number} points disabled"}


def _tags(call: Call) -> list[str]:
    tags = _needed(call, "tags")
    if type(tags) is not list or not all(type(tag) is str for tag in tags):
        message = "Invalid field: tags must be a list of texts"
        raise Refused(400, "INVALID_FIELD", message, {"field": "tags", "wants": "a list of texts"})
    return tags


def _enable_named(api: Routes, call: Call) -> Answer:
    api.points.enable(_named(call))
    return 200, {"ok": True}


def _disable_named(api: Routes, call: Call) -> Answer:
    api.points.disable(_named(call))
    return 200, {"ok": True}


def _remove_named(api: Routes, call: Call) -> Answer:
    api.points.remove(_named(call))
    return 200, {"ok": True}


def _named(call: Call) -> str:
    point_id = _needed(call, "id")
    if type(point_id) is not str:
        raise Refused(400, "INVALID_FIELD", "Invalid field: id must be a text", {"field": "id"})
    return point_id


def _needed(call: Call, name: str) -> Any:
    body = as_object(call.body)
    if name not in body:
        raise Refused(400, "MISSING_FIELD", f"Missing required field: {name}", {"field": name})
    return body[name]


def _configure(api: Routes, call: Call) -> Answer:
    ignored = api.points.configure(as_object(call.body))
    return 200, {"ok": True, **({"ignored": [name[:64] for name in ignored[:20]]} if ignored else {})}


_OF_PLACES = (
    "FILE_NOT_FOUND",
    "FUNCTION_NOT_FOUND",
    "AMBIGUOUS_FILE",
    "INVALID_LOCATION",
    "DUPLICATE_ID",
    "TOO_MANY_POINTS",
)
_NO_POINT = ("POINT_NOT_FOUND",)

ROUTES = (
    Route("GET", "/health", _health, "How the agent is, without a token.", is_open=True),
    Route("GET", "/points", _points, "The points; ?type=, ?enabled=, ?tag= (repeatable) choose some.",
          errors=("INVALID_QUERY",)),
    Route("POST", "/tracepoints", _set_tracepoint, "Set a tracepoint.", body=TRACEPOINT, status=201,
          errors=_OF_PLACES),
    Route("POST", "/logpoints", _set_logpoint, "Set a logpoint.", body=LOGPOINT, status=201,
          errors=_OF_PLACES),
    Route("GET", "/points/{id}", _point, "One point.", errors=_NO_POINT),
    Route("PUT", "/points/{id}", _change, "Change what the body names.", body="change", errors=_NO_POINT),
    Route("POST", "/points/{id}/enable", _enable, "Enable a point.", errors=_NO_POINT),
    Route("POST", "/points/{id}/disable", _disable, "Disable a point.", errors=_NO_POINT),
    Route("DELETE", "/points/{id}", _remove, "Remove a point.", status=204, errors=_NO_POINT),
    Route("POST", "/tags/enable", _enable_tagged, "Enable the points with one of the tags.", body="tags"),
    Route("POST", "/tags/disable", _disable_tagged, "Disable the points with one of the tags.", body="tags"),
    Route("POST", "/points/enable", _enable_named, "Enable a point by its id in the body.", body="id",
          errors=_NO_POINT),
    Route("POST", "/points/disable", _disable_named, "Disable a point by its id in the body.", body="id",
          errors=_NO_POINT),
    Route("POST", "/points/remove", _remove_named, "Remove a point by its id in the body.", body="id",
          errors=_NO_POINT),
    Route("POST", "/config", _configure, "Set rateLimit, snapshot and ttlSeconds of points to come.",
          body="config"),
)  # fmt: skip
# What a body of each kind can be refused with.
OF_BODIES: dict[str, tuple[str, ...]] = {
    "": (),
    TRACEPOINT: ("INVALID_JSON", "MISSING_FIELD", "INVALID_LINE", "INVALID_FIELD", "INVALID_CONDITION",
                 "INVALID_HIT_CONDITION", "HIDDEN_NAME", "HIDDEN_VALUE"),
    LOGPOINT: ("INVALID_JSON", "MISSING_FIELD", "INVALID_LINE", "INVALID_FIELD", "INVALID_CONDITION",
               "INVALID_HIT_CONDITION", "HIDDEN_NAME", "HIDDEN_VALUE", "INVALID_TEMPLATE"),
    "change": ("INVALID_JSON", "INVALID_FIELD", "INVALID_CONDITION", "INVALID_HIT_CONDITION",
               "HIDDEN_NAME", "HIDDEN_VALUE", "INVALID_TEMPLATE"),
    "tags": ("INVALID_JSON", "MISSING_FIELD", "INVALID_FIELD"),
    "id": ("INVALID_JSON", "MISSING_FIELD", "INVALID_FIELD"),
    "config": ("INVALID_JSON", "INVALID_FIELD"),
}  # fmt: skip
EVERYWHERE = (*http.CODES, "UNAUTHORIZED", "FORBIDDEN", "ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED",
              "BODY_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE", "INTERNAL_ERROR")  # fmt: skip
