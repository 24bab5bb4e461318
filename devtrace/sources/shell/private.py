"""A session's private directory: its FIFO, its start-up files, and the lock that says that its host lives.

A host holds a flock on the file `host` in it for its life, which tells "alive" across PID namespaces and
reused process ids. Whoever gets that lock knows that the host is gone, and may clear up behind it.

Lives here: making, probing and clearing away such directories.
Not here: where they stand (workspace.py), what is put into them (fifo.py, hooks.py, spawn.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from devtrace.errors import EnvironmentError
from devtrace.ids import new_span_id
from devtrace.sources.shell import hooks

_MOST_CLEARED = 64  # by one start, which a user waits for
_BEING_MADE_S = 60  # a directory without a lock is not older, if its host lives


class Private:
    """The directory, and the lock that is held on it; `close` removes both."""

    __slots__ = ("_lock", "path")

    def __init__(self, path: Path, lock: int):
        self.path = path
        self._lock = lock

    def restore(self) -> None:
        """Make it anew where somebody removed it, so that the host is seen to live. Raises OSError."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        if not _leads_to(self.path / "host", self._lock):
            lock = os.open(self.path / "host", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.close(self._lock)
            self._lock = lock

    def close(self) -> None:
        """The host ends."""
        _remove(self.path)
        os.close(self._lock)


@contextlib.contextmanager
def private_directory(base: Path) -> Iterator[Private]:
    """A directory of this session's own in `base`, 0700, locked for the host's life, gone at the end.

    Clears away what killed hosts have left there. Raises EnvironmentError ERR_RUNTIME_DIR.
    """
    _clear_stale(base)
    private = _make(base)
    try:
        yield private
    finally:
        private.close()


def is_held(private: Path) -> bool:
    """Whether a living host holds this directory."""
    with _orphaned(private) as is_orphan:
        return not is_orphan


def _make(base: Path) -> Private:
    while True:
        private = base / new_span_id()
        try:
            private.mkdir(mode=0o700)
            lock = os.open(private / "host", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EnvironmentError(
                f"no private directory in {base}: {error.strerror}",
                code="ERR_RUNTIME_DIR",
                hint="set XDG_RUNTIME_DIR to a directory of your own with mode 0700 and some room",
            ) from error
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return Private(private, lock)
        os.close(lock)  # another start came in between, took it for a dead host's, and removed it


def _clear_stale(base: Path) -> None:
    """Remove what hosts that were killed left behind."""
    cleared = 0
    for private in list(base.iterdir()):
        with _orphaned(private) as is_orphan:
            if is_orphan:
                _remove(private)
                cleared += 1
        if cleared >= _MOST_CLEARED:
            return


@contextlib.contextmanager
def _orphaned(private: Path) -> Iterator[bool]:
    """Whether no host holds the directory; while the block runs no host can begin to."""
    try:
        lock = os.open(private / "host", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield _is_old(private)
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


def _leads_to(path: Path, fd: int) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    here = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _is_old(private: Path) -> bool:
    try:
        return time.time() - private.stat().st_mtime > _BEING_MADE_S
    except OSError:  # it is gone
        return True


def _remove(private: Path) -> None:
    import shutil  # brings three compression libraries along

    shutil.rmtree(private, ignore_errors=True)
    shutil.rmtree(hooks.scratch_directory(private), ignore_errors=True)
