"""devtrace mcp: the group of its commands, a file each.

`mcp proxy` never comes here to be run: the front door (__main__.py) sends it to cli/mcp_proxy.py, past typer.
"""

from __future__ import annotations

import typer

from devtrace.cli import mcp_install, mcp_serve

app = typer.Typer(rich_markup_mode=None)

_PASS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.callback(invoke_without_command=True)
def mcp(context: typer.Context) -> None:
    """Record what agents ask of MCP servers, and answer over MCP from the record."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("proxy", context_settings=_PASS, short_help="Stand in front of a server and record its calls.")
def proxy(context: typer.Context) -> int:
    """Stand between an agent and an MCP server, and record every call of a tool."""
    from devtrace.cli.mcp_proxy import main

    return main(context.args)


for _command, _summary in (
    (mcp_install.install, "Put the proxy in front of the servers that agents are set up with."),
    (mcp_install.uninstall, "Take it away again, and nothing else."),
    (mcp_serve.serve, "Answer an agent's questions from the record."),
):
    app.command(short_help=_summary)(_command)
