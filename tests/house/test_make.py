"""The two commands of the README, as on a fresh machine: a clone, an interpreter, git and make."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).parents[2]


def make(
    place: Path, *words: str, environ: Mapping[str, str], typed: str = ""
) -> subprocess.CompletedProcess[str]:
    # HOME is the test's own; pip finds its settings and its cache where the developer has them.
    settings = {name: value for name, value in environ.items() if name.startswith("PIP_")}
    home = Path(environ.get("HOME", "/"))
    for name, file in (
        ("PIP_CONFIG_FILE", home / ".config/pip/pip.conf"),
        ("PIP_CACHE_DIR", home / ".cache/pip"),
    ):
        if file.exists():
            settings.setdefault(name, str(file))
    return subprocess.run(
        ["make", *words],
        cwd=place,
        input=typed,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The files of the checkout as a clone would have them, and no .venv; one for all processes."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent
    place = base / "clone" / "devtrace"
    with (base / "clone.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            copy_tracked(place)
    return place


def copy_tracked(place: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (CHECKOUT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, place / name)
    subprocess.run(["git", "init", "-q", place], check=True)


class Run(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def first_run(clone: Path, real_environ: Mapping[str, str]) -> Run:
    """The first `make shell` in the clone, which sets everything up; run once, told to all processes."""
    told = clone.parent / "first-run.json"
    with (clone.parent / "first-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            ran = make(clone, "shell", environ=real_environ, typed="echo one; echo two\nfalse | true\n")
            told.write_text(json.dumps([ran.returncode, ran.stdout, ran.stderr]))
    return Run(*json.loads(told.read_text()))


@pytest.mark.needs("make", "git", "bash")
@pytest.mark.timeout(600)
class TestAFreshClone:
    def test_make_shell_runs_what_it_reads_and_prints_nothing_of_its_own(
        self, first_run: Run, needs: Callable[..., None]
    ) -> None:
        if "No matching distribution" in first_run.stderr:
            needs(because="because no package index with the dependencies can be reached")

        assert first_run.stdout == "one\ntwo\n"
        assert first_run.returncode == 0, first_run.stderr
        assert "Setting up .venv" in first_run.stderr

    def test_the_second_make_shell_is_set_up_already(
        self, clone: Path, first_run: object, real_environ: Mapping[str, str]
    ) -> None:
        again = make(clone, "shell", environ=real_environ, typed="echo again\n")

        assert again.stdout == "again\n"
        assert "Setting up" not in again.stderr

    def test_a_failing_last_command_makes_make_fail(
        self, clone: Path, first_run: object, real_environ: Mapping[str, str]
    ) -> None:
        failed = make(clone, "shell", environ=real_environ, typed="(exit 7)\n")

        assert failed.returncode == 2

    def test_makes_own_variables_do_not_reach_the_traced_shell(
        self, clone: Path, first_run: object, real_environ: Mapping[str, str]
    ) -> None:
        typed = 'echo "[${MAKEFLAGS-}${MAKELEVEL-}${MFLAGS-}]"\n'

        assert make(clone, "shell", environ=real_environ, typed=typed).stdout == "[]\n"

    def test_devtrace_is_a_command_in_there_and_python_is_the_users_own(
        self, clone: Path, first_run: object, real_environ: Mapping[str, str]
    ) -> None:
        typed = "command -v devtrace python3\n"

        devtrace, python = make(clone, "shell", environ=real_environ, typed=typed).stdout.splitlines()

        assert devtrace == (shutil.which("devtrace") or str(clone / ".venv" / "bin" / "devtrace"))
        assert python == shutil.which("python3")

    def test_the_example_session_is_recorded_command_by_command(
        self, clone: Path, first_run: object, real_environ: Mapping[str, str]
    ) -> None:
        typed = (clone / "examples" / "session.sh").read_text()

        made = make(clone, "shell", "ARGS=--label example", environ=real_environ, typed=typed)

        assert made.returncode == 0, made.stderr
        devtrace = str(clone / ".venv" / "bin" / "devtrace")
        (session,) = (
            row for row in asked(clone, devtrace, "sessions", "--json") if '"title":"example"' in row
        )
        shown = "\n".join(asked(clone, devtrace, "show", json.loads(session)["id"]))
        commands = [line for line in typed.splitlines() if not line.startswith("#")]
        assert [line for line in commands if line not in shown] == []

    def test_make_demo_prints_the_timeline_of_a_small_session(
        self, clone: Path, first_run: object, real_environ: Mapping[str, str]
    ) -> None:
        demo = make(clone, "demo", environ=real_environ)

        assert demo.returncode == 0, demo.stderr
        assert "python3 -m unittest -q" in demo.stdout
        assert "it is a percentage" in demo.stdout
        assert not (clone / "cart.py").exists()


def asked(place: Path, *command: str) -> list[str]:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_machine_without_a_fitting_python_is_told_what_to_install(clone: Path) -> None:
    setup = subprocess.run(
        ["sh", ".ci/venv"],
        cwd=clone,
        env={**os.environ, "PYTHON": "/no/such/python3.7"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert setup.returncode == 1
    assert setup.stdout == ""
    assert "No CPython 3.11 or newer" in setup.stderr
    assert "/no/such/python3.7" in setup.stderr


@pytest.mark.needs("make")
def test_make_without_a_target_says_what_there_is(clone: Path) -> None:
    told = make(clone, environ={})

    assert told.returncode == 0
    assert {"make shell", "make test", "make demo"} <= {
        " ".join(line.split()[:2]) for line in told.stdout.splitlines()
    }
