"""Regular expressions that cannot hang: those whose worst case is known, on texts no longer than it allows.

`re` cannot be interrupted, and backtracks. So no repeat may stand in a repeat, nor what can match in two
ways; nothing may refer back to a group. What is left takes, in the worst case, a power of the text's length:
each further repeat makes shorter the longest text that is searched.

Lives here: `Pattern`. Not here: where it stands in an expression (expressions.py). Standard library only: a
guest imports this.
"""

from __future__ import annotations

import re
from math import factorial
from re import _compiler, _parser  # type: ignore[attr-defined]  # typeshed leaves out what re is made of
from re import _constants as codes  # type: ignore[attr-defined]  # likewise

from devtrace.probes.kinds import EXACT, Unsafe, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_SUBJECT = 2_000  # characters of a text that is searched
_MOST_STEPS = 2_000_000
_MANY = 200  # a repeat that may go on for so long counts as one without an end
_FEWEST = 40  # characters that a pattern must be quick on to be of use
_GROUP = 8  # repeating a group takes so many times what repeating a character takes
_SINGLE = (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN)
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)


class Pattern:
    """One of them, ready. Raises ValueError for a text that is none, or that could hang."""

    __slots__ = ("_search", "longest", "text")

    def __init__(self, text: str):
        if len(text) > MOST_SUBJECT:
            raise ValueError("the pattern is too long")
        tree = _parsed(text)
        loops, steps = _cost(tree, is_repeated=False)
        self.text = text
        self.longest = _longest(loops + (not _is_anchored(tree)), steps)
        self._search = _compiler.compile(text).search  # not re.compile: its cache is the program's

    def matches(self, value: Any) -> bool:
        """Whether it is found anywhere in a text."""
        if type(value) is not str:
            raise (
                TypeError("only a text can match")
                if id(type(value)) in EXACT
                else refusal(type(value), "matching")
            )
        if len(value) > self.longest:
            raise Unsafe(f"the text is longer than the {self.longest} characters that pattern is tried on")
        return self._search(value) is not None


def _parsed(text: str) -> Any:
    bare = re.sub(r"(?s)\\.", "..", text)
    for inside in re.findall(r"\[\^?\]?[^]]*", bare):
        # Python warns of what may get a meaning there one day, on the program's stderr.
        if any(pair in inside for pair in ("--", "&&", "~~", "||")) or inside[1:].lstrip("^").startswith("["):
            raise ValueError(f"put a backslash before the sign in {inside}] that has none")
    try:
        return _parser.parse(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"that is no regular expression: {error}") from None


def _is_anchored(tree: Any) -> bool:
    if len(tree) == 0 or tree[0][0] is not codes.AT:
        return False
    is_start = tree[0][1] is codes.AT_BEGINNING and not tree.state.flags & re.MULTILINE
    return is_start or tree[0][1] is codes.AT_BEGINNING_STRING


def _longest(loops: int, steps: int) -> int:
    """The longest text on which so many loops, one in the other, take no more steps than are allowed."""
    longest = MOST_SUBJECT
    while longest >= _FEWEST and longest**loops * steps > _MOST_STEPS * factorial(loops):
        longest -= longest // 20 + 1
    if longest < _FEWEST:
        raise ValueError("the pattern has so many repeats that it could take for ever")
    return longest


def _cost(tree: Any, *, is_repeated: bool) -> tuple[int, int]:
    """How many loops without an end stand behind each other, and the ways that all else can go."""
    loops, steps = 0, 1
    for code, argument in tree:
        more, ways = _cost_of(code, argument, is_repeated=is_repeated)
        loops += more
        steps *= ways
    return loops, steps


def _cost_of(code: Any, argument: Any, *, is_repeated: bool) -> tuple[int, int]:
    if code in _REPEATS:
        return _cost_of_repeat(*argument, is_repeated=is_repeated)
    if code is codes.BRANCH:
        return _cost_of_branches(argument[1], is_repeated=is_repeated)
    if code is codes.SUBPATTERN or code in (codes.ASSERT, codes.ASSERT_NOT):
        return _cost(argument[-1], is_repeated=is_repeated)
    if code is codes.ATOMIC_GROUP:
        return _cost(argument, is_repeated=is_repeated)
    if code in (codes.GROUPREF, codes.GROUPREF_EXISTS):
        raise ValueError("a reference back to a group could take for ever")
    return 0, 1


def _cost_of_repeat(least: int, most: int, tree: Any, *, is_repeated: bool) -> tuple[int, int]:
    if is_repeated and least != most:
        raise ValueError("a repeat within a repeat could take for ever")
    loops, steps = _cost(tree, is_repeated=is_repeated or most > 1)
    if most > 1 and (len(tree) > 1 or tree[0][0] not in _SINGLE):
        steps *= _GROUP
    if most >= _MANY:
        return loops + 1, steps
    return loops, steps * (most - least + 1)


def _cost_of_branches(branches: list[Any], *, is_repeated: bool) -> tuple[int, int]:
    if is_repeated:
        firsts = [chr(one[0][1]).casefold() for one in branches if len(one) and one[0][0] is codes.LITERAL]
        if len(set(firsts)) < len(branches):
            raise ValueError(
                "choices within a repeat must begin with different letters, or could take for ever"
            )
    costs = [_cost(one, is_repeated=is_repeated) for one in branches]
    return max(loops for loops, _ in costs), sum(steps for _, steps in costs)
