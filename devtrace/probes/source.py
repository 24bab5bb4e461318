"""The text of one Python file: which lines can be probed, and to which statement or function each belongs.

    head      the lines of a statement that are its own: all of a simple one, `if x:` of one with a body
    entry     the head of a `def` and its decorators: a probe there means the calls of the function

Lives here: `source_of`, `Source`, `Spot`, `NoCode`. Not here: the file found (places.py), the bytecode
(statements.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import ast
import warnings
from bisect import bisect_left
from types import CodeType
from weakref import ref

from devtrace.probes.statements import lines_of

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

MOST_BYTES = 500_000  # of a file: compiling holds all threads up, for 1 ms per 5 KB
_NAME = "<devtrace.probes>"  # what we compile goes by it, so that warnings can be told from the program's
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef)
_BLOCKS = ("body", "cases", "handlers", "orelse", "finalbody")  # in the order in which they stand


_known: dict[tuple[int, int], Any] = {}  # hash and length of a text -> the Source that somebody still has


def source_of(text: bytes) -> Source:
    """The same for the same text while a probe keeps it: many may sit in one file. Raises Unreadable."""
    key = hash(text), len(text)
    found: Source | None = _known[key]() if key in _known else None
    if found is None:
        found = Source(text)
        _known[key] = ref(found, lambda _: _known.pop(key, None))
    return found


class NoCode(Exception):
    """Nothing runs in that line. `why` in words; `nearest`: lines before and after that are better."""

    def __init__(self, line: int, why: str, nearest: tuple[int, ...]):
        super().__init__(why)
        self.line = line
        self.why = why
        self.nearest = nearest


class Unreadable(Exception):
    """The file is no Python that this interpreter reads, or too large. The message says which."""


class Spot:
    """Where a line leads. `first`, `last`: the head's lines; `line`: one with code; `name`: of a `def`."""

    __slots__ = ("first", "is_entry", "last", "line", "name", "qualname")

    def __init__(self, line: int, first: int, last: int, qualname: str, name: str, is_entry: bool):
        self.line = line
        self.first = first
        self.last = last
        self.qualname = qualname
        self.name = name
        self.is_entry = is_entry


class _Head:
    __slots__ = ("first", "is_docstring", "is_entry", "last", "name", "qualname")

    def __init__(
        self,
        first: int,
        last: int,
        qualname: str,
        *,
        name: str = "",
        is_entry: bool = False,
        is_docstring: bool = False,
    ):
        self.first = first
        self.last = last
        self.qualname = qualname
        self.name = name
        self.is_entry = is_entry
        self.is_docstring = is_docstring


class Source:
    """A file as it is now. Raises Unreadable."""

    def __init__(self, text: bytes):
        if len(text) > MOST_BYTES:
            raise Unreadable(f"it has more than {MOST_BYTES} bytes")
        tree, code = _compiled(text)
        self.codes = list(within(code))
        self._with_code = {line for one in self.codes for line in lines_of(one)}
        self._text = text.decode("utf-8", "replace").splitlines()
        self.heads = self._trimmed(_heads(tree))
        self._by_line = self._indexed()
        self._valid = sorted(line for line, head in self._by_line.items() if self._is_valid(head))

    def spot(self, line: int) -> Spot:
        """Raises NoCode."""
        head = self._by_line.get(line)
        if head is None or not self._is_valid(head):
            raise NoCode(line, self._why(line, head), self.nearest(line))
        where = line if head.is_entry or line in self._with_code else self._first_with_code(head)
        return Spot(where, head.first, head.last, head.qualname, head.name, head.is_entry)

    def nearest(self, line: int) -> tuple[int, ...]:
        """At most one line before it and one after."""
        at = bisect_left(self._valid, line)
        after = at + (at < len(self._valid) and self._valid[at] == line)
        return (*self._valid[max(at - 1, 0) : at], *self._valid[after : after + 1])

    def functions(self) -> list[Spot]:
        """All that are defined by `def`, in the order of the file."""
        heads = [head for head in self.heads if head.is_entry]
        return [Spot(one.first, one.first, one.last, one.qualname, one.name, True) for one in heads]

    def has(self, code: CodeType) -> bool:
        """Whether this text would be compiled to that code, but for the name of its file."""
        return any(
            one.co_firstlineno == code.co_firstlineno and same(one, code)
            for one in self.codes
            if one.co_qualname == code.co_qualname
        )

    def has_lines_of(self, code: CodeType) -> bool:
        """Whether such a code begins in the same line: for what a hook changes before it is compiled."""
        return any(
            one.co_qualname == code.co_qualname and one.co_firstlineno == code.co_firstlineno
            for one in self.codes
        )

    def _is_valid(self, head: _Head) -> bool:
        return not head.is_docstring and (head.is_entry or bool(self._first_with_code(head)))

    def _first_with_code(self, head: _Head) -> int:
        return next((line for line in range(head.first, head.last + 1) if line in self._with_code), 0)

    def _trimmed(self, heads: Iterable[_Head]) -> list[_Head]:
        """Without the blank lines and comments between a head and its body."""
        made = list(heads)
        for head in made:
            while head.last > head.first and self._is_bare(head.last):
                head.last -= 1
        return made

    def _is_bare(self, line: int) -> bool:
        text = self._line(line)
        return not text or text.startswith("#")

    def _line(self, line: int) -> str:
        return self._text[line - 1].strip() if 0 < line <= len(self._text) else ""

    def _indexed(self) -> dict[int, _Head]:
        """Of several in a line the outermost: `if x: y` is its `if`."""
        by_line: dict[int, _Head] = {}
        for head in self.heads:
            for line in range(head.first, head.last + 1):
                by_line.setdefault(line, head)
        return by_line

    def _why(self, line: int, head: _Head | None) -> str:
        if line > len(self._text):
            return f"the file ends with line {len(self._text)}"
        text = self._line(line)
        if head is not None and head.is_docstring:
            return f"line {line} is a docstring"
        if not text:
            return f"line {line} is blank"
        if text.startswith("#"):
            return f"line {line} is a comment"
        return f"in line {line} nothing runs"


def within(code: CodeType) -> Iterator[CodeType]:
    """The code object and all that are in it."""
    waiting = [code]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += [const for const in one.co_consts if type(const) is CodeType]


def same(one: CodeType, other: CodeType) -> bool:
    """Whether two code objects do the same in the same lines; the names of their files do not count."""
    return (
        one.co_code == other.co_code
        and one.co_linetable == other.co_linetable
        and one.co_names == other.co_names
        and one.co_varnames == other.co_varnames
        and _is_same_constant(one.co_consts, other.co_consts)
    )


def _is_same_constant(one: object, other: object) -> bool:
    """Of types that compiling makes; another's `==` is never asked."""
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_is_same_constant, one, other))
    if isinstance(one, CodeType) and isinstance(other, CodeType):
        return one.co_firstlineno == other.co_firstlineno and same(one, other)
    if type(one) in (int, str, bytes, bool, frozenset):
        return one == other
    return type(one) in (float, complex, type(None), type(...)) and repr(one) == repr(other)


def _compiled(text: bytes) -> tuple[ast.Module, CodeType]:
    """Warnings about the text were the program's to see when it was imported, and are kept from it now.

    Not by `catch_warnings`, which would change them for all threads: the filter put here fits our name alone.
    """
    ours: Any = ("ignore", None, Warning, _NAME, 0)
    filters: Any = warnings.filters
    filters.insert(0, ours)
    try:
        tree = ast.parse(text, _NAME)
        return tree, compile(tree, _NAME, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise Unreadable(f"it is no Python that this interpreter reads: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise Unreadable("it is nested too deeply") from error
    finally:
        if ours in filters:
            filters.remove(ours)


def _heads(tree: ast.Module) -> Iterator[_Head]:
    """The outer before the inner."""
    waiting: list[tuple[ast.AST, str, str]] = [(tree, "<module>", "")]
    while waiting:
        node, owner, prefix = waiting.pop()
        children = [child for field in _BLOCKS for child in getattr(node, field, ())]
        if not isinstance(node, ast.Module):
            yield _head(node, children, owner, prefix)
        if isinstance(node, _SCOPES):
            owner = prefix + node.name
            prefix = f"{owner}.<locals>." if isinstance(node, _FUNCTIONS) else f"{owner}."
        docstring = _docstring(node, children)
        if docstring is not None:
            yield _Head(docstring.lineno, _end(docstring), owner, is_docstring=True)
            children.remove(docstring)
        waiting += [(child, owner, prefix) for child in children]


def _head(node: Any, children: list[Any], owner: str, prefix: str) -> _Head:
    first = _start(node)
    last = max(getattr(node, "lineno", first), _start(children[0]) - 1) if children else _end(node)
    if isinstance(node, _FUNCTIONS):
        return _Head(first, last, prefix + node.name, name=node.name, is_entry=True)
    return _Head(first, last, owner)


def _start(node: Any) -> int:
    """A decorated function begins at its decorators, and a `case` at its pattern."""
    lines = [one.lineno for one in getattr(node, "decorator_list", ())]
    return int(min([*lines, getattr(node, "pattern", node).lineno]))


def _end(node: Any) -> int:
    return int(node.end_lineno or node.lineno)


def _docstring(node: ast.AST, children: list[Any]) -> Any:
    first = children[0] if children and isinstance(node, (ast.Module, *_SCOPES)) else None
    value = getattr(first, "value", None) if isinstance(first, ast.Expr) else None
    return first if isinstance(value, ast.Constant) and type(value.value) is str else None
