"""What is asked of a recorded program: its calls, its lines, its exceptions, a text in its values."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from devtrace.errors import UsageError
from devtrace.ids import new_session_id, new_span_id
from devtrace.query.filters import Filters
from devtrace.query.ids import Found
from devtrace.query.sessions import count_traces, list_sessions
from devtrace.query.trace_calls import Wanted, tree
from devtrace.query.trace_exceptions import raised
from devtrace.query.trace_lines import call_of, functions_at, hits
from devtrace.query.trace_search import search, texts_in
from devtrace.query.trace_source import source_of
from devtrace.query.trace_values import with_values
from devtrace.query.traces import Trace, started_by, trace_of, traces_under
from devtrace.store.connection import open_reader
from tests.interpreters import recordable
from tests.query.blamed import begun, edit
from tests.traces import PROGRAM, line_of, record, take_in


@pytest.fixture
def trace(recorded):
    """The program of tests/traces.py, recorded once."""
    record(recorded.workspace)
    return Trace(recorded.db, take_in(recorded.workspace))


def written(recorded, source, *words, **more):
    """A trace of another program."""
    record(recorded.workspace, *words, source=source, **more)
    return Trace(recorded.db, take_in(recorded.workspace))


def calls_of(trace, **wanted):
    """(name, arguments, result) of the calls that are shown, callers first."""
    found = tree(trace, Wanted(**wanted)).each()
    with_values(trace, [call.row for call in found])
    return [
        (
            trace.function(call.row["function"])["name"],
            dict(call.row.get("arguments") or ()),
            call.row.get("result"),
        )
        for call in found
    ]


def named(trace, name, **wanted):
    """The calls of one function that are shown."""
    found = tree(trace, Wanted(**wanted)).each()
    return [call for call in found if trace.function(call.row["function"])["name"] == name]


# --- as a whole ---------------------------------------------------------------------------------------------


def test_a_trace_is_found_by_its_session_and_by_its_event(recorded, trace):
    shell = recorded.session()
    command = recorded.command("ls")

    assert trace.event is not None
    assert trace_of(recorded.db, Found(trace.session)) == trace.session
    assert trace_of(recorded.db, Found(trace.session, trace.event["id"])) == trace.session
    assert trace_of(recorded.db, Found(shell)) is None
    assert trace_of(recorded.db, Found(shell, command)) is None


def test_the_head_tells_what_ran_how_it_ended_and_how_much_was_seen(trace):
    head = trace.head()

    assert (head["argv"], head["exit_code"], head["status"]) == (["shop.py"], 0, "ok")
    assert head["cwd"] == str(trace.event["cwd"])
    assert (head["n_threads"], head["n_exceptions"]) == (2, len(raised(trace)))
    assert head["n_calls"] == sum(one["n_calls"] for one in trace.functions.values())
    assert {thread["name"] for thread in head["threads"]} == {"MainThread", "helper"}
    assert (head["gaps"], head["children"]) == ([], [])


def test_a_command_names_the_programs_that_it_started(recorded):
    session = recorded.session()
    first, second = recorded.command("python shop.py"), recorded.command("true", 1)
    record(recorded.workspace, DEVTRACE_SESSION=session, DEVTRACE_SPAN=first)
    trace = take_in(recorded.workspace)

    (found,) = traces_under(recorded.db, session)
    assert (found["session"], found["under"]) == (trace, first)
    assert traces_under(recorded.db, session, second) == []
    assert Trace(recorded.db, trace).head()["parent"] == f"{session}/{first}"


def test_sessions_of_programs_are_counted_at_the_session_that_they_ran_in(recorded, trace):
    session = recorded.session(kind="shell")
    record(recorded.workspace, DEVTRACE_SESSION=session, DEVTRACE_SPAN=recorded.command())
    inside = take_in(recorded.workspace)

    listed = {row["id"] for row in list_sessions(recorded.db, Filters())}
    asked = {row["id"] for row in list_sessions(recorded.db, Filters(kinds=("recorder",)))}
    assert listed == {session, trace.session}
    assert asked == {inside, trace.session}
    assert count_traces(recorded.db, [session, trace.session]) == {session: 1}


def test_the_child_of_a_fork_is_named_by_its_parent(recorded):
    source = (
        "import os\ndef work(n):\n    return n\n"
        "if os.fork() == 0:\n    work(1)\nelse:\n    os.wait()\n    work(2)\n"
    )
    record(recorded.workspace, source=source)
    take_in(recorded.workspace)
    rows = recorded.db.execute("SELECT id, meta FROM sessions WHERE kind = 'recorder'").fetchall()
    (child,) = [one for one, meta in rows if json.loads(meta).get("forked_from")]
    (parent,) = [one for one, _ in rows if one != child]

    assert started_by(recorded.db, parent, 10) == [child]
    (told,) = Trace(recorded.db, parent).head()["children"]
    assert (told["session"], told["title"]) == (child, "python shop.py")
    assert ("work", {"n": 1}, 1) in calls_of(Trace(recorded.db, child))


# --- calls --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", sorted(recordable()))
def test_calls_have_their_arguments_results_and_callers_with_every_interpreter(recorded, version):
    trace = written(recorded, PROGRAM, python=recordable()[version])
    calls = calls_of(trace)

    assert ("careful", {"text": "12"}, 12) in calls
    assert ("careful", {"text": "twelve"}, -1) in calls
    (found,) = [given for name, given, _ in calls if name == "total"]
    assert found["discount"] == 10
    assert [item[3][0][1] for item in found["items"][2]] == ["ham", "egg", "wine\x1b[31m"]
    (total,) = named(trace, "total")
    parents = {call.row["event"]: call for call in named(trace, "main")}
    assert total.row["parent"] in parents


def test_recursion_is_folded_and_counted_and_unfolded_by_a_depth(recorded):
    source = "def down(n):\n    return 0 if n == 0 else down(n - 1)\ndown(50)\n"
    trace = written(recorded, source)

    folded = named(trace, "down")
    assert len(folded) == 3
    (more,) = folded[-1].more
    assert (more["count"], more["deep"]) == (48, True)
    assert len(named(trace, "down", depth=11)) == 10


def test_what_is_not_shown_is_counted_at_the_call_around_it(recorded):
    source = "def leaf(n):\n    return n\ndef main():\n    for n in range(500):\n        leaf(n)\nmain()\n"
    trace = written(recorded, source)

    (main,) = named(trace, "main")
    shown = len(main.inside)
    assert 0 < shown < 20
    assert shown + sum(one["count"] for one in main.more) == 500


def test_a_limit_keeps_the_slowest_and_those_around_them(recorded):
    source = (  # the recorded program sleeps, so that one call of it is slow: a call is LONG_NS or longer
        "import time\ndef quick(): pass\ndef slow():\n    time.sleep(0.02)\ndef around():\n    slow()\n"
        "quick()\naround()\nquick()\n"
    )
    trace = written(recorded, source)

    names = [name for name, _, _ in calls_of(trace, limit=1)]
    assert names == ["<module>"]
    assert [name for name, _, _ in calls_of(trace, limit=3)] == ["<module>", "around", "slow"]


def test_a_slow_call_is_shown_however_many_of_its_function_came_first(recorded):
    source = (  # it sleeps, so that one call is slow
        "import time\ndef work(n):\n    if n == 40:\n        time.sleep(0.02)\n"
        "def main():\n    for n in range(60):\n        work(n)\nmain()\n"
    )
    trace = written(recorded, source)

    shown = [given["n"] for name, given, _ in calls_of(trace) if name == "work"]
    assert shown[:3] == [0, 1, 2]
    assert 40 in shown


def test_calls_are_narrowed_by_function_file_thread_time_and_depth(trace):
    def names(**wanted):
        return {
            trace.function(call.row["function"])["name"]
            for call in tree(trace, Wanted(**wanted)).each()
            if call.is_asked
        }

    assert names(function="care*") == {"careful"}
    assert names(function="__init__") == {"Item.__init__"}
    assert names(file="shop.py", function="parse") == {"parse"}
    assert names(thread="helper") == {"worker", "fib"}
    assert names(depth=1, thread="MainThread") == {"<module>"}
    assert names(min_ms=1e6) == set()


def test_the_callers_of_what_was_asked_for_are_shown_too(trace):
    found = tree(trace, Wanted(function="parse")).each()

    names = [(trace.function(call.row["function"])["name"], call.is_asked) for call in found]
    assert names[:3] == [("<module>", False), ("main", False), ("careful", False)]
    assert [name for name, is_asked in names if is_asked] == ["parse", "parse"]


@pytest.mark.parametrize("wanted", [{"function": "nobody"}, {"file": "other.py"}, {"thread": "ghost"}])
def test_a_pattern_that_nothing_fits_says_what_there_is(trace, wanted):
    with pytest.raises(UsageError) as caught:
        tree(trace, Wanted(**wanted))

    assert caught.value.code == "ERR_FILTER"
    assert caught.value.hint.startswith("there is ")


def test_exceptions_stand_where_they_were_raised_and_where_they_were_caught(trace):
    (parse,) = [call for call in named(trace, "parse") if call.raised]
    (careful,) = [call for call in named(trace, "careful") if call.caught]
    (main,) = named(trace, "main")

    assert parse.row["parent"] == careful.row["event"]
    assert parse.raised[0]["text"].startswith("ValueError: invalid literal")
    assert careful.caught == parse.raised
    assert "KeyError: bottom" in [row["text"] for row in main.caught]


def test_calls_know_the_task_that_they_began_in(trace):
    fetches = named(trace, "fetch")
    with_values(trace, [call.row for call in fetches])

    tasks = [call.row["task"] for call in fetches]
    assert all(task.startswith("Task-") for task in tasks)
    assert len(set(tasks)) == 2


def test_a_program_that_was_killed_is_shown_up_to_there(recorded):
    source = "import os, signal\ndef last(n):\n    os.kill(os.getpid(), signal.SIGKILL)\nlast(7)\n"
    trace = written(recorded, source)

    head = trace.head()
    assert (head["exit_code"], head["status"]) == (None, "unknown")
    assert [(name, given) for name, given, _ in calls_of(trace)] == [("<module>", {}), ("last", {"n": 7})]
    assert {call.row["how"] for call in tree(trace, Wanted()).each()} == {"open"}


def test_a_trace_without_its_chunks_still_has_its_calls(recorded, trace):
    recorded.db.execute("DELETE FROM blobs")

    assert [(name, given) for name, given, _ in calls_of(trace) if name == "total"] == [("total", {})]
    with pytest.raises(UsageError) as caught:
        call_of(trace, functions_at(trace, "total"), 1)
    assert caught.value.code == "ERR_FILTER"
    assert raised(trace)[0]["variables"] is None
    assert search(recorded.db, "dear wine") == []


# --- lines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", sorted(recordable()))
def test_each_line_that_ran_has_the_variables_that_it_changed(recorded, version):
    trace = written(recorded, PROGRAM, python=recordable()[version])

    told = call_of(trace, functions_at(trace, "shop.py:total"), 1)
    changed = [(step["line"], {name: form for name, *form in step["values"]}) for step in told["steps"]]
    first = line_of("result = 0")
    assert changed[0] == (first, {"result": [0]})
    assert [values["result"][0] for _, values in changed if "result" in values] == [0, 40, 100, 195]
    assert (line_of('label = "dear'), {"label": ["dear wine\x1b[31m"]}) in changed
    assert told["steps"][-1]["told"] == [["returned", 185]]
    assert [caller["name"] for caller in told["stack"]][-2:] == ["<module>", "main"]
    assert told["stack"][-1]["line"] == line_of("total(items, discount=10)")


def test_a_call_is_named_by_its_number_and_a_function_by_a_line_in_it(trace):
    by_line = functions_at(trace, f"shop.py:{line_of('reason = str(error)')}")
    second = call_of(trace, by_line, 2)

    assert [one["name"] for one in by_line] == ["careful"]
    assert (second["arguments"], second["result"], second["calls"]) == ([["text", "twelve"]], -1, 2)
    (caught,) = [form for step in second["steps"] for what, form in step["told"] if what == "caught"]
    assert caught[:2] == ["exception", "ValueError"]
    with pytest.raises(UsageError, match="2 times"):
        call_of(trace, by_line, 3)


def test_a_line_inside_a_nested_function_is_that_function_s(recorded):
    source = "def outer():\n    def inner():\n        return 1\n    x = inner()\n    return x\nouter()\n"
    trace = written(recorded, source)

    assert [one["name"] for one in functions_at(trace, "shop.py:3")] == ["outer.<locals>.inner"]
    assert [one["name"] for one in functions_at(trace, "shop.py:4")] == ["outer"]


@pytest.mark.parametrize("version", sorted(recordable()))
def test_a_name_that_was_never_bound_is_not_told_as_deleted(recorded, version):
    source = (
        "def f():\n    for n in (1, 2):\n        try:\n            raise ValueError(n)\n"
        "        except ValueError as error:\n            text = str(error)\nf()\n"
    )
    trace = written(recorded, source, python=recordable()[version])

    steps = call_of(trace, functions_at(trace, "f"), 1)["steps"]

    deleted = [(one["line"], *value) for one in steps for value in one["values"] if len(value) == 1]
    assert deleted == [(6, "error"), (6, "error")]


def test_a_generator_is_told_as_one_call_however_often_it_goes_on(recorded):
    source = "def count():\n    for n in range(3):\n        yield n\nlist(count())\n"
    trace = written(recorded, source)

    told = call_of(trace, functions_at(trace, "count"), 1)
    given = [form for step in told["steps"] for what, form in step["told"] if what == "yielded"]
    assert given == [0, 1, 2]
    assert told["how"] == "return"


def test_a_call_over_many_chunks_is_told_to_its_end(recorded):
    source = (
        "def leaf(n):\n    total = 0\n    for k in range(20):\n        total += k\n    return total\n"
        "def main():\n    last = 0\n    for n in range(800):\n        leaf(n)\n    last = 77\n"
        "    return last\nmain()\n"
    )
    trace = written(recorded, source)
    assert len(trace.chunks[1]) > 3

    told = call_of(trace, functions_at(trace, "main"), 1, limit=10_000)
    assert (told["result"], told["is_cut"]) == (77, False)
    assert [step["values"] for step in told["steps"]][-2] == [["last", 77]]
    assert sum(step["line"] == 8 for step in told["steps"]) == 801

    cut = call_of(trace, functions_at(trace, "main"), 1, limit=5)
    assert (len(cut["steps"]), cut["is_cut"], cut["result"]) == (5, True, 77)


def test_hits_count_each_line_over_all_calls(trace):
    ((function, lines),) = hits(trace, functions_at(trace, "fib"))

    calls = function["n_calls"]
    start = function["first"]
    assert lines[start + 1] == calls
    assert lines[start + 2] + lines[start + 3] == calls


def test_hits_count_what_a_loop_folded_away(recorded):
    source = "def main():\n    n = 0\n    while n < 200_000:\n        n += 1\n    return n\nmain()\n"
    trace = written(recorded, source, DEVTRACE_RECORD_FOLD_MB="1")

    ((_, lines),) = hits(trace, functions_at(trace, "main"))
    assert trace.head()["n_folded"] > 0
    assert lines[4] == 200_000


# --- the source ---------------------------------------------------------------------------------------------


def test_the_source_is_read_from_the_disk_with_a_warning_when_it_is_newer(recorded, trace):
    file = recorded.workspace.dir.parent / "shop.py"
    at_us = trace.head()["started_us"]

    source = source_of(recorded.db, recorded.workspace, str(file), at_us)
    assert source.line(line_of("result = 0")).strip() == "result = 0"
    assert source.warning == ""
    file.write_text("# other\n")
    changed = source_of(recorded.db, recorded.workspace, str(file), at_us)
    assert changed.line(1) == "# other"
    assert "newer than the trace" in changed.warning
    file.unlink()
    assert source_of(recorded.db, recorded.workspace, str(file), at_us).lines == []


def test_the_source_is_that_of_the_state_that_was_recorded_before_the_program_ran(tmp_path):
    place = begun(tmp_path)
    first = edit(place, "one\n", "write 1")
    second = edit(place, "one\nTWO\n", "write 2")
    (tmp_path / "a.txt").write_text("unrecorded\n")

    with closing(open_reader(place.workspace)) as db:

        def lines(at_us):
            found = source_of(db, place.workspace, str(place.root / "a.txt"), at_us)
            assert found.warning == ""
            return found.lines

        assert lines(second.ended_us + 1_000_000) == ["one", "TWO"]
        assert lines(second.started_us - 1) == ["one"]
        assert lines(first.started_us - 1) == ["one", "two", "three"]


# --- exceptions ---------------------------------------------------------------------------------------------


def test_an_exception_has_its_variables_its_callers_and_who_caught_it(trace):
    found = {one["message"].split(":")[0]: one for one in raised(trace)}

    value = found["invalid literal for int() with base 10"]
    assert (value["type"], value["name"], value["line"]) == (
        "ValueError",
        "parse",
        line_of("return int(text)"),
    )
    assert (value["variables"], value["is_whole"]) == ([["text", "twelve"]], True)
    assert value["caught"]["name"] == "careful"
    key = found["bottom"]
    assert (key["name"], key["variables"]) == ("deep", [["n", 0]])
    assert [one["name"] for one in key["stack"]] == ["<module>", "main", *["deep"] * 30]
    assert key["caught"]["name"] == "main"


def test_an_exception_that_nothing_caught_says_so(recorded):
    record(recorded.workspace, "fail")
    trace = Trace(recorded.db, take_in(recorded.workspace))

    last = raised(trace)[-1]
    assert (last["type"], last["message"], last["caught"]) == ("RuntimeError", "the end of ham", None)
    assert trace.head()["exit_code"] == 1


# --- a text -------------------------------------------------------------------------------------------------


def test_a_text_is_found_in_the_variable_that_first_held_it(recorded, trace):
    (found,) = [one for one in search(recorded.db, "dear wine") if one["what"] == "value"]

    assert (found["name"], found["variable"]) == ("total", "label")
    assert found["line"] == line_of('label = "dear')
    assert [one["name"] for one in found["stack"]][-1] == "main"
    assert (found["session"], found["command"]) == (trace.session, None)


def test_a_text_is_found_in_arguments_with_the_variable_of_the_caller(recorded):
    source = (
        "def take(word):\n    return len(word)\n"
        "def main():\n    given = 'abc-needle'\n    take(given)\nmain()\n"
    )
    written(recorded, source)

    found = search(recorded.db, "needle")
    (argument,) = [one for one in found if one["what"] == "argument"]
    assert argument["variable"] == "word"
    assert [(one["name"], one["variable"]) for one in argument["same"]] == [("main", "given")]


def test_the_values_before_are_told_with_the_lines_that_set_them(recorded):
    source = "def main():\n    state = 'one'\n    state = 'two'\n    state = 'the needle'\nmain()\n"
    written(recorded, source)

    (found,) = [one for one in search(recorded.db, "needle") if one["name"] == "main"]
    assert found["line"] == 4
    assert found["stores"] == [{"line": 2, "value": "one"}, {"line": 3, "value": "two"}]


@pytest.mark.parametrize("text", ["KeyError: bottom", "bottom", "invalid literal for int() with base 10: 't"])
def test_an_exception_is_found_by_its_text(recorded, trace, text):
    del trace
    assert {one["what"] for one in search(recorded.db, text)} >= {"exception"}


def test_a_number_is_found_where_it_is_the_whole_value(recorded):
    written(recorded, "def give(n):\n    return n + 1\ngive(918272)\ngive(9182)\n")

    assert {(one["what"], one["value"]) for one in search(recorded.db, "918273")} == {("result", 918273)}
    assert {(one["what"], one["value"]) for one in search(recorded.db, "918272")} == {("argument", 918272)}
    assert {(one["what"], one["value"]) for one in search(recorded.db, "9182")} == {("argument", 9182)}


def test_a_text_is_found_however_often_a_variable_of_that_name_came_before(recorded):
    source = (
        "def step(needle):\n    return needle + 1\n"
        "def main():\n    for n in range(36_000):\n        step(n)\n    word = 'a needle indeed'\nmain()\n"
    )
    trace = written(recorded, source)
    assert sum(map(len, trace.chunks.values())) > 40  # more than are replayed
    cut = []

    (found,) = search(recorded.db, "needle", cut=lambda: cut.append(True))
    assert (found["name"], found["variable"], cut) == ("main", "word", [])


def test_a_search_says_when_it_did_not_look_everywhere(recorded):
    source = (
        "def step(word):\n    return len(word)\n"
        "def main():\n    for n in range(30_000):\n        step(f'needle {n}')\nmain()\n"
    )
    written(recorded, source)
    cut = []

    assert search(recorded.db, "needle", cut=lambda: cut.append(True))
    assert cut == [True]


def test_a_float_is_found_where_it_is_the_whole_value(recorded):
    written(recorded, "def part(n):\n    return n / 8\npart(321)\npart(3210)\n")

    assert {(one["what"], one["value"]) for one in search(recorded.db, "40.125")} == {("result", 40.125)}


def test_what_several_runs_tell_alike_is_told_once_and_of_the_newest(recorded):
    source = "def main():\n    word = 'needle'\nmain()\n"
    written(recorded, source)
    newest = written(recorded, source)

    (found,) = [one for one in search(recorded.db, "needle") if one["name"] == "main"]
    assert (found["session"], found["traces"]) == (newest.session, 2)


def test_a_text_with_quotes_and_letters_of_any_script_is_found(recorded):
    written(recorded, "def main():\n    word = 'say \"hüllo\" ☃'\nmain()\n")

    assert [one["variable"] for one in search(recorded.db, 'say "hüllo" ☃') if one["name"] == "main"] == [
        "word"
    ]


def test_the_command_that_started_the_program_is_named(recorded):
    session = recorded.session()
    command = recorded.command("python shop.py")
    record(recorded.workspace, DEVTRACE_SESSION=session, DEVTRACE_SPAN=command)
    take_in(recorded.workspace)

    assert search(recorded.db, "dear wine")[0]["command"] == {
        "session": session,
        "event": command,
        "title": "$ python shop.py",
        "actor": "human",
    }


def test_a_search_is_narrowed_to_a_file(recorded, trace):
    del trace
    assert search(recorded.db, "dear wine", file="shop.py")
    assert search(recorded.db, "dear wine", file="other.py") == []


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("text", ["text"]),
        (["list", 2, ["a", ["str", 9, "b"]]], ["a", "b"]),
        (["dict", 1, [["key", 5]]], ["key", "5"]),
        (["object", "app.User", 1, [["name", "ana"]]], ["name", "ana"]),
        (["exception", "ValueError", ["no"]], ["ValueError: no", "no"]),
        (["int", "12345678901234567890"], ["12345678901234567890"]),
        (["enum", "app.Color", "RED", 1], ["RED", "1"]),
        (["redacted", "name"], []),
        ([], []),
        (None, []),
        (True, []),
    ],
)
def test_the_texts_of_a_value_are_what_a_reader_sees_in_it(form, expected):
    assert list(texts_in(form)) == expected


def test_ids_of_no_trace_are_none_of_ours(recorded):
    assert trace_of(recorded.db, Found(new_session_id(), new_span_id())) is None
