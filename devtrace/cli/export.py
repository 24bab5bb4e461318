"""devtrace export"""

from __future__ import annotations

from typing import Annotated

import typer


def export(
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="A session or event, by any unique start of its id.")
    ],
    format_: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="asciicast (v3) or jsonl.", show_default=False)
    ],
    target: Annotated[
        str | None, typer.Option("-o", "--output", metavar="PATH", help="A file instead of stdout.")
    ] = None,
) -> None:
    """Write a session, or one event, for other programs.

    \b
    Example:
      devtrace export 3f2a --format asciicast -o session.cast
    """
    from pathlib import Path

    from devtrace.cli import reading
    from devtrace.query.ids import resolve
    from devtrace.services import export as service
    from devtrace.views.safe import safe
    from devtrace.views.words import count

    with reading.opened() as db:
        lines = service.export(db, resolve(db, identity), format_)
        if target is None or target == "-":
            reading.answer(lines)
            return
        written = service.write(lines, Path(target))
    typer.echo(f"Wrote {count(written, 'line')} to {safe(target)}.")
    if format_ == "asciicast":
        typer.echo(f"Play it with: asciinema play {safe(target)}")
