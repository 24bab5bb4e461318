"""The front door: `devtrace` and `python -m devtrace`.

`shell` and `run` go straight to cli/shell.py, which forks its child before anything heavy is imported, and
`record` to cli/record.py, whose options end where its target begins, and `mcp proxy`, which is in everybody's
way, to cli/mcp_proxy.py; all else goes to the typer application.
What goes wrong in either becomes text and an exit status in cli/border.py.
"""

from __future__ import annotations

import sys

from devtrace.cli.border import guarded, take_json_errors

_DIRECT = ("shell", "run")


def main(argv: list[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit status."""
    arguments, json_errors = take_json_errors(sys.argv[1:] if argv is None else argv)

    def run() -> int:
        if arguments and arguments[0] in _DIRECT:
            from devtrace.cli.shell import main as run_direct

            return run_direct(arguments, json_errors=json_errors)
        if arguments[:1] == ["record"]:
            from devtrace.cli.record import main as record

            return record(arguments[1:])
        if arguments[:2] == ["mcp", "proxy"]:
            from devtrace.cli.mcp_proxy import main as proxy

            return proxy(arguments[2:])
        from devtrace.cli.app import main as run_typer

        return run_typer(arguments)

    return guarded(run, json_errors=json_errors)


if __name__ == "__main__":
    sys.exit(main())
