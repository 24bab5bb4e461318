"""The typer application: the list of commands, and how typer's own errors become ours.

Lives here: registering the commands. Not here: what they do (one file each), exit statuses (border.py).
"""

from __future__ import annotations

from typing import Annotated

import typer

from devtrace import __version__
from devtrace.cli import (
    agent,
    audit,
    blame,
    config,
    diff,
    doctor,
    export,
    init,
    log,
    mcp,
    note,
    policy,
    probe,
    prune,
    restore,
    search,
    sessions,
    show,
    snapshot,
    stats,
    verify,
    why,
)
from devtrace.errors import UsageError

_PASS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(
    name="devtrace",
    add_completion=False,
    rich_markup_mode=None,  # plain help starts twice as fast, and its text is what the reference quotes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def devtrace(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    json_errors: Annotated[
        bool, typer.Option("--json-errors", help="End an error with one line of JSON on stderr.")
    ] = False,
) -> None:
    """Record how a change came about: commands, output and notes, kept locally."""
    del json_errors  # taken from the command line before typer reads it: border.take_json_errors
    if version:
        typer.echo(f"devtrace {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(context_settings=_PASS)
def shell(context: typer.Context) -> int:
    """Open a traced shell: every command is recorded."""
    return _direct("shell", context)


@app.command(context_settings=_PASS)
def run(context: typer.Context) -> int:
    """Record one command, without a shell."""
    return _direct("run", context)


@app.command(context_settings=_PASS)
def record(context: typer.Context) -> int:
    """Run a Python program and record what it does."""
    from devtrace.cli.record import main as run_direct

    return run_direct(context.args)


_PARSED_BY: dict[object, type[diff.WithPaths]] = {diff.diff: diff.WithPaths}
for _command, _summary in (
    (init.init, "Make the store of this repository."),
    (sessions.sessions, "List the sessions."),
    (show.show, "Show a session, or one event in full."),
    (diff.diff, "Show what an event or a session changed."),
    (blame.blame, "Tell who wrote each line of a file."),
    (why.why, "Tell the whole story of one line."),
    (audit.audit, "Tell how much of a change is explained."),
    (log.log, "List the newest events, or follow them."),
    (search.search, "Find commands, notes, prompts, calls, files by words."),
    (note.note, "Write a note into a session."),
    (snapshot.snapshot, "Keep the working tree as it is now."),
    (restore.restore, "Bring files back to an earlier state."),
    (prune.prune, "Forget old states of the working tree."),
    (verify.verify, "Check that nothing was tampered with."),
    (stats.stats, "Count commands, failures and time."),
    (export.export, "Write a session for other programs."),
    (doctor.doctor, "Explain shells, hooks, store, fallbacks."),
):
    app.command(short_help=_summary, cls=_PARSED_BY.get(_command))(_command)
app.add_typer(agent.app, name="agent", short_help="Hear from coding agents.")
app.add_typer(mcp.app, name="mcp", short_help="Record and answer MCP.")
app.add_typer(probe.app, name="probe", short_help="Ask a running Python program.")
app.add_typer(policy.app, name="policy", short_help="See what is masked.")
app.add_typer(config.app, name="config", short_help="Read and change the settings.")


def main(argv: list[str]) -> int:
    """Run one command line. Raises UsageError ERR_USAGE for what typer does not understand."""
    command = typer.main.get_command(app)
    try:
        # Not `app(...)`: it turns a reader that went away, and Ctrl-C, into exit statuses of its own.
        with command.make_context("devtrace", argv) as context:
            status = command.invoke(context)
    except typer.Exit as over:
        return over.exit_code
    except _CLICK_ERROR as error:
        raise _usage_error(error) from error
    return status if isinstance(status, int) else 0


# typer has carried its own click since 0.26 and names no public base of its errors: BadParameter has it.
_CLICK_ERROR: type[Exception] = next(
    cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException"
)


def _usage_error(error: Exception) -> UsageError:
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "devtrace")
    tell = getattr(error, "format_message", lambda: str(error))
    message = str(tell()).strip().rstrip(".")
    return UsageError(
        message[:1].lower() + message[1:],
        code="ERR_USAGE",
        hint=f"see `{path} --help`",
        context={"command": path},
    )


def _direct(name: str, context: typer.Context) -> int:
    from devtrace.cli.shell import main as run_direct

    return int(run_direct([name, *context.args]))
