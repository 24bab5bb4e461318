"""Numbers as people say them: durations, sizes, moments, counts.

Lives here: plain functions from a number to a short text, in local time.
Not here: colour and columns.
"""

from __future__ import annotations

import time
from pathlib import PurePosixPath

TIMES = "\u00d7"  # before a count: a sign that linters take for a letter
_LONGEST = 2_000  # characters of one line
_SIZES = ("B", "KB", "MB", "GB", "TB")


def duration(microseconds: int) -> str:
    """`<1ms`, `120ms`, `1.2s`, `3m04s`, `2h05m`, `3d04h`; a clock that went backwards counts as nothing."""
    if microseconds < 1000:
        return "<1ms"
    if microseconds < 999_500:
        return f"{round(microseconds / 1000)}ms"
    if microseconds < 59_950_000:
        return f"{microseconds / 1e6:.1f}s"
    seconds = round(microseconds / 1e6)
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    hours = round(seconds / 3600)
    return f"{hours // 24}d{hours % 24:02d}h"


def size(count: int) -> str:
    """`512 B`, `9.8 KB`, `12 MB`: units of 1,024."""
    number, unit = float(count), 0
    while number >= 999.5 and unit < len(_SIZES) - 1:
        number, unit = number / 1024, unit + 1
    if not unit:
        return f"{count} B"
    return f"{number:.1f} {_SIZES[unit]}" if number < 9.95 else f"{number:.0f} {_SIZES[unit]}"


def clock(microseconds: int) -> str:
    """`14:03:12`, local."""
    return time.strftime("%H:%M:%S", time.localtime(microseconds // 1_000_000))


def day(microseconds: int) -> str:
    """`Thu 21 Nov 2026`, local."""
    return time.strftime("%a %d %b %Y", time.localtime(microseconds // 1_000_000))


def stamp(microseconds: int) -> str:
    """`2026-11-21 14:03:12`, local."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(microseconds // 1_000_000))


def moment(microseconds: int) -> str:
    """`2026-11-21 14:03:12.345678 +0100`: whole, local, with its offset."""
    offset = time.strftime("%z", time.localtime(microseconds // 1_000_000))
    return f"{stamp(microseconds)}.{microseconds % 1_000_000:06d} {offset}"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 command`, `3 commands`, `1,204 commands`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def shortened(line: str) -> str:
    """A line, and of an endless one its start and how much is left out."""
    left = len(line) - _LONGEST
    return line if left <= 0 else f"{line[:_LONGEST]}… (+{count(left, 'character')})"


def place(path: str, root: str | None = None, home: str = "") -> str:
    """A directory as the reader knows it: relative to the repository (`.`), with `~`, or whole."""
    for start, sign in ((root or "", "."), (home, "~")):
        if start and start != "/" and (path == start or path.startswith(start.rstrip("/") + "/")):
            below = path[len(start.rstrip("/")) + 1 :]
            return below if below and sign == "." else str(PurePosixPath(sign, below))
    return path
