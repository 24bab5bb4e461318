r"""Terminal output cut into text, control characters and escape sequences.

The grammar is ECMA-48 (5th edition, sections 5.3 to 5.6) as xterm reads it: CSI ends at a byte 0x40-0x7e,
OSC at BEL or ST, the other strings (DCS, SOS, PM, APC) at ST; CAN and SUB abort. Sequences may be split
anywhere, so what is not whole yet is kept for the next piece.

Lives here: `Splitter`. Not here: what becomes of the tokens (output.py, export/asciicast.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

TEXT, CONTROL, CSI, OSC, STRING, ESCAPE = "text", "control", "csi", "osc", "string", "escape"

_LONGEST = 1 << 16  # an unfinished sequence longer than this is no sequence: it is dropped
_TEXT = re.compile("[^\x00-\x1f\x7f-\x9f]+")
_CSI = re.compile("(?:\x1b\\[|\x9b)[\x20-\x3f]*([\x40-\x7e])")
_CSI_OPEN = re.compile("(?:\x1b\\[|\x9b)[\x20-\x3f]*")
_STRING_OPEN = re.compile("\x1b[\\]PX^_]|[\x90\x98\x9d\x9e\x9f]")
_STRING = re.compile("[^\x07\x18\x1a\x1b\x9c]*(?:\x07|\x9c|\x1b\\\\|(?=[\x18\x1a\x1b]))")
_ESCAPE = re.compile("\x1b[\x20-\x2f]*[\x30-\x7e]")
_ESCAPE_OPEN = re.compile("\x1b[\x20-\x2f]*")


class Token(NamedTuple):
    """`kind` is one of the constants above; `text` is the token as it was written."""

    kind: str
    text: str


class Splitter:
    """`feed` text, get whole tokens; `rest` is what waits for more."""

    def __init__(self) -> None:
        self.rest = ""

    def feed(self, text: str) -> Iterator[Token]:
        """The tokens that are whole now. Joined, they and `rest` are what was fed."""
        text, self.rest = self.rest + text, ""
        at = 0
        while at < len(text):
            token = _token(text, at)
            if token is None:
                self.rest = text[at:] if len(text) - at <= _LONGEST else ""
                return
            at += len(token.text)
            yield token


def _token(text: str, at: int) -> Token | None:
    plain = _TEXT.match(text, at)
    if plain:
        return Token(TEXT, plain[0])
    if text[at] not in "\x1b\x90\x98\x9b\x9d\x9e\x9f":
        return Token(CONTROL, text[at])
    opening = _STRING_OPEN.match(text, at)
    if opening:
        return _string(text, at, opening)
    csi = _CSI.match(text, at)
    if csi:
        return Token(CSI, csi[0])
    unfinished = _CSI_OPEN.match(text, at)
    if unfinished:
        # A control character inside a CSI is obeyed by terminals and the sequence goes on; nobody writes
        # that on purpose, so here it ends the sequence.
        return None if unfinished.end() == len(text) else Token(ESCAPE, unfinished[0])
    escape = _ESCAPE.match(text, at)
    if escape:
        return Token(ESCAPE, escape[0])
    unfinished = _ESCAPE_OPEN.match(text, at)
    if unfinished is None:
        return Token(CONTROL, text[at])
    return None if unfinished.end() == len(text) else Token(ESCAPE, unfinished[0])


def _string(text: str, at: int, opening: re.Match[str]) -> Token | None:
    body = _STRING.match(text, opening.end())
    if body is None or (body.end() == len(text) - 1 and text[body.end()] == "\x1b"):
        return None  # not ended, or the ESC of its terminator is the last thing here
    kind = OSC if opening[0] in ("\x1b]", "\x9d") else STRING
    return Token(kind, text[at : body.end()])
