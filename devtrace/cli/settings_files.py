"""What is said of settings files of other programs: as a patch before they change, of git, of the store.

Lives here: `show_patches`, `tell_of_git`, `tell_of_store`. Not here: the files (services/settings_files.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from devtrace.views.diff import Shown
    from devtrace.workspace import Workspace


def show_patches(shown: Sequence[Shown]) -> None:
    """In colour on a terminal, else as `git apply` takes them; and that nothing was written."""
    import sys

    from devtrace.cli.border import say
    from devtrace.views import console, diff

    if sys.stdout.isatty():
        console.paint(console.make_console(), diff.lines(shown))
    else:
        sys.stdout.buffer.write(b"".join(patch.data for one in shown for patch in one.patches))
        sys.stdout.buffer.flush()
    say("Nothing was written." if shown else "Nothing would change.")


def tell_of_git(root: Path, written: Sequence[str]) -> None:
    """Which of these files, relative to the root, a commit would take along."""
    from devtrace.services.settings_files import unignored
    from devtrace.views.safe import safe

    if open_to_git := unignored(root, written):
        named, them = " and ".join(open_to_git), "it" if len(open_to_git) == 1 else "them"
        typer.echo(safe(f"Git does not ignore {named}; an ignore rule keeps {them} out of commits."))


def tell_of_store(useful: str) -> None:
    """The next useful step: there must be a store for it."""
    if store() is None:
        useful = "There is no store here yet, and without one nothing is kept. Make it with: devtrace init"
    typer.echo(useful)


def store() -> Workspace | None:
    """The store that commands here use; None: there is none."""
    from devtrace.errors import DevTraceError
    from devtrace.workspace import find

    try:
        return find()
    except DevTraceError as error:
        if error.code != "ERR_STORE_MISSING":
            raise
        return None
