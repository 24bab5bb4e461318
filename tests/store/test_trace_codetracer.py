"""What CodeTracer is told: by its own rules, in order, and nothing that is not so."""

from __future__ import annotations

import json
import random
import stat

import pytest

from devtrace.store.trace import records
from devtrace.store.trace.codetracer import program_of, write_folder
from devtrace.store.trace.codetracer_values import Types, Values
from devtrace.store.trace.segments import read_blocks
from devtrace.store.trace.threads import Thread
from tests.codetracer import Trace, plain
from tests.store.pens import PROCESS, Pen, scribble


@pytest.fixture
def pen(tmp_path):
    return Pen(tmp_path / "spool").begin()


def told_by(folder, *pens, process=PROCESS, code=None, label=None):
    """What is written of these streams, read strictly."""
    streams = [read_blocks(pen.path.read_bytes()) for pen in pens]
    threads = [Thread(number, blocks, with_io=True) for number, blocks in enumerate(streams, 1)]
    out = folder / "out"
    out.mkdir()
    count = write_folder(out, process, threads, code, label)
    trace = Trace(out)
    assert count == len(trace.events)
    return trace


def test_it_begins_and_ends_as_codetracer_wants_it(tmp_path, pen):
    pen.end(3)

    trace = told_by(tmp_path, pen)

    assert trace.events[:4] == [
        {"Path": "/home/ana/shop/app.py"},
        {"Function": {"path_id": 0, "line": 1, "name": "<toplevel>"}},
        {"Call": {"function_id": 0, "args": []}},
        {"Type": {"kind": 30, "lang_type": "None", "specific_info": {"kind": "None"}}},
    ]
    assert trace.events[-1] == {"Return": {"return_value": {"kind": "Int", "i": 3, "type_id": 1}}}
    assert trace.metadata["process_exit_status"] == {"code": 3, "label": None}


@pytest.mark.parametrize("label", [None, "<disabled>", "<failure>"])
def test_without_an_exit_code_a_label_says_why(tmp_path, pen, label):
    trace = told_by(tmp_path, pen, label=label)

    expected = label or "<exit>"
    assert plain(trace.top.result[0]) == expected
    assert trace.metadata["process_exit_status"] == {"code": None, "label": expected}


def test_the_metadata_tell_what_was_run(tmp_path, pen):
    pen.end(0, trace_filter={"scopes_skipped": 5})

    trace = told_by(tmp_path, pen)

    assert (trace.metadata["workdir"], trace.metadata["program"], trace.metadata["args"]) == (
        "/home/ana/shop", "/home/ana/shop/app.py", ["--fast"],
    )  # fmt: skip
    assert trace.metadata["recorder"]["name"] == "devtrace"
    assert trace.metadata["recorder"]["target_script"] == "/home/ana/shop/app.py"
    assert trace.metadata["trace_filter"] == {"filters": [], "stats": {"scopes_skipped": 5}}


@pytest.mark.parametrize(
    ("argv", "program", "arguments"),
    [
        (["app.py", "-x"], "app.py", ["-x"]),
        (["-m", "pkg.tool", "in"], "pkg.tool", ["in"]),
        (["-c", "print(1)", "in"], "-c", ["in"]),
        (["-"], "-", []),
        ([], "", []),
        (None, "", []),
    ],
)
def test_a_program_is_a_script_a_module_or_a_command(argv, program, arguments):
    assert program_of({"argv": argv}) == (program, arguments)


def test_a_call_follows_its_arguments_and_the_line_of_its_def(tmp_path, pen):
    pen.call(7)
    pen.number(0, 41)
    pen.number(1, 5)  # of the functions around it: no argument
    pen.line(8)
    pen.number(1, 6)
    pen.line(9)
    pen.leave()

    trace = told_by(tmp_path, pen)

    (call,) = trace.called("f7")
    assert {name: plain(value) for name, value in call.arguments.items()} == {"a": 41}
    shown = [(line, {name: plain(one) for name, one in values.items()}) for line, values in call.steps]
    assert shown == [(8, {"a": 41, "b": 5}), (9, {"a": 41, "b": 6})]
    at = trace.events.index({"Step": {"path_id": 1, "line": 7}})
    assert [*trace.events[at - 1]] == ["Value"]
    assert [*trace.events[at + 1]] == ["Call"]


def test_functions_of_one_name_stay_apart_by_file_and_line(tmp_path, pen):
    for number, (path, line) in enumerate([("/a.py", 1), ("/b.py", 1), ("/a.py", 5), ("/a.py", 1)], 1):
        told = {"path": path, "line": line, "name": "same", "module": "m", "names": [], "n_arguments": 0}
        payload = json.dumps(told).encode()
        pen.text(len(payload) << 32 | number << 4 | records.FUNCTION, payload)
        pen.defined.add(number)
        pen.call(number)
        pen.leave()

    trace = told_by(tmp_path, pen)

    assert trace.functions[1:] == [("/a.py", 1, "same"), ("/b.py", 1, "same"), ("/a.py", 5, "same")]
    assert len(trace.called("same")) == 4


def test_an_unwinding_is_no_return_of_a_value(tmp_path, pen):
    error = ["exception", "KeyError", ["k"]]
    pen.call(1)
    pen.raised(error)
    pen.leave(records.UNWOUND)
    pen.call(2)
    pen.word(pen.entry("k") << 20 | records.RESULT << 4 | records.REF)
    pen.leave()
    pen.call(3)
    pen.word(pen.entry(error) << 20 | records.RESULT << 4 | records.REF)
    pen.leave()

    trace = told_by(tmp_path, pen)

    unwound, returned, as_value = (trace.called(name)[0].result[0] for name in ("f1", "f2", "f3"))
    assert (unwound["kind"], unwound["msg"], trace.type_of(unwound)) == (
        "Error",
        "KeyError: 'k'",
        "Exception",
    )
    assert (returned["kind"], returned["text"]) == ("String", "k")
    assert (as_value["kind"], trace.type_of(as_value)) == ("Struct", "KeyError")
    assert trace.log == [(11, "KeyError: 'k'")]


def test_a_generator_goes_on_as_a_call_and_what_is_thrown_is_its_argument(tmp_path, pen):
    pen.call(1, is_generator=True)
    pen.number(0, 5)
    pen.number(records.RESULT, 7)
    asleep = pen.leave(records.YIELDED)
    pen.resume(asleep)
    pen.line(4)
    asleep = pen.leave(records.YIELDED)
    pen.resume(asleep, records.THROWN)
    pen.raised(["exception", "ValueError", ["thrown"]])
    pen.leave(records.UNWOUND)

    first, second, third = told_by(tmp_path, pen).called("f1")

    assert plain(first.result[0]) == 7
    assert second.arguments == {}
    assert [(line, plain(told["a"])) for line, told in second.steps] == [(4, 5)]
    assert plain(third.arguments["exception"]) == "ValueError: thrown"


def test_threads_are_laid_side_by_side_by_their_clocks(tmp_path):
    one, other = (Pen(tmp_path / "spool", number).begin() for number in (1, 2))
    other.clock = one.clock = max(one.clock, other.clock)
    one.call(1)  # at 1000
    one.line(5)
    other.tick(500)
    other.call(2)  # at 1500
    other.line(6)
    one.leave()  # at 2000
    one.end()
    other.leave()  # at 2500

    trace = told_by(tmp_path, one, other)

    told = [next(iter(event.items())) for event in trace.events]
    shown = [
        (kind, value.get("line") if isinstance(value, dict) else value)
        for kind, value in told
        if kind.startswith(("Thread", "Step", "Return"))
    ]
    assert shown == [
        ("ThreadStart", 1), ("Step", 1), ("Step", 5), ("ThreadStart", 2), ("ThreadSwitch", 2), ("Step", 2),
        ("Step", 6), ("ThreadSwitch", 1), ("Return", None), ("ThreadExit", 1), ("ThreadSwitch", 2),
        ("Return", None), ("ThreadExit", 2), ("Return", None),
    ]  # fmt: skip


def test_one_thread_alone_is_not_spoken_of(tmp_path, pen):
    pen.call(1)
    pen.leave()

    assert told_by(tmp_path, pen).threads == []


def test_what_was_left_out_is_said(tmp_path, pen):
    pen.call(1)
    pen.note({"folded": [[1, 5, 1000]]})
    pen.note({"gap": {"reason": "trace_full"}})

    trace = told_by(tmp_path, pen)

    assert trace.log == [
        (12, "devtrace recorded no more: trace_full"),
        (12, "devtrace left out 1000 runs of /home/ana/app.py:5, in f1"),
    ]
    assert plain(trace.called("f1")[0].result[0]) == "<not recorded>"


def test_what_does_not_change_is_repeated_up_to_a_limit_and_changes_always_are(tmp_path, pen):
    long = ["list", 100, ["x" * 20] * 100]
    pen.call(1)
    for line in range(10, 14):
        pen.number(1, line)
        if line == 10:
            pen.word(pen.entry(long) << 20 | records.REF)
        pen.line(line)
    pen.leave()

    (call,) = told_by(tmp_path, pen).called("f1")

    assert [sorted(values) for _, values in call.steps] == [["a", "b"], ["b"], ["b"], ["b"]]
    assert [plain(values["b"]) for _, values in call.steps] == [10, 11, 12, 13]


def test_a_variable_that_was_deleted_is_shown_no_more(tmp_path, pen):
    pen.call(1)
    pen.number(1, 3)
    pen.line(10)
    pen.word(records.UNSET << 20 | 1 << 4 | records.REF)
    pen.line(11)
    pen.leave()

    (call,) = told_by(tmp_path, pen).called("f1")

    assert [sorted(values) for _, values in call.steps] == [["b"], []]


def test_a_value_of_no_form_that_we_write_costs_no_other(tmp_path, pen):
    pen.call(1)
    pen.word(pen.entry([["list"], {}]) << 20 | records.REF)
    pen.number(1, 3)
    pen.line(10)
    pen.leave()

    (call,) = told_by(tmp_path, pen).called("f1")

    assert [plain(values["b"]) for _, values in call.steps] == [3]


def io_of(trace):
    """(kind, content, metadata) of what was printed and read, in its order."""
    told = [event["Event"] for event in trace.events if "Event" in event]
    return [(one["kind"], one["content"], json.loads(one["metadata"])) for one in told if one["kind"] < 11]


def test_what_was_printed_stands_behind_the_step_that_did_and_before_the_next(tmp_path, pen):
    pen.call(1)
    pen.line(5)
    written = pen.write(b"total\n22", flags=records.STEP_BOUNDARY, waits=True)
    pen.line(6)
    pen.tell(written)
    pen.line(7)
    pen.leave()
    pen.end()

    trace = told_by(tmp_path, pen)

    steps = [
        ("step", event["Step"]["line"]) if "Step" in event else ("io", event["Event"]["content"])
        for event in trace.events
        if "Step" in event or "Event" in event
    ]
    assert steps[1:] == [("step", 5), ("io", "total\n"), ("io", "22"), ("step", 6), ("step", 7)]
    where = {
        "stream": "stdout", "thread": "ThreadId(1)", "line": 5, "frame_id": 0,
        "path_id": trace.paths.index("/home/ana/app.py"),
    }  # fmt: skip
    assert io_of(trace) == [
        (0, "total\n", where | {"flags": ["newline"]}),
        (0, "22", where | {"flags": ["step_boundary"]}),
    ]


def test_each_stream_has_its_kind_and_what_is_no_text_is_text_all_the_same(tmp_path, pen):
    pen.call(1)
    pen.write(b"\xff\n", records.STDERR)
    pen.write(b"yes\n", records.STDIN, records.INPUT)
    pen.leave()

    told = io_of(told_by(tmp_path, pen))

    assert [(kind, content, about["flags"]) for kind, content, about in told] == [
        (2, "\ufffd\n", ["newline"]),
        (3, "yes\n", ["newline", "input"]),
    ]


def test_what_was_printed_by_a_function_that_is_not_recorded_names_it(tmp_path, pen):
    pen.call(1)
    pen.define(2)
    pen.write(b"x", place=2 << 24 | 40 << 4)
    pen.leave()

    ((_, _, about),) = io_of(told_by(tmp_path, pen))

    assert (about["line"], about["frame_id"]) == (40, None)


def test_what_was_written_below_python_is_no_threads(tmp_path, pen):
    pen.call(1)
    pen.leave()
    mirror = Pen(tmp_path / "spool", stream=2)
    mirror.write(b"native\n", flags=records.MIRROR)

    trace = told_by(tmp_path, pen, mirror)

    ((kind, content, about),) = io_of(trace)
    assert (kind, content, about["path_id"], about["line"]) == (0, "native\n", None, None)
    assert about["flags"] == ["newline", "mirror"]
    assert all(number == 1 for _, number in trace.threads)


def test_whatever_a_program_does_the_reader_takes_it(tmp_path):
    seed = random.randrange(1 << 32)
    print("seed", seed)  # noqa: T201 - a failure is found again by it
    pens = [Pen(tmp_path / "spool", number).begin() for number in (1, 2, 3)]
    for pen in pens:
        scribble(pen, random.Random(seed + pen.clock), 1_500)

    trace = told_by(tmp_path, *pens)

    assert len(trace.events) > 1_000
    assert {number for _, number in trace.threads} == {1, 2, 3}


def test_the_files_are_their_owners_alone_and_whole(tmp_path, pen):
    told_by(tmp_path, pen)

    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["trace.json", "trace_metadata.json", "trace_paths.json"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_trace_that_cannot_be_read_leaves_the_old_file(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "trace.json").write_text("old")

    def blocks():
        raise OSError(5, "Input/output error")
        yield

    with pytest.raises(OSError, match="Input"):
        write_folder(out, PROCESS, [Thread(1, blocks())], 0, None)

    assert [(file.name, file.read_text()) for file in out.iterdir()] == [("trace.json", "old")]


# --- values ---


class Told:
    def __init__(self):
        self.types: list[str] = []
        self.values = Values(Types(self.types.append))

    def __call__(self, form):
        return json.loads(self.values.text(form))

    def type_of(self, value):
        return json.loads(self.types[value["type_id"]])["Type"]


@pytest.fixture
def told():
    return Told()


@pytest.mark.parametrize(
    ("form", "value", "kind", "name"),
    [
        (None, {"kind": "None"}, 30, "None"),
        (True, {"kind": "Bool", "b": True}, 12, "Bool"),
        (5, {"kind": "Int", "i": 5}, 7, "Int"),
        (["int", "-9223372036854775808"], {"kind": "Int", "i": -(1 << 63)}, 7, "Int"),
        (["int", "9223372036854775808"],
         {"kind": "BigInt", "b": "gAAAAAAAAAA=", "negative": False}, 7, "Int"),
        (["int", "-18446744073709551616"],
         {"kind": "BigInt", "b": "AQAAAAAAAAAA", "negative": True}, 7, "Int"),
        (["int", "0xff", 5000], {"kind": "Raw", "r": "0xff… (5000 bits)"}, 16, "Int"),
        (1.5, {"kind": "Float", "f": "1.5"}, 8, "Float"),
        (["float", "nan"], {"kind": "Float", "f": "NaN"}, 8, "Float"),
        (["float", "-inf"], {"kind": "Float", "f": "-inf"}, 8, "Float"),
        ("text", {"kind": "String", "text": "text"}, 9, "String"),
        (["str", 5000, "be"], {"kind": "String", "text": "be… (5000 characters)"}, 9, "String"),
        (["bytes", 2, "AGk="], {"kind": "Raw", "r": "b'\\x00i'"}, 16, "Bytes"),
        (["bytearray", 9, "aQ=="], {"kind": "Raw", "r": "bytearray(b'i')… (9 bytes)"}, 16, "ByteArray"),
        (["complex", 1.0, ["float", "inf"]], {"kind": "Raw", "r": "(1+infj)"}, 16, "Complex"),
        (["ref", 2], {"kind": "Raw", "r": "<itself, 2 up>"}, 15, "Recursion"),
        (["deep"], {"kind": "Raw", "r": "…"}, 31, "NonExpanded"),
        (["opaque", "app.Handle", 140], {"kind": "Raw", "r": "<app.Handle>"}, 16, "app.Handle"),
        (["text", "decimal.Decimal", "1.10"], {"kind": "Raw", "r": "1.10"}, 16, "decimal.Decimal"),
        (["array", "np.a", [2, 3], "<f8"], {"kind": "Raw", "r": "shape (2, 3), dtype <f8"}, 16, "np.a"),
        (["range", 0, 5, 1], {"kind": "Raw", "r": "range(0, 5, 1)"}, 16, "Range"),
        (["function", "app.main"], {"kind": "Raw", "r": "<function app.main>"}, 25, "Function"),
        (["type", "app.User"], {"kind": "Raw", "r": "<class 'app.User'>"}, 26, "Type"),
        (["module", "json"], {"kind": "Raw", "r": "<module 'json'>"}, 16, "Module"),
        (["redacted", "name"], {"kind": "Error", "msg": "<redacted>"}, 16, "Redacted"),
        (["dropped"], {"kind": "Error", "msg": "<dropped>"}, 16, "Dropped"),
        (["sub", "app.Names", ["list", 0, []]],
         {"kind": "Sequence", "elements": [], "is_slice": False}, 0, "app.Names"),
        (["sub", "app.Level", 3], {"kind": "Int", "i": 3}, 7, "app.Level"),
        (["set", 0, []], {"kind": "Sequence", "elements": [], "is_slice": False}, 1, "Set"),
        (["deque", 0, []], {"kind": "Sequence", "elements": [], "is_slice": False}, 0, "Deque"),
    ],
)  # fmt: skip
def test_each_form_has_its_kind_and_its_type(told, form, value, kind, name):
    found = told(form)

    type_ = told.type_of(found)
    assert {key: one for key, one in found.items() if key != "type_id"} == value
    assert (type_["kind"], type_["lang_type"]) == (kind, name)


def test_containers_hold_values_and_say_what_is_missing(told):
    found = told(["dict", 3, [["k", ["tuple", 2, [1, ["list", 1, [None]]]]]]])

    assert plain(found) == [("k", (1, [None])), "… 2 more"]
    assert told.type_of(found)["lang_type"] == "Dict"


def test_an_object_is_a_struct_and_its_type_names_its_fields(told):
    one = told(["object", "app.User", 140, [["name", "ana"], ["age", 5]]])
    other = told(["object", "app.User", 141, [["name", None], ["age", 1.5]]])
    third = told(["object", "app.User", 142, [["name", "bo"]]])

    assert plain(one) == ["ana", 5]
    assert one["type_id"] == other["type_id"] != third["type_id"]
    fields = told.type_of(one)["specific_info"]["fields"]
    assert [field["name"] for field in fields] == ["name", "age"]
    assert all(json.loads(told.types[field["type_id"]])["Type"]["kind"] == 32 for field in fields)


def test_an_enum_is_a_variant(told):
    found = told(["enum", "app.Color", "RED", 1])

    assert (found["kind"], plain(found), told.type_of(found)["kind"]) == ("Variant", ("RED", 1), 17)


def test_objects_of_any_shape_take_no_more_than_some_thousand_types(told):
    for number in range(5_000):
        found = told(["object", "app.Bag", 1, [[f"field{number}", 1]]])

    assert found["kind"] == "Raw"
    assert len(told.types) < 4_200


def test_a_lone_surrogate_is_no_text_that_a_strict_reader_takes(told):
    assert told("a\udce9😀")["text"] == "a\ufffd😀"
    assert told(["object", "C", 1, [["\ud800", "\udfff\ud800"]]])["field_values"][0]["text"] == "\ufffd\ufffd"


def test_values_are_cut_before_a_reader_gives_up_at_their_depth(told):
    form = "end"
    for _ in range(100):
        form = ["dict", 1, [["k", form]]]

    text = told.values.text(form)

    assert "end" not in text
    assert (
        max(
            sum({"[": 1, "{": 1, "]": -1, "}": -1}.get(one, 0) for one in text[:at])
            for at in range(len(text))
        )
        < 110
    )


@pytest.mark.parametrize(
    "form",
    [["new form", 1], [], [5], [[]], {}, {"a": 1}, ["str"], ["dict", 1, [[1]]], ["bytes", 1, "é"],
     ["int", "x"], ["object", "C", 1, 5], ["sub", "C"], ["list", "x", 5], ["float", "one"]],
)  # fmt: skip
def test_what_is_no_form_of_ours_is_shown_as_it_is(told, form):
    assert told(form)["kind"] == "Raw"
