"""Hits in a function whose values are hostile, or too many, or change meanwhile.

None of the program's code is asked, what is kept is bounded by counts, and the program's result is its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.probes import hostile
from tests.probes.armed import NAMES
from tests.probes.running import Program, running

APP = """\
import importlib.util, sys

spec = importlib.util.spec_from_file_location("hostile", {corpus!r})
hostile = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hostile)
many = hostile.values()

def take(value, *rest, **more):
    held = [value]
    return value is held[0]  # here

def give(value):
    return value

def throw(value):
    raise value

def thrown(value):
    try:
        throw(value)
    except BaseException as error:
        return error is value

def counted():
    return hostile.calls, hostile.asked

def all_at_once(values):
    a, b, c, d = values[:4]
    return len(values)  # all

class Wide:
    pass

def wide(n):
    one = Wide()
    one.__dict__ = {{f"field{{i}}": list(range(100)) for i in range(n)}}
    return one

def nested(n):
    inner = []
    for _ in range(n):
        inner = [inner, {{"inner": inner}}]
    return inner

def knot():
    one, two = [], {{}}
    one.append(two)
    two["one"] = one
    two[1] = two
    return one
"""
MANY = {"limitPerSecond": 100_000, "burst": 1000}
MOST_NODES = 3_000  # of a snapshot: its budget of 1,000 values, each with its type and what was cut off
MOST_BYTES = 200_000


@pytest.fixture(params=NAMES)
def program(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Program]:
    source = APP.format(corpus=str(Path(hostile.__file__)))
    (tmp_path / "app.py").write_text(source)
    with running(tmp_path, TRACEPOINTDEBUG_ENGINE=request.param) as program:
        program.do("import app")
        yield program


def at(mark: str) -> int:
    (line,) = [number for number, one in enumerate(APP.splitlines(), 1) if one.endswith(mark)]
    return line


def trace(program: Program, mark: str = "# here", **more: Any) -> None:
    program.set(file="app.py", line=at(mark), rateLimit=MANY, cpuPercent=100, **more)


def nodes(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(nodes, value.values()))
    return 1 + sum(map(nodes, value)) if isinstance(value, list) else 1


def snapshots(program: Program) -> list[dict[str, Any]]:
    """Of a program at its end; each within its budget."""
    found = [hit["snapshot"] for hit in program.told("probe.hit.snapshot")]
    assert program.told("probe.error") == []
    for one in found:
        assert nodes(one) <= MOST_NODES
        assert len(json.dumps(one)) <= MOST_BYTES
    return found


COUNT = len(hostile.values())


def test_a_snapshot_asks_no_value(program):
    trace(program, snapshot={"maxDepth": 5})

    answered = program.do("[app.take(one, one, other=one) for one in app.many]")
    counted = program.do("app.counted()")

    program.end()
    assert answered == str([True] * COUNT)
    assert counted == "(0, [])"
    assert len(snapshots(program)) == COUNT


def test_a_message_asks_no_value(program):
    body = {"message": "{value} {value!r} {value.id} {value[0]} {len(value)} {rest} {more}"}
    program.set("logpoint", file="app.py", line=at("# here"), rateLimit=MANY, cpuPercent=100, **body)

    assert program.do("[app.take(one, one, other=one) for one in app.many]") == str([True] * COUNT)

    assert program.do("app.counted()") == "(0, [])"
    program.end()
    assert len(program.messages()) == COUNT


@pytest.mark.parametrize(
    "condition",
    [
        "value",
        "not value",
        "value == 1",
        "value != value",
        "value < 3",
        "value in [1, value]",
        "1 in value",
        "value + 1",
        "value[0]",
        "value['id']",
        "value.id",
        "value.balance",
        "len(value)",
        "str(value) == ''",
        "isinstance(value, int)",
        "value contains 'a'",
        "value is None",
        "value == rest[0]",
        "rest == [value]",
        "more == {'other': value}",
        "sum(value)",
        "sorted == value",
    ],
)
def test_a_condition_asks_no_value(program, condition):
    trace(program, condition=condition)

    assert program.do("[app.take(one, one, other=one) for one in app.many]") == str([True] * COUNT)

    assert program.do("app.counted()") == "(0, [])"
    program.end()


def test_watches_ask_no_value(program):
    trace(program, watch=["value", "value.id", "value.balance", "value[0]", "len(value)", "value == value"])

    assert program.do("[app.take(one) for one in app.many]") == str([True] * COUNT)

    assert program.do("app.counted()") == "(0, [])"
    program.end()
    assert len(snapshots(program)) == COUNT


def test_what_is_returned_is_not_asked(program):
    program.set(
        location="app:give@exit", rateLimit=MANY, cpuPercent=100, condition="return_value is not None"
    )

    assert program.do("[app.give(one) is one for one in app.many]") == str([True] * COUNT)

    assert program.do("app.counted()") == "(0, [])"
    program.end()
    assert len(snapshots(program)) == COUNT


@pytest.mark.parametrize("what", ["raise", "exit"])
def test_what_is_raised_is_asked_by_python_alone(program, what):
    program.do("raised = [one for one in app.many if BaseException in type.mro(type(one))[1:]]")
    ask = "[app.thrown(one) for one in raised], app.hostile.asked"
    without = program.do(ask)
    program.do("app.hostile.asked.clear()")
    program.set(location=f"app:throw@{what}", rateLimit=MANY, cpuPercent=100)

    assert program.do(ask) == without

    program.end()
    assert len(snapshots(program)) == 1


def test_all_of_them_at_once_are_within_one_budget(program):
    trace(program, "# all", snapshot={"maxDepth": 20, "maxProperties": 10_000})

    assert program.do("app.all_at_once(app.many * 50)") == str(COUNT * 50)

    assert program.do("app.counted()") == "(0, [])"
    program.end()
    assert len(snapshots(program)) == 1


@pytest.mark.parametrize(
    "value",
    [
        "app.wide(1000)",
        "app.nested(30)",
        "app.knot()",
        "list(range(1_000_000))",
        "{i: str(i) for i in range(100_000)}",
        "set(range(100_000))",
        "'x' * 10_000_000",
        "b'x' * 10_000_000",
        "10 ** 10_000",
        "'\\ud800\\0\\u202e' * 1000",
        "[[0] * 100 for _ in range(1000)]",
        "{'__tpd_type__': 'mine', '__tpd_circular__': True}",
        "float('nan'), float('inf'), -0.0, 1e400, 1j",
        "type('T', (), {'__slots__': ('a' * 5000,)})()",
        "memoryview(bytearray(1_000_000))",
        "(i for i in range(10))",
        "__import__('threading').Lock(), open('/dev/null'), sys, app.take",
    ],
)
def test_a_snapshot_of_anything_is_bounded_and_plain(program, value):
    trace(program, snapshot={"maxDepth": 20, "maxProperties": 10_000, "maxStringLength": 65_536})
    program.do(f"value = ({value})")

    assert program.do("app.take(value)") == "True"

    program.end()
    assert len(snapshots(program)) == 1


CHANGED = """\
import sys, threading
def change(n):
    ends, shared, results = threading.Event(), {"a": []}, []
    def run():
        i = 0
        while not ends.is_set():
            i += 1
            shared[f"k{i % 50}"] = i
            shared["a"].append(i)
            del shared["a"][:i % 3]
            shared.pop(f"k{i * 7 % 50}", None)
    thread = threading.Thread(target=run)
    thread.start()
    for _ in range(n):
        results.append(shared is not None)  # here
    ends.set()
    thread.join()
    return all(results) and len(results)
"""


def test_what_changes_meanwhile_is_told_as_it_can_be(program):
    (program.home / "changed.py").write_text(CHANGED)
    line = CHANGED.splitlines().index("        results.append(shared is not None)  # here") + 1
    program.do("import changed; sys.setswitchinterval(0.00001)")
    program.set(file="changed.py", line=line, rateLimit=MANY, cpuPercent=100)

    assert program.do("changed.change(300)") == "300"

    program.end()
    found = [hit["snapshot"] for hit in program.told("probe.hit.snapshot")]
    assert found
    assert program.told("probe.error.snapshot") == []
    assert max(map(nodes, found)) <= MOST_NODES
