"""A recorded program prints and returns what it would without us: byte by byte, over a corpus of programs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

import devtrace
from devtrace import bootstrap
from devtrace.workspace import Workspace, create
from tests.processes import DEADLINE
from tests.recorder.corpus import CASES, SCRIPT, Case

LAUNCHER = str(Path(devtrace.__file__).parent / "recorder" / "__main__.py")
# What no two runs have in common, and the depth at which recursion ends: one frame of the launcher is below.
VOLATILE = re.compile(rb"0x[0-9a-f]{6,}|repeated \d+ more times|in \d+\.\d+s")


class Ended(NamedTuple):
    """All that somebody outside sees of a program."""

    status: int
    out: bytes
    err: bytes


def run(python: str, words: Sequence[str], case: Case, folder: Path, environment: dict[str, str]) -> Ended:
    shutil.rmtree(folder, ignore_errors=True)
    furnish(folder, case)

    def close() -> None:
        for fd in case.closed:
            os.close(fd)

    done = subprocess.run(
        [python, *case.options, *words],
        cwd=folder,
        env=environment,
        input=case.stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if case.merged else subprocess.PIPE,
        preexec_fn=close if case.closed else None,
        timeout=DEADLINE,
        check=False,
    )
    return Ended(done.returncode, *(VOLATILE.sub(b"", told or b"") for told in (done.stdout, done.stderr)))


def furnish(folder: Path, case: Case) -> None:
    for name, content in {SCRIPT: case.code, **case.files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for name, members in case.zips.items():
        with zipfile.ZipFile(folder / name, "w") as archive:
            for member, text in members.items():
                archive.writestr(zipfile.ZipInfo(member), text)


def world(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", **more}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    place = Workspace(tmp_path / ".devtrace")
    create(place)
    return place.dir


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recorded_program_ends_as_it_would_alone(case: Case, store: Path, tmp_path: Path) -> None:
    python = sys.executable
    environment = world(DEVTRACE_DIR=str(store))

    alone = run(python, case.words, case, tmp_path / "there", environment)
    launched = run(python, [LAUNCHER, *case.words], case, tmp_path / "there", environment)

    assert launched == alone
    if CASES.index(case) % 3 == 0 and case.name != "environment":  # in which it sees two variables more
        asked = environment | {"PYTHONPATH": bootstrap.FOLDER, "DEVTRACE_RECORD": "1"}
        assert run(python, case.words, case, tmp_path / "there", asked) == alone


def test_the_corpus_has_no_two_programs_of_one_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
