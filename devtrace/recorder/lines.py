"""What each line of a code object stores, and which containers it may change: read once from its bytecode.

Lives here: `line_table`, `one_line_loops`. Not here: reading the values (tracking.py). The instructions are
those of CPython 3.11 to 3.13 (Python's documentation of `dis`); an unknown one stores nothing. Standard
library only, without `dis`, which takes longer to import than all else here: a guest imports this.
"""

from __future__ import annotations

from opcode import EXTENDED_ARG, opname
from typing import TYPE_CHECKING

from devtrace.store.trace import records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import CodeType

STORED, DELETED, TOUCHED, STORED_GLOBAL, DELETED_GLOBAL, SHARED = range(6)

# (name, word, action, how)
Name = tuple[str, int, int, int]
# what is stored or deleted, and what is only named in a line that can change containers
Line = tuple[tuple[Name, ...], tuple[Name, ...]]

_FAST = {"STORE_FAST", "STORE_DEREF"}
_STREAMS = frozenset(("stdout", "stderr"))
_DELETES = {"DELETE_FAST", "DELETE_DEREF"}
_LOADS = {
    "LOAD_FAST",
    "LOAD_FAST_CHECK",
    "LOAD_DEREF",
    "LOAD_FAST_AND_CLEAR",
    "LOAD_CLOSURE",
    "LOAD_CLASSDEREF",
}
_PAIRS = {
    "STORE_FAST_STORE_FAST": (True, True),
    "STORE_FAST_LOAD_FAST": (True, False),
    "LOAD_FAST_LOAD_FAST": (False, False),
    "STORE_FAST__STORE_FAST": (True, True),
}
_CHANGES = {
    "STORE_SUBSCR",
    "DELETE_SUBSCR",
    "STORE_SLICE",
    "STORE_ATTR",
    "DELETE_ATTR",
    "CALL",
    "CALL_KW",
    "CALL_FUNCTION_EX",
    "SEND",
    "YIELD_VALUE",
    "BEFORE_WITH",
}
_JUMPS_BACK = {"JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"}


def names_of(code: CodeType) -> tuple[str, ...]:
    """Every name that a value of this code may have, in the order in which records number them."""
    return (*dict.fromkeys((*code.co_varnames, *code.co_cellvars, *code.co_freevars, *code.co_names)),)


def line_table(code: CodeType, action: Callable[[str, bool], int]) -> dict[int, Line]:
    """What happens to names in each line. `action`: what may be kept of a name, and whether it is global."""
    words = {name: number << 4 | records.INT for number, name in enumerate(names_of(code))}
    stored: dict[int, dict[tuple[str, int], None]] = {}
    touched: dict[int, dict[tuple[str, int], None]] = {}
    changing: set[int] = set()
    for line, operation, argument in _instructions(code):
        if operation in _CHANGES:
            changing.add(line)
        for name, how in _effects(code, operation, argument):
            (touched if how == TOUCHED else stored).setdefault(line, {})[name, how] = None

    def told(names: Iterable[tuple[str, int]]) -> tuple[Name, ...]:
        return tuple(
            (name, words[name], action(name, how in (STORED_GLOBAL, DELETED_GLOBAL)), how)
            for name, how in names
        )

    # What closures share may be changed by any call.
    shared = told((name, SHARED) for name in (*code.co_cellvars, *code.co_freevars))
    return {
        line: (
            told(stored.get(line, ())) + (shared if line in changing else ()),
            told(touched.get(line, ())) if line in changing else (),
        )
        for line in stored.keys() | changing
    }


def fleeting(code: CodeType) -> tuple[str, ...]:
    """Names that are deleted where no line tells of it, as `except ... as NAME` does when it is left."""
    return tuple(
        dict.fromkeys(
            name
            for line, operation, argument in _instructions(code, least=0)
            if line <= 0
            for name, how in _effects(code, operation, argument)
            if how == DELETED
        )
    )


def one_line_loops(code: CodeType) -> dict[int, int]:
    """Byte offsets of jumps back to their own line -> that line: for them no LINE event comes of its own."""
    raw = code.co_code
    line_at = [0] * (len(raw) // 2 + 1)
    for start, end, line in _spans(code):
        line_at[start // 2 : end // 2] = [line] * ((end - start) // 2)
    found, extended = {}, 0
    for at in range(0, len(raw), 2):
        operation, argument = raw[at], raw[at + 1] | extended << 8
        extended = argument if operation == EXTENDED_ARG else 0
        if opname[operation] in _JUMPS_BACK:
            target = _behind(raw, at) - 2 * argument
            if line_at[target // 2] == line_at[at // 2] > 0:
                found[at] = line_at[at // 2]
    return found


def is_handled(code: CodeType, offset: int) -> bool:
    """Whether the frame handles what is raised there, and does more than to tidy up a comprehension.

    It is read from the exception table (CPython, Objects/exception_handling_notes.txt): the event
    EXCEPTION_HANDLED tells the same, but a callback of it for which the stack has no room is called for ever.
    """
    raw = code.co_code
    return any(
        start <= offset < end and opname[raw[at]] == "PUSH_EXC_INFO" for start, end, at in _handlers(code)
    )


def _handlers(code: CodeType) -> Iterator[tuple[int, int, int]]:
    """Start, end and handler of each entry of the table, in bytes."""
    numbers = _numbers(code.co_exceptiontable)
    for start, size, handler, _ in zip(numbers, numbers, numbers, numbers, strict=False):
        yield start * 2, (start + size) * 2, handler * 2


def _numbers(table: bytes) -> Iterator[int]:
    number = 0
    for byte in table:
        number = number << 6 | byte & 0x3F
        if not byte & 0x40:
            yield number
            number = 0


def replacing(code: CodeType) -> set[int]:
    """The lines that may put another object in the place of `sys.stdout` or `sys.stderr`."""
    if not _STREAMS.intersection(code.co_names):
        return set()
    found = set()
    for start, end, line in code.co_lines():
        names = (code.co_names[at] for at in _stored_attributes(code, start, end))
        if line and any(name in _STREAMS for name in names):
            found.add(line)
    return found


def _stored_attributes(code: CodeType, start: int, end: int) -> Iterator[int]:
    raw = code.co_code
    for at in range(start, end, 2):
        if opname[raw[at]] == "STORE_ATTR":
            yield min(raw[at + 1], len(code.co_names) - 1)  # of more than 256 names: the wrong one, in vain


def is_end_of_loop(code: CodeType, offset: int) -> bool:
    """Whether a StopIteration that comes to the instruction there ends a loop, or a delegation."""
    return opname[code.co_code[offset]] == "FOR_ITER" or is_delegation(code, offset)


def is_delegation(code: CodeType, offset: int) -> bool:
    """Whether the instruction there awaits, or yields from, something else: SEND, the jump back to it, or
    the one behind both, which `f_lasti` names from 3.12 on.
    """
    return opname[code.co_code[offset]] in ("SEND", "JUMP_BACKWARD_NO_INTERRUPT", "END_SEND")


def _behind(raw: bytes, at: int) -> int:
    """Where the next instruction begins: behind this one and its caches, which are zeros."""
    at += 2
    while at < len(raw) and raw[at] == 0:
        at += 2
    return at


def _spans(code: CodeType) -> Iterator[tuple[int, int, int]]:
    for start, end, line in code.co_lines():
        yield start, end, line or 0


def _instructions(code: CodeType, least: int = 1) -> Iterator[tuple[int, str, int]]:
    """(line, operation, argument) of each instruction whose line is at least that; 0: it belongs to none."""
    raw = code.co_code
    for start, end, line in _spans(code):
        extended = 0
        for at in range(start, end, 2):
            operation, argument = raw[at], raw[at + 1] | extended << 8
            extended = argument if operation == EXTENDED_ARG else 0
            if operation and operation != EXTENDED_ARG and line >= least:
                yield line, opname[operation], argument


def _effects(code: CodeType, operation: str, argument: int) -> Iterator[tuple[str, int]]:
    if operation in _FAST:
        yield _variable(code, argument), STORED
    elif operation in _LOADS:
        yield _variable(code, argument), TOUCHED
    elif operation in _DELETES:
        yield _variable(code, argument), DELETED
    elif operation in _PAIRS:
        for number, is_stored in zip((argument >> 4, argument & 15), _PAIRS[operation], strict=True):
            yield _variable(code, number), STORED if is_stored else TOUCHED
    elif operation == "STORE_NAME":
        yield code.co_names[argument], STORED
    elif operation == "LOAD_NAME":
        yield code.co_names[argument], TOUCHED
    elif operation == "DELETE_NAME":
        yield code.co_names[argument], DELETED
    elif operation == "STORE_GLOBAL":
        yield code.co_names[argument], STORED_GLOBAL
    elif operation == "DELETE_GLOBAL":
        yield code.co_names[argument], DELETED_GLOBAL


def _variable(code: CodeType, number: int) -> str:
    return code._varname_from_oparg(number)  # type: ignore[attr-defined,no-any-return]
