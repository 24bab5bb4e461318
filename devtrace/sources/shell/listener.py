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
from collections.abc import Callable
from typing import Protocol

from devtrace.events import Event
from devtrace.sources.shell.fifo import Assembler, Cmd, Exit
from devtrace.sources.shell.nested import Watch
from devtrace.sources.shell.output import Captured
from devtrace.sources.shell.pairing import Pairing, Settings

_TICK_MS = 20  # while an end waits for its output or its process
_IDLE_MS = 200  # else; the sink takes in what others spooled


class Sink(Protocol):
    """Where the events go. Opened and used on the listener's thread only; never raises."""

    def emit(self, event: Event) -> None:
        """Take one event."""

    def flush(self) -> None:
        """Everything taken so far is to be visible now."""

    def idle(self) -> None:
        """A quiet moment: other processes' frames may be drained."""

    def close(self, ended_us: int, exit_code: int | None, warnings: list[str]) -> None:
        """The session has ended."""


class Listener:
    """The thread `devtrace-recorder`. `heard`, `cut` and `ended` may be called from any other thread.

    `open_sink()` runs on the thread, after the shell has been started: it may import and open slowly.
    `on_hello()` runs once the traced shell has read its start-up files; `on_told(letter, span)` when the FIFO
    tells of a command's begin (C) or end (D), in case the mark in the terminal is missing.
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
        self._queue: deque[tuple[int, bytes | Captured]] = deque()
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
        self._watch.greet(data)
        self._put(data)

    def cut(self, captured: Captured) -> None:
        """The output of a command."""
        self._put(captured)

    def ended(self, exit_code: int | None) -> None:
        """The traced shell has ended and the FIFO has been read empty."""
        self._end = (_now_us(), exit_code)
        self._wake()

    def _put(self, item: bytes | Captured) -> None:
        self._queue.append((_now_us(), item))
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is awake already
            os.write(self._wake_write, b"x")

    def _run(self) -> None:
        sink = self._open_sink()
        pairing = Pairing(self._settings, sink.emit, self._watch.meet)
        assembler = Assembler()
        greeted = False
        while True:
            end = self._end  # read before the queue: what came before the end is in it
            dead = self._poll(_TICK_MS if pairing.waits() else _IDLE_MS, end is not None)
            worked = self._take(assembler, pairing)
            for fd in dead:
                shell, exit_code = self._watch.take(fd)
                pairing.process_gone(shell, _now_us(), exit_code)
            pairing.tick(_now_us())
            sink.flush()
            if pairing.first_hello is not None and not greeted:
                greeted = True
                self._on_hello()
            if end is not None and not self._queue:
                break
            if not worked and not dead:
                sink.idle()
        for record in assembler.close():
            pairing.record(record, end[0])
        pairing.close(*end)
        sink.flush()
        sink.close(*end, pairing.warnings)

    def _poll(self, timeout_ms: int, ending: bool) -> list[int]:
        """Wait for anything to do; returns the pidfds whose process has ended."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        for fd in self._watch.fds():
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(0 if ending or self._queue else timeout_ms)]
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 65536)
            ready.remove(self._wake_read)
        return ready

    def _take(self, assembler: Assembler, pairing: Pairing) -> bool:
        """Feed what is queued now, and no more, so that it is flushed soon."""
        count = len(self._queue)
        for _ in range(count):
            at_us, item = self._queue.popleft()
            if isinstance(item, bytes):
                for record in assembler.feed(item):
                    if isinstance(record, Cmd | Exit) and record.nonce == self._settings.nonce:
                        self._on_told("C" if isinstance(record, Cmd) else "D", record.span)
                    pairing.record(record, at_us)
            else:
                pairing.output(item, at_us)
        return count > 0


def _now_us() -> int:
    return time.time_ns() // 1_000
