"""What calls were given, and what they gave: read from the chunks in which they began and ended.

A chunk is looked through, not replayed: the words behind a call are its arguments, the one in front of its
return is its result.

Lives here: `with_values`. Not here: which calls (trace_calls.py), variables line by line (trace_lines.py).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from devtrace.query.traces import Chunk, Trace
from devtrace.store.trace import records
from devtrace.store.trace.scan import Scan

Row = dict[str, Any]

MOST_CHUNKS = 64  # that are read for one screen: 2 ms each
_DOUBLE = struct.Struct("=d")
_VALUES = (records.INT, records.REF, records.FLOAT)


def with_values(trace: Trace, rows: Iterable[Row]) -> int:
    """Put `arguments` ([[name, typed form], ...]), `task` and `result` (typed form) into rows of calls.

    The rows are served in their order, from `MOST_CHUNKS` at most: those of the others get neither, as do
    those whose chunks were pruned. Returns how many rows were left out.
    """
    wanted: dict[Chunk, list[tuple[Row, bool]]] = defaultdict(list)
    left = 0
    for row in rows:
        ends = [(row["event"], True)]
        if row["last_event"] is not None and row["how"] == "return":
            ends.append((row["last_event"], False))
        chunks = [(trace.chunk_of(row["stream"], event), begins) for event, begins in ends]
        new = {chunk for chunk, _ in chunks if chunk is not None} - wanted.keys()
        if len(wanted) + len(new) > MOST_CHUNKS:
            left += 1
            continue
        for chunk, begins in chunks:
            if chunk is not None:
                wanted[chunk].append((row, begins))
    for chunk, asked in wanted.items():
        scan = trace.scan(chunk)
        if scan is not None:
            _read(trace, chunk, scan, asked)
    return left


def _read(trace: Trace, chunk: Chunk, scan: Scan, asked: list[tuple[Row, bool]]) -> None:
    begins = {row["event"] - chunk.first_event: row for row, is_begin in asked if is_begin}
    ends = {row["last_event"] - chunk.first_event: row for row, is_begin in asked if not is_begin}
    before = -2
    for at in scan.moves:
        tag = scan.words[at] & 15
        if tag in (records.CALL, records.RETURN):
            number = scan.events_before(at)
            if tag == records.CALL and number in begins:
                row = begins[number]
                row["arguments"], row["task"] = _begun(scan, at + 2, trace.function(row["function"]))
            elif tag == records.RETURN and number in ends:
                found, form = _result(scan, at, before)
                if found:
                    ends[number]["result"] = form
        before = at


def _begun(scan: Scan, at: int, function: Row) -> tuple[list[list[Any]], str]:
    """What stands behind a call: the values that are arguments by their names, and a task that it began."""
    names, task = function["names"], ""
    found: dict[str, Any] = {}
    words = scan.words
    while at < len(words):
        word = words[at]
        tag = word & 15
        if tag in _VALUES:
            name = word >> 4 & records.NAMES
            if name < function["n_arguments"]:
                found[names[name]] = _form(scan, at)
        elif tag == records.TASK:
            told = scan.entry(word >> 20)
            task = told if isinstance(told, str) else ""
        elif tag not in (records.ENTRY, records.FRAME, records.FUNCTION):
            break
        behind = records.words_behind(tag, word)
        at += 1 + (behind or 0)
    return [[name, found[name]] for name in names[: function["n_arguments"]] if name in found], task


def _result(scan: Scan, at: int, before: int) -> tuple[bool, Any]:
    """What stands in front of a RETURN at word `at`; `before`: the move in front of it."""
    words = scan.words
    name = records.RESULT << 4
    if at >= 2 and words[at - 2] == name | records.FLOAT:
        return True, _form(scan, at - 2)
    is_word_of_move = before == at - 2 and words[before] & 15 not in (
        records.RAISE,
        records.FRAME,
        records.STACK,
    )
    word = words[at - 1] if at >= 1 and not is_word_of_move else 0
    if word & 15 in (records.INT, records.REF) and word & 0xFFFF0 == name:
        return True, _form(scan, at - 1)
    return False, None


def _form(scan: Scan, at: int) -> Any:
    """A value's typed form; None, too, where the block does not say."""
    word = scan.words[at]
    if word & 15 == records.INT:
        return word >> 20
    if word & 15 == records.FLOAT:
        return records.float_form(_DOUBLE.unpack(scan.words[at + 1 : at + 2].tobytes())[0])
    entry = word >> 20
    if entry < records.FIRST_ENTRY:
        return records.CONSTANTS[entry] if entry < records.UNSET else ["opaque", "unset", 0]
    return scan.entry(entry)
