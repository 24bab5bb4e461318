"""devtrace config"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from devtrace.cli.options import Json

if TYPE_CHECKING:
    from devtrace.services.config import Setting

app = typer.Typer(rich_markup_mode=None)

KeyName = Annotated[str, typer.Argument(metavar="KEY", help="Such as shell.output; `config list` shows all.")]


@app.callback(invoke_without_command=True)
def config(context: typer.Context) -> None:
    """Read and change the settings of this store."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("get")
def get(key: KeyName, json: Json = False) -> None:
    """Print the value of one setting.

    \b
    Example:
      devtrace config get shell.output
    """
    from devtrace.cli import reading
    from devtrace.services import config
    from devtrace.views import jsonl
    from devtrace.workspace import find

    found = config.get(find(), key)
    reading.answer([jsonl.line("setting", _record(found)) if json else _text(found.value)])


@app.command("set")
def set_(key: KeyName, value: Annotated[str, typer.Argument(metavar="VALUE")]) -> None:
    """Change one setting.

    \b
    Example:
      devtrace config set shell.output_head 131072
    """
    from devtrace.services import config
    from devtrace.workspace import find

    found = config.set_value(find(), key, value)
    typer.echo(f"Set {found.key} to {_text(found.value) or '(empty)'}; new shells follow it.")
    typer.echo("See all settings with: devtrace config list")


@app.command("list")
def list_(json: Json = False) -> None:
    """Show every setting, its value and what it does.

    \b
    Example:
      devtrace config list
    """
    from devtrace.cli import reading
    from devtrace.services import config
    from devtrace.views import console, jsonl
    from devtrace.views.settings import setting_lines
    from devtrace.workspace import find

    found = config.list_settings(find())
    if json:
        reading.answer(jsonl.line("setting", _record(one)) for one in found)
        return
    screen = console.make_console()
    rows = [(one.key, _text(one.value), one.is_set, one.meaning) for one in found]
    console.paint(screen, setting_lines(rows, console.width_of(screen)))


def _record(found: Setting) -> dict[str, Any]:
    return {
        "key": found.key,
        "value": found.value,
        "default": found.default,
        "set": found.is_set,
        "meaning": found.meaning,
    }


def _text(value: bool | int | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
