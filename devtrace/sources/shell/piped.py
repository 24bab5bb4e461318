"""What an interactive shell says to a person at a terminal, and a pipe should not hear.

A shell whose commands come by a pipe is interactive all the same, since only such a shell runs our hooks. It
complains that it has no job control, which hooks.py prevents by starting it without a stderr. bash says
`exit` when it ends, and that its stderr is no terminal when a command was killed: both are taken out here.

Lives here: `PipedTrack`. Not here: the cutting itself (output.py).
"""

from __future__ import annotations

import re

from devtrace.sources.shell.output import OutputTrack

_FAREWELLS = (b"exit\n", b"logout\n")  # bash's builtins/exit.def, untranslated and on stderr
# bash's jobs.c, set_tty_state after a child that a signal ended; one write.
_TTY_STATE = re.compile(rb"(?:\A|(?<=[\n\x07]))[^\n:]*: \[\d+: \d+(?: \(\d+\))?\] tcsetattr: [^\n]*\n")


class PipedTrack(OutputTrack):
    """An OutputTrack without what an interactive bash says on stderr for want of a terminal."""

    __slots__ = ("farewell",)

    farewell: dict[int, bytes]

    def feed(self, data: bytes, stream: int = 1) -> bytes:
        """As OutputTrack.feed; a last line that reads like a farewell is kept back until more comes."""
        if not hasattr(self, "farewell"):
            self.farewell = {}
        data = self.farewell.pop(stream, b"") + data
        if stream == self.streams:
            if b"] tcsetattr: " in data:
                data = _TTY_STATE.sub(b"", data)
            for word in _FAREWELLS:
                if data == word or (data.endswith(word) and data[-len(word) - 1] in b"\n\x07"):
                    self.farewell[stream] = word
                    data = data[: -len(word)]
                    break
        return super().feed(data, stream) if data else b""
