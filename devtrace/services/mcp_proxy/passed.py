"""Messages as they passed, for who asked for them: lines of JSON, in batches.

    {"at_us": 1795269792000000, "to": "server", "message": {...}}     or "raw": a text, where it is no JSON

Lives here: `Passed`. Not here: the event of a batch (frames.py), redaction (texts.py). Standard
library only: a guest.
"""

from __future__ import annotations

import json
from typing import NamedTuple, NoReturn

from devtrace.services.mcp_proxy.texts import Texts, media_in
from devtrace.sources.mcp.messages import INVALID, Message
from devtrace.sources.mcp.tap import TO_SERVER

_MOST_BYTES = 1 << 20  # of a batch
_LONGEST_S = 5
_LONGEST_MESSAGE = 256 << 10  # bytes that are kept of one


class Batch(NamedTuple):
    """What passed between two moments."""

    lines: bytes
    number: int
    since_us: int
    until_us: int


class Passed:
    """The batch that is being filled."""

    def __init__(self, texts: Texts):
        self._texts = texts
        self._lines: list[bytes] = []
        self._size = 0
        self._since_us = self._until_us = 0

    def add(self, message: Message, direction: int, at_us: int) -> None:
        """A message, redacted at once."""
        line = self._line(message, direction, at_us).encode()
        self._since_us = self._since_us if self._lines else at_us
        self._until_us = max(self._since_us, at_us)
        self._lines.append(line)
        self._size += len(line)

    @property
    def is_full(self) -> bool:
        """Whether it is to be taken at once."""
        return self._size >= _MOST_BYTES

    @property
    def due_us(self) -> int | None:
        """When it is to be taken; None: it is empty."""
        return self._since_us + _LONGEST_S * 1_000_000 if self._lines else None

    def take(self) -> Batch | None:
        """All of it; None where there is nothing. Another one begins."""
        if not self._lines:
            return None
        batch = Batch(b"".join(self._lines), len(self._lines), self._since_us, self._until_us)
        self._lines, self._size = [], 0
        return batch

    def _line(self, message: Message, direction: int, at_us: int) -> str:
        to = "server" if direction == TO_SERVER else "client"
        begun = f'{{"at_us":{at_us},"to":"{to}",'
        if message.is_cut:
            text = self._texts.beginning(message.text, message.size, _LONGEST_MESSAGE).text
        elif message.kind == INVALID:
            text = self._texts.text(message.text, _LONGEST_MESSAGE).text
        else:
            text = self._texts.json(
                message.text, _LONGEST_MESSAGE, media_in(message.text, message.value)
            ).text
            if _is_json(text):  # line ends stand between values alone
                return f'{begun}"message":{text.translate(_LINE_ENDS)}}}\n'
        return f'{begun}"raw":{json.dumps(text)}}}\n'


_LINE_ENDS = {0x0A: " ", 0x0D: " "}


def _is_json(text: str) -> bool:
    """Whether every reader can read it: neither NaN, nor bytes that are no UTF-8, nor nested without end."""
    try:
        text.encode()
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
