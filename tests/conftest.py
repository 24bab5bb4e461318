"""What every test stands on: a world of its own, and an honest word about tools that are missing.

Lives here: the isolation of HOME, XDG_RUNTIME_DIR, ZDOTDIR and every DEVTRACE_* variable, and `needs`.
Not here: the traced shells of the acceptance tests (tests/acceptance/conftest.py).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

# Read once, before the isolation takes them away from the tests and from what the tests start.
REQUIRE_ALL = os.environ.get("DEVTRACE_REQUIRE_ALL", "") not in ("", "0")
REAL_ENVIRON = dict(os.environ)

# What the developer's own shell may have exported, and the shells under test would obey.
_FOREIGN = (
    "BASH_ENV COLUMNS ENV FORCE_COLOR GIT_DIR GIT_WORK_TREE HISTCONTROL HISTFILE LC_ALL LINES MAKEFLAGS"
    " MAKELEVEL MFLAGS NO_COLOR PROMPT_COMMAND PS0 PS1 TRACEPARENT XDG_CACHE_HOME XDG_CONFIG_HOME"
    " XDG_DATA_HOME XDG_STATE_HOME ZDOTDIR"
)
_GIT_CONFIG = """\
[user]
    name = Ana Tester
    email = ana@example.org
[init]
    defaultBranch = main
"""


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "needs(*tools): skip where a tool is missing, and say which",
        "unmeasured: it tells what a process imports, so coverage is kept out of what it starts",
    ):
        config.addinivalue_line("markers", marker)


@pytest.fixture
def needs() -> Callable[..., None]:
    """`needs("zsh", "tmux")`: skip "because zsh is missing"; under DEVTRACE_REQUIRE_ALL=1 fail instead.

    A tool is a command looked up in PATH. `needs(because="...")` skips for any other missing thing.
    """
    return _needs


@pytest.fixture(scope="session")
def real_environ() -> Mapping[str, str]:
    """The environment the suite was started with, for the few tests that must reach pip's settings."""
    return REAL_ENVIRON


@pytest.fixture(scope="session", autouse=True)
def _isolated_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        _isolate(patch, tmp_path_factory.mktemp("world"))
        yield


@pytest.fixture(autouse=True)
def _isolated_test(
    _isolated_session: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    for mark in request.node.iter_markers("needs"):
        _needs(*mark.args)
    with pytest.MonkeyPatch.context() as patch:
        _isolate(patch, tmp_path_factory.mktemp("world"))
        if request.node.get_closest_marker("unmeasured"):
            for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
                patch.delenv(name)
        yield


def _needs(*tools: str, because: str = "") -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        because = f"because {' and '.join(missing)} {verb} missing"
    if because and REQUIRE_ALL:
        pytest.fail(f"{because}, and DEVTRACE_REQUIRE_ALL=1 lets nothing be skipped", pytrace=False)
    if because:
        pytest.skip(because)


def _isolate(patch: pytest.MonkeyPatch, world: Path) -> None:
    for name in list(os.environ):
        if name.startswith("DEVTRACE_") or name in _FOREIGN.split():
            patch.delenv(name)
    for name in ("home", "runtime", "tmp", "here"):
        (world / name).mkdir(mode=0o700)
    (world / "home" / ".gitconfig").write_text(_GIT_CONFIG)
    # The first fish of a home without it reads every manual page, in the background, for minutes.
    (world / "home" / ".local/share/fish/generated_completions").mkdir(parents=True)
    patch.setenv("HOME", str(world / "home"))
    patch.setenv("XDG_RUNTIME_DIR", str(world / "runtime"))
    patch.setenv("LANG", "C.UTF-8")
    patch.setenv("TERM", "xterm-256color")
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    patch.setenv("TMPDIR", str(world / "tmp"))
    patch.setattr(tempfile, "tempdir", None)  # forget the folder that was found with the old TMPDIR
    patch.chdir(world / "here")  # not in the checkout, whose own .devtrace/ would be found from there
