"""What goes through the standard streams of this process while it is recorded.

    off ── install ──► on ── uninstall ──► off     (a stream that is replaced meanwhile is hooked again)

The streams are hooked, never exchanged; one that takes no attributes gets a proxy that hands everything on.
The hooks come off in the order in which they came, and leave nothing behind.

Lives here: `Capture`: which objects are hooked, what is noticed, the end. Not here: a hook (io_hooks.py),
what becomes of what was written (io_queue.py), bytes below Python (fd_mirror.py). Standard library only: a
guest imports this.
"""

from __future__ import annotations

import builtins
import os
import sys
from io import TextIOWrapper
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from devtrace.recorder import io_hooks, logs, metrics
from devtrace.recorder.io_hooks import Hooked, TextState
from devtrace.recorder.io_queue import Channel, drain, is_within_ours, tell_reached
from devtrace.recorder.streams import (
    LineAwareStderr,
    LineAwareStdin,
    LineAwareStdout,
    captured,
    is_muted,
    n_muted,
)
from devtrace.recorder.writing import NOTHING
from devtrace.store.trace import records

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from devtrace.recorder.recording import Recording

CHANNELS = frozenset(("stdout", "stderr", "stdin"))
_NAMES = {"stdout": records.STDOUT, "stderr": records.STDERR}
_CLASSES: dict[str, type] = {"stdout": LineAwareStdout, "stderr": LineAwareStderr, "stdin": LineAwareStdin}
_NOWHERE = -1  # nothing goes on there
REPLACED = "io_stream_replaced"  # metrics
SILENT = "io_read_without_echo"


class Proxy:
    """In the place of a stream that takes no attributes: everything but writes is its own."""

    def __init__(self, of: Any):
        object.__setattr__(self, "_of", of)
        self.__dict__["write"] = of.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("write", "flush", *io_hooks.THROUGH):
            self.__dict__[name] = value
        else:
            setattr(self._of, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            del self.__dict__[name]
        else:
            delattr(self._of, name)

    def __iter__(self) -> Any:
        return iter(self._of)

    def __enter__(self) -> Any:
        self._of.__enter__()
        return self

    def __exit__(self, *given: Any) -> Any:
        return self._of.__exit__(*given)

    def writelines(self, lines: Any) -> None:
        """As `io` has it: each by itself."""
        for line in lines:
            self.write(line)


class Capture:
    """Of one recording."""

    def __init__(
        self,
        recording: Recording,
        caught: Callable[[str, BaseException], bool],
        *,
        channels: frozenset[str] = CHANNELS,
        mirror: Any = None,
    ):
        """`caught`: as for an engine. `channels`: of stdout, stderr and stdin those that are recorded."""
        self.recording = recording
        self.caught = caught
        self.mirror = mirror
        self.inside: set[CodeType] = set()  # our frames from which a text layer passes on what it holds
        self.left = recording.left_through
        self.n_replaced = 0
        self._channels = channels
        self._hooked: list[Hooked] = []
        self._objects: dict[int, Any] = {}  # what is hooked, by id, and kept
        self._layers: dict[int, list[TextState]] = {}  # id of a buffer -> the text streams above it
        self._proxies: dict[str, Proxy] = {}
        self._seen: dict[str, Any] = {}
        self.out: Any = None  # what stands in `sys`, as it was looked at last
        self.err: Any = None
        self._input: Any = None
        self._is_noticing = False

    # --- begin and end ---

    def install(self) -> None:
        """Hook what stands in `sys` now."""
        for name in _NAMES:
            if name in self._channels:
                found = getattr(sys, name, None)
                original = getattr(sys, f"__{name}__", None)
                self._seen[name] = found
                if found is not None:
                    self._hook(name, found, is_own=found is original)
                if original is not None and original is not found and self._is_console(name, original):
                    self._hook(name, original, is_own=True)
        if "stdin" in self._channels and sys.stdin is not None:
            self._hook_stdin(sys.stdin)
        self.out, self.err = getattr(sys, "stdout", None), getattr(sys, "stderr", None)
        self.recording.capture = self

    def uninstall(self) -> None:
        """Take all hooks away; what is queued is written."""
        layers = [state for states in self._layers.values() for state in states]
        self.let_go()
        stream = getattr(self.recording.local, "stream", None) or next(iter(self.recording.streams), None)
        if stream is not None:
            for state in layers:
                io_hooks.leave_unsure(stream, state)
        for stream in list(self.recording.streams):
            drain(stream, is_over=True)

    def let_go(self) -> None:
        """Take all hooks away, and nothing more. May be called twice, by any thread."""
        self.recording.capture = None
        for hooked in self._hooked:
            hooked.undo()
        for name, proxy in self._proxies.items():
            if getattr(sys, name, None) is proxy:
                setattr(sys, name, self._objects[id(proxy)])
        if self._input is not None and builtins.input is self._input[0]:
            builtins.input = self._input[1]
        for group in captured.values():
            group[:] = [one for one in group if id(one) not in self._objects]
        self._hooked.clear()
        self._objects.clear()
        self._layers.clear()
        self._proxies.clear()

    # --- what the hooks tell ---

    def add(self, channel: Channel, data: bytes, frame: Any) -> None:
        """Bytes that came or went at once."""
        recording = self.recording
        try:
            try:
                stream = recording.local.stream
            except AttributeError:
                stream = recording.begin_thread(frame)
            top = stream.top
            place = recording.place_of(frame) if top is None or recording.detail == "calls" else 0
            if top is not None and top[3] is None:
                top[3] = NOTHING
            stream.queue.append([channel, data, perf_counter_ns(), stream.at, place, top])
            if not is_within_ours(frame):
                drain(stream, keeps_open=not channel.flags)
        except BaseException as error:
            if self.caught("io_bytes", error):
                raise

    def flushed(self, channel: Channel) -> None:
        """A program has flushed a stream by itself."""
        self._at_once(channel.what, channel)

    def reached(self, what: int) -> None:
        """All that was written until now has reached the descriptor."""
        self._at_once(what, None)

    def _at_once(self, what: int, channel: Channel | None) -> None:
        stream = getattr(self.recording.local, "stream", None)
        if stream is None:
            return
        try:
            if channel is not None and stream.queue:
                stream.queue.append([channel, None, 0, _NOWHERE, 0, stream.top])
            if is_within_ours(sys._getframe()):
                stream.reached[what] = perf_counter_ns()
                return
            drain(stream, keeps_open=channel is None)
            if stream.queue:
                stream.reached[what] = perf_counter_ns()  # told behind the line that is not over
            elif not stream.is_draining:
                tell_reached(stream, what, perf_counter_ns())
        except BaseException as error:
            if self.caught("io_flush", error):
                raise

    def passed(self) -> None:
        """The text layer may have passed on what it held: what the console has is to be in the record."""
        stream = getattr(self.recording.local, "stream", None)
        try:
            if stream is not None and stream.queue and not is_within_ours(sys._getframe()):
                drain(stream, keeps_open=True)
        except BaseException as error:
            if self.caught("io_pass", error):
                raise

    def learn(self, typed: bytes) -> None:
        """What was typed without an echo is a secret wherever it turns up."""
        try:
            self.recording.learn(typed.strip(b"\r\n"))
        except BaseException as error:
            if self.caught("io_learn", error):
                raise

    def is_silent(self, raw: Any) -> bool:
        """Whether what is read there is not shown as it is typed: it may be a password."""
        try:
            fd = raw.fileno()
            if not os.isatty(fd):
                return False
            from termios import ECHO, tcgetattr

            is_silent = not tcgetattr(fd)[3] & ECHO
        except (OSError, ValueError, ImportError, AttributeError):
            return False
        if is_silent:
            metrics.record_dropped_event(SILENT)
        return is_silent

    def notice(self) -> None:
        """Hook what has taken the place of a stream, if it writes to the same descriptor."""
        if self._is_noticing:
            return
        self._is_noticing = True
        try:
            self.out, self.err = getattr(sys, "stdout", None), getattr(sys, "stderr", None)
            for name in self._seen:
                found = getattr(sys, name, None)
                if found is self._seen[name]:
                    continue
                self._seen[name] = found
                if found is None or id(found) in self._objects or not self._is_console(name, found):
                    continue
                if not isinstance(found, TextIOWrapper) or type(found).write is not TextIOWrapper.write:
                    continue  # its own `write` writes to what is hooked, if it writes to the console at all
                self._tell_replaced(name)
                self._hook(name, found, is_own=False)
        finally:
            self._is_noticing = False

    def again(self) -> None:
        """Look for streams that are not hooked: what `configure_policy` asks for."""
        self.notice()
        for name in _NAMES:
            found = getattr(sys, name, None)
            if name in self._channels and found is not None and id(found) not in self._objects:
                self._seen[name] = found
                self._hook(name, found, is_own=False)

    def _tell_replaced(self, name: str) -> None:
        metrics.record_dropped_event(REPLACED)
        if not self.n_replaced:
            logs.log("info", f"sys.{name} was replaced by another object; it is recorded from now on")
        self.n_replaced += 1

    # --- objects ---

    def _hook(self, name: str, text: Any, *, is_own: bool) -> None:
        if id(text) in self._objects:
            captured.setdefault(_CLASSES[name], []).append(text)
            return
        state = TextState(_NAMES[name], text, is_known=is_own or not hasattr(text, "buffer"))
        direct = self._lead_past(text, state)
        shown = text
        try:
            hooked = io_hooks.hook_text(self, text, state)
        except (AttributeError, TypeError):
            shown = self._proxies[name] = Proxy(text)
            hooked = io_hooks.hook_text(self, shown, state)
            self._objects[id(shown)] = text
            setattr(sys, name, shown)
            self._seen[name] = shown
        self._hooked.append(hooked)
        self._objects[id(text)] = text
        captured.setdefault(_CLASSES[name], []).append(shown)
        self._hook_beneath(text, state, direct)

    def _lead_past(self, text: Any, state: TextState) -> Callable[[], Any] | None:
        """Where its descriptor is mirrored; returns what an unbuffered stream writes with then."""
        buffer = getattr(text, "buffer", None)
        try:
            fd = buffer.fileno() if self.mirror is not None and buffer is not None else -1
        except (OSError, ValueError, AttributeError):
            return None
        if fd not in (1, 2):
            return None
        raw = getattr(buffer, "raw", None)
        if raw is None:
            direct = self._direct(fd)
            state.lead = direct  # before the time is taken, too: what waits in the mirror was there first
            return direct
        if hasattr(raw, "__dict__"):
            state.lead = self.mirror.past(raw, fd).lead
        return None

    def _direct(self, fd: int) -> Callable[[], Any]:
        return lambda: self.mirror.direct(fd)

    def _hook_beneath(self, text: Any, state: TextState, direct: Callable[[], Any] | None) -> None:
        buffer = getattr(text, "buffer", None)
        if id(buffer) in self._layers:
            state.beneath = self._layers[id(buffer)][0].beneath
            self._layers[id(buffer)].append(state)
        if buffer is None or id(buffer) in self._objects or not hasattr(buffer, "write"):
            return
        try:
            layers = self._layers[id(buffer)] = [state]
            self._hooked.append(io_hooks.hook_buffer(self, buffer, layers, direct))
            self._objects[id(buffer)] = buffer
        except (AttributeError, TypeError):
            return  # what is written past the text layer is not seen

    def _hook_stdin(self, text: Any) -> None:
        raw = getattr(getattr(text, "buffer", None), "raw", None)
        if raw is None or id(raw) in self._objects:
            return
        try:
            self._hooked.append(io_hooks.hook_reads(self, raw))
        except (AttributeError, TypeError):
            return
        self._objects[id(raw)], self._objects[id(text)] = raw, text
        captured.setdefault(LineAwareStdin, []).append(text)
        if _is_tty(0) and _is_tty(1):
            self._hook_input()

    def _hook_input(self) -> None:
        """At a terminal `input()` asks the C library, past all streams."""
        plain = builtins.input
        out, read = (Channel(what, lambda text: text.encode("utf-8", "surrogateescape"), flags)
                     for what, flags in ((records.STDOUT, 0), (records.STDIN, records.INPUT)))  # fmt: skip

        def input(*given: Any) -> Any:
            frame, is_seen, is_silent = sys._getframe().f_back, False, False
            if self._input is not None and not (n_muted[0] and is_muted()) and _is_own_terminal():
                is_silent = self.is_silent(sys.stdin)
                is_seen = not is_silent
                if len(given) == 1 and type(given[0]) in (str, int, float):
                    self.add(out, str(given[0]).encode("utf-8", "surrogateescape"), frame)
            try:
                line = plain(*given)
            except BaseException:
                self.left[0] = True
                raise
            if is_silent:
                self.learn(line.encode("utf-8", "surrogateescape"))
            if is_seen:
                self.add(read, f"{line}\n".encode("utf-8", "surrogateescape"), frame)
            return line

        builtins.input = input
        self._input = (input, plain)

    def _is_console(self, name: str, text: Any) -> bool:
        """Whether it writes where the stream of that name does."""
        buffer = getattr(text, "buffer", None)
        if buffer is not None and id(buffer) in self._objects:
            return True
        try:
            return bool(text.fileno() == (1 if name == "stdout" else 2))
        except (OSError, ValueError, AttributeError, TypeError):
            return False


def _is_own_terminal() -> bool:
    """Whether `input()` reads from the terminal itself (Python/bltinmodule.c, builtin_input)."""
    try:
        return sys.stdin.fileno() == 0 and sys.stdout.fileno() == 1 and _is_tty(0) and _is_tty(1)
    except (OSError, ValueError, AttributeError):
        return False


def _is_tty(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False
