"""The watcher, at work before the first command can be: what is slow to import comes later.

Which directories are ignored is not known yet, for that takes libgit2: those that are always large are left
out, and the tracker puts it right. What differs from HEAD already is taken from the disk, for a first command
may change it before the tracker is there.

Lives here: `Early`. Not here: what its hints mean (tracker.py). Light: a traced shell's start stands on it.
"""

from __future__ import annotations

import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from devtrace.services.edits.places import Places

if TYPE_CHECKING:
    from devtrace.sources.moves import Moves
    from devtrace.sources.watch import Watcher

_LARGE = (b"node_modules", b".venv", b"venv", b".tox", b".mypy_cache", b"target", b".next", b".cache")


_MOST_FILES = 2_000
_MOST_OF_ONE = 1 << 20  # bytes
_MOST_BYTES = 32 << 20


class Taken(NamedTuple):
    """A file as it was, before a command can have changed it."""

    state: os.stat_result
    data: bytes


class Early:
    """Watches a working tree from now on; to be made after the shell was forked."""

    def __init__(
        self,
        root: Path,
        moves: Moves | None = None,
        fifo: Path | None = None,
        n_told: Callable[[], int | None] = lambda: None,
    ):
        """`moves`: of before the fork, so that the first command cannot move HEAD unseen.

        `fifo`: where the hooks write, and `n_told()` how many lines of it were read: for `places`.
        """
        self._fifo = fifo
        self._n_told = n_told
        self.places = Places(n_told)
        self.root = root
        self._moves = moves
        self._found: tuple[Moves, Watcher] | None = None
        self._failure: Exception | None = None
        self.taken: dict[bytes, Taken | None] = {}  # what differed, as it was; None: it was not there
        self._on_hint: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="devtrace-edits-start", daemon=True)
        self._thread.start()

    def result(self, on_hint: Callable[[], None]) -> tuple[Moves, Watcher]:
        """Where HEAD was, and the watcher, which calls `on_hint` from now on. Raises what kept it back."""
        self._thread.join()
        self._on_hint = on_hint
        if self._found is None:
            raise self._failure or RuntimeError("the watcher was not started")
        return self._found

    def close(self) -> None:
        """End the watcher, whoever has it."""
        self._thread.join()
        if self._found is not None:
            self._found[1].__exit__()

    def _run(self) -> None:
        from devtrace.sources.moves import Moves
        from devtrace.sources.watch import Watcher

        try:
            moves = self._moves or Moves(self.root)
            watcher = Watcher(
                self.root,
                lambda folder: folder.rsplit(b"/", 1)[-1] in _LARGE,
                extra=moves.watched,
                counted=self._fifo,
                n_told=self._n_told,
                on_hint=lambda: self._on_hint(),  # noqa: PLW0108 - it is changed later
            )
            watcher.begin()
            self._found = moves, watcher
            self._take()
            watcher.wait()
            self.places.counted(0, watcher.n_before, 0)
            self.places.compare(watcher)
        except Exception as error:  # told to whoever asks for the result
            self._failure = error

    def _take(self) -> None:
        """In a repository what differs from HEAD; elsewhere the first files that are met."""
        if (self.root / ".git").exists():
            from devtrace.sources.status import differing

            paths = iter(differing(self.root))
        else:
            paths = _walk(os.fsencode(self.root))
        room = _MOST_BYTES
        for path in itertools.islice(paths, _MOST_FILES):
            whole = os.path.join(os.fsencode(self.root), path)
            taken = _read(whole)
            if taken is not None:
                room -= len(taken.data)
                if room < 0:
                    return
            if taken is not None or not os.path.lexists(whole):
                self.taken[path] = taken


def _read(path: bytes) -> Taken | None:
    """A file or link that is small; None for anything else."""
    try:
        state = os.lstat(path)
        if stat.S_ISLNK(state.st_mode):
            return Taken(state, os.readlink(path))
        if stat.S_ISREG(state.st_mode) and state.st_size <= _MOST_OF_ONE:
            with open(path, "rb") as file:
                data = file.read(_MOST_OF_ONE)
                now = os.fstat(file.fileno())
            return Taken(state, data) if now.st_ctime_ns == state.st_ctime_ns else None
    except OSError:  # it is gone, or may not be read: the tracker looks at it later
        pass
    return None


def _walk(root: bytes) -> Iterator[bytes]:
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in (*_LARGE, b".devtrace", b".git")]
        for name in files:
            yield os.path.relpath(os.path.join(folder, name), root)
