"""devtrace mcp proxy

It starts with every server of every agent, so it comes here straight from the front door, without typer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from devtrace.errors import UsageError

USAGE = """\
Usage: devtrace mcp proxy [--name NAME] [--frames] -- SERVER [ARGS]...
       devtrace mcp proxy [--name NAME] [--frames] [--port PORT] [--header NAME:VALUE]... --url URL

  Stand between an agent and an MCP server, and record every call of a tool.

  Bytes pass untouched: the agent and the server notice nothing. In a traced shell the calls belong to its
  session, elsewhere to a session of their own in the store above the directory; where there is no store
  nothing is recorded. When recording fails the traffic goes on, and a gap in the record says so.

  With --url it listens on this machine only, for a server that speaks streamable HTTP, or HTTP with SSE, and
  needs: pip install 'devtrace-shell[mcp]'. Sign-in works through it; credentials are never stored.

Options:
  --name NAME          What the record calls the server.  [default: its program's or host's name]
  --frames             Keep every message as it passed, redacted, not only the calls of tools.
  --url URL            The server, where it is reached by HTTP.
  --port PORT          Where to listen on 127.0.0.1.  [default: any free port]
  --header NAME:VALUE  Send that header along; it is never recorded. In VALUE, $NAME stands for a variable of
                       the environment, so that a token need not stand where `ps` shows it. May be repeated.
  -h, --help           Show this message and exit.

  Example:
    devtrace mcp proxy --name files -- npx -y @modelcontextprotocol/server-filesystem .
    devtrace mcp proxy --url https://mcp.example.com/mcp --port 8790
    devtrace mcp install --dry-run
"""

_HINT = "see `devtrace mcp proxy --help`"
_LAST_PORT = 65_535
_LAST_STANDARD = 2


class Asked(NamedTuple):
    """A command line, read."""

    name: str | None
    frames: bool
    url: str | None
    port: int
    headers: dict[str, str]
    command: list[str]
    help: bool


def main(words: Sequence[str]) -> int:
    """Carry out `devtrace mcp proxy WORDS...`; returns the server's own exit status. Raises DevTraceError."""
    asked = parse(words)
    if asked.help:
        sys.stdout.write(USAGE)
        return 0
    from devtrace.services.mcp_proxy import run as mcp_proxy

    order = mcp_proxy.Order(asked.name or _name_of(asked), asked.frames)
    if asked.url is not None:
        return mcp_proxy.proxy_http(asked.url, asked.port, asked.headers, order, os.environ, _announce)
    _open_standard_streams()
    status = mcp_proxy.proxy_stdio(asked.command, order, _given())
    os._exit(status)  # all has passed; a thread may still wait for a client that does not close its end


def _given() -> dict[str, str]:
    """Our environment as it was given: in the C locale Python adds LC_CTYPE to its own (PEP 538)."""
    environ = dict(os.environ)
    try:
        with Path("/proc/self/environ").open("rb") as file:
            was_given = any(entry.startswith(b"LC_CTYPE=") for entry in file.read().split(b"\0"))
    except OSError:
        return environ
    if not was_given:
        environ.pop("LC_CTYPE", None)
    return environ


def parse(words: Sequence[str]) -> Asked:
    """Read the options up to the server's command. Raises UsageError ERR_USAGE."""
    name: str | None = None
    url: str | None = None
    port, frames, headers = 0, False, dict[str, str]()
    rest = list(words)
    while rest and rest[0] != "--" and rest[0].startswith("-"):
        option, has_value, value = rest.pop(0).partition("=")
        if option in ("-h", "--help"):
            return Asked(name, frames, url, port, headers, [], True)
        if option == "--frames" and not has_value:
            frames = True
            continue
        if option not in ("--name", "--url", "--port", "--header"):
            raise UsageError(f"no such option: {option}", code="ERR_USAGE", hint=_HINT)
        if not has_value:
            value = _value(option, rest)
        if option == "--name":
            name = value
        elif option == "--url":
            url = value
        elif option == "--port":
            port = _port(value)
        else:
            headers |= _header(value)
    command = rest[1:] if rest[:1] == ["--"] else rest
    return _checked(Asked(name, frames, url, port, headers, command, False))


def _checked(asked: Asked) -> Asked:
    if asked.url is None and not asked.command:
        raise UsageError("say which server: a command behind --, or --url", code="ERR_USAGE", hint=_HINT)
    if asked.url is not None and asked.command:
        raise UsageError("a command and --url are two servers", code="ERR_USAGE", hint=_HINT)
    if asked.url is None and (asked.port or asked.headers):
        raise UsageError("--port and --header belong to --url", code="ERR_USAGE", hint=_HINT)
    if asked.url is not None:
        try:
            parts = urlsplit(asked.url)
            is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_one = False
        if not is_one:
            raise UsageError("that is no http:// or https:// URL", code="ERR_USAGE", hint=_HINT)
    return asked


def _value(option: str, rest: list[str]) -> str:
    if not rest or rest[0] == "--":
        raise UsageError(f"{option} wants a value", code="ERR_USAGE", hint=_HINT)
    return rest.pop(0)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= _LAST_PORT:
        raise UsageError(f"{text} is no port", code="ERR_USAGE", hint="a number from 1 to 65535")
    return int(text)


def _header(text: str) -> dict[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or "\n" in text or "\r" in text:
        raise UsageError("--header wants NAME:VALUE", code="ERR_USAGE", hint=_HINT)
    value = os.path.expandvars(value).strip()
    if "\n" in value or "\r" in value:
        raise UsageError("--header wants one line", code="ERR_USAGE", hint=_HINT)
    return {name.strip(): value}


def _name_of(asked: Asked) -> str:
    """What a server is called that nobody named: its host, its program, or what a runner is to run."""
    if asked.url is not None:
        return urlsplit(asked.url).hostname or "server"
    words = [os.path.basename(asked.command[0])]  # noqa: PTH119 - a name, no path
    if words[0] in _RUNNERS or words[0].startswith("python"):
        words += [word for word in asked.command[1:] if not word.startswith("-") and word not in _VERBS]
    return words[1].rstrip("/").rpartition("/")[2] if len(words) > 1 else words[0]


_RUNNERS = ("npx", "uvx", "node", "uv", "bunx", "bun", "deno", "docker", "pipx")
_VERBS = ("run", "exec", "tool", "x")


def _open_standard_streams() -> None:
    """A client may have closed one: its number would go to the next pipe of ours."""
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= _LAST_STANDARD:
        os.set_inheritable(fd, True)
    os.close(fd)


def _announce(url: str) -> None:
    sys.stderr.write(f"Listening at {url}\n")
    sys.stderr.flush()
