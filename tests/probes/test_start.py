"""`devtrace.probes.start` and `stop` in a program that runs, what the environment says, own redaction."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.probes import registry
from devtrace.services import probe_sink
from devtrace.store.spool import read_frames
from tests.probes.contract import LOG, SET, Api, events, starting
from tests.probes.running import Program, until
from tests.probes.validator import faults
from tests.processes import DEADLINE


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with starting(tmp_path) as api:
        yield api


# --- start and stop -----------------------------------------------------------------------------------------


def test_starting_twice_changes_nothing(api):
    before = api.program.ask("GET", "/health")[1]["control"]

    api.program.do("devtrace.probes.start(control_api_port=0)")

    assert api.program.ask("GET", "/health")[1]["control"] == before
    api.program.end()
    assert len(api.program.told("agent.status.started")) == 1


def test_stop_closes_what_start_opened_and_may_be_called_twice(api):
    program = api.program
    api.call("POST", "/tracepoints", SET)
    program.do("app.add(1, 2)")
    program.waits_for("probe.hit")

    program.do("import os; devtrace.probes.stop(); devtrace.probes.stop()")

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", api.port), timeout=DEADLINE)
    assert program.do("app.add(1, 2)") == "3"
    assert program.do(OPEN) == "['0', '1', '2']"
    assert list(registry.folder(program.store).iterdir()) == []
    program.end()
    assert len(program.told("probe.hit")) == 1
    assert program.statuses()[-1] == "agent.status.stopped"


OPEN = "[n for n in sorted(os.listdir('/proc/self/fd')) if os.path.exists('/proc/self/fd/' + n)]"


def test_after_stop_only_the_program_starts_again(api):
    program = api.program
    program.do("devtrace.probes.stop()")
    registry.poke(program.pid)

    assert program.do("__import__('devtrace.probes.agent').probes.agent.current()") == "None"
    program.do("devtrace.probes.start(control_api_port=0)")
    again = Api(program)
    assert again.call("POST", "/logpoints", LOG).status == 201
    program.do("app.add(1, 2)")
    program.end()
    assert program.messages() == ["x=1"]
    assert program.statuses().count("agent.status.started") == 2


def test_stop_before_start_is_nothing(tmp_path):
    with starting(tmp_path, call="devtrace.probes.stop()") as api:
        assert api.program.do("1") == "1"
        api.program.end()
    assert api.program.told_errors == ""


def test_without_a_store_the_program_can_be_asked_all_the_same(tmp_path):
    with starting(tmp_path, is_traced=False, DEVTRACE_PROBE_INSECURE="1") as api:
        api.port = int(eval(api.program.do(ADDRESS)).rpartition(":")[2])

        assert api.call("GET", "/health", token=None).document["status"] == "healthy"
        assert api.call("POST", "/tracepoints", SET, token=None).status == 201
        assert api.program.do("app.add(1, 2)") == "3"
        assert api.program.end() == 0
    assert api.program.told_errors == ""


ADDRESS = "__import__('devtrace.probes.agent').probes.agent.current().asking.address"


def test_outside_of_a_traced_shell_a_program_has_a_session_of_its_own(tmp_path):
    (tmp_path / ".devtrace").mkdir(mode=0o700)
    (tmp_path / ".devtrace" / "devtrace.db").touch()
    with starting(tmp_path, is_traced=False) as api:
        api.call("POST", "/tracepoints", SET)
        api.program.do("app.add(1, 2)")
        api.program.end()

    begun, ended = rows(api.program)
    assert (begun["kind"], begun["status"], begun["title"]) == ("probe", "active", "listens.py")
    assert (ended["id"], ended["status"]) == (begun["id"], "ended")
    assert ended["ended_us"] >= begun["started_us"]
    assert {(frame["session"], frame["parent"]) for frame in api.program.frames()} == {(begun["id"], None)}
    assert list(registry.folder(api.program.store).iterdir()) == []


def rows(program: Program) -> list[dict[str, Any]]:
    found = []
    for file in program.store.spool.glob("*.spool"):
        found += read_frames(file.read_bytes(), is_finished=True).frames
    return [frame["columns"] for frame in found if "columns" in frame]


def test_a_child_of_a_fork_does_not_end_its_parent_s_session(tmp_path):
    (tmp_path / ".devtrace").mkdir(mode=0o700)
    (tmp_path / ".devtrace" / "devtrace.db").touch()
    with starting(tmp_path, is_traced=False) as api:
        api.call("POST", "/tracepoints", SET)
        api.program.do("import os, sys")
        api.program.do("child = os.fork(); child or (app.add(1, 2), os.dup2(2, 1), sys.exit())")
        api.program.do("os.waitpid(child, 0)[1]")
        assert [row["status"] for row in rows(api.program)] == ["active"]
        api.program.end()

    assert [row["status"] for row in rows(api.program)] == ["active", "ended"]


@pytest.mark.parametrize("call", ["start(enable_control_api=False)", "start(control_api_port={busy})"])
def test_who_has_no_http_is_reached_by_the_unix_socket(tmp_path, call):
    (tmp_path / ".devtrace").mkdir(mode=0o700)
    (tmp_path / ".devtrace" / "devtrace.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        call = "devtrace.probes." + call.format(busy=busy.getsockname()[1])
        with starting(tmp_path, call=call, is_traced=False) as api:
            api.program.do("1")
            assert api.program.entry()["wakes"] is True
            told = api.program.ask("GET", "/health")[1]["control"]
            assert api.program.end() == 0

    assert told["http"] is None
    assert told["problem"] == ("" if "False" in call else "no HTTP at 127.0.0.1: Address already in use")
    assert api.program.told_errors == ""


def test_started_by_a_thread_a_program_is_reached_too(tmp_path):
    (tmp_path / ".devtrace").mkdir(mode=0o700)
    (tmp_path / ".devtrace" / "devtrace.db").touch()
    call = (
        "import threading; starter = threading.Thread(target=devtrace.probes.start,"
        " kwargs={'enable_control_api': False}); starter.start(); starter.join()"
    )
    with starting(tmp_path, call=call, is_traced=False) as api:
        api.program.do("1")

        assert api.program.ask("GET", "/health")[0] == 200
        assert api.program.entry()["wakes"] is False  # so its thread stays
        assert api.program.end() == 0


# --- environment --------------------------------------------------------------------------------------------


def test_the_environment_names_another_port(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with starting(tmp_path, DEBUGIN_CONTROL_API_PORT=str(port), call="devtrace.probes.start()") as api:
        assert api.port == port


@pytest.mark.parametrize("port", ["none", "-1", "70000"])
def test_no_port_is_no_reason_to_fail(tmp_path, port):
    with starting(tmp_path, DEBUGIN_CONTROL_API_PORT=port) as api:
        assert "no HTTP at 127.0.0.1: " in api.program.ask("GET", "/health")[1]["control"]["problem"]
        assert api.program.end() == 0
    assert api.program.told_errors == ""


def test_the_environment_names_another_address_of_this_machine(tmp_path):
    with starting(tmp_path, DEBUGIN_CONTROL_API_HOST="localhost") as api:
        assert api.call("GET", "/points").status == 200


def test_an_address_that_others_reach_needs_the_token_always(tmp_path):
    with starting(tmp_path, DEBUGIN_CONTROL_API_BIND_ALL="1", DEVTRACE_PROBE_INSECURE="1") as api:
        assert api.call("GET", "/points").status == 200
        assert api.call("GET", "/points", token=None).status == 401
        assert api.call("GET", "/health", token=None).status == 200


def test_an_address_that_others_reach_is_refused_where_there_is_no_token(tmp_path):
    (tmp_path / ".devtrace" / "run").mkdir(mode=0o700, parents=True)
    token = tmp_path / ".devtrace" / "run" / "control.token"
    token.write_text("0" * 64)
    token.chmod(0o644)
    with starting(tmp_path, DEBUGIN_CONTROL_API_BIND_ALL="1") as api:
        told = api.program.ask("GET", "/health")[1]["control"]
        assert (told["http"], told["problem"]) == (
            None,
            "no HTTP at 0.0.0.0: it must be a file of yours with mode 0600",
        )
        assert api.program.end() == 0


def test_neither_is_it_without_a_store(tmp_path):
    with starting(tmp_path, is_traced=False, DEBUGIN_CONTROL_API_BIND_ALL="1") as api:
        path = until(lambda: eval(api.program.do(SOCKET)))
        told = api.over_unix(path, "GET", "/health").document["control"]
        assert told["http"] is None
        assert told["problem"] == "no HTTP at 0.0.0.0: other machines could reach it without a token"
        assert api.program.end() == 0


SOCKET = "__import__('devtrace.probes.agent').probes.agent.current().asking.told()['socket']"


@pytest.mark.parametrize(
    ("asked", "because"),
    [
        ("auto", "sys.monitoring is there, and costs nothing where no probe sits"),
        ("native", "there is no native engine, and sys.monitoring is the quickest here"),
        ("pytrace", "it was asked for"),
        ("nonsense", "there is no engine 'nonsense', and sys.monitoring is the quickest here"),
    ],
)
def test_the_engine_is_chosen_and_why_is_told(tmp_path, asked, because):
    with starting(tmp_path, TRACEPOINTDEBUG_ENGINE=asked) as api:
        told = api.call("GET", "/health").document["engine"]
        api.call("POST", "/logpoints", LOG)
        api.program.do("app.add(1, 2)")
        api.program.end()

    if sys.version_info < (3, 12):
        because = because if asked == "pytrace" else "sys.monitoring arrived in Python 3.12"
    is_monitoring = sys.version_info >= (3, 12) and asked != "pytrace"
    assert told == {"name": "monitoring" if is_monitoring else "pytrace", "because": because}
    assert api.program.messages() == ["x=1"]


def test_a_broker_is_told_and_not_reached(tmp_path):
    with starting(tmp_path, DEBUGIN_BROKER_URL="wss://broker.example/app") as api:
        told = api.call("GET", "/health").document["broker"]

    assert told == {"connected": False, "url": "wss://broker.example/app"}


def test_events_reach_a_receiver(tmp_path):
    receiver = probe_sink.serve(0)
    serving = threading.Thread(target=receiver.serve_forever)
    serving.start()
    try:
        with starting(tmp_path, DEBUGIN_EVENT_SINK_URL=f"http://127.0.0.1:{receiver.port}") as api:
            api.call("POST", "/logpoints", LOG)
            api.program.do("app.add(1, 2)")
            (hit,) = until(lambda: receiver.received.chosen("python", "probe.hit.logpoint"))
            sink = api.call("GET", "/health").document["eventSink"]
            api.program.end()
    finally:
        receiver.close()
        serving.join(DEADLINE)

    assert (sink["connected"], sink["url"]) == (True, f"http://127.0.0.1:{receiver.port}")
    assert hit["payload"]["message"] == "x=1"
    told = {one["id"] for one in events(api.program) if one["name"] != "agent.status.stopped"}
    assert {one["id"] for one in receiver.received.chosen(None, None)} >= told
    assert [found for one in receiver.received.chosen(None, None) for found in faults(one)] == []


# --- the program's own redaction ----------------------------------------------------------------------------

OWN = """\
def shout(value):
    return value.upper() if isinstance(value, str) else value
def broken(value):
    raise RuntimeError('of the program')
"""


@pytest.mark.parametrize(("function", "told"), [("shout", "ANA"), ("broken", "***REDACTED***")])
def test_what_the_program_redacts_is_told_so(tmp_path, function, told):
    call = OWN + f"devtrace.probes.start({function}, {function}, control_api_port=0)"
    with starting(tmp_path, call=call) as api:
        api.call("POST", "/tracepoints", SET)
        api.call("POST", "/logpoints", LOG)
        api.program.do("app.add('ana', 'bob')")
        api.program.end()

    (hit,) = api.program.told("probe.hit.snapshot")
    assert hit["snapshot"]["locals"]["x"] == told
    assert api.program.messages() == [f"x={told}"]
    assert "ana" not in str(api.program.told("probe.hit"))
    assert api.program.told_errors == ""


def test_it_holds_for_probes_that_are_set_already(api):
    api.call("POST", "/tracepoints", SET)
    for line in (
        "def shout(value): return value.upper()",
        "devtrace.probes.start(shout)",
        "app.add('ana', 'bob')",
    ):
        api.program.do(line)
    api.program.end()

    assert api.program.told("probe.hit")[0]["snapshot"]["locals"]["x"] == "ANA"
