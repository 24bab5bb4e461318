"""A probe as people set it.

    pending ──> installed ──> expired      its time or its hits are used up
       └────────────┴───────> error        it has no place, or costs too much

Both go back to pending when the point is enabled again; an expired one also when it is given more.

A `Point` is what was asked for; a change makes another one, so that a hit never sees half of it. What
happened to it (`Standing`) is one object for all of them, so that a change loses no count and needs nothing
armed anew.

Lives here: making a point of a JSON body, changing it, its JSON, its form for the store, when it has ended.
Not here: the table of the fields (fields.py), all points together (points.py). Standard library only: guests
import this.
"""

from __future__ import annotations

import os
import time

from devtrace.probes.fields import BY_NAME, LOGPOINT, Refused, check_required, defaults, read_body

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

PENDING, INSTALLED, ERROR, EXPIRED, REMOVED = "pending", "installed", "error", "expired", "removed"

_MOST_IGNORED = 20  # unknown names that an answer repeats
_SECOND = 1_000_000_000


class Grammar:
    """How texts are read: `condition(text)`, `template(text, is_mustache)` and `hit_count(text)`.

    Each raises an exception with `message` and perhaps `column`, or a ValueError, for a text that is none.
    `hides_name` tells which names are a secret's: what reads one of them (`names` and `members` of what was
    read) is refused, for each answer of a condition would tell a bit of the secret. `hides_text` tells which
    texts hold a secret themselves: a point is written to the disk.
    """

    __slots__ = ("condition", "hides_name", "hides_text", "hit_count", "template")

    def __init__(
        self,
        condition: Callable[[str], Any],
        template: Callable[[str, bool], Any],
        hit_count: Callable[[str], Any],
        hides_name: Callable[[str], bool] | None = None,
        hides_text: Callable[[str], bool] | None = None,
    ):
        self.condition = condition
        self.hides_text = hides_text
        self.hides_name = hides_name
        self.template = template
        self.hit_count = hit_count


class Standing:
    """What happened to a point in this process. Counts are raised by who hits, without a lock."""

    __slots__ = ("dropped_count", "hit_count", "is_told", "last_hit_ns", "resolved", "status",
                 "status_message", "total_hits")  # fmt: skip

    def __init__(self) -> None:
        self.status = PENDING
        self.status_message = ""
        self.is_told = False  # whether anybody was told of its status
        self.resolved: list[dict[str, Any]] = []  # {file, line, qualname}
        self.hit_count = 0  # hits that were told
        self.total_hits = 0  # those too that a limit held back
        self.dropped_count = 0
        self.last_hit_ns: int | None = None


class Placed:
    """Where a point was found to sit. `file` and `line` None: as they were asked for."""

    __slots__ = ("file", "line", "resolved", "status", "status_message")

    def __init__(
        self,
        status: str = PENDING,
        status_message: str = "",
        *,
        resolved: Iterable[dict[str, Any]] = (),
        file: str | None = None,
        line: int | None = None,
    ):
        self.status = status
        self.status_message = status_message
        self.resolved = list(resolved)
        self.file = file
        self.line = line


class Point:
    """A tracepoint or logpoint as it was asked for. Nothing of it changes but its `standing`.

    `condition`, `template`, `watches` [(text, expression)] and `hit_rule` are compiled, or None where
    there is nothing to ask; their texts are in `settings`. Times are nanoseconds since the epoch.
    """

    __slots__ = ("condition", "created_ns", "enabled", "expires_ns", "file", "hit_rule", "hits_until", "id",
                 "ignored", "kind", "line", "requested_line", "settings", "standing", "tags", "template",
                 "watches")  # fmt: skip

    def __init__(self, kind: str, settings: dict[str, Any], created_ns: int, expires_ns: int):
        self.kind = kind
        self.settings = settings
        self.created_ns = created_ns
        self.expires_ns = expires_ns
        self.id: str = settings["id"]
        self.file: str | None = settings["file"]  # None: `location` says where, and was not found yet
        self.line: int | None = settings["line"]
        self.requested_line: int | None = None  # where somebody wanted it, if that line has no code
        self.enabled: bool = settings["enabled"]
        self.tags = tuple(settings["tags"])
        self.hits_until: int | None = settings["maxHits"]  # at this `hit_count` it has expired
        self.standing = Standing()
        self.ignored: list[str] = []
        self.condition: Any = None
        self.template: Any = None
        self.hit_rule: Any = None
        self.watches: list[tuple[str, Any]] = []

    @property
    def is_live(self) -> bool:
        """Whether a hit of it counts."""
        return self.enabled and self.standing.status not in (EXPIRED, REMOVED)

    @property
    def is_mustache(self) -> bool:
        """Whether its message is written `{{x}}`."""
        return self.settings["message"] is None

    @property
    def message(self) -> str | None:
        """A logpoint's message as it was written; None of a tracepoint."""
        text: str | None = self.settings["message"] or self.settings["log_expression"]
        return text

    @property
    def where(self) -> str:
        """The place as people write it."""
        return self.settings["location"] or f"{self.file}:{self.requested_line or self.line}"

    def changed(self, body: Mapping[str, Any], clock: Callable[[], int], grammar: Grammar) -> Point:
        """The point as a PUT wants it. Raises Refused, 400 and 422; this one stays as it is."""
        settings, ignored = read_body(self.kind, body, self._known(), is_change=True)
        _one_message(settings, body, self.message)
        after = self._with(settings, grammar)
        after.ignored = ignored
        if body.get("ttlSeconds") is not None or body.get("expire_duration_ms"):
            after.expires_ns = clock() + _nanoseconds(settings["ttlSeconds"])
        if settings["maxHits"] != self.settings["maxHits"]:
            after.hits_until = settings["maxHits"]
        return after.renewed(clock()) if body.get("enabled") is True else after

    def switched(self, on: bool, now_ns: int) -> Point:
        """The point, enabled or disabled; one that expired is given its time and its hits again."""
        after = self._with({**self.settings, "enabled": on}, None)
        return after.renewed(now_ns) if on else after

    def placed(self, placed: Placed) -> Point:
        """The point where it was found to sit, with its standing told."""
        after = self._with(self.settings, None)
        after.file = placed.file or self.file
        if placed.line is not None and placed.line != self.line:
            after.requested_line = self.requested_line or self.line
            after.line = placed.line
        standing = self.standing
        standing.status, standing.status_message = placed.status, placed.status_message
        standing.resolved = placed.resolved
        return after

    def following(self, before: Point) -> Point:
        """This version of a point after another one: what happened to that one, and where it was found."""
        self.standing, self.requested_line = before.standing, before.requested_line
        if (self.settings["file"], self.settings["line"]) == (
            before.settings["file"],
            before.settings["line"],
        ):
            self.file, self.line = before.file, before.line
        if self.settings["hitCondition"] == before.settings["hitCondition"]:
            self.hit_rule = before.hit_rule
        if self.settings["maxHits"] == before.settings["maxHits"]:
            self.hits_until = before.hits_until
        return self.renewed(self.created_ns) if self.enabled else self

    def renewed(self, now_ns: int) -> Point:
        """This point, with what it has used up given again."""
        if self.expires_ns <= now_ns:
            self.expires_ns = now_ns + _nanoseconds(self.settings["ttlSeconds"])
        if self.hits_until is not None and self.hits_until <= self.standing.hit_count:
            self.hits_until = self.standing.hit_count + self.settings["maxHits"]
        return self

    def why_expired(self, now_ns: int) -> str:
        """Why it is at its end, as its status says it; "" while it is not."""
        if self.hits_until is not None and self.standing.hit_count >= self.hits_until:
            return f"{self.settings['maxHits']} hits were told"
        return "its time is over" if now_ns >= self.expires_ns else ""

    def as_json(self) -> dict[str, Any]:
        """The documented fields, and ours."""
        standing, settings = self.standing, self.settings
        shape = {
            "id": self.id,
            "type": self.kind,
            "file": self.file,
            "line": self.line,
            "condition": settings["condition"],
            "enabled": self.enabled,
            "tags": list(self.tags),
            "created": iso(self.created_ns),
            "hitCount": standing.hit_count,
            "rateLimit": dict(settings["rateLimit"]),
            "snapshot": dict(settings["snapshot"]),
            **self._message_as_json(),
            "status": standing.status,
            "statusMessage": standing.status_message,
            "resolved": list(standing.resolved),
            "totalHits": standing.total_hits,
            "droppedCount": standing.dropped_count,
            "lastHit": None if standing.last_hit_ns is None else iso(standing.last_hit_ns),
            "expiresAt": iso(self.expires_ns),
            "maxHits": settings["maxHits"],
            "hitCondition": settings["hitCondition"],
            "cpuPercent": settings["cpuPercent"],
            "watch": list(settings["watch"]),
            "pid": os.getpid(),
        }
        told = {"requestedLine": self.requested_line, "location": settings["location"]}
        told["ignored"] = [name[:64] for name in self.ignored[:_MOST_IGNORED]]
        return {**shape, **{name: value for name, value in told.items() if value}}

    def as_stored(self) -> dict[str, Any]:
        """Plain values that `point_from_stored` makes the same point of: what was asked for."""
        times = {"created_ns": self.created_ns, "expires_ns": self.expires_ns}
        given = {
            name: value
            for name, value in self.settings.items()
            if value is not None and self.kind in BY_NAME[name].kinds
        }
        return {"type": self.kind, **times, **given, "tags": list(self.tags), "watch": list(given["watch"])}

    def _message_as_json(self) -> dict[str, Any]:
        if self.kind != LOGPOINT:
            return {}
        told = {"message": self.message, "level": self.settings["level"]}
        return {**told, "log_expression": self.message} if self.is_mustache else told

    def _known(self) -> dict[str, Any]:
        """The settings as an answer tells them, so that they can be sent back."""
        return {**self.settings, "file": self.file, "line": self.line, "requestedLine": self.requested_line}

    def _with(self, settings: dict[str, Any], grammar: Grammar | None) -> Point:
        """Another version of the point; what is compiled is kept where there is no grammar."""
        asked = {**settings, **{name: self.settings[name] for name in ("file", "line")}}
        asked.pop("requestedLine", None)
        after = Point(self.kind, asked, self.created_ns, self.expires_ns)
        after.standing, after.ignored = self.standing, self.ignored
        after.file, after.line, after.requested_line = self.file, self.line, self.requested_line
        after.hits_until = self.hits_until
        if grammar:
            _compile(after, grammar)
        else:
            after.condition, after.template, after.watches = self.condition, self.template, self.watches
        if after.settings["hitCondition"] == self.settings["hitCondition"]:
            after.hit_rule = self.hit_rule  # it counts, and goes on counting
        return after


def point_from_json(
    kind: str,
    body: object,
    clock: Callable[[], int],
    grammar: Grammar,
    base: Mapping[str, Any] | None = None,
) -> Point:
    """A point of a documented body; `base` is what is set where the body says nothing.

    Raises Refused: 400 INVALID_JSON, MISSING_FIELD, INVALID_LINE, INVALID_FIELD; 422 INVALID_CONDITION,
    INVALID_TEMPLATE, INVALID_HIT_CONDITION, HIDDEN_NAME.
    """
    given = as_object(body)
    settings, ignored = read_body(kind, given, {**defaults(), **(base or {})})
    check_required(kind, settings)
    settings["id"] = settings["id"] or _new_id()
    _one_message(settings, given, None)
    now = clock()
    point = Point(kind, settings, now, now + _nanoseconds(settings["ttlSeconds"]))
    point.ignored = ignored
    _compile(point, grammar)
    return point


def point_from_stored(stored: Mapping[str, Any], clock: Callable[[], int], grammar: Grammar) -> Point:
    """The point of `as_stored`. Raises Refused as `point_from_json`, and 400 INVALID_FIELD for its times."""
    times = {name: stored.get(name) for name in ("created_ns", "expires_ns")}
    for name, value in times.items():
        if type(value) is not int:
            raise Refused(
                400, "INVALID_FIELD", f"Invalid field: {name} must be a whole number", {"field": name}
            )
    body = {name: value for name, value in stored.items() if name not in times}
    # That its texts hold no secret was seen when it was set, and looking takes a program's first 20 ms.
    known = Grammar(grammar.condition, grammar.template, grammar.hit_count, grammar.hides_name)
    point = point_from_json(str(stored.get("type")), body, clock, known)
    point.created_ns, point.expires_ns = stored["created_ns"], stored["expires_ns"]
    return point


def as_object(body: object) -> dict[str, Any]:
    """The body, if it is an object. Raises Refused 400 INVALID_JSON."""
    if type(body) is not dict:
        raise Refused(400, "INVALID_JSON", "Invalid JSON: the body must be an object")
    return body


def iso(time_ns: int) -> str:
    """A time as an event has it: `2026-11-22T06:34:05.123Z`."""
    seconds, rest = divmod(time_ns, _SECOND)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1_000_000:03d}Z"


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _SECOND)


def _new_id() -> str:
    import uuid  # not before somebody sets a probe

    return str(uuid.uuid4())


def _one_message(settings: dict[str, Any], body: Mapping[str, Any], before: str | None) -> None:
    """Keep one of `message` and `log_expression`: who sends back all that he was told sends both."""
    message, mustache = body.get("message"), body.get("log_expression")
    if mustache is not None and message in (None, mustache, before):
        settings["message"] = None
    elif message is not None:
        settings["log_expression"] = None


def _compile(point: Point, grammar: Grammar) -> None:
    """Read the texts of the settings. Raises Refused 422."""
    settings, is_mustache, hides = point.settings, point.is_mustache, grammar.hides_name
    if grammar.hides_text is not None:
        _refuse_secrets(settings, grammar.hides_text)
    condition, rule, message = settings["condition"], settings["hitCondition"], point.message
    if condition is not None:
        point.condition = _read(grammar.condition, condition, "condition", "INVALID_CONDITION", hides)
    if rule is not None:
        point.hit_rule = _read(grammar.hit_count, rule, "hitCondition", "INVALID_HIT_CONDITION", None)
    if message is not None:
        name = "log_expression" if is_mustache else "message"
        point.template = _read(
            lambda text: grammar.template(text, is_mustache), message, name, "INVALID_TEMPLATE", hides
        )
    for index, text in enumerate(settings["watch"]):
        watch = _read(grammar.condition, text, f"watch[{index}]", "INVALID_CONDITION", hides)
        point.watches.append((text, watch))


def _refuse_secrets(settings: Mapping[str, Any], hides_text: Callable[[str], bool]) -> None:
    """Raises Refused 422 HIDDEN_VALUE for a text that holds a credential."""
    texts = {name: value for name, value in settings.items() if type(value) is str}
    for name in ("tags", "watch"):
        texts |= {f"{name}[{index}]": text for index, text in enumerate(settings[name])}
    for name, text in texts.items():
        if hides_text(text):
            message = f"Invalid {name}: it holds a secret, and would be written to the disk"
            raise Refused(422, "HIDDEN_VALUE", message, {"field": name})


def _read(
    parse: Callable[[str], Any], text: str, field: str, code: str, hides_name: Callable[[str], bool] | None
) -> Any:
    try:
        read = parse(text)
    except (RecursionError, MemoryError):  # what Python's own parser says of ((((((...
        raise Refused(422, code, f"Invalid {field}: it is nested too deeply", {"field": field}) from None
    except Exception as error:
        message = getattr(error, "message", None) or (str(error) if isinstance(error, ValueError) else "")
        if not message:  # none of the grammar's refusals, but a bug of ours
            raise
        column = getattr(error, "column", None)
        details = {"field": field} if column is None else {"field": field, "column": column}
        raise Refused(422, code, f"Invalid {field}: {message}", details) from None
    for name in sorted({*getattr(read, "names", ()), *getattr(read, "members", ())}):
        if hides_name and hides_name(name):
            message = f"Invalid {field}: {name} is a secret's name, and what it holds is not read"
            raise Refused(422, "HIDDEN_NAME", message, {"field": field, "name": name})
    return read
