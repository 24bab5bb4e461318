"""Probes in words: a hit in full, the list of probes, the programs, how far a probe came.

Lives here: `probe_rows` for one event, `probe_lines`, `program_lines`, `set_lines`. Not here: finding out
(services/probe*.py), values (probe_values.py), a hit in one line (events/probe.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from devtrace.views import words
from devtrace.views.console import Line, Piece
from devtrace.views.layout import Cells, Column, lay_out
from devtrace.views.probe_values import value_line, value_lines
from devtrace.views.safe import first_line, safe

Row = dict[str, Any]
Labelled = list[tuple[str, Line]]

ID = 8  # digits of a probe's id that are shown
_STATUS: dict[str, Piece] = {
    "installed": ("installed", "good"),
    "pending": ("pending", "warning"),
    "error": ("error", "failed"),
    "refused": ("refused", "failed"),
    "expired": ("expired", "dim"),
    "silent": ("silent", "warning"),
}
_PROBES = (
    Column(),  # id
    Column(),  # status
    Column(flex=True),  # where and what
    Column(drop=2),  # tags
    Column(right=True),  # hits
    Column(drop=1),  # until
)
_PROBE_HEADINGS = ("id", "status", "where", "tags", "hits", "until")
_LABEL = 9  # columns of a word before what it names
_MOST_LINES = 24  # of one snapshot in a list
_PROGRAMS = (
    Column(right=True),  # pid
    Column(drop=1),  # python
    Column(),  # engine
    Column(right=True),  # probes
    Column(flex=True),  # command line
    Column(),  # command
)
_PROGRAM_HEADINGS = ("pid", "python", "engine", "probes", "program", "inside")


# --- one event ----------------------------------------------------------------------------------------------


def probe_rows(event: Row) -> Labelled:
    """What a hit, an error or a status says beside its headline."""
    payload = _object(event["data"].get("payload"))
    rows: Labelled = [("probe", _probe(payload)), ("program", _program(event["data"]))]
    rows += _where(payload)
    rows += _texts(payload)
    snapshot = _object(payload.get("snapshot"))
    for name in ("arguments", "locals"):
        rows += _variables(name, snapshot.get(name))
    rows += _variables("watch", payload.get("watch"))
    if snapshot.get("returnValue") is not None or payload.get("at") == "return":
        rows.append(("returned", [(value_line(snapshot.get("returnValue")), "")]))
    rows += _exception(_object(snapshot.get("exception")))
    rows += _stack(payload.get("stack"))
    return rows


def hit_lines(event: Row) -> list[Line]:
    """What a snapshot found, to stand below its line in a list; nothing of any other event."""
    payload = _object(event["data"].get("payload"))
    snapshot = _object(payload.get("snapshot"))
    if not snapshot:
        return []
    rows = _variables("", snapshot.get("locals")) + _variables("watch", payload.get("watch"))
    if payload.get("at") == "return":
        rows.append(("returned", [(value_line(snapshot.get("returnValue")), "")]))
    rows += _exception(_object(snapshot.get("exception")))
    lines: list[Line] = [
        [(f"{'':10}{label:{_LABEL}}" if label else " " * 10, "dim"), *line] for label, line in rows
    ]
    left = len(lines) - _MOST_LINES
    if left > 0:
        more = f"{'':10}... and {words.count(left, 'more line')}; see devtrace show {event['id'][:ID]}"
        lines[_MOST_LINES:] = [[(more, "dim")]]
    return lines


def _probe(payload: Mapping[str, Any]) -> Line:
    line: Line = [(safe(_word(payload.get("probeId"))) or "-", "id")]
    told = [_word(payload.get("probeType"))]
    hits, total = payload.get("hitCount"), payload.get("totalHits")
    if _is_number(hits):
        told.append(f"hit {hits:,}")
        if _is_number(total) and total != hits:
            told.append(f"{total:,} with those that were held back")
    return [*line, (safe("".join(f", {one}" for one in told if one)), "dim")]


def _program(data: Mapping[str, Any]) -> Line:
    client = _object(data.get("client"))
    line: Line = [(safe(_word(client.get("applicationName")) or "?"), "")]
    told = [f"process {data['pid']}" if data.get("pid") is not None else ""]
    told.append(f"thread {data['thread']}" if data.get("thread") else "")
    told.append(f"python {client['runtimeVersion']}" if _word(client.get("runtimeVersion")) else "")
    told.append(f"on {client['hostname']}" if _word(client.get("hostname")) else "")
    return [*line, (safe("".join(f", {one}" for one in told if one)), "dim")]


def _where(payload: Mapping[str, Any]) -> Labelled:
    file, line = _word(payload.get("file")) or _word(payload.get("location")), payload.get("line")
    if not file:
        return []
    told: Line = [(safe(f"{file}:{line}" if _is_number(line) and line else file), "")]
    method = ".".join(filter(None, (_word(payload.get("className")), _word(payload.get("method")))))
    if method:
        told.append((f" in {safe(method)}", "dim"))
    duration = payload.get("durationNs")
    if _is_number(duration):
        told.append((f", took {words.duration(duration // 1000)}", "dim"))
    return [("place", told)]


def _texts(payload: Mapping[str, Any]) -> Labelled:
    rows: Labelled = []
    for label, name in (
        ("condition", "condition"),
        ("message", "message"),
        ("template", "messageTemplate"),
        ("error", "error"),
        ("variable", "failedVariable"),
        ("engine", "engine"),
        ("because", "because"),
    ):
        rows += _block(label, _word(payload.get(name)))
    errors = payload.get("errors")
    for one in errors if isinstance(errors, list) else ():
        told = _object(one)
        text = f"{{{_word(told.get('expression'))}}}: {_word(told.get('error'))}"
        rows.append(("failed", [(safe(text), "warning")]))
    dropped = payload.get("droppedCount")
    return [*rows, ("left out", [(words.count(dropped, "hit"), "")])] if _is_number(dropped) else rows


def _variables(label: str, names: Any) -> Labelled:
    if not isinstance(names, dict) or not names:
        return []
    left = names.get("__tpd_remaining__")
    shown = [(name, value) for name, value in names.items() if not name.startswith("__tpd_")]
    lines = [line for name, value in shown for line in value_lines(name, value)]
    if _is_number(left):
        lines.append(f"... and {left:,} more")
    return [(label if at == 0 else "", [(line, "")]) for at, line in enumerate(lines)]


def _exception(raised: Mapping[str, Any]) -> Labelled:
    if not _word(raised.get("type")):
        return []
    text = ": ".join(filter(None, (_word(raised.get("type")), _word(raised.get("message")))))
    return [("raised", [(safe(text), "failed")]), *_block("", _word(raised.get("stack")))]


def _stack(stack: Any) -> Labelled:
    frames = [one for one in stack if isinstance(one, dict)] if isinstance(stack, list) else []
    rows: Labelled = []
    for at, frame in enumerate(frames):
        line = frame.get("line")
        file = f"{_word(frame.get('file'))}:{line}" if _is_number(line) else _word(frame.get("file"))
        method = ".".join(filter(None, (_word(frame.get("className")), _word(frame.get("method")))))
        rows.append(("stack" if at == 0 else "", [(safe(file), ""), (f" in {safe(method)}", "dim")]))
    return rows


def _block(label: str, text: str) -> Labelled:
    lines = safe(text, keep="\n\t").split("\n") if text else []
    return [(label if at == 0 else "", [(words.shortened(line), "")]) for at, line in enumerate(lines)]


# --- lists --------------------------------------------------------------------------------------------------


def probe_lines(probes: Sequence[Row], width: int | None, *, root: str, now_us: int) -> list[Line]:
    """A heading and a line for each `probe` record."""
    rows = [Cells([[(heading, "dim")] for heading in _PROBE_HEADINGS])]
    rows += [_probe_cells(one, root, now_us) for one in probes]
    return lay_out(_PROBES, rows, width)


def program_lines(programs: Sequence[Row], width: int | None, short: Mapping[str, str]) -> list[Line]:
    """A heading and a line for each `program` record, those that cannot be asked with the reason below."""
    rows = [Cells([[(heading, "dim")] for heading in _PROGRAM_HEADINGS])]
    for one in programs:
        rows.append(_program_cells(one, short))
        if one["reason"]:
            rows.append(Cells([[], [], [], [], [(f"  {safe(one['reason'])}", "warning")], []]))
    return lay_out(_PROGRAMS, rows, width)


def _probe_cells(one: Row, root: str, now_us: int) -> Cells:
    return Cells(
        [
            [(safe(one["id"][:ID]), "id")],
            _standing(one),
            [(safe(where(one, root)), ""), *_what(one)],
            [(safe(" ".join(one["tags"])), "dim")],
            [(f"{one['hits']:,}", "")],
            [("" if one["status"] == "expired" else _until(one["expires_us"], now_us), "dim")],
        ]
    )


def _standing(one: Row) -> Line:
    if not one["enabled"] and one["status"] != "expired":
        return [("disabled", "dim")]
    known = _STATUS.get(one["status"], (safe(one["status"]), "warning"))
    asked = len(one["processes"])
    return [known, (f" {one['installed']}/{asked}", "dim")] if asked else [known]


def _what(one: Row) -> Line:
    line: Line = [("  ", ""), (first_line(one["logMessage"]) if one["logMessage"] else "snapshot", "dim")]
    if one["condition"]:
        line.append((f" if {first_line(one['condition'])}", "dim"))
    if one["statusMessage"] and one["status"] not in ("installed", "expired"):
        line.append((f"  {first_line(one['statusMessage'])}", "warning"))
    return line


def _program_cells(one: Row, short: Mapping[str, str]) -> Cells:
    inside = short.get(one["span"]) or short.get(one["session"]) or ""
    return Cells(
        [
            [(str(one["pid"]), "")],
            [(safe(one["python"]), "dim")],
            [(safe(one["engine"]), "good") if one["reachable"] else ("-", "warning")],
            [(f"{one['points']:,}" if one["points"] else "", "")],
            [(safe(shlex.join(one["argv"])), "")],
            [(inside, "id")],
        ]
    )


def where(one: Mapping[str, Any], root: str) -> str:
    """The place as the reader knows it: a file of this tree from its root on."""
    inside = root.rstrip("/") + "/"
    if one["location"] or not one["file"]:
        return str(one["location"] or "?").removeprefix(inside)
    return f"{str(one['file']).removeprefix(inside)}:{one['line']}"


def _until(expires_us: int, now_us: int) -> str:
    """The time of day; with the date where it is another day."""
    is_today = words.day(expires_us) == words.day(now_us)
    return words.clock(expires_us) if is_today else words.stamp(expires_us)


# --- one that was set ---------------------------------------------------------------------------------------


def set_lines(told: Row, place: str, now_us: int) -> list[Line]:
    """How far a probe came, of a `probe_set` record: a sentence, and a line for each program it is not in."""
    line: Line = [("Set probe ", ""), (safe(told["id"][:ID]), "id"), (f" at {safe(place)}: ", "")]
    processes = told["processes"]
    installed = sum(one["status"] == "installed" for one in processes)
    if not processes:
        until = _until(told["expires_us"], now_us)
        text = f"no Python program of this store runs; it is set for those that start until {until}."
        return [[*line, (text, "warning")], *map(_other, told["unreachable"])]
    number = words.count(len(processes), "process", "processes")
    if installed:
        all_of_them = f"{installed} of {number}" if installed < len(processes) else number
        line.append((f"installed in {all_of_them}.", "good"))
    else:
        status, _ = _STATUS.get(told["status"], (safe(told["status"]), ""))
        line.append((f"{status} in {number}.", "warning"))
    return [line, *map(_process, _not_installed(processes)), *_counted(told["unreachable"])]


def _not_installed(processes: Sequence[Row]) -> list[Row]:
    return [one for one in processes if one["status"] != "installed" or one["message"]]


def _process(one: Row) -> Line:
    status, style = _STATUS.get(one["status"], (safe(one["status"]), "warning"))
    message = f": {safe(one['message'])}" if one["message"] else ""
    return [(f"  {one['pid']}  {safe(shlex.join(one['argv']))}  ", "dim"), (f"{status}{message}", style)]


def _other(one: Row) -> Line:
    head = f"  {one['pid']}  {safe(shlex.join(one['argv']))}  "
    return [(head, "dim"), (f"cannot be asked: {safe(one['reason'])}", "warning")]


def _counted(others: Sequence[Row]) -> list[Line]:
    if not others:
        return []
    number = words.count(len(others), "other Python of this store", "other Pythons of this store")
    return [[(f"  {number} cannot be asked; why: devtrace probe ps", "dim")]]


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
