"""What was written, from a thread's queue into its stream of records: batched, redacted, in its place.

    hook ── item ──► queue ── a run of one step ──► what may be told at once ──► IO record
                                      └── what may be the begin of a secret: held ──┘

A hook only appends an item. A drain joins those of one step and one stream that came within 5 ms of each
other and writes them as one record, whose anchor says in front of which record it happened. What could become
a secret with what is to come is held back in memory, and a word says how much that is.

Lives here: `Channel`, `drain`, holding back. Not here: the hooks (io_hooks.py), the words
(store/trace/records.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

from devtrace.policy.quick import open_end, quick_look
from devtrace.recorder import metrics
from devtrace.store.trace import records

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from devtrace.policy.chain import Policy
    from devtrace.recorder.writing import Frame, Info, Stream

GAP_NS = 5_000_000  # CodeTracer's: what comes later begins a chunk of its own
MOST_QUEUED = 256  # items; then the hook drains
MOST_BYTES = 32_768  # of one record
MOST_HELD = 32_768  # bytes
_MOST_WORD = 4_096  # of these, of a word that goes on and on: each piece is looked at with all before it
_LONGEST_LOOK = 1_024  # characters that the quick look takes at once (policy/quick.py)
_PREFIX = 1_024  # characters in front of what goes on in the same line
_KEY = "PRIVATE KEY"
_KEY_LABEL = re.compile(r"-{4,5} ?(BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?(-{4,5})?")
_CARRIES_ON = frozenset(":=\\")  # at a line's end: what it names may stand in the next one
_IO = records.IO
_DEEP = 24  # frames between a callback and what a handler prints, at most
_WRITERS = frozenset(
    f"{os.path.dirname(__file__)}/{name}.py"  # noqa: PTH120 - without pathlib
    for name in ("monitoring", "seldom", "settrace", "tracking", "writing", "recording", "values", "lines")
)
LOST = "io_chunk_lost"  # a metric: no room was left

# [Channel, what was written (None: a flush), clock, where in the block, place (0: as the records say),
# the frame at work]. All of one channel are text, or all are bytes.
Item = list[Any]


class Channel:
    """A standard stream, as its text becomes bytes. `what` is records.STDOUT, STDERR or STDIN."""

    __slots__ = ("encode", "flags", "what", "word")

    def __init__(self, what: int, encode: Callable[[str], bytes], flags: int = 0):
        self.what = what
        self.encode = encode
        self.flags = flags
        self.word = flags << 8 | what << 4 | _IO


class Judge:
    """Whether a text may be told, and what of it. One a recording."""

    __slots__ = ("look", "open_end", "policy")

    def __init__(self, policy: Policy):
        self.policy = policy
        self.look = quick_look(policy)
        self.open_end = open_end(policy)

    def is_clean(self, text: str) -> bool:
        """Whether no secret stands in the text."""
        look = self.look
        if len(text) <= _LONGEST_LOOK:
            return not look(text)
        start = 0
        while start < len(text):
            end = start + _LONGEST_LOOK
            end = len(text) if end >= len(text) else text.rfind("\n", start, end) + 1 or end
            if end - start == _LONGEST_LOOK and end < len(text):
                return False  # a line that is longer
            if look(text[start:end]):
                return False
            start = end
        return True


class Piece:
    """What one step wrote, and is not all told yet: of what may be told of it the first `told` bytes are.

    An exception of a signal handler may end a drain anywhere: the next one goes on from there, and tells
    nothing twice. So what belongs together is stored without a call in between.
    """

    __slots__ = ("at", "channel", "clock_ns", "data", "flags", "place", "told", "top")

    def __init__(self, item: Item, data: bytes, clock_ns: int, flags: int):
        self.channel, _, _, self.at, self.place, self.top = item
        self.clock_ns = clock_ns
        self.data = data
        self.flags = flags
        self.told = 0


class Tail:
    """Of one channel in one thread: the end of what was told, as far as it matters, and what is held back."""

    __slots__ = ("pieces", "prefix")

    def __init__(self) -> None:
        self.prefix = ""
        self.pieces: list[Piece] = []


def drain(stream: Stream, why: int = 0, *, is_over: bool = False, keeps_open: bool = False) -> None:
    """Write what is queued. `why`: a flag for what does not end a line; `is_over`: nothing is to come.

    `keeps_open`: the step goes on, and an unfinished line with it.
    """
    if stream.is_draining:
        return
    queue = stream.queue
    stream.is_draining = True  # until `finally`: what is printed meanwhile is queued
    try:
        if len(queue) == 1 and not stream.reached and _tell_line(stream, queue):
            return
        if stream.moving is not None:
            _go_on(stream)
        kept = keeps_open and len(queue) > 0 and not ends_line(queue[-1][1])
        while len(queue) > kept:
            n, flags = _run(queue, len(queue) - kept, why)
            _take(stream, queue, n, flags)
        if is_over:
            for tail in stream.tails.values():
                _decide(stream, tail, is_over=True)
        _tell_held(stream)
        while stream.reached and not queue:
            tell_reached(stream, *stream.reached.popitem())
    finally:
        stream.is_draining = False
        notice(stream)


def notice(stream: Stream) -> None:
    """Look whether somebody has replaced a stream."""
    capture = stream.recording.capture
    if capture is not None and (
        getattr(sys, "stdout", None) is not capture.out or getattr(sys, "stderr", None) is not capture.err
    ):
        capture.notice()


def _tell_line(stream: Stream, queue: list[Item]) -> bool:
    """A line that was written at once, told at once: what is queued most often."""
    channel, text, clock, at, place, _ = queue[0]
    if (
        type(text) is not str
        or channel.flags
        or text[-1] != "\n"
        or text[-2:-1] in _CARRIES_ON
        or _KEY in text
    ):
        return False
    if stream.tails and (tail := stream.tails.get(channel.what)) is not None and (tail.prefix or tail.pieces):
        return False
    if len(text) > _LONGEST_LOOK or stream.recording.judge.look(text):
        return False
    data = channel.encode(text)
    size, begin, words = len(data), stream.at, stream.words
    end = begin + 3 + (size + 7 >> 3)
    if end > stream.room or stream.writer is None or (place and place >> 24 not in stream.defined):
        return False
    stream.bytes[(begin + 3) * 8 : (begin + 3) * 8 + size] = data
    words[begin + 2] = place
    words[begin + 1] = clock
    stream.has_io = True
    words[begin] = size << 32 | at << 16 | channel.word
    stream.at = end
    del queue[0]
    return True


def _run(queue: list[Item], most: int, why: int) -> tuple[int, int]:
    """How many of the first items are one run, at most so many, and the flag that tells what ends it."""
    channel, data, clock, at, place, _ = queue[0]
    if data is None:  # a flush, of nothing that is left
        return 1, 0
    for n in range(1, len(queue)):
        other, more, later, then, there, _ = queue[n]
        if more is None:
            return n, records.FLUSH if other.what == channel.what else 0
        if then != at or there != place:
            return n, records.STEP_BOUNDARY
        if other is not channel:
            return n, 0
        if later - clock >= GAP_NS:
            return n, records.TIME_SPLIT
        if n == most:
            return n, 0
        clock = later
    return most, why


def _take(stream: Stream, queue: list[Item], n: int, flags: int) -> None:
    """Take a run out of the queue, and tell it."""
    items = queue[:n]
    n += flags == records.FLUSH
    stream.moving = (items, flags)
    del queue[:n]
    _go_on(stream)


def _go_on(stream: Stream) -> None:
    """Tell what was taken out of the queue."""
    piece = stream.moving
    if isinstance(piece, tuple):
        items, flags = piece
        whole = items[0][1]
        if whole is None:
            stream.moving = None
            return
        parts = [item[1] for item in items]
        data = items[0][0].encode("".join(parts)) if type(whole) is str else b"".join(parts)
        piece = Piece(items[0], data, items[-1][2], flags)
        stream.moving = piece
    _say(stream, piece)


def is_within_ours(frame: FrameType | None) -> bool:
    """Whether something of the program (a signal's handler, a finalizer) runs in the midst of a callback of
    ours, which may be writing a record this instant: then what it prints is queued, and told later.
    """
    for _ in range(_DEEP):
        if frame is None:
            return False
        if frame.f_code.co_filename in _WRITERS:
            return True
        frame = frame.f_back
    return False


def ends_line(data: str | bytes | None) -> bool:
    """Whether an item is no part of a line that goes on."""
    return data is None or data[-1:] in ("\n", b"\n")


def _say(stream: Stream, piece: Piece) -> None:
    """Tell a run at once where nothing speaks against it, else put it to what is held."""
    text = piece.data.decode("utf-8", "surrogateescape")
    tail = stream.tails.get(piece.channel.what)
    if piece.channel.what == records.STDIN:
        tail = _behind_a_prompt(stream, tail)
    if (
        text.endswith("\n")
        and text[-2:-1] not in _CARRIES_ON
        and (tail is None or not (tail.prefix or tail.pieces))
        and _KEY not in text
        and stream.recording.judge.is_clean(text)
    ):
        put(stream, piece, piece.data)
        stream.moving = None
        return
    if tail is None:
        tail = stream.tails[piece.channel.what] = Tail()
    pieces = [*tail.pieces, piece]
    tail.pieces = pieces
    stream.moving = None
    _decide(stream, tail)


def _behind_a_prompt(stream: Stream, tail: Tail | None) -> Tail | None:
    """What is typed is judged with the unfinished line that asks for it."""
    asked = next(
        (one.prefix for what, one in stream.tails.items() if what != records.STDIN and one.prefix), ""
    )
    if asked and (tail is None or not (tail.prefix or tail.pieces)):
        tail = stream.tails[records.STDIN] = tail or Tail()
        tail.prefix = asked
    return tail


def _decide(stream: Stream, tail: Tail, *, is_over: bool = False) -> None:
    """Tell of what is held what may be told by now."""
    pieces = tail.pieces
    if not pieces:
        return
    data = b"".join([piece.data for piece in pieces])
    text = data.decode("utf-8", "surrogateescape")
    is_over = is_over or len(data) > MOST_HELD
    whole = tail.prefix + text
    if not is_over and _KEY in whole and _is_in_a_key(whole):
        return
    upto = len(data)
    if not is_over and not text.endswith("\n"):
        held = len(whole[len(whole) - stream.recording.judge.open_end(whole) :].encode("utf-8", "replace"))
        upto -= held if held <= _MOST_WORD else 0
    told = _told(pieces, upto)
    if not told:
        return
    if stream.recording.judge.is_clean(whole):
        judged = [(piece, piece.data) for piece in pieces[:told]]
    else:
        judged = _judged(stream, tail, told, data)
    for piece, shown in judged:
        put(stream, piece, shown)
    rest = pieces[told:]
    prefix = _prefix_of(whole[: len(whole) - len(text)] + _text_of(data, rest))
    tail.pieces = rest
    tail.prefix = prefix


def _is_in_a_key(text: str) -> bool:
    """Whether a private key has begun, and not ended."""
    labels = _KEY_LABEL.findall(text)
    return bool(labels) and (labels[-1][0] == "BEGIN" or not labels[-1][1])


def _text_of(data: bytes, rest: list[Piece]) -> str:
    """What was told just now: what stands in front of what is still held."""
    held = sum(len(piece.data) for piece in rest)
    return data[: len(data) - held].decode("utf-8", "surrogateescape")


def _prefix_of(text: str) -> str:
    """The end of what was told, as far as what follows is to be judged with it."""
    begin = text.rfind("\n") + 1
    while begin > 1 and text[begin - 2] in _CARRIES_ON:
        begin = text.rfind("\n", 0, begin - 1) + 1
    return text[begin:][-_PREFIX:]


def _told(pieces: list[Piece], upto: int) -> int:
    """How many pieces end within the first `upto` bytes."""
    end = 0
    for number, piece in enumerate(pieces):
        end += len(piece.data)
        if end > upto:
            return number
    return len(pieces)


def _judged(stream: Stream, tail: Tail, told: int, data: bytes) -> list[tuple[Piece, bytes]]:
    """The first pieces as the chain leaves them; a secret over several stands in the first of them."""
    from devtrace.policy.chain import CUT_END

    before = tail.prefix.encode("utf-8", "surrogateescape")
    whole = before + data
    edges = 0 if told == len(tail.pieces) and len(data) <= MOST_HELD else CUT_END
    found, start, done = [], len(before), len(before)
    for piece in tail.pieces[:told]:
        stop = start + len(piece.data)
        if done < stop:
            part = stream.recording.judge.policy.redact_part(whole, max(start, done), stop, edges)
            found.append((piece, part.data))
            done = part.upto
        start = stop
    cut = done - start  # a secret reaches into what is still held
    for piece in tail.pieces[told:]:
        if cut > 0:
            cut, piece.data = cut - len(piece.data), piece.data[cut:]
    return found


def put(stream: Stream, piece: Piece, data: bytes) -> None:
    """Write records of a piece, in its place."""
    while piece.told < len(data):
        part = data[piece.told : piece.told + MOST_BYTES]
        if not stream.has_room((len(part) + 7) // 8 + 3):
            stream.turn()
        if stream.writer is None and stream.paused is None:
            piece.told = len(data)
            metrics.record_dropped_event(LOST)
            return
        if piece.place >> 24 and piece.place >> 24 not in stream.defined:
            _define(stream, piece.place >> 24)
            continue  # there may be no room now
        is_last = piece.told + len(part) == len(data)
        _put_part(stream, piece, part, piece.flags if is_last and not part.endswith(b"\n") else 0)


def _define(stream: Stream, number: int) -> None:
    """Say in this block which function a place means."""
    known = stream.recording.outside.get(number) or stream.recording.numbers.get(number)
    if known is not None:
        stream.define(known)
    stream.defined.add(number)


def _put_part(stream: Stream, piece: Piece, part: bytes, flags: int) -> None:
    size = len(part)  # the last call: from here on no handler of a signal can come between
    at, words, told = stream.at, stream.words, piece.told + size
    begin, end = (at + 3) * 8, at + 3 + (size + 7) // 8
    if end > stream.room:
        return
    anchor = piece.at if piece.at < at else at
    first = size << 32 | anchor << 16 | flags << 8 | piece.channel.word
    stream.has_io = True
    stream.bytes[begin : begin + size] = part
    words[at + 2] = piece.place
    words[at + 1] = piece.clock_ns
    words[at] = first
    stream.at = end
    piece.told = told


def _all_held(stream: Stream) -> list[Piece]:
    return [piece for tail in stream.tails.values() for piece in tail.pieces]


def move_on(stream: Stream) -> None:
    """The block ends: what is not told yet happened in front of the next one, and says where."""
    if not (stream.queue or stream.tails or stream.moving):
        return
    taken = stream.moving[0] if isinstance(stream.moving, tuple) else []
    for item in (*taken, *stream.queue):
        item[3], item[4] = 0, item[4] or _place(stream, item[3], item[5])
    moving = [stream.moving] if isinstance(stream.moving, Piece) else []
    for piece in (*_all_held(stream), *moving):
        piece.place = piece.place or _place(stream, piece.at, piece.top)
        piece.at = 0


def _place(stream: Stream, at: int, top: Frame | None) -> int:
    """Where a frame was in front of a word of the block: its last line; 0 if a call of it is in between."""
    if top is None:
        return 0
    info: Info = top[4]
    lines = stream.recording.line_words
    number, to_line = info.number, records.LINE - records.STACK
    for word in reversed(stream.words[:at].tolist()):
        if word >> 24 == number:
            if word == info.call:
                break
            if word in lines:
                return word & ~15
            if word & 15 == records.STACK and word + to_line in lines:
                return word & ~15
            if word & ~0xF0 == info.returns:
                break
    return number << 24


def _tell_held(stream: Stream) -> None:
    if not stream.tails:
        return
    held = sum(len(piece.data) for piece in _all_held(stream))
    if held != stream.n_held:
        stream.n_held = held
        stream.word(held << 16 | records.HELD << 4 | _IO)


def tell_reached(stream: Stream, what: int, clock_ns: int) -> None:
    """All that was written to a channel until now has reached its descriptor."""
    stream.with_clock((records.REACHED + what) << 4 | _IO, clock_ns)
