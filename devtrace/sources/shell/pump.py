"""Between the outer terminal and the one inside: every byte both ways, every signal, the size, the end.

Lives here: the loop over two terminals, waiting for a child that shares ours, exit statuses.
Not here: starting the child (spawn.py), cutting its output at commands (output.py), the loop over pipes
(pipes.py), what happens when the host itself is killed (watchdog.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import time

from devtrace.sources.shell.flow import (
    CHUNK,
    HIGH_WATER,
    TERMINAL_BLOCKING_WRITE,
    Idle,
    OnIdle,
    Poller,
    Sink,
    ms_until,
)
from devtrace.sources.shell.modes import closing, opening
from devtrace.sources.shell.output import HOLD_US, OutputTrack
from devtrace.sources.shell.signals import ENDING, Signals, kill
from devtrace.sources.shell.silence import Silence
from devtrace.sources.shell.spawn import Child, PlainChild
from devtrace.sources.shell.terminal import COOKED, RAW, Attributes, OuterTerminal
from devtrace.sources.shell.watchdog import Watchdog

_GRACE_S = (
    5.0  # between SIGHUP and SIGKILL, when the host was told to end: a host inside has to record its end
)
_NUDGE_S = 0.25
_FOLLOW_MS = 100  # how often the terminal inside is asked whether it wants the keyboard
_REOPENED_MS = 100  # how often a terminal inside that everybody closed is looked at again
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


def exit_code(status: int) -> int:
    """A wait status as a shell says it: the exit status, or 128+n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def pump(
    child: Child,
    outer: OuterTerminal,
    track: OutputTrack,
    *,
    on_idle: OnIdle | None = None,
    watchdog: Watchdog | None = None,
    silence: Silence | None = None,
) -> int:
    """Move bytes between the outer terminal and the child until the child ends; returns its wait status.

    A SIGTERM, SIGHUP, SIGINT or SIGQUIT to us hangs up the child, and the status is then "ended by that
    signal". The outer terminal is restored in any case. `on_idle` is called when
    nothing has moved for a moment; it returns after how many seconds to call it again, or None for never.
    Only in the main thread, since signals are taken in.
    """

    def take_back() -> None:
        if outer.state == RAW:
            with contextlib.suppress(termios.error):  # it is gone, which reading will tell
                outer.raw()

    with Signals((*ENDING, signal.SIGTSTP), take_back) as signals:
        return _Pump(child, outer, track, signals, watchdog, on_idle, silence).run()


def attend(child: PlainChild) -> int:
    """Wait for a child that shares our terminal; returns its wait status.

    Keys that signal reach the child by the terminal, so SIGINT and SIGQUIT are not ours to act on; SIGTERM
    and SIGHUP go on to it. When the child stops itself, so do we, and continue it afterwards.
    """
    with Signals(ENDING) as signals:
        while True:
            pid, status = os.waitpid(child.pid, os.WNOHANG | os.WUNTRACED)
            if pid and not os.WIFSTOPPED(status):
                return status
            if pid:
                signal.raise_signal(
                    signal.SIGTSTP
                )  # no SIGSTOP: where nobody could continue us, it is ignored
                kill(child.pid, signal.SIGCONT)
                continue
            select.select([signals.fd], [], [])
            for number in signals.read():
                if number in (signal.SIGTERM, signal.SIGHUP):
                    kill(child.pid, number)


class _Pump:
    """The loop between one terminal and another."""

    def __init__(
        self,
        child: Child,
        outer: OuterTerminal,
        track: OutputTrack,
        signals: Signals,
        watchdog: Watchdog | None,
        on_idle: OnIdle | None,
        silence: Silence | None,
    ):
        self._child = child
        self._outer = outer
        self._silence = silence
        self._track = track
        self._signals = signals
        self._watchdog = watchdog
        self._idle = Idle(on_idle)
        self._poller = Poller()
        self._screen = Sink(outer.fd, TERMINAL_BLOCKING_WRITE if outer.is_blocking else None)
        self._keys = Sink(child.fd, None)
        self._modes = 0
        self._maybe_open = 0  # modes that may be open on the screen: it has not taken all that ends them yet
        self._status: int | None = None
        self._ended_by = 0
        self._kill_at = 0.0
        self._nudge_at = 0.0
        self._release_at = 0.0
        self._is_closed_inside = False  # nobody has the terminal inside open just now

    def run(self) -> int:
        try:
            self._resize()
            if not self._outer.follows:
                self._outer.raw()
            self._reap()
            while self._status is None:
                self._step()
            self._drain()
        finally:
            self._leave()
        return self._ended_by or self._status

    def _step(self) -> None:
        self._aim()
        ready = self._poller.wait(self._timeout_ms())
        # First, so that a new size is known before what is typed after it; also if the poll did not see it,
        # because the handler ran when it returned.
        if any(fd in (self._signals.fd, self._outer.fd) for fd, _ in ready):
            self._heed_signals()
        for fd, event in ready:
            if fd == self._child.fd:
                if event & select.POLLOUT:
                    self._keys.flush()
                if event & _READABLE:
                    self._read_child()
            elif fd == self._outer.fd:
                if event & select.POLLOUT:
                    self._screen.flush()
                    self._tell_modes()
                if event & _READABLE:
                    self._read_keyboard()
        if not ready:
            self._idle.quiet()
        self._look_around()

    def _aim(self) -> None:
        """Ask for what the buffers have room for; for nothing where reading would only report a hang-up."""
        poller, screen, keys = self._poller, self._screen, self._keys
        inside = outside = 0
        if len(screen.waiting) < HIGH_WATER and not self._is_closed_inside:
            inside = select.POLLIN
        if keys.waiting:
            inside |= select.POLLOUT
        if not screen.is_lost:
            if self._outer.state == RAW and len(keys.waiting) < HIGH_WATER:
                outside = select.POLLIN
            if screen.waiting:
                outside |= select.POLLOUT
        poller.want(self._child.fd, inside)
        poller.want(self._outer.fd, outside)
        poller.want(self._signals.fd, select.POLLIN)

    def _timeout_ms(self) -> float | None:
        waits = [self._idle.timeout_ms]
        if self._release_at:
            waits.append(ms_until(self._release_at))
        if self._kill_at:
            waits.append(_NUDGE_S * 1000)
        if self._outer.follows:
            waits.append(_FOLLOW_MS)
        if self._is_closed_inside:
            waits.append(_REOPENED_MS)
        if self._silence is not None and self._silence.due_at:
            waits.append(ms_until(self._silence.due_at))
        return min((wait for wait in waits if wait is not None), default=None)

    def _look_around(self) -> None:
        """What is due by the clock, or by the state of the terminal inside."""
        if self._release_at and time.monotonic() >= self._release_at:
            self._give_up_holding()
        if self._kill_at:
            self._insist()
        if self._is_closed_inside:
            self._read_child()
        if self._outer.follows and not self._screen.is_lost:
            with contextlib.suppress(termios.error):  # one of the two is gone, which reading will tell
                self._follow()
        if self._screen.is_lost and not self._ended_by:
            self._end(signal.SIGHUP)
        if self._silence is not None and 0 < self._silence.due_at <= time.monotonic():
            self._silence.look()

    def _read_child(self) -> bool:
        """Take in what the child wrote and show it; whether there was anything."""
        chunks: list[bytes] = []
        size = 0
        is_empty = False
        try:
            while size < HIGH_WATER:
                chunk = os.read(self._child.fd, CHUNK)
                if not chunk:
                    break
                chunks.append(chunk)
                size += len(chunk)
            self._is_closed_inside = not chunks
        except BlockingIOError:
            self._is_closed_inside = False
            is_empty = True
        except OSError:  # EIO: nobody has the terminal inside open
            self._is_closed_inside = True
        shown = self._track.feed(b"".join(chunks)) if chunks else b""
        if is_empty:
            self._track.caught_up()
        if not chunks:
            return False
        self._note_held()
        self._show(shown)
        return True

    def _show(self, data: bytes) -> None:
        """Show it; the watchdog hears before of a mode that it opens, and after of one that it ends."""
        self._modes = self._track.modes
        if self._modes & ~self._maybe_open:
            self._maybe_open |= self._modes
            self._tell_watchdog(self._maybe_open)
        if data:
            self._screen.write(data)
        self._tell_modes()

    def _tell_modes(self) -> None:
        """Once the screen has all of it, what was ended is ended."""
        if self._maybe_open != self._modes and not self._screen.waiting:
            self._maybe_open = self._modes
            self._tell_watchdog(self._modes)

    def _note_held(self) -> None:
        self._release_at = time.monotonic() + HOLD_US / 1e6 if self._track.holds() else 0.0

    def _give_up_holding(self) -> None:
        """Show what might have begun a mark, unless its rest is there and only we are behind."""
        self._note_held()
        has_room = len(self._screen.waiting) < HIGH_WATER
        if has_room and not self._read_child():
            self._release_at = 0.0
            self._show(self._track.release())

    def _tell_watchdog(self, modes: int) -> None:
        if self._watchdog is not None:
            self._watchdog.saw(modes)

    def _read_keyboard(self) -> None:
        try:
            data = os.read(self._outer.fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            if self._silence is not None:
                self._silence.typing(data)
            self._keys.write(data)
        else:
            self._screen.lose()

    def _heed_signals(self) -> None:
        for number in self._signals.read():
            if number == signal.SIGWINCH:
                self._resize()
            elif number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGCONT:
                self._resume()
            elif number == signal.SIGTSTP:
                self._suspend()
            elif number in (signal.SIGINT, signal.SIGQUIT) and self._outer.follows:
                self._type_signal(number)
            else:
                self._end(number)

    def _reap(self) -> None:
        if self._status is not None:  # the SIGCHLD of another child of ours, such as git
            return
        pid, status = os.waitpid(self._child.pid, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            self._suspend()  # `suspend` or a SIGSTOP inside: without us, the outer shell would be back
            kill(self._child.pid, signal.SIGCONT)
        elif pid:
            self._status = status

    def _resize(self) -> None:
        try:
            rows, cols, pixels = self._outer.size
            fcntl.ioctl(self._child.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, *pixels))
        except OSError:  # one of the terminals is gone, which its reading tells
            return

    def _suspend(self) -> None:
        """Step aside: give the terminal back as it was, stop, and come back when continued."""
        if self._screen.is_lost:
            return
        was_raw = self._outer.state == RAW
        self._screen.write(closing(self._modes))
        self._tell_watchdog(0)
        try:
            self._outer.cooked()
            self._signals.stop()
            if was_raw:
                self._outer.raw()
        except termios.error:  # it went away meanwhile
            self._screen.lose()
        self._maybe_open = self._modes
        self._tell_watchdog(self._modes)
        self._screen.write(opening(self._modes))
        self._redraw()

    def _resume(self) -> None:
        """Somebody stopped us and the outer shell changed the terminal meanwhile."""
        if self._outer.state == RAW and not self._screen.is_lost:
            self._redraw()

    def _redraw(self) -> None:
        self._resize()
        self._kill_in_front(signal.SIGWINCH)  # the size may be the same, and then the kernel sends none

    def _follow(self) -> None:
        local = self._attributes_inside()[3]
        wants_keys = not (local & termios.ICANON and local & termios.ECHO)
        if wants_keys and self._outer.state == COOKED:
            self._outer.raw()
        elif not wants_keys and self._outer.state == RAW:
            self._outer.cooked()

    def _type_signal(self, number: int) -> None:
        """Ctrl-C at a terminal that is not raw became a signal to us: type it into the terminal inside."""
        index = termios.VINTR if number == signal.SIGINT else termios.VQUIT
        self._keys.write(self._attributes_inside()[6][index])

    def _attributes_inside(self) -> Attributes:
        return termios.tcgetattr(self._child.fd)

    def _end(self, number: int) -> None:
        """Hang up the child, as if its terminal were closed; the second time, do not wait for it."""
        if self._ended_by:
            self._kill_inside(signal.SIGKILL)
            return
        self._ended_by = number
        self._kill_at = time.monotonic() + _GRACE_S
        self._insist()

    def _insist(self) -> None:
        """Hang up, and again from time to time: bash loses a SIGHUP that comes while it draws its prompt."""
        now = time.monotonic()
        if now >= self._kill_at:
            self._kill_at = 0.0
            self._kill_inside(signal.SIGKILL)
        elif now >= self._nudge_at:
            self._nudge_at = now + _NUDGE_S
            self._kill_inside(signal.SIGHUP)
            self._kill_inside(signal.SIGCONT)

    def _kill_inside(self, number: int) -> None:
        if self._status is None:  # once it is reaped, its number may be another's
            kill(self._child.pid, number)
            self._kill_in_front(number)

    def _kill_in_front(self, number: int) -> None:
        with contextlib.suppress(OSError):  # no group in front any more, or one of another user
            group = os.tcgetpgrp(self._child.fd)
            if group > 1:  # a terminal without a session says 0, and killpg would take that for us
                os.killpg(group, number)

    def _drain(self) -> None:
        """The child is gone: whatever it wrote is to be read now, for reading says EAGAIN only at its end."""
        while not self._screen.is_lost and self._read_child():
            self._let_flow(HIGH_WATER)
        self._show(self._track.release())
        self._let_flow(1)

    def _let_flow(self, mark: int) -> None:
        """Wait until less than `mark` bytes are waiting for the screen, or until told to end."""
        while len(self._screen.waiting) >= mark and not self._screen.is_lost and not self._ended_by:
            self._poller.want(self._child.fd, 0)
            self._poller.want(self._outer.fd, select.POLLOUT)
            for fd, event in self._poller.wait(None):
                if fd == self._outer.fd:
                    self._screen.lose() if event & ~select.POLLOUT else self._screen.flush()
                else:
                    self._heed_signals()

    def _leave(self) -> None:
        """Whatever happened: the terminal as we found it.

        Modes that a program left open on purpose stay open, as they would without us; those of a program that
        had no chance to close them are closed.
        """
        if self._modes and self._had_no_chance():
            self._screen.write(closing(self._modes))
        self._tell_watchdog(0)
        self._outer.restore()

    def _had_no_chance(self) -> bool:
        return bool(self._ended_by) or self._status is None or os.WIFSIGNALED(self._status)
