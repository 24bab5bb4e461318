"""Start, stop and what stands between: every documented name, default and error."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtrace import recorder
from devtrace.recorder import api, metrics
from devtrace.store.trace.segments import SUFFIX
from tests.recorder.recordings import CHECKOUT, Told, record

ENGINES = ["settrace"] if sys.version_info < (3, 12) else ["monitoring", "settrace"]
each_engine = pytest.mark.parametrize("engine", ENGINES)

DOCUMENTED = {
    "start": [
        "path",
        "format",
        "start_on_enter",
        "trace_filter",
        "policy",
        "apply_env_policy",
        "only",
        "argv",
    ],
    "stop": ["exit_code"],
    "is_tracing": [],
    "flush": [],
    "trace": ["path", "format", "trace_filter", "policy", "apply_env_policy", "only"],
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEVTRACE_DIR", raising=False)


def segments(folder):
    return sorted(Path(folder).glob(f"*{SUFFIX}"))


def work():
    return 1


@pytest.mark.parametrize("name", DOCUMENTED)
def test_each_function_takes_what_is_documented(name):
    parameters = inspect.signature(getattr(recorder, name)).parameters

    assert list(parameters) == DOCUMENTED[name]
    assert all(one.kind is one.KEYWORD_ONLY for one in parameters.values() if one.name != "path")


def test_the_constants_have_their_documented_values():
    assert (recorder.TRACE_BINARY, recorder.TRACE_JSON, recorder.DEFAULT_FORMAT) == (
        "binary",
        "json",
        "binary",
    )


def test_everything_that_is_exported_is_there():
    assert [name for name in recorder.__all__ if not hasattr(recorder, name)] == []
    wanted = {"start", "stop", "is_tracing", "flush", "trace", "TraceSession", "configure_policy"}
    wanted |= {"configure_policy_from_env", "policy_snapshot", "set_metrics_sink", "RecorderError"}
    assert wanted <= set(recorder.__all__)


def test_a_trace_is_active_between_start_and_stop():
    session = recorder.start("out")

    assert recorder.is_tracing()
    assert (session.path, session.format) == (Path.cwd() / "out", "binary")
    work()
    session.flush()
    session.stop(exit_code=3)
    assert not recorder.is_tracing()
    (segment,) = segments("out")
    assert Told(segment).note("exit")["code"] == 3


def test_a_second_start_is_refused_and_the_first_goes_on():
    with recorder.start("out"):
        with pytest.raises(RuntimeError, match="tracing already active"):
            recorder.start("other")
        assert recorder.is_tracing()


def test_a_session_that_has_ended_stops_nobody_elses():
    first = recorder.start("one")
    first.stop()
    second = recorder.start("two")
    first.stop()

    assert recorder.is_tracing()
    second.stop()


def test_stop_and_flush_do_nothing_when_nothing_is_recorded():
    recorder.stop()
    recorder.stop(exit_code=1)
    recorder.flush()


def test_a_with_block_is_recorded_and_no_more():
    with recorder.trace("out", only=[__file__]):
        work()
    work()

    (segment,) = segments("out")
    assert Told(segment).kinds("work") == ["call", "line", "return"]


@pytest.mark.parametrize("name", ["binary", "binaryv0", "binary_v0", "b0"])
def test_the_binary_format_has_its_aliases(name):
    with recorder.start("out", format=name) as session:
        assert session.format == "binary"


def test_an_unknown_format_is_a_value_error():
    with pytest.raises(ValueError, match="unsupported trace format"):
        recorder.start("out", format="xml")


def test_a_path_that_is_a_file_is_a_value_error():
    Path("file").write_text("")
    with pytest.raises(ValueError, match="trace path exists and is not a directory"):
        recorder.start("file")


def test_a_path_that_cannot_be_made_is_an_environment_error():
    Path("file").write_text("")
    with pytest.raises(recorder.EnvironmentError) as caught:
        recorder.start("file/inside")

    assert caught.value.code == "ERR_TRACE_DIR_CREATE_FAILED"
    assert not recorder.is_tracing()


def test_without_a_store_and_a_path_there_is_nowhere_to_go():
    with pytest.raises(recorder.EnvironmentError) as caught:
        recorder.start()

    assert caught.value.code == "ERR_STORE_MISSING"
    assert "devtrace init" in caught.value.hint


def test_filters_raise_what_is_documented(tmp_path):
    for given, error in (
        ("missing.toml", FileNotFoundError),
        (tmp_path, ValueError),
        ("", ValueError),
        (5, TypeError),
    ):
        with pytest.raises(error):
            recorder.start("out", trace_filter=given)
        assert not recorder.is_tracing()


def test_a_policy_is_taken_over_and_a_bad_one_starts_nothing():
    with recorder.start("out", policy={"detail": "calls"}):
        assert recorder.policy_snapshot()["detail"] == "calls"
    with pytest.raises(recorder.UsageError) as caught:
        recorder.start("out", policy={"detail": "much"})
    assert caught.value.code == "ERR_INVALID_POLICY_VALUE"
    assert not recorder.is_tracing()


@pytest.mark.parametrize(("applies", "expected"), [(True, "lines"), (False, "values")])
def test_the_environment_speaks_unless_it_is_told_not_to(monkeypatch, applies, expected):
    monkeypatch.setenv("DEVTRACE_RECORD_DETAIL", "lines")

    with recorder.start("out", apply_env_policy=applies):
        assert recorder.policy_snapshot()["detail"] == expected


def test_nothing_recorded_is_an_error_where_a_trace_is_required():
    recorder.start("out", policy={"require_trace": True}, only=["no.such.module"])

    with pytest.raises(recorder.EnvironmentError) as caught:
        recorder.stop()

    assert caught.value.code == "ERR_TRACE_MISSING"
    assert not recorder.is_tracing()


def test_metrics_are_kept_with_the_trace_and_told_to_a_sink():
    told = []
    recorder.set_metrics_sink(lambda name, value: told.append((name, value)))
    try:
        with recorder.start("out"):
            json.dumps({"a": 1}, indent=1)
            metrics.record_dropped_event("synthetic_filename")
    finally:
        recorder.set_metrics_sink(None)

    kept = Told(segments("out")[0]).note("exit")["metrics"]
    assert kept["dropped_events"]["filter_scope_skip"] > 0
    assert ("dropped_event", {"reason": "synthetic_filename", "count": 1}) in told


def test_what_is_begun_by_a_file_begins_with_its_first_call(tmp_path):
    (tmp_path / "late.py").write_text(
        "def late():\n    return early_again()\ndef early_again():\n    return 1\n"
    )
    run = record(
        "def early(): return 1\nearly()\nimport late\nlate.late()\nearly()\n",
        tmp_path,
        "--activation-path",
        str(tmp_path / "late.py"),
    )

    assert run.status == 0, run.stderr
    calls = [name for kind, name, _, _ in run.main.events if kind == "call"]
    assert calls == ["<module>", "late", "early_again", "early"]


def test_a_failure_of_ours_ends_the_record_and_not_the_program(tmp_path):
    source = """
from devtrace.recorder import monitoring, settrace, writing
def f(): return 1
f()
writing.Stream.define = None  # what we call then is a bug of ours
def g(): return 2
print(g(), g())
"""
    for mode, status in (("abort", 1), ("disable", 0)):
        folder = tmp_path / mode
        folder.mkdir()
        run = record(source, folder, "--on-recorder-error", mode, "--json-errors")

        assert (run.status, run.stdout) == (status, "2 2\n"), run.stderr
        assert run.main.kinds("f") == ["call", "line", "return"]
        assert run.main.note("gap") == {"reason": "recorder_failed"}
        trailers = [line for line in run.stderr.splitlines() if '"error_kind"' in line]
        assert [json.loads(line)["error_code"] for line in trailers] == ["ERR_UNKNOWN"] * (mode == "abort")


def test_a_signal_handlers_exception_is_the_programs_own(tmp_path):
    run = record(
        """
import signal, time
class Over(Exception): pass
def stop(*_): raise Over("time is up")
signal.signal(signal.SIGALRM, stop)
signal.setitimer(signal.ITIMER_REAL, 0.05)
total = 0
try:
    while True:
        total += 1
except Over as error:
    print(error, total > 0)
signal.signal(signal.SIGALRM, lambda *_: None)
for _ in range(200):
    signal.setitimer(signal.ITIMER_REAL, 0.0001)
    for number in range(200): total += number
print("done")
""",
        tmp_path,
    )

    assert (run.status, run.stdout, run.stderr) == (0, "time is up True\ndone\n", "")
    lost = {"reason": "tracer_lost"}  # CPython lets go of a trace function that an exception leaves
    assert run.main.note("gap") in ([None, lost] if sys.version_info < (3, 12) else [None])


@each_engine
def test_a_full_disk_ends_the_record_with_a_gap_and_not_the_program(tmp_path, engine):
    run = record(
        """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
def work(count):
    total = 0
    for number in range(count):
        total += number
    return total
print(work(300_000))
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert (run.status, run.stdout, run.stderr.count("disk_full")) == (0, f"{sum(range(300_000))}\n", 1)
    assert run.main.note("gap") == {"reason": "disk_full"}
    assert run.main.note("exit")["code"] == 0
    assert run.main.replay.n_events > 10_000


@each_engine
def test_the_cap_of_a_trace_ends_it_with_a_gap(tmp_path, engine):
    run = record(
        "def work(count):\n    for number in range(count):\n        x = number\nwork(200_000)\nprint(5)\n",
        tmp_path,
        "--engine",
        engine,
        environment={"DEVTRACE_RECORD_TRACE_MB": "1"},
    )

    assert (run.status, run.stdout) == (0, "5\n")
    assert run.main.note("gap") == {"reason": "trace_full"}
    assert run.main.note("exit")["code"] == 0
    assert sum(path.stat().st_size for path in run.folder.iterdir()) <= 1 << 20


def test_a_hot_loop_keeps_its_first_and_last_turns_and_counts_the_others(tmp_path):
    run = record(
        """
def before(): return 1
def work(count):
    total = 0
    for number in range(count):
        total += number
    return total
def after(): return 2
before()
work(150_000)
after()
""",
        tmp_path,
        environment={"DEVTRACE_RECORD_FOLD_MB": "1"},
    )

    told = run.main
    numbers = told.values("number")
    folded = told.note("folded")
    assert sum(path.stat().st_size for path in run.folder.iterdir()) < 5 << 20
    assert (numbers[0], numbers[-1]) == (0, 149_999)
    assert told.kinds("after") == ["call", "line", "return"]
    lines = [line for kind, name, line, _ in told.events if (kind, name) == ("line", "work")]
    counted = sum(count for _, _, count in folded)
    assert len(lines) + counted == 300_003
    assert len(lines) < 200_000


def test_other_monitoring_tools_go_on(tmp_path):
    if sys.version_info < (3, 12):
        pytest.skip("sys.monitoring arrived in 3.12")
    run = record(
        """
import sys
seen = []
m = sys.monitoring
m.use_tool_id(1, "coverage")
m.register_callback(1, m.events.LINE, lambda code, line: seen.append(line) if code.co_name == "f" else None)
m.set_events(1, m.events.LINE)
def f():
    x = 1
    return x
f()
m.set_events(1, 0)
print(len(seen))
""",
        tmp_path,
    )

    assert run.stdout == "2\n"
    assert run.main.kinds("f") == ["call", "line", "line", "return"]


def test_when_every_tool_id_is_taken_that_is_said(tmp_path):
    if sys.version_info < (3, 12):
        pytest.skip("sys.monitoring arrived in 3.12")
    code = (
        "import sys\nfrom devtrace import recorder\n"
        "for n in range(6): sys.monitoring.use_tool_id(n, 'other')\n"
        "try:\n    recorder.start('out')\nexcept recorder.EnvironmentError as error:\n    print(error.code)\n"
        "import os\nprint(os.listdir('out'), recorder.is_tracing())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )

    assert done.stdout == "ERR_TRACER_INSTALL_CONFLICT\n[] False\n", done.stderr


def test_a_tracer_in_the_way_is_a_conflict_for_settrace(tmp_path):
    code = (
        "import sys\nfrom devtrace import recorder\nsys.settrace(lambda *_: None)\n"
        "try:\n    recorder.start('out', policy={'engine': 'settrace'})\n"
        "except recorder.EnvironmentError as error:\n    print(error.code, 'sys.settrace' in str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )

    assert done.stdout == "ERR_TRACER_INSTALL_CONFLICT True\n", done.stderr


def test_an_interpreter_without_a_gil_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)

    with pytest.raises(recorder.EnvironmentError, match="without a GIL") as caught:
        recorder.start("out")

    assert caught.value.code == "ERR_TRACER_INSTALL_CONFLICT"
    assert api.is_tracing() is False


def test_the_trace_hangs_under_the_command_that_launched_it(tmp_path):
    session, span = "0" * 31 + "1", "0" * 15 + "2"
    run = record(
        "1\n",
        tmp_path,
        environment={"DEVTRACE_SESSION": session, "DEVTRACE_SPAN": span, "DEVTRACE_AGENT": "claude-code"},
    )

    process = run.main.note("process")
    assert (process["parent_session"], process["parent_event"]) == (session, span)
    assert (process["agent"], process["actor"]) == ("claude-code", "agent:claude-code")
    assert process["argv"] == [str(tmp_path / "program.py")]


def test_an_import_begins_a_trace_where_the_environment_says_so(tmp_path):
    (tmp_path / "app.py").write_text(
        "import devtrace.recorder as r\ndef f(): return 1\nf()\nprint(r.is_tracing())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "CODETRACER_TRACE": str(tmp_path / "out")}

    done = subprocess.run(
        [sys.executable, "app.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    (segment,) = segments(tmp_path / "out")
    assert Told(segment).kinds("f") == ["call", "line", "return"]


@each_engine
def test_a_program_at_the_limit_of_its_stack_sees_only_its_own_error(tmp_path, engine):
    run = record(
        """
import sys
def down(depth):
    return down(depth + 1)
def after():
    return 1
for _ in range(3):
    try:
        down(0)
    except RecursionError as error:
        print(error.args[0][:32])
after()
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert (run.status, run.stderr) == (0, "")
    assert run.stdout == "maximum recursion depth exceeded\n" * 3
    if (gap := run.main.note("gap")) is not None:  # CPython lets go of a trace function that it cannot call
        assert (engine, gap) == ("settrace", {"reason": "tracer_lost"})
    else:
        assert run.main.kinds("after") == ["call", "line", "return"]
        assert run.main.events[-1][1] == "<module>"
