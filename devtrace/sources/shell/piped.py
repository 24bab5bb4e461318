"""What an interactive shell says to a person at a terminal, and a pipe should not hear.

A shell whose commands come by a pipe is interactive all the same, since only such a shell runs our hooks. It
complains that it has no job control, which hooks.py prevents by starting it without a stderr, and bash says
`exit` when it ends, which is taken out here.

Lives here: `PipedTrack`. Not here: the cutting itself (output.py).
"""

from __future__ import annotations

from devtrace.sources.shell.output import OutputTrack

_FAREWELLS = (b"exit\n", b"logout\n")  # bash's builtins/exit.def, untranslated and on stderr


class PipedTrack(OutputTrack):
    """An OutputTrack that drops the farewell of an interactive bash, the last line of its stderr."""

    __slots__ = ("farewell",)

    farewell: dict[int, bytes]

    def feed(self, data: bytes, stream: int = 1) -> bytes:
        """As OutputTrack.feed; a last line that reads like a farewell is kept back until more comes."""
        if not hasattr(self, "farewell"):
            self.farewell = {}
        data = self.farewell.pop(stream, b"") + data
        if stream == self.streams:
            for word in _FAREWELLS:
                if data == word or (data.endswith(word) and data[-len(word) - 1] in b"\n\x07"):
                    self.farewell[stream] = word
                    data = data[: -len(word)]
                    break
        return super().feed(data, stream) if data else b""
