"""`devtrace show TRACE --io`: what a recorded program printed and read.

Lives here: `show_io`. Not here: the options (show.py, trace.py), reading it (query/trace_io.py), the words
(views/trace_io.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from devtrace.cli import reading
from devtrace.cli.border import say
from devtrace.errors import UsageError
from devtrace.query import trace_io
from devtrace.query.trace_io import CHANNELS, Wanted
from devtrace.query.traces import Trace

if TYPE_CHECKING:
    from devtrace.cli.trace import Asked
    from devtrace.views.console import Line

Row = dict[str, Any]

_OUTPUT = ("stdout", "stderr")


def show_io(trace: Trace, asked: Asked, *, limit: int | None, json: bool) -> None:
    """Answer on stdout. Raises UsageError ERR_FILTER, ERR_USAGE, or ERR_NO_OUTPUT where nothing is kept."""
    wanted = replace(_wanted(asked), newest=limit)
    if asked.raw:
        _write_raw(trace, wanted, limit=limit, json=json)
    elif json:
        reading.answer(_records(trace, wanted))
    elif next(trace_io.chunks(trace, wanted), None) is None:
        say("Nothing that fits went through its standard streams, or that was not recorded.")
    else:
        _page(trace, wanted)
    if (trace.event or {}).get("status") == "running":
        say("The program is still running: what it prints last is here when it has ended.")


def _wanted(asked: Asked) -> Wanted:
    channels: tuple[str, ...] = CHANNELS if asked.stream is None else (asked.stream,)
    if not set(channels) <= set(CHANNELS):
        raise UsageError(
            f"there is no standard stream {asked.stream!r}",
            code="ERR_FILTER",
            hint=f"--stream is one of {', '.join(CHANNELS)}",
        )
    if asked.raw and asked.stream is None:
        channels = _OUTPUT  # what was read is no output
    return Wanted(function=asked.function, file=asked.file, thread=asked.thread, channels=channels)


def _records(trace: Trace, wanted: Wanted) -> Iterator[str]:
    from devtrace.query.trace_terminal import compare
    from devtrace.views import jsonl

    for chunk in trace_io.newest(trace_io.chunks(trace, wanted), wanted.newest):
        yield jsonl.line("trace_io", trace_io.record(trace, chunk))
    told = compare(trace) if wanted.is_all else None
    if told is not None:
        yield jsonl.line("terminal", told)


def _page(trace: Trace, wanted: Wanted) -> None:
    from devtrace.cli.pager import page
    from devtrace.query.ids import short
    from devtrace.query.trace_terminal import compare
    from devtrace.views.trace_io import Columns, io_lines, labels, terminal_lines

    threads = {one.stream: one.label for one in trace.threads.values()}
    writers = labels(trace_io.writers(trace, wanted), threads)
    columns = Columns(trace.function, trace_io.places(trace, wanted), writers, trace.head()["cwd"] or "")

    def lines() -> Iterator[Line]:
        found = trace_io.newest(trace_io.lines(trace_io.chunks(trace, wanted)), wanted.newest)
        yield from io_lines(found, columns)
        told = compare(trace) if wanted.is_all else None
        if told is not None:
            yield []
            yield from terminal_lines(told, short(trace.db, [told["event"].rpartition("/")[2]]))

    page(lines)


def _write_raw(trace: Trace, wanted: Wanted, *, limit: int | None, json: bool) -> None:
    if json or limit is not None:
        raise UsageError(
            "--raw is all of it, as bytes: no --json, no --limit", code="ERR_USAGE", hint="leave one out"
        )
    if sys.stdout.isatty():
        raise UsageError(
            "--raw is for a pipe or a file: what a program printed may act on a terminal",
            code="ERR_USAGE",
            hint="add `> FILE`, or leave --raw out",
        )
    missing = 0
    for chunk in trace_io.chunks(trace, wanted):
        if chunk.data is None:
            missing += chunk.size
        else:
            sys.stdout.buffer.write(chunk.data)
    sys.stdout.buffer.flush()
    if missing:
        raise UsageError(
            f"{missing:,} bytes of it are no longer kept",
            code="ERR_NO_OUTPUT",
            hint="they were pruned: `devtrace log --kind policy` tells when",
            context={"session": trace.session},
        )
