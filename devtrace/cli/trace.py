"""What `devtrace show` says of a recorded program.

Lives here: `Asked`, `show_trace`. Not here: the options (show.py), the questions (query/trace*.py), the words
(views/trace*.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from devtrace.errors import UsageError
from devtrace.query.ids import Found

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of `show` that are about traces."""

    function: str | None = None
    file: str | None = None
    thread: str | None = None
    min_ms: float | None = None
    depth: int | None = None
    lines: str | None = None
    call: int | None = None
    summary: bool = False
    exceptions: bool = False
    io: bool = False
    stream: str | None = None  # of --io
    raw: bool = False

    @property
    def is_any(self) -> bool:
        """Whether one was given."""
        return any(getattr(self, one.name) != one.default for one in fields(self))

    def check(self) -> None:
        """Raises UsageError ERR_USAGE for options that contradict each other, ERR_FILTER for numbers."""
        if (self.call is not None or self.summary) and self.lines is None:
            raise UsageError(
                "--call and --all belong to --lines", code="ERR_USAGE", hint="name a function with --lines"
            )
        if (self.lines is not None) + self.exceptions + self.io > 1:
            raise UsageError("--lines, --exceptions or --io, not several", code="ERR_USAGE", hint="ask twice")
        self._check_io()
        if any(number is not None and number < 1 for number in (self.call, self.depth)):
            raise UsageError("--call and --depth count from 1", code="ERR_FILTER", hint="see `show --help`")

    def _check_io(self) -> None:
        if (self.stream is not None or self.raw) and not self.io:
            raise UsageError("--stream and --raw belong to --io", code="ERR_USAGE", hint="see `show --help`")
        if self.io and (self.min_ms is not None or self.depth is not None):
            raise UsageError(
                "--min-ms and --depth are about calls, not about what was printed",
                code="ERR_USAGE",
                hint="--function, --file and --thread narrow --io",
            )


def newest_trace(db: sqlite3.Connection) -> Found:
    """The trace that began last. Raises UsageError ERR_NO_SESSION."""
    row = db.execute(
        "SELECT id FROM sessions WHERE kind = 'recorder' ORDER BY started_us DESC, id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise UsageError(
            "no program was recorded here yet",
            code="ERR_NO_SESSION",
            hint="record one: devtrace record app.py",
        )
    return Found(str(row[0]))


def no_trace(identity: str | None) -> UsageError:
    """For an option that asks of a trace what is none."""
    return UsageError(
        f"{identity or 'that'} is no recorded program",
        code="ERR_USAGE",
        hint="`devtrace log --kind python_trace` lists them",
    )


def show_trace(db: sqlite3.Connection, session: str, asked: Asked, *, limit: int | None, json: bool) -> None:
    """Answer on stdout."""
    from devtrace.query.traces import Trace

    trace = Trace(db, session)
    if asked.lines is not None and asked.summary:
        _show_hits(trace, asked, json=json)
    elif asked.lines is not None:
        _show_lines(trace, asked, limit=limit, json=json)
    elif asked.io:
        from devtrace.cli.trace_io import show_io

        show_io(trace, asked, limit=limit, json=json)
    elif asked.exceptions:
        _show_exceptions(trace, asked, limit=limit, json=json)
    else:
        _show_tree(trace, asked, limit=limit, json=json)


def _show_tree(trace: Any, asked: Asked, *, limit: int | None, json: bool) -> None:
    from devtrace.cli import reading
    from devtrace.query.ids import short
    from devtrace.query.trace_calls import Wanted, tree
    from devtrace.query.trace_io import totals
    from devtrace.query.trace_values import with_values
    from devtrace.views import console
    from devtrace.views.trace import head_lines, tree_lines

    wanted = Wanted(
        function=asked.function,
        file=asked.file,
        thread=asked.thread,
        min_ms=asked.min_ms,
        depth=asked.depth,
        limit=limit,
    )
    head, found = trace.head() | {"io": totals(trace)}, tree(trace, wanted)
    if head["detail"] in (None, "values"):
        with_values(trace, [call.row for call in found.each()])
    if json:
        reading.answer(_tree_records(trace, head, found))
        return
    screen = console.make_console()
    command = _command(trace.db, head["parent"])
    named = [child["session"] for child in head["children"]]
    ids = short(trace.db, [trace.session, *named, *([command["id"]] if command else [])])
    lines = head_lines(head, command, ids, reading.reader(screen))
    labels = {one.stream: one.label for one in trace.threads.values()}
    calls = tree_lines(found, labels, trace.function, reading.reader(screen), head["cwd"] or "")
    console.paint(screen, [*lines, *([[], *calls] if calls else [])])


def _tree_records(trace: Any, head: Row, found: Any) -> Iterator[str]:
    from devtrace.views import jsonl
    from devtrace.views.trace import call_record

    yield jsonl.line("trace", head)
    labels = {one.stream: one.label for one in trace.threads.values()}
    for call in found.each():
        thread = labels.get(call.row["stream"], "")
        yield jsonl.line("trace_call", call_record(trace.session, thread, call, trace.function))


def _command(db: sqlite3.Connection, parent: str | None) -> Row | None:
    """The event that started a program; None: it is not known, or was pruned."""
    from devtrace.query.events import get_event

    session, _, event = (parent or "").partition("/")
    try:
        return get_event(db, session, event) if event else None
    except UsageError:
        return None


def _show_lines(trace: Any, asked: Asked, *, limit: int | None, json: bool) -> None:
    from devtrace.cli import reading
    from devtrace.query.trace_lines import call_of, functions_at
    from devtrace.query.trace_source import source_of
    from devtrace.views import console, jsonl
    from devtrace.views.trace_lines import call_lines, step_record
    from devtrace.workspace import find

    assert asked.lines is not None
    functions = functions_at(trace, asked.lines)
    told = call_of(trace, functions, asked.call or 1, thread=asked.thread, limit=limit)
    if json:
        head = {name: value for name, value in told.items() if name != "steps"}
        reading.answer([jsonl.line("trace_frame", head)])
        reading.answer(
            jsonl.line("trace_line", step_record(trace.session, told, one)) for one in told["steps"]
        )
        return
    source = source_of(trace.db, find(), told["path"], trace.head()["started_us"])
    screen = console.make_console()
    console.paint(screen, call_lines(told, source, trace.head()["cwd"] or "", reading.reader(screen)))


def _show_hits(trace: Any, asked: Asked, *, json: bool) -> None:
    from devtrace.cli import reading
    from devtrace.query.trace_lines import functions_at, hits
    from devtrace.query.trace_source import source_of
    from devtrace.views import console, jsonl
    from devtrace.views.trace_lines import hit_lines
    from devtrace.workspace import find

    assert asked.lines is not None
    found = hits(trace, functions_at(trace, asked.lines), asked.thread)
    if json:
        reading.answer(
            jsonl.line("trace_hit", {"session": trace.session, **function, "line": line, "hits": count})
            for function, lines in found
            for line, count in sorted(lines.items())
        )
        return
    screen = console.make_console()
    for function, lines in found:
        source = source_of(trace.db, find(), function["path"], trace.head()["started_us"])
        console.paint(screen, hit_lines(function, lines, source, trace.head()["cwd"] or ""))


def _show_exceptions(trace: Any, asked: Asked, *, limit: int | None, json: bool) -> None:
    from devtrace.cli import reading
    from devtrace.cli.border import say
    from devtrace.query.trace_exceptions import raised
    from devtrace.views import console, jsonl
    from devtrace.views.trace_lines import exception_lines

    found = raised(trace, function=asked.function, file=asked.file, thread=asked.thread, limit=limit)
    if json:
        reading.answer(jsonl.line("trace_exception", one) for one in found)
        return
    if not found:
        say("No exception was raised in what was recorded.")
        return
    screen = console.make_console()
    head = trace.head()
    hidden = head["n_exceptions"] - len(found) if asked == Asked(exceptions=True) else 0
    console.paint(screen, exception_lines(found, head["cwd"] or "", max(hidden, 0)))
