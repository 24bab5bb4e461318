"""What a program's own streams are called while what passes through them is recorded.

The streams stay the objects that they are: `isinstance(sys.stdout, LineAwareStdout)` is true of one whose
writes are recorded now, and false again when they no longer are. `ScopedMuteIoCapture` leaves out what is
written within it.

Lives here: these names. Not here: how a write is seen (io_hooks.py), what becomes of it (io_queue.py).
Standard library only: a guest imports this.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any

captured: dict[type, list[object]] = {}  # the streams that are recorded now, by what they are
n_muted = [0]  # scopes that are open, in all threads; the hooks ask the variable where there are any
_muted: ContextVar[int] = ContextVar("devtrace_muted", default=0)


class _LineAware(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return any(instance is one for one in captured.get(cls, ()))


class LineAwareStdout(metaclass=_LineAware):
    """A stream whose writes are recorded as standard output."""


class LineAwareStderr(metaclass=_LineAware):
    """A stream whose writes are recorded as standard error."""


class LineAwareStdin(metaclass=_LineAware):
    """A stream whose reads are recorded as standard input."""


class ScopedMuteIoCapture:
    """Within this block nothing that this thread, or this asyncio task, writes or reads is recorded."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens: list[Token[int]] = []

    def __enter__(self) -> ScopedMuteIoCapture:
        self._tokens.append(_muted.set(_muted.get() + 1))
        n_muted[0] += 1
        return self

    def __exit__(self, *_: Any) -> None:
        n_muted[0] -= 1
        _muted.reset(self._tokens.pop())


def is_muted() -> bool:
    """Whether the caller is within such a block."""
    return _muted.get() > 0
