"""Rules and exceptions of a user's own, from `config.toml`: `policy.rules.NAME` and `policy.allow.NAME`.

A rule is a regular expression as Python's `re` has it, over a text without escape sequences, `^` and `$` at
each line; its first group that matched is the secret, or all of it where none did. An exception is matched
against what a rule found, whole: what fits is kept as it is.

Lives here: both. Not here: where they are written, and what is wrong with a pattern (config.py), the chain
(chain.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from devtrace.config import pattern_fault
from devtrace.policy.chain import Span, Step


def custom_rules(patterns: Mapping[str, str]) -> tuple[Step, ...]:
    """A step for each rule that is in force, by its name; one that cannot be used is left out."""
    return tuple(_step(name, pattern) for name, pattern in _usable(patterns))


def allowed(patterns: Mapping[str, str]) -> Callable[[bytes], bool] | None:
    """Whether a secret that was found is none after all; None where there is no exception."""
    exceptions = [pattern for _, pattern in _usable(patterns)]
    if not exceptions:
        return None
    return lambda secret: any(exception.fullmatch(secret) for exception in exceptions)


def _usable(patterns: Mapping[str, str]) -> Iterator[tuple[str, re.Pattern[bytes]]]:
    for name, pattern in patterns.items():
        if pattern and not pattern_fault(pattern):
            yield name, re.compile(pattern.encode("utf-8", "surrogateescape"), re.MULTILINE)


def _step(name: str, pattern: re.Pattern[bytes]) -> Step:
    def find(text: bytes, _: int) -> Iterator[Span]:
        for match in pattern.finditer(text):
            groups = range(1, pattern.groups + 1)
            start, end = match.span(next((one for one in groups if match.start(one) >= 0), 0))
            if start < end:
                yield start, end, name, None

    return find
