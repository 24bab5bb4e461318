"""What tests/conftest.py promises: a world of its own for every test, and no silent skip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
A_TEST_OF_A_MISSING_TOOL = """
import pytest

@pytest.mark.needs("no-such-tool", "sh")
def test_marked():
    pass

def test_asking(needs):
    needs("sh")
    needs("no-such-tool", "nor-this-one")

def test_other(needs):
    needs(because="because the moon is down")
"""


def run_suite(place: Path, **environ: str) -> str:
    shutil.copy(CHECKOUT / "tests" / "conftest.py", place)
    (place / "test_it.py").write_text(A_TEST_OF_A_MISSING_TOOL)
    (place / "pytest.ini").write_text("[pytest]\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=place,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout


def test_a_missing_tool_is_named_by_the_skip(tmp_path: Path) -> None:
    said = run_suite(tmp_path)

    assert "3 skipped" in said
    assert "because no-such-tool is missing" in said
    assert "because no-such-tool and nor-this-one are missing" in said
    assert "because the moon is down" in said


def test_a_missing_tool_fails_the_test_where_all_are_required(tmp_path: Path) -> None:
    said = run_suite(tmp_path, DEVTRACE_REQUIRE_ALL="1")

    assert "2 failed, 1 error" in said
    assert "because no-such-tool is missing, and DEVTRACE_REQUIRE_ALL=1 lets nothing be skipped" in said


def test_no_variable_of_the_developers_own_traced_shell_reaches_a_test() -> None:
    assert [name for name in os.environ if name.startswith("DEVTRACE_") or name == "BASH_ENV"] == []


def any_in(entry: Path) -> bool:
    return entry.is_dir() and any(entry.iterdir())


def test_home_and_the_runtime_directory_are_private_and_empty() -> None:
    home, runtime = Path.home(), Path(os.environ["XDG_RUNTIME_DIR"])

    found = sorted(str(entry.relative_to(home)) for entry in home.rglob("*") if not any_in(entry))
    assert found == [".gitconfig", ".local/share/fish/generated_completions"]
    assert list(runtime.iterdir()) == []
    assert runtime.stat().st_mode & 0o777 == 0o700


def test_a_test_stands_in_an_empty_directory_outside_the_checkout() -> None:
    assert list(Path.cwd().iterdir()) == []
    assert CHECKOUT not in Path.cwd().parents


def test_temporary_files_go_to_the_world_of_the_test() -> None:
    assert Path(tempfile.gettempdir()).parent == Path.home().parent


@pytest.mark.parametrize("round_", [1, 2])
def test_no_test_finds_what_another_left(round_: int) -> None:
    assert not (Path.home() / "left").exists()
    (Path.home() / "left").touch()
