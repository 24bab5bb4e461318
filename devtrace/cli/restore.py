"""devtrace restore"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devtrace.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devtrace.services.restore import Restored, Step


def restore(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATHS]", help="Files or folders; without any, all.")
    ] = None,
    at: Annotated[
        str, typer.Option("--at", metavar="EVENT", help="The state after that event, snapshot or session.")
    ] = "",
    before: Annotated[
        str, typer.Option("--before", metavar="EVENT", help="The state in which it began.")
    ] = "",
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete files too that were not there then.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it, without asking.")] = False,
    json: Json = False,
) -> None:
    """Bring files back to an earlier state; what is there now is kept first.

    Shows what it would do, and asks; without a terminal to ask on, it only shows.

    \b
    Example:
      devtrace restore --before 3f2a
      devtrace restore src/api.py --at 3f2a --yes
    """
    import os
    import sys

    from devtrace.cli import reading
    from devtrace.cli.border import say
    from devtrace.errors import UsageError
    from devtrace.query.ids import resolve, short
    from devtrace.query.states import state_at
    from devtrace.services.restore import Restorer, root_of
    from devtrace.workspace import find, working_directory

    if bool(at) == bool(before):
        raise UsageError(
            "name one state", code="ERR_USAGE", hint="--at EVENT for the state after it, or --before EVENT"
        )
    workspace, here = find(), working_directory()
    wanted = [here / path for path in paths or ()]
    with reading.opened(workspace) as db:
        state = state_at(db, resolve(db, at or before), before=bool(before))
        root = root_of(workspace, state)
        if not here.is_relative_to(root):
            say(f"In the working tree {root}:")
        restorer = Restorer(db, workspace, root, os.environ)
        plan = restorer.plan(state.commit, wanted, delete=delete)
        if not json:
            _show(plan)
        if not any(step.action not in ("left", "refused") for step in plan):
            say("There is nothing to restore: the files are in that state.")
            if json:
                _answer(plan)
            return
        if not yes and not (sys.stdin.isatty() and typer.confirm("Restore them?", default=False, err=True)):
            say("Nothing was changed. Do it with: --yes")
            if json:
                _answer(plan)
            return
        title = f"devtrace restore {'--before' if before else '--at'} {at or before}"
        done = restorer.carry_out(state.commit, wanted, delete=delete, title=title)
        ids = short(db, [done.undo.id])
    if json:
        _answer(done.steps, done)
        return
    _report(done, ids[done.undo.id], paths or [])


_WORDS = {
    "write": "bring back",
    "create": "create",
    "mode": "set the mode of",
    "delete": "delete",
    "left": "leave",
    "refused": "cannot restore",
}


def _show(plan: Sequence[Step]) -> None:
    from devtrace.views import console
    from devtrace.views.safe import safe

    lines: list[console.Line] = []
    for step in plan:
        style = {"delete": "deleted", "refused": "warning", "left": "dim", "create": "added"}.get(
            step.action, ""
        )
        name = safe(_text(step.path))
        line: console.Line = [(f"{_WORDS[step.action]:<15} ", style), (name, "")]
        if step.action == "left":
            line.append(("  (it was not there then; --delete deletes it)", "dim"))
        elif step.reason:
            line.append((f"  ({step.reason})", "warning"))
        lines.append(line)
    console.paint(console.make_console(), lines)


def _report(done: Restored, undo: str, paths: Sequence[Path]) -> None:
    from devtrace.cli.border import say
    from devtrace.errors import EnvironmentError
    from devtrace.views import words
    from devtrace.views.safe import safe

    failed = {step.path for step, _ in done.failed}
    changed = [s for s in done.steps if s.action not in ("left", "refused") and s.path not in failed]
    for step, why in done.failed:
        say(f"Could not restore {safe(_text(step.path))}: {safe(why)}")
    names = "".join(f" {_quoted(path)}" for path in paths)
    typer.echo(f"Restored {words.count(len(changed), 'file')}. What was there before is kept.")
    created = any(step.action == "create" for step in changed)
    typer.echo(f"Undo it with: devtrace restore{names} --at {undo}{' --delete' if created else ''} --yes")
    if done.failed:
        raise EnvironmentError(
            f"{words.count(len(done.failed), 'file')} could not be restored",
            code="ERR_RESTORE",
            hint="see above; the others are restored",
        )


def _quoted(path: Path) -> str:
    """For a shell; a name that is not printed as it is stands there as bash, zsh and ksh read it."""
    import os
    import re
    import shlex

    text = f"./{path}" if str(path).startswith("-") else str(path)
    if text.isprintable():
        return shlex.quote(text)
    plain = re.compile(rb"[A-Za-z0-9 /._-]")
    shown = (chr(b) if plain.match(bytes([b])) else f"\\x{b:02x}" for b in os.fsencode(text))
    return f"$'{''.join(shown)}'"


def _text(path: bytes) -> str:
    """A path as a text that may hold surrogates."""
    return path.decode("utf-8", "surrogateescape")


def _answer(plan: Sequence[Step], done: Restored | None = None) -> None:
    from devtrace.cli import reading
    from devtrace.views import jsonl

    failed = {} if done is None else {step.path: why for step, why in done.failed}
    reading.answer(
        jsonl.line(
            "restore",
            {
                "path": _text(step.path).encode("utf-8", "replace").decode(),
                "action": step.action,
                "done": done is not None
                and step.path not in failed
                and step.action not in ("left", "refused"),
                "reason": failed.get(step.path, step.reason) or None,
                "undo": None if done is None else done.undo.id,
            },
        )
        for step in plan
    )
