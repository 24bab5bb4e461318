"""Hooks that do not speak any more: a line was typed, a program ran in front, and no record told of it.

A line that is typed at the prompt is told by the hooks within some milliseconds. Where they were removed in
the middle of a session nothing is told, and nothing seems to be missing. What can be seen from outside: Enter
was pressed while the shell edited a line, and then the group in front of the terminal is not the shell's. An
editor that was opened from the line being edited looks the same until its line is told, so the judgement
waits for that.

Lives here: `Silence`, `Inside`. Not here: reading keys (pump.py), what the hooks say (listener.py).
"""

from __future__ import annotations

import os
import termios
import time
from collections.abc import Callable
from typing import Protocol

_TOLD_WITHIN_S = 1.0  # a hook speaks at once; a busy machine has this long
_ENTER = (b"\r", b"\n")


class Inside(Protocol):
    """What is seen of the terminal inside."""

    def is_shell_in_front(self) -> bool:
        """Whether the shell itself has the terminal, and no program that it started."""

    def is_editing(self) -> bool:
        """Whether it takes single keys: at the prompt, and in the few builtins that edit a line."""


class Terminal:
    """The terminal inside, by its other end; one that is gone has nothing in front."""

    __slots__ = ("_fd", "_shell")

    def __init__(self, fd: int, shell: int):
        """`shell`: the process, which leads its group."""
        self._fd = fd
        self._shell = shell

    def is_shell_in_front(self) -> bool:
        """Also when nobody is."""
        try:
            return os.tcgetpgrp(self._fd) in (self._shell, 0)
        except OSError:
            return True

    def is_editing(self) -> bool:
        """As the line editors of all shells switch it."""
        try:
            return not termios.tcgetattr(self._fd)[3] & termios.ICANON
        except termios.error:
            return False


class Silence:
    """Watches one shell on a terminal. All methods belong to the thread that moves the bytes.

    `n_told()`: how many records of its hooks came so far.
    """

    __slots__ = (
        "_asked",
        "_at_enter",
        "_has_entered",
        "_has_text",
        "_inside",
        "_is_alone",
        "_n_told",
        "due_at",
        "since_us",
    )

    def __init__(self, inside: Inside, n_told: Callable[[], int]):
        self._inside = inside
        self._n_told = n_told
        self._asked: int | None = None  # records told when Enter was pressed; None: nothing is awaited
        self._is_alone = False  # something runs in front of which nothing was told
        self._has_text = False  # something was typed since the last Enter
        self._has_entered = False  # Enter at the prompt was the last key, behind something
        self._at_enter = 0  # records told then
        self.since_us: int | None = None  # the hooks are silent since then; None: they speak
        self.due_at = 0.0  # on the monotonic clock, when `look` is to be called; 0: not at all

    def typing(self, keys: bytes) -> None:
        """Keys are about to go to the shell."""
        inside = self._inside
        is_enter = keys.endswith(_ENTER)
        is_line = is_enter and (self._has_text or keys.strip(b"\r\n \t") != b"")  # an empty one is not told
        self._has_text = not is_enter and (self._has_text or keys.strip(b" \t") != b"")
        self._has_entered = is_line and inside.is_editing() and inside.is_shell_in_front()
        if self._has_entered:
            self._at_enter = self._n_told()
            # Before its hooks are there, nobody tells what runs.
            if self._at_enter and not self._is_alone and self.since_us is None:
                self._asked = self._at_enter
                self.due_at = time.monotonic() + _TOLD_WITHIN_S

    def look(self) -> None:
        """Has a record come? Is something in front? To be called when it is due."""
        if self._asked is None or self._n_told() != self._asked:
            return self._forget()
        if not self._inside.is_shell_in_front():
            self._is_alone = True
            self.due_at = time.monotonic() + _TOLD_WITHIN_S
            return None
        if self._is_alone:
            self._note()
        return self._forget()

    def ended(self, *, by_itself: bool) -> None:
        """The shell has ended, and all that its hooks wrote has been read.

        A shell that ended by itself just after Enter was pressed was told to: that is a command too.
        """
        is_untold = 0 < self._at_enter == self._n_told()
        if self.since_us is None and is_untold and (self._is_alone or (by_itself and self._has_entered)):
            self._note()

    def _note(self) -> None:
        self.since_us = time.time_ns() // 1_000

    def _forget(self) -> None:
        self._asked, self._is_alone, self.due_at = None, False, 0.0
