"""A recorded program as a reader sees it: what it was and what was left out, then its calls as a tree.

    main(path='a.csv') -> 12                               app.py:40    2.1s
      load(path='a.csv') -> [Row(1), Row(2), … +998]       app.py:12    1.9s
        ✗ raised ValueError: no such column                app.py:15
        parse, 996 more                                              1.2s

Lives here: the head and the tree. Not here: lines (trace_lines.py), values (values.py), which calls those are
(query/trace_calls.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from devtrace.query.trace_calls import Call, Tree
from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.layout import Across, Cells, Column, lay_out
from devtrace.views.safe import first_line, safe
from devtrace.views.timeline import Reader, mark
from devtrace.views.values import value_text

Row = dict[str, Any]
FunctionOf = Callable[[int], Row]

_LABEL = 12
_INDENT = 2
_DEEPEST = 20  # levels that are indented; a deeper one says its number
_MOST_ARGUMENTS = 8
_ARGUMENT = 40  # characters of one
_RAISED = 3  # exceptions of one call that have a line
_CHILDREN = 8  # processes that are named
_COLUMNS = (
    Column(flex=True),  # what
    Column(drop=1),  # where
    Column(right=True),  # how long
)
_NOT_ENDED = {"open": " … at work when the record ends", "lost": " … its end was not seen"}
_GAPS = {
    "trace_full": "the trace had come to its limit: DEVTRACE_RECORD_TRACE_MB sets another",
    "disk_full": "the disk was full",
    "recorder_failed": "the recorder failed and let go of the program",
    "damaged_block": "a part of the records was damaged",
    "tracer_lost": "another tool took sys.settrace, or the stack was at its end: no more was seen",
    "late_segment": "a file of the recorder came after the end, and was put into spool/unfit",
    "io_held_back": "what it printed last was held back for a look at secrets, and was lost with it",
    "io_after_end": "what it had started printed on after its end: that is not here",
    "segments_removed": "files of the recorder were removed before they were taken in",
}
# What the recorder counts (recorder/metrics.py) in people's words; a reason may go on behind a dot.
_SKIPPED = {
    "filter_scope_skip": ("function that the filters skip", "functions that the filters skip"),
    "synthetic_filename": ("function without a source file", "functions without a source file"),
    "filename_lookup_failed": ("function of an unknown file", "functions of unknown files"),
    "filter_resolution_error": (
        "function that no filter could judge",
        "functions that no filter could judge",
    ),
    "filter_value_redacted": ("value hidden by a filter", "values hidden by a filter"),
    "filter_value_dropped": ("value dropped by a filter", "values dropped by a filter"),
    "io_chunk_lost": (
        "piece of output that found no room",
        "pieces of output that found no room",
    ),
    "io_stream_replaced": (
        "standard stream that the program replaced",
        "standard streams that the program replaced",
    ),
    "io_read_without_echo": ("line typed without echo", "lines typed without echo"),
    "log_line_lost": ("line of the recorder's log", "lines of the recorder's log"),
}
_BUILTIN = "builtin-default"
_NOT_YOURS = (
    "function of the standard library or packages",
    "functions of the standard library and packages",
)


def span(ns: int | None) -> str:
    """`640ns`, `12µs`, `2.3ms`, `120ms`, `1.2s`; nothing for what has no known end."""
    if ns is None:
        return ""
    if ns < 1_000:
        return f"{max(ns, 0)}ns"
    if ns < 999_500:
        return f"{round(ns / 1e3)}µs"
    return f"{ns / 1e6:.1f}ms" if ns < 9_950_000 else words.duration(ns // 1_000)


def place(path: str, line: int, root: str = "") -> str:
    """`app.py:12`: seen from a directory if it is below that, else the file's name alone."""
    shown = (
        words.place(path, root) if root and path.startswith(root.rstrip("/") + "/") else PurePath(path).name
    )
    return safe(f"{shown}:{line}" if line else shown)


# --- the head ---


def head_lines(head: Row, command: Row | None, short: Mapping[str, str], reader: Reader) -> list[Line]:
    """What it was, how it ended, how much was recorded. `command`: the event that started it."""
    rows: list[tuple[str, Line]] = [
        ("trace", [(short.get(head["session"], head["session"]), "id"), ("  ", ""), *_title(head)]),
        ("where", _where(head, reader)),
        ("when", _when(head, reader)),
        ("ended", _ended(head)),
    ]
    if command is not None:
        line: Line = [(first_line(command["title"].removeprefix("$ ")), "")]
        rows.append(("command", [*line, (f"  {short.get(command['id'], command['id'])}", "id")]))
    if head["event"] is not None:
        rows.append(("recorded", _counts(head)))
    rows += _printed(head, short)
    rows += _left_out(head)
    rows += [
        ("inside" if at == 0 else "", _child(child, short))
        for at, child in enumerate(head["children"][:_CHILDREN])
    ]
    if len(head["children"]) > _CHILDREN:
        rows.append(("", [(f"... and {len(head['children']) - _CHILDREN} more", "dim")]))
    return [[(label.ljust(_LABEL), "dim"), *line] for label, line in rows]


def _title(head: Row) -> Line:
    return [(first_line(head["title"] or "python " + " ".join(head["argv"] or ())), "title")]


def _where(head: Row, reader: Reader) -> Line:
    line: Line = [(safe(words.place(head["cwd"] or "?", None, reader.home)), "")]
    if head["python"]:
        line.append((f", python {safe(head['python'])}", ""))
    if head["executable"]:
        line.append((f" ({safe(words.place(head['executable'], None, reader.home))})", "dim"))
    if head["pid"] is not None:
        line.append((f", process {head['pid']}", "dim"))
    return line


def _when(head: Row, reader: Reader) -> Line:
    start = head["started_us"]
    line: Line = [(f"{words.day(start)} {words.clock(start)}", "")]
    if head["status"] == "running":
        return [*line, (", for ", "dim"), (words.duration(reader.now_us - start), "running")]
    if head["duration_us"] is not None:
        line += [(", took ", "dim"), (words.duration(head["duration_us"]), "")]
    return line


def _ended(head: Row) -> Line:
    if head["event"] is None:
        return [("not known: what was recorded of it was pruned", "warning")]
    if head["status"] == "running":
        return [("not yet: it is still running", "running")]
    if head["exit_code"] is not None:
        return [(f"exit {head['exit_code']}", "failed" if head["exit_code"] else "good")]
    label = {
        "<exit>": "the recording was stopped; the program's exit status is not known",
        "<disabled>": "the recorder failed and let the program go on",
        "<failure>": "the recorder failed",
    }.get(head["label"] or "")
    if label is not None:
        return [(label, "warning" if head["label"] != "<exit>" else "dim")]
    return [("without a word: os._exit, a signal, or a crash; all up to there was kept", "warning")]


def _counts(head: Row) -> Line:
    line: Line = [(words.count(head["n_events"], "event"), "")]
    line += [(", ", "dim"), (words.count(head["n_calls"], "call"), "")]
    if head["n_exceptions"]:
        line += [(", ", "dim"), (words.count(head["n_exceptions"], "exception"), "failed")]
    line += [(", ", "dim"), (words.count(head["n_threads"], "thread"), "")]
    if head["engine"]:
        line.append((f"; by {safe(head['engine'])}", "dim"))
    if head["detail"] and head["detail"] != "values":
        line.append((f", {safe(head['detail'])} only", "warning"))
    return line


def _printed(head: Row, short: Mapping[str, str]) -> list[tuple[str, Line]]:
    """`3 lines to stdout, 1 line to stderr, 2 lines read`, and what never reached its descriptor."""
    io = head["io"]
    if not io:
        return []
    told: Line = [(", ".join(_amount(channel, one) for channel, one in io.items()), "")]
    below = sum(one["mirror"] for one in io.values())
    if below:
        told.append((f", {words.size(below)} of it from below Python", ""))
    told.append((f"; see show {short.get(head['session'], head['session'])} --io", "dim"))
    lost: list[Line] = [
        [(f"{words.size(one['unflushed'])} to {channel} never flushed: it did not get there", "warning")]
        for channel, one in io.items()
        if one["unflushed"]
    ]
    return [("printed" if at == 0 else "", line) for at, line in enumerate([told, *lost])]


def _amount(channel: str, told: Row) -> str:
    count = words.count(told["lines"], "line")
    return f"{count} read" if channel == "stdin" else f"{count} to {channel}"


def _left_out(head: Row) -> list[tuple[str, Line]]:
    found: list[Line] = [
        [(" GAP ", "gap"), (f" {_GAPS.get(gap, safe(gap))}", "warning")] for gap in head["gaps"]
    ]
    if head["n_folded"]:
        found.append([(f"{words.count(head['n_folded'], 'line')} of loops: counted, and not kept", "")])
    metrics = head["metrics"] or {}
    filters = _filters(head)
    skipped = _skipped(metrics.get("dropped_events"), is_builtin=filters == [_BUILTIN])
    if skipped:
        by = "" if filters in ([], [_BUILTIN]) else f"; the filters are {', '.join(filters)}"
        found.append([(skipped + by, "")])
    for name, noun in (("detaches", "let go"), ("panics", "failed inside")):
        told = _numbers(metrics.get(name))
        if told:
            found.append([(f"{noun}: {told}", "warning")])
    return [("left out" if at == 0 else "", line) for at, line in enumerate(found)]


def _numbers(counts: Any) -> str:
    if not isinstance(counts, dict):
        return ""
    return ", ".join(
        f"{safe(str(name))} {count:,}" for name, count in counts.items() if isinstance(count, int) and count
    )


def _skipped(counts: Any, *, is_builtin: bool) -> str:
    """What was left out and how often; `is_builtin`: no filter of the user's had a say."""
    found: dict[tuple[str, str], int] = {}
    for reason, count in counts.items() if isinstance(counts, dict) else ():
        if isinstance(count, int) and count > 0:
            unknown = (safe(str(reason)), safe(str(reason)))
            nouns = _SKIPPED.get(str(reason).partition(".")[0], unknown)
            nouns = _NOT_YOURS if is_builtin and reason == "filter_scope_skip" else nouns
            found[nouns] = found.get(nouns, 0) + count
    return ", ".join(words.count(count, *nouns) for nouns, count in found.items())


def _filters(head: Row) -> list[str]:
    filters = (head["trace_filter"] or {}).get("filters")
    return [safe(str(one.get("name"))) for one in filters or () if isinstance(one, dict)]


def _child(child: Row, short: Mapping[str, str]) -> Line:
    line: Line = [(first_line(child["title"]) or "python", "")]
    return [*line, (f"  {short.get(child['session'], child['session'])}", "id")]


# --- the tree ---


def tree_lines(
    tree: Tree, threads: Mapping[int, str], function: FunctionOf, reader: Reader, root: str = ""
) -> list[Line]:
    """A line for each call, exception and fold. `threads`: labels; `root`: what paths are seen from."""
    draw = _Drawing(function, root)
    rows: list[Cells | Across] = []
    several = len([stream for stream, calls in tree.top.items() if calls]) > 1
    for stream, calls in tree.top.items():
        if not calls and not tree.raised.get(stream):
            continue
        if several:
            rows.append(Across([(f"  thread {safe(threads.get(stream, str(stream)))}", "title")]))
        rows += draw.calls(calls, 0)
        rows += [draw.raised(row, 0) for row in tree.raised.get(stream, ())[:_RAISED]]
        if tree.hidden.get(stream):
            rows.append(draw.note(f"… {words.count(tree.hidden[stream], 'more call')}", 0))
    return lay_out(_COLUMNS, rows, reader.width, _INDENT)


class _Drawing:
    """Rows of calls, without recursion: a tree may be deeper than Python's stack."""

    def __init__(self, function: FunctionOf, root: str):
        self._function = function
        self._root = root

    def calls(self, calls: Sequence[Call], level: int) -> list[Cells]:
        rows: list[Cells] = []
        waiting: list[Callable[[], list[Any]]] = []
        waiting += reversed(self._group(calls, "", level))
        while waiting:
            step = waiting.pop()()
            for one in step:
                if isinstance(one, Cells):
                    rows.append(one)
            waiting += reversed([one for one in step if not isinstance(one, Cells)])
        return rows

    def _group(self, calls: Iterable[Call], task: str, level: int) -> list[Callable[[], list[Any]]]:
        """The calls of the same task as they are, those of another below a line that names it."""
        steps: list[Callable[[], list[Any]]] = []
        others: dict[str, list[Call]] = {}
        for call in calls:
            own = call.row.get("task") or ""
            if own in ("", task):
                steps.append(lambda call=call: self._call(call, task, level))  # type: ignore[misc]
            elif own in others:
                others[own].append(call)
            else:
                others[own] = some = [call]
                steps.append(lambda own=own, some=some: self._task(own, some, level))  # type: ignore[misc]
        return steps

    def _task(self, name: str, calls: Sequence[Call], level: int) -> list[Any]:
        title = Cells([[*_blank(level), (f"task {safe(name)}", "note")], [], []])
        return [title, *self._group(calls, name, level + 1)]

    def _call(self, call: Call, task: str, level: int) -> list[Any]:
        steps: list[Any] = [self._row(call, level)]
        told = [self.raised(row, level + 1) for row in call.raised[:_RAISED]]
        if len(call.raised) > _RAISED:
            told.append(self.note(f"… {len(call.raised) - _RAISED:,} more raised", level + 1))
        told += [self._caught(row, level + 1) for row in call.caught[:_RAISED]]
        if len(call.caught) > _RAISED:
            told.append(self.note(f"… {len(call.caught) - _RAISED:,} more caught", level + 1))
        steps += self._group(call.inside, task, level + 1)
        rest = [self._more(one, level + 1) for one in call.more]
        return [*steps, lambda: [*rest, *told]]

    def _row(self, call: Call, level: int) -> Cells:
        row, function = call.row, self._function(call.row["function"])
        style = "" if call.is_asked else "dim"
        line: Line = [*_blank(level), (safe(function["name"]), style)]
        line.append((f"({_arguments(row)})" if "arguments" in row else "", "dim"))
        line += _outcome(row)
        where = place(function["path"], function["line"], self._root)
        return Cells([line, [(where, "dim")], [(span(row["duration_ns"]), style)]])

    def raised(self, row: Row, level: int) -> Cells:
        """An exception where it was raised."""
        function = self._function(row["function"])
        line: Line = [*_blank(level), ("✗ raised ", "failed"), (first_line(row["text"]), "")]
        if row["handled"] is None:
            line.append((", not caught", "warning"))
        return Cells([line, [(place(function["path"], row["line"], self._root), "dim")], []])

    def _caught(self, row: Row, level: int) -> Cells:
        return Cells([[*_blank(level), ("caught ", "good"), (first_line(row["text"]), "")], [], []])

    def _more(self, more: Row, level: int) -> Cells:
        number, function = f"{more['count']:,}", more["function"]
        if function is None:
            text = f"… {number} more {'call' if more['count'] == 1 else 'calls'}"
            return self.note(f"{text}{' below' if more['deep'] else ''}", level, more["total_ns"])
        name = safe(self._function(function)["name"])
        return self.note(
            f"{name} {words.TIMES}{number} more{' below' if more['deep'] else ''}", level, more["total_ns"]
        )

    def note(self, text: str, level: int, total_ns: int | None = None) -> Cells:
        """What has no line of its own."""
        return Cells([[*_blank(level), (text, "dim")], [], [(span(total_ns), "dim")]])


def _blank(level: int) -> Line:
    if level <= _DEEPEST:
        return [("  " * level, "")]
    return [("  " * _DEEPEST, ""), (f"⋯{level} ", "dim")]


def _arguments(row: Row) -> str:
    given = [(name, form) for name, form in row["arguments"] if not name.startswith(".")]
    shown = [f"{safe(name)}={value_text(form, _ARGUMENT)}" for name, form in given[:_MOST_ARGUMENTS]]
    return ", ".join([*shown, "…"] if len(given) > _MOST_ARGUMENTS else shown)


def _outcome(row: Row) -> Line:
    if row["how"] == "unwind":
        return [(" ✗", "failed")]
    if row["how"] in _NOT_ENDED:
        return [(_NOT_ENDED[row["how"]], "warning")]
    if row.get("result") is None:
        return []
    return [(" -> ", "dim"), (value_text(row["result"]), "")]


# --- a trace in passing ---


def trace_line(event: Row, short: Mapping[str, str]) -> Line:
    """A trace below the command that started it."""
    sign, style = mark(event)
    line: Line = [(f"{sign}  ", style), (first_line(event["title"]), "")]
    if event["ended_us"] is not None:
        line.append((f", {words.duration(event['ended_us'] - event['started_us'])}", "dim"))
    if event["data"].get("n_calls"):
        line.append((f", {words.count(event['data']['n_calls'], 'call')}", "dim"))
    return [*line, (f"  {short.get(event['session'], event['session'])}", "id")]


def call_record(session: str, thread: str, call: Call, function: FunctionOf) -> Row:
    """A call as the record `trace_call`."""
    row = call.row
    made = function(row["function"])
    return {
        "session": session,
        "stream": row["stream"],
        "thread": thread,
        "task": row.get("task") or None,
        "event": row["event"],
        "last_event": row["last_event"],
        "parent": row["parent"],
        "depth": row["depth"],
        **{name: made[name] for name in ("name", "module", "path", "line")},
        "arguments": row.get("arguments"),
        "result": row.get("result"),
        "how": row["how"],
        "started_ns": row["started_ns"],
        "duration_ns": row["duration_ns"],
        "folded": [
            {
                "name": None if one["function"] is None else function(one["function"])["name"],
                "count": one["count"],
                "total_ns": one["total_ns"],
            }
            for one in call.more
        ],
    }
