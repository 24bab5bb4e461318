"""A server's command with our proxy in front of it, and without.

    npx -y some-server        becomes
    /bin/sh -c SCRIPT devtrace-mcp-proxy --name=NAME -- npx -y some-server

The script runs `devtrace mcp proxy` with the words behind it. Where devtrace is not there or does not start,
on another machine of the team or after Python was upgraded, it runs the server alone: what has our proxy in
front of it never fails because of that. It asks by `--help`, which takes a start of Python and nothing more,
for a devtrace that is too old or half removed fails as one that is missing does.

Clients put variables of their own into what stands in their files: ${NAME} (Claude Code, Cursor, VS Code),
$NAME too (Gemini CLI), {env:NAME} (opencode). The script holds none of these but `$1`, which is nobody's.

Lives here: words in, words out. Not here: where they stand in a file (entries.py). Standard library only.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

SHELL = "/bin/sh"
_MARK = "devtrace-mcp-proxy"  # $0 of the script, and what ours is known by
_ALONE = "devtrace-mcp-proxy (no args)"  # the same where the entry had no list of arguments
_BEFORE_OPTIONS = 4  # the shell, -c, the script, the mark
_NAME = "--name="
_PROGRAM = "devtrace"
_VERBS = (["mcp", "proxy"], ["mcp", "serve"])
_RUN = "{0} mcp proxy --help </dev/null >/dev/null 2>&1 && exec {0} mcp proxy "
_REST = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'

PLAIN, PROXIED, OURS, REMOTE, ODD = "plain", "proxied", "ours", "remote", "odd"
_REMOTE_TYPES = ("http", "sse", "remote", "streamablehttp", "streamable-http", "streamable_http", "ws")
URLS = ("url", "httpUrl", "serverUrl")


class Standing(NamedTuple):
    """What an entry is, for us: one of the five, and for ODD why; for REMOTE its URL."""

    kind: str
    told: str = ""


def script(program: Sequence[str], home: str) -> str:
    """What the shell runs; `program`: the words that start this devtrace, none where only PATH has it."""
    lines = [_RUN.format(_quoted(program, home))] if program else []
    lines.append(_RUN.format(_PROGRAM))
    return "; ".join([*(f'{line}"$@"' for line in lines), _REST])


def _quoted(program: Sequence[str], home: str) -> str:
    """For a shell. Below the home it begins with ~: the file may be shared, and whose home it is is not."""
    first = program[0]
    if home not in ("", "/") and first.startswith(home.rstrip("/") + "/"):
        start = "~/" + _quote(first[len(home.rstrip("/")) + 1 :])
    else:
        start = _quote(first)
    return " ".join([start, *map(_quote, program[1:])])


def _quote(word: str) -> str:
    """As shlex does; a $ stands apart, so that no client takes it for a variable."""
    return "'$'".join(shlex.quote(piece) if piece else "" for piece in word.split("$")) or "''"


def proxied(words: Sequence[str], name: str, run: str, *, has_list: bool = True) -> list[str]:
    """All words with ours in front; of a command that has ours already, ours anew.

    `run`: the script. `has_list`: whether the entry has a list of arguments.
    """
    there = prefix(words)
    given = words[_BEFORE_OPTIONS : there - 1] if there else ()
    options = [word for word in given if not word.startswith(_NAME)]
    mark = words[3] if there else _MARK if has_list else _ALONE
    return [SHELL, "-c", run, mark, _NAME + name.replace("\0", ""), *options, "--", *words[there:]]


def prefix(words: Sequence[str]) -> int:
    """How many of the words are ours: behind them stands the server's own command. 0: none is."""
    if len(words) <= _BEFORE_OPTIONS or words[1] != "-c" or words[3] not in (_MARK, _ALONE):
        return 0
    if "--" not in words[_BEFORE_OPTIONS:-1]:  # nothing is left to start: somebody took it apart
        return 0
    return list(words).index("--", _BEFORE_OPTIONS) + 1


def had_list(words: Sequence[str]) -> bool:
    """Whether an entry with ours in front had a list of arguments before."""
    return words[3] != _ALONE


def standing(fields: Mapping[str, Any]) -> Standing:
    """What the entry of a server is, by its fields."""
    words = words_of(fields)
    kind = fields.get("type") or fields.get("transportType")
    address = next((fields[name] for name in URLS if isinstance(fields.get(name), str)), "")
    is_remote = isinstance(kind, str) and kind.lower() in _REMOTE_TYPES
    if is_remote or (address and not fields.get("command")):
        return Standing(REMOTE, address)
    if words is None:
        return Standing(ODD, _why_odd(fields))
    if prefix(words):
        return Standing(PROXIED)
    if is_ours(words):
        return Standing(OURS)
    if re.search(r"\s", words[0].partition("/")[0]):
        return Standing(ODD, "its command is a line, and not a program with its arguments apart")
    return Standing(PLAIN)


def words_of(fields: Mapping[str, Any]) -> list[str] | None:
    """The program and its arguments; None where there are none that a proxy could start."""
    command, arguments = fields.get("command"), fields.get("args", [])
    words = command if isinstance(command, list) else [command]
    if not isinstance(command, list):
        words = [*words, *arguments] if isinstance(arguments, list) else []
    if not words or not words[0] or not all(isinstance(word, str) for word in words):
        return None
    return list(words)


def _why_odd(fields: Mapping[str, Any]) -> str:
    return "it has no command" if not fields.get("command") else "its command is no list of texts"


def is_ours(words: Sequence[str]) -> bool:
    """Whether that starts devtrace itself: its own server, or a proxy that somebody wrote there by hand."""
    rest = list(words)
    if "-m" in rest[:5] and PurePath(rest[0]).name.startswith("python"):
        rest = rest[rest.index("-m") + 1 :]
    return bool(rest) and PurePath(rest[0]).name == _PROGRAM and rest[1:3] in _VERBS
