"""`devtrace shell` and `devtrace run`: the two commands whose start is measured in milliseconds.

They parse with argparse, because typer takes longer to import than a shell takes to start
(docs/adr/0006-early-fork.md), and import nothing that the child does not wait for.
Not here: every other command (app.py and its files), what happens then (services/shell.py).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from devtrace.cli.border import say, tell
from devtrace.config import AGENTS, parse_agent
from devtrace.errors import UsageError

if TYPE_CHECKING:
    from devtrace.services.shell import Begun, Outcome

_SHELL_EXAMPLE = """\
Example:
  devtrace shell --agent claude-code
  devtrace shell --shell zsh --label "release 2.1"
  devtrace shell --agent codex -- codex

With standard input not a terminal the shell reads its commands there:
  devtrace shell < commands.sh
The exit status is the shell's own."""

_RUN_EXAMPLE = """\
Example:
  devtrace run -- make test
The exit status is the command's own."""


class _Parser(argparse.ArgumentParser):
    """Speaks through our error tree instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, code="ERR_USAGE", hint=f"see `{self.prog} --help`")


def main(arguments: Sequence[str], *, json_errors: bool = False) -> int:
    """Run `devtrace shell ...` or `devtrace run ...`; returns the child's exit status.

    `arguments` begin with the command's name. Raises DevTraceError when nothing could be started.
    """
    kind = arguments[0]
    options = _parser(kind).parse_args(list(arguments[1:]))
    words = options.program[1:] if options.program[:1] == ["--"] else options.program
    if kind == "run" and not words:
        hint = "write it behind --, as in `devtrace run -- make test`"
        raise UsageError("no command to run", code="ERR_USAGE", hint=hint)
    from devtrace.services import shell

    order = shell.Order(
        kind=kind,
        agent=parse_agent(options.agent),
        shell=getattr(options, "shell", None) or "",
        label=options.label or "",
        login=getattr(options, "login", None),
        output=options.output,
        exact=getattr(options, "exact", None),
        prefix=options.prefix,
        argv=tuple(words),
    )
    outcome = shell.run(order, lambda begun: _announce(begun, kind, json_errors))
    with contextlib.suppress(OSError):  # the terminal may be gone: nobody is there to be told
        _conclude(outcome, kind, json_errors)
    return outcome.exit_status


def _parser(name: str) -> _Parser:
    """One parser for both; `run` has no shell to choose."""
    is_shell = name == "shell"
    parser = _Parser(
        prog=f"devtrace {name}",
        description="Open a shell whose commands are recorded."
        if is_shell
        else "Record one command, without a shell.",
        epilog=_SHELL_EXAMPLE if is_shell else _RUN_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    agents = ", ".join(AGENTS)
    parser.add_argument(
        "--agent", default="manual", metavar="NAME", help=f"who works here: {agents} or custom:NAME"
    )
    parser.add_argument("--label", metavar="TEXT", help="a title for the session")
    parser.add_argument(
        "--no-output", dest="output", action="store_const", const=False, help="keep no terminal output"
    )
    parser.add_argument(
        "--no-prefix",
        dest="prefix",
        action="store_false",
        help="put nothing before the commands of an agent that would take it (Claude Code)",
    )
    parser.add_argument(
        "--json-errors", action="store_true", help="end an error with one line of JSON on stderr"
    )
    if is_shell:
        parser.add_argument("--shell", metavar="SHELL", help="bash, zsh, fish or a path; default: your own")
        login = parser.add_mutually_exclusive_group()
        login.add_argument(
            "--login", action="store_const", const=True, help="a login shell; default: as the outer one"
        )
        login.add_argument(
            "--no-login", dest="login", action="store_const", const=False, help="no login shell"
        )
        parser.add_argument(
            "--exact",
            action="store_const",
            const=True,
            help="bash: keep the line breaks of multi-line commands",
        )
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="-- CMD",
        help="a program instead of a shell" if is_shell else "the command",
    )
    return parser


def _announce(begun: Begun, kind: str, json_errors: bool) -> None:
    """What is worth a line before the terminal is handed over: a new store, or one that cannot be written."""
    if begun.trouble is not None:
        tell(begun.trouble, json_errors=json_errors)
        say("What happens now waits in the spool until the store can be written.")
    if begun.made_store:
        say(f"Made {begun.workspace.dir} for what is recorded.")
    if kind == "shell" and sys.stderr.isatty():
        say(f"Recording this shell as session {begun.session[:13]}. It ends with the shell.")


def _conclude(outcome: Outcome, kind: str, json_errors: bool) -> None:
    if outcome.trouble is not None:
        tell(outcome.trouble, json_errors=json_errors)
    elif kind == "shell" and sys.stderr.isatty():
        from devtrace.views.words import count

        say(f"Recorded {count(outcome.n_events, 'event')} in session {outcome.session[:13]}.")
        say(f"See them with: devtrace show {outcome.session[:13]}")
