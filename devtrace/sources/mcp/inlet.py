"""Records of the tap as they come, and the moments in which none does.

Lives here: `records`. Not here: what stands in a record, and who writes it (tap.py). Standard library only.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator

from devtrace.sources.mcp.tap import HEADER, Record

_READ = 1 << 20
# What comes at once is taken at once: who waits for every byte takes the processor from those who work.
_GATHERING_S = 0.003


def records(fd: int, patience: Callable[[], float | None]) -> Iterator[Record | None]:
    """The records that come through a pipe, until nobody can write into it any more.

    None says that all that came was told; it comes again after `patience()` seconds without a record, which
    is asked for each time, and never where that is None. A torn record is left out.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    waiting = bytearray()
    while True:
        at = 0
        while (record := _record(waiting, at)) is not None:
            at += HEADER.size + len(record.payload)
            yield record
        del waiting[:at]
        if not poll.poll(0):
            yield None
            _wait(poll, patience)
            if not poll.poll(0):
                continue
            time.sleep(_GATHERING_S)
        data = os.read(fd, _READ)
        if not data:
            return
        waiting += data


def _wait(poll: select.poll, patience: Callable[[], float | None]) -> None:
    left = patience()
    poll.poll(None if left is None else max(1, round(left * 1000)))


def _record(waiting: bytearray, at: int) -> Record | None:
    """The whole record that begins there."""
    if len(waiting) - at < HEADER.size:
        return None
    kind, direction, channel, at_ns, length = HEADER.unpack_from(waiting, at)
    start = at + HEADER.size
    if len(waiting) - start < length:
        return None
    return Record(kind, direction, channel, at_ns, bytes(waiting[start : start + length]))
