"""Expressions of conditions, templates and watches: a small part of Python that runs no code of the program.

    args[0] > 3 and user.name.startswith("a")      ${total} >= 10 && !(items contains "x")
    locals.count % 5 == 0                          path matches "^/api/" if path is not None else false

Names are sought among the extra ones of a probe (`duration_ms`), the locals with what a closure brings,
`args`, `this` and `locals`, the globals, Python's own types and exceptions. `args` are the positional
arguments in order, with `self`; `this` is `self`; `locals.x` is a local in any case. `matches` finds a
pattern anywhere.

Lives here: `parse`, `Expression`. Not here: spellings that are not Python's (spelling.py), the function that
is made of an expression (compiling.py), where names are sought (scopes.py). Standard library only: a guest
imports this.
"""

from __future__ import annotations

import ast

from devtrace.probes.compiling import Maker
from devtrace.probes.scopes import FrameScope as FrameScope  # the scope of a hit
from devtrace.probes.spelling import BadExpression as BadExpression  # what parse raises
from devtrace.probes.spelling import Respelled, respelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from devtrace.probes.scopes import Scope

MOST_NODES = 200
MOST_CHARACTERS = 4_000


class Expression:
    """One of them, ready.

    `evaluate(scope)` gives its value. It raises Unsafe, or what Python would for such values: NameError,
    AttributeError, TypeError, ValueError, ArithmeticError, LookupError; RecursionError where the program has
    filled its stack. `names`: those it reads from the scope. `members`: the attributes and keys it spells.
    """

    __slots__ = ("evaluate", "members", "names", "text")

    def __init__(
        self, text: str, evaluate: Callable[[Scope], Any], names: frozenset[str], members: frozenset[str]
    ):
        self.text = text
        self.evaluate = evaluate
        self.names = names
        self.members = members

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def parse(text: str) -> Expression:
    """Raises BadExpression for what is no expression, or holds what none may. Unknown names are no error."""
    if len(text) > MOST_CHARACTERS:
        raise BadExpression(f"an expression has at most {MOST_CHARACTERS} characters", MOST_CHARACTERS + 1)
    spelled = respelled(text)
    try:
        tree = _tree(spelled)
        maker = Maker(spelled)
        evaluate = maker.function(tree)
    except (RecursionError, MemoryError):  # what Python's parser and compiler say of ((((((...
        raise BadExpression("the expression is nested too deeply") from None
    return Expression(text, evaluate, frozenset(maker.names), frozenset(maker.members))


def _tree(spelled: Respelled) -> ast.expr:
    if not spelled.text:
        raise BadExpression("the expression is empty")
    try:
        tree = ast.parse(spelled.text, "<expression>", mode="eval").body
    except SyntaxError as error:
        raise BadExpression(error.msg, spelled.column((error.offset or len(spelled.text)) - 1)) from None
    except ValueError as error:  # a surrogate, a null
        raise BadExpression(str(error)) from None
    nodes = sum(isinstance(node, (ast.expr, ast.Slice)) for node in ast.walk(tree))
    if nodes > MOST_NODES:
        raise BadExpression(f"the expression has {nodes} parts; {MOST_NODES} are the most")
    return tree
