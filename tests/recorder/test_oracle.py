"""Each line and each variable of small programs is told as the interpreter itself tells of it.

The oracle is `sys.settrace` on this interpreter. Each engine that there is here is held against it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recorder.programs import PROGRAMS

ENGINES = ["settrace"] if sys.version_info < (3, 12) else ["monitoring", "settrace"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [program.__name__ for program in PROGRAMS])
def test_every_line_and_every_variable_is_told_as_it_was(name: str, engine: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("accounts.py")
    run = subprocess.run(
        [sys.executable, str(script), name, str(tmp_path), engine],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr

    accounts = json.loads(run.stdout)

    assert len(accounts["oracle"]) > 5
    for told, expected in zip(accounts["recorded"], accounts["oracle"], strict=False):
        assert told == expected
    assert len(accounts["recorded"]) == len(accounts["oracle"])
