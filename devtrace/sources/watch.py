"""Watcher: which paths of a working tree may have changed, and between which two moments.

Lives here: the thread, the times, what each event means for the hints and for what is watched.
Not here: the kernel's calls and the descriptors (inotify.py), what is ignored and what really changed:
the caller knows the first and looks up the second. A hint is never proof of a change, only of its time.

Not seen by inotify at all: writes to a mapped file before it is closed, what other machines do to a network
file system, and a file system that is mounted on a watched directory later on (`refresh` finds it).
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from devtrace.choices import Choice
from devtrace.sources import inotify
from devtrace.sources.inotify import CAME, OURS, WENT, Inotify, WatchedTree

EXTRA = b"\0extra"  # no path in a tree is called so
MOST_WATCHES = 1_000_000  # and no more than the user's limit leaves to others
MOST_PENDING = 200_000
_SHORTEST_MS, _LONGEST_MS = 1, 256  # from one look at a silent queue to the next
_BUSY, _PAUSE_MS = 8, 2  # after so many looks without a silent one, we look every 2 ms
_UNCOUNTED = 1 << 32  # what was lost may have been so many writes: no count goes on from here
_SETTLE_S = 1.0
_JOIN_S = 5.0
_STEP_US = 1_000  # a clock that lost more than this against the monotonic one was set back, not slewed
_IS_RARE = (
    inotify.IN_ISDIR
    | inotify.IN_IGNORED
    | inotify.IN_UNMOUNT
    | inotify.IN_Q_OVERFLOW
    | inotify.IN_DELETE_SELF
    | inotify.IN_MOVE_SELF
)


class Hint(NamedTuple):
    """Something may have happened at `path`, after `since_us` and not after `until_us` (Unix time, µs).

    `path` is relative to the root. b"" means that anything may have changed; EXTRA one of the extras.
    `is_directory`: it came, went or was moved as a whole, and the caller looks at all below.
    `place`: after so many writes to the file that is counted, and before the next. None: not known.
    """

    path: bytes
    since_us: int
    until_us: int
    is_directory: bool
    place: int | None = None


class Moment(NamedTuple):
    """One reading of both clocks: the wall's in microseconds, and the monotonic one, which is never set."""

    wall_us: int
    steady_us: int


def now() -> Moment:
    return Moment(time.time_ns() // 1000, time.monotonic_ns() // 1000)


def interval(before: Moment, after: Moment) -> tuple[int, int]:
    """All that a wall clock can have shown between two moments, as `(since_us, until_us)`.

    If it was set back in between, it showed later times before the step and earlier ones behind it.
    """
    passed = after.steady_us - before.steady_us
    since, until = before.wall_us, after.wall_us + 1  # the readings are rounded down
    if since + passed - until > _STEP_US:
        return min(since, after.wall_us - passed), max(until, since + passed)
    return min(since, until), until


class _Batch:
    """What was told between two writes to what is counted: `seen` in events, `found` by looking there."""

    def __init__(self, before: Moment, after: Moment):
        self.before = before
        self.after = after
        self.seen: dict[bytes, bool] = {}  # path -> is_directory
        self.found: dict[bytes, bool] = {}

    def hints(self, place: int | None, *, is_silent: Callable[[], bool]) -> list[Hint]:
        """`is_silent()`: whether nothing more has happened yet."""
        since, until = interval(self.before, self.after)
        seen, found = self.seen.items(), self.found.items()
        hints = [Hint(path, since, until, way, place) for path, way in seen if path not in self.found]
        if self.found:  # looked at later than the read, so that much later it may have happened
            since, until = interval(self.before, now())
            known = place if is_silent() else None
            hints += [Hint(path, since, until, way, known) for path, way in found]
        return hints


class Watcher:
    """The thread `devtrace-watch`. It calls `is_ignored` and `on_hint`, which may not block.

    **When.** inotify does not say when an event was queued, so we prove it. Each time the kernel's queue is
    read until it is empty, the moment just before that read is kept: whatever is read next was queued after
    it, and before the moment just behind the read that brought it. Both moments are taken on the far side of
    the system call, so load and lost time slices widen the interval and never shift it. The event is queued
    inside of the system call that made the change: at some moment of the interval that call was under way.

    An event wakes us at once, so `until_us` is near. `since_us` is as near as our last look at the queue:
    1 or 2 ms ago while things happen, up to 256 ms ago in a long silence (more looks would cost a battery).
    Who wants a boundary at a certain moment calls `settle` there: nothing that comes later has a `since_us`
    before it, unless the queue never ran empty.

    **What.** `__enter__` returns when all is watched: what is looked at after that and changes is hinted.
    A directory that came is watched first and read then, so a file in it is either found or told.

    **Where.** Writes to the file `counted` are counted (`n_writes`), and each hint says behind how many of
    them it came, in the kernel's own order: an event that was queued later is of something that happened
    later, for whoever waits for the one before he does the other.

    `is_complete` False means that hints miss things, for good; `choice` says why.
    """

    def __init__(
        self,
        root: Path,
        is_ignored: Callable[[bytes], bool],
        *,
        extra: Iterable[Path] = (),
        counted: Path | None = None,
        n_told: Callable[[], int | None] = lambda: None,
        most: int = MOST_WATCHES,
        on_hint: Callable[[], None] | None = None,
        most_pending: int = MOST_PENDING,
    ):
        self.choice = Choice("watch", "none", because="it was not started")
        self.is_complete = False
        self._root = os.fsencode(root.resolve())
        self._is_ignored = is_ignored
        self._extra = [os.fsencode(path.absolute()) for path in extra]
        self._counted = counted
        self._n_told = n_told
        self.n_before: int | None = None  # what `n_told` said when the first write was still to come
        self._count_wd: int | None = None
        self.n_writes = 0  # to the file that is counted
        self._most = most
        self._on_hint = on_hint
        self._most_pending = most_pending
        self._pending: list[Hint] = []
        self._asked: list[threading.Event] = []
        self._is_refresh_asked = False
        self._is_over = False
        self._lock = threading.Lock()  # for _pending, _asked, _is_refresh_asked and _wake
        self._wake: tuple[int, int] | None = None
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._tree: WatchedTree | None = None

    @property
    def n_watches(self) -> int:
        return self._tree.table.n_watches if self._tree is not None else 0

    @property
    def _place(self) -> int | None:
        return None if self._count_wd is None else self.n_writes

    def __enter__(self) -> Watcher:
        self.begin()
        self.wait()
        return self

    def begin(self) -> None:
        """Begin to watch, and return at once; entering it begins too, and waits until all is watched."""
        if self._thread is not None or sys.platform != "linux":
            if self._thread is None:
                self._lose("inotify is Linux's own")
                self._ready.set()
            return
        self._thread = threading.Thread(target=self._run, name="devtrace-watch", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until all is watched, or will not be."""
        self._ready.wait()

    def ignore(self, is_ignored: Callable[[bytes], bool]) -> None:
        """From now on this says what is ignored, asked on the watcher's thread; the tree is walked again."""
        self._is_ignored = is_ignored
        self.refresh()

    def __exit__(self, *_: object) -> None:
        """End the thread, which closes what it opened; a callback that never returns keeps it, not us."""
        self._end()
        self._call()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)

    def take(self) -> list[Hint]:
        """All hints so far, the oldest first; they are forgotten here."""
        with self._lock:
            hints, self._pending = self._pending, []
        return hints

    def settle(self) -> bool:
        """Wait until all that the kernel had queued before this call is hints; False: a second was too short.

        Nothing to wait for is True: a watcher that is over, or a call from `on_hint`.
        """
        if self._thread is threading.current_thread():
            return True
        done = threading.Event()
        with self._lock:
            if self._wake is None:
                return True
            self._asked.append(done)
        self._call()
        return done.wait(_SETTLE_S)

    def refresh(self) -> None:
        """Ask for a new walk, because `is_ignored` changed; it is over after the next `settle`.

        Directories that are watched from then on are hinted whole, since the watcher's start.
        """
        with self._lock:
            self._is_refresh_asked = True
        self._call()

    def _asks(self, folder: bytes) -> bool:
        return self._is_ignored(folder)

    def _call(self) -> None:
        with self._lock:
            if self._wake is not None:
                with contextlib.suppress(BlockingIOError):  # full of calls: it will wake up
                    os.write(self._wake[1], b"x")

    # The thread.

    def _run(self) -> None:
        self._empty = self._started = now()
        self.overrun: tuple[int, int, int] | None = None  # the queue ran over: since, until, how often
        try:
            with contextlib.closing(Inotify()) as kernel:
                tree = self._open_up(kernel)
                self._watch(kernel, tree)
        except OSError as error:
            self._lose(inotify.advice(error))
        except Exception as error:  # the top of a thread: the caller reconciles without us
            self._lose(f"it failed: {type(error).__name__}: {error}")
        finally:
            self._close()

    def _open_up(self, kernel: Inotify) -> WatchedTree:
        with self._lock:
            self._wake = os.pipe()
            for fd in self._wake:
                os.set_blocking(fd, False)
        limit = inotify.setting("max_user_watches")
        most = self._most if limit is None else min(self._most, limit * 3 // 4)
        tree = WatchedTree(kernel, self._root, self._asks, self._extra, most, self._fall_short)
        self._tree = tree
        if self._counted is not None:
            n_before = self._n_told()
            with contextlib.suppress(OSError):  # then no place is ever believed
                self._count_wd = kernel.add(os.fsencode(self._counted), inotify.WRITES)
            self.n_before = n_before if n_before == self._n_told() else None
        root = os.lstat(self._root)
        self._identity = (root.st_dev, root.st_ino)
        self.choice = Choice("watch", "inotify", because="the kernel tells of a change as it happens")
        self.is_complete = True
        tree.walk()
        return tree

    def _close(self) -> None:
        with self._lock:
            wake, self._wake = self._wake, None
            asked, self._asked = self._asked, []
        for fd in wake or ():
            os.close(fd)
        for done in asked:
            done.set()
        self._ready.set()

    def _watch(self, kernel: Inotify, tree: WatchedTree) -> None:
        assert self._wake is not None
        wake = self._wake[0]
        poll = select.poll()
        poll.register(kernel.fd, select.POLLIN)
        poll.register(wake, select.POLLIN)
        self._ready.set()
        called = select.poll()
        called.register(wake, select.POLLIN)
        wait_ms, n_busy = _SHORTEST_MS, 0
        while not self._is_over:
            poll.poll(wait_ms)
            if n_busy > _BUSY:  # in a pause the kernel joins equal events, and the host gets its turn
                called.poll(_PAUSE_MS)
            asked = self._take_calls(wake, tree)
            is_silent = not self._drain(kernel, tree)
            for done in asked:
                done.set()
            if is_silent and wait_ms == _LONGEST_MS and not self._is_root_here():
                self._lose("the root was deleted or moved")
            wait_ms = min(wait_ms * 2, _LONGEST_MS) if is_silent else _SHORTEST_MS
            n_busy = 0 if is_silent else n_busy + 1

    def _take_calls(self, wake: int, tree: WatchedTree) -> list[threading.Event]:
        """Who waits for us to settle, before we look at the queue; a refresh that was asked for is done."""
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 1 << 16)
        with self._lock:
            asked, self._asked = self._asked, []
            is_refresh, self._is_refresh_asked = self._is_refresh_asked, False
        if is_refresh:
            self._refresh(tree)
        return asked

    def _drain(self, kernel: Inotify, tree: WatchedTree) -> bool:
        """Read all that was queued when we came, and what comes meanwhile if it is soon over."""
        left = kernel.n_queued()
        is_any = False
        while not self._is_over:
            before = now()
            data, is_empty = kernel.read()
            if data:
                is_any = True
                batch = _Batch(self._empty, now())
                self._read(data, tree, batch, kernel)
            if is_empty:
                self._empty = before
            left -= len(data)
            if is_empty or left <= 0:
                break
        return is_any

    def _add(self, hints: list[Hint]) -> None:
        if not hints:
            return
        with self._lock:
            self._pending += hints
            if len(self._pending) > self._most_pending:
                self._pending = _merged(self._pending, self._most_pending // 2)
        if self._on_hint is not None:
            self._on_hint()

    def _refresh(self, tree: WatchedTree) -> None:
        old = tree.table.all_paths()
        tree.walk()
        new = tree.table.all_paths() - old
        tops = [path for path in new if path.rpartition(b"/")[0] not in new]
        since, until = interval(self._started, now())
        self._add([Hint(path, since, until, True) for path in tops])

    # What events mean.

    def _read(self, data: bytes, tree: WatchedTree, batch: _Batch, kernel: Inotify) -> None:
        paths, extras, embedded, seen = tree.table.paths, tree.table.extras, tree.embedded, batch.seen
        for wd, mask, name in inotify.events(data):
            if wd == self._count_wd:
                if mask & inotify.IN_MODIFY:
                    self._add(batch.hints(self._place, is_silent=lambda: False))
                    self.n_writes += 1
                    batch.seen.clear()
                    batch.found.clear()
                elif mask & inotify.IN_IGNORED:  # it is another file now: nothing has a place any more
                    self._count_wd = None
                continue
            if mask & _IS_RARE or name in OURS or wd in extras:
                self._read_rare(wd, mask, name, tree, batch)
                continue
            for folder in paths.get(wd, ()):
                if folder not in embedded:
                    seen.setdefault(folder + b"/" + name if folder else name, False)
        self._add(batch.hints(self._place, is_silent=lambda: not kernel.n_queued()))

    def _read_rare(self, wd: int, mask: int, name: bytes, tree: WatchedTree, batch: _Batch) -> None:
        if mask & inotify.IN_IGNORED:
            tree.table.ended(wd)
        elif mask & inotify.IN_Q_OVERFLOW:
            self.n_writes += _UNCOUNTED
            batch.found[b""] = True
            since_us, until_us = interval(self._empty, now())
            first_us, _, count = self.overrun or (since_us, 0, 0)
            self.overrun = (first_us, until_us, count + 1)
            tree.walk()
        elif wd in tree.table.ending:
            pass  # of a directory that went: what replaced it is watched, or will be, by another number
        elif mask & inotify.IN_UNMOUNT:
            batch.found[b""] = True
            self._fall_short("a file system was unmounted below the root")
            tree.walk()
        else:
            if wd in tree.table.extras:
                _extra_changed(wd, mask, name, tree, batch)
            for folder in tree.table.paths.get(wd, ()):
                if not folder and mask & (inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF):
                    self._lose("the root was deleted or moved")
                else:
                    _changed_in(folder, mask, name, tree, batch)

    # What went wrong.

    def _is_root_here(self) -> bool:
        """Nobody tells when a directory above was renamed, or the root deleted while somebody is in it."""
        try:
            root = os.lstat(self._root)
        except OSError:
            return False
        return (root.st_dev, root.st_ino) == self._identity

    def _fall_short(self, because: str) -> None:
        if self.is_complete:  # the first reason is kept
            self.is_complete = False
            self.choice = Choice("watch", "inotify, in part", because=because)

    def _lose(self, because: str) -> None:
        """Nothing is told from here on; the last hint says that anything may have happened."""
        self._end()
        self.is_complete = False
        was, self.choice = self.choice, Choice("watch", "none", because=because)
        if was.chosen != "none":
            with contextlib.suppress(Exception):  # the callback may be the one that failed
                self._add([Hint(b"", *interval(self._empty, now()), True)])

    def _end(self) -> None:
        self._is_over = True
        if self._tree is not None:
            self._tree.is_over = True


def _changed_in(folder: bytes, mask: int, name: bytes, tree: WatchedTree, batch: _Batch) -> None:
    """Something happened to a name in a watched directory, or to the directory itself (no name)."""
    path = folder + b"/" + name if folder and name else folder + name
    if name in OURS:
        _ours_changed(folder, mask, name, tree, batch)
    elif folder in tree.embedded or not path:
        pass
    elif not name:  # its parent tells the same, unless it is the root of a mount
        is_gone = bool(mask & (inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF))
        batch.seen[path] = is_gone or batch.seen.get(path, False)
    elif not mask & inotify.IN_ISDIR:
        batch.seen.setdefault(path, False)
    elif mask & CAME:
        _came(path, tree, batch)
    elif mask & WENT:
        _went(path, tree, batch)
    elif path not in tree.skipped:
        batch.seen.setdefault(path, False)


def _came(path: bytes, tree: WatchedTree, batch: _Batch) -> None:
    if not tree.is_skipped(path):
        batch.found[path] = True
        tree.descend(path, batch.found)


def _went(path: bytes, tree: WatchedTree, batch: _Batch) -> None:
    if path in tree.skipped:
        tree.skipped.discard(path)
    else:
        batch.seen[path] = True
        tree.leave(path)
    if tree.exists(path):  # two directories were exchanged by one call: it came before this one went
        _came(path, tree, batch)


def _ours_changed(folder: bytes, mask: int, name: bytes, tree: WatchedTree, batch: _Batch) -> None:
    """A `.git` came or went: a repository began or ended here, or below, where it is a stranger's."""
    if name != b".git" or not mask & (CAME | WENT):
        return
    if not folder:
        tree.watch_extras()
        if tree.extra:
            batch.seen[EXTRA] = False
    elif mask & CAME:
        batch.found[folder] = True
        tree.embed(folder)
    elif folder in tree.embedded:
        _went(folder, tree, batch)


def _extra_changed(wd: int, mask: int, name: bytes, tree: WatchedTree, batch: _Batch) -> None:
    names = tree.table.extras[wd]
    if name in names or inotify.ANY_NAME in names:
        batch.seen[EXTRA] = False
    if name in names and mask & CAME:
        tree.watch_extras()


def _merged(hints: list[Hint], most: int) -> list[Hint]:
    """One hint a path, with the widest interval; one for everything when there are still too many."""
    merged: dict[bytes, Hint] = {}
    for hint in hints:
        known = merged.get(hint.path, hint)
        merged[hint.path] = Hint(
            hint.path,
            min(known.since_us, hint.since_us),
            max(known.until_us, hint.until_us),
            known.is_directory or hint.is_directory,
            known.place if known.place == hint.place else None,
        )
    if len(merged) <= most:
        return list(merged.values())
    since, until = min(hint.since_us for hint in hints), max(hint.until_us for hint in hints)
    return [Hint(b"", since, until, True)]
