"""Untrusted text made fit for a terminal: what would act on it is shown as a visible escape.

A command, a path, a note or a program's output is written by whoever we record. Shown raw, an ESC could
repaint the screen, a bidi control could reorder what a reviewer reads (CVE-2021-42574), a tag character
could carry text that nobody sees. Standard library only: the error border uses it before rich is there.

Lives here: `safe`, `first_line`. Not here: whole terminal output (views/output.py).
"""

from __future__ import annotations

import re

# What never reaches a terminal from a recorded text. Joiners (U+200C, U+200D) and the variation selectors
# of emoji stay: real scripts need them, and they neither move the cursor nor reorder.
_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: on many terminals 0x9b is CSI
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # invisible, or an Arabic direction mark
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"  # bidi, separators, fillers
    "\ud800-\udfff"  # lone surrogates: bytes that were no UTF-8
    "\U0001bca0-\U0001bca3"  # shorthand controls
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # musical controls, tags, the invisible selectors
    "]"
)
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\x1b": r"\e"}


def safe(text: str, *, keep: str = "") -> str:
    r"""The text with everything that could act on a terminal as a visible escape, such as `\e` or `\u202e`.

    `keep` names the characters that may stay, such as "\n\t" where whole lines are shown.
    """
    return _UNSAFE.sub(lambda found: _shown(found[0], keep), text)


def first_line(text: str) -> str:
    """One safe line: the first that is not blank, and how many more there are."""
    return "".join(split_first_line(text))


def split_first_line(text: str) -> tuple[str, str]:
    """The first line that is not blank, safe, and ` (+3 lines)` for those behind it, or nothing."""
    lines = text.strip("\r\n").split("\n")
    start = next((number for number, line in enumerate(lines) if line.strip()), 0)
    line, more = lines[start].rstrip("\r"), len(lines) - start - 1
    return safe(line), f" (+{more} line{'s' if more > 1 else ''})" if more else ""


def _shown(character: str, keep: str) -> str:
    if character in keep:
        return character
    if character in _NAMED:
        return _NAMED[character]
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
