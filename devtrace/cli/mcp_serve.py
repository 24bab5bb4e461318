"""devtrace mcp serve"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from devtrace.errors import UsageError
    from devtrace.services.mcp_server.http import Ready

_LAST_PORT = 65_535


def serve(
    http: Annotated[bool, typer.Option("--http", help="Over HTTP on this machine, not stdio.")] = False,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            min=0,
            max=_LAST_PORT,
            help="With --http: where; any free port if not given.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="With --http: a file, mode 0600, with the token."),
    ] = None,
    install: Annotated[
        str | None,
        typer.Option("--install", metavar="AGENT", help="Add it to the servers of that agent, and end."),
    ] = None,
    uninstall: Annotated[
        str | None,
        typer.Option("--uninstall", metavar="AGENT", help="Take it away from them again, and end."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With these two: show what would change, as a patch.")
    ] = False,
) -> None:
    """Answer a model's questions about the record, by the Model Context Protocol.

    It only reads. The tools: list_sessions, list_events, get_event, get_diff, get_output, search_commands,
    blame_line, why, audit. Answers are masked once more, short, and come page by page; what was recorded
    stands in them as data, marked as such. It answers from the store above the directory that it runs in.

    With --http it listens on 127.0.0.1 alone and wants a token: that of --token-file, else of
    $DEVTRACE_MCP_TOKEN, else of .devtrace/run/mcp-token, which is made when it is missing. It needs:
    pip install 'devtrace-shell[mcp]'.

    \b
    Example:
      devtrace mcp serve --install claude-code
      devtrace mcp serve --http --port 8791
    """
    _check(is_served=http, of_http=port is not None or token_file is not None, put=(install, uninstall))
    if dry_run and install is None and uninstall is None:
        raise _misused("--dry-run belongs to --install and --uninstall")
    if install is not None or uninstall is not None:
        from devtrace.cli import mcp_install

        if install is not None:
            mcp_install.register(install, dry_run=dry_run)
        if uninstall is not None:
            mcp_install.unregister(uninstall, dry_run=dry_run)
    elif http:
        from devtrace.services.mcp_server.http import serve_http

        serve_http(os.environ, port or 0, token_file, _announce)
    else:
        from devtrace.cli.border import say
        from devtrace.services.mcp_server.serve import serve_stdio

        if sys.stdin is not None and sys.stdin.isatty():
            say("Waiting for a client to speak on standard input; Ctrl-C ends it.")
        serve_stdio(os.environ)


def _check(*, is_served: bool, of_http: bool, put: tuple[str | None, str | None]) -> None:
    """Raises UsageError ERR_USAGE for options that do not fit together."""
    if of_http and not is_served:
        raise _misused("--port and --token-file belong to --http")
    if any(put) and is_served:
        raise _misused("--install and --uninstall are of the server on standard streams, not of --http")
    if all(put):
        raise _misused("--install and --uninstall are two orders")


def _misused(what: str) -> UsageError:
    from devtrace.errors import UsageError

    return UsageError(what, code="ERR_USAGE", hint="see `devtrace mcp serve --help`")


def _announce(ready: Ready) -> None:
    """Where it is, and the token once: later it is in its file."""
    from devtrace.cli.border import say

    say(f"Listening at {ready.url}; Ctrl-C ends it.")
    if ready.token.is_new:
        say(f"Authorization: Bearer {ready.token.value}")
    if ready.token.path is not None:
        say(f"The token is in {ready.token.path}.")
