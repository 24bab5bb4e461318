"""Terminal modes a program has switched on, and how to switch them off for it when it cannot any more.

A killed editor leaves the alternate screen, mouse reports, bracketed paste and a hidden cursor behind.
What passed by on its way to the terminal tells which of them are open: a set of bits, small enough to be
sent to the watchdog at each change.

Lives here: the modes, the scanner that follows them, the sequences that close and open them again.
Not here: who writes those sequences, and when (terminal.py, watchdog.py).
Sources of the sequences: xterm's "Control Sequences" (DECSET, DECRST, DECKPAM, RIS, DECSTR) and
https://sw.kovidgoyal.net/kitty/keyboard-protocol/ .
"""

from __future__ import annotations

import re

# One bit a DEC private mode, in the order in which they are closed: the alternate screen after all that is
# kept per screen, the cursor last.
_PRIVATE = (1000, 1002, 1003, 1005, 1006, 1015, 1004, 2004, 1, 47, 1047, 1049, 25)
_BIT = {number: 1 << index for index, number in enumerate(_PRIVATE)}
_INVERTED = 25  # the cursor is what is on by default: "open" means hidden
KEYPAD = 1 << len(_PRIVATE)
_KITTY_SHIFT = len(_PRIVATE) + 1
_KITTY_FLAGS = 0b11111  # the protocol has five flags
_KITTY_STACK = 8
KITTY_KEYBOARD = _KITTY_FLAGS << _KITTY_SHIFT

BRACKETED_PASTE = _BIT[2004]
ALTERNATE_SCREEN = _BIT[47] | _BIT[1047] | _BIT[1049]
ALTERNATE_SCREEN_MODES = frozenset((b"47", b"1047", b"1049"))
HIDDEN_CURSOR = _BIT[25]

_SEQUENCE = re.compile(
    rb"\x1b(?:\[\?([0-9;]{1,40})([hl])|\[([<>=])([0-9;]{0,20})u|([=>c])|\[(!)p)",
)
_UNFINISHED = re.compile(rb"\x1b(?:\[(?:[?<>=!][0-9;]{0,40})?)?\Z")
_LONGEST = 44


class ModeScanner:
    """Follows a stream of terminal output; `open` is the set of bits of the modes that are on."""

    __slots__ = ("_carry", "_kitty", "open")

    def __init__(self) -> None:
        self.open = 0
        self._carry = b""
        self._kitty: list[int] = []

    def feed(self, data: bytes) -> None:
        """Take in the next bytes; a sequence cut in two is understood when its rest arrives."""
        if self._carry:
            data = self._carry + data
            self._carry = b""
        elif b"\x1b" not in data:
            return
        for found in _SEQUENCE.finditer(data):
            self._heed(*found.groups())
        last = data.rfind(b"\x1b", -_LONGEST)
        if last >= 0 and _UNFINISHED.match(data, last):
            self._carry = data[last:]

    def _heed(
        self,
        numbers: bytes | None,
        switch: bytes | None,
        kitty: bytes | None,
        kitty_numbers: bytes | None,
        single: bytes | None,
        soft_reset: bytes | None,
    ) -> None:
        if numbers is not None:
            for number in numbers.split(b";"):
                self._switch(int(number or b"0"), switch == b"h")
        elif kitty is not None:
            self._keyboard(kitty, kitty_numbers or b"")
        elif single == b"c":
            self.open = 0
            self._kitty.clear()
        elif single is not None:
            self.open = self.open | KEYPAD if single == b"=" else self.open & ~KEYPAD
        elif soft_reset:
            self.open &= ~(_BIT[1] | HIDDEN_CURSOR | KEYPAD)

    def _switch(self, number: int, on: bool) -> None:
        bit = _BIT.get(number, 0)
        if bit and on != (number == _INVERTED):
            self.open |= bit
        elif bit in (_BIT[47], _BIT[1047], _BIT[1049]):
            self.open &= ~ALTERNATE_SCREEN  # programs leave it by another of its numbers than they entered by
        else:
            self.open &= ~bit

    def _keyboard(self, what: bytes, numbers: bytes) -> None:
        number = int(numbers.split(b";")[0] or b"0")
        if what == b">":
            self._kitty = [*self._kitty[1 - _KITTY_STACK :], number & _KITTY_FLAGS]
        elif what == b"<":
            del self._kitty[-max(1, number) :]
        else:
            self._kitty[-1:] = [number & _KITTY_FLAGS]
        top = self._kitty[-1] if self._kitty else 0
        self.open = self.open & ~KITTY_KEYBOARD | top << _KITTY_SHIFT


def closing(modes: int) -> bytes:
    """What to write to a terminal to end the modes of the set; b"" for the empty set."""
    if not modes:
        return b""
    parts = [b"\x1b[<9u\x1b[=0u"] if modes & KITTY_KEYBOARD else []
    parts += [b"\x1b>"] if modes & KEYPAD else []
    parts += [_spell(number, number == _INVERTED) for number in _PRIVATE if modes & _BIT[number]]
    return b"".join(parts)


def opening(modes: int) -> bytes:
    """What to write to a terminal to begin the modes of the set again, after a suspension."""
    parts = [_spell(number, number != _INVERTED) for number in reversed(_PRIVATE) if modes & _BIT[number]]
    parts += [b"\x1b="] if modes & KEYPAD else []
    parts += [b"\x1b[>%du" % (modes >> _KITTY_SHIFT)] if modes & KITTY_KEYBOARD else []
    return b"".join(parts)


def _spell(number: int, on: bool) -> bytes:
    return b"\x1b[?%d%s" % (number, b"h" if on else b"l")
