"""The clients' settings files: with our hooks, and without them. Text in, text out.

What stands in a file is the user's: ours is put in at the end of what is there and taken out again, and of
the rest no byte changes. Ours is a command line `<python> -I -S <...>/agent_hook.py AGENT EVENT || true`,
whatever the path, so that another installation of DevTrace replaces it and does not stand beside it.

Lives here: `HookFile`, `json_hooks` for the shape that Claude Code, Codex and Gemini share, `flat_hooks` for
Cursor's, `whole_file`.
Not here: reading and writing the files (services/settings_files.py), places in a text of JSON
(json_text.py), which events a client has (its adapter).
Standard library only: adapters import this.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any, NamedTuple, TypeGuard

from devtrace.errors import EnvironmentError
from devtrace.sources.json_text import BOM, Part, appended, beginning, cut, named, parts

HOOK_FILE = "agent_hook.py"
_SECONDS = 10
# Python ends with 2 where its script is gone, and the clients take 2 for an order to stop what they are at.
_IN_ANY_CASE = ("||", "true")


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
        rest = rest if name in settings else appended(rest, (), name, whole[name])
    for event, item in wanted.items() if "hooks" in settings else ():
        rest = _with_item(path, rest, event, item)
    return mark + rest


def _with_item(path: str, text: str, event: str, item: dict[str, Any]) -> str:
    hooks = json.loads(text)["hooks"]
    if not isinstance(hooks, dict) or not isinstance(hooks.get(event, []), list):
        raise _error(path, f'has something else than hooks at "hooks" or "{event}"', "put it right by hand")
    if event not in hooks:
        return appended(text, ("hooks",), event, [item])
    return appended(text, ("hooks", event), None, item)


def _without(path: str, text: str, beside: dict[str, Any]) -> str | None:
    mark, body = _body(path, text)
    rest = _stripped(body)
    if rest == body:
        return text
    return mark + rest if json.loads(rest) not in ({}, beside) else None


def _body(path: str, text: str) -> tuple[str, str]:
    """The byte order mark, and what is a JSON object; an empty file stands for an empty one."""
    mark, body = (BOM, text[1:]) if text.startswith(BOM) else ("", text)
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


# --- ours in a text of JSON --------------------------------------------------------------------------------


_Step = tuple[list[Part], int]


class _Spot(NamedTuple):
    """One handler of ours, and the parts that lead to it, each with those beside it."""

    event: str
    command: str
    item: dict[str, Any]  # of the event's list
    way: list[_Step]


def _ours(text: str) -> Iterator[_Spot]:
    root = parts(text, beginning(text))
    for n, hooks in named(root, "hooks"):
        events = parts(text, hooks.at)
        for m, event in enumerate(events):
            items = parts(text, event.at)
            for k, item in enumerate(items):
                way = [(root, n), (events, m), (items, k)]
                for command, last in _handlers(text, item):
                    yield _Spot(event.name or "", command, item.value, [*way, *last])


def _handlers(text: str, item: Part) -> Iterator[tuple[str, list[_Step]]]:
    """Ours in one item of an event's list, and the way to them: it is one itself, or a group of them."""
    if not isinstance(item.value, dict):
        return
    if is_ours(command := item.value.get("command")):
        yield command, []
    for _, inner in named(parts(text, item.at), "hooks"):
        handlers = parts(text, inner.at)
        for i, one in enumerate(handlers):
            if isinstance(one.value, dict) and is_ours(command := one.value.get("command")):
                yield command, [(handlers, i)]


def _stripped(text: str) -> str:
    """Without ours, and without what held nothing else."""
    while (spot := next(_ours(text), None)) is not None:
        way = spot.way
        while len(way) > 1 and len(way[-1][0]) == 1:
            way.pop()
        text = cut(text, *way[-1])
    return text
