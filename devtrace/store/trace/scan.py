"""A block looked through quickly: where its calls and exceptions are, without its lines and values.

The tags of all words are one string of bytes, and regular expressions find in it what is of interest, so that
what most of a block consists of costs no step of Python.

Lives here: `Scan`. Not here: what the calls mean (calls.py), every record in its order (records.py,
replay.py). Standard library only, and no dataclass.
"""

from __future__ import annotations

import json
import re
import sys
from itertools import accumulate, compress, count
from typing import TYPE_CHECKING, Any

from devtrace.store.trace import records
from devtrace.store.trace.segments import HEADER_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devtrace.store.trace.segments import Block

_BYTE = HEADER_WORDS * 8 + (0 if sys.byteorder == "little" else 7)  # the first word's that holds its tag
_TAG = bytes(byte & 15 for byte in range(256))


def _bytes(*tags: int) -> bytes:
    return b"[" + b"".join(rb"\x%02x" % tag for tag in tags) + b"]"


_WITH_TEXT = (records.ENTRY, records.FUNCTION, records.NOTE, records.IO)
# Words that stand for themselves, and words with another one behind them.
_ALONE = _bytes(records.LINE, records.INT, records.REF, records.TASK)
_SINGLE = _bytes(records.RAISE, records.FRAME, records.STACK)
_PAIR = _bytes(records.CALL, records.RETURN, records.RESUME, records.FLOAT)
_PAIRS = (records.CALL, records.RETURN, records.RESUME, records.FLOAT)
_MOVES = (records.RAISE, records.FRAME, records.STACK)
_RUN = re.compile(rb"(?:%b++|%b++|%b.)*+" % (_ALONE, _SINGLE, _PAIR), re.DOTALL)
# The same where what text had behind it was blanked out.
_REST = _bytes(0, records.LINE, records.INT, records.REF, records.TASK, *_WITH_TEXT)
_TOKEN = re.compile(rb"%b*+(?:%b.|%b)|%b++" % (_REST, _PAIR, _SINGLE, _REST), re.DOTALL)
_IS_EVENT = bytes(int(tag in records.EVENTS) for tag in range(256))


class Scan:
    """What a block says of calls, functions, the standard streams and what is rare.

    `moves`: where the words CALL, RETURN, RESUME, RAISE, FRAME, STACK are. `io`: where the IO of bytes is;
    `io_told`: where IO tells only what became of them. `flags`: of each word whether it is an event.
    `last(tag, start, end)`: where the last word of a tag is, from one word on and in front of another, or -1.
    `functions`: number -> JSON, of those that were not known. `is_damaged`: it holds what no writer of ours
    wrote, and was read up to there.
    """

    __slots__ = (
        "_entries",
        "_tags",
        "flags",
        "functions",
        "io",
        "io_told",
        "is_damaged",
        "last",
        "moves",
        "n_events",
        "notes",
        "words",
    )

    def __init__(self, block: Block, known: Any = frozenset()):
        """`known`: the numbers of the functions that need not be read again."""
        self.words = block.words
        self._tags = bytearray(block.raw[_BYTE::8].translate(_TAG))
        self._entries: list[tuple[int, int]] = []
        self.moves: list[int] = []
        self.io: list[int] = []
        self.io_told: list[int] = []
        self.functions: dict[int, dict[str, Any]] = {}
        self.notes: list[dict[str, Any]] = []
        self.is_damaged = False
        end = self._read(known)
        del self._tags[end:]
        self.flags = bytes(self._tags).translate(_IS_EVENT)
        self.n_events = self.flags.count(1)
        self.last = self._tags.rfind

    def events_before(self, at: int, since: int = 0) -> int:
        """How many events of the block are in front of that word, and not in front of the word `since`."""
        return self.flags.count(1, since, at)

    def places(self, tag: int) -> Iterator[int]:
        """Where the words of a tag are."""
        is_one = bytes(int(one == tag) for one in range(16)).ljust(256, b"\0")
        return compress(count(), self._tags.translate(is_one))

    def entry(self, number: int) -> Any:
        """An entry of the block's table; None for what is none."""
        at = number - records.FIRST_ENTRY
        if not 0 <= at < len(self._entries):
            return None
        start, size = self._entries[at]
        return self._json(start, size)

    def entries_with(self, text: bytes) -> Iterator[Any]:
        """The entries of the block's table whose JSON has these bytes in it."""
        for start, size in self._entries:
            if text in self.words[start : start + (size + 7) // 8].tobytes()[:size]:
                yield self._json(start, size)

    def line_before(self, at: int, function: int) -> int:
        """The line at which a function was, in front of that word; 0: the block does not say."""
        for _ in range(_MOST_LOOKED_BACK):
            at = self._tags.rfind(records.LINE, 0, at)
            if at < 0:
                return 0
            if self.words[at] >> 24 == function:
                return self.words[at] >> 4 & records.MOST_LINE
        return 0

    def _read(self, known: Any) -> int:
        """Returns where it ends."""
        at, words, tags, clean = 0, self.words, bytes(self._tags), self._tags
        end, run_at, io = len(words), _RUN.match, self.io.append
        while True:
            at = run_at(tags, at).end()  # type: ignore[union-attr]
            word = words[at] if at < end else 0
            is_io = word & 15 == records.IO and word >> 4 & 15 <= records.STDIN  # most of what has text
            size = 2 + ((word >> 32) + 7 >> 3) if is_io else _words_behind(word)
            if size < 0 or at + size >= end:
                break
            if is_io:
                io(at)
            elif not self._take(word, at + 1, known):
                break
            clean[at + 1 : at + 1 + size] = bytes(size)
            at += 1 + size
        self.is_damaged = bool(word)
        self._find_moves(at)
        return at

    def _find_moves(self, end: int) -> None:
        """Where the moves are. A word behind a word has no tag."""
        clean, move = self._tags, self.moves.append
        tokens = _TOKEN.findall(bytes(clean), 0, end)
        for token, after in zip(tokens, accumulate(map(len, tokens), initial=0), strict=False):
            last = after + len(token) - 1
            if len(token) > 1 and token[-2] in _PAIRS:
                clean[last] = 0
                if token[-2] != records.FLOAT:
                    move(last - 1)
            elif token[-1] in _MOVES:
                move(last)

    def _take(self, word: int, behind: int, known: Any) -> bool:
        """A record with text; False for what is none."""
        tag = word & 15
        if tag == records.ENTRY:
            self._entries.append((behind, word >> 4))
            return True
        if tag == records.FUNCTION:
            number = word >> 4 & 0xFFFFFFF
            told = None if number in known or number in self.functions else self._json(behind, word >> 32)
            if isinstance(told, dict):
                self.functions[number] = told
            return True
        if tag == records.NOTE:
            told = self._json(behind, word >> 4)
            if isinstance(told, dict):
                self.notes.append(told)
            return told is not None
        if tag == records.IO:
            self.io_told.append(behind - 1)
            return True
        return False

    def _json(self, start: int, size: int) -> Any:
        try:
            return json.loads(self.words[start : start + (size + 7) // 8].tobytes()[:size])
        except (ValueError, RecursionError):
            return None


def _words_behind(word: int) -> int:
    """-1: no record begins with it."""
    size = records.words_behind(word & 15, word) if word & 15 else None
    return -1 if size is None else size


_MOST_LOOKED_BACK = 64
