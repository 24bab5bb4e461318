"""The host's second thread: what the FIFO and the terminal told becomes events, while the shell goes on.

Lives here: the queue in front of `pairing.py`, the poll over it and over the deaths of nested shells.
Not here: what the records mean (pairing.py), where events go (the sink that `open_sink` makes).
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from devtrace.sources.shell.fifo import Assembler, Cmd, Exit, Record
from devtrace.sources.shell.nested import Watch
from devtrace.sources.shell.output import Captured
from devtrace.sources.shell.shells import Settings

if TYPE_CHECKING:  # slow to import, and so not before the thread runs
    from devtrace.events import Event
    from devtrace.sources.shell.pairing import Pairing

_TICK_MS = 20  # while an end waits for its output or its process
_IDLE_MS = 200  # else; the sink takes in what others spooled
_QUEUE_LIMIT = 64 << 20  # bytes that may wait; what comes then is dropped and counted, never waited for
_CREDIBLE_US = 10_000_000  # that a record's own time may be away from its reading: anybody may write one
_MOST_FAILURES = 100  # of our own, in one session; then nothing more is recorded


class Dropped(NamedTuple):
    """So many bytes from the FIFO were not kept."""

    size: int
    lines: int


class Said(NamedTuple):
    """Records of the host's own, in the hooks' words: they were no lines of the FIFO."""

    data: bytes


class Lost(NamedTuple):
    """Something could not be observed: the reason of a gap."""

    reason: str
    since_us: int | None = None  # when that began; None: it is a moment


class Sink(Protocol):
    """Where the events go. Opened and used on the listener's thread only; never raises."""

    def emit(self, event: Event) -> None:
        """Take one event."""

    def placed(self, line: int, at_us: int, *, begins: bool) -> None:
        """That line of the FIFO said that at that moment a command began, or had ended."""

    def flush(self) -> None:
        """Everything taken so far is to be visible now."""

    def idle(self) -> None:
        """A quiet moment: other processes' frames may be drained."""

    def waits(self) -> bool:
        """Whether it wants to be flushed soon, be there anything new or not."""

    def close(self, ended_us: int, exit_code: int | None, warnings: list[str]) -> None:
        """The session has ended."""


class Listener:
    """The thread `devtrace-recorder`. `heard`, `cut`, `lost` and `ended` may be called from any other one.

    `open_sink()` runs on the thread, after the shell has been started: it may import and open slowly.
    `on_hello()` runs once the traced shell has read its start-up files; `on_told(letter, span)` when the FIFO
    tells of a command's begin (C) or end (D), in case the mark in the terminal is missing.
    `failure` is the last bug of ours that was met; it costs what was being looked at, and a `gap` says so.
    """

    def __init__(
        self,
        settings: Settings,
        watch: Watch,
        open_sink: Callable[[], Sink],
        *,
        on_hello: Callable[[], None],
        on_told: Callable[[str, str], None],
    ):
        self._settings = settings
        self._watch = watch
        self._open_sink = open_sink
        self._on_hello = on_hello
        self._on_told = on_told
        self.failure: Exception | None = None
        self._failures = 0
        self._nonce = settings.nonce.encode()
        self.n_told = 0  # records of the traced shell's own hooks, by their nonce
        self._queue: deque[tuple[int, bytes | Said | Captured | Dropped | Lost]] = deque()
        self._heard = self._cut = self._taken = 0  # bytes so far; each is counted by one thread only
        self._last_us = 0  # when the last record came
        self._end: tuple[int, int | None] | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)
        self._thread = threading.Thread(target=self._run, name="devtrace-recorder", daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until everything that was told has been recorded."""
        if self._end is None:
            self.ended(None)
        self._thread.join()
        self._watch.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def heard(self, data: bytes) -> None:
        """Bytes from the FIFO."""
        if self._is_full(len(data)):
            return self._put(Dropped(len(data), data.count(b"\n")))
        self._heard += len(data)
        self.n_told += data.count(self._nonce)
        self._watch.greet(data)
        return self._put(data)

    def said(self, data: bytes) -> None:
        """Records that no hook wrote."""
        self._watch.greet(data)
        self._put(Said(data))

    def cut(self, captured: Captured) -> None:
        """The output of a command."""
        if self._is_full(len(captured.data)):
            captured = captured._replace(data=b"", timing=[], head=0, tail=0, truncated=True)
        self._cut += len(captured.data)
        self._put(captured)

    def lost(self, reason: str, since_us: int | None = None) -> None:
        """Something could not be observed, for a reason that a gap shall tell; since then, or at a moment."""
        self._put(Lost(reason, since_us))

    def ended(self, exit_code: int | None) -> None:
        """The traced shell has ended and the FIFO has been read empty."""
        self._end = (_now_us(), exit_code)
        self._wake()

    def _is_full(self, more: int) -> bool:
        return self._heard + self._cut - self._taken + more > _QUEUE_LIMIT

    def _put(self, item: bytes | Said | Captured | Dropped | Lost) -> None:
        self._queue.append((_now_us(), item))
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is awake already
            os.write(self._wake_write, b"x")

    def _run(self) -> None:
        try:
            self._record(self._open_sink())
        except Exception as error:  # the shell goes on, and nothing of ours is printed into it
            self.failure = error
            while self._end is None:
                self._poll([], None)
                self._queue.clear()

    def _record(self, sink: Sink) -> None:
        from devtrace.sources.shell.pairing import Pairing

        pairing = Pairing(self._settings, sink.emit, self._watch.meet)
        assembler = Assembler(self._settings.nonce)
        greeted = False
        while True:
            end = self._end  # read before the queue: what came before the end is in it
            patience_ms = _TICK_MS if pairing.waits() or sink.waits() else _IDLE_MS
            dead = self._poll(self._watch.fds(), 0 if end is not None or self._queue else patience_ms)
            with self._surviving(pairing):
                worked = self._take(assembler, pairing, sink)
                for fd in dead:
                    shell, exit_code = self._watch.take(fd)
                    pairing.process_gone(shell, _now_us(), exit_code)
                pairing.tick(_now_us())
                sink.flush()
                if pairing.first_hello is not None and not greeted:
                    greeted = True
                    self._on_hello()
                if not worked and not dead and end is None:
                    sink.idle()
            if end is not None and not self._queue:
                break
        for record in assembler.close():
            pairing.record(record, end[0])
        pairing.close(*end)
        sink.flush()
        sink.close(*end, pairing.warnings)

    def _take(self, assembler: Assembler, pairing: Pairing, sink: Sink) -> bool:
        """Feed what is queued now, and no more, so that it is flushed soon."""
        count = len(self._queue)
        for _ in range(count):
            at_us, item = self._queue.popleft()
            if isinstance(item, bytes):
                self._taken += len(item)
                self._take_records(item, at_us, assembler, pairing, sink)
            elif isinstance(item, Said):
                n_lines = assembler.n_lines
                self._take_records(item.data, at_us, assembler, pairing, sink)
                assembler.n_lines = n_lines
            elif isinstance(item, Dropped):
                assembler.skip(item.size, item.lines)
            elif isinstance(item, Lost):
                pairing.lost(item.reason, item.since_us or at_us)
                pairing.lost(item.reason, at_us, 0)
            else:
                self._taken += len(item.data)
                pairing.output(item, at_us)
        return count > 0

    def _take_records(
        self, data: bytes, at_us: int, assembler: Assembler, pairing: Pairing, sink: Sink
    ) -> None:
        for record in assembler.feed(data):
            at_us = self._last_us = max(at_us, self._last_us + 2)  # what was read at once has an order
            with self._surviving(pairing):
                self._tell(record)
                if isinstance(record, Cmd | Exit):
                    said_us = record.start_us if isinstance(record, Cmd) else record.end_us
                    is_credible = said_us is not None and abs(said_us - at_us) < _CREDIBLE_US
                    known_us = said_us if is_credible and said_us is not None else at_us
                    sink.placed(assembler.n_lines, known_us, begins=isinstance(record, Cmd))
                pairing.record(record, at_us)

    def _tell(self, record: Record) -> None:
        if isinstance(record, Cmd | Exit) and record.nonce == self._settings.nonce:
            self._on_told("C" if isinstance(record, Cmd) else "D", record.span)

    @contextlib.contextmanager
    def _surviving(self, pairing: Pairing) -> Iterator[None]:
        """A bug of ours costs what was looked at, and no more, as long as there are few of them."""
        try:
            yield
        except Exception as error:
            self._failures += 1
            if self._failures > _MOST_FAILURES:
                raise
            self.failure = error
            pairing.lost("recorder_failure", _now_us())

    def _poll(self, fds: list[int], timeout_ms: int | None) -> list[int]:
        """Wait until woken up, or for the first of these; returns which of them are ready."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        for fd in fds:
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(timeout_ms)]
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 65536)
            ready.remove(self._wake_read)
        return ready


def _now_us() -> int:
    return time.time_ns() // 1_000
