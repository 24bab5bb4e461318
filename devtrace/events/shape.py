"""What others wrote has the shape of its kind, or does not.

The spool belongs to every process of the user, and a frame of it may hold anything that JSON can. It is
looked at once, before it becomes an event, so that no reader has to expect a list where a text belongs.

Lives here: `check_body`, by the types of the kind's own class. Not here: the envelope's fields (envelope.py),
what becomes of a frame that does not fit (store/drain.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from devtrace.errors import UsageError
from devtrace.events.command import TIMING_BLOB
from devtrace.events.envelope import KINDS, Frame, body_from_data, is_int, is_moment

_DEEPEST = 64  # levels of objects and lists; SQLite reads 1,000, and Python as many as its stack has left
_Fits = Callable[[object], bool]
_PLAIN: dict[Any, _Fits] = {
    int: is_int,
    bool: lambda value: isinstance(value, bool),
    str: lambda value: isinstance(value, str),
    NoneType: lambda value: value is None,
}


def check_body(frame: Frame) -> Frame:
    """Return the frame when its times, data and blobs fit its kind; the envelope's types do already.

    Raises UsageError ERR_FRAME with the first field that is wrong. Of an unknown kind only what the policy
    and the store add to every kind is looked at, and no field that a newer version added to a known one.
    """
    for name in ("started_us", "ended_us"):
        if (moment := frame.get(name)) is not None and not is_moment(moment):
            raise unfit(name)
    data = frame["data"]
    if not is_shallow(data):
        raise unfit("data")
    for name, fits in _EVERY_KIND.items():
        if name in data and not fits(data[name]):
            raise unfit(f"data.{name}")
    body = KINDS.get(frame["kind"])
    if body is None:
        return frame
    wrong = _first_wrong(data, body)
    if wrong is not None:
        raise unfit(f"data.{wrong}")
    timing = (frame.get("blobs") or {}).get(TIMING_BLOB)
    if timing is not None and not _is_timing(timing):
        raise unfit(f"blobs.{TIMING_BLOB}")
    return frame


def titled(frame: Frame) -> Frame:
    """The frame with its headline, where a guest that knows no types left that to us."""
    if frame["title"] or frame["kind"] not in KINDS:
        return frame
    return {**frame, "title": body_from_data(frame["kind"], frame["data"]).headline()}


def is_shallow(value: object, room: int = _DEEPEST) -> bool:
    """Whether JSON-like data nests no deeper than every reader can follow."""
    if not isinstance(value, (dict, list)):
        return True
    deeper = [inner for inner in _inside(value) if isinstance(inner, (dict, list))]
    return room > 0 and (not deeper or all(is_shallow(inner, room - 1) for inner in deeper))


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value


def unfit(field: str) -> UsageError:
    """The error of a frame whose field of that name does not fit."""
    return UsageError(f"the frame's {field} does not fit", code="ERR_FRAME", context={"field": field})


# What the policy and the store add to the data of any kind. The store's `blobs` come from no frame.
_EVERY_KIND: dict[str, Callable[[Any], bool]] = {
    "redacted": lambda value: isinstance(value, list) and all(isinstance(rule, str) for rule in value),
    "blobs": lambda value: not value,
    "dropped": lambda value: isinstance(value, str),
    "truncated": lambda value: isinstance(value, dict) and all(map(is_int, value.values())),
}


def _first_wrong(data: Mapping[str, Any], cls: type[Any]) -> str | None:
    for name, is_needed, fits in _fields_of(cls):  # type: ignore[arg-type]
        if name not in data:
            if is_needed:
                return name
        elif not fits(data[name]):
            return name
    return None


@cache
def _fields_of(cls: type[Any]) -> list[tuple[str, bool, _Fits]]:
    """Each field's name, whether it must be there, and what fits: to read the hints takes its time."""
    hints = get_type_hints(cls)
    return [(item.name, item.default is MISSING, _fits(hints[item.name])) for item in fields(cls)]


def _fits(hint: Any) -> _Fits:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if is_dataclass(hint):
        return lambda value: isinstance(value, dict) and _first_wrong(value, hint) is None  # type: ignore[arg-type]
    if get_origin(hint) is UnionType:
        first, *others = (one for one in get_args(hint) if one is not NoneType)
        if not others and NoneType in get_args(hint):
            fits = _fits(first)
            return lambda value: value is None or fits(value)
    if get_origin(hint) is list:
        (inner,) = (_fits(one) for one in get_args(hint))
        return lambda value: isinstance(value, list) and all(map(inner, value))
    if get_origin(hint) is dict:
        return lambda value: isinstance(value, dict) and is_plain(value)
    raise TypeError(f"no frame holds a field of type {hint}")


def is_plain(value: object) -> bool:
    """Whether it is JSON that the chain can hold; how deep it is was looked at before."""
    if isinstance(value, dict):
        return all(isinstance(name, str) for name in value) and all(map(is_plain, value.values()))
    if isinstance(value, list):
        return all(map(is_plain, value))
    return any(fits(value) for fits in _PLAIN.values())


def _is_timing(payload: bytes) -> bool:
    try:
        steps = json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return isinstance(steps, list) and all(
        isinstance(step, list) and len(step) == 2 and all(map(is_moment, step)) for step in steps
    )
