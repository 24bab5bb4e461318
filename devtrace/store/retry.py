"""When to try again what failed: at once, then later each time, and never too late.

A full disk stays full for a while, and each try reads a part of the spool again: a try at every prompt, five
a second while nothing happens, would cost more than what is recorded.

Lives here: `Retry`. Not here: what is tried (pipeline.py, services/recording.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_S = 0.1  # after the second failure in a row; the first may have been a moment's
LONGEST_S = 5.0  # so that what was repaired is found to be


class Retry:
    """One thing that fails and may work again."""

    __slots__ = ("_clock", "_due", "_failures")

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._failures = 0
        self._due = 0.0

    def is_due(self) -> bool:
        """Whether it is time for a try."""
        return not self._failures or self._clock() >= self._due

    def failed(self) -> None:
        """It was tried in vain: the next pause is twice as long."""
        pause = FIRST_S * 2 ** min(self._failures - 1, 16) if self._failures else 0.0
        self._failures += 1
        self._due = self._clock() + min(pause, LONGEST_S)

    def begin_anew(self) -> None:
        """It worked, or there will be no later try: the next one is due."""
        self._failures = 0
