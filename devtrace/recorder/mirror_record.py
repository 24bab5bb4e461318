"""What a mirror's process keeps of the bytes that it copies: redacted, in a segment of the program's session.

    pumps ── queue ──► held back until it is known whether there is a secret ──► records, in their order

A piece keeps the time at which it was copied. What is in memory only is counted in the segment (HELD), so
that it is known how much was lost if the process is killed.

Lives here: `Recorder`, and what it is made of. Not here: copying (mirror_process.py), what a secret is
(policy/), the words (store/trace/records.py). Standard library only; threads are its process's own.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from devtrace.config import Config
from devtrace.policy.chain import Policy
from devtrace.policy.escapes import Plain
from devtrace.policy.stream import Stream
from devtrace.policy.timing import shifted
from devtrace.store.trace import records
from devtrace.store.trace.segments import BLOCK_WORDS, HEADER_WORDS, RESERVED_WORDS, Full, Room, SegmentWriter
from devtrace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from devtrace.policy.chain import Found

_MOST_WAITING = 1 << 20  # bytes that wait to be recorded; then the console waits too
_RECORD = 32_768  # bytes of one record
_QUIET_S = 1.0  # after that long without output nothing is held back that ends with a line
_IDLE_S = 10.0  # how often it is looked whether the program has ended, when nothing is held back
_AFTER_S = 10.0  # how long what it left behind is recorded at most
_ROOM = BLOCK_WORDS - HEADER_WORDS - RESERVED_WORDS


class Recorder:
    """Takes from the pumps' queue, redacts, writes. `put` and `teach` are the pumps', all else its own."""

    def __init__(
        self,
        pen: Pen,
        n_pumps: int,
        workspace: str,
        *,
        has_ended: Callable[[], bool],
        on_written: Callable[[int], None],
        on_done: Callable[[], None],
    ):
        """`has_ended`: whether the program has. `on_written`: told how many bytes are recorded by now."""
        self._pen = pen
        self._running = n_pumps
        self._workspace = workspace
        self._has_ended = has_ended
        self._on_written = on_written
        self._on_done = on_done
        self._condition = threading.Condition()
        self._queue: deque[tuple[int, int, bytes]] = deque()
        self._waiting = 0  # bytes of the queue
        self._taught: list[bytes] = []
        self._channels: dict[int, Held] = {}
        self._is_quiet = False
        self._look_at = 0.0  # when to look whether the program has ended
        self._until = 0.0  # how long it is recorded once it has

    def put(self, what: int, clock_ns: int, data: bytes) -> None:
        """Bytes that were copied; none: this pump has ended. Waits while too many are waiting."""
        with self._condition:
            while self._waiting > _MOST_WAITING:
                self._condition.wait()
            self._queue.append((what, clock_ns, data))
            self._waiting += len(data)
            self._condition.notify_all()

    def teach(self, secret: bytes) -> None:
        """From now on this is one."""
        with self._condition:
            self._taught.append(secret)

    def run(self) -> None:
        """Until the pumps have ended; or until the program has, and nothing more came for a while."""
        try:
            self._record(_policy(self._workspace))
            self._tell_end()
        except Exception:  # a bug of ours: the console must go on
            self._pen.note({"gap": {"reason": "recorder_failed"}})
        finally:
            self._let_go()

    def _record(self, policy: Policy) -> None:
        while self._running and not self._is_over():
            piece = self._next()
            self._learn(policy)
            if piece is None:
                for held in self._channels.values():
                    held.rest()
            elif piece[2] and self._pen.is_full:
                continue  # nothing is kept any more, and the console does not wait for nothing
            elif piece[2]:
                self._channel(piece[0], policy).feed(*piece[1:])
            else:
                self._running -= 1
            self._write()
        for held in self._channels.values():
            held.close()
        self._write()

    def _next(self) -> tuple[int, int, bytes] | None:
        """The next piece; None when none came for a while."""
        with self._condition:
            if not self._queue:
                self._condition.wait(_QUIET_S if self._until or self._n_held() else _IDLE_S)
            self._is_quiet = not self._queue
            if self._is_quiet:
                return None
            piece = self._queue.popleft()
            self._waiting -= len(piece[2])
            self._condition.notify_all()
            return piece

    def _n_held(self) -> int:
        return sum(held.size for held in self._channels.values())

    def _is_over(self) -> bool:
        """A server that the program left behind does not keep its trace open for ever."""
        now = monotonic()
        if now < self._look_at and not self._is_quiet:
            return False
        self._look_at = now + _QUIET_S
        if not self._has_ended():
            return False
        if not self._until:  # what it wrote at its end may be on its way
            self._until, self._is_quiet = now + _AFTER_S, False
        return self._is_quiet or now > self._until

    def _learn(self, policy: Policy) -> None:
        with self._condition:
            taught, self._taught = self._taught, []
        policy.learn(taught)

    def _channel(self, what: int, policy: Policy) -> Held:
        found = self._channels.get(what)
        if found is None:
            found = self._channels[what] = Held(what, policy)
        return found

    def _write(self) -> None:
        """What is decided, in the order in which it came; and how much is not."""
        decided = sorted((one for held in self._channels.values() for one in held.taken()), key=_clock)
        for what, clock_ns, data in decided:
            self._pen.io(what, clock_ns, data)
        self._pen.held(self._waiting + self._n_held())
        self._on_written(self._pen.n_bytes)

    def _tell_end(self) -> None:
        if self._running:
            self._pen.note({"gap": {"reason": "io_after_end"}})

    def _let_go(self) -> None:
        """The pumps may go on: nothing of them is kept any more."""
        self._pen.close()
        self._on_done()
        with self._condition:
            while self._running:
                self._running -= sum(not data for *_, data in self._queue)
                self._queue.clear()
                self._waiting = 0
                self._condition.notify_all()
                if self._running:
                    self._condition.wait()


def _clock(decided: tuple[int, int, bytes]) -> int:
    return decided[1]


class Held:
    """The bytes of one channel between being copied and being decided on, with their times."""

    def __init__(self, what: int, policy: Policy):
        self._what = what
        self._policy = policy
        self._stream = Stream(policy, self._found)
        self._raw = bytearray()  # what is held back, and what is just being decided
        self._start = 0  # where in all that came it begins
        self._times: deque[tuple[int, int]] = deque()  # clock, bytes
        self._secrets: list[tuple[int, int, int]] = []  # start, end in it, and the length of the marker
        self._taken: list[tuple[int, int, bytes]] = []

    @property
    def size(self) -> int:
        """How many bytes are held back."""
        return self._stream.held

    def taken(self) -> list[tuple[int, int, bytes]]:
        """What was decided since the last time: what, clock, bytes."""
        taken, self._taken = self._taken, []
        return taken

    def feed(self, clock_ns: int, data: bytes) -> None:
        """The next bytes."""
        self._raw += data
        self._times.append((clock_ns, len(data)))
        self._decided(self._stream.feed(data))

    def rest(self) -> None:
        """Nothing came for a while: a line that is whole waits for no other."""
        if self._raw.endswith(b"\n"):
            self._decided(self._stream.flush())

    def close(self) -> None:
        """Nothing is to come."""
        self._decided(self._stream.close())

    def _found(self, found: Found) -> None:
        start, end = max(found.start - self._start, 0), found.end - self._start
        secret = bytes(self._raw[start:end])
        sequences = _sequences(secret) if b"\x1b" in secret or b"\\" in secret else b""
        self._secrets.append((start, end, len(self._policy.marker(found.rule, found.tag)) + len(sequences)))

    def _decided(self, redacted: bytes) -> None:
        size = len(self._raw) - self._stream.held
        if not size:
            return
        secrets, self._secrets = self._secrets, []
        at = 0
        for clock_ns, count in self._dated(size, len(redacted), secrets):
            if count:
                self._taken.append((self._what, clock_ns, redacted[at : at + count]))
            at += count
        del self._raw[:size]
        self._start += size

    def _dated(
        self, size: int, new_size: int, secrets: list[tuple[int, int, int]]
    ) -> Iterator[tuple[int, int]]:
        """When the bytes came that are decided: (clock, how many of the redacted ones)."""
        times = self._cut_times(size)
        moved = sum(length - (end - start) for start, end, length in secrets)
        if size + moved != new_size:  # a rule failed, and a notice stands for all of it
            yield times[0][0], new_size
            return
        if not secrets:
            yield from times
            return
        yield from json.loads(shifted(json.dumps(times).encode(), size, secrets))

    def _cut_times(self, size: int) -> list[tuple[int, int]]:
        """Take the times of the first bytes."""
        found: list[tuple[int, int]] = []
        while size:
            clock_ns, count = self._times.popleft()
            if count > size:
                self._times.appendleft((clock_ns, count - size))
                count = size
            found.append((clock_ns, count))
            size -= count
        return found


def _sequences(secret: bytes) -> bytes:
    return Plain(secret).sequences(0, len(secret))


def _policy(workspace: str) -> Policy:
    """What the program's own recorder redacts by: its environment is ours."""
    if not workspace:
        return Policy.for_session(os.environ, None)
    place = Workspace(Path(workspace))
    settings = Config.from_snapshot(place)
    try:
        salt = place.salt.read_bytes() or None
    except OSError:
        salt = None
    rules, allow = settings.family("policy.rules"), settings.family("policy.allow")
    return Policy.for_session(os.environ, salt, rules, allow)


class Pen:
    """Our stream of records. When no block can be had, the last one says so, and nothing more is kept."""

    def __init__(self, folder: str, session: str, number: int, most_bytes: int):
        """Raises OSError, or `Full` where there is no room for a first block."""
        self._writer = SegmentWriter(Path(folder), session, number, Room(most_bytes))
        self._at = 0
        self._held_at = -1  # where the last word says how much is held back
        self._held = 0
        self.is_full = False
        self.n_bytes = 0
        self._turn()
        self.note({"thread": {"ident": 0, "name": "file descriptors"}})

    def note(self, told: dict[str, Any]) -> None:
        """What has no record of its own."""
        text = json.dumps(told, separators=(",", ":")).encode()
        self._put(len(text) << 4 | records.NOTE, (), text)

    def io(self, what: int, clock_ns: int, data: bytes) -> None:
        """Bytes that were written below Python."""
        for at in range(0, len(data), _RECORD):
            part = data[at : at + _RECORD]
            self._make_room(3 + (len(part) + 7) // 8)  # it stands where it happened, and says so
            word = len(part) << 32 | self._at << 16 | records.MIRROR << 8 | what << 4 | records.IO
            self._put(word, (clock_ns, 0), part)
            self.n_bytes += 0 if self.is_full else len(part)

    def held(self, n_bytes: int) -> None:
        """How much is in memory only. One word says so: nobody reads a block that is being written."""
        if self.is_full or n_bytes == self._held:
            return
        self._held = n_bytes
        word = n_bytes << 16 | records.HELD << 4 | records.IO
        if self._held_at >= 0 and self._held_at == self._at - 1:
            self._words[self._held_at] = word
            return
        self._put(word, (), b"")
        self._held_at = self._at - 1

    def close(self) -> None:
        """Let go of the file."""
        self.is_full = True
        self._words = self._bytes = memoryview(b"")
        self._writer.close()

    def _put(self, word: int, before: tuple[int, ...], data: bytes) -> None:
        size = 1 + len(before) + (len(data) + 7) // 8
        self._make_room(size)
        if not self.is_full:
            self._write(word, before, data)
            self._at += size

    def _make_room(self, size: int) -> None:
        if self._at + size <= _ROOM or self.is_full:
            return
        try:
            self._turn()
        except (Full, OSError) as error:
            self.is_full = True
            reason = b"trace_full" if isinstance(error, Full) else b"disk_full"
            text = b'{"gap":{"reason":"' + reason + b'"}}'
            self._write(len(text) << 4 | records.NOTE, (), text)  # in the words that are kept back for it

    def _write(self, word: int, before: tuple[int, ...], data: bytes) -> None:
        """The first word last: it makes a record of them."""
        at, start = self._at, (self._at + 1 + len(before)) * 8
        for index, one in enumerate(before, at + 1):
            self._words[index] = one
        self._bytes[start : start + len(data)] = data
        self._words[at] = word

    def _turn(self) -> None:
        self._words = self._writer.turn()[HEADER_WORDS:]
        self._bytes = self._words.cast("B")
        self._at, self._held_at = 0, -1
