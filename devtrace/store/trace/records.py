"""Records: what stands in a block of a segment, a word of 64 bits each, some with more words behind it.

    LINE     function << 24 | line << 4   a line begins
    CALL     function << 24               + clock: a function begins; then its arguments, as values
    RETURN   function << 24 | how << 4    + clock: it returned, yielded or was unwound
    RESUME   function << 24 | how << 4    + clock: a generator goes on, or is thrown into
    INT      number << 20 | name << 4     a small non-negative integer
    REF      entry << 20 | name << 4      a value of the block's table, or None, True, False, unset
    FLOAT    name << 4                    + its bits
    ENTRY    bytes << 4                   + JSON: the next value of the block's table
    FUNCTION bytes << 32 | function << 4  + JSON: what a function's number stands for in this block
    RAISE    entry << 20 | how << 4       an exception was raised, or handled, in the present frame
    FRAME    number << 4                  which generator's frame has just begun or goes on
    STACK    function << 24 | line << 4   one frame that is at work, the outermost first, and its line,
                                          0 where that is not known; function 0: none is, or the run begins
                                          anew. A run of them says what is at work now
    NOTE     bytes << 4                   + JSON: what is rare: the process, a thread, what was left out
    TASK     entry << 20                  the asyncio task that goes on here
    IO       bytes << 32 | anchor << 16 | flags << 8 | what << 4
                                          + clock + place + bytes: what went through a standard stream, `what`
                                          is STDOUT, STDERR or STDIN, `flags` say why the bytes end there.
                                          It happened in front of the word `anchor` of this block. `place` is
                                          function << 24 | line << 4, or 0: where the records say the thread
                                          was. Of several lines each is one chunk
    IO       bytes << 16 | HELD << 4      so many bytes are kept back from here on, of all streams together,
                                          until it is known whether there is a secret in them
    IO       bytes << 16 | what << 4      + clock: REACHED + STDOUT, REACHED + STDERR: all that was written to
                                          that stream by then has reached its descriptor, the last `bytes` not

A value is of a variable of the present frame, and became true before the next record that is none. `name` is
an index into the function's `names`, or RETURNED. Each block says by itself what its functions and entries
are: it can be read alone.

Lives here: making words, reading a block. Not here: files and blocks (segments.py), how a value becomes JSON
(recorder/values.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE, CALL, RETURN, RESUME, INT, REF, FLOAT, ENTRY = 1, 2, 3, 4, 5, 6, 7, 8
FUNCTION, RAISE, FRAME, STACK, NOTE, IO, TASK = 9, 10, 11, 12, 13, 14, 15

RETURNED, YIELDED, UNWOUND = 0, 1, 2  # how of RETURN
RESUMED, THROWN = 0, 1  # how of RESUME
RAISED, HANDLED = 0, 1  # how of RAISE

STDOUT, STDERR, STDIN, HELD, REACHED = 0, 1, 2, 7, 8  # what of IO
CHANNELS = ("stdout", "stderr", "stdin")  # by what of IO
# flags of IO, as CodeTracer's recorder documents them: why its bytes end there, or what they are
NEWLINE, FLUSH, STEP_BOUNDARY, TIME_SPLIT, INPUT, MIRROR = 1, 2, 4, 8, 16, 32
LABELS = {
    NEWLINE: "newline", FLUSH: "flush", STEP_BOUNDARY: "step_boundary", TIME_SPLIT: "time_split",
    INPUT: "input", MIRROR: "mirror",
}  # fmt: skip

RESULT = 0xFFFF  # the name of what a function returns or yields
CONSTANTS: tuple[Any, ...] = (None, True, False)  # entries 0, 1, 2 of every table
UNSET = 3  # the entry of a variable that is no more
FIRST_ENTRY = 4
MOST_LINE = (1 << 20) - 1
MOST_INT = 1 << 43
NAMES = 0xFFFF
EVENTS = frozenset((LINE, CALL, RETURN, RESUME, RAISE))  # what counts as an event

_DOUBLE = struct.Struct("=d")
_BEHIND_IO = {HELD: 0, REACHED + STDOUT: 1, REACHED + STDERR: 1}
_WITH_CLOCK = frozenset((CALL, RETURN, RESUME))


class Unset:
    """A variable that was deleted, or is not bound yet."""

    def __repr__(self) -> str:
        return "<unset>"


UNSET_VALUE = Unset()


class Record:
    """One record: `tag`, `function`, `line`, `how`, `clock_ns`, `name`, `value` as far as its tag has them.

    `at` is which word of the block it begins with.
    `value` of INT, REF and FLOAT is the typed form, as Python has it after `json.loads`, or UNSET_VALUE; of
    FUNCTION and NOTE the JSON; of RAISE the exception; of FRAME its number; of TASK the task's name; of IO
    the bytes, or how many. `how` of IO is what it is.
    """

    __slots__ = ("anchor", "at", "clock_ns", "flags", "function", "how", "line", "name", "tag", "value")

    def __init__(self, tag: int, at: int = 0):
        self.tag = tag
        self.at = at
        self.function = self.line = self.how = self.clock_ns = self.name = self.flags = self.anchor = 0
        self.value: Any = None


def read_records(words: memoryview) -> Iterator[Record]:
    """The records of a block. `words`: those behind its header. What no writer of ours wrote ends it."""
    entries: list[Any] = [*CONSTANTS, UNSET_VALUE]
    at, end = 0, len(words)
    while at < end and (word := words[at]):
        tag = word & 15
        size = words_behind(tag, word)
        if size is None or at + size >= end:
            return
        record = Record(tag, at)
        try:
            _fill(record, word, words[at + 1 : at + 1 + size], entries)
        except (ValueError, IndexError, RecursionError):
            return
        at += 1 + size
        if tag == ENTRY:
            entries.append(record.value)
        else:
            yield record


def words_behind(tag: int, word: int) -> int | None:
    """How many words belong to a record behind its first; None for what is no record."""
    if tag in _WITH_CLOCK or tag == FLOAT:
        return 1
    if tag in (ENTRY, NOTE):
        return ((word >> 4) + 7) // 8
    if tag == FUNCTION:
        return ((word >> 32) + 7) // 8
    if tag == IO:
        what = word >> 4 & 15
        return 2 + ((word >> 32) + 7) // 8 if what <= STDIN else _BEHIND_IO.get(what)
    return 0


def _fill(record: Record, word: int, behind: memoryview, entries: list[Any]) -> None:
    tag = record.tag
    if tag in (LINE, STACK):
        record.function, record.line = word >> 24, word >> 4 & MOST_LINE
    elif tag in _WITH_CLOCK:
        record.function, record.how, record.clock_ns = word >> 24, word >> 4 & MOST_LINE, behind[0]
    elif tag == INT:
        record.name, record.value = word >> 4 & NAMES, word >> 20
    elif tag == REF:
        record.name, record.value = word >> 4 & NAMES, entries[word >> 20]
    elif tag == FLOAT:
        record.name = word >> 4 & NAMES
        record.value = float_form(_DOUBLE.unpack(behind.tobytes())[0])
    elif tag == RAISE:
        record.how, record.value = word >> 4 & NAMES, entries[word >> 20]
    elif tag == TASK:
        record.value = entries[word >> 20]
    elif tag == FRAME:
        record.value = word >> 4
    elif tag == IO:
        _fill_io(record, word, behind)
    elif tag == FUNCTION:
        record.function = word >> 4 & 0xFFFFFFF
        record.value = json.loads(behind.tobytes()[: word >> 32])
    else:
        record.value = json.loads(behind.tobytes()[: word >> 4])


def _fill_io(record: Record, word: int, behind: memoryview) -> None:
    record.how = word >> 4 & 15
    if record.how > STDIN:
        record.value, record.clock_ns = word >> 16, behind[0] if len(behind) else 0
        return
    record.flags, record.anchor = word >> 8 & 0xFF, word >> 16 & 0xFFFF
    record.clock_ns, place = behind[0], behind[1]
    record.function, record.line = place >> 24, place >> 4 & MOST_LINE
    record.value = behind[2:].tobytes()[: word >> 32]


def float_form(number: float) -> Any:
    """A float as the typed form has it: JSON knows no infinity."""
    if number != number:
        return ["float", "nan"]
    if number in (float("inf"), float("-inf")):
        return ["float", "inf" if number > 0 else "-inf"]
    return number
