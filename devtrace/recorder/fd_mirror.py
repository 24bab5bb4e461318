"""A mirror of file descriptors: what is written below Python is copied to the console, and recorded.

    idle ── start ──► mirrored ── stop, the process behind it died ──► as it was

A pipe, or a pty where the descriptor is a terminal, stands in the place of the descriptor, and a process of
its own copies what comes out of it (mirror_process.py): a thread of ours would need the GIL that C code holds
while it waits for room in the pipe. Python's own writes go to the console directly, after what stands in the
pipe has been forwarded: the order of all bytes is the program's, and none has to be told from another. That
last write has to be C code alone. A signal handler runs where Python code does, and in the midst of a write
it could print, which a buffer refuses, or raise, after which the buffer would write its bytes again.

Descriptors of one console (a terminal, `2>&1`) have one pipe together: two could not keep their order.

Lives here: the program's side. Not here: the hooks that call it (io_hooks.py), what is kept of the bytes
(mirror_process.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
import termios
from os import getpid, sched_yield  # as they are now: tests of the program's may replace them
from os import write as _write
from time import monotonic
from time import sleep as _sleep
from typing import TYPE_CHECKING, Any

from devtrace.recorder.mirror_making import UNTRACKED, Descriptor, Making, distinct, is_still, replace, spawn
from devtrace.recorder.mirror_process import (
    ASK,
    CHUNKS,
    DONE,
    FORWARDED,
    GONE,
    PART,
    RECORDED,
    ROUND,
    STATE,
    TEACH,
    WORDS_BYTES,
    WRITING,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from devtrace.recorder.mirror_making import Identity

_STUCK_S = 5.0  # after that long without a step it is not waited for
_LOOK_S = 0.05  # how often it is looked whether the process is there yet
_YIELDS = 40  # before there is a sleep
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.000_05, 0.001
_MOST_TAUGHT = 4_000  # bytes of a secret: a message fits into the pipe as one
_NOTHING = memoryview(bytes(WORDS_BYTES)).cast("Q")
_kept_maps: list[memoryview] = []  # to end one would close a descriptor that is somebody else's by now


class FdMirrorFailed(Exception):
    """No mirror could be made; everything is as it was. `reason` in a few words."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Past:
    """Leads the writes of a raw stream past the mirror; it has room for attributes, as `io.FileIO` has.

    `lead` is to be called before each call that may write, outside of the buffer above it.
    """

    __slots__ = ("_fd", "_mirror", "_raw", "_write")

    def __init__(self, mirror: FdMirror, raw: Any, fd: int):
        self._mirror = mirror
        self._raw = raw
        self._fd = fd
        self._write: Any = None

    def lead(self) -> None:
        """Wait until what was written below Python is forwarded, and let `raw.write` go to the console.

        Where the descriptor is mirrored no more, or another file's, `raw.write` is as it was.
        """
        write = self._mirror.direct(self._fd)
        if write is not self._write:
            self.undo()
            if write is not None and "write" not in self._raw.__dict__:
                self._raw.write = self._write = write

    def undo(self) -> None:
        """Leave what somebody has put over ours. May be called twice."""
        write, self._write = self._write, None
        if write is not None and self._raw.__dict__.get("write") is write:
            del self._raw.write


class FdMirror:
    """Mirrored descriptors of this process, and of the forks that it has from then on."""

    def __init__(
        self,
        descriptors: dict[int, Descriptor],
        words: memoryview,
        shared: memoryview,
        on_failed: Callable[[str], None],
    ):
        """To be made by `start`."""
        self._descriptors = descriptors
        self._pumps = distinct(descriptors)
        self._shared = shared
        self._words = words
        self._on_failed = on_failed
        self._pid = getpid()
        self._look_at = 0.0  # when to look whether the process is there yet
        self._pasts: list[Past] = []
        self._is_dead = False
        self._is_stopped = False
        self._is_drained = False
        self._reason = ""
        self._last: dict[str, Any] = {}

    @classmethod
    def start(
        cls,
        *,
        descriptors: Sequence[int] = (1, 2),
        folder: Path,
        session: str,
        number: int,
        workspace_dir: str | os.PathLike[str] | None,
        limits: Any,
        on_failed: Callable[[str], None],
    ) -> FdMirror:
        """Mirror those of the descriptors that are open, into stream `number` of the session.

        `limits.trace_bytes`: what it may take of the disk. `on_failed` is told once, and why, when it ceases
        to work before `stop`. Raises FdMirrorFailed.
        """
        made = Making()
        try:
            mirrored = made.descriptors(descriptors)
            if not mirrored:
                raise FdMirrorFailed("no descriptor is open")
            shared = made.shared()
            order = [os.fspath(folder.absolute()), session, str(number), str(limits.trace_bytes)]
            order += [os.fspath(workspace_dir) if workspace_dir is not None else "", str(getpid())]
            spawn(made, distinct(mirrored), order)
            replace(mirrored)
        except OSError as error:
            made.undo()
            raise FdMirrorFailed(error.strerror or str(error)) from error
        except BaseException:
            made.undo()
            raise
        made.settle_down()
        return cls(mirrored, shared.cast("Q"), shared, on_failed)

    # --- while it works ---

    def past(self, raw: Any, fd: int) -> Past:
        """What leads the writes of a raw stream to `fd` past the mirror, until `stop`."""
        past = Past(self, raw, fd)
        self._pasts.append(past)
        return past

    def direct(self, fd: int) -> Callable[[Any], int | None] | None:
        """Settle; returns what writes to the console of `fd`, C code alone, as `io.FileIO.write` does.

        None where the descriptor is not, or no more, mirrored, or another file's.
        """
        one = self._descriptors.get(fd)
        if one is None or self._is_dead or not self._is_ours(one):
            return None
        self._settle(one)
        if self._is_dead or not is_still(one.saved, one.console):
            self._fail("its descriptor was closed")  # by a daemon, say; the number may be a file's by now
            return None
        return one.write

    def saved(self, fd: int) -> int | None:
        """Where the bytes of a mirrored descriptor go: for what is not to be recorded."""
        one = self._descriptors.get(fd)
        if one is None or self._is_stopped or not is_still(one.saved, one.console):
            return None
        return one.saved

    def learn(self, secrets: Iterable[bytes]) -> None:
        """From now on these are secrets for the record of the mirror too."""
        for pump in self._pumps:
            if self._is_stopped or self._is_dead or not is_still(pump.control, pump.control_is):
                continue
            for secret in secrets:
                if 0 < len(secret) <= _MOST_TAUGHT:
                    _tell(pump.control, TEACH + len(secret).to_bytes(2, "little") + secret)
            return  # there is one recorder

    def statistics(self) -> dict[str, Any]:
        """Bytes forwarded and recorded, in how many chunks, whether all was forwarded, and what failed."""
        if self._last:
            return dict(self._last)
        pumps = [pump.words for pump in self._pumps]
        return {
            "forwarded": sum(words[FORWARDED] for words in pumps),
            "chunks": sum(words[CHUNKS] for words in pumps),
            "recorded": self._words[RECORDED],
            "drained": self._is_drained,
            "failed": self._reason,
        }

    # --- the end ---

    def stop(self, timeout_s: float = 0.25) -> dict[str, Any]:
        """Put the descriptors back that are ours yet, and wait a while for what is on its way.

        May be called twice. Returns `statistics()`.
        """
        if self._is_stopped:
            return self.statistics()
        self._is_stopped = True
        for past in self._pasts:
            past.undo()
        until = monotonic() + timeout_s
        if not self._is_dead:
            settled = [self._settle(one, until) for one in self._descriptors.values() if self._is_ours(one)]
            self._is_drained = all(settled)
        self._restore()
        if not self._is_dead and getpid() == self._pid:
            self._wait(lambda: bool(self._words[DONE]), None, until)
        self._last = self.statistics()
        self._close()
        return dict(self._last)

    def _is_ours(self, one: Descriptor) -> bool:
        return is_still(one.fd, one.pump.target_is)

    def _restore(self) -> None:
        for one in self._descriptors.values():
            if self._is_ours(one) and is_still(one.saved, one.console):
                os.dup2(one.saved, one.fd, one.is_inheritable)

    def _close(self) -> None:
        for one in self._descriptors.values():
            _close_if(one.saved, one.console)
        for pump in self._pumps:
            _close_if(pump.control, pump.control_is)
            pump.words = _NOTHING  # another thread may be reading them this instant
        self._words = _NOTHING
        shared, self._shared = self._shared, _NOTHING
        _let_go(shared)

    # --- waiting ---

    def _settle(self, one: Descriptor, until: float | None = None) -> bool:
        """Wait until what stands in the pipe of `one` is forwarded, or `until`; whether it is."""
        pump, words = one.pump, one.pump.words
        if monotonic() > self._look_at and not self._looks_well(one):
            return False
        if not pump.counts:
            return self._round(one, until)
        pending = _n_pending(one.fd)
        if not pending and not words[STATE]:  # in this order: it says so before it reads
            return True
        enough = words[FORWARDED] + pending + PART  # whatever others go on to write

        def is_done() -> bool:
            return words[FORWARDED] >= enough or (not _n_pending(one.fd) and not words[STATE])

        return self._wait(is_done, one, until)

    def _looks_well(self, one: Descriptor) -> bool:
        """Without a reader the pipe takes nothing, and would look empty for ever. Looked at now and then."""
        self._look_at = monotonic() + _LOOK_S
        reason = "" if one.pump.words[STATE] == GONE else _obstacle(one.fd, 0)
        if reason:
            self._fail(reason)
        return not reason

    def _round(self, one: Descriptor, until: float | None) -> bool:
        """Of a terminal only the other end knows what is in it: it is asked, and answers by a round."""
        words = one.pump.words
        before = words[ROUND]
        answered = before + 2 + (before & 1)  # a round on its way may have looked already
        if not is_still(one.pump.control, one.pump.control_is):
            return False
        try:
            _write(one.pump.control, ASK)
        except BlockingIOError:  # full of what asks for the same
            pass
        except OSError:  # it died; the waiting finds out
            pass
        return self._wait(lambda: words[ROUND] >= answered, one, until)

    def _wait(self, is_done: Callable[[], bool], one: Descriptor | None, until: float | None) -> bool:
        for _ in range(_YIELDS):
            if is_done():
                return True
            sched_yield()
        pause, step, since = _FIRST_PAUSE_S, None, monotonic()
        while not is_done():
            now = monotonic()
            if until is not None and now > until:
                return False
            if one is not None:
                words = one.pump.words
                if words[STATE] == GONE or not self._is_ours(one):
                    return False  # the console is gone: the write will say so
                if step != (step := (words[STATE], words[FORWARDED], words[ROUND])) or step[0] == WRITING:
                    since = now  # a console that takes nothing is waited for, as without a mirror
                if self._is_stopped and until is None:
                    return False
                if reason := _obstacle(one.fd, now - since):
                    self._fail(reason)
                    return False
            _sleep(pause)  # words in shared memory wake nobody
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        return True

    def _fail(self, reason: str) -> None:
        """From now on there is no mirror; the program goes on as if there had been none."""
        if self._is_dead:
            return
        self._is_dead, self._reason = True, reason
        if not self._is_stopped:
            self._restore()
            self._on_failed(reason)


def _n_pending(fd: int) -> int:
    """How many bytes stand in the pipe."""
    count = bytearray(4)
    try:
        fcntl.ioctl(fd, termios.FIONREAD, count)
    except OSError:
        return 0
    return int.from_bytes(count, sys.byteorder)


def _obstacle(fd: int, seconds: float) -> str:
    """Why nothing comes out of it any more, or "". `seconds`: since the last step that was seen."""
    waiting = select.poll()
    waiting.register(fd, 0)
    if any(found & (select.POLLERR | select.POLLHUP) for _, found in waiting.poll(0)):
        return "its process ended"
    return "its process is stuck" if seconds > _STUCK_S else ""


def _close_if(fd: int, identity: Identity) -> None:
    if is_still(fd, identity):
        os.close(fd)


def _let_go(shared: memoryview) -> None:
    """It ends with the last reference. Its map has a descriptor of its own, up to Python 3.12."""
    if UNTRACKED:
        return
    found: Any = shared.obj
    try:
        is_ours = found.size() == WORDS_BYTES
    except (OSError, ValueError):
        is_ours = False
    if not is_ours:
        _kept_maps.append(shared)


def _tell(fd: int, message: bytes) -> None:
    """A message must not be lost: it is waited for room, a while."""
    waiting = select.poll()
    waiting.register(fd, select.POLLOUT)
    for _ in range(5):
        try:
            _write(fd, message)
            return
        except BlockingIOError:
            waiting.poll(1_000)
        except OSError:
            return
