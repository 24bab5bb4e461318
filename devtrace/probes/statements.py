"""Where in its bytecode a line begins: so that a statement of several lines is one hit, and not three.

A call over three lines comes back to its first line to be made, a `with` comes back to be left, a `return`
to be finished after `finally`. The offsets here tell the beginnings from those.

Lives here: `beginnings`, `starts`, `lines_of`. Not here: the text of the file (source.py). The instructions
are those of CPython 3.11 to 3.14 (Python's documentation of `dis`). Standard library only: a guest imports
this.
"""

from __future__ import annotations

from opcode import EXTENDED_ARG, opname

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType

_ENTERS = {"BEFORE_WITH", "BEFORE_ASYNC_WITH", "LOAD_SPECIAL"}
# They take from the stack what another instruction has put there, so no statement begins with them.
_ENDS = {"END_FOR", "RETURN_VALUE", "RERAISE", "SWAP", "POP_TOP", "PUSH_EXC_INFO", "WITH_EXCEPT_START"}
# Of others, such as FOR_ITER, the expression may be the whole statement with all its body.
_TELLS = ("BINARY", "BUILD", "CALL", "COMPARE", "LOAD", "PRECALL", "STORE")


class _Step:
    """An instruction. `last`: the line its expression ends in; `target`: where it jumps back to, or -1."""

    __slots__ = ("last", "line", "offset", "operation", "target")

    def __init__(self, offset: int, operation: str, line: int, last: int, target: int):
        self.offset = offset
        self.operation = operation
        self.line = line
        self.last = last
        self.target = target


def lines_of(code: CodeType) -> set[int]:
    """Lines that have code of their own in this code object, not in those within it."""
    return {line for _, _, line in code.co_lines() if line}


def beginnings(code: CodeType, line: int, first: int = 0, last: int = 0) -> dict[int, frozenset[int]]:
    """Line -> offsets at which what is asked for begins; {} where the line has no code.

    The first line of a statement stands for the whole, whose first instruction may be of a line below it. The
    head of a loop begins again where its body jumps back to, which may be yet another line.

    `first`, `last`: the lines of the statement's head, as the source has them; 0 reads them off the bytecode.
    """
    steps = [step for step in _steps(code) if step.line]
    here = [step for step in steps if step.line == line]
    if not here:
        return {}
    first = first or line
    last = last or max([line, *(step.last for step in here if step.operation.startswith(_TELLS))])
    runs = [run for run in _runs(steps, first, last) if run[0].operation not in _ENDS]
    if any(step.operation in _ENTERS for run in runs for step in run):
        runs = [run for run in runs if any(step.operation in _ENTERS for step in run)]
    made: dict[int, set[int]] = {}
    for run in runs:
        wanted = run[0].line if line == first else line
        for step in (*_beginning(run, wanted), *_returns(steps, run, 0 if line == first else line)):
            made.setdefault(step.line, set()).add(step.offset)
    return {one: frozenset(offsets) for one, offsets in made.items()}


def starts(code: CodeType, line: int, first: int = 0, last: int = 0) -> frozenset[int]:
    """Those beginnings that are of that line itself."""
    return beginnings(code, line, first, last).get(line, frozenset())


def _runs(steps: Iterable[_Step], first: int, last: int) -> list[list[_Step]]:
    """Pieces of bytecode that belong to those lines alone; `finally` is there twice."""
    runs: list[list[_Step]] = []
    is_within = False
    for step in steps:
        was_within, is_within = is_within, first <= step.line <= last
        if is_within:
            if not was_within:
                runs.append([])
            runs[-1].append(step)
    return runs


def _beginning(run: list[_Step], line: int) -> Iterator[_Step]:
    """The first piece of the run that is of that line, but for where a comprehension in it goes on."""
    within = {step.offset for step in run}
    loops = {step.target for step in run}
    is_there = False
    for step in run:
        if step.line == line:
            is_there = True
            if step is run[0] or (step.offset not in loops and step.target not in within):
                yield step
        elif is_there:
            return


def _returns(steps: list[_Step], run: list[_Step], line: int) -> list[_Step]:
    """Where the body of a loop jumps back to its head. `line` 0: to any line of it."""
    within = {step.offset for step in run}
    targets = {step.target for step in steps if step.offset not in within}
    return [step for step in run if step.offset in targets and line in (0, step.line)]


def _steps(code: CodeType) -> Iterator[_Step]:
    raw = code.co_code
    argument = 0
    for number, (line, last, _, _) in enumerate(code.co_positions()):
        offset = number * 2
        name = opname[raw[offset]]
        if name == "CACHE":
            continue
        argument = argument << 8 | raw[offset + 1]
        if raw[offset] == EXTENDED_ARG:
            continue
        target = -1
        if "JUMP_BACKWARD" in name:
            target = _after(raw, offset) - 2 * argument
        argument = 0
        # A line of 0 is the entry of a module, which nobody has written.
        yield _Step(offset, name, line or 0, last or 0, target)


def _after(raw: bytes, offset: int) -> int:
    offset += 2
    while offset < len(raw) and opname[raw[offset]] == "CACHE":
        offset += 2
    return offset
