"""devtrace export"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from devtrace.workspace import Workspace


def export(
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="asciicast (v3) or jsonl; of a recorded program chrome (trace events) or codetracer (a"
            " directory); of a commit agent-trace (0.1.0).",
            show_default=False,
        ),
    ],
    identity: Annotated[
        str | None,
        typer.Argument(
            metavar="ID|COMMIT",
            help="A session or event, by any unique start of its id; a commit, else HEAD.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="PATH", help="A file, not stdout; of codetracer a directory."),
    ] = None,
) -> None:
    """Write a session, one event, a recorded program, or who wrote a commit's lines, for other programs.

    \b
    Example:
      devtrace export 3f2a --format asciicast -o session.cast
      devtrace export 3f2a --format chrome -o trace.json
      devtrace export 3f2a --format codetracer -o trace
      devtrace export HEAD --format agent-trace
    """
    from pathlib import Path

    from devtrace.cli import reading
    from devtrace.services import export as service
    from devtrace.views.safe import safe
    from devtrace.views.words import count
    from devtrace.workspace import find

    place = find()
    with reading.opened(place) as db:
        if service.is_of_folder(format_):
            typer.echo(_folder(db, identity, format_, target))
            return
        lines = _lines(db, place, identity, format_)
        if target is None or target == "-":
            reading.answer(lines)
            return
        written = service.write(lines, Path(target))
    typer.echo(f"Wrote {count(written, 'line')} to {safe(target)}.")
    if format_ == "asciicast":
        typer.echo(f"Play it with: asciinema play {safe(target)}")
    elif format_ == "chrome":
        typer.echo("Open it at: https://ui.perfetto.dev")


def _lines(db: sqlite3.Connection, place: Workspace, identity: str | None, name: str) -> Iterator[str]:
    from pathlib import Path

    from devtrace.query.ids import resolve
    from devtrace.services import export as service

    if service.is_of_commit(name):
        from devtrace.query.blame import Blame

        return service.export_commit(Blame(db, place), Path.cwd(), identity or "HEAD", name)
    return service.export(db, resolve(db, _named(identity, name)), name)


def _folder(db: sqlite3.Connection, identity: str | None, name: str, target: str | None) -> str:
    """Write a directory; what is said of it."""
    from pathlib import Path

    from devtrace.errors import UsageError
    from devtrace.query.ids import resolve
    from devtrace.services import export as service
    from devtrace.views.safe import safe
    from devtrace.views.words import count

    found = resolve(db, _named(identity, name))
    if target is None or target == "-":
        raise UsageError(f"{name} is a directory: name it", code="ERR_USAGE", hint="add `-o DIRECTORY`")
    written = service.export_folder(db, found, name, Path(target))
    return f"Wrote {count(written, 'event')} to {safe(target)}."


def _named(identity: str | None, name: str) -> str:
    from devtrace.errors import UsageError

    if identity is None:
        raise UsageError(
            f"{name} is written of a session or an event: name one",
            code="ERR_USAGE",
            hint="`devtrace sessions` lists them",
        )
    return identity
