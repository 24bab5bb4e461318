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
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from devtrace.errors import EnvironmentError
from devtrace.ids import new_span_id
from devtrace.sources.shell import hooks

_MOST_CLEARED = 64  # by one start, which a user waits for
_BEING_MADE_S = 60  # a directory without a lock is not older, if its host lives
_DAY_S = 86_400  # nor is a scratch directory without one: it was made by who could not lock it


class Private:
    """The directory, and the lock that is held on it; `close` removes both."""

    __slots__ = ("_lock", "_scratch", "path")

    def __init__(self, path: Path, lock: int):
        self.path = path
        self._lock = lock
        self._scratch = _hold_scratch(path)

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
        if self._scratch is not None:
            os.close(self._scratch)


@contextlib.contextmanager
def private_directory(base: Path) -> Iterator[Private]:
    """A directory of this session's own in `base`, 0700, locked for the host's life, gone at the end.

    Clears away what killed hosts have left there. Raises EnvironmentError ERR_RUNTIME_DIR.
    """
    _clear_stale(base)
    _clear_stale_scratch(hooks.scratch_directory(base).parent)
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


def _hold_scratch(private: Path) -> int | None:
    """Make the scratch directory that the session gets in memory, and hold it by a lock of its own.

    Its private directory may be gone before it, with the temp folder, and may be out of sight in a sandbox.
    """
    place, _ = hooks.scratch_place(private)
    if place is None or place == private:
        return None
    try:
        place.mkdir(mode=0o700)
        lock = os.open(place / "host", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:  # said where it is wanted: hooks.py
        return None
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _clear_stale_scratch(shared: Path) -> None:
    """Remove scratch directories of hosts that are gone, whatever became of their private directories."""
    cleared = 0
    for scratch in shared.glob(hooks.SCRATCH_NAMES):
        with contextlib.suppress(OSError):
            if scratch.lstat().st_uid != os.getuid() or not stat.S_ISDIR(scratch.lstat().st_mode):
                continue
            with _orphaned(scratch, young_s=_DAY_S) as is_orphan:
                if is_orphan:
                    _remove_tree(scratch)
                    cleared += 1
        if cleared >= _MOST_CLEARED:
            return


@contextlib.contextmanager
def _orphaned(private: Path, young_s: float = _BEING_MADE_S) -> Iterator[bool]:
    """Whether no host holds the directory; while the block runs no host can begin to."""
    try:
        lock = os.open(private / "host", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield _is_old(private, young_s)
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


def _is_old(private: Path, young_s: float) -> bool:
    try:
        return time.time() - private.stat().st_mtime > young_s
    except OSError:  # it is gone
        return True


def _remove(private: Path) -> None:
    _remove_tree(private)
    _remove_tree(hooks.scratch_directory(private))


def _remove_tree(folder: Path) -> None:
    import shutil  # brings three compression libraries along

    shutil.rmtree(folder, ignore_errors=True)
