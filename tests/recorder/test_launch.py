"""Running a target: what is begun before it and ended after it, which targets there are, and our errors.

What a program prints and returns is compared with plain python in test_identity.py.
"""

from __future__ import annotations

import json
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

import devtrace
from devtrace import workspace
from tests.interpreters import found, recordable
from tests.processes import DEADLINE, environment

LAUNCHER = Path(devtrace.__file__).parent / "recorder" / "__main__.py"

# A recorder that only tells when it is called; `begin` and `end` may be asked to fail.
FAKE = """\
import os, sys
sys.path.insert(0, {checkout!r})
from devtrace.errors import EnvironmentError
from devtrace.recorder import arguments, launch, targets
del sys.path[0]
def failing(when):
    if os.environ.get("FAIL") == when:
        raise EnvironmentError("no room", code="ERR_IO", hint="make some")
def begin():
    failing("begin")
    os.write(2, b"begin\\n")
def end(status):
    os.write(2, b"end %d\\n" % status)
    failing("end")
target = targets.resolved(arguments.parse(sys.argv[1:]).target)
propagates = lambda: os.environ.get("PROPAGATE") != "0"
program = launch.Program(target, begin=begin, end=end, propagates=propagates)
"""
# Its names are gone from the main module once that has begun: functions are not to live there.
DRIVER = """\
from operator import call
from recording import program
with program.ending, program.catching:
    call(*program.begun())
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    (tmp_path / "recording.py").write_text(FAKE.format(checkout=str(Path(devtrace.__file__).parents[1])))
    path = tmp_path / "driver.py"
    path.write_text(DRIVER)
    return path


def run(
    launcher: Path, *words: str, python: str = sys.executable, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, str(launcher), *words],
        env=os.environ | more,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def unrecorded(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return run(LAUNCHER, *words, CODETRACER_PYTHON_RECORDER_DISABLED="1", **more)


# --- begin and end ------------------------------------------------------------------------------------------


def test_the_end_comes_after_all_that_the_program_does_at_exit(fake):
    Path("script.py").write_text(
        "import atexit, os, threading\n"
        "atexit.register(os.write, 2, b'at exit\\n')\n"
        "go = threading.Event()\n"
        "threading.Thread(target=lambda: go.wait() and os.write(2, b'thread\\n')).start()\n"
        "os.write(2, b'main\\n')\n"
        "go.set()\n"
    )

    assert run(fake, "script.py").stderr.splitlines() == ["begin", "main", "thread", "at exit", "end 0"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("raise SystemExit", 0),
        ("raise SystemExit(7)", 7),
        ("raise SystemExit(True)", 1),
        ("raise SystemExit(300)", 44),
        ("raise SystemExit(-1)", 255),
        ("raise SystemExit(1 << 80)", 255),
        ("raise SystemExit('text')", 1),
        ("raise SystemExit(1.5)", 1),
        ("1/0", 1),
        ("def f(:", 1),
    ],
)
def test_the_end_is_told_the_exit_status_as_a_shell_sees_it(fake, code, status):
    ended = run(fake, "-c", code)

    assert ended.returncode == status
    assert ended.stderr.splitlines()[-1] == f"end {status}"


def test_an_interrupt_is_told_as_a_shell_tells_it_and_is_the_death_of_the_process(fake):
    ended = run(fake, "-c", "raise KeyboardInterrupt")

    assert ended.returncode == -2
    assert ended.stderr.splitlines()[-2:] == ["KeyboardInterrupt", "end 130"]


def test_nothing_is_run_when_it_cannot_begin(fake):
    ended = run(fake, "-c", "print('ran')", FAIL="begin")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "error: no room [ERR_IO]\n hint: make some\n"


def test_a_failing_end_is_status_1(fake):
    ended = run(fake, "-c", "print('ran')", FAIL="end")

    assert (ended.returncode, ended.stdout) == (1, "ran\n")
    assert ended.stderr.splitlines()[-2:] == ["error: no room [ERR_IO]", " hint: make some"]


def test_a_failing_end_never_hides_the_program_s_own_status(fake):
    assert run(fake, "-c", "raise SystemExit(7)", FAIL="end").returncode == 7


@pytest.mark.parametrize(
    ("code", "told", "status"),
    [
        ("raise SystemExit(7)", "", 7),
        ("raise SystemExit('bye')", "bye\n", 1),
        ("raise ValueError(1)", "ValueError: 1\n", 1),
        ("raise KeyboardInterrupt", "KeyboardInterrupt\n", 130),
    ],
)
def test_a_status_that_is_not_passed_on_is_told(fake, code, told, status):
    ended = run(fake, "-c", code, PROPAGATE="0")

    words = (
        f"{told}Script exited with status {status}; returning 0. "
        f"Use '--propagate-script-exit' to return the script status.\nend {status}\n"
    )
    assert ended.returncode == 0
    assert ended.stderr.endswith(words)


def test_a_status_of_0_is_not_worth_a_word(fake):
    assert run(fake, "-c", "pass", PROPAGATE="0").stderr == "begin\nend 0\n"


def test_a_script_that_cannot_be_read_as_text_has_had_its_end(fake):
    Path("script.py").write_bytes(b"x = '\xe9'\n")

    ended = run(fake, "script.py")

    assert ended.returncode == 1
    assert ended.stderr.startswith("begin\nend 1\nSyntaxError: Non-UTF-8 code")


def test_the_program_sees_one_frame_below_its_own(fake):
    code = "import sys\nf = sys._getframe()\nwhile f: print(f.f_code.co_name); f = f.f_back"

    assert run(fake, "-c", code).stdout.split() == ["<module>", "<module>"]


def test_nothing_of_ours_is_left_on_the_path_or_in_the_main_module():
    code = "import sys\nprint([p for p in sys.path if 'recorder' in p], sorted(globals()))"
    code += "\nprint([n for n in sys.path_importer_cache if n == CHECKOUT])"
    code = code.replace("CHECKOUT", repr(str(LAUNCHER.parents[2])))

    told = subprocess.run(
        [sys.executable, "-I", str(LAUNCHER), "-c", code],
        env=os.environ | {"CODETRACER_PYTHON_RECORDER_DISABLED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    # An editable install may have put the checkout on the path of this interpreter.
    names = (
        "['__annotations__', '__builtins__', '__doc__', '__loader__', '__name__', '__package__', '__spec__', "
    )
    assert told.stdout.splitlines()[0] == f"[] {names}'sys']"
    assert told.stderr == ""


# --- targets ------------------------------------------------------------------------------------------------


def script(
    path: Path, shebang: str, code: str = "import sys; print(__file__, sys.argv, sys.path[0])"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{shebang}\n{code}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "shebang",
    [
        f"#!{sys.executable}",
        "#!/usr/bin/env python3",
        "#!/usr/bin/env -S python3 -E",
        "#! /usr/bin/python3.11",
        f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''",
    ],
)
def test_a_bare_word_is_a_console_script_on_path(tmp_path, shebang):
    tool = script(tmp_path / "bin" / "tool", shebang)

    told = unrecorded("tool", "-x", PATH=f"/nowhere:{tool.parent}:{os.environ['PATH']}")

    assert told.stdout == f"{tool} ['{tool}', '-x'] {tool.parent}\n"


def test_a_file_goes_before_a_command_of_its_name(tmp_path):
    tool = script(tmp_path / "bin" / "tool", "#!/usr/bin/env python3")
    Path("tool").write_text("print('mine')")

    assert unrecorded("tool", PATH=f"{tool.parent}:{os.environ['PATH']}").stdout == "mine\n"


def test_a_command_that_is_no_python_script_is_refused(tmp_path):
    tool = script(tmp_path / "bin" / "tool", "#!/bin/sh")

    told = unrecorded("tool", PATH=f"{tool.parent}:{os.environ['PATH']}")

    assert told.returncode == 1
    assert told.stderr == (
        f"error: {tool} is no Python script [ERR_TARGET_START]\n"
        " hint: record any program with `devtrace run -- tool`\n"
    )


@pytest.mark.parametrize("word", ["nothing-of-that-name", "./nothing.py"])
def test_what_is_not_there_is_told(word):
    told = unrecorded(word)

    assert told.returncode == 1
    assert told.stderr.startswith("error: there is no ")
    assert "[ERR_TARGET_START]\n hint: name a file, a command on PATH, or a module with -m\n" in told.stderr


@pytest.mark.parametrize("words", [("pytest",), ("--pytest",), ("-m", "pytest")])
def test_pytest_is_its_module(words):
    Path("test_it.py").write_text("import sys\ndef test_one(): assert sys.path[0]\n")

    told = unrecorded(*words, "-q", "-p", "no:cacheprovider", "test_it.py")

    assert (told.returncode, told.stdout.split()[-4:-2]) == (0, ["1", "passed"])


def test_a_compiled_script_runs(tmp_path):
    Path("a.py").write_text("print(__file__, type(__loader__).__name__)")
    py_compile.compile("a.py", "b.pyc")

    assert unrecorded("b.pyc").stdout == f"{Path.cwd() / 'b.pyc'} SourcelessFileLoader\n"


def test_a_compiled_script_of_another_python_fails_as_it_does_alone():
    Path("b.pyc").write_bytes(b"0123" * 10)
    alone = subprocess.run([sys.executable, "b.pyc"], capture_output=True, text=True, check=False)

    told = unrecorded("b.pyc")

    assert (told.returncode, told.stderr) == (alone.returncode, alone.stderr)


def test_the_folder_of_a_script_is_where_it_really_is(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "script.py").write_text("import beside, sys; print(sys.path[0])")
    (tmp_path / "real" / "beside.py").write_text("")
    Path("link.py").symlink_to(tmp_path / "real" / "script.py")

    assert unrecorded("link.py").stdout == f"{tmp_path / 'real'}\n"


def test_an_imported_module_of_the_recorder_is_not_found_by_its_bare_name():
    assert unrecorded("-c", "import monitoring").returncode == 1


# --- the command line ---------------------------------------------------------------------------------------


def test_a_wrong_option_is_status_2(tmp_path):
    told = run(LAUNCHER, "--nope", "x.py")

    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == (
        "error: no such option: --nope [ERR_USAGE]\n hint: see `python -m devtrace.recorder --help`\n"
    )


def test_an_error_is_told_as_json_too_when_asked_for():
    told = run(LAUNCHER, "--json-errors", "--nope", "x.py")

    trailer = json.loads(told.stderr.splitlines()[-1])
    assert (trailer["error_code"], trailer["error_kind"]) == ("ERR_USAGE", "Usage")


def test_help_and_version_are_the_answer():
    assert run(LAUNCHER, "--help").stdout.startswith("usage: python -m devtrace.recorder [options] SCRIPT")
    assert run(LAUNCHER, "-V").stdout == f"devtrace.recorder {devtrace.__version__}\n"


def test_by_its_name_it_is_the_same_program():
    told = subprocess.run(
        [
            sys.executable,
            "-X",
            "utf8",
            "-m",
            "devtrace.recorder",
            "-c",
            "import sys; print(sys.orig_argv[1:])",
        ],
        env=environment(CODETRACER_PYTHON_RECORDER_DISABLED="1"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.stdout == "['-X', 'utf8', '-c', 'import sys; print(sys.orig_argv[1:])']\n"


def test_without_a_store_or_a_directory_nothing_is_run():
    told = run(LAUNCHER, "-c", "print(1)")

    assert (told.returncode, told.stdout) == (1, "")
    assert "[ERR_STORE_MISSING]\n hint: run `devtrace init`" in told.stderr


@pytest.mark.parametrize("how", ["option", "environment"])
def test_without_them_it_is_run_unrecorded_when_the_policy_bears_a_failure(how):
    words = ["--on-recorder-error", "disable"] if how == "option" else []
    variables = {} if words else {"CODETRACER_ON_RECORDER_ERROR": "disable"}

    told = run(LAUNCHER, *words, "-c", "print(1); raise SystemExit(3)", **variables)

    assert (told.returncode, told.stdout) == (3, "1\n")
    assert json.loads(told.stderr)["error_code"] == "ERR_STORE_MISSING"


def test_a_trace_that_is_required_is_not_done_without():
    told = run(LAUNCHER, "--on-recorder-error", "disable", "--require-trace", "-c", "print(1)")

    assert (told.returncode, told.stdout) == (1, "")


@pytest.mark.parametrize(
    ("word", "variable", "status"),
    [("--propagate-script-exit", "0", 3), ("--no-propagate-script-exit", "1", 0)],
)
def test_the_command_line_goes_before_the_environment(word, variable, status, tmp_path):
    place = workspace.Workspace(tmp_path / ".devtrace")
    workspace.create(place)
    variables = {"DEVTRACE_PROPAGATE_SCRIPT_EXIT": variable, "DEVTRACE_DIR": str(place.dir)}

    assert run(LAUNCHER, word, "-c", "raise SystemExit(3)", **variables).returncode == status


@pytest.mark.parametrize("words", [("--trace-filter", "missing.toml"), ("--out-dir", "script.py")])
def test_what_was_asked_wrongly_is_status_2(words):
    Path("script.py").write_text("print(1)")

    told = run(LAUNCHER, *words, "script.py")

    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("error: ")


@pytest.mark.parametrize("version", recordable())
def test_each_interpreter_leaves_a_trace_in_the_store(version, tmp_path):
    place = workspace.Workspace(tmp_path / ".devtrace")
    workspace.create(place)

    told = run(LAUNCHER, "-c", "print(1)", python=recordable()[version], DEVTRACE_DIR=str(place.dir))

    assert (told.returncode, told.stdout, told.stderr) == (0, "1\n", "")
    assert len(list(place.spool.glob("*.seg"))) == 1


@pytest.mark.parametrize("version", sorted(set(found()) - set(recordable())))
def test_an_older_python_says_that_it_cannot_be_recorded(version):
    told = run(LAUNCHER, "-c", "print(1)", python=found()[version])

    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("error: ")
    hint = " hint: CPython 3.11 or newer is needed; choose one with --python\n"
    assert told.stderr.endswith(f"cannot be recorded [ERR_TARGET_START]\n{hint}")
