"""What a shell itself prints between the end of a command and its own hook: no output of the command.

zsh, with PROMPT_SP as it is by default, prints an inverse `%`, fills the line with blanks and returns, all
before precmd runs (zshoptions(1)). bash and fish print nothing there.

Lives here: `without_prompt_sp`. Not here: cutting at marks (output.py).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devtrace.sources.shell.output import Captured

_SGR = rb"(?:\x1b\[[0-9;]*m|\x1b\(B)*"
_PROMPT_SP = re.compile(_SGR + rb"[%#]?" + _SGR + rb" {8,}\r \r(?:\x1b\[J)?\Z")


def without_prompt_sp(captured: Captured) -> Captured:
    """The same without what zsh added at its end; the counts follow."""
    found = _PROMPT_SP.search(captured.data[-4096:])
    if found is None:
        return captured
    size = len(found[0])
    timing = [list(step) for step in captured.timing]
    rest = size
    while rest and timing:
        taken = min(rest, timing[-1][1])
        timing[-1][1] -= taken
        rest -= taken
        if not timing[-1][1]:
            timing.pop()
    return captured._replace(
        data=captured.data[:-size],
        timing=timing,
        seen=captured.seen - size,
        head=captured.head if captured.truncated else captured.head - size,
        tail=max(0, captured.tail - size) if captured.truncated else captured.tail,
    )
