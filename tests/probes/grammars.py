"""What tests of points and routes share: a clock that stands still, and a grammar that needs no parser.

Its conditions and messages are wrong where brackets are unbalanced; what one is read as tells its text.
"""

from __future__ import annotations

import re

from devtrace.probes.points import Grammar

SECOND = 1_000_000_000
NOON = 1_767_268_800 * SECOND  # 2026-01-01T12:00:00Z
HERE = {"file": "app.py", "line": 42}
LOG = {**HERE, "message": "x={x}"}


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now

    def passes(self, seconds: float) -> int:
        self.now += int(seconds * SECOND)
        return self.now


class Bad(Exception):
    """A text that is none, as the parsers refuse it."""

    def __init__(self, message: str, column: int):
        super().__init__(message)
        self.message = message
        self.column = column


def read(text: str) -> tuple[str, str]:
    if text.count("(") != text.count(")"):
        raise Bad("unbalanced (", text.index("(") + 1)
    return ("read", text)


def template(text: str, is_mustache: bool) -> tuple[str, bool]:
    if text.count("{") != text.count("}"):
        raise Bad("a { is not closed", text.index("{") + 1)
    return (text, is_mustache)


def hit_count(text: str) -> list[str]:
    if not re.fullmatch(r"(==|>=?|<=?|%)?\d+", text):
        raise ValueError(f"{text} is no hit condition")
    return [text]


GRAMMAR = Grammar(read, template, hit_count)
