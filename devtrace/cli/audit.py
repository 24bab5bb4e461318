"""devtrace audit"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from devtrace.cli.options import Json

if TYPE_CHECKING:
    from devtrace.query.blame import Blame

_ALL = 100
_NO_ANSWER = 2


def audit(
    commits: Annotated[
        str | None, typer.Argument(metavar="[RANGE]", help="main..HEAD, HEAD~3.. or one commit.")
    ] = None,
    session: Annotated[
        str | None,
        typer.Option("--session", metavar="ID", help="What changed in that session, committed or not."),
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(
            "--fail-under",
            metavar="PERCENT",
            help="End with 1 where less than that is explained; with 100 every whole file counts too.",
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a comment for a review.")] = False,
    json: Json = False,
) -> int:
    """Tell how much of a change is explained, and what a reviewer should look at.

    Each line that a range of commits added or changed is in one class, and the first three are explained. A
    line is known by what it says, so amend, rebase, squash and cherry-pick keep it. Lines that are gone are
    in no class. Files that are no text, too large or withheld by their name are judged whole, and counted
    apart. Without a RANGE: what HEAD has that its upstream or the default branch has not; where that is
    nothing, the last commit.

    \b
    observed          a tool call, or a command in an agent's shell, was seen to make it
    checkpoint only   seen to come while an agent or several commands were at work, and not by which
    human             a command made it that a person typed
    before            it was there before the recording began
    unexplained       nothing that was recorded holds it, or it came from outside any session

    \b
    What a reviewer should look at, the gravest first:
      tests that are gone, that assert less, that are skipped
      the repository's own hooks left out (`--no-verify` and the like)
      secrets that were printed, or given to an agent
      an agent that says something else than what was seen
      commands that failed, and did not succeed again before the commit
      edits that were undone, files outside the repository
      what could not be observed, agents without hooks

    Exit status: 0 done; 1 less is explained than --fail-under asks for; 2 there is no answer, since there is
    no store, no checkpoint or no such range, or it was asked wrongly; 3 a bug. Where nothing is to be
    explained --fail-under is met. The record is in .devtrace/ and not in git: in CI bring it along, or ask
    before the push.

    \b
    Example:
      devtrace audit
      devtrace audit main..HEAD --markdown
      devtrace audit --session 3f2a --fail-under 95
    """
    from devtrace.errors import DevTraceError

    try:
        _check(fail_under, markdown=markdown, json=json)
        told = _answer(commits, session, markdown=markdown, json=json)
    except DevTraceError as error:
        # As of grep and diff: 1 is an answer, and that there is none must not look like it.
        error.exit_status = max(error.exit_status, _NO_ANSWER)
        raise
    return 0 if fail_under is None else _judged(told, fail_under)


def _check(fail_under: float | None, *, markdown: bool, json: bool) -> None:
    """Raises UsageError ERR_USAGE for options that do not fit."""
    from devtrace.errors import UsageError

    hint = "see `devtrace audit --help`"
    if fail_under is not None and not 0 <= fail_under <= _ALL:  # which nan is not, either
        raise UsageError(f"--fail-under {fail_under:g} is no percentage", code="ERR_USAGE", hint=hint)
    if markdown and json:
        raise UsageError(
            "--json and --markdown are two answers", code="ERR_USAGE", hint="ask for one of them"
        )


def _answer(commits: str | None, session: str | None, *, markdown: bool, json: bool) -> dict[str, Any]:
    """Say what is known of a change; the same as a record."""
    from devtrace.cli import reading
    from devtrace.query.blame import Blame
    from devtrace.query.ids import short
    from devtrace.views import audit as views
    from devtrace.views import console
    from devtrace.views.audit_markdown import markdown as comment
    from devtrace.workspace import find

    place = find()
    with reading.opened(place) as db:
        told = _asked(Blame(db, place), commits, session)
        ids = short(db, views.ids_of(told))
    if json:
        reading.answer(_records(told))
    elif markdown:
        reading.answer(comment(told, ids))
    else:
        screen = console.make_console()
        console.paint(screen, views.audit_lines(told, ids, reading.reader(screen)))
    return told


def _judged(told: dict[str, Any], least: float) -> int:
    """1 where less is explained than was asked for; says what the first line of the answer does not."""
    from devtrace.cli.border import say
    from devtrace.services.audit import is_under, share

    if share(told) is None:
        say(f"Nothing is to be explained, so --fail-under {least:g} is met.")
    return int(is_under(told, least))


def _asked(blame: Blame, commits: str | None, session: str | None) -> dict[str, Any]:
    from pathlib import Path

    from devtrace.errors import UsageError
    from devtrace.query.ids import resolve_session
    from devtrace.services.audit import audit_range, audit_session

    if session is None:
        return audit_range(blame, Path.cwd(), commits)
    if commits is not None:
        raise UsageError(
            "audit wants a range of commits or --session, not both",
            code="ERR_USAGE",
            hint="see `devtrace audit --help`",
        )
    return audit_session(blame, resolve_session(blame.db, session))


def _records(told: dict[str, Any]) -> list[str]:
    """A record for each run of lines, each file that has none, each finding, and the sums."""
    from devtrace.query.coverage import SPAN
    from devtrace.query.smells import FINDING
    from devtrace.views import jsonl

    lines = [
        jsonl.line("span", {name: span[name] for name in SPAN})
        for file in told["files"]
        for span in file["spans"]
    ]
    lines += [jsonl.line("concern", {name: row[name] for name in FINDING}) for row in told["findings"]]
    left_out = ("files", "findings")
    return [*lines, jsonl.line("audited", {name: told[name] for name in told if name not in left_out})]
