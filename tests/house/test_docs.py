"""The papers are true: links resolve, commands and options exist, the map names the house."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from devtrace.errors import DevTraceError
from devtrace.store.connection import open_reader
from devtrace.workspace import Workspace

CHECKOUT = Path(__file__).parents[2]
PAPERS = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])
ADRS = sorted((CHECKOUT / "docs" / "adr").glob("*.md"))
README = CHECKOUT / "README.md"

CODE = {".py", ".bash", ".zsh", ".fish"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"(?:^\$ |[`(]|&& |; )(?:\.venv/bin/)?devtrace ([a-z][a-z-]*)([^`\n]*)", re.MULTILINE)
TARGET = re.compile(r"(?:^\$ |`)make ([a-z]+)\b", re.MULTILINE)

name = pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(CHECKOUT)))


@cache
def helped(*words: str) -> str:
    """What `devtrace <words> --help` prints, unwrapped and without colours."""
    told = subprocess.run(
        [sys.executable, "-m", "devtrace", *words, "--help"],
        cwd=CHECKOUT,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "COLUMNS": "200",
            "TERM": "dumb",
            "NO_COLOR": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout if told.returncode == 0 else ""


@name
def test_every_link_of_a_paper_leads_somewhere(paper: Path) -> None:
    targets = [
        target for target in LINK.findall(paper.read_text()) if "://" not in target and target[0] != "#"
    ]

    assert [target for target in targets if not (paper.parent / target.partition("#")[0]).exists()] == []


def test_every_paper_that_the_code_names_is_there() -> None:
    folders = ("devtrace", "shell-hooks", "tests", "benchmarks", "docs")
    files = [file for folder in folders for file in (CHECKOUT / folder).rglob("*") if file.suffix in CODE]
    named = {paper for file in files for paper in re.findall(r"\bdocs/[\w/-]+\.md", file.read_text())}

    assert {paper for paper in named if not (CHECKOUT / paper).exists()} == set()


@name
def test_every_command_of_a_paper_exists(paper: Path) -> None:
    commands = {command for command, _ in CALL.findall(paper.read_text())}

    assert {command for command in commands if not helped(command)} == set()


def of_a_group(command: str, rest: str) -> list[str]:
    """`install` of `agent install --dry-run`; nothing where the command is no group."""
    _, _, commands = helped(command).partition("Commands:")
    return [word for word in rest.split()[:1] if re.search(rf"^  {re.escape(word)} ", commands, re.MULTILINE)]


@name
def test_every_option_of_a_paper_exists(paper: Path) -> None:
    unknown = [
        f"devtrace {command} {option}"
        for command, rest in CALL.findall(paper.read_text())
        for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", rest.partition(" -- ")[0])
        if not re.search(rf"(?<![\w-]){option}(?![\w-])", helped(command, *of_a_group(command, rest)))
    ]

    assert unknown == []


@name
def test_every_make_target_of_a_paper_exists(paper: Path) -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    targets = set(TARGET.findall(paper.read_text()))

    assert {target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()


@pytest.mark.parametrize("paper", ADRS, ids=lambda paper: paper.stem)
def test_a_decision_has_the_five_headings_and_says_what_is_bad_about_it(paper: Path) -> None:
    text = paper.read_text()

    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "Status",
        "Context",
        "Decision",
        "Consequences",
        "Alternatives",
    ]
    number = int(paper.stem.partition("-")[0])
    assert text.startswith(f"# {number}. ")


def test_the_decisions_are_numbered_without_a_hole() -> None:
    numbers = [int(paper.stem.partition("-")[0]) for paper in ADRS]

    assert numbers == list(range(1, len(numbers) + 1))


def rooms() -> set[str]:
    """Every package and module of the first two levels, as the map writes them: `store/append`."""
    package = CHECKOUT / "devtrace"
    top = {entry.stem for entry in package.glob("*.py") if entry.stem != "__init__"}
    folders = {f"{folder.parent.relative_to(package)}/" for folder in package.rglob("__init__.py")} - {"./"}
    return top | {folder.replace("./", "") for folder in folders}


def test_the_map_names_every_room() -> None:
    text = (CHECKOUT / "docs" / "architecture.md").read_text()

    assert {room for room in rooms() if f"`{room}`" not in text} == set()


def test_the_map_names_nothing_that_is_not_there() -> None:
    text = (CHECKOUT / "docs" / "architecture.md").read_text()
    files = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text)
    places = (CHECKOUT, CHECKOUT / "devtrace")

    gone = [file for file in files if not any((place / file).exists() for place in places)]
    assert [file for file in gone if not file.startswith((".devtrace/", "spool/", "run/", "log/"))] == []


def test_the_map_names_every_file_of_the_largest_room() -> None:
    text = (CHECKOUT / "docs" / "architecture.md").read_text()
    files = {file.name for file in (CHECKOUT / "devtrace" / "sources" / "shell").glob("[!_]*.py")}

    assert {file for file in files if f"`{file}`" not in text} == set()


def test_the_docstring_of_the_package_names_every_room() -> None:
    import devtrace

    named = set(re.findall(r"\w+", devtrace.__doc__ or ""))
    assert {room.partition("/")[0] for room in rooms()} - named <= {"__main__"}


def test_the_first_paper_draws_both_channels() -> None:
    drawings = [body for kind, body in FENCE.findall(README.read_text()) if kind in ("", "text")]

    assert any("PTY" in drawing and "FIFO" in drawing for drawing in drawings)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """docs/generate.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("generate", CHECKOUT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says(reference: ModuleType) -> None:
    folder = CHECKOUT / "docs" / "reference"
    stale = [name for name, write in reference.PAGES.items() if (folder / name).read_text() != write()]

    assert stale == [], "run `make docs`"
    assert sorted(page.name for page in folder.iterdir()) == sorted(reference.PAGES)


def test_the_papers_of_probes_are_what_the_code_says(reference: ModuleType) -> None:
    folder = CHECKOUT / "docs"
    stale = [name for name, write in reference.PAPERS.items() if (folder / name).read_text() != write()]

    assert stale == [], "run `make docs`"


def told_alike(printed: str) -> str:
    """What a command printed, without what differs from run to run: times, ids, sizes, places, columns."""
    for pattern, word in (
        (r"\b\d{4}-\d\d-\d\d\b|\b\w{3} \d{1,2} \w{3} \d{4}\b", "DATE"),
        (r"\b\d\d:\d\d(?::\d\d)?\b", "TIME"),
        (r"<?\b[\d.]+(?:ms|s)\b", "TOOK"),
        (r"\b[\d.]+ (?:B|KB|KiB)(?=\s)", "SIZE"),
        (r"bash on \S+", "bash on HOST"),
        (r'"/\S+/shop/', '"/HOME/shop/'),
        (r"(?<!\S)[0-9a-f]{4,16}(?:/[0-9a-f]{4,16})?(?=[\s,]|$)", "ID"),
        (r":[0-9a-f]{8}\]", ":TAG]"),
        (r"[ \t]+", " "),
    ):
        printed = re.sub(pattern, word, printed)
    return "\n".join(line.rstrip() for line in printed.strip().splitlines())


# After each paragraph of the script: what the store holds then. A command, the edit that it made, where HEAD
# moved to, a note.
HELD = (2, 4, 6, 7, 8, 10, 12, 13, 15)
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository in which the README's session was played."""
    place = tmp_path_factory.mktemp("ana") / "shop"
    subprocess.run(["git", "init", "-q", place], check=True)
    opening = ["git", "-C", place, "commit", "-q", "--allow-empty", "-m", "Open the shop"]
    subprocess.run(opening, env=at_home(place), check=True)
    with subprocess.Popen(
        [sys.executable, "-m", "devtrace", "shell", "--shell", "bash"],
        cwd=place,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=at_home(place),
    ) as shell:
        assert shell.stdin is not None
        for typed, held in zip(paragraphs(CHECKOUT / "examples" / "demo.sh"), HELD, strict=True):
            shell.stdin.write(typed.encode())
            shell.stdin.flush()
            wait_for_events(place, held, typed)
        shell.stdin.close()
        assert shell.wait(DEADLINE_S) == 0
    assert n_events(place) == HELD[-1]
    shutil.copy(CHECKOUT / "examples" / "deploy.log", place)
    return place


def paragraphs(script: Path) -> list[str]:
    """The script cut at its empty lines, but for those inside of a here-document."""
    found = [""]
    end: str | None = None  # what ends the here-document that we are in
    for line in script.read_text().splitlines(keepends=True):
        found[-1] += line
        if end is not None:
            end = None if line.strip() == end else end
        elif opened := re.search(r"<<'?(\w+)'?", line):
            end = opened[1]
        elif line == "\n":
            found.append("")
    return found


def wait_for_events(place: Path, held: int, typed: str) -> None:
    until = time.monotonic() + DEADLINE_S
    while n_events(place) < held:
        assert time.monotonic() < until, f"{n_events(place)} events of {held} after:\n{typed}"
        time.sleep(0.02)  # another process writes them: nothing tells of a row


def n_events(place: Path) -> int:
    """How many events the store holds; 0 while there is none."""
    try:
        with closing(open_reader(Workspace(place / ".devtrace"))) as db:
            return int(db.execute("SELECT count(*) FROM events").fetchone()[0])
    except (DevTraceError, sqlite3.Error):
        return 0


def at_home(place: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    git = {"GIT_CONFIG_GLOBAL": f"{os.environ['HOME']}/.gitconfig"}
    return {**os.environ, **git, "HOME": str(place.parent), "PATH": path, "COLUMNS": "110"}


def printed_by(command: str, shop: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=shop,
        env=at_home(shop),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


README_BLOCKS = [
    (lines[0].removeprefix("$ "), "\n".join(lines[1:]))
    for kind, body in FENCE.findall(README.read_text())
    if kind == "console" and len(lines := body.splitlines()) > 1 and not lines[1].startswith("$ ")
]


def id_of_the_same_row(shown_id: str, shop: Path) -> str:
    """The id that stands in the played session where the paper's own timeline has this one."""
    paper = dict(README_BLOCKS)["devtrace show"].splitlines()
    (shown,) = [row for row in paper if row.endswith(f" {shown_id}")]
    played = printed_by("devtrace show", shop).splitlines()
    (same,) = [row for row in played if told_alike(row) == told_alike(shown)]
    return same.rpartition(" ")[2]


@pytest.mark.needs("bash", "git")
@pytest.mark.parametrize(("command", "output"), README_BLOCKS, ids=[command for command, _ in README_BLOCKS])
def test_the_first_paper_shows_what_is_really_printed(command: str, output: str, shop: Path) -> None:
    command = re.sub(r"\b[0-9a-f]{4}\b", lambda named: id_of_the_same_row(named[0], shop), command)

    assert told_alike(printed_by(command, shop)) == told_alike(output)


def test_the_first_paper_shows_these_commands() -> None:
    assert [command.split()[1] for command, _ in README_BLOCKS] == [
        "show", "show", "diff", "blame", "stats", "search", "verify", "policy",
    ]  # fmt: skip
