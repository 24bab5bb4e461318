"""devtrace snapshot"""

from __future__ import annotations

from typing import Annotated

import typer


def snapshot(
    label: Annotated[str, typer.Option("--label", "-l", metavar="TEXT", help="What to find it by.")] = "",
) -> None:
    """Keep the working tree as it is now, untracked files included.

    \b
    Example:
      devtrace snapshot --label "before refactor"
    """
    import os

    from devtrace.cli import reading
    from devtrace.query.ids import short
    from devtrace.services import snapshot as service
    from devtrace.views import words
    from devtrace.workspace import find

    workspace = find()
    with reading.opened(workspace) as db:
        taken = service.snapshot(db, workspace, label.strip(), os.environ)
        ids = short(db, [taken.event.session, taken.event.id])
    changed = words.count(taken.changed, "changed file") if taken.changed else "no changed file"
    typer.echo(f"Recorded a snapshot with {changed} in session {ids[taken.event.session]}.")
    typer.echo(f"Come back to it with: devtrace restore --at {ids[taken.event.id]}")
