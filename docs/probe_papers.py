"""The control API and the events of probes as papers, from the tables of the code: generate.py runs this.

Lives here: control-api.md, event-schema.json. Not here: the tables (devtrace/probes/routes.py, fields.py,
schema.py).
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from devtrace.probes import fields as probe_fields
from devtrace.probes import routes
from devtrace.probes.point import Grammar, point_from_json
from devtrace.probes.schema import ENVELOPE, EVENTS, Member

REACHING = """\
A Python program can be asked when it was started in a traced shell, or called `devtrace.probes.start()`. It
then answers over HTTP/1.1, JSON in and JSON out. Whoever may ask reads all that the program knows: being let
in is as much as being its debugger.

**Over a unix socket**, which is the default: it is open to your user alone, and needs no token. The file
`.devtrace/run/python/PID` names it. While nobody asks, the program has neither a thread nor a socket; SIGURG
makes both, a moment later.

```console
$ kill -URG 4711
$ curl --unix-socket "$(jq -r .socket .devtrace/run/python/4711)" http://localhost/points
```

**Over TCP**, after `start()`: on 127.0.0.1, at port 5001 unless `control_api_port` or
`DEBUGIN_CONTROL_API_PORT` says another. Every request but `GET /health` needs the token of the store.

```console
$ curl -H "Authorization: Bearer $(cat .devtrace/run/control.token)" http://127.0.0.1:5001/points
$ curl -H "Authorization: Bearer $(cat .devtrace/run/control.token)" -H "Content-Type: application/json" \\
    -d '{"file": "app/handlers.py", "line": 42, "condition": "args[0] > 3"}' http://127.0.0.1:5001/tracepoints
```

`DEVTRACE_PROBE_INSECURE=1` does without the token on loopback. `DEBUGIN_CONTROL_API_BIND_ALL=1` listens for
other machines too, and never without a token. A Host that is not this machine's own, and an Origin or a
Sec-Fetch-Site of another page, are always refused: no page in a browser can ask. There are no CORS
headers."""


def control_parts(table: Callable[..., str]) -> Iterator[str]:
    """The control API: its routes, the fields of its bodies, its errors. `table` makes one in Markdown."""
    yield from (
        "Tracepoints and logpoints in a running Python program: set, listed, changed and removed.",
        "## Reaching a program",
        REACHING,
        "## Routes",
        "A body is a JSON object of at most 64 KiB and needs `Content-Type: application/json`. HEAD is "
        "answered as GET is, without the body.",
        table(("method and path", "meaning", "success"), map(route_row, routes.ROUTES)),
        *itertools.chain.from_iterable(map(route_parts, routes.ROUTES)),
        "## Fields of a probe",
        "`null` is as good as not given where a field has a default. A field that is not known is not "
        "refused: the answer names it in `ignored`. PUT takes any of those that can be changed.",
        table(("field", "wants", "default", "changed by PUT", "meaning"), probe_rows()),
        "## A point in an answer",
        "Later versions may add fields. `hitCount` counts the hits that were told, `totalHits` those too "
        "that a limit held back. Of a probe in several processes each answers for itself.",
        f"```json\n{json.dumps(example_point(), indent=2)}\n```",
        "## Errors",
        'Every error is `{"error": SENTENCE, "code": CODE, "details": {...}}`; `details` is left out where '
        f"there are none. Any request may be answered by {codes_of(routes.EVERYWHERE)}.",
        table(
            ("code", "status", "what happened"),
            [(f"`{code}`", f"{status}", meaning) for code, (status, meaning) in routes.CODES.items()],
        ),
    )


BODIES = {
    "": "",
    "tracepoint": "[a tracepoint](#fields-of-a-probe); `file` and `line`, or `location`, are needed",
    "logpoint": "[a logpoint](#fields-of-a-probe); `message` too is needed",
    "change": "any of [the fields](#fields-of-a-probe) that can be changed",
    "tags": '`{"tags": ["checkout"]}`',
    "id": '`{"id": "..."}`',
    "config": "any of `rateLimit`, `snapshot`, `ttlSeconds`",
}


POINT = "[the point](#a-point-in-an-answer)"
SWITCHED = '`{"id": "...", "enabled": %s, "message": "Point %s"}`'
ANSWERS = {
    ("GET", "/health"): "`{status, agent, features, broker, eventSink, uptime, engine, points, pid, ...}`; "
    "`uptime` is in seconds",
    ("GET", "/points"): '`{"points": [...], "total": 2}`, each as [below](#a-point-in-an-answer)',
    ("POST", "/tracepoints"): POINT,
    ("POST", "/logpoints"): POINT,
    ("GET", "/points/{id}"): POINT,
    ("PUT", "/points/{id}"): POINT,
    ("POST", "/points/{id}/enable"): SWITCHED % ("true", "enabled"),
    ("POST", "/points/{id}/disable"): SWITCHED % ("false", "disabled"),
    ("DELETE", "/points/{id}"): "without a body",
    ("POST", "/tags/enable"): '`{"enabled": 2, "message": "2 points enabled"}`',
    ("POST", "/tags/disable"): '`{"disabled": 2, "message": "2 points disabled"}`',
    ("POST", "/points/enable"): '`{"ok": true}`',
    ("POST", "/points/disable"): '`{"ok": true}`',
    ("POST", "/points/remove"): '`{"ok": true}`',
    ("POST", "/config"): '`{"ok": true}`, and what it did not know as `ignored`',
}


def route_row(route: routes.Route) -> tuple[str, ...]:
    anchor = re.sub(r"[^a-z0-9 -]", "", f"{route.method} {route.path}".lower()).replace(" ", "-")
    return f"[`{route.method} {route.path}`](#{anchor})", route.meaning, f"{route.status}"


def route_parts(route: routes.Route) -> Iterator[str]:
    """The paragraph of one route."""
    yield f"### `{route.method} {route.path}`"
    yield route.meaning + (" Another name, for clients that have it." if route.body == "id" else "")
    lines = [f"- Body: {BODIES[route.body]}."] if route.body else []
    lines.append(f"- Success: {route.status}, {ANSWERS[route.method, route.path]}.")
    own = (*routes.OF_BODIES[route.body], *route.errors)
    yield "\n".join([*lines, f"- Errors: {codes_of(own)}."] if own else lines)


def codes_of(codes: Iterable[str]) -> str:
    """`400 INVALID_JSON, ...`, by status."""
    told = sorted((routes.CODES[code][0], code) for code in codes)
    groups = itertools.groupby(told, key=lambda pair: pair[0])
    return "; ".join(f"{status} {', '.join(f'`{code}`' for _, code in pairs)}" for status, pairs in groups)


def probe_rows() -> Iterator[tuple[str, ...]]:
    """The fields of a body, the parts of an object below it; other names of one last."""
    for field in sorted(probe_fields.FIELDS, key=lambda field: field.sets != field.name):
        default = "" if field.default is None else f"`{json.dumps(field.default)}`"
        of = "" if len(field.kinds) > 1 else f" *({field.kinds[0]}s only)*"
        changes = "yes" if field.can_change else "no"
        yield f"`{field.name}`", field.shape.wants, default, changes, field.meaning + of
        for part, shape in field.parts.items() if field.sets == field.name else ():
            yield f"`{field.name}.{part}`", shape.wants, "", changes, ""


def example_point() -> dict[str, Any]:
    """A logpoint as it is answered."""
    body = {"id": "lp-1", "file": "app/handlers.py", "line": 42, "message": "user {user.id}"}
    noon = 1_767_268_800 * 10**9  # 2026-01-01T12:00:00Z
    point = point_from_json("logpoint", body, lambda: noon, Grammar(str, lambda text, _: text, str))
    return {**point.as_json(), "pid": 4711}


def event_schema() -> str:
    """The JSON Schema of the events of probes: what all have, and an entry of `$defs` a name."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Written by docs/generate.py from the code: `make docs`.",
        "title": "Events of probes",
        "description": "What a sink is sent, and `probe tail --json` prints. Later versions may add members.",
        **object_schema(ENVELOPE),
    }
    schema["properties"]["timestamp"]["pattern"] = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
    schema["properties"]["id"]["format"] = "uuid"
    schema["properties"]["name"]["enum"] = list(EVENTS)
    schema["oneOf"] = [{"$ref": f"#/$defs/{name}"} for name in EVENTS]
    schema["$defs"] = {
        name: {
            "description": meaning,
            "properties": {"name": {"const": name}, "payload": object_schema(members)},
            "required": ["name", "payload"],
        }
        for name, (meaning, members) in EVENTS.items()
    }
    return json.dumps(schema, indent=2) + "\n"


def object_schema(members: Iterable[Member]) -> dict[str, Any]:
    """The schema of an object with these members, whose paths lead into it: `stack[].file`."""
    top: dict[str, Any] = {"type": "object"}
    for member in members:
        holder = top
        *outer, name = member.path.split(".")
        for step in outer:
            holder = holder["properties"][step.removesuffix("[]")]
            holder = holder.setdefault("items", {"type": "object"}) if step.endswith("[]") else holder
        types = member.type.split("|")
        shape: dict[str, Any] = {} if types == ["any"] else {"type": types[0] if len(types) == 1 else types}
        shape["description"] = member.meaning
        if member.is_ours:
            shape["$comment"] = "DevTrace's own"
        holder.setdefault("properties", {})[name] = shape
        if member.is_required:
            holder.setdefault("required", []).append(name)
    return top
