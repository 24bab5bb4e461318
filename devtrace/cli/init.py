"""devtrace init"""

from __future__ import annotations

from typing import Annotated

import typer


def init(
    register: Annotated[
        bool, typer.Option("--register", help="List this store in ~/.devtrace/ for `stats --global`.")
    ] = False,
) -> None:
    """Make the store of this repository; running it again changes nothing.

    \b
    Example:
      devtrace init
    """
    from devtrace.services.init import init as make
    from devtrace.views.safe import safe

    made = make(register=register)
    folder = safe(str(made.workspace.dir))
    typer.echo(f"The store was there already: {folder}" if made.was_there else f"Made the store {folder}")
    if made.repository is None:
        typer.echo("No git repository was found here: branches and commits stay empty.")
    else:
        typer.echo("Git does not see it: its .gitignore covers everything in it.")
    if made.is_registered:
        typer.echo("It is listed in ~/.devtrace/, for `devtrace stats --global`.")
    typer.echo("Start recording with: devtrace shell --agent manual")
