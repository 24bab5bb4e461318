"""Real shells for every acceptance test: `shell` on a terminal, `piped` without one.

A test that asks for either runs once for every shell under test. `@pytest.mark.shells("bash", "zsh")` keeps
it to some, `@pytest.mark.able("paste")` skips those that ABILITIES (kinds.py) says cannot, with the reason.

Lives here: the fixtures and the marks. Not here: what a shell can be told (traced.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.kinds import NAMES, Kind, kinds
from tests.acceptance.traced import Home, Shell


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shells(*names): run with these of bash, zsh and fish only")
    config.addinivalue_line("markers", "able(*abilities): skip shells that lack one of them: kinds.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" not in metafunc.fixturenames:
        return
    names = [name for mark in metafunc.definition.iter_markers("shells") for name in mark.args] or list(NAMES)
    asked = [name for mark in metafunc.definition.iter_markers("able") for name in mark.args]
    chosen = [_parameter(kind, asked) for kind in kinds() if kind.name in names]
    metafunc.parametrize("kind", chosen, scope="session")


def _parameter(kind: Kind, abilities: list[str]) -> object:
    lacking = next(filter(None, map(kind.lacks, abilities)), None) if kind.path else None
    marks = [pytest.mark.skip(reason=f"{kind.label}: {lacking}")] if lacking else []
    return pytest.param(kind, id=kind.label, marks=marks)


@pytest.fixture
def shell(kind: Kind, needs: Callable[..., None]) -> Iterator[Shell]:
    """A shell that starts when it is first typed into; held to what is always true when it has ended."""
    if not kind.path:
        needs(kind.name)
    shell = Shell(kind, Path.home(), Path.cwd())
    try:
        yield shell
        if shell.terminal is not None:
            shell.is_clean()
    finally:
        shell.close()


@pytest.fixture
def piped(kind: Kind, needs: Callable[..., None]) -> Home:
    """The same without a terminal: `piped.pipe("echo hello\\n")`."""
    if not kind.path:
        needs(kind.name)
    return Home(kind, Path.home(), Path.cwd())
