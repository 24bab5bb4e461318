"""A program's output beside what the terminal showed of the command that started it.

The terminal turns each newline into CR LF, echoes what is typed, and cannot tell who wrote: so the answer is
approximate, and nothing is made of it but the answer. Each line of the program is looked for behind the one
before it of the same channel; what no line of it covers came from elsewhere.

Lives here: `compare`. Not here: either of the two outputs (trace_io.py, output.py).
"""

from __future__ import annotations

from typing import Any

from devtrace.errors import DevTraceError
from devtrace.query.events import get_event
from devtrace.query.output import has_output, output
from devtrace.query.trace_io import Wanted, chunks
from devtrace.query.traces import Trace
from devtrace.store.trace import records
from devtrace.store.trace_io import knows_io

Row = dict[str, Any]

CONFIDENCE = "approximate"
_MOST_BYTES = 1 << 20  # of the program's
_MOST_MISSED = 1_000  # lines that are not there; each costs a look at all that is left


def compare(trace: Trace) -> Row | None:
    """The record `terminal`; None where the program printed nothing, or no terminal output is kept."""
    event = _command(trace)
    if event is None or not knows_io(trace.db):
        return None
    try:
        printed = output(trace.db, event)
    except DevTraceError:
        return None
    found = _Found(_unfolded(printed.data))
    is_whole = found.take_all(trace) and not printed.info.get("truncated")
    if not found.n_lines:
        return None
    return {
        "session": trace.session,
        "event": f"{event['session']}/{event['id']}",
        "title": event["title"],
        "confidence": CONFIDENCE,
        "n_lines": found.n_lines,
        "n_found": found.n_found,
        "n_bytes": len(found.text),
        "n_elsewhere": found.elsewhere(),
        "is_whole": is_whole,
    }


def _command(trace: Trace) -> Row | None:
    """The command that started the program, where its terminal output is kept."""
    row = trace.db.execute(
        "SELECT e.session, e.id FROM sessions s JOIN events e"
        " ON e.session = s.parent_session AND e.id = s.parent_event WHERE s.id = ?",
        (trace.session,),
    ).fetchone()
    event = get_event(trace.db, *row) if row is not None else None
    return event if event is not None and has_output(trace.db, event) else None


def _unfolded(data: bytes) -> bytes:
    """What stood there before the terminal turned newlines into CR LF."""
    return data.replace(b"\r\n", b"\n")


class _Found:
    """Where the program's lines stand in a text."""

    def __init__(self, text: bytes):
        self.text = text
        self.n_lines = 0
        self.n_found = 0
        self._at: dict[str, int] = {}  # channel -> where its last line ends
        self._spans: list[tuple[int, int]] = []

    def take_all(self, trace: Trace) -> bool:
        """Look for all lines; False where that was too much, or some are not kept."""
        now: dict[tuple[int, str], bytes] = {}
        n_bytes = 0
        for chunk in chunks(trace, Wanted(channels=("stdout", "stderr"))):
            if chunk.data is None:
                return False
            n_bytes += chunk.size
            key = chunk.stream, chunk.channel
            line = now.pop(key, b"") + chunk.data[: chunk.size - chunk.n_unflushed]
            if chunk.flags & records.NEWLINE and not chunk.n_unflushed:
                self._take(chunk.channel, line)
            elif line:
                now[key] = line
            if n_bytes > _MOST_BYTES or self.n_lines - self.n_found > _MOST_MISSED:
                return False
        for (_, channel), line in now.items():
            self._take(channel, line)
        return True

    def _take(self, channel: str, line: bytes) -> None:
        self.n_lines += 1
        at = self.text.find(line, self._at.get(channel, 0))
        if at >= 0:
            self.n_found += 1
            self._at[channel] = at + len(line)
            self._spans.append((at, at + len(line)))

    def elsewhere(self) -> int:
        """How many bytes no line of the program covers."""
        covered, end = 0, 0
        for start, stop in sorted(self._spans):
            covered += max(stop - max(start, end), 0)
            end = max(end, stop)
        return len(self.text) - covered
