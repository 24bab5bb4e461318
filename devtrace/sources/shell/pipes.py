"""Between the child's two pipes and ours: no terminal on our stdout, so none inside.

Lives here: the loop over pipes, and what our signals and a closed output mean to the child.
Not here: making the pipes (spawn.py), cutting output at commands (output.py), terminals (pump.py).
"""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

from devtrace.sources.shell.flow import CHUNK, HIGH_WATER, Idle, OnIdle, Poller, ms_until, own_sink
from devtrace.sources.shell.output import HOLD_US, OutputTrack
from devtrace.sources.shell.signals import ENDING, Signals, kill
from devtrace.sources.shell.spawn import PipedChild

_KEYS = (signal.SIGINT, signal.SIGQUIT)  # what a terminal sends to everybody in front of it


def pump_pipes(
    child: PipedChild,
    track: OutputTrack,
    *,
    out_fd: int = 1,
    err_fd: int = 2,
    on_idle: OnIdle | None = None,
    hang_up: bool = False,
) -> int:
    """Copy the child's two pipes to ours until the child ends; returns its wait status.

    SIGINT, SIGQUIT, SIGTERM and SIGHUP to us go on to the child's process group, except for keys that the
    terminal has sent to the child itself; with `hang_up` SIGTERM goes as SIGHUP, since an interactive shell
    ignores the former. When our output is closed, so is the
    child's, which then ends as it would without us. Background jobs may keep the pipes: nobody waits for
    them. `on_idle` as for `pump`.
    """
    with Signals((*ENDING, signal.SIGTSTP)) as signals:
        return _PipePump(child, track, signals, (out_fd, err_fd), on_idle, hang_up).run()


class _PipePump:
    """The loop between two pipes and ours."""

    def __init__(
        self,
        child: PipedChild,
        track: OutputTrack,
        signals: Signals,
        fds: tuple[int, int],
        on_idle: OnIdle | None,
        hang_up: bool,
    ):
        self._child = child
        self._track = track
        self._signals = signals
        self._idle = Idle(on_idle)
        self._hang_up = hang_up
        self._poller = Poller()
        self._status: int | None = None
        self._release_at: dict[int, float] = {}  # by stream, where something is held
        self._sinks = {1: own_sink(fds[0]), 2: own_sink(fds[1])}
        self._sources = {1: child.out_fd} if child.err_fd < 0 else {1: child.out_fd, 2: child.err_fd}

    def run(self) -> int:
        try:
            self._reap()
            while self._status is None:
                self._step()
            for stream in list(self._sources):
                self._drain(stream)
            self._flush_all()
        finally:
            for sink in self._sinks.values():
                os.close(sink.fd)
        return self._status

    def _step(self) -> None:
        self._poller.want(self._signals.fd, select.POLLIN)
        for stream, source in self._sources.items():
            sink = self._sinks[stream]
            self._poller.want(source, select.POLLIN if len(sink.waiting) < HIGH_WATER else 0)
            self._poller.want(sink.fd, select.POLLOUT if sink.waiting else 0)
        ready = dict(self._poller.wait(self._timeout_ms()))
        for stream, source in list(self._sources.items()):
            if self._sinks[stream].fd in ready:
                self._sinks[stream].flush()
            if source in ready:
                self._read(stream)
        if self._signals.fd in ready:
            self._heed_signals()
        if not ready:
            self._idle.quiet()
        self._give_up_holding()
        self._close_what_is_lost()

    def _timeout_ms(self) -> float | None:
        waits = [self._idle.timeout_ms, *map(ms_until, self._release_at.values())]
        return min((wait for wait in waits if wait is not None), default=None)

    def _read(self, stream: int) -> bool:
        try:
            data = os.read(self._sources[stream], CHUNK)
        except BlockingIOError:
            self._track.caught_up(stream)
            return False
        shown = self._track.feed(data, stream)
        if len(data) < CHUNK:
            self._track.caught_up(stream)
        if shown:
            self._sinks[stream].write(shown)
        self._note_held(stream)
        return bool(data)

    def _note_held(self, stream: int) -> None:
        if self._track.holds(stream):
            self._release_at[stream] = time.monotonic() + HOLD_US / 1e6
        else:
            self._release_at.pop(stream, None)

    def _give_up_holding(self) -> None:
        """Pass on what might have begun a mark, unless its rest is there and only we are behind."""
        now = time.monotonic()
        for stream in [stream for stream, due in self._release_at.items() if now >= due]:
            self._note_held(stream)
            has_room = len(self._sinks[stream].waiting) < HIGH_WATER
            if stream in self._sources and has_room and not self._read(stream):
                self._release(stream)

    def _release(self, stream: int) -> None:
        self._release_at.pop(stream, None)
        data = self._track.release(stream)
        if data:
            self._sinks[stream].write(data)

    def _heed_signals(self) -> None:
        for number in self._signals.read():
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGTSTP:
                self._suspend()
            elif number == signal.SIGTERM and self._hang_up:
                self._pass_on(signal.SIGHUP)
            elif number in ENDING and not (number in _KEYS and self._hears_keys()):
                self._pass_on(number)

    def _hears_keys(self) -> bool:
        """Whether the child is with us in the terminal's foreground, and heard Ctrl-C when we did."""
        try:
            with Path("/dev/tty").open("rb", buffering=0) as tty:
                front = os.tcgetpgrp(tty.fileno())
            return front == os.getpgrp() == os.getpgid(self._child.pid)
        except OSError:  # no terminal, or no child any more
            return False

    def _pass_on(self, number: int) -> None:
        if self._status is not None:
            return
        try:
            os.killpg(self._child.pid, number)
        except OSError:  # it leads no group: it stayed in ours
            kill(self._child.pid, number)

    def _suspend(self) -> None:
        if not self._hears_keys():
            self._pass_on(signal.SIGSTOP)
        self._signals.stop()
        self._pass_on(signal.SIGCONT)

    def _reap(self) -> None:
        if self._status is not None:  # the SIGCHLD of another child of ours, such as git
            return
        pid, status = os.waitpid(self._child.pid, os.WNOHANG)
        if pid:
            self._status = status

    def _close_what_is_lost(self) -> None:
        """Nobody reads our output: then nobody reads the child's, and it learns so as it would without us."""
        for stream, source in list(self._sources.items()):
            if self._sinks[stream].is_lost:
                self._drain(stream)
                self._poller.want(source, 0)
                del self._sources[stream]
                self._release_at.pop(stream, None)
                os.close(source)
                if stream == 1:
                    self._child.out_fd = -1
                else:
                    self._child.err_fd = -1

    def _drain(self, stream: int) -> None:
        while self._read(stream):
            self._let_flow(stream, HIGH_WATER)

    def _flush_all(self) -> None:
        for stream in self._sources:
            self._release(stream)
            self._let_flow(stream, 1)

    def _let_flow(self, stream: int, mark: int) -> None:
        sink = self._sinks[stream]
        poller = Poller()
        poller.want(sink.fd, select.POLLOUT)
        while len(sink.waiting) >= mark and not sink.is_lost:
            poller.wait(None)
            sink.flush()
