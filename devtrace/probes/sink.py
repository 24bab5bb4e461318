"""Events to an HTTP receiver, beside the store: `POST <url>/api/events`, one event each.

    offered ──> waiting ──> sent       2xx
       │           ├──────> failed     refused, or three times no answer in 2 s
       └───────────┴──────> dropped    too many waited, or the program ended

Nobody ever waits for the receiver. A thread of its own sends, and lives only while something waits. It is no
`threading.Thread`: Python would wait for one at the program's end, or tell the program of it.

Lives here: `Sink`, where it is asked for. Not here: what an event is (wire.py), one request and its answer
(posting.py), the receiver (services/probe_sink.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import json
import threading
from _thread import get_native_id, start_new_thread
from os.path import exists
from time import monotonic, sleep

from devtrace.probes.posting import Address, BadAddress, Foreign, Poster

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VARIABLES = ("DEBUGIN_EVENT_SINK_URL", "EVENT_SINK_URL")  # the first that is set counts
TRIES = 3
BACKOFF_S = 0.25  # doubled after each try
CLOSING_S = 0.2  # what a program's end may wait for
MOST_BYTES = 16 << 20  # of all that waits
_WHO = "is an OpenTelemetry collector listening there?"  # the documented port, 4317, is one's too
_AGAIN = (408, 429)  # beside 5xx: it may take the event later


def url_from(environ: Mapping[str, str]) -> str | None:
    """Where events are to be sent as well; None: nowhere."""
    return next((value for name in VARIABLES if (value := environ.get(name, "").strip())), None)


class Sink:
    """What waits for one receiver. Any thread may offer. Raises nothing, not even for a URL that is none."""

    __slots__ = ("_bytes", "_changed", "_is_resting", "_is_running", "_is_stopped", "_is_unreached", "_most",
                 "_poster", "_thread", "_waiting", "connected", "dropped", "failed", "note", "sent",
                 "url")  # fmt: skip

    def __init__(self, url: str, *, most: int = 1000):
        """`most`: events that wait."""
        self._most = most
        self._poster: Poster | None = None
        self.note = ""
        try:
            self._poster = Poster(Address(url))
        except BadAddress as error:
            self.note = str(error)
        self.url = self._poster.address.shown if self._poster else ""  # without what may be a secret in it
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []  # the first is the one that is being sent
        self._bytes = 0
        self._thread = 0  # the last one's number
        self._is_running = False
        self._is_resting = False
        self._is_stopped = False
        self._is_unreached = False
        self.connected = False  # the last answer was one of a receiver
        self.sent = self.dropped = self.failed = 0

    # --- what the agent calls -------------------------------------------------------------------------------

    def offer(self, event: Mapping[str, Any]) -> bool:
        """Send it some time; False: it will not be, and is counted. The event is redacted already."""
        try:
            body = json.dumps(event, separators=(",", ":"), allow_nan=False).encode("ascii")
        except (TypeError, ValueError, RecursionError):
            body = b""
        with self._changed:
            is_full = len(self._waiting) >= self._most or self._bytes + len(body) > MOST_BYTES
            if not body or is_full or self._is_stopped or self._poster is None:
                self.dropped += 1
                return False
            self._waiting.append(body)
            self._bytes += len(body)
            self._start()
        return True

    def status(self) -> dict[str, Any]:
        """What /health tells. `note`: why nothing arrives, or what is odd about it."""
        return {
            "connected": self.connected,
            "url": self.url,
            "sent": self.sent,
            "dropped": self.dropped,
            "failed": self.failed,
            "note": self.note,
        }

    def flush(self, timeout: float) -> bool:
        """Wait until nothing waits any more, so many seconds at most. Whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout)

    def stop(self) -> None:
        """Send what can be sent in a moment, and drop the rest. May be called twice."""
        with self._changed:
            self._is_stopped = True
        self.flush(CLOSING_S)
        with self._changed:
            self.dropped += len(self._waiting)
            self._waiting = []
            self._bytes = 0
            if self._is_running and self._poster is not None:
                self._poster.interrupt()
            self._changed.notify_all()

    def rest(self, timeout: float = CLOSING_S) -> bool:
        """Before a fork: have the thread end, and keep what waits. Whether it has ended in that time."""
        with self._changed:
            if self._is_running and self._poster is not None:
                self._is_resting = True
                self._poster.interrupt()
                self._changed.notify_all()
            has_ended = self._changed.wait_for(lambda: not self._is_running, timeout)
        return has_ended and _is_gone(self._thread, timeout)

    def resume(self) -> None:
        """After a fork, in the parent."""
        with self._changed:
            if self._waiting:
                self._start()

    def forget(self) -> None:
        """In a forked child: what waits is the parent's to send, and so is its connection."""
        if self._poster is not None:
            self._poster.close()
        self._begin()

    # --- the thread -----------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._is_resting = False
        if self._is_running:
            return
        self._is_running = True
        try:
            start_new_thread(self._run, ())
        except RuntimeError:  # the interpreter is at its end, or there are too many threads
            self._is_running = False
            self.note = "no thread could be started"

    def _run(self) -> None:
        """Send until nothing waits. What happens here is no concern of the program's."""
        self._thread = get_native_id()
        changed, poster = self._changed, self._poster
        assert poster is not None
        while body := self._next(changed, poster):
            try:
                taken = self._send(poster, body)
            except Exception as error:
                taken, self.note = False, f"a bug of ours: {type(error).__name__}"
            self._ended(changed, body, taken)

    def _next(self, changed: threading.Condition, poster: Poster) -> bytes | None:
        """The next body; None: the thread ends."""
        with changed:
            if self._waiting and not self._is_resting:
                return self._waiting[0]
            poster.close()  # before another thread may use it
            self._is_running = False
            changed.notify_all()
            return None

    def _ended(self, changed: threading.Condition, body: bytes, taken: bool) -> None:
        with changed:
            is_there = bool(self._waiting) and self._waiting[0] is body  # else it was dropped, and counted
            if is_there and (taken or not self._is_resting):
                del self._waiting[0]
                self._bytes -= len(body)
                self.sent += taken
                self.failed += not taken
            changed.notify_all()

    def _send(self, poster: Poster, body: bytes) -> bool:
        """Whether the receiver took it. Where all tries of one failed the next has one, until it answers."""
        for attempt in range(1 if self._is_unreached else TRIES):
            if attempt and not self._pause(BACKOFF_S * 2 ** (attempt - 1)):
                return False
            try:
                answer = poster.post(body)
            except Foreign as error:
                return self._told(f"{error}: {_WHO}")
            except OSError as error:
                self._told(f"not reached: {error.strerror or error or type(error).__name__}")
                continue
            self._is_unreached = False
            if 200 <= answer.status < 300:
                return self._taken(answer.is_json)
            self._told(f"it answered {answer.status}")
            if answer.status < 500 and answer.status not in _AGAIN:
                return False
        self._is_unreached = True
        return False

    def _taken(self, is_json: bool) -> bool:
        self.connected = is_json
        self.note = "" if is_json else f"its answer is no JSON: {_WHO}"
        return True

    def _told(self, note: str) -> bool:
        self.connected, self.note = False, note
        return False

    def _pause(self, seconds: float) -> bool:
        """Wait before the next try; False: there is none now."""
        changed = self._changed
        until = monotonic() + seconds
        with changed:
            is_over = changed.wait_for(lambda: self._is_stopped or self._is_resting, until - monotonic())
        return not is_over


def _is_gone(thread: int, timeout: float) -> bool:
    """Whether the system has ended it too: it has a few microseconds left after its last line of Python.

    From 3.12 on Python warns, into the program's output, of a fork with another thread. Known on Linux alone.
    """
    until = monotonic() + timeout
    while exists(f"/proc/self/task/{thread}"):
        if monotonic() > until:
            return False
        sleep(0.000_1)
    return True
