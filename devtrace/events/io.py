"""io: what a recorded program wrote to its standard streams, and read from them, in one thread, for a while.

Lives here: the shape and its one-line summary. Not here: the chunks (the table `io_chunks`:
store/trace_io.py), the bytes, which stand in the records of the trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devtrace.events.envelope import Body, kind, sensitive


@kind("io")
@dataclass(frozen=True, slots=True, kw_only=True)
class Io(Body):
    """Chunks `first` to `last` of one thread's stream: rows of `io_chunks`, taken in at once."""

    stream: int  # of the trace
    thread: str = sensitive(default="")
    first: int  # `n` of its first chunk
    last: int  # of its last one
    n_chunks: int  # lines, and parts of lines
    bytes: dict[str, Any]  # channel -> how many
    lines: dict[str, Any]  # channel -> chunks that end with a newline
    flags: dict[str, Any]  # newline, flush, step_boundary, time_split, input, mirror -> how many chunks
    rows: str  # SHA-256 over the rows as one list of lists in canonical JSON, without what this event says
    digest: str  # the same with the bytes of all chunks behind it, one after the other

    def headline(self) -> str:
        """`printed 3 lines to stdout, 1 to stderr`; `read 1 line from stdin`."""
        printed = self._amounts("to", [name for name in ("stdout", "stderr") if name in self.bytes])
        read = self._amounts("from", [name for name in ("stdin",) if name in self.bytes])
        told = [f"{verb} {', '.join(what)}" for verb, what in (("printed", printed), ("read", read)) if what]
        return "; ".join(told) or "nothing was printed"

    def _amounts(self, way: str, channels: Sequence[str]) -> list[str]:
        """`3 lines to stdout`, `1 to stderr`; bytes where there are no lines."""
        told, before = [], ""
        for channel in channels:
            lines = _count(self.lines, channel)
            number, unit = (lines, " line") if lines else (_count(self.bytes, channel), " byte")
            word = "" if unit == before else unit + "s"[: number != 1]
            told.append(f"{number:,}{word} {way} {channel}")
            before = unit
        return told


def _count(counts: Mapping[str, Any], channel: str) -> int:
    number = counts.get(channel)
    return number if isinstance(number, int) else 0
