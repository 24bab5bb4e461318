"""Probes in words: values, a hit in full, the lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from devtrace.views.event import event_lines
from devtrace.views.probe import probe_lines, probe_rows, program_lines, set_lines
from devtrace.views.probe_values import value_line, value_lines
from devtrace.views.timeline import Reader
from tests.views.conftest import START

Row = dict[str, Any]

NASTY = "\x1b[2J\u202e\n"
AT = {"probeId": "p1", "probeType": "tracepoint", "file": "/srv/handlers.py", "line": 42, "method": "load"}
USER = {"__tpd_type__": "app.User", "id": 7, "name": "ana"}
MORE = {"__tpd_truncated__": True, "__tpd_remaining__": 1200}


def text(lines: Any) -> str:
    return "\n".join("".join(piece for piece, _ in line) for line in lines)


@pytest.fixture
def hit(other_row) -> Callable[..., Row]:
    def make(kind: str = "probe_hit", name: str = "probe.hit.snapshot", **payload: Any) -> Row:
        data = {"name": name, "payload": AT | payload, "client": {"applicationName": "app.py"}, "pid": 8,
                "thread": "MainThread", "cwd": None, "uuid": ""}  # fmt: skip
        row: Row = other_row(kind, "handlers.py:42 load: snapshot", source="probe", trusted=0)
        return row | {"data": data}

    return make


# --- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (5, "5"),
        (None, "None"),
        (True, "True"),
        ("a'b", '"a\'b"'),
        ([], "[]"),
        ([1, "a"], "[1, 'a']"),
        ({"a": 1}, "{'a': 1}"),
        (USER, "app.User(id=7, name='ana')"),
        ({"__tpd_type__": "tuple", "__tpd_items__": [1]}, "(1,)"),
        ({"__tpd_type__": "set", "__tpd_items__": [1, 2]}, "{1, 2}"),
        ({"__tpd_type__": "app.Names", "__tpd_value__": ["a"]}, "app.Names(['a'])"),
        ({"__tpd_type__": "dict", "__tpd_entries__": [[1, "a"], [[2], "b"]]}, "{1: 'a', [2]: 'b'}"),
        ({"__tpd_type__": "bytes", "__repr__": "b'hi'"}, "b'hi'"),
        ({"__tpd_type__": "float", "__repr__": "0.5"}, "0.5"),
        ({"__tpd_type__": "ValueError", "__message__": "no"}, "ValueError('no')"),
        ({"__tpd_type__": "list", "__tpd_circular__": True}, "<the same list as above>"),
        ({"__tpd_type__": "str", "__repr__": "begin", **MORE}, "'begin'... (1,200 more)"),
        ([1, MORE], "[1, 1,200 more]"),
        ({"a": 1, **MORE}, "{'a': 1, 1,200 more}"),
        ({"__tpd_type__": "list", "__tpd_truncated__": True, "__summary__": "deep"}, "<list>"),
        (
            {"__tpd_type__": "dict", "__tpd_truncated__": True, "__message__": "concurrentModification"},
            "<dict, which another thread was changing>",
        ),
        ({"__tpd_type__": "app.Lock"}, "<app.Lock>"),
        ("***REDACTED***", "'***REDACTED***'"),
    ],
)
def test_a_value_reads_as_python_has_it(told, line):
    assert value_line(told) == line


def test_what_is_too_long_is_unfolded():
    told = {"user": {**USER, "name": "x" * 90}, "n": 1}

    assert value_lines("it", told) == [
        "it = {",
        "  'user': app.User(",
        "    id=7",
        f"    name='{'x' * 90}'",
        "  )",
        "  'n': 1",
        "}",
    ]


def test_what_is_endless_is_counted():
    lines = value_lines("it", list(range(500)))

    assert (len(lines), lines[-1]) == (201, "... and 302 more lines")


@pytest.mark.parametrize("inner", [None, 5, "x", [], [None], {}, {"a": 1}, NASTY], ids=repr)
def test_no_form_is_too_odd_to_be_shown(inner):
    names = ("__tpd_type__", "__tpd_items__", "__tpd_value__", "__tpd_entries__", "__repr__", "__message__",
             "__summary__", "__tpd_truncated__", "__tpd_remaining__", "__tpd_circular__",
             "__tpd_keys__")  # fmt: skip
    forms = [{name: inner} for name in names] + [{"__tpd_type__": "list", name: inner} for name in names]

    for form in [*forms, dict.fromkeys(names, inner)]:
        for line in [value_line(form), *value_lines("x", [form, "y" * 100])]:
            assert line.isprintable()


# --- one event --------------------------------------------------------------------------------------------


def test_a_snapshot_is_told_in_full(hit, session_row):
    snapshot = {
        "locals": {"user": USER, "n": 1},
        "arguments": {"user": USER},
        "returnValue": None,
        "exception": None,
    }
    stack = [{"file": "/srv/handlers.py", "line": 42, "method": "load", "className": "Jobs"},
             {"file": "/srv/app.py", "line": 3, "method": "<module>"}]  # fmt: skip

    event = hit(
        snapshot=snapshot, stack=stack, watch={"n * 2": 2}, hitCount=3, totalHits=9, condition="n > 0"
    )
    shown = text(event_lines(event, session_row(), [], {}, Reader(now_us=START, width=80)))

    assert "source      human, told by the program itself\n" in shown.replace("agent:claude-code", "human")
    assert "probe       p1, tracepoint, hit 3, 9 with those that were held back" in shown
    assert "program     app.py, process 8, thread MainThread" in shown
    assert "place       /srv/handlers.py:42 in load" in shown
    assert "condition   n > 0" in shown
    assert "arguments   user = app.User(id=7, name='ana')" in shown
    assert "locals      user = app.User(id=7, name='ana')\n            n = 1" in shown
    assert "watch       n * 2 = 2" in shown
    assert "stack       /srv/handlers.py:42 in Jobs.load\n            /srv/app.py:3 in <module>" in shown
    assert "returned" not in shown
    assert "payload" not in shown


def test_what_was_returned_is_told_even_where_it_is_none(hit):
    told = text(
        line for _, line in probe_rows(hit(at="return", snapshot={"returnValue": None}, durationNs=2_500_000))
    )

    assert "None" in told
    assert "took 2ms" in told


def test_an_exception_is_told_with_its_stack(hit):
    raised = {"type": "KeyError", "message": "'id'", "stack": "a.py:1 in f\nb.py:2 in g"}
    rows = probe_rows(hit(snapshot={"exception": raised}))

    assert ("raised", [("KeyError: 'id'", "failed")]) in rows
    assert text(line for _, line in rows).endswith("a.py:1 in f\nb.py:2 in g")


def test_a_message_names_the_fields_that_failed(hit):
    event = hit(
        name="probe.hit.logpoint", message="user {user.id: AttributeError}", messageTemplate="user {user.id}",
        errors=[{"expression": "user.id", "error": "AttributeError: no"}],
    )  # fmt: skip
    rows = dict(probe_rows(event))

    assert rows["template"] == [("user {user.id}", "")]
    assert rows["failed"] == [("{user.id}: AttributeError: no", "warning")]


@pytest.mark.parametrize("value", [None, True, 5, "x", NASTY, [], [None, 5], {}, {"a": NASTY}], ids=repr)
def test_a_payload_may_hold_anything_and_is_safe(hit, session_row, value):
    names = ("probeId", "probeType", "file", "line", "method", "className", "condition", "message",
             "snapshot", "stack", "watch", "errors", "hitCount", "totalHits", "droppedCount", "at",
             "durationNs", "error", "location", "engine")  # fmt: skip
    payloads = [{name: value} for name in names] + [dict.fromkeys(names, value)]
    payloads += [{"snapshot": dict.fromkeys(("locals", "arguments", "returnValue", "exception"), value)},
                 {"stack": [dict.fromkeys(("file", "line", "method", "className"), value)]},
                 {"errors": [dict.fromkeys(("expression", "error"), value)]},
                 {"snapshot": {"locals": {NASTY: value}}, "watch": {NASTY: value}}]  # fmt: skip

    for payload in payloads:
        for kind in ("probe_hit", "probe_error", "probe_status"):
            shown = text(
                event_lines(hit(kind, **payload), session_row(), [], {}, Reader(now_us=START, width=80))
            )
            assert all(line.replace("\t", "").isprintable() for line in shown.split("\n"))


# --- lists ------------------------------------------------------------------------------------------------


def a_probe(**changes: Any) -> Row:
    known = {
        "id": "3f2a91c0-1111", "type": "tracepoint", "file": "/srv/app/jobs.py", "line": 4, "location": None,
        "condition": None, "logMessage": None, "tags": [], "enabled": True, "status": "installed", "code": "",
        "statusMessage": "", "hits": 1200, "installed": 1, "processes": [{}, {}],
        "expires_us": START + 3600 * 10**6,
    }  # fmt: skip
    return known | changes


def listed(**changes: Any) -> str:
    return text(probe_lines([a_probe(**changes)], None, root="/srv/app", now_us=START)).split("\n")[1]


def test_a_probe_of_the_list_says_where_what_and_how_far():
    line = listed(condition="n > 3", logMessage="user {id}\nmore", tags=["a", "b"])

    assert line.startswith("3f2a91c0  installed 1/2  jobs.py:4  user {id} (+1 line) if n > 3")
    assert line.split()[-4:] == ["a", "b", "1,200", "15:03:12"]


def test_a_probe_that_is_off_or_over_says_so():
    assert "disabled" in listed(enabled=False)
    assert listed(enabled=False, status="expired").split()[1:3] == ["expired", "1/2"]
    assert "error 1/2" in listed(status="error", statusMessage="the engine is busy")
    assert "the engine is busy" in listed(status="error", statusMessage="the engine is busy")


def test_a_time_of_another_day_has_its_date():
    assert "2026-11-22 14:03:12" in listed(expires_us=START + 86_400 * 10**6)


def test_texts_of_the_lists_are_safe():
    texts = ("id", "logMessage", "condition", "file", "statusMessage", "status")
    nasty = a_probe(tags=[NASTY], **dict.fromkeys(texts, NASTY))
    program = {"pid": 1, "python": NASTY, "engine": NASTY, "points": 0, "argv": [NASTY], "session": "",
               "span": "", "reachable": True, "reason": NASTY}  # fmt: skip
    lines = [*probe_lines([nasty], None, root="", now_us=START), *program_lines([program], None, {})]
    process = {"pid": 1, "argv": [NASTY], "status": NASTY, "message": NASTY}
    told = {"id": NASTY, "status": NASTY, "processes": [process], "unreachable": [], "expires_us": START}
    lines += set_lines(told, NASTY, START)
    lines += set_lines({**told, "processes": [], "unreachable": [{**process, "reason": NASTY}]}, NASTY, START)

    assert all(piece.isprintable() for line in lines for piece, _ in line)


def a_process(status: str = "installed", message: str = "") -> Row:
    return {"pid": 12, "argv": ["python", "app.py"], "status": status, "message": message}


@pytest.mark.parametrize(
    ("processes", "told"),
    [
        ([a_process()], "installed in 1 process."),
        ([a_process(), a_process()], "installed in 2 processes."),
        ([a_process(), a_process("pending", "why")], "installed in 1 of 2 processes."),
        ([a_process("pending", "why")], "pending in 1 process."),
    ],
)
def test_how_far_a_probe_came_is_one_sentence(processes, told):
    record = {
        "id": "3f2a91c0-1",
        "status": processes[-1]["status"],
        "processes": processes,
        "unreachable": [],
    }
    lines = text(set_lines(record, "jobs.py:4", START)).split("\n")

    assert lines[0] == f"Set probe 3f2a91c0 at jobs.py:4: {told}"
    assert lines[1:] == ["  12  python app.py  pending: why"] * sum(bool(one["message"]) for one in processes)


def test_what_is_doubtful_in_a_program_is_told_though_it_is_installed():
    record = {"id": "3f2a91c0-1", "status": "installed", "processes": [a_process(message="it was edited")],
              "unreachable": [{}, {}]}  # fmt: skip

    told = text(set_lines(record, "jobs.py:4", START))

    assert "  12  python app.py  installed: it was edited\n" in told
    assert told.endswith("  2 other Pythons of this store cannot be asked; why: devtrace probe ps")
