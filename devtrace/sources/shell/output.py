"""Terminal output on its way through: the marks cut out, each command's part kept within its bounds.

The hooks write a mark where a command's output begins (C) and where it ends (D):
`ESC ] 6973 ; <nonce> ; C|D ; <span> BEL`. It never reaches the outer terminal.

Lives here: finding marks, keeping head and tail of a command's output, its timing, the pieces' order.
Not here: reading and writing terminals (terminal.py), redaction (policy/), what the hooks print
(shell-hooks/), terminal modes (modes.py).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from devtrace.sources.shell.modes import ALTERNATE_SCREEN_MODES, ModeScanner

MARK_START = b"\x1b]6973;"
MARK_LENGTH = len(MARK_START) + 16 + len(b";C;") + 16 + len(b"\x07")
HOLD_US = 50_000  # how long the beginning of a mark may be kept from the terminal

_MISSING_US = 1_000_000  # after so long a mark is missing, even where the stream was never read empty

_HEX = b"0123456789abcdef"
_STEP_US = 10_000
_MOST_STEPS = 2_048
_STEP_BYTES = 16_384
_RECENT_MARKS = 8_192
# Captures of pipe mode whose other stream has not ended them yet: a pipe holds the marks of hundreds, and
# they are bounded by what they hold together, once there are some.
_FEW_OPEN, _MOST_OPEN, _OPEN_BYTES = 16, 4_096, 8 << 20

_ALTERNATE = re.compile(rb"\x1b\[\?([0-9;]{1,40})([hl])")
_ALTERNATE_BEGUN = re.compile(rb"\x1b(?:\[(?:\?[0-9;]{0,40})?)?\Z")
_ALTERNATE_LONGEST = 44


class Mark(NamedTuple):
    """A place in the stream: the command `span` began (C) or ended (D) here."""

    letter: str
    span: str


class Captured(NamedTuple):
    """What is kept of one command's output; the fields of events.command.Output and the blobs behind it.

    `data` is the first `head` bytes and, when `truncated`, the last `tail` ones; `timing` is
    `[[us since started_us, bytes], ...]` over `data`. `seen` counts every byte, those of the alternate
    screen (`alternate_screen`) among them, which are not kept and do not make it `truncated`.
    """

    span: str
    data: bytes
    timing: list[list[int]]
    started_us: int
    seen: int
    head: int
    tail: int
    truncated: bool
    approximate: bool
    alternate_screen: int
    stderr: int | None


def mark(nonce: str, letter: str, span: str) -> bytes:
    """A mark as the hooks write it: `nonce` and `span` are 16 hex digits, `letter` is C or D."""
    return b"%s%s;%s;%s\x07" % (MARK_START, nonce.encode(), letter.encode(), span.encode())


class MarkSplitter:
    """Cuts a stream of bytes at the marks that carry our nonce; every other byte comes out unchanged."""

    __slots__ = ("_prefix", "held")

    def __init__(self, nonce: str):
        self._prefix = MARK_START + nonce.encode() + b";"
        self.held = b""  # a true prefix of a mark, kept back until the next bytes decide

    def feed(self, data: bytes) -> list[bytes | Mark]:
        """The pieces of everything that is decided now, in order; empty pieces are left out."""
        if self.held:
            data = self.held + data
            self.held = b""
        elif b"\x1b" not in data:
            return [data] if data else []
        pieces: list[bytes | Mark] = []
        start = 0
        found = data.find(self._prefix)
        while found >= 0:
            read = self._read(data, found)
            if read is not None:
                if found > start:
                    pieces.append(data[start:found])
                pieces.append(read)
                start = found + MARK_LENGTH
            found = data.find(self._prefix, found + 1)
        end = self._decided(data, start)
        if end > start:
            pieces.append(data[start:end] if start or end < len(data) else data)
        self.held = data[end:]
        return pieces

    def release(self) -> bytes:
        """Give up waiting: what was kept back was no mark."""
        held, self.held = self.held, b""
        return held

    def _read(self, data: bytes, at: int) -> Mark | None:
        rest = data[at + len(self._prefix) : at + MARK_LENGTH]
        return Mark(rest[:1].decode(), rest[2:18].decode()) if _fits(rest) and len(rest) == 19 else None

    def _decided(self, data: bytes, start: int) -> int:
        """Where the bytes end that cannot belong to a mark still on its way."""
        begun = data.rfind(b"\x1b", max(start, len(data) - MARK_LENGTH + 1))
        if begun < 0:
            return len(data)
        tail = data[begun:]
        known = len(self._prefix)
        if tail[:known] == self._prefix[: len(tail)] and _fits(tail[known:]):
            return begun
        return len(data)


def _fits(rest: bytes) -> bool:
    """Whether the bytes begin what follows the nonce: `C;<16 hex digits> BEL` or `D;...`."""
    return (
        rest[:1] in (b"", b"C", b"D")
        and rest[1:2] in (b"", b";")
        and not rest[2:18].strip(_HEX)
        and rest[18:] in (b"", b"\x07")
    )


class _Steps:
    """Bytes with their times: what arrives within 10 ms is one step, and the steps are bounded in number."""

    __slots__ = ("size", "step_us", "steps")

    def __init__(self) -> None:
        self.steps: deque[tuple[int, bytearray]] = deque()
        self.size = 0
        self.step_us = _STEP_US

    def add(self, at_us: int, data: bytes) -> None:
        self.size += len(data)
        if self.steps:
            begun, kept = self.steps[-1]
            if at_us - begun < self.step_us and len(kept) < _STEP_BYTES:
                kept += data
                return
        self.steps.append((at_us, bytearray(data)))
        if len(self.steps) > _MOST_STEPS:
            self._join_neighbours()

    def drop_first(self, count: int) -> None:
        self.size -= count
        while count > 0:
            first = self.steps[0][1]
            if len(first) <= count:
                count -= len(first)
                self.steps.popleft()
            else:
                del first[:count]
                count = 0

    def timing(self) -> list[list[int]]:
        return [[at_us, len(kept)] for at_us, kept in self.steps]

    def _join_neighbours(self) -> None:
        joined: deque[tuple[int, bytearray]] = deque()
        self.step_us *= 2
        for index, (at_us, kept) in enumerate(self.steps):
            if index % 2:
                joined[-1][1].extend(kept)
            else:
                joined.append((at_us, kept))
        self.steps = joined


class Capture:
    """The output of one command while it runs; memory stays within `head_cap + tail_cap` and a little."""

    __slots__ = (
        "_alternate",
        "_begun",
        "_head",
        "_head_cap",
        "_last_us",
        "_tail",
        "_tail_cap",
        "alternate_screen",
        "approximate",
        "ended",
        "seen",
        "span",
        "started_us",
        "stderr",
    )

    def __init__(self, span: str, head_cap: int, tail_cap: int, started_us: int):
        self.span = span
        self.started_us = started_us
        self.seen = 0
        self.alternate_screen = 0
        self.approximate = False
        self.stderr: int | None = None
        self.ended: set[int] = set()  # the streams whose D mark was seen
        self._head_cap = head_cap
        self._tail_cap = tail_cap
        self._head = _Steps()
        self._tail = _Steps()
        self._alternate = False
        self._last_us = 0
        self._begun = b""  # what may be the beginning of a switch to or from the alternate screen

    def feed(self, data: bytes, now_us: int) -> None:
        """Take in the next bytes of the command's output."""
        self.seen += len(data)
        self._last_us = at_us = max(0, now_us - self.started_us)
        if self._alternate or self._begun or b"\x1b" in data:
            self._feed_switching(self._begun + data, at_us)
        else:
            self._keep(data, at_us)

    @property
    def kept(self) -> int:
        """How many bytes are held."""
        return self._head.size + self._tail.size

    def finish(self) -> Captured:
        """Everything that is known of the output, now that it ended."""
        self._keep_or_count(self._begun, self._last_us)
        self._begun = b""
        head, tail = self._head, self._tail
        kept = b"".join([bytes(data) for steps in (head, tail) for _, data in steps.steps])
        truncated = self.seen - self.alternate_screen > len(kept)
        return Captured(
            span=self.span,
            data=kept,
            timing=head.timing() + tail.timing(),
            started_us=self.started_us,
            seen=self.seen,
            head=head.size if truncated else len(kept),
            tail=tail.size if truncated else 0,
            truncated=truncated,
            approximate=self.approximate,
            alternate_screen=self.alternate_screen,
            stderr=self.stderr,
        )

    def _keep(self, data: bytes, at_us: int) -> None:
        room = self._head_cap - self._head.size
        if room > 0:
            self._head.add(at_us, data[:room])
            data = data[room:]
        if not data or not self._tail_cap:
            return
        tail = self._tail
        tail.add(at_us, data[-self._tail_cap :])
        if tail.size > self._tail_cap:
            tail.drop_first(tail.size - self._tail_cap)

    def _keep_or_count(self, data: bytes, at_us: int) -> None:
        if self._alternate:
            self.alternate_screen += len(data)
        elif data:
            self._keep(data, at_us)

    def _feed_switching(self, data: bytes, at_us: int) -> None:
        start = 0
        for found in _ALTERNATE.finditer(data):
            if ALTERNATE_SCREEN_MODES.isdisjoint(found[1].split(b";")):
                continue
            self._keep_or_count(data[start : found.start()], at_us)
            self.alternate_screen += found.end() - found.start()
            self._alternate = found[2] == b"h"
            start = found.end()
        begun = data.rfind(b"\x1b", max(start, len(data) - _ALTERNATE_LONGEST))
        end = begun if begun >= 0 and _ALTERNATE_BEGUN.match(data, begun) else len(data)
        self._begun = data[end:]
        self._keep_or_count(data[start:end] if start or end < len(data) else data, at_us)


class OutputTrack:
    """One shell's output streams: shows them without marks, and hands each command's part to `on_output`.

    With a terminal there is one stream, 1; with pipes there are two, 1 and 2 (stderr), which share one
    capture a command: it is complete when both have shown its D mark. `clock` gives microseconds.
    `told` may be called from any thread, everything else belongs to the thread that moves the bytes.
    `on_output` is called in that thread too, and should only pass on what it is given.
    """

    __slots__ = (
        "_captures",
        "_clock",
        "_current",
        "_empty_at",
        "_enabled",
        "_head_cap",
        "_marks_seen",
        "_modes",
        "_on_output",
        "_splitters",
        "_tail_cap",
        "_told",
        "failure",
        "streams",
    )

    def __init__(
        self,
        nonce: str,
        on_output: Callable[[Captured], Any],
        *,
        head_cap: int,
        tail_cap: int,
        clock: Callable[[], int],
        enabled: bool = True,
        streams: int = 1,
    ):
        self.streams = streams
        self.failure: Exception | None = None  # a bug of ours: from then on bytes pass unseen
        self._on_output = on_output
        self._head_cap = head_cap
        self._tail_cap = tail_cap
        self._clock = clock
        self._enabled = enabled
        self._splitters = {stream: MarkSplitter(nonce) for stream in range(1, streams + 1)}
        self._current: dict[int, Capture | None] = dict.fromkeys(self._splitters)
        self._captures: dict[str, Capture] = {}
        self._marks_seen: dict[Mark, None] = {}
        self._told: deque[tuple[int, Mark]] = deque()
        self._empty_at = dict.fromkeys(self._splitters, 0)  # when the stream was last read empty
        self._modes = ModeScanner()

    @property
    def modes(self) -> int:
        """The terminal modes that are open now: bits of modes.py."""
        return self._modes.open

    def holds(self, stream: int = 1) -> bool:
        """Whether bytes are kept back that may begin a mark; call `release` after `HOLD_US` of silence."""
        return self._splitters[stream].held != b""

    def feed(self, data: bytes, stream: int = 1) -> bytes:
        """Take in what the shell wrote; returns what the outer terminal shall show of it now.

        Never raises: after a failure of ours (`failure`) everything is shown and nothing kept.
        """
        if self.failure is not None:
            return data
        try:
            return self._feed(data, stream)
        except Exception as error:  # we are a guest in somebody's terminal: it goes on
            self.failure = error
            return data

    def _feed(self, data: bytes, stream: int) -> bytes:
        if self._told:
            self._heed_told()
        pieces = self._splitters[stream].feed(data)
        if len(pieces) == 1 and isinstance(pieces[0], bytes):
            self._take(pieces[0], stream)
            return pieces[0]
        shown = []
        for piece in pieces:
            if isinstance(piece, Mark):
                self._cut(piece, stream)
            else:
                self._take(piece, stream)
                shown.append(piece)
        return b"".join(shown)

    def caught_up(self, stream: int = 1) -> None:
        """Everything that was in the stream has been fed: a mark that was written before would be seen."""
        self._empty_at[stream] = self._clock()
        if self._told and self.failure is None:
            self._heed_told()

    def release(self, stream: int = 1) -> bytes:
        """Stop waiting for the rest of a mark; returns the bytes to show after all."""
        data = self._splitters[stream].release()
        if data:
            self._take(data, stream)
        return data

    def told(self, letter: str, span: str) -> None:
        """The FIFO said that the command began or ended; it counts only if no mark says it.

        So a command whose marks went elsewhere is cut by time, as `approximate`. A mark is missing when the
        streams have been read empty after a while: on a busy machine it may be there and we be late.
        """
        self._told.append((self._clock(), Mark(letter, span)))

    def close(self) -> None:
        """The streams are at their end: every open capture is handed out. May be called twice."""
        for stream in self._splitters:
            self.release(stream)
        for capture in list(self._captures.values()):
            self._hand_out(capture)

    def _take(self, data: bytes, stream: int) -> None:
        self._modes.feed(data)
        capture = self._current[stream]
        if capture is None:
            return
        capture.feed(data, self._clock())
        if stream == 2:
            capture.stderr = (capture.stderr or 0) + len(data)

    def _cut(self, at: Mark, stream: int) -> None:
        self._marks_seen[at] = None
        if len(self._marks_seen) > _RECENT_MARKS:
            del self._marks_seen[next(iter(self._marks_seen))]
        if not self._enabled:
            return
        if at.letter == "C":
            self._begin(at.span, stream)
        else:
            self._end(at.span, stream)

    def _begin(self, span: str, stream: int) -> None:
        previous = self._current[stream]
        if previous is not None and previous.span == span and not previous.approximate:
            return
        if previous is not None and previous.span != span:
            previous.approximate = True
            self._leave(previous, stream)
        capture = self._captures.get(span)
        if capture is None or capture.approximate:
            capture = self._open(span)
        self._current[stream] = capture

    def _open(self, span: str) -> Capture:
        if len(self._captures) >= _FEW_OPEN and self._is_too_much():
            oldest = next(iter(self._captures.values()))
            oldest.approximate = True
            self._hand_out(oldest)
        capture = Capture(span, self._head_cap, self._tail_cap, self._clock())
        capture.stderr = 0 if self.streams > 1 else None
        self._captures[span] = capture
        return capture

    def _is_too_much(self) -> bool:
        if len(self._captures) >= _MOST_OPEN:
            return True
        return sum(capture.kept for capture in self._captures.values()) > _OPEN_BYTES

    def _end(self, span: str, stream: int) -> None:
        capture = self._captures.get(span)
        if capture is not None:
            self._leave(capture, stream)

    def _leave(self, capture: Capture, stream: int) -> None:
        if self._current[stream] is capture:
            self._current[stream] = None
        capture.ended.add(stream)
        if len(capture.ended) == self.streams:
            self._hand_out(capture)

    def _hand_out(self, capture: Capture) -> None:
        self._captures.pop(capture.span, None)
        for stream, current in self._current.items():
            if current is capture:
                self._current[stream] = None
        self._on_output(capture.finish())

    def _heed_told(self) -> None:
        now_us, empty_at = self._clock(), min(self._empty_at.values())
        while self._told:
            told_us = self._told[0][0]
            if empty_at - told_us < HOLD_US and now_us - told_us < _MISSING_US:
                return
            _, at = self._told.popleft()
            if self._enabled and at not in self._marks_seen:
                self._cut_by_time(at)

    def _cut_by_time(self, at: Mark) -> None:
        capture = self._captures.get(at.span)
        if at.letter == "D" and capture is not None:
            capture.approximate = True
            self._hand_out(capture)
        elif at.letter == "C" and capture is None:
            for stream in self._splitters:
                self._begin(at.span, stream)
            self._captures[at.span].approximate = True
