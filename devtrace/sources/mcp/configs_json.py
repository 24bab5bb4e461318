"""Servers in a settings file that is JSON, with comments or without.

    {"mcpServers": {NAME: {"command": ..., "args": [...], "env": {...}}}}     most clients
    {"servers": {NAME: ...}}                                                  VS Code
    {"mcp": {NAME: {"type": "local", "command": [...]}}}                      opencode; also below "servers"
    {"mcpServers": {NAME: {"transport": {"type": "stdio", "command": ...}}}}  Cline as it writes it now
    {"projects": {PATH: {"mcpServers": ...}}}                                 Claude Code's own file

Lives here: finding the entries and their places, putting a server in and taking it out. Not here: which file
has which lists (clients.py), what becomes of an entry (entries.py). Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from devtrace.sources import json_text
from devtrace.sources.json_text import Part, at_names, named, parts, plain
from devtrace.sources.mcp.entries import Entry, Span, hidden_in_url
from devtrace.sources.mcp.wrapping import URLS

Names = tuple[str, ...]
_SECRET = ("env", "environment", "headers", "oauth", "requestInit", "authorization", "token")
_SERVERS = "servers"


def checked(text: str) -> None:
    """Raise ValueError, with a reason for people, where the text is no object of JSON."""
    bare = plain(text).removeprefix(json_text.BOM)
    if not bare.strip():
        return
    try:
        settings = json.loads(bare)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error.msg} in line {error.lineno}") from error
    if not isinstance(settings, dict):
        raise ValueError("holds no JSON object")


def entries(text: str, lists: dict[str, Names]) -> list[Entry]:
    """The servers in the lists at these names, by scope; of two of a name the one that counts."""
    bare = plain(text)
    if not bare.removeprefix(json_text.BOM).strip():
        return []
    return [entry for scope, names in lists.items() for entry in _of_list(text, bare, scope, names)]


def _of_list(text: str, bare: str, scope: str, names: Names) -> Iterator[Entry]:
    at = at_names(bare, names)
    for one in {part.name: part for part in parts(bare, at)}.values() if at is not None else ():
        if _is_server(one.value) and one.name is not None:
            yield _entry(text, bare, scope, one)
        elif names[-1] == "mcp" and one.name == _SERVERS and isinstance(one.value, dict):
            yield from _of_list(text, bare, scope, (*names, _SERVERS))


def _is_server(value: object) -> bool:
    """Whether it can be one: opencode's list holds switches for servers of elsewhere, too."""
    known = ("command", "url", "httpUrl", "serverUrl", "transport", "type")
    return isinstance(value, dict) and any(name in value for name in known)


def _entry(text: str, bare: str, scope: str, server: Part) -> Entry:
    inside = parts(bare, server.at)
    secrets = tuple(_secrets(bare, server))
    for _, transport in named(inside, "transport"):
        if isinstance(transport.value, dict) and "command" not in server.value:
            server, inside = transport._replace(name=server.name), parts(bare, transport.at)
    of = {part.name: part for part in inside}
    found = Entry(server.name or "", scope, server.value, secrets=secrets)
    command, args = of.get("command"), of.get("args")
    if command is None or not found.words:
        return found
    found = found._replace(command=Span(command.at, command.end))
    if isinstance(command.value, list):
        return found._replace(items=_items(bare, command), opening=command.at + 1)
    if args is None:
        blanks = text[len(text[: command.start].rstrip()) : command.start]
        before = json_text.lead(text, command.start) if "\n" in blanks else " "
        return found._replace(room=(command.end, f',{before}"args": '))
    between = text[command.end : args.start]
    alone = Span(command.end, args.end) if between.strip() == "," else None
    return found._replace(items=_items(bare, args), opening=args.at + 1, alone=alone)


def _items(bare: str, array: Part) -> list[Span]:
    return [Span(part.at, part.end) for part in parts(bare, array.at)]


def _secrets(bare: str, part: Part) -> Iterator[Span]:
    """The values of its variables and headers; a number says nothing, and so does a switch."""
    for inner in parts(bare, part.at):
        if inner.name in _SECRET:
            yield from _texts(bare, inner)
        elif inner.name in URLS:
            yield from hidden_in_url(bare, inner.at + 1, inner.end - 1)
        elif inner.name == "transport":
            yield from _secrets(bare, inner)


def _texts(bare: str, part: Part) -> Iterator[Span]:
    if isinstance(part.value, str) and part.value:
        yield Span(part.at + 1, part.end - 1)
    for inner in parts(bare, part.at) if isinstance(part.value, dict | list) else ():
        yield from _texts(bare, inner)


def deeper(text: str, names: Names) -> Names:
    """The same names, and "servers" behind them where the servers are there."""
    at = (
        at_names(plain(text), (*names, _SERVERS)) if plain(text).removeprefix(json_text.BOM).strip() else None
    )
    return names if at is None else (*names, _SERVERS)


def encode(word: str) -> str:
    """A text as it stands in such a file."""
    return json_text.encoded(word)


# --- a server of ours ---------------------------------------------------------------------------------------


def with_server(
    text: str | None, names: Names, name: str, entry: dict[str, Any], beside: dict[str, Any]
) -> str:
    """With a server at the end of the list at `names`; `beside`: what a new file holds besides it.

    Raises ValueError where something else stands there.
    """
    if text is None or not plain(text).removeprefix(json_text.BOM).strip():
        mark = json_text.BOM if text and text.startswith(json_text.BOM) else ""
        return mark + json_text.encoded({**beside, **_nested(names, {name: entry})}, indent="  ") + "\n"
    bare = plain(text)
    for depth in range(len(names), -1, -1):
        at = at_names(bare, names[:depth])
        if at is None:
            continue
        if bare[at] != "{":
            raise ValueError(f'has something else than servers at "{".".join(names[:depth])}"')
        missing = _nested((*names, name)[depth + 1 :], entry)
        return json_text.appended(text, names[:depth], (*names, name)[depth], missing)
    raise ValueError("holds no JSON object")


def _nested(names: Names, value: Any) -> Any:
    for name in reversed(names):
        value = {name: value}
    return value


def without_server(text: str, names: Names, name: str, beside: dict[str, Any]) -> str | None:
    """Without it, and without what held nothing else; None: nothing else was in the file."""
    bare = plain(text)
    at: int | None = json_text.beginning(bare)
    way: list[tuple[list[Part], int]] = []
    for one in (*names, name):
        beside_it = parts(bare, at) if at is not None else []
        inside = list(named(beside_it, one))
        if not inside:
            return text
        way.append((beside_it, inside[-1][0]))
        at = inside[-1][1].at
    while len(way) > 1 and len(way[-1][0]) == 1:
        way.pop()
    rest = json_text.cut(text, *way[-1])
    left = json.loads(plain(rest).removeprefix(json_text.BOM))
    return rest if left not in ({}, beside) else None
