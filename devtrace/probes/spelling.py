"""The documented spellings of expressions, put into Python's: `${user.id} > 3 && !(name startsWith "a")`.

    && AND   || OR   ! NOT      and, or, not
    true  false  null           True, False, None
    ${name}                     (name)
    a contains b                a |contains| b, likewise startsWith, endsWith, matches

`|` is no operator of expressions: where one stands afterwards, it was put there. It binds more tightly than a
comparison and more loosely than a sum, as those words do.

Lives here: `respelled`. Not here: what an expression may hold (expressions.py). Standard library only: a
guest imports this.
"""

from __future__ import annotations

import re
from bisect import bisect_right

WORDS = ("contains", "startsWith", "endsWith", "matches")

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<placeholder>\$\{[^{}]*\})
    |(?P<text>(?P<prefix>[A-Za-z]*)(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    |(?P<number>(?:\d|\.\d)(?:[eE][+-]?\d|\w|\.)*)
    |(?P<name>[^\W\d]\w*)
    |(?P<sign>&&|\|\||[=!<>]=|//|\*(?!\*)|<(?!<)|>(?!>)|:(?!=)|[-+/%!.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_SPELLINGS = {"&&": "and", "||": "or", "!": "not", "AND": "and", "OR": "or", "NOT": "not"}
_SPELLINGS |= {"true": "True", "false": "False", "null": "None"}
_BETWEEN = frozenset(
    ("and", "or", "not", "in", "is", "if", "else", "lambda")
)  # names that no operand ends with
_ESCAPES = "\n\\'\"abfnrtvxuU0123"
_PLACEHOLDER = re.compile(r"[^\W\d]\w*(?:\s*\.\s*[^\W\d]\w*)*")
_NUMBER = re.compile(r"(?i)\d[\d_]*|0[xob][\da-f_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:e[+-]?\d+)?")


class BadExpression(ValueError):
    """No expression, or one that is not taken. `column` counts characters from 1."""

    def __init__(self, message: str, column: int = 1):
        super().__init__(message)
        self.message = message
        self.column = column


class Respelled:
    """A text as Python reads it. `column(n)`: where the n-th character (from 0) of it stood, from 1."""

    __slots__ = ("_new", "_old", "text")

    def __init__(self, pieces: list[tuple[int, str]]):
        self.text = " ".join(piece for _, piece in pieces)
        self._old = [start for start, _ in pieces]
        self._new: list[int] = []
        end = 0
        for _, piece in pieces:
            self._new.append(end)
            end += len(piece) + 1

    def column(self, position: int) -> int:
        number = bisect_right(self._new, position) - 1
        return self._old[max(number, 0)] + 1 if self._old else 1


def respelled(text: str) -> Respelled:
    """Raises BadExpression at the first sign that no expression has."""
    pieces: list[tuple[int, str]] = []
    position, is_operand, before = 0, False, ""
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise BadExpression(_unknown(text, position), position + 1)
        word, kind = found.group(), found.lastgroup or "sign"
        if kind != "space":
            is_member = before == "."
            piece = _piece(word, kind, found, is_operand=is_operand, is_member=is_member)
            pieces.append((position, piece))
            is_operand = _ends_operand(piece, kind, is_member=is_member)
            before = word
        position = found.end()
    return Respelled(pieces)


def _piece(word: str, kind: str, found: re.Match[str], *, is_operand: bool, is_member: bool) -> str:
    if kind == "text":
        return _text(word, found)
    if kind == "placeholder":
        return _placeholder(word, found.start())
    if kind == "number" and _NUMBER.fullmatch(word) is None:
        raise BadExpression(f"{word} is no number", found.start() + 1)
    if is_member:
        return word
    if is_operand and word in WORDS:
        return f"| {word} |"
    return _SPELLINGS.get(word, word)


def _ends_operand(piece: str, kind: str, *, is_member: bool) -> bool:
    if kind == "name":
        return is_member or (piece not in _BETWEEN and not piece.startswith("|"))
    return kind != "sign" or piece in ")]}"


def _placeholder(word: str, start: int) -> str:
    name = word[2:-1].strip()
    if _PLACEHOLDER.fullmatch(name) is None:
        raise BadExpression("${...} holds a name, or names with dots between", start + 1)
    return f"({name})"


def _text(word: str, found: re.Match[str]) -> str:
    """With the backslashes doubled of which Python would warn, on the program's stderr."""
    prefix = found["prefix"].lower()
    if prefix not in ("", "r", "b", "u", "rb", "br"):
        raise BadExpression(
            f"a text cannot begin with {prefix}: write the expressions beside it", found.start() + 1
        )
    if "r" in prefix:
        return word
    escapes = _ESCAPES.replace("uU", "") if prefix == "b" else _ESCAPES
    return re.sub(r"(?s)\\(.)", lambda pair: pair[0] if pair[1] in escapes else "\\" + pair[0], word)


def _unknown(text: str, position: int) -> str:
    pair = text[position : position + 2]
    sign = pair if pair in ("**", "<<", ">>", ":=") else pair[0]
    if sign in "'\"":
        return "the text that begins here does not end"
    hint = {"=": ": == compares", "&": ": && or `and` joins", "|": ": || or `or` joins"}.get(sign, "")
    return f"{sign} has no meaning in an expression{hint}"
