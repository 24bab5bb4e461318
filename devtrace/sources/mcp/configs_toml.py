"""Servers in Codex' config.toml: tables, tables between braces, dotted keys.

    [mcp_servers.NAME]
    command = "npx"
    args = ["-y", "some-server"]

Lives here: finding the entries and their places, putting a server in and taking it out. Not here: places in a
text of TOML (toml_text.py), what becomes of an entry (entries.py). Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from devtrace.sources import json_text
from devtrace.sources.mcp import toml_text
from devtrace.sources.mcp.entries import Entry, Span, hidden_in_url
from devtrace.sources.mcp.toml_text import Value
from devtrace.sources.mcp.wrapping import URLS

SERVERS = "mcp_servers"
_SECRET = ("env", "http_headers", "bearer_token", "headers", "oauth")
_LINE = re.compile(r"[^\r\n]*")
_WHOLE_LINE = re.compile(r"[^\n]*\n?")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def checked(text: str) -> None:
    """Raise ValueError, with a reason for people, where the text is no TOML."""
    import tomllib

    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"is no TOML: {error}") from error


def entries(text: str, lists: dict[str, tuple[str, ...]]) -> list[Entry]:
    """The servers in the tables of these names, by scope."""
    import tomllib

    settings: Any = tomllib.loads(text)
    placed = toml_text.values(text)
    found = []
    for scope, names in lists.items():
        inside = settings
        for name in names:
            inside = inside.get(name, {}) if isinstance(inside, dict) else {}
        for name, fields in inside.items() if isinstance(inside, dict) else ():
            if isinstance(fields, dict):
                found.append(_entry(text, placed, (*names, name), scope, fields))
    return found


def _entry(
    text: str, placed: list[Value], names: tuple[str, ...], scope: str, fields: dict[str, Any]
) -> Entry:
    of = {one.names[len(names)]: one for one in placed if one.names[:-1] == names}
    secrets = tuple(_secrets(text, placed, names))
    found = Entry(names[-1], scope, fields, secrets=secrets)
    command, args = of.get("command"), of.get("args")
    if command is None or not found.words:
        return found
    found = found._replace(command=Span(command.at, command.end))
    if isinstance(fields["command"], list):
        return found._replace(items=_items(text, command), opening=command.at + 1)
    if args is None:
        return found._replace(room=_room(text, command))
    return found._replace(items=_items(text, args), opening=args.at + 1, alone=_alone(text, command, args))


def _items(text: str, array: Value) -> list[Span]:
    return [Span(*item) for item in toml_text.items(text, array.at)]


def _room(text: str, command: Value) -> tuple[int, str]:
    """Behind the command: on the next line, or, between braces, as the next key."""
    if command.is_inline:
        return command.end, ", args = "
    line = _LINE.match(text, command.end)
    end = line.end() if line else command.end
    start = text[text.rfind("\n", 0, command.start) + 1 : command.last]  # what is dotted before it, too
    return end, ("\r\n" if "\r\n" in text else "\n") + start + "args = "


def _alone(text: str, command: Value, args: Value) -> Span | None:
    between = text[command.end : args.start]
    if command.is_inline:
        return Span(command.end, args.end) if between.strip(" \t") == "," else None
    room, before = _room(text, command)
    return Span(room, args.end) if text[room : args.at] == before else None


def _secrets(text: str, placed: list[Value], names: tuple[str, ...]) -> Iterator[Span]:
    depth = len(names)
    for one in placed:
        if one.names[:depth] != names or len(one.names) == depth or text[one.at] not in "\"'":
            continue
        quotes = 3 if text[one.at : one.at + 3] in ('"""', "'''") else 1
        if one.names[depth] in _SECRET:
            yield Span(one.at + quotes, one.end - quotes)
        elif one.names[depth] in URLS:
            yield from hidden_in_url(text, one.at + quotes, one.end - quotes)


def encode(word: str) -> str:
    """A text as it stands in such a file: JSON's form, but for DEL."""
    return json_text.encoded(word).replace("\x7f", "\\u007f")


# --- a server of ours ---------------------------------------------------------------------------------------


def with_server(text: str | None, name: str, entry: dict[str, Any]) -> str:
    """With a table for the server at the end."""
    text = text or ""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = [f"[{SERVERS}.{name if _BARE.fullmatch(name) else encode(name)}]"]
    lines += [f"{key} = {_written(value)}" for key, value in entry.items()]
    return text + (end if text else "") + end.join(lines) + end


def _written(value: Any) -> str:
    return f"[{', '.join(map(encode, value))}]" if isinstance(value, list) else encode(value)


def without_server(text: str, name: str) -> str | None:
    """Without its table and what stands in that; None: nothing else was in the file.

    Raises ValueError where it is no table of its own.
    """
    written = f"(?:{re.escape(name)}|{re.escape(encode(name))})"
    header = re.compile(rf"(?:\r?\n|\A)[ \t]*\[[ \t]*{SERVERS}[ \t]*\.[ \t]*{written}[ \t]*\]")
    found = header.search(text)
    if found is None:
        raise ValueError(f'has "{name}" in no table of its own')
    inside = [one.end for one in toml_text.values(text) if one.names[:2] == (SERVERS, name)]
    line = _WHOLE_LINE.match(text, max([found.end(), *inside]))
    above, below = text[: found.start()], text[line.end() if line else found.end() :]
    between = ("\r\n" if "\r\n" in text else "\n") if below and above and above[-1] != "\n" else ""
    rest = above + between + below
    if _settings(rest) != _settings(text, but=name):
        raise ValueError(f'has other settings between those of "{name}"')
    return rest if rest.strip() else None


def _settings(text: str, but: str = "") -> dict[str, Any]:
    """What the file says, besides that server."""
    import tomllib

    settings: dict[str, Any] = tomllib.loads(text)
    servers = {name: one for name, one in settings.pop(SERVERS, {}).items() if name != but}
    return {**settings, SERVERS: servers}
