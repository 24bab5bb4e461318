"""What a user installs: the wheel, in a clean environment, without the tools of development."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    program = f"from hatchling.build import build_wheel; print(build_wheel({str(place)!r}))"
    built = run(sys.executable, "-c", program, cwd=CHECKOUT)
    assert built.returncode == 0, built.stderr
    return place / built.stdout.split()[-1]


def test_the_wheel_carries_the_shell_hooks_and_nothing_of_the_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    hooks = {name.removeprefix("devtrace/_shell_hooks/") for name in names if "/_shell_hooks/" in name}
    ours = {
        str(file.relative_to(CHECKOUT / "shell-hooks"))
        for file in (CHECKOUT / "shell-hooks").rglob("*")
        if file.is_file()
    }
    assert hooks == ours
    assert {"devtrace.bash", "devtrace.zsh", "devtrace.fish"} <= hooks
    roots = {name.partition("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"devtrace"}


def test_the_wheel_carries_its_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.timeout(600)
def test_an_installed_wheel_records_a_command(
    wheel: Path, tmp_path: Path, real_environ: Mapping[str, str], needs: Callable[..., None]
) -> None:
    clean = tmp_path / "clean"
    assert run(sys.executable, "-m", "venv", clean).returncode == 0
    pip = run(clean / "bin" / "pip", "install", "-q", wheel, env=real_environ)
    if pip.returncode != 0 and "No matching distribution" in pip.stderr + pip.stdout:
        needs(because="because no package index with the dependencies can be reached")
    assert pip.returncode == 0, pip.stderr

    world = {**os.environ, "PATH": f"{clean / 'bin'}:{os.environ['PATH']}"}
    told = {name: run("devtrace", *words, env=world) for name, words in COMMANDS.items()}

    assert {name: done.returncode for name, done in told.items()} == dict.fromkeys(COMMANDS, 0), told
    assert "Usage" in told["help"].stdout
    assert "true" in told["show"].stdout
    assert (Path.cwd() / ".devtrace" / "devtrace.db").is_file()
    assert "pytest" not in run(clean / "bin" / "pip", "list", env=real_environ).stdout


COMMANDS = {
    "help": ("--help",),
    "init": ("init",),
    "run": ("run", "--", "true"),
    "show": ("show",),
    "doctor": ("doctor",),
}
