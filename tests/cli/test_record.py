"""`devtrace record`: which interpreter carries it out, what it makes, where its options end."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from devtrace import __version__
from devtrace.cli import record
from devtrace.errors import TargetError
from devtrace.recorder.arguments import Target
from tests.interpreters import found, recordable
from tests.processes import environment

OWN = {"VIRTUAL_ENV": "", "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


# --- which interpreter --------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """An interpreter in a virtual environment, one on PATH, and one that a console script was made for."""
    tool_s = executable(tmp_path / "tools" / "python")
    executable(tmp_path / "bin" / "tool", f"#!{tool_s}\n")
    return {
        "venv": executable(tmp_path / "venv" / "bin" / "python"),
        "path": executable(tmp_path / "bin" / "python3"),
        "tool": tool_s,
    }


@pytest.mark.parametrize(
    ("name", "venv", "expected"),
    [
        ("script.py", True, "venv"),
        ("script.py", False, "path"),
        ("tool", True, "tool"),
        ("pytest", True, "venv"),
    ],
)
def test_the_interpreter_is_the_target_s_or_the_active_one(places, monkeypatch, name, venv, expected):
    bin_folder = str(places["path"].parent)
    monkeypatch.setenv("PATH", bin_folder)
    variables = {"PATH": bin_folder} | ({"VIRTUAL_ENV": str(places["venv"].parents[1])} if venv else {})

    assert record.interpreter(None, Target("name", name), variables) == str(places[expected])


@pytest.mark.parametrize("asked", ["python3", "full path"])
def test_the_interpreter_that_is_asked_for_goes_before_all(places, asked):
    variables = {"PATH": str(places["path"].parent), "VIRTUAL_ENV": str(places["venv"].parents[1])}
    word = str(places["tool"]) if asked == "full path" else asked

    chosen = record.interpreter(word, Target("name", "tool"), variables)

    assert chosen == str(places["tool" if asked == "full path" else "path"])


@pytest.mark.parametrize("asked", [None, "python9"])
def test_without_an_interpreter_there_is_a_hint(asked, tmp_path):
    with pytest.raises(TargetError) as told:
        record.interpreter(asked, Target("module", "x"), {"PATH": str(tmp_path)})

    assert told.value.code == "ERR_TARGET_START"
    assert "--python" in told.value.hint


@pytest.mark.parametrize("version", sorted(set(found()) - set(recordable())))
def test_an_interpreter_that_is_too_old_says_so(run, version):
    told = run("record", "--python", found()[version], "-c", "print(1)")

    assert (told.status, told.out) == (1, "")
    assert told.err.endswith(
        "cannot be recorded [ERR_TARGET_START]\n"
        " hint: CPython 3.11 or newer is needed; choose one with --python\n"
    )


# --- what it does -------------------------------------------------------------------------------------------


def test_it_makes_the_store_where_there_is_none_and_says_so_once(run, repo):
    first = run("record", "-c", "print(1)", env=OWN)
    second = run("record", "-c", "print(2)", env=OWN)

    assert (first.status, first.out) == (0, "1\n")
    assert first.err == f"Made {repo / '.devtrace'} for what is recorded.\n"
    assert (second.status, second.out, second.err) == (0, "2\n", "")


@pytest.mark.parametrize("version", recordable())
def test_it_leaves_a_trace_and_the_exit_status_is_the_program_s(run, repo, version):
    told = run("record", "--python", recordable()[version], "-c", "import sys; sys.exit(7)")

    assert told.status == 7
    assert len(list((repo / ".devtrace" / "spool").glob("*.seg"))) == 1


def test_a_program_finds_its_store_and_nothing_else_of_ours(run, repo):
    code = (
        "import os; print({n: v for n, v in os.environ.items() if n[:8] == 'DEVTRACE' or n == 'PYTHONPATH'})"
    )

    told = run("record", "-c", code, env=OWN)

    expected = {"DEVTRACE_DIR": str(repo / ".devtrace"), "PYTHONPATH": environment()["PYTHONPATH"]}
    assert ast.literal_eval(told.out) == expected


def test_switched_off_it_runs_the_program_and_makes_no_store(run, repo):
    told = run("record", "-c", "print(1)", env=OWN | {"DEVTRACE_RECORD": "0"})

    assert (told.status, told.out, told.err) == (0, "1\n", "")
    assert not (repo / ".devtrace").exists()


# --- its command line ---------------------------------------------------------------------------------------


def test_what_stands_behind_the_target_is_the_target_s(run, repo):
    (repo / "script.py").write_text("import sys; print(sys.argv)")
    words = ["--log-level", "foo", "--json-errors", "--help", "--python", "x", "--", "-V"]

    told = run("record", "script.py", *words, env=OWN)

    assert told.out == f"{['script.py', *words]}\n"


def test_help_and_version_need_no_target(run):
    assert run("record", "--help").out.startswith("usage: devtrace record [options] SCRIPT")
    assert run("record", "-V").out == f"devtrace {__version__}\n"


@pytest.mark.parametrize("words", [(), ("--nope", "x.py"), ("--detail", "all", "x.py"), ("-m",)])
def test_a_wrong_line_is_status_2_with_a_hint(run, repo, words):
    told = run("record", *words)

    assert (told.status, told.out) == (2, "")
    assert told.err.endswith("[ERR_USAGE]\n hint: see `devtrace record --help`\n")
    assert not (repo / ".devtrace").exists()


def test_an_error_is_told_as_json_too_when_asked_for(run):
    told = run("record", "--json-errors", "--nope", "x.py")

    assert '"code": "ERR_USAGE"' in told.err.splitlines()[-1]


def test_it_is_listed_among_the_commands(run):
    assert "  record " in run("--help").out
