"""Which programs there are, and why some cannot be asked; the script by which one is entered."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from devtrace import bootstrap
from devtrace.errors import TargetError, UsageError
from devtrace.probes import registry
from devtrace.services import probe_attach
from devtrace.services.probe_processes import (
    OFF,
    hears,
    is_python,
    programs,
    python_of,
    registered,
    unreachable,
    why_not,
)
from devtrace.workspace import Workspace, create
from tests.processes import DEADLINE, environment

HERE = {"DEVTRACE_DIR": "/srv/.devtrace", "PYTHONPATH": f"{bootstrap.FOLDER}:/srv/lib"}
WAITS = "import select, sys; print('ready', flush=True); select.select([sys.stdin], [], [])"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="others are looked at through /proc")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / ".devtrace")
    create(made)
    return made


@pytest.fixture
def start(workspace: Workspace) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start("-S", code=..., words=...)`: a Python with this store in its environment, as soon as it runs."""
    begun: list[subprocess.Popen[str]] = []

    def begin(
        *options: str, code: str = WAITS, words: Sequence[str] = (), **changes: str
    ) -> subprocess.Popen[str]:
        known = {"DEVTRACE_DIR": str(workspace.dir), "PYTHONPATH": bootstrap.FOLDER}
        begun.append(
            subprocess.Popen(
                [sys.executable, *options, "-c", code, *words],
                env=environment(**(known | changes)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert begun[-1].stdout is not None
        assert begun[-1].stdout.readline() == "ready\n"
        return begun[-1]

    yield begin
    for one in begun:
        one.kill()
        one.communicate(timeout=DEADLINE)


@pytest.mark.parametrize(
    ("argv", "environ", "told"),
    [
        (["python", "-I", "a.py"], HERE, "it was started with -I"),
        (["python", "-BSs", "a.py"], HERE, "it was started with -S"),
        (["python", "-X", "dev", "-E", "a.py"], HERE, "it was started with -E"),
        (["python", "-WI", "a.py", "-S"], HERE, "it has not said that it is there"),
        (["python", "-c", "-I"], HERE, "it has not said that it is there"),
        (["python", "-m", "-S"], HERE, "it has not said that it is there"),
        (["python", "--", "-S"], HERE, "it has not said that it is there"),
        (["python"], {**HERE, "PYTHONPATH": "/srv/lib"}, "without the PYTHONPATH of the traced shell"),
        (["python"], {}, "it was not started in a traced shell of this store"),
        (["python"], {**HERE, "DEVTRACE_PROBES": "Off"}, "it was started with DEVTRACE_PROBES=Off"),
        (["python"], {**HERE, "DEVTRACE_PROBES": " None "}, "it was started with DEVTRACE_PROBES= None"),
        (["python"], {**HERE, "DEVTRACE_PROBES": ""}, "it has not said that it is there"),
    ],
)  # fmt: skip
def test_what_keeps_a_python_from_being_asked(argv, environ, told):
    assert told in why_not(argv, "3.12", environ)


def test_the_words_that_switch_it_off_are_those_of_the_bootstrap():
    """That one is read by Python 2.7 too, and shares no code with anybody."""
    tree = ast.parse(Path(bootstrap.FOLDER, "sitecustomize.py").read_text())
    (function,) = (
        one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) and one.name == "_is_off"
    )
    (compared,) = (one for one in ast.walk(function) if isinstance(one, ast.Compare))

    assert set(ast.literal_eval(compared.comparators[0])) == set(OFF)


@pytest.mark.parametrize(
    ("python", "told"),
    [("3.10", "its Python is 3.10"), ("2.7", "2.7"), ("3.11", "has not said"), ("", "has not")],
)
def test_an_old_python_cannot_be_asked(python, told):
    assert told in why_not(["python"], python, HERE)


def test_a_python_of_another_store_is_not_of_this_one():
    assert "traced shell of this store" in why_not(["python"], "3.12", HERE, "/other/.devtrace")


@on_linux
def test_a_python_is_known_by_its_program(start):
    program = start()

    assert is_python(program.pid, ["uvicorn"])
    assert python_of(program.pid) == f"3.{sys.version_info[1]}"
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        assert not is_python(other.pid, ["cat"])
        other.kill()


def test_who_has_registered_can_be_asked(workspace, start):
    program = start()

    (found,) = programs(workspace)

    assert (found["pid"], found["wakes"], found["python"]) == (
        program.pid,
        True,
        ".".join(map(str, sys.version_info[:3])),
    )
    assert unreachable(workspace) == []


@on_linux
def test_who_has_not_is_told_with_the_reason(workspace, start):
    apart, elsewhere = start("-S"), start(DEVTRACE_DIR="/nonexistent/.devtrace")

    (found,) = unreachable(workspace)

    assert (found.pid, found.reason.partition(",")[0]) == (apart.pid, "it was started with -S")
    assert found.argv[1] == "-S"
    assert elsewhere.poll() is None


@on_linux
@pytest.mark.parametrize("words", [["-m", "devtrace", "log"], ["devtrace", "log"], ["-I", "-m", "devtrace"]])
def test_commands_of_ours_are_no_programs(workspace, monkeypatch, words):
    from devtrace.services import probe_processes

    entry = {
        "pid": os.getppid(),
        "started": 0,
        "argv": ["python", *words],
        "executable": "",
        "socket": "",
        "wakes": False,
    }
    monkeypatch.setattr(registry, "registered", lambda _: [entry])

    assert probe_processes.programs(workspace) == []


# --- another program in its process -----------------------------------------------------------------------

EXECS = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
SAYS = ["/bin/sh", "-c", "echo ready; read line"]


@on_linux
def test_who_execs_another_program_is_listed_no_more(workspace, start):
    apart = start(code=EXECS, words=SAYS)

    assert apart.poll() is None
    assert (registry.folder(workspace) / str(apart.pid)).exists()
    assert (registered(workspace), programs(workspace), unreachable(workspace)) == ([], [], [])


@on_linux
def test_a_python_that_replaced_another_is_told_with_its_own_reason(workspace, start):
    apart = start(code=EXECS, words=[sys.executable, "-S", "-c", WAITS])
    (found,) = unreachable(workspace)

    assert programs(workspace) == []
    assert (found.pid, found.reason.partition(",")[0]) == (apart.pid, "it was started with -S")
    with pytest.raises(TargetError, match="it was started with -S") as caught:
        probe_attach.attach(workspace, apart.pid)
    assert caught.value.code == "ERR_TARGET_START"


@on_linux
def test_a_child_that_nobody_waited_for_is_no_program(workspace, start):
    """It has a number still, and a file where it left without its end."""
    code = "import os, sys; child = os.fork(); child or os.kill(os.getpid(), 9)\n"
    code += "os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n"
    program = start(code=code + WAITS)

    assert len(registry.registered(workspace)) == 2
    assert [one["pid"] for one in programs(workspace)] == [program.pid]


@on_linux
def test_who_gives_the_signal_up_is_told(workspace, start):
    program = start(code=f"import signal; signal.signal(signal.SIGURG, signal.SIG_DFL)\n{WAITS}")
    (found,) = unreachable(workspace)

    assert (found.pid, hears(program.pid)) == (program.pid, False)
    assert found.reason.startswith("it does not hear SIGURG")


@on_linux
def test_a_python_that_was_upgraded_on_disk_is_one_still(tmp_path):
    program = tmp_path / "python3.12"
    shutil.copy(shutil.which("cat") or "", program)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        program.unlink()
        try:
            assert is_python(process.pid, ())
        finally:
            process.kill()


# --- entering one -----------------------------------------------------------------------------------------


def test_who_can_be_asked_already_is_left_alone(workspace, start):
    program = start()

    attached = probe_attach.attach(workspace, program.pid)

    assert (attached.pid, attached.is_new) == (program.pid, False)


def test_what_is_no_process_is_told(workspace):
    ended = subprocess.Popen(["true"])
    ended.wait(DEADLINE)

    with pytest.raises(UsageError, match=f"there is no process {ended.pid}"):
        probe_attach.attach(workspace, ended.pid)


@on_linux
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python lets itself be entered")
def test_who_cannot_be_entered_is_told_with_all_its_reasons(workspace, start):
    program = start("-I")

    with pytest.raises(TargetError) as caught:
        probe_attach.attach(workspace, program.pid)

    assert caught.value.code == "ERR_TARGET_START"
    assert caught.value.context["reason"].startswith("it was started with -I")
    assert f"its Python is 3.{sys.version_info[1]}, and only 3.14" in caught.value.context["reason"]


@on_linux
def test_who_asked_to_be_left_alone_is(workspace, start):
    program = start(DEVTRACE_PROBES="0")

    with pytest.raises(TargetError, match="DEVTRACE_PROBES=0"):
        probe_attach.attach(workspace, program.pid)


def test_what_is_run_in_a_program_registers_it_and_leaves_nothing_behind(workspace, start):
    script = workspace.run / "attach.py"
    script.write_text(probe_attach.script_of(workspace, script))
    code = (
        f"import os; file = open({str(script)!r}); text = file.read(); file.close(); names = set(globals())\n"
        "exec(text)\n"
        "assert set(globals()) - {'names'} == names and 'DEVTRACE_DIR' not in os.environ\n" + WAITS
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == "ready\n"
            assert [one["pid"] for one in programs(workspace)] == [program.pid]
        finally:
            program.kill()
    assert not script.exists()


def test_a_store_whose_entries_are_damaged_has_no_programs(workspace):
    folder = registry.folder(workspace)
    folder.mkdir()
    for name, text in (("1", "no json"), ("2", "[]"), ("x", "{}"), ("3", '{"pid": 4}')):
        (folder / name).write_text(text)

    found: list[dict[str, Any]] = programs(workspace)

    assert found == []
