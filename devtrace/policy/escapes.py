"""Terminal output without its colours, and the way back: a secret is found across a colour.

Only what moves no text is taken out: CSI sequences, character sets, single-character functions (ECMA-48,
section 5), and colours that are written out in a command or a source. The strings of OSC and DCS stay, since
a secret may stand in a title or a link.

Lives here: `Plain`. Not here: what is looked for (secrets.py, known.py). Standard library only, no dataclass.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

# Written out, as in `printf '\\033[1m...'`: colours only, in the ways in which ESC is usually spelled.
_WRITTEN = rb"\\(?:0?33|[eE]|x1[bB]|u001[bB])\[[0-9;]{0,32}m"
_SEQUENCE = re.compile(
    rb"(?:\x1b(?:\[[0-?]*[ -/]*[@-~]|[()*+ #%][ -~]|[0-9=>DEHMNOZclno|}~])|" + _WRITTEN + rb")+"
)


class Plain:
    """`text` is the data without escape sequences; `span` says where a part of it stands in the data."""

    __slots__ = ("_data", "_removed", "_where", "text")

    def __init__(self, data: bytes):
        self._data = data
        self._where: list[int] = []  # positions in `text` at which something was taken out, ascending
        self._removed: list[int] = []  # and how many bytes were taken out up to there
        if b"\x1b" not in data and not (b"\\" in data and b"[" in data):
            self.text = data
            return
        pieces, at, removed = [], 0, 0
        for match in _SEQUENCE.finditer(data):
            start, end = match.span()
            pieces.append(data[at:start])
            self._where.append(start - removed)
            removed += end - start
            self._removed.append(removed)
            at = end
        pieces.append(data[at:])
        self.text = b"".join(pieces)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]` stands in the data, sequences around it left out."""
        if not self._where:
            return start, end
        before = bisect_right(self._where, start)
        inside = bisect_left(self._where, end)
        return (
            start + (self._removed[before - 1] if before else 0),
            end + (self._removed[inside - 1] if inside else 0),
        )

    def sequences(self, start: int, end: int) -> bytes:
        """The escape sequences between two places of the data: they stay when the text is replaced."""
        return b"".join(_SEQUENCE.findall(self._data, start, end)) if self._where else b""
