"""The start inside every Python of a traced shell: nothing unless it is asked for, on any Python."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtrace import bootstrap, workspace
from devtrace.recorder import children
from tests.interpreters import found, recordable
from tests.processes import DEADLINE

LOOK = "import sys; print([sys.path, sorted(sys.modules), sys.argv, sorted(globals())])"
every_python = pytest.mark.parametrize("version", found())
every_recordable = pytest.mark.parametrize("version", recordable())


@pytest.fixture
def store(tmp_path: Path) -> workspace.Workspace:
    place = workspace.Workspace(tmp_path / ".devtrace")
    workspace.create(place)
    return place


def run(
    version: str, *words: str, path: str = bootstrap.FOLDER, options: tuple[str, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """A Python of that version with our folder on its path; "" for `path`: without it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", **({"PYTHONPATH": path} if path else {}), **more}
    return subprocess.run(
        [found()[version], *options, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def told(ended: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return ended.returncode, ended.stdout, ended.stderr


def segments(store: workspace.Workspace) -> int:
    return len(list(store.spool.glob("*.seg")))


def sitecustomize(folder: Path, code: str) -> str:
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(code)
    return f"{bootstrap.FOLDER}{os.pathsep}{folder}"


# --- not asked ----------------------------------------------------------------------------------------------


@every_python
def test_a_python_that_is_not_asked_has_nothing_of_ours(version):
    assert told(run(version, "-c", LOOK)) == told(run(version, "-c", LOOK, path=""))


@pytest.mark.parametrize("word", ["0", "no", "off", "false", "None", " "])
def test_a_no_is_no(word, store):
    version = next(iter(recordable()))

    assert told(run(version, "-c", LOOK, DEVTRACE_RECORD=word, DEVTRACE_DIR=str(store.dir)))[0] == 0
    assert segments(store) == 0


@pytest.mark.parametrize("version", sorted(set(found()) - set(recordable())))
def test_a_python_that_cannot_be_recorded_is_left_alone(version):
    asked = run(version, "-c", LOOK, DEVTRACE_RECORD="1")

    assert told(asked) == told(run(version, "-c", LOOK, path="", DEVTRACE_RECORD="1"))


def test_it_parses_on_the_oldest_python():
    code = Path(bootstrap.FOLDER, "sitecustomize.py").read_text()

    tree = ast.parse(code)
    odd = (ast.AnnAssign, ast.JoinedStr, ast.NamedExpr, ast.AsyncFunctionDef, ast.Match)
    assert [node for node in ast.walk(tree) if isinstance(node, odd)] == []
    assert [node for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation] == []
    assert code.isascii()  # Python 2 would want to be told of anything else


# --- the next one on the path -------------------------------------------------------------------------------


@every_python
def test_the_user_s_own_sitecustomize_runs_as_if_ours_were_not_there(version, tmp_path):
    both = sitecustomize(tmp_path / "own", "import sys; sys.own = (__name__, __file__)\n")
    look = "import sys, sitecustomize; print([sys.own, sitecustomize.__file__, sys.path])"

    alone = run(version, "-c", look, path=str(tmp_path / "own"))

    assert told(run(version, "-c", look, path=both)) == told(alone)
    assert "own" in alone.stdout


@every_python
@pytest.mark.parametrize(
    "code", ["1/0", "import nowhere", "raise SystemExit(3)", "def f(:", "import os; os._exit(5)"]
)
def test_what_is_wrong_with_it_is_told_as_python_tells_it(version, code, tmp_path):
    both = sitecustomize(tmp_path / "own", f"{code}\n")

    alone = run(version, "-c", "print('on')", path=str(tmp_path / "own"))
    with_ours = run(version, "-c", "print('on')", path=both)

    assert (with_ours.returncode, with_ours.stdout) == (alone.returncode, alone.stdout)
    if code != "raise SystemExit(3)":  # a fatal error, with a traceback that ours is in
        assert with_ours.stderr == alone.stderr


@every_python
def test_usercustomize_is_found(version, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "usercustomize.py").write_text("print('user')\n")

    alone = run(version, "-c", "print('on')", path=str(folder))

    assert told(run(version, "-c", "print('on')", path=f"{bootstrap.FOLDER}:{folder}")) == told(alone)


# --- asked --------------------------------------------------------------------------------------------------


@every_recordable
@pytest.mark.parametrize(
    "words",
    [("script.py", "a"), ("-m", "script", "a"), ("-c", "print(1)"), ("-",), ("-m", "this")],
    ids=" ".join,
)
def test_a_python_that_is_asked_leaves_a_trace(version, words, store):
    Path("script.py").write_text("import sys; print(sys.argv, sys.path, __name__)\nsys.exit(4)\n")

    alone = run(version, *words, path="")
    asked = run(version, *words, DEVTRACE_RECORD="1", DEVTRACE_DIR=str(store.dir))

    assert told(asked) == told(alone)
    assert segments(store) == 1


@every_recordable
def test_the_stack_and_the_end_are_as_without_us(version, store):
    Path("script.py").write_text(
        "import atexit, sys, traceback\n"
        "atexit.register(print, 'at exit')\n"
        "traceback.print_stack()\n"
        "print(sys._getframe().f_back)\n"
        "1/0\n"
    )

    alone = run(version, "script.py", path="")

    assert told(run(version, "script.py", DEVTRACE_RECORD="1", DEVTRACE_DIR=str(store.dir))) == told(alone)


@pytest.mark.parametrize("word", ["1", "true", "yes", "lines", "Calls", "values"])
def test_a_yes_may_be_a_level_of_detail(word, store):
    version = next(iter(recordable()))

    assert run(version, "-c", "pass", DEVTRACE_RECORD=word, DEVTRACE_DIR=str(store.dir)).returncode == 0
    assert segments(store) == 1


def test_the_user_s_sitecustomize_and_the_recorder_live_together(store, tmp_path):
    version = next(iter(recordable()))
    for name, code in (("good", "print('own')"), ("bad", "raise ValueError('own')")):
        both = sitecustomize(tmp_path / name, f"{code}\n")
        ended = run(version, "-c", "print('on')", path=both, DEVTRACE_RECORD="1", DEVTRACE_DIR=str(store.dir))
        assert "own" in ended.stdout + ended.stderr
        assert ended.stdout.endswith("on\n")

    assert segments(store) == 2


@pytest.mark.parametrize("why", ["no store", "a wrong policy"])
def test_a_failure_is_silent(why, store):
    version = next(iter(recordable()))
    wrong = {"DEVTRACE_DIR": "/nowhere"} if why == "no store" else {"DEVTRACE_RECORD_FOLLOW": "nobody"}

    ended = run(
        version, "-c", "print('on')", **{"DEVTRACE_RECORD": "1", "DEVTRACE_DIR": str(store.dir), **wrong}
    )

    assert told(ended) == (0, "on\n", "")


def test_a_failure_ends_the_program_when_that_is_asked_for():
    version = next(iter(recordable()))

    ended = run(version, "-c", "print(1)", DEVTRACE_RECORD="1", DEVTRACE_ON_RECORDER_ERROR="abort")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: no .devtrace/ in ")


@pytest.mark.parametrize("words", [("-m", "devtrace", "--version"), ("-m", "devtrace.recorder", "-V")])
def test_our_own_programs_are_not_recorded(words, store):
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    path = f"{bootstrap.FOLDER}:{Path(bootstrap.FOLDER).parents[1]}"

    ended = run(version, *words, path=path, DEVTRACE_RECORD="1", DEVTRACE_DIR=str(store.dir))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert segments(store) == 0


@every_recordable
def test_a_recorded_program_in_such_a_shell_is_recorded_once(version, store):
    launcher = str(Path(bootstrap.FOLDER).parent / "recorder" / "__main__.py")

    ended = run(version, launcher, "-c", "print(1)", DEVTRACE_RECORD="1", DEVTRACE_DIR=str(store.dir))

    assert told(ended) == (0, "1\n", "")
    assert segments(store) == 1


# --- children -----------------------------------------------------------------------------------------------

CHILD = """\
import os, subprocess, sys
print("DEVTRACE_RECORD" in os.environ, "PYTHONPATH" in os.environ, flush=True)
subprocess.run([sys.executable, "-c", "print(1)"], check=True, {how})
"""
INHERITED, COPIED = "", "env=dict(os.environ)"


@every_recordable
@pytest.mark.parametrize(
    ("follow", "how", "is_seen", "traces"),
    [
        ("none", INHERITED, False, 1),
        ("python", INHERITED, False, 2),
        ("python", COPIED, False, 1),
        ("all", INHERITED, True, 2),
        ("all", COPIED, True, 2),
    ],
)
def test_children_of_a_recorded_program_follow(version, follow, how, is_seen, traces, store):
    launcher = str(Path(bootstrap.FOLDER).parent / "recorder" / "__main__.py")
    Path("script.py").write_text(CHILD.format(how=how))

    ended = run(version, launcher, "--follow", follow, "script.py", path="", DEVTRACE_DIR=str(store.dir))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"{is_seen} {is_seen}\n1\n"
    assert segments(store) == traces


@every_recordable
def test_children_do_not_follow_a_python_that_is_asked_to_be_recorded_alone(version, store):
    Path("script.py").write_text(CHILD.format(how=""))

    run(version, "script.py", DEVTRACE_RECORD="1", DEVTRACE_RECORD_FOLLOW="none", DEVTRACE_DIR=str(store.dir))

    assert segments(store) == 1


def test_a_child_is_told_what_its_parent_was():
    policy = {"detail": "lines", "io_capture": "off", "require_trace": True}
    told = children.variables(
        "python", policy, {"PYTHONPATH": "/own"}, filters=["a.toml"], only=["pkg.mod", "x.py:f"]
    )

    assert told == {
        "DEVTRACE_RECORD": "lines",
        "DEVTRACE_RECORD_DETAIL": "lines",
        "DEVTRACE_CAPTURE_IO": "off",
        "DEVTRACE_REQUIRE_TRACE": "1",
        "DEVTRACE_TRACE_FILTER": str(Path.cwd() / "a.toml"),
        "DEVTRACE_RECORD_ONLY": f"pkg.mod::{Path.cwd()}/x.py:f",
        "PYTHONPATH": f"{bootstrap.FOLDER}:/own",
    }


# --- PYTHONPATH ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "path"),
    [
        ("", bootstrap.FOLDER),
        ("/a:/b", f"{bootstrap.FOLDER}:/a:/b"),
        (":/a", f"{bootstrap.FOLDER}::/a"),
        (f"/a:{bootstrap.FOLDER}", f"/a:{bootstrap.FOLDER}"),
    ],
)
def test_our_folder_goes_before_the_user_s_own_path_and_is_there_once(own, path):
    assert bootstrap.python_path(own) == path
    assert bootstrap.python_path(path) == path
