"""`.ci/clients`, in a place of its own and with an npm that is a line of shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
INSTALLS = """\
echo "$@" >>"$0.asked"
while [ "$1" != --prefix ]; do shift; done
cd "$2" && mkdir -p node_modules/.bin node_modules/@anthropic-ai && cd node_modules/@anthropic-ai
mkdir -p claude-code/bin claude-code-here
echo stub >claude-code/bin/claude.exe
"""
INSTALLS_PROGRAMS = INSTALLS + "echo program >claude-code-here/claude\n"
UNREACHABLE = "echo 'npm error code ENOTFOUND' >&2; exit 1"
UNKNOWN = "echo 'npm error code ETARGET' >&2; echo 'npm error more' >&2; exit 1"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A project that has nothing but the script."""
    (tmp_path / "project" / ".ci").mkdir(parents=True)
    shutil.copy(CHECKOUT / ".ci" / "clients", tmp_path / "project" / ".ci")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "node").write_text("#!/bin/sh\n")  # new enough for all of them
    (tmp_path / "bin" / "node").chmod(0o755)
    return tmp_path


def install(place: Path, *names: str, npm: str | None, path: str = "") -> subprocess.CompletedProcess[str]:
    if npm is not None:
        (place / "bin" / "npm").write_text(f"#!/bin/sh\n{npm}")
        (place / "bin" / "npm").chmod(0o755)
    return subprocess.run(
        [shutil.which("sh") or "sh", ".ci/clients", *names],
        cwd=place / "project",
        env={**os.environ, "PATH": f"{place / 'bin'}{path or ':' + os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


def asked(place: Path) -> list[str]:
    """The package that each call of npm was for."""
    told = place / "bin" / "npm.asked"
    return [line.split()[-1] for line in told.read_text().splitlines()] if told.exists() else []


def test_claude_code_codex_and_mcp_peers_are_what_is_installed_unless_told_otherwise(place: Path) -> None:
    done = install(place, npm=INSTALLS_PROGRAMS)

    assert (done.returncode, done.stdout) == (0, "")
    assert [name.rpartition("@")[0] for name in asked(place)] == [
        "@anthropic-ai/claude-code",
        "@openai/codex",
        "@modelcontextprotocol/conformance",  # the last of several
    ]
    assert done.stderr.count("Installing") == 3


def test_the_program_of_this_platform_takes_the_place_of_the_stub(place: Path) -> None:
    install(place, "claude-code", npm=INSTALLS_PROGRAMS)

    modules = place / "project" / ".clients" / "claude-code" / "node_modules"
    assert (modules / "@anthropic-ai" / "claude-code" / "bin" / "claude.exe").read_text() == "program\n"


def test_a_package_without_a_program_for_this_platform_is_not_installed(place: Path) -> None:
    done = install(place, "claude-code", npm=INSTALLS)

    assert done.returncode == 1
    assert "there is no program for this platform in the package" in done.stderr
    assert list((place / "project" / ".clients").iterdir()) == []


def test_another_version_takes_the_place_of_the_one_that_is_there(place: Path) -> None:
    old = place / "project" / ".clients" / "codex"
    old.mkdir(parents=True)
    (old / "holds").write_text("@openai/codex@0.0.1\n")

    assert install(place, "codex", npm=INSTALLS).returncode == 0

    assert (old / "holds").read_text() == f"{asked(place)[0]}\n" != "@openai/codex@0.0.1\n"


def test_what_is_there_already_is_neither_fetched_nor_talked_about(place: Path) -> None:
    install(place, "codex", "gemini", npm=INSTALLS)

    again = install(place, "gemini", "codex", npm=INSTALLS)

    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(asked(place)) == 2


def test_without_npm_one_line_says_so(place: Path) -> None:
    for tool in ("dirname", "cat"):
        (place / "bin" / tool).symlink_to(shutil.which(tool) or tool)

    done = install(place, "codex", npm=None, path=":")

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith(" could not be installed: npm is missing.")


@pytest.mark.parametrize(
    ("npm", "why"),
    [
        pytest.param(UNREACHABLE, "npm's registry cannot be reached", id="unreachable"),
        pytest.param(UNKNOWN, "code ETARGET", id="unknown"),
    ],
)
def test_what_npm_could_not_do_is_said_in_one_line_and_leaves_nothing(
    place: Path, npm: str, why: str
) -> None:
    done = install(place, "codex", npm=npm)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith(f" could not be installed: {why}.")
    assert list((place / "project" / ".clients").iterdir()) == []


def test_the_script_can_be_run_by_its_name() -> None:
    assert (CHECKOUT / ".ci" / "clients").stat().st_mode & 0o111


def test_an_unknown_name_is_refused_with_those_there_are(place: Path) -> None:
    done = install(place, "nonsense", npm=INSTALLS)

    assert done.returncode == 2
    assert "claude-code, codex, opencode, gemini, mcp" in done.stderr
    assert asked(place) == []
