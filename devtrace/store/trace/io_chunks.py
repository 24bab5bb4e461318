"""What went through the standard streams, as chunks: one for each line, or part of one, of each record.

    record of IO ── cut behind each newline ──► chunk, with the place that calls.py found for the record
    HELD, REACHED ──► what is known of bytes that got no further

Lives here: `IoChunks`, of one stream; it goes on from what `state` told. Not here: where it was (calls.py,
places.py), the table and its event (store/trace_io.py). Standard library only, and no dataclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devtrace.store.trace import records
from devtrace.store.trace.segments import HEADER_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devtrace.store.trace.calls import Place
    from devtrace.store.trace.scan import Scan
    from devtrace.store.trace.segments import Block

BYTES_BEGIN = (HEADER_WORDS + 3) * 8  # of a record of IO, behind the word 0 of a block
_ENDS = records.FLUSH | records.STEP_BOUNDARY | records.TIME_SPLIT
_KINDS = records.INPUT | records.MIRROR
_MOST_NS = 1 << 56  # more than two years: no clock of ours

# n, channel, chunk, word, start, size, flags, at_ns, event, function, line, frame, task
ChunkRow = tuple[int, str, int, int, int, int, int, int, int, int | None, int | None, int | None, str | None]


class IoChunks:
    """The chunks of one stream, block after block. What is made of them is taken by `take`.

    `held`: bytes that are kept back in the program's memory. `reached`: channel -> [clock, bytes]: what was
    written to it by then has reached its descriptor, except the last bytes.
    """

    def __init__(self, state: dict[str, Any] | None = None):
        """`state`: what `state()` of an earlier one told. Raises KeyError, TypeError, ValueError for none."""
        told = state or {}
        self.n = int(told.get("n", 0))
        self.held = int(told.get("held", 0))
        self.reached = {
            str(name): [int(clock), int(n)] for name, (clock, n) in told.get("reached", {}).items()
        }
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.rows: list[ChunkRow] = []
        self._payloads: list[bytes] = []

    def take(self) -> tuple[list[ChunkRow], bytes]:
        """The rows since the last time, and the bytes of all of them."""
        made = self.rows, b"".join(self._payloads)
        self._begin_anew()
        return made

    def state(self) -> dict[str, Any]:
        """What `IoChunks` needs to go on, as plain JSON values."""
        return {"n": self.n, "held": self.held, "reached": self.reached}

    def feed(self, scan: Scan, block: Block, placed: Iterable[Place], origin_ns: int) -> None:
        """The records of a block, each with its place, in their order."""
        for at in scan.io_told:
            self._learn(scan.words, at)
        words, raw, number = scan.words, block.raw, block.number
        row, keep, n, channels = self.rows.append, self._payloads.append, self.n, records.CHANNELS
        for at, event, function, line, frame, task in placed:
            word = words[at]
            begin = BYTES_BEGIN + at * 8
            payload = raw[begin : begin + (word >> 32)]
            if not payload:
                continue
            keep(payload)
            channel = channels[word >> 4 & 15]
            flags = word >> 8 & _KINDS
            ns = words[at + 1] - origin_ns
            if not -_MOST_NS < ns < _MOST_NS:
                ns = 0
            start, rest = 0, len(payload)
            while rest:
                size = payload.find(b"\n", start) + 1 - start
                if size > 0:
                    why = flags | records.NEWLINE
                else:
                    size, why = rest, flags | word >> 8 & _ENDS
                n += 1
                row((n, channel, number, at, start, size, why, ns, event, function, line, frame, task))
                start += size
                rest -= size
        self.n = n

    def _learn(self, words: memoryview, at: int) -> None:
        what, size = words[at] >> 4 & 15, words[at] >> 16
        if what == records.HELD:
            self.held = size
            return
        channel = records.CHANNELS[what - records.REACHED]
        clock = words[at + 1]
        if clock < 1 << 63 and clock >= self.reached.get(channel, [0])[0]:
            self.reached[channel] = [clock, size]
