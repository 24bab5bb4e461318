"""The fields of a probe's JSON body: what each may be, what it is when not given, and what it means.

A table, so that reading a body, telling what was wrong with it and writing the reference are the same rows.
`null` is as good as not given where a field has a default. A field that nobody knows is not refused, since
other clients have their own, but it is named in the answer: a misspelt `condition` would be no condition.

Lives here: the table, reading a body by it, and what a refusal is. Not here: what a probe is (points.py),
whether its expressions are any good (expressions.py). Standard library only: guests import this.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

TRACEPOINT, LOGPOINT = "tracepoint", "logpoint"
KINDS = (TRACEPOINT, LOGPOINT)

RATE_LIMIT: dict[str, int | float] = {"limitPerSecond": 10, "burst": 1}
SNAPSHOT: dict[str, int | float] = {
    "maxDepth": 3,
    "maxProperties": 100,
    "maxStringLength": 1024,
    "maxFrames": 20,
}
TTL_SECONDS = 3600
CPU_PERCENT = 10  # of one core: a condition of 250 ns that is asked 400,000 times a second

_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL")
_LONGEST_TEXT = 4096  # characters, of a path, an expression or a message
_LONGEST_TAG = 64
_MOST_TAGS = 32
_MOST_WATCHES = 20
_LAST_LINE = 10_000_000
_MOST_HITS = 1_000_000
_LONGEST_TTL_S = 30 * 24 * 3600
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # stands in a path of the API as it is
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Refused(Exception):
    """Why a request is answered with an error: an HTTP status, a stable code, a sentence, plain details."""

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, object] | None = None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})

    def as_json(self) -> dict[str, Any]:
        """The envelope of every error: `{error, code, details?}`."""
        shape: dict[str, Any] = {"error": self.message, "code": self.code}
        return {**shape, "details": self.details} if self.details else shape


class Shape:
    """What a value may be: `wants` in words, and `read`, which raises ValueError for any other."""

    __slots__ = ("read", "wants")

    def __init__(self, wants: str, read: Callable[[Any], Any]):
        self.wants = wants
        self.read = read


def _whole(least: int, most: int, *, none_at_zero: bool = False) -> Shape:
    def read(value: Any) -> int | None:
        if type(value) is not int or not least <= value <= most:  # `true` is an int to isinstance
            raise ValueError
        return None if none_at_zero and value == 0 else value

    return Shape(f"a whole number from {least} to {most}", read)


def _number(least: float, most: float, *, part: int = 1, none_at_zero: bool = False) -> Shape:
    def read(value: Any) -> int | float | None:
        if type(value) not in (int, float) or not least <= value <= most:
            raise ValueError
        if none_at_zero and value == 0:
            return None
        return value if part == 1 else value / part  # type: ignore[no-any-return]  # an int or a float

    return Shape(f"a number from {least:g} to {most}", read)


def _text(most: int = _LONGEST_TEXT, *, shape: re.Pattern[str] | None = None, wants: str = "") -> Shape:
    def read(value: Any) -> str:
        if type(value) is not str or not value.strip() or len(value) > most or _UNPRINTABLE.search(value):
            raise ValueError
        if shape and not shape.fullmatch(value):
            raise ValueError
        return value

    return Shape(wants or f"a text of 1 to {most} characters", read)


def _texts(most: int, longest: int) -> Shape:
    one = _text(longest)

    def read(value: Any) -> list[str]:
        if type(value) is not list or len(value) > most:
            raise ValueError
        return list(dict.fromkeys(one.read(text) for text in value))

    return Shape(f"a list of at most {most} texts of 1 to {longest} characters", read)


def _level(value: Any) -> str:
    if type(value) is not str or value.upper() not in _LEVELS:
        raise ValueError
    return value.upper()


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _condition(value: Any) -> str | None:
    return None if value == "" and type(value) is str else _text().read(value)  # "" is how some say "none"


def _hit_condition(value: Any) -> str:
    text: str = _text(32).read(str(value) if type(value) is int else value)
    return text


_FLAG = Shape("true or false", _flag)
_RATE = {"limitPerSecond": _number(0.001, 1_000_000), "burst": _whole(1, 100_000)}
_SNAPSHOT = {
    "maxDepth": _whole(0, 20),
    "maxProperties": _whole(0, 10_000),
    "maxStringLength": _whole(0, 65_536),
    "maxFrames": _whole(0, 200),
}
_OTHER_NAMES = {"maxProps": "maxProperties"}


class Field:
    """One field: the setting it sets, what it may be, and the code of the refusal if it is something else.

    `parts` is of a field that is an object; `shape` is then what any part wants.
    """

    __slots__ = ("can_change", "code", "complaint", "default", "kinds", "meaning", "name", "parts", "sets",
                 "shape")  # fmt: skip

    def __init__(
        self,
        name: str,
        shape: Shape,
        meaning: str,
        *,
        sets: str = "",
        default: object = None,
        kinds: tuple[str, ...] = KINDS,
        can_change: bool = True,
        parts: Mapping[str, Shape] | None = None,
        code: str = "INVALID_FIELD",
        complaint: str = "",
    ):
        self.name = name
        self.shape = shape
        self.meaning = meaning
        self.sets = sets or name
        self.default = default
        self.kinds = kinds
        self.can_change = can_change
        self.parts = parts or {}
        self.code = code
        self.complaint = complaint

    def read(self, value: object) -> Any:
        """The value as a setting. Raises Refused, 400 with this field's code."""
        try:
            return self.shape.read(value)
        except ValueError:
            raise self.refused(self.name, self.shape.wants) from None

    def merged(self, value: object, before: Mapping[str, Any], ignored: list[str]) -> dict[str, Any]:
        """An object's parts over those before; raises Refused for a part that is not what it may be."""
        if type(value) is not dict:
            raise self.refused(self.name, self.shape.wants)
        after = dict(before)
        parts: dict[str, Any] = value
        for written, given in parts.items():
            name = _OTHER_NAMES.get(written, written)
            if name not in self.parts:
                ignored.append(f"{self.name}.{written}")
            elif given is not None:
                after[name] = self._part(name, written, given)
        return after

    def _part(self, name: str, written: str, given: object) -> Any:
        try:
            return self.parts[name].read(given)
        except ValueError:
            raise self.refused(f"{self.name}.{written}", self.parts[name].wants) from None

    def refused(self, path: str, wants: str) -> Refused:
        """What is said of a value that does not fit."""
        message = self.complaint or f"Invalid field: {path} must be {wants}"
        return Refused(400, self.code, message, {"field": path, "wants": wants})


def _object(parts: Mapping[str, Shape]) -> Shape:
    return Shape(f"an object with {', '.join(parts)}", dict)


# What a field of the same setting says later wins, so that a documented name outdoes its other name.
FIELDS = (
    Field("id", _text(64, shape=_ID, wants="1 to 64 of A-Z a-z 0-9 . _ -"),
          "What the probe is called; minted when not given.", can_change=False),
    Field("file", _text(), "The file, as a path or as its end.", can_change=False),
    Field("line", _whole(1, _LAST_LINE), "The line, from 1 on.", can_change=False, code="INVALID_LINE",
          complaint="Invalid line number: line must be >= 1"),
    Field("location", _text(), "Instead of file and line: path:line, module:line, module:function@entry.",
          can_change=False),
    Field("condition", Shape("an expression or null", _condition), "Hits count only where this is true."),
    Field("hitCondition", Shape("such as 5, ==5, >5, >=5, <5, <=5 or %3", _hit_condition),
          "Which of those hits are told."),
    Field("log_expression", _text(), "A message with {{x}} for {x}.", kinds=(LOGPOINT,)),
    Field("message", _text(), "The message, with {expressions}.", kinds=(LOGPOINT,)),
    Field("level", Shape(f"one of {', '.join(_LEVELS)}", _level), "The level that a message is given.",
          default="INFO", kinds=(LOGPOINT,)),
    Field("stdout_enabled", _FLAG, "Taken and not heeded: nothing is printed into the program's output.",
          kinds=(LOGPOINT,), default=False),
    Field("tags", _texts(_MOST_TAGS, _LONGEST_TAG), "What the probe can be found by.", default=()),
    Field("enabled", _FLAG, "Whether it is on.", default=True),
    Field("sample", _object(_RATE), "Another name of rateLimit.", sets="rateLimit", parts=_RATE),
    Field("rateLimit", _object(_RATE), "How many hits a second are told, and how many at once.",
          default=RATE_LIMIT, parts=_RATE),
    Field("snapshot", _object(_SNAPSHOT), "How much of the values and the stack is kept.", default=SNAPSHOT,
          parts=_SNAPSHOT),
    Field("watch", _texts(_MOST_WATCHES, _LONGEST_TEXT), "Expressions whose values are kept too.",
          default=()),
    Field("expire_hit_count", _whole(0, _MOST_HITS, none_at_zero=True), "Another name of maxHits; 0: none.",
          sets="maxHits"),
    Field("maxHits", _whole(1, _MOST_HITS), "After so many hits told it has expired."),
    Field("expire_duration_ms", _number(0, _LONGEST_TTL_S * 1000, part=1000, none_at_zero=True),
          "ttlSeconds in milliseconds; 0: as if not given.", sets="ttlSeconds"),
    Field("ttlSeconds", _number(0.001, _LONGEST_TTL_S), "After so many seconds it has expired.",
          default=TTL_SECONDS),
    Field("cpuPercent", _number(0.01, 100), "How much of the time its hits may take before it is disabled.",
          default=CPU_PERCENT),
    Field("nearest", _FLAG, "Whether a line without code means the next one with code.", default=False,
          can_change=False),
    Field("file_hash", _text(128), "SHA-256 of the file, as who set the probe has it.", can_change=False),
)  # fmt: skip
BY_NAME = {field.name: field for field in FIELDS}
# What only an answer says: a client may send back all that it was told, changed in one place.
TOLD = frozenset(("type", "created", "hitCount", "totalHits", "droppedCount", "lastHit", "status",
                  "statusMessage", "resolved", "requestedLine", "expiresAt", "pid", "ignored"))  # fmt: skip


_DEFAULTS = {field.name: field.default for field in FIELDS if field.sets == field.name}
_NEVER_NULL = ("id", "file", "line", "location", "message", "log_expression")


def defaults() -> dict[str, Any]:
    """Every setting as it is when nothing is given."""
    return dict(_DEFAULTS)


def read_body(
    kind: str, body: Mapping[str, Any], before: Mapping[str, Any], *, is_change: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """The settings before, with what the body says of them; and the names in it that say nothing.

    Raises Refused: INVALID_FIELD, INVALID_LINE.
    """
    settings = dict(before)
    ignored = [name for name in body if name not in BY_NAME and name not in TOLD]
    for field in FIELDS:
        if field.name not in body:
            continue
        value = body[field.name]
        if kind not in field.kinds:
            raise Refused(400, "INVALID_FIELD", f"Invalid field: a {kind} has no {field.name}",
                          {"field": field.name})  # fmt: skip
        if is_change and not field.can_change:
            _held(field, value, before)
        elif field.parts and value is not None:
            settings[field.sets] = field.merged(value, settings[field.sets], ignored)
        else:
            read = None if value is None and field.name not in _NEVER_NULL else field.read(value)
            settings[field.sets] = _DEFAULTS[field.sets] if read is None else read
    if body.get("stdout_enabled"):
        ignored.append("stdout_enabled")
    return settings, ignored


def _held(field: Field, value: object, before: Mapping[str, Any]) -> None:
    if value != before[field.sets] and not (field.name == "line" and value == before.get("requestedLine")):
        message = f"Invalid field: {field.name} cannot be changed; remove the point and set another"
        raise Refused(400, "INVALID_FIELD", message, {"field": field.name})


def check_required(kind: str, settings: Mapping[str, Any]) -> None:
    """Raises Refused 400 MISSING_FIELD for a body that does not say where, or not what to log."""
    missing = [] if settings["location"] else [name for name in ("file", "line") if settings[name] is None]
    if kind == LOGPOINT and settings["message"] is None and settings["log_expression"] is None:
        missing.append("message")
    for name in missing[:1]:
        raise Refused(400, "MISSING_FIELD", f"Missing required field: {name}", {"field": name})
