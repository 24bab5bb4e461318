"""A running program is asked at its lines, and answers: what is promised, in the words of who asks."""

from __future__ import annotations

import pytest

from tests.probes.running import SESSION, SPAN, running

APP = """\
import time

def add(x, y):
    z = x + y
    return z

def burst(n):
    for i in range(n):
        s = "s" * i
        last = i
    return last

def product(a, b):
    return a * b

def outer(n):
    def inner(m):
        held = n + m
        return held
    return inner(n)

class User:
    def __init__(self, name, password):
        self.name = name
        self.password = password

    def greet(self, other, *rest, loud=False, **more):
        word = "hi"
        return word

def fails(what):
    raise ValueError(what)

def guarded():
    try:
        fails("no")
    except ValueError:
        return "caught"

def takes(n):
    time.sleep(n)
    return "slept"

def counted():
    for i in range(1, 10):
        seen = i
"""


FAILS = "app.guarded()"


def at(text: str) -> int:
    """The line of the app in which that stands."""
    (line,) = [number for number, one in enumerate(APP.splitlines(), 1) if one.strip() == text]
    return line


@pytest.fixture
def program(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as program:
        program.do("import app")
        yield program


def test_a_snapshot_is_of_the_moment_before_the_line_runs(program):
    program.set(file="app.py", line=at("z = x + y"))

    assert program.do("app.add(2, 3)") == "5"

    assert program.end() == 0
    (hit,) = program.told("probe.hit.snapshot")
    assert hit["snapshot"]["locals"] == {"x": 2, "y": 3}
    assert hit["snapshot"]["arguments"] == {"x": 2, "y": 3}
    assert (hit["method"], hit["line"], hit["hitCount"]) == ("add", at("z = x + y"), 1)
    assert hit["thread"] == "MainThread"


def test_a_hit_is_an_event_of_the_command_that_started_the_program(program):
    point = program.set(file="app.py", line=at("z = x + y"))
    program.do("app.add(2, 3)")
    program.end()

    (frame,) = [one for one in program.frames() if one["kind"] == "probe_hit"]
    assert (frame["session"], frame["parent"], frame["source"]) == (SESSION, SPAN, "probe")
    assert frame["data"]["payload"]["probeId"] == point["id"]
    assert frame["id"] == frame["data"]["uuid"].replace("-", "")[:16]
    assert frame["data"]["client"]["applicationName"] == "listens.py"


def test_a_logpoint_tells_a_message_each_time(program):
    program.set(
        "logpoint", file="app.py", line=at("last = i"), message="i={i} s={s}", rateLimit={"burst": 10}
    )

    program.do("app.burst(5)")

    program.end()
    assert program.messages() == [f"i={i} s={'s' * i}" for i in range(5)]
    assert program.told_errors == ""  # nothing is printed into the program's output


def test_a_condition_chooses(program):
    program.set("logpoint", file="app.py", line=at("return a * b"), message="{a}", condition="a * b > 8")

    program.do("app.product(2, 4), app.product(2, 5)")

    program.end()
    assert program.messages() == ["2"]
    assert program.told("probe.hit")[0]["totalHits"] == 1


def test_after_its_hits_a_probe_is_over(program):
    point = program.set(
        file="app.py", line=at("z = x + y"), maxHits=2, rateLimit={"limitPerSecond": 1000, "burst": 9}
    )

    program.do("[app.add(1, i) for i in range(3)]")
    program.waits_for("probe.status.expired")

    assert program.ask("GET", f"/points/{point['id']}")[1]["status"] == "expired"
    program.end()
    assert len(program.told("probe.hit")) == 2


def test_after_its_time_a_probe_is_over(program):
    program.set(file="app.py", line=at("z = x + y"), ttlSeconds=0.05)

    (told,) = program.waits_for("probe.status.expired")  # though nobody came by

    assert told["message"] == "its time is over"
    program.do("app.add(1, 2)")
    program.end()
    assert program.told("probe.hit") == []


def test_what_a_limit_holds_back_is_told_together(program):
    program.set(
        "logpoint",
        file="app.py",
        line=at("last = i"),
        message="{i}",
        rateLimit={"limitPerSecond": 0.001, "burst": 5},
    )

    program.do("app.burst(2000)")

    program.end()
    errors = program.told("probe.error.rateLimit")
    assert len(program.messages()) == 5
    assert sum(error["droppedCount"] for error in errors) == 1995
    assert len(errors) < 30  # one a second, and the machine may be slow
    assert errors[0]["limit"] == {"limitPerSecond": 0.001, "burst": 5}


def test_the_condition_is_asked_before_the_limit(program):
    program.set("logpoint", file="app.py", line=at("last = i"), message="{i}", condition="i == 42")

    program.do("app.burst(100)")

    program.end()
    assert program.messages() == ["42"]
    assert program.told("probe.error") == []


@pytest.mark.parametrize(
    ("condition", "kind"), [("nowhere > 1", "NameError"), ("i / (i - i) > 1", "ZeroDivisionError")]
)
def test_a_condition_that_fails_is_told_once_and_the_program_goes_on(program, condition, kind):
    program.set("logpoint", file="app.py", line=at("last = i"), message="{i}", condition=condition)

    assert program.do("app.burst(100)") == "99"

    program.end()
    (error,) = program.told("probe.error.condition")
    assert (error["errorType"], error["condition"]) == (kind, condition)
    assert error["error"].startswith(f"{kind}: ")
    assert program.messages() == []


def test_a_part_of_a_message_that_fails_leaves_the_rest(program):
    program.set("logpoint", file="app.py", line=at("z = x + y"), message="x={x} {x.nothing} 100% {{y}}")

    program.do("app.add(1, 2)")

    program.end()
    assert program.messages() == ["x=1 {x.nothing: AttributeError} 100% {y}"]
    assert program.told("probe.hit")[0]["errors"][0]["expression"] == "x.nothing"


def test_the_stack_leads_to_the_program_s_beginning(program):
    program.set(file="app.py", line=at("held = n + m"))

    program.do("app.outer(4)")

    program.end()
    (hit,) = program.told("probe.hit")
    assert [frame["method"] for frame in hit["stack"]] == ["inner", "outer", "<module>", "<module>"]
    assert hit["snapshot"]["locals"] == {"m": 4, "n": 4}  # a name of the function around it, too


def test_no_secret_leaves_by_its_name(program):
    program.set(file="app.py", line=at('word = "hi"'), watch=["self.name"])

    program.do("app.User('ana', 'hunter2secret').greet('bob', 1, loud=True, token='t0ps3cr3t', b=b'x')")

    program.end()
    (hit,) = program.told("probe.hit")
    given = hit["snapshot"]["arguments"]
    assert sorted(given) == ["loud", "more", "other", "rest", "self"]
    assert (given["other"], given["loud"]) == ("bob", True)
    assert hit["watch"] == {"self.name": "ana"}
    text = str(program.frames())
    assert "hunter2secret" not in text
    assert "t0ps3cr3t" not in text
    assert hit["className"] == "User"


@pytest.mark.parametrize("more", [{"condition": "self.password == 'a'"}, {"watch": ["more['api_key']"]}])
def test_a_secret_s_name_is_not_asked(program, more):
    status, told = program.ask("POST", "/tracepoints", {"file": "app.py", "line": at('word = "hi"'), **more})

    assert (status, told["code"]) == (422, "HIDDEN_NAME")


def test_neither_is_it_told_in_a_message(program):
    body = {"file": "app.py", "line": at('word = "hi"'), "message": "{self.password}"}

    assert program.ask("POST", "/logpoints", body)[1]["code"] == "HIDDEN_NAME"


def test_a_point_that_holds_a_secret_is_not_set(program):
    body = {"file": "app.py", "line": 4, "condition": "x == 'ghp_Zk3vQ9mT1xW7bN5cR2dL8fH4jP6sA0gE1uYi'"}

    assert program.ask("POST", "/tracepoints", body)[1]["code"] == "HIDDEN_VALUE"


def test_an_exit_tells_what_was_returned_and_after_which_time(program):
    program.set(location="app:takes@exit", condition="duration_ms >= 20")

    program.do("app.takes(0), app.takes(0.02)")

    program.end()
    (hit,) = program.told("probe.hit")
    assert (hit["snapshot"]["returnValue"], hit["at"]) == ("slept", "return")
    assert hit["durationNs"] >= 20_000_000


def test_an_exit_by_an_exception_is_one(program):
    program.set(location="app:fails@exit")

    program.do(FAILS)

    program.end()
    (hit,) = program.told("probe.hit")
    assert (hit["at"], hit["snapshot"]["exception"]["type"]) == ("unwind", "ValueError")
    assert hit["snapshot"]["exception"]["message"] == "no"


def test_a_raised_exception_can_be_chosen_by_its_type(program):
    program.set(location="app:fails@raise", condition="isinstance(exception, ValueError)")
    program.do(FAILS)

    program.end()
    (hit,) = program.told("probe.hit")
    assert hit["snapshot"]["exception"]["message"] == "no"
    assert hit["at"] == "raise"


@pytest.mark.parametrize(
    ("hits", "told"),
    [
        ("5", [5]),
        ("==5", [5]),
        (">5", [6, 7, 8, 9]),
        (">=5", [5, 6, 7, 8, 9]),
        ("<5", [1, 2, 3, 4]),
        ("<=5", [1, 2, 3, 4, 5]),
        ("%3", [3, 6, 9]),
        ("1", [1]),
    ],
)
def test_hits_are_chosen_by_their_number(program, hits, told):
    program.set(
        "logpoint",
        file="app.py",
        line=at("seen = i"),
        message="{i}",
        hitCondition=hits,
        rateLimit={"burst": 20},
    )

    program.do("app.counted()")

    program.end()
    assert program.messages() == [str(one) for one in told]


def test_only_hits_that_fit_the_condition_are_counted(program):
    where = {"file": "app.py", "line": at("seen = i"), "rateLimit": {"burst": 20}}
    program.set("logpoint", **where, message="{i}", condition="i % 2 == 0", hitCondition="%3")
    program.set("logpoint", **where, message="never", condition="false", hitCondition="%5")

    program.do("app.counted()")

    program.end()
    assert program.messages() == ["6"]


def test_a_changed_condition_holds_from_then_on(program):
    where = {"file": "app.py", "line": at("last = i"), "rateLimit": {"limitPerSecond": 10_000, "burst": 50}}
    point = program.set("logpoint", **where, message="{i}", condition="i == 1")
    program.do("app.burst(4)")

    status, told = program.ask("PUT", f"/points/{point['id']}", {"condition": "i == 2"})

    program.do("app.burst(4)")
    program.end()
    assert (status, told["condition"], told["status"]) == (200, "i == 2", "installed")
    assert program.messages() == ["1", "2"]
    assert [told["probeId"] for told in program.told("probe.status.changed")] == [point["id"]]


def test_by_their_tags_points_are_switched(program):
    for _ in range(2):
        program.set(file="app.py", line=at("z = x + y"), tags=["a", "b"])
    program.set(file="app.py", line=at("z = x + y"), tags=["c"], rateLimit={"burst": 9})

    assert program.ask("POST", "/tags/disable", {"tags": ["a"]})[1]["disabled"] == 2
    program.do("app.add(1, 2)")
    program.end()

    assert len(program.told("probe.hit")) == 1
    assert len(program.told("probe.status.disabled")) == 2


def test_a_removed_point_is_hit_no_more(program):
    point = program.set(file="app.py", line=at("z = x + y"))

    assert program.ask("DELETE", f"/points/{point['id']}") == (204, None)
    program.do("app.add(1, 2)")
    program.end()

    assert program.told("probe.hit") == []
    assert program.statuses()[-2:] == ["probe.status.removed", "agent.status.stopped"]


@pytest.mark.parametrize("path", ["/points/none", "/points/none/enable"])
def test_an_unknown_point_is_told_as_json(program, path):
    status, told = program.ask("POST" if "enable" in path else "GET", path)

    assert (status, told["code"]) == (404, "POINT_NOT_FOUND")


@pytest.mark.parametrize("line", [True, "42", 0, -1, 1.5, None])
def test_a_line_that_is_none_is_refused(program, line):
    status, told = program.ask("POST", "/tracepoints", {"file": "app.py", "line": line})

    assert (status, told["code"]) == (400, "INVALID_LINE")


def test_a_blank_line_is_told_with_better_ones(program):
    status, told = program.ask("POST", "/tracepoints", {"file": "app.py", "line": 2})

    assert (status, told["code"], told["details"]["nearest"]) == (400, "INVALID_LINE", [1, 3])
    moved = program.set(file="app.py", line=2, nearest=True)
    assert (moved["line"], moved["requestedLine"]) == (3, 2)


def test_a_file_that_is_nowhere_is_not_found(program):
    status, told = program.ask("POST", "/tracepoints", {"file": "nowhere.py", "line": 1})

    assert (status, told["code"]) == (404, "FILE_NOT_FOUND")


SECRETIVE = """\
class User:
    def __init__(self, password):
        self.password = password
        self.alias = password

def enter(password, d):
    x = password
    u = User(password)
    return x
"""


@pytest.mark.parametrize(
    "message",
    [
        "{x} came",
        "{args[0]}",
        "{locals['pass' + 'word']}",
        "{str(locals)}",
        "{d['tok' + 'en']}",
        "{d.get('tok' + 'en')}",
        "{d.values()}",
        "{d.items()}",
        "{repr(d)}",
        "{u.alias}",
        "{[x]}",
        "before {x}",
    ],
)
def test_a_secret_under_another_name_is_not_told_in_a_message(tmp_path, message):
    (tmp_path / "app.py").write_text(SECRETIVE)
    with running(tmp_path) as program:
        program.do("import app")
        program.set("logpoint", file="app.py", line=9, message=message)
        program.do("app.enter('plain horse 1', {'token': 'slow horse 2'})")
        program.end()

    (told,) = program.messages()
    assert "horse" not in told
    assert "horse" not in str(program.frames())


def test_neither_is_one_that_is_returned(tmp_path):
    (tmp_path / "app.py").write_text(SECRETIVE)
    with running(tmp_path) as program:
        program.do("import app")
        program.set("logpoint", location="app:enter@exit", message="gave {return_value}")
        program.do("app.enter('plain horse 1', {})")
        program.end()

    assert program.messages() == ["gave ***REDACTED***"]


def test_no_condition_asks_for_what_an_argument_of_a_secret_s_name_is(tmp_path):
    (tmp_path / "app.py").write_text(SECRETIVE)
    with running(tmp_path) as program:
        program.do("import app")
        program.set("logpoint", file="app.py", line=9, message="yes", condition="args[0] == 'plain horse 1'")
        program.do("app.enter('plain horse 1', {})")
        program.end()

    assert program.messages() == []
