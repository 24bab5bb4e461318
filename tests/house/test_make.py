"""The two commands of the README, as on a fresh machine: a clone, an interpreter, git and make."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

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


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the checkout as a clone would have them, with no .venv."""
    place = tmp_path_factory.mktemp("clone") / "devtrace"
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
    return place


@pytest.fixture(scope="module")
def first_run(clone: Path, real_environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return make(clone, "shell", environ=real_environ, typed="echo one; echo two\nfalse | true\n")


@pytest.mark.needs("make", "git", "bash")
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("make")
class TestAFreshClone:
    def test_make_shell_runs_what_it_reads_and_prints_nothing_of_its_own(
        self, first_run: subprocess.CompletedProcess[str], needs: Callable[..., None]
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

    def test_the_example_session_is_recorded_command_by_command(
        self, clone: Path, first_run: object, real_environ: Mapping[str, str]
    ) -> None:
        typed = (clone / "examples" / "session.sh").read_text()

        assert make(clone, "shell", environ=real_environ, typed=typed).returncode == 0

        shown = subprocess.run(
            [clone / ".venv" / "bin" / "devtrace", "show"],
            cwd=clone,
            capture_output=True,
            text=True,
            check=True,
        )
        commands = [line for line in typed.splitlines() if not line.startswith("#")]
        assert [line for line in commands if line not in shown.stdout] == []

    def test_make_demo_prints_the_timeline_of_a_small_session(
        self, clone: Path, first_run: object, real_environ: Mapping[str, str]
    ) -> None:
        demo = make(clone, "demo", environ=real_environ)

        assert demo.returncode == 0, demo.stderr
        assert "python3 -m unittest -q" in demo.stdout
        assert "it is a percentage" in demo.stdout
        assert not (clone / "cart.py").exists()


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
