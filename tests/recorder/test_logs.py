"""The recorder's log: its lines, its levels, where they go, and that it never hurts the program."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.errors import EnvironmentError as StoreError
from devtrace.ids import is_session_id
from devtrace.recorder import errors, log_filter, logs, metrics
from devtrace.recorder.logs import log
from devtrace.recorder.policy import configure_policy
from tests.processes import environment

Lines = Callable[[], list[dict[str, Any]]]
PASSPHRASE = "correct-horse-battery"


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    metrics.reset()
    yield
    configure_policy(log_level="", log_file="", json_errors=False)
    logs.set_trace_id(None)
    metrics.reset()


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Lines:
    """The lines that reached file descriptor 2 since the last call."""
    return lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A log file, set."""
    configure_policy(log_file=tmp_path / "recorder.log")
    return tmp_path / "recorder.log"


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def lost() -> int:
    return metrics.snapshot()["dropped_events"].get("log_line_lost", 0)


# --- a line ---


def test_a_line_has_the_documented_fields(lines: Lines) -> None:
    before = time.time_ns() // 1000

    log("error", "no space", target="devtrace.recorder.engine", code="ERR_IO", fields={"path": "t", "n": 1})

    (line,) = lines()
    assert before <= line.pop("ts_micros") <= time.time_ns() // 1000
    assert is_session_id(line.pop("run_id"))
    assert line.pop("line") > 0
    assert line.pop("file").endswith("test_logs.py")
    assert line.pop("module_path") == __name__
    assert line == {
        "level": "ERROR",
        "target": "devtrace.recorder.engine",
        "message": "no space",
        "error_code": "ERR_IO",
        "fields": {"path": "t", "n": 1, "error_code": "ERR_IO"},
    }


def test_what_there_is_not_is_left_out(lines: Lines) -> None:
    log("warn", "only words")

    (line,) = lines()
    assert set(line) == {"ts_micros", "level", "target", "run_id", "message", "module_path", "file", "line"}


def test_a_line_names_our_file_by_its_place_in_the_package(lines: Lines, tmp_path: Path) -> None:
    configure_policy(log_file=tmp_path / "missing" / "recorder.log", log_level="debug")

    log("debug", "lost")

    (line,) = lines()
    assert (line["file"], line["module_path"]) == ("devtrace/recorder/logs.py", "devtrace.recorder.logs")


def test_a_line_is_one_line_of_ascii(file: Path) -> None:
    log("warn", "two\nlines: é \udcff")

    text = file.read_bytes()
    assert text.count(b"\n") == 1
    assert text.isascii()
    assert json.loads(text)["message"] == "two\nlines: é \udcff"


def test_a_line_belongs_to_the_trace_that_is_recorded(lines: Lines) -> None:
    logs.set_trace_id("4bf92f3577b34da6a3ce929d0e0e4736")
    log("warn", "recorded")
    logs.set_trace_id(None)
    log("warn", "not recorded")

    assert [line.get("trace_id") for line in lines()] == ["4bf92f3577b34da6a3ce929d0e0e4736", None]
    assert logs.trace_id() is None


def test_a_process_has_one_run_id_and_its_child_another() -> None:
    mine = logs.run_id()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, logs.run_id().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        theirs = answer.read()
    os.waitpid(child, 0)

    assert is_session_id(theirs)
    assert theirs != mine
    assert logs.run_id() == mine


def test_a_long_message_is_cut(lines: Lines) -> None:
    log("warn", "word " * 10_000)

    (line,) = lines()
    assert len(line["message"]) == 8192


def test_an_object_in_a_field_is_told_by_its_class(lines: Lines) -> None:
    class Theirs:
        def __repr__(self) -> str:
            raise AssertionError("the recorder ran code of the user's")

    log("warn", "words", fields={"value": Theirs(), "in": [Theirs()]})

    (line,) = lines()
    assert line["fields"] == {"value": "Theirs", "in": ["Theirs"]}


# --- what must not be in it ---


def in_a_new_thread(call: Callable[[], None]) -> None:
    """A thread makes its redaction policy at its first line, of the environment as it is then."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_no_text_of_a_line_holds_a_secret(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", PASSPHRASE)

    in_a_new_thread(
        lambda: log("warn", f"with {PASSPHRASE}", fields={"a": PASSPHRASE, "in": [{"b": f"x {PASSPHRASE}"}]})
    )

    (line,) = lines()
    assert line["message"] == "with [redacted:known-value]"
    assert PASSPHRASE not in json.dumps(line)


def test_no_text_of_a_trailer_holds_a_secret(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", PASSPHRASE)
    configure_policy(json_errors=True)
    error = errors.UsageError(f"no {PASSPHRASE}", code="ERR_IO", context={"value": PASSPHRASE})

    in_a_new_thread(lambda: logs.tell_trailer(error))

    (line,) = lines()
    assert line["message"] == "no [redacted:known-value]"
    assert line["context"] == {"value": "[redacted:known-value]"}


def test_what_cannot_be_judged_is_withheld(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "devtrace.policy.chain", None)

    in_a_new_thread(lambda: log("warn", "words", fields={"a": "b"}))

    (line,) = lines()
    assert line["message"] == "[withheld: policy failure]"
    assert "fields" not in line


# --- levels ---

LEVELS = ["error", "warn", "info", "debug", "trace"]


def test_errors_and_warnings_are_written_unless_told_otherwise(lines: Lines) -> None:
    for level in LEVELS:
        log(level, "words")

    assert [line["level"] for line in lines()] == ["ERROR", "WARN"]


@pytest.mark.parametrize(
    ("spec", "count"), [("off", 0), *((level, LEVELS.index(level) + 1) for level in LEVELS)]
)
@pytest.mark.parametrize(
    "form", ["{}", " {} ", "devtrace.recorder={}", "codetracer_python_recorder={}", "devtrace={}"]
)
def test_each_level_lets_through_itself_and_what_is_worse(
    spec: str, count: int, form: str, lines: Lines
) -> None:
    configure_policy(log_level=form.format(spec.upper()))

    for level in LEVELS:
        log(level, "words")

    assert [line["level"].lower() for line in lines()] == LEVELS[:count]


@pytest.mark.parametrize(
    ("spec", "target", "allowed"),
    [
        ("devtrace.recorder.engine=debug", "devtrace.recorder.engine", "debug"),
        ("devtrace.recorder.engine=debug", "devtrace.recorder.engine.monitoring", "debug"),
        ("devtrace.recorder.engine=debug", "devtrace.recorder.engines", "warn"),
        ("devtrace.recorder.engine=debug", "devtrace.recorder", "warn"),
        ("debug,devtrace.recorder.engine=error", "devtrace.recorder.engine", "error"),
        ("devtrace.recorder.engine=error,debug", "devtrace.recorder.policy", "debug"),
        ("devtrace.recorder.engine=trace,devtrace.recorder=off", "devtrace.recorder.engine", "trace"),
        ("devtrace.recorder=off,devtrace.recorder.engine=trace", "devtrace.recorder.engine", "trace"),
        ("devtrace.recorder=off,devtrace.recorder.engine=trace", "devtrace.recorder.errors", "off"),
        ("devtrace.recorder=info,devtrace.recorder=debug", "devtrace.recorder", "debug"),
        ("codetracer_python_recorder::errors=info", "devtrace.recorder.errors", "info"),
        ("codetracer_python_recorder_other=debug", "devtrace.recorder", "warn"),
        ("hyper=trace", "devtrace.recorder", "warn"),
        (",, devtrace.recorder = info ,", "devtrace.recorder", "info"),
    ],
)
def test_the_longest_name_that_a_target_lies_in_decides(spec: str, target: str, allowed: str) -> None:
    levels = log_filter.parse(spec)

    at_most = [level for level in LEVELS if levels.allows(level, target)]

    assert at_most == LEVELS[: log_filter.LEVELS[allowed]]


@pytest.mark.parametrize(
    "spec", ["loud", "devtrace.recorder", "devtrace.recorder=", "=", "debug,loud", "a=b=c"]
)
def test_a_level_that_is_none_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="is no level"):
        log_filter.parse(spec)


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        ("codetracer_python_recorder=debug", "debug"),
        ("hyper=loud,devtrace.recorder=info", "info"),
        ("trace", "warn"),
        ("hyper=trace", "warn"),
        ("devtrace.recorder=loud", "warn"),
        ("", "warn"),
    ],
)
def test_rust_log_counts_where_it_names_the_recorder(spec: str, allowed: str) -> None:
    program = f"from devtrace.recorder import logs; [logs.log(level, 'words') for level in {LEVELS}]"
    world = environment(RUST_LOG=spec)

    told = subprocess.run(
        [sys.executable, "-c", program], env=world, capture_output=True, text=True, check=True
    )

    written = [json.loads(line)["level"].lower() for line in told.stderr.splitlines()]
    assert written == LEVELS[: log_filter.LEVELS[allowed]]


def test_the_policy_wins_over_rust_log() -> None:
    program = (
        "from devtrace.recorder import logs, policy; policy.configure_policy(log_level='off');"
        "logs.log('error', 'words')"
    )
    world = environment(RUST_LOG="devtrace.recorder=trace")

    told = subprocess.run(
        [sys.executable, "-c", program], env=world, capture_output=True, text=True, check=True
    )

    assert told.stderr == ""


# --- errors ---


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        (errors.UsageError, "DEBUG"),
        (errors.EnvironmentError, "ERROR"),
        (errors.TargetError, "ERROR"),
        (errors.InternalError, "ERROR"),
    ],
)
def test_an_error_that_the_caller_gets_is_no_error_of_the_log(
    kind: type[errors.RecorderError], level: str, lines: Lines
) -> None:
    configure_policy(log_level="debug")

    logs.log_error(kind("no space", code="ERR_IO", context={"path": "t"}), "start")

    (line,) = lines()
    assert line["level"] == level
    assert line["target"] == "devtrace.recorder.errors"
    assert line["message"] == "start: no space (path=t)"
    assert line["error_code"] == "ERR_IO"
    assert line["module_path"] == __name__


def test_a_usage_error_leaves_stderr_alone(lines: Lines) -> None:
    logs.log_error(errors.UsageError("asked twice", code="ERR_ALREADY_TRACING"))

    assert lines() == []


def test_a_trailer_is_written_only_where_it_was_asked_for(lines: Lines) -> None:
    error = StoreError("no store", code="ERR_STORE_MISSING", context={"path": "t"})
    logs.set_trace_id("4bf92f3577b34da6a3ce929d0e0e4736")

    logs.tell_trailer(error)
    assert lines() == []
    configure_policy(json_errors=True)
    logs.tell_trailer(error)

    assert lines() == [
        {
            "run_id": logs.run_id(),
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "error_code": "ERR_STORE_MISSING",
            "error_kind": "Environment",
            "message": "no store",
            "context": {"path": "t"},
        }
    ]


# --- where it goes ---


def test_a_line_goes_past_the_programs_own_stderr(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = io.StringIO()
    monkeypatch.setattr(sys, "stderr", theirs)

    log("warn", "words")

    assert len(lines()) == 1
    assert theirs.getvalue() == ""


def test_a_log_file_is_the_users_alone_and_is_appended_to(file: Path, lines: Lines) -> None:
    old = os.umask(0)
    try:
        log("warn", "one")
    finally:
        os.umask(old)
    log("warn", "two")

    assert [line["message"] for line in read(file)] == ["one", "two"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert lines() == []


def test_a_log_file_is_not_held_open(file: Path) -> None:
    log("warn", "one")
    before = set(os.listdir("/dev/fd"))
    log("warn", "two")
    file.rename(file.with_name("old.log"))

    log("warn", "three")

    assert [line["message"] for line in read(file)] == ["three"]
    assert len(os.listdir("/dev/fd")) == len(before)


def a_link(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [a_link, a_fifo, Path.mkdir])
def test_a_log_file_that_cannot_be_opened_is_told_once(
    make: Callable[[Path], None], tmp_path: Path, lines: Lines
) -> None:
    path = tmp_path / "recorder.log"
    make(path)
    configure_policy(log_file=path, log_level="debug")

    log("debug", "small")
    log("warn", "large")
    log("error", "larger")

    told = lines()
    assert [(line["level"], line["target"]) for line in told] == [
        ("WARN", "devtrace.recorder.logs"),
        ("WARN", "devtrace.recorder"),
        ("ERROR", "devtrace.recorder"),
    ]
    assert str(path) in told[0]["message"]
    assert told[0]["error_code"] == "ERR_IO"
    assert lost() == 1
    assert not (tmp_path / "target").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="because /dev/full is missing")
def test_a_line_that_the_disk_does_not_take_is_counted(lines: Lines) -> None:
    configure_policy(log_file="/dev/full")

    log("error", "words")

    assert lines() == []
    assert lost() == 1


def test_without_a_stderr_lines_are_counted_and_the_program_goes_on() -> None:
    program = (
        "import os; from devtrace.recorder import logs, metrics, policy; os.close(2);"
        "policy.configure_policy(json_errors=True, log_file='/nowhere/at/all');"
        "from devtrace.recorder.errors import UsageError;"
        "logs.log('error', 'words'); logs.tell_trailer(UsageError('words', code='ERR_IO'));"
        "print(metrics.snapshot()['dropped_events'])"
    )

    told = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )

    assert told.stdout == "{'log_line_lost': 2}\n"


def test_a_field_that_is_no_json_costs_its_line_only(lines: Lines) -> None:
    log("error", "words", fields={"in": {("a", "b"): 1}})
    log("error", "more words")

    assert [line["message"] for line in lines()] == ["more words"]
    assert lost() == 1


def test_lines_of_several_threads_do_not_mix(file: Path) -> None:
    def write(number: int) -> None:
        for count in range(50):
            log("warn", f"{number}:{count}" + "x" * 5_000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    told = [line["message"].rstrip("x") for line in read(file)]
    assert sorted(told) == sorted(f"{number}:{count}" for number in range(4) for count in range(50))
    assert lost() == 0
