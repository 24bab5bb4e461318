"""devtrace policy"""

from __future__ import annotations

from typing import Annotated

import typer

from devtrace.cli.options import Json

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def policy(context: typer.Context) -> None:
    """See what is masked before anything is written."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("test")
def examine(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard input.")],
    redacted: Annotated[
        bool, typer.Option("--redacted", help="Print the text as it would be kept, and nothing else.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what would be hidden of a text, and why.

    \b
    Example:
      devtrace policy test build.log
      env | devtrace policy test -
    """
    import contextlib
    import os
    import sys
    from pathlib import Path

    from devtrace.cli import reading
    from devtrace.errors import DevTraceError, UsageError
    from devtrace.policy.reasons import reason_of
    from devtrace.query.examine import examine as judge
    from devtrace.services.redaction import redaction
    from devtrace.views import console, jsonl
    from devtrace.views.hidden import hidden_lines
    from devtrace.workspace import Workspace, find, working_directory

    place = Workspace(working_directory() / ".devtrace")  # the rules hold without a store too
    with contextlib.suppress(DevTraceError):
        place = find()
    name = "" if file == "-" else file
    try:
        source = Path(file).open("rb") if name else sys.stdin.buffer  # noqa: SIM115 - it ends with us
        examined = judge(source, name, redaction(place, os.environ))
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror or error}",
            code="ERR_FILE_UNREADABLE",
            hint="name a file, or - for standard input",
            context={"path": file},
        ) from error
    if redacted:
        sys.stdout.buffer.write(examined.redacted)
    elif json:
        reading.answer(
            [
                *(
                    jsonl.line("hidden", {**one._asdict(), "why": reason_of(one.rule)})
                    for one in examined.hidden
                ),
                jsonl.line(
                    "examined",
                    {
                        "lines": examined.lines,
                        "size": examined.size,
                        "hidden": len(examined.hidden),
                        "by_name": examined.by_name,
                    },
                ),
            ]
        )
    else:
        console.paint(console.make_console(), hidden_lines(examined, name))
