"""devtrace verify"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devtrace.cli.options import Json

if TYPE_CHECKING:
    from devtrace.query.seals import Outside, Signature
    from devtrace.query.verify import Verified
    from devtrace.services.refresh import Fresh
    from devtrace.workspace import Workspace


def verify(
    session: Annotated[
        str | None, typer.Argument(metavar="SESSION", help="One session; without it all of them.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Compare with a copy of .devtrace/seals.log that was kept elsewhere."
        ),
    ] = None,
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign the last seals that have no signature with your SSH key.")
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The key for --sign; without it git's, or the one in ~/.ssh."),
    ] = None,
    json: Json = False,
) -> int:
    """Check that the record is what was written: changed, removed, inserted or reordered events, a tail that
    was cut off, outputs that do not match their hash, seals that are not the ones in .devtrace/seals.log,
    signatures that do not fit.

    Ends with status 1 when something was done to the record; then nothing is signed. With a session it also
    tells the hash of its last event.

    \b
    Example:
      devtrace verify
      devtrace verify 01a1fe39
      devtrace verify --against ~/kept/seals.log
      devtrace verify --sign
    """
    from devtrace.cli import reading
    from devtrace.cli.border import say
    from devtrace.errors import UsageError
    from devtrace.query.ids import resolve_session
    from devtrace.workspace import find

    if key is not None and not sign:
        raise UsageError("--key goes with --sign", code="ERR_USAGE", hint="add --sign")
    found = find()
    with reading.refreshed(found) as fresh:
        one = None if session is None else resolve_session(fresh.db, session)
        verified, outside = _checked(fresh, found, one, against)
        if sign and not verified.is_sound:
            say("Nothing was signed: the record is not as it was written.")
        elif sign and _sign(fresh.db, found, one, outside.signatures, key):
            verified, outside = _checked(fresh, found, one, against)
        _tell(fresh.db, one, verified, outside, json=json)
    return int(not verified.is_sound)


def _checked(
    fresh: Fresh, workspace: Workspace, session: str | None, against: Path | None
) -> tuple[Verified, Outside]:
    import os

    from devtrace.services.verify import verify

    return verify(fresh.db, workspace, fresh.anchored, os.environ, session=session, against=against)


def _sign(
    db: sqlite3.Connection,
    workspace: Workspace,
    session: str | None,
    signatures: list[Signature],
    key: Path | None,
) -> bool:
    """Sign what has no signature yet; whether anything was signed."""
    import os

    from devtrace.cli.border import say
    from devtrace.services import sign
    from devtrace.views.words import count

    seals = sign.unsigned(db, session, signatures)
    if not seals:
        say("Nothing is left to be signed.")
        return False
    sign.sign(workspace, seals, os.environ, key)
    say(f"Signed {count(len(seals), 'session')}; the signatures are in {workspace.signatures}.")
    return True


def _tell(
    db: sqlite3.Connection, session: str | None, verified: Verified, outside: Outside, *, json: bool
) -> None:
    from devtrace.cli import reading
    from devtrace.query.ids import short
    from devtrace.store import chain
    from devtrace.views import console
    from devtrace.views.verify import named, verify_lines, verify_records

    heads = {} if session is None else {session: chain.head(db, session)[1]}
    if json:
        reading.answer(verify_records(verified, outside, heads=heads))
    else:
        ids = short(db, {*heads, *named(verified)})
        console.paint(console.make_console(), verify_lines(verified, outside, ids, heads=heads))
