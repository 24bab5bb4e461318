"""The clients' settings files: with our hooks, and without them. Text in, text out.

What stands in a file is the user's: ours is put in at the end of what is there and taken out again, and of
the rest no byte changes. Ours is a command line `<python> -I -S <...>/agent_hook.py AGENT EVENT || true`,
whatever the path, so that another installation of DevTrace replaces it and does not stand beside it.

Lives here: `HookFile`, `json_hooks` for the shape that Claude Code, Codex and Gemini share, `flat_hooks` for
Cursor's, `whole_file`.
Not here: reading and writing the files (services/agents.py), which events a client has (its adapter).
Standard library only: adapters import this.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any, NamedTuple, TypeGuard

from devtrace.errors import EnvironmentError

HOOK_FILE = "agent_hook.py"
_SECONDS = 10
# Python ends with 2 where its script is gone, and the clients take 2 for an order to stop what they are at.
_IN_ANY_CASE = ("||", "true")
_BOM = "\ufeff"
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class HookFile(NamedTuple):
    """One file that makes a client call our hook. The functions raise ERR_AGENT_HOOKS_FILE."""

    path: str  # relative to the repository
    merge: Callable[[str | None], str]  # the text with our hooks; None: there is no file yet
    without: Callable[[str], str | None]  # without them; None: nothing but ours was in it
    found: Callable[[str], dict[str, str]]  # which of ours are in it, by event
    is_executable: bool = False


def json_hooks(path: str, events: Iterable[str], command: Callable[[str], str], **extra: Any) -> HookFile:
    """`{"hooks": {EVENT: [{"matcher": "*", "hooks": [{"type": "command", "command": ...}]}]}}`.

    `command` gives the command line of an event, `extra` more fields of each handler: `timeout` in the
    client's unit (10 where none is given), `name`.
    """
    handler = {"type": "command", "command": "", "timeout": _SECONDS, **extra}
    lines = {event: _harmless(command(event)) for event in events}
    wanted = {
        event: {"matcher": "*", "hooks": [{**handler, "command": line}]} for event, line in lines.items()
    }
    return _json_file(path, wanted, {})


def flat_hooks(path: str, events: Iterable[str], command: Callable[[str], str], **beside: Any) -> HookFile:
    """`{"version": 1, "hooks": {EVENT: [{"command": ...}]}}`; `beside`: what stands beside "hooks"."""
    return _json_file(path, {event: {"command": _harmless(command(event))} for event in events}, beside)


def _harmless(command: str) -> str:
    return " ".join((command, *_IN_ANY_CASE))


def _json_file(path: str, wanted: dict[str, Any], beside: dict[str, Any]) -> HookFile:
    return HookFile(
        path,
        lambda text: _merged(path, text, wanted, beside),
        lambda text: _without(path, text, beside),
        lambda text: {spot.event: spot.command for spot in _ours(_body(path, text)[1])},
    )


def whole_file(path: str, text: str, marker: str, *, is_executable: bool = False) -> HookFile:
    """A file that is ours alone, known by `marker` in it; somebody else's of that name is not touched."""

    def merge(there: str | None) -> str:
        if there is not None and there.strip() and marker not in there:
            raise _error(path, "is there already and is not ours", "move it away, or give it another name")
        return text

    return HookFile(
        path,
        merge,
        lambda there: None if marker in there else there,
        lambda there: {path: there} if marker in there else {},
        is_executable,
    )


def is_ours(command: object) -> TypeGuard[str]:
    """Whether a command line is one that we register, of this installation or of another."""
    try:
        words = tuple(shlex.split(command)) if isinstance(command, str) else ()
    except ValueError:  # an open quote
        return False
    words = words[: -len(_IN_ANY_CASE)] if words[-len(_IN_ANY_CASE) :] == _IN_ANY_CASE else words
    return words[-5:-3] == ("-I", "-S") and PurePath(words[-3]).name == HOOK_FILE


# --- with ours, without ours ------------------------------------------------------------------------------


def _merged(path: str, text: str | None, wanted: dict[str, Any], beside: dict[str, Any]) -> str:
    mark, body = _body(path, text or "")
    there = [(spot.event, spot.item) for spot in _ours(body)]
    if text is not None and len(there) == len(wanted) and dict(there) == wanted:
        return text
    rest = _stripped(body)
    whole = {**beside, "hooks": {event: [item] for event, item in wanted.items()}}
    if not json.loads(rest):
        return mark + json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    settings = json.loads(rest)
    for name in whole:
        rest = rest if name in settings else _appended(rest, (), name, whole[name])
    for event, item in wanted.items() if "hooks" in settings else ():
        rest = _with_item(path, rest, event, item)
    return mark + rest


def _with_item(path: str, text: str, event: str, item: dict[str, Any]) -> str:
    hooks = json.loads(text)["hooks"]
    if not isinstance(hooks, dict) or not isinstance(hooks.get(event, []), list):
        raise _error(path, f'has something else than hooks at "hooks" or "{event}"', "put it right by hand")
    if event not in hooks:
        return _appended(text, ("hooks",), event, [item])
    return _appended(text, ("hooks", event), None, item)


def _without(path: str, text: str, beside: dict[str, Any]) -> str | None:
    mark, body = _body(path, text)
    rest = _stripped(body)
    if rest == body:
        return text
    return mark + rest if json.loads(rest) not in ({}, beside) else None


def _body(path: str, text: str) -> tuple[str, str]:
    """The byte order mark, and what is a JSON object; an empty file stands for an empty one."""
    mark, body = (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
    try:
        settings = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        why = f"is no plain JSON: {error}"
        raise _error(path, why, "take out comments and mistakes, or register by hand") from error
    if not isinstance(settings, dict):
        raise _error(path, "holds no JSON object", "put it right by hand")
    return mark, body if body.strip() else "{}"


def _error(path: str, why: str, hint: str) -> EnvironmentError:
    return EnvironmentError(
        f"{path} {why}",
        code="ERR_AGENT_HOOKS_FILE",
        hint=f"{hint}; it was left as it is",
        context={"path": path},
    )


# --- places in a text of JSON -----------------------------------------------------------------------------


class _Part(NamedTuple):
    """A member of an object, or an item of an array: from `start`, or where its name begins, to `end`."""

    start: int
    name: str | None
    at: int  # where the value begins
    end: int
    value: Any


_Step = tuple[list[_Part], int]


class _Spot(NamedTuple):
    """One handler of ours, and the parts that lead to it, each with those beside it."""

    event: str
    command: str
    item: dict[str, Any]  # of the event's list
    way: list[_Step]


def _parts(text: str, at: int) -> list[_Part]:
    """What stands in the object or array that begins at `at`; nothing where it is neither."""
    closing = {"{": "}", "[": "]"}.get(text[at])
    parts: list[_Part] = []
    here = _skip(text, at + 1)
    while closing and text[here] != closing:
        start, name = here, None
        if closing == "}":
            name, here = _DECODER.raw_decode(text, here)
            here = _skip(text, _skip(text, here) + 1)  # over the colon
        value, end = _DECODER.raw_decode(text, here)
        parts.append(_Part(start, name, here, end, value))
        here = _skip(text, end)
        here = _skip(text, here + 1) if text[here] == "," else here
    return parts


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _ours(text: str) -> Iterator[_Spot]:
    root = _parts(text, _skip(text, 0))
    for n, hooks in _named(root, "hooks"):
        events = _parts(text, hooks.at)
        for m, event in enumerate(events):
            items = _parts(text, event.at)
            for k, item in enumerate(items):
                way = [(root, n), (events, m), (items, k)]
                for command, last in _handlers(text, item):
                    yield _Spot(event.name or "", command, item.value, [*way, *last])


def _handlers(text: str, item: _Part) -> Iterator[tuple[str, list[_Step]]]:
    """Ours in one item of an event's list, and the way to them: it is one itself, or a group of them."""
    if not isinstance(item.value, dict):
        return
    if is_ours(command := item.value.get("command")):
        yield command, []
    for _, inner in _named(_parts(text, item.at), "hooks"):
        handlers = _parts(text, inner.at)
        for i, one in enumerate(handlers):
            if isinstance(one.value, dict) and is_ours(command := one.value.get("command")):
                yield command, [(handlers, i)]


def _named(parts: list[_Part], name: str) -> Iterator[tuple[int, _Part]]:
    return ((number, part) for number, part in enumerate(parts) if part.name == name)


def _stripped(text: str) -> str:
    """Without ours, and without what held nothing else."""
    while (spot := next(_ours(text), None)) is not None:
        way = spot.way
        while len(way) > 1 and len(way[-1][0]) == 1:
            way.pop()
        text = _cut(text, *way[-1])
    return text


def _cut(text: str, parts: list[_Part], number: int) -> str:
    """Without one part, and the comma and the blanks that it brought along."""
    part = parts[number]
    if number:
        return text[: parts[number - 1].end] + text[part.end :]
    if len(parts) > 1:
        return text[: part.start] + text[parts[1].start :]
    return text[: len(text[: part.start].rstrip())] + text[_skip(text, part.end) :]


def _appended(text: str, names: tuple[str, ...], name: str | None, value: object) -> str:
    """With one part more at the end of the object or array at `names`, indented as what is there."""
    at = _skip(text, 0)
    for one in names:  # of two of the same name the last counts
        at = next(part.at for part in reversed(_parts(text, at)) if part.name == one)
    parts = _parts(text, at)
    label = "" if name is None else json.dumps(name, ensure_ascii=False) + ": "
    if not parts:
        told = _told(text, at, label, value, _unit(text))
        lead = _lead(text, at)
        return text[: at + 1] + told + lead + text[_skip(text, at + 1) :]
    last = parts[-1]
    told = _told(text, last.start, label, value, "")
    return text[: last.end] + "," + told + text[last.end :]


def _told(text: str, at: int, label: str, value: object, deeper: str) -> str:
    """A value as it goes beside what stands at `at`: on one line where that has none of its own."""
    before = text[:at]
    if not deeper and "\n" not in before[len(before.rstrip()) :]:
        return " " + label + json.dumps(value, ensure_ascii=False)
    lead = _lead(text, at) + deeper
    written = json.dumps(value, indent=_unit(text), ensure_ascii=False)
    return lead + label + written.replace("\n", lead)


def _lead(text: str, at: int) -> str:
    """The end of a line and the indentation of the line of `at`."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return ("\r\n" if "\r\n" in text else "\n") + line[: len(line) - len(line.lstrip())]


def _unit(text: str) -> str:
    """By how much the file indents."""
    found = re.match(r"[ \t\r\n]*\{[ \t]*\r?\n([ \t]+)\S", text)
    return found[1] if found else "  "
