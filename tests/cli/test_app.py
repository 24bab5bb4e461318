"""The front door: help, versions, and what a wrong command line is told."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from devtrace import __version__
from tests.processes import environment

COMMANDS = ("init", "sessions", "show", "diff", "log", "note", "stats", "export", "doctor", "config")


def test_help_lists_every_command(run):
    told = run("--help")

    assert told.status == 0
    assert [name for name in (*COMMANDS, "shell", "run") if f"  {name} " not in told.out] == []
    assert "..." not in told.out.split("Commands:")[1], "a summary is too long for its line"


def test_without_a_command_there_is_help(run):
    told = run()

    assert (told.status, told.err) == (0, "")
    assert told.out == run("-h").out


def test_the_version_is_the_packages(run):
    assert run("--version").out == f"devtrace {__version__}\n"


@pytest.mark.parametrize("command", [*COMMANDS, "config get", "config set", "config list"])
def test_the_help_of_a_command_begins_with_an_order_and_ends_with_an_example(run, command):
    told = run(*command.split(), "--help")

    assert told.status == 0
    first = told.out.split("\n\n")[1].split()[0]
    assert first[0].isupper()
    assert not first.endswith("s")
    if command != "config":
        assert f"devtrace {command}" in told.out.split("Example:")[1]


@pytest.mark.parametrize(
    "words", [("--json",), ("show", "--nope"), ("shwo",), ("export", "x"), ("config", "get"), ("note",)]
)
def test_a_wrong_command_line_is_status_2_with_a_hint(run, words):
    told = run(*words)

    assert told.status == 2
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert "[ERR_USAGE]\n hint: see `devtrace" in told.err


def test_a_question_without_a_store_says_how_to_make_one(run, tmp_path):
    told = run("show", cwd=tmp_path)

    assert told.status == 1
    assert told.err == (
        f"error: no .devtrace/ in {tmp_path} or above [ERR_STORE_MISSING]\n"
        " hint: run `devtrace init` in the repository root\n"
    )


@pytest.mark.parametrize("words", [("--json-errors", "show"), ("show", "--json-errors")])
def test_json_errors_end_with_a_trailer_for_machines(run, tmp_path, words):
    told = run(*words, cwd=tmp_path)

    trailer = json.loads(told.err.splitlines()[-1])
    assert trailer["error"]["code"] == "ERR_STORE_MISSING"
    assert trailer["error"]["kind"] == "EnvironmentError"
    assert trailer["error"]["hint"]
    assert trailer["error"]["context"] == {"start": str(tmp_path)}
    assert told.err.startswith("error: no .devtrace/")


def test_a_damaged_store_is_an_error_with_its_code(run, recorded):
    recorded.close()
    recorded.workspace.database.write_bytes(b"not a database at all" * 200)

    told = run("sessions")

    assert told.status == 1
    assert "[ERR_STORE_DAMAGED]" in told.err
    assert " hint: " in told.err


def test_a_store_of_a_newer_devtrace_is_left_alone(run, recorded):
    recorded.db.execute("PRAGMA user_version = 999")

    told = run("sessions")

    assert (told.status, "[ERR_STORE_NEWER]" in told.err) == (1, True)


def test_a_symbolic_link_in_place_of_the_store_is_refused(run, repo, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (repo / ".devtrace").symlink_to(tmp_path / "elsewhere")

    assert "[ERR_STORE_UNSAFE]" in run("sessions").err


@pytest.mark.parametrize(
    "words", ["show", "show --json", "log -n 3000", "log -n 3000 --json", "stats --json"]
)
def test_a_reader_that_goes_away_is_no_error(repo, recorded, words):
    recorded.session()
    for number in range(300):
        recorded.command(f"echo {'x' * 1000} {number}", number)
    process = subprocess.Popen(
        [sys.executable, "-m", "devtrace", *words.split()], cwd=repo, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.read(10)
    process.stdout.close()

    assert (process.wait(30), process.stderr.read()) == (0, b"")
    process.stderr.close()


def test_a_group_without_a_command_shows_its_help(run):
    told = run("config")

    assert (told.status, told.err) == (0, "")
    assert told.out == run("config", "--help").out


@pytest.mark.unmeasured
def test_reading_commands_do_not_import_what_they_do_not_need(repo, recorded):
    recorded.session()
    recorded.command("ls")
    heavy = (
        "sqlite_utils",
        "tomlkit",
        "tomllib",
        "ptyprocess",
        "pydantic",
        "rich.table",
        "asyncio",
    )
    code = (
        "import sys; from devtrace.__main__ import main; main(['show'])\n"
        f"sys.stderr.write(repr([name for name in {heavy!r} if name in sys.modules]))"
    )

    told = subprocess.run(
        [sys.executable, "-c", code], cwd=repo, env=environment(), capture_output=True, text=True, check=True
    )

    assert told.stderr == "[]"
