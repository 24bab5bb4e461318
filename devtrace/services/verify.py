"""verify: the record against itself, against what was kept of its seals, and against their signatures.

Lives here: `verify`, which reads what stands outside the database and puts the answers together. Not here:
what is asked of the database (query/verify.py, query/seals.py), signatures (sign.py).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from devtrace.errors import UsageError
from devtrace.query import verify as query
from devtrace.query.seals import Kept, Outside
from devtrace.query.verify import Finding, Verified
from devtrace.services import sign
from devtrace.store import anchors
from devtrace.store.anchors import Log, Synced
from devtrace.workspace import Workspace

_SAID = {"bad": "signature", "unchecked": "unverified"}


def verify(
    db: sqlite3.Connection,
    workspace: Workspace,
    anchored: Synced,
    environ: Mapping[str, str],
    *,
    session: str | None = None,
    against: Path | None = None,
) -> tuple[Verified, Outside]:
    """Check one session or all. `anchored`: what seals.log lacked before the store was brought up to date.

    Raises UsageError ERR_SEALS_COPY, EnvironmentError ERR_STORE_*.
    """
    copy = None if against is None else _copy(against)
    kept = _kept(workspace, anchored, copy)
    signatures = sign.check(db, workspace, session, environ)
    verified = query.verify(db, session, kept=kept, now_us=time.time_ns() // 1_000)
    about = [Finding(one.session, None, _SAID[one.state]) for one in signatures if one.state in _SAID]
    return verified._replace(findings=[*verified.findings, *about]), Outside(
        signatures,
        n_sealed=len(sign.last_seals(db, session)),
        has_log=kept.log is not None,
        is_log_new=anchored.is_new,
        compared=None if copy is None else len(copy.seals),
    )


def _kept(workspace: Workspace, anchored: Synced, copy: Log | None) -> Kept:
    try:
        return Kept(anchors.read(workspace.seals), new=frozenset(anchored.missed), copy=copy)
    except OSError:
        return Kept(None, is_unreadable=True, copy=copy)


def _copy(path: Path) -> Log:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _no_copy(f"{path} cannot be read: {error.strerror or error}") from error
    copy = anchors.parse(content)
    if not copy.mentioned:
        raise _no_copy(f"{path} holds no line of a seals.log")
    return copy


def _no_copy(message: str) -> UsageError:
    hint = "keep a copy of .devtrace/seals.log elsewhere, and name it"
    return UsageError(message, code="ERR_SEALS_COPY", hint=hint)
