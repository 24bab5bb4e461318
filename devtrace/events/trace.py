"""python_trace: one Python program that was recorded, from its begin to its end.

Lives here: the shape and its one-line summary. Not here: writing a trace (recorder/), its chunks and the
tables made from them (store/traces.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devtrace.events.envelope import Body, kind, sensitive


@kind("python_trace")
@dataclass(frozen=True, slots=True, kw_only=True)
class PythonTrace(Body):
    """A recorded program. Its records are the blobs `STREAM/NUMBER`, a block of a thread's stream each."""

    argv: list[str] = sensitive()  # noqa: RUF009 - a field, not a shared value
    cwd: str | None = sensitive(default=None)  # None: not told
    executable: str = sensitive(default="")
    python: str = ""  # its version
    pid: int | None = None  # None: not told
    engine: str = ""  # monitoring, settrace
    engine_because: str = ""
    detail: str = ""  # values, lines, calls
    exit_code: int | None = None  # None: it was not told: see `label`, and the status
    label: str | None = None  # <exit>, <disabled>, <failure>: why there is no exit code; None: there is one
    duration_us: int | None = None  # None: the end was not seen
    n_events: int = 0  # lines, calls, returns and exceptions that are kept
    n_calls: int = 0
    n_exceptions: int = 0  # that were raised
    n_threads: int = 0
    n_folded: int = 0  # lines besides that a loop repeated; they were counted and not kept
    # what the recorder counted of itself
    metrics: dict[str, Any] | None = sensitive(default=None)  # noqa: RUF009 - as above
    # the filters that were in force, and how often they hid something
    trace_filter: dict[str, Any] | None = sensitive(default=None)  # noqa: RUF009 - as above
    n_io_chunks: int = 0  # lines, and parts of them, that went through the standard streams
    io_bytes: dict[str, Any] | None = None  # of stdout, stderr and stdin; None: nothing
    unflushed: dict[str, Any] | None = (
        None  # channel -> bytes that had not reached its descriptor; None: none, or not known
    )
    # what the recorder counted of the standard streams
    io: dict[str, Any] | None = sensitive(default=None)  # noqa: RUF009 - as above
    chunks: str | None = None  # SHA-256 over the rows of `trace_chunks`; None: the trace is not over
    tables: str | None = None  # the same over the rows of the other tables of the trace

    def headline(self) -> str:
        """`python app.py --fast`."""
        return " ".join(["python", *self.argv])
