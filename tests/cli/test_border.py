"""Errors become text, a trailer and an exit status; our own bugs leave a log."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest

from devtrace import workspace
from devtrace.cli.border import guarded, take_json_errors
from devtrace.errors import CODES, EnvironmentError, InternalError, TargetError, UsageError
from devtrace.workspace import Workspace


def fail(error: BaseException):
    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x", code="ERR_USAGE"), 2),
        (EnvironmentError("x", code="ERR_STORE_MISSING"), 1),
        (TargetError("x", code="ERR_TARGET_START"), 1),
        (InternalError("x", code="ERR_INTERNAL"), 3),
        (ZeroDivisionError("x"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_kind_of_error_has_its_status(error, status, capsys):
    assert guarded(fail(error)) == status
    assert capsys.readouterr().out == ""


def test_a_command_that_succeeds_keeps_its_status():
    assert guarded(lambda: 7) == 7


def test_an_error_is_its_sentence_its_code_and_its_hint(capsys):
    guarded(fail(UsageError("no such thing", code="ERR_USAGE", hint="try another")))

    assert capsys.readouterr().err == "error: no such thing [ERR_USAGE]\n hint: try another\n"


def test_without_a_hint_there_is_no_empty_line(capsys):
    guarded(fail(UsageError("no", code="ERR_USAGE")))

    assert capsys.readouterr().err == "error: no [ERR_USAGE]\n"


def test_hostile_names_in_an_error_cannot_act_on_the_terminal(capsys):
    guarded(fail(UsageError("no \x1b[2J\n\u202e", code="ERR_USAGE", hint="\x07")))

    assert capsys.readouterr().err == "error: no \\e[2J\\n\\u202e [ERR_USAGE]\n hint: \\x07\n"


def test_the_trailer_is_one_line_of_json(capsys):
    guarded(
        fail(UsageError("a\nb", code="ERR_USAGE", context={"path": workspace.Path("/x")})), json_errors=True
    )

    trailer = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert trailer["error"]["message"] == "a\nb"
    assert trailer["error"]["context"] == {"path": "/x"}


@pytest.fixture
def store(monkeypatch, tmp_path) -> Workspace:
    made = Workspace(tmp_path / ".devtrace")
    workspace.create(made)
    made.database.touch()
    monkeypatch.chdir(tmp_path)
    return made


def test_a_bug_is_told_in_one_sentence_and_logged_in_full(store, capsys):
    guarded(fail(ZeroDivisionError("by nought")))

    log = store.log / "errors.log"
    told = capsys.readouterr().err
    assert told.startswith("error: a bug in devtrace: ZeroDivisionError: by nought [ERR_INTERNAL]\n hint: ")
    assert str(log) in told
    assert "Traceback" not in told
    assert "ZeroDivisionError: by nought" in log.read_text()
    assert "in run" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_secret_in_a_traceback_is_not_logged(store, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "hunter2-hunter2")

    guarded(fail(ValueError("https://ana:swordfish@example.org hunter2-hunter2")))

    log = (store.log / "errors.log").read_text()
    assert "swordfish" not in log
    assert "hunter2" not in log


def test_outside_a_store_a_bug_is_logged_in_the_runtime_directory(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    guarded(fail(ZeroDivisionError("by nought")))

    assert "by nought" in (workspace.runtime_base() / "errors.log").read_text()
    assert str(workspace.runtime_base()) in capsys.readouterr().err


def test_where_nothing_can_be_logged_the_traceback_is_shown(store, capsys):
    (store.log / "errors.log").symlink_to("elsewhere")

    guarded(fail(ZeroDivisionError("by nought")))

    assert "Traceback" in capsys.readouterr().err


def test_the_log_does_not_grow_for_ever(store):
    log = store.log / "errors.log"
    log.write_bytes(b"x" * (2 << 20))

    guarded(fail(ZeroDivisionError("by nought")))

    assert log.stat().st_size < 10_000


@pytest.mark.parametrize(
    ("argv", "words", "asked"),
    [
        (["show"], ["show"], False),
        (["show", "--json-errors", "x"], ["show", "x"], True),
        (["--json-errors", "show"], ["show"], True),
        (["note", "--", "--json-errors"], ["note", "--", "--json-errors"], False),
        (["shell", "--json-errors"], ["shell", "--json-errors"], True),
        (["--json-errors", "run", "--", "x"], ["run", "--json-errors", "--", "x"], True),
        (["run", "--", "x", "--json-errors"], ["run", "--", "x", "--json-errors"], False),
        ([], [], False),
    ],
)
def test_the_option_is_found_wherever_it_is_ours(argv, words, asked):
    assert take_json_errors(argv) == (words, asked)


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("changes", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_only_a_terminal_that_wants_colours_gets_them(monkeypatch, changes, coloured):
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", FakeTerminal())

    guarded(fail(UsageError("no", code="ERR_USAGE")))

    assert sys.stderr.getvalue().startswith("\x1b[1;31merror:\x1b[0m") is coloured


def test_every_code_that_is_raised_is_documented():
    import re
    from pathlib import Path

    import devtrace

    package = Path(devtrace.__file__).parent
    used = {
        code for file in package.rglob("*.py") for code in re.findall(r'code="(ERR_\w+)"', file.read_text())
    }

    assert used - set(CODES) == set()
    assert os.path.exists(package)
