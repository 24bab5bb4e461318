"""The laws of the house: imports point down, only two rooms speak, one function writes events."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "devtrace"

WRITES_EVENTS = re.compile(
    r"\b(insert\s+(or\s+\w+\s+)?into|replace\s+into)\s+[\"'`\[]?events\b", re.IGNORECASE
)
CHANGES_EVENTS = re.compile(r"\bupdate\s+[\"'`\[]?events\b", re.IGNORECASE)
TAKES_EVENTS = re.compile(r"\bdelete\s+from\s+[\"'`\[]?events\b", re.IGNORECASE)


def lint_imports(where: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
    ]
    return subprocess.run(
        [*command, "--no-cache", "--no-logo"], cwd=where, capture_output=True, text=True, check=False
    )


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the package that a test may break."""
    shutil.copytree(PACKAGE, tmp_path / "devtrace", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / ".importlinter", tmp_path)
    return tmp_path


def test_every_import_points_down() -> None:
    laws = lint_imports(CHECKOUT)

    assert laws.returncode == 0, laws.stdout + laws.stderr


@pytest.mark.parametrize(
    ("room", "line", "law"),
    [
        ("ids.py", "import devtrace.store\n", "only ever points down"),
        ("views/__init__.py", "import devtrace.sources\n", "strangers"),
        ("sources/__init__.py", "import devtrace.store\n", "it is given emit"),
        ("services/__init__.py", "import rich\n", "Only cli and views speak"),
    ],
)
def test_an_import_against_the_law_is_caught(house: Path, room: str, line: str, law: str) -> None:
    file = house / "devtrace" / room
    file.write_text(file.read_text() + "\n" + line)

    laws = lint_imports(house)

    broken = [report for report in laws.stdout.splitlines() if " BROKEN" in report]
    assert laws.returncode == 1
    assert any(law in report for report in broken), laws.stdout


def test_a_new_room_needs_a_floor(house: Path) -> None:
    (house / "devtrace" / "attic.py").write_text("")

    laws = lint_imports(house)

    assert laws.returncode != 0
    assert "attic" in laws.stdout + laws.stderr


def strings(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def files_with(pattern: re.Pattern[str]) -> set[str]:
    return {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if any(pattern.search(text) for text in strings(file))
    }


def test_there_is_one_way_to_write_events() -> None:
    assert files_with(WRITES_EVENTS) == {"store/append.py"}


def test_an_event_is_never_rewritten() -> None:
    assert files_with(CHANGES_EVENTS) == set()


def test_there_is_one_way_to_take_events_out() -> None:
    assert files_with(TAKES_EVENTS) == {"store/retention.py"}


@pytest.mark.unmeasured
def test_the_shell_is_forked_before_the_heavy_imports() -> None:
    heavy = (
        "typer",
        "rich",
        "sqlite_utils",
        "sqlite3",
        "asyncio",
        "pydantic",
        "dataclasses",
        "devtrace.events",
    )
    program = f"""if True:
        import os, sys
        def tell(event, _):
            if event in ("os.fork", "os.forkpty", "os.posix_spawn"):
                os.write(2, repr([name for name in {heavy} if name in sys.modules]).encode() + b"\\n")
        sys.addaudithook(tell)
        from devtrace.__main__ import main
        sys.exit(main(["run", "--", "true"]))
    """

    started = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert started.returncode == 0, started.stderr
    first, *_ = (line for line in started.stderr.splitlines() if line.startswith("["))
    assert first == "[]"
