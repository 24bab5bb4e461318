"""devtrace diff"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from devtrace.cli.options import Json

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from devtrace.query.diff import Net, NetFile
    from devtrace.query.ids import Found
    from devtrace.views.console import Line
    from devtrace.views.diff import Shown
    from devtrace.workspace import Workspace

_ID = "[0-9a-fA-F]+(?:/[0-9a-fA-F]+)?"
_RANGE = re.compile(f"({_ID})?\\.\\.({_ID})?")
_BEHIND = "devtrace.behind"  # how many words stood behind a `--`


class WithPaths(TyperCommand):
    """A command line on which what stands behind `--` is a path, whatever it looks like."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Count the words behind the `--`, which the parser forgets."""
        ctx.meta[_BEHIND] = len(args) - args.index("--") - 1 if "--" in args else 0
        return super().parse_args(ctx, args)


class Form(NamedTuple):
    """How the answer is to look."""

    context: int = 3
    stat: bool = False
    binary: bool = False
    json: bool = False
    pager: bool = True


class Answer(NamedTuple):
    """What changed. `unsure`: ids of changes that may be of it as well."""

    nets: Sequence[Net]
    what: str  # command, session, edit, ...: of what it is
    unsure: Sequence[str] = ()
    nothing: str = ""  # what to say where there is nothing


def diff(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[EVENT | A..B] [PATHS]", help="What changed it, and of which files."),
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="The session, or the one the event is in.")
    ] = None,
    stat: Annotated[bool, typer.Option("--stat", help="Only how many lines of each file.")] = False,
    unified: Annotated[
        int, typer.Option("--unified", "-U", metavar="N", min=0, max=1 << 20, help="Lines of context.")
    ] = 3,
    binary: Annotated[
        bool, typer.Option("--binary", help="Binary files too, in a form that `git apply` takes.")
    ] = False,
    no_pager: Annotated[bool, typer.Option("--no-pager", help="Straight to the terminal.")] = False,
    json: Json = False,
) -> None:
    """Show what an event, a command with all that ran in it, or a session changed.

    Without an EVENT it is the latest session. A..B is all that changed from the state after A to the state
    after B, whoever did it; A.. goes on to the newest state kept, ..B begins with the first. PATHS are files
    or directories, seen from here; behind a `--` every word is one. In a pipe it is a patch for `git apply`.

    \b
    Example:
      devtrace diff 3f2a
      devtrace diff 3f2a..77b0 --stat src
      devtrace diff 3f2a | git apply -R
    """
    from devtrace.cli import reading
    from devtrace.cli.border import say
    from devtrace.workspace import find

    workspace = find()
    with reading.opened(workspace) as db:
        behind = context.meta.get(_BEHIND, 0)
        named = list(words or ())
        first, paths = _first_word(db, named, behind, session)
        answer = _narrowed(_asked(db, workspace, first, session), paths, workspace)
        roots = [one.root for one in answer.nets if one.files]
        if len(roots) > 1:
            say(f"These are changes of {len(roots)} working trees: {', '.join(roots)}")
        nothing = _nothing(answer, paths)
        if nothing:
            say(nothing)
        if not nothing or answer.unsure:
            _show(workspace, answer, Form(unified, stat, binary, json, not no_pager))


# --- what is asked ------------------------------------------------------------------------------------------


def _first_word(
    db: sqlite3.Connection, words: list[str], behind: int, session: str | None
) -> tuple[str | None, list[str]]:
    """The event or range, and the paths: the first word is a path where it cannot be anything else."""
    from devtrace.errors import UsageError
    from devtrace.query.ids import SHORTEST, resolve, resolve_session

    if len(words) <= behind:
        return None, words
    first, *paths = words
    is_there = os.path.lexists(first)
    if first in (".", "..") or (is_there and len(first) < SHORTEST):
        return None, words
    if _RANGE.fullmatch(first):
        return first, paths
    try:
        resolve(db, first, None if session is None else resolve_session(db, session))
    except UsageError as error:
        if error.code != "ERR_ID_UNKNOWN":
            raise
        if not is_there and "/" not in first and "." not in first:
            error.hint += "; put a `--` before a path that is gone"
            raise
        return None, words
    return first, paths


def _asked(db: sqlite3.Connection, workspace: Workspace, first: str | None, session: str | None) -> Answer:
    from devtrace.query.diff import net, select
    from devtrace.query.ids import Found, resolve, resolve_session, short

    limit = None if session is None else resolve_session(db, session)
    bounds = None if first is None else _RANGE.fullmatch(first)
    if bounds is not None:
        return _between(db, workspace, bounds, limit)
    found = Found(resolve_session(db, session)) if first is None else resolve(db, first, limit)
    selection = select(db, found)
    what = _what(db, found)
    ids = short(db, [one.event or one.session for one in selection.unsure])
    nothing = f"This {what} changed no file that is recorded."
    if selection.edits:
        nothing = f"Nothing is left of what this {what} changed: it was taken back."
    return Answer(net(db, selection.edits), what, list(ids.values()), nothing)


def _between(
    db: sqlite3.Connection, workspace: Workspace, bounds: re.Match[str], session: str | None
) -> Answer:
    from devtrace.query.ids import resolve
    from devtrace.query.ranges import between
    from devtrace.store.checkpoints.objects import open_objects

    one, other = (None if word is None else resolve(db, word, session) for word in bounds.groups())
    found = between(db, open_objects(workspace), one, other)
    return Answer([found], "range", nothing="Nothing differs between the two.")


def _what(db: sqlite3.Connection, found: Found) -> str:
    from devtrace.query.events import get_event

    if found.event is None:
        return "session"
    kind = get_event(db, found.session, found.event)["kind"]
    return {"run_command": "command", "edit_files": "edit", "git_snapshot": "snapshot"}.get(kind, "event")


def _narrowed(answer: Answer, paths: Sequence[str], workspace: Workspace) -> Answer:
    from devtrace.query.diff import inside, narrowed
    from devtrace.workspace import working_directory

    if not paths:
        return answer
    here, nets = str(working_directory()), []
    for one in answer.nets:
        root = one.root if Path(one.root).is_dir() else str(workspace.root)  # it may have been moved since
        wanted = [found for path in paths if (found := inside(root, path, here)) is not None]
        nets.append(one._replace(files=narrowed(one.files, wanted)))
    return answer._replace(nets=nets)


def _nothing(answer: Answer, paths: Sequence[str]) -> str:
    if any(one.files for one in answer.nets):
        return ""
    return f"Nothing changed there: {', '.join(paths)}" if paths else answer.nothing


# --- how it is shown ----------------------------------------------------------------------------------------


def shown(workspace: Workspace, files: Iterable[NetFile], form: Form) -> Iterator[Shown]:
    """The files with their patches, one at a time."""
    from devtrace.store.checkpoints.objects import open_objects
    from devtrace.views.diff import Shown
    from devtrace.views.patch import patches_of

    objects = open_objects(workspace)
    for file in files:
        sides = (side.oid for side in (file.new, file.old) if side is not None)
        listed = next((why for oid in sides if (why := objects.withheld(oid))), None)
        patches = patches_of(file, objects.read, context=form.context, binary=form.binary)
        yield Shown(file, patches, listed or file.withheld)


def _show(workspace: Workspace, answer: Answer, form: Form) -> None:
    import sys

    from devtrace.cli import reading
    from devtrace.cli.border import say
    from devtrace.views import diff as view
    from devtrace.views import jsonl

    files = [file for one in answer.nets for file in one.files]

    def made() -> Iterator[Shown]:
        return shown(workspace, files, form) if files else iter(())

    if form.json:
        reading.answer(jsonl.line("file", view.record(one)) for one in made())
    elif sys.stdout.isatty():
        _to_terminal(made, answer, form)
        return
    elif form.stat:
        _stat_to_pipe(list(made()))
    else:
        _to_pipe(made())
    if answer.unsure:
        say(view.mention(answer.unsure, answer.what))


def _to_terminal(made: Callable[[], Iterator[Shown]], answer: Answer, form: Form) -> None:
    from devtrace.cli.pager import page
    from devtrace.views import console
    from devtrace.views import diff as view

    def lines() -> Iterator[Line]:
        if form.stat:
            files = list(made())
            yield from view.stat_lines(files, console.width_of(console.make_console())) if files else ()
            yield from ([(f"({remark})", "dim")] for one in files for remark in view.remarks(one))
        else:
            yield from view.lines(made())
        if answer.unsure:
            yield [(view.mention(answer.unsure, answer.what), "dim")]

    page(lines, wanted=form.pager)


def _stat_to_pipe(made: Sequence[Shown]) -> None:
    from devtrace.cli.border import say
    from devtrace.views import console
    from devtrace.views import diff as view

    if made:
        console.paint(console.make_console(), view.stat_lines(made, None))
    for one in made:
        for remark in view.remarks(one):
            say(f"({remark})")


def _to_pipe(made: Iterable[Shown]) -> None:
    """The bytes as they are: a patch. What it cannot say is said on stderr."""
    import sys

    from devtrace.cli.border import say
    from devtrace.views.diff import remarks

    for one in made:
        for patch in one.patches:
            sys.stdout.buffer.write(patch.data)
        for remark in remarks(one):
            say(f"({remark})")
