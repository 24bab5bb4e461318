"""Retention that nobody has to ask for: when a session has ended, at most once a day, for about a second.

It runs in a process of its own, so that nobody waits for it: the user has his prompt back before it begins.
`devtrace prune` does what is left.

Lives here: whether it is due, starting it, what the settings ask for. Not here: how it is done (prune.py).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from devtrace import config as configuration
from devtrace.config import Config, days_by_kind
from devtrace.errors import DevTraceError
from devtrace.policy.limits import DAY_US, STORE
from devtrace.workspace import Workspace

if TYPE_CHECKING:
    import sqlite3

    from devtrace.store.retention import Order

_WORK_S = 1.0
_VACUUM_S = 0.3  # of it
_PATIENCE_MS = 250  # for others who write
_NICE = 10
_FEW = 10  # outputs that go between two looks at the size of the database
_DAY_S = DAY_US // 1_000_000
_MIB = 1 << 20
# -P: nothing is imported from the directory we are in, whoever put it there.
_PROGRAM = "import sys; from devtrace.services.retention import main; main(sys.argv[1])"


def start(workspace: Workspace, settings: Config) -> bool:
    """Begin in the background what is due; False: nothing is. Never raises, never waits."""
    if not _is_wanted(workspace, settings) or not _is_first_today(workspace):
        return False
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(workspace.dir.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    except OSError:
        return False
    process.returncode = 0  # nobody waits for it: it is not to be missed
    return True


def main(folder: str) -> None:
    """What the process in the background does. Nobody hears of a failure: the next one tries again."""
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    with contextlib.suppress(DevTraceError):
        retain(Workspace(Path(folder)))


def retain(workspace: Workspace, seconds: float = _WORK_S, now_us: int | None = None) -> None:
    """Prune what the settings say, for about so long. Raises DevTraceError."""
    from devtrace.services.prune import prune_record
    from devtrace.store.connection import open_store
    from devtrace.store.retention import Author

    settings = configuration.load(workspace)
    now_us = time.time_ns() // 1_000 if now_us is None else now_us
    until = time.monotonic() + seconds
    with closing(open_store(workspace, patience_ms=_PATIENCE_MS)) as db:
        in_time = _within(until - _VACUUM_S)
        due = [(order, in_time) for order in orders(settings, now_us)]
        is_over = _over_limit(db, settings)
        if is_over():
            due.append((_oldest(settings), lambda: is_over() and in_time()))
        author = Author("human", "host", 2)
        prune_record(db, workspace, due, author, _within(until), _PATIENCE_MS)


def orders(settings: Config, now_us: int) -> list[Order]:
    """What the ages in the settings ask for. Raises UsageError ERR_CONFIG_VALUE."""
    from devtrace.store.retention import EVENTS, OUTPUTS, Order

    keep = settings.flag("retention.keep_labelled")
    until_us = _before(settings.number("retention.days"), now_us)
    by_kind = {
        kind: _before(days, now_us) for kind, days in days_by_kind(settings.text("retention.kinds")).items()
    }
    output_us = _before(settings.number("retention.output_days"), now_us)
    found = [
        Order(EVENTS, until_us, by_kind, keep_labelled=keep),
        Order(OUTPUTS, output_us, keep_labelled=keep),
    ]
    return [one for one in found if any(age is not None for age in (one.until_us, *one.by_kind.values()))]


def _oldest(settings: Config) -> Order:
    from devtrace.store.retention import OUTPUTS, WHENEVER, Order

    keep = settings.flag("retention.keep_labelled")
    return Order(OUTPUTS, WHENEVER, keep_labelled=keep, batch=_FEW)  # no more than is needed


def _over_limit(db: sqlite3.Connection, settings: Config) -> Callable[[], bool]:
    from devtrace.store import space

    limit = settings.number(STORE) * _MIB
    return lambda: space.needed(db) > limit > 0


def _before(days: int, now_us: int) -> int | None:
    return max(now_us - days * DAY_US, 0) if days else None


def _within(until: float) -> Callable[[], bool]:
    return lambda: time.monotonic() < until


def _is_wanted(workspace: Workspace, settings: Config) -> bool:
    if settings.number("retention.days") or settings.number("retention.output_days"):
        return True
    limit = settings.number(STORE) * _MIB
    try:
        return bool(settings.text("retention.kinds")) or workspace.database.stat().st_size > limit > 0
    except OSError:
        return False


def _is_first_today(workspace: Workspace) -> bool:
    """Whether nobody began it within a day; from now on somebody has."""
    stamp = workspace.run / "retention"
    try:
        with contextlib.suppress(FileNotFoundError):
            if 0 <= time.time() - stamp.lstat().st_mtime < _DAY_S:
                return False
        os.close(os.open(stamp, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.utime(stamp, follow_symlinks=False)
    except OSError:
        return False
    return True
