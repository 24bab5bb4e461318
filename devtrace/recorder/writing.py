"""A thread's stream of records: where it writes, what is at work in it, and what its block knows already.

Lives here: `Stream`, `Info`, writing values. Not here: when what is written (monitoring.py, settrace.py), the
words (store/trace/records.py), the files (store/trace/segments.py). Standard library only: a guest imports
this.
"""

from __future__ import annotations

import struct
import sys
from json import dumps
from typing import TYPE_CHECKING, Any

from devtrace.recorder.io_queue import move_on
from devtrace.store.trace import records
from devtrace.store.trace.segments import BLOCK_WORDS, HEADER_WORDS, RESERVED_WORDS, Full, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from devtrace.recorder.recording import Recording

_LINE, _INT, _FUNCTION = records.LINE, records.INT, records.FUNCTION
_REF = records.REF - records.INT  # what turns the word of a number into that of a table's entry
_FLOAT = records.FLOAT - records.INT
_MOST_INT, _UNSET = records.MOST_INT, records.UNSET
_MOST_CACHED = 512  # characters of a text that is remembered by itself
_MOST_STACK = 512  # frames that a block begins with, the innermost
_ROOM = BLOCK_WORDS - HEADER_WORDS - RESERVED_WORDS
_KEPT_FOLDED = 16  # blocks of a fold that stay
_DOUBLE = struct.Struct("=d")
_OUR_FILES = {one.__code__.co_filename for one in (SegmentWriter.turn, records.float_form, lambda: 0)}
RESULT_WORD = records.RESULT << 4 | records.INT
NOTHING: Any = ((), ())  # in the place of what a line does besides: something was printed, and waits

# A frame at work: [code, line table, what its present line simply stores, the rest of what that line does,
# Info, number of a generator's frame, containers: name -> JSON]. A list, because nothing is made faster.
Frame = list[Any]


class Info:
    """What is known of one code object that is recorded."""

    __slots__ = (
        "actions",
        "call",
        "code",
        "encode",
        "fleeting",
        "is_generator",
        "is_special",
        "json",
        "late_arguments",
        "lines",
        "number",
        "plain_arguments",
        "result",
        "result_action",
        "returns",
        "shared",
        "variables",
        "withheld_arguments",
    )

    def __init__(self, code: CodeType, number: int):
        self.code = code  # kept, so that its id is nobody else's
        self.number = number
        self.call = number << 24 | records.CALL
        self.returns = number << 24 | records.RETURN
        self.result = RESULT_WORD  # 0: what it returns is withheld
        self.result_action = 0
        self.json = b""
        self.plain_arguments: tuple[tuple[str, int], ...] | None = None  # name, word
        self.late_arguments: tuple[tuple[str, int], ...] | None = None  # written behind those withheld
        self.withheld_arguments: tuple[tuple[str, int, int], ...] = ()
        self.shared: tuple[tuple[str, int, int], ...] = ()  # of the functions around it
        self.fleeting: tuple[tuple[str, int], ...] = ()
        self.is_special = False  # it needs more than a word when it is called
        self.variables: tuple[tuple[str, int, int], ...] = ()
        self.encode: Callable[[Any], str] = str
        self.actions: dict[str, int] = {}
        self.lines = Lines(number)
        self.is_generator = False


class Lines(dict[int, tuple[int, Any, Any]]):
    """Line -> (its word, what it simply stores, the rest of what it does to names)."""

    __slots__ = ("_number",)

    def __init__(self, number: int):
        super().__init__()
        self._number = number

    def word(self, line: int) -> int:
        """What says that a line begins."""
        return self._number << 24 | min(line, records.MOST_LINE) << 4 | _LINE

    def __missing__(self, line: int) -> tuple[int, Any, Any]:
        found = self[line] = (self.word(line), None, None)
        return found


class Stream:
    """One thread's. Every attribute belongs to the thread alone."""

    __slots__ = (
        "at",
        "block",
        "bytes",
        "defined",
        "entries",
        "error",
        "exhausted_at",
        "folded",
        "has_io",
        "ident",
        "is_draining",
        "moving",
        "n_entries",
        "n_held",
        "number",
        "paused",
        "queue",
        "raised",
        "raised_in",
        "reached",
        "recording",
        "seen",
        "stack",
        "tails",
        "task",
        "texts",
        "top",
        "words",
        "writer",
    )

    def __init__(self, recording: Recording, writer: SegmentWriter, number: int, ident: int):
        """Raises Full or OSError."""
        self.recording = recording
        self.writer: SegmentWriter | None = writer
        self.number = number
        self.ident = ident
        self.at = 0
        self.stack: list[Frame | None] = []  # without the top
        self.top: Frame | None = None
        self.texts: dict[str, int] = {}
        self.entries: dict[str, int] = {}
        self.defined: set[int] = set()
        self.n_entries = records.FIRST_ENTRY
        self.error = 0  # id of the exception that is on its way
        self.raised = "null"  # it as JSON
        self.raised_in: Frame | None = None  # the last frame of which we know that it passed
        self.task: Any = None
        self.seen: set[int] = set()  # LINE words of blocks that stay
        self.folded: dict[int, int] | None = None  # LINE words that were folded away, how often
        self.paused: dict[str, Any] | None = None  # where it writes after a fork
        self.exhausted_at: int | None = None  # word of the last block, once no other can be had
        self.queue: list[Any] = []  # what went through the standard streams (io_queue.py)
        self.tails: dict[int, Any] = {}
        self.moving: Any = None
        self.is_draining = False
        self.n_held = 0
        self.reached: dict[int, int] = {}
        self._use(writer.turn())

    # --- blocks ---

    def turn(self) -> None:
        """Begin the next block, which knows nothing; where there is none, write on into the void."""
        move_on(self)
        try:
            if self.writer is None:
                raise Full
            self._use(self._next_block(self.writer))
        except (Full, OSError, ValueError) as error:
            if _is_a_handlers(error):
                raise
            self._exhausted(error)
        self.tell_stack()
        if self.folded:
            self.note(
                {
                    "folded": [
                        [word >> 24, word >> 4 & records.MOST_LINE, n] for word, n in self.folded.items()
                    ]
                }
            )

    def _next_block(self, writer: SegmentWriter) -> memoryview:
        """Beyond what is kept in any case, one that holds only known lines takes an older one's place."""
        recording = self.recording
        if not recording.fold_bytes or writer.size < recording.fold_bytes:
            return writer.turn()
        words = self.words.tolist()
        if self.folded is None and not self.seen:
            self.seen |= recording.line_words & set(words)
        fresh = (recording.line_words & set(words)) - self.seen
        if fresh or self.has_io:
            self.seen |= fresh
            self._unfold(writer)
            return writer.turn()
        if self.folded is None:
            self.folded = {}
        lost = writer.oldest(_KEPT_FOLDED)
        for word in lost.tolist() if lost is not None else ():
            if word in recording.line_words:
                self.folded[word] = self.folded.get(word, 0) + 1
        return writer.turn_over(_KEPT_FOLDED)

    def _unfold(self, writer: SegmentWriter) -> None:
        if self.folded is not None:
            writer.unfold()
            self.folded = None

    def _use(self, block: memoryview) -> None:
        body = block[HEADER_WORDS : BLOCK_WORDS - RESERVED_WORDS]
        self.block, self.words, self.bytes = block, body, body.cast("B")
        self._forget()

    def _forget(self) -> None:
        self.at = 0
        self.has_io = False  # whether the block holds what was printed: it is never folded away then
        self.texts.clear()
        self.entries.clear()
        self.defined.clear()
        self.n_entries = records.FIRST_ENTRY
        self.task = None

    def _exhausted(self, error: Exception) -> None:
        """No block can be had: from now on nothing is kept, and the recording is told so."""
        if self.writer is not None:
            self.writer = None
            self._last_word(error)
            self.words = memoryview(bytearray(_ROOM * 8)).cast("Q")
            self.bytes = self.words.cast("B")
            self.recording.exhausted(error)
        self._forget()

    def _last_word(self, error: Exception) -> None:
        """In the words that each block keeps back for it."""
        reason = "trace_full" if isinstance(error, Full) else "disk_full"
        self.exhausted_at = self.at
        self._append_to_last({"gap": {"reason": reason}})

    def _append_to_last(self, told: dict[str, Any]) -> None:
        """As much as fits of a note; what counts stands in the front."""
        at = self.exhausted_at
        if at is None:
            return
        for shown in (told, {name: _without_counts(value) for name, value in told.items()}):
            text = dumps(shown, separators=(",", ":")).encode()
            size = (len(text) + 7) // 8
            body = self.block[HEADER_WORDS:]
            if at + 1 + size < len(body):
                body.cast("B")[(at + 1) * 8 : (at + 1) * 8 + len(text)] = text
                body[at] = len(text) << 4 | records.NOTE
                self.exhausted_at = at + 1 + size
                return

    # --- what is rare ---

    def note(self, told: dict[str, Any]) -> None:
        """Write down what has no record of its own, as JSON; texts in it are redacted already."""
        self.with_text(records.NOTE, 4, dumps(told, separators=(",", ":")).encode())

    def last_note(self, told: dict[str, Any]) -> None:
        """The note at the end: where no block can be had, in the words that each block keeps back."""
        if self.writer is not None:
            self.note(told)
            return
        if self.exhausted_at is not None:
            self._append_to_last(told)

    def pause(self) -> None:
        """Write into nothing for a while: the bytes are the parent's, and a fork is coming."""
        if self.paused is None:
            self.paused = {name: getattr(self, name) for name in _PAUSED}
            self.writer = None
            self.words = memoryview(bytearray(_ROOM * 8)).cast("Q")
            self.bytes = self.words.cast("B")
            self.texts, self.entries, self.defined = {}, {}, set()
            self._forget()

    def go_on(self) -> None:
        """Write where `pause` stopped."""
        if self.paused is not None:
            for name, value in self.paused.items():
                setattr(self, name, value)
            self.paused = None

    def with_text(self, tag: int, shift: int, text: bytes, more: int = 0) -> None:
        """A record with bytes behind it."""
        length = len(text)
        size = (length + 7) // 8
        if self.at + size + 2 > _ROOM:  # an entry and the word that names it belong together
            self.turn()
            if self.at + size + 2 > _ROOM:
                return
        at = self.at  # no call from here on: a signal's handler could come between, and be recorded
        start = (at + 1) * 8
        self.bytes[start : start + length] = text
        self.words[at] = length << shift | more | tag
        self.at = at + 1 + size

    def define(self, info: Info) -> None:
        """Say once in each block what a function's number means."""
        self.with_text(_FUNCTION, 32, info.json, info.number << 4)
        self.defined.add(info.number)

    def tell_stack(self) -> None:
        """Say which frames are at work: the innermost ones of a deep stack."""
        frames = _fitting([frame for frame in (*self.stack[-_MOST_STACK:], self.top) if frame is not None])
        block = self.block
        for frame in frames:
            if frame[4].number not in self.defined:
                self.define(frame[4])
        words = [records.STACK]  # the run begins anew, whatever stands in front of it
        lines = _lines_of(frames)
        for frame, line in zip(frames, lines, strict=True):
            words.append(frame[4].number << 24 | min(line, records.MOST_LINE) << 4 | records.STACK)
            if frame[5]:
                words.append(frame[5] << 4 | records.FRAME)
        for word in words:
            if self.block is not block:
                return  # the next block was begun, and told of all of them
            self.word(word)

    def word(self, word: int) -> None:
        """A record that is one word."""
        if self.at >= _ROOM:
            self.turn()
        self.words[self.at] = word
        self.at += 1

    room = _ROOM  # words of a block that records may take

    def has_room(self, words: int) -> bool:
        """Whether the block has room for so many words."""
        return self.at + words <= _ROOM

    def with_clock(self, word: int, clock_ns: int) -> None:
        """A record with a time."""
        if self.at + 1 >= _ROOM:
            self.turn()
        self.words[self.at + 1] = clock_ns
        self.words[self.at] = word
        self.at += 2

    def close(self) -> None:
        """Let go of the file."""
        writer, self.writer = self.writer, None
        self.words = self.bytes = self.block = memoryview(bytearray(_ROOM * 8)).cast("Q")
        self.bytes = self.words.cast("B")
        self.at = 0
        if writer is not None:
            writer.close()


def _is_a_handlers(error: BaseException) -> bool:
    """Whether a handler of a signal raised it, which ran while we waited for the disk."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None or (isinstance(error, OSError) and error.errno):
        return False
    return not isinstance(error, Full) and traceback.tb_frame.f_code.co_filename not in _OUR_FILES


def _without_counts(value: Any) -> Any:
    """A note's content without what is long."""
    return {name: one for name, one in value.items() if not isinstance(one, dict)}


_PAUSED = ("at", "block", "bytes", "defined", "entries", "has_io", "n_entries", "texts", "words", "writer")


def _fitting(frames: list[Frame]) -> list[Frame]:
    """The innermost frames whose description leaves room in a block."""
    room, known = _ROOM // 2, set()
    for number, frame in enumerate(reversed(frames)):
        info = frame[4]
        room -= 2 if info.number in known else 4 + len(info.json) // 8
        known.add(info.number)
        if room < 0:
            return frames[len(frames) - number :]
    return frames


def _lines_of(frames: list[Frame]) -> list[int]:
    """The lines at which frames are, the outermost first; 0 for those that are not on the stack."""
    lines = [0] * len(frames)
    at = len(frames) - 1
    walk: FrameType | None = sys._getframe(1)  # a frame that knows itself would stay
    while walk is not None and at >= 0:
        if walk.f_code is frames[at][0]:
            lines[at] = walk.f_lineno or 0
            at -= 1
        walk = walk.f_back
    return lines


# --- values: functions, because a call of a method is dearer ---


def put(stream: Stream, word: int, value: Any, encode: Callable[[Any], str]) -> None:
    """Write that a variable has this value; `word` is name << 4 | INT, `encode` what makes JSON of it."""
    kind = type(value)
    if kind is int and 0 <= value < _MOST_INT:
        word = value << 20 | word
    elif kind is str and (entry := stream.texts.get(value)):
        word = entry << 20 | word + _REF
    elif value is None:
        word += _REF
    else:
        word = _entry(stream, value, kind, encode) << 20 | word + _REF
    try:
        stream.words[stream.at] = word
    except IndexError:  # the block is full, and the entry was its own
        stream.turn()
        put(stream, word & 0xFFFF0 | _INT, value, encode)
        return
    stream.at += 1


def put_text(stream: Stream, word: int, text: str) -> None:
    """The same for a value that is JSON already."""
    put_entry(stream, text, word + _REF)


def put_entry(stream: Stream, text: str, word: int) -> None:
    """Write a word that names an entry of the block's table by its upper bits, and the entry before it."""
    if stream.at >= _ROOM:
        stream.turn()
    entry = stream.entries.get(text) or _new_entry(stream, text)
    stream.words[stream.at] = entry << 20 | word
    stream.at += 1


def tell_task(stream: Stream, name: str) -> None:
    """Write which asyncio task goes on; "": none."""
    put_entry(stream, stream.recording.encoder.encode(name), records.TASK)


def put_unset(stream: Stream, word: int) -> None:
    """Write that a variable is no more."""
    stream.word(_UNSET << 20 | word + _REF)


def _entry(stream: Stream, value: Any, kind: type, encode: Callable[[Any], str]) -> int:
    if kind is bool:
        return 1 if value else 2
    if kind is str:
        text = stream.recording.encoder.text(value)
        entry = stream.entries.get(text) or _new_entry(stream, text)
        if len(value) <= _MOST_CACHED:
            stream.texts[value] = entry
        return entry
    text = encode(value)
    return stream.entries.get(text) or _new_entry(stream, text)


def _new_entry(stream: Stream, text: str) -> int:
    stream.with_text(records.ENTRY, 4, text.encode("ascii"))
    entry = stream.n_entries
    stream.n_entries = entry + 1
    stream.entries[text] = entry
    return entry
