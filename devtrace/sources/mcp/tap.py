"""Copies of what passes, on their way from the forwarder to the recording process.

    record  kind (1 byte), direction (1), channel (4, big-endian), time (8, ns since the epoch), length (4),
            payload

The first record says who records what (BEGIN), the last one how it ended (END). A recording process that died
is started anew, and told what it missed (LOST); one that dies again and again is left alone, until the end.

Lives here: the wire, and `Tap` on the forwarder's side. Not here: the other side (inlet.py), starting the
process, what becomes of a record (services/mcp_proxy/). Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

BEGIN, OPEN, DATA, CLOSE, LOST, END = range(6)
TO_SERVER, TO_CLIENT = 0, 1

HEADER = struct.Struct(">BBIQI")  # of a record; its payload follows
_MOST_WAITING = 64 << 20  # bytes of copies that wait for a slow recording process
_RECORD_COST = 200  # bytes that one takes besides
_MOST_DEATHS = 3  # of recording processes that lived for less than
_SHORT_LIFE_S = 10
_TRY_AGAIN_S = 60  # after the last death
_HURRY_S = 0.5
_PIPE_SIZE = 1 << 20
_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux


class Record(NamedTuple):
    """One record, as the recording process reads it."""

    kind: int
    direction: int
    channel: int  # 0 for stdio, else the number of an HTTP exchange
    at_ns: int  # time.time_ns() when it had passed
    payload: bytes


class Tap:
    """The forwarder's side. `put` never blocks and never raises; one thread of ours writes into the pipe."""

    def __init__(self, start: Callable[[int], int], begin: dict[str, Any]):
        """`start(fd)` starts a process that reads records from that descriptor, and returns its pid.

        `begin`: what that process needs to know, as JSON. OSError of `start` means that nothing is recorded.
        """
        self._start = start
        self._begin = begin
        self._ready = threading.Condition(threading.Lock())
        self._queue: deque[tuple[int, int, int, int, bytes]] = deque()
        self._waiting = 0  # bytes in it
        self._lost = [0, 0, 0]  # DATA records, their bytes, since when in ns
        self._is_over = False
        self._is_hurried = False  # the client is not to wait any longer: what still waits is given up
        self._pid = 0
        self._fd = -1
        self._deaths: list[float] = []
        self._last_ns = 0  # when what was written last had passed
        self._end = b""
        self._is_told = False  # whether the last process has read all, and ended by itself
        self._spawn()
        self._thread = threading.Thread(target=self._run, name="devtrace-mcp-tap", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The recording process; 0: there is none."""
        return self._pid

    def put(self, kind: int, direction: int, channel: int, payload: bytes) -> None:
        """Hand over a copy of what has passed. Any thread; what finds no room is counted."""
        at_ns = time.time_ns()
        with self._ready:
            # Behind what was missed nothing is put before the rest is taken: the order stays right.
            size = len(payload) + _RECORD_COST
            if kind != END and ((self._lost[0] and self._queue) or self._waiting + size > _MOST_WAITING):
                self._miss(len(payload), at_ns)
                return
            self._waiting += size
            self._queue.append((kind, direction, channel, at_ns, payload))
            self._ready.notify()

    def close(self, patience_s: float) -> None:
        """Write what waits, and let the recording process end; it is waited for that long at the most.

        What it could not take until then is counted as lost; what it has it works off by itself. One that
        died instead is replaced once more, so that the gap is told. To be called once, after END was put.
        """
        until = time.monotonic() + patience_s
        with self._ready:
            self._is_over = True
            self._ready.notify()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self._is_hurried = True
            self._thread.join(_HURRY_S)
        if not self._thread.is_alive() and self._ended(until) and not self._is_told:
            self._deaths.clear()
            self._spawn()
            self._tell_lost(self._take_lost())
            self._written(self._end)
            self._let_go()
            self._ended(until)

    # --- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._queue and not self._is_over:
                    self._ready.wait()
                if not self._queue:
                    break
                batch = list(self._queue)
                self._queue.clear()
                self._waiting = 0
            for kind, direction, channel, at_ns, payload in batch:
                self._pass(kind, at_ns, HEADER.pack(kind, direction, channel, at_ns, len(payload)) + payload)
            self._tell_lost(self._take_lost())
        self._let_go()

    def _pass(self, kind: int, at_ns: int, record: bytes) -> None:
        if kind == END:
            self._end = record
            self._tell_lost(self._take_lost())
        elif self._is_hurried:
            self._miss(len(record) - HEADER.size, at_ns)
            return
        if self._written(record):
            self._last_ns = at_ns
        elif kind == DATA:
            self._miss(len(record) - HEADER.size, at_ns)

    def _take_lost(self) -> list[int]:
        with self._ready:
            lost, self._lost = self._lost, [0, 0, 0]
        return lost

    def _tell_lost(self, lost: list[int]) -> None:
        if not lost[0]:
            return
        payload = json.dumps({"count": lost[0], "bytes": lost[1], "since_ns": lost[2]}).encode()
        if not self._written(HEADER.pack(LOST, 0, 0, time.time_ns(), len(payload)) + payload):
            with self._ready:
                since_ns = min(lost[2], self._lost[2] or lost[2])
                self._lost = [self._lost[0] + lost[0], self._lost[1] + lost[1], since_ns]

    def _written(self, data: bytes) -> bool:
        """Whether it went into the pipe; where it did not, the next one finds a new recording process."""
        if self._fd < 0 and self._deaths and time.monotonic() - self._deaths[-1] > _TRY_AGAIN_S:
            self._spawn()
        if self._fd < 0:
            return False
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            self._let_go()
            self._spawn()
            return False
        return True

    def _miss(self, size: int, at_ns: int) -> None:
        self._lost = [self._lost[0] + 1, self._lost[1] + size, self._lost[2] or at_ns]

    # --- the process ----------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        """Start one, unless too many have died; all but the first are told since when one was missing."""
        self._is_reaped()
        now = time.monotonic()
        self._deaths = [at for at in self._deaths if now - at < _SHORT_LIFE_S]
        if len(self._deaths) >= _MOST_DEATHS:
            return
        self._deaths.append(now)
        begin = json.dumps(
            {**self._begin, "died_ns": self._last_ns} if self._last_ns else self._begin
        ).encode()
        self._last_ns = time.time_ns()
        try:
            reading, self._fd = os.pipe()
        except OSError:
            return
        try:
            if _SET_PIPE_SIZE is not None:
                fcntl.fcntl(self._fd, _SET_PIPE_SIZE, _PIPE_SIZE)
        except OSError:
            pass  # the user has many pipes already: then it is a small one
        try:
            self._pid = self._start(reading)
            os.close(reading)  # before the write, which could wait for a reader that is gone
            reading = -1
            os.write(self._fd, HEADER.pack(BEGIN, 0, 0, time.time_ns(), len(begin)) + begin)
        except OSError:
            self._let_go()
        finally:
            if reading >= 0:
                os.close(reading)

    def _let_go(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _ended(self, until: float) -> bool:
        while not self._is_reaped():
            if time.monotonic() > until:
                return False
            time.sleep(0.001)  # a child with a limit of time: waitpid has none
        return True

    def _is_reaped(self) -> bool:
        """Whether the recording process is over; asked until it is. One that was told all ends with 0."""
        if self._pid:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self._pid, 1
            if not pid:
                return False
            self._is_told = status == 0
            self._pid = 0
        return True
