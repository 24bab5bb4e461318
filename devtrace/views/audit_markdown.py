"""Whether a change is explained, as a comment for a review.

What strangers wrote, names of files and commands, is shown as code: it is no markup, pings nobody and leads
nowhere.

Lives here: `markdown`. Not here: the same for a terminal, and the words of both (audit.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from devtrace.views import words
from devtrace.views.audit import (
    HEADS,
    LISTED,
    WORDS,
    by_kind,
    reason_of,
    share_of,
    size_of,
    sums,
    text_of,
    times,
    uncounted,
    verdict,
)
from devtrace.views.safe import safe

Row = dict[str, Any]

_MOST = 60_000  # characters; the forges take 65,536 in one comment
_FILES = 50  # of the table
_SESSIONS = 20
_NAME, _SENTENCE = 160, 300  # characters
_BAR = "\\|"  # the end of a cell otherwise, in code too
_TICKS = re.compile("`+")


def markdown(told: Row, short: Mapping[str, str]) -> Iterator[str]:
    """The lines of the comment."""
    return _bounded(_lines(told, short))


def _lines(told: Row, short: Mapping[str, str]) -> Iterator[str]:
    yield f"**{verdict(told, code)}**"
    yield ""
    yield _about(told, short)
    yield ""
    yield "| changed lines | |"
    yield "| ---: | --- |"
    for name, number in sums(told):
        yield f"| {number:,} | {WORDS[name]} |"
    yield ""
    for one in uncounted(told):
        yield f"{one[:1].upper()}{one[1:]}."
        yield ""
    yield from _findings(told, short)
    yield from _files(told["files"])


def _about(told: Row, short: Mapping[str, str]) -> str:
    """What was looked at."""
    if told["session"]:
        return f"Session {code(short.get(told['session'], told['session']))}."
    base = code(told["base"][:8]) if told["base"] else "nothing"
    names = [code(short.get(one, one[:8])) for one in told["sessions"][:_SESSIONS]]
    left = len(told["sessions"]) - len(names)
    named = ", ".join(names) + (f" and {words.count(left, 'more')}" if left else "")
    which = (
        ("sessions " if len(told["sessions"]) > 1 else "session ") + named if names else "no recorded session"
    )
    return f"{code(told['range'])}: {base} to {code(told['head'][:8])}, in {which}."


def _findings(told: Row, short: Mapping[str, str]) -> Iterator[str]:
    for kind, rows in by_kind(told["findings"]):
        yield f"### {HEADS[kind]}"
        yield ""
        for row in rows[:LISTED]:
            name = row["event"] or row["session"]
            which = f" {code(short.get(name, name[:8]))}" if name else ""
            yield f"- {code(text_of(row), _SENTENCE)}{times(row)}{which}"
        if len(rows) > LISTED:
            yield f"- ... and {words.count(len(rows) - LISTED, 'more')}"
        yield ""
    if not told["findings"]:
        yield "Nothing else to look at was found."
        yield ""


def _files(files: Sequence[Row]) -> Iterator[str]:
    if not files:
        return
    yield "| lines | explained | file | unexplained |"
    yield "| ---: | ---: | --- | --- |"
    for file in files[:_FILES]:
        name = code(file["path"])
        if file["old_path"]:
            name = f"{code(file['old_path'])} -> {name}"
        why = reason_of(file)
        cells = (size_of(file), share_of(file)[0], name, code(why) if why else "")
        yield f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"
    if len(files) > _FILES:
        yield ""
        yield f"... and {words.count(len(files) - _FILES, 'more file')}."


def code(text: str, most: int = _NAME) -> str:
    """A text of a stranger's as code on one line of at most so many characters, whatever it holds."""
    shown = safe(text)
    shown = f"{shown[: most - 1]}…" if len(shown) > most else shown
    fence = "`" * (1 + max((len(found) for found in _TICKS.findall(shown)), default=0))
    around = " " if shown[:1] in ("`", " ", "") or shown[-1:] in ("`", " ") else ""
    return f"{fence}{around}{shown}{around}{fence}"


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    """As many of them as a comment takes."""
    left = _MOST
    for line in lines:
        left -= len(line) + 1
        if left < 0:
            yield ""
            yield "The rest does not fit into a comment: `devtrace audit` has it."
            return
        yield line
