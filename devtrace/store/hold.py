"""The proof that a session's host lives: a flock on `run/<session>.lock`, held for its life.

It says "alive" across PID namespaces and reused process ids; whoever gets the lock knows that the host is
gone. In the file the host tells other sessions how far its commands are in the store.

Lives here: taking it, asking about another's. Not here: what becomes of a dead one's session (sessions.py).
Standard library only: the lock is taken before the shell is started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from devtrace.ids import is_session_id
from devtrace.workspace import Workspace

NEVER_US = 10**18  # later than any moment
_SUFFIX = ".lock"


class Hold:
    """The proof that a session's host lives; `close` gives it up."""

    __slots__ = ("_fd", "_path")

    def __init__(self, fd: int, path: Path):
        self._fd = fd
        self._path = path

    def is_lost(self) -> bool:
        """Whether the file was removed or moved away, so that the session looks like an orphan."""
        try:
            there = self._path.stat()
        except OSError:
            return True
        ours = os.fstat(self._fd) if self._fd >= 0 else None
        return ours is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def tell_heard(self, heard_us: int) -> None:
        """Say to other sessions that all commands which began before that moment are in the store."""
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, b"%020d" % heard_us, 0)

    def close(self) -> None:
        """The session has ended properly. May be called twice."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def hold(workspace: Workspace, session: str) -> Hold:
    """Take the session's lock; to be done before its row says `active`. Raises OSError."""
    path = lock_path(workspace, session)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return Hold(fd, path)
        os.close(fd)  # between the two lines above it was taken for a dead host's, and removed


def heard_us(workspace: Workspace, session: str) -> int | None:
    """What another session's host told last; 0: nothing yet, None: its host is gone."""
    with dead(workspace, session) as is_dead:
        if is_dead:
            return None
        try:
            return int(lock_path(workspace, session).read_bytes() or 0)
        except (OSError, ValueError):
            return 0


def holders(workspace: Workspace) -> list[str]:
    """The sessions whose host may live: those that have a lock."""
    try:
        names = [path.name for path in workspace.run.iterdir() if path.suffix == _SUFFIX]
    except OSError:
        return []
    return [name for name in (name[: -len(_SUFFIX)] for name in names) if is_session_id(name)]


@contextlib.contextmanager
def dead(workspace: Workspace, session: str) -> Iterator[bool]:
    """Whether the session's host is gone; while the block runs it cannot come back.

    Many may ask at once, and do: each session that begins asks in two threads. What only one of them is to
    do then needs a transaction.
    """
    try:
        fd = os.open(lock_path(workspace, session), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield True
        return
    except OSError:  # what cannot be looked at is not known to be dead
        yield False
        return
    try:
        yield try_lock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def try_lock(handle: int, how: int = fcntl.LOCK_EX) -> bool:
    """Take a flock if nobody holds one: what tells a process that lives from one that is gone."""
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_path(workspace: Workspace, session: str) -> Path:
    """Where the lock of a session is."""
    return workspace.run / f"{session}{_SUFFIX}"
