"""What a shell itself prints around a command, inside its own hooks: no output of the command.

zsh, with PROMPT_SP as it is by default, prints an inverse `%`, fills the line with blanks and returns, all
before precmd runs (zshoptions(1)). The hook puts the end's mark in front of that, into PROMPT_EOL_MARK; where
that is exported or read-only, this is what is left to do. fish sets the terminal's title and modes after
fish_preexec has run (src/reader.cpp, reader_run_command). bash prints nothing there.

Lives here: `without_shells_own`. Not here: cutting at marks (output.py).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devtrace.sources.shell.output import Captured

_SGR = rb"(?:\x1b\[[0-9;]*m|\x1b\(B)*"
_PROMPT_SP = re.compile(_SGR + rb"[%#]?" + _SGR + rb" {8,}\r \r(?:\x1b\[J)?\Z")
_LONGEST = 4_096
# Bracketed paste off, newer versions' keyboard modes and OSC 133, the title, colours off.
_FISH_BEGINS = re.compile(
    rb"\x1b\[\?2004l(?:\x1b\[>4;0m|\x1b\[[<=][0-9;]*u|\x1b>|\x1b\]133;C[^\x07\x1b]*(?:\x07|\x1b\\))*"
    rb"(?:\x1b\]0;[^\x07]*\x07(?:\x1b\[30m)?(?:\x1b\(B)?(?:\x1b\[m)?\r?|\x1b\[30m(?:\x1b\(B)?\x1b\[m)?"
)


def without_shells_own(captured: Captured, shell: str) -> Captured:
    """The same without what that shell (bash, zsh, fish) added to it; the counts follow."""
    start, end = captured.data[: captured.head], captured.data[captured.head :]
    if shell == "zsh":
        found = _PROMPT_SP.search((end if captured.truncated else start)[-_LONGEST:])
        return captured if found is None else _without_end(captured, len(found[0]))
    if shell == "fish":
        found = _FISH_BEGINS.match(start[:_LONGEST])
        return captured if found is None else _without_start(captured, len(found[0]))
    return captured


def _without_end(captured: Captured, size: int) -> Captured:
    timing = _taken([list(step) for step in reversed(captured.timing)], size)
    return captured._replace(
        data=captured.data[: len(captured.data) - size],
        timing=timing[::-1],
        seen=captured.seen - size,
        head=captured.head if captured.truncated else captured.head - size,
        tail=captured.tail - size if captured.truncated else 0,
    )


def _without_start(captured: Captured, size: int) -> Captured:
    return captured._replace(
        data=captured.data[size:],
        timing=_taken([list(step) for step in captured.timing], size),
        seen=captured.seen - size,
        head=captured.head - size,
    )


def _taken(timing: list[list[int]], size: int) -> list[list[int]]:
    """The steps without the first `size` bytes of them."""
    while size and timing:
        taken = min(size, timing[0][1])
        timing[0][1] -= taken
        size -= taken
        if not timing[0][1]:
            del timing[0]
    return timing
