"""devtrace agent"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from devtrace.cli.options import Json, Since
from devtrace.cli.settings_files import show_patches, store, tell_of_git, tell_of_store

if TYPE_CHECKING:
    from pathlib import Path

    from devtrace.services.agents import Change, Listed
    from devtrace.views.diff import Shown

app = typer.Typer(rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="AGENT", help="Such as claude-code; `agent list` shows all.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change as a patch; write nothing.")]


@app.callback(invoke_without_command=True)
def agent(context: typer.Context) -> None:
    """Hear from coding agents what they were told, said and did."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("install")
def install(name: Name, dry_run: DryRun = False) -> None:
    """Put our hooks into an agent's settings in this repository; running it again changes nothing.

    \b
    Example:
      devtrace agent install claude-code --dry-run
      devtrace agent install claude-code
    """
    from devtrace.services import agents

    root = agents.place()
    changes = agents.install(root, name, dry_run=dry_run)
    if dry_run:
        show_patches([_patched(one) for one in changes])
        return
    for one in changes:
        typer.echo(f"Put our hooks into {one.path}{'' if one.before is not None else ', a new file'}.")
        if one.backup == "made":
            typer.echo(f"What it held before is kept in {one.path}{agents.BACKUP}.")
    if not changes:
        typer.echo("Our hooks are in place already; nothing was changed.")
    written = [one.path for one in changes]
    tell_of_git(root, [*written, *(one.path + agents.BACKUP for one in changes if one.backup == "made")])
    _tell_of_use(root, name)


@app.command("uninstall")
def uninstall(name: Name, dry_run: DryRun = False) -> None:
    """Take our hooks out of an agent's settings, and nothing else.

    \b
    Example:
      devtrace agent uninstall claude-code
    """
    from devtrace.services import agents

    changes = agents.uninstall(agents.place(), name, dry_run=dry_run)
    if dry_run:
        show_patches([_patched(one) for one in changes])
        return
    for one in changes:
        if one.after is None:
            typer.echo(f"Removed {one.path}: nothing but our hooks was in it.")
        elif one.before != one.after:
            typer.echo(f"Took our hooks out of {one.path}.")
        if one.backup == "removed":
            typer.echo(f"It is as it was before, so {one.path}{agents.BACKUP} was removed.")
        elif one.backup == "kept":
            typer.echo(f"Something else was changed in it too: {one.path}{agents.BACKUP} stays.")
    if not changes:
        typer.echo("There are no hooks of ours; nothing was changed.")
    typer.echo("See how it stands with: devtrace agent list")


@app.command("list")
def list_(json: Json = False) -> None:
    """Show every agent: whether our hooks are in place, and when they were last heard from.

    \b
    Example:
      devtrace agent list
    """
    from devtrace.cli import reading
    from devtrace.services import agents
    from devtrace.views import console, jsonl
    from devtrace.views.hooks import Standing, record, standing_lines

    found = [Standing(*one) for one in _listing(agents.place())]
    if json:
        reading.answer(jsonl.line("hooks", record(one)) for one in found)
        return
    screen = console.make_console()
    console.paint(screen, standing_lines(found, console.width_of(screen)))


@app.command("import")
def import_(
    name: Annotated[
        str | None, typer.Argument(metavar="[AGENT]", help="Only that agent's; default: all that keep some.")
    ] = None,
    since: Since = None,
) -> None:
    """Take in what agents kept of their work here: their transcripts. Importing again adds what is new.

    \b
    Example:
      devtrace agent import claude-code --since 7d
    """
    import os

    from devtrace.cli import reading
    from devtrace.query.filters import parse_time
    from devtrace.query.ids import short
    from devtrace.services.redaction import redaction
    from devtrace.services.transcripts import import_records
    from devtrace.views import words
    from devtrace.workspace import find

    workspace = find()
    since_us = 0 if since is None else parse_time(since)
    with reading.opened(workspace) as db:
        policy = redaction(workspace, os.environ)
        found = list(import_records(db, workspace, policy, os.environ, name=name, since_us=since_us))
        ids = short(db, [one.session for one in found])
    for one in found:
        if one.events:
            typer.echo(f"{one.agent}: {words.count(one.events, 'event')} into session {ids[one.session]}")
    if not any(one.events for one in found):
        typer.echo("There is no transcript of work here that is not in the record already.")
    else:
        typer.echo("See them with: devtrace sessions")


def _listing(root: Path) -> list[Listed]:
    import os

    from devtrace.cli import reading
    from devtrace.services import agents

    workspace = store()
    if workspace is None:
        return agents.listing(root, os.environ, None)
    with reading.opened(workspace) as db:
        return agents.listing(root, os.environ, db)


def _patched(change: Change) -> Shown:
    from devtrace.views.hooks import patched

    return patched(change.path, change.before, change.after, is_executable=change.is_executable)


def _tell_of_use(root: Path, name: str) -> None:
    import os

    from devtrace.config import parse_agent
    from devtrace.services import agents

    one = agents.standing(root, parse_agent(name), os.environ)
    if one.is_trusted is False:
        typer.echo(f"{one.title} skips hooks that it does not trust: start it here once, and approve them.")
    else:
        typer.echo(f"What {one.title} does from its next start on is heard.")
    tell_of_store("See how it stands with: devtrace agent list")
