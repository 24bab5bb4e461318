"""What somebody typed becomes a point: its place, its texts, its limits.

A file is looked for from the current directory, from the root of the store's tree, and then as the only one
below that root whose path ends so. Where it is found its lines and functions are known, and a line without
code is refused at once. What is found nowhere may still be known to a program.

Lives here: `Asked`, `point_of`, `grammar`. Not here: setting it (probe.py), a point (probes/point.py).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from devtrace.errors import UsageError
from devtrace.probes.expressions import parse
from devtrace.probes.fields import LOGPOINT, TRACEPOINT, Refused
from devtrace.probes.hiding import hides_name
from devtrace.probes.limits import HitCount
from devtrace.probes.locations import BadLocation, Location, mapped, parse_location, with_slashes
from devtrace.probes.places import File, functions_named, spot_of_line
from devtrace.probes.point import Grammar, Point, point_from_json
from devtrace.probes.template import parse_template

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/([smh]))?(?::(\d{1,9}))?", re.ASCII)
_MOST_FILES = 50_000  # that are looked at below the root
_MOST_CANDIDATES = 10
_NOT_LOOKED_INTO = {"node_modules", "__pycache__", "venv", "site-packages"}


class Asked(NamedTuple):
    """The words of `probe add`, as they were typed; None: not given."""

    location: str
    condition: str | None = None
    log: str | None = None
    watch: Sequence[str] = ()
    hit: str | None = None
    rate: str | None = None
    max_hits: int | None = None
    ttl: str | None = None
    tags: Sequence[str] = ()
    depth: int | None = None
    properties: int | None = None
    string: int | None = None
    nearest: bool = False
    maps: Sequence[str] = ()


def grammar(hides_text: Callable[[str], bool] | None = None) -> Grammar:
    """How the texts of a point are read. `hides_text`: which of them hold a secret, and are refused."""
    return Grammar(parse, parse_template, HitCount, hides_name, hides_text)


class Made(NamedTuple):
    """A point; `is_nowhere`: its file is not on this disk, so that only a program may know it."""

    point: Point
    is_nowhere: bool


def point_of(asked: Asked, here: Path, root: Path, grammar: Grammar) -> Made:
    """The point, its file absolute where it is on this disk.

    Raises Refused as `point_from_json`, and INVALID_LOCATION, INVALID_LINE, FUNCTION_NOT_FOUND,
    AMBIGUOUS_FILE; UsageError ERR_USAGE for an option that cannot be read.
    """
    kind, body = _body(asked)
    point_from_json(kind, {**body, "location": "x:1"}, time.time_ns, grammar)  # the texts first
    place, is_nowhere = _located(asked, here, root)
    return Made(point_from_json(kind, {**body, **_place(place)}, time.time_ns, grammar), is_nowhere)


def nowhere(point: Point) -> Refused:
    """What is said of a file that neither this disk nor any program has."""
    file = point.where.rpartition(":")[0]
    message = f"{file} is found nowhere; name it from here or from the root, or say --map FROM=TO"
    return Refused(404, "FILE_NOT_FOUND", message, {"file": file})


def seconds(text: str) -> float:
    """`90s`, `1h`, `1h30m`; a bare number is seconds. Raises UsageError ERR_USAGE."""
    plain = text.strip().lower()
    if _SPAN.fullmatch(plain):
        parts = re.findall(r"([\d.]+)([smhd])", plain)
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if re.fullmatch(r"\d+(?:\.\d+)?", plain):
        return float(plain)
    raise _unread("--ttl", text, "write 90s, 15m, 1h or 1h30m")


def rate(text: str) -> dict[str, Any]:
    """`10/s`, `10/s:5` with five at once, `30/m`. Raises UsageError ERR_USAGE."""
    found = _RATE.fullmatch(text.strip().lower())
    if found is None:
        raise _unread("--rate", text, "write 10/s, 30/m, or 10/s:5 for five at once")
    number, unit, burst = found.groups()
    told: dict[str, Any] = {"limitPerSecond": float(number) / _SECONDS[unit or "s"]}
    return {**told, "burst": int(burst)} if burst else told


def _unread(option: str, text: str, hint: str) -> UsageError:
    return UsageError(
        f"cannot read {text!r} as {option}", code="ERR_USAGE", hint=hint, context={"option": option}
    )


def _body(asked: Asked) -> tuple[str, dict[str, Any]]:
    sizes = {"maxDepth": asked.depth, "maxProperties": asked.properties, "maxStringLength": asked.string}
    given = {
        "condition": asked.condition,
        "message": asked.log,
        "hitCondition": asked.hit,
        "rateLimit": None if asked.rate is None else rate(asked.rate),
        "maxHits": asked.max_hits,
        "ttlSeconds": None if asked.ttl is None else seconds(asked.ttl),
        "watch": list(asked.watch) or None,
        "tags": list(asked.tags) or None,
        "snapshot": {name: size for name, size in sizes.items() if size is not None} or None,
        "nearest": asked.nearest,
    }
    body = {name: value for name, value in given.items() if value is not None and value is not False}
    return TRACEPOINT if asked.log is None else LOGPOINT, body


# --- where ------------------------------------------------------------------------------------------------


def _located(asked: Asked, here: Path, root: Path) -> tuple[Location, bool]:
    """The place, checked as far as the disk knows it, and whether the disk does not know its file at all."""
    maps = [_pair(text) for text in asked.maps]
    try:
        place = parse_location(asked.location)
    except BadLocation as error:
        raise Refused(400, "INVALID_LOCATION", f"Invalid location: {error}", {"field": "location"}) from None
    if place.module:
        found, is_nowhere = _module(place.module, here, root), False
    else:
        found = _found(with_slashes(place.file), here, root)
        target = mapped(place.file, maps)
        is_mapped = target != with_slashes(place.file)
        is_nowhere = not found and not is_mapped
        place.file = target if is_mapped else found or place.file
    if found:
        _check(found, place, asked.nearest)
    return place, is_nowhere


def _place(place: Location) -> dict[str, Any]:
    if place.file and place.line:
        return {"file": place.file, "line": place.line}
    return {"location": str(place)}


def _pair(text: str) -> tuple[str, str]:
    source, equals, target = text.partition("=")
    if not (source and equals and target):
        raise _unread("--map", text, "write FROM=TO, such as --map .=/srv/app")
    return source, target


def _found(file: str, here: Path, root: Path) -> str:
    """Its real path, "" where it is not on this disk. Raises Refused AMBIGUOUS_FILE."""
    for folder in (here, root):
        if (folder / file).is_file():
            return os.path.realpath(folder / file)
    if Path(file).is_absolute():
        return ""
    return _only(file, _ending(root, "/" + file.lstrip("./")))


def _module(name: str, here: Path, root: Path) -> str:
    """The file of a module, where there is only one that it can be; a program knows better."""
    inner = name.replace(".", "/")
    for end in (f"{inner}.py", f"{inner}/__init__.py"):
        for folder in (here, root):
            if (folder / end).is_file():
                return os.path.realpath(folder / end)
        ends = _ending(root, "/" + end)
        if ends:
            return ends[0] if len(ends) == 1 else ""
    return ""


def _only(file: str, candidates: Sequence[str]) -> str:
    if len(candidates) > 1:
        shown = list(candidates[:_MOST_CANDIDATES])
        message = f"{file} may be {' or '.join(shown)}: name more of its path"
        raise Refused(409, "AMBIGUOUS_FILE", message, {"file": file, "candidates": shown})
    return candidates[0] if candidates else ""


def _ending(root: Path, ending: str) -> list[str]:
    """The files below the root whose paths end so, in order; as far as one may look."""
    return sorted(path for path in _files(root) if path.endswith(ending))


def _files(root: Path) -> Iterator[str]:
    left = _MOST_FILES
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _NOT_LOOKED_INTO]
        left -= len(names)
        if left < 0:
            return
        for name in names:
            if name.endswith(".py"):
                yield f"{folder}/{name}"


def _check(path: str, place: Location, nearest: bool) -> None:
    """Raises Refused INVALID_LINE or FUNCTION_NOT_FOUND; what our own Python cannot read is not judged."""
    file = File(path, ())
    if file.source is None:
        return
    if place.function:
        functions_named(file, place.function)
    else:
        spot_of_line(file, place.line, nearest=nearest)
