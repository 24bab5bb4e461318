"""devtrace note"""

from __future__ import annotations

from typing import Annotated

import typer


def note(
    text: Annotated[list[str], typer.Argument(metavar="TEXT...", help="What to remember; - reads stdin.")],
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="Another session than the current one.")
    ] = None,
) -> None:
    """Write a note into the current session, or into the latest one from outside.

    \b
    Example:
      devtrace note "the test was flaky before this change"
    """
    import os
    import sys

    from devtrace.cli import reading
    from devtrace.query.ids import resolve_session, short
    from devtrace.services import note as service
    from devtrace.services.own_session import live_session
    from devtrace.workspace import find

    workspace = find()
    words = sys.stdin.read().strip() if text == ["-"] else " ".join(text).strip()
    if live_session(workspace, os.environ) and session is None and not workspace.database.exists():
        event = service.note(None, workspace, words, os.environ)  # our host has not come to make it yet
        typer.echo(f"Noted in session {event.session[:8]}.")
        return
    with reading.opened(workspace) as db:
        chosen = None if session is None else resolve_session(db, session)
        event = service.note(db, workspace, words, os.environ, session=chosen)
        ids = short(db, [event.session, event.id])
    typer.echo(f"Noted in session {ids[event.session]}.")
    typer.echo(f"See it with: devtrace show {ids[event.session]}")
