"""The tree itself: sizes, names, what must not be in it, and the version everybody agrees on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import devtrace

CHECKOUT = Path(__file__).parents[2]
TEXT = {".py", ".md", ".toml", ".sh", ".bash", ".zsh", ".fish", ".yaml", ".cfg", ""}

# Paths of one machine. Spelled so that this file does not hold them itself.
MACHINE_PATHS = re.compile(r"(?<![\w.~$}-])/(?:root|work|Users|mnt)/" + r"|/home/(?!ana\b|user\b|you\b)\w+")
UNFINISHED = re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X|H[A]CK)\b")
STATUS_PAPER = re.compile(
    r"(?:^|[/_-])(?:plan|todo|status|summary|progress|notes|report)\.(?:md|txt|rst)$", re.I
)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("because this is no git checkout")
    files = [CHECKOUT / name for name in listed.stdout.decode().split("\0") if name]
    return [file for file in files if file.is_file()]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{file.relative_to(CHECKOUT)}:{number}: {line.strip()}"
        for file in tracked()
        if file.suffix in TEXT
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_has_outgrown_its_reader() -> None:
    code = [file for file in tracked() if file.suffix in {".py", ".bash", ".zsh", ".fish", ".sh"}]
    sizes = {str(file.relative_to(CHECKOUT)): len(file.read_bytes().splitlines()) for file in code}

    assert {name: lines for name, lines in sizes.items() if lines > 600} == {}


def test_no_path_of_one_machine_is_in_the_tree() -> None:
    assert lines_with(MACHINE_PATHS) == []


def test_nothing_is_marked_as_unfinished() -> None:
    assert lines_with(UNFINISHED) == []


def test_no_plan_or_status_paper_is_in_the_tree() -> None:
    names = [str(file.relative_to(CHECKOUT)) for file in tracked()]

    assert [name for name in names if STATUS_PAPER.search(name)] == []


def test_no_store_is_in_the_tree() -> None:
    assert [file for file in tracked() if ".devtrace" in file.parts] == []


def test_the_changelog_knows_the_version() -> None:
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (CHECKOUT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert versions[0] == devtrace.__version__


@pytest.mark.parametrize("file", [".ci/run", ".ci/venv", ".ci/lint-shell"])
def test_what_is_run_by_name_is_executable(file: str) -> None:
    assert (CHECKOUT / file).stat().st_mode & 0o111


def test_every_module_says_what_lives_there() -> None:
    silent = [
        str(file.relative_to(CHECKOUT))
        for file in (CHECKOUT / "devtrace").rglob("*.py")
        if (text := file.read_text(encoding="utf-8")) and not re.match(r'r?"""\S', text)
    ]

    assert silent == []
