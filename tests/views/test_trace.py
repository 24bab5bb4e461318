"""A recorded program on the screen: values, the head, the tree, lines beside their source, exceptions."""

from __future__ import annotations

import pytest

from devtrace.query.trace_calls import Call, Tree
from devtrace.query.trace_source import Source
from devtrace.store.trace.records import UNSET_VALUE
from devtrace.views.timeline import Reader
from devtrace.views.trace import head_lines, span, trace_line, tree_lines
from devtrace.views.trace_lines import call_lines, exception_lines, hit_lines
from devtrace.views.trace_search import match_lines
from devtrace.views.values import value_text

READER = Reader(now_us=2_000_000, width=None)
NARROW = Reader(now_us=2_000_000, width=60)
FUNCTION = {"name": "work", "module": "app", "path": "/shop/app.py", "line": 3, "names": [], "n_arguments": 0}


def text(lines):
    return ["".join(piece for piece, _ in line).rstrip() for line in lines]


def call(event=0, *, name=1, inside=(), more=(), raised=(), caught=(), is_asked=True, **row):
    """A call that is shown."""
    known = {
        "stream": 1, "event": event, "last_event": event + 1, "function": name, "parent": None, "depth": 0,
        "started_ns": 0, "duration_ns": 1_500_000, "how": "return", "chunk": 1, "n_folded": 0,
    }  # fmt: skip
    return Call(
        row=known | row,
        is_asked=is_asked,
        inside=list(inside),
        more=list(more),
        raised=list(raised),
        caught=list(caught),
    )


def tree(*calls, **more):
    known = {"top": {1: list(calls)}, "raised": {}, "hidden": {}}
    return Tree(**(known | more))


def drawn(found, reader=READER, threads=None):
    return text(tree_lines(found, threads or {1: "MainThread"}, lambda _: FUNCTION, reader, "/shop"))


def head(**changes):
    known = {
        "session": "ab" * 16, "event": "cd" * 8, "parent": None, "status": "ok", "title": "python app.py",
        "started_us": 1_000_000, "duration_us": 1_200_000, "exit_code": 0, "argv": ["app.py"],
        "cwd": "/shop", "executable": "/usr/bin/python3", "python": "3.12.1", "pid": 7,
        "engine": "monitoring", "engine_because": "", "detail": "values", "label": None, "metrics": None,
        "trace_filter": None, "n_events": 1_234, "n_calls": 5, "n_exceptions": 0, "n_threads": 1,
        "n_folded": 0, "gaps": [], "threads": [], "children": [], "io": {},
    }  # fmt: skip
    return text(head_lines(known | changes, None, {}, READER))


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (5, "5"),
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        ("it's", '"it\'s"'),
        (["str", 4096, "start"], "'start'… (4,096 characters)"),
        (["bytes", 2, "aGk="], "b'hi'"),
        (["bytes", 200, "aGk="], "b'hi'… (200 bytes)"),
        (["bytearray", 2, "aGk="], "bytearray(b'hi')"),
        (["int", "9007199254740993"], "9007199254740993"),
        (["int", "0xff", 4000], "0xff… (4,000 bits)"),
        (["float", "nan"], "nan"),
        (["complex", 1.0, -2.0], "(1.0-2.0j)"),
        (["list", 3, [1, 2, 3]], "[1, 2, 3]"),
        (["list", 30, [1, 2]], "[1, 2, … +28]"),
        (["list", 9, []], "[… +9]"),
        (["tuple", 1, [1]], "(1,)"),
        (["set", 0, []], "set()"),
        (["set", 1, [1]], "{1}"),
        (["frozenset", 1, [1]], "frozenset({1})"),
        (["deque", 1, [1]], "deque([1])"),
        (["dict", 2, [["a", 1], ["b", ["list", 0, []]]]], "{'a': 1, 'b': []}"),
        (["object", "app.User", 1, [["name", "ana"]]], "User(name='ana')"),
        (["exception", "app.Bad", ["no"]], "Bad('no')"),
        (["enum", "app.Color", "RED", 1], "Color.RED"),
        (["array", "numpy.ndarray", [2, 3], "<f8"], "<ndarray 2\u00d73 <f8>"),
        (["text", "decimal.Decimal", "1.10"], "Decimal('1.10')"),
        (["range", 0, 9, 1], "range(0, 9)"),
        (["range", 0, 9, 2], "range(0, 9, 2)"),
        (["type", "app.User"], "<class app.User>"),
        (["function", "app.main"], "<function app.main>"),
        (["module", "json"], "<module json>"),
        (["sub", "app.Names", ["list", 0, []]], "Names([])"),
        (["ref", 1], "<cycle>"),
        (["deep"], "…"),
        (["opaque", "app.Handle", 1], "<app.Handle>"),
        (["redacted", "name"], "<redacted>"),
        (["dropped"], "<dropped>"),
        (UNSET_VALUE, "(deleted)"),
    ],
)
def test_a_value_is_written_as_python_would(form, expected):
    assert value_text(form) == expected


@pytest.mark.parametrize("form", [[], ["list"], ["nothing", 1], ["bytes", 1, 5], {"a": 1}, ["dict", 1, [1]]])
def test_what_is_no_typed_form_is_shown_as_it_is(form):
    assert value_text(form)


def test_a_value_is_cut_and_cannot_act_on_the_terminal():
    assert value_text("x" * 100, 10) == "'xxxxxxxx…"
    for bad in ("\x1b[31m", "\u202e", "\x9b", "\n"):
        shown = value_text(["object", f"app.{bad}", 1, [[bad, bad]]])
        assert bad not in shown


def test_nesting_without_end_is_cut():
    form = 1
    for _ in range(900):
        form = ["list", 1, [form]]

    assert value_text(form, 200) == "[" * 9 + "…" + "]" * 9


# --- the head -----------------------------------------------------------------------------------------------


def test_the_head_says_what_ran_and_how_it_ended():
    lines = head()

    assert lines[0] == f"trace       {'ab' * 16}  python app.py"
    assert lines[1] == "where       /shop, python 3.12.1 (/usr/bin/python3), process 7"
    assert lines[3:] == [
        "ended       exit 0",
        "recorded    1,234 events, 5 calls, 1 thread; by monitoring",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exit_code": 3, "status": "failed"}, "ended       exit 3"),
        ({"status": "running", "exit_code": None}, "ended       not yet: it is still running"),
        ({"exit_code": None, "status": "unknown"}, "ended       without a word: os._exit, a signal"),
        ({"exit_code": None, "label": "<exit>"}, "ended       the recording was stopped"),
        ({"event": None, "exit_code": None, "status": "unknown"}, "ended       not known: what was recorded"),
        ({"n_folded": 9}, "left out    9 lines of loops"),
        ({"gaps": ["disk_full"]}, "left out     GAP  the disk was full"),
        ({"gaps": ["tracer_lost"]}, "left out     GAP  another tool took sys.settrace"),
        ({"gaps": ["late_segment"]}, "left out     GAP  a file of the recorder came after the end"),
        (
            {"metrics": {"dropped_events": {"filter_scope_skip": 1}}},
            "left out    1 function that the filters skip",
        ),
        ({"metrics": {"dropped_events": {"a_new_one": 2}}}, "left out    2 a_new_one"),
        ({"metrics": {"detaches": {"policy_disable": 1}}}, "left out    let go: policy_disable 1"),
        ({"detail": "calls"}, "recorded    1,234 events, 5 calls, 1 thread; by monitoring, calls only"),
        ({"children": [{"session": "ef" * 16, "title": "python x.py"}]}, "inside      python x.py"),
    ],
)
def test_the_head_says_what_is_out_of_the_ordinary(changes, expected):
    assert any(line.startswith(expected) for line in head(**changes))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (
            ["builtin-default"],
            "left out    45 functions of the standard library and packages, 8 functions without a source"
            " file, 5 values hidden by a filter",
        ),
        (
            ["builtin-default", "shop"],
            "left out    45 functions that the filters skip, 8 functions without a source file,"
            " 5 values hidden by a filter; the filters are builtin-default, shop",
        ),
    ],
)
def test_what_was_left_out_is_told_in_words(filters, expected):
    dropped = {
        "filter_scope_skip": 45,
        "synthetic_filename": 8,
        "filter_value_redacted.arg": 2,
        "filter_value_redacted.local": 3,
    }
    named = {"filters": [{"name": name} for name in filters]}

    assert expected in head(metrics={"dropped_events": dropped}, trace_filter=named)


# --- the tree -----------------------------------------------------------------------------------------------


def test_a_call_is_one_line_with_arguments_result_place_and_time():
    (line,) = drawn(tree(call(arguments=[["a", 1], [".0", 2]], result="x")))

    assert line.split() == ["work(a=1)", "->", "'x'", "app.py:3", "1.5ms"]


def test_what_a_call_made_stands_below_it_and_what_is_left_out_behind():
    more = [{"function": 1, "count": 1_000, "total_ns": 2_000_000_000, "deep": True}]
    inner = call(2, parent=0)

    lines = drawn(tree(call(inside=[inner], more=more)))
    assert [line.split("  app")[0].rstrip() for line in lines[:2]] == ["  work", "    work"]
    assert lines[2].split() == ["work", "\u00d71,000", "more", "below", "2.0s"]


def test_a_call_that_was_unwound_or_never_ended_says_so():
    lines = drawn(tree(call(how="unwind"), call(2, how="open", duration_ns=None), call(4, how="lost")))

    assert "work ✗" in lines[0]
    assert "at work when the record ends" in lines[1]
    assert "its end was not seen" in lines[2]


def test_exceptions_stand_below_the_call_with_their_place():
    row = {"stream": 1, "event": 1, "function": 1, "line": 5, "text": "ValueError: a\nb", "handled": None}

    lines = drawn(tree(call(raised=[row] * 5, caught=[row])))
    assert lines[1].split("  app")[0].strip() == "✗ raised ValueError: a (+1 line), not caught"
    assert lines[1].endswith("app.py:5")
    assert [line.strip() for line in lines[4:]] == ["… 2 more raised", "caught ValueError: a (+1 line)"]


def test_threads_and_tasks_stand_apart():
    found = tree(
        top={1: [call(inside=[call(2, task="Task-2"), call(4), call(6, task="Task-2")])], 2: [call(8)]}
    )

    lines = [line.split("  app")[0].strip() for line in drawn(found, threads={1: "MainThread", 2: "helper"})]
    assert lines == [
        "thread MainThread", "work", "task Task-2", "work", "work", "work", "thread helper", "work",
    ]  # fmt: skip


def test_a_tree_as_deep_as_it_likes_keeps_its_layout():
    deepest = call(10_000)
    for event in reversed(range(3_000)):
        deepest = call(event, inside=[deepest])

    lines = drawn(tree(deepest), NARROW)
    assert len(lines) == 3_001
    assert max(map(len, lines)) <= 60
    assert "⋯2999 work" in lines[-2]


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (None, ""), (0, "0ns"), (640, "640ns"), (12_300, "12µs"), (2_340_000, "2.3ms"),
        (12_300_000, "12ms"), (1_200_000_000, "1.2s"), (-5, "0ns"),
    ],
)  # fmt: skip
def test_times_have_the_unit_that_fits(ns, expected):
    assert span(ns) == expected


def test_a_trace_in_passing_has_its_end_and_its_session():
    event = {
        "kind": "python_trace", "status": "failed", "exit_code": 2, "title": "python app.py",
        "started_us": 0, "ended_us": 1_500_000, "data": {"n_calls": 7}, "session": "ab" * 16,
    }  # fmt: skip

    (line,) = text([trace_line(event, {"ab" * 16: "abababab"})])
    assert line == "✗ 2  python app.py, 1.5s, 7 calls  abababab"


# --- lines --------------------------------------------------------------------------------------------------


def frame(steps, **changes):
    known = {
        "name": "work", "path": "/shop/app.py", "line": 1, "call": 1, "calls": 2, "duration_ns": 5_000,
        "arguments": [["n", 3]], "stack": [], "how": "return", "result": None, "is_cut": False,
        "steps": [{"event": at, "line": line, "values": values, "told": []} for at, (line, values) in
                  enumerate(steps)],
    }  # fmt: skip
    return known | changes


def test_each_line_stands_beside_what_it_changed():
    source = Source(["def work(n):", "    x = n", "    return x"], "it is newer")
    told = frame([(2, [["x", 3]]), (3, [["x"]])])
    told["steps"][-1]["told"] = [["returned", 3]]

    lines = text(call_lines(told, source, "/shop", READER))
    assert lines[0] == "work  app.py:1  call 1 of 2, 5µs"
    assert lines[1:3] == ["  it is newer", "  with n = 3"]
    assert [line.split() for line in lines[3:]] == [
        ["2", "x", "=", "n", "x", "=", "3"],
        ["3", "return", "x", "del", "x", "returned", "3"],
    ]


def test_a_loop_is_shown_pass_by_pass_and_passes_alike_are_folded():
    steps = [(2, [])] + [(line, [["i", at]] if line == 3 else []) for at in range(10) for line in (3, 4)]

    lines = text(call_lines(frame(steps), Source([], ""), "/shop", READER))
    told = [line.strip() for line in lines if "pass" in line]
    assert told == ["pass 2", "pass 3", "pass 4", "… 5 more passes of the same lines", "pass 10"]
    assert lines[-2].split() == ["3", "i", "=", "9"]


def test_an_inner_loop_counts_its_passes_anew_with_each_of_the_outer_one():
    lines = [2, 3, 4, 3, 2, 3, 4, 3, 4, 3]
    told = text(call_lines(frame([(line, []) for line in lines]), Source([], ""), "/shop", READER))

    assert [line.strip() for line in told if "pass" in line] == ["pass 2", "pass 2", "pass 2", "pass 3"]


def test_a_function_that_called_itself_has_one_line_among_the_callers():
    stack = [{"name": "main", "path": "/shop/app.py", "line": 9}]
    stack += [{"name": "work", "path": "/shop/app.py", "line": 3}] * 30

    lines = text(call_lines(frame([], stack=stack), Source([], ""), "/shop", READER))
    assert lines[1:3] == ["  in work  app.py:3 \u00d730", "  in main  app.py:9"]


def test_hits_show_the_lines_that_never_ran_too():
    function = {"name": "work", "path": "/shop/app.py", "first": 1, "n_calls": 2}
    source = Source(["def work():", "    if x:", "        never()", "    return 1"], "")

    lines = text(hit_lines(function, {2: 2, 4: 2}, source, "/shop"))
    assert [line.split() for line in lines[1:]] == [
        ["2", "2", "if", "x:"],
        ["3", "never()"],
        ["2", "4", "return", "1"],
    ]


def test_source_cannot_act_on_the_terminal():
    lines = text(call_lines(frame([(1, [])]), Source(["x = '\x1b]0;hi\x07'"], ""), "/shop", READER))

    assert not any("\x1b" in line or "\x07" in line for line in lines)


# --- exceptions and matches ---------------------------------------------------------------------------------


def test_an_exception_has_its_place_its_catcher_and_its_variables():
    found = {
        "type": "ValueError", "message": "no", "name": "work", "path": "/shop/app.py", "line": 3,
        "stack": [], "caught": None, "variables": [["n", 1]], "is_whole": False,
    }  # fmt: skip
    lines = text(exception_lines([found, found | {"variables": None}], "/shop", 3))

    assert lines[:5] == [
        "✗ ValueError: no", "  raised in work app.py:3", "  not caught by anything recorded", "    n = 1",
        "    and what was set long before",
    ]  # fmt: skip
    assert "    its variables are not kept any more" in lines
    assert lines[-1] == "… 3 more exceptions: --limit shows more"


def test_a_match_tells_where_a_value_came_from():
    match = {
        "session": "ab" * 16, "what": "argument", "channel": None, "variable": "word", "name": "take",
        "path": "/shop/app.py", "line": 2, "value": "needle", "count": 3, "traces": 2, "stack": [],
        "stores": [{"line": 7, "value": "old"}],
        "same": [{"name": "main", "variable": "given", "value": "needle"}],
        "command": {"session": "s", "event": "e" * 16, "title": "$ python app.py", "actor": "human"},
    }  # fmt: skip

    assert text(match_lines([match], {}, "/shop")) == [
        "argument    word = 'needle'  and 2 more times",
        "in          take  app.py:2",
        "from        given = 'needle' in main",
        "before      word = 'old' at line 7",
        f"command     python app.py  {'e' * 16}",
        f"trace       {'ab' * 16}  and 1 earlier one",
    ]


def test_a_printed_line_tells_who_wrote_it_and_which_agent_ran_that():
    match = {
        "session": "ab" * 16, "what": "printed", "channel": "stderr", "variable": None, "name": "take",
        "path": "/shop/app.py", "line": 2, "value": "no needle", "count": 1, "traces": 1, "stores": [],
        "stack": [{"name": "main", "path": "/shop/app.py", "line": 9}],
        "same": [{"name": "take", "variable": "word", "value": "needle"}],
        "command": {
            "session": "s", "event": "e" * 16, "title": "$ python app.py", "actor": "agent:claude-code",
        },
    }  # fmt: skip

    assert text(match_lines([match], {}, "/shop")) == [
        "printed     'no needle'  to stderr",
        "in          take  app.py:2",
        "called by   main  app.py:9",
        "from        word = 'needle' in take",
        f"command     python app.py  by claude-code  {'e' * 16}",
        f"trace       {'ab' * 16}",
    ]


def test_the_head_says_how_much_was_printed_and_what_never_arrived():
    channel = {"chunks": 1, "bytes": 9, "lines": 1, "mirror": 0, "unflushed": 0}
    told = {"stdout": channel | {"lines": 3, "mirror": 5}, "stderr": channel | {"unflushed": 7}}

    lines = head(io=told | {"stdin": channel})
    at = next(number for number, line in enumerate(lines) if line.startswith("printed"))
    assert lines[at : at + 2] == [
        "printed     3 lines to stdout, 1 line to stderr, 1 line read, 5 B of it from below Python;"
        f" see show {'ab' * 16} --io",
        "            7 B to stderr never flushed: it did not get there",
    ]
